"""Samples against a law: tests with stated false-alarm rate and power.

Given n independent draws and the law N(m, S), whitening by S = L Lᵀ makes u = L⁻¹(x - m), which
must be n draws of N(0, I). Three families of tests share the false-alarm rate equally:

    mean         n |ū|² is χ²_d                                                      (exact)
    covariance   n C_ii is χ²_n, n tr C is χ²_{nd}, and a correlation C_ij gives a t_{n-1},
                 C = uᵀu / n; Bonferroni over all of them                            (exact)
    shape        the empirical distribution function of each u_i, and of |u|², stays within the
                 band of Dvoretzky, Kiefer and Wolfowitz (Massart 1990), Bonferroni  (a bound)

so a correct sampler is rejected with a probability of at most `false_alarm`, at any n and d.
For a law on a grid u = Φ⁻¹(F(x)) by its distribution function F, in the plane that of the first
number and that of the second given the first; the tests are then the same, and as exact. A fourth
family counts the draws off the grid, which are at most a share `left` of them.

The tests run on the host in float64, whatever the dtype of the draws. Probabilities come from
SciPy, on which JAX itself depends.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import chex
import jax.numpy as jnp
import numpy as np
import scipy  # its parts are imported when first used: scipy.stats takes as long as JAX
from numpy.typing import NDArray

from jlangevin._core.checks import (
    check_count,
    check_probability,
)
from jlangevin._core.trees import PyTree
from jlangevin.distribution import Gaussian
from jlangevin.verify._arrays import checked_arrays, coordinate_names, standardised
from jlangevin.verify._scores import OnGrid, inside, normal_scores, share_outside
from jlangevin.verify._statistics import POWER, ROWS, Floats

__all__ = ["Check", "Report", "assert_law", "compare", "dkw_radius"]

_FAMILIES = 3  # the false-alarm rate is shared among mean, covariance and shape


@dataclasses.dataclass(frozen=True)
class Check:
    """One family of tests, by its most extreme member.

    Attributes:
        name: "mean", "covariance" or "shape"; "off the grid" for a law on one; or "finite" if
            draws were not.
        worst: the most extreme member and what it measured, in words. Direction i is the residual
            of coordinate i after prediction by the coordinates before it, in standard deviations.
        p_value: corrected for the number of members.
        threshold: the check fails if `p_value` is below it.
        detectable: the smallest error of its kind that is found with probability 0.99: for the
            mean a shift in standard deviations; for the covariance a relative error of a
            variance; for the shape a gap between distribution functions; off the grid a share of
            the draws. Infinite if none is found. For a law on a grid, deviations are those of u.
    """

    name: str
    worst: str
    p_value: float
    threshold: float
    detectable: float

    @property
    def passed(self) -> bool:
        return self.p_value >= self.threshold

    @property
    def z_score(self) -> float:
        """The absolute value of a normal deviate with this two-sided p-value."""
        return float(scipy.stats.norm.isf(self.p_value / 2)) if self.p_value > 0 else math.inf


@dataclasses.dataclass(frozen=True)
class Report:
    """The outcome of `compare`; printed, it is a table.

    Attributes:
        num_draws: n, finite draws only.
        coordinates: the names of the d coordinates: their numbers, or paths in a pytree.
        num_nonfinite: draws that are not finite; a single one is a failure.
        false_alarm: the largest probability with which a correct sampler is rejected.
        checks: the families of tests.
        mean, sample_mean, mean_z: of the law, of the draws, and the z-score of their difference
            in each coordinate, (d,).
        cov, sample_cov, cov_z: likewise, (d, d); the sample covariance is about the law's mean.
    """

    num_draws: int
    coordinates: tuple[str, ...]
    num_nonfinite: int
    false_alarm: float
    checks: tuple[Check, ...]
    mean: Floats
    sample_mean: Floats
    mean_z: Floats
    cov: Floats
    sample_cov: Floats
    cov_z: Floats

    @property
    def passed(self) -> bool:
        """Whether all checks passed."""
        return all(check.passed for check in self.checks)

    @property
    def p_value(self) -> float:
        """For all checks together: the law is rejected if it is below `false_alarm`."""
        return min(1.0, min(c.p_value * self.false_alarm / c.threshold for c in self.checks))

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain numbers, lists and strings, for JSON; infinities become None."""

        def plain(value: Any) -> Any:
            if isinstance(value, dict):
                return {key: plain(each) for key, each in value.items()}
            if isinstance(value, list | tuple | np.ndarray):
                return [plain(each) for each in value]
            if isinstance(value, float):  # np.float64 is one
                return float(value) if math.isfinite(value) else None
            return value

        fields = {**dataclasses.asdict(self), "passed": self.passed, "p_value": self.p_value}
        return {key: plain(value) for key, value in fields.items()}

    def __str__(self) -> str:
        d = len(self.mean)
        width = max(len(check.worst) for check in self.checks) + 3
        lines = [
            f"{self.num_draws:,} draws in {d} dimension(s); "
            f"a correct sampler fails with probability {self.false_alarm:.0e}",
            "",
            f"{'check':<12}{'p-value':>10}{'fails below':>13}   "
            f"{'worst member':<{width}}finds, 99 times in 100",
        ]
        finds = {
            "mean": "a shift of {:.2g} sd",
            "covariance": "a variance off by {:.2g} of itself",
            "shape": "a gap of {:.2g} in a cdf",
            "off the grid": "a share of {:.2g}",
        }
        for check in self.checks:
            found = finds.get(check.name, "").format(check.detectable)
            if not math.isfinite(check.detectable):
                found = "nothing: too few draws" if check.name in finds else ""
            lines.append(
                f"{check.name:<12}{check.p_value:>10.2g}{check.threshold:>13.1g}   "
                f"{check.worst:<{width}}{found}" + ("" if check.passed else "   FAILED")
            )
        if d > 1:
            lines.append(
                "(direction i is what coordinates before i do not predict of it, in its sd)"
            )
        lines += [
            "",
            f"{'coordinate':<12}{'mean':>13}{'measured':>13}{'z':>8}"
            f"{'variance':>15}{'measured':>13}{'z':>8}",
        ]
        variance_z = np.diagonal(self.cov_z)
        extremity = np.maximum(np.abs(self.mean_z), np.abs(variance_z))
        shown = np.sort(np.argsort(-np.nan_to_num(extremity, nan=np.inf))[:ROWS])
        for i in shown:
            lines.append(
                f"{self.coordinates[i]:<12}{self.mean[i]:>13.6g}{self.sample_mean[i]:>13.6g}{self.mean_z[i]:>8.2f}"
                f"{self.cov[i, i]:>15.6g}{self.sample_cov[i, i]:>13.6g}{variance_z[i]:>8.2f}"
            )
        if len(shown) < d:
            lines.append(f"({d - len(shown)} less extreme coordinates are not shown)")
        verdict = "the draws agree with the law" if self.passed else "the law is REJECTED"
        lines += ["", f"{verdict} (p = {self.p_value:.2g})"]
        return "\n".join(lines)


