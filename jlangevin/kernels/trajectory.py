"""What kernels share that make several moves and accept or reject where these end."""

from __future__ import annotations

from abc import abstractmethod
from typing import NamedTuple, Self

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jlangevin._core import trees
from jlangevin._core.trees import PyTree
from jlangevin._core.vector_loops import pick, repeat
from jlangevin.energies.base import Energy
from jlangevin.kernels.base import Hyper, Info
from jlangevin.kernels.metropolis import Metropolis, MetropolisState, accept_or_keep

__all__ = ["Course", "Trajectory", "of_move"]


class Course(NamedTuple):
    """How far a trajectory has come."""

    here: MetropolisState
    velocity: PyTree
    work: jax.Array  # by how much what stands for the kinetic energy has fallen
    cause: jax.Array  # why where it has been cannot be weighed; see `unweighable`

    @classmethod
    def begin(cls, here: MetropolisState, velocity: PyTree) -> Self:
        """Nothing done yet."""
        none = jnp.zeros((), trees.float_dtype(here.position))
        return cls(here, velocity, none, jnp.int32(0))


class Trajectory(Metropolis):
    """A kernel whose step is `trajectory_length` moves, whose end is accepted or the start
    kept. Wherever a trajectory is cut off, the step so made leaves p as it is."""

    temperature: Hyper
    trajectory_length: int

    @abstractmethod
    def depart(self, state: MetropolisState, normals: PyTree) -> Course:
        """Nothing done yet."""

    @abstractmethod
    def go_on(self, energy: Energy, normals: PyTree, k: ArrayLike, course: Course) -> Course:
        """The move k, from 0, with the k-th of the normals."""

    def step(
        self, energy: Energy, state: MetropolisState, noise: tuple[PyTree, jax.Array]
    ) -> tuple[MetropolisState, Info]:
        normals, uniform = noise

        def move(k: jax.Array, course: Course) -> Course:
            return self.go_on(energy, normals, k, course)

        begun = self.depart(state, normals)
        end, _, work, cause = repeat(self.trajectory_length, move, begun)
        return accept_or_keep(state, end, work, self.temperature, uniform, cause)


def of_move(normals: PyTree, k: ArrayLike) -> PyTree:
    """The normals of the move k, of all moves' with the moves on the last axis."""
    return jax.tree.map(lambda x: pick(x, k), normals)
