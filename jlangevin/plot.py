"""Pictures, by Matplotlib (extra `plot`). Each function draws on `ax` and returns it.

The colours are those of Okabe and Ito (2008), which colour-blind readers can tell apart.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from jlangevin.distribution import Gaussian

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["COLORS", "cloud", "figure", "moment_against_steps"]

COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")


def figure(num_panels: int, *, height: float = 3.6) -> tuple[Figure, list[Axes]]:
    """A figure with panels side by side, apart from pyplot's global state.

    Raises:
        ImportError: Matplotlib is not installed.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError("pictures need Matplotlib: pip install 'jlangevin[plot]'") from error
    made = Figure(figsize=(1.25 * height * num_panels, height), layout="constrained")
    FigureCanvasAgg(made)
    axes = made.subplots(1, num_panels, squeeze=False)[0]
    for ax in axes:
        ax.spines[["top", "right"]].set_visible(False)
    return made, list(axes)


def moment_against_steps(
    ax: Axes,
    steps: Any,
    measured: Any,
    exact_steps: Any,
    exact: Any,
    *,
    label: str,
    color: str = COLORS[0],
    band: Any = None,
    marker: str = "o",
) -> Axes:
    """A moment against the number of steps: points where it was measured, the exact curve behind.

    Args:
        ax: where to draw.
        steps, measured: shape (k,), the points.
        exact_steps, exact: shape (m,), the curve.
        label: of the curve, in the legend.
        color, marker: of curve and points.
        band: shape (k,), half the length of the error bars; none if None.
    """
    ax.plot(exact_steps, exact, color=color, lw=1.4, label=label)
    ax.errorbar(
        steps, measured, yerr=band, fmt=marker, ms=4.5, mfc="white", color=color, capsize=2, lw=1
    )
    ax.set_xlabel("steps $N$")
    return ax


def cloud(
    ax: Axes, samples: Any, law: Gaussian, *, label: str, color: str = COLORS[0], most: int = 2_000
) -> Axes:
    """Two-dimensional draws on the ellipses that hold 50, 90 and 99% of the law.

    Args:
        ax: where to draw.
        samples: shape (n, 2); the first `most` are drawn.
        law: a Gaussian in two dimensions.
        label: of the cloud, in the legend.
        color: of the points.
        most: how many points at the most.

    Raises:
        ValueError: the law is not two-dimensional.
    """
    mean, cov = np.asarray(law.mean), np.asarray(law.cov)
    if mean.shape != (2,):
        raise ValueError(f"law: expected two dimensions, got a mean of shape {mean.shape}")
    points = np.asarray(samples)[:most]
    ax.scatter(
        points[:, 0], points[:, 1], s=3, lw=0, alpha=0.35, color=color, label=label, rasterized=True
    )
    angle = np.linspace(0, 2 * np.pi, 200)
    circle = np.linalg.cholesky(cov) @ np.stack([np.cos(angle), np.sin(angle)])
    for mass in (0.5, 0.9, 0.99):
        radius = np.sqrt(-2 * np.log1p(-mass))  # |u|² of two normals is exponential
        x, y = mean[:, None] + radius * circle
        ax.plot(x, y, color="black", lw=0.8)
    ax.set_aspect("equal", adjustable="datalim")
    ax.set_xlabel("$x_1$")
    ax.set_ylabel("$x_2$")
    return ax
