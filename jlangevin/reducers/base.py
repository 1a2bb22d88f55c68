"""The protocol of reducers, and what the reducers here have in common."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar, NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jlangevin._core import trees
from jlangevin._core.arithmetic import separately_rounded
from jlangevin._core.trees import PyTree
from jlangevin.reducers.over_chains import OverChains

__all__ = [
    "CompensatedSum",
    "EachLeaf",
    "Reducer",
    "StateFunction",
    "check_of",
    "real_numbers",
]


StateFunction = Callable[[PyTree], PyTree]


@runtime_checkable
class Reducer(Protocol):
    """Any pytree with these three methods."""

    def init(self, state: PyTree) -> PyTree: ...

    def update(self, accumulator: PyTree, state: PyTree, n: jax.Array) -> PyTree: ...

    def finish(self, accumulator: PyTree, n: jax.Array) -> PyTree: ...


class CompensatedSum(NamedTuple):
    """A sum as two floats, the second of which holds what rounding loses in the first."""

    high: jax.Array
    low: jax.Array

    @classmethod
    def zero(cls, like: jax.Array) -> CompensatedSum:
        return cls(jnp.zeros_like(like), jnp.zeros_like(like))

    @property
    def value(self) -> jax.Array:
        return self.high + self.low

    def add(self, term: jax.Array, n: jax.Array) -> CompensatedSum:
        """By the error-free sum of two floats (Knuth 1969); n > 0 is the number of terms."""
        term = separately_rounded(term, n >> 31)
        high = self.high + term
        carried = high - self.high
        lost = (self.high - (high - carried)) + (term - carried)
        return CompensatedSum(high, self.low + lost)


class EachLeaf:
    """A reducer of single arrays, applied to each leaf of `of(state)`.

    `_accumulator` is the type of an array's accumulator. For all chains together, `gather_leaf` is
    given accumulators with a leading chain axis, and a mask of the chains that count. It returns
    what these chains have in common, of type `_gathered`, and `conclude_leaf` makes the result from
    that.
    """

    of: StateFunction
    _accumulator: ClassVar[type]
    _gathered: ClassVar[type] = OverChains

    def start(self, x: jax.Array) -> PyTree:
        raise NotImplementedError

    def add(self, accumulator: PyTree, x: jax.Array, n: jax.Array) -> PyTree:
        raise NotImplementedError

    def result(self, accumulator: PyTree, n: jax.Array) -> PyTree:
        raise NotImplementedError

    def gather_leaf(self, accumulator: PyTree, keep: jax.Array, n: jax.Array) -> PyTree:
        raise NotImplementedError

    def conclude_leaf(self, gathered: PyTree, n: jax.Array) -> PyTree:
        raise NotImplementedError

    def init(self, state: PyTree) -> PyTree:
        return jax.tree.map(lambda x: self.start(real_numbers(x)), self.of(state))

    def update(self, accumulator: PyTree, state: PyTree, n: jax.Array) -> PyTree:
        return jax.tree.map(
            lambda x, a: self.add(a, real_numbers(x), n), self.of(state), accumulator
        )

    def finish(self, accumulator: PyTree, n: jax.Array) -> PyTree:
        return self._map(lambda a: self.result(a, n), accumulator)

    def pool(self, accumulator: PyTree, keep: jax.Array, n: jax.Array) -> PyTree:
        return self.conclude(self.gather(accumulator, keep, n), n)

    def gather(self, accumulator: PyTree, keep: jax.Array, n: jax.Array) -> PyTree:
        return self._map(lambda a: self.gather_leaf(a, keep, n), accumulator)

    def merge(self, gathered: PyTree, more: PyTree) -> PyTree:
        return self._map(lambda a, b: a.merge(b), gathered, more)

    def conclude(self, gathered: PyTree, n: jax.Array) -> PyTree:
        return self._map(lambda a: self.conclude_leaf(a, n), gathered)

    def check_result(self, value: PyTree) -> None:
        """Raise ValueError if a result is visibly that of another reducer; see `merge`."""

    def _map(self, function: Callable[..., PyTree], *trees: PyTree) -> PyTree:
        ends = self._accumulator, self._gathered
        return jax.tree.map(function, *trees, is_leaf=lambda node: isinstance(node, ends))


def real_numbers(x: ArrayLike) -> jax.Array:
    if jnp.iscomplexobj(x):
        raise TypeError(
            f"of: expected it to return real numbers, got dtype {jnp.asarray(x).dtype}; return "
            "jnp.real, jnp.imag or jnp.abs of them, or a tuple of several"
        )
    return trees.at_least_float32(x)


def check_of(of: object) -> None:
    if not callable(of):
        raise TypeError(f"of: expected a function of the kernel state, got {of!r}")
