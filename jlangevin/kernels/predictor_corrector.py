"""Predictor and corrector: the reverse diffusion from level to level, Langevin steps on each."""

from __future__ import annotations

from typing import ClassVar

import jax
import jax.numpy as jnp

from jlangevin._core.checks import check_count
from jlangevin._core.trees import Numbers, pytree_dataclass, static_field
from jlangevin.energies.base import Energy, gradient, level
from jlangevin.kernels.annealed import Levels, as_sigmas, step_at
from jlangevin.kernels.base import (
    Hyper,
    HyperLike,
    Info,
    Position,
    PositionState,
    Schedule,
    hyperparameter,
)
from jlangevin.kernels.proposal import diffuse
from jlangevin.kernels.ula import ULA
from jlangevin.noise import Want

__all__ = ["PredictorCorrector", "predictor_corrector"]


@pytree_dataclass
class PredictorCorrector:
    """See `predictor_corrector`."""

    sigma: Hyper
    next_sigma: Hyper
    last: jax.Array
    step_size: Hyper
    corrector_steps: int = static_field()

    init_noise: ClassVar[None] = None

    @property
    def step_noise(self) -> tuple[Want, ...]:
        return (Want.NORMAL,) * (1 + self.corrector_steps)

    def init(self, energy: Energy, position: Position, noise: None) -> PositionState:
        return PositionState(position)

    def step(
        self, energy: Energy, state: PositionState, noise: tuple[Position, ...]
    ) -> tuple[PositionState, Info]:
        first, *others = noise
        fall = (self.sigma - self.next_sigma) * (self.sigma + self.next_sigma)
        slope = gradient(level(energy, self.sigma), state.position)
        # x - fall ∇E + sqrt(fall) ξ is a Langevin step of η = fall at T = 1/2. After the last level
        # nothing falls, and what stands still must not be divided by.
        still = fall <= 0
        moved = diffuse(jnp.where(still, 1, fall), 0.5, state.position, slope, first)
        position = jax.tree.map(lambda x, y: jnp.where(still, x, y), state.position, moved)
        ula = ULA(step_at(self.step_size, self.next_sigma, self.last), 1.0, None)
        state, there = PositionState(position), level(energy, self.next_sigma)
        for xi in others:
            state, _ = ula.step(there, state, xi)
        return state, Info()


def predictor_corrector(
    sigmas: Numbers, step_size: HyperLike, *, corrector_steps: int = 1
) -> PredictorCorrector:
    """Reverse diffusion of exploding variance, corrected by Langevin steps (Song et al. 2021).

    One step of the chain goes from a level l to the next, L - 1 steps in all:

        x ← x + (σ_l² - σ_{l+1}²) s(x, σ_l) + sqrt(σ_l² - σ_{l+1}²) ξ
        x ← x + η_{l+1} s(x, σ_{l+1}) + sqrt(2 η_{l+1}) ξ,    M times,    η_l = η σ_l²/σ_L²

    with a new ξ ~ N(0, I) each time. A start is from the density at σ_1. Steps after the last level
    are of the corrector alone. 1 + M scores a step. Song et al. choose η_l by the norms of score
    and noise; here it goes with σ_l² as in `annealed`, so that `exact.law` holds for Gaussian data.

    Args:
        sigmas: σ_1 > … > σ_L > 0, an array (L,).
        step_size: η > 0, the corrector's step at the last level, a scalar or a function of the
            step.
        corrector_steps: M ≥ 0; another number compiles again.

    Raises:
        TypeError: M is not an integer; or, when it is run, the energy has no levels.
        ValueError: levels that do not fall or are not positive; M < 0; η not finite and positive.

    Example:
        >>> import jax, jax.numpy as jnp, jlangevin as jl
        >>> sigmas = jnp.geomspace(10.0, 0.1, 50)
        >>> smoothed = jl.scores.level_score(lambda x, sigma: (5 - x) / (1 + sigma**2), sigmas[0])
        >>> start = jl.Gaussian(jnp.full(1, 5.0), 101 * jnp.eye(1))
        >>> law = jl.exact.law(jl.predictor_corrector(sigmas, 1e-3), smoothed, start, 49)
        >>> bool(jnp.abs(law.cov[0, 0] - 1.01) < 0.1)
        True
    """
    sigmas = as_sigmas(sigmas)
    each = jnp.asarray(1, jnp.int32)
    following = jnp.concatenate([sigmas[1:], sigmas[-1:]])
    return PredictorCorrector(
        Schedule(Levels(sigmas, each)),
        Schedule(Levels(following, each)),
        sigmas[-1],
        hyperparameter("step_size", step_size),
        check_count("corrector_steps", corrector_steps, minimum=0),
    )
