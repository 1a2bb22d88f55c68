"""Compiler options: no reductions by a library, wide vectors, and loops on all cores.

On the CPU, XLA hands some products and reductions over large arrays to fusions of a library,
YNNPACK. In jaxlib 0.10.2 some of the reductions are wrong: Σ_i a_i exp(x_i) + Σ_i x_i² over each
row of an array is wrong from the array's element 32,768 on, with 9 columns from row 3,641 on.
Logarithms, squares and tanh show it too, also in plain `jax.jit(jax.vmap(...))`. An energy is
easily such an expression, so programs are compiled without these fusions. Where they are right they
are slow: mixtures take 1.7 times as long by them. The products keep theirs, without which networks
are up to 1.5 times slower.

From jaxlib 0.12 on XLA makes one function of a whole loop, whatever the size of its arrays (before,
up to a kilobyte), and a function runs on one core. For few numbers that is faster, up to six times;
a loop over many is compiled without it.

XLA prefers vectors of 256 bits where the processor has 512, as some processors of Intel's slow
down with those. Those of AMD do not, and cheap energies are 1.3 to 1.6 times as fast by them.

The releases listed below are known; others are tested.

An option belongs to a whole program, so it cannot be set inside another one. Under a `jax.jit` of
the caller's own, under `jax.grad` or in a `lax.cond`, the caller has to set it, by
XLA_FLAGS=--xla_cpu_experimental_ynn_fusion_type=individual_dot . Under `jax.vmap` alone it applies.
Where XLA is wrong, runs inside another program give a warning whatever their size, as nobody knows
which other reductions are wrong.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jlangevin._core import trees
from jlangevin._core.trees import PyTree
from jlangevin._core.warn import warn
from jlangevin.errors import MiscompiledWarning

__all__ = ["are_large", "is_nested", "options", "outermost", "warn_if_miscompiled"]

_OPTION = "xla_cpu_experimental_ynn_fusion_type"
_WITHOUT_REDUCTIONS = {_OPTION: "LIBRARY_FUSION_TYPE_INDIVIDUAL_DOT"}
_WIDE = {"xla_cpu_prefer_vector_width": 512}
_ON_ALL_CORES = {"xla_disable_hlo_passes": "small-while-loop-hoisting"}
_MANY = 2**14  # numbers in an array, from which a loop is faster on two cores; a measured optimum
_NESTED = "`compiler_options` can only be passed to top-level"
_ONE_CALL = "xla_cpu_small_call"  # its mark in a compiled program
_QUICKLY = {"xla_backend_optimization_level": 0}


class _Release(NamedTuple):
    """What is known of a release of jaxlib that has all of these options."""

    miscompiles: bool  # it computes an energy wrongly
    on_one_core: bool  # its loops over large arrays run on one


# Testing another one costs the time to compile a few programs.
_KNOWN = {"0.10.2": _Release(True, False), "0.12.0.1": _Release(False, True)}


def warn_if_miscompiled(arrays: PyTree) -> None:
    """Warn if a run on `arrays` is inside a program of the caller's, where no options apply."""
    if not miscompiles() or _takes_options(arrays):
        return
    warn(
        "XLA as installed computes some energies wrongly, seen where chains × dimension is above "
        "32,768. This library avoids that by a compiler option, which it cannot set inside a jit, "
        f"grad or cond of yours. Set XLA_FLAGS=--{_OPTION}=individual_dot before JAX starts; or "
        f"give your outermost jax.jit compiler_options={_WITHOUT_REDUCTIONS}, and ignore this "
        "warning",
        MiscompiledWarning,
    )


def _takes_options(arrays: PyTree) -> bool:
    """Whether a program on `arrays` can have options; not inside another program or under grad."""
    if not outermost():
        return False
    try:
        jax.jit(lambda _: 0, compiler_options=_WITHOUT_REDUCTIONS)(arrays)
    except ValueError as error:
        if not is_nested(error):
            raise
        return False
    return True


def outermost() -> bool:
    """Whether a program called here would not be inside another one."""
    return trees.is_concrete(jax.device_put(_zero()))


@functools.cache
def _zero() -> jax.Array:
    """On a device, as putting it there again is quick, and compiles nothing."""
    with jax.ensure_compile_time_eval():
        return jax.device_put(np.zeros((), np.float32))


def _jaxlib() -> str:
    return version("jaxlib")


@functools.cache
def options(quickly: bool, large: bool) -> dict[str, Any]:
    """The options of a program that is not inside another one; none unless on the CPU.

    `quickly` halves the time to compile; `large` is what `are_large` says of its arguments.
    """
    if jax.default_backend() != "cpu":
        return {}
    made: dict[str, Any] = {}
    for option, wanted in (
        (_QUICKLY, quickly),
        (_WIDE, not quickly and has_wide_vectors()),
        (_WITHOUT_REDUCTIONS, True),
        (_ON_ALL_CORES, large),
    ):
        if wanted and all(_has(*each) for each in option.items()):
            made |= option
    return made


@functools.cache
def _has(option: str, value: Any) -> bool:
    """Whether this XLA knows an option."""
    if _jaxlib() in _KNOWN:
        return True
    try:
        with jax.ensure_compile_time_eval():
            jax.jit(lambda: 0, compiler_options={option: value})()
    except (jax.errors.JaxRuntimeError, ValueError):
        return False
    return True


def are_large(arrays: Iterable[Any]) -> bool:
    """Whether loops over these arrays have to be told to run on all cores."""
    return loops_on_one_core() and any(getattr(array, "size", 1) >= _MANY for array in arrays)


@functools.cache
def has_wide_vectors() -> bool:
    """Whether this is a processor of AMD's with AVX-512."""
    try:
        words = Path("/proc/cpuinfo").read_text().split()
    except OSError:  # not Linux
        return False
    return "AuthenticAMD" in words and "avx512f" in words


@functools.cache
def _release() -> _Release:
    """What XLA, without our options, is like."""
    if jax.default_backend() != "cpu":
        return _Release(miscompiles=False, on_one_core=False)
    return _KNOWN.get(_jaxlib()) or _Release(probe(), probe_loop())


def miscompiles() -> bool:
    """Whether XLA, without our options, computes some energies wrongly."""
    return _release().miscompiles


def loops_on_one_core() -> bool:
    """Whether XLA, without our options, runs loops over large arrays on one core."""
    return _release().on_one_core


def probe() -> bool:
    """Whether XLA, without our options, computes a test energy wrongly."""
    weights = np.array([1.0, 2.0, 3.0], np.float32)
    x = np.linspace(0.1, 1.0, 3 * 40_000, dtype=np.float32).reshape(-1, 3)
    with jax.ensure_compile_time_eval():
        found = jax.jit(jax.vmap(lambda row: -jnp.sum(weights * jnp.log(row))))(x)
    return not np.allclose(found, np.dot(-np.log(x), weights), rtol=1e-3, atol=1e-3)


def probe_loop() -> bool:
    """Whether XLA, without our options, makes a call that runs on one core of a loop."""

    def loop(x: jax.Array) -> jax.Array:
        return lax.fori_loop(0, 100, lambda _, x: x + jnp.sin(x), x)

    struct = jax.ShapeDtypeStruct((2**20,), np.float32)
    with jax.ensure_compile_time_eval():
        return _ONE_CALL in str(jax.jit(loop).lower(struct).compile().as_text())


def is_nested(error: ValueError) -> bool:
    """Whether `error` says that options were given to a program inside another one."""
    return str(error).startswith(_NESTED)
