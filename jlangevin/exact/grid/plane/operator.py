"""One step as a matrix that moves the weights of a lattice's points."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from jlangevin.exact.grid.panels import Floats
from jlangevin.exact.grid.plane.lattice import Lattice

__all__ = ["PlaneOperator", "moved_by"]


def moved_by(of_measures: Any, weights: Floats) -> Floats:
    """Kᵀ times weights, for a Kᵀ that is dense or sparse, as `np.dot` takes no sparse one."""
    return np.asarray(of_measures.dot(weights))


class PlaneOperator(NamedTuple):
    """A step on the points of a lattice, and on the start if it is a point.

    Attributes:
        lattice: where the states are. The start comes after its points.
        of_measures: Kᵀ, (n, n), dense or sparse: the weights after a step are Kᵀ times those
            before.
        first: the weights after one step from the start; None without a start.
        lost: the share that has left in this step.
        leaving: for each state, the probability that its step leads out of the lattice.
        rejection: for each state, the probability that its step is rejected.
        atom: the start, (2,), if it is a point at which a chain may stay.
    """

    lattice: Lattice
    of_measures: Any
    first: Floats | None
    lost: float
    leaving: Floats
    rejection: Floats
    atom: Floats | None = None

    @property
    def states(self) -> Floats:
        """The lattice's points, then the atom if there is one: (2, n)."""
        if self.atom is None:
            return self.lattice.nodes
        return np.concatenate([self.lattice.nodes, self.atom[:, None]], axis=1)

    def moved(self, measure: Floats) -> Floats:
        """The weights after a step."""
        return moved_by(self.of_measures, measure)
