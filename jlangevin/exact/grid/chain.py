"""How fast a chain forgets, exactly."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import scipy

from jlangevin._core.trees import PyTree
from jlangevin.energies.base import Energy
from jlangevin.exact.grid.answers import settle
from jlangevin.exact.grid.arguments import center_of, default_tolerance
from jlangevin.exact.grid.far_out import FARTHER, OUTSIDE, STUCK, check_gap, settled_time
from jlangevin.exact.grid.law import values_at
from jlangevin.exact.grid.moves import REACH, moves
from jlangevin.exact.grid.panels import Floats, Ints
from jlangevin.exact.grid.plane.chain import plane_autocorrelation_time, plane_relaxation_time
from jlangevin.exact.grid.plane.steps import is_of_plane
from jlangevin.exact.grid.regions import Region
from jlangevin.exact.grid.solve import Solution
from jlangevin.exact.grid.steps import StepFunction
from jlangevin.kernels.base import Kernel

__all__ = [
    "check_function",
    "grid_autocorrelation_time",
    "grid_relaxation_time",
    "has_gap",
    "most_rejected",
    "poisson",
    "settled_chain",
    "values_of",
]


def grid_relaxation_time(
    kernel: Kernel,
    energy: Energy,
    position: PyTree,
    *,
    tolerance: Any = None,
    within: Any = None,
) -> float:
    """The relaxation time of a chain: the steps in which its slowest mode decays by a factor e.

        -1 / log |λ₂|

    with λ₂ the eigenvalue of the step that is second largest in size; 1 - |λ₂| is the spectral gap.

    Args:
        kernel, energy, position, tolerance, within: as for `grid_stationary`.

    Raises:
        NoGridLawError: the chain has no spectral gap, like `mala` on energies steeper than a
            quadratic (Roberts and Tweedie 1996): far out it rejects nearly everything, and stays
            there for longer than any given time. The sign of this is a position at which a larger
            share than |λ₂| of the proposals is rejected. Also as for `grid_stationary`.
        NoStationaryLawError, TypeError, ValueError: as for `grid_stationary`.

    References: Nyström (1930); Roberts and Tweedie (1996).

    Example:
        >>> import jax.numpy as jnp, jlangevin as jl
        >>> well, x = jl.energies.double_well(), jnp.zeros(1)
        >>> round(jl.exact.grid_relaxation_time(jl.ula(0.05), well, x), 1)
        22.8
    """
    if is_of_plane(kernel, position):
        return plane_relaxation_time(kernel, energy, position, tolerance, within)
    steps, region, found = settled_chain(kernel, energy, position, tolerance, within)
    second = _second_eigenvalue(found)
    stuck, where = most_rejected(steps, region)
    check_gap(steps.name, stuck, second, f"{where:.4g}")
    return float(-1 / np.log(second)) if second > 0 else 0.0


def grid_autocorrelation_time(
    kernel: Kernel,
    energy: Energy,
    position: PyTree,
    function: Callable[[PyTree], Any] | None = None,
    *,
    tolerance: Any = None,
    within: Any = None,
) -> float:
    """The integrated autocorrelation time of a chain: the steps for one independent draw.

        τ = 1 + 2 Σ_k ρ_k = (2 ⟨f, h⟩ - ⟨f, f⟩) / ⟨f, f⟩,    (I - K) h = f - E f

    with ρ_k the autocorrelation of f(x) at lag k and ⟨·,·⟩ under the stationary law: n steps are
    worth n / τ independent draws for the mean of f.

    If a kernel has no spectral gap (see `grid_relaxation_time`), τ may be infinite in exact
    arithmetic, because of places that no chain ever reaches. Then τ is that of the chain kept
    within the interval that holds all but 10⁻¹⁰ of the stationary law. It is returned only if the
    intervals that leave out 10⁻⁶ and 10⁻⁸ give the same τ, to a thousandth.

    Args:
        kernel, energy, position, tolerance, within: as for `grid_stationary`.
        function: f, which takes one position and returns a scalar; None for the position itself, if
            it has one element.

    Raises:
        NoGridLawError: τ depends on how far out one looks. Also as for `grid_stationary`.
        NoStationaryLawError, TypeError, ValueError: as for `grid_stationary`.

    References: Nyström (1930); Roberts and Tweedie (1996).

    Example:
        >>> import jax.numpy as jnp, jlangevin as jl
        >>> well, x = jl.energies.double_well(), jnp.zeros(1)
        >>> round(jl.exact.grid_autocorrelation_time(jl.mala(0.05), well, x), 1)
        57.5
    """
    check_function(function)
    if is_of_plane(kernel, position):
        return plane_autocorrelation_time(kernel, energy, position, function, tolerance, within)
    steps, region, found = settled_chain(kernel, energy, position, tolerance, within)
    made, measure = found.operator, found.measure
    values = values_of(function, made.states, steps.like)
    whole = _time(found, values, np.ones(len(measure), bool))
    if has_gap(steps, region, found):
        return whole
    order = np.argsort(made.states)
    below = np.empty(len(order))
    below[order] = np.cumsum(measure[order])
    times = [_time(found, values, (below > e / 2) & (below < 1 - e / 2)) for e in OUTSIDE]
    return settled_time(
        f"the autocorrelation time of {steps.name}",
        times,
        "the law is",
        "Far out nearly all is rejected; take a smaller step, or jlangevin.barker",
    )


def values_of(function: Any, states: Floats, like: PyTree) -> Floats:
    """A user's scalar function of a position at all states; None for the position."""
    if function is None:
        return states
    values = values_at(function, states, like)
    if values.shape != states.shape:
        raise ValueError(
            f"function: expected a scalar for one position, got shape {values.shape[1:]}"
        )
    return values


