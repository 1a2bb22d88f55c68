"""What a chain's series says of itself: autocorrelation, effective sample size, R-hat, error.

Everything here follows Vehtari, Gelman, Simpson, Carpenter and Bürkner (2021), and in float64
agrees with ArviZ to rounding, odd cases included: a NaN anywhere, or fewer than 4 draws a chain,
gives NaN. Arrays have axes (chain, draw, …); every element of the trailing axes is a series of its
own.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp
import scipy
from jax.scipy.special import ndtri

from jlangevin import trees
from jlangevin._checks import as_draws_array
from jlangevin._warn import warn
from jlangevin.autocorrelation import integrated_time
from jlangevin.compiling import compiled
from jlangevin.errors import AxesWarning

__all__ = ["autocorrelation", "ess", "mcse", "rhat"]

Method = Literal["bulk", "tail", "mean"]

_MIN_DRAWS = 4  # below it, ArviZ and so we answer NaN
_TAILS = (0.05, 0.95)


def ess(x: Any, method: Method = "bulk") -> jax.Array:
    """The number of independent draws that would tell as much: effective sample size.

        ess = m n / τ,   τ = 1 + 2 Σ_t ρ_t

    over the m half-chains of n draws each, ρ combining the autocovariances within them and the
    variance between them, summed by `integrated_time`; τ is at least 1 / log10(m n).

    Args:
        x: draws, (chain, draw, …).
        method: what is to be estimated. "bulk": the centre of the law, by the ranks of the draws,
            turned into normal quantiles; "tail": its 5% and 95% quantiles, the lesser of the two;
            "mean": the mean, by the draws as they are.

    Returns:
        Shape of the trailing axes. NaN for fewer than 4 draws a chain or where a draw is NaN; the
        number of draws where they are all equal.

    Raises:
        TypeError: `x` is no array of real numbers.
        ValueError: `x` has no (chain, draw) axes, or `method` is none of the three.
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
    if method not in _METHODS:
        raise ValueError(f"method: expected one of {', '.join(_METHODS)}, got {method!r}")
    return _ess(_series("x", x, told=True), method=method)


def rhat(x: Any) -> jax.Array:
    """How far chains disagree: rank-normalised split R-hat; 1 once they have mixed.

        R = sqrt((B/W + n - 1) / n)

    over half-chains of n draws, W the mean of their variances and B/n the variance of their means:
    the larger of that of the draws' ranks and that of the ranks of |draw - median|, each turned
    into normal quantiles, so that heavy tails do no harm and a wrong scale is seen as well as a
    wrong place.

    Args:
        x: draws, (chain, draw, …), of at least two chains.

    Returns:
        Shape of the trailing axes. NaN for a single chain, fewer than 4 draws, a NaN draw, or
        draws all equal.

    Raises:
        TypeError: `x` is no array of real numbers.
        ValueError: `x` has no (chain, draw) axes.
        AxesWarning: more chains than draws, as if axes were swapped.

    References: Gelman and Rubin (1992); Vehtari et al. (2021), https://doi.org/10.1214/20-BA1221.

    Example:
        >>> import jax, jlangevin as jl
        >>> x = jax.random.normal(jax.random.key(0), (4, 1000))
        >>> bool(jl.diagnostics.rhat(x) < 1.01)
        True
        >>> bool(jl.diagnostics.rhat(x.at[0].add(1.0)) > 1.01)
        True
    """
    return _rhat(_series("x", x, told=True))


def mcse(x: Any) -> jax.Array:
    """The Monte Carlo standard error of the mean: sd(x) / sqrt(ess(x, "mean")).

    Args:
        x: draws, (chain, draw, …).

    Returns:
        Shape of the trailing axes. NaN for fewer than 4 draws a chain or where a draw is NaN.

    Raises:
        TypeError: `x` is no array of real numbers.
        ValueError: `x` has no (chain, draw) axes.
        AxesWarning: more chains than draws, as if axes were swapped.

    References: Vehtari et al. (2021), https://doi.org/10.1214/20-BA1221.

    Example:
        >>> import jax, jlangevin as jl
        >>> x = jax.random.normal(jax.random.key(0), (4, 2500))
        >>> round(float(jl.diagnostics.mcse(x)), 2)
        0.01
    """
    return mcse_of(_series("x", x, told=True))


