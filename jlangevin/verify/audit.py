"""A battery for any sampler: which convention it follows, and what is wrong where something is.

A sampler is a function `draw(key, energy, step_size, temperature, init, num_steps)`. Its draws are
held against

    rules       on linear and quadratic energies, the exact laws (`exact.law`) of `ula` and
                `leimkuhler_matthews`, and of kernels that are given, with the step and the
                temperature read in several ways. The readings that no law rejects are the
                convention; if the temperature's is not T itself, that is a fault
    invariance  from exact starts the law must stay the target's: a Gaussian, and a mixture of two,
                mapped to a normal by its own distribution function
    symmetry    detailed balance makes (x_0, x_1) exchangeable, so that f(x_0, x_1) - f(x_1, x_0)
                is as often above zero as below; and (E, T) must be like a problem at
                temperature 1: x = √T y turns it into E(√T ·)/T at the same step, whatever the
                convention, unless the step multiplies the score: then it is E/T at the same step
    streams     chains that begin at one point must be independent of each other, and of those of
                another key; the same key must give the same draws

Each test takes its share of `false_alarm`, so that a correct sampler fails with a probability of
at most that. Sign tests and Fisher's are exact; that of two samples is the bound of Wei and Dudley
(2012), which holds from 458 draws on; for the laws see `verify.compare`.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import scipy
from jax.flatten_util import ravel_pytree
from numpy.typing import NDArray

from jlangevin import energies, exact
from jlangevin._checks import check_count, check_key, check_positive
from jlangevin.distribution import Gaussian
from jlangevin.errors import NotAffineError
from jlangevin.kernels import leimkuhler_matthews, ula
from jlangevin.kernels.base import Energy, Kernel
from jlangevin.sampling import sample
from jlangevin.verify.law import Report, compare

__all__ = ["AuditReport", "Draw", "Finding", "Rule", "audit", "drawer"]

Floats = NDArray[np.float64]
Draw = Callable[[jax.Array, Any, float, float, jax.Array, int], Any]
"""`draw(key, energy, step_size, temperature, init, num_steps)`; see `audit`."""
Rule = Callable[[Any, Any], Kernel]
"""A kernel by step size and temperature."""

_FEW, _MANY = 8, 100  # steps
_THETA = np.array([3.0, 4.0])
_PRECISION = np.array([[1.4, 0.6], [0.6, 1.0]])  # eigenvalues 0.57 and 1.83
_CENTER = np.array([1.0, -2.0])
_START = np.array([3.0, 1.0])
_SPREAD = np.array([[2.0, -0.5], [-0.5, 1.0]])
_MEANS, _SCALES, _WEIGHTS = np.array([-2.0, 2.0]), np.array([0.9, 1.3]), np.array([0.3, 0.7])
# Five laws, a velocity, two invariances, two balances, temperature, chains (two pairings), seeds.
_TESTS = 14


@dataclasses.dataclass(frozen=True)
class Finding:
    """One line of an audit.

    Attributes:
        name: what was looked at.
        verdict: "pass"; "FAIL"; "info" where there is nothing to be right or wrong about; "n/a".
        p_value: of the decisive test, None where none was made.
        says: what was found, in words.
        finds: the smallest error of its kind that is found with probability 0.99, in words.
    """

    name: str
    verdict: Literal["pass", "FAIL", "info", "n/a"]
    says: str
    p_value: float | None = None
    finds: str = ""


@dataclasses.dataclass(frozen=True)
class AuditReport:
    """The outcome of `audit`; printed, it is a table.

    Attributes:
        convention: which rule the sampler follows, and how it reads its step size.
        findings: one of each check.
        step_size, temperature, num_chains: with which it was run.
        false_alarm: the probability with which a correct sampler fails, at most.
    """

    convention: str
    findings: tuple[Finding, ...]
    step_size: float
    temperature: float
    num_chains: int
    false_alarm: float

    @property
    def passed(self) -> bool:
        """Whether nothing failed."""
        return not self.failures

    @property
    def failures(self) -> tuple[str, ...]:
        """The names of the checks that failed."""
        return tuple(each.name for each in self.findings if each.verdict == "FAIL")

    def __getitem__(self, name: str) -> Finding:
        """The finding of this name."""
        for each in self.findings:
            if each.name == name:
                return each
        raise KeyError(f"{name}: not among {[each.name for each in self.findings]}")

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain numbers, lists and strings, for JSON."""
        return {**dataclasses.asdict(self), "passed": self.passed}

    def __str__(self) -> str:
        lines = [
            f"{self.num_chains:,} chains, step {self.step_size:g}, temperature "
            f"{self.temperature:g}; the right one fails with probability {self.false_alarm:.0e}",
            f"convention: {self.convention}",
            "",
            f"{'check':<22}{'verdict':<9}{'p-value':<9}what was found",
        ]
        for each in self.findings:
            p = "" if each.p_value is None else f"{each.p_value:.2g}"
            lines.append(f"{each.name:<22}{each.verdict:<9}{p:<9}{each.says}")
            if each.finds:
                lines.append(f"{'':<40}(finds, 99 times in 100: {each.finds})")
        verdict = "nothing wrong was found"
        if self.failures:
            verdict = f"WRONG: {', '.join(self.failures)}"
        return "\n".join([*lines, "", verdict])


