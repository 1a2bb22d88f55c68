"""Draws of a law on a grid as normals: what its distribution function makes of them."""

from __future__ import annotations

import math

import numpy as np
import scipy
from numpy.typing import NDArray

from jlangevin.exact.grid.law import GridLaw
from jlangevin.exact.grid.product import ProductLaw
from jlangevin.verify._statistics import Floats

__all__ = ["inside", "normal_scores", "of_coordinates"]

_KNOWN = 0.05  # of the standard error of a distribution function: how far the law's may be off


def of_coordinates(law: GridLaw | ProductLaw) -> tuple[GridLaw, ...]:
    """The law of each coordinate; they are independent."""
    return law.coordinates if isinstance(law, ProductLaw) else (law,)


def inside(law: GridLaw, x: Floats) -> NDArray[np.bool_]:
    """Which of the draws are on the law's grid."""
    low, high = law.support
    atoms = np.asarray(law.atoms, np.float64)
    rounding = 4 * float(np.finfo(law.cov.dtype).eps) * max(abs(low), abs(high))
    at_atom = np.any(np.abs(x[:, None] - atoms) <= rounding, axis=1)
    return np.asarray(((x >= low - rounding) & (x <= high + rounding)) | at_atom)


def normal_scores(law: GridLaw, x: Floats, place: int = 0) -> Floats:
    """z = Φ⁻¹(F(x)): independent standard normals if F is the draws' distribution function.

    At an atom F jumps, and the draws there are spread over the jump by uniforms of their own, other
    ones for each `place` among the coordinates.
    """
    error = float(law.cdf_error)
    if error * math.sqrt(len(x)) > _KNOWN:
        raise ValueError(
            f"law: its distribution function is known to {error:.1g}, which {len(x)} draws could "
            "tell from the true one; ask exact.grid_law for a smaller tolerance, under x64, or "
            "compare fewer draws"
        )
    probability = law.cdf(x)
    atoms, masses = np.asarray(law.atoms, np.float64), np.asarray(law.masses, np.float64)
    rounding = 4 * float(np.finfo(law.cov.dtype).eps)
    if len(atoms):
        spread = np.random.default_rng(place).random(len(x))
        for atom, mass in zip(atoms, masses, strict=True):
            here = np.abs(x - atom) <= rounding * max(1, abs(atom))
            below = float(law.cdf(atom)) - mass
            probability = np.where(here, below + mass * spread, probability)
    tiny = 1e-17
    return np.asarray(scipy.special.ndtri(np.clip(probability, tiny, 1 - 1e-16)))
