"""What draws say about themselves: arrays in, arrays out, all of it under jit."""

from __future__ import annotations

import jax
import jax.numpy as jnp

__all__ = ["integrated_time"]


def integrated_time(rho: jax.Array) -> tuple[jax.Array, jax.Array]:
    """τ = 1 + 2 Σ ρ_t by the initial monotone sequence (Geyer 1992), and whether it ended.

    Sums of neighbours ρ_2k + ρ_2k+1 are positive and decreasing for a reversible chain; the sum
    is taken while they are positive, each cut down to the least before it.

    Args:
        rho: autocorrelations at lags 0, 1, …, on the leading axis; ρ_0 = 1.

    Returns:
        τ and a boolean array, both of the shape of `rho` without its leading axis. False says
        that the sums were positive up to the last lag: τ is then too small by an unknown amount.

    Example:
        >>> import jax.numpy as jnp, jlangevin as jl
        >>> tau, ended = jl.diagnostics.integrated_time(0.5 ** jnp.arange(40.0))
        >>> float(tau), bool(ended)
        (3.0, False)
    """
    num_pairs = rho.shape[0] // 2
    pairs = rho[0 : 2 * num_pairs : 2] + rho[1 : 2 * num_pairs : 2]
    positive = jnp.cumsum((pairs <= 0).astype(jnp.int32), axis=0) == 0
    monotone = jax.lax.cummin(pairs, axis=0)
    # The first of a pair whose sum is negative may still be positive, and then counts once.
    first = jnp.cumsum((~positive).astype(jnp.int32), axis=0) == 1
    last = jnp.sum(jnp.where(first, jnp.maximum(rho[0 : 2 * num_pairs : 2], 0), 0), axis=0)
    tau = 2 * jnp.sum(jnp.where(positive, monotone, 0), axis=0) - 1 + last
    return tau, ~positive[-1]
