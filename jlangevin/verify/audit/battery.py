"""The battery: what is run, and what is made of it."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Mapping
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import scipy

from jlangevin._core.checks import check_count, check_key, check_probability, check_scalar
from jlangevin.distribution import Gaussian
from jlangevin.energies.base import Energy
from jlangevin.verify._statistics import POWER, Floats
from jlangevin.verify.audit.lab import (
    CENTER,
    FEW,
    MANY,
    PRECISION,
    THETA,
    Draw,
    Lab,
    Rule,
    Trial,
    normalized,
)
from jlangevin.verify.audit.report import AuditReport, Finding
from jlangevin.verify.audit.rules import Fit, against, fit_of, heats, law_of, readings
from jlangevin.verify.audit.statistics import independent, repeated, same_law, signs
from jlangevin.verify.law import Report

__all__ = ["audit"]

# Five laws, a velocity, two invariances, two balances, temperature, chains (two pairings), seeds.
_TESTS = 14


def audit(
    draw: Draw,
    *,
    key: jax.Array | None = None,
    claim: Literal["exact", "reversible"] | None = None,
    rules: Mapping[str, Rule] | None = None,
    step_size: float = 0.4,
    temperature: float = 3.0,
    num_chains: int = 20_000,
    false_alarm: float = 1e-6,
) -> AuditReport:
    """Find out which convention a sampler follows, and what is wrong where something is.

    What is right without a claim: to follow a rule at the temperature given, or to leave every
    target as it is. An unadjusted sampler's bias is then reported, and is no fault.

    Args:
        draw: the sampler, `draw(key, energy, step_size, temperature, init, num_steps)`: from
            positions `init`, (n, d), and a typed key to those after `num_steps` steps, (n, d), of
            chains that target exp(-energy(x)/temperature), or to a pair of positions and
            velocities (of mass 1). The energy is of one position (d,) and a pytree. A draw may
            raise NotImplementedError for an energy that it has no notion of: what would have needed
            it is marked "n/a".
        key: of the starts and the draws; `jax.random.key(0)` if None.
        claim: "exact": the target is left invariant at any step; "reversible": in detailed
            balance, too. It is a fault then not to be.
        rules: further rules to hold the draws against, by name, such as
            `{"BAOAB": lambda h, T: jl.underdamped(h, 1.0, temperature=T)}`.
        step_size: a large one shows more. On the quadratic energy here λ_max is 1.83.
        temperature: one at which 1, √T, T, T², T/2 and 2T all differ, so that it can be told what
            stands in the place of T: 1, 2, 4, ½ and ¼ are refused, and what is near to them.
        num_chains: n of each test, even and at least 1,000.
        false_alarm: the probability, at most, with which a correct sampler fails.

    Returns:
        An `AuditReport`.

    Raises:
        TypeError: a sampler or a rule that cannot be called, or what should be a number and is
            none.
        ValueError: an argument out of range, a claim that is none, or draws that are not of the
            shape of `init`.

    Example:
        >>> import jlangevin as jl
        >>> def right(h, T):
        ...     return jl.ula(h / 2, temperature=T)
        >>> jl.verify.audit(jl.verify.drawer(right), num_chains=2_000).convention
        'ULA, step h = 2η'
        >>> def wrong(eta, T):
        ...     return jl.ula(eta, temperature=T**2)
        >>> jl.verify.audit(jl.verify.drawer(wrong), num_chains=2_000).passed
        False
    """
    if not callable(draw):
        raise TypeError(
            "draw: expected a function draw(key, energy, step_size, temperature, init, num_steps), "
            f"got {type(draw).__name__}; jlangevin.verify.drawer makes one that runs a kernel"
        )
    key = jax.random.key(0) if key is None else key
    check_key("key", key)
    if claim not in (None, "exact", "reversible"):
        raise ValueError(f'claim: expected None, "exact" or "reversible", got {claim!r}')
    rules = {} if rules is None else rules
    if not isinstance(rules, Mapping) or not all(map(callable, rules.values())):
        raise TypeError(
            "rules: expected functions of step size and temperature that make a kernel, by name, "
            f"got {rules!r}"
        )
    for name, value in (("step_size", step_size), ("temperature", temperature)):
        check_scalar(name, value, positive=True)
    factors = sorted(factor for factor, _ in heats(float(temperature)))
    if min(b / a for a, b in itertools.pairwise(factors)) < 1.05:
        raise ValueError(
            f"temperature: at {temperature:g} two mistakes, as T² and 2T at 2, look alike; take "
            "for instance 3"
        )
    num_chains = check_count("num_chains", num_chains, minimum=1_000)
    if num_chains % 2:
        raise ValueError(f"num_chains: expected an even number, to make pairs, got {num_chains}")
    false_alarm = check_probability("false_alarm", false_alarm)
    level = false_alarm / _TESTS
    lab = Lab(draw, key, float(step_size), float(temperature), num_chains, level)
    return _Audit(lab, claim, rules).report(false_alarm)


_NOTHING: tuple[Fit | None, Fit | None] = (None, None)


def _times(energy: Energy, factor: jax.Array, x: jax.Array) -> jax.Array:
    return factor * energy(x)


@dataclasses.dataclass
class _Audit:
    lab: Lab
    claim: str | None
    rules: Mapping[str, Rule]

    def report(self, false_alarm: float) -> AuditReport:
        lab = self.lab
        self._run()
        linear = [t for t in (self.slope, self.slope_many) if t]
        bowls = [t for t in (self.once, self.few, self.many) if t]
        fits = [
            fit_of(reading, linear or bowls, lab.level)
            for reading in readings(self.rules, lab.step_size, lab.temperature)
        ]
        fits = [fit for fit in fits if fit.report and not fit.rejected]
        # The true reading is among those left; of several, one that explains the rest, at T.
        settled = [(fit, fit_of(fit.reading, bowls, lab.level)) for fit in fits]
        settled.sort(key=lambda pair: (pair[1].rejected, bool(pair[0].reading.fault)))
        self.fit, self.rest = settled[0] if settled else _NOTHING
        self.explained = self.rest is not None and not self.rest.rejected
        self.right = self.explained and self.fit is not None and not self.fit.reading.fault
        invariance = [self._gaussian_invariance(), self._mixture_invariance()]
        tested = [each for each in invariance if each.p_value is not None]
        self.exact = bool(tested) and all(each.verdict == "pass" for each in tested)
        findings = [
            self._finite(),
            self._linear(),
            self._finite_steps(),
            self._stationary(),
            *(self._excused(each) for each in invariance),
            self._balance(),
            self._temperature(),
            self._velocity(),
            self._chains(),
            self._seeds(),
            self._batch(),
        ]
        return AuditReport(
            convention=self._convention(),
            findings=tuple(findings),
            step_size=lab.step_size,
            temperature=lab.temperature,
            num_chains=lab.num_chains,
            false_alarm=false_alarm,
        )

    def _run(self) -> None:
        lab = self.lab
        n, point, spread = lab.num_chains, lab.point, lab.spread
        at_point = jnp.tile(point.mean, (n, 1))

        def bowl(num_steps: int) -> Trial | None:
            return lab.run(lab.quadratic, lab.starts(spread), num_steps, start=spread)

        self.slope = lab.run(lab.linear, at_point, 1, start=point)
        self.slope_many = lab.run(lab.linear, at_point, MANY, start=point)
        self.once, self.few, self.many = bowl(1), bowl(FEW), bowl(MANY)
        root = math.sqrt(lab.temperature)
        target = lab.starts(lab.target)
        self.kept_once = lab.run(lab.quadratic, target, 1, start=lab.target)
        self.kept = lab.run(lab.quadratic, lab.starts(lab.target), FEW, start=lab.target)
        factor = jnp.asarray(lab.temperature, lab.mixture.means.dtype)
        hot = jax.tree_util.Partial(_times, lab.mixture, factor)
        self.mixed_once = lab.run(hot, lab.starts(lab.mixture), 1)
        self.mixed = lab.run(hot, lab.starts(lab.mixture), FEW)
        cool = lab.starts(spread) / jnp.asarray(root, point.mean.dtype)
        self.scaled = lab.run(lab.scaled, cool, FEW, temperature=1.0)
        self.divided = lab.run(lab.divided, lab.starts(spread), FEW, temperature=1.0)
        self.again = [
            lab.run(lab.quadratic, at_point[:k], FEW, key=key)
            for k, key in ((n, lab.same), (n, lab.same), (n, next(lab.keys)), (n // 2, lab.same))
        ]

    # Findings -----------------------------------------------------------------------------

    def _finite(self) -> Finding:
        made = [t for t in (*vars(self).values(), *self.again) if isinstance(t, Trial)]
        bad, number = sum(int((~t.finite).sum()) for t in made), sum(len(t.first) for t in made)
        still = self.slope or self.once
        moved = 0.0
        if still is not None:
            moved = float((still.position != still.first).any(axis=1).mean())
        if bad:
            return Finding("finite and moving", "FAIL", f"{bad} of {number} draws are not finite")
        if moved < 0.01:
            return Finding("finite and moving", "FAIL", f"{moved:.1%} of the chains move in a step")
        return Finding("finite and moving", "pass", f"all are; {moved:.0%} move in the first step")

    def _linear(self) -> Finding:
        name = "linear energy"
        if self.slope is None:
            return Finding(name, "n/a", "the sampler has no notion of it")
        if self.fit is None:
            if self.exact:
                return Finding(name, "info", self._measured())
            return Finding(name, "FAIL", f"{self._measured()}: {self._suspected()}")
        reading, p = self.fit.reading, self.fit.p_value
        if reading.fault:
            says = f"{reading.name}, but its temperature is {reading.fault}"
            return Finding(name, "FAIL", f"{says}; {self._measured()}")
        return Finding(name, "pass", f"the law of {reading.name}", p, _power(self.fit.report))

    def _step(self) -> tuple[float, float, float, float]:
        """Of one step on a linear energy: drift and noise, each with its standard error."""
        assert self.slope is not None
        lab, moves = self.lab, (self.slope.position - self.slope.first)[self.slope.finite]
        if len(moves) < 2:
            return (math.nan,) * 4
        n = len(moves)
        along = np.dot(-moves, THETA) / (lab.step_size * np.dot(THETA, THETA))
        noise = moves.var(axis=0, ddof=1).mean() / (lab.step_size * lab.temperature)
        error = along.std(ddof=1) / math.sqrt(n)
        return float(along.mean()), float(error), float(noise), float(noise / math.sqrt(n))

    def _measured(self) -> str:
        drift, drift_error, noise, noise_error = self._step()
        return (
            f"one step's drift is {drift:.3f} ± {2 * drift_error:.3f} × (-step ∇E), its noise's "
            f"variance {noise:.3f} ± {2 * noise_error:.3f} × step × T"
        )

    def _suspected(self) -> str:
        """What an unadjusted step with the drift and noise measured has wrong with it."""
        drift, drift_error, noise, noise_error = self._step()
        if drift < -5 * drift_error:
            return "it climbs the energy, the sign of its drift is flipped"
        if not drift > 5 * drift_error or not noise > 0:
            return "it is no Langevin step"
        tolerance = 5 * (drift_error / drift + noise_error / noise)
        named = self._named(noise / (2 * drift), tolerance)
        return f"for this drift the noise's temperature is {named}"

    def _named(self, ratio: float, tolerance: float) -> str:
        """A multiple of T by its likely cause."""
        for factor, fault in heats(self.lab.temperature):
            if abs(ratio / factor - 1) < tolerance:
                return fault or "T"
        return f"{ratio:.3g} T"

    def _finite_steps(self) -> Finding:
        name = "finite N"
        if self.few is None:
            return Finding(name, "n/a", "the sampler has no notion of a quadratic energy")
        if self.fit is not None and self.rest is not None and self.explained:
            reading, report, p = self.fit.reading, self.rest.report, self.rest.p_value
            if report is None:
                return Finding(name, "n/a", f"{reading.name} has no exact law here")
            says = f"after 1, {FEW} and {MANY} steps from N(m, S) the law of {reading.name}"
            if reading.fault:
                return Finding(name, "FAIL", f"{says}, but its temperature is {reading.fault}")
            return Finding(name, "pass", says, p, _power(report))
        if self.exact:
            return Finding(name, "n/a", "no affine rule, as it is where steps are rejected")
        return Finding(name, "FAIL", "no rule has this law on a quadratic energy")

    def _stationary(self) -> Finding:
        name = "stationary"
        if self.many is None:
            return Finding(name, "n/a", "the sampler has no notion of a quadratic energy")
        ratios, says = self._variances(self.many)
        report = against(self.many, self.lab.target, self.lab.level)
        off = report is None or not report.passed
        p = 0.0 if report is None else report.p_value
        if self.right:
            if off:
                verdict: Any = "pass" if self.rest and self.rest.report else "info"
                return Finding(name, verdict, f"biased, as its rule is: {says}")
            return Finding(name, "pass", f"no bias was found: {says}", p, _power(report))
        if off and self.exact:
            says = f"{MANY} steps from afar it is not yet the target, which it keeps: {says}"
            return Finding(name, "info", says)
        if off:
            tolerance = 6 / math.sqrt(self.lab.num_chains)
            named = {self._named(float(ratio), tolerance) for ratio in ratios}
            if len(named) == 1 and named != {"T"}:
                says += f": its temperature is {named.pop()}"
            return Finding(name, "FAIL", f"{MANY} steps from afar it is not the target: {says}", p)
        says = f"{MANY} steps from afar it is the target: {says}"
        return Finding(name, "pass", says, p, _power(report))

    def _variances(self, trial: Trial) -> tuple[Floats, str]:
        """Along the eigenvectors of the quadratic energy, as multiples of the target's."""
        values, vectors = scipy.linalg.eigh(PRECISION)
        along = np.dot(trial.position[trial.finite] - CENTER, vectors)
        if len(along) < 2:
            return np.full(2, np.nan), "no finite draws"
        ratios = along.var(axis=0) * values / self.lab.temperature
        text = " and ".join(f"{ratio:.3g}" for ratio in ratios)
        return ratios, f"its variances are {text} × T/λ"

    def _gaussian_invariance(self) -> Finding:
        name = "invariance: Gaussian"
        if self.kept is None:
            return Finding(name, "n/a", "the sampler has no notion of a quadratic energy")
        report = against(self.kept, self.lab.target, self.lab.level)
        _, says = self._variances(self.kept)
        return self._invariance(name, report, f"after {FEW} steps {says}")

    def _mixture_invariance(self) -> Finding:
        name = "invariance: mixture"
        if self.mixed is None:
            return Finding(name, "n/a", "the sampler has no notion of a mixture")
        u = normalized(self.mixed.position)
        trial = self.mixed._replace(position=u, velocity=None)
        report = against(trial, Gaussian(np.zeros(1), np.eye(1)), self.lab.level)
        finite = u[np.isfinite(u)]
        moments = f"mean {finite.mean():.3f}, variance {finite.var():.3f}" if len(finite) else ""
        return self._invariance(name, report, f"after {FEW} steps Φ⁻¹(F(x)) has {moments}")

    def _invariance(self, name: str, report: Report | None, says: str) -> Finding:
        if report is None:
            return Finding(name, "FAIL", "no finite draws", 0.0)
        if report.passed:
            says = f"kept from exact starts: {says}"
            return Finding(name, "pass", says, report.p_value, _power(report))
        return Finding(name, "FAIL", f"not kept from exact starts: {says}", report.p_value)

    def _excused(self, finding: Finding) -> Finding:
        """An unadjusted sampler that follows its rule need not be invariant."""
        if finding.verdict == "FAIL" and self.right and self.claim is None:
            return dataclasses.replace(finding, verdict="info")
        return finding

    def _balance(self) -> Finding:
        name = "detailed balance"
        if not self.exact:
            return Finding(name, "n/a", "exact starts are not its stationary law")
        values: list[Floats] = []
        if self.kept_once is not None:
            lower = np.linalg.cholesky(np.asarray(self.lab.target.cov, np.float64))
            good = self.kept_once.finite
            x, y = (
                scipy.linalg.solve_triangular(lower, (part[good] - CENTER).T, lower=True)
                for part in (self.kept_once.first, self.kept_once.position)
            )
            values += [x[0] * y[1] - x[1] * y[0], *(x[i] * y[i] * (x[i] - y[i]) for i in (0, 1))]
        if self.mixed_once is not None:
            good = self.mixed_once.finite
            x, y = self.mixed_once.first[good, 0], self.mixed_once.position[good, 0]
            values += [x - y, x * y * (x - y)]
        p = signs(values)
        n = min(int(np.sum(value != 0)) for value in values)
        alpha = self.lab.level / len(values) / 2
        finds = (scipy.stats.norm.isf(alpha) + scipy.stats.norm.isf(1 - POWER)) / (
            2 * math.sqrt(max(n, 1))
        )
        power = f"x_0 and x_1 in one order with probability {0.5 + finds:.2f}"
        if p >= self.lab.level:
            return Finding(name, "pass", "(x_0, x_1) has the law of (x_1, x_0)", p, power)
        verdict: Any = "FAIL" if self.claim == "reversible" else "info"
        return Finding(name, verdict, "(x_0, x_1) has not the law of (x_1, x_0)", p)

    def _temperature(self) -> Finding:
        name = "temperature"
        if self.few is None or self.scaled is None or self.divided is None:
            return Finding(name, "n/a", "the sampler has no notion of a quadratic energy")
        root, n = math.sqrt(self.lab.temperature), self.lab.num_chains
        x = self.few.position[self.few.finite]
        found = []
        for trial, scale, energy in (
            (self.scaled, root, "E(√T ·)/T at 1, scaled"),
            (self.divided, 1.0, "E/T at 1"),
        ):
            y = scale * trial.position[trial.finite]
            found.append((same_law(x, y, CENTER) if len(x) == len(y) == n else 0.0, energy))
        p, energy = max(found)
        if p < self.lab.level:
            says = f"E at T is neither {found[0][1]}, nor {found[1][1]}"
            return Finding(name, "FAIL", says, p)
        gap = math.sqrt(math.log(6 / self.lab.level) / n) + scipy.stats.norm.isf(
            1 - POWER
        ) / math.sqrt(2 * n)
        power = f"a gap of {gap:.2g} in a distribution function"
        return Finding(name, "pass", f"E at T is {energy}", p, power)

    def _velocity(self) -> Finding:
        name = "velocity"
        trial = self.slope_many or self.many
        if trial is None or trial.velocity is None:
            return Finding(name, "n/a", "positions alone were given")
        v = trial.velocity[trial.finite]
        if len(v) < 2:
            return Finding(name, "FAIL", "no finite draws", 0.0)
        degrees, ratios = len(v) - 1, v.var(axis=0, ddof=1) / self.lab.temperature
        law = scipy.stats.chi2(degrees)
        p = min(1.0, 2 * 2 * min(min(law.cdf(degrees * r), law.sf(degrees * r)) for r in ratios))
        text = " and ".join(f"{ratio:.4g}" for ratio in ratios)
        says = f"its variances are {text} × T after {MANY} steps"
        if p >= self.lab.level:
            return Finding(name, "pass", says, p)
        law = law_of(self.fit.reading, trial) if self.right and self.fit else None
        if law is not None and hasattr(law.mean, "velocity"):  # it was held against that, too
            return Finding(name, "pass", f"{says}, as its rule has it")
        named = self._named(float(ratios.mean()), 5 / math.sqrt(degrees))
        return Finding(name, "FAIL", f"its variance is {named}: {says}", p)

    def _chains(self) -> Finding:
        name, trial = "independent chains", self.again[0]
        if trial is None:
            return Finding(name, "n/a", "the sampler has no notion of a quadratic energy")
        share = repeated(trial)
        if share > 0.01:
            says = f"{share:.0%} of the chains that began at one point ended where another did"
            return Finding(name, "FAIL", f"{says}: they share their noise", 0.0)
        x, half = np.nan_to_num(trial.position), len(trial.position) // 2
        p = min(1.0, 2 * min(independent(x[::2], x[1::2]), independent(x[:half], x[half:])))
        verdict: Any = "pass" if p >= self.lab.level else "FAIL"
        says = f"neighbours, and halves, are {'' if verdict == 'pass' else 'not '}independent"
        return Finding(name, verdict, says, p, self._correlation(half, 4))

    def _correlation(self, pairs: int, members: int) -> str:
        z = scipy.stats.norm.isf(self.lab.level / members / 2) + scipy.stats.norm.isf(1 - POWER)
        return f"signs that agree with probability {0.5 + z / (2 * math.sqrt(pairs)):.2f}"

    def _seeds(self) -> Finding:
        name = "seeds"
        first, again, other = self.again[:3]
        if first is None or again is None or other is None:
            return Finding(name, "n/a", "the sampler has no notion of a quadratic energy")
        if not np.array_equal(first.position, again.position, equal_nan=True):
            return Finding(name, "FAIL", "the same key gave other draws")
        same = (first.position == other.position) & (first.position != first.first)
        if same.all(axis=1).mean() > 0.01:
            return Finding(name, "FAIL", "another key gave the same draws", 0.0)
        p = independent(np.nan_to_num(first.position), np.nan_to_num(other.position))
        power = self._correlation(len(first.position), 2)
        if p < self.lab.level:
            return Finding(name, "FAIL", "draws of another key depend on those of the first", p)
        return Finding(name, "pass", "the same key the same draws, another key others", p, power)

    def _batch(self) -> Finding:
        name, whole, part = "batch size", self.again[0], self.again[3]
        if whole is None or part is None:
            return Finding(name, "n/a", "the sampler has no notion of a quadratic energy")
        n = len(part.position)
        rounding = 1e-4 * float(np.nanmax(np.abs(part.position), initial=0))
        if np.allclose(whole.position[:n], part.position, 0, rounding, equal_nan=True):
            return Finding(name, "info", "a chain's draws do not depend on how many there are")
        return Finding(name, "info", "a chain's draws change with the number of chains")

    def _convention(self) -> str:
        if self.fit is None:
            if self.exact:
                return "exact, as far as seen; its proposal is no rule that was looked for"
            return "no rule that was looked for"
        name, fault = self.fit.reading.name, self.fit.reading.fault
        if fault:
            name = f"{name}, its temperature {fault}"
        if self.explained:
            return name
        if self.exact:
            return f"exact, as far as seen; on a linear energy that of {name}"
        return f"on a linear energy that of {name}; on a quadratic one no rule"


def _power(report: Report | None) -> str:
    if report is None:
        return ""
    by_name = {check.name: check.detectable for check in report.checks}
    return (
        f"a mean off by {by_name['mean']:.2g} standard deviations, "
        f"a variance off by {by_name['covariance']:.2g} of itself"
    )
