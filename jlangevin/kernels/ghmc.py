"""Generalised Hamiltonian Monte Carlo: underdamped Langevin dynamics, accepted or rejected."""

from __future__ import annotations

from typing import ClassVar, NamedTuple, Self

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jlangevin._core.trees import MaybeArray, PyTree, pytree_dataclass, static_field
from jlangevin.energies.base import Energy
from jlangevin.kernels.base import (
    Hyper,
    HyperLike,
    Info,
    Noise,
    Position,
    hyperparameter,
    if_sound,
)
from jlangevin.kernels.hamiltonian import Hamiltonian
from jlangevin.kernels.integrators import as_integrator
from jlangevin.kernels.metropolis import MetropolisState, accept_or_keep, evaluate
from jlangevin.kernels.momentum import ornstein_uhlenbeck, rescaled, thermal
from jlangevin.kernels.preconditioner import Preconditioner, Scalar, as_mass
from jlangevin.kernels.traits import Convertible
from jlangevin.kernels.trajectory import Course
from jlangevin.noise import Want

__all__ = ["GHMC", "GHMCState", "ghmc"]


class GHMCState(NamedTuple):
    """Where a chain is and how it moves, and what is known there."""

    position: Position
    velocity: Position  # like the position
    energy: MaybeArray  # E(position), a scalar
    gradient: Position  # ∇E(position), like the position


@pytree_dataclass
class GHMC(Hamiltonian, Convertible):
    """See `ghmc`."""

    step_size: Hyper
    friction: Hyper
    temperature: Hyper
    inverse_mass: Scalar | Preconditioner
    integrator: str = static_field(default="leapfrog")

    init_noise: ClassVar[Want] = Want.NORMAL
    step_noise: ClassVar[tuple[Want, Want]] = (Want.NORMAL, Want.UNIFORM)
    by_value = True
    carries = ("velocity",)

    def init(self, energy: Energy, position: Position, noise: Noise) -> GHMCState:
        velocity = thermal(self.temperature, self.inverse_mass.factor(noise))
        here = evaluate(energy, if_sound(self, position))
        return GHMCState(here.position, velocity, here.energy, here.gradient)

    def step(
        self, energy: Energy, state: GHMCState, noise: tuple[PyTree, jax.Array]
    ) -> tuple[GHMCState, Info]:
        normals, uniform = noise
        velocity = ornstein_uhlenbeck(
            state.velocity,
            normals,
            self.inverse_mass,
            self.step_size,
            self.friction,
            self.temperature,
        )
        here = MetropolisState(state.position, state.energy, state.gradient)
        end, ahead, work, cause = self.move(energy, Course.begin(here, velocity))
        back = jax.tree.map(jnp.negative, velocity)
        return accept_or_keep(
            GHMCState(here.position, back, here.energy, here.gradient),
            GHMCState(end.position, ahead, end.energy, end.gradient),
            work,
            self.temperature,
            uniform,
            cause,
        )

    def convert_state(self, energy: Energy, state: GHMCState, other: Self) -> GHMCState:
        """Velocities keep their size relative to the temperature's."""
        velocity = rescaled(state.velocity, self.temperature, other.temperature)
        return state._replace(velocity=velocity)


def ghmc(
    step_size: HyperLike,
    friction: HyperLike,
    *,
    temperature: HyperLike = 1.0,
    mass: ArrayLike | Preconditioner | PyTree = 1.0,
    integrator: str = "leapfrog",
) -> GHMC:
    """Generalised Hamiltonian Monte Carlo (Horowitz 1991), also known as Metropolis-adjusted
    kinetic Langevin (MAKLA; Bou-Rabee and Vanden-Eijnden 2010).

    A step of `underdamped` that is accepted or rejected. With h the step size and ξ ~ N(0, I)

        O   v ← e^{-γh} v + sqrt((1 - e^{-2γh}) T) M^{-1/2} ξ
        B   v* = v - (h/2) M⁻¹ ∇E(x)
        A   x* = x + h v*
        B   v* ← v* - (h/2) M⁻¹ ∇E(x*)
        (x', v') = (x*, v*) with probability min(1, exp(-Δ/T)), else (x, -v)

    Δ being the rise of E(x) + ½ vᵀMv in B A B. It samples exp(-(E(x) + ½ vᵀMv)/T), and so
    p(x) ∝ exp(-E(x)/T), without bias, whatever h and γ. The velocity is kept in part from step to
    step, so that accepted steps go on where `mala` diffuses. A rejection turns it around, without
    which the law would be another, and costs the way that the chain has come. On Gaussians h is
    best where 65 to 90% are accepted if M makes all widths alike, and 97% or more if they differ by
    30 times; γ is best near 1 over the largest width. With γh large it is `mala` of step size h²/2
    and preconditioner M⁻¹.

    Instead of the leapfrog B A B there can be two or three, as in `malt`, with smaller errors at
    the same number of gradients. One gradient a step with the leapfrog, two with "minimal_norm" and
    "BCSS2", three with "BCSS3"; one normal an element. A proposal at which the energy or its
    gradient is not finite is rejected. `Info.acceptance_rate` is the probability above, not whether
    it came to pass.

    Args:
        step_size: h > 0, a time, a scalar or a function of the step (see `Schedule`).
        friction: γ > 0, a rate, likewise.
        temperature: T > 0, a scalar or a function of the step, which may end at 0.
        mass: M, constant, symmetric and positive definite: a number, a (d, d) matrix over the
            raveled position, or M's diagonal as a pytree like the position.
        integrator: "leapfrog", "minimal_norm", "BCSS2" or "BCSS3".

    Raises:
        TypeError: a hyper-parameter or mass that is not one.
        ValueError: a hyper-parameter that is not finite and positive, M not symmetric positive
            definite, or another integrator. A mass that does not fit the position is refused when
            it is run.

    Example:
        >>> import jax, jlangevin as jl
        >>> energy, kernel = jl.energies.rosenbrock(), jl.ghmc(0.05, friction=0.5)
        >>> run = jl.sample(jax.random.key(0), energy, kernel, energy, num_steps=10, num_chains=3)
        >>> run.draws.shape, run.state.kernel.velocity.shape
        ((3, 10, 2), (3, 2))
    """
    return GHMC(
        hyperparameter("step_size", step_size),
        hyperparameter("friction", friction),
        hyperparameter("temperature", temperature),
        as_mass(mass).inverse(),
        as_integrator(integrator),
    )
