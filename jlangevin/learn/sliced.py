"""Sliced score matching: the divergence of the score along random directions."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from jlangevin._core import trees
from jlangevin._core.checks import check_count, check_key
from jlangevin._core.trees import PyTree
from jlangevin.energies.base import Energy
from jlangevin.learn.base import Aux, as_batch, count
from jlangevin.learn.implicit import flat_score, reported

__all__ = ["sliced_score_matching"]


def sliced_score_matching(
    key: jax.Array, energy: Energy, batch: PyTree, *, num_slices: int = 1
) -> tuple[jax.Array, Aux]:
    """Implicit score matching with the divergence estimated along random directions.

        L = mean (½ |s(x)|² + vᵀ ∇s(x) v),    s = -∇E,    v = ±1 in each coordinate

    (Song, Garg, Shi and Ermon 2019, in the form of less variance; Hutchinson's estimator). As
    E[v vᵀ] = I, its expectation over v is the loss of `implicit_score_matching`, whose d
    derivatives it replaces by one for each slice.

    Args:
        key: a typed key.
        energy, batch: as for `implicit_score_matching`.
        num_slices: how many v for each item.

    Returns:
        L and an `Aux`. Metrics: `score_square`, the mean of |s|², and `divergence`, of vᵀ∇s v.

    Raises:
        TypeError, ValueError: as `implicit_score_matching`; `num_slices` is not a positive integer.

    Example:
        >>> import jax, jax.numpy as jnp, jlangevin as jl
        >>> normal = jl.energies.quadratic(2.0 * jnp.eye(3))
        >>> loss, _ = jl.learn.sliced_score_matching(jax.random.key(0), normal, jnp.zeros((5, 3)))
        >>> float(loss)  # the divergence, -6
        -6.0
    """
    batch = as_batch(energy, batch)
    check_key("key", key)
    num_slices = check_count("num_slices", num_slices, minimum=1)
    size = trees.size(trees.one_chain(batch))
    dtype = trees.float_dtype(batch)
    directions = jax.random.rademacher(key, (count(batch), num_slices, size), dtype)

    def one(x: PyTree, directions: jax.Array) -> tuple[jax.Array, jax.Array]:
        score, at = flat_score(energy, x)
        value, push = jax.linearize(score, at)
        along = jax.vmap(lambda v: jnp.sum(v * push(v)))(directions)
        return jnp.sum(value**2), jnp.mean(along)

    square, divergence = map(jnp.mean, jax.vmap(one)(batch, directions))
    return 0.5 * square + divergence, reported(square, divergence)
