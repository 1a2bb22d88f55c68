"""The step of a position and the normal that it carries, on a lattice.

From a state s a step leads to s'(s, ξ). With one normal this is a curve, so a step has no density.
But the expectation of any function g of the next state is an integral:

    (K g)(s) = ∫ φ(ξ) g(s'(s, ξ)) dξ

It is computed by the trapezoidal rule, with g the sum of sinc functions through its values at the
lattice's points; the transpose moves weights. All of this converges exponentially where the law is
smooth, and it needs to know only where the step leads.
"""

from __future__ import annotations

import itertools
import math

import numpy as np

from jlangevin.exact.grid.panels import Floats
from jlangevin.exact.grid.plane.lattice import Lattice
from jlangevin.exact.grid.plane.operator import PlaneOperator
from jlangevin.exact.grid.plane.start import Cloud, PlaneStart
from jlangevin.exact.grid.plane.steps import PlaneSteps

__all__ = ["carried"]

_AT_ONCE = 1 << 22  # numbers in a block
_LOOKED_AT = 200  # states, to see how far normals move the step
_SEEN = (-2.0, -0.7, 0.0, 0.9, 2.2)  # values of the normals, for the same purpose
_DELTA = 1e-3
_OF_LAW = 0.7  # the highest frequency of a law, over the highest that its lattice holds
_FINEST = 3  # how many times finer a lattice from which steps are made may be


def carried(
    steps: PlaneSteps, lattice: Lattice, start: PlaneStart | None, tolerance: float
) -> PlaneOperator:
    """The matrix of a step, and the weights after one step from the start."""
    normals, weights = _normals(steps, lattice, tolerance)
    matrix, leaving = _rows(steps, lattice, normals, weights)
    begun, lost = None, 0.0
    if start is not None:
        seen = start.seen().states
        speeds = np.array([_speed(steps, lattice, seen, k) for k in (0, 1)])
        begun, lost = _pushed(steps, lattice, start.cloud(speeds), normals, weights)
    return PlaneOperator(lattice, matrix.T, begun, lost, leaving, np.zeros(lattice.num))


