"""Which part of the plane is looked at: where exp(-E/T) has its mass, or a rectangle."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from jlangevin.errors import NoEnergyError
from jlangevin.exact.grid.law import as_interval
from jlangevin.exact.grid.panels import Flags, Floats
from jlangevin.exact.grid.plane.start import PlaneStart
from jlangevin.exact.grid.plane.steps import PlaneSteps

__all__ = ["Part", "Parts", "bulk", "given", "parts_of"]

_POINTS = 601  # along each side, at which an energy is evaluated
_FAR = 1e6  # how far out, in units of the least distance that counts
_ROUNDS = 8
_SPARE = 0.1  # of a side, added to it, as a valley's narrow end may be missed
_MORE = 6.0  # by how much a level rises, at least
_WIDER = 1.3  # times, for the next rectangle
_FIRST = 1e-3  # the share of a start that may be above the first level, if it counts as lost

Parts = Callable[[int], "Part"]


class Part(NamedTuple):
    """The points of a rectangle with an energy of at most `level`, in units of the temperature."""

    low: Floats
    high: Floats
    level: float

    def holds(self, steps: PlaneSteps, s: Floats) -> Flags:
        """Which of the states (2, n) on its rectangle are in it."""
        if not np.isfinite(self.level):
            return np.ones(s.shape[1], bool)
        return np.asarray(np.nan_to_num(steps.energies(s), nan=np.inf) <= self.level)

    def shown(self, steps: PlaneSteps) -> str:
        sides = [f"{a:.4g} to {b:.4g}" for a, b in zip(self.low, self.high, strict=True)]
        return sides[0] if steps.carries else f"{sides[0]} by {sides[1]}"


def parts_of(
    steps: PlaneSteps, center: Floats, scale: Floats, depth: float, start: PlaneStart | None
) -> Parts:
    """Larger and larger parts: where E/T is below a level that begins at its minimum plus `depth`
    and rises. Without an energy that ends, they are rectangles around the start, or else the
    center.

    The first holds nearly all of the start."""
    least = bulk(steps, center, scale / 30, depth)
    if least is None:
        low, high = center - 20 * scale, center + 20 * scale
        if start is not None:
            low, high = (f(start.seen().states, axis=1) for f in (np.min, np.max))
            low, high = low - 9 * scale, high + 9 * scale
        if steps.carries:
            low[1], high[1] = -math.sqrt(2 * depth), math.sqrt(2 * depth)
        return lambda k: _rectangle(low, high, _WIDER**k)
    floor = least.level - depth
    if start is not None:
        seen = start.seen()
        energies = steps.energies(seen.states)
        order = np.argsort(energies)
        # If a normal is carried, starts beyond the level count as lost; else they are not seen.
        most = _FIRST if steps.carries else math.exp(-depth)
        held = np.cumsum(seen.weights[order]) >= 1 - most
        depth = max(depth, float(energies[order][np.argmax(held)]) + 3 - floor)
    more = max(_MORE, depth / 2)

    def part(k: int) -> Part:
        found = bulk(steps, center, scale / 30, depth + k * more)
        return least if found is None else found

    return part


def _rectangle(low: Floats, high: Floats, times: float) -> Part:
    middle, half = (low + high) / 2, (high - low) / 2
    return Part(middle - times * half, middle + times * half, np.inf)


def bulk(steps: PlaneSteps, center: Floats, scale: Floats, depth: float) -> Part | None:
    """Where E/T < min E/T + depth, as far as can be seen; None if it has no end, or without an E.

    601 × 601 points are evaluated, denser near the center, out to 10⁶ times `scale`; then as many
    in the rectangle that is found, until that no longer grows.
    """
    away = np.sinh(np.linspace(-np.arcsinh(_FAR), np.arcsinh(_FAR), _POINTS))
    axes = [center[k] + scale[k] * away for k in (0, 1)]
    level = np.inf
    for turn in range(_ROUNDS):
        try:
            points = np.stack([each.ravel() for each in np.meshgrid(*axes, indexing="ij")])
            energies = steps.energies(points).reshape(_POINTS, _POINTS)
        except NoEnergyError:
            return None
        energies = np.where(np.isnan(energies), np.inf, energies)
        level = min(level, float(energies.min()) + depth)
        if not np.isfinite(level):
            return None
        here = energies <= level
        ends, touches = [], False
        for k in (0, 1):
            at = np.nonzero(here.any(axis=1 - k))[0]
            first, last = int(at[0]), int(at[-1])
            touches |= first == 0 or last == _POINTS - 1
            ends.append((axes[k][max(first - 1, 0)], axes[k][min(last + 1, _POINTS - 1)]))
        if touches and turn == 0:
            return None
        if not touches and turn > 1:
            low, high = np.array(ends).T
            return Part(low - _SPARE * (high - low), high + _SPARE * (high - low), level)
        spare = 0.25 if touches else _SPARE
        axes = [np.linspace(a - spare * (b - a), b + spare * (b - a), _POINTS) for a, b in ends]
    return None


def given(steps: PlaneSteps, within: Any, depth: float) -> Parts | None:
    """The part of the caller's `within`, or None: an interval for the position if a normal is
    carried, two intervals if the position has two elements."""
    if within is None:
        return None
    if steps.carries:
        sides = [as_interval("within", within), (-math.sqrt(2 * depth), math.sqrt(2 * depth))]
    else:
        try:
            first, second = within
        except (TypeError, ValueError):
            raise TypeError(
                "within: expected an interval for each element, ((low, high), (low, high)), got "
                f"{within!r}"
            ) from None
        sides = [as_interval("within", side) for side in (first, second)]
    low, high = np.array(sides).T
    if not np.isfinite([low, high]).all():
        raise ValueError(f"within: expected finite low < high, got {within!r}")
    return lambda k: Part(low, high, np.inf)
