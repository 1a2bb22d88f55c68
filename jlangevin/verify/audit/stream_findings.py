"""Findings on the draws themselves: are they finite, independent, and decided by the key?"""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
import scipy

from jlangevin.verify._statistics import POWER
from jlangevin.verify.audit.conclusion import Conclusion
from jlangevin.verify.audit.problems import CENTER, FAR, FEW_STEPS, MANY_STEPS
from jlangevin.verify.audit.report import NO_QUADRATIC, Finding
from jlangevin.verify.audit.statistics import (
    distinct,
    few_sample_test,
    independence_test,
)
from jlangevin.verify.audit.trials import Trials

__all__ = [
    "batch_size",
    "continuous",
    "far_starts",
    "finite",
    "frozen",
    "independent_chains",
    "seeds",
]

_FROZEN = 0.999  # the correlation of start and end from which on a chain hardly moves


def finite(trials: Trials, conclusion: Conclusion) -> Finding:
    """Whether all draws are finite."""
    completed = trials.completed.values()
    number = sum(len(trial.start) for trial in completed)
    bad = sum(int((~trial.finite).sum()) for trial in completed)
    if bad:
        return Finding("finite", "FAIL", f"{bad} of {number} draws are not finite")
    return Finding("finite", "pass", "all draws are")


def frozen(trials: Trials, conclusion: Conclusion) -> Finding:
    """Whether every coordinate moves in every run, and chains forget where they started.

    From exact starts, chains that stand still pass every test of invariance.
    """
    name = "frozen"
    moved = {
        run: float((trial.position != trial.start)[trial.finite].mean(axis=0).min())
        for run, trial in trials.completed.items()
        if trial.finite.any()
    }
    least = min(moved, key=moved.__getitem__, default="")
    if moved and moved[least] < 0.01:
        says = f"in the run {least}, {moved[least]:.1%} of the chains moved along one coordinate"
        return Finding(name, "FAIL", says)
    far = trials.quadratic_many
    if far is None or far.finite.sum() < 2:
        return Finding(name, "pass", "chains move in all runs")
    x, y = far.start[far.finite], far.position[far.finite]
    pairs = [(a, b) for a, b in zip(x.T, y.T, strict=True) if np.ptp(a) > 0 and np.ptp(b) > 0]
    memory = max((abs(float(np.corrcoef(a, b)[0, 1])) for a, b in pairs), default=0.0)
    says = f"after {MANY_STEPS} steps, start and end have a correlation of {memory:.2f}"
    if memory > _FROZEN:
        return Finding(name, "FAIL", f"{says}: chains hardly move")
    return Finding(name, "pass", f"chains move in all runs; {says}")


def far_starts(trials: Trials, conclusion: Conclusion) -> Finding:
    """Whether chains move that start far away, where a rate of acceptance may overflow."""
    name, far = "far starts", trials.quadratic_far
    if far is None:
        return Finding(name, "n/a", NO_QUADRATIC)
    if not far.finite.all():
        says = f"{(~far.finite).mean():.0%} of the chains from there are not finite"
        return Finding(name, "info", f"{FAR:,.0f} standard deviations away: {says}")
    moved = float((far.position != far.start).any(axis=1).mean())
    says = f"of the chains from {FAR:,.0f} standard deviations away {moved:.0%} move"
    return Finding(name, "pass" if moved > 0.1 else "info", f"{says} in {FEW_STEPS} steps")


def continuous(trials: Trials, conclusion: Conclusion) -> Finding:
    """Whether draws have as many values as a density gives them.

    Chains that share their noise end at one point; where chains have one coordinate in common and
    not the others, they are on a grid, or at a bound.
    """
    name, trial = "continuous", trials.same_key
    if trial is None:
        return Finding(name, "n/a", NO_QUADRATIC)
    ends = distinct(trial)
    if not ends.of_a_grid:
        return Finding(name, "pass", "draws are not on a grid, nor at a bound")
    says = f"{ends.chains:,} draws have {ends.values:,} values along one coordinate"
    return Finding(name, "FAIL", f"{says}: they lie on a grid, or at bounds")


