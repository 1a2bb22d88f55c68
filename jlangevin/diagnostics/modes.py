"""Where the draws are among the components of a mixture."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jlangevin._core.checks import as_draws, check_flag, check_made
from jlangevin.energies import GaussianMixture
from jlangevin.energies.traced import mapped

__all__ = ["ModeOccupancy", "mode_occupancy"]


class ModeOccupancy(NamedTuple):
    """The result of `mode_occupancy`, both (k,)."""

    fractions: jax.Array  # of the draws in each component; they sum to 1
    weights: jax.Array  # what they should be


def mode_occupancy(x: Any, mixture: GaussianMixture, *, hard: bool = False) -> ModeOccupancy:
    """The fraction of draws that belong to each component of a Gaussian mixture.

    By default (soft) draw x belongs to component j with its responsibility

        r_j(x) = w_j N(x; m_j, S_j) / Σ_l w_l N(x; m_l, S_l)

    whose mean under the mixture is exactly w_j, however much the components overlap. With `hard`,
    each draw counts for the component with the largest responsibility. Its fraction is then that of
    a region of space, which is w_j only if the components are far apart.

    Args:
        x: draws, (draw, d) or (chain, draw, d), pooled; for each chain alone, `jax.vmap` over
            chains.
        mixture: as made by `energies.gaussian_mixture`; the law is its own, at temperature 1.
        hard: count draws instead of averaging responsibilities.

    Returns:
        A `ModeOccupancy`: fractions and weights.

    Raises:
        TypeError: `mixture` is not a `GaussianMixture`.
        ValueError: `x` of another shape than the mixture's, or not finite.

    Example:
        >>> import jax, jax.numpy as jnp, jlangevin as jl
        >>> mixture = jl.energies.gaussian_mixture(
        ...     [[-5.0], [5.0]], jnp.ones((2, 1, 1)), [0.25, 0.75])
        >>> stuck = jl.diagnostics.mode_occupancy(jnp.full((100, 1), 5.0), mixture)
        >>> stuck.fractions.round(3).tolist(), stuck.weights.tolist()
        ([0.0, 1.0], [0.25, 0.75])
    """
    check_made("mixture", mixture)
    if not isinstance(mixture, GaussianMixture):
        raise TypeError(
            f"mixture: expected a GaussianMixture (energies.gaussian_mixture), "
            f"got {type(mixture).__name__}"
        )
    draws = as_draws("x", x)
    points = draws.reshape(-1, draws.shape[-1])
    if points.shape[1] != mixture.means.shape[1]:
        raise ValueError(
            f"x: expected draws in {mixture.means.shape[1]} dimension(s), like the mixture, got "
            f"{points.shape[1]}"
        )
    responsibilities = mapped(
        _largest_responsibility if check_flag("hard", hard) else _responsibilities,
        mixture,
        points.astype(mixture.means.dtype),
    )
    return ModeOccupancy(jnp.mean(responsibilities, axis=0), mixture.weights)


def _responsibilities(mixture: GaussianMixture, point: jax.Array) -> jax.Array:
    return jax.nn.softmax(mixture.component_log_densities(point))


def _largest_responsibility(mixture: GaussianMixture, point: jax.Array) -> jax.Array:
    exponents = mixture.component_log_densities(point)
    return jax.nn.one_hot(jnp.argmax(exponents), len(exponents), dtype=exponents.dtype)
