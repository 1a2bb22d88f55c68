"""Energies whose Python code is traced only once, and energies at many points."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar

import jax

from jlangevin._core import trees
from jlangevin._core.compiling import compiled
from jlangevin._core.trees import Parted, PyTree
from jlangevin.energies.base import Energy, GivenGradient

__all__ = ["energy_values", "mapped", "traced_once"]

E = TypeVar("E")

_BATCH = 4096  # points at a time; results do not depend on it


@trees.pytree_dataclass
class _TracedOnce:
    """See `traced_once`. Other attributes of the energy are available too."""

    energy: Parted

    def __call__(self, position: PyTree) -> jax.Array:
        value: jax.Array = _energy_at(self.energy, position)
        return value

    @property
    def traced_energy(self) -> Energy:
        """The energy that was wrapped."""
        return self.energy.whole

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name == "energy":
            raise AttributeError(name)
        return getattr(self.traced_energy, name)


def traced_once(energy: Parted) -> Energy:
    """The energy, with its Python code traced once for each shape and dtype of positions.

    The programs of a run evaluate it at some ten places, and would trace all of a network at each.
    An energy with a gradient of its own is returned unchanged.
    """
    return energy.whole if isinstance(energy.whole, GivenGradient) else _TracedOnce(energy)


def mapped(function: Callable[[E, PyTree], PyTree], energy: E, x: PyTree) -> PyTree:
    """`function(energy, point)` at each of n points; the leaves of `x` have shape (n, …)."""
    return _map_compiled(Parted.of(energy), x, function=function)


def energy_values(energy: Energy, x: PyTree) -> jax.Array:
    """The energy at each of n points, of shape (n,)."""
    found: jax.Array = mapped(_evaluate, energy, x)
    return found


def _evaluate(energy: Energy, point: PyTree) -> jax.Array:
    return energy(point)


@functools.partial(compiled, inline=True)
def _energy_at(energy: Parted, position: PyTree) -> jax.Array:
    value: jax.Array = energy.whole(position)
    return value


@functools.partial(compiled, static_argnames=("function",))
def _map_compiled(
    energy: Parted, x: PyTree, *, function: Callable[[Any, PyTree], PyTree]
) -> PyTree:
    batch = min(_BATCH, len(jax.tree.leaves(x)[0]))
    return jax.lax.map(lambda point: function(energy.whole, point), x, batch_size=batch)
