"""The integrated autocorrelation time of a series, for both reducers and diagnostics."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from jlangevin._core import trees
from jlangevin._core.checks import as_array

__all__ = ["integrated_time"]

_ROUNDING = 1e-2  # of ρ_0, in half precision too


def integrated_time(rho: ArrayLike) -> tuple[jax.Array, jax.Array]:
    """τ = 1 + 2 Σ ρ_t by the initial monotone sequence (Geyer 1992), and whether it ended.

    For a reversible chain the sums of neighbours ρ_2k + ρ_2k+1 are positive and decreasing. They
    are added up while they are positive, each replaced by the least of those before it if that is
    smaller.

    Args:
        rho: autocorrelations at lags 0, 1, …, on the leading axis; ρ_0 = 1.

    Returns:
        τ and a boolean array, both of the shape of `rho` without its leading axis. False means
        that the sums were positive up to the last lag: τ is then too small by an unknown amount.

    Raises:
        TypeError: `rho` is not an array of real numbers.
        ValueError: `rho` has fewer than two lags on the leading axis, or a ρ_0 that is not 1.

    Example:
        >>> import jax.numpy as jnp, jlangevin as jl
        >>> tau, ended = jl.diagnostics.integrated_time(0.5 ** jnp.arange(40.0))
        >>> float(tau), bool(ended)
        (3.0, False)
    """
    rho = as_array("rho", rho)
    if rho.ndim == 0 or rho.shape[0] < 2:
        raise ValueError(
            f"rho: expected autocorrelations at two lags or more, on the leading axis, got shape "
            f"{rho.shape}"
        )
    # A chain that does not move has NaN here, which is not an error.
    if trees.is_concrete(rho) and bool(np.any(np.abs(np.asarray(rho[0], float) - 1) > _ROUNDING)):
        raise ValueError(
            "rho: expected lags on the leading axis, with 1 at lag 0; for the (chain, draw, …) "
            "that diagnostics.autocorrelation returns, pass jnp.moveaxis(rho, 1, 0)"
        )
    num_pairs = rho.shape[0] // 2
    pairs = rho[0 : 2 * num_pairs : 2] + rho[1 : 2 * num_pairs : 2]
    positive = jnp.cumsum((pairs <= 0).astype(jnp.int32), axis=0) == 0
    monotone = jax.lax.cummin(pairs, axis=0)
    # The first of a pair whose sum is negative may still be positive, and then counts once.
    first = jnp.cumsum((~positive).astype(jnp.int32), axis=0) == 1
    last = jnp.sum(jnp.where(first, jnp.maximum(rho[0 : 2 * num_pairs : 2], 0), 0), axis=0)
    tau = 2 * jnp.sum(jnp.where(positive, monotone, 0), axis=0) - 1 + last
    return tau, ~positive[-1]
