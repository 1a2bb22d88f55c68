"""Balls."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jax.nn import log_sigmoid

from jlangevin._core.arithmetic import root
from jlangevin._core.checks import as_array, check_finite, check_scalar
from jlangevin._core.trees import Number, Numbers, pytree_dataclass
from jlangevin.domains.base import fitted, single_array

__all__ = ["Ball", "ball"]


@pytree_dataclass
class Ball:
    """See `ball`."""

    center: jax.Array
    radius: Number

    def contains(self, x: jax.Array) -> jax.Array:
        size, _ = _polar(self._to_unit_ball(x))
        return size <= 1

    def project(self, x: jax.Array) -> jax.Array:
        v = self._to_unit_ball(x)
        size, direction = _polar(v)
        center, radius, slack = self._parameters(x)
        # Radius, centre and measured distance are all rounded. Points within the slack of the
        # sphere move to twice that depth, which is inside whatever the rounding.
        on_sphere = center + (radius * jnp.maximum(1 - 2 * slack, 0)) * direction
        return jnp.where(size <= 1 - slack, x, jnp.where(jnp.isnan(size), jnp.nan, on_sphere))

    def reflect(self, x: jax.Array, y: jax.Array) -> tuple[jax.Array, jax.Array]:
        """In closed form: after the first chord, all chords have the same length and turn by the
        same angle in the plane of the move, so any number of them is one rotation."""
        center, radius, _ = self._parameters(x)
        v, move = self._to_unit_ball(x), (y - x) / radius
        length, heading = _polar(move)
        along, room = jnp.sum(v * heading), jnp.maximum(1 - jnp.sum(v * v), 0)
        half = jnp.sqrt(along**2 + room)  # a chord
        first = jnp.where(along > 0, room / (along + half), half - along)
        _, normal = _polar(v + first * heading)
        rest = jnp.maximum(length - first, 0)
        cosine = jnp.clip(jnp.sum(normal * heading), jnp.finfo(x.dtype).eps, 1)
        across = heading - cosine * normal
        # Orthogonalised again, as a head-on move leaves little but rounding.
        sine, tangent = _polar(across - jnp.sum(across * normal) * normal)
        number = jnp.floor(rest / (2 * cosine))
        # A chord turns by π - 2α. Where that is near π, as for a move through the centre, π is left
        # out and replaced by a sign.
        steep = sine < cosine
        angle = jnp.where(steep, -jnp.arctan2(sine, cosine), jnp.arctan2(cosine, sine))
        sign = jnp.where(steep & (jnp.mod(number, 2) == 1), -1, 1).astype(x.dtype)
        cos, sin = sign * jnp.cos(2 * number * angle), sign * jnp.sin(2 * number * angle)
        turned_normal = cos * normal + sin * tangent
        turned_tangent = cos * tangent - sin * normal
        onward = sine * turned_tangent - cosine * turned_normal
        end = center + radius * (turned_normal + (rest - 2 * cosine * number) * onward)
        inside = self.contains(y)
        turned = jnp.where(inside, y - x, radius * length * onward)
        return self.project(jnp.where(inside, y, end)), turned

    def primal(self, u: jax.Array) -> jax.Array:
        center, radius, _ = self._parameters(u)
        v = self._to_unit_ball(u)
        return self.project(center + radius * _tanh_ratio(jnp.sum(v * v)) * v)

    def dual(self, x: jax.Array, noise: jax.Array | None = None) -> jax.Array:
        center, radius, _ = self._parameters(x)
        size, direction = _polar(self._to_unit_ball(x))
        return center + radius * jnp.arctanh(size) * direction

    def tangent(self, v: jax.Array) -> jax.Array:
        return v

    def log_det(self, u: jax.Array) -> jax.Array:
        v = self._to_unit_ball(u)
        square = jnp.sum(v * v)
        # log sech²(s) is smooth in s² too; sech² = 4 σ(2s) σ(-2s).
        s = root(square)
        radial = np.log(4).astype(u.dtype) + log_sigmoid(2 * s) + log_sigmoid(-2 * s)
        return radial + (v.size - 1) * jnp.log(_tanh_ratio(square))

    def _parameters(self, x: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        """Centre, radius, and the rounding of a point near the sphere in units of the radius."""
        x = single_array(x)
        center, radius = fitted("center", self.center, x), jnp.asarray(self.radius, x.dtype)
        slack = (x.size + 8 + jnp.sum(jnp.abs(center)) / radius) * jnp.finfo(x.dtype).eps
        return center, radius, slack.astype(x.dtype)

    def _to_unit_ball(self, x: jax.Array) -> jax.Array:
        center, radius, _ = self._parameters(x)
        return (x - center) / radius


def _polar(v: jax.Array) -> tuple[jax.Array, jax.Array]:
    """|v| and v/|v|, where 0/0 is 0; squares do not overflow."""
    unit = jnp.maximum(jnp.max(jnp.abs(v)), 1)
    square = jnp.sum((v / unit) ** 2)
    size = root(square)
    return unit * size, (v / unit) / jnp.where(square > 0, size, 1)


def _tanh_ratio(square: jax.Array) -> jax.Array:
    """tanh(s)/s as a function of s²; near 0 by its series, where the quotient loses digits."""
    near = square < jnp.finfo(square.dtype).eps ** (1 / 3)
    s = jnp.sqrt(jnp.where(near, 1, square))
    series = 1 - square / 3 + 2 * square**2 / 15
    return jnp.where(near, series, jnp.tanh(s) / s)


def ball(center: Numbers, radius: Number) -> Ball:
    """The ball |x - c| ≤ r, for positions that are a single array.

    A move is reflected at the sphere as often as it hits it, in closed form. The dual coordinates
    are x = c + r tanh(s) (u - c)/(r s), where s = |u - c|/r.

    Args:
        center: c, a scalar for all coordinates, or an array like the position.
        radius: r > 0.

    Raises:
        TypeError: when used, if the position is not a single array.
        ValueError: c is not finite or r not positive; when used, if c does not fit the position.

    Example:
        >>> import jax.numpy as jnp, jlangevin as jl
        >>> disc = jl.domains.ball(0.0, 1.0)
        >>> bool(disc.contains(jnp.array([0.6, 0.6]))), bool(disc.contains(jnp.array([0.8, 0.8])))
        (True, False)
    """
    center = check_finite("center", as_array("center", center))
    return Ball(center, check_scalar("radius", radius, positive=True))
