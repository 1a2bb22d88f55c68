"""Metropolis-adjusted Langevin trajectories."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jlangevin._core.checks import check_count
from jlangevin._core.trees import PyTree, pytree_dataclass, static_field
from jlangevin.energies.base import Energy
from jlangevin.kernels.base import Hyper, HyperLike, hyperparameter
from jlangevin.kernels.hamiltonian import Hamiltonian
from jlangevin.kernels.integrators import as_integrator
from jlangevin.kernels.metropolis import MetropolisState
from jlangevin.kernels.momentum import ornstein_uhlenbeck_or_fresh
from jlangevin.kernels.preconditioner import Preconditioner, Scalar, as_mass
from jlangevin.kernels.trajectory import Course, Trajectory, of_move
from jlangevin.noise import Many, Want

__all__ = ["MALT", "malt"]


@pytree_dataclass
class MALT(Hamiltonian, Trajectory):
    """See `malt`."""

    step_size: Hyper
    friction: Hyper
    temperature: Hyper
    inverse_mass: Scalar | Preconditioner
    trajectory_length: int = static_field()
    integrator: str = static_field(default="leapfrog")

    @property
    def step_noise(self) -> PyTree:
        return Many(Want.NORMAL, self.trajectory_length), Want.UNIFORM

    def depart(self, state: MetropolisState, normals: PyTree) -> Course:
        return Course.begin(state, jax.tree.map(jnp.zeros_like, state.position))

    def go_on(self, energy: Energy, normals: PyTree, k: ArrayLike, course: Course) -> Course:
        velocity = ornstein_uhlenbeck_or_fresh(
            course.velocity,
            of_move(normals, k),
            self.inverse_mass,
            self.step_size,
            self.friction,
            self.temperature,
            fresh=k == 0,
        )
        return self.move(energy, course._replace(velocity=velocity))


def malt(
    step_size: HyperLike,
    friction: HyperLike,
    trajectory_length: int,
    *,
    temperature: HyperLike = 1.0,
    mass: ArrayLike | Preconditioner | PyTree = 1.0,
    integrator: str = "leapfrog",
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

    Instead of the leapfrog B A B there can be two or three, of other lengths, with smaller errors
    at the same number of gradients. Their moves B, A, B, … have these shares of h in turn:

        leapfrog        1/2, 1, 1/2
        minimal_norm    c, 1/2, 1 - 2c, 1/2, c                   c = 0.19318
        BCSS2           b, 1/2, 1 - 2b, 1/2, b                   b = 0.21178
        BCSS3           b, a, 1/2 - b, 1 - 2a, 1/2 - b, a, b     a = 0.29620, b = 0.11888

    minimal_norm (Omelyan, Mryglod and Folk 2003) makes the leading error the smallest. The others
    (Blanes, Casas and Sanz-Serna 2014) do so with the mean error of the energy, if it is quadratic,
    over all steps up to half of what a leapfrog can take for each gradient. At the end of that
    range the error of BCSS2 is a hundredth of that of two leapfrogs. On a quadratic energy they are
    stable for ωh below 2, 2.55, 2.63 and 4.66, ω² being the eigenvalues of M⁻¹∇²E.

    A step costs L gradients with the leapfrog, 2L with minimal_norm and BCSS2, and 3L with BCSS3.
    With γ = 0 it is Hamiltonian Monte Carlo; with L = 1 and the leapfrog it is `mala` of step size
    h²/2 and preconditioner M⁻¹. A trajectory that meets an energy or a gradient that is not finite
    is rejected. `Info.acceptance_rate` is the probability above, not whether it came to pass.

    Args:
        step_size: h > 0, a scalar or a function of the step (see `Schedule`), a step being a
            trajectory. It is a time, which all A's of one of the L take together.
        friction: γ ≥ 0, a scalar or a function of the step.
        trajectory_length: L ≥ 1, how many times h; another number compiles again.
        temperature: T > 0, a scalar or a function of the step, which may end at 0.
        mass: M, constant, symmetric and positive definite: a number, a (d, d) matrix over the
            raveled position, or M's diagonal as a pytree like the position.
        integrator: "leapfrog", "minimal_norm", "BCSS2" or "BCSS3".

    Raises:
        TypeError: L is not an integer, or a mass that is not one.
        ValueError: L < 1; γ not finite or negative; any other not finite and positive, M not
            symmetric positive definite, or another integrator. A mass that does not fit the
            position is refused when it is run.

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
        as_integrator(integrator),
    )
