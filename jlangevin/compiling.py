"""Compiled programs, without a part of XLA that computes some of them wrongly.

On the CPU, XLA hands some reductions over large arrays to a library of its own fusions, YNNPACK. In
jaxlib 0.10.2 these are wrong for some expressions: Σ_i a_i exp(x_i) + Σ_i x_i² of each row of an
array is, from the array's element 32,768 on, in 9 columns from row 3,641. Logarithms, squares and
tanh show it too, also in plain `jax.jit(jax.vmap(...))`. An energy is such an expression as likely
as not. So where XLA is seen to compute one wrongly, programs are compiled without these fusions.

That is an option of a program and so is not to be had inside of another one: under a `jax.jit` of
the caller's own, under `jax.grad` or in a `lax.cond`, the caller has to set it, by
XLA_FLAGS=--xla_cpu_experimental_ynn_fusion_type= . Under `jax.vmap` alone it holds. Such runs are
warned of whatever their size, as nobody knows which other reductions are wrong. Where XLA is right
the option is not given, since networks are up to 1.5 times slower with it.
"""

from __future__ import annotations

import functools
import gc
from collections.abc import Callable, Iterator
from types import CodeType
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from jlangevin import trees
from jlangevin._energy import GivenGradient
from jlangevin._warn import warn
from jlangevin.errors import MiscompiledWarning, RecompilationWarning
from jlangevin.trees import Structure

__all__ = ["compiled", "energy_values", "kept", "mapped", "traced_once", "warn_if_miscompiled"]

F = TypeVar("F", bound=Callable[..., Any])

_BATCH = 4096  # points at a time; results do not depend on it
_WITHOUT_YNN = {"xla_cpu_experimental_ynn_fusion_type": ""}
_NESTED = "`compiler_options` can only be passed to top-level"
_QUICKLY = {"xla_backend_optimization_level": 0}


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
    """`jax.jit` of `function`, with the options of `_options` where it is not inside of another.

    Inside of one that is `inline` leaves no trace but its own operations.

    Arguments in `static_argnames`, given by name, are compiled for; what is compiled for one is
    `kept`. One that is compiled `quickly`, in about half the time, is for small arrays and a single
    use.
    """

    @kept
    def program(*statics: Any) -> _Program:
        _check_before_compiling(statics)
        return _Program(function, _options(quickly), inline)

    def split(kwargs: dict[str, Any]) -> tuple[_Program, _Statics]:
        statics = {name: kwargs.pop(name) for name in static_argnames if name in kwargs}
        return program(*statics.values()), _Statics(statics)

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        made, statics = split(kwargs)
        with statics:
            if _outermost():
                try:
                    return made.outer(statics, *args, **kwargs)
                except ValueError as error:
                    # Under jax.grad, which JAX tells only thus.
                    if not str(error).startswith(_NESTED):
                        raise
            return made.inner(statics, *args, **kwargs)

    def lower(*args: Any, **kwargs: Any) -> Any:
        made, statics = split(kwargs)
        with statics:
            return made.outer.lower(statics, *args, **kwargs)

    call.lower = lower  # type: ignore[attr-defined]
    return call  # type: ignore[return-value]


class _Program:
    """A function under `jax.jit`, for one choice of static arguments: JAX lets it go with this."""

    def __init__(self, function: Callable[..., Any], options: Any, inline: bool) -> None:
        def traced(statics: _Statics, *args: Any, **kwargs: Any) -> Any:
            return function(*args, **kwargs, **statics.use())

        traced.__name__, traced.__qualname__ = function.__name__, function.__qualname__
        self.inner = jax.jit(traced, static_argnums=0, inline=inline)
        self.outer = jax.jit(traced, static_argnums=0, inline=inline, compiler_options=options)


class _Statics:
    """Static arguments, while they are needed: JAX keeps this object with the program.

    All of one program are equal. What functions do beside giving a result, as counting their calls,
    they do while they are traced: that is no change of theirs.
    """

    def __init__(self, given: dict[str, Any]) -> None:
        self._given = given
        self._used = False

    def use(self) -> dict[str, Any]:
        self._used = True
        return self._given

    def __enter__(self) -> None: ...

    def __exit__(self, *_: Any) -> None:
        if self._used:
            for structure in _structures(tuple(self._given.values())):
                trees.absorb(structure)
        self._given = {}

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Statics)

    def __hash__(self) -> int:
        return 0


_AGAIN = 10  # programs for one piece of code, from which on it is worth a word
_made_of: dict[Any, set[str]] = {}  # for the caller's code, the keys of what was compiled


