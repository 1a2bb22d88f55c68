"""Where the law of one step is not smooth in the position that the step starts from.

A rate min(1, r) has kinks on the curves r(x, y) = 1. One of them is y = x. An integral over y is
still smooth in x, except where two of the curves cross or one turns back: there it behaves like
|x - c|³ or |x - c|^{3/2}. At these positions the number of kinks on the left or on the right of x
changes, and panels should end there.
"""

from __future__ import annotations

import numpy as np

from jlangevin.exact.grid.moves import REACH, moves
from jlangevin.exact.grid.panels import Floats, Ints
from jlangevin.exact.grid.steps import StepFunction

__all__ = ["crossings"]

_POSITIONS = 97  # looked at in the first round
_AT_ONCE = 17  # within each interval in the later ones
_ROUNDS = 4
_CLEAR = 3  # up to so many changes in an interval are told apart
# Proposals examined, in units of the reach: denser near the position itself, but not so near that
# the rate is 1 up to rounding.
_NEAREST = 1e-3
_AWAY = np.concatenate([np.geomspace(_NEAREST, 0.02, 12), np.linspace(0.03, 1, 50)])


def crossings(steps: StepFunction, low: float, high: float) -> Floats:
    """The positions between `low` and `high` at which the number of kinks changes."""
    if not steps.rejects:
        return np.zeros(0)
    x = np.linspace(low, high, _POSITIONS)[1:-1] + 1e-3 * (high - low) / _POSITIONS
    kinks, reach = _kinks(steps, x)
    _, left, right = _brackets(x[None], kinks.reshape(1, -1))
    found = [np.zeros(0)]
    for _ in range(_ROUNDS):
        if not len(left):
            break
        x = left[:, None] + (right - left)[:, None] * np.linspace(0, 1, _AT_ONCE)
        parents, left, right = _brackets(x, _kinks(steps, x.ravel())[0].reshape(x.shape))
        # Two kinks are so near to each other that they are seen in some places and not in others.
        blurred = np.bincount(parents, minlength=len(x))[parents] > _CLEAR
        found += [x[k].mean(keepdims=True) for k in np.unique(parents[blurred])]
        left, right = left[~blurred], right[~blurred]
    found.append((left + right) / 2)
    return _paired(np.concatenate(found), 3 * _NEAREST * reach)


def _brackets(x: Floats, kinks: Ints) -> tuple[Ints, Floats, Floats]:
    """Neighbouring positions between which the number of kinks changes, rising along each row; and
    the rows."""
    rows, places = np.nonzero(kinks[:, 1:] != kinks[:, :-1])
    return rows, x[rows, places], x[rows, places + 1]


def _paired(x: Floats, near: float) -> Floats:
    """A curve that crosses y = x seems to end before it and begin behind it: the middle counts."""
    x = np.sort(x)
    groups = np.split(x, np.nonzero(np.diff(x) > near)[0] + 1)
    return np.array([group.mean() for group in groups if len(group)])


def _kinks(steps: StepFunction, x: Floats) -> tuple[Ints, float]:
    """For each position the number of kinks on its left plus 1000 times the number on its right;
    and how far out proposals were examined."""
    n, found = len(x), np.zeros(len(x), np.intp)
    branches = moves(steps, x, with_odds=False)
    scale = np.max(
        [np.where(p.start < p.stop, np.abs(p.slope), 0) for b in branches for p in b.pieces], axis=0
    )
    center = np.array([p.intercept for b in branches for p in b.pieces])[0]
    reach = REACH * scale + np.abs(center - x)
    away = np.concatenate([-_AWAY[::-1], _AWAY])
    rows, y = np.repeat(np.arange(n), len(away)), (x[:, None] + reach[:, None] * away).ravel()
    for branch in branches:
        for piece in branch.pieces:
            slope = piece.slope[rows]
            xi = (y - piece.intercept[rows]) / np.where(slope == 0, 1, slope)
            inside = (piece.start[rows] < xi) & (xi < piece.stop[rows]) & (slope != 0)
            inside &= np.abs(xi) < REACH
            seen = np.full(len(y), -1)
            normals = branch.normals(rows[inside], xi[inside])
            seen[inside] = steps(x[rows[inside]], normals)[1] >= 1
            full = seen.reshape(n, len(away))
            turns = (full[:, 1:] != full[:, :-1]) & (full[:, 1:] >= 0) & (full[:, :-1] >= 0)
            half = len(_AWAY)
            found += turns[:, : half - 1].sum(axis=1) + 1000 * turns[:, half:].sum(axis=1)
    return found, float(np.median(reach))
