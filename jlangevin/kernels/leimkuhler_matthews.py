"""The method of Leimkuhler and Matthews: overdamped, one gradient a step, second order."""

from __future__ import annotations

from typing import ClassVar, NamedTuple, Self

import jax
import jax.numpy as jnp

from jlangevin._core.arithmetic import hidden_zero, separately_rounded
from jlangevin._core.trees import PyTree, pytree_dataclass
from jlangevin.energies.base import Energy, gradient
from jlangevin.kernels.base import (
    Hyper,
    HyperLike,
    Info,
    Noise,
    Position,
    cast,
    hyperparameter,
)
from jlangevin.kernels.preconditioner import Preconditioner, as_preconditioner
from jlangevin.kernels.proposal import Proposal
from jlangevin.kernels.traits import Convertible
from jlangevin.noise import Want

__all__ = ["LeimkuhlerMatthews", "LeimkuhlerMatthewsState", "leimkuhler_matthews"]


class LeimkuhlerMatthewsState(NamedTuple):
    """The position, and the standard normals that the last step shares with the next."""

    position: Position
    noise: Position


@pytree_dataclass
class LeimkuhlerMatthews(Convertible):
    """See `leimkuhler_matthews`."""

    step_size: Hyper
    temperature: Hyper
    preconditioner: Preconditioner | None

    init_noise: ClassVar[Want] = Want.NORMAL
    step_noise: ClassVar[Want] = Want.NORMAL
    carries = ("noise",)

    def init(self, energy: Energy, position: Position, noise: Noise) -> LeimkuhlerMatthewsState:
        return LeimkuhlerMatthewsState(position, noise)

    def step(
        self, energy: Energy, state: LeimkuhlerMatthewsState, noise: Noise
    ) -> tuple[LeimkuhlerMatthewsState, Info]:
        # sqrt(2ηT) (ξ + ξ')/2 = sqrt(2ηT/4) (ξ + ξ')
        quarter = self.temperature / 4
        both = jax.tree.map(lambda a, b: a + b, state.noise, noise)
        slope = gradient(energy, state.position)
        law = Proposal(state.position, slope, self.step_size, quarter, self.preconditioner)
        return LeimkuhlerMatthewsState(law.drawn(both), noise), Info()

    def convert_state(
        self, energy: Energy, state: LeimkuhlerMatthewsState, other: Self
    ) -> LeimkuhlerMatthewsState:
        """Position and ξ are not independent, as ξ has moved the position.

        What is left of ξ without sqrt(η/(2T)) Lᵀ ∇E is: it is, in units of its temperature's, the
        velocity of the dynamics whose limit this is, after its last half kick.
        """
        slope = gradient(energy, state.position)
        if self.preconditioner is not None:
            slope = self.preconditioner.transposed(slope)

        def shift(xi: jax.Array, g: jax.Array) -> jax.Array:
            now, before = (
                jnp.sqrt(cast(k.step_size, g) / cast(2 * k.temperature, g)) for k in (self, other)
            )
            return xi + separately_rounded((now - before) * g, hidden_zero(now))

        return state._replace(noise=jax.tree.map(shift, state.noise, slope))


def leimkuhler_matthews(
    step_size: HyperLike,
    *,
    temperature: HyperLike = 1.0,
    preconditioner: Preconditioner | PyTree | None = None,
) -> LeimkuhlerMatthews:
    """The method of Leimkuhler and Matthews (2013), BAOAB's limit of high friction.

        x' = x - η P ∇E(x) + sqrt(2 η T) L (ξ_t + ξ_{t+1})/2,    ξ ~ N(0, I),    L Lᵀ = P

    It samples p(x) ∝ exp(-E(x)/T) up to a bias of order η², at the cost of `ula`: one gradient
    and one normal an element a step. Each ξ serves two steps. For a quadratic energy with P = I it
    is stable iff η λ_max < 2, and its stationary covariance is then exact, T/λ, whatever η.

    Only positions are second order: on the way there each depends on the noise yet to come.
    What is carried from step to step is ξ itself; with schedules, both halves of step t are
    scaled by that step's sqrt(2 η_t T_t).

    Args:
        step_size: η > 0, a scalar or a function of the step, as in `ula`.
        temperature: T > 0, a scalar or a function of the step, which may end at 0.
        preconditioner: P, constant, symmetric and positive definite, as in `ula`.

    Raises:
        ValueError: a hyper-parameter that is not finite and positive, or P not symmetric
            positive definite. A P that does not fit the position is refused when it is run.

    Example:
        >>> import jax.numpy as jnp, jlangevin as jl
        >>> energy = jl.energies.quadratic(4.0 * jnp.eye(1))
        >>> kernel = jl.leimkuhler_matthews(step_size=0.4)  # ula's variance would be 1.25
        >>> round(float(jl.exact.stationary(kernel, energy, jnp.zeros(1)).cov[0, 0]), 4)
        0.25
    """
    return LeimkuhlerMatthews(
        hyperparameter("step_size", step_size),
        hyperparameter("temperature", temperature),
        as_preconditioner(preconditioner),
    )
