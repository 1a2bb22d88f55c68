"""The energies on which a sampler is tested, and the starts of its chains."""

from __future__ import annotations

import math
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
import scipy

from jlangevin import energies, exact
from jlangevin.distribution import Gaussian
from jlangevin.verify._statistics import Floats

__all__ = [
    "CENTER",
    "FAR",
    "FEW_STEPS",
    "MANY_STEPS",
    "NUM_REPEATS",
    "PRECISION",
    "SLOPE",
    "UNITS",
    "Problems",
    "in_units",
    "normal_quantiles",
    "problems_at",
]

FEW_STEPS, MANY_STEPS = 8, 100
FAR = 1e5  # standard deviations from which a run starts
NUM_REPEATS = 48  # runs of one chain, and of two
UNITS = 16.0  # by what x is multiplied, and divided, in other units
SLOPE = np.array([3.0, 4.0])  # of the linear energy
PRECISION = np.array([[1.4, 0.6], [0.6, 1.0]])  # eigenvalues 0.57 and 1.83
CENTER = np.array([1.0, -2.0])

_START = np.array([3.0, 1.0])
_START_COV = np.array([[2.0, -0.5], [-0.5, 1.0]])
_MEANS, _SCALES, _WEIGHTS = np.array([-2.0, 2.0]), np.array([0.9, 1.3]), np.array([0.3, 0.7])


class Problems(NamedTuple):
    """Energies E to sample at a temperature T, and laws to start from."""

    linear: energies.Linear
    quadratic: energies.Quadratic
    shrunk: energies.Quadratic  # E(√T ·)/T, to sample at temperature 1
    divided: energies.Quadratic  # E/T, to sample at temperature 1
    mixture: energies.GaussianMixture  # in one dimension
    point: Gaussian
    spread: Gaussian
    target: Gaussian  # of the quadratic energy


def problems_at(temperature: float) -> Problems:
    """The problems for a sampler that is tested at this temperature."""
    root = math.sqrt(temperature)
    quadratic = energies.quadratic(PRECISION, CENTER)
    return Problems(
        linear=energies.linear(SLOPE),
        quadratic=quadratic,
        shrunk=energies.quadratic(PRECISION, CENTER / root),
        divided=energies.quadratic(PRECISION / temperature, CENTER),
        mixture=energies.gaussian_mixture(_MEANS[:, None], _SCALES[:, None, None] ** 2, _WEIGHTS),
        point=Gaussian(_START, np.zeros((2, 2))),
        spread=Gaussian(_START, _START_COV),
        target=exact.target(quadratic, jnp.zeros(2), temperature),
    )


def in_units(scale: float) -> tuple[energies.Quadratic, Gaussian]:
    """The quadratic energy as E(x / scale), and the law to start from as it is in these units."""
    return (
        energies.quadratic(PRECISION / scale**2, CENTER * scale),
        Gaussian(_START * scale, _START_COV * scale**2),
    )


def normal_quantiles(x: Floats) -> Floats:
    """Φ⁻¹(F(x)) for the distribution function F of the mixture, without loss in its tails."""
    z = (x - _MEANS) / _SCALES  # (n, 2)
    below, above = (np.dot(f(z), _WEIGHTS) for f in (scipy.stats.norm.cdf, scipy.stats.norm.sf))
    return np.where(below < 0.5, scipy.stats.norm.ppf(below), scipy.stats.norm.isf(above))[:, None]