def drawer(make_kernel: Rule) -> Draw:
    """The sampler that runs a kernel of this library, or one like them, for `audit`.

    Where the kernel's state has a velocity, that is handed over too.

    Args:
        make_kernel: a function of step size and temperature, such as
            `lambda step, temperature: jl.mala(step, temperature=temperature)`.

    Example:
        >>> import jax, jax.numpy as jnp, jlangevin as jl
        >>> draw = jl.verify.drawer(lambda step, temperature: jl.ula(step, temperature=temperature))
        >>> energy = jl.energies.linear([1.0, 0.5])
        >>> draw(jax.random.key(0), energy, 0.1, 1.0, jnp.zeros((3, 2)), 5).shape
        (3, 2)
    """

    def draw(
        key: jax.Array,
        energy: Energy,
        step_size: float,
        temperature: float,
        init: jax.Array,
        num_steps: int,
    ) -> Any:
        kernel = make_kernel(step_size, temperature)
        run = sample(key, energy, kernel, init, num_steps=num_steps, observe=None)
        if hasattr(run.state.kernel, "velocity"):
            return run.position, run.state.kernel.velocity
        return run.position

    return draw


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
        temperature: T ≠ 1, so that T, T² and √T differ.
        num_chains: n of each test, even and at least 1,000.
        false_alarm: the probability, at most, with which a correct sampler fails.

    Returns:
        An `AuditReport`.

    Raises:
        TypeError, ValueError: an argument out of range, a claim that is none, or draws that are not
            of the shape of `init`.

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
    key = jax.random.key(0) if key is None else key
    check_key("key", key)
    if claim not in (None, "exact", "reversible"):
        raise ValueError(f'claim: expected None, "exact" or "reversible", got {claim!r}')
    for name, value in (("step_size", step_size), ("temperature", temperature)):
        check_positive(name, value)
    if temperature == 1:
        raise ValueError("temperature: at 1 it cannot be told from its square; take another")
    num_chains = check_count("num_chains", num_chains, minimum=1_000)
    if num_chains % 2:
        raise ValueError(f"num_chains: expected an even number, to make pairs, got {num_chains}")
    if not 0 < false_alarm < 1:
        raise ValueError(f"false_alarm: expected a probability in (0, 1), got {false_alarm}")
    level = false_alarm / _TESTS
    lab = _Lab(draw, key, float(step_size), float(temperature), num_chains, level)
    return _Audit(lab, claim, rules or {}).report(false_alarm)


# Experiments ----------------------------------------------------------------------------------


class _Trial(NamedTuple):
    """One run, on the host: where it began, its law then, and what came out."""

    energy: Any
    start: Any  # a Gaussian, None where it has another law
    num_steps: int
    first: Floats  # (n, d)
    position: Floats  # (n, d)
    velocity: Floats | None  # (n, d)

    @property
    def finite(self) -> NDArray[np.bool_]:
        parts = [self.position] if self.velocity is None else [self.position, self.velocity]
        return np.asarray(np.isfinite(np.concatenate(parts, axis=1)).all(axis=1))


@partial(jax.jit, static_argnames="num_draws")
def _sample(law: Any, key: jax.Array, num_draws: int) -> Any:
    return law.sample(key, num_draws)


