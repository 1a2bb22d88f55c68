"""Autocovariances, effective sample size and Monte Carlo error."""

from __future__ import annotations

from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from jlangevin._core.autocorrelation import integrated_time
from jlangevin._core.checks import (
    check_count,
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

__all__ = ["Autocovariance", "AutocovarianceReducer", "autocovariance"]


class Autocovariance(NamedTuple):
    """Autocovariances, with lags on the last axis, and the statistics that follow from them.

    `complete` is False where correlations are still positive at the greatest lag: then `ess` is too
    large and `mcse` too small by unknown amounts, and a greater `max_lag` is needed.
    """

    mean: jax.Array
    autocovariance: jax.Array  # (…, max_lag + 1), divisor n
    ess: jax.Array  # effective number of draws for the mean
    mcse: jax.Array  # Monte Carlo standard error of the mean
    complete: jax.Array


class _Products(NamedTuple):
    origin: jax.Array  # the first value, which is subtracted from all, x_t = origin + y_t
    total: CompensatedSum
    products: CompensatedSum  # Σ y_t y_{t-l} for l = 0 … max_lag, on the leading axis
    first: jax.Array  # the first max_lag values
    latest: jax.Array  # the last max_lag values, the latest first


@pytree_dataclass
class AutocovarianceReducer(EachLeaf):
    """See `autocovariance`."""

    of: StateFunction = static_field()
    max_lag: int = static_field()

    _accumulator: ClassVar[type] = _Products

    def start(self, x: jax.Array) -> _Products:
        lags = jnp.zeros((self.max_lag + 1, *x.shape), x.dtype)
        zero = jnp.zeros_like(x)
        return _Products(
            zero, CompensatedSum.zero(x), CompensatedSum.zero(lags), lags[1:], lags[1:]
        )

    def add(self, accumulator: _Products, x: jax.Array, n: jax.Array) -> _Products:
        origin = jnp.where(n == 1, x, accumulator.origin)
        y = x - origin
        window = jnp.concatenate([y[None], accumulator.latest])
        place = lax.broadcasted_iota(jnp.int32, accumulator.first.shape, 0)
        first = jnp.where(place == n - 1, y[None], accumulator.first)
        return _Products(
            origin,
            accumulator.total.add(y, n),
            accumulator.products.add(y[None] * window, n),
            first,
            window[:-1],
        )

    def _parts(self, accumulator: _Products, n: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Mean and autocovariances of one chain, lags leading."""
        dtype = accumulator.origin.dtype
        count = n.astype(dtype)
        mean = accumulator.total.value / count

        def sums(values: jax.Array) -> jax.Array:
            return jnp.concatenate([jnp.zeros_like(mean)[None], jnp.cumsum(values, axis=0)])

        lags = jnp.arange(self.max_lag + 1).astype(dtype)
        lags = lax.broadcast_in_dim(lags, accumulator.products.high.shape, (0,))
        # Σ (y_t - m)(y_{t-l} - m); `both` adds the sums over t ≥ l and over t < n - l.
        both = (
            2 * accumulator.total.value[None] - sums(accumulator.first) - sums(accumulator.latest)
        )
        centred = accumulator.products.value - mean[None] * both + (count - lags) * mean[None] ** 2
        centred = jnp.where(lags < count, centred, 0)
        return accumulator.origin + mean, centred / count

    def result(self, accumulator: _Products, n: jax.Array) -> Autocovariance:
        mean, covariances = self._parts(accumulator, n)
        return _serial(mean, covariances, jnp.zeros_like(mean), n, jnp.int32(1))

    def gather_leaf(self, accumulator: _Products, keep: jax.Array, n: jax.Array) -> OverChains:
        means, covariances = jax.vmap(lambda a: self._parts(a, n))(accumulator)
        return OverChains.of(keep, means, covariances, product=jnp.multiply)

    def conclude_leaf(self, gathered: OverChains, n: jax.Array) -> Autocovariance:
        mean, within = gathered.means
        return _serial(mean, within, gathered.spread, n, gathered.num_chains)


def _serial(
    mean: jax.Array, within: jax.Array, between: jax.Array, n: jax.Array, num_chains: jax.Array
) -> Autocovariance:
    """The result for m chains, from their mean autocovariances and the variance of their means.

    That variance has the divisor m. The effective sample size is Stan's (Vehtari et al. 2021):
    variance between the chains, with divisor m - 1, counts as correlation at every lag.
    """
    draws, chains = n.astype(mean.dtype), num_chains.astype(mean.dtype)
    total = within[0] + between * (chains / jnp.maximum(chains - 1, 1))
    rho = 1 - (within[0][None] * (draws / (draws - 1)) - within) / total[None]
    tau, complete = integrated_time(rho.at[0].set(1))
    count = draws * chains
    ess = count / jnp.maximum(tau, 1 / jnp.log10(count))
    variance = (within[0] + between) * (count / (count - 1))
    return Autocovariance(
        mean, jnp.moveaxis(within, 0, -1), ess, jnp.sqrt(variance / ess), complete
    )


def autocovariance(max_lag: int, of: StateFunction = position) -> AutocovarianceReducer:
    """Autocovariances up to a lag, effective sample size and Monte Carlo error of the mean.

    The autocovariance at lag l is Σ_t (x_t - m)(x_{t-l} - m) / n with the mean m of all draws. The
    effective sample size is n / τ, with τ by the initial monotone sequence (Geyer 1992); pooled, it
    is that of several chains (Vehtari et al. 2021, without splitting them), which counts
    disagreement between chains as correlation. A step costs max_lag + 1 products per element.

    Args:
        max_lag: the greatest lag. It should be several times the integrated autocorrelation time;
            `Autocovariance.complete` says whether it was enough.
        of: a function of one chain's kernel state; the position by default.

    Raises:
        TypeError, ValueError: `max_lag` is not a positive integer, or `of` not a function.

    Example:
        >>> import jax, jax.numpy as jnp, jlangevin as jl
        >>> energy = jl.energies.quadratic(jnp.eye(1))  # ULA: an AR(1) chain, τ = 1.9 / 0.1 = 19
        >>> serial = jl.reducers.pooled(jl.reducers.autocovariance(200))
        >>> run = jl.sample(jax.random.key(0), energy, jl.ula(0.1), energy, num_steps=10_000,
        ...                 num_chains=100, observe=None, reducers=serial)
        >>> round(1_000_000 / float(run.summary.value.ess[0])), bool(run.summary.value.complete[0])
        (19, True)
    """
    check_of(of)
    return AutocovarianceReducer(of, check_count("max_lag", max_lag, minimum=1))
