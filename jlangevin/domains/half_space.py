"""Half-spaces."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax.nn import log_sigmoid, softplus

from jlangevin._core.checks import as_array, check_finite, check_scalar, or_nan
from jlangevin._core.trees import Number, Numbers, pytree_dataclass
from jlangevin.domains.base import fitted, single_array

__all__ = ["HalfSpace", "half_space"]


@pytree_dataclass
class HalfSpace:
    """See `half_space`."""

    normal: jax.Array
    offset: Number

    def contains(self, x: jax.Array) -> jax.Array:
        normal, offset, _ = self._parameters(x)
        return jnp.sum(normal * x) <= offset

    def project(self, x: jax.Array) -> jax.Array:
        normal, offset, slack = self._parameters(x)
        excess = jnp.sum(normal * x) - offset
        on_wall = x - (excess + 2 * slack) / jnp.sum(normal * normal) * normal
        return jnp.where(excess <= -slack, x, on_wall)

    def reflect(self, x: jax.Array, y: jax.Array) -> tuple[jax.Array, jax.Array]:
        normal, offset, _ = self._parameters(x)
        square = jnp.sum(normal * normal)
        excess, move = jnp.sum(normal * y) - offset, y - x
        outside = excess > 0
        end = jnp.where(outside, y - 2 * excess / square * normal, y)
        turned = jnp.where(outside, move - 2 * jnp.sum(normal * move) / square * normal, move)
        return self.project(end), turned

    def primal(self, u: jax.Array) -> jax.Array:
        normal, depth, size = self._depth(u)
        return self.project(u - softplus(-depth) / size * normal)

    def dual(self, x: jax.Array, noise: jax.Array | None = None) -> jax.Array:
        normal, depth, size = self._depth(x)
        # From the depth s = log(1 + e^a) of x to the depth a of u.
        return x + -jnp.log(-jnp.expm1(-depth)) / size * normal

    def tangent(self, v: jax.Array) -> jax.Array:
        return v

    def log_det(self, u: jax.Array) -> jax.Array:
        _, depth, _ = self._depth(u)
        return log_sigmoid(depth)

    def _depth(self, x: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        """The normal, the depth of x inside the plane, and the normal's length."""
        normal, offset, _ = self._parameters(x)
        size = jnp.sqrt(jnp.sum(normal * normal))
        return normal, (offset - jnp.sum(normal * x)) / size, size

    def _parameters(self, x: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        """Normal, offset, and a bound on the rounding of normal · x - offset."""
        x = single_array(x)
        normal, offset = fitted("normal", self.normal, x), jnp.asarray(self.offset, x.dtype)
        terms = jnp.sum(jnp.abs(normal * x)) + jnp.abs(offset)
        return normal, offset, (x.size + 8) * jnp.finfo(x.dtype).eps * terms


def half_space(normal: Numbers, offset: Number) -> HalfSpace:
    """The half-space a · x ≤ b, for positions that are a single array.

    A move is reflected at the plane. The dual coordinates differ only in the depth below the plane:
    s = log(1 + e^{s*}). If a has a single entry other than 0, a `box` with an infinite bound is the
    same set, and exact at the wall.

    Args:
        normal: a ≠ 0, pointing outwards, an array like the position.
        offset: b.

    Raises:
        TypeError: when used, if the position is not a single array.
        ValueError: a or b is not finite, or a = 0; when used, if a does not fit the position.

    Example:
        >>> import jax.numpy as jnp, jlangevin as jl
        >>> below = jl.domains.half_space([1.0, 1.0], 2.0)  # x_1 + x_2 ≤ 2
        >>> [round(float(x), 4) for x in below.project(jnp.array([2.0, 3.0]))]
        [0.5, 1.5]
    """
    normal = or_nan(
        check_finite("normal", as_array("normal", normal)),
        lambda xp, a: xp.any(a != 0),
        lambda: ValueError("normal: expected a direction, got zeros"),
    )
    return HalfSpace(normal, check_scalar("offset", offset))
