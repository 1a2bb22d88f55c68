"""Posteriors of real data, as energies of positions on the whole space, with what is known of them.

Three are of posteriordb (Magnusson et al. 2025), with the moments of its reference draws, read from
files as they are; and a Bayesian logistic regression on scikit-learn's breast-cancer data. Scales
such as σ are positions by their logarithms, and the log-Jacobian is in the energy.
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial

FOLDER = Path(
    os.environ.get(
        "JLANGEVIN_POSTERIORS",
        Path(__file__).resolve().parents[2] / "shared" / "reference" / "posteriors",
    )
)


@dataclasses.dataclass(frozen=True)
class Reference:
    """Means of the quantities and of their squares, with Monte Carlo errors, shape (k,)."""

    mean: np.ndarray[Any, Any]
    mean_error: np.ndarray[Any, Any]
    square: np.ndarray[Any, Any]
    square_error: np.ndarray[Any, Any]


@dataclasses.dataclass(frozen=True)
class Posterior:
    """Draws from p ∝ exp(-energy) at temperature 1.

    `prior(rng, n)` draws starts of shape (n, dim); `quantities` maps a position to what is
    reported of it, shape (k,), in the order of `names`.
    """

    name: str
    dim: int
    names: tuple[str, ...]
    energy: Callable[[jax.Array], jax.Array]
    prior: Callable[[np.random.Generator, int], np.ndarray[Any, Any]]
    quantities: Callable[[jax.Array], jax.Array]
    reference: Reference | None


def _read(name: str) -> tuple[dict[str, Any], tuple[str, ...], Reference]:
    loaded = json.loads((FOLDER / f"{name}.json").read_text())
    found = loaded["reference"]
    reference = Reference(
        *(
            np.asarray(found[part])
            for part in (
                "mean_value",
                "mcse_mean_value",
                "mean_squared_value",
                "mcse_mean_squared_value",
            )
        )
    )
    return loaded["data"], tuple(found["names"]), reference


def _half_cauchy(scale: Any, log_value: jax.Array) -> jax.Array:
    """The energy of log s where s is half-Cauchy, with the log-Jacobian."""
    return jnp.log1p((jnp.exp(log_value) / scale) ** 2) - log_value


def _half_cauchy_logs(rng: np.random.Generator, scale: float, n: int) -> np.ndarray[Any, Any]:
    return np.log(scale * np.abs(rng.standard_cauchy(n)))


def autoregression() -> Posterior:
    """arK: a series on its last five values; positions (α, β_1 … β_5, log σ)."""
    data, names, reference = _read("arK-arK")
    y, lags = np.asarray(data["y"]), data["K"]
    past = np.stack([y[lags - k : len(y) - k] for k in range(1, lags + 1)], axis=1)

    def energy(past: jax.Array, y: jax.Array, x: jax.Array) -> jax.Array:
        residual = (y - x[0] - past @ x[1:-1]) * jnp.exp(-x[-1])
        likelihood = 0.5 * jnp.sum(residual**2) + y.size * x[-1]
        return likelihood + 0.5 * jnp.sum((x[:-1] / 10) ** 2) + _half_cauchy(2.5, x[-1])

    def prior(rng: np.random.Generator, n: int) -> np.ndarray[Any, Any]:
        scale = _half_cauchy_logs(rng, 2.5, n)
        return np.column_stack([10 * rng.normal(size=(n, lags + 1)), scale])

    return Posterior(
        "arK",
        lags + 2,
        names,
        Partial(energy, jnp.asarray(past), jnp.asarray(y[lags:])),
        prior,
        lambda x: jnp.concatenate([x[:-1], jnp.exp(x[-1:])]),
        reference,
    )


def eight_schools() -> Posterior:
    """Eight schools, not centred: positions (z_1 … z_8, μ, log τ), θ = μ + τ z."""
    data, names, reference = _read("eight_schools-eight_schools_noncentered")
    y, sigma = (jnp.asarray(data[name], float) for name in ("y", "sigma"))

    def effects(x: jax.Array) -> jax.Array:
        return x[8] + jnp.exp(x[9]) * x[:8]

    def energy(y: jax.Array, sigma: jax.Array, x: jax.Array) -> jax.Array:
        prior = 0.5 * jnp.sum(x[:8] ** 2) + 0.5 * (x[8] / 5) ** 2 + _half_cauchy(5.0, x[9])
        return prior + 0.5 * jnp.sum(((y - effects(x)) / sigma) ** 2)

    def prior(rng: np.random.Generator, n: int) -> np.ndarray[Any, Any]:
        scale = _half_cauchy_logs(rng, 5.0, n)
        return np.column_stack([rng.normal(size=(n, 8)), 5 * rng.normal(size=n), scale])

    return Posterior(
        "eight schools",
        10,
        names,
        Partial(energy, y, sigma),
        prior,
        lambda x: jnp.concatenate([effects(x), x[8:9], jnp.exp(x[9:])]),
        reference,
    )


def kid_scores() -> Posterior:
    """A child's score on the mother's IQ, standardised: positions (a, b, log σ)."""
    data, names, reference = _read("kidiq-kidscore_momiq")
    y, iq = np.asarray(data["kid_score"], float), np.asarray(data["mom_iq"])
    centre, spread = iq.mean(), iq.std()

    def energy(z: jax.Array, y: jax.Array, x: jax.Array) -> jax.Array:
        residual = (y - x[0] - x[1] * z) * jnp.exp(-x[2])
        return 0.5 * jnp.sum(residual**2) + y.size * x[2] + _half_cauchy(2.5, x[2])

    def prior(rng: np.random.Generator, n: int) -> np.ndarray[Any, Any]:
        """The coefficients' own is flat: starts as wide as the scores."""
        return np.column_stack([100 * rng.normal(size=(n, 2)), _half_cauchy_logs(rng, 2.5, n)])

    def quantities(x: jax.Array) -> jax.Array:
        slope = x[1] / spread
        return jnp.stack([x[0] - slope * centre, slope, jnp.exp(x[2])])

    z = jnp.asarray((iq - centre) / spread)
    return Posterior(
        "kid scores", 3, names, Partial(energy, z, jnp.asarray(y)), prior, quantities, reference
    )


def logistic_regression() -> Posterior:
    """569 tumours by 30 standardised features and an intercept, weights ~ N(0, 1)."""
    from sklearn.datasets import load_breast_cancer

    features, labels = load_breast_cancer(return_X_y=True)
    features = (features - features.mean(0)) / features.std(0)
    design = jnp.asarray(np.column_stack([features, np.ones(len(features))]))
    sign = jnp.asarray(2.0 * labels - 1)

    def energy(design: jax.Array, sign: jax.Array, w: jax.Array) -> jax.Array:
        return jnp.sum(jax.nn.softplus(-sign * (design @ w))) + 0.5 * jnp.sum(w**2)

    dim = design.shape[1]
    return Posterior(
        "logistic regression",
        dim,
        tuple(f"w[{i}]" for i in range(dim)),
        Partial(energy, design, sign),
        lambda rng, n: rng.normal(size=(n, dim)),
        lambda w: w,
        None,
    )


OF_POSTERIORDB = (autoregression, eight_schools, kid_scores)
