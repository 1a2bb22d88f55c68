"""Draws of a law on a grid as normals: what its distribution functions make of them.

Of a law in the plane the first number becomes u₁ = Φ⁻¹(F(x₁)) and the second u₂ = Φ⁻¹(F(x₂ | x₁)),
independent standard normals (Rosenblatt 1952).
"""

from __future__ import annotations

import math

import numpy as np
import scipy
from numpy.typing import NDArray

from jlangevin.exact.grid.law import GridLaw
from jlangevin.exact.grid.plane.law import PlaneLaw
from jlangevin.exact.grid.product import ProductLaw
from jlangevin.verify._statistics import Floats

__all__ = ["OnGrid", "inside", "normal_scores", "share_outside"]

OnGrid = GridLaw | PlaneLaw | ProductLaw

_RESOLVED = 1e-9  # of its largest value: below it a density may be rounding
_KNOWN = 0.05  # of the standard error of a distribution function: how far the law's may be off


def _marginals(law: OnGrid) -> tuple[GridLaw, ...]:
    if isinstance(law, GridLaw):
        return (law,)
    return law.marginals if isinstance(law, PlaneLaw) else law.coordinates


def share_outside(law: OnGrid) -> tuple[float, float]:
    """The share of draws that may be off the grid: those that have left, and the law's error."""
    of = _marginals(law)
    left = float(law.left) if isinstance(law, PlaneLaw) else sum(float(one.left) for one in of)
    return left, sum(float(one.cdf_error) for one in of)


def inside(law: OnGrid, x: Floats) -> NDArray[np.bool_]:
    """Which of the draws (n, d) are on the law's grid.

    In the plane also those do not count whose first number is so rare that the law of the second,
    given it, is not known. Of the law they are a share of at most its error.
    """
    held = np.all([_on(one, x[:, i]) for i, one in enumerate(_marginals(law))], axis=0)
    if isinstance(law, PlaneLaw):
        first = law.marginals[0]
        held &= (first.density(x[:, 0]) > _rarest(first)) | _at_atom(law, x)
    return np.asarray(held)


def normal_scores(law: OnGrid, x: Floats) -> Floats:
    """Independent standard normals (n, d), if x are draws of the law."""
    if not isinstance(law, PlaneLaw):
        each = [_scores(one, x[:, i], i) for i, one in enumerate(_marginals(law))]
        return np.stack(each, axis=1)
    _check_known(law.marginals[1], len(x))
    given_first = law.conditional_cdf(x)
    at_atom = _at_atom(law, x)
    spread = np.random.default_rng(1).random(len(x))
    return np.stack(
        [_scores(law.marginals[0], x[:, 0], 0), _normal(np.where(at_atom, spread, given_first))],
        axis=1,
    )


def _on(law: GridLaw, x: Floats) -> NDArray[np.bool_]:
    low, high = law.support
    atoms = np.asarray(law.atoms, np.float64)
    rounding = 4 * float(np.finfo(law.cov.dtype).eps) * max(abs(low), abs(high))
    at_atom = np.any(np.abs(x[:, None] - atoms) <= rounding, axis=1)
    return np.asarray(((x >= low - rounding) & (x <= high + rounding)) | at_atom)


def _at_atom(law: PlaneLaw, x: Floats) -> NDArray[np.bool_]:
    atoms = np.asarray(law.atoms, np.float64)
    rounding = 4 * float(np.finfo(law.cov.dtype).eps) * np.maximum(1, np.abs(atoms))
    close = np.abs(x[:, None] - atoms) <= rounding
    return np.asarray(np.any(np.all(close, axis=2), axis=1))


def _rarest(law: GridLaw) -> float:
    """The density below which a share of the law lies that is as large as its error."""
    x, weights = law.panels.nodes, law.panels.weights
    density = law.density(x)
    order = np.argsort(density)
    below = np.cumsum(np.maximum(density, 0)[order] * weights[order])
    rare = below <= float(law.cdf_error)
    least = _RESOLVED * float(density.max())
    return max(least, float(density[order][rare][-1])) if rare.any() else least


def _check_known(law: GridLaw, num_draws: int) -> None:
    error = float(law.cdf_error)
    if error * math.sqrt(num_draws) > _KNOWN:
        raise ValueError(
            f"law: its distribution function is known to {error:.1g}, which {num_draws} draws "
            "could tell from the true one; ask exact.grid_law for a smaller tolerance, under x64, "
            "or compare fewer draws"
        )


def _scores(law: GridLaw, x: Floats, place: int) -> Floats:
    """z = Φ⁻¹(F(x)): independent standard normals if F is the draws' distribution function.

    At an atom F jumps, and the draws there are spread over the jump by uniforms of their own, other
    ones for each `place` among the coordinates.
    """
    _check_known(law, len(x))
    probability = law.cdf(x)
    atoms, masses = np.asarray(law.atoms, np.float64), np.asarray(law.masses, np.float64)
    rounding = 4 * float(np.finfo(law.cov.dtype).eps)
    if len(atoms):
        spread = np.random.default_rng(place).random(len(x))
        for atom, mass in zip(atoms, masses, strict=True):
            here = np.abs(x - atom) <= rounding * max(1, abs(atom))
            below = float(law.cdf(atom)) - mass
            probability = np.where(here, below + mass * spread, probability)
    return _normal(probability)


def _normal(probability: Floats) -> Floats:
    tiny = 1e-17
    return np.asarray(scipy.special.ndtri(np.clip(probability, tiny, 1 - 1e-16)))
