"""Metropolis-adjusted Langevin trajectories."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from jlangevin._core import trees
from jlangevin._core.checks import check_count
from jlangevin._core.trees import PyTree, pytree_dataclass, static_field
from jlangevin.energies.base import Energy
from jlangevin.kernels.base import Hyper, Position, cast, hyperparameter
from jlangevin.kernels.metropolis import (
    MetropolisState,
    evaluate,
    langevin_work,
    unweighable,
)
from jlangevin.kernels.momentum import added, ornstein_uhlenbeck_or_fresh
from jlangevin.kernels.preconditioner import Preconditioner, Scalar, as_mass
from jlangevin.kernels.trajectory import Course, Trajectory, of_move
from jlangevin.noise import Many, Want

__all__ = ["MALT", "malt"]


@pytree_dataclass
class MALT(Trajectory):
    """See `malt`."""

    step_size: Hyper
    friction: Hyper
    temperature: Hyper
    inverse_mass: Scalar | Preconditioner
    trajectory_length: int = static_field()

    kinetic = "thermal"

    @property
    def step_noise(self) -> PyTree:
        return Many(Want.NORMAL, self.trajectory_length), Want.UNIFORM

    def depart(self, state: MetropolisState, normals: PyTree) -> Course:
        still = jax.tree.map(jnp.zeros_like, state.position)
        none = jnp.zeros((), trees.float_dtype(state.position))
        return Course(state, still, none, jnp.int32(0))

    def go_on(self, energy: Energy, normals: PyTree, k: jax.Array, course: Course) -> Course:
        velocity = ornstein_uhlenbeck_or_fresh(
            course.velocity,
            of_move(normals, k),
            self.inverse_mass,
            self.step_size,
            self.friction,
            self.temperature,
            fresh=k == 0,
        )
        here, velocity, more, new = self._leapfrog(energy, course.here, velocity)
        # What comes after a point that cannot be weighed is its consequence.
        cause = jnp.where(course.cause == 0, new, course.cause)
        return Course(here, velocity, course.work + more, cause)

    def _leapfrog(
        self, energy: Energy, state: MetropolisState, velocity: Position
    ) -> tuple[MetropolisState, Position, jax.Array, jax.Array]:
        """B A B, by how much the kinetic energy ½ vᵀMv falls in it, and what is wrong there."""

        def kick(v: jax.Array, g: jax.Array) -> jax.Array:
            return v - 0.5 * cast(self.step_size, v) * g

        half = jax.tree.map(kick, velocity, self.inverse_mass.apply(state.gradient))
        moved = evaluate(energy, added(self.step_size, state.position, half))
        h = jnp.asarray(self.step_size, trees.float_dtype(state.position))
        # A leapfrog is a step of Langevin's with the velocity for noise.
        work = langevin_work(state, moved, 0.5 * h**2, self.inverse_mass)
        after = jax.tree.map(kick, half, self.inverse_mass.apply(moved.gradient))
        return moved, after, work, unweighable(energy, moved)


def malt(
    step_size: Any,
    friction: Any,
    trajectory_length: int,
    *,
    temperature: Any = 1.0,
    mass: Any = 1.0,
) -> MALT:
    """Metropolis-adjusted Langevin trajectories (Riou-Durand and Vogrinc 2022).

    One step is a trajectory: v ~ N(0, T M⁻¹) afresh, then L times O B A B O, and the end is
    accepted or the start kept. h is the step size, a new ξ ~ N(0, I) each time:

        O   v ← e^{-γh/2} v + sqrt((1 - e^{-γh}) T) M^{-1/2} ξ
        B   v ← v - (h/2) M⁻¹ ∇E(x)
        A   x ← x + h v
        x' = x_L with probability min(1, exp(-Δ/T)), else x_0

    Δ is the rise of E(x) + ½ vᵀMv in the parts B A B alone, summed over the trajectory; what O
    does is in balance by itself. The O's of neighbouring steps are made one, and the first and
    the last, which change no law, are left out: L normals a coordinate. It samples
    p(x) ∝ exp(-E(x)/T) without bias, whatever h, γ and L.

    L gradients a step, one for each leapfrog. With γ = 0 it is Hamiltonian Monte Carlo; with
    L = 1 it is `mala` of step size h²/2 and preconditioner M⁻¹. A trajectory whose end is not
    finite in energy or gradient is rejected. `Info.acceptance_rate` is the probability above, not
    whether it came to pass.

    Args:
        step_size: h > 0, a scalar or a function of the step (see `Schedule`), a step being a
            trajectory. It is a time: on a quadratic energy h² λ_max < 4 is stable, λ
            the eigenvalues of M⁻¹∇²E.
        friction: γ ≥ 0, a scalar or a function of the step.
        trajectory_length: L ≥ 1, how many leapfrogs; another number compiles again.
        temperature: T > 0, a scalar or a function of the step, which may end at 0.
        mass: M, constant, symmetric and positive definite: a number, a (d, d) matrix over the
            raveled position, or M's diagonal as a pytree like the position.

    Raises:
        TypeError: L is not an integer, or a mass that is not one.
        ValueError: L < 1; γ not finite or negative; any other not finite and positive, or M not
            symmetric positive definite. A mass that does not fit the position is refused when it
            is run.

    Example:
        >>> import jax, jlangevin as jl
        >>> energy, kernel = jl.energies.rosenbrock(), jl.malt(0.2, 1.0, trajectory_length=5)
        >>> run = jl.sample(jax.random.key(0), energy, kernel, energy, num_steps=10, num_chains=3)
        >>> run.draws.shape, run.info.acceptance_rate.shape
        ((3, 10, 2), (3,))
    """
    return MALT(
        hyperparameter("step_size", step_size),
        hyperparameter("friction", friction, zero=True),
        hyperparameter("temperature", temperature),
        as_mass(mass).inverse(),
        check_count("trajectory_length", trajectory_length, minimum=1),
    )
