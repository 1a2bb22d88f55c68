"""Descriptions of what an object is and holds, to tell whether two objects are the same.

The objects may be in different processes, so descriptions have no address, path or hash seed.

- Functions and classes that the caller wrote are described by their instructions, defaults,
  closures and attributes, and by the globals they read, recursively.
- A module that is read is described by the attributes that are named.
- Installed code (the standard library, other packages) is described by its name, with closures
  and, for instances, attributes.
- JAX's own objects are described by their repr, as using them changes their contents.
- An object whose contents cannot be seen, such as some made in C, is described by its type.

Arrays can be described in several ways, so `Description` leaves them to its subclasses. The one
here is for this process: JAX arrays, which nobody can change, and objects whose contents cannot be
seen are described by identity, and NumPy arrays by a checksum.
"""

from __future__ import annotations

import dataclasses
import dis
import enum
import functools
import hashlib
import inspect
import itertools
import re
import sys
import sysconfig
import weakref
import zlib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import BuiltinMethodType, CodeType, FunctionType, MethodType, ModuleType
from typing import Any

import jax
import numpy as np

__all__ = ["Description", "Life", "describe_here", "digest", "is_node"]


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def is_node(thing: Any) -> bool:
    """Whether an object is a pytree of other objects."""
    return not jax.tree_util.all_leaves([thing])


# Words ----------------------------------------------------------------------------------------

_PLAIN = (type(None), bool, int, float, complex, str, bytes, type(Ellipsis), range, slice)

# Attributes of a class that Python manages and that do not change what it does.
_BOOKKEEPING = re.compile(
    r"__(dict|weakref|module|doc|annotations|annotate_func|annotations_cache|conditional_annotations|"
    r"firstlineno|static_attributes|dataclass_fields|dataclass_params|match_args|abstractmethods|"
    r"parameters|orig_bases|qualname|slots|hash)__|_abc_impl"
)


_BY_IDENTITY: Any = object.__eq__