def compare(samples: PyTree, law: Gaussian | OnGrid, *, false_alarm: float = 1e-6) -> Report:
    """Test independent draws against a Gaussian law, or one on a grid, or a product of such.

    Args:
        samples: one draw per chain, (n, d), or a pytree like `law.mean` with a leading axis of n.
            The draws must be independent: take one position per chain, not one chain's history.
        law: the law they should have: a `Gaussian` with a regular covariance, or a law from
            `exact.grid_law` or `exact.product_law` and their like; in the plane also of a position
            and the normal that is carried with it, `exact.Carried`. Or a batch of n Gaussians,
            one for each draw, as `exact.law` makes of chains that differ (`each`): then each draw
            is brought to N(0, I) by its own mean and Cholesky's root, and the report is on these.
        false_alarm: the largest probability with which a correct sampler fails.

    Returns:
        A `Report`. Draws that are not finite fail it, and are left out of the other checks.

    Raises:
        TypeError: `law` is not a `Gaussian`, `GridLaw`, `PlaneLaw` or `ProductLaw`, or
            `false_alarm` is not a number.
        ValueError: `samples` do not fit the law or are fewer than 2; the covariance is singular; a
            law on a grid is not known well enough for this many draws; `false_alarm` is not
            between 0 and 1.

    Example:
        >>> import jax, jax.numpy as jnp, jlangevin as jl
        >>> law = jl.Gaussian(jnp.zeros(2), jnp.eye(2))
        >>> jl.verify.compare(law.sample(jax.random.key(0), 10_000), law).passed
        True
        >>> jl.verify.compare(1.1 * law.sample(jax.random.key(0), 10_000), law).passed
        False
    """
    false_alarm = check_probability("false_alarm", false_alarm)
    if isinstance(law, Gaussian) and jnp.ndim(law.cov) == 3:
        samples, law = standardised(samples, law)
    x, mean, cov = checked_arrays(samples, law)
    finite: NDArray[np.bool_] = np.all(np.isfinite(x), axis=1)
    num_nonfinite = int(np.sum(~finite))
    x = x[finite]
    n, d = x.shape
    threshold = false_alarm / (_FAMILIES + (not isinstance(law, Gaussian)))
    others = []
    if not isinstance(law, Gaussian):
        held = inside(law, x)
        others.append(_check_left(law, int(np.sum(~held)), n, threshold))
        x = x[held]
        n = len(x)
    if n < 2:
        raise ValueError(f"samples: {n} finite draws are left of {len(finite)}; give at least 2")
    deviation = x - mean
    if not isinstance(law, Gaussian):
        whitened = normal_scores(law, x)
    else:
        whitened = scipy.linalg.solve_triangular(_cholesky(cov), deviation.T, lower=True).T
    # Squares of finite draws may overflow; an infinite statistic has p = 0.
    with np.errstate(over="ignore", invalid="ignore"):
        checks = [
            _check_mean(whitened, threshold),
            _check_covariance(whitened, threshold),
            _check_shape(whitened, threshold),
            *others,
        ]
        sample_mean, sample_cov = x.mean(axis=0), np.dot(deviation.T, deviation) / n
        variance = np.diagonal(cov)
        mean_z = (sample_mean - mean) / np.sqrt(variance / n)
        # Var(x_i x_j) = S_ii S_jj + S_ij² about the mean.
        cov_z = (sample_cov - cov) / np.sqrt((np.outer(variance, variance) + cov**2) / n)
    if num_nonfinite:
        worst = f"{num_nonfinite} of {len(finite)} not finite"
        checks.insert(0, Check("finite", worst, 0.0, threshold, math.inf))
    chex.assert_shape([mean_z, sample_mean], (d,))
    chex.assert_shape([cov_z, sample_cov], (d, d))
    return Report(
        num_draws=n,
        coordinates=coordinate_names(law.mean),
        num_nonfinite=num_nonfinite,
        false_alarm=false_alarm,
        checks=tuple(checks),
        mean=mean,
        sample_mean=sample_mean,
        mean_z=mean_z,
        cov=cov,
        sample_cov=sample_cov,
        cov_z=cov_z,
    )


