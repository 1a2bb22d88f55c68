"""Shared by several of the tests."""

from __future__ import annotations

import numpy as np
import scipy
from numpy.typing import NDArray

__all__ = ["POWER", "ROWS", "Floats", "fisher_test"]

Floats = NDArray[np.float64]

POWER = 0.99  # the probability of detecting an error that is called detectable
ROWS = 8  # coordinates or statistics shown in a report


def fisher_test(a: NDArray[np.bool_], b: NDArray[np.bool_]) -> Floats:
    """Fisher's exact test of independence: the p-value of each column of two arrays (n, d)."""
    both, n = np.sum(a & b, axis=0), len(a)
    law = scipy.stats.hypergeom(n, a.sum(axis=0), b.sum(axis=0))
    return np.asarray(np.minimum(1.0, 2 * np.minimum(law.cdf(both), law.sf(both - 1))))
