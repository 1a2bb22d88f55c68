"""Helpers for pytrees: frozen dataclasses, and the split into traced and static leaves."""

from __future__ import annotations

import dataclasses
import functools
import re
from collections.abc import Callable, Sequence
from types import MethodType
from typing import Any, TypeAlias, TypeVar, dataclass_transform

import chex
import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jax.typing import ArrayLike

from jlangevin._core import contents

__all__ = [
    "MaybeArray",
    "Number",
    "Numbers",
    "Parted",
    "PyTree",
    "Structure",
    "absorb",
    "as_position",
    "assert_like",
    "at_least_float32",
    "chains_first",
    "chains_last",
    "common_dtype",
    "dotted_names",
    "float_dtype",
    "is_array",
    "is_concrete",
    "named_leaves",
    "on_device",
    "one_chain",
    "own",
    "pytree_dataclass",
    "ravel",
    "refuse_change",
    "set_fields",
    "shown",
    "size",
    "static_field",
    "struct",
    "unraveler",
    "without_checks",
    "zeros",
]

PyTree = Any

Numbers: TypeAlias = ArrayLike | Sequence["Numbers"]
"""An array, or numbers in lists, as NumPy takes them."""

Number: TypeAlias = jax.Array | np.floating | float
"""A scalar. A Python number takes the dtype of the arrays that it meets."""

MaybeArray: TypeAlias = jax.Array | Any
"""An array or None. `Any` spares the check where it is known that it is not None."""

T = TypeVar("T")

_STATIC = "static"


def static_field(**kwargs: Any) -> Any:
    """A dataclass field that belongs to the structure, not to the leaves."""
    return dataclasses.field(metadata={_STATIC: True}, **kwargs)


@dataclass_transform(frozen_default=True, field_specifiers=(dataclasses.field, static_field))
def pytree_dataclass(cls: type[T]) -> type[T]:
    """Make `cls` a frozen dataclass whose fields are pytree children.

    NumPy arrays among them are copied. A class may have an `__init__` of its own, which checks its
    arguments and ends in `set_fields`. Unflattening does not call it: JAX rebuilds pytrees around
    tracers and placeholders, which would fail those checks.
    """
    cls = dataclasses.dataclass(frozen=True)(cls)
    fields = dataclasses.fields(cls)  # type: ignore[arg-type]
    children = tuple(f.name for f in fields if not f.metadata.get(_STATIC))
    static = tuple(f.name for f in fields if f.metadata.get(_STATIC))
    construct = cls.__init__

    @functools.wraps(construct)
    def init(self: Any, *args: Any, **kwargs: Any) -> None:
        construct(self, *args, **kwargs)
        for name in children:
            if isinstance(value := getattr(self, name), np.ndarray):
                set_fields(self, **{name: own(name, value)})

    def flatten_with_keys(node: T) -> tuple[Any, Any]:
        keyed = tuple((jax.tree_util.GetAttrKey(n), getattr(node, n)) for n in children)
        return keyed, tuple(getattr(node, n) for n in static)

    def flatten(node: T) -> tuple[Any, Any]:
        return tuple(getattr(node, n) for n in children), tuple(getattr(node, n) for n in static)

    def unflatten(aux: tuple[Any, ...], values: Any) -> T:
        return without_checks(cls, **dict(zip(children + static, (*values, *aux), strict=True)))

    jax.tree_util.register_pytree_with_keys(cls, flatten_with_keys, unflatten, flatten)
    cls.__init__ = init  # type: ignore[method-assign]
    cls.__setattr__ = cls.__delattr__ = refuse_change  # type: ignore[method-assign]
    return cls


def without_checks(cls: type[T], **fields: Any) -> T:
    """An instance of a frozen dataclass, made without its constructor."""
    node = object.__new__(cls)
    set_fields(node, **fields)
    return node


def set_fields(node: Any, **fields: Any) -> None:
    """Give a frozen dataclass its fields while it is made."""
    for name, value in fields.items():
        object.__setattr__(node, name, value)


def refuse_change(self: Any, name: str, *_: Any) -> None:
    """`__setattr__` and `__delattr__` of objects that were checked when they were made."""
    raise dataclasses.FrozenInstanceError(
        f"{name}: a {type(self).__name__} was checked when it was made and cannot be changed; "
        "make another one"
    )


