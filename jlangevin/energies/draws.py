"""The shape of a position in an array of draws: the caller's choice, or what the energy accepts."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jlangevin._core import trees
from jlangevin._core.checks import as_draws_array, check_finite
from jlangevin._core.trees import PyTree
from jlangevin.energies.base import Energy, GivenGradient, check_energy

__all__ = ["Draws", "accepts_position", "as_positions", "check_single_position"]


class Draws(NamedTuple):
    """Positions as one batch, and the shape of that batch."""

    points: jax.Array  # (n, *shape), chain by chain
    batch: tuple[int, ...]  # (draw,) or (chain, draw), whose product is n

    @property
    def flat(self) -> jax.Array:
        """(n, d)."""
        return self.points.reshape(len(self.points), -1)


def as_positions(
    name: str,
    value: PyTree,
    energy: Energy,
    shape: tuple[int, ...] | None = None,
    *,
    minimum: int = 1,
) -> Draws:
    """`value` as finite floats of at least 32 bits, (draw, …) or (chain, draw, …).

    The shape of one position is `shape`, or that of a run's positions if `value` is a `Run`, or
    else the one that the energy accepts. If it accepts two, a two-dimensional array with more rows
    than columns is (draw, d), and all else is refused.
    """
    if hasattr(value, "draws") and hasattr(value, "position"):
        shape = _shape_in_run(name, value) if shape is None else shape
        value = value.draws
    x = as_draws_array(name, value)
    shape = _shape_of_one(name, x, energy) if shape is None else _given_shape(name, x, shape)
    batch = x.shape[: x.ndim - len(shape)]
    if 0 in shape or 0 in batch or math.prod(batch) < minimum:
        raise ValueError(f"{name}: expected at least {minimum} draw(s), got shape {x.shape}")
    check_finite(name, x)
    points = trees.at_least_float32(x).reshape(-1, *shape)
    if not isinstance(energy, GivenGradient):
        check_energy(energy, jax.ShapeDtypeStruct(shape, points.dtype))
    return Draws(points, batch)


def accepts_position(energy: Energy, position: PyTree) -> bool:
    """Whether an energy, or a score, can be evaluated at such a position."""
    try:
        check_energy(energy, position)
    except Exception:  # the user's code may raise anything
        return False
    return True


def check_single_position(
    name: str, position: PyTree, shape: PyTree, batched: Callable[[], bool]
) -> None:
    """Raise ValueError if `position` is, or may be, that of many chains.

    `shape` is the caller's position_shape, a shape or a pytree of shapes. Without it, if each leaf
    could have a leading chain axis, `batched()` says whether that reading is possible too.
    """
    shapes = jax.tree.map(jnp.shape, position)
    if shape is not None:
        if shapes != shape:
            raise ValueError(
                f"{name}: expected one position of position_shape={shape}, got "
                f"{trees.shown(position)}; map over many with jax.vmap"
            )
        return
    leaves = jax.tree.leaves(position)
    if min(leaf.ndim for leaf in leaves) < 2 or len({leaf.shape[0] for leaf in leaves}) > 1:
        return
    if batched():
        raise ValueError(
            f"{name}: {trees.shown(position)} may be one position or the positions of "
            f"{leaves[0].shape[0]} chains. For all chains pass run.state; for one position pass "
            f"position_shape={shapes}"
        )


def _shape_in_run(name: str, run: PyTree) -> tuple[int, ...] | None:
    """That of one position; None if draws or positions are no single array, which is refused."""
    draws, position = run.draws, run.position
    if not trees.is_array(draws) or not trees.is_array(position):
        return None
    if draws.shape[2:] != position.shape[1:]:
        raise ValueError(
            f"{name}: the draws of this run, of shape {draws.shape[2:]} each, are not positions, "
            f"which have shape {position.shape[1:]}; keep positions (observe as it is by default)"
        )
    shape: tuple[int, ...] = position.shape[1:]
    return shape


def _given_shape(name: str, x: jax.Array, shape: object) -> tuple[int, ...]:
    if not isinstance(shape, tuple) or not all(type(n) is int for n in shape):
        raise TypeError(f"position_shape: expected a tuple of integers, got {shape!r}")
    axes = x.ndim - len(shape)
    if axes not in (1, 2) or x.shape[axes:] != shape:
        raise ValueError(
            f"{name}: expected shape {_spelt('draw', shape)} or {_spelt('chain, draw', shape)}, as "
            f"position_shape={shape} says, got shape {x.shape}"
        )
    return shape


def _shape_of_one(name: str, x: jax.Array, energy: Energy) -> tuple[int, ...]:
    if x.ndim < 2:
        hint = f"; for one dimension, {name}[..., None]" if x.ndim == 1 else ""
        raise ValueError(
            f"{name}: expected shape (draw, d) or (chain, draw, d), got shape {x.shape}{hint}; a "
            "position may have other axes instead of d"
        )
    dtype = trees.at_least_float32(jnp.zeros((), x.dtype)).dtype
    readings = [x.shape[1:], x.shape[2:]]
    taken = [s for s in readings if accepts_position(energy, jax.ShapeDtypeStruct(s, dtype))]
    if x.ndim == 2 and (len(taken) < 2 or x.shape[0] > x.shape[1]):
        return x.shape[1:]  # an energy that accepts scalars may just lack a sum
    if len(taken) == 1:
        return taken[0]
    if not taken:
        return x.shape[2:]  # the energy's own error will say why it is refused
    one, other = readings
    raise ValueError(
        f"{name}: shape {x.shape} may be {x.shape[0]} draws of positions of shape {one}, or "
        f"{x.shape[0]} chains of {x.shape[1]} draws of positions of shape {other}, and the energy "
        f"accepts both; pass the whole run, if they are one's draws, or say which by "
        f"position_shape={one} or position_shape={other}"
    )


def _spelt(batch: str, shape: tuple[int, ...]) -> str:
    return f"({', '.join([batch, *map(str, shape)])})"
