"""Whether two objects are the same, in two processes: arrays by checksums, functions by their code.

A description is text that holds neither addresses nor paths nor what depends on hash seeds. Of what
the caller wrote, functions and classes, the instructions count, with defaults, closures and the
globals that they read, and so on from there; of what is installed (JAX, the standard library, other
packages) the name counts, with closures. An object that shows nothing of what is in it, as some
made in C do, is known by its type alone, and a module by its name.
"""

from __future__ import annotations

import dataclasses
import dis
import enum
import functools
import hashlib
import re
import sys
import sysconfig
from collections.abc import Iterable, Mapping
from types import CodeType, FunctionType, MethodType, ModuleType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jlangevin.compiling import compiled
from jlangevin.trees import ARRAY, PyTree, Structure

__all__ = ["checksums", "digest", "of_arrays", "of_object", "of_structure"]


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def of_object(thing: Any) -> str:
    """A digest of anything: a function, a class, a pytree."""
    return digest(_Description().of(thing))


def of_structure(structure: Structure) -> str:
    """A digest of what is left of a pytree without its arrays."""
    return digest(_Description().of_structure(structure))


def of_arrays(tree: PyTree) -> str:
    """A digest of the arrays of a pytree, by the values that JAX makes of them."""
    leaves = [jnp.asarray(leaf) for leaf in jax.tree.leaves(tree)]
    shapes = [(leaf.shape, str(leaf.dtype)) for leaf in leaves]
    return digest(repr((shapes, checksums(leaves))))


# Arrays ---------------------------------------------------------------------------------------


def checksums(arrays: Iterable[jax.Array]) -> list[int]:
    """A 32-bit checksum of each array, the same however it is spread over devices."""
    return [int(value) for value in _checksums([_real(array) for array in arrays])]


def _real(array: jax.Array) -> jax.Array:
    if jnp.issubdtype(array.dtype, jax.dtypes.prng_key):
        return jax.random.key_data(array)
    if jnp.issubdtype(array.dtype, jnp.complexfloating):
        return jnp.stack([array.real, array.imag])
    return array


@compiled
def _checksums(leaves: list[jax.Array]) -> list[jax.Array]:
    def one(leaf: jax.Array) -> jax.Array:
        kinds = {1: jnp.uint8, 2: jnp.uint16, 4: jnp.uint32, 8: jnp.uint32}
        if leaf.dtype == jnp.bool_:
            leaf = leaf.astype(jnp.uint8)
        words = lax.bitcast_convert_type(leaf, kinds[leaf.dtype.itemsize]).astype(jnp.uint32)
        place = jnp.uint32(0)
        for axis, size in enumerate(words.shape):
            along = lax.broadcasted_iota(jnp.uint32, words.shape, axis)
            place = place * jnp.uint32(size) + along
        # Sums modulo 2**32 of words stirred with their places (the finaliser of MurmurHash3).
        x = words + place * jnp.uint32(0x9E3779B9)
        for factor in (0x85EBCA6B, 0xC2B2AE35):
            x = (x ^ (x >> jnp.uint32(16))) * jnp.uint32(factor)
        return jnp.sum(x ^ (x >> jnp.uint32(16)), dtype=jnp.uint32)

    return [one(leaf) for leaf in leaves]


# Everything else ------------------------------------------------------------------------------

_PLAIN = (type(None), bool, int, float, complex, str, bytes, type(Ellipsis), range, slice, np.dtype)

# What Python keeps in a class that says nothing of what it does.
_BOOKKEEPING = re.compile(
    r"__(dict|weakref|module|doc|annotations|annotate_func|annotations_cache|conditional_annotations|"
    r"firstlineno|static_attributes|dataclass_fields|dataclass_params|match_args|abstractmethods|"
    r"parameters|orig_bases|qualname|slots|hash)__|_abc_impl"
)


