"""An evenly spaced lattice in the plane, from which only the points that count are kept.

Its values at such points describe a function that is smooth and falls off: the integral is their
sum times the area of a cell, and between the points the function is a sum of sinc functions. Both
errors fall exponentially as the spacing shrinks (Whittaker; Trefethen and Weideman 2014).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import scipy

from jlangevin.exact.grid.panels import Flags, Floats, Ints, Panels

__all__ = ["Lattice", "panels_over", "sinc_matrix"]

_SPACINGS_A_PANEL = 5.0  # of a panel with 16 nodes
_ORDER = 16
_AT_ONCE = 1 << 20  # points


class Lattice(NamedTuple):
    """Points low + spacing · (i, j).

    Attributes:
        low, spacing: (2,).
        shape: how many points there are along each axis.
        active: the flat indices of the points that are kept, rising.
    """

    low: Floats
    spacing: Floats
    shape: tuple[int, int]
    active: Ints

    @classmethod
    def of(cls, low: Floats, high: Floats, spacing: Floats, through: Any = None) -> Lattice:
        """All points from `low` to `high`, at most `spacing` apart; one of them is `through`, if
        that is given."""
        if through is None:
            counts = np.ceil((high - low) / spacing).astype(int)
            spacing = (high - low) / counts
        else:
            low = through - np.ceil((through - low) / spacing) * spacing
            counts = np.ceil((high - low) / spacing).astype(int)
        shape = int(counts[0]) + 1, int(counts[1]) + 1
        return cls(low, spacing, shape, np.arange(shape[0] * shape[1]))

    def axis(self, k: int) -> Floats:
        return np.asarray(self.low[k] + self.spacing[k] * np.arange(self.shape[k]))

    @property
    def area(self) -> float:
        """The area of a cell."""
        return float(self.spacing[0] * self.spacing[1])

    @property
    def nodes(self) -> Floats:
        """The points that are kept, (2, n)."""
        i, j = np.divmod(self.active, self.shape[1])
        return np.stack([self.axis(0)[i], self.axis(1)[j]])

    @property
    def num(self) -> int:
        return len(self.active)

    def kept(self, which: Flags) -> Lattice:
        """The lattice that keeps only these of its kept points."""
        return self._replace(active=self.active[which])

    def finer(self, times: tuple[int, int]) -> Lattice:
        """`times` as many points along each axis; those near a kept point are kept."""
        num, count = ((n - 1) * k + 1 for n, k in zip(self.shape, times, strict=True))
        made = Lattice(self.low, self.spacing / times, (num, count), np.arange(num * count))
        i, j = self.nearest(made.nodes)
        return made.kept(self.places()[i, j] >= 0)

    def where(self, which: Callable[[Floats], Flags]) -> Lattice:
        """The lattice that keeps only points for which `which` is true; it gets some at a time."""
        kept = []
        for begin in range(0, self.num, _AT_ONCE):
            some = self._replace(active=self.active[begin : begin + _AT_ONCE])
            kept.append(some.active[which(some.nodes)])
        return self._replace(active=np.concatenate(kept))

    def table(self, values: Floats) -> Floats:
        """Values at the points that are kept as an array of `shape`, 0 elsewhere."""
        made = np.zeros(self.shape[0] * self.shape[1])
        made[self.active] = values
        return made.reshape(self.shape)

    def places(self) -> Any:
        """The place of every point among the kept points, -1 for others: an array of `shape`."""
        made = np.full(self.shape[0] * self.shape[1], -1, np.int32)
        made[self.active] = np.arange(self.num, dtype=np.int32)
        return made.reshape(self.shape)

    def nearest(self, s: Floats) -> tuple[Ints, Ints]:
        """Indices of the points nearest to states (2, …); they may be beyond the lattice."""
        limit = 2.0**40
        with np.errstate(invalid="ignore"):
            steps = [(s[k] - self.low[k]) / self.spacing[k] for k in (0, 1)]
        whole = [np.rint(np.clip(np.nan_to_num(x, nan=limit), -limit, limit)) for x in steps]
        return whole[0].astype(np.intp), whole[1].astype(np.intp)

    def is_within(self, i: Ints, j: Ints) -> Flags:
        return np.asarray((i >= 0) & (i < self.shape[0]) & (j >= 0) & (j < self.shape[1]))

    def sinc(self, k: int, x: Floats) -> Floats:
        """The functions along axis k that are 1 at one point and 0 at the others, (…, count)."""
        return sinc_matrix(x, float(self.low[k]), float(self.spacing[k]), self.shape[k])

    def sinc_integrals(self, k: int, x: Floats) -> Floats:
        """Their integrals from -∞ to x, (…, count): spacing · (1/2 + Si(πu)/π)."""
        u = (np.asarray(x, np.float64)[..., None] - self.axis(k)) / self.spacing[k]
        integral, _ = scipy.special.sici(np.pi * u)
        return np.asarray(self.spacing[k] * (0.5 + integral / np.pi))


def sinc_matrix(x: Floats, low: float, spacing: float, count: int) -> Floats:
    """sin(πu)/(πu) at u = (x - low)/spacing - j, j < count on a last axis: one sine for each x."""
    u = (np.asarray(x, np.float64) - low) / spacing
    whole = np.rint(u)
    rest = u - whole
    top = np.where(whole % 2 == 0, 1.0, -1.0) * np.sin(np.pi * rest) / np.pi
    j = np.arange(count)
    away = u[..., None] - j
    here = np.abs(away) < 1e-9
    signs = np.where(j % 2 == 0, 1.0, -1.0)
    return np.where(here, 1.0, top[..., None] * signs / np.where(here, 1.0, away))


def panels_over(low: float, spacing: float, count: int) -> Panels:
    """Panels that can represent sums of sinc functions with this spacing."""
    num = max(int(np.ceil((count - 1) / _SPACINGS_A_PANEL)), 1)
    return Panels(np.linspace(low, low + (count - 1) * spacing, num + 1), _ORDER)
