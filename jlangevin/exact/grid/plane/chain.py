"""How fast a chain in the plane forgets."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import scipy.sparse
import scipy.sparse.linalg as krylov

from jlangevin._core import trees
from jlangevin._core.trees import PyTree
from jlangevin.energies.base import Energy
from jlangevin.errors import NoGridLawError
from jlangevin.exact.grid.far_out import FARTHER, OUTSIDE, check_gap, settled_time
from jlangevin.exact.grid.panels import Flags, Floats
from jlangevin.exact.grid.plane.answers import plane_tolerance, settle
from jlangevin.exact.grid.plane.operator import PlaneOperator, moved_by
from jlangevin.exact.grid.plane.solve import leading
from jlangevin.exact.grid.plane.steps import PlaneSteps
from jlangevin.kernels.base import Kernel

__all__ = ["plane_autocorrelation_time", "plane_relaxation_time"]

_ALL = 1 - 1e-7  # a share of rejections above any |λ₂| that can be told from 1
_SOLVED = 1e-11  # the residual of an equation, relative to its right side
_ITERATIONS = 100  # of GMRES between restarts, and how many of those


def plane_relaxation_time(
    kernel: Kernel, energy: Energy, position: PyTree, tolerance: Any, within: Any
) -> float:
    """See `exact.grid_relaxation_time`."""
    steps = PlaneSteps(kernel, energy, position)

    def number(made: PlaneOperator, measure: Floats) -> float:
        most, where = _most_rejected(steps, made)
        second = abs(leading(made, 2, measure)[0][1]) if most < _ALL else most
        at = ", ".join(f"{x:.4g}" for x in where)
        check_gap(steps.name, most, second, f"({at})")
        return float(-1 / np.log(second)) if second > 0 else 0.0

    found, _ = settle(steps, position, plane_tolerance(steps, tolerance), within, number)
    return number(found.operator, found.measure)


def plane_autocorrelation_time(
    kernel: Kernel,
    energy: Energy,
    position: PyTree,
    function: Callable[[PyTree], Any] | None,
    tolerance: Any,
    within: Any,
) -> float:
    """See `exact.grid_autocorrelation_time`."""
    steps = PlaneSteps(kernel, energy, position)
    if function is None and not steps.carries:
        raise NoGridLawError(
            "function: a position of two elements has an autocorrelation time for each function of "
            "it; give one, such as lambda x: x[0]"
        )

    def number(made: PlaneOperator, measure: Floats) -> float:
        values = _values(steps, made.states, function)
        if not np.any(made.rejection > 0):
            return _time(made, measure, values, np.ones(len(measure), bool))
        return _time(made, measure, values, _mass_below(measure) > OUTSIDE[1])

    found, _ = settle(steps, position, plane_tolerance(steps, tolerance), within, number)
    made, measure = found.operator, found.measure
    if not np.any(made.rejection > 0):
        return number(made, measure)
    values = _values(steps, made.states, function)
    below = _mass_below(measure)
    times = [_time(made, measure, values, below > outside) for outside in OUTSIDE]
    return settled_time(
        f"the autocorrelation time of {steps.name}",
        times,
        "the law is",
        "Far out nearly all is rejected; take a smaller step",
    )


def _mass_below(measure: Floats) -> Floats:
    """For each state, the mass of the states that are at most as likely, itself included."""
    order = np.argsort(measure)
    below = np.empty(len(order))
    below[order] = np.cumsum(measure[order])
    return below


def _most_rejected(steps: PlaneSteps, made: PlaneOperator) -> tuple[float, Floats]:
    """The largest share of rejections, on the lattice and some way beyond it, and where."""
    stuck = int(np.argmax(made.rejection))
    most, where = float(made.rejection[stuck]), made.states[:, stuck]
    if not steps.rejects:
        return 0.0, where
    ends = np.array([made.lattice.axis(k)[[0, -1]] for k in (0, 1)])
    middle, half = ends.mean(axis=1), np.diff(ends, axis=1)[:, 0] / 2
    ways = np.array([(i, j) for i in (-1, 0, 1) for j in (-1, 0, 1) if i or j])
    far = np.concatenate([middle + k * half * ways for k in FARTHER]).T
    far = far[:, np.isfinite(steps.energies(far))]
    if not far.size:
        return most, where
    xi = np.linspace(-6, 6, 41)
    z = np.stack([each.ravel() for each in np.meshgrid(xi, xi, indexing="ij")])
    weight = np.exp(-0.5 * np.sum(z**2, axis=0))
    rates = steps(np.repeat(far, z.shape[1], axis=1), np.tile(z, (1, far.shape[1])))[1]
    rejected = 1 - np.dot(rates.reshape(far.shape[1], -1), weight / weight.sum())
    worst = int(np.argmax(rejected))
    return (float(rejected[worst]), far[:, worst]) if rejected[worst] > most else (most, where)


def _values(steps: PlaneSteps, states: Floats, function: Any) -> Floats:
    """A user's function of the positions, on the host."""
    x = states[:1] if steps.carries else states
    if function is None:
        return np.asarray(x[0])
    place = trees.unraveler(steps.like)
    found = jax.vmap(lambda x: function(place(x)), in_axes=-1)(jnp.asarray(x, steps.dtype))
    if found.shape != states.shape[1:]:
        raise ValueError(
            f"function: expected a scalar for one position, got shape {found.shape[1:]}"
        )
    return np.asarray(found, np.float64)


def _time(made: PlaneOperator, measure: Floats, values: Floats, kept: Flags) -> float:
    """τ = (2 ⟨f, h⟩ - ⟨f, f⟩)/⟨f, f⟩, computed with the weights ν = h p, for ν (I - K) = f p: these
    fall off as the law does. If only some of the states are kept, moves to others are rejected.
    """
    if kept.all():
        moved, diagonal = made.moved, np.zeros(len(measure))
    else:
        part = made.of_measures[kept][:, kept]
        left = 1 - np.asarray(part.sum(axis=0)).ravel()
        inner = part + scipy.sparse.diags_array(left)
        moved, diagonal = partial(moved_by, inner), inner.diagonal()
    if kept.all() and scipy.sparse.issparse(made.of_measures):
        diagonal = made.of_measures.diagonal()
    p = measure[kept] / measure[kept].sum()
    f = values[kept] - np.dot(p, values[kept])

    def apply(nu: Floats) -> Floats:
        return nu - moved(nu) + p * nu.sum()

    n, scale = len(p), np.maximum(1 - diagonal, 1e-12)
    shape = (n, n)
    nu, failed = krylov.gmres(
        krylov.LinearOperator(shape, apply, dtype=np.float64),
        f * p,
        rtol=_SOLVED,
        atol=0.0,
        restart=_ITERATIONS,
        maxiter=_ITERATIONS,
        M=krylov.LinearOperator(shape, lambda nu: nu / scale, dtype=np.float64),
    )
    if failed:
        raise NoGridLawError(
            f"kernel: the equation for its autocorrelation time is not solved to {_SOLVED:.1g} on "
            f"{n} points; it mixes too slowly for that"
        )
    square = np.dot(p, f * f)
    return float((2 * np.dot(nu, f) - square) / square)