class Description:
    """A description. An object that occurs again is replaced by a reference, so cycles end."""

    def __init__(self) -> None:
        self._seen: dict[int, tuple[int, Any]] = {}  # with the objects, so that no id is reused

    def of(self, thing: Any) -> str:
        if isinstance(thing, enum.Enum):
            return f"{_name(type(thing))}.{thing.name}"
        if type(thing) in _PLAIN:
            return f"{type(thing).__name__} {thing!r}"
        if isinstance(thing, ModuleType):
            return f"module {thing.__name__}"
        if isinstance(thing, np.dtype):
            return f"dtype {thing}"
        if isinstance(thing, jax.Array | np.ndarray | np.generic):
            return self._array(thing)
        if id(thing) in self._seen:
            return f"seen {self._seen[id(thing)][0]}"
        self._seen[id(thing)] = (len(self._seen), thing)
        return f"{_name(type(thing))}({', '.join(self._parts(thing))})"

    def treedef(self, treedef: Any) -> str:
        node = treedef.node_data()
        if node is None:
            return "None" if treedef.num_leaves == 0 else "leaf"
        kind, aux = node
        children = ", ".join(self.treedef(child) for child in treedef.children())
        return f"{self.of(kind)}[{self.of(aux)}]({children})"

    def _array(self, array: Any) -> str:
        raise NotImplementedError

    def _hidden(self, thing: Any) -> str:
        """The description of an object whose contents cannot be seen."""
        return ""

    def _parts(self, thing: Any) -> list[str]:
        """Descriptions of an object's parts, besides the name of its type."""
        if isinstance(thing, type):
            return self._class(thing)
        if isinstance(thing, FunctionType):
            return self._function(thing)
        if isinstance(thing, CodeType):
            return [_summarise_code(thing).words]
        if isinstance(thing, MethodType):
            return [self.of(thing.__func__), self.of(thing.__self__)]
        if isinstance(thing, functools.partial) and not is_node(thing):
            return [self.of(part) for part in (thing.func, thing.args, thing.keywords)]
        if isinstance(thing, property):
            return [self.of(part) for part in (thing.fget, thing.fset)]
        if isinstance(thing, Mapping):
            return sorted(f"{self.of(key)}: {self.of(value)}" for key, value in thing.items())
        if isinstance(thing, set | frozenset):
            return sorted(self.of(each) for each in thing)
        if isinstance(thing, list | tuple):
            return [self.of(type(thing)), *(self.of(each) for each in thing)]
        if isinstance(thing, jax.custom_jvp | jax.custom_vjp):  # with the rules of derivatives
            held = vars(thing)
            return [self.of(held[name]) for name in sorted(held) if callable(held[name])]
        if hasattr(thing, "__wrapped__"):  # as jax.jit and functools.wraps leave it
            return [self._wrapped(thing)]
        if isinstance(thing, jax.tree_util.PyTreeDef):
            return [self.treedef(thing)]
        if isinstance(thing, staticmethod | classmethod):
            return [self.of(thing.__func__)]
        if is_node(thing):
            children, aux = jax.tree_util.default_registry.flatten_one_level(thing)
            if aux is not thing:
                return [self.of(type(thing)), *(self.of(child) for child in children), self.of(aux)]
        if type(thing).__module__.partition(".")[0] in ("jax", "jaxlib"):
            hidden = self._hidden(thing) if type(thing).__eq__ is _BY_IDENTITY else ""
            return [re.sub(r" at 0x[0-9a-f]+", "", repr(thing)), hidden]
        if callable(thing) and hasattr(thing, "__qualname__"):  # made in C
            owner = thing.__self__ if isinstance(thing, BuiltinMethodType) else None
            return [_name(thing), self.of(owner)]
        held = _attributes(thing)
        words = [f"{name}={self.of(held[name])}" for name in sorted(held)]
        return [self.of(type(thing)), *(words or [self._hidden(thing)])]

    def _wrapped(self, thing: Any) -> str:
        return self.of(thing.__wrapped__)

    def _function(self, function: FunctionType) -> list[str]:
        defaults = (function.__defaults__, function.__kwdefaults__)
        held = [_contents(cell) for cell in function.__closure__ or ()]
        parts = [_name(function), *(self.of(each) for each in (*defaults, *held))]
        if _is_installed(function.__module__):
            return parts
        code, known = _summarise_code(function.__code__), function.__globals__
        own = {name: each for name, each in vars(function).items() if name != "__wrapped__"}
        return [
            *parts,
            code.words,
            *(f"{name}={self._read(known[name], code)}" for name in code.reads if name in known),
            *(f"{name}={self.of(own[name])}" for name in sorted(own)),
        ]

    def _read(self, thing: Any, code: _CodeSummary) -> str:
        """A global that code reads; of a module, the attributes that the code may use by name."""
        if not isinstance(thing, ModuleType) or _is_installed(thing.__name__):
            return self.of(thing)
        known = vars(thing)
        taken = [f"{name}={self._read(known[name], code)}" for name in code.names if name in known]
        return f"{self.of(thing)} {taken}"

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
    held |= getattr(thing, "__dict__", {})
    # Cached properties follow from the other attributes.
    kept = functools.cached_property
    return {
        name: each
        for name, each in held.items()
        if not isinstance(getattr(type(thing), name, None), kept)
    }


def _name(thing: Any) -> str:
    return f"{getattr(thing, '__module__', None)}.{getattr(thing, '__qualname__', '')}"


