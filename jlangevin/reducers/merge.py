"""The summary of many chains from the summaries of some of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import reduce

import jax
import numpy as np

from jlangevin._core import trees
from jlangevin._core.checks import check_known
from jlangevin._core.trees import PyTree
from jlangevin.reducers.base import Reducer
from jlangevin.reducers.pooled import Pooled, PooledReducer, can_merge
from jlangevin.reducers.pytree import check_reducers, is_reducer, map_reducers

__all__ = ["check_can_merge", "merge", "merged"]

_Shape = jax.ShapeDtypeStruct


def merge(reducers: PyTree, summaries: Iterable[PyTree]) -> PyTree:
    """The summary of several runs, as if their chains had run together.

    Pooled results are merged: those of moments, say, by the formula of Chan, Golub and LeVeque
    (1979), in float64 and on the host. Results of single chains are concatenated. The runs
    may be of other chains, keys, machines or days, but must have the same number of draws.

    A reducer of your own may have a method `check_result(value)`. It is called with every result
    before they are merged, and raises ValueError if a result cannot be its own, as `histogram` does
    if the edges of its bins are others.

    Args:
        reducers: those of the runs, all the same.
        summaries: `run.summary` of each.

    Returns:
        A summary, like that of one run.

    Raises:
        TypeError: a pooled reducer cannot be merged: it needs the functions
            gather(accumulators, keep, n), merge(gathered, more) and conclude(gathered, n).
        ValueError: there are no summaries, or they are those of other reducers or of other numbers
            of draws.

    Example:
        >>> import jax, jax.numpy as jnp, jlangevin as jl
        >>> energy = jl.energies.quadratic(jnp.eye(2))
        >>> means = jl.reducers.pooled(jl.reducers.moments())
        >>> summaries = [
        ...     jl.sample(key, energy, jl.ula(0.1), energy, num_steps=100, num_chains=10,
        ...               observe=None, reducers=means).summary
        ...     for key in jax.random.split(jax.random.key(0), 3)]
        >>> together = jl.reducers.merge(means, summaries)
        >>> int(together.num_chains), together.value.mean.shape
        (30, (2,))
    """
    check_reducers(reducers)
    check_can_merge(reducers)
    found = list(summaries)
    if not found:
        raise ValueError("summaries: none were given; pass run.summary of each run")
    check_known("results are merged on the host", reducers=reducers, summaries=found)
    for summary in found:
        try:
            map_reducers(lambda *_: None, reducers, summary)
        except (TypeError, ValueError) as error:
            raise _foreign(str(error)) from None
    map_reducers(lambda reducer, *results: _check_results(reducer, results), reducers, *found)
    return map_reducers(lambda reducer, *results: merged(reducer, results), reducers, *found)


def _foreign(why: str) -> ValueError:
    return ValueError(
        f"summaries: expected run.summary of runs with these reducers, all on the same positions; "
        f"{why}"
    )


def _check_results(reducer: Reducer, results: Sequence[PyTree]) -> None:
    """Raise ValueError unless results are visibly of this reducer, and fit together."""
    name = type(reducer).__name__
    if not isinstance(reducer, PooledReducer):
        if any(isinstance(result, Pooled) for result in results):
            raise _foreign("one is pooled, and the reducer is not")
        parts = [jax.tree.map(lambda x: _Shape(x.shape[1:], x.dtype), r) for r in results]
    else:
        if not all(isinstance(result, Pooled) for result in results):
            raise _foreign("the reducer is pooled, and one of them is not")
        name = type(reducer.reducer).__name__
        parts = [
            jax.tree.map(lambda x: _Shape(x.shape, x.dtype), (r.value, r.gathered)) for r in results
        ]
    for part in parts[1:]:
        if part != parts[0]:
            raise _foreign(
                f"results of {name} differ: {trees.shown(results[0])} and "
                f"{trees.shown(results[parts.index(part)])}"
            )
    if isinstance(reducer, PooledReducer):
        _check_is_of(reducer, name, results)
    _ask_reducer(reducer, results)


def _ask_reducer(reducer: Reducer, results: Sequence[PyTree]) -> None:
    """Raise ValueError if the reducer itself says that one of the results is not its own."""
    inner = reducer.reducer if isinstance(reducer, PooledReducer) else reducer
    check = getattr(inner, "check_result", None)
    if check is None:
        return
    for result in results:
        try:
            check(result.value if isinstance(result, Pooled) else result)
        except ValueError as error:
            raise _foreign(str(error)) from error


def _check_is_of(reducer: PooledReducer, name: str, results: Sequence[Pooled]) -> None:
    first = results[0]
    try:
        value = jax.eval_shape(lambda: reducer.conclude(first, first).value)
    except Exception as error:
        raise _foreign(f"{name} cannot read one of them: {error}") from error
    if value != jax.tree.map(lambda x: _Shape(x.shape, x.dtype), first.value):
        raise _foreign(
            f"{name} gives {trees.shown(value)}, and one of them is {trees.shown(first.value)}"
        )


def check_can_merge(reducers: PyTree) -> None:
    """Raise TypeError if results of a reducer cannot be merged."""
    for reducer in jax.tree.leaves(reducers, is_leaf=is_reducer):
        if isinstance(reducer, PooledReducer) and not can_merge(reducer.reducer):
            raise TypeError(
                f"reducers: pooled results of {type(reducer.reducer).__name__} cannot be merged; "
                "beside init, update and finish it needs gather(accumulators, keep, n), "
                "merge(gathered, more) and conclude(gathered, n), from which pool follows"
            )


def merged(reducer: Reducer, results: Sequence[PyTree]) -> PyTree:
    """One reducer's result for all chains, from its results for some of them."""
    if not isinstance(reducer, PooledReducer):
        return jax.tree.map(lambda *parts: np.concatenate(parts), *results)
    draws = np.unique([result.num_draws for result in results])
    if len(draws) > 1:
        raise ValueError(
            "summaries: chains are merged if they have the same number of draws, got "
            f"{', '.join(map(str, draws))}"
        )
    return reducer.conclude(reduce(reducer.merge, results), results[0])
