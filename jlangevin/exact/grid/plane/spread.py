"""The step of a position of two elements, on a lattice.

A step proposes y = c(x) + L(x) ξ, with c and L found by evaluating it, and accepts with the rate
a(x, ξ) that it reports. So it has a density, and weights of the lattice's points are moved by

    K_ij = |cell| φ(L⁻¹(y_j - c)) a(x_i, L⁻¹(y_j - c)) / |det L|

with rejection added to the diagonal. All points have equal weights in this rule, so a kernel in
detailed balance with exp(-E) is in detailed balance on the lattice as well, to rounding. Points
beyond a few standard deviations of the proposal are left out, so the matrix is sparse.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import scipy.sparse

from jlangevin.errors import NoGridLawError
from jlangevin.exact.grid.panels import Flags, Floats, Ints
from jlangevin.exact.grid.plane.lattice import Lattice
from jlangevin.exact.grid.plane.operator import PlaneOperator, moved_by
from jlangevin.exact.grid.plane.start import PlaneStart
from jlangevin.exact.grid.plane.steps import PlaneSteps
from jlangevin.exact.grid.steps import check_rate

__all__ = ["Proposals", "pairs_expected", "proposals", "spread"]

_AT_ONCE = 1 << 20  # pairs in a block
_SHARP = 7.2  # standard deviations of a proposal that are held: all but 6e-12 of it
_PROBES = ((0.0, 0.0), (1.0, 0.0), (0.0, 1.0), (-1.3, 0.7), (2.1, -1.1), (0.4, 3.0))
_MORE_PROBES = tuple((u, v) for u in (-6, -3, -1, 0.2, 2, 4) for v in (-5, -2, -0.4, 1, 3, 6))


class Proposals:
    """Where steps from states lead, c + L ξ.

    Attributes:
        center, factor: c, (2, m), and L, (2, 2, m).
        det: the determinant of L, (m,).
        moves: whether steps from a state were seen to be accepted, (m,). From the other states
            steps lead nowhere: the rate is below the smallest float at all normals tried.
    """

    def __init__(self, steps: PlaneSteps, states: Floats) -> None:
        m = states.shape[1]
        some = np.arange(m)
        center, factor = np.zeros((2, m)), np.zeros((2, 2, m))
        self.moves, fits = np.zeros(m, bool), np.ones(m, bool)
        for probes in (_PROBES, _MORE_PROBES):
            if not len(some):
                break
            found = _fitted(steps, states[:, some], probes)
            center[:, some], factor[:, :, some], self.moves[some], fits[some] = found
            some = np.nonzero(~self.moves)[0]
        if not np.all(fits):
            raise NoGridLawError(
                f"kernel: the step of {steps.name} is not affine in its normals; a grid in two "
                "dimensions is for proposals c(x) + L(x) ξ"
            )
        if not self.moves.any():
            raise NoGridLawError(
                f"kernel: {steps.name} accepts nothing in the part of the plane that is looked at; "
                "take a smaller step"
            )
        self.center = np.where(self.moves, center, states)
        self.factor = np.where(self.moves, factor, np.eye(2)[:, :, None])
        a, b = self.factor
        self.det = a[0] * b[1] - a[1] * b[0]
        if not np.all(np.isfinite(self.det)) or np.any(self.det == 0):
            raise NoGridLawError(
                f"kernel: the normals of {steps.name} do not move it in every direction, or not by "
                "a finite length; a grid in two dimensions is for steps that have a density"
            )

    def deviations(self) -> Floats:
        """The proposal's standard deviations along each axis, from states that move, (2, m)."""
        return np.sqrt(np.sum(self.factor[:, :, self.moves] ** 2, axis=1))

    def normals(self, rows: Ints, y: Floats) -> Floats:
        """The normals with which steps from states `rows` lead to y (2, k)."""
        d = y - self.center[:, rows]
        (p, q), (r, t) = self.factor[:, :, rows]
        return np.stack([t * d[0] - q * d[1], p * d[1] - r * d[0]]) / self.det[rows]


def _fitted(steps: PlaneSteps, states: Floats, probes: Any) -> tuple[Floats, Floats, Flags, Flags]:
    """c and L, fitted to the steps that are accepted for some normals, (probes, 2); whether these
    are enough for a fit, and whether all of them agree with it."""
    m, count = states.shape[1], len(probes)
    z = np.asarray(probes).T
    y, rate = steps(np.repeat(states, count, axis=1), np.tile(z, (1, m)))
    y = y.reshape(2, m, count)
    seen = rate.reshape(m, count) > 4 * float(np.finfo(steps.dtype).tiny)
    terms = np.concatenate([np.ones((1, count)), z])
    gram = np.einsum("mk,ik,jk->mij", seen, terms, terms)
    enough = np.abs(np.linalg.det(gram)) > 1e-3
    gram[~enough] = np.eye(3)
    right = np.einsum("mk,ik,amk->mia", seen, terms, np.where(seen, y, 0.0))
    c, *columns = np.moveaxis(np.linalg.solve(gram, right), 1, 0)
    center, factor = c.T, np.stack([each.T for each in columns], axis=1)
    wanted = center[..., None] + np.einsum("ijm,jk->imk", factor, z)
    size = np.abs(center) + np.abs(states) + np.abs(factor).sum(axis=1)
    rounding = 1e3 * float(np.finfo(steps.dtype).eps)
    close = np.all(np.abs(y - wanted) <= rounding * size[..., None], axis=0)
    return center, factor, enough, np.all(close | ~seen, axis=1) | ~enough