@dataclasses.dataclass(frozen=True, eq=False)
class Structure:
    """What is left of a pytree once its arrays are taken out.

    Two structures are equal if they have the same `key`, a digest of their contents that keeps
    none of them alive. `lives` belong to the objects it depends on: once one ends, no equal
    structure can be made.
    """

    treedef: jax.tree_util.PyTreeDef
    rest: tuple[object, ...]
    key: str
    lives: tuple[contents.Life, ...]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Structure) and self.key == other.key

    def __hash__(self) -> int:
        return hash(self.key)


ARRAY = object()  # the placeholder of an array in `Structure.rest`


def is_array(leaf: object) -> bool:
    """Whether a leaf is a number or an array. A boolean is a switch, not a number."""
    numbers = (jax.Array, np.ndarray, np.generic, int, float, complex)
    return isinstance(leaf, numbers) and not isinstance(leaf, bool)


def own(name: str, value: PyTree) -> PyTree:
    """`value`; if it is a NumPy array or like one, a copy that nobody else can change.

    JAX may share the memory of a NumPy array, and assumes that an array it has seen is unchanged.
    """
    if type(value) in (list, tuple):
        return type(value)(own(name, each) for each in value)
    if isinstance(value, np.ma.MaskedArray):
        raise TypeError(
            f"{name}: got a masked array, but JAX has no masks; pass the unmasked values, "
            "x.compressed(), or all of them, x.filled(…)"
        )
    if isinstance(value, jax.Array) or not hasattr(value, "__array__"):
        return value
    return value if isinstance(value, np.generic) else np.array(value)


@jax.tree_util.register_pytree_node_class
@dataclasses.dataclass(frozen=True)
class Parted:
    """A pytree in two parts: its arrays, which are traced, and the rest, which is static.

    An Equinox module, a `jax.tree_util.Partial`, an energy of ours or a method of one has its
    parameters among the arrays, so a changed parameter never recompiles. A bare function is a leaf
    that is not an array, so it belongs to the structure. Whatever else a function or an object
    holds is in the key of the structure, so a change of it does recompile.
    """

    arrays: list[PyTree]
    structure: Structure

    @classmethod
    def of(cls, tree: PyTree) -> Parted:
        if tree is None:
            return cls([], _NOTHING)
        leaves, treedef = jax.tree.flatten(methods_as_partials(tree))
        arrays = [own("parameters", leaf) for leaf in leaves if is_array(leaf)]
        rest = tuple(ARRAY if is_array(leaf) else leaf for leaf in leaves)
        return cls(
            arrays, Structure(treedef, rest, *contents.describe_here(treedef, _static_leaves(rest)))
        )

    @property
    def whole(self) -> PyTree:
        """The pytree, put together from the structure and the present arrays."""
        remaining = iter(self.arrays)
        rest = self.structure.rest
        leaves = [next(remaining) if leaf is ARRAY else leaf for leaf in rest]
        return jax.tree.unflatten(self.structure.treedef, leaves)

    def tree_flatten(self) -> tuple[list[Any], Structure]:
        return self.arrays, self.structure

    @classmethod
    def tree_unflatten(cls, structure: Structure, arrays: Any) -> Parted:
        return cls(list(arrays), structure)


_NOTHING = Structure(
    jax.tree.structure(None), (), *contents.describe_here(jax.tree.structure(None), ())
)


def absorb(structure: Structure) -> None:
    """Accept changes in `structure` since it was made as side effects of its use."""
    contents.describe_here(structure.treedef, _static_leaves(structure.rest), absorbing=True)


def _static_leaves(rest: tuple[object, ...]) -> list[object]:
    return [None if leaf is ARRAY else leaf for leaf in rest]


def methods_as_partials(tree: PyTree) -> PyTree:
    """`tree` with methods of pytrees as `Partial`s, so that the pytrees' arrays are leaves."""

    def one(leaf: PyTree) -> PyTree:
        if isinstance(leaf, MethodType) and contents.is_node(leaf.__self__):
            return jax.tree_util.Partial(leaf.__func__, leaf.__self__)
        return leaf

    leaves, treedef = jax.tree.flatten(tree)
    if not any(isinstance(leaf, MethodType) for leaf in leaves):
        return tree
    return jax.tree.unflatten(treedef, map(one, leaves))


def is_concrete(*trees: PyTree) -> bool:
    """Whether every leaf has a value that can be checked in Python, as none is traced."""
    return not any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(trees))


def float_dtype(tree: PyTree) -> np.dtype:
    """The floating dtype of the leaves of `tree`, the widest if they differ."""
    return jnp.result_type(*(leaf.dtype for leaf in jax.tree.leaves(tree)))


