"""Noise-contrastive estimation: an energy as the logit that tells data from noise."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp

from jlangevin import distribution
from jlangevin._core.checks import check_count
from jlangevin._core.trees import PyTree
from jlangevin.distribution import Drawable, check_drawable
from jlangevin.energies.base import Energy
from jlangevin.learn.base import Aux, as_batch, check_model_like, count, held, values

__all__ = ["noise_contrastive"]


def noise_contrastive(
    key: jax.Array, energy: Energy, batch: PyTree, *, noise: Drawable, num_noise: int | None = None
) -> tuple[jax.Array, Aux]:
    """Noise-contrastive estimation (Gutmann and Hyvärinen 2010).

        L = -mean log σ(G(x⁺)) - ν mean log σ(-G(x⁻)),    x⁻ ~ q
        G(x) = -E(x) - log q(x) - log ν,    ν = draws of noise for each datum

    with the logistic function σ: E is the one that tells data from noise best. The normaliser is
    learned too: after learning E is -log p, with log Z = 0, so E needs a constant that it can
    shift. No chain is run. The noise should cover the data and be like them; if it is far wider, as
    for images, nearly all is told apart at once, and L says nothing.

    Args:
        key: a typed key.
        energy, batch: as for `contrastive_divergence`.
        noise: q, a law that can be drawn from and has a density: `Gaussian`, or an energy with
            exact draws and a known `log_z`.
        num_noise: draws of noise, ν times the items; by default as many as items.

    Returns:
        L and an `Aux` with the draws of noise as negatives. Metrics: `energy_data`,
        `energy_negatives`, and `accuracy`, the share that is told apart.

    Raises:
        TypeError, ValueError: as `contrastive_divergence`; `noise` cannot be drawn from, or its
            draws are not like an item.
        NoClosedFormError: `noise` has no exact sampler or no known `log_z`.

    Example:
        >>> import jax, jax.numpy as jnp, jlangevin as jl
        >>> data = jax.random.normal(jax.random.key(0), (10_000, 1))
        >>> noise = jl.Gaussian(jnp.zeros(1), 4.0 * jnp.eye(1))
        >>> def loss(constant):
        ...     energy = jax.tree_util.Partial(lambda c, x: 0.5 * jnp.sum(x**2) + c, constant)
        ...     return jl.learn.noise_contrastive(jax.random.key(1), energy, data, noise=noise)[0]
        >>> slope = jax.grad(loss)(0.5 * jnp.log(2 * jnp.pi))  # log Z of exp(-x²/2)
        >>> bool(abs(slope) < 0.02)
        True
    """
    batch = as_batch(energy, batch)
    check_drawable("noise", noise)
    n = count(batch)
    number = check_count("num_noise", n if num_noise is None else num_noise, minimum=1)
    draws = distribution.sample(held(noise), key, number)
    check_model_like("noise", draws, batch, "its draws are not")
    ratio = number / n

    def logits(points: PyTree) -> tuple[jax.Array, jax.Array]:
        energies = values(energy, points)
        return -energies - _log_density(noise, points) - math.log(ratio), energies

    (data, low), (other, high) = logits(batch), logits(draws)
    loss = jnp.mean(jax.nn.softplus(-data)) + ratio * jnp.mean(jax.nn.softplus(other))
    right = jnp.sum(data > 0, dtype=jnp.int32) + jnp.sum(other < 0, dtype=jnp.int32)
    metrics = {
        "energy_data": jnp.mean(low),
        "energy_negatives": jnp.mean(high),
        "accuracy": right.astype(loss.dtype) / (n + number),
    }
    return loss, Aux(jax.tree.map(jax.lax.stop_gradient, metrics), draws)


def _log_density(law: PyTree, points: PyTree) -> jax.Array:
    """log q at each of n points."""
    if hasattr(law, "log_prob"):
        found: jax.Array = jax.vmap(law.log_prob)(points)
        return found
    return -values(law, points) - law.log_z
