"""The law exp(-E/T) itself of positions of two elements, and how far apart two laws are."""

from __future__ import annotations

from typing import Any

import numpy as np

from jlangevin._core import trees
from jlangevin._core.checks import check_known
from jlangevin._core.trees import PyTree
from jlangevin.distribution import check_gaussian
from jlangevin.energies.base import Energy
from jlangevin.errors import NoGridLawError, NotNormalizableError
from jlangevin.exact.grid.arguments import default_tolerance
from jlangevin.exact.grid.panels import Floats
from jlangevin.exact.grid.plane.answers import as_law, center_of, depth_of
from jlangevin.exact.grid.plane.lattice import Lattice
from jlangevin.exact.grid.plane.law import PlaneLaw, made_plane_law
from jlangevin.exact.grid.plane.operator import PlaneOperator
from jlangevin.exact.grid.plane.parts import Part, bulk, given
from jlangevin.exact.grid.plane.solve import Solution, differences
from jlangevin.exact.grid.plane.steps import PlaneSteps
from jlangevin.kernels.ula import ula

__all__ = ["plane_distance", "plane_target"]

_FIRST = 48  # points along each side, at first
_FINER = 1.4
_ROUNDS = 14
_MOST = 4e6  # points of a rectangle
_TAIL = 8.0  # standard deviations of a Gaussian that are held
_SPACING = 0.5  # of its lattice, in standard deviations of one element given the other
_LOOKED_AT = 4  # how many times finer the lattice is on which densities are compared


def plane_target(
    energy: Energy, position: PyTree, temperature: float, tolerance: Any, within: Any
) -> PlaneLaw:
    """See `exact.grid_target`."""
    steps = PlaneSteps(ula(1.0, temperature=temperature), energy, position)
    tolerance = default_tolerance(steps.dtype, tolerance)
    center = center_of(steps, position)
    steps.energies(center[:, None])  # or NoEnergyError
    depth = depth_of(tolerance)
    parts = given(steps, within, depth)
    part = bulk(steps, center, 1e-3 * (1 + np.abs(center)), depth) if parts is None else parts(0)
    if part is None:
        raise NotNormalizableError(
            "energy: it does not rise on all sides, as far as can be seen, so exp(-E/T) has no "
            "finite integral; give by `within` the rectangle that counts"
        )
    spacing, error = (part.high - part.low) / _FIRST, np.inf
    coarse = _weighed(steps, part, spacing)
    for _ in range(_ROUNDS):
        spacing = spacing / _FINER
        if np.prod((part.high - part.low) / spacing) > _MOST:
            break
        fine = _weighed(steps, part, spacing)
        error, cdf_error = differences(fine, coarse)
        if error <= tolerance:
            found = fine._replace(error=error, cdf_error=cdf_error)
            law: PlaneLaw = as_law(steps, found, 0.0, full=True)
            return law
        coarse = fine
    raise NoGridLawError(
        f"tolerance: {tolerance:.1g} is not reached over {part.shown(steps)} with {_MOST:.1g} "
        f"points, but {error:.1g}; give a larger one"
    )


def _weighed(steps: PlaneSteps, part: Part, spacing: Floats) -> Solution:
    lattice = Lattice.of(part.low, part.high, spacing)
    lattice = lattice.kept(part.holds(steps, lattice.nodes))
    energies = steps.energies(lattice.nodes)
    if not (energies > -np.inf).all():
        raise ValueError(
            "energy: it is NaN or -inf in a part of the plane, so exp(-E/T) is no density; let it "
            "be inf where positions do not count (domains.confine), or leave them out by `within`"
        )
    weights = np.exp(np.min(energies) - energies)
    none = np.zeros(0)
    made = PlaneOperator(lattice, None, None, 0.0, none, none)
    return Solution(made, weights / weights.sum(), np.nan, np.nan, part)


def _in_plane(name: str, law: Any) -> PlaneLaw:
    """The law itself, or a `Gaussian` over positions of two elements on a lattice."""
    if isinstance(law, PlaneLaw):
        check_known("a grid is made on the host", **{name: law})
        return law
    check_gaussian(name, law, "or a law in the plane, as the other is")
    law.check_single(name)
    check_known("a grid is made on the host", **{name: law})
    if (size := trees.size(law.mean)) != 2:
        raise NoGridLawError(
            f"{name}: the other law is over two elements, and this one's positions have {size}"
        )
    mean = np.asarray(trees.ravel(law.mean), np.float64)
    cov = np.asarray(law.cov, np.float64)
    if not np.linalg.det(cov) > 0:
        raise ValueError(
            f"{name}: expected a Gaussian with a density, but its covariance is singular"
        )
    inverse = np.linalg.inv(cov)
    half = _TAIL * np.sqrt(np.diagonal(cov))
    spacing = _SPACING / np.sqrt(np.diagonal(inverse))  # of the spread along each axis
    if np.prod(2 * half / spacing) > _MOST:
        raise NoGridLawError(
            f"{name}: the correlation of its two elements is so close to 1 that a lattice for it "
            f"takes more than {_MOST:.1g} points"
        )
    lattice = Lattice.of(mean - half, mean + half, spacing)
    away = lattice.nodes - mean[:, None]
    weights = np.exp(-0.5 * np.sum(away * np.dot(inverse, away), axis=0))
    rounding = 10 * float(np.finfo(trees.float_dtype(law.mean)).eps)
    return made_plane_law(
        lattice,
        weights,
        law.mean,
        carries=False,
        atom=None,
        errors=(rounding, rounding),
        left=0.0,
    )


def plane_distance(p: Any, q: Any) -> float:
    """½ ∫ |p - q| for laws in the plane, see `exact.total_variation`, by the trapezoidal rule on a
    lattice finer than those of both; plus half of the differences of atoms at equal positions."""
    p, q = _in_plane("p", p), _in_plane("q", q)
    if p.carries is not q.carries:
        raise ValueError(
            "p, q: one is of positions of two elements, the other of a position and a carried "
            "normal; no distance of these means anything"
        )
    spacing = np.minimum(p.lattice.spacing, q.lattice.spacing) / _LOOKED_AT
    axes = []
    for k in (0, 1):
        ends = np.concatenate([law.lattice.axis(k)[[0, -1]] for law in (p, q)])
        axes.append(np.arange(ends.min(), ends.max() + spacing[k], spacing[k]))
    total = 0.0
    for x in np.array_split(axes[0], max(len(axes[0]) * len(axes[1]) // 200_000, 1)):
        points = np.stack(np.meshgrid(x, axes[1], indexing="ij"), axis=-1)
        total += float(np.sum(np.abs(p.density(points) - q.density(points))))
    atoms = 0.0
    for at in np.unique(np.concatenate([p.atoms, q.atoms]), axis=0):
        masses = [np.sum(law.masses[np.all(law.atoms == at, axis=1)]) for law in (p, q)]
        atoms += abs(float(masses[0] - masses[1]))
    return min((total * float(np.prod(spacing)) + atoms) / 2, 1.0)