def assert_law(samples: PyTree, law: Gaussian | OnGrid, *, false_alarm: float = 1e-6) -> None:
    """Raise AssertionError, with the report of `compare`, if the draws do not have the law.

    Args:
        samples, law, false_alarm: as in `compare`.

    Raises:
        AssertionError: the law is rejected.
        TypeError, ValueError: as `compare`.

    Example:
        >>> import jax, jax.numpy as jnp, jlangevin as jl
        >>> law = jl.Gaussian(jnp.zeros(1), jnp.eye(1))
        >>> jl.verify.assert_law(law.sample(jax.random.key(1), 1000), law)
    """
    report = compare(samples, law, false_alarm=false_alarm)
    if not report.passed:
        raise AssertionError(str(report))


def dkw_radius(num_draws: int, false_alarm: float) -> float:
    """Half the width of a band around a distribution function F.

        ε = sqrt(log(2/α) / (2n)),    P(sup_x |F_n(x) - F(x)| > ε) ≤ α

    for the empirical distribution function F_n of n independent draws of F, for any F and n.

    Args:
        num_draws: n ≥ 1.
        false_alarm: α in (0, 1).

    Raises:
        TypeError, ValueError: n or α out of range.

    References: Dvoretzky, Kiefer, Wolfowitz (1956); Massart (1990).

    Example:
        >>> import jlangevin as jl
        >>> round(jl.verify.dkw_radius(10_000, 0.05), 4)
        0.0136
    """
    num_draws = check_count("num_draws", num_draws, minimum=1)
    false_alarm = check_probability("false_alarm", false_alarm)
    return math.sqrt(math.log(2 / false_alarm) / (2 * num_draws))


def _cholesky(cov: Floats) -> Floats:
    scale = np.sqrt(np.diagonal(cov))
    if not np.isfinite(cov).all():
        raise ValueError("law: its covariance is not finite")
    try:
        if not (scale > 0).all():
            raise scipy.linalg.LinAlgError
        lower: Floats = scipy.linalg.cholesky(cov / np.outer(scale, scale), lower=True)
    except scipy.linalg.LinAlgError:
        raise ValueError(
            "law: its covariance is singular, so there is no density to test against; "
            "compare after at least one step, or over the coordinates that vary"
        ) from None
    return scale[:, None] * lower


