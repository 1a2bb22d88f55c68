"""Streaming statistics: what can be known of a run without keeping its draws.

A reducer is three pure functions on one chain's numbers:

    init(state)                    the accumulator before any draw; `state` gives shapes and dtypes
    update(accumulator, state, n)  after the n-th draw, n = 1, 2, …
    finish(accumulator, n)         the result after n draws

The driver maps them over chains and calls them for the states that `draws` would hold: those after
burn-in, thinned. Memory does not grow with the number of steps. `pooled(reducer)` gives one result
for all chains together; the chains meet only there, after the last step.

Sums are kept in two floats each, so that they do not stall: in float32, a plain sum of ones ends at
2**24, and Welford's mean stops moving once an increment is below half a unit in its last place.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from jax import lax

from jlangevin import trees
from jlangevin._checks import (
    as_array,
    check_count,
    check_flag,
    check_increasing,
    check_made,
    check_scalar,
    check_tree,
    or_nan,
)
from jlangevin.autocorrelation import integrated_time
from jlangevin.kernels.base import position, shapes_of
from jlangevin.rounding import apart
from jlangevin.trees import PyTree, pytree_dataclass, static_field

__all__ = [
    "Autocovariance",
    "Extrema",
    "Histogram",
    "Moments",
    "Pooled",
    "Reducer",
    "autocovariance",
    "custom",
    "expectation",
    "extrema",
    "histogram",
    "moments",
    "pooled",
    "split_rhat",
]

Of = Callable[[Any], PyTree]


@runtime_checkable
class Reducer(Protocol):
    """Anything with these three methods; a pytree, as kernels and energies are."""

    def init(self, state: Any) -> Any: ...

    def update(self, accumulator: Any, state: Any, n: jax.Array) -> Any: ...

    def finish(self, accumulator: Any, n: jax.Array) -> Any: ...


# What the reducers below share ----------------------------------------------------------------


class Sum(NamedTuple):
    """The unevaluated sum of two floats: what does not fit into the first is in the second."""

    high: jax.Array
    low: jax.Array

    @classmethod
    def zero(cls, like: jax.Array) -> Sum:
        return cls(jnp.zeros_like(like), jnp.zeros_like(like))

    @property
    def value(self) -> jax.Array:
        return self.high + self.low

    def add(self, term: jax.Array, n: jax.Array) -> Sum:
        """By the error-free sum of two floats (Knuth 1969); n > 0 is the number of terms."""
        term = apart(term, n >> 31)
        high = self.high + term
        carried = high - self.high
        lost = (self.high - (high - carried)) + (term - carried)
        return Sum(high, self.low + lost)


class _EachLeaf:
    """A reducer of single arrays, applied to each leaf of `of(state)`.

    `_accumulator` is the type of an array's accumulator. `_pool` is `_result` over chains: it is
    given accumulators with a leading chain axis and a mask of the chains that count.
    """

    of: Of
    _accumulator: ClassVar[type]

    def _start(self, x: jax.Array) -> Any:
        raise NotImplementedError

    def _add(self, accumulator: Any, x: jax.Array, n: jax.Array) -> Any:
        raise NotImplementedError

    def _result(self, accumulator: Any, n: jax.Array) -> Any:
        raise NotImplementedError

    def _pool(self, accumulator: Any, keep: jax.Array, n: jax.Array) -> Any:
        raise NotImplementedError

    def init(self, state: Any) -> Any:
        return jax.tree.map(lambda x: self._start(_real(x)), self.of(state))

    def update(self, accumulator: Any, state: Any, n: jax.Array) -> Any:
        return jax.tree.map(lambda x, a: self._add(a, _real(x), n), self.of(state), accumulator)

    def finish(self, accumulator: Any, n: jax.Array) -> Any:
        return self._map(lambda a: self._result(a, n), accumulator)

    def pool(self, accumulator: Any, keep: jax.Array, n: jax.Array) -> Any:
        return self._map(lambda a: self._pool(a, keep, n), accumulator)

    def _map(self, function: Callable[[Any], Any], accumulator: Any) -> Any:
        return jax.tree.map(
            function, accumulator, is_leaf=lambda node: isinstance(node, self._accumulator)
        )


def _real(x: Any) -> jax.Array:
    if jnp.iscomplexobj(x):
        raise TypeError(
            f"of: expected real numbers of it, got dtype {jnp.asarray(x).dtype}; take jnp.real, "
            "jnp.imag or jnp.abs of them, or a tuple of several"
        )
    return trees.wide(x)


def _mask(keep: jax.Array, x: jax.Array) -> jax.Array:
    return jnp.broadcast_to(keep.reshape(keep.shape + (1,) * (x.ndim - 1)), x.shape)


def _mean_over(x: jax.Array, keep: jax.Array) -> jax.Array:
    """The mean over chains, about one of them as the origin, which keeps the sum small."""
    origin = x[jnp.argmax(keep)]
    return origin + jnp.mean(x - origin[None], axis=0, where=_mask(keep, x))


def _check_of(of: Any) -> None:
    if not callable(of):
        raise TypeError(f"of: expected a function of the kernel state, got {of!r}")


# Means and covariances ------------------------------------------------------------------------


@pytree_dataclass
class Expectation(_EachLeaf):
    """See `expectation`."""

    of: Of = static_field()

    _accumulator: ClassVar[type] = Sum

    def _start(self, x: jax.Array) -> Sum:
        return Sum.zero(x)

    def _add(self, accumulator: Sum, x: jax.Array, n: jax.Array) -> Sum:
        return accumulator.add(x, n)

    def _result(self, accumulator: Sum, n: jax.Array) -> jax.Array:
        return accumulator.value / n.astype(accumulator.high.dtype)

    def _pool(self, accumulator: Sum, keep: jax.Array, n: jax.Array) -> jax.Array:
        return _mean_over(self._result(accumulator, n), keep)


def expectation(of: Of) -> Expectation:
    """The mean of `of(state)`, an array or a pytree of arrays.

    Args:
        of: a function of one chain's kernel state.

    Raises:
        TypeError: `of` that is no function.

    Example:
        >>> import jax, jax.numpy as jnp, jlangevin as jl
        >>> energy = jl.energies.quadratic(jnp.eye(2))
        >>> run = jl.sample(
        ...     jax.random.key(0), energy, jl.ula(0.1), energy, num_steps=100, num_chains=3,
        ...     reducers=jl.reducers.expectation(lambda state: energy(state.position)))
        >>> run.summary.shape
        (3,)
    """
    _check_of(of)
    return Expectation(of)


class Moments(NamedTuple):
    """Mean, and variance or covariance with divisor n - 1; NaN of fewer draws than they need."""

    mean: jax.Array
    variance: jax.Array


class _Deviations(NamedTuple):
    mean: Sum
    square: Sum  # Σ (x - mean)², or the matrix of products


@pytree_dataclass
class MomentsReducer(_EachLeaf):
    """See `moments`."""

    of: Of = static_field()
    covariance: bool = static_field()

    _accumulator: ClassVar[type] = _Deviations

    def _product(self, a: jax.Array, b: jax.Array) -> jax.Array:
        return a.reshape(-1, 1) * b.reshape(1, -1) if self.covariance else a * b

    def _start(self, x: jax.Array) -> _Deviations:
        return _Deviations(Sum.zero(x), Sum.zero(self._product(x, x)))

    def _add(self, accumulator: _Deviations, x: jax.Array, n: jax.Array) -> _Deviations:
        old = accumulator.mean
        before = (x - old.high) - old.low
        mean = old.add(before / n.astype(x.dtype), n)
        after = (x - mean.high) - mean.low
        return _Deviations(mean, accumulator.square.add(self._product(before, after), n))

    def _result(self, accumulator: _Deviations, n: jax.Array) -> Moments:
        mean, square = accumulator.mean.value, accumulator.square.value
        return _if_any(n, Moments(mean, square / (n - 1).astype(square.dtype)))

    def _pool(self, accumulator: _Deviations, keep: jax.Array, n: jax.Array) -> Moments:
        """Chan, Golub and LeVeque (1979), for chains of equal length."""
        means, squares = accumulator.mean.value, accumulator.square.value
        mean = _mean_over(means, keep)
        spread = means - mean[None]
        draws, count = n.astype(means.dtype), jnp.sum(keep).astype(means.dtype)
        squares = squares + draws * jax.vmap(self._product)(spread, spread)
        variance = _mean_over(squares, keep) * (count / (draws * count - 1))
        return _if_any(n, Moments(mean, variance))


def _if_any(n: jax.Array, moments: Moments) -> Moments:
    """NaN after no draw, where sums of nothing are 0."""
    return jax.tree.map(lambda x: jnp.where(n > 0, x, jnp.nan), moments)


def moments(of: Of = position, *, covariance: bool = False) -> MomentsReducer:
    """Mean and variance of each leaf of `of(state)`, by Welford's recursion (1962).

    Args:
        of: a function of one chain's kernel state; the position by default.
        covariance: the (d, d) covariance of a leaf of d elements instead of their variances.

    Raises:
        TypeError: `of` that is no function.

    Example:
        >>> import jax, jax.numpy as jnp, jlangevin as jl
        >>> energy = jl.energies.quadratic(jnp.eye(2))
        >>> run = jl.sample(
        ...     jax.random.key(0), energy, jl.ula(0.1), energy, num_steps=100, num_chains=1000,
        ...     observe=None, reducers=jl.reducers.pooled(jl.reducers.moments()))
        >>> bool(jnp.allclose(run.summary.value.variance, 1 / 0.95, atol=0.05))
        True
    """
    _check_of(of)
    return MomentsReducer(of, check_flag("covariance", covariance))


# Extrema and histograms -----------------------------------------------------------------------


class Extrema(NamedTuple):
    """The least and the greatest value."""

    minimum: jax.Array
    maximum: jax.Array


@pytree_dataclass
class ExtremaReducer(_EachLeaf):
    """See `extrema`."""

    of: Of = static_field()

    _accumulator: ClassVar[type] = Extrema

    def _start(self, x: jax.Array) -> Extrema:
        return Extrema(jnp.full_like(x, jnp.inf), jnp.full_like(x, -jnp.inf))

    def _add(self, accumulator: Extrema, x: jax.Array, n: jax.Array) -> Extrema:
        return Extrema(jnp.minimum(accumulator.minimum, x), jnp.maximum(accumulator.maximum, x))

    def _result(self, accumulator: Extrema, n: jax.Array) -> Extrema:
        return accumulator

    def _pool(self, accumulator: Extrema, keep: jax.Array, n: jax.Array) -> Extrema:
        mask = _mask(keep, accumulator.minimum)
        return Extrema(
            jnp.min(accumulator.minimum, axis=0, initial=jnp.inf, where=mask),
            jnp.max(accumulator.maximum, axis=0, initial=-jnp.inf, where=mask),
        )


def extrema(of: Of = position) -> ExtremaReducer:
    """The least and the greatest value that each element of `of(state)` takes.

    Args:
        of: a function of one chain's kernel state; the position by default.

    Raises:
        TypeError: `of` that is no function.

    Example:
        >>> import jax, jax.numpy as jnp, jlangevin as jl
        >>> run = jl.sample(jax.random.key(0), jl.energies.double_well(), jl.ula(0.01),
        ...                 jnp.ones((5, 1)), num_steps=100, reducers=jl.reducers.extrema())
        >>> bool((run.summary.minimum <= run.draws[:, 7]).all())
        True
    """
    _check_of(of)
    return ExtremaReducer(of)


class Histogram(NamedTuple):
    """Fractions of the draws in each bin, and outside of all of them. Bins are on the last axis.

    They sum to 1 with `nan`, the fraction of draws that are not a number.
    """

    edges: jax.Array  # (bins + 1,), with a leading chain axis if not pooled
    fractions: jax.Array  # (…, bins)
    below: jax.Array
    above: jax.Array
    nan: jax.Array

    def quantile(self, q: Any) -> jax.Array:
        """The q-th quantile, linear within its bin.

        NaN where it lies outside of the edges, and where any draw is NaN.

        Args:
            q: a number between 0 and 1.

        Raises:
            TypeError, ValueError: q that is no such number.
        """
        q = or_nan(
            check_scalar("q", q),
            lambda xp, q: (q >= 0) & (q <= 1),
            lambda: ValueError(f"q: expected a number between 0 and 1, got {q}"),
        )
        reached = self.below[..., None] + jnp.cumsum(self.fractions, axis=-1)
        at_edges = jnp.concatenate([self.below[..., None], reached], axis=-1)
        dtype = at_edges.dtype
        edges = self.edges.reshape(-1, self.edges.shape[-1])[0].astype(dtype)  # alike in all chains

        def one(cdf: jax.Array) -> jax.Array:
            return jnp.interp(jnp.asarray(q, dtype), cdf, edges, left=jnp.nan, right=jnp.nan)

        flat = jax.vmap(one)(at_edges.reshape(-1, at_edges.shape[-1]))
        return jnp.where(self.nan > 0, jnp.nan, flat.reshape(at_edges.shape[:-1]))


class _Reached(NamedTuple):
    """For -∞ and each edge, how many draws lie at it or above (beyond it, for the last)."""

    counts: jax.Array  # int32


@pytree_dataclass
class HistogramReducer(_EachLeaf):
    """See `histogram`."""

    edges: jax.Array
    of: Of = static_field()

    _accumulator: ClassVar[type] = _Reached

    def _start(self, x: jax.Array) -> _Reached:
        return _Reached(jnp.zeros((*x.shape, self.edges.shape[0] + 1), jnp.int32))

    def _add(self, accumulator: _Reached, x: jax.Array, n: jax.Array) -> _Reached:
        shape = accumulator.counts.shape
        value = lax.broadcast_in_dim(x, shape, tuple(range(x.ndim)))
        edges = jnp.concatenate([jnp.full(1, -jnp.inf, x.dtype), self.edges.astype(x.dtype)])
        edges = lax.broadcast_in_dim(edges, shape, (x.ndim,))
        last = lax.broadcasted_iota(jnp.int32, shape, x.ndim) == shape[-1] - 1
        reached = jnp.where(last, value > edges, value >= edges)
        return _Reached(accumulator.counts + reached.astype(jnp.int32))

    def _result(self, accumulator: _Reached, n: jax.Array) -> Histogram:
        return self._of_fractions(accumulator.counts.astype(float) / n.astype(float))

    def _of_fractions(self, reached: jax.Array) -> Histogram:
        reached = jnp.where(jnp.all(jnp.isfinite(self.edges)), reached, jnp.nan)
        between = reached[..., :-1] - reached[..., 1:]
        return Histogram(
            self.edges, between[..., 1:], between[..., 0], reached[..., -1], 1 - reached[..., 0]
        )

    def _pool(self, accumulator: _Reached, keep: jax.Array, n: jax.Array) -> Histogram:
        fractions = accumulator.counts.astype(float) / n.astype(float)
        return self._of_fractions(_mean_over(fractions, keep))


def histogram(edges: Any, of: Of = position) -> HistogramReducer:
    """The fraction of draws in each bin, for every element of `of(state)`; quantiles from it.

    Args:
        edges: increasing, shape (bins + 1,). As in `numpy.histogram`, a bin holds its left edge
            and the last one its right edge too.
        of: a function of one chain's kernel state; the position by default. What is NaN in it is
            in no bin: see `Histogram`.

    Raises:
        TypeError: `of` that is no function, or edges that are no array.
        ValueError: edges that are not finite and increasing.

    Example:
        >>> import jax, jax.numpy as jnp, jlangevin as jl
        >>> count = jl.reducers.histogram(jnp.linspace(-5.0, 5.0, 101))
        >>> energy = jl.energies.quadratic(jnp.eye(1))
        >>> run = jl.sample(jax.random.key(0), energy, jl.ula(0.1), energy, num_steps=1000,
        ...                 num_chains=100, observe=None, reducers=jl.reducers.pooled(count))
        >>> abs(float(run.summary.value.quantile(0.5)[0])) < 0.05
        True
    """
    _check_of(of)
    edges = as_array("edges", edges, ndim=1)
    edges = check_increasing("edges", edges, "at least two", minimum=2)
    return HistogramReducer(edges, of)


# Autocovariance and R-hat ---------------------------------------------------------------------


class Autocovariance(NamedTuple):
    """Serial correlation and what follows from it. Lags are on the last axis.

    `complete` is False where correlations are still positive at the greatest lag: then `ess` is too
    large and `mcse` too small by unknown amounts, and a greater `max_lag` is needed.
    """

    mean: jax.Array
    autocovariance: jax.Array  # (…, max_lag + 1), divisor n
    ess: jax.Array  # effective number of draws for the mean
    mcse: jax.Array  # Monte Carlo standard error of the mean
    complete: jax.Array


class _Products(NamedTuple):
    origin: jax.Array  # the first value, from which all are counted
    total: Sum
    products: Sum  # Σ y_t y_{t-l} for l = 0 … max_lag, on the leading axis
    first: jax.Array  # the first max_lag values
    latest: jax.Array  # the last max_lag values, the latest first


@pytree_dataclass
class AutocovarianceReducer(_EachLeaf):
    """See `autocovariance`."""

    of: Of = static_field()
    max_lag: int = static_field()

    _accumulator: ClassVar[type] = _Products

    def _start(self, x: jax.Array) -> _Products:
        lags = jnp.zeros((self.max_lag + 1, *x.shape), x.dtype)
        zero = jnp.zeros_like(x)
        return _Products(zero, Sum.zero(x), Sum.zero(lags), lags[1:], lags[1:])

    def _add(self, accumulator: _Products, x: jax.Array, n: jax.Array) -> _Products:
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
        # Σ (y_t - m)(y_{t-l} - m), the sums over t ≥ l and over t < n - l apart.
        both = (
            2 * accumulator.total.value[None] - sums(accumulator.first) - sums(accumulator.latest)
        )
        centred = accumulator.products.value - mean[None] * both + (count - lags) * mean[None] ** 2
        centred = jnp.where(lags < count, centred, 0)
        return accumulator.origin + mean, centred / count

    def _result(self, accumulator: _Products, n: jax.Array) -> Autocovariance:
        mean, covariances = self._parts(accumulator, n)
        return _serial(mean, covariances, jnp.zeros_like(mean), n, jnp.int32(1))

    def _pool(self, accumulator: _Products, keep: jax.Array, n: jax.Array) -> Autocovariance:
        means, covariances = jax.vmap(lambda a: self._parts(a, n))(accumulator)
        mean, within = _mean_over(means, keep), _mean_over(covariances, keep)
        between = _mean_over((means - mean[None]) ** 2, keep)
        return _serial(mean, within, between, n, jnp.sum(keep.astype(jnp.int32)))


def _serial(
    mean: jax.Array, within: jax.Array, between: jax.Array, n: jax.Array, num_chains: jax.Array
) -> Autocovariance:
    """From the chains' mean autocovariances and the variance of their means (divisor m).

    The effective number is Stan's (Vehtari et al. 2021): variance between the chains, with divisor
    m - 1, counts as correlation at every lag.
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


