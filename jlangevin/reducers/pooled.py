"""One result for all chains."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jlangevin._core.checks import (
    check_made,
)
from jlangevin._core.trees import pytree_dataclass
from jlangevin.reducers.base import (
    Reducer,
)

__all__ = ["Pooled", "PooledReducer", "pooled"]


class Pooled(NamedTuple):
    """The result of a pooled reducer."""

    value: Any
    num_chains: jax.Array  # chains that it is computed from
    num_left_out: jax.Array  # chains that were left out as they diverged


@pytree_dataclass
class PooledReducer:
    """See `pooled`."""

    reducer: Any

    def init(self, state: Any) -> Any:
        return self.reducer.init(state)

    def update(self, accumulator: Any, state: Any, n: jax.Array) -> Any:
        return self.reducer.update(accumulator, state, n)

    def finish(self, accumulator: Any, n: jax.Array) -> Any:
        return self.reducer.finish(accumulator, n)

    def pool(self, accumulator: Any, keep: jax.Array, n: jax.Array) -> Pooled:
        value = self.reducer.pool(accumulator, keep, n)
        left_out = jnp.sum((~keep).astype(jnp.int32))
        return Pooled(value, keep.shape[0] - left_out, left_out)


def pooled(reducer: Any) -> PooledReducer:
    """One result for all chains that did not diverge, instead of one for each.

    Chains keep their own accumulators while they run, and are combined once, at the end: with
    chains on many devices, nothing is sent between them before. The reducer needs a fourth
    function, `pool(accumulators, keep, n)`, for accumulators with a leading chain axis and a mask
    of the chains that count; all reducers of this module have one.

    Args:
        reducer: any reducer of this module, or another with `pool`.

    Raises:
        TypeError: the reducer cannot be pooled.

    Example:
        >>> import jax, jax.numpy as jnp, jlangevin as jl
        >>> widest = jl.reducers.pooled(jl.reducers.extrema())
        >>> run = jl.sample(jax.random.key(0), jl.energies.double_well(), jl.ula(0.01),
        ...                 jnp.ones((5, 1)), num_steps=100, observe=None, reducers=widest)
        >>> run.summary.value.maximum.shape, int(run.summary.num_chains)
        ((1,), 5)
    """
    check_made("reducer", reducer)
    if not isinstance(reducer, Reducer) or not hasattr(reducer, "pool"):
        raise TypeError(
            f"reducer: {type(reducer).__name__} cannot be pooled; it needs "
            "pool(accumulators, keep, n) beside init, update and finish"
        )
    return PooledReducer(reducer)
