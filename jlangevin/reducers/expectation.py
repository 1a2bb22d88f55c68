"""Means of a function of the state."""

from __future__ import annotations

from typing import ClassVar

import jax

from jlangevin._core.trees import pytree_dataclass, static_field
from jlangevin.reducers.base import (
    CompensatedSum,
    EachLeaf,
    StateFunction,
    check_of,
)
from jlangevin.reducers.over_chains import OverChains

__all__ = ["Expectation", "expectation"]


@pytree_dataclass
class Expectation(EachLeaf):
    """See `expectation`."""

    of: StateFunction = static_field()

    _accumulator: ClassVar[type] = CompensatedSum

    def start(self, x: jax.Array) -> CompensatedSum:
        return CompensatedSum.zero(x)

    def add(self, accumulator: CompensatedSum, x: jax.Array, n: jax.Array) -> CompensatedSum:
        return accumulator.add(x, n)

    def result(self, accumulator: CompensatedSum, n: jax.Array) -> jax.Array:
        return accumulator.value / n.astype(accumulator.high.dtype)

    def gather_leaf(self, accumulator: CompensatedSum, keep: jax.Array, n: jax.Array) -> OverChains:
        return OverChains.of(keep, self.result(accumulator, n))

    def conclude_leaf(self, gathered: OverChains, n: jax.Array) -> jax.Array:
        return gathered.means[0]


def expectation(of: StateFunction) -> Expectation:
    """The mean of `of(state)`, an array or a pytree of arrays.

    Args:
        of: a function of one chain's kernel state.

    Raises:
        TypeError: `of` is not a function.

    Example:
        >>> import jax, jax.numpy as jnp, jlangevin as jl
        >>> energy = jl.energies.quadratic(jnp.eye(2))
        >>> run = jl.sample(
        ...     jax.random.key(0), energy, jl.ula(0.1), energy, num_steps=100, num_chains=3,
        ...     reducers=jl.reducers.expectation(lambda state: energy(state.position)))
        >>> run.summary.shape
        (3,)
    """
    check_of(of)
    return Expectation(of)
