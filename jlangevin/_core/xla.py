"""Compiler options: without fusions that compute some energies wrongly, and with wide vectors.

On the CPU, XLA hands some products and reductions over large arrays to fusions of a library,
YNNPACK. In jaxlib 0.10.2 some of the reductions are wrong: Σ_i a_i exp(x_i) + Σ_i x_i² over each
row of an array is wrong from the array's element 32,768 on, with 9 columns from row 3,641 on.
Logarithms, squares and tanh show it too, also in plain `jax.jit(jax.vmap(...))`. An energy is
easily such an expression, so programs are compiled without these fusions where they are wrong. The
products keep theirs, without which networks are up to 1.5 times slower. The releases listed below
are known; others are tested.

XLA prefers vectors of 256 bits where the processor has 512, as some processors of Intel's slow
down with those. Those of AMD do not, and cheap energies are 1.3 to 1.6 times as fast by them.

An option belongs to a whole program, so it cannot be set inside another one. Under a `jax.jit` of
the caller's own, under `jax.grad` or in a `lax.cond`, the caller has to set it, by
XLA_FLAGS=--xla_cpu_experimental_ynn_fusion_type=individual_dot . Under `jax.vmap` alone it applies.
Runs inside another program give a warning whatever their size, as nobody knows which other
reductions are wrong. Where XLA is right the option is not set.
"""

from __future__ import annotations

import functools
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jlangevin._core import trees
from jlangevin._core.trees import PyTree
from jlangevin._core.warn import warn
from jlangevin.errors import MiscompiledWarning

__all__ = ["is_nested", "options", "outermost", "warn_if_miscompiled"]

_OPTION = "xla_cpu_experimental_ynn_fusion_type"
_WITHOUT_REDUCTIONS = {_OPTION: "LIBRARY_FUSION_TYPE_INDIVIDUAL_DOT"}
_WIDE = {"xla_cpu_prefer_vector_width": 512}
_NESTED = "`compiler_options` can only be passed to top-level"
_QUICKLY = {"xla_backend_optimization_level": 0}

# Whether these releases of jaxlib compute an energy wrongly. Testing another one costs the time to
# compile a program.
_KNOWN = {"0.9.1": False, "0.9.2": False, "0.10.2": True, "0.12.0.1": False}


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
def options(quickly: bool) -> dict[str, Any]:
    """The options of a program that is not inside another one; none unless on the CPU."""
    options = (_QUICKLY if quickly else _WIDE if has_wide_vectors() else {}) | (
        _WITHOUT_REDUCTIONS if miscompiles() else {}
    )
    if jax.default_backend() != "cpu" or not options:
        return {}
    if _jaxlib() in _KNOWN:
        return options
    try:
        with jax.ensure_compile_time_eval():
            jax.jit(lambda: 0, compiler_options=options)()
    except (jax.errors.JaxRuntimeError, ValueError):  # unknown to this XLA
        return {}
    return options


@functools.cache
def has_wide_vectors() -> bool:
    """Whether this is a processor of AMD's with AVX-512."""
    try:
        words = Path("/proc/cpuinfo").read_text().split()
    except OSError:  # not Linux
        return False
    return "AuthenticAMD" in words and "avx512f" in words


@functools.cache
def miscompiles() -> bool:
    """Whether XLA, without our options, computes some energies wrongly."""
    if jax.default_backend() != "cpu":
        return False
    known = _KNOWN.get(_jaxlib())
    return probe() if known is None else known


def probe() -> bool:
    """Whether XLA, without our options, computes a test energy wrongly."""
    weights = np.array([1.0, 2.0, 3.0], np.float32)
    x = np.linspace(0.1, 1.0, 3 * 40_000, dtype=np.float32).reshape(-1, 3)
    with jax.ensure_compile_time_eval():
        found = jax.jit(jax.vmap(lambda row: -jnp.sum(weights * jnp.log(row))))(x)
    return not np.allclose(found, np.dot(-np.log(x), weights), rtol=1e-3, atol=1e-3)


def is_nested(error: ValueError) -> bool:
    """Whether `error` says that options were given to a program inside another one."""
    return str(error).startswith(_NESTED)
