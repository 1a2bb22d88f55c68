"""What all losses share: batches and their checks, energies of many points, what a loss reports."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import ArrayLike

from jlangevin._core import trees
from jlangevin._core.checks import check_no_run, check_tree
from jlangevin._core.trees import Parted, PyTree
from jlangevin.energies.base import Energy, check_callable, check_energy_on

__all__ = [
    "Aux",
    "as_batch",
    "as_rows",
    "check_model_like",
    "check_rows",
    "count",
    "held",
    "normals_like",
    "squares",
    "values",
]


class Aux(NamedTuple):
    """What a loss reports beside its value; nothing in it has a gradient.

    Attributes:
        metrics: scalars by name, which `fit` records at every update.
        negatives: the points that the model was held against the data by, (n, …); None where the
            loss needs none.
        buffer: the replay buffer for the next update, None without.
    """

    metrics: dict[str, jax.Array]
    negatives: PyTree = None
    buffer: PyTree = None


def as_batch(energy: Energy, batch: PyTree) -> PyTree:
    """`batch` as floating arrays whose first axis counts items, each a position of the energy."""
    check_callable(energy)
    batch = as_rows("batch", batch)
    _check_fits(energy, batch)
    check_rows("batch", batch)
    return batch


def as_rows(name: str, value: PyTree) -> PyTree:
    """`value` as floating arrays with the same first axis, which counts items."""
    check_no_run(name, value, "run.position, or its draws in one axis")
    check_tree(name, value)
    value = trees.as_position(name, value)
    leaves = trees.named_leaves(name, value)
    if not leaves:
        raise ValueError(f"{name}: expected arrays whose first axis counts items, got {value}")
    for where, leaf in leaves:
        if not jnp.issubdtype(leaf.dtype, jnp.floating):
            hint = (
                "; if these are labels, leave them out: an energy is learned from positions alone"
                if jnp.issubdtype(leaf.dtype, jnp.integer) or leaf.dtype == jnp.bool_
                else ""
            )
            raise TypeError(
                f"{where}: expected floating arrays, got dtype {leaf.dtype}{hint}; numbers that "
                "are data: x.astype(jnp.float32)"
            )
        if leaf.ndim == 0:
            raise ValueError(f"{where}: expected a first axis that counts items, got a scalar")
    counts = {leaf.shape[0] for _, leaf in leaves}
    if len(counts) > 1 or counts == {0}:
        each = ", ".join(f"{where} has {leaf.shape[0]}" for where, leaf in leaves)
        raise ValueError(f"{name}: expected the same number of items, the first axis: {each}")
    return value


def _check_fits(energy: Energy, batch: PyTree) -> None:
    """Raise unless `energy` takes one item of `batch`, and gives a scalar for it."""
    try:
        check_energy_on(energy, batch)
    except Exception as error:
        n = count(batch)
        if _shape_on(energy, batch) == (n,):
            raise ValueError(
                f"energy: it is one of a whole batch, with {n} values for {n} items; expected one "
                "of a single position, to a scalar, which is mapped here. Pass for instance "
                "lambda x: energy(x[None])[0], its parameters as leaves of a "
                "jax.tree_util.Partial"
            ) from error
        error.add_note(
            f"jlangevin: one position is an item of batch, {trees.shown(batch)}, whose first axis "
            "counts items"
        )
        raise


def _shape_on(energy: Energy, batch: PyTree) -> tuple[int, ...] | None:
    """The shape that `energy` gives for the whole batch, or None if it cannot take it."""
    try:
        return jax.eval_shape(energy, trees.struct(batch)).shape
    except Exception:  # the user's code may raise anything
        return None


def check_rows(name: str, value: PyTree) -> None:
    """Raise ValueError with the first row that is not finite. Traced values are not looked at."""
    if not trees.is_concrete(value):
        return
    for where, leaf in trees.named_leaves(name, value):
        host = np.asarray(leaf)
        bad = ~np.isfinite(host).reshape(len(host), -1).all(axis=1)
        if bad.any():
            raise ValueError(
                f"{where}: not finite in {bad.sum()} of {len(host)} rows, the first of them row "
                f"{bad.argmax()}; leave these rows out, x[jnp.isfinite(x).all(axis=1)], or fill in "
                "what is missing"
            )


def count(batch: PyTree) -> int:
    """The number of items."""
    return int(jax.tree.leaves(batch)[0].shape[0])


def held(tree: PyTree) -> PyTree:
    """`tree` as a constant: no gradient flows to its arrays, nor to those of a bound method."""
    parted = Parted.of(tree)
    arrays = [_stopped(leaf) for leaf in parted.arrays]
    return Parted(arrays, parted.structure).whole


def _stopped(leaf: ArrayLike) -> ArrayLike:
    floating = hasattr(leaf, "dtype") and jnp.issubdtype(leaf.dtype, jnp.inexact)
    return lax.stop_gradient(leaf) if floating else leaf


def values(energy: Callable[[PyTree], jax.Array], points: PyTree) -> jax.Array:
    """The energy at each of n points, (n,)."""
    found: jax.Array = jax.vmap(energy)(points)
    return found


def squares(tree: PyTree) -> jax.Array:
    """|x|² of each of n points, over all leaves, (n,)."""
    each = [jnp.sum(leaf.reshape(leaf.shape[0], -1) ** 2, axis=1) for leaf in jax.tree.leaves(tree)]
    return sum(each[1:], each[0])


def normals_like(key: jax.Array, tree: PyTree) -> PyTree:
    """Standard normals of the shapes and dtypes of `tree`."""
    leaves, structure = jax.tree.flatten(tree)
    keys = jax.random.split(key, len(leaves))
    made = [jax.random.normal(k, x.shape, x.dtype) for k, x in zip(keys, leaves, strict=True)]
    return jax.tree.unflatten(structure, made)


def check_model_like(name: str, value: PyTree, batch: PyTree, hint: str) -> None:
    """Raise ValueError unless an item of `value` is like an item of `batch`, dtypes too."""
    trees.assert_like(
        name,
        trees.one_chain(value),
        trees.one_chain(batch),
        f"like an item of the batch; {hint}",
        dtypes=True,
    )
