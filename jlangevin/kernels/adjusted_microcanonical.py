"""Metropolis-adjusted microcanonical trajectories."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jlangevin._core.checks import check_count
from jlangevin._core.trees import PyTree, pytree_dataclass, static_field
from jlangevin.energies.base import Energy
from jlangevin.kernels.base import Hyper, HyperLike, Position, hyperparameter
from jlangevin.kernels.integrators import as_integrator
from jlangevin.kernels.metropolis import (
    MetropolisState,
    evaluate,
    unweighable,
)
from jlangevin.kernels.microcanonical import Isokinetic, check_turns, unit
from jlangevin.kernels.preconditioner import Preconditioner, as_preconditioner
from jlangevin.kernels.trajectory import Course, Trajectory, of_move
from jlangevin.noise import Many, Want

__all__ = ["AdjustedMicrocanonical", "adjusted_microcanonical"]


@pytree_dataclass
class AdjustedMicrocanonical(Isokinetic, Trajectory):
    """See `adjusted_microcanonical`."""

    step_size: Hyper
    decoherence_length: Hyper | None
    temperature: Hyper
    preconditioner: Preconditioner | None
    trajectory_length: int = static_field()
    integrator: str = static_field()

    @property
    def step_noise(self) -> PyTree:
        refreshed = 1 if self.decoherence_length is None else self.trajectory_length
        return Many(Want.NORMAL, refreshed), Want.UNIFORM

    def init(self, energy: Energy, position: Position, noise: None) -> MetropolisState:
        check_turns(position)
        return super().init(energy, position, noise)

    def depart(self, state: MetropolisState, normals: PyTree) -> Course:
        first = of_move(normals, 0)
        return Course.begin(state, unit(first, first))

    def go_on(self, energy: Energy, normals: PyTree, k: ArrayLike, course: Course) -> Course:
        u, cause = course.velocity, course.cause
        if self.decoherence_length is not None:
            turned = self.refresh(u, of_move(normals, k), self.decoherence_length)
            u = jax.tree.map(lambda new, old: jnp.where(k == 0, old, new), turned, u)
        points, u, rise = self.move(partial(evaluate, energy), course.here, u)
        for point in points:
            # What comes after a point that cannot be weighed is its consequence.
            cause = jnp.where(cause == 0, unweighable(energy, point), cause)
        return Course(points[-1], u, course.work - rise, cause)


def adjusted_microcanonical(
    step_size: HyperLike,
    trajectory_length: int,
    *,
    decoherence_length: HyperLike | None = None,
    temperature: HyperLike = 1.0,
    preconditioner: Preconditioner | PyTree | None = None,
    integrator: str = "minimal_norm",
) -> AdjustedMicrocanonical:
    """Metropolis-adjusted microcanonical Hamiltonian or Langevin dynamics (Robnik, Cohn-Gordon and
    Seljak 2025).

    One step is a trajectory. u is drawn again, uniform on the unit sphere; then n times the moves B
    A B, or B A B A B, of `microcanonical` are made, with its O between them if there is a
    decoherence length; and the end is accepted or the start kept:

        x' = x_n with probability min(1, exp(-Δ/T)), else x_0
        Δ = E(x_n) - E(x_0) + T (d - 1) Σ log(cosh δ + e·u sinh δ)

    with the sum over all B's. A and B retrace their way where u is turned around, and T (d - 1)
    log(…) is -T log of what B does to volumes on the sphere; O is in balance by itself. So it
    samples p(x) ∝ exp(-E(x)/T) without bias, whatever the step size.

    n gradients a step for "leapfrog", 2n for "minimal_norm" and "BCSS2", 3n for "BCSS3" (see
    `malt`). A trajectory that meets an energy or a
    gradient that is not finite is rejected. `Info.acceptance_rate` is the probability above, not
    whether it came to pass. Without a decoherence length a trajectory may return to where it
    began, as those of Hamiltonian Monte Carlo may.

    Args:
        step_size: ε > 0, a length, a scalar or a function of the step (see `Schedule`), a step
            being a trajectory. `warm_up` finds it, and the preconditioner.
        trajectory_length: n ≥ 1, how many steps of the integrator; another number compiles again.
            n ε is best near (π/2) sqrt(d) where P is near the covariance.
        decoherence_length: ℓ > 0, a scalar or a function of the step; None for no noise within a
            trajectory, at one normal an element for all of it.
        temperature: T > 0, a scalar or a function of the step, which may end at 0.
        preconditioner: P, constant, symmetric and positive definite: None for I, a (d, d) matrix
            over the raveled position, or P's diagonal as a pytree like the position.
        integrator: "minimal_norm", "leapfrog", "BCSS2" or "BCSS3".

    Raises:
        TypeError: n is not an integer.
        ValueError: n < 1; any other not finite and positive, P not symmetric positive definite, or
            another integrator. A P that does not fit the position, and a position of fewer than two
            elements, are refused when it is run.

    Example:
        >>> import jax, jax.numpy as jnp, jlangevin as jl
        >>> energy = jl.energies.rosenbrock()
        >>> kernel = jl.adjusted_microcanonical(0.2, trajectory_length=5)
        >>> run = jl.sample(jax.random.key(0), energy, kernel, energy, num_steps=10, num_chains=3)
        >>> run.draws.shape, run.info.acceptance_rate.shape
        ((3, 10, 2), (3,))
    """
    if decoherence_length is not None:
        decoherence_length = hyperparameter("decoherence_length", decoherence_length)
    return AdjustedMicrocanonical(
        hyperparameter("step_size", step_size),
        decoherence_length,
        hyperparameter("temperature", temperature),
        as_preconditioner(preconditioner),
        check_count("trajectory_length", trajectory_length, minimum=1),
        as_integrator(integrator),
    )
