"""The law of the first state, as a lattice needs it."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from jlangevin._core import trees
from jlangevin._core.checks import check_known
from jlangevin.distribution import check_gaussian
from jlangevin.errors import NoGridLawError
from jlangevin.exact.grid.law import GridLaw
from jlangevin.exact.grid.panels import Floats
from jlangevin.exact.grid.plane.law import PlaneLaw

__all__ = ["Cloud", "PlaneStart"]

_TAIL = 7.0  # standard deviations of a start that are held
_FEW = 41  # points along each side, to see where a start is


class Cloud(NamedTuple):
    """A law as points with weights: (2, m) and (m,)."""

    states: Floats
    weights: Floats


class PlaneStart:
    """A `Gaussian` or a law on a grid, of positions, or of positions and the normals they carry."""

    def __init__(self, law: Any, *, carries: bool) -> None:
        kinds = (GridLaw, PlaneLaw) if carries else PlaneLaw
        if not isinstance(law, kinds):
            hint = "exact.grid_law and exact.grid_target give laws to start from, too; for chains "
            check_gaussian("start", law, hint + "from one point x, take Gaussian(x, zeros)")
            law.check_single("start")
        if isinstance(law, PlaneLaw) and law.carries is not carries:
            raise ValueError(
                "start: one of the kernel and this law has positions of two elements, the other a "
                "position and a carried normal; give a law of the kernel's own kind"
            )
        check_known("a grid is made on the host", start=law)
        if not carries and isinstance(law, PlaneLaw) and np.size(law.masses):
            raise NoGridLawError(
                f"start: a share of {float(np.sum(law.masses)):.2g} of this law is at one point; "
                "ask for the law after all steps at once, from that point"
            )
        self.law, self.carries = law, carries
        self.mean = np.asarray(trees.ravel(law.mean), np.float64)
        self._cov = np.asarray(law.cov, np.float64)
        if carries and not isinstance(law, PlaneLaw):
            self.mean = np.append(self.mean, 0.0)
            self._cov = np.diag([self._cov[0, 0], 1.0])
        self.deviations = np.sqrt(np.diagonal(self._cov))
        self.is_point = not self.deviations.any()
        singular = np.linalg.det(self._cov) <= 1e-12 * np.prod(np.diagonal(self._cov))
        if singular and not carries and not self.is_point:
            raise ValueError(
                "start: its covariance is singular; a chain of two elements starts from a point, "
                "Gaussian(x, zeros), or from a law that has a density"
            )

    @property
    def position(self) -> Any:
        mean = self.law.mean
        return mean.position if isinstance(self.law, PlaneLaw) and self.carries else mean

    @property
    def point(self) -> Floats | None:
        """The point at which all chains start, if they do and the position has two elements."""
        return self.mean if self.is_point else None

    def density(self, s: Floats) -> Floats:
        """The density at states (2, n), if the law is one of both numbers."""
        if isinstance(self.law, PlaneLaw):
            return np.asarray(self.law.density(s.T))
        d = s - self.mean[:, None]
        square = np.sum(d * np.linalg.solve(self._cov, d), axis=0)
        scale = 2 * np.pi * math.sqrt(float(np.linalg.det(self._cov)))
        return np.asarray(np.exp(-0.5 * square) / scale)

    def seen(self) -> Cloud:
        """A few points of the law, to see where it is."""
        return self.cloud(np.zeros(2))

    def cloud(self, speeds: Floats) -> Cloud:
        """The law as points, close enough for sinc functions of the step. `speeds` says by how many
        spacings a unit of each number moves the step."""
        if self.is_point:
            return Cloud(self.mean[:, None], np.ones(1))
        if isinstance(self.law, PlaneLaw):
            lattice = self.law.lattice
            ends = [(axis[0], axis[-1]) for axis in (lattice.axis(0), lattice.axis(1))]
            axes = [self._even(k, *ends[k], speeds) for k in (0, 1)]
            points = np.stack([x.ravel() for x in np.meshgrid(*axes, indexing="ij")])
            weights = self.density(points)
            held = weights > 1e-16 * weights.max()
            points, weights = points[:, held], weights[held]
            weights = weights * (1 - float(np.sum(self.law.masses))) / weights.sum()
            states = np.concatenate([points, np.asarray(self.law.atoms, np.float64).T], axis=1)
            return Cloud(states, np.concatenate([weights, np.asarray(self.law.masses)]))
        if not self.carries:
            z = np.linspace(-_TAIL, _TAIL, _FEW)
            points = np.stack([x.ravel() for x in np.meshgrid(z, z, indexing="ij")])
            weights = np.exp(-0.5 * np.sum(points**2, axis=0))
            lower = np.linalg.cholesky(self._cov)
            return Cloud(self.mean[:, None] + np.dot(lower, points), weights / weights.sum())
        x, p = self._positions(speeds)
        z = self._even(1, -_TAIL, _TAIL, speeds)
        q = np.exp(-0.5 * z * z)
        points = np.stack([each.ravel() for each in np.meshgrid(x, z, indexing="ij")])
        return Cloud(points, np.outer(p, q / q.sum()).ravel())

    def _positions(self, speeds: Floats) -> tuple[Floats, Floats]:
        """The points and weights of a law of the position alone."""
        if isinstance(self.law, GridLaw):
            atoms, masses = (np.asarray(a, np.float64) for a in (self.law.atoms, self.law.masses))
            if masses.sum() > 1 - 1e-12:
                return atoms, masses / masses.sum()
            x = self._even(0, *self.law.support, speeds)
            p = self.law.density(x)
            return np.append(x, atoms), np.append(p * (1 - masses.sum()) / p.sum(), masses)
        mean, deviation = self.mean[0], self.deviations[0]
        if deviation == 0:
            return np.full(1, mean), np.ones(1)
        x = self._even(0, mean - _TAIL * deviation, mean + _TAIL * deviation, speeds)
        p = np.exp(-0.5 * ((x - mean) / deviation) ** 2)
        return x, p / p.sum()

    def _even(self, k: int, low: float, high: float, speeds: Floats) -> Floats:
        """Points close enough for the trapezoidal rule to sum such sinc functions over the law."""
        sharp = _TAIL / self.deviations[k] + np.pi * speeds[k]
        return np.linspace(low, high, math.ceil((high - low) * sharp / (2 * np.pi)) + 2)
