"""The Metropolis-adjusted Langevin algorithm."""

from __future__ import annotations

from typing import ClassVar

import jax

from jlangevin._core.trees import PyTree, pytree_dataclass
from jlangevin.energies.base import Energy
from jlangevin.kernels.base import Hyper, HyperLike, Info, Position, hyperparameter
from jlangevin.kernels.metropolis import (
    Metropolis,
    MetropolisState,
    accept_or_keep,
    evaluate,
    langevin_work,
    unweighable,
)
from jlangevin.kernels.preconditioner import Preconditioner, as_preconditioner
from jlangevin.kernels.proposal import Proposal
from jlangevin.noise import Want

__all__ = ["MALA", "mala"]


@pytree_dataclass
class MALA(Metropolis):
    """See `mala`."""

    step_size: Hyper
    temperature: Hyper
    preconditioner: Preconditioner | None

    step_noise: ClassVar[tuple[Want, Want]] = (Want.NORMAL, Want.UNIFORM)

    def step(
        self, energy: Energy, state: MetropolisState, noise: tuple[Position, jax.Array]
    ) -> tuple[MetropolisState, Info]:
        xi, uniform = noise
        proposed = evaluate(energy, self.proposal(energy, state).drawn(xi))
        work = langevin_work(state, proposed, self.step_size, self.preconditioner)
        cause = unweighable(energy, proposed)
        return accept_or_keep(state, proposed, work, self.temperature, uniform, cause)

    def proposal(self, energy: Energy, state: MetropolisState) -> Proposal:
        """The law of what is proposed next."""
        return Proposal(
            state.position, state.gradient, self.step_size, self.temperature, self.preconditioner
        )


def mala(
    step_size: HyperLike,
    *,
    temperature: HyperLike = 1.0,
    preconditioner: Preconditioner | PyTree | None = None,
) -> MALA:
    """The Metropolis-adjusted Langevin algorithm (Besag 1994; Roberts and Tweedie 1996).

        y = x - η P ∇E(x) + sqrt(2 η T) L ξ,    ξ ~ N(0, I),    L Lᵀ = P
        x' = y with probability min(1, p(y) q(x|y) / (p(x) q(y|x))), else x

    where q is the law of y given x. It samples p(x) ∝ exp(-E(x)/T) without bias, whatever η; a
    large η is paid for by rejections. One gradient a step. The log of the ratio is evaluated as

        -(E' - E - ½ (g + g')·(y - x) + ¼ η (g'·P g' - g·P g)) / T

    In many dimensions η is best where 57% are accepted (Roberts and Rosenthal 1998). A proposal
    at which the energy or its gradient is not finite is rejected. `Info.acceptance_rate` is the
    probability above, not whether it came to pass.

    Args:
        step_size: η > 0, a scalar or a function of the step (see `Schedule`). Where others write
            x + (h/2) ∇log p + sqrt(h) ξ, η is h/2.
        temperature: T > 0, a scalar or a function of the step, which may end at 0.
        preconditioner: P, constant, symmetric and positive definite: None for I, a (d, d) matrix
            over the raveled position, or P's diagonal as a pytree like the position.

    Raises:
        ValueError: a hyper-parameter that is not finite and positive, or P not symmetric
            positive definite. A P that does not fit the position is refused when it is run.

    Example:
        >>> import jax, jax.numpy as jnp, jlangevin as jl
        >>> energy = jl.energies.quadratic(jnp.eye(1))
        >>> run = jl.sample(jax.random.key(0), energy, jl.mala(step_size=1.0), energy,
        ...                 num_steps=10, num_chains=10_000)
        >>> round(float(run.info.acceptance_rate.mean()), 2)
        0.78
    """
    return MALA(
        hyperparameter("step_size", step_size),
        hyperparameter("temperature", temperature),
        as_preconditioner(preconditioner),
    )
