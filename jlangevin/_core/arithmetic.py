"""Arithmetic in the forms that derivatives, XLA's vectors and the precision of cards need, and that
compilers round in one way only."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

__all__ = [
    "WRITTEN_OUT",
    "convolve",
    "einsum",
    "fold",
    "hidden_zero",
    "product",
    "root",
    "separately_rounded",
]

WRITTEN_OUT = 32  # terms of a reduction, at most
_FULL = lax.Precision.HIGHEST
_WORDS = {2: jnp.uint16, 4: jnp.uint32, 8: jnp.uint64}


def product(*factors: jax.Array) -> jax.Array:
    """The product of matrices and vectors, as by the operator for it, but in full precision.

    Left at JAX's default, a card rounds float32 factors to 10 bits of mantissa (TF32). This and
    the two below are the only products of the library. A user's energy has the user's own.
    """
    return functools.reduce(functools.partial(jnp.matmul, precision=_FULL), factors)


einsum = functools.partial(jnp.einsum, precision=_FULL)
convolve = functools.partial(jnp.convolve, precision=_FULL)


def fold(two: Callable[..., jax.Array], whole: Callable[..., jax.Array], terms: Any) -> jax.Array:
    """A reduction over the leading axis, of few terms one by one: `two` of two, or `whole` of all.

    XLA's CPU backend has no vectors for it unless the chains, which lie behind, are taken term by
    term.
    """
    few = 0 < len(terms) <= WRITTEN_OUT
    return functools.reduce(two, terms) if few else whole(terms, axis=0)


def root(square: jax.Array) -> jax.Array:
    """The square root, with the derivative 0 at 0, where it has none."""
    zero = square == 0
    return jnp.where(zero, 0, jnp.sqrt(jnp.where(zero, 1, square)))


def hidden_zero(positive: jax.Array) -> jax.Array:
    """The sign bit of a positive number as an integer: zero, but no compiler knows."""
    word = _WORDS[positive.dtype.itemsize]
    bits = lax.bitcast_convert_type(positive, word)
    return bits >> word(8 * positive.dtype.itemsize - 1)


@jax.custom_jvp
def separately_rounded(x: jax.Array, zero: jax.Array) -> jax.Array:
    """`x`, rounded where it stands, whatever is added to it afterwards.

    Compilers contract a product and a sum into one rounding where they see both: not if the
    product was moved out of a loop, and not in every copy of a loop that they make. Two programs
    for the same chain, a block of 100 steps and one of 60, then differ in the last bit. An integer
    "or" with a zero that is hidden from the compiler stands between product and sum.
    """
    word = _WORDS[x.dtype.itemsize]
    bits = lax.bitcast_convert_type(x, word) | zero.astype(word)
    return lax.bitcast_convert_type(bits, x.dtype)


@separately_rounded.defjvp
def _(primals: Any, tangents: Any) -> tuple[jax.Array, jax.Array]:
    return separately_rounded(*primals), tangents[0]
