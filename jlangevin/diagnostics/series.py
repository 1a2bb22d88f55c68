"""Shared by estimates of a series: axes, halves, ranks, quantiles and variances.

A series is an array (chain, draw). Estimates follow Vehtari, Gelman, Simpson, Carpenter and Bürkner
(2021), and in float64 agree with ArviZ to rounding, odd cases included: a NaN anywhere, or fewer
than 4 draws a chain, gives NaN.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.scipy.special import ndtri

from jlangevin._core import trees
from jlangevin._core.checks import as_draws_array
from jlangevin._core.trees import Numbers
from jlangevin._core.warn import warn
from jlangevin.errors import AxesWarning

__all__ = [
    "MIN_DRAWS",
    "as_series",
    "centred",
    "median",
    "normal_scores",
    "over_elements",
    "quantile",
    "split_chains",
    "standard_deviation",
    "variances",
]

MIN_DRAWS = 4  # with fewer the result is NaN, as in ArviZ


def as_series(name: str, x: Numbers, *, warn_of_axes: bool = False) -> jax.Array:
    """`x` as floats of at least 32 bits with axes (chain, draw, …).

    If `warn_of_axes`, warn if there are more chains than draws.
    """
    x = as_draws_array(name, x)
    if x.ndim < 2 or 0 in x.shape:
        raise ValueError(
            f"{name}: expected axes (chain, draw, …), none of them empty, got shape {x.shape}"
            + ("; add the chain axis, x[None]" if x.ndim == 1 else "")
        )
    if warn_of_axes and x.shape[0] > x.shape[1]:
        warn(
            f"{name}: shape {x.shape} is taken for {x.shape[0]} chains of {x.shape[1]} draws, as "
            "the axes are (chain, draw, …). If it is one chain, (draw, …), give x[None]; if it is "
            "(draw, chain, …), give jnp.swapaxes(x, 0, 1); if it is right, ignore this warning",
            AxesWarning,
        )
    return trees.at_least_float32(x)


def over_elements(function: Callable[[jax.Array], jax.Array], x: jax.Array) -> jax.Array:
    """A function of one series (chain, draw), over the trailing axes; NaN for too few draws."""
    if x.shape[1] < MIN_DRAWS:
        return jnp.full(x.shape[2:], jnp.nan, x.dtype)
    flat = x.reshape(*x.shape[:2], -1)
    return jax.vmap(function, in_axes=2)(flat).reshape(x.shape[2:])


def split_chains(x: jax.Array) -> jax.Array:
    """First and last halves as separate chains, without the middle draw of an odd number."""
    half = x.shape[1] // 2
    return jnp.concatenate([x[:, :half], x[:, x.shape[1] - half :]])


def centred(x: jax.Array, axis: int | tuple[int, ...]) -> jax.Array:
    """Subtract the mean, twice: the second time removes what rounding left the first time."""
    x = x - jnp.mean(x, axis=axis, keepdims=True)
    return x - jnp.mean(x, axis=axis, keepdims=True)


def standard_deviation(x: jax.Array) -> jax.Array:
    """The standard deviation of all draws, with divisor n - 1."""
    return jnp.sqrt(jnp.sum(centred(x, (0, 1)) ** 2) / max(x.size - 1, 1))


def variances(x: jax.Array) -> jax.Array:
    """Variances along the last axis, with divisor n - 1; 0 for a single number."""
    return jnp.sum(centred(x, -1) ** 2, axis=-1) / max(x.shape[-1] - 1, 1)


def normal_scores(x: jax.Array) -> jax.Array:
    """Normal quantiles of the ranks among all of `x`, ties averaged (Blom 1958)."""
    rank = jax.scipy.stats.rankdata(x).reshape(x.shape)
    scores = ndtri((rank - 0.375) / (x.size + 0.25)).astype(x.dtype)
    return jnp.where(jnp.max(x) == jnp.min(x), 0, scores)  # zeros, without rounding


def quantile(x: jax.Array, probability: float) -> jax.Array:
    """NumPy's quantile, to the last bit: draws are compared with it, and may be equal to it."""
    ordered = jnp.sort(x.reshape(-1))
    place = (x.size - 1) * probability
    low = math.floor(place)
    below, above = ordered[low], ordered[min(low + 1, x.size - 1)]
    fraction = place - low
    if fraction >= 0.5:
        return above - (above - below) * (1 - fraction)
    return below + (above - below) * fraction


def median(x: jax.Array) -> jax.Array:
    """The mean of the two in the middle, which must be equally far from both."""
    ordered = jnp.sort(x.reshape(-1))
    return 0.5 * (ordered[(x.size - 1) // 2] + ordered[x.size // 2])
