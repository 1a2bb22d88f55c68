"""Where a chain can be: between walls, where exp(-E/T) has its mass, or around a start."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jlangevin._core import trees
from jlangevin._core.compiling import compiled
from jlangevin._core.trees import Parted, PyTree
from jlangevin.errors import NoEnergyError
from jlangevin.exact.grid.panels import Flags, Floats
from jlangevin.exact.grid.steps import StepFunction
from jlangevin.kernels.base import layers

__all__ = ["Region", "bulk", "temperature_of", "walls_of"]

_POINTS = 8193  # at which an energy is evaluated
_FAR = 1e8  # how far out, in units of the least distance that counts
_HALVINGS = 60


class Region(NamedTuple):
    """An interval, and the domain that it is a part of."""

    low: float
    high: float
    domain: tuple[float, float]

    @property
    def walls(self) -> tuple[float, ...]:
        """Those of its ends that are ends of the domain."""
        return tuple(end for end in (self.low, self.high) if end in self.domain)

    def wider(self) -> Region:
        """Half as wide again, but not beyond the domain."""
        reach = (self.high - self.low) / 4
        return Region.between(self.low - reach, self.high + reach, self.domain)

    @classmethod
    def between(cls, low: float, high: float, walls: tuple[float, float]) -> Region:
        """From `low` to `high`, as far as the walls allow."""
        return cls(max(low, walls[0]), min(high, walls[1]), walls)


def temperature_of(kernel: Any) -> float:
    """The temperature of the outermost layer of a kernel that has one, else 1."""
    for layer in layers(kernel):
        if hasattr(layer, "temperature"):
            return float(layer.temperature)
    return 1.0


def walls_of(steps: StepFunction, center: float) -> tuple[float, float]:
    """The ends of the domain that the kernel or the energy has; infinite without a domain."""
    low, high = -np.inf, np.inf
    for one in (*layers(steps.kernel), steps.energy):
        if hasattr(domain := getattr(one, "domain", None), "contains"):
            inside = partial(_inside, domain, steps.like)
            ends = (_end(inside, center, sign) for sign in (-1, 1))
            bottom, top = (float(np.asarray(end, steps.dtype)) for end in ends)
            low, high = max(low, bottom), min(high, top)
    return low, high


def _inside(domain: Any, like: PyTree, x: Floats) -> Flags:
    at = np.asarray(x, trees.float_dtype(like))
    return np.asarray(_contained(Parted.of(domain), like, at), bool)


@compiled
def _contained(domain: Parted, like: PyTree, x: Any) -> jax.Array:
    place = trees.unraveler(like)
    return jax.vmap(lambda x: jnp.asarray(domain.whole.contains(place(x[None]))))(x)


def _end(inside: Callable[[Floats], Flags], center: float, sign: int) -> float:
    """Where the inside ends, going out from the center; infinite if it does not end."""
    away = np.exp2(np.arange(-40, 60, dtype=np.float64))
    out = ~inside(center + sign * away)
    if not out.any():
        return float(sign * np.inf)
    first = int(np.argmax(out))
    near, far = (away[first - 1] if first else 0.0), away[first]
    for _ in range(_HALVINGS):
        middle = (near + far) / 2
        still = bool(inside(np.full(len(away), center + sign * middle))[0])
        near, far = (middle, far) if still else (near, middle)
    return float(center + sign * near)


def bulk(
    steps: StepFunction, center: float, scale: float, temperature: float, depth: float
) -> tuple[float, float] | None:
    """The hull of the points with E < min E + depth T; None if it has no end, or if there is no E.

    8,193 points are evaluated, denser near the center, out to 10⁸ times `scale`.
    """
    reach = np.arcsinh(_FAR)
    x = center + scale * np.sinh(np.linspace(-reach, reach, _POINTS))
    try:
        energy = steps.energies(x) / temperature
    except NoEnergyError:
        return None
    energy = np.where(np.isnan(energy), np.inf, energy)
    level = energy.min() + depth
    if not np.isfinite(level):
        return None
    here = np.nonzero(energy <= level)[0]
    first, last = int(here[0]), int(here[-1])
    if first == 0 or last == len(x) - 1:
        return None

    def between(inner: float, outer: float) -> float:
        """The point from which on the energy is infinite, if it is; else the outer point."""
        if np.isfinite(steps.energies(np.full(1, outer))[0]):
            return outer
        for _ in range(_HALVINGS):
            middle = (inner + outer) / 2
            finite = steps.energies(np.full(1, middle))[0] / temperature < np.inf
            inner, outer = (middle, outer) if finite else (inner, middle)
        return inner

    low = between(float(x[first]), float(x[first - 1]))
    return low, between(float(x[last]), float(x[last + 1]))
