"""A lattice fine enough for a tolerance, and the law of a chain on it.

The error that is reported is measured: the difference from the same law on a coarser lattice.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse.linalg as krylov
from scipy.special import ndtr

from jlangevin.errors import NoEnergyError, NoGridLawError
from jlangevin.exact.grid.far_out import GROSS
from jlangevin.exact.grid.panels import Floats
from jlangevin.exact.grid.plane.carried import carried
from jlangevin.exact.grid.plane.lattice import Lattice, sinc_matrix
from jlangevin.exact.grid.plane.operator import PlaneOperator
from jlangevin.exact.grid.plane.parts import Part, Parts
from jlangevin.exact.grid.plane.spread import pairs_expected, proposals, spread
from jlangevin.exact.grid.plane.start import PlaneStart
from jlangevin.exact.grid.plane.steps import PlaneSteps

__all__ = ["Question", "Solution", "after", "differences", "leading", "leaving", "settled", "solve"]

MOST_DENSE = 4500  # points: their matrix is below 0.2 GiB, and takes three times that while made
MOST_PAIRS = 3e7  # of points: a sparse matrix below 0.4 GiB, which takes twice that while made
_MOST_IN_ALL = 3e7  # points of a rectangle; only those with a low energy are kept
_FINER = 1.35
_SHARE = 0.25  # of the tolerance: an axis with a smaller error need not be finer
_ROUNDS = 12
_PATIENCE = 4  # rounds after which errors have to fall
_FALLS = 0.3  # to this share of what it was two rounds ago an error has to fall
_FIRST = 24  # points along each side, at first
_COARSE = 0.55  # the first spacing of a normal that is carried
_OF_PROPOSAL = 0.9  # the first spacing of positions, in standard deviations of a proposal
_KEPT = 1e-10  # how much a law may change in a step that keeps it, as proposals are cut off
_RESTARTS = 400
_PROBES = 65  # places at which distribution functions are compared
_WIDENINGS = 8


class Solution(NamedTuple):
    """Weights of an operator's states, and how far they are from those on a coarser lattice."""

    operator: PlaneOperator
    measure: Floats
    error: float
    cdf_error: float
    part: Part


class Question(NamedTuple):
    """A question about an operator.

    Attributes:
        measure: gives the weights of its states that are wanted, and the share of chains that is
            lost.
        start: the law of the first state, if there is one.
        number: a number made from an operator and the weights, which must also agree with that of
            the coarser lattice, to a relative tolerance.
    """

    measure: Callable[[PlaneOperator], tuple[Floats, float]]
    start: PlaneStart | None = None
    number: Callable[[PlaneOperator, Floats], float] | None = None


def solve(
    steps: PlaneSteps,
    parts: Parts,
    question: Question,
    *,
    tolerance: float,
    enough: float,
    finest: float = np.inf,
) -> tuple[Solution, float]:
    """The weights that are asked for, on a part large enough and a lattice fine enough; and the
    share that is lost.

    Args:
        steps: the chain.
        parts: where to look; a larger number gives a larger part.
        question: what to look for.
        tolerance: the largest error allowed.
        enough: the share that may be lost.
        finest: the largest spacing allowed.
    """
    part = parts(0)
    spacing = np.minimum(_first_spacing(steps, part), finest)
    found, left = _rough(steps, part, question, spacing, tolerance)
    if left <= GROSS:
        found, spacing, left = _refined(steps, found, question, spacing, tolerance)
    for k in range(1, _WIDENINGS):
        if left <= enough:
            break
        part = parts(k)
        if np.all(part.low >= found.part.low) and np.all(part.high <= found.part.high):
            break
        try:
            again, less = _rough(steps, part, question, spacing, tolerance)
        except NoGridLawError:
            break  # too large to be held
        if less > 0.5 * left:
            break
        found, left = again, less
        if left <= GROSS:
            found, spacing, left = _refined(steps, found, question, spacing, tolerance)
    return found, left


def _rough(
    steps: PlaneSteps, part: Part, question: Question, spacing: Floats, tolerance: float
) -> tuple[Solution, float]:
    made = _operator(steps, part, question, spacing, tolerance)
    measure, left = question.measure(made)
    return Solution(made, measure, np.nan, np.nan, part), left


