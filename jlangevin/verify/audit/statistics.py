"""Tests without a law to compare with."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import scipy

from jlangevin.verify._statistics import Floats, fisher_test
from jlangevin.verify.audit.sampler import Trial

__all__ = ["independence_test", "repeated_share", "sign_test", "two_sample_test"]


def sign_test(values: Sequence[Floats]) -> float:
    """The exact p-value, for all together, that each is above zero as often as below."""
    p_values = []
    for value in values:
        above, below = int(np.sum(value > 0)), int(np.sum(value < 0))
        p_values.append(
            scipy.stats.binomtest(above, above + below).pvalue if above + below else 1.0
        )
    return float(min(1.0, len(values) * min(p_values)))


def independence_test(x: Floats, y: Floats) -> float:
    """Fisher's exact test of each column of x against the same of y, both cut at their medians."""
    p_values = fisher_test(x > np.median(x, axis=0), y > np.median(y, axis=0))
    return float(min(1.0, len(p_values) * p_values.min()))


def two_sample_test(x: Floats, y: Floats, center: Floats) -> float:
    """Wei and Dudley's bound for samples of equal size, for each coordinate and the distance."""

    def with_distance(z: Floats) -> Floats:
        return np.column_stack([z, np.sum((z - center) ** 2, axis=1)])

    gaps = [
        scipy.stats.ks_2samp(a, b, method="asymp").statistic
        for a, b in zip(with_distance(x).T, with_distance(y).T, strict=True)
    ]
    n = min(len(x), len(y))
    return float(min(1.0, len(gaps) * 2 * math.exp(-n * max(gaps) ** 2)))


def repeated_share(trial: Trial) -> float:
    """The share of chains that ended, away from where they began, exactly where another did."""
    moved = trial.position[(trial.position != trial.start).any(axis=1) & trial.finite]
    return 1 - len(np.unique(moved, axis=0)) / len(moved) if len(moved) else 0.0
