"""What is left of a chunk of chains, and the result of all chunks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, TypeGuard

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import KeyPath
from jax.typing import ArrayLike
from numpy.typing import NDArray

from jlangevin._core import trees
from jlangevin._core.trees import PyTree
from jlangevin._core.user_code import check_returned, note_on_errors
from jlangevin.reducers.base import Reducer
from jlangevin.reducers.merge import merged
from jlangevin.reducers.pooled import PooledReducer
from jlangevin.reducers.pytree import map_reducers
from jlangevin.sampling.run import Run

__all__ = ["Chunked", "Left", "check_alike", "left_by", "put_together"]


class Chunked(NamedTuple):
    """What `sample_in_chunks` returns, on the host."""

    kept: PyTree  # what `keep` returned, of all chains
    summary: PyTree  # the reducers' results, of all chains
    num_chains: int  # that were run
    num_divergent: int
    acceptance_rate: float | None  # the mean over chains, None if the kernel does not reject
    interrupted: bool  # whether Ctrl-C ended it before its last chunk


class _Shared(NamedTuple):
    """A number that is the same in every chunk; (chunk,)."""

    value: jax.Array


class Left(NamedTuple):
    """What is left of one chunk or several, on the host.

    Leaves are (chain, …) where they belong to chains, and (chunk, …) where they belong to chunks.
    """

    kept: PyTree
    summary: PyTree
    num_chains: jax.Array
    num_divergent: jax.Array
    acceptance_rate: jax.Array | None

    def shown(self) -> dict[str, object]:
        """What stands beside the progress bar."""
        shown: dict[str, object] = {"divergent": int(self.num_divergent[-1])}
        if self.acceptance_rate is not None:
            shown["acceptance"] = f"{float(self.acceptance_rate[-1]):.2f}"
        return shown


def left_by(run: Run, reducers: PyTree, keep: Callable[[Run], PyTree] | None) -> Left:
    """What is left of a chunk, whose `run` may be traced."""
    count = run.state.streams.high.shape[0]

    def rows(path: KeyPath[Any], leaf: ArrayLike) -> ArrayLike | _Shared:
        if isinstance(leaf, jax.Array) and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            raise TypeError(
                "keep: NumPy has no keys, and what is kept is on the host; return "
                f"jax.random.key_data(key), got {trees.shown(leaf)}{jax.tree_util.keystr(path)}"
            )
        shape = np.shape(leaf)
        if shape == ():
            return _Shared(jnp.asarray(leaf)[None])
        if shape[0] != count:
            raise ValueError(
                f"keep: expected arrays with a leading axis of the {count} chains of a chunk, or "
                f"numbers, got {trees.shown(leaf)}{jax.tree_util.keystr(path)}"
            )
        return leaf

    def one(reducer: Reducer, result: PyTree) -> PyTree:
        if not isinstance(reducer, PooledReducer):
            return result
        return jax.tree.map(lambda x: x[None], result._replace(value=None))

    kept = None
    if keep is not None:
        with note_on_errors("by keep, given the Run of a chunk"):
            kept = keep(run)
        check_returned("keep", "the Run of a chunk", kept)
    left = Left(
        jax.tree_util.tree_map_with_path(rows, kept),
        map_reducers(one, reducers, run.summary),
        jnp.full(1, count, jnp.int32),
        jnp.sum(run.info.num_divergent)[None],
        None if run.info.acceptance_rate is None else jnp.mean(run.info.acceptance_rate)[None],
    )
    return left if not trees.is_concrete(left) else jax.tree.map(_on_host, left)


def _on_host(leaf: jax.Array) -> NDArray[Any]:
    if isinstance(leaf, jax.Array) and not leaf.is_fully_addressable:
        raise ValueError(
            "sharding: chunks come to the host of one process; let each process run chains of its "
            "own (chains=…) on its own devices, and merge their summaries (reducers.merge)"
        )
    return np.asarray(leaf)


def check_alike(first: Left, left: Left) -> None:
    """Raise ValueError unless what is kept of a chunk can be joined to what is kept of another.

    This is checked after each chunk, as an error after the last one would cost the whole run.
    """
    one, other = (
        jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape[1:], x.dtype), part.kept)
        for part in (first, left)
    )
    if one != other:
        raise ValueError(
            "keep: expected the same structure, dtypes and shapes for every chunk, got "
            f"{_shown(first.kept)} and {_shown(left.kept)}, where the first axis counts chains"
        )
    leaves = (jax.tree.leaves(part.kept, is_leaf=_is_shared) for part in (first, left))
    for a, b in zip(*leaves, strict=True):
        if _is_shared(a):
            x, y = a.value[0], b.value[0]
            if not np.array_equal(x, y, equal_nan=True):
                raise ValueError(
                    f"keep: a number has to be the same in every chunk, got {x} and {y}; what "
                    "differs needs a leading chain axis"
                )


def _is_shared(node: object) -> TypeGuard[_Shared]:
    return isinstance(node, _Shared)


def _shown(kept: PyTree) -> str:
    return trees.shown(
        jax.tree.map(lambda x: x.value[0] if _is_shared(x) else x, kept, is_leaf=_is_shared)
    )


def put_together(left: list[Left], reducers: PyTree, interrupted: bool) -> Chunked:
    def whole(*parts: PyTree) -> PyTree:
        return parts[0].value[0] if _is_shared(parts[0]) else np.concatenate(parts)

    def summary(reducer: Reducer, *parts: PyTree) -> PyTree:
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
        jax.tree.map(whole, *kept, is_leaf=_is_shared),
        map_reducers(summary, reducers, *summaries),
        int(np.sum(sizes, dtype=np.int64)),
        int(np.sum(divergent, dtype=np.int64)),
        rate,
        interrupted,
    )


def _row(stacked: PyTree, number: int) -> PyTree:
    return jax.tree.map(lambda leaf: leaf[number], stacked)
