"""What is left of a chunk of chains, and the result of all chunks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jlangevin._core import trees
from jlangevin._core.trees import PyTree
from jlangevin.reducers.merge import merged
from jlangevin.reducers.pooled import PooledReducer
from jlangevin.reducers.pytree import map_reducers
from jlangevin.sampling.run import Run

__all__ = ["Chunked", "Left", "left_by", "put_together"]


class Chunked(NamedTuple):
    """What `sample_in_chunks` returns, on the host."""

    kept: Any  # what `keep` returned, of all chains
    summary: Any  # the reducers' results, of all chains
    num_chains: int  # that were run
    num_divergent: int
    acceptance_rate: float | None  # the mean over chains, None if the kernel does not reject
    interrupted: bool  # whether Ctrl-C ended it before its last chunk


class _Shared(NamedTuple):
    """A number that is the same in every chunk; (chunk,)."""

    value: Any


class Left(NamedTuple):
    """What is left of one chunk or several, on the host.

    Leaves are (chain, …) where they belong to chains, and (chunk, …) where they belong to chunks.
    """

    kept: Any
    summary: Any
    num_chains: Any
    num_divergent: Any
    acceptance_rate: Any

    def shown(self) -> dict[str, Any]:
        """What stands beside the progress bar."""
        shown: dict[str, Any] = {"divergent": int(self.num_divergent[-1])}
        if self.acceptance_rate is not None:
            shown["acceptance"] = f"{float(self.acceptance_rate[-1]):.2f}"
        return shown


def left_by(run: Run, reducers: Any, keep: Callable[[Run], PyTree] | None) -> Left:
    """What is left of a chunk, whose `run` may be traced."""
    count = run.state.streams.high.shape[0]

    def rows(path: Any, leaf: Any) -> Any:
        shape = np.shape(leaf)
        if shape == ():
            return _Shared(jnp.asarray(leaf)[None])
        if shape[0] != count:
            raise ValueError(
                f"keep: expected arrays with a leading axis of the {count} chains of a chunk, or "
                f"numbers, got {trees.shown(leaf)}{jax.tree_util.keystr(path)}"
            )
        return leaf

    def one(reducer: Any, result: Any) -> Any:
        if not isinstance(reducer, PooledReducer):
            return result
        return jax.tree.map(lambda x: x[None], result._replace(value=None))

    left = Left(
        None if keep is None else jax.tree_util.tree_map_with_path(rows, keep(run)),
        map_reducers(one, reducers, run.summary),
        jnp.full(1, count, jnp.int32),
        jnp.sum(run.info.num_divergent)[None],
        None if run.info.acceptance_rate is None else jnp.mean(run.info.acceptance_rate)[None],
    )
    return left if not trees.is_concrete(left) else jax.tree.map(_on_host, left)


def _on_host(leaf: Any) -> Any:
    if isinstance(leaf, jax.Array) and not leaf.is_fully_addressable:
        raise ValueError(
            "sharding: chunks come to the host of one process; let each process run chains of its "
            "own (chains=…) on its own devices, and merge their summaries (reducers.merge)"
        )
    return leaf if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key) else np.asarray(leaf)


def put_together(left: list[Left], reducers: Any, interrupted: bool) -> Chunked:
    def whole(*parts: Any) -> Any:
        if not isinstance(parts[0], _Shared):
            return np.concatenate(parts)
        values = np.concatenate([part.value for part in parts])
        if not np.array_equal(values, np.broadcast_to(values[0], values.shape), equal_nan=True):
            raise ValueError(
                f"keep: a number has to be the same in every chunk, got {values[:5]}; what differs "
                "needs a leading chain axis"
            )
        return values[0]

    def summary(reducer: Any, *parts: Any) -> Any:
        if not isinstance(reducer, PooledReducer):
            return merged(reducer, parts)
        stacked = jax.tree.map(lambda *leaves: np.concatenate(leaves), *parts)
        return merged(reducer, [_row(stacked, i) for i in range(len(stacked.num_chains))])

    kept, summaries, *counts, acceptance = zip(*left, strict=True)
    sizes, divergent = (np.concatenate(parts) for parts in counts)
    rate = None
    if acceptance[0] is not None:
        rate = float(np.average(np.concatenate(acceptance), weights=sizes))
    return Chunked(
        jax.tree.map(whole, *kept, is_leaf=lambda node: isinstance(node, _Shared)),
        map_reducers(summary, reducers, *summaries),
        int(np.sum(sizes, dtype=np.int64)),
        int(np.sum(divergent, dtype=np.int64)),
        rate,
        interrupted,
    )


def _row(stacked: Any, number: int) -> Any:
    return jax.tree.map(lambda leaf: leaf[number], stacked)
