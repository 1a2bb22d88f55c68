"""Exact laws of chains in one dimension, beside draws, and against the step size."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from jlangevin import exact
from jlangevin._core.checks import (
    check_count,
    check_finite,
    check_increasing,
    check_no_run,
    check_positive,
)
from jlangevin._core.trees import Numbers, PyTree
from jlangevin._core.user_code import note_on_errors
from jlangevin.energies.base import Energy
from jlangevin.errors import NoGridLawError, NoStationaryLawError
from jlangevin.exact import GridLaw
from jlangevin.exact.grid.law import check_grid_law
from jlangevin.exact.grid.regions import temperature_of
from jlangevin.kernels.base import Kernel, check_kernel
from jlangevin.plot._figure import COLORS, Array, as_numbers, axes_or_new, legend, two_axes
from jlangevin.plot.bias import MARKERS, STYLES, check_mapping

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["bias_and_relaxation", "histogram"]

_CURVE = 400  # points of a density
_TAIL = 1e-6  # of the laws, that is not shown on either side


def histogram(
    samples: Numbers,
    law: GridLaw,
    target: GridLaw | None = None,
    *,
    bins: int = 60,
    ax: Axes | None = None,
) -> Axes:
    """A histogram of draws in one dimension, the exact density of their law, and the target's.

    Args:
        samples: (n,) or (n, 1).
        law: of the draws, such as `exact.grid_law` gives it. What its atoms hold is in the legend.
        target: what one would like to sample, such as `exact.grid_target` gives it.
        bins: the number of bars, over all of the laws but 10⁻⁶ on either side; the legend tells how
            many draws are outside.
        ax: where to draw.

    Returns:
        The Axes.

    Raises:
        TypeError: `law` or `target` is not a `GridLaw`.
        ValueError: samples or bins are out of range.

    Example:
        >>> import jax, jax.numpy as jnp, jlangevin as jl
        >>> well, x = jl.energies.double_well(), jnp.zeros(1)
        >>> law = jl.exact.grid_stationary(jl.ula(0.05), well, x)
        >>> draws = law.sample(jax.random.key(0), 1000)
        >>> ax = jl.plot.histogram(draws, law, jl.exact.grid_target(well, x))
        >>> ax.get_ylabel()
        'density'
    """
    check_no_run("samples", samples, "run.position")
    check_grid_law("law", law)
    if target is not None:
        check_grid_law("target", target)
    bins = check_count("bins", bins, minimum=1)
    array = as_numbers("samples", samples)
    if array.size == 0 or array.shape not in ((array.size,), (array.size, 1)):
        raise ValueError(f"samples: expected shape (n,) or (n, 1), got {array.shape}")
    check_finite("samples", array)
    draws = np.asarray(array, np.float64).ravel()
    shown = [law] if target is None else [law, target]
    low = min(float(each.quantile(_TAIL)) for each in shown)
    high = max(float(each.quantile(1 - _TAIL)) for each in shown)
    outside = int(np.sum((draws < low) | (draws > high)))
    told = f", {outside:,} outside" if outside else ""
    ax = axes_or_new(ax)
    share = np.full(len(draws), bins / (high - low) / len(draws))
    name = f"{len(draws):,} draws{told}"
    ax.hist(draws, bins, range=(low, high), weights=share, color="0.8", label=name)
    x = np.linspace(low, high, _CURVE)
    for each, name, color, style in zip(
        shown, ("exact law", "target"), (COLORS[0], "black"), ("-", ":"), strict=False
    ):
        mass = float(np.sum(np.asarray(each.masses)))
        held = f", {mass:.2g} of it in atoms" if mass > 0 else ""
        ax.plot(x, each.density(x), style, color=color, lw=1.6, label=name + held)
    if target is not None:
        apart = exact.total_variation(law, target)
        ax.set_title(f"law to target: total variation {apart:.2g}", fontsize=9)
    ax.set(xlabel="$x$", ylabel="density", ylim=(0, 1.25 * ax.get_ylim()[1]))  # above: the legend
    legend(ax)
    return ax


def bias_and_relaxation(
    kernels: Mapping[str, Callable[[Any], Kernel]],
    step_sizes: Numbers,
    energy: Energy,
    position: PyTree,
    *,
    measured: Mapping[str, Numbers] | None = None,
    num_draws: int | None = None,
    times: Mapping[str, Numbers] | None = None,
    tolerance: float | None = None,
    ax: tuple[Axes, Axes] | None = None,
) -> tuple[Axes, Axes]:
    """What kernels pay for a step size on an energy in one dimension: bias, and time to forget.

    On the left the stationary variance over the target's, from `exact.grid_stationary`, on the
    right the integrated autocorrelation time of x, from `exact.grid_autocorrelation_time`: the
    steps that one independent draw takes. It is the relaxation time, -1/log |λ₂|, up to a factor of
    2 where x is slowest to be forgotten, and exists where `mala` has no spectral gap. A curve has a
    gap where its kernel has no stationary law or no such time. The points are measured.

    Args:
        kernels: by name, functions from a step size to a kernel, such as `{"ULA": jl.ula}`, of one
            temperature.
        step_sizes: increasing, shape (k,).
        energy, position, tolerance: as for `exact.grid_stationary`.
        measured: sample variances, each of shape (k,), by the names of `kernels`.
        num_draws: the number of independent draws in each; error bars are then 3 standard errors,
            with the fourth moment of the exact law.
        times: measured autocorrelation times, each of shape (k,), by the names of `kernels`.
        ax: two Axes to draw on.

    Returns:
        Both Axes.

    Raises:
        NoGridLawError: no kernel has a law on a grid at any step size; with the last reason.
        TypeError, ValueError: arguments that do not fit.

    Example:
        >>> import jax.numpy as jnp, jlangevin as jl
        >>> kernels = {"ULA": jl.ula, "tamed ULA": jl.tamed_ula}
        >>> well, x = jl.energies.double_well(), jnp.zeros(1)
        >>> left, right = jl.plot.bias_and_relaxation(kernels, [0.02, 0.05], well, x)
        >>> [round(float(y), 3) for y in left.lines[1].get_ydata()]
        [0.983, 0.947]
    """
    check_mapping("kernels", kernels, '{"ULA": jlangevin.ula}')
    if not 1 <= len(kernels) <= len(MARKERS):
        raise ValueError(f"kernels: a picture shows 1 to {len(MARKERS)}, got {len(kernels)}")
    eta = as_numbers("step_sizes", step_sizes)
    if eta.ndim != 1:
        raise ValueError(f"step_sizes: expected shape (k,), got {eta.shape}")
    check_increasing("step_sizes", eta, "at least one")
    check_positive("step_sizes", eta)
    points = {
        name: {} if given is None else _points(name, given, kernels, eta)
        for name, given in (("measured", measured), ("times", times))
    }
    if num_draws is not None:
        num_draws = check_count("num_draws", num_draws, minimum=2)
    made = {name: [_made(name, make, each) for each in eta] for name, make in kernels.items()}
    temperature = temperature_of(next(iter(made.values()))[0])
    target = exact.grid_target(energy, position, temperature, tolerance=tolerance)
    unit = float(np.asarray(target.cov)[0, 0])
    left, right = two_axes(ax)
    left.axhline(1, color="black", ls=":", lw=1, label="target")
    last: Exception | None = None
    found = False
    for i, (name, each) in enumerate(made.items()):
        color, style, marker = (of[i % len(of)] for of in (COLORS, STYLES, MARKERS))
        variance, error, time = np.full((3, len(eta)), np.nan)
        for k, kernel in enumerate(each):
            try:
                law = exact.grid_stationary(kernel, energy, position, tolerance=tolerance)
                variance[k], error[k] = _variance(law, unit)
                time[k] = exact.grid_autocorrelation_time(
                    kernel, energy, position, tolerance=tolerance
                )
            except (NoGridLawError, NoStationaryLawError) as refused:
                last = refused
        left.plot(eta, variance, style, color=color, lw=1.6, label=name)
        right.plot(eta, time, style, color=color, lw=1.6, label=name)
        dots: dict[str, Any] = {
            "fmt": marker,
            "ms": 4.5,
            "mfc": "white",
            "color": color,
            "capsize": 2,
            "lw": 1,
        }
        if name in points["measured"]:
            bars = None if num_draws is None else 3 * error / np.sqrt(num_draws)
            left.errorbar(eta, points["measured"][name] / unit, yerr=bars, **dots)
        if name in points["times"]:
            right.errorbar(eta, points["times"][name], **dots)
        found |= bool(np.isfinite(variance).any())
    if last is not None and not found:
        raise last
    left.set(xlabel="step size", ylabel="stationary variance / target's")
    right.set(xlabel="step size", ylabel="steps for one draw", yscale="log")
    if any(points.values()):
        bars = ", bars 3 standard errors" if num_draws is not None else ""
        left.set_title(f"curves: exact; points: measured{bars}", fontsize=9)
    legend(left)
    return left, right


def _points(
    argument: str, given: Any, kernels: Mapping[str, Any], step_sizes: Array
) -> dict[str, Array]:
    check_mapping(argument, given, "arrays by the names of kernels")
    if unknown := given.keys() - kernels.keys():
        raise ValueError(f"{argument}: {sorted(unknown)} are not among the kernels {list(kernels)}")
    made = {}
    for name, values in given.items():
        array = as_numbers(f"{argument}[{name!r}]", values).astype(float)
        if array.shape != step_sizes.shape:
            raise ValueError(
                f"{argument}[{name!r}]: expected shape {step_sizes.shape}, as step_sizes, got "
                f"{array.shape}"
            )
        made[name] = array
    return made


def _made(name: str, make: Any, step_size: Any) -> Kernel:
    if not callable(make):
        raise TypeError(
            f"kernels[{name!r}]: expected a function from a step size to a kernel, such as "
            f"jlangevin.ula, got {make!r}"
        )
    with note_on_errors(f"by kernels[{name!r}], given a step size {step_size:.4g}"):
        kernel: Kernel = make(float(step_size))
    check_kernel(kernel)
    return kernel


def _variance(law: GridLaw, unit: float) -> tuple[float, float]:
    """The variance, and the standard deviation of one squared deviation, in the target's."""
    mean = float(np.dot(law.measure, law.states))
    square = (law.states - mean) ** 2 / unit
    variance = float(np.dot(law.measure, square))
    return variance, float(np.sqrt(np.dot(law.measure, (square - variance) ** 2)))
