"""What many chains have in common, in a form that can be merged over several runs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jlangevin._core.trees import MaybeArray

__all__ = ["OverChains", "mask_like", "mean_over_chains"]

_Array = np.ndarray[Any, Any]


class OverChains(NamedTuple):
    """The means of arrays over chains, and how the first of them spreads around its mean.

    With groups of chains, all arrays have a leading axis of groups.
    """

    num_chains: jax.Array  # a float
    means: tuple[jax.Array, ...]
    spread: MaybeArray = (
        None  # the mean of (x - mean)² or of the matrix of products; None if not needed
    )

    @classmethod
    def of(
        cls,
        keep: jax.Array,
        *each: jax.Array,
        product: Callable[[jax.Array, jax.Array], jax.Array] | None = None,
    ) -> OverChains:
        """Of arrays with a leading chain axis, over the chains to keep."""
        means = tuple(mean_over_chains(x, keep) for x in each)
        spread = None
        if product is not None:
            apart = each[0] - means[0][None]
            spread = mean_over_chains(jax.vmap(product)(apart, apart), keep)
        return cls(jnp.sum(keep).astype(each[0].dtype), means, spread)

    def merge(self, other: OverChains) -> OverChains:
        """By the formulas of Chan, Golub and LeVeque (1979), in float64."""
        a, b = (jax.tree.map(lambda x: np.asarray(x, np.float64), part) for part in (self, other))
        count: Any = np.asarray(a.num_chains + b.num_chains)
        with np.errstate(invalid="ignore"):  # without chains there is no mean
            share: Any = np.asarray(b.num_chains / count)
            means: Any = tuple(_mix(x, y, share) for x, y in zip(a.means, b.means, strict=True))
            if self.spread is None:
                return OverChains(count, means)
            between = _products(b.means[0] - a.means[0], a.spread, share.ndim)
            between = between * _with_axes(share * (1 - share), between)
            between = np.where(_with_axes((share > 0) & (share < 1), between), between, 0)
            return OverChains(count, means, _mix(a.spread, b.spread, share) + between)


def _mix(a: _Array, b: _Array, share: _Array) -> _Array:
    """(1 - share) a + share b. Where a share is 0, what it belongs to may be NaN."""
    share = _with_axes(share, a)
    return np.where(share == 0, a, np.where(share == 1, b, a + (b - a) * share))


def _with_axes(x: _Array, like: _Array) -> _Array:
    return x.reshape(x.shape + (1,) * (np.ndim(like) - x.ndim))


def _products(apart: _Array, spread: _Array, groups: int) -> _Array:
    """The squares, or the matrix of products of all elements where `spread` is one."""
    if apart.shape == spread.shape:
        return apart**2
    flat = apart.reshape(*apart.shape[:groups], -1)
    return flat[..., :, None] * flat[..., None, :]


def mask_like(keep: jax.Array, x: jax.Array) -> jax.Array:
    return jnp.broadcast_to(keep.reshape(keep.shape + (1,) * (x.ndim - 1)), x.shape)


def mean_over_chains(x: jax.Array, keep: jax.Array) -> jax.Array:
    """The mean over chains; one chain serves as the origin, which keeps the sum small."""
    origin = x[jnp.argmax(keep)]
    return origin + jnp.mean(x - origin[None], axis=0, where=mask_like(keep, x))
