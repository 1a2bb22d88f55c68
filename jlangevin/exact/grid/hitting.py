"""How long a chain in one dimension takes to get somewhere, exactly."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import scipy

from jlangevin.distribution import Gaussian
from jlangevin.energies.base import Energy
from jlangevin.errors import NoGridLawError
from jlangevin.exact.grid.answers import widened
from jlangevin.exact.grid.arguments import Start, default_tolerance, given_region
from jlangevin.exact.grid.chain import most_rejected
from jlangevin.exact.grid.far_out import OUTSIDE, settled_time
from jlangevin.exact.grid.law import GridLaw, as_interval
from jlangevin.exact.grid.operator import Operator
from jlangevin.exact.grid.panels import Flags, Floats
from jlangevin.exact.grid.regions import Region, bulk, temperature_of, walls_of
from jlangevin.exact.grid.solve import Solution, roughly, solve, step_scale
from jlangevin.exact.grid.steps import StepFunction
from jlangevin.kernels.base import Kernel

__all__ = ["grid_hitting_time"]

_DIGITS = 1e-14  # what rounding leaves of 1 step in a row of K


def grid_hitting_time(
    kernel: Kernel,
    energy: Energy,
    start: Gaussian | GridLaw,
    into: Any,
    *,
    tolerance: Any = None,
    within: Any = None,
) -> float:
    """The expected number of steps until a chain in one dimension is in an interval.

        T = min {n ≥ 0: X_n ∈ A},    E T = p_0 h,    (I - K) h = 1 outside of A,    h = 0 in A

    with the chain's own step K, see `grid_law`; a chain that jumps over A has not been in it. For a
    crossing from one set to another, start from the stationary law restricted to the first,
    `GridLaw.given`.

    Args:
        kernel, energy: as for `grid_law`.
        start: the law of the first position: a `Gaussian` (with variance 0 for a point) or a
            `GridLaw`.
        into: A as (low, high), both ends included; either may be infinite.
        tolerance: the largest relative difference allowed between the grid's answer and a coarser
            one's; by default 1e-8 for positions in float64 and 1e-4 in float32. It is never below
            the `cdf_error` of a start on a grid.
        within: the interval (low, high) to look at; a chain that leaves it first counts as ended.
            By default it is widened until chains that leave do not matter.

    Returns:
        E T, in steps, on the host.

    Raises:
        NoGridLawError: the chain may never get there, so E T is infinite; or E T depends on
            positions so far out that no chain ever reaches them, as it may for `mala` on energies
            steeper than a quadratic; or the tolerance cannot be reached (an E T of 10ᵏ has about
            14 - k digits). Also as for `grid_law`.
        TypeError, ValueError: arguments that do not fit.

    References: Kemeny and Snell (1960), for chains with finitely many states; Nyström (1930).

    Example:
        >>> import jax.numpy as jnp, jlangevin as jl
        >>> well, here = jl.energies.double_well(), jl.Gaussian(-jnp.ones(1), jnp.zeros((1, 1)))
        >>> round(jl.exact.grid_hitting_time(jl.ula(0.05), well, here, (1.0, jnp.inf)), 1)
        70.3
    """
    low, high = as_interval("into", into)
    if not (np.isfinite(low) or np.isfinite(high)):
        raise ValueError("into: all of the line; every chain is there at once")
    first = Start.of(start)
    steps = StepFunction(kernel, energy, first.law.mean)
    tolerance = default_tolerance(steps.dtype, tolerance)
    if isinstance(start, GridLaw):
        tolerance = max(tolerance, start.cdf_error)
    walls = walls_of(steps, first.mean)
    if high < walls[0] or low > walls[1]:
        raise ValueError(f"into: all of it is beyond the walls, {walls[0]} and {walls[1]}")
    ask = _Question(low, high, first, tolerance)
    region = given_region(within, walls)
    if region is not None and not region.low <= first.mean <= region.high:
        raise ValueError(f"within: the start's mean, {first.mean:.6g}, is not in it")

    def solved(region: Region, tolerance: float) -> Solution:
        point = first.deviation == 0 or isinstance(start, GridLaw)
        finest = np.inf if point else 2 * first.deviation
        return solve(
            steps,
            region,
            ask.occupied,
            first.on,
            first.points,
            tolerance=tolerance,
            finest=finest,
            cuts=ask.cuts,
            number=ask.time,
        )

    if region is None:
        region, found = widened(
            solved,
            lambda region: roughly(steps, region, ask.occupied, first.points, ask.cuts),
            ask.lost,
            _first_region(steps, ask, tolerance, walls),
            tolerance,
        )
        if (lost := ask.lost(found)) > max(tolerance, 1e-6):
            raise NoGridLawError(
                f"into: a share of {lost:.2g} of the chains leaves the interval from "
                f"{region.low:.4g} to {region.high:.4g} before it is between {low:.6g} and "
                f"{high:.6g}, and one twice as wide as well: they may never get there, and the "
                "expected time is infinite. Say by `within` which interval counts; a chain that "
                "leaves it counts as ended"
            )
    else:
        found = solved(region, tolerance)
    time = ask.time(found.operator, found.measure)
    return _checked(steps, region, ask, found, time)


class _Question(NamedTuple):
    """An interval to get into, and a start."""

    low: float
    high: float
    start: Start
    tolerance: float

    @property
    def cuts(self) -> Floats:
        ends = np.array([self.low, self.high, *self.start.jumps])
        return ends[np.isfinite(ends)]

    def outside(self, made: Operator) -> Flags:
        return np.asarray((made.states < self.low) | (made.states > self.high))

    def visits(self, made: Operator, kept: Flags) -> Floats:
        """The expected number of visits to each of the states `kept`, before the first to A. Moves
        to others that are not in A are rejected.

        Computed from the moves alone, times how long a chain stays in a state: where nearly
        everything is rejected, 1 minus the rejections would keep no digits. Rows sum to 1 exactly,
        which matters for long times.
        """
        hits = made.accepted[kept][:, ~self.outside(made)].sum(axis=1)
        leaves = made.leaving[kept] if kept.sum() == self.outside(made).sum() else 0.0
        among = made.accepted[np.ix_(kept, kept)]
        moving = among.sum(axis=1) + hits + leaves
        moves = moving > 1e-250
        moving = np.where(moves, moving, 1.0)
        chain = np.where(moves[:, None], among / moving[:, None], 0.0)
        begin = self.start.on(made)[kept]
        visits = np.zeros(len(made.states))
        factors = scipy.linalg.lu_factor((np.eye(len(chain)) - chain).T, check_finite=False)
        visits[kept] = scipy.linalg.lu_solve(factors, begin, check_finite=False) / moving
        total = float(visits.sum())
        if not 0 <= total * _DIGITS <= self.tolerance:
            raise NoGridLawError(
                f"tolerance: {self.tolerance:.1g} is not reached, as the expected time is about "
                f"{abs(total):.1g} steps, or infinite, and sums of such rounding errors are "
                f"{abs(total) * _DIGITS:.1g} of it; give a larger one, or a set that is nearer"
            )
        return visits

    def occupied(self, made: Operator) -> Floats:
        """Where a chain is before it is in A: the visits, made to sum to 1."""
        visits = self.visits(made, self.outside(made))
        total = visits.sum()
        return visits / total if total > 0 else self.start.on(made)

    def flows(self, made: Operator, occupied: Floats) -> tuple[float, float]:
        """The shares that enter A, and that leave the grid, in one step from where the chain is."""
        there = self.outside(made)
        hits = float(np.dot(occupied[there], made.accepted[there][:, ~there].sum(axis=1)))
        return hits, float(np.dot(occupied[there], made.leaving[there]))

    def time(self, made: Operator, occupied: Floats) -> float:
        """The expected steps until A. If chains that arrive or leave start again, they keep the law
        `occupied`, and E T is the share of starts outside of A over the share that arrives or
        leaves in a step."""
        begin = float(self.start.on(made)[self.outside(made)].sum())
        return begin / sum(self.flows(made, occupied)) if begin > 0 else 0.0

    def lost(self, found: Solution) -> float:
        """The share of chains that leave the grid first."""
        hits, leaves = self.flows(found.operator, found.measure)
        share = leaves / (leaves + hits) if leaves + hits > 0 else 0.0
        return share if share > 1e-13 else 0.0


def _first_region(
    steps: StepFunction, ask: _Question, tolerance: float, walls: tuple[float, float]
) -> Region:
    """Where the chain starts, where it has to go, and where E is low."""
    ends = np.concatenate([ask.start.ends, [end for end in ask[:2] if np.isfinite(end)]])
    ends = np.clip(ends, *walls)
    scale = float(np.max(step_scale(steps, ends)))
    low, high = float(ends.min()) - 9 * scale, float(ends.max()) + 9 * scale
    depth = math.log(1 / tolerance) + 20
    center = ask.start.mean
    hull = bulk(steps, center, max(scale, 1e-300) / 30, temperature_of(steps.kernel), depth)
    if hull is not None:
        low, high = min(low, hull[0]), max(high, hull[1])
    return Region.between(low, high, walls)


def _checked(
    steps: StepFunction, region: Region, ask: _Question, found: Solution, time: float
) -> float:
    """The time, unless it comes from places that no chain ever reaches."""
    stuck, where = most_rejected(steps, region)
    if not time > 0 or stuck < 1 - 1 / time:
        return time
    made, outside = found.operator, ask.outside(found.operator)
    order = np.argsort(made.states)
    below = np.empty(len(order))
    below[order] = np.cumsum(found.measure[order])
    times = []
    for e in OUTSIDE:
        # Places next to A are not far out.
        kept = outside & ((below > e) | (not np.isfinite(ask.low)))
        kept &= (below < 1 - e) | (not np.isfinite(ask.high))
        times.append(float(ask.visits(made, kept).sum()))
    return settled_time(
        f"the expected time of {steps.name}",
        times,
        "the time is spent",
        f"At {where:.4g} a share of {stuck:.6g} is rejected; take a smaller step, or "
        "jlangevin.barker",
        unit=" steps",
    )