def proposals(steps: PlaneSteps, states: Floats) -> Proposals:
    """The proposals of steps from `states`; raises if a state is more than a position."""
    some = states[:, :: max(states.shape[1] // 100, 1)]
    steps.check_state(some)
    if steps.rejects:
        tried = some.astype(steps.dtype).astype(np.float64)
        z = np.cos(np.arange(1, tried.size + 1) * 2.39996).reshape(tried.shape)
        check_rate(steps, tried, z)
    return Proposals(steps, states)


def pairs_expected(made: Proposals, lattice: Lattice) -> float:
    """About how many entries the matrix will have."""
    each = math.pi * _SHARP**2 * float(np.mean(np.abs(made.det[made.moves]))) / lattice.area
    return lattice.num * each


def spread(steps: PlaneSteps, lattice: Lattice, start: PlaneStart | None) -> PlaneOperator:
    """The matrix of a step. A start at one point is a state of its own."""
    states, n = lattice.nodes, lattice.num
    atom = None if start is None else start.point
    if atom is not None:
        states = np.concatenate([states, atom[:, None]], axis=1)
    made = proposals(steps, states)
    size = states.shape[1]
    places = lattice.places()
    reach = np.max(made.deviations(), axis=1) * _SHARP / lattice.spacing
    spans = [np.arange(-math.ceil(r) - 1, math.ceil(r) + 2) for r in reach]
    di, dj = (each.ravel() for each in np.meshgrid(*spans, indexing="ij"))
    rows, columns, values = [], [], []
    leaving, landed = np.zeros(size), np.zeros(size)
    block = max(_AT_ONCE // len(di), 1)
    for begin in range(0, size, block):
        here = np.arange(begin, min(begin + block, size))
        i, j = lattice.nearest(made.center[:, here])
        row = np.repeat(here, len(di))
        i, j = (i[:, None] + di).ravel(), (j[:, None] + dj).ravel()
        near, z, weight = _weights(made, lattice, row, i, j)
        row, i, j = row[near], i[near], j[near]
        if steps.rejects:
            weight = weight * steps(states[:, row], z)[1]
        landed += np.bincount(row, weight, minlength=size)
        inside = lattice.is_within(i, j)
        place = np.full(len(row), -1)
        place[inside] = places[i[inside], j[inside]]
        out = place < 0
        leaving += np.bincount(row[out], weight[out], minlength=size)
        keep = ~out & (weight > 0)
        rows.append(row[keep].astype(np.int32))
        columns.append(place[keep].astype(np.int32))
        values.append(weight[keep])
    counts = np.bincount(np.concatenate(rows), minlength=size)
    del rows
    parts = np.concatenate(values), np.concatenate(columns), np.append(0, np.cumsum(counts))
    del values, columns
    matrix = scipy.sparse.csr_array(parts, shape=(size, size))
    rejection = np.zeros(size)
    if steps.rejects:
        rejection = np.clip(1 - landed, 0, 1)
        # Steps that lead out are rejected too: this keeps the detailed balance.
        matrix = matrix + scipy.sparse.diags_array(1 - landed + leaving, format="csr")
    of_measures = matrix.T
    first, lost = None, 0.0
    if start is not None:
        begun = np.eye(1, size, n)[0] if atom is not None else start.density(states) * lattice.area
        first = moved_by(of_measures, begun)
        lost = float(np.dot(begun, leaving)) + max(1 - float(begun.sum()), 0.0)
    return PlaneOperator(lattice, of_measures, first, lost, leaving, rejection, atom)


def _weights(
    made: Proposals, lattice: Lattice, rows: Ints, i: Ints, j: Ints
) -> tuple[Flags, Floats, Floats]:
    """Which pairs are near enough, and the normals and weights of the proposals of these."""
    y = lattice.low[:, None] + lattice.spacing[:, None] * np.stack([i, j])
    z = made.normals(rows, y)
    square = np.sum(z * z, axis=0)
    near = (square <= _SHARP**2) & made.moves[rows]
    density = np.exp(-0.5 * square[near]) / (2 * np.pi * np.abs(made.det[rows[near]]))
    return near, z[:, near], density * lattice.area
