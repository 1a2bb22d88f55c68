"""What a step does with its normals: affine pieces, found from the step itself.

Given a position x, a step is y = c + d ξ on intervals of its normal ξ: one for `ula` and `mala`;
one more for each reflection by a wall; pieces with d = 0 for projections on walls. Several normals
that enter affinely act as one. A second normal may instead decide between two such moves, as in
`barker` between up and down; its odds, as a function of ξ, are found by halving.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from jlangevin.errors import NoGridLawError
from jlangevin.exact.grid.odds import Odds, decides, find_odds, two_ways
from jlangevin.exact.grid.panels import Floats, Ints
from jlangevin.exact.grid.pieces import (
    REACH,
    Normals,
    Piece,
    is_even,
    pieces,
    refusal,
    rounding,
    scattered,
    some_of,
)
from jlangevin.exact.grid.steps import StepFunction, check_rate

__all__ = ["REACH", "Branch", "Piece", "moves"]


class Branch(NamedTuple):
    """One way that a step can take: the normals are base + direction ξ, (normals, position).

    Where the sign of ξ does not matter, the pieces are those of ξ > 0 and count twice.
    """

    base: Floats
    direction: Floats
    pieces: tuple[Piece, ...]
    odds: Odds | None
    times: float

    def normals(self, rows: Ints, xi: Floats) -> Floats:
        return self.base[:, rows] + self.direction[:, rows] * xi


def moves(steps: StepFunction, x: Floats, *, with_odds: bool = True) -> tuple[Branch, ...]:
    """The branches of a step from each of the positions `x`; raises if it has none.

    Without odds, how often a step takes each branch is not computed.

    Raises:
        NoGridLawError: the step is not affine in its normals, piece by piece; its state is more
            than its position; or its uniform does not accept with the reported rate.
    """
    _check_state(steps, x)
    if steps.rejects:
        some = x[some_of(len(x))].astype(steps.dtype).astype(np.float64)
        check_rate(steps, some, scattered(steps.num_normals, len(some), 0.4))
    k, n = steps.num_normals, len(x)
    zero = np.zeros((k, n))
    if k == 1:
        return (_branch(steps, x, Normals(zero, np.ones((1, n)), None)),)
    joint = _joint_direction(steps, x)
    if joint is not None:
        return (_branch(steps, x, Normals(zero, joint, None)),)
    if k == 2:
        for deciding in (1, 0):
            if decides(steps, x, deciding):
                odds = find_odds(steps, x, deciding) if with_odds else None
                against = None if odds is None else odds._replace(of_second=False)
                first, second = two_ways(n, deciding)
                return _branch(steps, x, first, against), _branch(steps, x, second, odds)
    raise refusal(steps)


def _check_state(steps: StepFunction, x: Floats) -> None:
    some = x[some_of(len(x))]
    gap = steps.states(some, scattered(steps.num_normals, len(some), 0.1))
    if np.nanmax(gap) > 1e4 * np.finfo(steps.dtype).eps:
        raise NoGridLawError(
            f"kernel: the state of {steps.name} is more than its position: after a step it is not "
            "what init makes of the position. A grid holds positions alone"
        )


def _joint_direction(steps: StepFunction, x: Floats) -> Floats | None:
    """The direction along which all normals act as one, a unit vector for each position; None if
    they do not."""
    k, n = steps.num_normals, len(x)
    y, slope, _ = steps.slopes(x, np.zeros((k, n)))
    for phase in (0.2, 0.6):
        z = scattered(k, n, phase)
        found, _ = steps(x, z)
        size = np.abs(y) + np.sum(np.abs(slope * z), axis=0)
        if np.any(np.abs(found - y - np.sum(slope * z, axis=0)) > rounding(steps) * size):
            return None
    norm = np.sqrt(np.sum(slope**2, axis=0))
    return np.asarray(slope / np.where(norm > 0, norm, 1))


def _branch(steps: StepFunction, x: Floats, normals: Normals, odds: Odds | None = None) -> Branch:
    found, times = pieces(steps, x, normals), 1.0
    if normals.other is not None and is_even(steps, x, normals):
        times = 2.0
        found = tuple(
            p._replace(start=np.where(p.stop > 1e-12, np.maximum(p.start, 0), np.inf))
            for p in found
        )
        found = tuple(p for p in found if np.any(p.start < p.stop))
    return Branch(normals.base, normals.direction, found, odds, times)
