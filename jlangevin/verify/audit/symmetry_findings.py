"""Findings on symmetries: reversing time, scaling energy and temperature together, and units; and
on whether the step size counts, on which the last depends."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
import scipy

from jlangevin.verify._statistics import POWER, Floats
from jlangevin.verify.audit.conclusion import Conclusion
from jlangevin.verify.audit.problems import CENTER, UNITS
from jlangevin.verify.audit.report import NO_QUADRATIC, Finding
from jlangevin.verify.audit.rules import compare_trial, exact_law, is_unstable
from jlangevin.verify.audit.sampler import Trial
from jlangevin.verify.audit.statistics import sign_test, two_sample_test
from jlangevin.verify.audit.trials import Trials

__all__ = ["detailed_balance", "step_size", "temperature_scaling", "units"]


def detailed_balance(trials: Trials, conclusion: Conclusion) -> Finding:
    """Whether start and end of a step can be exchanged."""
    name = "detailed balance"
    if not conclusion.exact:
        return Finding(name, "n/a", "exact starts are not its stationary law")
    settings = trials.settings
    # Each of these changes sign if x_0 and x_1 are exchanged.
    odd: list[Floats] = []
    if trials.target_once is not None:
        lower = np.linalg.cholesky(np.asarray(trials.target.cov, np.float64))
        finite = trials.target_once.finite
        x, y = (
            scipy.linalg.solve_triangular(lower, (part[finite] - CENTER).T, lower=True)
            for part in (trials.target_once.start, trials.target_once.position)
        )
        odd += [x[0] * y[1] - x[1] * y[0], *(x[i] * y[i] * (x[i] - y[i]) for i in (0, 1))]
    if trials.mixture_once is not None:
        finite = trials.mixture_once.finite
        x, y = trials.mixture_once.start[finite, 0], trials.mixture_once.position[finite, 0]
        odd += [x - y, x * y * (x - y)]
    p_value = sign_test(odd)
    n = min(int(np.sum(value != 0)) for value in odd)
    alpha = settings.level / len(odd) / 2
    deviates = scipy.stats.norm.isf(alpha) + scipy.stats.norm.isf(1 - POWER)
    detectable = deviates / (2 * math.sqrt(max(n, 1)))
    enough = 0.5 + detectable < 1
    finds = f"x_0 and x_1 in one order with probability {0.5 + detectable:.2f}" if enough else ""
    if p_value >= settings.level:
        return Finding(name, "pass", "(x_0, x_1) has the law of (x_1, x_0)", p_value, finds)
    verdict: Literal["FAIL", "info"] = "FAIL" if settings.claim == "reversible" else "info"
    return Finding(name, verdict, "(x_0, x_1) does not have the law of (x_1, x_0)", p_value)


def temperature_scaling(trials: Trials, conclusion: Conclusion) -> Finding:
    """Whether an energy at T is equivalent to another at temperature 1."""
    name = "temperature"
    if trials.quadratic_few is None or trials.shrunk is None or trials.divided is None:
        return Finding(name, "n/a", NO_QUADRATIC)
    n, level = trials.settings.num_chains, trials.settings.level
    at_temperature = trials.quadratic_few.position[trials.quadratic_few.finite]
    found = []
    for trial, scale, energy in (
        (trials.shrunk, math.sqrt(trials.settings.temperature), "E(√T ·)/T at 1, scaled"),
        (trials.divided, 1.0, "E/T at 1"),
    ):
        at_one = scale * trial.position[trial.finite]
        complete = len(at_temperature) == len(at_one) == n
        p_value = two_sample_test(at_temperature, at_one, CENTER) if complete else 0.0
        found.append((p_value, energy))
    p_value, energy = max(found)
    if p_value < level:
        says = f"E at T is neither {found[0][1]}, nor {found[1][1]}"
        return Finding(name, "FAIL", says, p_value)
    critical = math.sqrt(math.log(6 / level) / n)
    gap = critical + scipy.stats.norm.isf(1 - POWER) / math.sqrt(2 * n)
    finds = f"a gap of {gap:.2g} in a distribution function"
    return Finding(name, "pass", f"E at T is {energy}", p_value, finds)


def step_size(trials: Trials, conclusion: Conclusion) -> Finding:
    """Whether another step size gives other draws."""
    name, whole, half = "step size", trials.same_key, trials.half_the_step
    if whole is None or half is None:
        return Finding(name, "n/a", NO_QUADRATIC)
    if not np.array_equal(whole.position, half.position, equal_nan=True):
        return Finding(name, "pass", "half of it gives other draws")
    # What keeps its targets may have a step of its own.
    verdict: Literal["FAIL", "info"] = "info" if conclusion.exact else "FAIL"
    return Finding(name, verdict, "half of it gives the same draws: it is ignored")


def units(trials: Trials, conclusion: Conclusion) -> Finding:
    """Whether x in other units is the same chain: E(x/c) at the step c²η, or ch.

    A bound on the gradient, or a constant beside it, shows here and nowhere else.
    """
    name, here = "units", trials.quadratic_few
    if here is None:
        return Finding(name, "n/a", NO_QUADRATIC)
    if not conclusion.follows_rule and not conclusion.exact:
        return Finding(name, "n/a", "which chain it is in these units is not known")
    level, unit = trials.settings.level, trials.unit
    p_values = [
        _same_chain(trial, here, scale, conclusion, level)
        for trial, scale in ((trials.in_small_units, 1 / UNITS), (trials.in_large_units, UNITS))
        if trial is not None and not _too_large_a_step(trial, conclusion)
    ]
    p_value = min(1.0, len(p_values) * min(p_values, default=1.0))
    if p_value >= level:
        return Finding(name, "pass", f"E(x/c) at the step {unit} is the same chain", p_value)
    says = "E(x/c) is another chain, at the step c²η and at ch: a constant has a unit"
    verdict: Literal["FAIL", "info"] = "FAIL" if conclusion.follows_rule else "info"
    return Finding(name, verdict, says, p_value)


def _too_large_a_step(trial: Trial, conclusion: Conclusion) -> bool:
    """Whether the rule that is followed is unstable, as one with a friction may be at c times h."""
    rule = conclusion.explanation if conclusion.follows_rule else None
    return rule is not None and is_unstable(rule.reading, trial)


def _same_chain(
    trial: Trial, here: Trial, scale: float, conclusion: Conclusion, level: float
) -> float:
    """The p-value that a trial in other units is that of the rule, or else the chain seen here."""
    if not trial.finite.all() or not here.finite.all():
        return 0.0
    if conclusion.explanation is not None and conclusion.follows_rule:
        law = exact_law(conclusion.explanation.reading, trial)
        if law is not None:
            report = compare_trial(trial, law, level)
            return 0.0 if report is None else report.p_value
    return two_sample_test(trial.position / scale, here.position, CENTER)
