"""The odds with which a second normal decides between two moves, as in `barker`."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from scipy.special import expit, log_ndtr

from jlangevin.errors import NoGridLawError
from jlangevin.exact.grid.panels import Floats, Ints
from jlangevin.exact.grid.pieces import (
    REACH,
    SMALL,
    Normals,
    is_even,
    refusal,
    rounding,
    some_of,
)
from jlangevin.exact.grid.steps import StepFunction

__all__ = ["Odds", "decides", "find_odds", "two_ways"]

_DECIDES = 13.0  # the largest deciding normal: a larger one has a probability of 1e-38
_ZETAS = (0.0, _DECIDES, -_DECIDES, 0.2, -0.4, 0.9, -1.6, 2.5)  # deciding normals to look at
_STEP = 0.75  # the ratio of neighbouring sizes that are looked at
_DEGREE = 8  # of the log odds as a polynomial


class Odds(NamedTuple):
    """The log odds of the second branch against the first, for each sign of ξ a polynomial in |ξ|.

    Chebyshev coefficients (2, position, degree) on [0, reach], reach (2, position). The polynomial
    is trusted up to 4/3 of `reach`; beyond that both branches are the same, or the second is never
    taken.
    """

    reach: Floats
    coefficients: Floats
    of_second: bool

    def probability(self, rows: Ints, xi: Floats) -> Floats:
        side = (xi < 0).astype(np.intp)
        reach = self.reach[side, rows]
        t = 2 * np.abs(xi) / np.where(reach > 0, reach, 1) - 1
        later, last = np.zeros_like(t), np.zeros_like(t)  # Clenshaw's recurrence
        for k in range(_DEGREE - 1, 0, -1):
            later, last = self.coefficients[side, rows, k] + 2 * t * later - last, later
        log_odds = self.coefficients[side, rows, 0] + t * later - last
        second = np.where(np.abs(xi) <= reach / _STEP, expit(log_odds), 0.0)
        return np.asarray(second if self.of_second else 1 - second)


def decides(steps: StepFunction, x: Floats, deciding: int) -> bool:
    """Whether the step is one of only two, whatever the value of the deciding normal."""
    some = some_of(len(x))
    xi, zeta, at = np.meshgrid((-1.3, 0.7), _ZETAS, x[some], indexing="ij")
    z = np.stack([xi.ravel(), xi.ravel()])
    z[deciding] = zeta.ravel()
    ends = steps(at.ravel(), z)[0].reshape(at.shape)
    first, second = ends[:, :1], ends[:, 1:2]
    return bool(np.all((ends == first) | (ends == second)))


def two_ways(n: int, deciding: int) -> tuple[Normals, Normals]:
    """The normals of the branches that a deciding normal of 0 and a large one take."""
    direction, small, large = np.ones((2, n)), np.zeros((2, n)), np.zeros((2, n))
    direction[deciding], large[deciding] = 0.0, _DECIDES
    return Normals(small, direction, large), Normals(large, direction, small)


def find_odds(steps: StepFunction, x: Floats, deciding: int) -> Odds:
    """The odds of the branch that a large deciding normal takes, by its square or its sign."""
    n = len(x)
    reach, coefficients = np.zeros((2, n)), np.zeros((2, n, _DEGREE))
    for side, sign in enumerate((1.0, -1.0)):
        if side and is_even(steps, x, two_ways(n, deciding)[1]):
            reach[1], coefficients[1] = reach[0], coefficients[0]
        else:
            reach[side], coefficients[side] = _odds_of(steps, x, deciding, sign)
    return Odds(reach, coefficients, of_second=True)


def _odds_of(steps: StepFunction, x: Floats, deciding: int, sign: float) -> tuple[Floats, Floats]:
    """For ξ of one sign: how far the odds reach, and the Chebyshev coefficients of their log."""
    n = len(x)

    def pairs(xi: Floats, zeta: Any) -> Floats:
        z = np.stack([xi, xi])
        z[deciding] = zeta
        return z

    # The odds reach as far as the probability is above 1e-38; the sizes tried find at least three
    # quarters of that.
    sizes = np.concatenate([[REACH], SMALL])
    rows, xi = np.repeat(np.arange(n), len(sizes)), sign * np.tile(sizes, n)
    differs = steps(x[rows], pairs(xi, 0.0))[0] != steps(x[rows], pairs(xi, _DECIDES))[0]
    differs = differs.reshape(n, len(sizes))
    reach = np.where(differs.any(axis=1), sizes[np.argmax(differs, axis=1)], 0.0)
    nodes = np.cos(np.pi * (np.arange(_DEGREE) + 0.5) / _DEGREE)  # Chebyshev's
    between = np.array([-0.93, 0.58])
    degrees = np.arange(_DEGREE)[:, None]
    transform = np.cos(degrees * np.arccos(nodes)) * 2 / _DEGREE
    transform[0] /= 2
    at = np.concatenate([nodes, between])
    rows, size = np.repeat(np.arange(n), len(at)), (at + 1) / 2 * reach[:, None]
    log_odds = _log_odds(steps, x[rows], sign * size.ravel(), pairs).reshape(n, len(at))
    coefficients = np.dot(log_odds[:, :_DEGREE], transform.T)
    expected = expit(np.dot(coefficients, np.cos(degrees * np.arccos(between))))
    gap = np.abs(expected - expit(log_odds[:, _DEGREE:]))[reach > 0]
    if np.max(gap, initial=0) > 100 * rounding(steps):
        raise NoGridLawError(
            f"kernel: the odds with which the second normal of {steps.name} decides between two "
            "moves are not a smooth function of the first; a grid is for odds like barker's"
        )
    return reach, coefficients


def _log_odds(steps: StepFunction, x: Floats, xi: Floats, pairs: Any) -> Floats:
    """log P(second) - log P(first), given ξ: the outcome changes at most once on each side of 0."""
    first, second = steps(x, pairs(xi, 0.0))[0], steps(x, pairs(xi, _DECIDES))[0]
    at = _DECIDES * steps.turning(x, pairs(xi, 0.0), pairs(xi, _DECIDES), by_rate=False)
    log_second = np.where(first != second, log_ndtr(-at), -np.inf)
    # If its square decides, the outcome changes at -at too; if its sign does, never there.
    just = 1e-5
    before, behind = (steps(x, pairs(xi, -at * (1 + e)))[0] for e in (-just, just))
    even = (before == first) & (behind == second)
    never = steps(x, pairs(xi, -_DECIDES))[0] == first
    if not np.all(even | never | (first == second)):
        raise refusal(steps)
    log_second = np.minimum(log_second + np.where(even, np.log(2), 0), -1e-300)
    return np.asarray(log_second - np.log(-np.expm1(log_second)))
