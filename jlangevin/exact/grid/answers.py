"""The laws of a chain that users ask for. The grid is chosen here."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from jlangevin._core.checks import check_count, check_flag
from jlangevin._core.trees import PyTree
from jlangevin.distribution import Gaussian
from jlangevin.energies.base import Energy
from jlangevin.errors import NoGridLawError, NoStationaryLawError, UnstableStepError
from jlangevin.exact.grid.arguments import Start, center_of, default_tolerance, given_region
from jlangevin.exact.grid.far_out import GROSS, LEAVES, LEAVES_A_STEP
from jlangevin.exact.grid.law import GridLaw, made_law
from jlangevin.exact.grid.operator import Operator
from jlangevin.exact.grid.panels import Floats
from jlangevin.exact.grid.plane.answers import plane_law, plane_stationary
from jlangevin.exact.grid.plane.law import PlaneLaw
from jlangevin.exact.grid.plane.steps import is_of_plane
from jlangevin.exact.grid.regions import Region, bulk, temperature_of, walls_of
from jlangevin.exact.grid.solve import Solution, after, roughly, settled, solve, step_scale
from jlangevin.exact.grid.steps import StepFunction
from jlangevin.kernels.base import Kernel

__all__ = [
    "grid_law",
    "grid_stationary",
    "lost_a_step",
    "settle",
    "widened",
]

_WIDENINGS = 24
_ENOUGH = 1e-5  # of the tolerance: the share that may leave


def grid_law(
    kernel: Kernel,
    energy: Energy,
    start: Gaussian | GridLaw | PlaneLaw,
    num_steps: int,
    *,
    tolerance: Any = None,
    within: Any = None,
    full: bool = False,
) -> Any:
    """The exact law of a chain after `num_steps` steps, on any energy, for states of one or two
    numbers.

        (K g)(x) = ∫ φ(ξ) [a(x, ξ) g(y(x, ξ)) + (1 - a(x, ξ)) g(x)] dξ,    E g(X_N) = p_0 K^N g

    with the proposal y and the acceptance rate a of the kernel's own step; nothing is known about a
    kernel but its code. In one dimension the integral is computed by Nyström's method on
    Gauss-Legendre panels, which are cut where a reaches 1 and wherever the chain needs it.

    A kernel may carry a velocity or another normal beside a position of one element. Then x above
    is both numbers, and the law is found on a lattice in the plane, with g a sum of sinc functions.
    For positions of two elements Nyström's method is used on the lattice as well.

    Args:
        kernel: for positions of one element, either a kernel whose state is only its position, and
            whose step is affine in its normals, piece by piece: `ula`, `tamed_ula`, `mala`,
            `barker`, `projected`, `reflected`, `reflected_mala`, `gradient_noise` around a kernel
            that accepts, or your own. Or a kernel that starts with one normal, accepts every step,
            and steps by a smooth function of at most two normals: `underdamped` (not UBU),
            `leimkuhler_matthews`, or your own. For positions of two elements: `ula`, `tamed_ula`,
            `mala`, or your own, without walls. Schedules are refused.
        energy: any energy or score.
        start: the law of the first position: a `Gaussian` (with variance 0 for a point), or a law
            that `grid_law` or `grid_target` gave.
        num_steps: N ≥ 0; in the plane N ≥ 1. In one dimension the matrix is squared instead beyond
            a few thousand steps, which takes O(log N). In the plane steps are made until the law no
            longer changes.
        tolerance: the largest `error` of the law allowed. For positions in float64 the default is
            1e-8 in one dimension, 1e-6 in the plane, and 1e-4 there for kernels that reject. In
            float32 it is 1e-4, as steps in float32 are no more precise than that.
        within: the interval (low, high) to look at, for two elements an interval for each; chains
            outside of it count as having left. By default it is widened until the share that leaves
            is below 1e-5 (in the plane 1e-3) of `tolerance`, or no longer shrinks.
        full: whether to return the law of the position and the carried normal together.

    Returns:
        The law of the chains that have not left: a `GridLaw`, of the position alone if a normal is
        carried. For positions of two elements, or if `full`, a `PlaneLaw`.

    Raises:
        NoGridLawError: the position has more than two elements; the kernel is not one of those
            above; the tolerance cannot be reached, or not with less than 2 GiB of memory.
        UnstableStepError: no interval is given, and more than 1e-4 of the chains leave every
            interval.
        TypeError, ValueError: arguments that do not fit.

    References: Nyström (1930); Roberts and Tweedie (1996).

    Example:
        >>> import jax.numpy as jnp, jlangevin as jl
        >>> energy, start = jl.energies.double_well(), jl.Gaussian(jnp.ones(1), jnp.eye(1) / 4)
        >>> law = jl.exact.grid_law(jl.mala(0.1), energy, start, num_steps=20)
        >>> [round(float(v), 3) for v in (law.mean[0], law.cov[0, 0], law.cdf(0.0))]
        [0.27, 0.782, 0.356]
    """
    full = check_flag("full", full)
    mean = getattr(start, "mean", None)
    if isinstance(start, PlaneLaw) or is_of_plane(kernel, mean):
        return plane_law(kernel, energy, start, num_steps, tolerance, within, full=full)
    _refuse_full(full)
    num_steps = check_count("num_steps", num_steps, minimum=0)
    first = Start.of(start)
    steps = StepFunction(kernel, energy, first.law.mean)
    tolerance = default_tolerance(steps.dtype, tolerance)
    walls = walls_of(steps, first.mean)
    region = given_region(within, walls)
    low, high = first.ends
    if low < walls[0] or high > walls[1]:
        raise ValueError(
            f"start: some of it is beyond the walls, {walls[0]} and {walls[1]}; start at a point "
            "within them, Gaussian(x, zeros), or from exact.grid_target"
        )
    if region is not None and not region.low <= first.mean <= region.high:
        raise ValueError(f"within: the start's mean, {first.mean:.6g}, is not in it")

    def measure(made: Operator) -> Floats:
        return after(made, first.on(made), num_steps)

    def solved(region: Region, tolerance: float) -> Solution:
        finest = 2 * first.deviation if first.deviation > 0 else np.inf
        return solve(
            steps,
            region,
            measure,
            first.on,
            first.points,
            tolerance=tolerance,
            finest=finest,
            cuts=first.jumps,
        )

    if region is None:
        spread = float(np.max(step_scale(steps, np.array([low, first.mean, high])), initial=0))
        reach = 9 * spread if num_steps else 0.0
        region = Region.between(low - reach, high + reach, walls)
        region, found = widened(
            solved,
            lambda region: roughly(steps, region, measure, first.points),
            _lost,
            region,
            tolerance,
        )
    else:
        found = solved(region, tolerance)
    left = _lost(found)
    if within is None and left > LEAVES:
        raise UnstableStepError(
            f"step_size: {left:.2g} of the chains leave the interval from {region.low:.4g} to "
            f"{region.high:.4g} within {num_steps} steps, and one twice as wide as well: far out "
            "the step is unstable. Take a smaller step, a kernel such as tamed_ula, or say by "
            "`within` which interval counts"
        )
    return _law(steps, found, left)


def _refuse_full(full: bool) -> None:
    if full:
        raise NoGridLawError(
            "full: this kernel's state is its position, so its law is all there is; full=True is "
            "for kernels that carry a normal from step to step"
        )


def _law(steps: StepFunction, found: Solution, left: float) -> GridLaw:
    made, measure = found.operator, found.measure
    n = len(made.panels.nodes)
    keep = measure[n:] > 1e-15
    measure = np.concatenate([measure[:n], measure[n:][keep]])
    rounding = 10 * float(np.finfo(steps.dtype).eps)
    errors = max(found.error, rounding), max(found.cdf_error, rounding)
    return made_law(made.panels, measure, made.atoms[keep], steps.like, errors, left)


def _lost(found: Solution) -> float:
    """The share of chains that have left, up to rounding."""
    return _above_rounding(1 - float(found.measure.sum()))


def lost_a_step(found: Solution) -> float:
    """The share of the chains of a stationary law that leave in one step."""
    return _above_rounding(float(np.dot(found.measure, found.operator.leaving)))


def _above_rounding(share: float) -> float:
    return share if share > 1e-13 else 0.0


def widened(
    solved: Callable[[Region, float], Solution],
    rough: Callable[[Region], Solution],
    leaving: Callable[[Solution], float],
    region: Region,
    tolerance: float,
) -> tuple[Region, Solution]:
    """Widen the region until little leaves it, or doubling its width no longer halves what leaves.

    If a large share leaves, the result is rough, and belongs to an earlier region."""
    enough = max(min(_ENOUGH * tolerance, LEAVES_A_STEP / 10), 1e-13)
    best, found = region, rough(region)
    if leaving(found) < GROSS:
        found = solved(region, tolerance)
        if leaving(found) < enough:
            return best, found
    least = leaving(found)
    for _ in range(_WIDENINGS):
        region = region.wider()
        try:
            left = leaving(rough(region))
        except NoGridLawError:
            break  # too wide to be held
        if left < 0.5 * least:
            best, least = region, left
        elif region.high - region.low > 2 * (best.high - best.low):
            break
        if left < enough:
            break
    return best, found if least > GROSS else solved(best, tolerance)


def settle(
    steps: StepFunction, center: float, tolerance: float, within: Any
) -> tuple[Region, Solution]:
    """The law that a step keeps, and its region; raises if there is none."""
    walls = walls_of(steps, center)
    region = given_region(within, walls)

    def solved(region: Region, tolerance: float) -> Solution:
        return solve(steps, region, settled, None, np.zeros(0), tolerance=tolerance)

    if region is not None:
        return region, solved(region, tolerance)
    scale = float(np.max(step_scale(steps, np.full(1, center))))
    depth = math.log(1 / tolerance) + 20
    hull = bulk(steps, center, max(scale, 1e-300) / 30, temperature_of(steps.kernel), depth)
    low, high = hull if hull is not None else (center - 20 * scale, center + 20 * scale)
    region, found = widened(
        solved,
        lambda region: roughly(steps, region, settled, np.zeros(0)),
        lost_a_step,
        Region.between(low, high, walls),
        tolerance,
    )
    rate = lost_a_step(found)
    if rate > LEAVES_A_STEP:
        raise NoStationaryLawError(
            f"energy: of the chains between {region.low:.4g} and {region.high:.4g} a share of "
            f"{rate:.2g} leaves in every step, and chains leave an interval twice as wide as well: "
            "this chain has no stationary law. Either exp(-E) has no finite integral, or the step "
            "is unstable far out; exact.grid_law gives the law after a number of steps, and with "
            "`within` you get the law that is kept in an interval"
        )
    return region, found


def grid_stationary(
    kernel: Kernel,
    energy: Energy,
    position: PyTree,
    *,
    tolerance: Any = None,
    within: Any = None,
    full: bool = False,
) -> Any:
    """The law that a chain tends to, on any energy: p K = p, see `grid_law`.

    A chain of `ula` on an energy steeper than a quadratic has no stationary law in the strict
    sense: it explodes from far enough out, and sooner or later gets there. The result is the law
    that chains keep while they are within the grid, p K = (1 - left) p; `GridLaw.left` is the share
    that leaves in one step.

    Args:
        kernel, energy, tolerance: as for `grid_law`.
        position: one position, with its structure, shapes and dtypes. Modes are sought around it,
            within 10⁶ times the spread of one step.
        within: the interval (low, high) to look at, for two elements an interval for each. By
            default it begins as the interval where E is low, and is widened until the share that
            leaves in a step is below 1e-5 (in the plane 1e-3) of `tolerance`, or no longer shrinks.
        full: as for `grid_law`.

    Returns:
        A `GridLaw` or a `PlaneLaw`, as for `grid_law`.

    Raises:
        NoGridLawError, TypeError, ValueError: as for `grid_law`.
        NoStationaryLawError: no interval is given, and more than 1e-6 of the chains leave in every
            step.

    References: Nyström (1930); Roberts and Tweedie (1996).

    Example:
        >>> import jax.numpy as jnp, jlangevin as jl
        >>> law = jl.exact.grid_stationary(jl.ula(0.05), jl.energies.double_well(), jnp.zeros(1))
        >>> wanted = jl.exact.grid_target(jl.energies.double_well(), jnp.zeros(1))
        >>> [round(float(each.cov[0, 0]), 3) for each in (law, wanted)]
        [0.789, 0.833]
        >>> kernel = jl.underdamped(step_size=0.2, friction=2.0)  # BAOAB
        >>> law = jl.exact.grid_stationary(kernel, jl.energies.double_well(), jnp.zeros(1))
        >>> round(float(law.cov[0, 0]), 3)
        0.831
    """
    full = check_flag("full", full)
    if is_of_plane(kernel, position):
        return plane_stationary(kernel, energy, position, tolerance, within, full=full)
    _refuse_full(full)
    steps = StepFunction(kernel, energy, position)
    tolerance = default_tolerance(steps.dtype, tolerance)
    _, found = settle(steps, center_of(steps, position), tolerance, within)
    return _law(steps, found, lost_a_step(found))
