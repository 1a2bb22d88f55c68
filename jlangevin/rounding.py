"""Arithmetic that a compiler cannot round in two ways."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

__all__ = ["apart", "hidden_zero"]

_WORDS = {2: jnp.uint16, 4: jnp.uint32, 8: jnp.uint64}


def hidden_zero(positive: jax.Array) -> jax.Array:
    """The sign bit of a positive number as an integer: zero, but no compiler knows."""
    word = _WORDS[positive.dtype.itemsize]
    bits = lax.bitcast_convert_type(positive, word)
    return bits >> word(8 * positive.dtype.itemsize - 1)


@jax.custom_jvp
def apart(x: jax.Array, zero: jax.Array) -> jax.Array:
    """`x`, rounded where it stands, whatever is added to it afterwards.

    Compilers contract a product and a sum into one rounding where they see both: not if the
    product was moved out of a loop, and not in every copy of a loop that they make. Two programs
    for the same chain, a block of 100 steps and one of 60, then differ in the last bit. An integer
    "or" with a zero that is hidden from the compiler stands between product and sum.
    """
    word = _WORDS[x.dtype.itemsize]
    bits = lax.bitcast_convert_type(x, word) | zero.astype(word)
    return lax.bitcast_convert_type(bits, x.dtype)


@apart.defjvp
def _(primals: Any, tangents: Any) -> tuple[jax.Array, jax.Array]:
    return apart(*primals), tangents[0]
