"""One result for all chains."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jlangevin._core.checks import check_known, check_made
from jlangevin._core.trees import Numbers, PyTree, pytree_dataclass, static_field
from jlangevin.reducers.base import (
    Reducer,
)

__all__ = ["Pooled", "PooledReducer", "can_merge", "pooled"]


class Pooled(NamedTuple):
    """The result of a pooled reducer."""

    value: PyTree
    num_chains: jax.Array  # chains that it is computed from
    num_left_out: jax.Array  # chains that were left out because they diverged
    num_draws: jax.Array  # draws of each chain
    gathered: PyTree  # what `merge` needs, None if the reducer cannot be merged

    # With groups, each has a leading axis of groups.

    def __repr__(self) -> str:
        shown = zip(self._fields[:3], self[:3], strict=True)
        return f"Pooled({', '.join(f'{name}={value!r}' for name, value in shown)})"


@pytree_dataclass
class PooledReducer:
    """See `pooled`."""

    reducer: Any  # a reducer with `pool`
    by: jax.Array | None = None  # int32 (chain,), the group of each chain
    num_groups: int = static_field(default=1)

    def init(self, state: PyTree) -> PyTree:
        return self.reducer.init(state)

    def update(self, accumulator: PyTree, state: PyTree, n: jax.Array) -> PyTree:
        return self.reducer.update(accumulator, state, n)

    def finish(self, accumulator: PyTree, n: jax.Array) -> PyTree:
        return self.reducer.finish(accumulator, n)

    def pool(self, accumulator: PyTree, keep: jax.Array, n: jax.Array) -> Pooled:
        def of(members: jax.Array) -> Pooled:
            kept, left_out = members & keep, members & ~keep
            if can_merge(self.reducer):
                gathered = self.reducer.gather(accumulator, kept, n)
                value = self.reducer.conclude(gathered, n)
            else:
                gathered, value = None, self.reducer.pool(accumulator, kept, n)
            num_kept, num_left_out = (jnp.sum(x.astype(jnp.int32)) for x in (kept, left_out))
            return Pooled(value, num_kept, num_left_out, n, gathered)

        if self.by is None:
            return of(jnp.ones_like(keep))
        groups: Pooled = jax.lax.map(
            lambda group: of(self.by == group), jnp.arange(self.num_groups, dtype=self.by.dtype)
        )
        return groups

    def merge(self, one: Pooled, other: Pooled) -> Pooled:
        """That of the chains of both, in float64 and without its value."""

        def total(a: jax.Array, b: jax.Array) -> Any:  # an array on the host
            return np.asarray(a, np.int64) + np.asarray(b, np.int64)

        return Pooled(
            None,
            total(one.num_chains, other.num_chains),
            total(one.num_left_out, other.num_left_out),
            one.num_draws,
            self.reducer.merge(one.gathered, other.gathered),
        )

    def conclude(self, merged: Pooled, like: Pooled) -> Pooled:
        """A merged result with its value, of the dtypes of another."""
        gathered = jax.tree.map(
            lambda x, y: jnp.asarray(x, y.dtype), merged.gathered, like.gathered
        )
        function = self.reducer.conclude if self.by is None else jax.vmap(self.reducer.conclude)
        return merged._replace(value=function(gathered, merged.num_draws), gathered=gathered)


def can_merge(reducer: object) -> bool:
    """Whether a pooled result can be merged with that of other chains."""
    return all(hasattr(reducer, name) for name in ("gather", "merge", "conclude"))


def pooled(reducer: Reducer, by: Numbers | None = None) -> PooledReducer:
    """One result for all chains that did not diverge, or for each group of them.

    Chains keep their own accumulators while they run, and are combined once, at the end: with
    chains on many devices, nothing is sent between them before. The reducer needs a fourth
    function, `pool(accumulators, keep, n)`, for accumulators with a leading chain axis and a mask
    of the chains that count; all reducers of this module have one.

    Args:
        reducer: any reducer of this module, or another with `pool`.
        by: integers (chain,), the group of each chain of the run, from 0 on; one group if None.
            Results then have a leading axis of groups. All accumulators are read once for each
            group.

    Raises:
        TypeError: the reducer cannot be pooled, or `by` is not an array of integers.
        ValueError: `by` has another shape, or a negative number; in `sample`, another number of
            chains.

    Example:
        >>> import jax, jax.numpy as jnp, jlangevin as jl
        >>> widest = jl.reducers.pooled(jl.reducers.extrema())
        >>> run = jl.sample(jax.random.key(0), jl.energies.double_well(), jl.ula(0.01),
        ...                 jnp.ones((5, 1)), num_steps=100, observe=None, reducers=widest)
        >>> run.summary.value.maximum.shape, int(run.summary.num_chains)
        ((1,), 5)
        >>> means = jl.reducers.pooled(jl.reducers.moments(), by=[0, 0, 1, 1, 1])
        >>> run = jl.sample(jax.random.key(0), jl.energies.double_well(), jl.ula(0.01),
        ...                 jnp.ones((5, 1)), num_steps=100, observe=None, reducers=means)
        >>> run.summary.value.mean.shape, run.summary.num_chains.tolist()
        ((2, 1), [2, 3])
    """
    check_made("reducer", reducer)
    if not isinstance(reducer, Reducer) or not hasattr(reducer, "pool"):
        raise TypeError(
            f"reducer: {type(reducer).__name__} cannot be pooled; it needs "
            "pool(accumulators, keep, n) beside init, update and finish"
        )
    if by is None:
        return PooledReducer(reducer)
    check_known("the number of groups is a shape", by=by)
    groups = np.asarray(by)
    if not np.issubdtype(groups.dtype, np.integer):
        raise TypeError(f"by: expected integers, the group of each chain, got {groups.dtype}")
    if groups.ndim != 1 or groups.size == 0:
        raise ValueError(f"by: expected shape (chain,), got {groups.shape}")
    if groups.min() < 0 or groups.max() > np.iinfo(np.int32).max:
        raise ValueError(
            f"by: expected groups 0, 1, …, got {groups.min()} to {groups.max()}; numpy.unique(…, "
            "return_inverse=True) numbers them"
        )
    return PooledReducer(reducer, jnp.asarray(groups, jnp.int32), int(groups.max()) + 1)
