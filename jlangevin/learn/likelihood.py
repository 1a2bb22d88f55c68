"""Maximum likelihood with exact draws of the model."""

from __future__ import annotations

import jax
from jax.typing import ArrayLike

from jlangevin import distribution
from jlangevin._core.checks import check_count
from jlangevin._core.trees import PyTree
from jlangevin.distribution import check_drawable
from jlangevin.energies.base import Energy
from jlangevin.learn.base import Aux, as_batch, check_model_like, count, held
from jlangevin.learn.negatives import contrast

__all__ = ["maximum_likelihood"]


def maximum_likelihood(
    key: jax.Array,
    energy: Energy,
    batch: PyTree,
    *,
    num_negatives: int | None = None,
    regularization: ArrayLike = 0.0,
) -> tuple[jax.Array, Aux]:
    """The data against exact draws of the model, where it has them.

        L = mean E(x⁺) - mean E(x⁻) + α (mean E(x⁺)² + mean E(x⁻)²),    x⁻ ~ exp(-E)/Z

    At α = 0 the expected gradient of L is that of the mean of -log p(x⁺) = E(x⁺) + log Z; L itself
    is not the likelihood. It is what `contrastive_divergence` would be with infinitely long chains
    that have no bias, for tests of it.

    Args:
        key, batch, regularization: as for `contrastive_divergence`.
        energy: one that can be drawn from exactly, for instance `energies.quadratic`,
            `energies.gaussian_mixture`, or one of your own with `draw_noise`, `template` and
            `from_noise`.
        num_negatives: how many draws; by default as many as items.

    Returns:
        L and an `Aux` with the negatives. Metrics: those of `contrastive_divergence`, but for those
        of chains.

    Raises:
        TypeError, ValueError: as `contrastive_divergence`; TypeError also if the energy cannot be
            drawn from.
        NoClosedFormError: the energy has no exact sampler.

    Example:
        >>> import jax, jax.numpy as jnp, jlangevin as jl
        >>> data = jax.random.normal(jax.random.key(0), (10_000, 1))
        >>> def loss(mean):
        ...     energy = jl.energies.quadratic(jnp.eye(1), mean[None])
        ...     return jl.learn.maximum_likelihood(jax.random.key(1), energy, data)[0]
        >>> round(float(jax.grad(loss)(jnp.float32(2.0))), 1)  # of the mean of (x - 2)²/2
        2.0
    """
    batch = as_batch(energy, batch)
    check_drawable("energy", energy)
    number = count(batch) if num_negatives is None else num_negatives
    number = check_count("num_negatives", number, minimum=1)
    negatives = jax.lax.stop_gradient(distribution.sample(held(energy), key, number))
    check_model_like("energy", negatives, batch, "its exact draws are not")
    loss, metrics = contrast(energy, batch, negatives, regularization)
    return loss, Aux(metrics, negatives)