@dataclasses.dataclass
class _Lab:
    """A sampler, and how it is run."""

    draw: Draw
    key: jax.Array
    step_size: float
    temperature: float
    num_chains: int
    level: float

    def __post_init__(self) -> None:
        self.keys = self._fresh()
        self.same = next(self.keys)  # that which is used twice
        root = math.sqrt(self.temperature)
        self.linear = energies.linear(_THETA)
        self.quadratic = energies.quadratic(_PRECISION, _CENTER)
        self.scaled = energies.quadratic(_PRECISION, _CENTER / root)
        self.divided = energies.quadratic(_PRECISION / self.temperature, _CENTER)
        self.mixture = energies.gaussian_mixture(
            _MEANS[:, None], _SCALES[:, None, None] ** 2, _WEIGHTS
        )
        self.point = Gaussian(_START, np.zeros((2, 2)))
        self.spread = Gaussian(_START, _SPREAD)
        self.target = exact.target(self.quadratic, jnp.zeros(2), self.temperature)

    def _fresh(self) -> Iterator[jax.Array]:
        yield from jax.random.split(self.key, 32)

    def starts(self, law: Any) -> jax.Array:
        drawn: jax.Array = _sample(law, next(self.keys), self.num_chains)
        return drawn

    def run(
        self,
        energy: Any,
        init: jax.Array,
        num_steps: int,
        *,
        start: Any = None,
        temperature: float | None = None,
        key: jax.Array | None = None,
    ) -> _Trial | None:
        """None if the sampler has no notion of it."""
        key = next(self.keys) if key is None else jax.random.clone(key)
        temperature = self.temperature if temperature is None else temperature
        try:
            out = self.draw(key, energy, self.step_size, temperature, init, num_steps)
        except NotImplementedError:
            return None
        pair = out if isinstance(out, tuple) else (out, None)
        if len(pair) != 2:
            raise ValueError(
                f"draw: expected positions, or positions and velocities, got {len(pair)} things"
            )
        arrays = [None if part is None else np.asarray(part, np.float64) for part in pair]
        for name, array in zip(("positions", "velocities"), arrays, strict=True):
            if array is not None and array.shape != init.shape:
                raise ValueError(
                    f"draw: expected {name} of init's shape {init.shape}, got {array.shape}"
                )
        position, velocity = arrays
        assert position is not None
        return _Trial(energy, start, num_steps, np.asarray(init, np.float64), position, velocity)


# Rules ----------------------------------------------------------------------------------------


class _Reading(NamedTuple):
    """A rule with step and temperature read in one way; `fault` says what is wrong, if it is."""

    name: str
    kernel: Kernel
    fault: str


def _heats(temperature: float) -> list[tuple[float, str]]:
    """What may stand where the temperature belongs, as a factor of it, and why."""
    root = math.sqrt(temperature)
    return [
        (1.0, ""),
        (temperature, "T², not T (T stands where √T belongs)"),
        (1 / temperature, "1, not T (the temperature is ignored)"),
        (1 / root, "√T, not T"),
        (0.5, "T/2, not T (√2 is missing from the noise)"),
        (2.0, "2T, not T (the gradient is halved, or the noise √2 too large)"),
    ]


def _readings(rules: Mapping[str, Rule], step_size: float, temperature: float) -> list[_Reading]:
    steps = {
        "step η": step_size,
        "step h = 2η": step_size / 2,
        "step η/T (it multiplies the score -∇E/T)": step_size / temperature,
        "step h = 2η/T (half of it multiplies the score -∇E/T)": step_size / (2 * temperature),
    }
    overdamped: dict[str, Rule] = {
        "ULA": lambda eta, heat: ula(eta, temperature=heat),
        "Leimkuhler-Matthews": lambda eta, heat: leimkuhler_matthews(eta, temperature=heat),
    }
    made = []
    for (name, rule), (reading, eta) in itertools.product(overdamped.items(), steps.items()):
        scale = temperature / (2 * eta), "σ²/(2η): the argument is the scale σ of the noise, not T"
        for factor, fault in [*_heats(temperature), scale]:
            made.append(_Reading(f"{name}, {reading}", rule(eta, factor * temperature), fault))
    for name, rule in rules.items():
        for factor, fault in _heats(temperature):
            made.append(_Reading(name, rule(step_size, factor * temperature), fault))
    return made


