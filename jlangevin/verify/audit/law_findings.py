"""Findings on laws: of rules, of the target, and of the velocity."""

from __future__ import annotations

import dataclasses
import math
from typing import Literal, NamedTuple

import numpy as np
import scipy

from jlangevin.kernels.base import known
from jlangevin.verify._statistics import Floats
from jlangevin.verify.audit.conclusion import Conclusion
from jlangevin.verify.audit.problems import (
    CENTER,
    FEW_STEPS,
    MANY_STEPS,
    PRECISION,
    SLOPE,
    normal_quantiles,
)
from jlangevin.verify.audit.report import NO_QUADRATIC, Finding
from jlangevin.verify.audit.rules import compare_trial, exact_law, likely_cause
from jlangevin.verify.audit.sampler import Trial
from jlangevin.verify.audit.trials import Settings, Trials
from jlangevin.verify.law import Report

__all__ = [
    "finite_steps",
    "gaussian_invariance",
    "linear_energy",
    "mixture_invariance",
    "stationary",
    "velocity",
]


def linear_energy(trials: Trials, conclusion: Conclusion) -> Finding:
    """Whether the law on a linear energy is that of a rule."""
    name = "linear energy"
    if trials.linear_once is None:
        return Finding(name, "n/a", "the sampler has no notion of it")
    step = _measured_step(trials.linear_once, trials.settings)
    fit = conclusion.fit
    if fit is None:
        if conclusion.exact:
            return Finding(name, "info", str(step))
        return Finding(name, "FAIL", f"{step}: {_suspicion(step, trials.settings)}")
    if fit.reading.fault:
        says = f"{fit.reading.name}, but its temperature is {fit.reading.fault}"
        return Finding(name, "FAIL", f"{says}; {step}")
    says = f"the law of {fit.reading.name}"
    return Finding(name, "pass", says, fit.p_value, _detectable_errors(fit.report))


def finite_steps(trials: Trials, conclusion: Conclusion) -> Finding:
    """Whether the law on a quadratic energy is that of the same rule."""
    name = "finite N"
    if trials.quadratic_few is None:
        return Finding(name, "n/a", NO_QUADRATIC)
    if conclusion.explanation is not None:
        reading, p_value, _, report = conclusion.explanation
        if report is None:
            return Finding(name, "n/a", f"{reading.name} has no exact law here")
        says = f"after 1, {FEW_STEPS} and {MANY_STEPS} steps from N(m, S) the law of {reading.name}"
        if reading.fault:
            return Finding(name, "FAIL", f"{says}, but its temperature is {reading.fault}")
        return Finding(name, "pass", says, p_value, _detectable_errors(report))
    if conclusion.exact:
        return Finding(name, "n/a", "no affine rule, as it is where steps are rejected")
    return Finding(name, "FAIL", "no rule has this law on a quadratic energy")


def stationary(trials: Trials, conclusion: Conclusion) -> Finding:
    """Whether chains that started far away have reached the target."""
    name = "stationary"
    if trials.quadratic_many is None:
        return Finding(name, "n/a", NO_QUADRATIC)
    settings = trials.settings
    ratios, says = _variances(trials.quadratic_many, settings.temperature)
    report = compare_trial(trials.quadratic_many, trials.target, settings.level)
    biased = report is None or not report.passed
    p_value = 0.0 if report is None else report.p_value
    if conclusion.explanation is not None and conclusion.follows_rule:
        if biased:
            verdict: Literal["pass", "info"] = "pass" if conclusion.explanation.report else "info"
            return Finding(name, verdict, f"biased, as its rule is: {says}")
        return Finding(
            name, "pass", f"no bias was found: {says}", p_value, _detectable_errors(report)
        )
    if biased and conclusion.exact:
        says = f"{MANY_STEPS} steps from afar it is not yet the target, which it keeps: {says}"
        return Finding(name, "info", says)
    if biased:
        tolerance = 6 / math.sqrt(settings.num_chains)
        causes = {likely_cause(float(r), tolerance, settings.temperature) for r in ratios}
        if len(causes) == 1 and causes != {"T"}:
            says += f": its temperature is {causes.pop()}"
        says = f"{MANY_STEPS} steps from afar it is not the target: {says}"
        return Finding(name, "FAIL", says, p_value)
    says = f"{MANY_STEPS} steps from afar it is the target: {says}"
    return Finding(name, "pass", says, p_value, _detectable_errors(report))


def gaussian_invariance(trials: Trials, conclusion: Conclusion) -> Finding:
    """Whether the target of a quadratic energy is kept."""
    name = "invariance: Gaussian"
    if trials.target_few is None:
        return Finding(name, "n/a", NO_QUADRATIC)
    _, says = _variances(trials.target_few, trials.settings.temperature)
    found = _invariance(name, conclusion.gaussian_report, f"after {FEW_STEPS} steps {says}")
    return _excused(found, trials.settings, conclusion)


def mixture_invariance(trials: Trials, conclusion: Conclusion) -> Finding:
    """Whether a mixture of Gaussians is kept."""
    name = "invariance: mixture"
    if trials.mixture_few is None:
        return Finding(name, "n/a", "the sampler has no notion of a mixture")
    quantiles = normal_quantiles(trials.mixture_few.position)
    finite = quantiles[np.isfinite(quantiles)]
    moments = f"mean {finite.mean():.3f}, variance {finite.var():.3f}" if len(finite) else ""
    says = f"after {FEW_STEPS} steps Φ⁻¹(F(x)) has {moments}"
    return _excused(_invariance(name, conclusion.mixture_report, says), trials.settings, conclusion)


