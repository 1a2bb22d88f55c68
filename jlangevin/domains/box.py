"""Boxes, whose walls are perpendicular to the axes."""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.nn import sigmoid

from jlangevin._core import trees
from jlangevin._core.arithmetic import hidden_zero, log1p_to_one, separately_rounded
from jlangevin._core.checks import as_array, or_nan
from jlangevin._core.trees import PyTree, pytree_dataclass
from jlangevin._core.vector_loops import apart, choose
from jlangevin.domains.base import fitted

__all__ = ["Box", "box"]


@pytree_dataclass
class Box:
    """See `box`."""

    lower: PyTree
    upper: PyTree

    def contains(self, x: PyTree) -> jax.Array:
        inside = self._map(lambda x, low, high: jnp.all((low <= x) & (x <= high)), x)
        return functools.reduce(operator.and_, jax.tree.leaves(inside))

    def project(self, x: PyTree) -> PyTree:
        return self._map(lambda x, low, high: jnp.clip(x, low, high), x)

    def reflect(self, x: PyTree, y: PyTree) -> tuple[PyTree, PyTree]:
        """Fold each coordinate, however often it crosses the box."""
        end = self._map(partial(apart, lambda *args: _fold_coordinate(*args)[0]), y)
        turned = self._map(
            partial(apart, lambda y, low, high, x: (y - x) * _fold_coordinate(y, low, high)[1]),
            y,
            x,
        )
        return end, turned

    def primal(self, u: PyTree) -> PyTree:
        return self._map(partial(apart, _primal_coordinate), u)

    def dual(self, x: PyTree, noise: PyTree = None) -> PyTree:
        return self._map(_dual_coordinate, x)

    def on_wall(self, x: PyTree) -> jax.Array:
        """Whether `dual` is not finite, at a finite x that is inside."""
        touches = self._map(lambda x, low, high: jnp.any((x <= low) | (x >= high)), x)
        return functools.reduce(operator.or_, jax.tree.leaves(touches))

    def tangent(self, v: PyTree) -> PyTree:
        return v

    def log_det(self, u: PyTree) -> jax.Array:
        dtype = trees.float_dtype(u)
        slopes = self._map(partial(apart, _log_slope), u)
        sums = jax.tree.map(lambda slope: jnp.sum(slope).astype(dtype), slopes)
        return sum(jax.tree.leaves(sums), start=jnp.zeros((), dtype))

    def _map(self, function: Callable[..., jax.Array], tree: PyTree, *others: PyTree) -> PyTree:
        """`function` of leaf, lower and upper bound, for each leaf; the bounds broadcast."""
        lower, upper = fitted("lower", self.lower, tree), fitted("upper", self.upper, tree)
        return jax.tree.map(function, tree, lower, upper, *others)


def _paired_bounds(lower: PyTree, upper: PyTree) -> list[tuple[tuple[str, Any], tuple[str, Any]]]:
    """The bounds of each leaf with their names; a single bound is used for all leaves."""
    lows, highs = (
        trees.named_leaves(name, bound) for name, bound in (("lower", lower), ("upper", upper))
    )
    if len(lows) != len(highs):
        lows = lows * len(highs) if len(lows) == 1 else lows
        highs = highs * len(lows) if len(highs) == 1 else highs
    if len(lows) != len(highs):
        raise ValueError(f"upper: {len(highs)} leaves do not fit the {len(lows)} of lower")
    for (_, low), (name, high) in zip(lows, highs, strict=True):
        if () not in (low.shape, high.shape) and low.shape != high.shape:
            raise ValueError(f"{name}: shape {high.shape} does not fit lower, of shape {low.shape}")
    return list(zip(lows, highs, strict=True))


def _bounds_error(lower: PyTree, upper: PyTree) -> ValueError:
    pairs = _paired_bounds(lower, upper)
    for name, bound in (bound for pair in pairs for bound in pair):
        if np.any(np.isnan(bound)):
            return ValueError(f"{name}: expected bounds, got NaN")
    (name, low), (_, high) = next(p for p in pairs if not np.all(p[0][1] < p[1][1]))
    return ValueError(f"{name}: expected bounds below upper, got {low} and {high}")


