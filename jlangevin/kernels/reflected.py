"""Reflected Langevin."""

from __future__ import annotations

import jax

from jlangevin._core.arithmetic import hidden_zero, separately_rounded
from jlangevin._core.trees import pytree_dataclass
from jlangevin.domains.base import Domain, check_domain
from jlangevin.energies.base import Energy, gradient
from jlangevin.kernels.base import (
    Hyper,
    HyperLike,
    Info,
    Noise,
    Position,
    PositionState,
    cast,
    hyperparameter,
)
from jlangevin.kernels.projected import Projected
from jlangevin.kernels.proposal import Proposal

__all__ = ["Reflected", "free_step", "reflected"]


@pytree_dataclass
class Reflected(Projected):
    """See `reflected`."""

    def step(
        self, energy: Energy, state: PositionState, noise: Noise
    ) -> tuple[PositionState, Info]:
        slope = gradient(energy, state.position)
        target = free_step(self.step_size, self.temperature, state.position, slope, noise)
        return PositionState(self.domain.reflect(state.position, target)[0]), Info()


def free_step(
    step_size: Hyper, temperature: Hyper, position: Position, gradient: Position, noise: Position
) -> Position:
    """Where `ula` would go, rounded before walls look at it, so that all see the same bits."""
    target = Proposal(position, gradient, step_size, temperature).drawn(noise)
    return jax.tree.map(lambda y: separately_rounded(y, hidden_zero(cast(step_size, y))), target)


def reflected(step_size: HyperLike, domain: Domain, *, temperature: HyperLike = 1.0) -> Reflected:
    """Reflected Langevin: a step of `ula` with walls that are mirrors.

        x' = R(x, x - η ∇E(x) + sqrt(2 η T) ξ),    ξ ~ N(0, I)

    where R(x, y) is the end of the straight move from x to y with every wall on its way reflecting
    it, however often. It samples p(x) ∝ exp(-E(x)/T) on the domain up to a bias of order η, and
    where E is constant without any: then moves there and back are equally likely. One gradient a
    step. `reflected_mala` is without bias for any E.

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
        >>> energy, domain = jl.energies.linear([1.0, 1.0]), jl.domains.ball(0.0, 1.0)
        >>> run = jl.sample(jax.random.key(0), energy, jl.reflected(0.01, domain),
        ...                 jnp.zeros((100, 2)), num_steps=1_000)
        >>> bool(jax.vmap(jax.vmap(domain.contains))(run.draws).all())
        True
    """
    check_domain(domain)
    return Reflected(
        hyperparameter("step_size", step_size), hyperparameter("temperature", temperature), domain
    )
