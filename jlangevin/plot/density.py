"""Draws in the plane, compared with their density."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
import scipy
from jax.typing import ArrayLike

from jlangevin._core.checks import check_count
from jlangevin._core.trees import Numbers
from jlangevin.distribution import Gaussian, check_gaussian
from jlangevin.energies.base import Energy
from jlangevin.plot._figure import (
    COLORS,
    Array,
    as_chain_array,
    axes_or_new,
    check_color,
    legend,
    two_axes,
)
from jlangevin.plot.landscape import Span, as_span, cell_centres, plane, relative_energies

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["cloud", "density"]

_GRID = 120  # cells per axis; p and kernel estimates are evaluated at their centres
_MASSES = (0.5, 0.9, 0.99)


def density(
    draws: Numbers,
    energy: Energy,
    span: Span,
    *,
    temperature: ArrayLike = 1.0,
    kind: Literal["histogram", "kde"] = "histogram",
    bins: int = 50,
    ax: tuple[Axes, Axes] | None = None,
) -> tuple[Axes, Axes]:
    """The density of two-dimensional draws (left) and p ∝ exp(-E/T) (right), on the same scale.

    Both are normalised over `span`; the left title gives the number of draws outside. The lines in
    both panels are contours of p that contain 50, 90 and 99% of it.

    Args:
        draws: (draw, 2) or (chain, draw, 2), pooled.
        energy: E, a function of a position (2,).
        span: the part of the plane to show, ((from, to), (from, to)).
        temperature: T.
        kind: "histogram", or "kde", an estimate by Gaussian kernels (width by Scott 1992), which
            is smooth but blurs structure narrower than its kernel.
        bins: the number of bins of the histogram on each axis.
        ax: two Axes to draw on; a new figure with two panels if None.

    Returns:
        Both Axes.

    Raises:
        ValueError: draws are not in the plane, or none of them is in the span; the span is not
            valid; the energy is not finite in it; T is not positive; or the kind is unknown.

    Example:
        >>> import jax, jax.numpy as jnp, jlangevin as jl
        >>> energy = jl.energies.quadratic(jnp.eye(2))
        >>> x = energy.sample(jax.random.key(0), 1000)
        >>> left, right = jl.plot.density(x, energy, ((-4, 4), (-4, 4)), bins=20)
        >>> left.get_title()
        '1,000 draws, histogram'
    """
    if kind not in ("histogram", "kde"):
        raise ValueError(f"kind: expected 'histogram' or 'kde', got {kind!r}")
    bins = check_count("bins", bins, minimum=1)
    chains = as_chain_array(draws, plane=True)
    box = as_span(span)
    flat = chains.reshape(-1, 2).astype(float)
    inside = np.all((flat >= box[:, 0]) & (flat <= box[:, 1]), axis=1)
    outside = int(np.sum(~inside))
    if not inside.any():
        raise ValueError(f"span: none of the {len(flat)} draws lies in {box.tolist()}")
    points = cell_centres(box, _GRID)
    p = _normalised(np.exp(-relative_energies(points, energy, temperature)), box)
    if kind == "histogram":
        found, *_ = np.histogram2d(flat[:, 0], flat[:, 1], bins=bins, range=box, density=True)
        found = found.T
    else:
        found = _normalised(_kernel_estimate(flat, np.asarray(points, float)), box)
    left, right = two_axes(ax)
    most = max(found.max(), p.max())
    x, y = np.asarray(points).T.reshape(2, _GRID, _GRID)
    extent = (box[0, 0], box[0, 1], box[1, 0], box[1, 1])
    for panel, values in ((left, found), (right, p)):
        plane(panel, box)
        image = panel.imshow(values, origin="lower", extent=extent, cmap="Blues", vmin=0, vmax=most)
        panel.contour(x, y, p, _mass_levels(p), colors=COLORS[1], linewidths=0.9)
    name = {"histogram": "histogram", "kde": "kernel estimate"}[kind]
    beyond = f", {outside:,} outside" if outside else ""
    left.set_title(f"{len(flat):,} draws, {name}{beyond}", fontsize=9)
    right.set_title("$p(x)$; lines hold 50, 90, 99%", fontsize=9)
    right.figure.colorbar(image, ax=[left, right], label="density (per unit area)", shrink=0.9)
    return left, right


def cloud(
    samples: Numbers,
    law: Gaussian,
    *,
    label: str,
    color: str = COLORS[0],
    most: int = 2_000,
    ax: Axes | None = None,
) -> Axes:
    """Two-dimensional draws, and the ellipses that contain 50, 90 and 99% of the law.

    Args:
        samples: shape (n, 2); the first `most` are shown.
        law: a Gaussian in two dimensions.
        label: the label of the points in the legend.
        color: the colour of the points.
        most: the largest number of points to show.
        ax: where to draw.

    Returns:
        The Axes.

    Raises:
        TypeError: `law` is not a `Gaussian`.
        ValueError: draws or law are not two-dimensional, `most` is below 1, or `color` is unknown.

    Example:
        >>> import jax, jax.numpy as jnp, jlangevin as jl
        >>> law = jl.Gaussian(jnp.zeros(2), jnp.eye(2))
        >>> ax = jl.plot.cloud(law.sample(jax.random.key(0), 100), law, label="draws")
        >>> len(ax.lines)
        3
    """
    check_gaussian("law", law)
    law.check_single("law")
    most = check_count("most", most, minimum=1)
    check_color(color)
    mean, cov = np.asarray(law.mean), np.asarray(law.cov)
    if mean.shape != (2,):
        raise ValueError(f"law: expected two dimensions, got a mean of shape {mean.shape}")
    points = as_chain_array(samples, name="samples", plane=True).reshape(-1, 2)[:most]
    ax = axes_or_new(ax)
    ax.scatter(
        points[:, 0], points[:, 1], s=3, lw=0, alpha=0.35, color=color, label=label, rasterized=True
    )
    angle = np.linspace(0, 2 * np.pi, 200)
    circle = np.dot(np.linalg.cholesky(cov), np.stack([np.cos(angle), np.sin(angle)]))
    for mass in _MASSES:
        radius = np.sqrt(-2 * np.log1p(-mass))  # |u|² of two normals u is exponential
        x, y = mean[:, None] + radius * circle
        ax.plot(x, y, color="black", lw=0.8)
    ax.set_aspect("equal", adjustable="datalim")
    ax.set_xlabel("$x_1$")
    ax.set_ylabel("$x_2$")
    legend(ax, markerscale=3)
    return ax


def _normalised(values: Array, box: Array) -> Array:
    """The values of cells, normalised to the integral 1 over the box."""
    values = values.reshape(_GRID, _GRID)
    return np.asarray(values / (values.mean() * np.prod(np.diff(box, axis=1))))


def _mass_levels(p: Array) -> list[float]:
    """The densities whose contours contain the given masses, increasing."""
    ordered = np.sort(p.ravel())[::-1]
    held = np.cumsum(ordered) / ordered.sum()
    heights = {float(ordered[np.searchsorted(held, mass)]) for mass in _MASSES}
    return sorted(heights)


def _kernel_estimate(flat: Array, points: Array) -> Array:

    try:
        estimate = scipy.stats.gaussian_kde(flat.T)
    except (ValueError, np.linalg.LinAlgError) as error:
        raise ValueError(
            f"draws: a kernel estimate needs draws that spread over the plane, got {len(flat)} "
            "with a singular covariance"
        ) from error
    return np.asarray(estimate(points.T))
