"""The arguments of all questions, checked: a start, a tolerance, an interval, a position."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from jlangevin._core import trees
from jlangevin._core.checks import check_known, check_scalar
from jlangevin._core.trees import PyTree
from jlangevin.distribution import check_gaussian
from jlangevin.errors import NoGridLawError
from jlangevin.exact.grid.law import GridLaw, as_interval
from jlangevin.exact.grid.operator import Operator
from jlangevin.exact.grid.panels import Floats
from jlangevin.exact.grid.regions import Region
from jlangevin.exact.grid.steps import StepFunction, one_element

__all__ = ["Start", "center_of", "default_tolerance", "given_region"]

_TAIL = 7.5  # standard deviations of a start that are held


class Start(NamedTuple):
    """The law of the first position, as a grid needs it: a point, a Gaussian or another grid's."""

    law: Any
    mean: float
    deviation: float

    @classmethod
    def of(cls, law: Any) -> Start:
        if not isinstance(law, GridLaw):
            hint = "exact.grid_law and exact.grid_target give laws to start from, too; for chains "
            check_gaussian("start", law, hint + "from one point x, take Gaussian(x, zeros)")
            law.check_single("start")
        one_element("start", law.mean)
        check_known("a grid is made on the host", start=law)
        mean = float(np.asarray(trees.ravel(law.mean), np.float64)[0])
        return cls(law, mean, math.sqrt(float(np.asarray(law.cov, np.float64)[0, 0])))

    @property
    def points(self) -> Floats:
        """The positions of its atoms."""
        if isinstance(self.law, GridLaw):
            return np.asarray(self.law.atoms, np.float64)
        return np.zeros(0) if self.deviation > 0 else np.full(1, self.mean)

    @property
    def ends(self) -> tuple[float, float]:
        if isinstance(self.law, GridLaw):
            return self.law.support
        return self.mean - _TAIL * self.deviation, self.mean + _TAIL * self.deviation

    @property
    def jumps(self) -> Floats:
        """Where its density may jump: a law on a grid may jump at its ends."""
        return np.array(self.ends if isinstance(self.law, GridLaw) else ())

    def on(self, made: Operator) -> Floats:
        """The law as weights of an operator's states."""
        measure = np.zeros(len(made.states))
        n = len(made.panels.nodes)
        if isinstance(self.law, GridLaw):
            measure[:n] = self.law.density(made.panels.nodes) * made.panels.weights
            for atom, mass in zip(self.points, np.asarray(self.law.masses), strict=True):
                measure[n + int(np.argmin(np.abs(made.atoms - atom)))] += mass
        elif self.deviation > 0:
            z = (made.panels.nodes - self.mean) / self.deviation
            density = np.exp(-0.5 * z * z) / (self.deviation * math.sqrt(2 * math.pi))
            measure[:n] = density * made.panels.weights
        else:
            measure[-1] = 1
        return measure


def default_tolerance(dtype: Any, tolerance: Any) -> float:
    """`tolerance`, or what the dtype can do: 1e-8 in float64, 1e-4 in float32."""
    best = max(1e-11, 800 * float(np.finfo(dtype).eps))
    if tolerance is None:
        return max(1e-8, best)
    check_known("a grid is made on the host", tolerance=tolerance)
    tolerance = float(check_scalar("tolerance", tolerance, positive=True))
    if tolerance < best:
        hint = "; float64 is exact enough, jax.config.update('jax_enable_x64', True)"
        raise NoGridLawError(
            f"tolerance: {tolerance:.1g} is less than steps in {np.dtype(dtype)} are good for, "
            f"about {best:.1g}" + hint * (best > 1e-9)
        )
    return tolerance


def given_region(within: Any, walls: tuple[float, float]) -> Region | None:
    """The region of the caller's `within`, or None."""
    if within is None:
        return None
    low, high = as_interval("within", within)
    if not np.isfinite([low, high]).all():
        raise ValueError(f"within: expected finite low < high, got {low} and {high}")
    region = Region.between(low, high, walls)
    if region.low >= region.high:
        raise ValueError(f"within: all of it is beyond the walls, {walls[0]} and {walls[1]}")
    return region


def center_of(steps: StepFunction, position: PyTree) -> float:
    """The position as a number."""
    check_known("a grid is made on the host", position=position)
    center = float(np.asarray(trees.ravel(trees.as_position("position", position)), np.float64)[0])
    if not np.isfinite(center):
        raise ValueError(f"position: expected a finite one, got {center}")
    return center
