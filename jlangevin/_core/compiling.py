"""Compiled programs, kept for as long as what they are compiled for."""

from __future__ import annotations

import functools
import gc
import itertools
from collections.abc import Callable, Iterator
from types import CodeType
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from jlangevin._core import trees, xla
from jlangevin._core.trees import Parted, Structure
from jlangevin._core.warn import warn
from jlangevin.errors import RecompilationWarning

__all__ = ["compiled", "kept", "shapes"]

F = TypeVar("F", bound=Callable[..., Any])


class kept:  # noqa: N801
    """A decorator: results are kept, as by `functools.lru_cache`, but for no longer than is useful.

    What is kept for a `trees.Structure` among the arguments, also in a tuple, goes when one of the
    objects that it depends on goes, or holds something else; nothing keeps these alive.
    """

    def __init__(self, function: Callable[..., Any], most: int = 1024) -> None:
        self._function, self._most = function, most
        self._results: dict[Any, Any] = {}

    def __call__(self, *args: Any) -> Any:
        key = _without_contents(args)
        result = self._results.pop(key, _NOTHING)
        if result is _NOTHING:
            structures = list(_structures(args))
            result = self._function(*args)
            for life in {life: None for each in structures for life in each.lives}:
                life.ends.append(functools.partial(self._results.pop, key, None))
            while len(self._results) >= self._most:
                self._results.pop(next(iter(self._results)), None)
        self._results[key] = result
        return result


_NOTHING = object()


def _structures(value: Any) -> Iterator[Structure]:
    if isinstance(value, Structure):
        yield value
    elif isinstance(value, tuple):
        for each in value:
            yield from _structures(each)


def _without_contents(value: Any) -> Any:
    if isinstance(value, tuple):
        return tuple(map(_without_contents, value))
    return ("structure", value.key) if isinstance(value, Structure) else value


def compiled(
    function: F,
    *,
    static_argnames: tuple[str, ...] = (),
    quickly: bool = False,
    inline: bool = False,
) -> F:
    """`jax.jit` of `function`, with the options of `xla` where it is not inside of another.

    Of a `trees.Parted` among the arguments, or in a pytree of them, the structure is compiled for,
    and so are arguments in `static_argnames`, given by name. What is compiled is `kept`. One that
    is compiled `quickly`, in about half the time, is for small arrays and a single use; one that is
    `inline` leaves no trace but its own operations inside of another.
    """

    @kept
    def program(structures: tuple[Structure, ...]) -> _Program:
        _check_before_compiling(structures)
        return _Program(function, static_argnames, xla.options(quickly), inline)

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        if jax.config.jax_disable_jit:  # type: ignore[attr-defined]
            return function(*args, **kwargs)
        loan, (args, kwargs) = _lend(args, kwargs)
        made = program(loan.structures)
        with loan:
            if xla.outermost():
                try:
                    return made.outer(*args, **kwargs)
                except ValueError as error:
                    # Under jax.grad, which JAX tells only thus.
                    if not xla.is_nested(error):
                        raise
            return made.inner(*args, **kwargs)

    def lower(*args: Any, **kwargs: Any) -> Any:
        loan, (args, kwargs) = _lend(args, kwargs)
        made = program(loan.structures)
        with loan:
            return made.outer.lower(*args, **kwargs)

    call.lower = lower  # type: ignore[attr-defined]
    return call  # type: ignore[return-value]


def shapes(function: Callable[..., Any], *args: Any) -> Any:
    """`jax.eval_shape`, after which JAX keeps nothing that a `trees.Parted` holds."""
    loan, (args, _) = _lend(args, {})
    with loan:
        return jax.eval_shape(functools.partial(function), *args)


def _lend(args: Any, kwargs: Any) -> tuple[_Loan, Any]:
    """A loan of the structures in `args` and `kwargs`, and these with no more than a place each."""

    def is_parted(leaf: Any) -> bool:
        return isinstance(leaf, Parted)

    leaves, treedef = jax.tree.flatten((args, kwargs), is_leaf=is_parted)
    loan = _Loan(tuple(leaf.structure for leaf in leaves if is_parted(leaf)))
    places = map(functools.partial(_Place, loan), itertools.count())
    lent = [_Lent(leaf.arrays, next(places)) if is_parted(leaf) else leaf for leaf in leaves]
    return loan, jax.tree.unflatten(treedef, lent)


