"""Compiled programs, kept for as long as the objects they are compiled for."""

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

__all__ = ["cached_while_alive", "compiled", "compiled_by_size", "result_shapes"]

F = TypeVar("F", bound=Callable[..., Any])

_FEW = 100_000  # numbers, over which an optimised program of a diagnostic saves some 0.1 s


class cached_while_alive:  # noqa: N801
    """A decorator that caches results like `functools.lru_cache`, but only while they are useful.

    If a `trees.Structure` is among the arguments, or inside a tuple among them, its results are
    dropped when one of the objects it depends on dies or changes what it holds. The cache keeps
    none of these objects alive.
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
    """`jax.jit` of `function`, with the options of `xla` unless called inside another program.

    The structure of each `trees.Parted` among the arguments, or in a pytree of them, is static,
    and so are the keyword arguments in `static_argnames`. Programs are cached while that structure
    is alive. `quickly` halves the time to compile, for small arrays and a single use. `inline`
    leaves no call in an enclosing program, only the operations.
    """

    @cached_while_alive
    def program(structures: tuple[Structure, ...], large: bool) -> _JittedPair:
        _check_before_compiling(structures)
        return _JittedPair(function, static_argnames, xla.options(quickly, large), inline)

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        if jax.config.jax_disable_jit:  # type: ignore[attr-defined]
            return function(*args, **kwargs)
        loan, (args, kwargs) = _lend(args, kwargs)
        made = program(loan.structures, loan.large)
        with loan:
            if xla.outermost():
                try:
                    return made.outer(*args, **kwargs)
                except ValueError as error:
                    # Only this error tells that the call is under jax.grad.
                    if not xla.is_nested(error):
                        raise
            return made.inner(*args, **kwargs)

    def lower(*args: Any, **kwargs: Any) -> Any:
        loan, (args, kwargs) = _lend(args, kwargs)
        made = program(loan.structures, loan.large)
        with loan:
            return made.outer.lower(*args, **kwargs)

    call.lower = lower  # type: ignore[attr-defined]
    return call  # type: ignore[return-value]


def compiled_by_size(function: F, *, static_argnames: tuple[str, ...] = ()) -> F:
    """`compiled`, and `quickly` where the first argument, a pytree of arrays, is small.

    For what is called a few times on arrays of each shape. The program of `diagnostics.summary`
    takes 3 s to compile, or 1.5 s quickly, and then for a hundred thousand numbers 0.1 s, or 0.25.
    """
    quick = compiled(function, static_argnames=static_argnames, quickly=True)
    optimised = compiled(function, static_argnames=static_argnames)

    @functools.wraps(function)
    def call(x: Any, *args: Any, **kwargs: Any) -> Any:
        return (quick if trees.size(x) <= _FEW else optimised)(x, *args, **kwargs)

    return call  # type: ignore[return-value]


def result_shapes(function: Callable[..., Any], *args: Any) -> Any:
    """`jax.eval_shape`, without JAX keeping alive anything that a `trees.Parted` holds."""
    loan, (args, _) = _lend(args, {})
    with loan:
        return jax.eval_shape(functools.partial(function), *args)


def _lend(args: Any, kwargs: Any) -> tuple[_Loan, Any]:
    """A loan of the structures in the arguments, and the arguments with places instead of them."""

    def is_parted(leaf: Any) -> bool:
        return isinstance(leaf, Parted)

    leaves, treedef = jax.tree.flatten((args, kwargs), is_leaf=is_parted)
    structures = tuple(leaf.structure for leaf in leaves if is_parted(leaf))
    # Not by what an energy or a kernel holds: chains may be few, whatever the number of data.
    loan = _Loan(structures, xla.are_large(leaf for leaf in leaves if not is_parted(leaf)))
    places = map(functools.partial(_Place, loan), itertools.count())
    lent = [_Lent(leaf.arrays, next(places)) if is_parted(leaf) else leaf for leaf in leaves]
    return loan, jax.tree.unflatten(treedef, lent)


class _JittedPair:
    """A function under `jax.jit`, for given structures; JAX's own cache goes when this object does.

    `outer` is compiled with our options; `inner` is for calls inside another program.
    """

    def __init__(
        self, function: Callable[..., Any], statics: tuple[str, ...], options: Any, inline: bool
    ) -> None:
        # JAX caches by function, and to JAX each partial is a new one.
        jit = functools.partial(jax.jit, static_argnames=statics, inline=inline)
        self.inner = jit(functools.partial(function))
        self.outer = jit(functools.partial(function), compiler_options=options)


class _Loan:
    """The structures of a program's arguments, lent for the length of a call.

    JAX keeps the arguments of a program's first call, and with them all that a function closes
    over; a loan ends with the call. Functions may have side effects while they are traced, such as
    counting their calls; these do not count as a change of their contents.
    """

    def __init__(self, structures: tuple[Structure, ...], large: bool) -> None:
        self.structures, self.large = structures, large
        self._used = False

    def take(self, number: int) -> Any:
        """A structure, or None once the call is over, when JAX needs only shapes."""
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
    """What stands for a `Parted` among a program's arguments; unflattened, it is one again."""

    def __init__(self, arrays: list[Any], place: _Place) -> None:
        self._arrays, self._place = arrays, place

    def tree_flatten(self) -> tuple[list[Any], _Place]:
        return self._arrays, self._place

    @classmethod
    def tree_unflatten(cls, place: _Place, arrays: Any) -> Parted:
        return Parted(list(arrays), place.loan.take(place.number))