def _check_left(law: OnGrid, num_left: int, n: int, threshold: float) -> Check:
    """Of n draws those off the grid, which are as many as chains leave, or as it is wrong by."""
    left, error = share_outside(law)
    share = min(left + error, 1.0)
    p = float(scipy.stats.binom.sf(num_left - 1, n, share)) if num_left else 1.0
    fails = int(scipy.stats.binom.isf(threshold, n, share)) + 1
    # The share with which so many are found with the power: Clopper and Pearson's bound.
    found = float(scipy.stats.beta.isf(1 - POWER, fails, n - fails + 1)) if fails <= n else math.inf
    worst = f"{num_left} of {n}, {left:.1g} of all expected"
    return Check("off the grid", worst, p, threshold, found)


def _check_mean(u: Floats, threshold: float) -> Check:
    n, d = u.shape
    average = u.mean(axis=0)
    statistic = n * float(np.dot(average, average))
    critical = scipy.stats.chi2.isf(threshold, d)

    def missed(noncentrality: float) -> float:
        return float(scipy.stats.ncx2.cdf(critical, d, noncentrality)) - (1 - POWER)

    high = critical
    while missed(high) > 0:
        high *= 2
    noncentrality = scipy.optimize.brentq(missed, 0.0, high)
    worst = int(np.argmax(np.abs(average)))
    return Check(
        "mean",
        f"direction {worst}: off by {average[worst]:+.3g} sd",
        float(scipy.stats.chi2.sf(statistic, d)),
        threshold,
        math.sqrt(noncentrality / n),
    )


def _check_covariance(u: Floats, threshold: float) -> Check:
    n, d = u.shape
    c = np.dot(u.T, u) / n
    variances = np.diagonal(c)

    def two_sided(statistic: Any, degrees: float) -> Any:
        chi2 = scipy.stats.chi2(degrees)
        below, above = chi2.cdf(statistic), chi2.sf(statistic)
        return np.minimum(1.0, 2 * np.minimum(below, above))

    total = float(two_sided(n * variances.sum(), n * d))
    single = two_sided(n * variances, n)
    i = int(single.argmin())
    found = [
        (total, f"total variance: {variances.sum() / d:.4g} of the law's"),
        (float(single[i]), f"variance of direction {i}: {variances[i]:.4g}, not 1"),
    ]
    rows, cols = np.tril_indices(d, -1)
    with np.errstate(divide="ignore"):  # r = ±1 has t = ±inf and p = 0
        r = c[rows, cols] / np.sqrt(variances[rows] * variances[cols])
        t = r * np.sqrt((n - 1) / np.maximum(1 - r**2, 0))
    # Without variance there is no correlation; then the check of the variance fails.
    p_values = np.where(np.isnan(t), 1.0, 2 * scipy.stats.t.sf(np.abs(t), n - 1))
    if d > 1:
        k = int(p_values.argmin())
        found.append(
            (float(p_values[k]), f"correlation of {cols[k]} and {rows[k]}: {r[k]:+.3g}, not 0")
        )
    members = 1 + d + len(rows)
    p, worst = min(found)
    alpha = threshold / members / 2
    excess = scipy.stats.chi2.isf(alpha, n) / scipy.stats.chi2.ppf(1 - POWER, n) - 1
    deficit = 1 - scipy.stats.chi2.ppf(alpha, n) / scipy.stats.chi2.isf(1 - POWER, n)
    detectable = float(max(excess, deficit))
    return Check("covariance", worst, min(1.0, p * members), threshold, detectable)


def _check_shape(u: Floats, threshold: float) -> Check:
    n, d = u.shape
    members = [(u[:, i], scipy.stats.norm.cdf, f"direction {i}") for i in range(d)]
    if d > 1:
        members.append((np.sum(u * u, axis=1), scipy.stats.chi2(d).cdf, "distance from the mean"))
    above = np.arange(1, n + 1) / n
    gaps = []
    for values, cdf, name in members:
        expected = cdf(np.sort(values))
        gaps.append((max(np.max(above - expected), np.max(expected - above + 1 / n)), name))
    gap, worst = max(gaps)
    p = min(1.0, len(members) * 2 * math.exp(-2 * n * gap**2))
    critical = dkw_radius(n, threshold / len(members))
    detectable = critical + math.sqrt(math.log(1 / (1 - POWER)) / (2 * n))
    return Check(
        "shape",
        f"{worst}: cdf off by {gap:.3g}",
        p,
        threshold,
        detectable if detectable < 1 else math.inf,
    )
