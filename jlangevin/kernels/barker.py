"""The Barker proposal."""

from __future__ import annotations

import math
from functools import partial
from typing import ClassVar

import jax
import jax.numpy as jnp
from jax.scipy.special import erfc, expit

from jlangevin._core.trees import PyTree, pytree_dataclass
from jlangevin._core.vector_loops import apart
from jlangevin.energies.base import Energy
from jlangevin.kernels.base import Hyper, HyperLike, Info, Position, cast, hyperparameter
from jlangevin.kernels.metropolis import (
    Metropolis,
    MetropolisState,
    accept_or_keep,
    evaluate,
    total,
    unweighable,
)
from jlangevin.kernels.preconditioner import Preconditioner, as_preconditioner
from jlangevin.noise import Want

__all__ = ["Barker", "barker"]


@pytree_dataclass
class Barker(Metropolis):
    """See `barker`."""

    step_size: Hyper
    temperature: Hyper
    preconditioner: Preconditioner | None

    step_noise: ClassVar[tuple[Want, Want, Want]] = (Want.NORMAL, Want.NORMAL, Want.UNIFORM)

    def step(
        self, energy: Energy, state: MetropolisState, noise: tuple[Position, Position, jax.Array]
    ) -> tuple[MetropolisState, Info]:
        xi, zeta, uniform = noise
        slope = self._slope(state.gradient)
        move = jax.tree.map(partial(apart, self._move), slope, xi, zeta)
        proposed = evaluate(energy, self._moved(state.position, move))
        work = self._work(move, slope, self._slope(proposed.gradient))
        cause = unweighable(energy, proposed)
        return accept_or_keep(state, proposed, work, self.temperature, uniform, cause)

    def _slope(self, gradient: Position) -> Position:
        """∂E along the columns of L."""
        if self.preconditioner is None:
            return gradient
        return self.preconditioner.transposed(gradient)

    def _moved(self, position: Position, move: Position) -> Position:
        if self.preconditioner is not None:
            move = self.preconditioner.factor(move)
        return jax.tree.map(jnp.add, position, move)

    def _move(self, slope: jax.Array, xi: jax.Array, zeta: jax.Array) -> jax.Array:
        eta, temperature = (cast(h, slope) for h in (self.step_size, self.temperature))
        size = jnp.sqrt(2 * eta * temperature) * jnp.abs(xi)
        # Decided on is the rarer way, uphill: its probability is right however small it is, and
        # so is the uniform, the probability that a normal is larger than ζ, either way.
        uniform = erfc(jnp.abs(zeta) * math.sqrt(0.5))
        uphill = uniform < expit(-size * jnp.abs(slope) / temperature)
        return jnp.where(uphill == (slope > 0), size, -size)

    def _work(self, move: Position, slope: Position, slope_there: Position) -> jax.Array:
        """T Σ (log(1 + exp(w g/T)) - log(1 + exp(-w g'/T)))."""

        def terms(w: jax.Array, g: jax.Array, h: jax.Array) -> jax.Array:
            temperature = cast(self.temperature, w)
            rise, rise_back = w * g / temperature, -w * h / temperature
            # log(1 + e^r) = max(r, 0) + log(1 + e^{-|r|}), and two of them have one logarithm.
            shares = (1 + jnp.exp(-jnp.abs(rise))) / (1 + jnp.exp(-jnp.abs(rise_back)))
            uphill = jnp.maximum(rise, 0) - jnp.maximum(rise_back, 0)
            return temperature * (uphill + jnp.log(shares))

        return total(partial(apart, terms), move, slope, slope_there)


def barker(
    step_size: HyperLike,
    *,
    temperature: HyperLike = 1.0,
    preconditioner: Preconditioner | PyTree | None = None,
) -> Barker:
    """The Barker proposal, accepted or rejected (Livingstone and Zanella 2022).

        y = x + L w,    w_i = b_i z_i,    z_i ~ N(0, 2 η T),    b_i = ±1,    L Lᵀ = P
        P(b_i = 1 | z_i) = 1 / (1 + exp(z_i g_i / T)),    g = Lᵀ∇E(x)
        x' = y with probability min(1, p(y) q(x|y) / (p(x) q(y|x))), else x

    where q is the law of y given x. It samples p(x) ∝ exp(-E(x)/T) without bias. The gradient
    decides on the sign of a move, not on its size, so that a step too large for the steepest
    direction, or a start far out, costs acceptance where MALA is stuck. With g' = Lᵀ∇E(y) the log
    of the ratio is

        -(E(y) - E(x))/T + Σ_i (log(1 + exp(w_i g_i/T)) - log(1 + exp(-w_i g'_i/T)))

    η is that of `ula` for small steps: E[b z] = E[z tanh(-z g/(2T))] is to first order
    -E[z²] g/(2T) = -η g, and the noise's variance is 2ηT. One gradient a step, and two normals
    a coordinate, one for |z| and one for b. In many dimensions η is best where 57% are
    accepted (Vogrinc, Livingstone and Zanella 2023). A proposal at which the energy or its
    gradient is not finite is rejected. `Info.acceptance_rate` is the probability above, not
    whether it came to pass.

    Args:
        step_size: η > 0, a scalar or a function of the step (see `Schedule`). Where others choose
            the noise's scale σ, η is σ²/(2T).
        temperature: T > 0, a scalar or a function of the step; where one ends at 0, moves do too.
        preconditioner: P, as in `mala`: None for I, a matrix, or a diagonal like the position.

    Raises:
        ValueError: a hyper-parameter that is not finite and positive, or P not symmetric
            positive definite. A P that does not fit the position is refused when it is run.

    Example:
        >>> import jax, jax.numpy as jnp, jlangevin as jl
        >>> energy = jl.energies.rosenbrock()
        >>> run = jl.sample(jax.random.key(0), energy, jl.barker(step_size=0.1), energy,
        ...                 num_steps=10, num_chains=3)
        >>> run.draws.shape, run.info.acceptance_rate.shape
        ((3, 10, 2), (3,))
    """
    return Barker(
        hyperparameter("step_size", step_size),
        hyperparameter("temperature", temperature),
        as_preconditioner(preconditioner),
    )