def _contents(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # the cell is still empty
        return None


@dataclasses.dataclass(frozen=True)
class _CodeSummary:
    words: str
    names: tuple[str, ...]  # of attributes, globals and imports
    reads: tuple[str, ...]  # the globals that it looks up


@functools.lru_cache(maxsize=4096)
def _summarise_code(code: CodeType) -> _CodeSummary:
    """The instructions of a code object, with the constants and names they refer to by number."""
    inner = [
        _summarise_code(constant) for constant in code.co_consts if isinstance(constant, CodeType)
    ]
    plain = Description()  # constants hold no arrays
    words = [code.co_code.hex(), repr(code.co_names), *map(plain.of, code.co_consts)]
    reads = {
        step.argval
        for step in dis.get_instructions(code)
        if step.opname in ("LOAD_GLOBAL", "LOAD_NAME")
    }
    return _CodeSummary(
        digest(", ".join(words)),
        tuple(sorted({*code.co_names, *(name for each in inner for name in each.names)})),
        tuple(sorted({*reads, *(name for each in inner for name in each.reads)})),
    )


@functools.cache
def _is_installed(module: str | None) -> bool:
    """Whether a module belongs to an installed package, whose version stands for its code."""
    if module is None or module.partition(".")[0] == "jlangevin":
        return True
    if module == "__main__":
        return False
    file = getattr(sys.modules.get(module), "__file__", None)
    if file is None:
        return True
    folders = {sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")}
    if any(file.startswith(f"{folder}/") for folder in folders):
        return True
    # Wherever a package is installed (`pip install --target`), its metadata is beside it.
    top = Path(file).parents[module.count(".") + Path(file).name.startswith("__init__.")]
    return any(top.glob("*.dist-info"))


@functools.lru_cache(maxsize=4096)
def _installed_class(kind: type) -> str:
    """The description of a class that belongs to an installed package: its name says all."""
    return f"class {_name(kind)}"


# In this process ------------------------------------------------------------------------------

_DEEPEST = 100  # levels of nesting; objects further down are described by identity


class Life:
    """An object for as long as it is there, and nobody changes what it holds.

    Attributes:
        number: which life it is; no two have the same.
        contents: what it holds, in words.
        array: gives an array of NumPy, for as long as it is there; None for other objects.
        made_by: the code or the class that the object is of, if that is the caller's.
        ends: what to call when the life is over.
    """

    def __init__(self, contents: str, array: Callable[[], Any] | None, made_by: Any) -> None:
        self.number = next(_numbers)
        self.contents, self.array, self.made_by = contents, array, made_by
        self.ends: list[Callable[[], Any]] = []

    def end(self) -> None:
        ends, self.ends = self.ends, []
        for each in ends:
            each()


class _Known:
    """An object that has been met."""

    def __init__(self) -> None:
        self.number = next(_numbers)
        self.ref: Callable[[], Any] = lambda: None
        self.life: Life | None = None
        self.jitted: str | None = None  # what a function under jax.jit held when first used


_numbers = itertools.count()
_met: dict[int, _Known] = {}


def _known(thing: Any) -> _Known:
    place = id(thing)
    found = _met.get(place)
    if found is not None and found.ref() is thing:
        return found
    made = _Known()

    # When Python ends, an object may outlive what this module's names stand for.
    def gone(_: Any, ending: Callable[[], bool] = sys.is_finalizing) -> None:
        if ending():
            return
        if _met.get(place) is made:
            del _met[place]
        # Of arrays some are copies made in passing, as those that a pytree shows: nobody's life.
        if made.life is not None and made.life.array is None:
            made.life.end()

    try:
        made.ref = weakref.ref(thing, gone)
    except TypeError:  # then it is kept
        made.ref = lambda: thing
    _met[place] = made
    return made


def _maker(thing: Any) -> Any:
    while isinstance(thing, functools.partial):
        thing = thing.func
    thing = inspect.unwrap(thing) if callable(thing) else thing
    made_by = getattr(thing, "__code__", type(thing))
    module = getattr(thing if isinstance(made_by, CodeType) else made_by, "__module__", None)
    return None if _is_installed(module) or issubclass(type(thing), type) else made_by


class _ProcessDescription(Description):
    """A description for this process, which collects the lives that it depends on.

    If it is `absorbing`, a change does not end a life.
    """

    def __init__(self, lives: dict[Life, None], absorbing: bool = False) -> None:
        super().__init__()
        self._lives, self._absorbing = lives, absorbing
        self._depth = 0
        self._jitted: frozenset[int] = frozenset()  # ids of the jitted functions it is inside

    def of(self, thing: Any) -> str:
        if self._depth > _DEEPEST:
            return self._hidden(thing)
        self._depth += 1
        try:
            return super().of(thing)
        finally:
            self._depth -= 1

    def owned(self, thing: Any) -> str:
        """The life of a leaf or part of the structure; its description if it compares by value."""
        if isinstance(thing, tuple | list):
            return f"({', '.join(map(self.owned, thing))})"
        if isinstance(thing, MethodType):
            return f"{self.owned(thing.__func__)} of {self.owned(thing.__self__)}"
        if type(thing) in _PLAIN:
            return self.of(thing)
        words = self._alone().of(thing)
        if type(thing).__eq__ is not _BY_IDENTITY:
            return words
        return f"#{self._life_of(thing, words).number}"

    def treedef(self, treedef: Any) -> str:
        node = treedef.node_data()
        if node is None:
            return super().treedef(treedef)
        kind, aux = node
        children = ", ".join(map(self.treedef, treedef.children()))
        installed = _is_installed(kind.__module__)
        named = _installed_class(kind) if installed else self.owned(kind)
        return f"{named}[{self.owned(aux)}]({children})"

    def _life_of(self, thing: Any, words: str) -> Life:
        known = _known(thing)
        if known.life is not None and known.life.contents != words:
            if self._absorbing and known.life.array is None:
                known.life.contents = words
            else:
                known.life.end()
                known.life = None
        if known.life is None:
            array = known.ref if isinstance(thing, np.ndarray) else None
            known.life = Life(words, array, _maker(thing))
        self._lives[known.life] = None
        return known.life

    def _alone(self) -> _ProcessDescription:
        """A new description, which does not refer to objects that occurred before."""
        other = _ProcessDescription(self._lives, self._absorbing)
        other._depth, other._jitted = self._depth, self._jitted
        return other

    def _array(self, array: Any) -> str:
        if isinstance(array, jax.Array):
            return self._hidden(array)
        words = f"array {array.shape} {array.dtype} "
        if array.dtype.hasobject:
            return words + self.of(array.tolist())
        words += str(zlib.crc32(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data))
        if isinstance(array, np.ndarray):
            self._life_of(array, words)
        return words

    def _hidden(self, thing: Any) -> str:
        return f"#{_known(thing).number}"

    def _wrapped(self, thing: Any) -> str:
        """A function under `jax.jit`; it must not change, as JAX keeps using its old program."""
        inner = thing.__wrapped__
        if not isinstance(thing, _Jitted) or id(thing) in self._jitted:
            return self.of(inner)
        alone = self._alone()
        alone._jitted |= {id(thing)}
        words, known = alone.of(inner), _known(thing)
        if known.jitted is None or self._absorbing:
            known.jitted = words
        elif known.jitted != words:
            raise ValueError(
                f"{_name(inner)}: a function under jax.jit, and something that it reads besides "
                "its arguments has changed since it was first used, which JAX does not notice; "
                "remove the jax.jit (everything is compiled anyway), or make what changes an "
                "argument"
            )
        return words


_Jitted = type(jax.jit(lambda: None))


def describe_here(
    treedef: Any, leaves: Iterable[Any], *, absorbing: bool = False
) -> tuple[str, tuple[Life, ...]]:
    """A digest of a structure and its leaves for this process, and the lives it depends on.

    If `absorbing`, changes since the last digest are accepted as side effects of use.
    """
    lives: dict[Life, None] = {}
    each = _ProcessDescription(lives, absorbing)
    words = [each.treedef(treedef), *map(each.owned, leaves)]
    return digest(" ".join(words)), tuple(lives)
