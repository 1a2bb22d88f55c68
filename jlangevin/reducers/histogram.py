"""Histograms, and quantiles from them."""

from __future__ import annotations

from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import ArrayLike

from jlangevin._core.checks import (
    as_array,
    check_increasing,
    check_scalar,
    or_nan,
)
from jlangevin._core.trees import Numbers, PyTree, pytree_dataclass, static_field
from jlangevin.kernels.base import position
from jlangevin.reducers.base import (
    EachLeaf,
    StateFunction,
    check_of,
)
from jlangevin.reducers.over_chains import OverChains

__all__ = ["Histogram", "HistogramReducer", "histogram"]


class Histogram(NamedTuple):
    """The fractions of the draws in each bin, below and above all bins. Bins are on the last axis.

    Together with `nan`, the fraction of draws that are not a number, they sum to 1.
    """

    edges: jax.Array  # (bins + 1,), with a leading chain axis if not pooled
    fractions: jax.Array  # (…, bins)
    below: jax.Array
    above: jax.Array
    nan: jax.Array

    def quantile(self, q: ArrayLike) -> jax.Array:
        """The q-th quantile, interpolated linearly within its bin.

        It is NaN where it lies outside the edges, and where any draw is NaN.

        Args:
            q: a number between 0 and 1.

        Raises:
            TypeError, ValueError: q is not such a number.
        """
        q = or_nan(
            check_scalar("q", q),
            lambda xp, q: (q >= 0) & (q <= 1),
            lambda: ValueError(f"q: expected a number between 0 and 1, got {q}"),
        )
        reached = self.below[..., None] + jnp.cumsum(self.fractions, axis=-1)
        at_edges = jnp.concatenate([self.below[..., None], reached], axis=-1)
        dtype = at_edges.dtype
        edges = self.edges.reshape(-1, self.edges.shape[-1])[0].astype(dtype)  # the same in all

        def one(cdf: jax.Array) -> jax.Array:
            return jnp.interp(jnp.asarray(q, dtype), cdf, edges, left=jnp.nan, right=jnp.nan)

        flat = jax.vmap(one)(at_edges.reshape(-1, at_edges.shape[-1]))
        return jnp.where(self.nan > 0, jnp.nan, flat.reshape(at_edges.shape[:-1]))


class _Reached(NamedTuple):
    """How many draws are at or above -∞ and each edge; for the last edge, above it."""

    counts: jax.Array  # int32


@pytree_dataclass
class HistogramReducer(EachLeaf):
    """See `histogram`."""

    edges: jax.Array
    of: StateFunction = static_field()

    _accumulator: ClassVar[type] = _Reached

    def start(self, x: jax.Array) -> _Reached:
        return _Reached(jnp.zeros((*x.shape, self.edges.shape[0] + 1), jnp.int32))

    def add(self, accumulator: _Reached, x: jax.Array, n: jax.Array) -> _Reached:
        shape = accumulator.counts.shape
        value = lax.broadcast_in_dim(x, shape, tuple(range(x.ndim)))
        edges = jnp.concatenate([jnp.full(1, -jnp.inf, x.dtype), self.edges.astype(x.dtype)])
        edges = lax.broadcast_in_dim(edges, shape, (x.ndim,))
        last = lax.broadcasted_iota(jnp.int32, shape, x.ndim) == shape[-1] - 1
        reached = jnp.where(last, value > edges, value >= edges)
        return _Reached(accumulator.counts + reached.astype(jnp.int32))

    def result(self, accumulator: _Reached, n: jax.Array) -> Histogram:
        return self._of_fractions(accumulator.counts.astype(float) / n.astype(float))

    def _of_fractions(self, reached: jax.Array) -> Histogram:
        reached = jnp.where(jnp.all(jnp.isfinite(self.edges)), reached, jnp.nan)
        between = reached[..., :-1] - reached[..., 1:]
        return Histogram(
            self.edges, between[..., 1:], between[..., 0], reached[..., -1], 1 - reached[..., 0]
        )

    def gather_leaf(self, accumulator: _Reached, keep: jax.Array, n: jax.Array) -> OverChains:
        return OverChains.of(keep, accumulator.counts.astype(float) / n.astype(float))

    def conclude_leaf(self, gathered: OverChains, n: jax.Array) -> Histogram:
        return self._of_fractions(gathered.means[0])

    def check_result(self, value: PyTree) -> None:
        for found in jax.tree.leaves(value, is_leaf=lambda node: isinstance(node, Histogram)):
            edges, own = np.asarray(found.edges), np.asarray(self.edges)
            if edges.shape[-1:] != own.shape or (edges != own).any():
                raise ValueError("one is a histogram with other edges")


def histogram(edges: Numbers, of: StateFunction = position) -> HistogramReducer:
    """The fraction of draws in each bin for every element of `of(state)`; quantiles follow from it.

    Args:
        edges: increasing, shape (bins + 1,). As in `numpy.histogram`, a bin includes its left edge
            and the last one its right edge too.
        of: a function of one chain's kernel state; the position by default. Values that are NaN
            are counted separately, see `Histogram`.

    Raises:
        TypeError: `of` is not a function, or the edges are not an array.
        ValueError: the edges are not finite and increasing.

    Example:
        >>> import jax, jax.numpy as jnp, jlangevin as jl
        >>> count = jl.reducers.histogram(jnp.linspace(-5.0, 5.0, 101))
        >>> energy = jl.energies.quadratic(jnp.eye(1))
        >>> run = jl.sample(jax.random.key(0), energy, jl.ula(0.1), energy, num_steps=1000,
        ...                 num_chains=100, observe=None, reducers=jl.reducers.pooled(count))
        >>> abs(float(run.summary.value.quantile(0.5)[0])) < 0.05
        True
    """
    check_of(of)
    edges = as_array("edges", edges, ndim=1)
    edges = check_increasing("edges", edges, "at least two", minimum=2)
    return HistogramReducer(edges, of)
