"""How any energy is asked for its gradient or its level, and the base of those made of another."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, Self

import jax

from jlangevin._checks import check_made
from jlangevin.errors import NoEnergyError
from jlangevin.trees import PyTree, pytree_dataclass

__all__ = [
    "Energy",
    "GivenGradient",
    "WrappedEnergy",
    "check_callable",
    "gradient",
    "level",
    "value_and_gradient",
]

Energy = Callable[[PyTree], jax.Array]
"""A callable x -> scalar; a pytree callable keeps its parameters out of the compiled program."""


class GivenGradient:
    """An energy that gives its own gradient; its value is refused unless overridden."""

    def __call__(self, position: PyTree) -> jax.Array:
        raise NoEnergyError(
            "energy: only its score is known, and its value was asked for; take a kernel that "
            "needs the gradient alone, such as jlangevin.ula. A kernel of your own gets it from "
            "jlangevin.kernels.gradient(energy, x), where it would say jax.grad(energy)(x)"
        )

    def gradient(self, position: PyTree) -> PyTree:
        """∇E at one position, like it."""
        raise NotImplementedError


def gradient(energy: Energy, position: PyTree) -> PyTree:
    """∇E at one position: that which the energy gives, as a score does, else `jax.grad`'s."""
    if isinstance(energy, GivenGradient):
        return energy.gradient(position)
    return jax.grad(energy)(position)


def value_and_gradient(energy: Energy, position: PyTree) -> tuple[jax.Array | None, PyTree]:
    """E and ∇E at one position; None for the value where only a gradient is given."""
    if not isinstance(energy, GivenGradient):
        return jax.value_and_grad(energy)(position)
    slope = energy.gradient(position)
    try:
        return energy(position), slope
    except NoEnergyError:
        return None, slope


def level(energy: Any, sigma: Any) -> Any:
    """`energy` at a level, or a refusal of what has none."""
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
    """An energy that is made of another, and has whatever that has: value, gradient and levels.

    Say in `__call__` and `gradient` what is made of them, by `self.energy(x)` and
    `gradient(self.energy, x)`.
    """

    energy: Any

    def at(self, sigma: Any) -> Self:
        """The same at another level, where the energy has levels."""
        return dataclasses.replace(self, energy=level(self.energy, sigma))


def check_callable(energy: Any) -> None:
    """Raise TypeError unless `energy` can be called, and is not what makes an energy."""
    check_made("energy", energy)
    if not callable(energy):
        raise TypeError(
            f"energy: expected a callable x -> scalar, got {type(energy).__name__}; "
            "wrap f and its parameters in jax.tree_util.Partial(f, params)"
        )
