"""One step as a matrix that moves the weights of a lattice's points."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from jlangevin.exact.grid.panels import Floats
from jlangevin.exact.grid.plane.lattice import Lattice

__all__ = ["PlaneOperator"]


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
        return np.asarray(self.of_measures.dot(measure))
