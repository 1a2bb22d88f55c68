"""The summary of many chains from the summaries of some of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import reduce
from typing import Any

import jax
import numpy as np

from jlangevin.reducers.pooled import Pooled, PooledReducer, can_merge
from jlangevin.reducers.pytree import check_reducers, is_reducer, map_reducers

__all__ = ["check_can_merge", "merge", "merged"]


def merge(reducers: Any, summaries: Iterable[Any]) -> Any:
    """The summary of several runs, as if their chains had run together.

    Pooled results are merged: those of moments, say, by the formula of Chan, Golub and LeVeque
    (1979), in float64 and on the host. Results for each chain stand one after the other. The runs
    may be of other chains, keys, machines or days, but must have the same number of draws.

    Args:
        reducers: those of the runs, all the same.
        summaries: `run.summary` of each.

    Returns:
        A summary, like that of one run.

    Raises:
        TypeError: a pooled reducer cannot be merged: it needs the functions
            gather(accumulators, keep, n), merge(gathered, more) and conclude(gathered, n).
        ValueError: no summaries, those of other reducers, or of other numbers of draws.

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
    return map_reducers(lambda reducer, *results: merged(reducer, results), reducers, *found)


def check_can_merge(reducers: Any) -> None:
    """Raise TypeError if results of a reducer cannot be merged."""
    for reducer in jax.tree.leaves(reducers, is_leaf=is_reducer):
        if isinstance(reducer, PooledReducer) and not can_merge(reducer.reducer):
            raise TypeError(
                f"reducers: pooled results of {type(reducer.reducer).__name__} cannot be merged; "
                "beside init, update and finish it needs gather(accumulators, keep, n), "
                "merge(gathered, more) and conclude(gathered, n), from which pool follows"
            )


def merged(reducer: Any, results: Sequence[Any]) -> Any:
    """One reducer's result for all chains, from its results for some of them."""
    if not isinstance(reducer, PooledReducer):
        return jax.tree.map(lambda *parts: np.concatenate(parts), *results)
    if not all(isinstance(result, Pooled) for result in results):
        raise ValueError("summaries: expected those of these reducers, which are pooled")
    draws = np.unique([result.num_draws for result in results])
    if len(draws) > 1:
        raise ValueError(
            "summaries: chains are merged if they have the same number of draws, got "
            f"{', '.join(map(str, draws))}"
        )
    return reducer.conclude(reduce(reducer.merge, results), results[0])
