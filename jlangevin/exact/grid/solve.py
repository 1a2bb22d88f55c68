"""Panels fine enough for a tolerance, and the law of a chain on them.

The error of a law on panels comes from the functions (K^k f)(x) that the panels have to represent.
It counts only where the chain is: in each panel it is the mass that passes through, times the last
Legendre coefficients of these functions. Panels where this is too large are cut in half. The error
that is reported is measured: the difference from the same law with fewer nodes in each panel.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import scipy

from jlangevin.errors import NoGridLawError
from jlangevin.exact.grid.crossings import crossings
from jlangevin.exact.grid.operator import Operator, operator
from jlangevin.exact.grid.panels import Floats, Panels
from jlangevin.exact.grid.regions import Region
from jlangevin.exact.grid.steps import StepFunction

__all__ = ["Solution", "after", "roughly", "settled", "solve", "step_scale"]

FINE, COARSE = 16, 12  # nodes in each panel
MOST_NODES = 4096
_ROUNDS = 14
_WIDTH = 3.0  # of the first panels, in units of the spread of a step
_FOLLOWED = 3  # steps for which functions and masses are followed
CDF = 1000.0  # how many times more a distribution function may be off than smooth functions

_NONE: Floats = np.zeros(0)

Measure = Callable[[Operator], Floats]


class Solution(NamedTuple):
    """A measure on an operator's states, and how far it is from that on a coarser grid."""

    operator: Operator
    measure: Floats
    error: float  # of expectations of smooth functions
    cdf_error: float


def step_scale(steps: StepFunction, x: Floats) -> Floats:
    """How far a unit of the normals moves the step from each x, the largest of a few probes; 0
    where nothing moves."""
    size = np.zeros(len(x))
    for xi in (-1.1, -0.2, 0.3, 1.3):
        _, slope, rate = steps.slopes(x, np.full((steps.num_normals, len(x)), xi))
        found = np.sqrt(np.sum(slope**2, axis=0))
        size = np.maximum(size, np.where(np.isfinite(found) & (rate > 0), found, 0))
    return size


def solve(
    steps: StepFunction,
    region: Region,
    measure: Measure,
    first: Measure | None,
    start: Floats,
    *,
    tolerance: float,
    finest: float = np.inf,
    cuts: Floats = _NONE,
    number: Callable[[Operator, Floats], float] | None = None,
) -> Solution:
    """The measure that `measure` makes of an operator, on panels fine enough for `tolerance`.

    Args:
        steps, region: the chain and where it is.
        measure: the law asked for, as weights of the operator's states.
        first: the measure of the start, if there is one.
        start: points at which a chain may stay.
        tolerance: the largest error allowed.
        finest: a length that panels must not exceed by much.
        cuts: positions at which panels end.
        number: a number made from an operator and the measure, which must also agree with that of
            the coarser grid, to a relative `tolerance`.
    """
    ends = np.concatenate([_between(region, cuts), crossings(steps, region.low, region.high)])
    panels = _first_panels(steps, region, finest, ends)
    walls = np.asarray(region.walls, np.float64)
    for _ in range(_ROUNDS):
        made = operator(steps, panels, walls, start)
        found = measure(made)
        coarse = operator(steps, panels.of_order(COARSE), walls, start)
        less = measure(coarse)
        error, cdf_error = _differences(made, found, coarse, less)
        if number is not None:
            wanted = number(made, found)
            error = max(error, abs(number(coarse, less) / wanted - 1) if wanted else 0.0)
        excess = max(error / tolerance, cdf_error / (CDF * tolerance))
        if excess <= 1:
            return Solution(made, found, error, cdf_error)
        lacking = _lacking(made, found, None if first is None else first(made))
        cut = lacking > lacking.sum() / (2 * excess * panels.num)
        if (panels.num + cut.sum()) * FINE > MOST_NODES:
            break
        panels = panels.split(cut)
    raise NoGridLawError(
        f"tolerance: {tolerance:.1g} is not reached with {MOST_NODES} nodes between "
        f"{region.low:.4g} and {region.high:.4g}, but {error:.1g}, and {cdf_error:.1g} for the "
        "distribution function. Give a larger one, or by `within` the part of the line that counts"
    )


def roughly(
    steps: StepFunction, region: Region, measure: Measure, start: Floats, cuts: Floats = _NONE
) -> Solution:
    """A law on the first panels: good enough to see what leaves."""
    panels = _first_panels(steps, region, np.inf, _between(region, cuts))
    made = operator(steps, panels, np.asarray(region.walls, np.float64), start)
    return Solution(made, measure(made), np.nan, np.nan)


def _between(region: Region, cuts: Floats) -> Floats:
    return np.unique(cuts[(cuts > region.low) & (cuts < region.high)])


