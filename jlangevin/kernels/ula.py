"""The unadjusted Langevin algorithm."""

from __future__ import annotations

from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp

from jlangevin._core.arithmetic import hidden_zero, separately_rounded
from jlangevin._core.trees import PyTree, pytree_dataclass
from jlangevin.energies.base import Energy, gradient
from jlangevin.kernels.base import Info, hyperparameter
from jlangevin.kernels.preconditioner import Preconditioner, as_preconditioner
from jlangevin.noise import Want

__all__ = ["ULA", "ULAState", "diffuse", "ula"]


class ULAState(NamedTuple):
    """The state of `ula` is the position alone."""

    position: Any


def diffuse(
    step_size: Any, temperature: Any, position: PyTree, drift: PyTree, noise: PyTree
) -> PyTree:
    """x - η drift + sqrt(2 η T) noise."""

    def move(x: jax.Array, g: jax.Array, xi: jax.Array) -> jax.Array:
        eta = jnp.asarray(step_size, x.dtype)
        sigma = jnp.sqrt(2 * eta * jnp.asarray(temperature, x.dtype))
        # The increment is formed first: x - eta g alone would round a small drift to the grid of a
        # large x, the same way at every step; with the noise in it the rounding averages out. And
        # the drift is rounded before it is subtracted, whatever program the step is in: runs then
        # have the same bits however they are cut.
        cold = sigma == 0  # a temperature schedule may end at 0
        ratio = eta / jnp.where(cold, 1, sigma)
        push = separately_rounded(ratio * g, hidden_zero(eta))
        return jnp.where(cold, x - push, x + sigma * (xi - push))

    return jax.tree.map(move, position, drift, noise)


@pytree_dataclass
class ULA:
    """See `ula`."""

    step_size: Any
    temperature: Any
    preconditioner: Preconditioner | None

    init_noise: ClassVar[None] = None
    step_noise: ClassVar[Want] = Want.NORMAL
    gaussian_proposal = True

    def init(self, energy: Energy, position: PyTree, noise: None) -> ULAState:
        return ULAState(position)

    def step(self, energy: Energy, state: ULAState, noise: PyTree) -> tuple[ULAState, Info]:
        slope = gradient(energy, state.position)
        return ULAState(self.move(state.position, slope, noise)), Info()

    def adopt(self, energy: Energy, state: ULAState, other: Any) -> ULAState:
        """See `tempered`."""
        return state

    def move(self, position: PyTree, gradient: PyTree, noise: PyTree) -> PyTree:
        """The update rule, given the gradient at `position`."""
        if self.preconditioner is not None:
            gradient = self.preconditioner.apply(gradient)
            noise = self.preconditioner.factor(noise)
        return diffuse(self.step_size, self.temperature, position, gradient, noise)


def ula(step_size: Any, *, temperature: Any = 1.0, preconditioner: Any = None) -> ULA:
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
