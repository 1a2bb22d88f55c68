"""Means and variances, or covariances."""

from __future__ import annotations

from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp

from jlangevin._core.checks import (
    check_flag,
)
from jlangevin._core.trees import pytree_dataclass, static_field
from jlangevin.kernels.base import position
from jlangevin.reducers.base import (
    CompensatedSum,
    EachLeaf,
    StateFunction,
    check_of,
)
from jlangevin.reducers.over_chains import OverChains

__all__ = ["Deviations", "Moments", "MomentsReducer", "moments"]


class Moments(NamedTuple):
    """The mean, and the variance or covariance with divisor n - 1; NaN if draws are too few."""

    mean: jax.Array
    variance: jax.Array


class Deviations(NamedTuple):
    mean: CompensatedSum
    square: CompensatedSum  # Σ (x - mean)², or the matrix of products


@pytree_dataclass
class MomentsReducer(EachLeaf):
    """See `moments`."""

    of: StateFunction = static_field()
    covariance: bool = static_field()

    _accumulator: ClassVar[type] = Deviations

    def _product_of_deviations(self, a: jax.Array, b: jax.Array) -> jax.Array:
        return a.reshape(-1, 1) * b.reshape(1, -1) if self.covariance else a * b

    def start(self, x: jax.Array) -> Deviations:
        return Deviations(
            CompensatedSum.zero(x), CompensatedSum.zero(self._product_of_deviations(x, x))
        )

    def add(self, accumulator: Deviations, x: jax.Array, n: jax.Array) -> Deviations:
        old = accumulator.mean
        before = (x - old.high) - old.low
        mean = old.add(before / n.astype(x.dtype), n)
        after = (x - mean.high) - mean.low
        return Deviations(
            mean, accumulator.square.add(self._product_of_deviations(before, after), n)
        )

    def result(self, accumulator: Deviations, n: jax.Array) -> Moments:
        mean, square = accumulator.mean.value, accumulator.square.value
        return _if_any(n, Moments(mean, square / (n - 1).astype(square.dtype)))

    def gather_leaf(self, accumulator: Deviations, keep: jax.Array, n: jax.Array) -> OverChains:
        means, squares = accumulator.mean.value, accumulator.square.value
        return OverChains.of(keep, means, squares, product=self._product_of_deviations)

    def conclude_leaf(self, gathered: OverChains, n: jax.Array) -> Moments:
        """By the formula of Chan, Golub and LeVeque (1979) for chains of equal length."""
        mean, square = gathered.means
        draws, count = n.astype(mean.dtype), gathered.num_chains
        square = square + draws * gathered.spread
        return _if_any(n, Moments(mean, square * (count / (draws * count - 1))))


def _if_any(n: jax.Array, moments: Moments) -> Moments:
    """`moments`, or NaN if there was no draw, when the sums are 0."""
    return jax.tree.map(lambda x: jnp.where(n > 0, x, jnp.nan), moments)


def moments(of: StateFunction = position, *, covariance: bool = False) -> MomentsReducer:
    """The mean and variance of each leaf of `of(state)`, by Welford's recursion (1962).

    Args:
        of: a function of one chain's kernel state; the position by default.
        covariance: whether to give the (d, d) covariance of a leaf of d elements instead of their
            variances.

    Raises:
        TypeError: `of` is not a function.

    Example:
        >>> import jax, jax.numpy as jnp, jlangevin as jl
        >>> energy = jl.energies.quadratic(jnp.eye(2))
        >>> run = jl.sample(
        ...     jax.random.key(0), energy, jl.ula(0.1), energy, num_steps=100, num_chains=1000,
        ...     observe=None, reducers=jl.reducers.pooled(jl.reducers.moments()))
        >>> bool(jnp.allclose(run.summary.value.variance, 1 / 0.95, atol=0.05))
        True
    """
    check_of(of)
    return MomentsReducer(of, check_flag("covariance", covariance))
