"""How well draws estimate: Monte Carlo standard errors."""

from __future__ import annotations

import functools
from typing import Literal

import jax
import jax.numpy as jnp
from jax.scipy.special import betainc

from jlangevin._core.checks import check_probability
from jlangevin._core.compiling import compiled_by_size
from jlangevin._core.trees import Numbers
from jlangevin.diagnostics.ess import mean_ess, quantile_ess
from jlangevin.diagnostics.series import as_series, centred, over_elements, standard_deviation

__all__ = ["mcse", "mcse_of_mean", "sd_error_of_squares", "unit_and_squares"]

Estimate = Literal["mean", "sd", "median", "quantile"]

_ESTIMATES = ("mean", "sd", "median", "quantile")


def mcse(x: Numbers, method: Estimate = "mean", *, prob: float | None = None) -> jax.Array:
    """The Monte Carlo standard error of an estimate from the draws.

        mean        sd(x) / sqrt(ess(x, "mean"))
        sd          sqrt((m₄ / m₂ - m₂) / (4 s)),   s = ess((x - mean)², "mean")
        quantile    half the distance between two of the sorted draws, see below
        median      that of the quantile at 0.5

    m₂ and m₄ are the mean second and fourth powers of x - mean(x). For the quantile at p, with
    s = ess(x <= quantile, "mean"), the share of the law below it is Beta(s p + 1, s (1 - p) + 1).
    The two places in the sorted draws are the 16% and 84% quantiles of this, Φ(-1) and Φ(1), times
    the number of draws.

    Args:
        x: draws, (chain, draw, …).
        method: what is estimated: "mean", "sd", "median" or "quantile".
        prob: p in (0, 1), only for "quantile".

    Returns:
        Shape of the trailing axes. NaN for fewer than 4 draws a chain or where a draw is NaN; "sd"
        is also NaN if the draws are all equal.

    Raises:
        TypeError: `x` is not an array of real numbers, or `prob` is not a number.
        ValueError: `x` has no (chain, draw) axes, `method` is not one of the four, or `prob` is
            missing, not in (0, 1), or given for another method.
        AxesWarning: more chains than draws, as if axes were swapped.

    References: Vehtari et al. (2021), https://doi.org/10.1214/20-BA1221; for the sd Kenney and
        Keeping (1951), Mathematics of Statistics, part two, p. 141. The error of the sd is that of
        arviz 0.23 and of arviz-stats from 1.3.2 on, which use the effective size of the squared
        deviations, as the R package posterior does. arviz-stats from 0.8 to 1.3.1 uses that of the
        draws themselves, which is smaller for draws that wander slowly and larger for draws that
        alternate. The other errors are the same in all versions.

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
            + ("needs it, as prob=0.9" if prob is None else f"does not take it, got {prob!r}")
        )
    x = as_series("x", x, warn_of_axes=True)
    if method == "mean":
        return mcse_of_mean(x)
    if method == "sd":
        return _mcse_sd(x)
    return _mcse_quantile(x, prob=0.5 if prob is None else check_probability("prob", prob))


@compiled_by_size
def mcse_of_mean(x: jax.Array) -> jax.Array:
    """`mcse` of the mean, for floats whose axes are known to be (chain, draw, …)."""
    return over_elements(_mean_error, x)


@compiled_by_size
def _mcse_sd(x: jax.Array) -> jax.Array:
    return over_elements(_sd_error, x)


@functools.partial(compiled_by_size, static_argnames=("prob",))
def _mcse_quantile(x: jax.Array, prob: float) -> jax.Array:
    return over_elements(functools.partial(_quantile_error, prob=prob), x)


# One series (chain, draw) -----------------------------------------------------------------------


def _mean_error(x: jax.Array) -> jax.Array:
    return standard_deviation(x) / jnp.sqrt(mean_ess(x))


def _sd_error(x: jax.Array) -> jax.Array:
    unit, square = unit_and_squares(x)
    return sd_error_of_squares(unit, square, mean_ess(square))


def unit_and_squares(x: jax.Array) -> tuple[jax.Array, jax.Array]:
    """A unit, and the squared deviations in it, so that powers do not overflow or underflow."""
    deviation = centred(x, (0, 1))
    unit = jnp.max(jnp.abs(deviation))
    return unit, (deviation / unit) ** 2


def sd_error_of_squares(unit: jax.Array, square: jax.Array, ess: jax.Array) -> jax.Array:
    """The error of the sd, by what `unit_and_squares` gives and the ESS of the squares."""
    second = jnp.mean(square)
    variance = jnp.mean((square - second) ** 2) / ess
    return unit * jnp.sqrt(variance / second / 4)


def _quantile_error(x: jax.Array, prob: float) -> jax.Array:
    worth, size = quantile_ess(x, prob), x.size
    places = [
        size * _beta_quantile(sign, worth * prob + 1, worth * (1 - prob) + 1) - 1
        for sign in (-1, 1)
    ]
    # As in ArviZ, a place outside the draws becomes the smallest or largest draw.
    low = jnp.floor(jnp.fmax(places[0], 0)).astype(jnp.int32)
    high = jnp.ceil(jnp.fmin(places[1], size - 1)).astype(jnp.int32)
    ordered = jnp.sort(x.reshape(-1))
    error = (ordered[high] - ordered[low]) / 2
    return jnp.where(jnp.any(jnp.isnan(x)), jnp.nan, error)


def _beta_quantile(sign: int, a: jax.Array, b: jax.Array) -> jax.Array:
    """The quantile Φ(±1) of Beta(a, b), by bisection.

    If a + b is so large that `betainc` is rounded too much, by the expansion of Cornish and
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
