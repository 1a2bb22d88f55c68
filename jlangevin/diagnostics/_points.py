"""Draws as points in R^d."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from jlangevin import trees
from jlangevin._checks import as_draws_array, check_finite, check_scalar

__all__ = ["as_draws", "check_temperature", "positions"]


def as_draws(x: Any, *, minimum: int) -> jax.Array:
    """`x` as finite floats with axes (draw, d) or (chain, draw, d)."""
    x = as_draws_array("x", x)
    if x.ndim not in (2, 3):
        hint = "; for one dimension, x[..., None]" if x.ndim == 1 else ""
        raise ValueError(
            f"x: expected shape (draw, d) or (chain, draw, d), got shape {x.shape}{hint}"
        )
    if x.shape[-1] == 0 or x.size // x.shape[-1] < minimum:
        raise ValueError(f"x: expected at least {minimum} draw(s), got shape {x.shape}")
    check_finite("x", x)
    return trees.wide(x)


def positions(x: jax.Array) -> jax.Array:
    """All draws of all chains, (n, d), chain by chain."""
    return x.reshape(-1, x.shape[-1])


def check_temperature(temperature: Any, dtype: Any) -> jax.Array:
    check_scalar("temperature", temperature, positive=True)
    return jnp.asarray(temperature, dtype)