def check_function(function: Any) -> None:
    """Raise TypeError unless it is None or can be called."""
    if function is not None and not callable(function):
        raise TypeError(
            f"function: expected a function of one position, got {type(function).__name__}"
        )


def settled_chain(
    kernel: Kernel, energy: Energy, position: PyTree, tolerance: Any, within: Any
) -> tuple[StepFunction, Region, Solution]:
    steps = StepFunction(kernel, energy, position)
    tolerance = default_tolerance(steps.dtype, tolerance)
    return steps, *settle(steps, center_of(steps, position), tolerance, within)


def _second_eigenvalue(found: Solution) -> float:
    """The eigenvalue that is second largest in size, over the states that have mass."""
    made = found.operator
    held = found.measure > 1e-13 * found.measure.max()
    values = np.abs(scipy.linalg.eigvals(made.matrix[np.ix_(held, held)], check_finite=False))
    return float(np.sort(values)[-2])


def has_gap(steps: StepFunction, region: Region, found: Solution) -> bool:
    """Whether the chain leaves every place faster than its slowest mode decays."""
    stuck, _ = most_rejected(steps, region)
    return stuck == 0 or stuck < _second_eigenvalue(found) - STUCK


def most_rejected(steps: StepFunction, region: Region) -> tuple[float, float]:
    """The largest share of rejections, on the grid and some way beyond it, and where."""
    if not steps.rejects:
        return 0.0, region.low
    center, half = (region.low + region.high) / 2, (region.high - region.low) / 2
    far = np.array([center + sign * k * half for k in FARTHER for sign in (-1, 1)])
    beyond = [end for end in far if region.low <= end <= region.high or not region.walls]
    x = np.concatenate([np.linspace(region.low, region.high, 66)[1:-1], beyond])
    energies = steps.energies(x)
    x = x[np.isfinite(energies)]
    xi, width = np.linspace(-REACH, REACH, 901, retstep=True)
    rows, normal = np.repeat(np.arange(len(x)), len(xi)), np.tile(xi, len(x))
    accepted = np.zeros(len(x))
    for branch in moves(steps, x):
        weight = np.exp(-0.5 * normal**2) / np.sqrt(2 * np.pi) * width
        if branch.odds is not None:
            weight *= branch.odds.probability(rows, normal)
        rate = steps(x[rows], branch.normals(rows, normal))[1]
        accepted += (weight * rate).reshape(len(x), -1).sum(axis=1)
    most = int(np.argmin(accepted))
    return float(np.clip(1 - accepted[most], 0, 1)), float(x[most])


class Excess(NamedTuple):
    """The solution of Poisson's equation (I - K) h = f - E f, on the states that are kept."""

    states: Ints
    measure: Floats
    f: Floats  # less its mean
    h: Floats


def poisson(found: Solution, values: Floats, kept: Any) -> Excess:
    """The solution for the chain on some of the states. If the kernel rejects, moves to other
    states are rejected; what leaves by an unadjusted step does not come back."""
    made = found.operator
    leaves = np.ones(int(kept.sum()))
    if np.any(made.moving < 1):
        # States from which no step leads to the others are left out: no chain is there.
        kept = kept & (made.accepted[:, kept].sum(axis=1) > 1e-12)
        leaves = made.accepted[np.ix_(kept, kept)].sum(axis=1)
    measure = found.measure[kept] / found.measure[kept].sum()
    f = values[kept] - np.dot(measure, values[kept])
    generator = np.diag(leaves) - made.accepted[np.ix_(kept, kept)] + measure
    h = scipy.linalg.solve(generator, f, check_finite=False)
    return Excess(np.nonzero(kept)[0], measure, f, h)


def _time(found: Solution, values: Floats, kept: Any) -> float:
    _, measure, f, h = poisson(found, values, kept)
    square = np.dot(measure, f * f)
    return float((2 * np.dot(measure, f * h) - square) / square)
