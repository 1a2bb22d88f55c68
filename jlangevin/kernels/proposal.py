"""The law of a proposal of Langevin's, which two chains may be coupled by."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jlangevin._core.arithmetic import hidden_zero, separately_rounded
from jlangevin.kernels.base import Hyper, Position, cast
from jlangevin.kernels.preconditioner import Preconditioner

__all__ = ["Proposal", "diffuse"]


class Proposal(NamedTuple):
    """N(m, σ²P) with m = x - η P g and σ² = 2ηT.

    A kernel whose step is one such proposal says so by a method `proposal(energy, state)`, which
    returns one. Then its `step_noise` is `Want.NORMAL`, the ξ of `drawn`, or of one that accepts
    and rejects (`by_value`) the pair of that and `Want.UNIFORM`.
    """

    position: Position  # x
    gradient: Position  # g
    step_size: Hyper  # η
    temperature: Hyper  # T
    preconditioner: Preconditioner | None = None  # P = L Lᵀ

    def drawn(self, noise: Position) -> Position:
        """m + σ L ξ."""
        gradient = self.gradient
        if self.preconditioner is not None:
            gradient = self.preconditioner.apply(gradient)
            noise = self.preconditioner.factor(noise)
        return diffuse(self.step_size, self.temperature, self.position, gradient, noise)

    def gap(self, other: Proposal) -> Position:
        """How far another one's mean m' is, in units of the noise: L⁻¹(m - m')/σ."""
        turn = jax.tree.map(jnp.subtract, self.gradient, other.gradient)
        if self.preconditioner is not None:
            turn = self.preconditioner.apply(turn)

        def mean(x: jax.Array, y: jax.Array, turn: jax.Array) -> jax.Array:
            eta = cast(self.step_size, x)
            sigma = jnp.sqrt(2 * eta * cast(self.temperature, x))
            return (x - y - separately_rounded(eta * turn, hidden_zero(eta))) / sigma

        gap = jax.tree.map(mean, self.position, other.position, turn)
        return gap if self.preconditioner is None else self.preconditioner.solve(gap)


def diffuse(
    step_size: Hyper, temperature: Hyper, position: Position, drift: Position, noise: Position
) -> Position:
    """x - η drift + sqrt(2 η T) noise."""

    def move(x: jax.Array, g: jax.Array, xi: jax.Array) -> jax.Array:
        eta = cast(step_size, x)
        sigma = jnp.sqrt(2 * eta * cast(temperature, x))
        # The increment is formed first: x - eta g alone would round a small drift to the grid of a
        # large x, the same way at every step; with the noise in it the rounding averages out. And
        # the drift is rounded before it is subtracted, whatever program the step is in: runs then
        # have the same bits however they are cut.
        cold = sigma == 0  # a temperature schedule may end at 0
        ratio = eta / jnp.where(cold, 1, sigma)
        push = separately_rounded(ratio * g, hidden_zero(eta))
        return jnp.where(cold, x - push, x + sigma * (xi - push))

    return jax.tree.map(move, position, drift, noise)