class _Description:
    """One description: an object met a second time is referred to, so cycles end."""

    def __init__(self) -> None:
        self._seen: dict[int, tuple[int, Any]] = {}  # the objects too, lest an id be used again

    def of(self, thing: Any) -> str:
        if isinstance(thing, enum.Enum):
            return f"{_name(type(thing))}.{thing.name}"
        if type(thing) in _PLAIN:
            return f"{type(thing).__name__} {thing!r}"
        if isinstance(thing, ModuleType):
            return f"module {thing.__name__}"
        if isinstance(thing, jax.Array | np.ndarray | np.generic):
            return _array(thing)
        if id(thing) in self._seen:
            return f"seen {self._seen[id(thing)][0]}"
        self._seen[id(thing)] = (len(self._seen), thing)
        return f"{_name(type(thing))}({', '.join(self._parts(thing))})"

    def of_structure(self, structure: Structure) -> str:
        rest = ["array" if leaf is ARRAY else self.of(leaf) for leaf in structure.rest]
        return f"{self._treedef(structure.treedef)} {rest}"

    def _treedef(self, treedef: Any) -> str:
        node = treedef.node_data()
        if node is None:
            return "None" if treedef.num_leaves == 0 else "leaf"
        kind, aux = node
        children = ", ".join(self._treedef(child) for child in treedef.children())
        return f"{self.of(kind)}[{self.of(aux)}]({children})"

    def _parts(self, thing: Any) -> list[str]:
        """What makes an object what it is, beside its type."""
        if isinstance(thing, type):
            return self._class(thing)
        if isinstance(thing, FunctionType):
            return self._function(thing)
        if isinstance(thing, CodeType):
            return self._code(thing)
        if isinstance(thing, MethodType):
            return [self.of(thing.__func__), self.of(thing.__self__)]
        if isinstance(thing, functools.partial) and not _is_node(thing):
            return [self.of(part) for part in (thing.func, thing.args, thing.keywords)]
        if isinstance(thing, property):
            return [self.of(part) for part in (thing.fget, thing.fset)]
        if isinstance(thing, Mapping):
            return sorted(f"{self.of(key)}: {self.of(value)}" for key, value in thing.items())
        if isinstance(thing, set | frozenset):
            return sorted(self.of(each) for each in thing)
        if isinstance(thing, list | tuple):
            return [self.of(type(thing)), *(self.of(each) for each in thing)]
        if hasattr(thing, "__wrapped__"):  # as jax.jit and functools.wraps leave it
            return [self.of(thing.__wrapped__)]
        if isinstance(thing, Structure):
            return [self.of_structure(thing)]
        if isinstance(thing, jax.tree_util.PyTreeDef):
            return [self._treedef(thing)]
        if isinstance(thing, staticmethod | classmethod):
            return [self.of(thing.__func__)]
        if _is_node(thing):
            children, aux = jax.tree_util.default_registry.flatten_one_level(thing)
            return [self.of(type(thing)), *(self.of(child) for child in children), self.of(aux)]
        if callable(thing) and hasattr(thing, "__qualname__"):  # made in C
            return [_name(thing)]
        held = _attributes(thing)
        return [self.of(type(thing)), *(f"{name}={self.of(held[name])}" for name in sorted(held))]

    def _function(self, function: FunctionType) -> list[str]:
        defaults = (function.__defaults__, function.__kwdefaults__)
        held = [_contents(cell) for cell in function.__closure__ or ()]
        parts = [_name(function), *(self.of(each) for each in (*defaults, *held))]
        if _is_installed(function.__module__):
            return parts
        code, known = function.__code__, function.__globals__
        read = sorted(_globals(code) & set(known))
        return [*parts, *self._code(code), *(f"{name}={self.of(known[name])}" for name in read)]

    def _code(self, code: CodeType) -> list[str]:
        """The instructions, and the constants and names that they refer to by number."""
        return [code.co_code.hex(), repr(code.co_names), *(self.of(c) for c in code.co_consts)]

    def _class(self, kind: type) -> list[str]:
        parts = [_name(kind)]
        if _is_installed(kind.__module__):
            return parts
        parts += [self.of(base) for base in kind.__bases__]
        held = {name: part for name, part in vars(kind).items() if not _BOOKKEEPING.match(name)}
        return [*parts, *(f"{name}={self.of(held[name])}" for name in sorted(held))]


def _attributes(thing: Any) -> dict[str, Any]:
    if dataclasses.is_dataclass(thing):
        return {f.name: getattr(thing, f.name, None) for f in dataclasses.fields(thing)}
    slots: set[str] = set()
    for kind in type(thing).__mro__:
        named = vars(kind).get("__slots__", ())
        slots |= {named} if isinstance(named, str) else set(named)
    held = {name: getattr(thing, name, None) for name in slots - {"__dict__", "__weakref__"}}
    return held | getattr(thing, "__dict__", {})


def _array(array: Any) -> str:
    if isinstance(array, jax.Array):
        return f"array {array.shape} {array.dtype} {checksums([array])}"
    plain = array.dtype.kind in "biufcmMSUV"
    contents = np.ascontiguousarray(array).tobytes() if plain else repr(array.tolist()).encode()
    return f"array {array.shape} {array.dtype} {hashlib.sha256(contents).hexdigest()[:16]}"


def _name(thing: Any) -> str:
    return f"{getattr(thing, '__module__', None)}.{getattr(thing, '__qualname__', '')}"


def _contents(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # not filled yet
        return None


def _globals(code: CodeType) -> set[str]:
    """The names that code, and code within it, looks up as globals."""
    found = {
        step.argval
        for step in dis.get_instructions(code)
        if step.opname in ("LOAD_GLOBAL", "LOAD_NAME")
    }
    inner = (_globals(constant) for constant in code.co_consts if isinstance(constant, CodeType))
    return found.union(*inner)


def _is_node(thing: Any) -> bool:
    """Whether an object is a pytree of other objects."""
    return not jax.tree_util.all_leaves([thing])


@functools.cache
def _is_installed(module: str | None) -> bool:
    """Whether a module belongs to a package, of which the version stands for the code."""
    if module is None or module.partition(".")[0] == "jlangevin":
        return True
    if module == "__main__":
        return False
    file = getattr(sys.modules.get(module), "__file__", None)
    folders = {sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")}
    return file is None or any(file.startswith(f"{folder}/") for folder in folders)
