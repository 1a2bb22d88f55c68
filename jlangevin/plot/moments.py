"""Means and variances over many chains against the number of steps, with the exact curve."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import scipy

from jlangevin._core.checks import check_probability
from jlangevin._core.trees import Numbers, PyTree
from jlangevin.distribution import Gaussian, check_gaussian
from jlangevin.plot._figure import (
    COLORS,
    Array,
    as_chain_array,
    as_coordinates,
    as_numbers,
    as_steps,
    axes_or_new,
    check_color,
    legend,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["mean", "moment_against_steps", "variance"]


def moment_against_steps(
    steps: Numbers,
    measured: Numbers,
    exact_steps: Numbers,
    exact: Numbers,
    *,
    label: str,
    color: str = COLORS[0],
    band: Numbers | None = None,
    marker: str = "o",
    ax: Axes | None = None,
) -> Axes:
    """A moment against the number of steps: measured points on the exact curve.

    Args:
        steps, measured: shape (k,), the points.
        exact_steps, exact: shape (m,), the curve.
        label: the label of the curve in the legend.
        color, marker: the colour of curve and points, and the marker of the points.
        band: shape (k,), half the lengths of the error bars; no error bars if None.
        ax: where to draw.

    Returns:
        The Axes.

    Raises:
        TypeError: an argument is not numbers.
        ValueError: `measured`, `band` or `exact` has another shape than its steps, or `color` is
            unknown.

    Example:
        >>> import numpy as np, jlangevin as jl
        >>> curve = np.arange(101)
        >>> ax = jl.plot.moment_against_steps([50, 100], [1.9, 3.1], curve, 1 + 0.02 * curve,
        ...                                   label="1 + 2ηN", band=[0.1, 0.2])
        >>> ax.get_xlabel()
        'steps $N$'
    """
    steps, exact_steps = as_numbers("steps", steps), as_numbers("exact_steps", exact_steps)
    measured, exact = as_numbers("measured", measured), as_numbers("exact", exact)
    band = None if band is None else as_numbers("band", band)
    for name, values, like, of in (
        ("measured", measured, steps, "steps"),
        ("band", band, steps, "steps"),
        ("exact", exact, exact_steps, "exact_steps"),
    ):
        if values is not None and values.shape != like.shape:
            raise ValueError(f"{name}: expected shape {like.shape}, as {of}, got {values.shape}")
    check_color(color)
    ax = axes_or_new(ax)
    ax.plot(exact_steps, exact, color=color, lw=1.4, label=label)
    ax.errorbar(
        steps, measured, yerr=band, fmt=marker, ms=4.5, mfc="white", color=color, capsize=2, lw=1
    )
    ax.set_xlabel("steps $N$")
    return ax


def mean(
    draws: Numbers,
    law: Gaussian,
    *,
    steps: Numbers | None = None,
    coordinates: Sequence[int] | None = None,
    level: float = 0.99,
    ax: Axes | None = None,
) -> Axes:
    """The mean over chains against the number of steps, with the exact curve and a band.

    The mean of n chains is exactly N(m, S_ii / n). The band m ± z sqrt(S_ii / n) contains it with
    probability `level` at each single step, not at all steps at once.

    Args:
        draws: (chain, draw, d), independent chains.
        law: the exact laws after 0, 1, 2, … steps, as `exact.trajectory` gives them.
        steps: the number of steps after which each draw was taken; 1, 2, … if None.
        coordinates: which to draw, at most six; all of them if None.
        level: the probability of the band.
        ax: where to draw.

    Returns:
        The Axes.

    Raises:
        TypeError: `law` is not a `Gaussian`.
        ValueError: the law is not a trajectory, is shorter than the draws or has another dimension;
            draws, steps, coordinates or `level` are out of range.

    Example:
        >>> import jax, jax.numpy as jnp, jlangevin as jl
        >>> start = jl.Gaussian(jnp.zeros(1), jnp.eye(1))
        >>> chain = (jl.ula(0.1), jl.energies.linear([1.0]), start)
        >>> run = jl.sample(jax.random.key(0), *chain[1::-1], start, num_steps=50, num_chains=100)
        >>> jl.plot.mean(run.draws, jl.exact.trajectory(*chain, 50)).get_ylabel()
        'mean of $x_i$'
    """
    level = check_probability("level", level)
    chains, exact, var = _check_trajectory(draws, law, minimum=1)
    half = scipy.stats.norm.isf((1 - level) / 2) * np.sqrt(var / len(chains))
    band = exact - half, exact + half
    name = f"{100 * level:g}% of means of {len(chains):,} chains"
    ax = _plot_moment(chains.mean(axis=0), exact, band, name, steps, coordinates, ax)
    ax.set_ylabel("mean of $x_i$")
    return ax


def variance(
    draws: Numbers,
    law: Gaussian,
    *,
    steps: Numbers | None = None,
    coordinates: Sequence[int] | None = None,
    level: float = 0.99,
    ax: Axes | None = None,
) -> Axes:
    """The variance over chains against the number of steps, with the exact curve and a band.

    For n chains, (n - 1) s² / S_ii is exactly χ²_{n-1}, where s² has the divisor n - 1. The band,
    between quantiles of that law, contains s² with probability `level` at each single step.

    Args:
        draws, law, steps, coordinates, level, ax: as in `mean`, with at least 2 chains.

    Returns:
        The Axes.

    Raises:
        TypeError, ValueError: as `mean`.

    Example:
        >>> import jax, jax.numpy as jnp, jlangevin as jl
        >>> start = jl.Gaussian(jnp.zeros(1), jnp.eye(1))
        >>> chain = (jl.ula(0.1), jl.energies.linear([1.0]), start)
        >>> run = jl.sample(jax.random.key(0), *chain[1::-1], start, num_steps=50, num_chains=100)
        >>> jl.plot.variance(run.draws, jl.exact.trajectory(*chain, 50)).get_ylabel()
        'variance of $x_i$'
    """
    level = check_probability("level", level)
    chains, _, exact = _check_trajectory(draws, law, minimum=2)
    degrees = len(chains) - 1
    low, high = scipy.stats.chi2.ppf([(1 - level) / 2, (1 + level) / 2], degrees) / degrees
    band = exact * low, exact * high
    name = f"{100 * level:g}% of variances of {len(chains):,} chains"
    ax = _plot_moment(chains.var(axis=0, ddof=1), exact, band, name, steps, coordinates, ax)
    ax.set_ylabel("variance of $x_i$")
    return ax


def _check_trajectory(draws: PyTree, law: Gaussian, *, minimum: int) -> tuple[Array, Array, Array]:
    """Chains (chain, draw, d), and the laws' means and variances (step, d)."""
    check_gaussian("law", law, "exact.trajectory gives the laws after every number of steps")
    chains = as_chain_array(draws).astype(float)
    if np.ndim(draws) != 3 or len(chains) < minimum:
        raise ValueError(
            f"draws: expected shape (chain, draw, d) with at least {minimum} chain(s), got "
            f"{np.shape(draws)}"
        )
    dim = chains.shape[-1]
    if law.cov.ndim != 3 or np.shape(law.mean) != (len(law.cov), dim):
        raise ValueError(
            f"law: expected a trajectory of laws in {dim} dimension(s), as exact.trajectory gives; "
            f"got a covariance of shape {law.cov.shape}"
        )
    diagonal = np.diagonal(np.asarray(law.cov, float), axis1=1, axis2=2)
    return chains, np.asarray(law.mean, float), diagonal


def _plot_moment(
    measured: Array,
    exact: Array,
    band: tuple[Array, Array],
    name: str,
    steps: Numbers | None,
    coordinates: Sequence[int] | None,
    ax: Axes | None,
) -> Axes:
    at, curve = as_steps(steps, len(measured)), np.arange(len(exact))
    if at[-1] > curve[-1]:
        raise ValueError(
            f"law: the trajectory ends after {curve[-1]} steps, but the draws after {at[-1]:g}"
        )
    ax, (low, high) = axes_or_new(ax), band
    for i, color in zip(as_coordinates(coordinates, measured.shape[1]), COLORS, strict=False):
        ax.fill_between(curve, low[:, i], high[:, i], color=color, alpha=0.2, lw=0)
        moment_against_steps(
            at,
            measured[:, i],
            curve,
            exact[:, i],
            label=f"$x_{{{i + 1}}}$, exact",
            color=color,
            marker=".",
            ax=ax,
        )
    ax.set_title(f"points: measured; band: {name}", fontsize=9)
    legend(ax)
    return ax
