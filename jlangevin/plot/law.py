"""Draws against a law in one dimension, with the band that a correct sampler stays in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import scipy

from jlangevin._core.checks import check_count, check_finite, check_made, check_no_run
from jlangevin._core.trees import Numbers
from jlangevin.distribution import Gaussian
from jlangevin.plot._figure import COLORS, Array, as_numbers, axes_or_new, legend
from jlangevin.verify import dkw_radius

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["ecdf", "qq"]


def ecdf(
    samples: Numbers,
    law: Any,
    *,
    coordinate: int = 0,
    false_alarm: float = 0.01,
    ax: Axes | None = None,
) -> Axes:
    """The empirical distribution function of draws, the law's, F, and its DKW band F ± ε.

    Independent draws of the law leave the band with a probability of at most `false_alarm`, see
    `verify.dkw_radius`.

    Args:
        samples: independent draws, (n,) or (n, d).
        law: a `Gaussian` over all coordinates, or the law of the coordinate that is shown, with
            `cdf(x)` and `ppf(probability)` for NumPy arrays, as SciPy's laws have.
        coordinate: the coordinate to show.
        false_alarm: α.
        ax: where to draw.

    Returns:
        The Axes.

    Raises:
        TypeError: `law` is not a law.
        ValueError: samples, coordinate or α are out of range; the law has another dimension, or
            no variance along the coordinate.

    Example:
        >>> import jax, jax.numpy as jnp, jlangevin as jl
        >>> law = jl.Gaussian(jnp.zeros(2), jnp.eye(2))
        >>> ax = jl.plot.ecdf(law.sample(jax.random.key(0), 1000), law, coordinate=1)
        >>> ax.get_xlabel(), ax.get_ylabel()
        ('$x_2$', 'distribution function $F(x_2)$')
    """
    x, law, name = _marginal_draws(samples, law, coordinate)
    radius = dkw_radius(len(x), false_alarm)
    tail = 0.1 / len(x)
    points = np.linspace(min(x[0], law.ppf(tail)), max(x[-1], law.ppf(1 - tail)), 500)
    exact = law.cdf(points)
    ax = axes_or_new(ax)
    ax.fill_between(
        points,
        np.maximum(exact - radius, 0),
        np.minimum(exact + radius, 1),
        color="0.6",
        alpha=0.4,
        lw=0,
        label=f"band, left with probability ≤ {false_alarm:g}",
    )
    ax.plot(points, exact, color="black", lw=1, label="law")
    ax.ecdf(x, color=COLORS[0], lw=1.2, label=f"{len(x):,} draws")
    ax.set(xlabel=f"${name}$", ylabel=f"distribution function $F({name})$", ylim=(-0.02, 1.02))
    gap = scipy.stats.ks_1samp(x, law.cdf).statistic
    ax.set_title(f"largest gap {gap:.2g}, band ±{radius:.2g}", fontsize=9)
    legend(ax)
    return ax


def qq(
    samples: Numbers,
    law: Any,
    *,
    coordinate: int = 0,
    false_alarm: float = 0.01,
    ax: Axes | None = None,
) -> Axes:
    """Quantiles of draws against the law's, with the DKW band of `ecdf` in terms of quantiles.

        the k-th of n draws in order, against F⁻¹((k - ½)/n), between F⁻¹(k/n - ε) and
        F⁻¹((k - 1)/n + ε)

    All draws are within the band if and only if the empirical distribution function is within
    F ± ε. In the tails the band has no lower bound (k ≤ nε) or no upper one (k ≥ n(1 - ε) + 1).

    Args:
        samples, law, coordinate, false_alarm, ax: as in `ecdf`.

    Returns:
        The Axes.

    Raises:
        TypeError, ValueError: as `ecdf`.

    Example:
        >>> import jax, jax.numpy as jnp, jlangevin as jl
        >>> law = jl.Gaussian(jnp.zeros(1), jnp.eye(1))
        >>> ax = jl.plot.qq(law.sample(jax.random.key(0), 1000), law)
        >>> ax.get_ylabel()
        'quantiles of the draws $x_1$'
    """
    x, law, name = _marginal_draws(samples, law, coordinate)
    n, radius = len(x), dkw_radius(len(x), false_alarm)
    k = np.arange(1, n + 1)
    exact = law.ppf((k - 0.5) / n)
    low = law.ppf(np.clip(k / n - radius, 0, 1))
    high = law.ppf(np.clip((k - 1) / n + radius, 0, 1))
    ax = axes_or_new(ax)
    edges = np.array([min(x[0], exact[0]), max(x[-1], exact[-1])])
    edges += np.array([-0.05, 0.05]) * (edges[1] - edges[0])
    # An infinite bound is replaced by one outside the picture.
    far = edges + np.array([-1, 1]) * (edges[1] - edges[0])
    ax.fill_between(
        exact,
        np.maximum(low, far[0]),
        np.minimum(high, far[1]),
        color="0.6",
        alpha=0.4,
        lw=0,
        label=f"band, left with probability ≤ {false_alarm:g}",
    )
    ax.plot(edges, edges, color="black", lw=1, label="law")
    ax.plot(exact, x, ".", color=COLORS[0], ms=3, label=f"{n:,} draws", rasterized=True)
    outside = int(np.sum((x < low) | (x > high)))
    ax.set_title(f"{outside:,} of {n:,} draws outside the band", fontsize=9)
    ax.set(
        xlim=exact[[0, -1]],
        ylim=edges,
        xlabel=f"quantiles of the law of ${name}$",
        ylabel=f"quantiles of the draws ${name}$",
    )
    legend(ax)
    return ax


def _marginal_draws(samples: Numbers, law: Any, coordinate: int) -> tuple[Array, Any, str]:
    """The sorted draws of one coordinate, its law, and its name."""
    check_no_run("samples", samples, "run.position")
    check_made("law", law)
    array = as_numbers("samples", samples)
    if array.ndim not in (1, 2) or 0 in array.shape:
        hint = (
            "; draws of one chain are dependent: take one per chain, for instance draws[:, -1]"
            if array.ndim == 3
            else ""
        )
        raise ValueError(f"samples: expected shape (n,) or (n, d), got {array.shape}{hint}")
    check_finite("samples", array)
    x = np.asarray(array, np.float64).reshape(len(array), -1)
    coordinate = check_count("coordinate", coordinate, minimum=0)
    if coordinate >= x.shape[1]:
        raise ValueError(
            f"coordinate: samples have {x.shape[1]} dimension(s), numbered from 0; got {coordinate}"
        )
    if isinstance(law, Gaussian):
        law.check_single("law")
        if np.shape(law.mean) != (x.shape[1],):
            raise ValueError(
                f"law: expected a mean of shape ({x.shape[1]},) to match samples, got "
                f"{np.shape(law.mean)}"
            )
        variance = float(law.cov[coordinate, coordinate])
        if not variance > 0:
            raise ValueError(f"law: coordinate {coordinate} has no variance, and so no density")
        law = scipy.stats.norm(float(law.mean[coordinate]), variance**0.5)
    elif not (callable(getattr(law, "cdf", None)) and callable(getattr(law, "ppf", None))):
        raise TypeError(
            f"law: expected a jlangevin.Gaussian or a law with cdf and ppf, such as those of "
            f"scipy.stats, got {type(law).__name__}"
        )
    return np.sort(x[:, coordinate]), law, f"x_{coordinate + 1}"