def _fold_coordinate(y: jax.Array, low: jax.Array, high: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The place y is folded to, and 1 or -1 for the final direction relative to the move.

    Distances are measured from the wall crossed first, so that the other wall costs no digits.
    """
    width = high - low
    beyond = jnp.maximum(jnp.maximum(low - y, y - high), 0)
    # Not `mod`, which is a function call per element. The product is rounded separately, so that
    # runs have the same bits however they are cut.
    period = choose(jnp.isfinite(width), 2 * width, 1)
    turns = choose(jnp.isfinite(width), jnp.floor(beyond / period), 0)
    distance = jnp.maximum(beyond - separately_rounded(turns * period, hidden_zero(period)), 0)
    back = distance > width
    depth = choose(back, 2 * width - distance, distance)
    end = choose(y < low, low + depth, choose(y > high, high - depth, y))
    outside = (y < low) | (y > high)
    return jnp.clip(end, low, high), choose(outside & ~back, -1, 1).astype(y.dtype)


# The mirror map of one coordinate, with slope 1 midway between two bounds or far from one:
# l + w σ(4 (u - m)/w) for two bounds of width w and middle m; l + log(1 + e^{u-l}) or its mirror
# image for one; u for none.


def _bounds(low: jax.Array, high: jax.Array) -> tuple[jax.Array, ...]:
    """Which bounds are finite; the bounds and the width, with finite dummies where they are not."""
    below, above = jnp.isfinite(low), jnp.isfinite(high)
    low, high = choose(below, low, 0), choose(above, high, 0)
    return below, above, low, high, choose(below & above, high - low, 1)


class Logit(NamedTuple):
    """The argument t of σ or softplus, measured from the lower bound, or from the upper if there is
    no other, and what both are made of, to full precision and with their slopes at t = 0."""

    negative: jax.Array  # whether t < 0
    t: jax.Array
    near: jax.Array  # -|t|
    tail: jax.Array  # log(1 + e^{-|t|})

    @classmethod
    def of(cls, low: jax.Array, high: jax.Array, u: jax.Array) -> Logit:
        below, above, low, high, width = _bounds(low, high)
        both = 4 * ((u - low) - 0.5 * width) / width
        t = choose(below & above, both, choose(above, high - u, u - low))
        near = choose(t < 0, t, -t)
        return cls(t < 0, t, near, log1p_to_one(jnp.exp(near)))


def _primal_coordinate(u: jax.Array, low: jax.Array, high: jax.Array) -> jax.Array:
    below, above, finite_low, finite_high, width = _bounds(low, high)
    logit = Logit.of(low, high, u)
    # From the nearer bound, where floats may be dense.
    share = width * sigmoid(logit.near)
    both = choose(logit.negative, finite_low + share, finite_high - share)
    depth = choose(logit.negative, 0, logit.t) + logit.tail
    one = choose(below, finite_low + depth, finite_high - depth)
    return jnp.clip(choose(below & above, both, choose(below | above, one, u)), low, high)


def _dual_coordinate(x: jax.Array, low: jax.Array, high: jax.Array) -> jax.Array:
    below, above, low, high, width = _bounds(low, high)
    logit = jnp.log(x - low) - jnp.log(high - x)
    both = low + 0.5 * width + 0.25 * width * logit
    one = choose(below, low + _softplus_inverse(x - low), high - _softplus_inverse(high - x))
    return choose(below & above, both, choose(below | above, one, x))


def _log_slope(u: jax.Array, low: jax.Array, high: jax.Array) -> jax.Array:
    below, above, *_ = _bounds(low, high)
    logit = Logit.of(low, high, u)
    both = logit.near - 2 * logit.tail + np.log(4).astype(u.dtype)
    one = choose(logit.negative, logit.t, 0) - logit.tail
    return choose(below & above, both, choose(below | above, one, 0))


def _softplus_inverse(y: jax.Array) -> jax.Array:
    return y + jnp.log(-jnp.expm1(-y))


def box(lower: PyTree, upper: PyTree) -> Box:
    """The box lower ≤ x ≤ upper, for positions that are any pytree; bounds may be infinite.

    A move is reflected by folding each coordinate. The dual coordinates are
    x = l + w σ(4 (u - m)/w) between two bounds, where m is the middle and w the width, and
    x = l + log(1 + e^{u-l}) for a lower bound only, or its mirror image for an upper.

    Args:
        lower, upper: scalars, or pytrees like the position, with leaves that are scalars or of the
            position's shape. They are rounded to the position's dtype.

    Raises:
        ValueError: a bound is NaN, or a lower bound is not below the upper; when used, if the
            bounds do not fit the position.

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

    def rising(xp: Any, bounds: tuple[PyTree, PyTree]) -> Any:
        walls = (xp.all(low < high) for (_, low), (_, high) in _paired_bounds(*bounds))
        return functools.reduce(operator.and_, walls, True)

    lower, upper = or_nan((lower, upper), rising, lambda: _bounds_error(lower, upper))
    return Box(lower, upper)
