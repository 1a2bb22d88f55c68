"""Tests without a law to compare with."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import scipy

from jlangevin.verify._statistics import Floats, fisher_test
from jlangevin.verify.audit.sampler import Trial

__all__ = [
    "few_sample_test",
    "independence_test",
    "repeated_share",
    "sign_test",
    "two_sample_test",
]

_MANY = 2_000  # draws of the larger sample in an exact test


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
    gaps = [
        scipy.stats.ks_2samp(a, b, method="asymp").statistic
        for a, b in zip(_with_distance(x, center), _with_distance(y, center), strict=True)
    ]
    n = min(len(x), len(y))
    return float(min(1.0, len(gaps) * 2 * math.exp(-n * max(gaps) ** 2)))


def few_sample_test(few: Floats, many: Floats, center: Floats) -> float:
    """The exact test of Kolmogorov and Smirnov, for each coordinate and the distance."""
    p_values = [
        scipy.stats.ks_2samp(a, b, method="exact").pvalue
        for a, b in zip(
            _with_distance(few, center), _with_distance(many[:_MANY], center), strict=True
        )
    ]
    return float(min(1.0, len(p_values) * min(p_values)))


def _with_distance(x: Floats, center: Floats) -> Floats:
    """The coordinates, and the squared distance from the center, (d + 1, n)."""
    return np.vstack([x.T, np.sum((x - center) ** 2, axis=1)])


def repeated_share(trial: Trial) -> float:
    """The share of chains that ended, away from where they began, exactly where another did."""
    moved = trial.position[(trial.position != trial.start).any(axis=1) & trial.finite]
    return 1 - len(np.unique(moved, axis=0)) / len(moved) if len(moved) else 0.0
