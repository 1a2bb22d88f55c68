"""Closed convex sets that positions are confined to, and the maps that keep them there.

Each domain is a frozen dataclass whose parameters are pytree leaves, with

    contains(x)     whether x is inside, a boolean scalar
    project(x)      the nearest point of the domain
    reflect(x, y)   where the straight move from x to y ends if walls reflect it, as light, and the
                    move as it is after the last of them: as long as y - x, but turned
    primal(u)       a smooth map of all of space onto the interior, the gradient of a convex
                    function: ∇h* of a mirror map h
    dual(x, noise)  its inverse; not finite on the boundary. Where x does not say all of u, as on a
                    simplex, the rest is made of `noise`, normals like x, and is 0 without
    log_det(u)      log |det ∂x/∂u|
    tangent(v)      the part of a direction along which the domain extends: all of it but on a
                    simplex, which is flat

for one position; any other object with these is a domain too. What `project`, `reflect` and
`primal` give is inside in exact arithmetic, not up to rounding: a point within a few roundings of
a curved or slanted wall is moved inwards by as much. What is not a number stays so.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.nn import log_sigmoid, log_softmax, sigmoid, softmax, softplus

from jlangevin import trees
from jlangevin._checks import as_array, check_finite, check_scalar
from jlangevin.rounding import apart, hidden_zero
from jlangevin.trees import PyTree, pytree_dataclass

__all__ = [
    "Ball",
    "Box",
    "Confined",
    "Domain",
    "HalfSpace",
    "Simplex",
    "ball",
    "box",
    "confine",
    "half_space",
    "simplex",
]


class Domain(Protocol):
    """A closed convex set; see the module for what its members are."""

    def contains(self, x: PyTree) -> jax.Array: ...
    def project(self, x: PyTree) -> PyTree: ...
    def reflect(self, x: PyTree, y: PyTree) -> tuple[PyTree, PyTree]: ...
    def primal(self, u: PyTree) -> PyTree: ...
    def dual(self, x: PyTree, noise: PyTree = None) -> PyTree: ...
    def log_det(self, u: PyTree) -> jax.Array: ...
    def tangent(self, v: PyTree) -> PyTree: ...


def check_domain(domain: Any) -> None:
    """Raise TypeError unless `domain` has the members of a domain."""
    wanted = ("contains", "project", "reflect", "primal", "dual", "log_det", "tangent")
    missing = [name for name in wanted if not hasattr(domain, name)]
    if missing:
        raise TypeError(
            f"domain: {domain!r} is no domain (it lacks {', '.join(missing)}); pass for instance "
            "jlangevin.domains.box(0.0, 1.0)"
        )


def admit(domain: Domain, position: PyTree) -> PyTree:
    """`position` if it is inside, else NaN: as the start of a chain the driver refuses it."""
    inside = domain.contains(position)
    return jax.tree.map(lambda x: jnp.where(inside, x, jnp.nan), position)


def _array(position: PyTree, ndim: int | None = None) -> jax.Array:
    if not isinstance(position, (jax.Array, np.ndarray)) or ndim not in (None, position.ndim):
        what = "a single array" if ndim is None else f"a single array of {ndim} dimension(s)"
        raise TypeError(f"position: this domain takes {what}; boxes take any pytree")
    return jnp.asarray(position)


# Box ----------------------------------------------------------------------------------------


@pytree_dataclass
class Box:
    """See `box`."""

    lower: Any
    upper: Any

    def contains(self, x: PyTree) -> jax.Array:
        inside = self._map(lambda low, high, x: jnp.all((low <= x) & (x <= high)), x)
        return functools.reduce(operator.and_, jax.tree.leaves(inside))

    def project(self, x: PyTree) -> PyTree:
        return self._map(lambda low, high, x: jnp.clip(x, low, high), x)

    def reflect(self, x: PyTree, y: PyTree) -> tuple[PyTree, PyTree]:
        """By folding each coordinate, however often it crosses the box."""
        end = self._map(lambda low, high, y: _fold(low, high, y)[0], y)
        turned = self._map(lambda low, high, y, x: (y - x) * _fold(low, high, y)[1], y, x)
        return end, turned

    def primal(self, u: PyTree) -> PyTree:
        return self._map(_primal, u)

    def dual(self, x: PyTree, noise: PyTree = None) -> PyTree:
        return self._map(_dual, x)

    def tangent(self, v: PyTree) -> PyTree:
        return v

    def log_det(self, u: PyTree) -> jax.Array:
        dtype = trees.float_dtype(u)
        sums = self._map(lambda *args: jnp.sum(_log_slope(*args)).astype(dtype), u)
        return sum(jax.tree.leaves(sums), start=jnp.zeros((), dtype))

    def _map(self, function: Callable[..., Any], tree: PyTree, *others: PyTree) -> PyTree:
        """`function` of the bounds, as large as a leaf, and of the leaves."""
        lower, upper = _fit("lower", self.lower, tree), _fit("upper", self.upper, tree)
        return jax.tree.map(function, lower, upper, tree, *others)


def _fit(name: str, bound: PyTree, tree: PyTree) -> PyTree:
    """`bound` for every element of `tree`, in its dtypes."""
    if trees.is_array(bound) and jnp.ndim(bound) == 0:
        return jax.tree.map(lambda x: jnp.full(jnp.shape(x), bound, x.dtype), tree)

    def fit(bound: Any, x: jax.Array) -> jax.Array:
        if jnp.shape(bound) not in ((), jnp.shape(x)):
            raise ValueError(
                f"{name}: of shape {jnp.shape(bound)}, does not fit a position of shape "
                f"{jnp.shape(x)}"
            )
        return jnp.full(jnp.shape(x), bound, x.dtype)

    given, wanted = str(jax.tree.structure(bound)), str(jax.tree.structure(tree))
    if given != wanted:
        raise ValueError(f"{name}: {given} does not fit a position that is {wanted}")
    return jax.tree.map(fit, bound, tree)


def _pairs(lower: PyTree, upper: PyTree) -> list[tuple[Any, Any]]:
    """The bounds of each leaf, of which either may stand for all."""
    lows, highs = ([np.asarray(x) for x in jax.tree.leaves(bound)] for bound in (lower, upper))
    if len(lows) != len(highs):
        lows = lows * len(highs) if len(lows) == 1 else lows
        highs = highs * len(lows) if len(highs) == 1 else highs
    if len(lows) != len(highs):
        raise ValueError(f"upper: {len(highs)} leaves do not fit the {len(lows)} of lower")
    return list(zip(lows, highs, strict=True))


def _fold(low: jax.Array, high: jax.Array, y: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Where y is folded to, and 1 or -1 for the direction from which it gets there.

    Counted from the wall crossed first, so that no digits are lost to the other one.
    """
    width = high - low
    beyond = jnp.maximum(jnp.maximum(low - y, y - high), 0)
    # Not `mod`, which is a call for each element, and apart, so that runs have the same bits
    # however they are cut.
    period = jnp.where(jnp.isfinite(width), 2 * width, 1)
    turns = jnp.where(jnp.isfinite(width), jnp.floor(beyond / period), 0)
    way = jnp.maximum(beyond - apart(turns * period, hidden_zero(period)), 0)
    back = way > width
    depth = jnp.where(back, 2 * width - way, way)
    end = jnp.where(y < low, low + depth, jnp.where(y > high, high - depth, y))
    outside = (y < low) | (y > high)
    return jnp.clip(end, low, high), jnp.where(outside & ~back, -1, 1).astype(y.dtype)