def independent_chains(trials: Trials, conclusion: Conclusion) -> Finding:
    """Whether chains that start at one point are independent of each other."""
    name, trial, level = "independent chains", trials.same_key, trials.settings.level
    if trial is None:
        return Finding(name, "n/a", NO_QUADRATIC)
    ends = distinct(trial)
    if ends.repeated > 0.01 and not ends.of_a_grid:
        says = f"{ends.repeated:.0%} of the chains that began at one point ended where another did"
        return Finding(name, "FAIL", f"{says}: they share their noise", 0.0)
    x, half = np.nan_to_num(trial.position), len(trial.position) // 2
    pairings = ((x[::2], x[1::2]), (x[:half], x[half:]))
    p_value = 2 * min(independence_test(*pair) for pair in pairings)
    if trials.in_twos is not None:
        of_two = np.nan_to_num(trials.in_twos.position)
        if 2 * independence_test(of_two[::2], of_two[1::2]) < level:
            return Finding(name, "FAIL", "chains are not independent if there are two", 0.0)
    p_value = min(1.0, p_value)
    verdict: Literal["pass", "FAIL"] = "pass" if p_value >= level else "FAIL"
    says = f"neighbours, and halves, are {'' if verdict == 'pass' else 'not '}independent"
    return Finding(name, verdict, says, p_value, _detectable_dependence(level / 4, half))


def seeds(trials: Trials, conclusion: Conclusion) -> Finding:
    """Whether the same key gives the same draws, and another key gives others."""
    name, level = "seeds", trials.settings.level
    first, again, other = trials.same_key, trials.same_key_again, trials.other_key
    if first is None or again is None or other is None:
        return Finding(name, "n/a", NO_QUADRATIC)
    if not np.array_equal(first.position, again.position, equal_nan=True):
        return Finding(name, "FAIL", "the same key gave other draws")
    same = (first.position == other.position) & (first.position != first.start)
    if same.all(axis=1).mean() > 0.01 and not distinct(first).of_a_grid:
        return Finding(name, "FAIL", "another key gave the same draws", 0.0)
    p_value = independence_test(np.nan_to_num(first.position), np.nan_to_num(other.position))
    if p_value < level:
        return Finding(name, "FAIL", "draws of another key depend on those of the first", p_value)
    says = "the same key gives the same draws, another key others"
    return Finding(
        name, "pass", says, p_value, _detectable_dependence(level / 2, len(first.position))
    )


def batch_size(trials: Trials, conclusion: Conclusion) -> Finding:
    """Whether a chain has another law among few than among many.

    If draws are the same however many there are, so is the law. If not, draws of many runs of one
    chain, and of two, are compared with those of all chains together.
    """
    name, whole, level = "batch size", trials.same_key, trials.settings.level
    if whole is None:
        return Finding(name, "n/a", NO_QUADRATIC)
    if not trials.draws_depend_on_batch:
        says = "a chain's draws do not depend on how many there are"
        return Finding(name, "pass", says)
    p_values = {
        number: few_sample_test(few.position, whole.position, CENTER) if few.finite.all() else 0.0
        for number, few in ((1, trials.in_ones), (2, trials.in_twos))
        if few is not None
    }
    says = "a chain's draws change with the number of chains"
    if not p_values:
        return Finding(name, "info", says)
    p_value = min(1.0, len(p_values) * min(p_values.values()))
    if p_value >= level:
        return Finding(name, "pass", f"{says}, their law does not", p_value)
    among = "one chain alone" if min(p_values, key=p_values.__getitem__) == 1 else "two chains"
    return Finding(name, "FAIL", f"{says}, and {among} has another law than many", p_value)


def _detectable_dependence(level: float, num_pairs: int) -> str:
    """The smallest dependence that a test finds at this level."""
    deviates = scipy.stats.norm.isf(level / 2) + scipy.stats.norm.isf(1 - POWER)
    return f"signs that agree with probability {0.5 + deviates / (2 * math.sqrt(num_pairs)):.2f}"
