"""Compiled programs, without a part of XLA that computes some of them wrongly.

On the CPU, XLA hands some reductions over large arrays to a library of its own fusions, YNNPACK. In
jaxlib 0.10.2 these are wrong for some expressions: -Σ_i a_i log(x_i) over three elements is, for
more than 32,768 rows, off from there on, also in plain `jax.jit(jax.vmap(...))`. An energy is such
an expression as likely as not, so programs that evaluate energies are compiled without them. That
is an option of a program and so is not to be had inside of another one: under a `jax.jit` of the
caller's own, the caller has to set it, by XLA_FLAGS=--xla_cpu_experimental_ynn_fusion_type= .
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar

import jax
import jax.numpy as jnp

from jlangevin import trees

__all__ = ["compiled"]

F = TypeVar("F", bound=Callable[..., Any])

_WITHOUT_YNN: Any = {"xla_cpu_experimental_ynn_fusion_type": ""}


def compiled(function: F, *, static_argnames: tuple[str, ...] = ()) -> F:
    """`jax.jit` of `function`, with the options above where it is not inside of another program."""
    inner = jax.jit(function, static_argnames=static_argnames)
    outer = jax.jit(function, static_argnames=static_argnames, compiler_options=_WITHOUT_YNN)

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        return (outer if _outermost(args) and _known() else inner)(*args, **kwargs)

    def lower(*args: Any, **kwargs: Any) -> Any:
        return (outer if _known() else inner).lower(*args, **kwargs)

    call.lower = lower  # type: ignore[attr-defined]
    return call  # type: ignore[return-value]


def _outermost(args: Any) -> bool:
    """Whether nothing is being traced: neither the arguments, nor what is made of none."""
    return trees.is_concrete(args) and trees.is_concrete(jnp.zeros(()))


@functools.cache
def _known() -> bool:
    """Whether this is the CPU, and its XLA knows the option."""
    if jax.default_backend() != "cpu":
        return False
    try:
        jax.jit(lambda: 0, compiler_options=_WITHOUT_YNN)()
    except (jax.errors.JaxRuntimeError, ValueError):
        return False
    return True