def _refined(
    steps: PlaneSteps, base: Solution, question: Question, spacing: Floats, tolerance: float
) -> tuple[Solution, Floats, float]:
    """A solution that is good enough, from a rough one; its spacing, and the share that is lost.

    Each axis is made finer by itself, and its error is the change that this makes. The errors of
    both axes add up.
    """
    part, error, last = base.part, np.inf, np.inf

    def at(spacing: Floats) -> tuple[Solution, float, float]:
        found, left = _rough(steps, part, question, spacing, tolerance)
        return found, left, _number(question, found)

    wanted = _number(question, base)
    for turn in range(_ROUNDS):
        try:
            finer = [spacing / np.where(np.arange(2) == k, _FINER, 1) for k in (0, 1)]
            tried = [at(each) for each in finer]
            errors = []
            for found, _, number in tried:
                smooth, cdf = differences(found, base)
                errors.append((max(smooth, abs(number / wanted - 1) if wanted else 0.0), cdf))
            last, before = error, last
            error, cdf_error = (sum(each) for each in zip(*errors, strict=True))
            worse = int(errors[1][0] > errors[0][0])
            if error <= tolerance:
                found, left, _ = tried[worse]
                return found._replace(error=error, cdf_error=cdf_error), finer[worse], left
            if turn >= _PATIENCE and error > _FALLS * before:
                break
            if min(each[0] for each in errors) > _SHARE * tolerance:
                spacing = spacing / _FINER
                base, _, wanted = at(spacing)
            else:
                spacing, (base, _, wanted) = finer[worse], tried[worse]
        except NoGridLawError as refused:
            raise NoGridLawError(
                f"tolerance: {tolerance:.1g} is not reached over {part.shown(steps)}, but "
                f"{error:.1g}, and a finer lattice is refused: {refused}"
            ) from None
    raise NoGridLawError(
        f"tolerance: {tolerance:.1g} is not reached over {part.shown(steps)} with "
        f"{base.operator.lattice.num} points, but {error:.1g}: the law is rough, as it is where a "
        "step is close to unstable. Give a larger one, a smaller step, or by `within` the part of "
        "the plane that counts"
    )


def _number(question: Question, found: Solution) -> float:
    if question.number is None:
        return 0.0
    return question.number(found.operator, found.measure)


def _first_spacing(steps: PlaneSteps, part: Part) -> Floats:
    sides = (part.high - part.low) / _FIRST
    if steps.carries:
        return np.array([sides[0], _COARSE])
    x = np.stack([each.ravel() for each in np.meshgrid(*_looked_at(part), indexing="ij")])
    x = x[:, part.holds(steps, x)]
    if not x.size:
        x = ((part.low + part.high) / 2)[:, None]
    deviations = np.min(proposals(steps, x).deviations(), axis=1)
    return np.minimum(sides, _OF_PROPOSAL * deviations)


def _looked_at(part: Part) -> list[Floats]:
    return [np.linspace(a, b, 21) for a, b in zip(part.low, part.high, strict=True)]


