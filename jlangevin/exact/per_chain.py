"""Answers for chains that differ: one for each, with a leading chain axis."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from jlangevin._core import trees
from jlangevin._core.each import check_rows, filled, has_each, split
from jlangevin._core.trees import PyTree

__all__ = ["per_chain"]

F = TypeVar("F", bound=Callable[..., Any])


def per_chain(function: F) -> F:
    """`function`, whose kernel and energy may hold values that differ from chain to chain (`each`).

    Leaves of the result then have a leading chain axis. If one chain has no answer, the error is
    that of the first such chain; where values are traced, its answer is NaN.
    """
    signature = inspect.signature(function)

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        try:
            given = signature.bind(*args, **kwargs).arguments
        except TypeError:
            return function(*args, **kwargs)  # raises the same under the function's own name
        names = [name for name in ("kernel", "energy") if name in given]
        if not has_each([given[name] for name in names]):
            return function(*args, **kwargs)
        shared, rows = split(*(given[name] for name in names))
        count = len(jax.tree.leaves(rows[0])[0])
        check_rows(count, f"another has {count}", **{name: given[name] for name in names})

        def of_chain(rows: PyTree) -> PyTree:
            whole = {name: filled(tree, rows) for name, tree in zip(names, shared, strict=True)}
            return function(**(given | whole))

        found = jax.vmap(of_chain)(rows)
        if trees.is_concrete(found):
            for number in np.nonzero(_undefined(found))[0]:
                try:
                    of_chain(jax.tree.map(lambda leaf, i=number: leaf[i], rows))
                except Exception as error:
                    error.add_note(f"jlangevin: for the values of chain {number}")
                    raise
        return found

    return call  # type: ignore[return-value]


def _undefined(found: PyTree) -> NDArray[np.bool]:
    """Which chains have a number that is not finite."""
    bad = [
        np.asarray(~jnp.isfinite(leaf)).reshape(len(leaf), -1).any(axis=1)
        for leaf in jax.tree.leaves(found)
    ]
    return np.any(bad, axis=0)