def _against(trial: _Trial, law: Gaussian, level: float) -> Report | None:
    """`trial` held against a law, None if it has too few finite draws.

    `law` is of a kernel's position, or of its whole state: position, velocity, and whatever else
    it carries, which is left out.
    """
    good, draws = trial.finite, trial.position
    if good.sum() < 2:
        return None
    mean, unravel = ravel_pytree(law.mean)
    keep = np.arange(len(mean))
    if hasattr(law.mean, "position"):
        where = unravel(jnp.arange(len(mean), dtype=mean.dtype))
        keep = np.asarray(where.position, int)
        if trial.velocity is not None and hasattr(where, "velocity"):
            both = np.concatenate([keep, np.asarray(where.velocity, int)])
            # A first velocity of zero leaves one noise for two of a first step.
            cov = np.asarray(law.cov, np.float64)[np.ix_(both, both)]
            values = scipy.linalg.eigvalsh(cov)
            if values[0] > 1e-4 * values[-1]:
                keep, draws = both, np.concatenate([draws, trial.velocity], axis=1)
    law = Gaussian(mean[keep], law.cov[np.ix_(keep, keep)])
    return compare(draws[good], law, false_alarm=level)


def _law(reading: _Reading, trial: _Trial) -> Gaussian | None:
    """None if it is no Gaussian, or too large for a float."""
    try:
        law = exact.law(
            reading.kernel,
            trial.energy,
            trial.start,
            trial.num_steps,
            full=True,
            allow_unstable=True,
        )
    except NotAffineError:
        return None
    finite = all(np.isfinite(leaf).all() for leaf in jax.tree.leaves((law.mean, law.cov)))
    return law if finite else None


class _Fit(NamedTuple):
    """How well a reading explains some trials."""

    reading: _Reading
    p_value: float  # the smallest; of those that were tested until one was rejected
    rejected: bool
    report: Report | None  # the last; None if there was nothing to test


def _fit(reading: _Reading, trials: Sequence[_Trial], level: float) -> _Fit:
    p_value, report = 1.0, None
    for trial in trials:
        law = _law(reading, trial)
        if law is None:
            continue
        report = _against(trial, law, level)
        if report is None or not report.passed:
            return _Fit(reading, report.p_value if report else 0.0, True, report)
        p_value = min(p_value, report.p_value)
    return _Fit(reading, p_value, False, report)


_NOTHING: tuple[_Fit | None, _Fit | None] = (None, None)


# Tests ----------------------------------------------------------------------------------------


def _signs(values: Sequence[Floats]) -> float:
    """That each is as often above zero as below: the p-value of all together, exact."""
    p_values = []
    for value in values:
        above, below = int(np.sum(value > 0)), int(np.sum(value < 0))
        p_values.append(
            scipy.stats.binomtest(above, above + below).pvalue if above + below else 1.0
        )
    return float(min(1.0, len(values) * min(p_values)))


def _independent(x: Floats, y: Floats) -> float:
    """Fisher's exact test of each column of x against that of y, both cut at their medians."""
    p_values = []
    for a, b in zip(x.T, y.T, strict=True):
        up, right = a > np.median(a), b > np.median(b)
        law = scipy.stats.hypergeom(len(a), int(up.sum()), int(right.sum()))
        both = int((up & right).sum())
        p_values.append(min(1.0, 2 * min(law.cdf(both), law.sf(both - 1))))
    return float(min(1.0, len(p_values) * min(p_values)))


def _same_law(x: Floats, y: Floats, center: Floats) -> float:
    """Of two samples of one size: Wei and Dudley's bound, for each coordinate and the distance."""

    def columns(z: Floats) -> Floats:
        return np.column_stack([z, np.sum((z - center) ** 2, axis=1)])

    gaps = [
        scipy.stats.ks_2samp(a, b, method="asymp").statistic
        for a, b in zip(columns(x).T, columns(y).T, strict=True)
    ]
    n = min(len(x), len(y))
    return float(min(1.0, len(gaps) * 2 * math.exp(-n * max(gaps) ** 2)))


def _repeated(trial: _Trial) -> float:
    """The share of chains that ended, away from where they began, exactly where another did."""
    moved = trial.position[(trial.position != trial.first).any(axis=1) & trial.finite]
    return 1 - len(np.unique(moved, axis=0)) / len(moved) if len(moved) else 0.0


def _normalized(x: Floats) -> Floats:
    """Φ⁻¹(F(x)) for the distribution function F of the mixture, without loss in its tails."""
    z = (x - _MEANS) / _SCALES  # (n, 2)
    below, above = scipy.stats.norm.cdf(z) @ _WEIGHTS, scipy.stats.norm.sf(z) @ _WEIGHTS
    return np.where(below < 0.5, scipy.stats.norm.ppf(below), scipy.stats.norm.isf(above))[:, None]


def _times(energy: Energy, factor: jax.Array, x: jax.Array) -> jax.Array:
    return factor * energy(x)