def autocovariance(max_lag: int, of: Of = position) -> AutocovarianceReducer:
    """Autocovariances up to a lag, effective sample size and Monte Carlo error of the mean.

    The autocovariance at lag l is Σ_t (x_t - m)(x_{t-l} - m) / n with the mean m of all draws. The
    effective sample size is n / τ, τ by the initial monotone sequence (Geyer 1992); pooled, it is
    that of several chains (Vehtari et al. 2021, without splitting them), which counts disagreement
    between chains as correlation. A step costs max_lag + 1 products an element.

    Args:
        max_lag: the greatest lag. It should be several times the integrated autocorrelation time;
            `Autocovariance.complete` says whether it was enough.
        of: a function of one chain's kernel state; the position by default.

    Raises:
        TypeError, ValueError: `max_lag` that is no positive integer.

    Example:
        >>> import jax, jax.numpy as jnp, jlangevin as jl
        >>> energy = jl.energies.quadratic(jnp.eye(1))  # ULA: an AR(1) chain, τ = 1.9 / 0.1 = 19
        >>> serial = jl.reducers.pooled(jl.reducers.autocovariance(200))
        >>> run = jl.sample(jax.random.key(0), energy, jl.ula(0.1), energy, num_steps=10_000,
        ...                 num_chains=100, observe=None, reducers=serial)
        >>> round(1_000_000 / float(run.summary.value.ess[0])), bool(run.summary.value.complete[0])
        (19, True)
    """
    _check_of(of)
    return AutocovarianceReducer(of, check_count("max_lag", max_lag, minimum=1))


