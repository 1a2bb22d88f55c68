"""The laws of a chain in the plane that users ask for."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from jlangevin._core import trees
from jlangevin._core.checks import check_count, check_known
from jlangevin._core.trees import PyTree
from jlangevin.energies.base import Energy
from jlangevin.errors import NoGridLawError, NoStationaryLawError, UnstableStepError
from jlangevin.exact.grid.arguments import default_tolerance
from jlangevin.exact.grid.far_out import LEAVES, LEAVES_A_STEP
from jlangevin.exact.grid.panels import Floats
from jlangevin.exact.grid.plane.law import PlaneLaw, made_plane_law
from jlangevin.exact.grid.plane.operator import PlaneOperator
from jlangevin.exact.grid.plane.parts import given, parts_of
from jlangevin.exact.grid.plane.solve import Question, Solution, after, settled, solve
from jlangevin.exact.grid.plane.start import PlaneStart
from jlangevin.exact.grid.plane.steps import PlaneSteps
from jlangevin.kernels.base import Kernel

__all__ = [
    "as_law",
    "center_of",
    "depth_of",
    "plane_law",
    "plane_stationary",
    "plane_tolerance",
    "settle",
]

_ENOUGH = 1e-3  # of the tolerance: the share that may leave
_DEPTH = 11.0  # energies up to -log(tolerance) plus this above the least are looked at
# The default tolerance: far out a step may be unstable, and its law is rough there.
_SMOOTH = 1e-6
_REJECTING = 1e-4  # likewise where an acceptance rate has kinks, which no lattice follows
_HELD = 0.6  # of a start's standard deviation, for two elements: a spacing fine enough for it


def depth_of(tolerance: float) -> float:
    return math.log(1 / tolerance) + _DEPTH


def plane_stationary(
    kernel: Kernel, energy: Energy, position: PyTree, tolerance: Any, within: Any, *, full: bool
) -> Any:
    """See `exact.grid_stationary`."""
    steps = PlaneSteps(kernel, energy, position)
    tolerance = plane_tolerance(steps, tolerance)
    found, left = settle(steps, position, tolerance, within)
    return as_law(steps, found, left, full=full)


def as_law(steps: PlaneSteps, found: Solution, left: float, *, full: bool) -> Any:
    made = found.operator
    rounding = 10 * float(np.finfo(steps.dtype).eps)
    law = made_plane_law(
        made.lattice,
        found.measure,
        steps.like,
        carries=steps.carries,
        atom=made.atom,
        errors=(max(found.error, rounding), max(found.cdf_error, rounding)),
        left=left,
    )
    return law if full or not steps.carries else law.marginals[0]


def _refuse_leaving(found: Solution, left: float, steps: PlaneSteps) -> None:
    if left > LEAVES_A_STEP:
        raise NoStationaryLawError(
            f"energy: of the chains over {found.part.shown(steps)} a share of {left:.2g} leaves in "
            "every step, and chains leave a larger part of the plane as well: this chain has no "
            "stationary law. Either exp(-E) has no finite integral, or the step is unstable far "
            "out; exact.grid_law gives the law after a number of steps, and with `within` you get "
            "the law that is kept in a part of the plane"
        )


def settle(
    steps: PlaneSteps,
    position: PyTree,
    tolerance: float,
    within: Any,
    number: Callable[[PlaneOperator, Floats], float] | None = None,
) -> tuple[Solution, float]:
    """The law that a step keeps, and the share that leaves in a step; raises if there is none."""
    depth = depth_of(tolerance)
    parts = given(steps, within, depth)
    center = center_of(steps, position)
    if parts is None:
        parts = parts_of(steps, center, _scale(steps, center), depth, None)

    question = Question(partial(settled, steps), None, number)
    enough = np.inf if within is not None else _enough(tolerance)
    found, left = solve(steps, parts, question, tolerance=tolerance, enough=enough)
    if within is None:
        _refuse_leaving(found, left, steps)
    return found, left


def _enough(tolerance: float) -> float:
    """The share that may leave before a larger part is looked at: far less than what is refused."""
    return max(min(_ENOUGH * tolerance, LEAVES_A_STEP / 10), 1e-13)


def center_of(steps: PlaneSteps, position: PyTree) -> Floats:
    check_known("a grid is made on the host", position=position)
    flat = np.asarray(trees.ravel(trees.as_position("position", position)), np.float64)
    if not np.isfinite(flat).all():
        raise ValueError(f"position: expected a finite one, got {position}")
    return np.append(flat, 0.0) if steps.carries else flat


def _scale(steps: PlaneSteps, center: Floats) -> Floats:
    """About how far a step from the center spreads each number."""
    z = np.array([[1.1, -0.7, 0.4, -1.3, 0.2], [-0.6, 1.2, 0.9, -0.8, -1.0]])
    normals = z[: steps.num_normals]
    states = np.tile(center[:, None], (1, z.shape[1]))
    if steps.carries:
        states[1] = z[1]
    spread = np.std(steps(states, normals)[0], axis=1)
    if not np.isfinite(spread).all() or not (spread > 0).all():
        raise NoGridLawError(
            f"kernel: the normals of {steps.name} do not move it from {center[: 2 - steps.carries]}"
            " by a finite length, so there is nothing to be spread"
        )
    return np.asarray(spread)


def plane_law(
    kernel: Kernel,
    energy: Energy,
    start: Any,
    num_steps: int,
    tolerance: Any,
    within: Any,
    *,
    full: bool,
) -> Any:
    """See `exact.grid_law`."""
    mean = start.mean
    mean = mean.position if isinstance(start, PlaneLaw) and start.carries else mean
    steps = PlaneSteps(kernel, energy, mean)
    first = PlaneStart(start, carries=steps.carries)
    num_steps = check_count("num_steps", num_steps, minimum=1)
    tolerance = plane_tolerance(steps, tolerance)
    depth = depth_of(tolerance)
    parts = given(steps, within, depth)
    if within is not None:
        _check_within(within, first, steps)
    if parts is None:
        parts = parts_of(steps, first.mean, _scale(steps, first.mean), depth, first)

    found, left = solve(
        steps,
        parts,
        Question(lambda made: after(made, num_steps), first),
        tolerance=tolerance,
        enough=np.inf if within is not None else _enough(tolerance),
        finest=np.inf if steps.carries or first.is_point else _HELD * first.deviations.min(),
    )
    if within is None and left > LEAVES:
        raise UnstableStepError(
            f"step_size: {left:.2g} of the chains leave {found.part.shown(steps)} within "
            f"{num_steps} steps, and a larger part of the plane as well: far out the step is "
            "unstable. Take a smaller step, a kernel such as tamed_ula, or say by `within` which "
            "part counts"
        )
    return as_law(steps, found, left, full=full)


def _check_within(within: Any, first: PlaneStart, steps: PlaneSteps) -> None:
    sides = [within] if steps.carries else within
    inside = [low <= x <= high for (low, high), x in zip(sides, first.mean, strict=False)]
    if not all(inside):
        raise ValueError(f"within: the start's mean, {first.mean[: len(inside)]}, is not in it")


def plane_tolerance(steps: PlaneSteps, tolerance: Any) -> float:
    """`tolerance`, or by default what the dtype and the kernel allow."""
    least = default_tolerance(steps.dtype, tolerance)
    return least if tolerance is not None else max(least, _REJECTING if steps.rejects else _SMOOTH)
