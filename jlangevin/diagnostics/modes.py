"""Where the draws are among the components of a mixture."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jlangevin._core.checks import as_draws, check_flag, check_made
from jlangevin._core.compiling import compiled
from jlangevin._core.trees import Numbers
from jlangevin.diagnostics.mcse import mcse_of_mean
from jlangevin.energies import GaussianMixture
from jlangevin.energies.traced import mapped

__all__ = ["ModeOccupancy", "mode_occupancy"]


_SHOWN = 20  # modes that are printed, so that the table fits a screen


class ModeOccupancy(NamedTuple):
    """The result of `mode_occupancy`, arrays of shape (k,); printed, a table."""

    fractions: jax.Array  # of the draws in each component; they sum to 1
    weights: jax.Array  # what they should be
    errors: jax.Array  # the standard errors of the fractions

    @property
    def z_scores(self) -> jax.Array:
        """(fractions - weights) / errors; 0 for the only mode that there is."""
        gaps = self.fractions - self.weights
        certain = (self.errors == 0) & (jnp.abs(gaps) < 1e-5)
        return jnp.where(certain, 0, gaps / jnp.where(certain, 1, self.errors))

    @property
    def p_value(self) -> jax.Array:
        """The probability of a z-score as large as the largest, if the weights are right.

        By the normal law of many draws, and Bonferroni's bound over the components.
        """
        tail = 2 * jax.scipy.stats.norm.sf(jnp.max(jnp.abs(self.z_scores)))
        return jnp.minimum(1, len(self.weights) * tail)

    def __str__(self) -> str:
        fractions, weights, errors = (np.asarray(part, np.float64) for part in self)
        z = np.asarray(self.z_scores, np.float64)
        chosen = np.sort(np.argsort(-np.abs(z), kind="stable")[:_SHOWN])
        lines = [f"{'mode':>6} {'fraction':>10} {'error':>9} {'weight':>10} {'z':>8}"]
        for j in chosen:
            lines.append(
                f"{j:>6} {fractions[j]:>10.4f} {errors[j]:>9.2g} {weights[j]:>10.4f} {z[j]:>8.2f}"
            )
        if len(chosen) < len(z):
            lines.append(f"the {_SHOWN} of {len(z)} modes with the largest |z|")
        lines.append(f"p = {float(self.p_value):.2g} that all weights are right")
        return "\n".join(lines)


def mode_occupancy(x: Numbers, mixture: GaussianMixture, *, hard: bool = False) -> ModeOccupancy:
    """The fraction of draws that belong to each component of a Gaussian mixture.

    By default (soft) draw x belongs to component j with its responsibility

        r_j(x) = w_j N(x; m_j, S_j) / Σ_l w_l N(x; m_l, S_l)

    whose mean under the mixture is exactly w_j, however much the components overlap. With `hard`,
    each draw counts for the component with the largest responsibility. Its fraction is then that of
    a region of space, which is w_j only if the components are far apart.

    The error of a fraction is its `mcse` for draws (chain, draw, d), and sd / sqrt(n) for draws
    (draw, d), which must be independent. Where no draw ever leaves or enters a component, it is
    that of chains which count as one draw each, sqrt(w (1 - w) / chains).

    Args:
        x: draws, (draw, d) or (chain, draw, d), pooled; for each chain alone, `jax.vmap` over
            chains.
        mixture: as made by `energies.gaussian_mixture`; the law is its own, at temperature 1.
        hard: count draws instead of averaging responsibilities.

    Returns:
        A `ModeOccupancy`: fractions, weights and errors, and with these z-scores and a p-value.

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
    shares = responsibilities.reshape(*draws.shape[:-1], -1)
    return _occupancy(shares, mixture.weights)


@compiled
def _occupancy(shares: jax.Array, weights: jax.Array) -> ModeOccupancy:
    """From responsibilities (draw, k) or (chain, draw, k)."""
    pooled = shares.reshape(-1, shares.shape[-1])
    if shares.ndim == 3 and shares.shape[1] >= 4:
        count, errors = len(shares), mcse_of_mean(shares)
    else:
        each = jnp.mean(shares, axis=1) if shares.ndim == 3 else shares
        count, errors = len(each), jnp.std(each, axis=0) / jnp.sqrt(max(len(each) - 1.0, 1.0))
    still = (jnp.ptp(pooled, axis=0) <= 1e-6) | (len(pooled) == 1)
    errors = jnp.where(still, jnp.sqrt(weights * (1 - weights) / count), errors)
    return ModeOccupancy(jnp.mean(pooled, axis=0), weights, errors.astype(weights.dtype))


def _responsibilities(mixture: GaussianMixture, point: jax.Array) -> jax.Array:
    return jax.nn.softmax(mixture.component_log_densities(point))


def _largest_responsibility(mixture: GaussianMixture, point: jax.Array) -> jax.Array:
    exponents = mixture.component_log_densities(point)
    return jax.nn.one_hot(jnp.argmax(exponents), len(exponents), dtype=exponents.dtype)