def common_dtype(*given: PyTree) -> np.dtype:
    """The widest dtype of the floating arrays in `given`, or JAX's default if there are none.

    Python numbers, lists of them and integers have no floating dtype of their own, and do not
    count.
    """
    dtypes = [
        jax.dtypes.canonicalize_dtype(leaf.dtype)
        for leaf in jax.tree.leaves(given)
        if isinstance(leaf, jax.Array | np.ndarray | np.generic)
        and jnp.issubdtype(leaf.dtype, jnp.floating)
        and not getattr(leaf, "weak_type", False)
    ]
    with jax.numpy_dtype_promotion("standard"):  # intended, so also under strict promotion
        return jnp.result_type(*dtypes) if dtypes else jnp.result_type(float)


def at_least_float32(x: ArrayLike) -> jax.Array:
    """A floating array of at least 32 bits, as half precision is too coarse for sums."""
    x = jnp.asarray(x)
    if not jnp.issubdtype(x.dtype, jnp.floating):
        return x.astype(float)
    return x.astype(jnp.float32) if x.dtype.itemsize < 4 else x


def ravel(tree: PyTree) -> jax.Array:
    """All leaves of `tree` as one vector, in `jax.tree.leaves` order."""
    return ravel_pytree(tree)[0]


def named_leaves(name: str, tree: PyTree) -> list[tuple[str, Any]]:
    """Each leaf with its name for errors, such as init['w'][0]."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
    return [(name + jax.tree_util.keystr(path), leaf) for path, leaf in leaves]


def dotted_names(name: str, tree: PyTree) -> list[str]:
    """The names of the leaves of `tree`: their paths joined by dots, or "x" for a single array."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
    paths = [jax.tree_util.keystr(path, simple=True, separator=".") or "x" for path, _ in leaves]
    if len(set(paths)) < len(paths):
        raise ValueError(
            f"{name}: two leaves have the same name, among {sorted(paths)}; rename keys"
        )
    return paths


def as_position(name: str, value: PyTree, *, floating: bool = False) -> PyTree:
    """`value` with arrays as leaves; a list of plain numbers, however nested, is one array.

    A list that contains arrays is a pytree, as everywhere in JAX. A list of scalar arrays could be
    either, and is refused. Weak types become explicit, as they would be compiled for separately.
    If `floating`, arrays of any other kind raise TypeError.
    """
    value = _numbers_as_array(name, own(name, value))

    def leaf_array(path: jax.tree_util.KeyPath[Any], leaf: PyTree) -> PyTree:
        if isinstance(leaf, jax.ShapeDtypeStruct):
            return leaf
        if isinstance(leaf, jax.Array) and not leaf.weak_type:
            return leaf
        try:
            if isinstance(leaf, str | bytes):  # JAX would take it for the name of a dtype
                raise TypeError
            dtype = jax.dtypes.canonicalize_dtype(jnp.result_type(leaf))
            if not isinstance(leaf, jax.Array):  # convert on the host, which compiles nothing
                leaf = np.array(own(name, leaf), dtype)
            return jnp.asarray(leaf, dtype)
        except TypeError:
            what = f"dtype {leaf.dtype}" if hasattr(leaf, "dtype") else f"{type(leaf).__name__}"
            hint = ""
            if callable(leaf):
                hint = (
                    "; keep functions in the energy and pass only arrays, for instance the first "
                    "part of equinox.partition(model, equinox.is_array)"
                )
            elif type(leaf).__module__ not in ("builtins", "numpy"):
                hint = "; to make a class a pytree, see jax.tree_util.register_dataclass"
            where = name + jax.tree_util.keystr(path)
            raise TypeError(f"{where}: expected an array of numbers, got {what}{hint}") from None

    arrays = jax.tree_util.tree_map_with_path(leaf_array, value)
    for where, leaf in named_leaves(name, arrays):
        if floating and not jnp.issubdtype(leaf.dtype, jnp.floating):
            raise TypeError(f"{where}: expected floating arrays, got dtype {leaf.dtype}")
    return arrays


