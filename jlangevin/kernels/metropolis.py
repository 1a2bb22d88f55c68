"""What the Metropolis-adjusted kernels share: their state, and the test that accepts or rejects."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar, NamedTuple, Protocol, TypeVar

import jax
import jax.numpy as jnp
from jax import lax

from jlangevin._core import trees
from jlangevin._core.trees import MaybeArray, PyTree
from jlangevin._core.vector_loops import aligned, apart
from jlangevin.energies.base import Energy, WrappedEnergy
from jlangevin.kernels.base import (
    FAULT,
    LAST_FAULT,
    ROUNDED,
    WALL,
    Hyper,
    Info,
    Position,
    cast,
    if_sound,
)
from jlangevin.kernels.preconditioner import Preconditioner, Scalar
from jlangevin.kernels.traits import Convertible

__all__ = [
    "Metropolis",
    "MetropolisState",
    "accept_or_keep",
    "evaluate",
    "langevin_work",
    "total",
    "unweighable",
]


class MetropolisState(NamedTuple):
    """Where a chain is, and what is known there, so that a step costs no second look."""

    position: Position
    energy: MaybeArray  # E(position), a scalar
    gradient: Position  # ∇E(position), like the position


class Weighed(Protocol):
    """A state that knows its energy."""

    @property
    def energy(self) -> MaybeArray: ...


S = TypeVar("S", bound=Weighed)


class Metropolis(Convertible):
    """A kernel that leaves p ∝ exp(-E/T) as it is: its steps are accepted or rejected by E."""

    init_noise: ClassVar[None] = None
    by_value = True

    def init(self, energy: Energy, position: Position, noise: None) -> MetropolisState:
        return evaluate(energy, if_sound(self, position))


def evaluate(energy: Energy, position: Position) -> MetropolisState:
    """Value and gradient at `position`, at the cost of one gradient."""
    return MetropolisState(position, *aligned(jax.value_and_grad(energy)(position)))


def langevin_work(
    before: MetropolisState,
    after: MetropolisState,
    eta: Hyper,
    preconditioner: Scalar | Preconditioner | None = None,
) -> jax.Array:
    """T log(q(x|x') / q(x'|x)) for q the law of x' = x - η P g + sqrt(2 η T) P^{1/2} ξ.

        ½ (g + g')·(x' - x) - ¼ η Lᵀ(g' + g)·Lᵀ(g' - g)

    T is not in it. Nor are |ξ|² and its like, which grow with the dimension and cancel: it is a
    sum over elements of terms that are small where the step is. In the coordinates of the root L a
    g' that is huge makes all of the second sum's terms negative, so that they cannot cancel.
    """
    slopes = before.gradient, after.gradient
    rooted = slopes if preconditioner is None else tuple(map(preconditioner.transposed, slopes))

    def terms(
        x: jax.Array, y: jax.Array, g: jax.Array, h: jax.Array, *root: jax.Array
    ) -> jax.Array:
        start, end = root
        quarter = 0.25 * cast(eta, x)
        return 0.5 * (g + h) * (y - x) - quarter * (end + start) * (end - start)

    return total(terms, before.position, after.position, *slopes, *rooted)


def total(terms: Callable[..., jax.Array], tree: PyTree, *others: PyTree) -> jax.Array:
    """The sum over all elements of what `terms` makes of the leaves."""
    dtype = trees.float_dtype(tree)
    sums = jax.tree.map(lambda *leaves: jnp.sum(terms(*leaves)).astype(dtype), tree, *others)
    return sum(jax.tree.leaves(sums), start=jnp.zeros((), dtype))


def unweighable(energy: Energy, proposed: MetropolisState) -> jax.Array:
    """Why a proposal cannot be weighed, in an int32: 0 if it can, its numbers being finite.

    WALL where the energy is +inf or a number has overflowed; ROUNDED where the position was rounded
    onto a wall, as energies in other coordinates know; else FAULT for an energy that is NaN or
    -inf, or'ed with FAULT << (k + 1) for each leaf k of the gradient in which there is a NaN.
    """

    value, leaves = proposed.energy, jax.tree.leaves(proposed.gradient)
    fault = jnp.where(jnp.isnan(value) | (value == -jnp.inf), FAULT, 0)
    finite = jnp.isfinite(value)
    for k, leaf in enumerate(leaves):
        size, infinite = _largest(leaf)
        fault |= jnp.where(size > infinite, FAULT << min(k + 1, LAST_FAULT), 0)
        finite &= size < infinite
    placed = jnp.array(True)
    for leaf in jax.tree.leaves(proposed.position):
        size, infinite = _largest(leaf)
        placed &= size < infinite
    cause = jnp.where((fault > 0) & placed & (value != jnp.inf), fault, WALL)
    rounded = energy.rounded(proposed.position) if isinstance(energy, WrappedEnergy) else None
    if rounded is not None:
        cause = jnp.where(placed & rounded, ROUNDED, cause)
    return jnp.where(finite & placed, 0, cause).astype(jnp.int32)


def _largest(x: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The largest |x| as an integer, and infinity as one, which NaN is above.

    Floats without their sign are ordered as their bits are, so that one maximum tells finite,
    infinite and NaN apart.
    """
    word = jnp.dtype(f"uint{8 * x.dtype.itemsize}")
    bits = lax.bitcast_convert_type(jnp.abs(x), word)
    return jnp.max(bits), lax.bitcast_convert_type(jnp.asarray(jnp.inf, x.dtype), word)


def accept_or_keep(
    current: S,
    proposed: S,
    work: jax.Array,
    temperature: Hyper,
    uniform: jax.Array,
    cause: jax.Array,
) -> tuple[S, Info]:
    """`proposed` with probability min(1, exp((work - (E' - E)) / T)), else `current`.

    `work` is T log(q(x|x') / q(x'|x)) of the proposal's law q. What is reported is the
    probability, and `cause`, what `unweighable` says of the proposal: unless it is 0 the proposal
    is rejected, as is one whose work or rise of energy is not finite. That a sum of +inf and -inf
    is NaN cannot be relied on: in a compiled program, where product and sum may be one operation,
    it can be +inf.
    """
    excess = work - (proposed.energy - current.energy).astype(work.dtype)
    cause = jnp.where((cause == 0) & ~jnp.isfinite(excess), WALL, cause)

    def rate_of(excess: jax.Array, cause: jax.Array) -> jax.Array:
        log_ratio = excess / cast(temperature, excess)
        # At a temperature of 0 the ratio is infinite, or NaN where nothing is gained.
        possible = (cause == 0) & ~jnp.isnan(log_ratio)
        return jnp.where(possible, jnp.exp(jnp.minimum(log_ratio, 0)), 0)

    rate = apart(rate_of, excess, cause)  # or every element would compute it again
    accepted = uniform < rate
    state = jax.tree.map(lambda new, old: jnp.where(accepted, new, old), proposed, current)
    return state, Info(acceptance_rate=rate, rejections=cause)
