"""How far chains disagree: R-hat of chains, and of groups of chains."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Literal

import jax
import jax.numpy as jnp

from jlangevin._core.checks import check_count
from jlangevin._core.compiling import compiled_by_size
from jlangevin._core.trees import Numbers
from jlangevin.diagnostics.series import (
    as_series,
    median,
    normal_scores,
    over_elements,
    split_chains,
    variances,
)

__all__ = [
    "check_superchains",
    "larger_of_both",
    "nested_rhat",
    "plain_rhat",
    "rank_scores",
    "rhat",
    "split_nested_rhat",
]

Scores = Literal["rank", "identity"]

_SCORES = ("rank", "identity")


def rhat(x: Numbers) -> jax.Array:
    """How far chains disagree: rank-normalised split R-hat; 1 once they have mixed.

        R = sqrt((B/W + n - 1) / n)

    over half-chains of n draws; W is the mean of their variances, and B/n the variance of their
    means. The result is the larger of two: for the ranks of the draws and for the ranks of
    |draw - median|, each turned into normal quantiles. So heavy tails do no harm, and a wrong
    scale shows as well as a wrong place.

    Args:
        x: draws, (chain, draw, …), of at least two chains.

    Returns:
        Shape of the trailing axes. NaN for a single chain, fewer than 4 draws, a NaN draw, or
        draws all equal.

    Raises:
        TypeError: `x` is not an array of real numbers.
        ValueError: `x` has no (chain, draw) axes.
        AxesWarning: more chains than draws, as if axes were swapped.

    References: Gelman and Rubin (1992); Vehtari et al. (2021), https://doi.org/10.1214/20-BA1221.

    Example:
        >>> import jax, jlangevin as jl
        >>> x = jax.random.normal(jax.random.key(0), (4, 1000))
        >>> bool(jl.diagnostics.rhat(x) < 1.01)
        True
        >>> bool(jl.diagnostics.rhat(x.at[0].add(1.0)) > 1.01)
        True
    """
    return _rhat(as_series("x", x, warn_of_axes=True))


def nested_rhat(x: Numbers, superchains: int, method: Scores = "rank") -> jax.Array:
    """How far groups of chains disagree: nested R-hat, for many short chains; 1 once they agree.

        R = sqrt(1 + B / W)

    There are K superchains of M chains each, with n draws. The chains of a superchain start at the
    same place; different superchains start at different places, spread wide. B is the variance of
    the K superchain means. W is the mean over superchains of the variance within one: the variance
    of its M chain means plus the mean of its M chain variances. Divisors are the count minus one,
    and a single value has the variance 0.

    R-hat needs long chains: if draws are correlated and a chain has an ESS of s, R-hat is near
    sqrt(1 + 1/s), however many chains there are. Here the mean of a superchain counts, and R is
    near sqrt(1 + 1/(M s)): it can be 1 with M chains of a few draws each, and is below 1.01 if M s
    is above 50. It is for chains that start at the same place. It says little about chains that all
    start at different places, as any group of them is spread like all of them.

    A drift that all superchains share does not show, so spread their starts.

    Args:
        x: draws, (chain, draw, …).
        superchains: K, at least 2, a divisor of the number of chains. The first M chains are the
            first superchain, and so on, as `jnp.repeat(starts, M, axis=0)` makes starts.
        method: "rank": the larger of two, for the ranks of the draws of half-chains and for the
            ranks of |draw - median|, each turned into normal quantiles, as in `rhat`; 2 M
            half-chains make a superchain. "identity": the draws themselves, not split, as in the
            paper; if M is at least 2, a single draw of each chain is enough.

    Returns:
        Shape of the trailing axes; at least 1. NaN where a draw is NaN, or if nothing varies within
        and between superchains; "rank" also for fewer than 4 draws.

    Raises:
        TypeError: `x` is not an array of real numbers, or `superchains` is not an integer.
        ValueError: `x` has no (chain, draw) axes, the number of chains is not a multiple of
            `superchains`, or `method` is neither of the two.

    References: Margossian, Hoffman, Sountsov, Riou-Durand, Vehtari, Gelman (2024), "Nested R-hat:
        Assessing the convergence of Markov chain Monte Carlo when running many short chains",
        https://doi.org/10.1214/24-BA1453. "rank" is the default of ArviZ's `rhat_nested` (0.8
        to 1.3), and its "identity" is the paper's, which ArviZ gives for 4 draws or more.

    Example:
        >>> import jax, jlangevin as jl
        >>> x = jax.random.normal(jax.random.key(0), (512, 8))  # 4 superchains of 128
        >>> bool(jl.diagnostics.nested_rhat(x, 4) < 1.01)
        True
        >>> bool(jl.diagnostics.nested_rhat(x.at[:128].add(1.0), 4) > 1.01)
        True
    """
    if method not in _SCORES:
        raise ValueError(f"method: expected one of {', '.join(_SCORES)}, got {method!r}")
    x = as_series("x", x)
    check_superchains(superchains, x.shape[0])
    return _nested(x, superchains=int(superchains), method=method)


def check_superchains(superchains: int, num_chains: int) -> None:
    """Raise unless `superchains` divides the number of chains, and is at least two."""
    count = check_count("superchains", superchains, minimum=2)
    if num_chains % count:
        raise ValueError(
            f"superchains: {num_chains} chains, which is not a multiple of {count}; give a divisor "
            "of the number of chains, with those of a superchain side by side"
        )


@compiled_by_size
def _rhat(x: jax.Array) -> jax.Array:
    return over_elements(_ranked_rhat, x)


@functools.partial(compiled_by_size, static_argnames=("superchains", "method"))
def _nested(x: jax.Array, superchains: int, method: Scores) -> jax.Array:
    if method == "identity":
        flat = x.reshape(*x.shape[:2], -1)
        of_series = functools.partial(_plain_nested_rhat, superchains=superchains)
        return jax.vmap(of_series, in_axes=2)(flat).reshape(x.shape[2:])
    return over_elements(functools.partial(_ranked_nested_rhat, superchains=superchains), x)


# One series (chain, draw) -----------------------------------------------------------------------


def _ranked_rhat(x: jax.Array) -> jax.Array:
    if x.shape[0] < 2:
        return jnp.full((), jnp.nan, x.dtype)
    return larger_of_both(plain_rhat, rank_scores(x), x)


def _ranked_nested_rhat(x: jax.Array, superchains: int) -> jax.Array:
    return larger_of_both(
        functools.partial(split_nested_rhat, superchains=superchains), rank_scores(x), x
    )


def plain_rhat(x: jax.Array) -> jax.Array:
    """R-hat of chains, without splitting or ranks."""
    n = x.shape[1]
    between = n * jnp.var(jnp.mean(x, axis=1), ddof=1)
    within = jnp.mean(variances(x))
    return jnp.sqrt((between / within + n - 1) / n)


def split_nested_rhat(halves: jax.Array, superchains: int) -> jax.Array:
    """Nested R-hat of half-chains, first halves before last ones, as from `split_chains`."""
    first, last = halves.reshape(2, superchains, -1, halves.shape[1])
    together = jnp.concatenate([first, last], axis=1).reshape(halves.shape)
    return _plain_nested_rhat(together, superchains)


def _plain_nested_rhat(x: jax.Array, superchains: int) -> jax.Array:
    groups = x.reshape(superchains, -1, x.shape[1])
    means = jnp.mean(groups, axis=2)
    between = variances(jnp.mean(means, axis=1)[None])[0]
    within = jnp.mean(variances(means) + jnp.mean(variances(groups), axis=1))
    return jnp.sqrt(1 + between / within)


def rank_scores(x: jax.Array) -> jax.Array:
    """Normal scores of half-chains, and of their distances from the median, (2, m, n)."""
    split = split_chains(x)
    # If the number of draws is even, the halves are all of them, and share a sort with quantiles.
    middle = median(x if split.size == x.size else split)
    return jax.vmap(normal_scores)(jnp.stack([split, jnp.abs(split - middle)]))


def larger_of_both(
    plain: Callable[[jax.Array], jax.Array], scores: jax.Array, x: jax.Array
) -> jax.Array:
    """The larger of the two results of `plain` for `rank_scores`."""
    bulk, folded = jax.vmap(plain)(scores)
    # The folded one is NaN for draws that have only two values, on both sides of the median.
    found = jnp.where(folded > bulk, folded, bulk)
    return jnp.where(jnp.any(jnp.isnan(x)), jnp.nan, found)
