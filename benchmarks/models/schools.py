"""Eight schools (Rubin 1981), in the coordinates that sample well and in those of the funnel."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial

from .posterior import Array, Posterior, floats, half_cauchy, half_cauchy_logs, read

FILE = "eight_schools-eight_schools_noncentered"


def _hyperprior(x: jax.Array) -> jax.Array:
    """The energy of μ ~ N(0, 5) and τ ~ half-Cauchy(5), the last two parts of a position."""
    return 0.5 * (x[8] / 5) ** 2 + half_cauchy(5.0, x[9])


def _prior(rng: np.random.Generator, n: int) -> Array:
    scale = half_cauchy_logs(rng, 5.0, n)
    return np.column_stack([rng.normal(size=(n, 8)), 5 * rng.normal(size=n), scale])


def _effects(x: jax.Array) -> jax.Array:
    return x[8] + jnp.exp(x[9]) * x[:8]


def _energy(y: jax.Array, sigma: jax.Array, x: jax.Array) -> jax.Array:
    likelihood = 0.5 * jnp.sum(((y - _effects(x)) / sigma) ** 2)
    return likelihood + 0.5 * jnp.sum(x[:8] ** 2) + _hyperprior(x)


def eight_schools() -> Posterior:
    """Eight schools, not centred: positions (z_1 … z_8, μ, log τ), θ = μ + τ z."""
    data, names, reference = read(FILE)
    return Posterior(
        "eight schools",
        10,
        names,
        Partial(_energy, *floats(data, "y", "sigma")),
        _prior,
        lambda x: jnp.concatenate([_effects(x), x[8:9], jnp.exp(x[9:])]),
        reference,
    )


def _centred_energy(y: jax.Array, sigma: jax.Array, x: jax.Array) -> jax.Array:
    likelihood = 0.5 * jnp.sum(((y - x[:8]) / sigma) ** 2)
    effects = 0.5 * jnp.sum(((x[:8] - x[8]) * jnp.exp(-x[9])) ** 2) + 8 * x[9]
    return likelihood + effects + _hyperprior(x)


def _centred_prior(rng: np.random.Generator, n: int) -> Array:
    x = _prior(rng, n)
    return np.column_stack([x[:, 8:9] + np.exp(x[:, 9:]) * x[:, :8], x[:, 8:]])


def eight_schools_centred() -> Posterior:
    """Eight schools, centred: positions (θ_1 … θ_8, μ, log τ).

    A funnel: as τ goes to 0, the θ are held ever closer to μ. The law of (θ, μ, τ) is that of
    `eight_schools`, and so is the reference.
    """
    data, names, reference = read(FILE)
    return Posterior(
        "eight schools, centred",
        10,
        names,
        Partial(_centred_energy, *floats(data, "y", "sigma")),
        _centred_prior,
        lambda x: jnp.concatenate([x[:9], jnp.exp(x[9:])]),
        reference,
    )
