"""What the Metropolis-adjusted kernels share: their state, and the test that accepts or rejects."""

from __future__ import annotations

from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp

from jlangevin import trees
from jlangevin.kernels.base import Energy, Info, if_sound
from jlangevin.trees import PyTree

__all__ = [
    "Metropolis",
    "MetropolisState",
    "accept_or_keep",
    "evaluate",
    "langevin_work",
    "total",
]


class MetropolisState(NamedTuple):
    """Where a chain is, and what is known there, so that a step costs no second look."""

    position: Any
    energy: Any  # E(position), a scalar
    gradient: Any  # ∇E(position), like the position


class Metropolis:
    """A kernel that leaves p ∝ exp(-E/T) as it is: its steps are accepted or rejected by E."""

    init_noise: ClassVar[None] = None
    by_value = True

    def init(self, energy: Energy, position: PyTree, noise: None) -> MetropolisState:
        return evaluate(energy, if_sound(self, position))

    def adopt(self, energy: Energy, state: MetropolisState, other: Any) -> MetropolisState:
        """See `tempered`."""
        return state


def evaluate(energy: Energy, position: PyTree) -> MetropolisState:
    """Value and gradient at `position`, at the cost of one gradient."""
    return MetropolisState(position, *jax.value_and_grad(energy)(position))


def langevin_work(
    before: MetropolisState, after: MetropolisState, eta: Any, preconditioner: Any = None
) -> jax.Array:
    """T log(q(x|x') / q(x'|x)) for q the law of x' = x - η P g + sqrt(2 η T) P^{1/2} ξ.

        ½ (g + g')·(x' - x) - ¼ η (g'·P g' - g·P g)

    T is not in it. Nor are |ξ|² and its like, which grow with the dimension and cancel: it is a
    sum over elements of terms that are small where the step is.
    """
    turn = jax.tree.map(jnp.subtract, after.gradient, before.gradient)
    if preconditioner is not None:
        turn = preconditioner.apply(turn)

    def terms(x: jax.Array, y: jax.Array, g: jax.Array, h: jax.Array, turn: jax.Array) -> jax.Array:
        return (g + h) * (0.5 * (y - x) - 0.25 * jnp.asarray(eta, x.dtype) * turn)

    return total(terms, before.position, after.position, before.gradient, after.gradient, turn)


def total(terms: Any, tree: PyTree, *others: PyTree) -> jax.Array:
    """The sum over all elements of what `terms` makes of the leaves."""
    dtype = trees.float_dtype(tree)
    sums = jax.tree.map(lambda *leaves: jnp.sum(terms(*leaves)).astype(dtype), tree, *others)
    return sum(jax.tree.leaves(sums), start=jnp.zeros((), dtype))


def accept_or_keep(
    current: MetropolisState,
    proposed: MetropolisState,
    work: jax.Array,
    temperature: Any,
    uniform: jax.Array,
) -> tuple[MetropolisState, Info]:
    """`proposed` with probability min(1, exp((work - (E' - E)) / T)), else `current`.

    `work` is T log(q(x|x') / q(x'|x)) of the proposal's law q. What is reported is the
    probability. A proposal that is not finite in position, energy or gradient is rejected, as is
    one of which the ratio is not a number.
    """
    rise = (proposed.energy - current.energy).astype(work.dtype)
    log_ratio = (work - rise) / jnp.asarray(temperature, work.dtype)
    finite = [jnp.all(jnp.isfinite(leaf)) for leaf in jax.tree.leaves(proposed)]
    possible = jnp.all(jnp.stack([*finite, ~jnp.isnan(log_ratio)]))
    rate = jnp.where(possible, jnp.exp(jnp.minimum(log_ratio, 0)), 0)
    accepted = uniform < rate
    state = jax.tree.map(lambda new, old: jnp.where(accepted, new, old), proposed, current)
    return state, Info(acceptance_rate=rate)
