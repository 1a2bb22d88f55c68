"""Rules with known laws, and the ways in which a sampler may read step and temperature."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import scipy
from jax.flatten_util import ravel_pytree

from jlangevin import exact
from jlangevin.distribution import Gaussian
from jlangevin.errors import NotAffineError, UnstableStepError
from jlangevin.kernels import leimkuhler_matthews, ula
from jlangevin.kernels.base import Kernel, known
from jlangevin.verify.audit.sampler import Rule, Trial
from jlangevin.verify.law import Report, compare

__all__ = [
    "Fit",
    "Reading",
    "compare_trial",
    "exact_law",
    "fit_reading",
    "is_unstable",
    "likely_cause",
    "readings",
    "temperature_factors",
]


class Reading(NamedTuple):
    """A rule with step and temperature read in one way; `fault` says what is wrong with it, or is
    empty."""

    name: str
    kernel: Callable[[float], Kernel]  # at a step size, as the sampler is given it
    fault: str


def temperature_factors(temperature: float) -> list[tuple[float, str]]:
    """What may be used in place of the temperature, as a factor of it, and why."""
    root = math.sqrt(temperature)
    return [
        (1.0, ""),
        (temperature, "T², not T (T stands where √T belongs)"),
        (1 / temperature, "1, not T (the temperature is ignored)"),
        (1 / root, "√T, not T"),
        (0.5, "T/2, not T (√2 is missing from the noise)"),
        (2.0, "2T, not T (the gradient is halved, or the noise √2 too large)"),
    ]


def likely_cause(factor: float, tolerance: float, temperature: float) -> str:
    """The likely cause of a factor of the temperature; "T" if it is 1 within the tolerance."""
    for usual, fault in temperature_factors(temperature):
        if abs(factor / usual - 1) < tolerance:
            return fault or "T"
    return f"{factor:.3g} T"


def readings(rules: Mapping[str, Rule], temperature: float) -> list[Reading]:
    """All readings to try: those of two rules of the library, and those of `rules`."""
    units = {  # η, in units of the step
        "step η": 1.0,
        "step h = 2η": 1 / 2,
        "step η/T (it multiplies the score -∇E/T)": 1 / temperature,
        "step h = 2η/T (half of it multiplies the score -∇E/T)": 1 / (2 * temperature),
    }
    overdamped: dict[str, Rule] = {
        "ULA": lambda eta, heat: ula(eta, temperature=heat),
        "Leimkuhler-Matthews": lambda eta, heat: leimkuhler_matthews(eta, temperature=heat),
    }
    noise_scale = "σ²/(2η): the argument is the scale σ of the noise, not T"

    def at(rule: Rule, unit: float, factor: float | None) -> Callable[[float], Kernel]:
        """The rule at T times a factor, or at the T of a noise whose scale is σ = T."""

        @functools.cache
        def kernel(step: float) -> Kernel:
            eta = step * unit
            heat = temperature**2 / (2 * eta) if factor is None else factor * temperature
            return rule(eta, heat)

        return kernel

    made = []
    for (name, rule), (reading, unit) in itertools.product(overdamped.items(), units.items()):
        for factor, fault in [*temperature_factors(temperature), (None, noise_scale)]:
            made.append(Reading(f"{name}, {reading}", at(rule, unit, factor), fault))
    for name, rule in rules.items():
        for factor, fault in temperature_factors(temperature):
            made.append(Reading(name, at(rule, 1.0, factor), fault))
    return made


def compare_trial(trial: Trial, law: Gaussian, level: float) -> Report | None:
    """Compare `trial` with a law; None if it has too few finite draws.

    `law` is that of a kernel's position, or of its whole state, of which only position and velocity
    are used.
    """
    finite, draws = trial.finite, trial.position
    if finite.sum() < 2:
        return None
    mean, unravel = ravel_pytree(law.mean)
    keep = np.arange(len(mean))
    if hasattr(law.mean, "position"):
        where = unravel(jnp.arange(len(mean), dtype=mean.dtype))
        keep = np.asarray(where.position, int)
        velocity = known(where, "velocity")
        if trial.velocity is not None and velocity is not None:
            selected = np.concatenate([keep, np.asarray(velocity, int)])
            # If the first velocity is zero, one noise decides both after a first step.
            cov = np.asarray(law.cov, np.float64)[np.ix_(selected, selected)]
            values = scipy.linalg.eigvalsh(cov)
            if values[0] > 1e-4 * values[-1]:
                keep, draws = selected, np.concatenate([draws, trial.velocity], axis=1)
    # By NumPy: JAX takes a tenth of the time of an audit for these two indices.
    cov = np.asarray(law.cov)[np.ix_(keep, keep)]
    law = Gaussian(np.asarray(mean)[keep], cov)
    return compare(draws[finite], law, false_alarm=level)


def exact_law(reading: Reading, trial: Trial) -> Gaussian | None:
    """The law of a reading after a trial; None if it is not Gaussian, or too large for a float."""
    if trial.start_law is None:
        return None
    try:
        law = exact.law(
            reading.kernel(trial.step_size),
            trial.energy,
            trial.start_law,
            trial.num_steps,
            full=True,
            allow_unstable=True,
        )
    except NotAffineError:
        return None
    finite = all(np.isfinite(leaf).all() for leaf in jax.tree.leaves((law.mean, law.cov)))
    return law if finite else None


def is_unstable(reading: Reading, trial: Trial) -> bool:
    """Whether a trial's step is beyond what the reading's rule can take."""
    if trial.start_law is None:
        return False
    try:
        exact.law(reading.kernel(trial.step_size), trial.energy, trial.start_law, trial.num_steps)
    except NotAffineError:
        return False
    except UnstableStepError:
        return True
    return False


class Fit(NamedTuple):
    """How well a reading explains some trials."""

    reading: Reading
    p_value: float  # the smallest of the tests, which stop at the first rejection
    rejected: bool
    report: Report | None  # the last; None if there was nothing to test


def fit_reading(reading: Reading, trials: Sequence[Trial], level: float) -> Fit:
    """Compare trials with the laws of a reading, until one is rejected."""
    p_value, report = 1.0, None
    for trial in trials:
        law = exact_law(reading, trial)
        if law is None:
            continue
        report = compare_trial(trial, law, level)
        if report is None or not report.passed:
            return Fit(reading, report.p_value if report else 0.0, True, report)
        p_value = min(p_value, report.p_value)
    return Fit(reading, p_value, False, report)
