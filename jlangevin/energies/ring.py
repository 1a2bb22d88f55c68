"""A ring in the plane, or a shell in more dimensions."""

from __future__ import annotations

import math
from typing import ClassVar

import jax
import jax.numpy as jnp
from jax import lax
from jax.scipy.special import erf

from jlangevin._core import trees
from jlangevin._core.arithmetic import root
from jlangevin._core.checks import (
    check_count,
    check_scalar,
)
from jlangevin._core.trees import Number, PyTree, pytree_dataclass, static_field
from jlangevin.energies.analytic import Analytic, check_position, in_common_dtype
from jlangevin.noise import Want

__all__ = ["Ring", "ring"]


@pytree_dataclass
class Ring(Analytic):
    """See `ring`."""

    radius: Number
    width: Number
    dim: int = static_field()

    draw_noise: ClassVar[PyTree] = (Want.NORMAL, Want.UNIFORM)

    def __call__(self, x: jax.Array) -> jax.Array:
        check_position(self, x, self.dim)
        return 0.5 * ((root(jnp.sum(x * x)) - self.radius) / self.width) ** 2

    def _lengths(self) -> tuple[jax.Array, jax.Array]:
        """Radius and width as arrays."""
        dtype = trees.common_dtype(self.radius, self.width)
        return jnp.asarray(self.radius, dtype), jnp.asarray(self.width, dtype)

    def _in_units(self) -> tuple[Ring, jax.Array]:
        """The ring in units in which its size is about 1, so that powers do not overflow."""
        big_r, w = self._lengths()
        unit = jnp.maximum(big_r, w * math.sqrt(self.dim))
        return Ring(big_r / unit, w / unit, self.dim), unit

    def _integrals(self, highest: int, upper: jax.Array | None = None) -> jax.Array:
        """∫ s^k exp(-(s - R)²/(2w²)) ds from 0 to `upper` (∞ if None) for k = 0 … `highest`."""
        big_r, w = self._lengths()
        whole = w * math.sqrt(math.pi / 2)
        scale = w * math.sqrt(2)
        start = jnp.exp(-0.5 * (big_r / w) ** 2)
        if upper is None:
            ends = [jnp.zeros_like(start)] * max(highest, 1)
            found = [whole * (1 + erf(big_r / scale))]
        else:
            end = jnp.exp(-0.5 * ((upper - big_r) / w) ** 2)
            ends = [upper**k * end for k in range(max(highest, 1))]
            found = [whole * (erf((upper - big_r) / scale) + erf(big_r / scale))]
        found.append(big_r * found[0] + w**2 * (start - ends[0]))
        for k in range(2, highest + 1):
            found.append(big_r * found[k - 1] + w**2 * ((k - 1) * found[k - 2] - ends[k - 1]))
        return jnp.stack(found)

    @property
    def log_z(self) -> jax.Array:
        sphere = math.log(2) + 0.5 * self.dim * math.log(math.pi) - math.lgamma(self.dim / 2)
        ring, unit = self._in_units()
        integral = ring._integrals(self.dim - 1)[self.dim - 1]
        return sphere + jnp.log(integral) + self.dim * jnp.log(unit)

    @property
    def mean(self) -> jax.Array:
        radius, width = self._lengths()
        return jnp.zeros(self.dim, radius.dtype) * radius * width

    @property
    def cov(self) -> jax.Array:
        ring, unit = self._in_units()
        integrals = ring._integrals(self.dim + 1)
        square = unit**2 * integrals[self.dim + 1] / integrals[self.dim - 1]
        return square / self.dim * jnp.eye(self.dim, dtype=square.dtype)

    def template(self) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct((self.dim,), self._lengths()[0].dtype)

    def from_noise(self, noise: tuple[jax.Array, jax.Array]) -> jax.Array:
        """A direction from the normals; the radius from the uniform, by bisection of its CDF."""
        normals, uniform = noise
        k = self.dim - 1
        ring, unit = self._in_units()
        total = ring._integrals(k)[k]
        mode = 0.5 * (ring.radius + jnp.sqrt(ring.radius**2 + 4 * k * ring.width**2))

        def halve(_: int, bracket: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
            low, high = bracket
            middle = 0.5 * (low + high)
            below = ring._integrals(k, middle)[k] < uniform * total
            return jnp.where(below, middle, low), jnp.where(below, high, middle)

        bits = 60 if total.dtype == jnp.float64 else 30
        low, high = lax.fori_loop(0, bits, halve, (jnp.zeros_like(mode), mode + 12 * ring.width))
        return unit * 0.5 * (low + high) * normals / root(jnp.sum(normals * normals))


def ring(radius: Number = 2.0, width: Number = 0.3, *, dim: int = 2) -> Ring:
    """E(x) = (|x| - R)² / (2 w²): a ring in the plane, a shell in more dimensions.

    At the origin, where E has a kink, the gradient is taken as 0.

    Args:
        radius: R > 0.
        width: w > 0.
        dim: d ≥ 1.

    Raises:
        ValueError: R or w is not finite and positive, or d < 1.

    Example:
        >>> import jax.numpy as jnp, jlangevin as jl
        >>> float(jl.energies.ring(radius=1.0, width=1.0)(jnp.array([3.0, 0.0])))
        2.0
    """
    radius, width = in_common_dtype(
        check_scalar("radius", radius, positive=True), check_scalar("width", width, positive=True)
    )
    return Ring(radius, width, check_count("dim", dim, minimum=1))