def _first_panels(steps: StepFunction, region: Region, finest: float, wanted: Floats) -> Panels:
    """Panels as narrow as a step needs. Ends at `wanted` replace those that are close to them."""
    x = np.linspace(region.low, region.high, 101)
    x[0], x[-1] = x[0] + 1e-9 * (x[1] - x[0]), x[-1] - 1e-9 * (x[1] - x[0])
    scale = step_scale(steps, x)
    if not (scale > 0).any():
        raise NoGridLawError(
            f"kernel: {steps.name} does not move by its normals between {region.low:.4g} and "
            f"{region.high:.4g}; at a temperature of 0 there is nothing to be spread"
        )
    width = min(_WIDTH * float(scale[scale > 0].min()), finest)
    num = int(np.ceil((region.high - region.low) / width))
    if num * FINE > MOST_NODES:
        raise NoGridLawError(
            f"step_size: a step spreads over {width / _WIDTH:.3g}, and between {region.low:.4g} "
            f"and {region.high:.4g} it takes more than {MOST_NODES} nodes to hold that; take a "
            "larger step, or give by `within` the part of the line that counts"
        )
    edges = np.linspace(region.low, region.high, max(num, 4) + 1)
    near = np.min(np.abs(edges[1:-1, None] - wanted), axis=1, initial=np.inf) < 0.1 * width
    inner = edges[1:-1][~near]
    return Panels(np.concatenate([edges[:1], np.sort([*inner, *wanted]), edges[-1:]]), FINE)


def _smooth(x: Floats, mean: float, deviation: float) -> Floats:
    """Functions whose expectations are compared, (…, functions): moments, and smoothed steps."""
    u = (x - mean) / deviation
    steps = [np.tanh(2 * (u - shift)) for shift in (-1.5, -0.7, 0.0, 0.6, 1.4)]
    return np.stack([u, u * u, *steps], axis=-1)


def _spread(made: Operator, measure: Floats) -> tuple[float, float]:
    mass = float(measure.sum())
    mean = float(np.dot(measure, made.states)) / mass
    variance = float(np.dot(measure, (made.states - mean) ** 2)) / mass
    return mean, float(np.sqrt(max(variance, 1e-300)))


def _lacking(made: Operator, found: Floats, first: Floats | None) -> Floats:
    """An estimate of what each panel adds to the error."""
    panels, n = made.panels, made.panels.num * made.panels.order
    functions = _smooth(made.states, *_spread(made, found))
    measure = found if first is None else first
    masses, tails = np.zeros(panels.num), np.zeros(panels.num)
    for _ in range(_FOLLOWED):
        functions, measure = np.dot(made.matrix, functions), np.dot(measure, made.matrix)
        for each in (found, measure):
            blocks = np.abs(each[:n]).reshape(panels.num, panels.order).sum(axis=1)
            masses = np.maximum(masses, blocks)
        tails = np.maximum(tails, np.max([panels.tails(f) for f in functions[:n].T], axis=0))
    widths = np.diff(panels.edges)
    lacking = masses * tails + 0.1 * widths * panels.tails(found[:n] / panels.weights)
    if first is not None:
        lacking += 0.1 * widths * panels.tails(first[:n] / panels.weights)
    return np.asarray(lacking) + 1e-300


def _differences(fine: Operator, p: Floats, coarse: Operator, q: Floats) -> tuple[float, float]:
    """The largest differences between two laws: of expectations of smooth functions, and of
    distribution functions."""
    mean, deviation = _spread(fine, p)
    smooth, cdf = [], []
    for made, measure in ((fine, p), (coarse, q)):
        n = made.panels.num * made.panels.order
        smooth.append(np.dot(measure, _smooth(made.states, mean, deviation)))
        blocks = measure[:n].reshape(made.panels.num, -1).sum(axis=1)
        cdf.append(np.concatenate([np.cumsum(blocks), measure[n:]]))
    return float(np.max(np.abs(smooth[0] - smooth[1]))), float(np.max(np.abs(cdf[0] - cdf[1])))


def after(made: Operator, measure: Floats, num_steps: int) -> Floats:
    """The measure after steps: one by one if they are few, else by squaring, O(log num_steps)."""
    n = len(measure)
    if num_steps <= 4 * n:
        for _ in range(num_steps):
            measure = np.dot(measure, made.matrix)
        return measure
    power = made.matrix
    while num_steps:
        if num_steps & 1:
            measure = np.dot(measure, power)
        num_steps >>= 1
        power = np.dot(power, power) if num_steps else power
    return measure


def settled(made: Operator) -> Floats:
    """The measure that a step keeps, up to a factor.

    The measure of the accepted steps, by inverse iteration for the eigenvalue nearest to 1, divided
    by the probability of an accepted step. Where nearly everything is rejected that probability
    keeps its digits; 1 minus the rejections would have none.
    """
    moves = made.moving > 1e-250
    rows = np.where(moves, made.moving, 1)
    chain = np.where(moves[:, None], made.accepted / rows[:, None], 0)
    n = len(chain)
    shift = 1 + 4 * n * np.finfo(np.float64).eps
    factors = scipy.linalg.lu_factor(chain.T - shift * np.eye(n), check_finite=False)
    flow = np.ones(n)
    for _ in range(4):
        flow = scipy.linalg.lu_solve(factors, flow, check_finite=False)
        flow = flow / flow.sum()
    measure = np.where(moves, flow / rows, 0)
    return np.asarray(measure / measure.sum())
