"""An energy in the plane: its contours, its score, and the paths of chains."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from numpy.typing import NDArray

from jlangevin._core.checks import (
    as_array,
    check_count,
    check_finite,
    check_increasing,
    check_known,
    check_temperature,
)
from jlangevin._core.trees import Numbers
from jlangevin.energies.base import Energy, check_energy_on, gradient
from jlangevin.energies.traced import energy_values, mapped
from jlangevin.plot._figure import (
    COLORS,
    ON_HOST,
    Array,
    as_chain_array,
    as_numbers,
    axes_or_new,
    legend,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = [
    "Span",
    "as_span",
    "cell_centres",
    "contours",
    "plane",
    "relative_energies",
    "scaled_energies",
    "score_field",
    "span_of",
    "trajectory",
]

Span = Sequence[Sequence[float]] | Array

_GRID = 160  # points per axis where the energy is evaluated
_MOST_LEVELS = 10


def contours(
    energy: Energy,
    span: Span,
    *,
    temperature: ArrayLike = 1.0,
    levels: Sequence[float] | NDArray[Any] | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Contours of E/T, labelled with the height above the least value in the picture.

    The default heights are ½ k², k = 1, …, 10: for a Gaussian, ellipses at k standard deviations.

    Args:
        energy: E, a function of a position (2,).
        span: the part of the plane to show, ((from, to), (from, to)).
        temperature: T.
        levels: heights above the least value, increasing, in units of T.
        ax: where to draw.

    Returns:
        The Axes.

    Raises:
        ValueError: the span is not valid, the energy is not finite in it, or T is not positive.

    Example:
        >>> import jax.numpy as jnp, jlangevin as jl
        >>> ax = jl.plot.contours(jl.energies.ring(), ((-3, 3), (-3, 3)))
        >>> ax.get_xlabel(), ax.get_xlim() == (-3, 3)
        ('$x_1$', True)
    """
    box = as_span(span)
    points = grid(box, _GRID)
    heights = relative_energies(points, energy, temperature)
    if levels is None:
        levels = 0.5 * np.arange(1, _MOST_LEVELS + 1) ** 2
    levels = np.asarray(as_array("levels", levels, ndim=1))
    check_increasing("levels", levels, "heights", minimum=0)
    levels = levels[levels < heights.max()]
    ax = plane(ax, box)
    if len(levels):
        x, y = np.asarray(points).T.reshape(2, _GRID, _GRID)
        heights = heights.reshape(_GRID, _GRID)
        lines = ax.contour(x, y, heights, levels, colors="0.6", linewidths=0.7, zorder=0)
        ax.clabel(lines, fontsize=6, fmt="%g")
    ax.set_title("contours: $(E - \\min E)/T$", fontsize=9)
    return ax


def trajectory(
    draws: Numbers,
    energy: Energy,
    *,
    span: Span | None = None,
    temperature: ArrayLike = 1.0,
    levels: Sequence[float] | NDArray[Any] | None = None,
    ax: Axes | None = None,
) -> Axes:
    """The paths of up to six chains over the contours of the energy.

    A circle marks the first draw of a chain, a square the last.

    Args:
        draws: (draw, 2) or (chain, draw, 2).
        energy, temperature, levels, ax: as in `contours`.
        span: as in `contours`; by default it contains all draws.

    Returns:
        The Axes.

    Raises:
        ValueError: draws are not in the plane, or of more than six chains; or as `contours`.

    Example:
        >>> import jax, jax.numpy as jnp, jlangevin as jl
        >>> energy = jl.energies.ring()
        >>> run = jl.sample(jax.random.key(0), energy, jl.ula(0.02), jnp.ones((2, 2)), num_steps=50)
        >>> len(jl.plot.trajectory(run.draws, energy).lines)
        6
    """
    chains = as_chain_array(draws, plane=True)
    if len(chains) > len(COLORS):
        raise ValueError(
            f"draws: a picture shows at most {len(COLORS)} paths, got {len(chains)} chains; "
            f"pass draws[:{len(COLORS)}]"
        )
    span = span_of(chains) if span is None else span
    ax = contours(energy, span, temperature=temperature, levels=levels, ax=ax)
    for i, (path, color) in enumerate(zip(chains, COLORS, strict=False)):
        ax.plot(*path.T, color=color, lw=0.7, alpha=0.8, label=f"chain {i}")
        for at, marker in ((0, "o"), (-1, "s")):
            ax.plot(*path[at], marker, color=color, mec="black", mew=0.7, ms=6)
    if len(chains) > 1:
        legend(ax)
    return ax


