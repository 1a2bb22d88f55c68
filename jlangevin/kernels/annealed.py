"""Annealed Langevin dynamics: one level of noise after another."""

from __future__ import annotations

from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from jlangevin._core.checks import as_array, check_count, check_positive, or_nan
from jlangevin._core.trees import Numbers, pytree_dataclass
from jlangevin.energies.base import Energy, level
from jlangevin.kernels.base import (
    Hyper,
    HyperLike,
    Info,
    Noise,
    Position,
    PositionState,
    Schedule,
    cast,
    hyperparameter,
)
from jlangevin.kernels.ula import ULA
from jlangevin.noise import Want

__all__ = ["Annealed", "Levels", "annealed", "as_sigmas", "step_at"]


@pytree_dataclass
class Levels:
    """The level of a step: each for `steps_each` steps, and the last for ever."""

    sigmas: jax.Array
    steps_each: jax.Array

    def __call__(self, step: ArrayLike) -> jax.Array:
        index = jnp.asarray(step, jnp.int32) // self.steps_each
        return self.sigmas[jnp.minimum(index, len(self.sigmas) - 1)]


@pytree_dataclass
class Annealed:
    """See `annealed`."""

    sigma: Hyper
    last: jax.Array
    step_size: Hyper
    temperature: Hyper

    init_noise: ClassVar[None] = None
    step_noise: ClassVar[Want] = Want.NORMAL

    def init(self, energy: Energy, position: Position, noise: None) -> PositionState:
        return PositionState(position)

    def step(
        self, energy: Energy, state: PositionState, noise: Noise
    ) -> tuple[PositionState, Info]:
        ula = ULA(step_at(self.step_size, self.sigma, self.last), self.temperature, None)
        return ula.step(level(energy, self.sigma), state, noise)


def step_at(step_size: Hyper, sigma: jax.Array, last: jax.Array) -> jax.Array:
    """η σ²/σ_L²."""
    return cast(step_size, sigma) * (sigma / last) ** 2


def as_sigmas(value: Numbers) -> jax.Array:
    """`value` checked to be levels, one below the other."""
    sigmas = as_array("sigmas", value, ndim=1)
    if len(sigmas) == 0:
        raise ValueError("sigmas: expected at least one level")
    return or_nan(
        check_positive("sigmas", sigmas),
        lambda xp, levels: xp.all(xp.diff(levels) < 0),
        lambda: ValueError(f"sigmas: expected levels that fall, got {np.asarray(sigmas)}"),
    )


def annealed(
    sigmas: Numbers, steps_each: int, step_size: HyperLike, *, temperature: HyperLike = 1.0
) -> Annealed:
    """Annealed Langevin dynamics (Song and Ermon 2019).

        x' = x + η_l s(x, σ_l) + sqrt(2 η_l T) ξ,    η_l = η σ_l²/σ_L²,    ξ ~ N(0, I)

    K steps at each of the levels σ_1 > … > σ_L, L K steps in all; those after that stay at σ_L.
    s(x, σ) is the score of the density that noise of variance σ² has smoothed, and what comes out
    is from near that of σ_L. One score a step. Where the score is affine in x at every level, as it
    is for Gaussian data, `exact.law` gives the law of the whole anneal.

    The energy to run it on is a `scores.level_score`, or any other with a method `at(sigma)` that
    gives the energy at a level.

    Args:
        sigmas: σ_1 > … > σ_L > 0, an array (L,).
        steps_each: K ≥ 1.
        step_size: η > 0, the step at the last level, a scalar or a function of the step. Where
            others write x + (α_l/2) s + sqrt(α_l) ξ with α_l = ε σ_l²/σ_L², η is ε/2.
        temperature: T > 0, a scalar or a function of the step, which may end at 0.

    Raises:
        TypeError: K is not an integer; or, when it is run, the energy has no levels.
        ValueError: levels that do not fall or are not positive; K < 1; a hyper-parameter that is
            not finite and positive.

    Example:
        >>> import jax, jax.numpy as jnp, jlangevin as jl
        >>> sigmas = jnp.geomspace(3.0, 0.1, 10)
        >>> smoothed = jl.scores.level_score(lambda x, sigma: (5 - x) / (1 + sigma**2), sigmas[0])
        >>> kernel, start = jl.annealed(sigmas, 50, 0.002), jl.Gaussian(jnp.zeros(1), jnp.eye(1))
        >>> run = jl.sample(jax.random.key(0), smoothed, kernel, start, num_steps=500, num_chains=9)
        >>> round(float(jl.exact.law(kernel, smoothed, start, 500).mean[0]), 1)
        5.0
    """
    sigmas = as_sigmas(sigmas)
    each = jnp.asarray(check_count("steps_each", steps_each, minimum=1), jnp.int32)
    return Annealed(
        Schedule(Levels(sigmas, each)),
        sigmas[-1],
        hyperparameter("step_size", step_size),
        hyperparameter("temperature", temperature),
    )
