"""Projected Langevin."""

from __future__ import annotations

from typing import ClassVar

from jlangevin._core.trees import pytree_dataclass
from jlangevin.domains.base import Domain, admit, check_domain
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
from jlangevin.kernels.proposal import Proposal
from jlangevin.kernels.traits import Convertible
from jlangevin.noise import Want

__all__ = ["Projected", "projected"]


@pytree_dataclass
class Projected(Convertible):
    """See `projected`."""

    step_size: Hyper
    temperature: Hyper
    domain: Domain

    init_noise: ClassVar[None] = None
    step_noise: ClassVar[Want] = Want.NORMAL

    def init(self, energy: Energy, position: Position, noise: None) -> PositionState:
        return PositionState(admit(self.domain, position))

    def step(
        self, energy: Energy, state: PositionState, noise: Noise
    ) -> tuple[PositionState, Info]:
        slope = gradient(energy, state.position)
        law = Proposal(state.position, slope, self.step_size, self.temperature)
        return PositionState(self.domain.project(law.drawn(noise))), Info()


def projected(step_size: HyperLike, domain: Domain, *, temperature: HyperLike = 1.0) -> Projected:
    """Projected Langevin (Bubeck, Eldan and Lehec 2015).

        x' = P(x - η ∇E(x) + sqrt(2 η T) ξ),    ξ ~ N(0, I)

    where P(y) is the point of the domain nearest to y. It samples p(x) ∝ exp(-E(x)/T) on the
    domain up to a bias of order sqrt(η): the boundary, on which p has no mass, is where a chain is
    at a share of its steps of order sqrt(η). `reflected` has a smaller bias at the same cost. One
    gradient a step, at a point of the domain; that P leads back makes it stable at any η where
    the domain is bounded.

    Args:
        step_size: η > 0, a scalar or a function of the step, as in `ula`.
        domain: one of `jlangevin.domains`.
        temperature: T > 0, a scalar or a function of the step, which may end at 0.

    Raises:
        TypeError: `domain` is not a domain.
        ValueError: a hyper-parameter that is not finite and positive. A start outside of the
            domain is refused when it is run.

    Example:
        >>> import jax, jax.numpy as jnp, jlangevin as jl
        >>> energy, domain = jl.energies.linear([1.0, 1.0]), jl.domains.box(0.0, jnp.inf)
        >>> run = jl.sample(jax.random.key(0), energy, jl.projected(0.01, domain),
        ...                 jnp.ones((100, 2)), num_steps=1_000)
        >>> float(run.draws.min())
        0.0
    """
    check_domain(domain)
    return Projected(
        hyperparameter("step_size", step_size), hyperparameter("temperature", temperature), domain
    )
