"""Stochastic gradient Langevin dynamics."""

from __future__ import annotations

from typing import ClassVar

import jax

from jlangevin._core.trees import PyTree, pytree_dataclass
from jlangevin.energies.base import Energy
from jlangevin.estimators import Estimator, check_estimator, estimate
from jlangevin.kernels.base import Hyper, HyperLike, Info, Position, PositionState, hyperparameter
from jlangevin.kernels.preconditioner import Preconditioner, as_preconditioner
from jlangevin.kernels.proposal import Proposal
from jlangevin.noise import Want

__all__ = ["SGLD", "sgld"]


@pytree_dataclass
class SGLD:
    """See `sgld`."""

    step_size: Hyper
    estimator: Estimator
    temperature: Hyper
    preconditioner: Preconditioner | None

    init_noise: ClassVar[None] = None
    step_noise: ClassVar[tuple[Want, Want]] = (Want.NORMAL, Want.KEY)

    def init(self, energy: Energy, position: Position, noise: None) -> PositionState:
        return PositionState(position)

    def step(
        self, energy: Energy, state: PositionState, noise: tuple[Position, jax.Array]
    ) -> tuple[PositionState, Info]:
        xi, key = noise
        slope = estimate(self.estimator, key, state.position)
        law = Proposal(state.position, slope, self.step_size, self.temperature, self.preconditioner)
        return PositionState(law.drawn(xi)), Info()


def sgld(
    step_size: HyperLike,
    estimator: Estimator,
    *,
    temperature: HyperLike = 1.0,
    preconditioner: Preconditioner | PyTree | None = None,
) -> SGLD:
    """Stochastic gradient Langevin dynamics (Welling and Teh 2011).

        x' = x - η P ĝ(x) + sqrt(2 η T) L ξ,    E[ĝ(x)] = ∇E(x),    ξ ~ N(0, I),    L Lᵀ = P

    It samples p(x) ∝ exp(-E(x)/T) up to a bias of order η. To that of `ula` the estimate adds its
    own: with C(x) the covariance of ĝ(x), each step's noise gains η² P C P, as if T were higher by
    η C/2. One estimate a step. There is no affine law, as the estimate is a function of a key; for
    a constant C, `gradient_noise` has one.

    The energy given to `jlangevin.sample` is looked at to check a start, and nowhere else; an
    estimator of `jlangevin.estimators` has it as `estimator.energy`.

    Args:
        step_size: η > 0, a scalar or a function of the step (see `Schedule`). Where others write
            x + (ε/2) ∇log p + sqrt(ε) ξ, as Welling and Teh do, η is ε/2.
        estimator: from a key and a position to an unbiased estimate of ∇E there; see
            `jlangevin.estimators`.
        temperature: T > 0, a scalar or a function of the step, which may end at 0.
        preconditioner: P, constant, symmetric and positive definite, as in `ula`.

    Raises:
        TypeError: `estimator` cannot be called.
        ValueError: a hyper-parameter that is not finite and positive, or P not symmetric
            positive definite. A P that does not fit the position is refused when it is run.

    Example:
        >>> import jax, jax.numpy as jnp, jlangevin as jl
        >>> batches = jl.estimators.minibatch(lambda x, y: 0.5 * (x - y)**2, jnp.arange(100.0), 10)
        >>> run = jl.sample(jax.random.key(0), batches.energy, jl.sgld(1e-3, batches),
        ...                 jnp.full(3, 50.0), num_steps=20)
        >>> run.draws.shape
        (3, 20)
    """
    check_estimator(estimator)
    return SGLD(
        hyperparameter("step_size", step_size),
        estimator,
        hyperparameter("temperature", temperature),
        as_preconditioner(preconditioner),
    )
