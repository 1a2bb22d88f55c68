"""A kernel whose step size moves in each chain by itself, towards a target acceptance rate."""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jlangevin._core import trees
from jlangevin._core.trees import pytree_dataclass
from jlangevin.adaptation.length import Seen, Trial
from jlangevin.energies.base import Energy
from jlangevin.kernels.around import Around
from jlangevin.kernels.base import Info, Noise, Position, known

__all__ = ["Moving", "MovingState"]

_FASTER = 1.3  # the factor by which a pace grows with every step in the same direction


class MovingState(NamedTuple):
    chain: Any  # the kernel's own state
    log_step: jax.Array  # the log of this chain's step size over the kernel's
    pace: jax.Array  # a factor on the gain; its sign is the direction
    seen: Seen | None = None  # by a trial

    @property
    def position(self) -> Any:
        return self.chain.position


@pytree_dataclass
class Moving(Around):
    """`kernel` with a step size for each chain: log η += gain · pace · (rate - target).

    It depends on the chain's past, so it keeps no law. For a kernel that accepts everything the
    rate is a function of the energy's change in a step, see `_rate`. The pace starts at 1 and grows
    up to `fastest` while the rate stays on the same side of the target, so that a step size that
    is wrong by many orders of magnitude is left quickly.
    """

    target: Any
    gain: Any
    fastest: Any
    energy_variance: Any  # the target for a kernel that accepts everything, in units of d T²
    trial: Trial | None = None  # of trajectory lengths

    def init(self, energy: Energy, position: Position, noise: Noise) -> MovingState:
        none = jnp.zeros((), trees.float_dtype(position))
        seen = None if self.trial is None else self.trial.nothing(self.kernel, none.dtype)
        return MovingState(self.kernel.init(energy, position, noise), none, none, seen)

    def step(self, energy: Energy, state: MovingState, noise: Noise) -> tuple[MovingState, Info]:
        dtype = state.log_step.dtype
        target, gain, fastest, first = (
            jnp.asarray(x, dtype)
            for x in (self.target, self.gain, self.fastest, self.kernel.step_size)
        )
        kernel = dataclasses.replace(self.kernel, step_size=first * jnp.exp(state.log_step))
        seen = state.seen
        if self.trial is None or seen is None:
            chain, info = kernel.step(energy, state.chain, noise)
        else:
            chain, info, seen = self.trial.step(kernel, energy, state.chain, noise, seen)
        rate = info.acceptance_rate
        if rate is None:
            rate = self._rate(chain)
        error = rate.astype(dtype) - target
        again = jnp.sign(error) == jnp.sign(state.pace)
        pace = jnp.where(again, jnp.minimum(_FASTER * jnp.abs(state.pace), fastest), 1)
        log_step = state.log_step + gain * pace * error
        moved = MovingState(chain, log_step, pace * jnp.sign(error), seen)
        return moved, info._replace(acceptance_rate=rate)

    def _rate(self, chain: Any) -> jax.Array:
        """In place of an acceptance rate, exp(-½ Δ²/v), where Δ is the error of the energy in the
        step: 1/√2 on average if Δ is normal with the target variance v."""
        change = known(chain, "energy_change")
        if change is None:
            raise TypeError(
                f"kernel: {type(self.kernel).__name__} accepts everything, so there is no "
                "acceptance rate to aim at; see adaptation.curvature for its step size"
            )
        temperature, wanted = (
            jnp.asarray(x, change.dtype) for x in (self.kernel.temperature, self.energy_variance)
        )
        variance = wanted * trees.size(chain.position) * temperature**2
        return jnp.exp(-0.5 * change**2 / variance)
