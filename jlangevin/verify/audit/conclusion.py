"""The conclusion from all trials together, on which each finding depends."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from jlangevin.distribution import Gaussian
from jlangevin.verify.audit.problems import normal_quantiles
from jlangevin.verify.audit.rules import Fit, compare_trial, fit_reading, readings
from jlangevin.verify.audit.sampler import Rule, Trial
from jlangevin.verify.audit.trials import Trials
from jlangevin.verify.law import Report

__all__ = ["Conclusion", "convention", "settle"]


class Conclusion(NamedTuple):
    """Which rule a sampler follows, and which laws it keeps.

    `fit` is that of the reading taken for the sampler's, on the linear energy (on the quadratic
    one, if the sampler does not support the linear one). `explanation` is that of the same reading
    on the quadratic energy. Each is None if its laws were rejected.
    """

    fit: Fit | None
    explanation: Fit | None
    gaussian_report: Report | None  # of draws that started in the target; None if no draw is finite
    mixture_report: Report | None
    exact: bool  # whether the sampler keeps every target that was tried

    @property
    def follows_rule(self) -> bool:
        """Whether a rule explains the sampler, at the given temperature."""
        return self.explanation is not None and not self.explanation.reading.fault


def settle(trials: Trials, rules: Mapping[str, Rule]) -> Conclusion:
    """Decide which reading of which rule the sampler follows, and whether it is exact."""
    settings, level = trials.settings, trials.settings.level
    quadratic = _known(trials.quadratic_once, trials.quadratic_few, trials.quadratic_many)
    first_seen = _known(trials.linear_once, trials.linear_many) or quadratic
    fits = [
        fit_reading(reading, first_seen, level) for reading in readings(rules, settings.temperature)
    ]
    # The true reading is among those that are left.
    pairs = [
        (fit, fit_reading(fit.reading, quadratic, level))
        for fit in fits
        if fit.report is not None and not fit.rejected
    ]
    # If there are several, prefer one that explains the quadratic energy, then one at T.
    best = min(
        pairs, key=lambda pair: (pair[1].rejected, bool(pair[0].reading.fault)), default=None
    )
    gaussian_report = _gaussian_report(trials)
    mixture_report = _mixture_report(trials)
    tried = [
        report
        for trial, report in (
            (trials.target_few, gaussian_report),
            (trials.mixture_few, mixture_report),
        )
        if trial is not None
    ]
    return Conclusion(
        fit=None if best is None else best[0],
        explanation=None if best is None or best[1].rejected else best[1],
        gaussian_report=gaussian_report,
        mixture_report=mixture_report,
        exact=bool(tried) and all(report is not None and report.passed for report in tried),
    )


def convention(conclusion: Conclusion) -> str:
    """Which rule the sampler follows, in words."""
    if conclusion.fit is None:
        if conclusion.exact:
            return "exact, as far as seen; its proposal follows none of the rules tried"
        return "none of the rules tried"
    name, fault = conclusion.fit.reading.name, conclusion.fit.reading.fault
    if fault:
        name = f"{name}, its temperature {fault}"
    if conclusion.explanation is not None:
        return name
    if conclusion.exact:
        return f"exact, as far as seen; on a linear energy that of {name}"
    return f"on a linear energy that of {name}; on a quadratic one no rule"


def _known(*trials: Trial | None) -> list[Trial]:
    return [trial for trial in trials if trial is not None]


def _gaussian_report(trials: Trials) -> Report | None:
    if trials.target_few is None:
        return None
    return compare_trial(trials.target_few, trials.target, trials.settings.level)


def _mixture_report(trials: Trials) -> Report | None:
    if trials.mixture_few is None:
        return None
    quantiles = normal_quantiles(trials.mixture_few.position)
    trial = trials.mixture_few._replace(position=quantiles, velocity=None)
    return compare_trial(trial, Gaussian(np.zeros(1), np.eye(1)), trials.settings.level)
