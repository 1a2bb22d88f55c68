"""Arithmetic in the forms that derivatives and XLA's vectors need."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

__all__ = ["WRITTEN_OUT", "fold", "root"]

WRITTEN_OUT = 32  # terms of a reduction, at most


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
