"""Chains over time: energies, autocorrelations, occupancy of modes, and Stein discrepancy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from jlangevin import diagnostics
from jlangevin._core.checks import (
    as_array,
    as_draws_array,
    check_count,
    check_known,
    check_scalar,
)
from jlangevin._core.trees import Numbers
from jlangevin.energies import GaussianMixture
from jlangevin.energies.base import Energy
from jlangevin.energies.draws import as_positions
from jlangevin.plot._figure import (
    COLORS,
    ON_HOST,
    Array,
    as_chain_array,
    as_coordinates,
    as_steps,
    axes_or_new,
    legend,
)
from jlangevin.plot.landscape import scaled_energies
from jlangevin.sampling.run import Run

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["autocorrelation", "energy_trace", "ksd", "occupancy"]

_OCTAVES = 2  # factors of two that the colours of a mode show, in both directions


def energy_trace(
    draws: Run | Numbers,
    energy: Energy,
    *,
    temperature: ArrayLike = 1.0,
    steps: Numbers | None = None,
    expected: float | None = None,
    position_shape: tuple[int, ...] | None = None,
    ax: Axes | None = None,
) -> Axes:
    """E/T of each chain against the number of steps, and the mean over chains.

    Args:
        draws: (draw, …) or (chain, draw, …), followed by the axes of a position; or a `Run` that
            kept its positions.
        energy: E, a function of a position.
        temperature: T.
        steps: the number of steps after which each draw was taken; 1, 2, … if None.
        position_shape: the shape of one position, needed if the energy accepts more than one shape
            that the draws could have; see `diagnostics.ksd`.
        expected: the mean of E/T under p, if it is known, for a dashed line: for a quadratic energy
            d/2 above the minimum.
        ax: where to draw.

    Returns:
        The Axes.

    Raises:
        ValueError: draws, steps or T are out of range, or the energy is not finite at a draw.

    Example:
        >>> import jax, jax.numpy as jnp, jlangevin as jl
        >>> energy = jl.energies.quadratic(jnp.eye(2))
        >>> run = jl.sample(jax.random.key(0), energy, jl.ula(0.1), jnp.ones((3, 2)), num_steps=50)
        >>> len(jl.plot.energy_trace(run.draws, energy, expected=1.0).lines)
        5
    """
    check_known(ON_HOST, draws=draws)
    known = as_positions("draws", draws, energy, position_shape)
    at = as_steps(steps, known.batch[-1])
    values = scaled_energies(known.points, energy, temperature).reshape(-1, known.batch[-1])
    ax = axes_or_new(ax)
    single = len(values) == 1
    ax.plot(at, values.T, color=COLORS[0], lw=0.6, alpha=1 if single else 0.35)
    ax.lines[-1].set_label("a chain")
    if not single:
        ax.plot(at, values.mean(axis=0), color=COLORS[1], lw=1.4, label=f"mean of {len(values):,}")
    if expected is not None:
        check_scalar("expected", expected)
        ax.axhline(float(expected), color="black", ls="--", lw=1, label="expected under $p$")
    ax.set(xlabel="steps $N$", ylabel="energy $E(x_N)/T$")
    legend(ax)
    return ax


def autocorrelation(
    draws: Numbers,
    *,
    max_lag: int | None = None,
    exact: ArrayLike | None = None,
    coordinates: Sequence[int] | None = None,
    ax: Axes | None = None,
) -> Axes:
    """The autocorrelation ρ_t of each coordinate against the lag, averaged over chains.

    As in `diagnostics.autocorrelation`, the mean of each chain is subtracted, which makes ρ_t too
    small by about τ/n for chains of n draws.

    Args:
        draws: (draw, d) or (chain, draw, d).
        max_lag: the greatest lag in draws; a tenth of the draws if None.
        exact: ρ_t at lags 0 … max_lag, if it is known: (max_lag + 1,) for all coordinates, or
            (max_lag + 1, d). For `ula` along an eigenvalue λ it is (1 - ηλ)^t.
        coordinates: which to draw, at most six; all of them if None.
        ax: where to draw.

    Returns:
        The Axes.

    Raises:
        ValueError: draws do not move, or there are no more than `max_lag`; coordinates or `exact`
            have the wrong shape.

    Example:
        >>> import jax, jax.numpy as jnp, jlangevin as jl
        >>> energy = jl.energies.quadratic(jnp.eye(1))
        >>> run = jl.sample(jax.random.key(0), energy, jl.ula(0.1), energy, num_steps=1000,
        ...                 num_chains=4)
        >>> ax = jl.plot.autocorrelation(run.draws, max_lag=40, exact=0.9 ** jnp.arange(41.0))
        >>> ax.get_xlabel()
        'lag $t$ (draws)'
    """
    chains = as_chain_array(draws)
    n, dim = chains.shape[1:]
    max_lag = max(1, n // 10) if max_lag is None else check_count("max_lag", max_lag, minimum=1)
    if max_lag >= n:
        raise ValueError(f"max_lag: {n} draws have no pairs {max_lag} apart")
    chosen = as_coordinates(coordinates, dim)
    if (np.ptp(chains[..., chosen], axis=1) == 0).any():
        raise ValueError("draws: a chain does not move, so it has no autocorrelation")
    rho = np.asarray(diagnostics.autocorrelation(jnp.asarray(chains))).mean(axis=0)[: max_lag + 1]
    known = None
    if exact is not None:
        known = np.asarray(as_array("exact", exact))
        known = np.tile(known[:, None], dim) if known.ndim == 1 else known
        if known.shape != (max_lag + 1, dim):
            raise ValueError(
                f"exact: expected shape ({max_lag + 1},) or ({max_lag + 1}, {dim}), got "
                f"{np.shape(exact)}"
            )
    ax = axes_or_new(ax)
    lags = np.arange(max_lag + 1)
    ax.axhline(0, color="0.6", lw=0.8)
    for i, color in zip(chosen, COLORS, strict=False):
        name = f"$x_{{{i + 1}}}$"
        ax.plot(lags, rho[:, i], ".", color=color, label=f"{name}, measured")
        if known is not None:
            ax.plot(lags, known[:, i], color=color, lw=1.2, label=f"{name}, exact")
    ax.set(xlabel="lag $t$ (draws)", ylabel="autocorrelation $\\rho_t$")
    legend(ax)
    return ax


def occupancy(
    draws: Numbers,
    mixture: GaussianMixture,
    *,
    steps: Numbers | None = None,
    ax: Axes | None = None,
) -> Axes:
    """The fraction of the chains in each mode of a mixture against the number of steps.

    Fractions are by responsibilities, as in `diagnostics.mode_occupancy`. For up to six modes there
    is a line each, and a dashed line at the weight to which it converges. For more, each mode is a
    row, coloured by fraction / weight: white where they are equal.

    Args:
        draws: (draw, d) or (chain, draw, d).
        mixture: made by `energies.gaussian_mixture`.
        steps: the number of steps after which each draw was taken; 1, 2, … if None.
        ax: where to draw.

    Returns:
        The Axes.

    Raises:
        TypeError: `mixture` is not a `GaussianMixture`.
        ValueError: the draws have another dimension than the mixture, or steps are out of range.

    Example:
        >>> import jax, jax.numpy as jnp, jlangevin as jl
        >>> mixture = jl.energies.gaussian_mixture([[-2.0], [2.0]], jnp.ones((2, 1, 1)))
        >>> run = jl.sample(jax.random.key(0), mixture, jl.ula(0.1), -2 * jnp.ones((50, 1)),
        ...                 num_steps=30)
        >>> jl.plot.occupancy(run.draws, mixture).get_ylabel()
        'fraction of chains'
    """
    chains = as_chain_array(draws)
    at = as_steps(steps, chains.shape[1])

    def fractions(x: jax.Array) -> jax.Array:
        return diagnostics.mode_occupancy(x, mixture).fractions

    found = np.asarray(jax.vmap(fractions, in_axes=1)(jnp.asarray(chains)))
    ax = axes_or_new(ax)
    if found.shape[1] > len(COLORS):
        return _occupancy_map(at, found, np.asarray(mixture.weights), ax)
    for j, color in zip(range(found.shape[1]), COLORS, strict=False):
        ax.plot(at, found[:, j], color=color, lw=1.2, label=f"mode {j}")
        ax.axhline(float(mixture.weights[j]), color=color, ls="--", lw=1)
    ax.set(xlabel="steps $N$", ylabel="fraction of chains", ylim=(0, 1))
    ax.set_title("dashed: the modes' weights", fontsize=9)
    legend(ax)
    return ax


def _occupancy_map(at: Array, fractions: Array, weights: Array, ax: Axes) -> Axes:
    """Fractions (step, mode) as colours, on a scale from a quarter of the weight to four times."""
    ratio = np.log2(np.maximum(fractions / weights, 2.0**-_OCTAVES)).T
    image = ax.pcolormesh(
        at, np.arange(len(weights)), ratio, cmap="RdBu_r", vmin=-_OCTAVES, vmax=_OCTAVES
    )
    ax.set(xlabel="steps $N$", ylabel="mode")
    ax.set_title("fraction of chains / the mode's weight", fontsize=9)
    bar = ax.figure.colorbar(image, ax=ax)
    ticks = list(range(-_OCTAVES, _OCTAVES + 1))
    bar.set_ticks(ticks, labels=[f"{2.0**tick:g}" for tick in ticks])
    bar.ax.tick_params(labelsize=8)
    return ax


def ksd(
    draws: Run | Numbers,
    energy: Energy,
    *,
    temperature: ArrayLike = 1.0,
    steps: Numbers | None = None,
    exact: ArrayLike | None = None,
    ax: Axes | None = None,
) -> Axes:
    """The kernel Stein discrepancy of the chains against the number of steps, on log scales.

    It is sqrt(V) of `diagnostics.ksd` over the chains after each number of steps. For n chains of
    the right law it is about sqrt(E k_p(X, X) / n), not 0. Each draw costs n² d operations, so thin
    the draws.

    Args:
        draws: (chain, draw, …), followed by the axes of a position; or a `Run` that kept its
            positions.
        energy: E, a function of a position.
        temperature: T.
        steps: the number of steps after which each draw was taken; 1, 2, … if None.
        exact: independent draws of p, (m, …), to estimate E k_p(X, X), for a dashed line at the
            value expected for the right law.
        ax: where to draw.

    Returns:
        The Axes.

    Raises:
        ValueError: draws have no chain axis; steps are out of range; exact draws have another
            shape, or there is a single one; the gradient is not finite at a draw.

    Example:
        >>> import jax, jax.numpy as jnp, jlangevin as jl
        >>> energy = jl.energies.quadratic(jnp.eye(2))
        >>> run = jl.sample(jax.random.key(0), energy, jl.ula(0.1), 3 * jnp.ones((50, 2)),
        ...                 num_steps=50, thin=10)
        >>> ax = jl.plot.ksd(run.draws, energy, steps=jnp.arange(10, 51, 10))
        >>> ax.get_xscale(), len(ax.lines[0].get_xdata())
        ('log', 5)
    """
    check_known(ON_HOST, draws=draws)
    given = as_draws_array("draws", getattr(draws, "draws", draws))
    if given.ndim < 3:
        raise ValueError(f"draws: expected shape (chain, draw, …), got {given.shape}")
    shape = given.shape[2:]
    of_run = hasattr(draws, "draws")  # whose positions have a shape of their own
    known = as_positions("draws", draws, energy, None if of_run else shape)
    chains = known.points.reshape(*known.batch, *shape)
    at = as_steps(steps, chains.shape[1])
    if at[0] == 0:
        raise ValueError("steps: the axis is logarithmic; leave out the start, 0")

    def square(x: Any, statistic: Any = "V") -> float:
        found = diagnostics.ksd(
            x,
            energy,
            temperature=temperature,
            statistic=statistic,
            position_shape=shape,
        )
        return float(found)

    found = [square(chains[:, k]) ** 0.5 for k in range(len(at))]
    ax = axes_or_new(ax)
    ax.loglog(at, found, ".-", color=COLORS[0], lw=1.2, label=f"{len(chains):,} chains")
    if exact is not None:
        other = as_array("exact", exact, ndim=1 + len(shape))
        m = len(other)
        own = square(other) - (m - 1) / m * square(other, "U")  # Σ_i k_p(x_i, x_i) / m²
        level = (own * m / len(chains)) ** 0.5
        ax.axhline(level, color="black", ls="--", lw=1, label=f"{len(chains):,} draws of $p$")
    ax.set(xlabel="steps $N$", ylabel="kernel Stein discrepancy")
    legend(ax)
    return ax
