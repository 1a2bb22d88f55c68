"""One step as a matrix over the values of functions at the nodes of panels.

    (K g)(x) = ∫ φ(ξ) [a(x, ξ) g(y(x, ξ)) + (1 - a(x, ξ)) g(x)] dξ

with the proposal y and the acceptance rate a of the kernel's own step. As an integral over y it is
that of g against a density k(x, y), which Nyström's method turns into a matrix on Gauss-Legendre
panels: A_ij = w_j k(x_i, y_j), with rejection added to the diagonal. Where k is not smooth within a
panel, because the rate reaches 1 or two pieces of the step meet there, the row is integrated
separately on both sides of that point, against each polynomial that is 1 at one node and 0 at the
others. The mass that a wall stops has a state of its own, an atom.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.special import ndtr

from jlangevin.errors import NoGridLawError
from jlangevin.exact.grid.moves import REACH, Branch, Piece, moves
from jlangevin.exact.grid.panels import Flags, Floats, Ints, Panels, basis, gauss
from jlangevin.exact.grid.steps import StepFunction

__all__ = ["Operator", "operator"]

_NEGLIGIBLE = 1e-25  # a density of normals that is taken for 0
_GHOSTS = 8  # panels beyond each end, to see what leaves


class Operator(NamedTuple):
    """A step on panels and atoms.

    Attributes:
        matrix: A, (n, n): the panels' nodes first, then the atoms. Functions are multiplied from
            the right, measures from the left.
        accepted: the same without what rejection adds to the diagonal.
        panels, atoms: where the states are.
        moving: for each state, the probability that its step is not rejected.
        rejection: for each state, the probability that its step is rejected.
        leaving: for each state, the probability that its step leads out of the panels.
    """

    matrix: Floats
    accepted: Floats
    panels: Panels
    atoms: Floats
    moving: Floats
    rejection: Floats
    leaving: Floats

    @property
    def states(self) -> Floats:
        return np.concatenate([self.panels.nodes, self.atoms])


class _Row(NamedTuple):
    """Steps from all states of a grid."""

    steps: StepFunction
    x: Floats
    branches: tuple[Branch, ...]

    def weigh(self, branch: Branch, piece: Piece, rows: Ints, y: Floats) -> tuple[Floats, Floats]:
        """The density with which a piece proposes y from states `rows`, and the acceptance rate,
        1 where nothing is proposed."""
        slope = piece.slope[rows]
        flat = slope == 0
        xi = (y - piece.intercept[rows]) / np.where(flat, 1, slope)
        inside = (piece.start[rows] < xi) & (xi < piece.stop[rows]) & ~flat
        with np.errstate(over="ignore"):
            density = np.exp(-0.5 * xi * xi) / np.sqrt(2 * np.pi)
        inside &= density > _NEGLIGIBLE
        density = np.where(inside, branch.times * density / np.abs(np.where(flat, 1, slope)), 0.0)
        if branch.odds is not None:
            density[inside] *= branch.odds.probability(rows[inside], xi[inside])
            density = np.where(density > _NEGLIGIBLE, density, 0.0)
        rate = np.ones_like(density)
        inside = density > 0
        if self.steps.rejects and inside.any():
            normals = branch.normals(rows[inside], xi[inside])
            rate[inside] = self.steps(self.x[rows[inside]], normals)[1]
        return density, rate

    def density(self, rows: Ints, y: Floats) -> Floats:
        """k(x, y), the density of accepted steps from states `rows` to y."""
        total = np.zeros_like(y)
        for branch in self.branches:
            for piece in branch.pieces:
                density, rate = self.weigh(branch, piece, rows, y)
                total += density * rate
        return total


def operator(steps: StepFunction, panels: Panels, walls: Floats, start: Floats) -> Operator:
    """The matrix of a step.

    Args:
        steps: the step.
        panels: where the densities are.
        walls: those ends of the panels that may hold atoms.
        start: at most one point at which a chain may stay for a while.
    """
    atoms = np.concatenate([walls, start])
    x = np.concatenate([panels.nodes, atoms])
    row = _Row(steps, x, moves(steps, x))
    n, size = len(x), len(panels.nodes)
    matrix = np.zeros((n, n))
    outside = [] if not steps.rejects else _ghosts(row, panels, walls)
    leaving = np.zeros(n)
    matrix[:, :size] = _smeared(row, panels)
    for ghost in outside:
        leaving += _smeared(row, ghost).sum(axis=1)
    stopped = _stopped(row, walls, panels)
    matrix[:, size : size + len(walls)] += stopped
    landed = matrix.sum(axis=1)
    if not steps.rejects:
        leaving = np.where(np.isclose(landed, 1, rtol=0, atol=1e-12), 0, 1 - landed)
        one = np.ones(n)
        return Operator(matrix, matrix, panels, atoms, one, 0 * one, leaving)
    moving = landed + leaving
    whole = matrix + np.diag(1 - moving)
    rejection = np.clip(1 - moving, 0, 1)
    return Operator(whole, matrix, panels, atoms, moving, rejection, leaving)


def _ghosts(row: _Row, panels: Panels, walls: Floats) -> list[Panels]:
    """Panels beyond the ends that are not walls."""
    scale = max(
        (
            float(np.max(np.abs(piece.slope), initial=0))
            for branch in row.branches
            for piece in branch.pieces
        ),
        default=0.0,
    )
    made = []
    for end, sign in ((panels.low, -1), (panels.high, 1)):
        if end not in walls and scale > 0:
            edges = end + sign * np.linspace(0, REACH * scale, _GHOSTS + 1)
            made.append(Panels(np.sort(edges), panels.order))
    return made


def _smeared(row: _Row, panels: Panels) -> Floats:
    """∫ k(x, y) ℓ_j(y) dy for each state x and node j."""
    n, q, num = len(row.x), panels.order, panels.num
    t, _ = gauss(q)
    # The nodes of each panel and its ends: the rate may reach 1 between any two of them.
    local = np.concatenate([[-1.0], t, [1.0]])
    middle, half = (panels.edges[1:] + panels.edges[:-1]) / 2, np.diff(panels.edges) / 2
    points = (middle[:, None] + half[:, None] * local).ravel()
    rows, y = np.repeat(np.arange(n), len(points)), np.tile(points, n)
    total = np.zeros(len(y))
    breaks: list[tuple[Ints, Floats]] = []
    for branch in row.branches:
        for piece in branch.pieces:
            density, rate = row.weigh(branch, piece, rows, y)
            total += density * rate
            if row.steps.rejects:
                shape = (n, num, q + 2)
                at = (density.reshape(shape) > 0, rate.reshape(shape) >= 1, points)
                breaks.append(_reaching(row, branch, piece, *at))
            for end in (piece.start, piece.stop):
                here = np.isfinite(end) & (np.abs(end) < REACH) & (piece.start < piece.stop)
                meets = piece.intercept[here] + piece.slope[here] * end[here]
                breaks.append((np.nonzero(here)[0], meets))
    nodes = total.reshape(n, num, q + 2)[:, :, 1:-1].reshape(n, num * q)
    made = nodes * panels.weights
    _resolve(row, panels, breaks, made)
    return made


def _reaching(
    row: _Row, branch: Branch, piece: Piece, proposed: Flags, full: Flags, points: Floats
) -> tuple[Ints, Floats]:
    """Where, between neighbours among the points of a panel, the rate reaches 1."""
    turns = proposed[..., 1:] & proposed[..., :-1] & (full[..., 1:] != full[..., :-1])
    rows, panel, place = np.nonzero(turns)
    if not len(rows):
        return rows, np.zeros(0)
    at = panel * full.shape[2] + place
    low, high = (
        (y - piece.intercept[rows]) / piece.slope[rows] for y in (points[at], points[at + 1])
    )
    share = row.steps.turning(
        row.x[rows], branch.normals(rows, low), branch.normals(rows, high), by_rate=True
    )
    return rows, points[at] + share * (points[at + 1] - points[at])


def _resolve(row: _Row, panels: Panels, breaks: list[tuple[Ints, Floats]], made: Floats) -> None:
    """Integrate again, between the breaks, the entries of rows whose panels contain breaks."""
    if not breaks:
        return
    q, num = panels.order, panels.num
    rows = np.concatenate([each for each, _ in breaks]).astype(np.intp)
    y = np.concatenate([each for _, each in breaks])
    margin = 1e-13 * (panels.high - panels.low)
    panel = panels.find(y)
    inside = (y > panels.edges[panel] + margin) & (y < panels.edges[panel + 1] - margin)
    cell, y = (rows * num + panel)[inside], y[inside]
    if not len(cell):
        return
    cells = np.unique(cell)
    # The ends of each cell's intervals: those of its panel, and its breaks.
    ends = panels.edges
    cell = np.concatenate([cell, cells, cells])
    y = np.concatenate([y, ends[cells % num], ends[cells % num + 1]])
    order = np.lexsort((y, cell))
    cell, y = cell[order], y[order]
    pairs = np.nonzero((cell[1:] == cell[:-1]) & (y[1:] - y[:-1] > margin))[0]
    t, w = gauss(q)
    half = (y[pairs + 1] - y[pairs]) / 2
    at = (y[pairs + 1] + y[pairs])[:, None] / 2 + half[:, None] * t
    owner = np.repeat(cell[pairs], q)
    weight = row.density(owner // num, at.ravel()) * (half[:, None] * w).ravel()
    polynomials = basis(panels.local(at.ravel(), owner % num), q)
    parts = (weight[:, None] * polynomials).reshape(len(pairs), q, q).sum(axis=1)
    blocks = np.zeros((len(cells), q))
    np.add.at(blocks, np.searchsorted(cells, cell[pairs]), parts)
    made.reshape(len(row.x), num, q)[cells // num, cells % num] = blocks


def _stopped(row: _Row, walls: Floats, panels: Panels) -> Floats:
    """The probability that a step from each state is stopped by each wall."""
    made = np.zeros((len(row.x), len(walls)))
    for branch in row.branches:
        for piece in branch.pieces:
            flat = (piece.slope == 0) & (piece.start < piece.stop)
            if not flat.any():
                continue
            if row.steps.rejects or branch.odds is not None:
                raise NoGridLawError(
                    f"kernel: {row.steps.name} stays at one point for a whole interval of normals, "
                    "and accepts or rejects; a grid has no atoms for such kernels"
                )
            end = piece.intercept[flat]
            stops = end[:, None] == walls
            # A wall beyond the panels stops steps that leave them.
            beyond = (end < panels.low) | (end > panels.high)
            if not np.all(stops.any(axis=1) | beyond):
                raise NoGridLawError(
                    f"kernel: {row.steps.name} leads to one point, which is not a wall of its "
                    "domain, for a whole interval of normals; a grid has atoms only at walls"
                )
            made[flat] += stops * (ndtr(piece.stop) - ndtr(piece.start))[flat][:, None]
    return made