# The audit ------------------------------------------------------------------------------------


@dataclasses.dataclass
class _Audit:
    lab: _Lab
    claim: str | None
    rules: Mapping[str, Rule]

    def report(self, false_alarm: float) -> AuditReport:
        lab = self.lab
        self.trials: list[_Trial] = []
        self._run()
        readings = _readings(self.rules, lab.step_size, lab.temperature)
        linear = [t for t in (self.slope, self.slope_many) if t]
        bowls = [t for t in (self.once, self.few, self.many) if t]
        fits = [_fit(reading, linear or bowls, lab.level) for reading in readings]
        fits = [fit for fit in fits if fit.report and not fit.rejected]
        # The true reading is among those left; of several, one that explains the rest, at T.
        settled = [(fit, _fit(fit.reading, bowls, lab.level)) for fit in fits]
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

        def bowl(num_steps: int) -> _Trial | None:
            return lab.run(lab.quadratic, lab.starts(spread), num_steps, start=spread)

        self.slope = lab.run(lab.linear, at_point, 1, start=point)
        self.slope_many = lab.run(lab.linear, at_point, _MANY, start=point)
        self.once, self.few, self.many = bowl(1), bowl(_FEW), bowl(_MANY)
        root = math.sqrt(lab.temperature)
        target = lab.starts(lab.target)
        self.kept_once = lab.run(lab.quadratic, target, 1, start=lab.target)
        self.kept = lab.run(lab.quadratic, lab.starts(lab.target), _FEW, start=lab.target)
        factor = jnp.asarray(lab.temperature, lab.mixture.means.dtype)
        hot = jax.tree_util.Partial(_times, lab.mixture, factor)
        self.mixed_once = lab.run(hot, lab.starts(lab.mixture), 1)
        self.mixed = lab.run(hot, lab.starts(lab.mixture), _FEW)
        cool = lab.starts(spread) / jnp.asarray(root, point.mean.dtype)
        self.scaled = lab.run(lab.scaled, cool, _FEW, temperature=1.0)
        self.divided = lab.run(lab.divided, lab.starts(spread), _FEW, temperature=1.0)
        at_start = jnp.tile(point.mean, (n, 1))
        self.again = [
            lab.run(lab.quadratic, at_start[:k], _FEW, key=key)
            for k, key in ((n, lab.same), (n, lab.same), (n, next(lab.keys)), (n // 2, lab.same))
        ]

    # Findings -----------------------------------------------------------------------------

    def _finite(self) -> Finding:
        made = [t for t in (*vars(self).values(), *self.again) if isinstance(t, _Trial)]
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
        along = -moves @ _THETA / (lab.step_size * _THETA @ _THETA)
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
        for factor, fault in _heats(self.lab.temperature):
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
            says = f"after 1, {_FEW} and {_MANY} steps from N(m, S) the law of {reading.name}"
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
        report = _against(self.many, self.lab.target, self.lab.level)
        off = report is None or not report.passed
        p = 0.0 if report is None else report.p_value
        if self.right:
            if off:
                verdict: Any = "pass" if self.rest and self.rest.report else "info"
                return Finding(name, verdict, f"biased, as its rule is: {says}")
            return Finding(name, "pass", f"no bias was found: {says}", p, _power(report))
        if off and self.exact:
            says = f"{_MANY} steps from afar it is not yet the target, which it keeps: {says}"
            return Finding(name, "info", says)
        if off:
            tolerance = 6 / math.sqrt(self.lab.num_chains)
            named = {self._named(float(ratio), tolerance) for ratio in ratios}
            if len(named) == 1 and named != {"T"}:
                says += f": its temperature is {named.pop()}"
            return Finding(name, "FAIL", f"{_MANY} steps from afar it is not the target: {says}", p)
        says = f"{_MANY} steps from afar it is the target: {says}"
        return Finding(name, "pass", says, p, _power(report))

    def _variances(self, trial: _Trial) -> tuple[Floats, str]:
        """Along the eigenvectors of the quadratic energy, as multiples of the target's."""
        values, vectors = scipy.linalg.eigh(_PRECISION)
        along = (trial.position[trial.finite] - _CENTER) @ vectors
        if len(along) < 2:
            return np.full(2, np.nan), "no finite draws"
        ratios = along.var(axis=0) * values / self.lab.temperature
        text = " and ".join(f"{ratio:.3g}" for ratio in ratios)
        return ratios, f"its variances are {text} × T/λ"

    def _gaussian_invariance(self) -> Finding:
        name = "invariance: Gaussian"
        if self.kept is None:
            return Finding(name, "n/a", "the sampler has no notion of a quadratic energy")
        report = _against(self.kept, self.lab.target, self.lab.level)
        _, says = self._variances(self.kept)
        return self._invariance(name, report, f"after {_FEW} steps {says}")

    def _mixture_invariance(self) -> Finding:
        name = "invariance: mixture"
        if self.mixed is None:
            return Finding(name, "n/a", "the sampler has no notion of a mixture")
        u = _normalized(self.mixed.position)
        trial = self.mixed._replace(position=u, velocity=None)
        report = _against(trial, Gaussian(np.zeros(1), np.eye(1)), self.lab.level)
        finite = u[np.isfinite(u)]
        moments = f"mean {finite.mean():.3f}, variance {finite.var():.3f}" if len(finite) else ""
        return self._invariance(name, report, f"after {_FEW} steps Φ⁻¹(F(x)) has {moments}")

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
                scipy.linalg.solve_triangular(lower, (part[good] - _CENTER).T, lower=True)
                for part in (self.kept_once.first, self.kept_once.position)
            )
            values += [x[0] * y[1] - x[1] * y[0], *(x[i] * y[i] * (x[i] - y[i]) for i in (0, 1))]
        if self.mixed_once is not None:
            good = self.mixed_once.finite
            x, y = self.mixed_once.first[good, 0], self.mixed_once.position[good, 0]
            values += [x - y, x * y * (x - y)]
        p = _signs(values)
        n = min(int(np.sum(value != 0)) for value in values)
        alpha = self.lab.level / len(values) / 2
        finds = (scipy.stats.norm.isf(alpha) + scipy.stats.norm.isf(0.01)) / (
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
            found.append((_same_law(x, y, _CENTER) if len(x) == len(y) == n else 0.0, energy))
        p, energy = max(found)
        if p < self.lab.level:
            says = f"E at T is neither {found[0][1]}, nor {found[1][1]}"
            return Finding(name, "FAIL", says, p)
        gap = math.sqrt(math.log(6 / self.lab.level) / n) + scipy.stats.norm.isf(0.01) / math.sqrt(
            2 * n
        )
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
        says = f"its variances are {text} × T after {_MANY} steps"
        if p >= self.lab.level:
            return Finding(name, "pass", says, p)
        law = _law(self.fit.reading, trial) if self.right and self.fit else None
        if law is not None and hasattr(law.mean, "velocity"):  # it was held against that, too
            return Finding(name, "pass", f"{says}, as its rule has it")
        named = self._named(float(ratios.mean()), 5 / math.sqrt(degrees))
        return Finding(name, "FAIL", f"its variance is {named}: {says}", p)

    def _chains(self) -> Finding:
        name, trial = "independent chains", self.again[0]
        if trial is None:
            return Finding(name, "n/a", "the sampler has no notion of a quadratic energy")
        share = _repeated(trial)
        if share > 0.01:
            says = f"{share:.0%} of the chains that began at one point ended where another did"
            return Finding(name, "FAIL", f"{says}: they share their noise", 0.0)
        x, half = np.nan_to_num(trial.position), len(trial.position) // 2
        p = min(1.0, 2 * min(_independent(x[::2], x[1::2]), _independent(x[:half], x[half:])))
        verdict: Any = "pass" if p >= self.lab.level else "FAIL"
        says = f"neighbours, and halves, are {'' if verdict == 'pass' else 'not '}independent"
        return Finding(name, verdict, says, p, self._correlation(half, 4))

    def _correlation(self, pairs: int, members: int) -> str:
        z = scipy.stats.norm.isf(self.lab.level / members / 2) + scipy.stats.norm.isf(0.01)
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
        p = _independent(np.nan_to_num(first.position), np.nan_to_num(other.position))
        power = self._correlation(len(first.position), 2)
        if p < self.lab.level:
            return Finding(name, "FAIL", "draws of another key depend on those of the first", p)
        return Finding(name, "pass", "the same key the same draws, another key others", p, power)

    def _batch(self) -> Finding:
        name, whole, part = "batch size", self.again[0], self.again[3]
        if whole is None or part is None:
            return Finding(name, "n/a", "the sampler has no notion of a quadratic energy")
        n = len(part.position)
        if np.allclose(whole.position[:n], part.position, rtol=1e-4, atol=1e-4, equal_nan=True):
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
