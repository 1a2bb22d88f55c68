"""Findings on the draws themselves: are they finite, independent, and decided by the key?"""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
import scipy

from jlangevin.verify._statistics import POWER
from jlangevin.verify.audit.conclusion import Conclusion
from jlangevin.verify.audit.report import NO_QUADRATIC, Finding
from jlangevin.verify.audit.statistics import independence_test, repeated_share
from jlangevin.verify.audit.trials import Trials

__all__ = ["batch_size", "finite_and_moving", "independent_chains", "seeds"]


def finite_and_moving(trials: Trials, conclusion: Conclusion) -> Finding:
    """Whether all draws are finite, and chains move."""
    name, completed = "finite and moving", trials.completed
    number = sum(len(trial.start) for trial in completed)
    bad = sum(int((~trial.finite).sum()) for trial in completed)
    one_step = trials.linear_once or trials.quadratic_once
    moved = 0.0
    if one_step is not None:
        moved = float((one_step.position != one_step.start).any(axis=1).mean())
    if bad:
        return Finding(name, "FAIL", f"{bad} of {number} draws are not finite")
    if moved < 0.01:
        return Finding(name, "FAIL", f"{moved:.1%} of the chains move in a step")
    return Finding(name, "pass", f"all are; {moved:.0%} move in the first step")


def independent_chains(trials: Trials, conclusion: Conclusion) -> Finding:
    """Whether chains that start at one point are independent of each other."""
    name, trial, level = "independent chains", trials.same_key, trials.settings.level
    if trial is None:
        return Finding(name, "n/a", NO_QUADRATIC)
    share = repeated_share(trial)
    if share > 0.01:
        says = f"{share:.0%} of the chains that began at one point ended where another did"
        return Finding(name, "FAIL", f"{says}: they share their noise", 0.0)
    x, half = np.nan_to_num(trial.position), len(trial.position) // 2
    pairings = ((x[::2], x[1::2]), (x[:half], x[half:]))
    p_value = min(1.0, 2 * min(independence_test(*pair) for pair in pairings))
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
    if same.all(axis=1).mean() > 0.01:
        return Finding(name, "FAIL", "another key gave the same draws", 0.0)
    p_value = independence_test(np.nan_to_num(first.position), np.nan_to_num(other.position))
    if p_value < level:
        return Finding(name, "FAIL", "draws of another key depend on those of the first", p_value)
    says = "the same key the same draws, another key others"
    return Finding(
        name, "pass", says, p_value, _detectable_dependence(level / 2, len(first.position))
    )


def batch_size(trials: Trials, conclusion: Conclusion) -> Finding:
    """Whether a chain depends on how many chains there are."""
    name, whole, part = "batch size", trials.same_key, trials.half_of_the_chains
    if whole is None or part is None:
        return Finding(name, "n/a", NO_QUADRATIC)
    n = len(part.position)
    rounding = 1e-4 * float(np.nanmax(np.abs(part.position), initial=0))
    if np.allclose(whole.position[:n], part.position, 0, rounding, equal_nan=True):
        return Finding(name, "info", "a chain's draws do not depend on how many there are")
    return Finding(name, "info", "a chain's draws change with the number of chains")


def _detectable_dependence(level: float, num_pairs: int) -> str:
    """The smallest dependence that a test finds at this level."""
    deviates = scipy.stats.norm.isf(level / 2) + scipy.stats.norm.isf(1 - POWER)
    return f"signs that agree with probability {0.5 + deviates / (2 * math.sqrt(num_pairs)):.2f}"
