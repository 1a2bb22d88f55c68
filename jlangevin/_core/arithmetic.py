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
    "decayed",
    "einsum",
    "fold",
    "hidden_zero",
    "log1p_to_one",
    "product",
    "root",
    "separately_rounded",
    "tanh_shares",
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


def tanh_shares(y: jax.Array) -> tuple[jax.Array, jax.Array]:
    """tanh(y)/y and (y - tanh(y))/y² for y ≥ 0, to full precision however small y is.

    Below 1 by the continued fraction of Lambert, y/tanh(y) = 1 + y²/(3 + y²/(5 + …)), in which
    nothing is subtracted; after 17 it is exact to 3e-16.
    """
    small, large = jnp.minimum(y, 1), jnp.maximum(y, 1)
    square = small * small
    below = jnp.full_like(y, 17)
    for odd in (15, 13, 11, 9, 7, 5, 3):
        below = odd + square / below
    tangent = jnp.tanh(large)
    ratio = jnp.where(y < 1, below / (below + square), tangent / large)
    gap = jnp.where(y < 1, small / (below + square), (large - tangent) / (large * large))
    return ratio, gap


def decayed(a: jax.Array) -> tuple[jax.Array, jax.Array]:
    """(1 - e^{-a})/a and (a - 1 + e^{-a})/a² for a ≥ 0, to full precision however small a is.

    The mean of e^{-s} over s in [0, a], and that of (1 - s/a) e^{-s}.
    """
    ratio, gap = tanh_shares(a / 2)
    halved = 1 / (1 + jnp.tanh(a / 2))
    return ratio * halved, (ratio + gap) * halved / 2


@jax.custom_jvp
def log1p_to_one(x: jax.Array) -> jax.Array:
    """log(1 + x) for 0 ≤ x ≤ 1, to full precision however small x is, in half of XLA's time.

    What the sum loses of x, it loses of both logarithm and difference (Kahan).
    """
    whole = 1 + x
    whole = separately_rounded(whole, hidden_zero(whole))  # else XLA would take 1 away again
    none = whole == 1
    return jnp.where(none, x, jnp.log(whole) * (x / jnp.where(none, 1, whole - 1)))


@log1p_to_one.defjvp
def _(primals: Any, tangents: Any) -> tuple[jax.Array, jax.Array]:
    (x,), (dx,) = primals, tangents
    return log1p_to_one(x), dx / (1 + x)


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