def _operator(
    steps: PlaneSteps, part: Part, question: Question, spacing: Floats, tolerance: float
) -> PlaneOperator:
    start = question.start
    through = None if start is None else start.point
    counts = (part.high - part.low) / spacing
    if np.prod(counts) > _MOST_IN_ALL:
        raise NoGridLawError(
            f"position: {part.shown(steps)} takes {np.prod(counts):.2g} points at a spacing of "
            f"{spacing[0]:.2g} by {spacing[1]:.2g}; take a larger step, or give by `within` the "
            "part of the plane that counts"
        )
    lattice = Lattice.of(part.low, part.high, spacing, None if steps.carries else through)
    lattice = lattice.where(partial(part.holds, steps))
    if steps.carries:
        if lattice.num > MOST_DENSE:
            raise NoGridLawError(
                f"position: {part.shown(steps)} takes {lattice.num} points, and the matrix of more "
                f"than {MOST_DENSE} needs more memory than a law may take"
            )
        steps.check_state(lattice.nodes[:, :: max(lattice.num // 100, 1)])
        return carried(steps, lattice, start, tolerance)
    some = lattice.nodes[:, :: max(lattice.num // 200, 1)]
    pairs = pairs_expected(proposals(steps, some), lattice)
    if pairs > MOST_PAIRS:
        raise NoGridLawError(
            f"position: {part.shown(steps)} takes a matrix of {pairs:.2g} numbers, more than "
            f"{MOST_PAIRS:.1g}, which would be above the memory that a law may take"
        )
    return spread(steps, lattice, start)


def _smooth(s: Floats, mean: Floats, deviation: Floats) -> Floats:
    """The functions whose expectations are compared, (functions, n)."""
    u = (s - mean[:, None]) / deviation[:, None]
    steps = [ndtr(2 * (row - shift)) for row in u for shift in (-1.5, -0.7, 0.0, 0.6, 1.4)]
    return np.stack([*u, *u**2, u[0] * u[1], *steps])


def differences(fine: Solution, coarse: Solution) -> tuple[float, float]:
    """The largest differences between two laws: of expectations of smooth functions, and of
    distribution functions."""
    states, p = fine.operator.states, fine.measure
    mean = np.dot(states, p) / p.sum()
    deviation = np.sqrt(np.maximum(np.dot((states - mean[:, None]) ** 2, p) / p.sum(), 1e-300))
    smooth = [
        np.dot(_smooth(each.operator.states, mean, deviation), each.measure)
        for each in (fine, coarse)
    ]
    cdf = [_distribution(each, mean, deviation) for each in (fine, coarse)]
    return float(np.max(np.abs(smooth[0] - smooth[1]))), float(np.max(np.abs(cdf[0] - cdf[1])))


def _distribution(found: Solution, mean: Floats, deviation: Floats) -> Floats:
    """Distribution functions of both numbers at some places."""
    lattice, made = found.operator.lattice, []
    table = lattice.table(found.measure[: lattice.num])
    for k in (0, 1):
        low, spacing, count = float(lattice.low[k]), float(lattice.spacing[k]), lattice.shape[k]
        at = mean[k] + deviation[k] * np.linspace(-4, 4, _PROBES)
        # Gauss's rule between neighbouring places, for the sum of sinc functions.
        t, w = np.polynomial.legendre.leggauss(12)
        half = (at[1:] - at[:-1])[:, None] / 2
        x = (at[1:] + at[:-1])[:, None] / 2 + half * t
        density = np.dot(sinc_matrix(x, low, spacing, count), table.sum(axis=1 - k) / spacing)
        made.append(np.cumsum(np.sum(density * half * w, axis=1)))
        if found.operator.atom is not None:
            made[-1] = made[-1] + found.measure[-1] * (at[1:] >= found.operator.atom[k])
    return np.concatenate(made)


def after(made: PlaneOperator, num_steps: int) -> tuple[Floats, float]:
    """The weights after `num_steps` steps, and the share that has left. The operator has made the
    first step, and the rest ends early if the weights stay the same."""
    assert made.first is not None
    measure, lost = made.first, made.lost
    for step in range(1, num_steps):
        leaves = leaving(made, measure)
        before, measure = measure, made.moved(measure)
        lost += leaves
        if np.sum(np.abs(measure - before)) < 1e-15:
            lost += leaves * (num_steps - 1 - step)
            break
    # The share that has left is counted above. A lattice misses a little of the first steps from a
    # narrow start, and this error of the sum is never forgotten.
    return measure / measure.sum(), min(lost, 1.0)


def leaving(made: PlaneOperator, measure: Floats) -> float:
    """The share of chains that leaves in the next step, up to rounding."""
    share = float(np.dot(measure, made.leaving))
    return share if share > 1e-13 else 0.0


def leading(made: PlaneOperator, count: int, guess: Floats | None = None) -> tuple[Any, Any]:
    """The `count` eigenvalues that are largest in size, falling, and their weights."""
    n = len(made.leaving)
    begin = np.ones(n) / n if guess is None else guess
    try:
        values, vectors = krylov.eigs(
            made.of_measures,
            k=count,
            v0=begin,
            tol=1e-13,
            maxiter=_RESTARTS,
            ncv=max(20, 8 * count),
        )
    except krylov.ArpackError as error:
        raise NoGridLawError(
            f"kernel: the chain's slowest eigenvalues are not told apart on {n} points ({error})"
        ) from None
    order = np.argsort(-np.abs(values))
    return values[order], vectors[:, order]


def settled(steps: PlaneSteps, made: PlaneOperator) -> tuple[Floats, float]:
    """The measure that a step keeps, up to a factor, and the share that leaves in the step. If the
    step keeps exp(-E/T), it is that."""
    try:
        energies = steps.energies(made.states)
    except NoEnergyError:
        energies = np.zeros(len(made.leaving))
    energies = np.where(np.isfinite(energies), energies, np.inf)
    guess = np.exp(np.min(energies) - energies)
    guess = guess / guess.sum()
    again = made.moved(guess)
    if np.sum(np.abs(again / again.sum() - guess)) < max(_KEPT, 30 * np.finfo(steps.dtype).eps):
        return guess, leaving(made, guess)
    _, vectors = leading(made, 1, guess)
    measure = np.real(vectors[:, 0])
    measure = measure / measure.sum()
    return measure, leaving(made, measure)
