"""Values that differ from chain to chain, inside a tree that all chains share.

`split` takes them out, so that a program can map over them as it maps over positions; `filled` puts
those of one chain back. Between the two each is a `Slot`.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from jlangevin._core import trees
from jlangevin._core.trees import PyTree, pytree_dataclass

__all__ = ["Each", "check_rows", "each", "filled", "has_each", "refuse_each", "rows_of", "split"]


@pytree_dataclass
class Each:
    """See `each`."""

    rows: PyTree  # leaves (chain, …)

    def __jax_array__(self) -> jax.Array:
        raise TypeError(
            "each(…) is used as an array, but only a chain of a run has its value: make it a leaf "
            "of the energy, such as jax.tree_util.Partial(energy, jlangevin.each(values)) of "
            "energy(value, x), or a number of the kernel. What is observed or reduced, and "
            "closures, cannot have one"
        )


@jax.tree_util.register_static
@dataclasses.dataclass(frozen=True)
class Slot:
    """The place of an `Each` in a tree that it was taken out of."""

    number: int


def each(rows: PyTree) -> Each:
    """Mark values that differ from chain to chain: each chain sees its own row of the first axis.

    It may stand anywhere among the leaves of an energy, where a chain then finds its row instead;
    for a whole energy, as in `each(jax.vmap(energies.linear)(thetas))`; for a number among a
    kernel's hyper-parameters; and among the leaves of a schedule. With n chains it has n rows; row
    i belongs to the i-th chain of the run, whatever the number of that chain's stream. Other values
    compile nothing.

    Args:
        rows: an array (chain, …) of any dtype, or a pytree of them.

    Returns:
        A pytree node with these arrays.

    Raises:
        TypeError: a leaf is not an array.
        ValueError: no leaves, a scalar, or leaves with different numbers of rows.

    Example:
        >>> import jax, jax.numpy as jnp, jlangevin as jl
        >>> def conditional(means, label, x):
        ...     return 0.5 * jnp.sum((x - means[label]) ** 2)
        >>> labels = jnp.array([0, 1, 1])
        >>> means = jnp.array([[-9.0], [9.0]])
        >>> energy = jax.tree_util.Partial(conditional, means, jl.each(labels))
        >>> kernel = jl.ula(step_size=jl.each(jnp.array([0.1, 0.1, 0.2])))
        >>> run = jl.sample(jax.random.key(0), energy, kernel, jnp.zeros((3, 1)), num_steps=90,
        ...                 observe=None)
        >>> jnp.sign(run.position).ravel().tolist()
        [-1.0, 1.0, 1.0]
    """
    leaves = trees.named_leaves("each", rows)
    if not leaves:
        raise ValueError("each: no values were given (a pytree without leaves)")
    if has_each(rows):
        raise TypeError("each: it cannot stand inside another each")
    for name, leaf in leaves:
        if not trees.is_array(leaf) and not hasattr(leaf, "dtype"):
            raise TypeError(f"{name}: expected an array (chain, …), got {type(leaf).__name__}")
        if jnp.ndim(leaf) == 0:
            raise ValueError(
                f"{name}: expected a leading chain axis, got a scalar; what all chains share needs "
                "no mark, and a list of numbers has to be an array, jnp.asarray(…)"
            )
    if len({jnp.shape(leaf)[0] for _, leaf in leaves}) > 1:
        counts = ", ".join(f"{name} has {jnp.shape(leaf)[0]}" for name, leaf in leaves)
        raise ValueError(f"each: leaves differ in the number of rows, their first axis: {counts}")
    return Each(jax.tree.map(lambda leaf: jnp.asarray(trees.own("each", leaf)), rows))


def _is_each(node: object) -> bool:
    return isinstance(node, Each)


def has_each(tree: PyTree) -> bool:
    """Whether an `Each` is among the nodes of a tree."""
    return any(map(_is_each, jax.tree.leaves(tree, is_leaf=_is_each)))


def split(*whole: PyTree) -> tuple[tuple[PyTree, ...], list[PyTree]]:
    """Trees with a `Slot` in place of each `Each`, and the rows that were taken out."""
    if not has_each(trees.methods_as_partials(whole)):
        return whole, []
    rows: list[PyTree] = []

    def take(node: PyTree) -> PyTree:
        if not _is_each(node):
            return node
        rows.append(node.rows)
        return Slot(len(rows) - 1)

    apart = [
        jax.tree.map(take, trees.methods_as_partials(tree), is_leaf=_is_each) for tree in whole
    ]
    return tuple(apart), rows


def rows_of(tree: PyTree, part: slice) -> PyTree:
    """`tree` for some of the chains, with their rows of each `Each`."""

    def rows(leaf: jax.Array | NDArray[Any]) -> jax.Array:
        """By NumPy, as JAX would compile a program for each part."""
        if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            data = jnp.asarray(np.asarray(jax.random.key_data(leaf))[part])
            return jax.random.wrap_key_data(data, impl=jax.random.key_impl(leaf))
        return jnp.asarray(np.asarray(leaf)[part])

    def cut(node: PyTree) -> PyTree:
        return Each(jax.tree.map(rows, node.rows)) if _is_each(node) else node

    if not has_each(tree):
        return tree
    return jax.tree.map(cut, trees.methods_as_partials(tree), is_leaf=_is_each)


def filled(tree: PyTree, rows: list[PyTree]) -> PyTree:
    """`tree` with values, `rows` of one chain, in place of the slots."""
    if not rows:
        return tree

    def put(node: PyTree) -> PyTree:
        return rows[node.number] if isinstance(node, Slot) else node

    return jax.tree.map(put, tree, is_leaf=lambda node: isinstance(node, Slot))


def check_rows(count: int, why: str = "", **whole: PyTree) -> None:
    """Raise ValueError unless whatever is marked in the trees has a row for each of the chains.

    `why` says where their number comes from, if it is not that of a run.
    """
    if not has_each(trees.methods_as_partials(whole)):
        return
    for argument, tree in whole.items():
        marked, _ = jax.tree_util.tree_flatten_with_path(
            trees.methods_as_partials(tree), is_leaf=_is_each
        )
        for path, node in marked:
            if _is_each(node):
                found = jax.tree.leaves(node.rows)[0].shape[0]
                if found != count:
                    raise ValueError(
                        f"{argument}{jax.tree_util.keystr(path)}: each has {found} rows, but "
                        f"{why or f'the run has {count} chains'}; pass a row for each chain"
                    )


def refuse_each(why: str, **whole: PyTree) -> None:
    """Raise ValueError if a tree has marked leaves, where they can have no meaning."""
    for argument, tree in whole.items():
        if has_each(tree):
            raise ValueError(
                f"{argument}: it has values that differ from chain to chain (each), but {why}"
            )
