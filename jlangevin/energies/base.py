"""What an energy is, how one is asked for its gradient or its level, and the base of those made of
another."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator
from typing import Any, Self

import jax
import jax.numpy as jnp
from jax.extend.core import ClosedJaxpr, Jaxpr
from jax.typing import ArrayLike

from jlangevin._core import trees
from jlangevin._core.checks import check_made
from jlangevin._core.each import Each, refuse_each
from jlangevin._core.trees import PyTree, pytree_dataclass
from jlangevin._core.user_code import shapes_of
from jlangevin._core.vector_loops import aligned
from jlangevin.errors import NoEnergyError

__all__ = [
    "Energy",
    "GivenGradient",
    "WrappedEnergy",
    "check_callable",
    "check_energy",
    "check_energy_on",
    "gradient",
    "level",
    "value_and_gradient",
]

Energy = Callable[[PyTree], jax.Array]
"""A callable x -> scalar; a pytree callable keeps its parameters out of the compiled program."""


class GivenGradient:
    """An energy with a gradient of its own; it has no value unless `__call__` is overridden."""

    def __call__(self, position: PyTree) -> jax.Array:
        raise NoEnergyError(
            "energy: only its score is known, but its value was asked for; use a kernel that "
            "needs only the gradient, such as jlangevin.ula. A kernel of your own should call "
            "jlangevin.kernels.gradient(energy, x) instead of jax.grad(energy)(x)"
        )

    def gradient(self, position: PyTree) -> PyTree:
        """∇E at one position, a pytree like it."""
        raise NotImplementedError


def gradient(energy: Energy, position: PyTree) -> PyTree:
    """∇E at one position: the energy's own if it has one, as a score does, else by `jax.grad`."""
    if isinstance(energy, GivenGradient):
        return aligned(energy.gradient(position))
    slope = jax.grad(energy)(position)
    return aligned(slope) if _takes_apart(energy, position) else slope


def value_and_gradient(energy: Energy, position: PyTree) -> tuple[jax.Array | None, PyTree]:
    """E and ∇E at one position; the value is None if only the gradient is known."""
    if not isinstance(energy, GivenGradient):
        found = jax.value_and_grad(energy)(position)
        return aligned(found) if _takes_apart(energy, position) else found
    slope = aligned(energy.gradient(position))
    try:
        return energy(position), slope
    except NoEnergyError:
        return None, slope


# What reads a part of an array, or puts parts together.
_TAKING_APART = {"slice", "dynamic_slice", "gather", "concatenate", "pad", "rev", "roll", "split"}


def _takes_apart(energy: Energy, position: PyTree) -> bool:
    """Whether an energy reads its position in parts. XLA may then put the chains of the gradient
    elsewhere than last, unless it is told; telling it costs a pass over the gradient.

    It is asked in runs, where to trace an energy again is for free.
    """
    if getattr(energy, "traced_energy", None) is None:
        return False
    return bool(_TAKING_APART & set(_primitives(jax.make_jaxpr(energy)(position).jaxpr)))


def _primitives(jaxpr: Any) -> Iterator[str]:
    """The names of all operations, and of those inside of them."""
    for equation in jaxpr.eqns:
        yield equation.primitive.name
        for value in equation.params.values():
            for inner in value if isinstance(value, tuple | list) else (value,):
                if isinstance(inner, ClosedJaxpr | Jaxpr):
                    yield from _primitives(inner.jaxpr if isinstance(inner, ClosedJaxpr) else inner)


def level(energy: Energy, sigma: ArrayLike) -> Energy:
    """`energy` at a noise level, or an error if it has no levels."""
    if not hasattr(energy, "at"):
        kind = type(getattr(energy, "traced_energy", energy)).__name__
        raise TypeError(
            f"energy: {kind} has no levels; pass "
            "jlangevin.scores.level_score(s, sigma) for a score s(x, sigma), or any energy with a "
            "method at(sigma)"
        )
    return energy.at(sigma)


@pytree_dataclass
class WrappedEnergy(GivenGradient):
    """An energy derived from another, with a value, gradient or levels if that one has them.

    Subclasses define `__call__` and `gradient` by `self.energy(x)` and `gradient(self.energy, x)`.
    """

    energy: Energy

    def rounded(self, position: PyTree) -> jax.Array | None:
        """Whether rounding alone has put a position onto a wall; None if it cannot."""
        return None

    def at(self, sigma: ArrayLike) -> Self:
        """The same energy at another level, if the one inside has levels."""
        return dataclasses.replace(self, energy=level(self.energy, sigma))


def check_callable(energy: object, name: str = "energy") -> None:
    """Raise TypeError unless `energy` can be called, and is not a factory of energies."""
    check_made(name, energy)
    if not callable(energy.rows if isinstance(energy, Each) else energy):
        raise TypeError(
            f"{name}: expected a callable x -> scalar, got {type(energy).__name__}; "
            "wrap f and its parameters in jax.tree_util.Partial(f, params)"
        )


def check_energy(energy: Energy, position: PyTree) -> None:
    """Raise unless `energy` maps a position like `position` to a real floating scalar.

    If the energy has a gradient of its own, that must be like the position; the value may be
    missing then.
    """
    check_callable(energy)
    refuse_each("here it is evaluated without a chain; put in the value of one", energy=energy)
    with contextlib.suppress(NoEnergyError):
        _check_value(energy, position)
    if isinstance(energy, GivenGradient):
        slope = shapes_of("energy", "one position", energy.gradient, position, by="the score")
        trees.assert_like(
            "energy",
            slope,
            trees.struct(position),
            "like the position, from its score",
            dtypes=True,
        )


def check_energy_on(energy: Energy, points: PyTree) -> None:
    """`check_energy` at one of many positions, whose leaves are (n, …)."""
    check_energy(energy, trees.one_chain(points))


def _check_value(energy: Energy, position: PyTree) -> None:
    value = shapes_of("energy", "one position", energy, position, by="the energy")
    if not isinstance(value, jax.ShapeDtypeStruct) or value.shape != ():
        what = f"shape {value.shape}" if hasattr(value, "shape") else type(value).__name__
        raise ValueError(
            f"energy: expected a scalar for one position, got {what}; sum over the position's "
            "elements (the driver maps over chains)"
        )
    if not jnp.issubdtype(value.dtype, jnp.floating):
        raise TypeError(f"energy: expected a real floating value, got dtype {value.dtype}")
