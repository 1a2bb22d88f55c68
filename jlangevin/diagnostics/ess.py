"""What draws are worth: autocorrelation and effective sample size."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Literal

import jax
import jax.numpy as jnp
import scipy

from jlangevin._core.autocorrelation import integrated_time
from jlangevin._core.compiling import compiled_by_size
from jlangevin._core.trees import Numbers
from jlangevin.diagnostics.series import (
    as_series,
    centred,
    normal_scores,
    over_elements,
    quantile,
    split_chains,
)

__all__ = ["TAILS", "autocorrelation", "effective_size", "ess", "mean_ess", "quantile_ess"]

Method = Literal["bulk", "tail", "mean"]

TAILS = (0.05, 0.95)


def ess(x: Numbers, method: Method = "bulk") -> jax.Array:
    """Effective sample size: the number of independent draws that would be worth as much.

        ess = m n / τ,   τ = 1 + 2 Σ_t ρ_t

    over the m half-chains of n draws each. ρ combines the autocovariances within them and the
    variance between them, and is summed by `integrated_time`; τ is at least 1 / log10(m n).

    Args:
        x: draws, (chain, draw, …).
        method: what is to be estimated. "bulk": the centre of the law, by the ranks of the draws,
            turned into normal quantiles; "tail": its 5% and 95% quantiles, the smaller of the two;
            "mean": the mean, by the draws themselves.

    Returns:
        Shape of the trailing axes. NaN for fewer than 4 draws a chain or where a draw is NaN; the
        number of draws if they are all equal.

    Raises:
        TypeError: `x` is not an array of real numbers.
        ValueError: `x` has no (chain, draw) axes, or `method` is not one of the three.
        AxesWarning: more chains than draws, as if axes were swapped.

    References: Geyer (1992); Vehtari et al. (2021), https://doi.org/10.1214/20-BA1221.

    Example:
        >>> import jax, jax.numpy as jnp, jlangevin as jl
        >>> energy = jl.energies.quadratic(jnp.eye(2))
        >>> run = jl.sample(jax.random.key(0), energy, jl.ula(0.5), energy,
        ...                 num_steps=1000, num_chains=4)
        >>> jl.diagnostics.ess(run.draws).shape
        (2,)
    """
    if method not in _ESS_BY_METHOD:
        raise ValueError(f"method: expected one of {', '.join(_ESS_BY_METHOD)}, got {method!r}")
    return _ess(as_series("x", x, warn_of_axes=True), method=method)


def autocorrelation(x: Numbers) -> jax.Array:
    """Autocorrelations at every lag, by the fast Fourier transform.

        ρ_t = Σ_i (x_i - m)(x_{i+t} - m) / Σ_i (x_i - m)²,   m the chain's own mean

    Args:
        x: draws, (chain, draw, …).

    Returns:
        Shape of `x`, the lag in place of the draw. NaN for chains that do not move, or hold a NaN.

    Raises:
        TypeError: `x` is not an array of real numbers.
        ValueError: `x` has no (chain, draw) axes.

    Example:
        >>> import jax.numpy as jnp, jlangevin as jl
        >>> jl.diagnostics.autocorrelation(jnp.array([[1.0, -1.0, 1.0, -1.0]])).round(2).tolist()
        [[1.0, -0.75, 0.5, -0.25]]
    """
    return _autocorrelation(as_series("x", x))


@functools.partial(compiled_by_size, static_argnames=("method",))
def _ess(x: jax.Array, method: Method) -> jax.Array:
    return over_elements(_ESS_BY_METHOD[method], x)


@compiled_by_size
def _autocorrelation(x: jax.Array) -> jax.Array:
    moved = jnp.moveaxis(x, 1, -1)
    covariance = _autocovariance(moved)
    # For a chain that does not move, this would be the correlation of rounding errors.
    still = jnp.max(moved, axis=-1, keepdims=True) == jnp.min(moved, axis=-1, keepdims=True)
    still = jnp.broadcast_to(still, moved.shape)
    return jnp.moveaxis(jnp.where(still, jnp.nan, covariance / covariance[..., :1]), -1, 1)


# One series (chain, draw) -----------------------------------------------------------------------


def _bulk_ess(x: jax.Array) -> jax.Array:
    return effective_size(normal_scores(split_chains(x)), x)


def mean_ess(x: jax.Array) -> jax.Array:
    """ESS for the mean: of the draws themselves."""
    return effective_size(split_chains(x), x)


def quantile_ess(x: jax.Array, prob: float) -> jax.Array:
    """ESS for a quantile: of the indicator that a draw is at most as large."""
    return effective_size(split_chains((x <= quantile(x, prob)).astype(x.dtype)), x)


def _tail_ess(x: jax.Array) -> jax.Array:
    low, high = (quantile_ess(x, prob) for prob in TAILS)
    return jnp.minimum(low, high)


_ESS_BY_METHOD: dict[str, Callable[[jax.Array], jax.Array]] = {
    "bulk": _bulk_ess,
    "tail": _tail_ess,
    "mean": mean_ess,
}


def effective_size(split: jax.Array, x: jax.Array) -> jax.Array:
    """The effective sample size of half-chains (m, n) that were made of `x`."""
    m, n = split.shape
    means = jnp.mean(split, axis=1)
    covariance = jnp.mean(_autocovariance(split), axis=0)
    within = covariance[0] * (n / (n - 1))
    total = covariance[0] + jnp.var(means, ddof=1)
    rho = (1 - (within - covariance) / total).at[0].set(1)
    # Like ArviZ's, the sum ends with the first half of a pair.
    pairs = max((n - 3) // 2, 0)
    even, odd = rho[2 * pairs], rho[2 * pairs + 1]
    tau = jnp.where(even + odd < 0, jnp.maximum(even, 0), even)
    if pairs:
        before, ended = integrated_time(rho[: 2 * pairs])
        tau = jnp.where(ended, before, before + tau)
    else:
        tau = tau - 1
    size = m * n
    found = size / jnp.maximum(tau, 1 / math.log10(size))
    found = jnp.where(jnp.isnan(rho[1]), jnp.nan, found)
    # ArviZ does so for any range below 1e-15, whatever the unit.
    found = jnp.where(jnp.max(split) == jnp.min(split), float(size), found)
    return jnp.where(jnp.any(jnp.isnan(x)), jnp.nan, found)


def _autocovariance(x: jax.Array) -> jax.Array:
    """Along the last axis, with divisor n at every lag."""
    n = x.shape[-1]
    length = scipy.fft.next_fast_len(2 * n, real=True)
    spectrum = jnp.fft.rfft(centred(x, -1), n=length)
    power = jnp.real(spectrum) ** 2 + jnp.imag(spectrum) ** 2
    return jnp.fft.irfft(power.astype(spectrum.dtype), n=length)[..., :n] / n