# The mirror map of one coordinate, with slope 1 far from its bounds or between them:
# l + w σ(4 (u - m)/w) for two bounds of width w and middle m; l + log(1 + e^{u-l}) and its mirror
# image for one; u for none.


def _bounds(low: jax.Array, high: jax.Array) -> tuple[jax.Array, ...]:
    """Which bounds there are, and harmless numbers for those, and for the width, that are not."""
    below, above = jnp.isfinite(low), jnp.isfinite(high)
    low, high = jnp.where(below, low, 0), jnp.where(above, high, 0)
    return below, above, low, high, jnp.where(below & above, high - low, 1)


def _arguments(low: jax.Array, high: jax.Array, u: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Of σ or softplus, as counted from the lower bound and from the upper."""
    below, above, low, high, width = _bounds(low, high)
    both = 4 * ((u - low) - 0.5 * width) / width
    return jnp.where(above, both, u - low), jnp.where(below, -both, high - u)


def _primal(low: jax.Array, high: jax.Array, u: jax.Array) -> jax.Array:
    below, above, finite_low, finite_high, width = _bounds(low, high)
    up, down = _arguments(low, high, u)
    # From the nearer bound, where floats may be dense.
    both = jnp.where(up < 0, finite_low + width * sigmoid(up), finite_high - width * sigmoid(down))
    one = jnp.where(below, finite_low + softplus(up), finite_high - softplus(down))
    return jnp.clip(jnp.where(below & above, both, jnp.where(below | above, one, u)), low, high)


def _dual(low: jax.Array, high: jax.Array, x: jax.Array) -> jax.Array:
    below, above, low, high, width = _bounds(low, high)
    logit = jnp.log(x - low) - jnp.log(high - x)
    both = low + 0.5 * width + 0.25 * width * logit
    one = jnp.where(below, low + _softplus_inverse(x - low), high - _softplus_inverse(high - x))
    return jnp.where(below & above, both, jnp.where(below | above, one, x))


def _log_slope(low: jax.Array, high: jax.Array, u: jax.Array) -> jax.Array:
    below, above, *_ = _bounds(low, high)
    up, down = _arguments(low, high, u)
    slopes = jnp.where(below, log_sigmoid(up), 0) + jnp.where(above, log_sigmoid(down), 0)
    return slopes + jnp.where(below & above, np.log(4), 0).astype(u.dtype)


def _softplus_inverse(y: jax.Array) -> jax.Array:
    return y + jnp.log(-jnp.expm1(-y))


def box(lower: Any, upper: Any) -> Box:
    """The box lower ≤ x ≤ upper, in which either bound may be infinite; for any pytree position.

    A move is reflected by folding each coordinate. The dual coordinates are a logit where there
    are two bounds, x = l + w σ(4 (u - m)/w), where m is the middle and w the width, and
    x = l + log(1 + e^{u-l}) where there is only the lower, its mirror image for the upper.

    Args:
        lower, upper: scalars, or pytrees like the position, with leaves that are scalars or of the
            position's shape. Rounded to the position's dtype.

    Raises:
        ValueError: a bound that is NaN, or a lower bound that is not below the upper. Bounds that
            do not fit the position are refused when they meet it.

    Example:
        >>> import jax.numpy as jnp, jlangevin as jl
        >>> unit = jl.domains.box(0.0, 1.0)
        >>> end, move = unit.reflect(jnp.array([0.5]), jnp.array([-2.75]))  # off three walls
        >>> float(end[0]), float(move[0])
        (0.75, 3.25)
    """
    lower, upper = (
        jax.tree.map(functools.partial(as_array, name), trees.as_position(name, bound))
        for name, bound in (("lower", lower), ("upper", upper))
    )
    if trees.is_concrete(lower, upper):
        for name, bound in (("lower", lower), ("upper", upper)):
            if any(bool(np.any(np.isnan(leaf))) for leaf in jax.tree.leaves(bound)):
                raise ValueError(f"{name}: expected bounds, got NaN")
        for low, high in _pairs(lower, upper):
            if not bool(np.all(low < high)):
                raise ValueError(f"lower: expected bounds below upper, got {low} and {high}")
    return Box(lower, upper)


# Ball ---------------------------------------------------------------------------------------


@pytree_dataclass
class Ball:
    """See `ball`."""

    center: Any
    radius: Any

    def contains(self, x: jax.Array) -> jax.Array:
        size, _ = _polar(self._scaled(x))
        return size <= 1

    def project(self, x: jax.Array) -> jax.Array:
        v = self._scaled(x)
        size, direction = _polar(v)
        center, radius, slack = self._parameters(x)
        # Sphere and centre are rounded, and so is what is measured: those within the slack of the
        # sphere move to twice as deep, which is inside whatever the roundings.
        on_sphere = center + (radius * jnp.maximum(1 - 2 * slack, 0)) * direction
        return jnp.where(size <= 1 - slack, x, jnp.where(jnp.isnan(size), jnp.nan, on_sphere))

    def reflect(self, x: jax.Array, y: jax.Array) -> tuple[jax.Array, jax.Array]:
        """In the plane of the move every chord after the first is as long as the one before, and
        turned by the same angle: any number of them is one rotation."""
        center, radius, _ = self._parameters(x)
        v, move = self._scaled(x), (y - x) / radius
        length, heading = _polar(move)
        along, room = jnp.sum(v * heading), jnp.maximum(1 - jnp.sum(v * v), 0)
        root = jnp.sqrt(along**2 + room)
        first = jnp.where(along > 0, room / (along + root), root - along)
        _, normal = _polar(v + first * heading)
        rest = jnp.maximum(length - first, 0)
        cosine = jnp.clip(jnp.sum(normal * heading), jnp.finfo(x.dtype).eps, 1)
        across = heading - cosine * normal
        # Once more, for a head-on move leaves little but rounding.
        sine, tangent = _polar(across - jnp.sum(across * normal) * normal)
        number = jnp.floor(rest / (2 * cosine))
        # A chord turns by π - 2α; where that is near π, as it is on a line, π is left out and made
        # up for by signs.
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
        v = self._scaled(u)
        return self.project(center + radius * _tanh_ratio(jnp.sum(v * v)) * v)

    def dual(self, x: jax.Array, noise: jax.Array | None = None) -> jax.Array:
        center, radius, _ = self._parameters(x)
        size, direction = _polar(self._scaled(x))
        return center + radius * jnp.arctanh(size) * direction

    def tangent(self, v: jax.Array) -> jax.Array:
        return v

    def log_det(self, u: jax.Array) -> jax.Array:
        v = self._scaled(u)
        square = jnp.sum(v * v)
        # log sech²(s) is smooth in s² too; sech² = 4 σ(2s) σ(-2s).
        s = _root(square)
        radial = np.log(4).astype(u.dtype) + log_sigmoid(2 * s) + log_sigmoid(-2 * s)
        return radial + (v.size - 1) * jnp.log(_tanh_ratio(square))

    def _parameters(self, x: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        """Centre, radius, and how many radii roundings of a point near the sphere amount to."""
        x = _array(x)
        center, radius = _fit("center", self.center, x), jnp.asarray(self.radius, x.dtype)
        slack = (x.size + 8 + jnp.sum(jnp.abs(center)) / radius) * jnp.finfo(x.dtype).eps
        return center, radius, slack.astype(x.dtype)

    def _scaled(self, x: jax.Array) -> jax.Array:
        center, radius, _ = self._parameters(x)
        return (x - center) / radius


def _polar(v: jax.Array) -> tuple[jax.Array, jax.Array]:
    """|v| and v/|v|, or 0 of 0; squares do not overflow."""
    unit = jnp.maximum(jnp.max(jnp.abs(v)), 1)
    square = jnp.sum((v / unit) ** 2)
    size = _root(square)
    return unit * size, (v / unit) / jnp.where(square > 0, size, 1)


def _root(square: jax.Array) -> jax.Array:
    """The square root, with the derivative 0 at 0, where it has none."""
    positive = square > 0
    return jnp.where(
        positive, jnp.sqrt(jnp.where(positive, square, 1)), jnp.where(square == 0, 0, jnp.nan)
    )


def _tanh_ratio(square: jax.Array) -> jax.Array:
    """tanh(s)/s of s²; by its series near 0, where the quotient's derivative loses its digits."""
    near = square < jnp.finfo(square.dtype).eps ** (1 / 3)
    s = jnp.sqrt(jnp.where(near, 1, square))
    series = 1 - square / 3 + 2 * square**2 / 15
    return jnp.where(near, series, jnp.tanh(s) / s)


def ball(center: Any, radius: Any) -> Ball:
    """The ball |x - c| ≤ r, for positions that are a single array.

    A move is reflected at the sphere as often as it hits it, in closed form. The dual coordinates
    are x = c + r tanh(s) (u - c)/(r s), where s = |u - c|/r.

    Args:
        center: c, a scalar for all coordinates, or an array like the position.
        radius: r > 0.

    Raises:
        TypeError: a position that is no single array, when it meets one.
        ValueError: c not finite or r not positive; later, a centre that does not fit the position.

    Example:
        >>> import jax.numpy as jnp, jlangevin as jl
        >>> disc = jl.domains.ball(0.0, 1.0)
        >>> bool(disc.contains(jnp.array([0.6, 0.6]))), bool(disc.contains(jnp.array([0.8, 0.8])))
        (True, False)
    """
    center = as_array("center", center)
    check_finite("center", center)
    check_scalar("radius", radius, positive=True)
    return Ball(center, radius)


# Half-space ---------------------------------------------------------------------------------


@pytree_dataclass
class HalfSpace:
    """See `half_space`."""

    normal: Any
    offset: Any

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
        # The depth a of u from the depth s = log(1 + e^a) of x.
        return x + -jnp.log(-jnp.expm1(-depth)) / size * normal

    def tangent(self, v: jax.Array) -> jax.Array:
        return v

    def log_det(self, u: jax.Array) -> jax.Array:
        _, depth, _ = self._depth(u)
        return log_sigmoid(depth)

    def _depth(self, x: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        """The normal, how deep x is inside, and the normal's length."""
        normal, offset, _ = self._parameters(x)
        size = jnp.sqrt(jnp.sum(normal * normal))
        return normal, (offset - jnp.sum(normal * x)) / size, size

    def _parameters(self, x: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        """Normal, offset, and what roundings of normal · x - offset amount to."""
        x = _array(x)
        normal, offset = _fit("normal", self.normal, x), jnp.asarray(self.offset, x.dtype)
        terms = jnp.sum(jnp.abs(normal * x)) + jnp.abs(offset)
        return normal, offset, (x.size + 8) * jnp.finfo(x.dtype).eps * terms


def half_space(normal: Any, offset: Any) -> HalfSpace:
    """The half-space a · x ≤ b, for positions that are a single array.

    A move is reflected at the plane. The dual coordinates have another depth below the plane,
    s = log(1 + e^{s*}), and are the same otherwise. Where a has a single entry other than 0,
    `box` with an infinite bound is the same, and exact at the wall.

    Args:
        normal: a ≠ 0, pointing outwards, an array like the position.
        offset: b.

    Raises:
        TypeError: a position that is no single array, when it meets one.
        ValueError: a or b not finite, or a = 0; later, a normal that does not fit the position.

    Example:
        >>> import jax.numpy as jnp, jlangevin as jl
        >>> below = jl.domains.half_space([1.0, 1.0], 2.0)  # x_1 + x_2 ≤ 2
        >>> [round(float(x), 4) for x in below.project(jnp.array([2.0, 3.0]))]
        [0.5, 1.5]
    """
    normal = as_array("normal", normal)
    check_finite("normal", normal)
    check_scalar("offset", offset)
    if trees.is_concrete(normal) and not bool(np.any(np.asarray(normal) != 0)):
        raise ValueError("normal: expected a direction, got zeros")
    return HalfSpace(normal, offset)


# Simplex ------------------------------------------------------------------------------------


@pytree_dataclass
class Simplex:
    """See `simplex`."""

    def contains(self, x: jax.Array) -> jax.Array:
        x = _array(x, 1)
        return jnp.all(x >= 0) & (jnp.abs(jnp.sum(x) - 1) <= x.size * jnp.finfo(x.dtype).eps)

    def project(self, x: jax.Array) -> jax.Array:
        """max(x - τ, 0), where τ makes the sum 1 (Held, Wolfe and Crowder 1974)."""
        x = _array(x, 1)
        x = x - jnp.max(x)  # which changes nothing but τ, and keeps the digits of what is left
        falling = -jnp.sort(-x)
        excess = (jnp.cumsum(falling) - 1) / jnp.arange(1, x.size + 1).astype(x.dtype)
        last = jnp.sum(falling > excess) - 1
        return self._settle(x - excess[last])

    def reflect(self, x: jax.Array, y: jax.Array) -> tuple[jax.Array, jax.Array]:
        """From face to face, within the plane Σ x_i = 1, off at most 100 n of them. A move with
        more is held: it ends where it began, turned around, which keeps it reversible."""
        x = _array(x, 1)
        move = (y - x) - jnp.mean(y - x)
        most = 100 * x.size

        def time_to_a_face(x: jax.Array, move: jax.Array) -> jax.Array:
            inwards = move >= 0
            return jnp.where(inwards, jnp.inf, jnp.maximum(x, 0) / jnp.where(inwards, 1, -move))

        def leaves(carry: Any) -> jax.Array:
            x, move, left, number = carry
            return (jnp.min(time_to_a_face(x, move)) < left) & (number < most)

        def bounce(carry: Any) -> Any:
            x, move, left, number = carry
            times = time_to_a_face(x, move)
            face = jnp.arange(x.size) == jnp.argmin(times)
            time = jnp.min(times)
            x = jnp.where(face, 0, x + time * move)
            # The face's normal within the plane is e_i - 1/n, of square 1 - 1/n.
            inwards = face.astype(x.dtype) - 1 / x.size
            speed = jnp.sum(jnp.where(face, move, 0))
            return x, move - 2 * speed / (1 - 1 / x.size) * inwards, left - time, number + 1

        start = (x, move, jnp.ones((), x.dtype), jnp.int32(0))
        end, turned, left, number = lax.while_loop(leaves, bounce, start)
        held = number == most
        end = jnp.where(number == 0, x + move, end + left * turned)
        return self._settle(jnp.where(held, x, end)), jnp.where(held, -move, turned)

    def primal(self, u: jax.Array) -> jax.Array:
        return self._settle(softmax(_array(u, 1)))

    def dual(self, x: jax.Array, noise: jax.Array | None = None) -> jax.Array:
        logs = jnp.log(_array(x, 1))
        spare = 0 if noise is None else jnp.mean(noise)
        return logs - jnp.mean(logs) + spare

    def tangent(self, v: jax.Array) -> jax.Array:
        """Without the part across Σ x_i = 1."""
        return v - jnp.mean(v)

    def log_det(self, u: jax.Array) -> jax.Array:
        """Within the planes, log n + Σ log x_i; and a normal law for what has no part in x."""
        u = _array(u, 1)
        spare = jnp.sum(u) ** 2 / u.size
        return jnp.sum(log_softmax(u)) - 0.5 * spare + np.log(u.size).astype(u.dtype)

    def _settle(self, x: jax.Array) -> jax.Array:
        """`x` without negative entries, and with the sum 1 but for its rounding."""
        x = jnp.maximum(x, 0)
        return x / jnp.sum(x)


def simplex() -> Simplex:
    """The simplex x_i ≥ 0, Σ x_i = 1, for positions that are one vector of n ≥ 2 entries.

    A law on it is a density in the plane Σ x_i = 1, in which gradients and noise have no part
    across. That the sum is 1 holds to n eps, as no floats do better. A move is reflected from face
    to face, at most 100 n times. The dual coordinates are x = softmax(u). They have a direction
    that x does not depend on, and a standard normal law is given to it: `log_det` contains
    -(Σ u_i)²/(2n).

    Example:
        >>> import jax.numpy as jnp, jlangevin as jl
        >>> [round(float(x), 4) for x in jl.domains.simplex().project(jnp.array([0.9, 0.5, -1.0]))]
        [0.7, 0.3, 0.0]
    """
    return Simplex()


# Energies -----------------------------------------------------------------------------------


@pytree_dataclass
class Confined:
    """See `confine`."""

    energy: Any
    domain: Any

    def __call__(self, x: PyTree) -> jax.Array:
        value: jax.Array = self.energy(x)
        return jnp.where(self.domain.contains(x), value, jnp.inf)


def confine(energy: Any, domain: Domain) -> Confined:
    """E inside of `domain` and +∞ outside.

    A kernel that accepts or rejects by the energy (`mala`, `barker`, `malt`) rejects what is not
    finite, and so samples the law restricted to the domain, without bias. Others diverge when they
    leave it, and are reported.

    Args:
        energy: any energy; outside of the domain it may be anything.
        domain: any domain but a simplex, which has no inside that a move in space could hit.

    Raises:
        TypeError: no domain, or a simplex.

    Example:
        >>> import jax, jax.numpy as jnp, jlangevin as jl
        >>> half_normal = jl.domains.confine(lambda x: 0.5 * x @ x, jl.domains.box(0.0, jnp.inf))
        >>> run = jl.sample(jax.random.key(0), half_normal, jl.mala(0.5), jnp.ones((100, 1)),
        ...                 num_steps=100)
        >>> bool(run.draws.min() >= 0)
        True
    """
    check_domain(domain)
    if isinstance(domain, Simplex):
        raise TypeError("domain: no move in space ends on a simplex; take jlangevin.mirrored")
    return Confined(energy, domain)
