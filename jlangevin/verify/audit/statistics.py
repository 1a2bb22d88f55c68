"""Tests without a law to compare with."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import scipy

from jlangevin.verify._statistics import Floats, fisher_test
from jlangevin.verify.audit.sampler import Trial

__all__ = [
    "Distinct",
    "distinct",
    "few_sample_test",
    "independence_test",
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


class Distinct(NamedTuple):
    """How many different ends chains have that left where they began, of at most 20,000."""

    chains: int
    points: int
    values: int  # along the coordinate that has fewest

    @property
    def repeated(self) -> float:
        """The share of chains that ended exactly where another did."""
        return 1 - self.points / self.chains if self.chains else 0.0

    @property
    def of_a_grid(self) -> bool:
        """Whether chains have values in common that are not at one point."""
        return self.points > 1.01 * self.values


def distinct(trial: Trial) -> Distinct:
    """Count different ends. Of more chains some have a float32 value in common by chance."""
    moved = trial.position[(trial.position != trial.start).any(axis=1) & trial.finite][:20_000]
    values = min(len(np.unique(column)) for column in moved.T)
    return Distinct(len(moved), len(np.unique(moved, axis=0)), values)
