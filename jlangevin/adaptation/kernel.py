"""What a warm-up asks of a kernel, and what it sets in it."""

from __future__ import annotations

import dataclasses
import math
from typing import Any, Literal

import jax
import numpy as np

from jlangevin._core import trees
from jlangevin._core.each import Each, each, has_each
from jlangevin._core.trees import PyTree
from jlangevin.adaptation.metric import DenseMetric, DiagonalMetric, LowRankMetric, Metric
from jlangevin.kernels.base import has_schedule
from jlangevin.kernels.preconditioner import Dense, Diagonal, LowRank, Square
from jlangevin.kernels.traits import Traits, layers
from jlangevin.kernels.trajectory import Trajectory

__all__ = [
    "FORMS",
    "Form",
    "argument",
    "check",
    "check_trajectory",
    "default_target",
    "first_metric",
    "has_own_shapes",
    "is_kinetic",
    "metric_of",
    "number",
    "with_first_step",
    "with_friction",
    "with_metric",
    "with_own_steps",
    "with_step_size",
]

Form = Literal["auto", "dense", "low rank", "diagonal"]
FORMS = "auto", "dense", "low rank", "diagonal"

_DENSE = 100  # elements of a position, up to which "auto" finds a matrix
_RANK = 16  # directions, besides the diagonal, that "low rank" finds


def check(kernel: Any, precondition: Form | None) -> None:
    """Raise unless `kernel` has the hyper-parameters that are to be found."""
    if not Traits.own(kernel).has_step_size:
        own, hint = "", ""
        _, *inside = layers(kernel)
        if inside:
            own = " of its own"
            hint = (
                f"; warm up {type(inside[0]).__name__}, the inner kernel, on the energy that "
                "it runs on, and wrap the kernel that is found"
            )
        raise TypeError(f"kernel: {type(kernel).__name__} has no step size{own} to adapt{hint}")
    if has_schedule(kernel):
        raise ValueError("kernel: a scheduled hyper-parameter cannot be adapted; pass a number")
    if precondition is not None and _field(kernel) is None:
        raise TypeError(
            f"kernel: {type(kernel).__name__} has no preconditioner and no mass; pass "
            "precondition=None"
        )


def check_trajectory(kernel: Any) -> None:
    """Raise unless `kernel` makes trajectories."""
    if not isinstance(kernel, Trajectory):
        raise TypeError(
            f"longest_trajectory: {type(kernel).__name__} makes no trajectories that are accepted "
            "or rejected; use jlangevin.malt or jlangevin.adjusted_microcanonical, or leave it out"
        )


def first_metric(kernel: Any, like: PyTree, form: Form) -> Metric:
    """The kernel's own, in the form that is to be found. Only the diagonal of a matrix is kept:
    correlations show soon."""
    d = trees.size(like)
    given = _given(kernel, like)
    if isinstance(given, Dense):
        scale = np.sqrt(np.sum(np.asarray(given.lower, np.float64) ** 2, axis=1))
    elif isinstance(given, LowRank):
        scale = np.asarray(given.scale, np.float64)
    elif isinstance(given, Diagonal):
        leaves = [np.asarray(leaf, np.float64).ravel() for leaf in jax.tree.leaves(given.scale)]
        scale = np.abs(np.concatenate(leaves))
    else:
        scale = np.full(d, 1.0 if given is None else float(given.scale))
    if scale.shape != (d,):
        raise ValueError(
            f"{argument(kernel)}: it has {scale.size} elements, but a position has {d}"
        )
    if form == "auto":
        form = "diagonal" if d == 1 else "dense" if d <= _DENSE else "low rank"
    if form == "diagonal":
        return DiagonalMetric(scale)
    if form == "low rank":
        rank = min(_RANK, d)
        return LowRankMetric(scale, np.eye(d, rank), np.ones(rank))
    return DenseMetric(np.diag(scale))