def score_field(
    energy: Energy,
    span: Span,
    *,
    temperature: ArrayLike = 1.0,
    num: int = 17,
    ax: Axes | None = None,
) -> Axes:
    """The score s(x) = -∇E(x)/T as arrows, with a key to their length.

    Args:
        energy: E, a function of a position (2,), or a score made by `jlangevin.scores`.
        span: the part of the plane to show, ((from, to), (from, to)).
        temperature: T.
        num: the number of arrows per axis, at the centres of num × num cells.
        ax: where to draw.

    Returns:
        The Axes.

    Raises:
        ValueError: the span is not valid, the score is not finite in it, or T is not positive.

    Example:
        >>> import jax.numpy as jnp, jlangevin as jl
        >>> energy = jl.energies.quadratic(jnp.eye(2))
        >>> ax = jl.plot.score_field(energy, ((-2, 2), (-2, 2)), num=4)
        >>> ax.collections[0].U.tolist()[:4]
        [1.5, 0.5, -0.5, -1.5]
    """
    from matplotlib.quiver import QuiverKey

    num = check_count("num", num, minimum=1)
    box = as_span(span)
    points = cell_centres(box, num)
    check_energy_on(energy, points)
    scores = -mapped(gradient, energy, points)
    scores = _on_host(scores, temperature)
    ax = plane(ax, box)
    x, y = np.asarray(points).T
    u, v = scores.T
    longest = float(np.hypot(u, v).max()) or 1.0
    arrows = ax.quiver(
        x,
        y,
        u,
        v,
        color=COLORS[0],
        pivot="mid",
        angles="xy",
        scale_units="xy",
        scale=longest / (0.9 * np.diff(box, axis=1).min() / num),  # nine tenths of a cell
        width=0.004,
    )
    unit = float(f"{longest:.0e}")  # to one digit
    text = f"$|s| = |\\nabla E|/T = {unit:g}$"
    ax.add_artist(
        QuiverKey(arrows, 0.68, -0.135, unit, text, labelpos="E", fontproperties={"size": 8})
    )
    return ax


# The plane, for the other pictures too ------------------------------------------------------------


def as_span(span: object) -> Array:
    """((from, to), (from, to)) as an array (2, 2)."""
    box = as_numbers("span", span).astype(float)
    if box.shape != (2, 2):
        raise ValueError(f"span: expected ((from, to), (from, to)), got shape {box.shape}")
    check_finite("span", box)
    if not (box[:, 0] < box[:, 1]).all():
        raise ValueError(f"span: expected from < to on both axes, got {box.tolist()}")
    return box


def plane(ax: Axes | None, box: Array) -> Axes:
    """Axes that show a part of the plane, with equal units on both axes."""
    ax = axes_or_new(ax)
    ax.set(xlim=box[0], ylim=box[1], xlabel="$x_1$", ylabel="$x_2$")
    ax.set_aspect("equal", adjustable="box")
    return ax


def grid(box: Array, num: int) -> jax.Array:
    """A grid of num × num points, (num², 2), with x_1 varying fastest."""
    axes = [np.linspace(low, high, num) for low, high in box]
    points = np.stack(np.meshgrid(*axes), axis=-1).reshape(-1, 2)
    return jnp.asarray(points)


def cell_centres(box: Array, num: int) -> jax.Array:
    """The centres of num × num cells, (num², 2), with x_1 varying fastest."""
    half = np.diff(box, axis=1) / (2 * num)
    return grid(box + half * np.array([[1, -1]]), num)


def relative_energies(points: jax.Array, energy: Energy, temperature: ArrayLike) -> Array:
    """E/T at points (n, 2), minus its least value there."""
    values = scaled_energies(points, energy, temperature)
    return np.asarray(values - values.min())


def scaled_energies(points: jax.Array, energy: Energy, temperature: ArrayLike) -> Array:
    """E/T at points (n, d)."""
    check_energy_on(energy, points)
    return _on_host(energy_values(energy, points), temperature)


def _on_host(values: jax.Array, temperature: ArrayLike) -> Array:
    """An energy's values or gradients, over T."""
    check_known(ON_HOST, energy=values, temperature=temperature)
    scaled = np.asarray(values, float) / float(check_temperature(temperature, values.dtype))
    check_finite("energy", scaled)
    return np.asarray(scaled)


def span_of(chains: Array) -> Array:
    """A part of the plane that contains all draws, with a margin of a tenth on each side."""
    low, high = chains.min(axis=(0, 1)).astype(float), chains.max(axis=(0, 1)).astype(float)
    widest = np.max(high - low) or np.max(np.abs(low)) or 1.0  # the others for a single place
    margin = 0.1 * np.maximum(high - low, 0.1 * widest)
    return np.stack([low - margin, high + margin], axis=1)
