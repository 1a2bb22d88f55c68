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
import warnings
from collections.abc import Callable
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from jlangevin import trees
from jlangevin.errors import MiscompiledWarning

__all__ = ["compiled", "energy_values", "mapped", "warn_if_miscompiled"]

F = TypeVar("F", bound=Callable[..., Any])

_BATCH = 4096  # points at a time; results do not depend on it
_WITHOUT_YNN = {"xla_cpu_experimental_ynn_fusion_type": ""}
_NESTED = "`compiler_options` can only be passed to top-level"
_QUICKLY = {"xla_backend_optimization_level": 0}


def compiled(function: F, *, static_argnames: tuple[str, ...] = (), quickly: bool = False) -> F:
    """`jax.jit` of `function`, with the options of `_options` where it is not inside of another.

    One that is compiled `quickly`, in about half the time, is for small arrays and a single use.
    """
    inner = jax.jit(function, static_argnames=static_argnames)

    @functools.cache
    def outer() -> Any:  # not before it is called, as a device is asked for the options
        options: Any = _options(quickly)
        return jax.jit(function, static_argnames=static_argnames, compiler_options=options)

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        if _outermost():
            try:
                return outer()(*args, **kwargs)
            except ValueError as error:
                if not str(error).startswith(_NESTED):  # under jax.grad, which JAX tells only thus
                    raise
        return inner(*args, **kwargs)

    def lower(*args: Any, **kwargs: Any) -> Any:
        return outer().lower(*args, **kwargs)

    call.lower = lower  # type: ignore[attr-defined]
    return call  # type: ignore[return-value]


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
    warnings.warn(
        "XLA as installed computes some energies wrongly, seen where chains × dimension is above "
        "32,768. This library tells it not to, which cannot be done inside of a jit, grad or cond "
        f"of yours. Set XLA_FLAGS=--{option}= before JAX starts; or give your outermost jax.jit "
        f'compiler_options={{"{option}": ""}}, and ignore this warning',
        MiscompiledWarning,
        stacklevel=4,
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


@functools.partial(compiled, static_argnames=("structure", "function"))
def _mapped(arrays: Any, x: Any, *, structure: Any, function: Any) -> Any:
    energy = trees.combine(arrays, structure)
    batch = min(_BATCH, len(jax.tree.leaves(x)[0]))
    return jax.lax.map(lambda point: function(energy, point), x, batch_size=batch)