def metric_of(kernel: Any, like: PyTree) -> Metric:
    """The kernel's own."""
    given = _given(kernel, like)
    if isinstance(given, Dense):
        return DenseMetric.of(np.asarray(given.lower, np.float64))
    if isinstance(given, LowRank):
        parts = given.scale, given.vectors, given.roots
        return LowRankMetric(*(np.asarray(part, np.float64) for part in parts))
    return first_metric(kernel, like, "diagonal")


def _given(kernel: Any, like: PyTree) -> Any:
    """Its preconditioner or inverse mass, for positions like `like`; None if it has neither."""
    given = getattr(kernel, str(_field(kernel)), None)
    return given.of(like) if isinstance(given, Square) else given


def with_metric(kernel: Any, metric: Metric | None, like: PyTree) -> Any:
    """`kernel` with the preconditioner of `metric`, for positions like `like`."""
    if metric is None:
        return kernel
    found = metric.preconditioner(like, argument(kernel))
    return dataclasses.replace(kernel, **{str(_field(kernel)): found})


def default_target(kernel: Any) -> float:
    """The rate to aim at."""
    if is_isokinetic(kernel):
        return 0.8 if Traits.of(kernel).by_value else math.sqrt(0.5)  # of `Moving`'s rate
    if not is_kinetic(kernel):
        return 0.574
    return 0.85 if Traits.of(kernel).carries else 0.7  # a rejection turns a velocity around


def with_first_step(kernel: Any, like: PyTree) -> Any:
    """`kernel` with the step size for a Gaussian law whose covariance is T times the
    preconditioner."""
    d = trees.size(like)
    if is_isokinetic(kernel):
        if getattr(kernel, "decoherence_length", None) is not None:
            kernel = dataclasses.replace(kernel, decoherence_length=number(math.sqrt(d)))
        return with_step_size(kernel, 0.5 * math.sqrt(d))
    return with_step_size(
        kernel, math.sqrt(2) * d ** (-1 / 4) if is_kinetic(kernel) else d ** (-1 / 3)
    )


def with_step_size(kernel: Any, step_size: Any) -> Any:
    """`kernel` with this step size for all chains. If it has one for each chain, an array gives
    each its own."""
    size: Any = number(step_size)
    if isinstance(kernel.step_size, Each):
        size = each(np.broadcast_to(size, kernel.step_size.rows.shape))
    return dataclasses.replace(kernel, step_size=size)


def with_own_steps(kernel: Any, num_chains: int) -> Any:
    """`kernel` with a step size for each chain."""
    if isinstance(kernel.step_size, Each):
        return with_step_size(kernel, kernel.step_size.rows)
    rows = np.broadcast_to(number(kernel.step_size), (num_chains,))
    return dataclasses.replace(kernel, step_size=each(rows))


def has_own_shapes(kernel: Any) -> bool:
    """Whether the preconditioner or inverse mass differs from chain to chain."""
    return has_each(getattr(kernel, str(_field(kernel)), None))


def with_friction(kernel: Any, friction: Any) -> Any:
    """`kernel` with this friction, if it has one."""
    if not Traits.own(kernel).has_friction:
        return kernel
    return dataclasses.replace(kernel, friction=number(friction))


def is_isokinetic(kernel: Any) -> bool:
    """Whether its velocity has a constant length, so that its step size is a length."""
    return Traits.of(kernel).kinetic == "isokinetic"


def number(value: Any) -> np.ndarray[Any, Any]:
    """A hyper-parameter, on the host."""
    return np.asarray(value, jax.dtypes.canonicalize_dtype(float))


def is_kinetic(kernel: Any) -> bool:
    """Whether the kernel has a mass, so that its step size is a time and not half its square."""
    return Traits.of(kernel).kinetic == "thermal"


def _field(kernel: Any) -> str | None:
    """The field of a kernel's preconditioner or inverse mass, ideally the covariance."""
    names = (name for name in ("preconditioner", "inverse_mass") if hasattr(kernel, name))
    return next(names, None)


def argument(kernel: Any) -> str:
    """Its name for users: the argument of the kernel's constructor."""
    return "mass" if _field(kernel) == "inverse_mass" else "preconditioner"
