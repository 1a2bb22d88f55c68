"""Arithmetic in the forms that derivatives, XLA's vectors and the precision of cards need."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

__all__ = ["WRITTEN_OUT", "convolve", "einsum", "fold", "product", "root"]

WRITTEN_OUT = 32  # terms of a reduction, at most
_FULL = lax.Precision.HIGHEST


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