def autocorrelation(x: Any) -> jax.Array:
    """Autocorrelations at every lag, by the fast Fourier transform.

        ρ_t = Σ_i (x_i - m)(x_{i+t} - m) / Σ_i (x_i - m)²,   m the chain's own mean

    Args:
        x: draws, (chain, draw, …).

    Returns:
        Shape of `x`, the lag in place of the draw. NaN for chains that do not move, or hold a NaN.

    Raises:
        TypeError: `x` is no array of real numbers.
        ValueError: `x` has no (chain, draw) axes.

    Example:
        >>> import jax.numpy as jnp, jlangevin as jl
        >>> jl.diagnostics.autocorrelation(jnp.array([[1.0, -1.0, 1.0, -1.0]])).round(2).tolist()
        [[1.0, -0.75, 0.5, -0.25]]
    """
    return _autocorrelation(_series("x", x))


# Arrays of known kind ---------------------------------------------------------------------------


def _series(name: str, x: Any, *, told: bool = False) -> jax.Array:
    """`x` as floats of at least 32 bits with axes (chain, draw, …).

    If `told`, more chains than draws are worth a word on which axes these are.
    """
    x = as_draws_array(name, x)
    if x.ndim < 2 or 0 in x.shape:
        raise ValueError(
            f"{name}: expected axes (chain, draw, …), none of them empty, got shape {x.shape}"
            + ("; add the chain axis, x[None]" if x.ndim == 1 else "")
        )
    if told and x.shape[0] > x.shape[1]:
        warn(
            f"{name}: shape {x.shape} is taken for {x.shape[0]} chains of {x.shape[1]} draws, as "
            "the axes are (chain, draw, …). If it is one chain, (draw, …), give x[None]; if it is "
            "(draw, chain, …), jnp.swapaxes(x, 0, 1); if it is right, ignore this warning",
            AxesWarning,
        )
    return trees.wide(x)


def _each(function: Callable[[jax.Array], jax.Array], x: jax.Array) -> jax.Array:
    """A function of one (chain, draw) series, over the trailing axes."""
    if x.shape[1] < _MIN_DRAWS:
        return jnp.full(x.shape[2:], jnp.nan, x.dtype)
    flat = x.reshape(*x.shape[:2], -1)
    return jax.vmap(function, in_axes=2)(flat).reshape(x.shape[2:])


@functools.partial(compiled, static_argnames=("method",))
def _ess(x: jax.Array, method: Method) -> jax.Array:
    return _each(_METHODS[method], x)


@compiled
def _rhat(x: jax.Array) -> jax.Array:
    return _each(_rhat_one, x)


@compiled
def mcse_of(x: jax.Array) -> jax.Array:
    """`mcse` of floats whose axes are known to be (chain, draw, …)."""

    def one(x: jax.Array) -> jax.Array:
        deviation = _centred(x, (0, 1))
        sd = jnp.sqrt(jnp.sum(deviation**2) / max(x.size - 1, 1))
        return sd / jnp.sqrt(_ess_mean(x))

    return _each(one, x)


@compiled
def _autocorrelation(x: jax.Array) -> jax.Array:
    moved = jnp.moveaxis(x, 1, -1)
    covariance = _autocovariance(moved)
    # Of a chain that does not move, rounding of its mean would be what is correlated.
    still = jnp.max(moved, axis=-1, keepdims=True) == jnp.min(moved, axis=-1, keepdims=True)
    still = jnp.broadcast_to(still, moved.shape)
    return jnp.moveaxis(jnp.where(still, jnp.nan, covariance / covariance[..., :1]), -1, 1)


# One series (chain, draw) -----------------------------------------------------------------------


def _ess_bulk(x: jax.Array) -> jax.Array:
    return _effective(_normal_scores(_split(x)), x)


def _ess_mean(x: jax.Array) -> jax.Array:
    return _effective(_split(x), x)


def _ess_tail(x: jax.Array) -> jax.Array:
    low, high = (_effective(_split((x <= _quantile(x, p)).astype(x.dtype)), x) for p in _TAILS)
    return jnp.minimum(low, high)


