"""Pytrees of reducers, as they are passed to the driver."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import TypeGuard

import jax
import jax.numpy as jnp
import numpy as np

from jlangevin._core import trees
from jlangevin._core.checks import (
    check_made,
    check_tree,
)
from jlangevin._core.trees import PyTree
from jlangevin._core.user_code import shapes_of
from jlangevin.reducers.base import (
    Reducer,
)
from jlangevin.reducers.pooled import PooledReducer
from jlangevin.reducers.split_rhat import SplitRhat

__all__ = [
    "check_functions",
    "check_groups",
    "check_num_draws",
    "check_reducers",
    "finish_reducers",
    "groups_of",
    "is_reducer",
    "map_reducers",
]


def is_reducer(node: object) -> TypeGuard[Reducer]:
    return node is not None and isinstance(node, Reducer)  # a protocol, which is slow to ask


def check_reducers(reducers: PyTree) -> None:
    """Raise TypeError unless `reducers` is a pytree of reducers, which may be empty."""

    def is_end(node: object) -> bool:
        """Whether a node is a reducer or should be one; to JAX it may be a tree without leaves."""
        if node is None or type(node) in (tuple, list, dict):
            return False
        return is_reducer(node) or not any(
            is_reducer(leaf) for leaf in jax.tree.leaves(node, is_leaf=is_reducer)
        )

    check_tree("reducers", reducers)
    for leaf in jax.tree.leaves(reducers, is_leaf=is_end):
        check_made("reducers", leaf)
        if not is_reducer(leaf):
            lacking = [name for name in ("init", "update", "finish") if not hasattr(leaf, name)]
            raise TypeError(
                f"reducers: expected a reducer or a pytree of them, got {type(leaf).__name__} "
                f"(it lacks {', '.join(lacking)}); pass for instance jlangevin.reducers.moments()"
            )


def map_reducers(
    function: Callable[..., PyTree], reducers: PyTree, *accumulators: PyTree
) -> PyTree:
    """`function(reducer, accumulator)` for every reducer of a pytree of them."""
    return jax.tree.map(function, reducers, *accumulators, is_leaf=is_reducer)


def check_num_draws(reducers: PyTree, num_draws: int) -> None:
    """Raise ValueError if a reducer was made for fewer draws than there will be."""
    for reducer in jax.tree.leaves(reducers, is_leaf=is_reducer):
        inner = reducer.reducer if isinstance(reducer, PooledReducer) else reducer
        if isinstance(inner, SplitRhat) and inner.num_draws < num_draws:
            raise ValueError(
                f"reducers: split_rhat({inner.num_draws}) expects {inner.num_draws} draws, but "
                f"there will be {num_draws}, num_steps / thin; pass split_rhat({num_draws})"
            )


def check_groups(reducers: PyTree, num_chains: int) -> None:
    """Raise ValueError if a reducer has groups for another number of chains."""
    for reducer in jax.tree.leaves(reducers, is_leaf=is_reducer):
        by = reducer.by if isinstance(reducer, PooledReducer) else None
        if by is not None and by.shape[0] != num_chains:
            raise ValueError(
                f"reducers: pooled(by=…) has the groups of {by.shape[0]} chains, but the run has "
                f"{num_chains}"
            )


def groups_of(reducers: PyTree, part: slice) -> PyTree:
    """`reducers` for some of the chains, with the groups of these."""

    def one(reducer: Reducer) -> Reducer:
        if not isinstance(reducer, PooledReducer) or reducer.by is None:
            return reducer
        groups = jnp.asarray(np.asarray(reducer.by)[part])
        return dataclasses.replace(reducer, by=groups)

    return map_reducers(one, reducers)


def check_functions(reducers: PyTree, state: PyTree) -> None:
    """Run the functions of `reducers` on the shapes of one chain's kernel state.

    Raises:
        TypeError, ValueError: one of them does not return an accumulator or a result. Their own
            errors get a note that says which function raised them, and what it was given.
    """
    n, one = jax.ShapeDtypeStruct((), jnp.int32), "one chain's kernel state"
    for reducer in jax.tree.leaves(reducers, is_leaf=is_reducer):
        name = f"reducers: {type(reducer).__name__}'s"
        inner = reducer.reducer if isinstance(reducer, PooledReducer) else reducer
        if hasattr(inner, "of"):
            shapes_of(f"{name} of", one, inner.of, state)
        begun = shapes_of(f"{name} init", one, reducer.init, state)
        updated = shapes_of(
            f"{name} update", "accumulator, state and n", reducer.update, begun, state, n
        )
        trees.assert_like(
            f"{name} update", updated, begun, "like the accumulator from init", dtypes=True
        )
        if isinstance(reducer, PooledReducer):
            many = jax.tree.map(lambda x: jax.ShapeDtypeStruct((1, *x.shape), x.dtype), begun)
            keep = jax.ShapeDtypeStruct((1,), bool)
            shapes_of(f"{name} pool", "accumulators, keep and n", inner.pool, many, keep, n)
        else:
            shapes_of(f"{name} finish", "accumulator and n", reducer.finish, begun, n)


def finish_reducers(
    reducers: PyTree, accumulators: PyTree, keep: jax.Array, n: jax.Array
) -> PyTree:
    """The results, from accumulators with a leading chain axis."""

    def one(reducer: Reducer, accumulator: PyTree) -> PyTree:
        if isinstance(reducer, PooledReducer):
            return reducer.pool(accumulator, keep, n)
        return jax.vmap(reducer.finish, in_axes=(0, None))(accumulator, n)

    return map_reducers(one, reducers, accumulators)
