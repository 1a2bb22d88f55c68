"""The bias of kernels: their stationary variance against the step size."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
import scipy

from jlangevin import exact
from jlangevin._core import trees
from jlangevin._core.checks import (
    check_count,
    check_increasing,
    check_positive,
    check_probability,
    check_scalar,
)
from jlangevin._core.compiling import compiled
from jlangevin._core.trees import Numbers
from jlangevin._core.user_code import note_on_errors
from jlangevin.energies import quadratic
from jlangevin.errors import NotAffineError
from jlangevin.kernels.base import check_kernel
from jlangevin.plot._figure import COLORS, Array, as_numbers, axes_or_new, legend

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["MARKERS", "STYLES", "check_mapping", "stationary_variance"]

_CURVE = 60  # step sizes at which a curve is evaluated
STYLES = ("-", "--", "-.", ":")
MARKERS = ("o", "s", "^", "v", "D", "<", ">", "p", "h", "X", "P", "*")


def stationary_variance(
    kernels: Mapping[str, Callable[[Any], Any]],
    step_sizes: Numbers,
    *,
    precision: float = 1.0,
    temperature: float = 1.0,
    measured: Mapping[str, Numbers] | None = None,
    num_draws: int | None = None,
    level: float = 0.99,
    ax: Axes | None = None,
) -> Axes:
    """The stationary variance of kernels on E(x) = ½ λ x², in units of T/λ, against the step size.

    The curves come from `exact.stationary`, derived from each kernel's step; a curve ends where its
    kernel becomes unstable. A kernel whose step is not affine has no curve; for kernels that accept
    and reject, the dotted line at 1 is the theory. The points are measured.

    Args:
        kernels: by name, functions from a step size to a kernel, such as `{"ULA": jl.ula}`.
        step_sizes: increasing, shape (k,).
        precision: λ.
        temperature: T, which the kernels must have too.
        measured: sample variances (divisor n - 1), each of shape (k,), by the names of `kernels`.
        num_draws: n, the number of independent draws in each; error bars are then the χ² interval
            that contains the true variance with probability `level`.
        level: the probability of the error bars.
        ax: where to draw.

    Returns:
        The Axes.

    Raises:
        ValueError: there are no kernels; step sizes, λ or T are out of range; measured variances
            have another shape or another name.

    Example:
        >>> import jlangevin as jl
        >>> ax = jl.plot.stationary_variance({"ULA": jl.ula}, [0.5, 1.0])
        >>> round(float(ax.lines[1].get_ydata()[-1]), 4)  # 1 / (1 - η/2)
        2.0
    """
    check_mapping("kernels", kernels, '{"ULA": jlangevin.ula}')
    for name, make in kernels.items():
        if not callable(make):
            raise TypeError(
                f"kernels[{name!r}]: expected a function from a step size to a kernel, such as "
                f"jlangevin.ula, got {make!r}"
            )
    eta = as_numbers("step_sizes", step_sizes).astype(float)
    if eta.ndim != 1:
        raise ValueError(f"step_sizes: expected shape (k,), got {eta.shape}")
    check_increasing("step_sizes", eta, "at least one")
    check_positive("step_sizes", eta)
    check_scalar("precision", precision, positive=True)
    check_scalar("temperature", temperature, positive=True)
    measured = {} if measured is None else measured
    check_mapping("measured", measured, "the sample variances by the names of kernels")
    if not 1 <= len(kernels) <= len(MARKERS):
        raise ValueError(f"kernels: a picture shows 1 to {len(MARKERS)}, got {len(kernels)}")
    if unknown := measured.keys() - kernels.keys():
        raise ValueError(f"measured: {sorted(unknown)} are not among the kernels {list(kernels)}")
    unit = float(temperature) / float(precision)
    fine = np.linspace(eta[0], eta[-1], _CURVE)
    ax = axes_or_new(ax)
    ax.axhline(1, color="black", ls=":", lw=1, label="target, $T/\\lambda$")
    for i, (name, make) in enumerate(kernels.items()):
        # Styles differ too, so that coinciding curves remain visible.
        color, style, marker = (of[i % len(of)] for of in (COLORS, STYLES, MARKERS))
        curve = _curve(name, make, precision, fine)
        if curve is not None:
            ax.plot(fine, curve / unit, style, color=color, lw=1.6, label=name)
        if name in measured:
            values = as_numbers(f"measured[{name!r}]", measured[name]).astype(float) / unit
            if values.shape != eta.shape:
                raise ValueError(
                    f"measured[{name!r}]: expected shape {eta.shape}, as step_sizes, got "
                    f"{values.shape}"
                )
            ax.errorbar(
                eta,
                values,
                yerr=_error_bars(values, num_draws, level),
                fmt=marker,
                ms=4.5,
                mfc="white",
                color=color,
                capsize=2,
                lw=1,
                label=name if curve is None else None,
            )
    ax.set(xlabel="step size", ylabel="stationary variance $/\\,(T/\\lambda)$")
    if measured:
        bars = f", {100 * level:g}% intervals" if num_draws is not None else ""
        ax.set_title(f"curves: exact; points: measured{bars}", fontsize=9)
    legend(ax)
    return ax


def check_mapping(name: str, value: object, example: str) -> None:
    if not isinstance(value, Mapping):
        raise TypeError(f"{name}: expected a dict, {example}, got {type(value).__name__}")


def _curve(
    name: str, make: Callable[[Any], Any], precision: float, step_sizes: Array
) -> Array | None:
    """Stationary variances, NaN where there are none; None for a kernel that is not affine."""
    energy = quadratic(jnp.full((1, 1), precision, float))

    def one(step_size: jax.Array) -> jax.Array:
        with note_on_errors(f"by kernels[{name!r}], given a step size {trees.shown(step_size)}"):
            kernel = make(step_size)
        check_kernel(kernel)
        return exact.stationary(kernel, energy, jnp.zeros(1)).cov[0, 0]

    found = compiled(jax.vmap(one), quickly=True)
    try:
        values = np.asarray(found(jnp.asarray(step_sizes, float)), float)
    except NotAffineError:
        return None
    return values if np.isfinite(values).any() else None


def _error_bars(values: Array, num_draws: int | None, level: float) -> Array | None:
    """The χ² interval of a variance, as distances below and above it."""
    if num_draws is None:
        return None
    degrees = check_count("num_draws", num_draws, minimum=2) - 1
    level = check_probability("level", level)
    high, low = scipy.stats.chi2.ppf([(1 - level) / 2, (1 + level) / 2], degrees) / degrees
    return np.stack([values - values / low, values / high - values])
