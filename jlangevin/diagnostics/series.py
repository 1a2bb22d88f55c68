"""What a chain's series says of itself: autocorrelation, effective sample size, R-hat, error.

Everything here follows Vehtari, Gelman, Simpson, Carpenter and Bürkner (2021), `nested_rhat`
Margossian et al. (2024), and in float64 agrees with ArviZ to rounding, odd cases included: a NaN
anywhere, or fewer than 4 draws a chain, gives NaN. Arrays have axes (chain, draw, …); every element
of the trailing axes is a series of its own.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp
import scipy
from jax.scipy.special import betainc, ndtri

from jlangevin._core import trees
from jlangevin._core.autocorrelation import integrated_time
from jlangevin._core.checks import as_draws_array, check_count, check_probability
from jlangevin._core.compiling import compiled
from jlangevin._core.warn import warn
from jlangevin.errors import AxesWarning

__all__ = ["autocorrelation", "ess", "mcse", "nested_rhat", "rhat"]

Method = Literal["bulk", "tail", "mean"]
Estimate = Literal["mean", "sd", "median", "quantile"]
Scores = Literal["rank", "identity"]

MIN_DRAWS = 4  # below it, ArviZ and so we answer NaN
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


def nested_rhat(x: Any, superchains: int, method: Scores = "rank") -> jax.Array:
    """How far groups of chains disagree: nested R-hat, for many short chains; 1 once they agree.

        R = sqrt(1 + B / W)

    K superchains are M chains each, of n draws, and the chains of a superchain start at the same
    place; different superchains start at different ones, spread wide. B is the variance of the K
    means of superchains; W the mean over superchains of what is within one, the variance of its M
    means of chains and the mean of its M variances of chains. Divisors are one less than what is
    counted, and what is one alone has a variance of 0.

    R-hat asks that each chain be long: where draws are correlated, and a chain has an ESS of s, it
    is near sqrt(1 + 1/s), however many chains there are. Here the mean of a superchain is what
    counts, and R is near sqrt(1 + 1/(M s)): with M chains of a few draws each it can be 1. It is
    below 1.01 for M s above 50. It is for chains that start alike; of chains that each start
    elsewhere it says little, as any group of them is spread as all are.

    A drift that all superchains share is within each and does not show: spread their starts.

    Args:
        x: draws, (chain, draw, …).
        superchains: K, at least 2, a divisor of the number of chains. The first M chains are the
            first superchain, and so on, as `jnp.repeat(starts, M, axis=0)` makes starts.
        method: "rank": the larger of that of the ranks of the draws of half-chains and that of the
            ranks of |draw - median|, each turned into normal quantiles, as in `rhat`; 2 M
            half-chains make a superchain. "identity": the draws as they are, not split, as in the
            paper; this takes a single draw of each chain, too, where M is at least 2.

    Returns:
        Shape of the trailing axes; at least 1. NaN where a draw is NaN or where nothing varies
        within superchains and between them; "rank" also for fewer than 4 draws.

    Raises:
        TypeError: `x` is no array of real numbers, or `superchains` is not an integer.
        ValueError: `x` has no (chain, draw) axes, the number of chains is not a multiple of
            `superchains`, or `method` is neither of the two.

    References: Margossian, Hoffman, Sountsov, Riou-Durand, Vehtari, Gelman (2024), "Nested R-hat:
        Assessing the convergence of Markov chain Monte Carlo when running many short chains",
        https://doi.org/10.1214/24-BA1453. "rank" is the default of ArviZ's `rhat_nested` (0.8
        to 1.3), and its "identity" is the paper's, which ArviZ gives for 4 draws or more.

    Example:
        >>> import jax, jlangevin as jl
        >>> x = jax.random.normal(jax.random.key(0), (512, 8))  # 4 superchains of 128
        >>> bool(jl.diagnostics.nested_rhat(x, 4) < 1.01)
        True
        >>> bool(jl.diagnostics.nested_rhat(x.at[:128].add(1.0), 4) > 1.01)
        True
    """
    if method not in _SCORES:
        raise ValueError(f"method: expected one of {', '.join(_SCORES)}, got {method!r}")
    x = _series("x", x)
    check_superchains(superchains, x.shape[0])
    return _nested(x, superchains=int(superchains), method=method)


def check_superchains(superchains: Any, num_chains: int) -> None:
    """Raise unless `superchains` is the number of equal groups of chains, at least two."""
    count = check_count("superchains", superchains, minimum=2)
    if num_chains % count:
        raise ValueError(
            f"superchains: {num_chains} chains, which is not a multiple of {count}; give a divisor "
            "of the number of chains, those of a superchain side by side"
        )


def mcse(x: Any, method: Estimate = "mean", *, prob: float | None = None) -> jax.Array:
    """The Monte Carlo standard error of an estimate that is made of the draws.

        mean        sd(x) / sqrt(ess(x, "mean"))
        sd          sqrt((m₄ / m₂ - m₂) / (4 s)),   s = ess((x - mean)², "mean")
        quantile    half of what is between two draws in order, at the places where a beta
                    distribution has its quantiles Φ(-1) and Φ(1), see below
        median      that of the quantile at 0.5

    m₂ and m₄ are the mean second and fourth powers of x - mean(x). For the quantile at p, with
    s = ess(x <= quantile, "mean"), the share of the law that is below it is Beta(s p + 1,
    s (1 - p) + 1), and its 16% and 84% quantiles times the number of draws are the places.

    Args:
        x: draws, (chain, draw, …).
        method: what is estimated: "mean", "sd", "median" or "quantile".
        prob: p in (0, 1), for "quantile" alone.

    Returns:
        Shape of the trailing axes. NaN for fewer than 4 draws a chain or where a draw is NaN; "sd"
        also where the draws are all equal.

    Raises:
        TypeError: `x` is no array of real numbers, or `prob` is not a number.
        ValueError: `x` has no (chain, draw) axes, `method` is none of the four, or `prob` is
            missing, not in (0, 1), or given where it does not belong.
        AxesWarning: more chains than draws, as if axes were swapped.

    References: Vehtari et al. (2021), https://doi.org/10.1214/20-BA1221; for the sd Kenney and
        Keeping (1951), Mathematics of Statistics, part two, p. 141. Of versions of ArviZ the error
        of the sd is that of arviz 0.23 and of arviz-stats from 1.3.2 on, which take the effective
        size of the squared deviations, as the R package posterior does; arviz-stats from 0.8 to
        1.3.1 takes that of the draws themselves, which is smaller for draws that wander slowly and
        larger for draws that alternate. The others are the same in all of them.

    Example:
        >>> import jax, jlangevin as jl
        >>> x = jax.random.normal(jax.random.key(0), (4, 2500))
        >>> round(float(jl.diagnostics.mcse(x)), 2)  # 1 / sqrt(10,000)
        0.01
        >>> round(float(jl.diagnostics.mcse(x, "sd")), 3)  # 1 / sqrt(20,000)
        0.007
    """
    if method not in _ESTIMATES:
        raise ValueError(f"method: expected one of {', '.join(_ESTIMATES)}, got {method!r}")
    if (prob is None) == (method == "quantile"):
        raise ValueError(
            f'prob: method="{method}" '
            + ("needs one, as prob=0.9" if prob is None else f"takes none, got {prob!r}")
        )
    x = _series("x", x, told=True)
    if method == "mean":
        return mcse_of(x)
    if method == "sd":
        return _mcse_sd(x)
    return _mcse_quantile(x, prob=0.5 if prob is None else check_probability("prob", prob))


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
    return trees.at_least_float32(x)


def _each(function: Callable[[jax.Array], jax.Array], x: jax.Array) -> jax.Array:
    """A function of one (chain, draw) series, over the trailing axes."""
    if x.shape[1] < MIN_DRAWS:
        return jnp.full(x.shape[2:], jnp.nan, x.dtype)
    flat = x.reshape(*x.shape[:2], -1)
    return jax.vmap(function, in_axes=2)(flat).reshape(x.shape[2:])


@functools.partial(compiled, static_argnames=("method",))
def _ess(x: jax.Array, method: Method) -> jax.Array:
    return _each(_METHODS[method], x)


@compiled
def _rhat(x: jax.Array) -> jax.Array:
    return _each(_rhat_one, x)


@functools.partial(compiled, static_argnames=("superchains", "method"))
def _nested(x: jax.Array, superchains: int, method: Scores) -> jax.Array:
    if method == "identity":
        flat = x.reshape(*x.shape[:2], -1)
        one = functools.partial(_nested_plain, superchains=superchains)
        return jax.vmap(one, in_axes=2)(flat).reshape(x.shape[2:])
    return _each(functools.partial(_nested_one, superchains=superchains), x)


@compiled
def mcse_of(x: jax.Array) -> jax.Array:
    """`mcse` of the mean, of floats whose axes are known to be (chain, draw, …)."""
    return _each(_mcse_mean_one, x)


@compiled
def _mcse_sd(x: jax.Array) -> jax.Array:
    return _each(_mcse_sd_one, x)


@functools.partial(compiled, static_argnames=("prob",))
def _mcse_quantile(x: jax.Array, prob: float) -> jax.Array:
    return _each(functools.partial(_mcse_quantile_one, prob=prob), x)


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


def _ess_quantile(x: jax.Array, prob: float) -> jax.Array:
    return _effective(_split((x <= _quantile(x, prob)).astype(x.dtype)), x)


def _ess_tail(x: jax.Array) -> jax.Array:
    low, high = (_ess_quantile(x, prob) for prob in _TAILS)
    return jnp.minimum(low, high)


_METHODS: dict[str, Callable[[jax.Array], jax.Array]] = {
    "bulk": _ess_bulk,
    "tail": _ess_tail,
    "mean": _ess_mean,
}
_ESTIMATES = ("mean", "sd", "median", "quantile")
_SCORES = ("rank", "identity")


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
    return _by_ranks(_rhat_plain, _scores(x), x)


def _nested_one(x: jax.Array, superchains: int) -> jax.Array:
    return _by_ranks(functools.partial(_nested_halves, superchains=superchains), _scores(x), x)


def _rhat_plain(x: jax.Array) -> jax.Array:
    n = x.shape[1]
    between = n * jnp.var(jnp.mean(x, axis=1), ddof=1)
    within = jnp.mean(_variances(x))
    return jnp.sqrt((between / within + n - 1) / n)


def _nested_halves(halves: jax.Array, superchains: int) -> jax.Array:
    first, last = halves.reshape(2, superchains, -1, halves.shape[1])
    together = jnp.concatenate([first, last], axis=1).reshape(halves.shape)
    return _nested_plain(together, superchains)


def _nested_plain(x: jax.Array, superchains: int) -> jax.Array:
    groups = x.reshape(superchains, -1, x.shape[1])
    means = jnp.mean(groups, axis=2)
    between = _variances(jnp.mean(means, axis=1)[None])[0]
    within = jnp.mean(_variances(means) + jnp.mean(_variances(groups), axis=1))
    return jnp.sqrt(1 + between / within)


def _scores(x: jax.Array) -> jax.Array:
    """Normal scores of half-chains, and those of how far they are from the median, (2, m, n)."""
    split = _split(x)
    # Of an even number of draws the halves are all of them, and one sort does for quantiles too.
    median = _median(x if split.size == x.size else split)
    return jax.vmap(_normal_scores)(jnp.stack([split, jnp.abs(split - median)]))


def _by_ranks(
    plain: Callable[[jax.Array], jax.Array], scores: jax.Array, x: jax.Array
) -> jax.Array:
    """The larger of the two that `plain` makes of `_scores`."""
    bulk, folded = jax.vmap(plain)(scores)
    # The folded one does not exist for draws that have but two values about the median.
    found = jnp.where(folded > bulk, folded, bulk)
    return jnp.where(jnp.any(jnp.isnan(x)), jnp.nan, found)


def _mcse_mean_one(x: jax.Array) -> jax.Array:
    return _sd(x) / jnp.sqrt(_ess_mean(x))


def _mcse_sd_one(x: jax.Array) -> jax.Array:
    unit, square = _squares(x)
    return _error_of_sd(unit, square, _ess_mean(square))


def _squares(x: jax.Array) -> tuple[jax.Array, jax.Array]:
    """A unit, and the squares of the deviations in it: powers would be too large or too small."""
    deviation = _centred(x, (0, 1))
    unit = jnp.max(jnp.abs(deviation))
    return unit, (deviation / unit) ** 2


def _error_of_sd(unit: jax.Array, square: jax.Array, size: jax.Array) -> jax.Array:
    second = jnp.mean(square)
    variance = jnp.mean((square - second) ** 2) / size
    return unit * jnp.sqrt(variance / second / 4)


def all_of_one(
    x: jax.Array, probs: tuple[float, ...], superchains: int | None
) -> dict[str, jax.Array | None]:
    """What `summary` has of one series: each step is written once and mapped, to compile fast."""
    scores, (unit, square) = _scores(x), _squares(x)
    tails = [(x <= _quantile(x, prob)).astype(x.dtype) for prob in _TAILS]
    series = jnp.stack([scores[0], *map(_split, [*tails, x, square])])
    bulk, low, high, mean, sd = jax.vmap(lambda split: _effective(split, x))(series)
    nested = functools.partial(_nested_halves, superchains=superchains or 1)
    return {
        "mean": jnp.mean(x),
        "sd": _sd(x),
        "quantiles": jnp.stack([_quantile(x, prob) for prob in probs]),
        "mcse_mean": _sd(x) / jnp.sqrt(mean),
        "mcse_sd": _error_of_sd(unit, square, sd),
        "ess_bulk": bulk,
        "ess_tail": jnp.minimum(low, high),
        "rhat": _by_ranks(_rhat_plain, scores, x),
        "nested_rhat": None if superchains is None else _by_ranks(nested, scores, x),
    }


def _mcse_quantile_one(x: jax.Array, prob: float) -> jax.Array:
    found = _ess_quantile(x, prob)
    size = x.size
    places = [
        size * _beta_quantile(z, found * prob + 1, found * (1 - prob) + 1) - 1 for z in (-1, 1)
    ]
    # As in ArviZ a place that does not exist is the least or the largest draw.
    low = jnp.floor(jnp.fmax(places[0], 0)).astype(jnp.int32)
    high = jnp.ceil(jnp.fmin(places[1], size - 1)).astype(jnp.int32)
    ordered = jnp.sort(x.reshape(-1))
    error = (ordered[high] - ordered[low]) / 2
    return jnp.where(jnp.any(jnp.isnan(x)), jnp.nan, error)


def _beta_quantile(sign: int, a: jax.Array, b: jax.Array) -> jax.Array:
    """Where Beta(a, b) is one standard deviation of a normal law from its middle: by bisection.

    Where a + b is so large that `betainc` is rounded too much, by the expansion of Cornish and
    Fisher (1938), whose error is then smaller.
    """
    share = 0.1586553 if sign < 0 else 0.8413447  # to the digits that ArviZ has
    bits = jnp.finfo(a.dtype).bits

    def halve(_: int, ends: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        low, high = ends
        middle = (low + high) / 2
        below = betainc(a, b, middle) < share
        return jnp.where(below, middle, low), jnp.where(below, high, middle)

    ends = jax.lax.fori_loop(0, bits, halve, (jnp.zeros_like(a), jnp.ones_like(a)))
    total = a + b
    sd = jnp.sqrt(a * b / (total + 1)) / total
    skew = 2 * (b - a) * jnp.sqrt((total + 1) / (a * b)) / (total + 2)
    excess = (a - b) ** 2 * (total + 1) - a * b * (total + 2)
    excess = 6 * excess / (a * b * (total + 2) * (total + 3))
    normal = a / total + sign * sd * (1 - excess / 12 + skew**2 / 12)
    return jnp.where(total > (1e3 if bits == 32 else 1e7), normal, (ends[0] + ends[1]) / 2)


def _sd(x: jax.Array) -> jax.Array:
    """The standard deviation of all draws, with divisor one less than their number."""
    return jnp.sqrt(jnp.sum(_centred(x, (0, 1)) ** 2) / max(x.size - 1, 1))


def _variances(x: jax.Array) -> jax.Array:
    """Along the last axis, with divisor n - 1; 0 for one number alone."""
    return jnp.sum(_centred(x, -1) ** 2, axis=-1) / max(x.shape[-1] - 1, 1)


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