def _check_before_compiling(statics: Any) -> None:
    """Refuse arrays that JAX takes for what they were, and say what compiles again and again."""
    for structure in _structures(statics):
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


@trees.pytree_dataclass
class _TracedOnce:
    """See `traced_once`. What else an energy has is found in it too."""

    arrays: list[Any]
    structure: Structure = trees.static_field()

    def __call__(self, position: Any) -> jax.Array:
        value: jax.Array = _energy_at(self.arrays, position, structure=self.structure)
        return value

    @property
    def traced_energy(self) -> Any:
        """The energy itself."""
        return trees.combine(self.arrays, self.structure)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name in ("arrays", "structure"):
            raise AttributeError(name)
        return getattr(self.traced_energy, name)


def traced_once(arrays: list[Any], structure: Structure) -> Any:
    """The energy of these parts, its Python code run once for each kind of position.

    The programs of a run ask for it some ten times, and so would trace all of a network as often.
    One that gives its own gradient is asked as it is.
    """
    energy = trees.combine(arrays, structure)
    if isinstance(energy, GivenGradient):
        return energy
    return _TracedOnce(arrays, structure)


def mapped(function: Callable[[Any, Any], Any], energy: Any, x: Any) -> Any:
    """`function(energy, point)` at each of n points, x's leaves (n, …); compiled by structure."""
    arrays, structure = trees.partition(energy)
    return _mapped(arrays, x, structure=structure, function=function)


def energy_values(energy: Any, x: Any) -> jax.Array:
    """The energy at each of n points, (n,)."""
    found: jax.Array = mapped(_value, energy, x)
    return found


def warn_if_miscompiled(arrays: Any) -> None:
    """For what is made of `arrays`: say so if that is inside of a program of the caller's own."""
    if not _miscompiles() or _takes_options(arrays):
        return
    option = next(iter(_WITHOUT_YNN))
    warn(
        "XLA as installed computes some energies wrongly, seen where chains × dimension is above "
        "32,768. This library tells it not to, which cannot be done inside of a jit, grad or cond "
        f"of yours. Set XLA_FLAGS=--{option}= before JAX starts; or give your outermost jax.jit "
        f'compiler_options={{"{option}": ""}}, and ignore this warning',
        MiscompiledWarning,
    )


def _value(energy: Any, point: Any) -> jax.Array:
    value: jax.Array = energy(point)
    return value


def _takes_options(arrays: Any) -> bool:
    """Whether a program of these arrays can have options: not inside of another, nor under grad."""
    if not _outermost():
        return False
    try:
        jax.jit(lambda _: 0, compiler_options=_WITHOUT_YNN)(arrays)
    except ValueError as error:
        if not str(error).startswith(_NESTED):
            raise
        return False
    return True


def _outermost() -> bool:
    """Whether no program is being made that this one would be inside of."""
    return trees.is_concrete(jnp.zeros(()))


@functools.cache
def _options(quickly: bool) -> dict[str, Any]:
    """What a program is compiled with, if it is not inside of another: nothing but on the CPU."""
    options = (_QUICKLY if quickly else {}) | (_WITHOUT_YNN if _miscompiles() else {})
    if jax.default_backend() != "cpu" or not options:
        return {}
    try:
        with jax.ensure_compile_time_eval():
            jax.jit(lambda: 0, compiler_options=options)()
    except (jax.errors.JaxRuntimeError, ValueError):  # XLA does not know them
        return {}
    return options


@functools.cache
def _miscompiles() -> bool:
    """Whether XLA, left to itself, computes an energy wrongly: it is tried, which takes 0.05 s."""
    if jax.default_backend() != "cpu":
        return False
    weights = np.array([1.0, 2.0, 3.0], np.float32)
    x = np.linspace(0.1, 1.0, 3 * 40_000, dtype=np.float32).reshape(-1, 3)
    with jax.ensure_compile_time_eval():
        found = jax.jit(jax.vmap(lambda row: -jnp.sum(weights * jnp.log(row))))(x)
    return not np.allclose(found, np.dot(-np.log(x), weights), rtol=1e-3, atol=1e-3)


@functools.partial(compiled, static_argnames=("structure",), inline=True)
def _energy_at(arrays: list[Any], position: Any, *, structure: Structure) -> jax.Array:
    value: jax.Array = trees.combine(arrays, structure)(position)
    return value


@functools.partial(compiled, static_argnames=("structure", "function"))
def _mapped(arrays: Any, x: Any, *, structure: Any, function: Any) -> Any:
    energy = trees.combine(arrays, structure)
    batch = min(_BATCH, len(jax.tree.leaves(x)[0]))
    return jax.lax.map(lambda point: function(energy, point), x, batch_size=batch)
