"""Boxes, whose walls are perpendicular to the axes."""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.nn import log_sigmoid, sigmoid, softplus

from jlangevin._core import trees
from jlangevin._core.arithmetic import hidden_zero, separately_rounded
from jlangevin._core.checks import as_array, or_nan
from jlangevin._core.trees import PyTree, pytree_dataclass
from jlangevin.domains.base import fitted

__all__ = ["Box", "box"]


@pytree_dataclass
class Box:
    """See `box`."""

    lower: PyTree
    upper: PyTree

    def contains(self, x: PyTree) -> jax.Array:
        inside = self._map(lambda low, high, x: jnp.all((low <= x) & (x <= high)), x)
        return functools.reduce(operator.and_, jax.tree.leaves(inside))

    def project(self, x: PyTree) -> PyTree:
        return self._map(lambda low, high, x: jnp.clip(x, low, high), x)

    def reflect(self, x: PyTree, y: PyTree) -> tuple[PyTree, PyTree]:
        """Fold each coordinate, however often it crosses the box."""
        end = self._map(lambda low, high, y: _fold_coordinate(low, high, y)[0], y)
        turned = self._map(
            lambda low, high, y, x: (y - x) * _fold_coordinate(low, high, y)[1], y, x
        )
        return end, turned

    def primal(self, u: PyTree) -> PyTree:
        return self._map(_primal_coordinate, u)

    def dual(self, x: PyTree, noise: PyTree = None) -> PyTree:
        return self._map(_dual_coordinate, x)

    def tangent(self, v: PyTree) -> PyTree:
        return v

    def log_det(self, u: PyTree) -> jax.Array:
        dtype = trees.float_dtype(u)
        sums = self._map(lambda *args: jnp.sum(_log_slope(*args)).astype(dtype), u)
        return sum(jax.tree.leaves(sums), start=jnp.zeros((), dtype))

    def _map(self, function: Callable[..., jax.Array], tree: PyTree, *others: PyTree) -> PyTree:
        """`function` of lower bound, upper bound and leaf, for each leaf; the bounds broadcast."""
        lower, upper = fitted("lower", self.lower, tree), fitted("upper", self.upper, tree)
        return jax.tree.map(function, lower, upper, tree, *others)


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


def _fold_coordinate(low: jax.Array, high: jax.Array, y: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The place y is folded to, and 1 or -1 for the final direction relative to the move.

    Distances are measured from the wall crossed first, so that the other wall costs no digits.
    """
    width = high - low
    beyond = jnp.maximum(jnp.maximum(low - y, y - high), 0)
    # Not `mod`, which is a function call per element. The product is rounded separately, so that
    # runs have the same bits however they are cut.
    period = jnp.where(jnp.isfinite(width), 2 * width, 1)
    turns = jnp.where(jnp.isfinite(width), jnp.floor(beyond / period), 0)
    distance = jnp.maximum(beyond - separately_rounded(turns * period, hidden_zero(period)), 0)
    back = distance > width
    depth = jnp.where(back, 2 * width - distance, distance)
    end = jnp.where(y < low, low + depth, jnp.where(y > high, high - depth, y))
    outside = (y < low) | (y > high)
    return jnp.clip(end, low, high), jnp.where(outside & ~back, -1, 1).astype(y.dtype)


# The mirror map of one coordinate, with slope 1 midway between two bounds or far from one:
# l + w σ(4 (u - m)/w) for two bounds of width w and middle m; l + log(1 + e^{u-l}) or its mirror
# image for one; u for none.


def _bounds(low: jax.Array, high: jax.Array) -> tuple[jax.Array, ...]:
    """Which bounds are finite; the bounds and the width, with finite dummies where they are not."""
    below, above = jnp.isfinite(low), jnp.isfinite(high)
    low, high = jnp.where(below, low, 0), jnp.where(above, high, 0)
    return below, above, low, high, jnp.where(below & above, high - low, 1)


def _logits(low: jax.Array, high: jax.Array, u: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The arguments of σ or softplus, measured from the lower bound and from the upper."""
    below, above, low, high, width = _bounds(low, high)
    both = 4 * ((u - low) - 0.5 * width) / width
    return jnp.where(above, both, u - low), jnp.where(below, -both, high - u)


def _primal_coordinate(low: jax.Array, high: jax.Array, u: jax.Array) -> jax.Array:
    below, above, finite_low, finite_high, width = _bounds(low, high)
    up, down = _logits(low, high, u)
    # From the nearer bound, where floats may be dense.
    both = jnp.where(up < 0, finite_low + width * sigmoid(up), finite_high - width * sigmoid(down))
    one = jnp.where(below, finite_low + softplus(up), finite_high - softplus(down))
    return jnp.clip(jnp.where(below & above, both, jnp.where(below | above, one, u)), low, high)


def _dual_coordinate(low: jax.Array, high: jax.Array, x: jax.Array) -> jax.Array:
    below, above, low, high, width = _bounds(low, high)
    logit = jnp.log(x - low) - jnp.log(high - x)
    both = low + 0.5 * width + 0.25 * width * logit
    one = jnp.where(below, low + _softplus_inverse(x - low), high - _softplus_inverse(high - x))
    return jnp.where(below & above, both, jnp.where(below | above, one, x))


def _log_slope(low: jax.Array, high: jax.Array, u: jax.Array) -> jax.Array:
    below, above, *_ = _bounds(low, high)
    up, down = _logits(low, high, u)
    slopes = jnp.where(below, log_sigmoid(up), 0) + jnp.where(above, log_sigmoid(down), 0)
    return slopes + jnp.where(below & above, np.log(4), 0).astype(u.dtype)


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
