"""Arithmetic with safe derivatives, vectorised loops, full precision and reproducible rounding."""

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

WRITTEN_OUT = 32  # the most terms of a reduction that is unrolled
_FULL = lax.Precision.HIGHEST
_WORDS = {2: jnp.uint16, 4: jnp.uint32, 8: jnp.uint64}


def product(*factors: jax.Array) -> jax.Array:
    """The product of matrices and vectors, like the operator `@` but in full precision.

    At JAX's default precision a GPU rounds float32 factors to 10 bits of mantissa (TF32). The
    library uses no products but this one and the two below; an energy written by a user has its
    own.
    """
    return functools.reduce(functools.partial(jnp.matmul, precision=_FULL), factors)


einsum = functools.partial(jnp.einsum, precision=_FULL)
convolve = functools.partial(jnp.convolve, precision=_FULL)


def fold(
    pairwise: Callable[..., jax.Array], whole: Callable[..., jax.Array], terms: Any
) -> jax.Array:
    """A reduction over the leading axis: few terms one by one by `pairwise`, many by `whole`.

    The chains are on the last axis. XLA's CPU backend vectorises over them only if the reduction
    is unrolled.
    """
    few = 0 < len(terms) <= WRITTEN_OUT
    return functools.reduce(pairwise, terms) if few else whole(terms, axis=0)


def root(square: jax.Array) -> jax.Array:
    """The square root; its derivative at 0, which does not exist, is taken as 0."""
    zero = square == 0
    return jnp.where(zero, 0, jnp.sqrt(jnp.where(zero, 1, square)))


def hidden_zero(positive: jax.Array) -> jax.Array:
    """The sign bit of a positive number as an integer: a zero that no compiler can fold away."""
    word = _WORDS[positive.dtype.itemsize]
    bits = lax.bitcast_convert_type(positive, word)
    return bits >> word(8 * positive.dtype.itemsize - 1)


@jax.custom_jvp
def separately_rounded(x: jax.Array, zero: jax.Array) -> jax.Array:
    """`x`, rounded before anything is added to it.

    Compilers contract a product and a sum into one rounding (FMA) where they see both: not if the
    product was moved out of a loop, and not in every copy of a loop that they make. Two programs
    for the same chain, a block of 100 steps and one of 60, would then differ in the last bit. To
    prevent this, an integer "or" with a zero that is hidden from the compiler separates the two.
    """
    word = _WORDS[x.dtype.itemsize]
    bits = lax.bitcast_convert_type(x, word) | zero.astype(word)
    return lax.bitcast_convert_type(bits, x.dtype)


@separately_rounded.defjvp
def _(primals: Any, tangents: Any) -> tuple[jax.Array, jax.Array]:
    return separately_rounded(*primals), tangents[0]
