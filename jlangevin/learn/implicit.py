"""Implicit score matching: the divergence of the score in place of the data's own score."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp

from jlangevin._core import trees
from jlangevin._core.trees import PyTree
from jlangevin.energies.base import Energy, gradient
from jlangevin.learn.base import Aux, as_batch

__all__ = ["flat_score", "implicit_score_matching", "reported"]


def implicit_score_matching(
    key: jax.Array | None, energy: Energy, batch: PyTree
) -> tuple[jax.Array, Aux]:
    """Score matching in the form that needs no score of the data (Hyvärinen 2005).

        L = mean (½ |s(x)|² + ∇·s(x)),    s = -∇E

    Its expectation is the Fisher divergence ½ E|s(x) - ∇ log p_data(x)|² without a term that does
    not depend on the model; so L may be negative, and has no normaliser in it. The divergence is
    exact, by one derivative of the score along each of the d coordinates: for images,
    `sliced_score_matching` costs less. Where data are discrete or lie on a surface, L has no lower
    bound; then add noise, `denoising_score_matching`.

    Args:
        key: not used; here so that all losses are called alike.
        energy: E, or a score by `scores.score`. L is differentiable in its leaves.
        batch: the data, a pytree of floating arrays whose first axis counts items.

    Returns:
        L and an `Aux`. Metrics: `score_square`, the mean of |s|², and `divergence`, of ∇·s.

    Raises:
        TypeError, ValueError: as `contrastive_divergence`.

    Example:
        >>> import jax, jax.numpy as jnp, jlangevin as jl
        >>> data = jnp.array([[-2.0], [2.0]])  # of variance 4
        >>> def loss(precision):
        ...     energy = jax.tree_util.Partial(lambda a, x: 0.5 * a * jnp.sum(x**2), precision)
        ...     return jl.learn.implicit_score_matching(None, energy, data)[0]
        >>> float(jax.grad(loss)(0.25))  # ½ (4a² - 2a), which is least at a = 1/4
        0.0
    """
    batch = as_batch(energy, batch)

    def one(x: PyTree) -> tuple[jax.Array, jax.Array]:
        score, at = flat_score(energy, x)
        value, push = jax.linearize(score, at)
        along = jax.vmap(lambda e: jnp.sum(e * push(e)))(jnp.eye(at.size, dtype=at.dtype))
        return jnp.sum(value**2), jnp.sum(along)

    square, divergence = map(jnp.mean, jax.vmap(one)(batch))
    return 0.5 * square + divergence, reported(square, divergence)


def flat_score(energy: Energy, x: PyTree) -> tuple[Callable[[jax.Array], jax.Array], jax.Array]:
    """The score as a function from a vector to a vector, and `x` as a vector."""
    unravel = trees.unraveler(x)
    return lambda flat: -trees.ravel(gradient(energy, unravel(flat))), trees.ravel(x)


def reported(square: jax.Array, divergence: jax.Array) -> Aux:
    metrics = {"score_square": square, "divergence": divergence}
    return Aux(jax.tree.map(jax.lax.stop_gradient, metrics))