def _numbers_as_array(name: str, value: PyTree) -> PyTree:
    """`value`, as one array if it is a list of numbers."""
    leaves = jax.tree.leaves(value)
    if not isinstance(value, list) or not all(is_array(leaf) for leaf in leaves):
        return value
    arrays = [leaf for leaf in leaves if isinstance(leaf, jax.Array | np.ndarray)]
    if any(leaf.ndim for leaf in arrays):
        return value
    if arrays:
        raise ValueError(
            f"{name}: a list of scalar arrays could be one array or a pytree; pass jnp.stack(…) "
            "for an array, a tuple or a dict for a pytree"
        )
    try:
        array = np.asarray(value)
    except ValueError:
        raise ValueError(
            f"{name}: these lists do not form an array; pass a tuple or a dict of arrays for a "
            "pytree"
        ) from None
    return array.astype(float) if array.dtype.kind == "i" else array


def on_device(name: str, tree: PyTree) -> PyTree:
    """`tree` with JAX arrays instead of NumPy arrays, as it was before it was on the host."""

    def one(leaf: PyTree) -> PyTree:
        if isinstance(leaf, jax.Array | jax.core.Tracer):
            return leaf
        dtype = getattr(leaf, "dtype", None)
        if dtype is None:
            raise TypeError(f"{name}: expected arrays as leaves, got {type(leaf).__name__}")
        if jax.dtypes.canonicalize_dtype(dtype) != dtype:
            raise ValueError(
                f"{name}: a leaf has dtype {dtype}, which JAX has only under x64; enable it by "
                'jax.config.update("jax_enable_x64", True)'
            )
        return jax.device_put(own(name, leaf))  # `jnp.asarray` would compile a program

    return jax.tree.map(one, tree)


def struct(tree: PyTree) -> PyTree:
    """The shapes and dtypes of the leaves; the dtypes are those JAX would give them."""

    def one(leaf: PyTree) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct(jnp.shape(leaf), jax.dtypes.canonicalize_dtype(leaf.dtype))

    return jax.tree.map(one, tree)


def one_chain(tree: PyTree, axis: int = 0) -> PyTree:
    """The shapes and dtypes of a single chain, where chains are an axis of the leaves."""

    def one(leaf: PyTree) -> jax.ShapeDtypeStruct:
        shape = list(leaf.shape)
        del shape[axis]
        return jax.ShapeDtypeStruct(tuple(shape), leaf.dtype)

    return jax.tree.map(one, tree)


def zeros(tree: PyTree) -> PyTree:
    """Zeros of the shapes and dtypes of `struct(tree)`."""
    return jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), struct(tree))


def unraveler(tree: PyTree) -> Callable[[jax.Array], PyTree]:
    """A function that turns vectors like `ravel(tree)` back into pytrees like `tree`."""
    unravel: Callable[[jax.Array], PyTree] = ravel_pytree(zeros(tree))[1]
    return unravel


def chains_last(tree: PyTree) -> PyTree:
    """Leaves with their first axis moved to the end, as the compiled loops want chains."""
    return jax.tree.map(lambda leaf: jnp.moveaxis(leaf, 0, -1), tree)


def chains_first(tree: PyTree) -> PyTree:
    """Leaves with their last axis moved to the front, as users see chains."""
    return jax.tree.map(lambda leaf: jnp.moveaxis(leaf, -1, 0), tree)


def size(tree: PyTree) -> int:
    """The number of elements in all leaves together."""
    return sum(int(np.prod(jnp.shape(leaf))) for leaf in jax.tree.leaves(tree))


def shown(tree: PyTree) -> str:
    """`tree` as text, with dtypes and shapes instead of numbers, such as {'w': float32[3]}."""

    def one(leaf: PyTree) -> PyTree:
        if not (hasattr(leaf, "shape") and hasattr(leaf, "dtype")):
            return leaf
        return f"{leaf.dtype}[{', '.join(map(str, leaf.shape))}]"

    # Arrays are replaced by strings, which a container shows in quotes.
    return re.sub(r"'([\w<>]+\[[\d, ]*\])'", r"\1", str(jax.tree.map(one, tree)))


def assert_like(name: str, tree: PyTree, like: PyTree, what: str, *, dtypes: bool = False) -> None:
    """Raise ValueError unless `tree` has the structure and shapes of `like`; dtypes if `dtypes`.

    `what` describes `like` in the error.
    """
    try:
        chex.assert_trees_all_equal_structs(tree, like)
        if dtypes:
            chex.assert_trees_all_equal_shapes_and_dtypes(tree, like)
        else:
            chex.assert_trees_all_equal_shapes(tree, like)
    except AssertionError:
        raise ValueError(f"{name}: expected {shown(like)}, {what}, got {shown(tree)}") from None
