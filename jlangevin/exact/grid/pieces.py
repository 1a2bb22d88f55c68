"""The affine pieces of a step in one normal, found from the step itself."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from jlangevin.errors import NoGridLawError
from jlangevin.exact.grid.panels import Flags, Floats, Ints
from jlangevin.exact.grid.steps import StepFunction

__all__ = [
    "REACH",
    "SMALL",
    "Normals",
    "Piece",
    "is_even",
    "pieces",
    "refusal",
    "rounding",
    "scattered",
    "some_of",
]

REACH = 9.0  # beyond which a normal has a probability of 2e-19
SMALL = REACH * 0.75 ** np.arange(1, 40)  # for branches that are known only at small normals
_SPACING = np.linspace(-REACH, REACH, 73) + 0.0137  # shifted, to miss walls and the sign at 0
_GRADED = np.sort(np.concatenate([-SMALL, SMALL]))
_MOST_PIECES = 40


class Piece(NamedTuple):
    """y = intercept + slope ξ for start < ξ < stop, for each position; empty where start ≥ stop."""

    start: Floats
    stop: Floats
    intercept: Floats
    slope: Floats


class Normals(NamedTuple):
    """The normals of a branch, base + direction ξ, and the base of the other branch, each (normals,
    position)."""

    base: Floats
    direction: Floats
    other: Floats | None

    def outcome(
        self, steps: StepFunction, x: Floats, rows: Ints, xi: Floats
    ) -> tuple[Floats, Floats, Flags]:
        """Where steps from x[rows] lead, the slope there, and whether it matters: it does not where
        nothing is accepted, or where the other branch leads to the same place."""
        along = self.direction[:, rows] * xi
        y, slopes, rate = steps.slopes(x[rows], self.base[:, rows] + along)
        known = np.isfinite(y) & (rate > 0)
        if self.other is not None:
            known &= y != steps(x[rows], self.other[:, rows] + along)[0]
        return y, np.asarray(np.sum(slopes * self.direction[:, rows], axis=0)), known


def pieces(steps: StepFunction, x: Floats, normals: Normals) -> tuple[Piece, ...]:
    """The pieces of a step from each of `x`; raises if it has none."""
    spacing = _SPACING if normals.other is None else _GRADED
    n, g = len(x), len(spacing)
    found = normals.outcome(steps, x, np.repeat(np.arange(n), g), np.tile(spacing, n))
    y, slope, known = found[0].reshape(n, g), found[1].reshape(n, g), found[2].reshape(n, g)
    made = _runs(steps, spacing, y, slope, known)
    _check_pieces(steps, x, normals, made)
    return made


def is_even(steps: StepFunction, x: Floats, normals: Normals) -> bool:
    """Whether ξ and -ξ lead to the same place, at the same rate."""
    some = np.tile(some_of(len(x)), 4)
    xi = np.repeat((0.02, 0.4, 1.3, 3.1), len(some) // 4)
    along = normals.direction[:, some] * xi
    both = np.concatenate([normals.base[:, some] + along, normals.base[:, some] - along], axis=1)
    ends = steps(np.tile(x[some], 2), both)
    half = len(some)
    return all(np.array_equal(each[:half], each[half:]) for each in ends)


def _runs(
    steps: StepFunction, spacing: Floats, y: Floats, d: Floats, known: Flags
) -> tuple[Piece, ...]:
    """Runs of normals that share an intercept and a slope. y is continuous from one run to the
    next, so their lines cross where the runs meet."""
    n, g = y.shape
    column = np.arange(g)
    # Unknown values are filled in from the last known one before them; leading ones from the first
    # known one after them.
    last = np.maximum.accumulate(np.where(known, column, -1), axis=1)
    first = np.argmax(known, axis=1)
    last = np.where(last < 0, first[:, None], last)
    y, d = np.take_along_axis(y, last, 1), np.take_along_axis(d, last, 1)
    xi = spacing[last]
    c = y - d * xi
    size = np.abs(y) + np.abs(d * xi)
    tolerance = rounding(steps) * (size[:, 1:] + size[:, :-1])
    changed = (np.abs(np.diff(c, axis=1)) > tolerance) | (
        np.abs(np.diff(d, axis=1)) * REACH > tolerance
    )
    label = np.concatenate([np.zeros((n, 1), np.intp), np.cumsum(changed, axis=1)], axis=1)
    if label.max(initial=0) >= _MOST_PIECES:
        raise refusal(steps)
    any_known = known.any(axis=1)
    made: list[Piece] = []
    previous_c = previous_d = np.zeros(n)
    stop = np.full(n, -np.inf)
    for k in range(int(label.max(initial=0)) + 1):
        here = label == k
        there = here.any(axis=1) & any_known
        middle = np.argmax(here, axis=1) + here.sum(axis=1) // 2
        middle = np.minimum(middle, g - 1)
        ck, dk = c[np.arange(n), middle], d[np.arange(n), middle]
        start = np.full(n, -np.inf)
        if k:
            turn = dk - previous_d
            start = np.where(turn != 0, (previous_c - ck) / np.where(turn != 0, turn, 1), np.inf)
            made[-1] = made[-1]._replace(stop=np.where(there, start, made[-1].stop))
        stop = np.where(there, np.inf, -np.inf)
        made.append(Piece(np.where(there, start, np.inf), stop, ck, dk))
        previous_c, previous_d = np.where(there, ck, previous_c), np.where(there, dk, previous_d)
    return tuple(made)


def _check_pieces(
    steps: StepFunction, x: Floats, normals: Normals, pieces: tuple[Piece, ...]
) -> None:
    """Raise unless the step agrees with its pieces at other normals."""
    rows = np.arange(len(x))
    for phase in (0.05, 0.55):
        xi = 2.7 * scattered(1, len(x), phase)[0]
        y, _, known = normals.outcome(steps, x, rows, xi)
        expected, size = np.full(len(x), np.nan), np.abs(y)
        for piece in pieces:
            inside = (piece.start < xi) & (xi < piece.stop)
            expected = np.where(inside, piece.intercept + piece.slope * xi, expected)
            size = np.where(inside, size + np.abs(piece.slope * xi), size)
        off = np.abs(y - expected) > 10 * rounding(steps) * size
        if np.any(off & known):
            raise refusal(steps)


def refusal(steps: StepFunction) -> NoGridLawError:
    return NoGridLawError(
        f"kernel: the step of {steps.name} is not affine in its normals on this energy, piece by "
        "piece, nor decided between two such moves by one of them; a grid is for ula, tamed_ula, "
        "mala, barker, projected, reflected, reflected_mala, gradient_noise and kernels like them"
    )


def some_of(n: int) -> Ints:
    """A few of n positions, with the first and the last."""
    return np.unique(np.linspace(0, n - 1, 24).astype(np.intp))


def scattered(k: int, n: int, phase: float) -> Floats:
    """Fixed normals (k, n) of both signs, without a pattern."""
    index = np.arange(1, k * n + 1).reshape(k, n)
    return np.asarray(2.2 * np.cos(2 * np.pi * ((np.sqrt(5) - 1) / 2 * index + phase)))


def rounding(steps: StepFunction) -> float:
    return 1e3 * float(np.finfo(steps.dtype).eps)
