"""Hamilton's equations with a thermal velocity: one step of an integrator, and its work."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from jlangevin._core import trees
from jlangevin._core.vector_loops import aligned
from jlangevin.energies.base import Energy
from jlangevin.kernels.base import Hyper, Position, cast
from jlangevin.kernels.integrators import Stage, stages
from jlangevin.kernels.metropolis import MetropolisState, evaluate, langevin_work, unweighable
from jlangevin.kernels.preconditioner import Preconditioner, Scalar
from jlangevin.kernels.trajectory import Course

__all__ = ["Hamiltonian"]


class Hamiltonian:
    """The flow dx = v dt, dv = -M⁻¹∇E dt of a kernel."""

    step_size: Hyper
    inverse_mass: Scalar | Preconditioner
    integrator: str

    kinetic = "thermal"

    def move(self, energy: Energy, course: Course) -> Course:
        """One step of the integrator."""
        here, velocity, work, cause = course
        for number, stage in enumerate(stages(self.integrator)):
            if number:  # the gradient may have put the chains first, where loops are slow
                here, velocity = aligned((here, velocity))
            here, velocity, more = self._leapfrog(energy, here, velocity, stage)
            # What comes after a point that cannot be weighed is its consequence.
            cause = jnp.where(cause == 0, unweighable(energy, here), cause)
            work += more
        return Course(here, velocity, work, cause)

    def _leapfrog(
        self, energy: Energy, state: MetropolisState, velocity: Position, stage: Stage
    ) -> tuple[MetropolisState, Position, jax.Array]:
        """B A B, and by how much the kinetic energy ½ vᵀMv falls in it."""
        before, along, after = stage

        def kicked(v: Position, share: float, gradient: Position) -> Position:
            def kick(v: jax.Array, g: jax.Array) -> jax.Array:
                return v - share * cast(self.step_size, v) * g

            return jax.tree.map(kick, v, self.inverse_mass.apply(gradient))

        def drift(x: jax.Array, v: jax.Array) -> jax.Array:
            return x + along * cast(self.step_size, x) * v

        half = kicked(velocity, before, state.gradient)
        moved = evaluate(energy, jax.tree.map(drift, state.position, half))
        h = along * jnp.asarray(self.step_size, trees.float_dtype(state.position))
        # It is a step of Langevin's with the velocity for noise, under forces that are as much
        # larger at either end as their B is longer than half of A.
        first, last = (
            _steeper(at, 2 * share / along) for at, share in [(state, before), (moved, after)]
        )
        work = langevin_work(first, last, 0.5 * h**2, self.inverse_mass)
        return moved, kicked(half, after, moved.gradient), work


def _steeper(state: MetropolisState, times: float) -> MetropolisState:
    if times == 1:
        return state
    return state._replace(gradient=jax.tree.map(lambda g: times * g, state.gradient))