class _Program:
    """A function under `jax.jit`, for given structures: JAX lets it go with this."""

    def __init__(
        self, function: Callable[..., Any], statics: tuple[str, ...], options: Any, inline: bool
    ) -> None:
        # A partial is another function to JAX, which keeps what it has compiled by the function.
        jit = functools.partial(jax.jit, static_argnames=statics, inline=inline)
        self.inner = jit(functools.partial(function))
        self.outer = jit(functools.partial(function), compiler_options=options)


class _Loan:
    """The structures of a program's arguments, while it is called.

    JAX keeps what a program was first called with, and would keep alive all that a function closes
    over. What functions do beside giving a result, as counting their calls, they do while they are
    traced: that is no change of theirs.
    """

    def __init__(self, structures: tuple[Structure, ...]) -> None:
        self.structures = structures
        self._used = False

    def take(self, number: int) -> Any:
        """A structure, or None where the call is over and JAX wants no more than a shape."""
        self._used = True
        return self.structures[number] if self.structures else None

    def __enter__(self) -> None: ...

    def __exit__(self, *_: Any) -> None:
        if self._used:
            for structure in self.structures:
                trees.absorb(structure)
        self.structures = ()


@jax.tree_util.register_pytree_node_class
class _Lent:
    """A `Parted` on its way into a program, which gets it as it was."""

    def __init__(self, arrays: list[Any], place: _Place) -> None:
        self._arrays, self._place = arrays, place

    def tree_flatten(self) -> tuple[list[Any], _Place]:
        return self._arrays, self._place

    @classmethod
    def tree_unflatten(cls, place: _Place, arrays: Any) -> Parted:
        return Parted(list(arrays), place.loan.take(place.number))


class _Place:
    """Where a structure is in a loan. Equal are those of any two calls of one program."""

    def __init__(self, loan: _Loan, number: int) -> None:
        self.loan, self.number = loan, number

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Place) and self.number == other.number

    def __hash__(self) -> int:
        return self.number


_AGAIN = 10  # programs for one piece of code, from which on it is worth a word
_made_of: dict[Any, set[str]] = {}  # for the caller's code, the keys of what was compiled


def _check_before_compiling(structures: tuple[Structure, ...]) -> None:
    """Refuse arrays that JAX takes for what they were, and say what compiles again and again."""
    for structure in structures:
        for life in structure.lives:
            if life.array is not None:
                _refuse_former_contents(life.array())
            elif life.made_by is not None:
                _warn_if_again(life.made_by, structure.key)


def _refuse_former_contents(array: Any) -> None:
    """Of float64 and int64 JAX finds its copy by identity, as long as a program keeps it."""
    if array is None or array.dtype.kind not in "iufc":
        return

    def is_right() -> bool:
        with jax.ensure_compile_time_eval():
            taken = np.asarray(jnp.asarray(array))
        nan = array.dtype.kind in "fc"
        return np.array_equal(taken, array.astype(taken.dtype), equal_nan=nan)

    if not is_right():
        gc.collect()  # for which a program that was let go may still wait
    if not is_right():
        raise ValueError(
            f"a NumPy array, {array.dtype}{list(array.shape)}, that an energy, kernel or function "
            "reads was changed in place, and JAX takes it for what it was, as a program of yours "
            "keeps that; give parameters as leaves, jax.tree_util.Partial(f, params), or a copy"
        )


def _warn_if_again(made_by: Any, key: str) -> None:
    made = _made_of.setdefault(made_by, set())
    if key in made or len(made) >= _AGAIN:
        return
    made.add(key)
    if len(made) == _AGAIN:
        warn(
            f"{_where(made_by)} has been compiled {_AGAIN} times, as each time it was a new "
            "function or object, or held something else. Give what changes as leaves, and it is "
            "compiled once: jax.tree_util.Partial(f, params) for a function f(params, x), or a "
            "method of a pytree",
            RecompilationWarning,
        )


def _where(made_by: Any) -> str:
    if isinstance(made_by, CodeType):
        return f"{made_by.co_qualname} ({made_by.co_filename}:{made_by.co_firstlineno})"
    return f"An object of {made_by.__module__}.{made_by.__qualname__}"
