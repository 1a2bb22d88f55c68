"""The unadjusted Langevin algorithm."""

from __future__ import annotations

from typing import ClassVar

from jlangevin._core.trees import PyTree, pytree_dataclass
from jlangevin.energies.base import Energy, gradient
from jlangevin.kernels.base import (
    Hyper,
    HyperLike,
    Info,
    Noise,
    Position,
    PositionState,
    hyperparameter,
)
from jlangevin.kernels.preconditioner import Preconditioner, as_preconditioner
from jlangevin.kernels.proposal import Proposal
from jlangevin.kernels.traits import Convertible
from jlangevin.noise import Want

__all__ = ["ULA", "ULAState", "ula"]

ULAState = PositionState


@pytree_dataclass
class ULA(Convertible):
    """See `ula`."""

    step_size: Hyper
    temperature: Hyper
    preconditioner: Preconditioner | None

    init_noise: ClassVar[None] = None
    step_noise: ClassVar[Want] = Want.NORMAL

    def init(self, energy: Energy, position: Position, noise: None) -> PositionState:
        return PositionState(position)

    def step(
        self, energy: Energy, state: PositionState, noise: Noise
    ) -> tuple[PositionState, Info]:
        return PositionState(self.proposal(energy, state).drawn(noise)), Info()

    def proposal(self, energy: Energy, state: PositionState) -> Proposal:
        """The law of the next position."""
        slope = gradient(energy, state.position)
        return Proposal(
            state.position, slope, self.step_size, self.temperature, self.preconditioner
        )


def ula(
    step_size: HyperLike,
    *,
    temperature: HyperLike = 1.0,
    preconditioner: Preconditioner | PyTree | None = None,
) -> ULA:
    """The unadjusted Langevin algorithm (Parisi 1981; Roberts and Tweedie 1996).

        x' = x - η P ∇E(x) + sqrt(2 η T) L ξ,    ξ ~ N(0, I),    L Lᵀ = P

    It samples p(x) ∝ exp(-E(x)/T) up to a bias of order η. One gradient a step. For a quadratic
    energy with P = I it is stable iff η λ_max < 2, and its stationary variance along an
    eigenvector of eigenvalue λ is T / (λ (1 - ηλ/2)).

    Args:
        step_size: η > 0, a scalar or a function of the step (see `Schedule`). Where others write
            x + (h/2) ∇log p + sqrt(h) ξ, η is h/2.
        temperature: T > 0, a scalar or a function of the step, which may end at 0. Where others
            choose the noise's scale σ, T is σ²/(2η).
        preconditioner: P, constant, symmetric and positive definite: None for I, a (d, d) matrix
            over the raveled position, or P's diagonal as a pytree like the position.

    Raises:
        ValueError: a hyper-parameter that is not finite and positive, or P not symmetric
            positive definite. A P that does not fit the position is refused when it is run.

    Example:
        >>> import jax, jax.numpy as jnp, jlangevin as jl
        >>> energy = jl.energies.quadratic(jnp.array([[2.0, 0.5], [0.5, 1.0]]))
        >>> kernel = jl.ula(step_size=0.1)
        >>> run = jl.sample(jax.random.key(0), energy, kernel, energy, num_steps=10, num_chains=3)
        >>> run.draws.shape
        (3, 10, 2)
    """
    return ULA(
        hyperparameter("step_size", step_size),
        hyperparameter("temperature", temperature),
        as_preconditioner(preconditioner),
    )