class _Place:
    """The place of a structure in a loan; the same place in two calls of a program is equal."""

    def __init__(self, loan: _Loan, number: int) -> None:
        self.loan, self.number = loan, number

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Place) and self.number == other.number

    def __hash__(self) -> int:
        return self.number


_MANY_PROGRAMS = 10  # programs compiled for one piece of code, at which a warning is given
_keys_by_code: dict[Any, set[str]] = {}  # for the caller's code, the keys of its programs


def _check_before_compiling(structures: tuple[Structure, ...]) -> None:
    """Refuse arrays whose old contents JAX still has; warn of code that is compiled repeatedly."""
    for structure in structures:
        for life in structure.lives:
            if life.array is not None:
                _refuse_former_contents(life.array())
            elif life.made_by is not None:
                _warn_if_many(life.made_by, structure.key)


def _refuse_former_contents(array: Any) -> None:
    """Raise if JAX still has the former contents of `array`.

    JAX looks up its copies of float64 and int64 arrays by identity while a program keeps them.
    """
    if array is None or array.dtype.kind not in "iufc":
        return

    def is_right() -> bool:
        with jax.ensure_compile_time_eval():
            taken = np.asarray(jnp.asarray(array))
        nan = array.dtype.kind in "fc"
        return np.array_equal(taken, array.astype(taken.dtype), equal_nan=nan)

    if not is_right():
        gc.collect()  # a program that is no longer used may not have been freed yet
    if not is_right():
        raise ValueError(
            f"a NumPy array, {array.dtype}{list(array.shape)}, that an energy, kernel or function "
            "reads was changed in place, and JAX still uses the old contents because a program of "
            "yours keeps them; pass parameters as leaves, jax.tree_util.Partial(f, params), or a "
            "copy"
        )


def _warn_if_many(made_by: Any, key: str) -> None:
    made = _keys_by_code.setdefault(made_by, set())
    if key in made or len(made) >= _MANY_PROGRAMS:
        return
    made.add(key)
    if len(made) == _MANY_PROGRAMS:
        warn(
            f"{_location(made_by)} has been compiled {_MANY_PROGRAMS} times, because each time it "
            "was a new function or object, or held something else. Pass what changes as leaves, "
            "and it is compiled once: jax.tree_util.Partial(f, params) for a function "
            "f(params, x), or a method of a pytree",
            RecompilationWarning,
        )


def _location(made_by: Any) -> str:
    if isinstance(made_by, CodeType):
        return f"{made_by.co_qualname} ({made_by.co_filename}:{made_by.co_firstlineno})"
    return f"An object of {made_by.__module__}.{made_by.__qualname__}"