class _Halves(NamedTuple):
    first: _Deviations
    second: _Deviations


@pytree_dataclass
class SplitRhat(_EachLeaf):
    """See `split_rhat`."""

    num_draws: int = static_field()
    moments: MomentsReducer = static_field()

    _accumulator: ClassVar[type] = _Halves

    @property
    def of(self) -> Of:  # type: ignore[override]
        return self.moments.of

    def _start(self, x: jax.Array) -> _Halves:
        return _Halves(self.moments._start(x), self.moments._start(x))

    def _add(self, accumulator: _Halves, x: jax.Array, n: jax.Array) -> _Halves:
        half = self.num_draws // 2
        begins = self.num_draws - half

        def within(old: _Deviations, place: jax.Array) -> _Deviations:
            new = self.moments._add(old, x, jnp.maximum(place, 1))
            inside = (place >= 1) & (place <= half)
            return jax.tree.map(lambda a, b: jnp.where(inside, a, b), new, old)

        return _Halves(within(accumulator.first, n), within(accumulator.second, n - begins))

    def _parts(self, accumulator: _Halves, n: jax.Array) -> Moments:
        """Means and variances of the halves, on a leading axis of two; NaN until all is there."""
        half = jnp.int32(self.num_draws // 2)
        parts = [self.moments._result(part, half) for part in accumulator]
        complete = n == self.num_draws
        return jax.tree.map(lambda *x: jnp.where(complete, jnp.stack(x), jnp.nan), *parts)

    def _result(self, accumulator: _Halves, n: jax.Array) -> jax.Array:
        """Of a single chain: its two halves held against each other."""
        one = jax.tree.map(lambda x: x[None], self._parts(accumulator, n))
        return self._rhat(one, jnp.ones(1, bool))

    def _pool(self, accumulator: _Halves, keep: jax.Array, n: jax.Array) -> jax.Array:
        return self._rhat(jax.vmap(lambda a: self._parts(a, n))(accumulator), keep)

    def _rhat(self, parts: Moments, keep: jax.Array) -> jax.Array:
        means, variances = (x.reshape(-1, *x.shape[2:]) for x in parts)
        keep = jnp.repeat(keep, 2)
        half = jnp.asarray(self.num_draws // 2, means.dtype)
        count = jnp.sum(keep).astype(means.dtype)
        spread = means - _mean_over(means, keep)[None]
        between = _mean_over(spread**2, keep) * (count / (count - 1))
        return jnp.sqrt(between / _mean_over(variances, keep) + (half - 1) / half)


def split_rhat(num_draws: int, of: Of = position) -> SplitRhat:
    """R-hat of chains split into halves (Gelman et al. 2013): near 1 if all halves agree.

    Pool it; for a single chain it compares its own two halves. It is the plain one, on the values
    themselves: for the rank-normalised one, which heavy tails need, keep the draws.

    Args:
        num_draws: how many draws there will be, num_steps / thin. The result is NaN after fewer,
            as the halves are then not halves; a run that would have more is refused. Of an odd
            number the middle draw is left out.
        of: a function of one chain's kernel state; the position by default.

    Raises:
        TypeError, ValueError: `num_draws` that is no integer of at least 4.

    Example:
        >>> import jax, jax.numpy as jnp, jlangevin as jl
        >>> energy = jl.energies.quadratic(jnp.eye(1))
        >>> run = jl.sample(
        ...     jax.random.key(0), energy, jl.ula(0.1), energy, num_steps=1000, num_chains=100,
        ...     observe=None, reducers=jl.reducers.pooled(jl.reducers.split_rhat(1000)))
        >>> abs(float(run.summary.value[0]) - 1) < 0.03
        True
    """
    _check_of(of)
    return SplitRhat(check_count("num_draws", num_draws, minimum=4), MomentsReducer(of, False))


# Reducers of reducers -------------------------------------------------------------------------


class Pooled(NamedTuple):
    """The result of a pooled reducer."""

    value: Any
    num_chains: jax.Array  # that went into it
    num_left_out: jax.Array  # chains that diverged


@pytree_dataclass
class PooledReducer:
    """See `pooled`."""

    reducer: Any

    def init(self, state: Any) -> Any:
        return self.reducer.init(state)

    def update(self, accumulator: Any, state: Any, n: jax.Array) -> Any:
        return self.reducer.update(accumulator, state, n)

    def finish(self, accumulator: Any, n: jax.Array) -> Any:
        return self.reducer.finish(accumulator, n)

    def pool(self, accumulator: Any, keep: jax.Array, n: jax.Array) -> Pooled:
        value = self.reducer.pool(accumulator, keep, n)
        left_out = jnp.sum((~keep).astype(jnp.int32))
        return Pooled(value, keep.shape[0] - left_out, left_out)


def pooled(reducer: Any) -> PooledReducer:
    """One result for all chains that did not diverge, instead of one for each.

    Chains keep their own accumulators while they run and meet once, at the end: with chains on
    many devices, nothing is sent between them before. The reducer needs a fourth function,
    `pool(accumulators, keep, n)`, which is given a leading chain axis and a mask of the chains that
    count; all reducers of this module have one.

    Args:
        reducer: any reducer of this module, or another with `pool`.

    Raises:
        TypeError: a reducer that cannot be pooled.

    Example:
        >>> import jax, jax.numpy as jnp, jlangevin as jl
        >>> widest = jl.reducers.pooled(jl.reducers.extrema())
        >>> run = jl.sample(jax.random.key(0), jl.energies.double_well(), jl.ula(0.01),
        ...                 jnp.ones((5, 1)), num_steps=100, observe=None, reducers=widest)
        >>> run.summary.value.maximum.shape, int(run.summary.num_chains)
        ((1,), 5)
    """
    check_made("reducer", reducer)
    if not isinstance(reducer, Reducer) or not hasattr(reducer, "pool"):
        raise TypeError(
            f"reducer: {type(reducer).__name__} cannot be pooled; it needs "
            "pool(accumulators, keep, n) beside init, update and finish"
        )
    return PooledReducer(reducer)


@pytree_dataclass
class Custom:
    """See `custom`."""

    init: Callable[..., Any] = static_field()
    update: Callable[..., Any] = static_field()
    finish: Callable[..., Any] = static_field()


def custom(
    init: Callable[[Any], Any],
    update: Callable[[Any, Any, jax.Array], Any],
    finish: Callable[[Any, jax.Array], Any],
) -> Custom:
    """A reducer from three pure functions; see the module for what each is given.

    Args:
        init: from one chain's kernel state to its accumulator.
        update: from accumulator, state and the number of draws, this one counted, to the next.
        finish: from accumulator and the number of draws to the result.

    Raises:
        TypeError: one of them that is no function.

    Example:
        How often a chain changes sides:

        >>> import jax, jax.numpy as jnp, jlangevin as jl
        >>> crossings = jl.reducers.custom(
        ...     init=lambda state: (state.position[0], jnp.int32(0)),
        ...     update=lambda acc, state, n: (
        ...         state.position[0], acc[1] + jnp.int32(acc[0] * state.position[0] < 0)),
        ...     finish=lambda acc, n: acc[1])
        >>> run = jl.sample(
        ...     jax.random.key(0), jl.energies.double_well(), jl.ula(0.01), jnp.ones((4, 1)),
        ...     num_steps=1000, observe=None, reducers=crossings)
        >>> run.summary.shape
        (4,)
    """
    for name, function in (("init", init), ("update", update), ("finish", finish)):
        if not callable(function):
            raise TypeError(f"{name}: expected a function, got {function!r}")
    return Custom(init, update, finish)


# For the driver -------------------------------------------------------------------------------


def is_reducer(node: Any) -> bool:
    return isinstance(node, Reducer)


def check(reducers: Any) -> None:
    """Raise TypeError unless `reducers` is a pytree of reducers, or None and empty containers."""

    def is_end(node: Any) -> bool:
        """A reducer, or what should be one: JAX may see a tree without leaves in it."""
        if node is None or type(node) in (tuple, list, dict):
            return False
        return is_reducer(node) or not any(
            is_reducer(leaf) for leaf in jax.tree.leaves(node, is_leaf=is_reducer)
        )

    check_tree("reducers", reducers)
    for leaf in jax.tree.leaves(reducers, is_leaf=is_end):
        check_made("reducers", leaf)
        if not is_reducer(leaf):
            lacking = [name for name in ("init", "update", "finish") if not hasattr(leaf, name)]
            raise TypeError(
                f"reducers: expected a reducer or a pytree of them, got {type(leaf).__name__} "
                f"(it lacks {', '.join(lacking)}); pass for instance jlangevin.reducers.moments()"
            )


def over(function: Callable[..., Any], reducers: Any, *accumulators: Any) -> Any:
    """`function(reducer, accumulator)` for every reducer of a pytree of them."""
    return jax.tree.map(function, reducers, *accumulators, is_leaf=is_reducer)


def check_number(reducers: Any, num_draws: int) -> None:
    """Raise ValueError if a reducer was made for fewer draws than there will be."""
    for reducer in jax.tree.leaves(reducers, is_leaf=is_reducer):
        inner = reducer.reducer if isinstance(reducer, PooledReducer) else reducer
        if isinstance(inner, SplitRhat) and inner.num_draws < num_draws:
            raise ValueError(
                f"reducers: split_rhat({inner.num_draws}) is of {inner.num_draws} draws, and there "
                f"will be {num_draws}, num_steps / thin; pass split_rhat({num_draws})"
            )


def check_functions(reducers: Any, state: Any) -> None:
    """Run the functions of `reducers` on shapes, at one chain's kernel state, as shapes.

    Raises:
        TypeError, ValueError: one of them returns what is no accumulator or no result. Errors of
            their own have a note that says which raised them, and what it was given.
    """
    n, one = jax.ShapeDtypeStruct((), jnp.int32), "one chain's kernel state"
    for reducer in jax.tree.leaves(reducers, is_leaf=is_reducer):
        name = f"reducers: {type(reducer).__name__}'s"
        inner = reducer.reducer if isinstance(reducer, PooledReducer) else reducer
        if hasattr(inner, "of"):
            shapes_of(f"{name} of", one, inner.of, state)
        begun = shapes_of(f"{name} init", one, reducer.init, state)
        updated = shapes_of(
            f"{name} update", "accumulator, state and n", reducer.update, begun, state, n
        )
        trees.assert_like(
            f"{name} update", updated, begun, "like the accumulator from init", dtypes=True
        )
        if isinstance(reducer, PooledReducer):
            many = jax.tree.map(lambda x: jax.ShapeDtypeStruct((1, *x.shape), x.dtype), begun)
            keep = jax.ShapeDtypeStruct((1,), bool)
            shapes_of(f"{name} pool", "accumulators, keep and n", inner.pool, many, keep, n)
        else:
            shapes_of(f"{name} finish", "accumulator and n", reducer.finish, begun, n)


def summary(reducers: Any, accumulators: Any, keep: jax.Array, n: jax.Array) -> Any:
    """The results, from accumulators with a leading chain axis."""

    def one(reducer: Any, accumulator: Any) -> Any:
        if isinstance(reducer, PooledReducer):
            return reducer.pool(accumulator, keep, n)
        return jax.vmap(reducer.finish, in_axes=(0, None))(accumulator, n)

    return over(one, reducers, accumulators)