def velocity(trials: Trials, conclusion: Conclusion) -> Finding:
    """Whether velocities have the variance T."""
    name = "velocity"
    # On a linear energy nothing settles, but the velocity of a rule does, and has no bias there.
    ordered = [trials.linear_many, trials.quadratic_many]
    trial = next(filter(None, ordered if conclusion.fit else reversed(ordered)), None)
    if trial is None or trial.velocity is None:
        return Finding(name, "n/a", "positions alone were given")
    v = trial.velocity[trial.finite]
    if len(v) < 2:
        return Finding(name, "FAIL", "no finite draws", 0.0)
    settings = trials.settings
    degrees, ratios = len(v) - 1, v.var(axis=0, ddof=1) / settings.temperature
    chi2 = scipy.stats.chi2(degrees)
    tails = [min(chi2.cdf(degrees * r), chi2.sf(degrees * r)) for r in ratios]
    p_value = min(1.0, 2 * 2 * min(tails))
    text = " and ".join(f"{ratio:.4g}" for ratio in ratios)
    says = f"its variances are {text} × T after {MANY_STEPS} steps"
    if p_value >= settings.level:
        return Finding(name, "pass", says, p_value)
    if conclusion.explanation is not None and conclusion.follows_rule:
        law = exact_law(conclusion.explanation.reading, trial)
        if (
            law is not None and known(law.mean, "velocity") is not None
        ):  # the rule has the velocity's law
            return Finding(name, "pass", f"{says}, as its rule has it")
    mean, tolerance = float(ratios.mean()), 5 / math.sqrt(degrees)
    alike = bool((np.abs(ratios / mean - 1) < tolerance).all())
    cause = likely_cause(mean, tolerance, settings.temperature) if alike else "not T"
    return Finding(name, "FAIL", f"its variance is {cause}: {says}", p_value)


# One step on a linear energy ------------------------------------------------------------------


class _Step(NamedTuple):
    """The drift of a step, in units of -step ∇E, and its noise's variance, in those of step × T."""

    drift: float
    drift_error: float  # the standard error
    noise: float
    noise_error: float

    def __str__(self) -> str:
        return (
            f"one step's drift is {self.drift:.3f} ± {2 * self.drift_error:.3f} × (-step ∇E), its "
            f"noise's variance {self.noise:.3f} ± {2 * self.noise_error:.3f} × step × T"
        )


def _measured_step(trial: Trial, settings: Settings) -> _Step:
    moves = (trial.position - trial.start)[trial.finite]
    if len(moves) < 2:
        return _Step(math.nan, math.nan, math.nan, math.nan)
    n = len(moves)
    along = np.dot(-moves, SLOPE) / (settings.step_size * np.dot(SLOPE, SLOPE))
    noise = moves.var(axis=0, ddof=1).mean() / (settings.step_size * settings.temperature)
    drift_error = along.std(ddof=1) / math.sqrt(n)
    return _Step(float(along.mean()), float(drift_error), float(noise), float(noise / math.sqrt(n)))


def _suspicion(step: _Step, settings: Settings) -> str:
    """What is wrong with an unadjusted step of this drift and noise."""
    if step.noise < 1e-6:
        return "its noise does not differ from chain to chain"
    if step.drift < -5 * step.drift_error:
        return "it climbs the energy, the sign of its drift is flipped"
    if not step.drift > 5 * step.drift_error:
        return "it is not a Langevin step"
    tolerance = 5 * (step.drift_error / step.drift + step.noise_error / step.noise)
    cause = likely_cause(step.noise / (2 * step.drift), tolerance, settings.temperature)
    return f"for this drift the noise's temperature is {cause}"


# Draws against a law --------------------------------------------------------------------------


def _variances(trial: Trial, temperature: float) -> tuple[Floats, str]:
    """Along the eigenvectors of the quadratic energy, as multiples of the target's."""
    values, vectors = scipy.linalg.eigh(PRECISION)
    along = np.dot(trial.position[trial.finite] - CENTER, vectors)
    if len(along) < 2:
        return np.full(2, np.nan), "no finite draws"
    ratios = along.var(axis=0) * values / temperature
    text = " and ".join(f"{ratio:.3g}" for ratio in ratios)
    return ratios, f"its variances are {text} × T/λ"


def _invariance(name: str, report: Report | None, says: str) -> Finding:
    """The finding on draws that started in a law, compared with that law."""
    if report is None:
        return Finding(name, "FAIL", "no finite draws", 0.0)
    if report.passed:
        says = f"kept from exact starts: {says}"
        return Finding(name, "pass", says, report.p_value, _detectable_errors(report))
    return Finding(name, "FAIL", f"not kept from exact starts: {says}", report.p_value)


def _excused(finding: Finding, settings: Settings, conclusion: Conclusion) -> Finding:
    """An unadjusted sampler that follows its rule need not keep a target, unless it claims to."""
    if finding.verdict == "FAIL" and conclusion.follows_rule and settings.claim is None:
        return dataclasses.replace(finding, verdict="info")
    return finding


def _detectable_errors(report: Report | None) -> str:
    if report is None:
        return ""
    by_name = {check.name: check.detectable for check in report.checks}
    return (
        f"a mean off by {by_name['mean']:.2g} standard deviations, "
        f"a variance off by {by_name['covariance']:.2g} of itself"
    )