_METHODS: dict[str, Callable[[jax.Array], jax.Array]] = {
    "bulk": _ess_bulk,
    "tail": _ess_tail,
    "mean": _ess_mean,
}


def _effective(split: jax.Array, x: jax.Array) -> jax.Array:
    """The effective sample size of half-chains (m, n) that were made of `x`."""
    m, n = split.shape
    means = jnp.mean(split, axis=1)
    covariance = jnp.mean(_autocovariance(split), axis=0)
    within = covariance[0] * (n / (n - 1))
    total = covariance[0] + jnp.var(means, ddof=1)
    rho = (1 - (within - covariance) / total).at[0].set(1)
    # The sum goes over as many pairs as ArviZ's, and takes the first half of one more.
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
    # ArviZ says so of any range below 1e-15, whatever the unit.
    found = jnp.where(jnp.max(split) == jnp.min(split), float(size), found)
    return jnp.where(jnp.any(jnp.isnan(x)), jnp.nan, found)


def _rhat_one(x: jax.Array) -> jax.Array:
    if x.shape[0] < 2:
        return jnp.full((), jnp.nan, x.dtype)
    split = _split(x)
    n = split.shape[1]

    def plain(z: jax.Array) -> jax.Array:
        between = n * jnp.var(jnp.mean(z, axis=1), ddof=1)
        within = jnp.mean(jnp.sum(_centred(z, 1) ** 2, axis=1) / (n - 1))
        return jnp.sqrt((between / within + n - 1) / n)

    bulk = plain(_normal_scores(split))
    folded = plain(_normal_scores(jnp.abs(split - _median(split))))
    # The folded one does not exist for draws that have but two values about the median.
    found = jnp.where(folded > bulk, folded, bulk)
    return jnp.where(jnp.any(jnp.isnan(x)), jnp.nan, found)


def _split(x: jax.Array) -> jax.Array:
    """First and last halves as chains of their own, without the middle draw of an odd number."""
    half = x.shape[1] // 2
    return jnp.concatenate([x[:, :half], x[:, x.shape[1] - half :]])


def _normal_scores(x: jax.Array) -> jax.Array:
    """Normal quantiles of the ranks among all of `x`, ties averaged (Blom 1958)."""
    rank = jax.scipy.stats.rankdata(x).reshape(x.shape)
    scores = ndtri((rank - 0.375) / (x.size + 0.25)).astype(x.dtype)
    return jnp.where(jnp.max(x) == jnp.min(x), 0, scores)  # zeros, without rounding


def _quantile(x: jax.Array, probability: float) -> jax.Array:
    """As NumPy's, to the last bit: draws are compared with it, and may be equal to it."""
    ordered = jnp.sort(x.reshape(-1))
    place = (x.size - 1) * probability
    low = math.floor(place)
    below, above = ordered[low], ordered[min(low + 1, x.size - 1)]
    fraction = place - low
    if fraction >= 0.5:
        return above - (above - below) * (1 - fraction)
    return below + (above - below) * fraction


def _median(x: jax.Array) -> jax.Array:
    """The mean of the two in the middle, from which both must be equally far."""
    ordered = jnp.sort(x.reshape(-1))
    return 0.5 * (ordered[(x.size - 1) // 2] + ordered[x.size // 2])


def _autocovariance(x: jax.Array) -> jax.Array:
    """Along the last axis, with divisor n at every lag."""
    n = x.shape[-1]
    length = scipy.fft.next_fast_len(2 * n, real=True)
    spectrum = jnp.fft.rfft(_centred(x, -1), n=length)
    power = jnp.real(spectrum) ** 2 + jnp.imag(spectrum) ** 2
    return jnp.fft.irfft(power.astype(spectrum.dtype), n=length)[..., :n] / n


def _centred(x: jax.Array, axis: int | tuple[int, ...]) -> jax.Array:
    """Less its mean, twice: what rounding left of it the first time goes the second."""
    x = x - jnp.mean(x, axis=axis, keepdims=True)
    return x - jnp.mean(x, axis=axis, keepdims=True)
