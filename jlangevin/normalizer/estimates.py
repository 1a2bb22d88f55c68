"""Ratios of normalisers from the weights of chains: one direction alone, or both together."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, special

from jlangevin._core.checks import as_array, as_host, check_known, check_no_run, check_probability
from jlangevin._core.trees import Numbers
from jlangevin.normalizer.bounds import effective_size, log_mean_bound
from jlangevin.normalizer.report import LogZ, Weights

__all__ = ["as_log_weights", "bennett", "jarzynski"]

Floats = NDArray[np.float64]

MIN_ESS = 30  # weights worth fewer chains have a mean whose error is not normal
MIN_OVERLAP = 10  # likewise chains where both directions go
DISAGREE = 1e-5  # the rate at which directions that obey Crooks' theorem are said not to


def jarzynski(log_weights: Numbers, *, confidence: float = 0.99) -> LogZ:
    """log Z'/Z from the weights of one direction: E[w] = Z'/Z (Jarzynski 1997; Neal 2001).

    The estimate is log of the mean of w, whose expectation is below log Z'/Z. Its standard error
    is that of the mean divided by it, sqrt((N/ESS - 1)/(N - 1)). The lower bound needs no
    assumption: it is the smallest mean that bets on the weights do not refute (Waudby-Smith and
    Ramdas 2024). There is no upper bound, as all chains may have missed where w is large; for that
    go the way back, too, and use `bennett`.

    Args:
        log_weights: log w of independent chains, (chain,); -inf for a weight of 0.
        confidence: of the interval and the bound, in (0, 1).

    Returns:
        `LogZ`. Weights worth fewer than 30 chains are among its `problems`; its interval is then
        from the bound up to infinity.

    Raises:
        TypeError: weights that are not numbers.
        ValueError: fewer than two; one that is NaN or +inf.

    Example:
        >>> import jax, jlangevin as jl
        >>> x = jax.random.normal(jax.random.key(0), (10_000,))
        >>> found = jl.normalizer.jarzynski(0.5 * x)  # E[exp(x/2)] = exp(1/8)
        >>> found.interval[0] < 1 / 8 < found.interval[1]
        True
    """
    weights, level = as_log_weights("log_weights", log_weights), _confidence(confidence)
    way = _weights(weights)
    lower = log_mean_bound(weights, 1 - level)
    problems = _too_few("forward", way)
    interval = (lower, math.inf)
    if not problems:
        spread = float(special.stdtrit(len(weights) - 1, 0.5 + level / 2)) * way.std_error
        interval = (way.value - spread, way.value + spread)
    return LogZ(
        value=way.value,
        std_error=way.std_error,
        interval=interval,
        bounds=(lower, math.inf),
        confidence=level,
        forward=way,
        reverse=None,
        agreement=math.nan,
        overlap=math.nan,
        problems=problems,
        of="log Z'/Z",
    )


def bennett(forward: Numbers, reverse: Numbers, *, confidence: float = 0.99) -> LogZ:
    """log Z'/Z from the weights of both directions, by the acceptance ratio of Bennett (1976).

    With a the log weight of a chain of the way there, the negative one of a chain of the way back,
    and M = log(n_there / n_back), the estimate is the r that solves

        Σ_there σ(a - r - M) = Σ_back σ(-(a - r - M)),    σ(u) = 1/(1 + e^-u)

    It is the likeliest r given what Crooks' theorem (1999) says, p_back(a)/p_there(a) = e^{a - r},
    and its variance is 1/I - 1/n_there - 1/n_back with I = Σ σ(1 - σ) over all chains (Shirts,
    Bair, Hooker and Pande 2003). Of all estimates by both directions it has the smallest variance.

    The bounds need no such theorem, only that each direction began with exact draws: each is that
    of `jarzynski`, for Z'/Z and for Z/Z', so that the truth is between them (Grosse, Ghahramani
    and Adams 2015).

    Args:
        forward: log w of the chains there, (chain,), with E[w] = Z'/Z.
        reverse: log w of the chains back, (chain,), with E[w] = Z/Z'.
        confidence: of the interval, and of both bounds together, in (0, 1).

    Returns:
        `LogZ`. Among its `problems` are directions that hardly go to the same place, and those that
        do not obey Crooks' theorem: a line a + c fitted to the log odds of the direction given a
        has another slope than 1 (a score test that a right pair fails with probability 1e-5), or
        the lower bound is above the upper one. Draws that are not those of the energy show there,
        but not a mode that both ways have missed. Its interval is then that of the bounds.

    Raises:
        TypeError: weights that are not numbers.
        ValueError: fewer than two in a direction; one that is NaN or +inf; a direction all of whose
            weights are 0.

    Example:
        >>> import jax, jlangevin as jl
        >>> there, back = jax.random.normal(jax.random.key(0), (2, 1000))
        >>> found = jl.normalizer.bennett(2 + there, -3 + back)  # a ~ N(2, 1), and N(3, 1) back
        >>> found.interval[0] < 2.5 < found.interval[1], round(found.agreement, 6) > 1e-5
        (True, True)
    """
    there, back = as_log_weights("forward", forward), as_log_weights("reverse", reverse)
    level = _confidence(confidence)
    for name, weights in (("forward", there), ("reverse", back)):
        if not np.any(weights > -np.inf):
            raise ValueError(
                f"{name}: all weights are 0, as every chain of this direction met an energy of "
                "+inf; begin with a base that is narrower than where the energy is finite"
            )
    a, ends = np.concatenate([there, -back]), len(there)
    ratio, fitted = _solve(a, ends)
    information = float(np.sum(fitted * (1 - fitted)))
    variance = np.inf
    if information > 0:
        variance = max(1 / information - 1 / ends - 1 / len(back), 0.0)
    error = math.sqrt(variance)
    overlap = information * len(a) ** 2 / (ends * len(back))
    agreement = math.nan
    if overlap >= MIN_OVERLAP:
        agreement = _slope_test(a, fitted, ends, information)
    miss = (1 - level) / 2
    bounds = (log_mean_bound(there, miss), -log_mean_bound(back, miss))
    problems = []
    if overlap < MIN_OVERLAP:
        problems.append(
            f"the two directions hardly go to the same place ({overlap:.2g} chains in effect); "
            "take more levels (num_steps), a kernel that moves further, or a base that is more "
            "like the energy"
        )
    if agreement < DISAGREE:
        problems.append(
            f"the two directions are not those of one path (p = {agreement:.1g}): the draws for "
            "the way back are not exact draws of the energy, or one of them misses modes"
        )
    if bounds[0] > bounds[1]:
        problems.append(
            "the lower bound is above the upper one: the draws for the way back are not exact "
            "draws of the energy"
        )
    spread = float(special.ndtri(0.5 + level / 2)) * error
    interval = (ratio - spread, ratio + spread)
    if problems:
        interval = (min(bounds), max(bounds))
    return LogZ(
        value=ratio,
        std_error=error,
        interval=interval,
        bounds=bounds,
        confidence=level,
        forward=_weights(there),
        reverse=_turned(_weights(back)),
        agreement=agreement,
        overlap=overlap,
        problems=tuple(problems),
        of="log Z'/Z",
    )


def _turned(back: Weights) -> Weights:
    """The way back, with what it says of Z'/Z instead of Z/Z'."""
    return Weights(back.log_weights, -back.value, back.std_error, back.ess, back.acceptance)


def as_log_weights(name: str, value: Numbers) -> Floats:
    """Logarithms of weights on the host, or an error that says which chain has none."""
    check_no_run(name, value, "run.state.kernel.log_weight")
    check_known("estimates of normalisers are made on the host", **{name: value})
    as_array(name, value)  # raises unless these are numbers
    weights = np.asarray(as_host(name, value), np.float64)
    if weights.ndim != 1 or len(weights) < 2:
        raise ValueError(
            f"{name}: expected the log weights of two chains or more, (chain,), got shape "
            f"{weights.shape}"
        )
    wrong = np.isnan(weights) | (weights == np.inf)
    if wrong.any():
        first = int(np.argmax(wrong))
        raise ValueError(
            f"{name}: {wrong.sum()} of {len(weights)} weights are NaN or infinite, the first that "
            f"of chain {first}, which is {weights[first]}; there the energy was NaN or -inf"
        )
    return weights


def _confidence(value: object) -> float:
    return check_probability("confidence", value)


def _weights(log_weights: Floats) -> Weights:
    n, ess = len(log_weights), effective_size(log_weights)
    mean = float(special.logsumexp(log_weights) - math.log(n)) if ess else -math.inf
    error = math.sqrt(max(n / ess - 1, 0.0) / (n - 1)) if ess else math.inf
    return Weights(log_weights, mean, error, ess)


def _too_few(name: str, way: Weights) -> tuple[str, ...]:
    if way.ess >= MIN_ESS:
        return ()
    return (
        f"the {name} weights are worth {way.ess:.1f} chains, too few for a standard error; take "
        "more levels (num_steps) or chains, a kernel that moves further, or a base that is more "
        "like the energy",
    )


def _solve(a: Floats, ends: int) -> tuple[float, Floats]:
    """Bennett's r, and σ(a - r - M) there; the first `ends` of `a` are of the way there.

    The sum of σ over all falls with r, from their number to 0, and is to be n_back.
    """
    n_there, n_back = ends, len(a) - ends
    shift = math.log(n_there / n_back)
    finite = a[np.isfinite(a)]
    low, high = float(np.min(finite)) - 1, float(np.max(finite)) + 1

    def excess(r: float) -> float:
        return float(np.sum(special.expit(a - r - shift))) - n_back

    while excess(low) < 0 and low > -1e300:
        low -= 2 * (high - low)
    while excess(high) > 0 and high < 1e300:
        high += 2 * (high - low)
    ratio = float(optimize.brentq(excess, low, high, xtol=1e-13))
    return ratio, np.asarray(special.expit(a - ratio - shift))


def _slope_test(a: Floats, fitted: Floats, ends: int, information: float) -> float:
    """The p-value of slope 1, by the score of the likelihood of the directions given a."""
    back = np.arange(len(a)) >= ends
    finite = np.isfinite(a)
    origin = float(np.mean(a[finite]))
    x = np.where(finite, a - origin, 0.0)
    spread = fitted * (1 - fitted)
    score = float(np.sum((back - fitted) * x))
    cross = float(np.sum(spread * x))
    variance = float(np.sum(spread * x**2))
    variance -= cross**2 / information if information > 0 else 0.0
    if variance <= 1e-12 * len(a):
        return 1.0
    return float(2 * special.ndtr(-abs(score) / math.sqrt(variance)))