def _rows(
    steps: PlaneSteps, lattice: Lattice, normals: Floats, weights: Floats
) -> tuple[Floats, Floats]:
    """The matrix, a row for each point, and the share that leaves from each point.

    The product of a law and a sinc function of the step has higher frequencies than the law. So
    steps start from a finer lattice, to which the law is interpolated by its sinc functions.
    """
    times = _times(steps, lattice)
    fine = lattice.finer(times)
    to_fine = [
        lattice.sinc(k, fine.axis(k)) / times[k] if times[k] > 1 else np.eye(lattice.shape[k])
        for k in (0, 1)
    ]
    (num, n), places = lattice.shape, fine.places()
    matrix = np.zeros((num, n * (lattice.num + 1)))
    size = max(_block(lattice, len(weights)) // fine.shape[1], 1)
    for begin in range(0, fine.shape[0], size):
        part = slice(begin, min(begin + size, fine.shape[0]))
        held = places[part] >= 0
        rows = fine.nodes[:, places[part][held]]
        made = np.zeros((*held.shape, lattice.num + 1))
        made[held] = _row(steps, lattice, rows, normals, weights)
        summed = np.matmul(to_fine[1].T, made)
        matrix += np.dot(to_fine[0][part].T, summed.reshape(len(summed), -1))
    matrix = matrix.reshape(num * n, -1)[lattice.active]
    return matrix[:, :-1], matrix[:, -1]


def _row(
    steps: PlaneSteps, lattice: Lattice, states: Floats, normals: Floats, weights: Floats
) -> Floats:
    """For m states the weight that a step gives each point, and last the share that leaves: (m,
    points + 1)."""
    made = np.zeros((states.shape[1], lattice.num + 1))
    size = _block(lattice, len(weights))
    for begin in range(0, len(made), size):
        part = slice(begin, begin + size)
        first, second, out = _landed(steps, lattice, states[:, part], normals, weights)
        blocks = np.matmul(first.transpose(0, 2, 1), second)
        made[part, :-1] = blocks.reshape(len(blocks), -1)[:, lattice.active]
        made[part, -1] = out.sum(axis=1)
    return made


def _times(steps: PlaneSteps, lattice: Lattice) -> tuple[int, int]:
    """How many times finer the lattice has to be along each axis: half of the highest frequency of
    the integrand, over that which the lattice holds. This frequency is that of a sinc function of
    the step plus that of a law."""
    states = _lower(steps, lattice)
    speeds = [_speed(steps, lattice, states, k) * lattice.spacing[k] for k in (0, 1)]
    first, second = (min(math.ceil((speed + _OF_LAW) / 2), _FINEST) for speed in speeds)
    return first, second


def _lower(steps: PlaneSteps, lattice: Lattice) -> Floats:
    """Some of the states with low energies, where the law's mass is."""
    states = lattice.nodes[:, :: max(lattice.num // _LOOKED_AT, 1)]
    energies = steps.energies(states)
    return states[:, energies <= np.median(energies)]


def _block(lattice: Lattice, num_normals: int) -> int:
    return max(_AT_ONCE // (num_normals * sum(lattice.shape)), 1)


def _landed(
    steps: PlaneSteps, lattice: Lattice, states: Floats, normals: Floats, weights: Floats
) -> tuple[Floats, Floats, Floats]:
    """For m states and k normals: the sinc functions of both numbers where steps lead, (m, k, …),
    those of the first times the weights; and the weights of steps that lead outside, (m, k)."""
    m, k = states.shape[1], len(weights)
    to, _ = steps(np.repeat(states, k, axis=1), np.tile(normals, (1, m)))
    i, j = lattice.nearest(to)
    inside = lattice.is_within(i, j)
    inside[inside] = (lattice.places() >= 0)[i[inside], j[inside]]
    to = np.where(inside, to, lattice.low[:, None])
    held = np.where(inside, np.tile(weights, m), 0.0)
    first = lattice.sinc(0, to[0]) * held[:, None]
    second = lattice.sinc(1, to[1])
    outside = np.where(inside, 0.0, np.tile(weights, m))
    return first.reshape(m, k, -1), second.reshape(m, k, -1), outside.reshape(m, k)


def _pushed(
    steps: PlaneSteps, lattice: Lattice, start: Cloud, normals: Floats, weights: Floats
) -> tuple[Floats, float]:
    """The weights after a step from a cloud, and the share that leads outside."""
    total, lost = np.zeros(lattice.shape), 0.0
    size = _block(lattice, len(weights))
    for begin in range(0, len(start.weights), size):
        part = slice(begin, begin + size)
        first, second, out = _landed(steps, lattice, start.states[:, part], normals, weights)
        first = first * start.weights[part, None, None]
        lost += float(np.dot(start.weights[part], out.sum(axis=1)))
        flat = first.reshape(-1, lattice.shape[0]), second.reshape(-1, lattice.shape[1])
        total += np.dot(flat[0].T, flat[1])
    return np.asarray(total.ravel()[lattice.active]), lost


def _normals(steps: PlaneSteps, lattice: Lattice, tolerance: float) -> tuple[Floats, Floats]:
    """The nodes of the trapezoidal rule, (normals, k), and their weights (k,).

    The integrand is φ times a sinc function of the step. The frequency ω of this function is at
    most π times the number of spacings by which a unit of the normal moves the step. With nodes at
    a distance d the rule errs by exp(-(2π/d - ω)²/2).
    """
    states = _lower(steps, lattice)
    sharp = math.sqrt(2 * math.log(1 / tolerance) + 10)
    rows = []
    for k in range(steps.num_normals):
        speed = _speed(steps, lattice, states, 2 + k)
        spacing = 2 * math.pi / (sharp + math.pi * speed)
        count = math.ceil(sharp / spacing)
        rows.append(spacing * np.arange(-count, count + 1))
    normals = np.array(list(itertools.product(*rows))).T
    weights = np.exp(-0.5 * np.sum(normals**2, axis=0))
    return normals, weights / weights.sum()


def _speed(steps: PlaneSteps, lattice: Lattice, states: Floats, k: int) -> float:
    """By how many spacings a unit of the k-th number, of state and normals, moves a step from
    `states`: the largest value, at some normals."""
    most = 0.0
    for at in _SEEN:
        ends = []
        for sign in (-1, 1):
            given = np.concatenate([states, np.full((steps.num_normals, states.shape[1]), at)])
            given[k] += sign * _DELTA
            ends.append(steps(given[:2], given[2:])[0])
        moved = np.abs(ends[1] - ends[0]) / (2 * _DELTA) / lattice.spacing[:, None]
        most = max(most, float(np.nanmax(moved.sum(axis=0), initial=0)))
    return most
