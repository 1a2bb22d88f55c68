"""Whether a kernel keeps a law: chains that start in it must still have it some steps later.

If x_0 is drawn from the law and the kernel keeps it, x_0 and x_N have the same law, so for every
statistic f and level t a chain crosses t upwards and downwards with equal probability:

    P(f(x_0) ≤ t < f(x_N)) = P(f(x_N) ≤ t < f(x_0)),   both P(f(x_0) ≤ t) - P(f(x_0), f(x_N) ≤ t)

Of c independent chains that crossed, the number that went up is then Binomial(c, 1/2), exactly
(McNemar 1947), for any kernel, any law and any n. Chains that are still where they began add no
noise, so this sees more after few steps than a comparison with other draws. It needs exact draws,
but no distribution function and no burn-in. A Gaussian law is tested by `compare`
instead, with its closed form.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math

import jax
import numpy as np
import scipy
from numpy.typing import NDArray

from jlangevin._core.checks import check_count, check_key, check_known, check_probability
from jlangevin._core.trees import PyTree
from jlangevin.distribution import Drawable, Gaussian, check_drawable
from jlangevin.energies import Quadratic
from jlangevin.energies.base import Energy
from jlangevin.energies.traced import energy_values
from jlangevin.errors import NoEnergyError
from jlangevin.kernels.base import Kernel
from jlangevin.sampling import sample
from jlangevin.verify._arrays import as_matrix
from jlangevin.verify._statistics import POWER, ROWS
from jlangevin.verify.law import Report, compare

__all__ = ["Crossings", "assert_invariant", "invariance"]

Counts = NDArray[np.int64]

_QUANTILES = np.arange(1, 16) / 16  # about where the levels are
_LEVEL_DRAWS = 1024  # draws of other chains, which fix the levels


@dataclasses.dataclass(frozen=True)
class Crossings:
    """The outcome of `invariance` on a law that is not Gaussian; printed, it is a table.

    Attributes:
        num_chains: n.
        num_nonfinite: chains that are not finite at the end; a single one is a failure.
        false_alarm: the largest probability with which a kernel that keeps the law is rejected.
        statistics: their names: the coordinates, in `ravel_pytree` order, and "energy".
        up, down: chains that crossed each level either way, (statistic, level).
    """

    num_chains: int
    num_nonfinite: int
    false_alarm: float
    statistics: tuple[str, ...]
    up: Counts
    down: Counts

    @property
    def p_values(self) -> NDArray[np.float64]:
        """For each level by itself, exact and two-sided, (statistic, level)."""
        fewer = scipy.stats.binom.cdf(np.minimum(self.up, self.down), self.up + self.down, 0.5)
        return np.asarray(np.minimum(1.0, 2 * fewer))

    @property
    def p_value(self) -> float:
        """For all levels together: the law is rejected if it is below `false_alarm`."""
        return 0.0 if self.num_nonfinite else min(1.0, self.up.size * float(self.p_values.min()))

    @property
    def passed(self) -> bool:
        return self.p_value >= self.false_alarm

    @property
    def detectable(self) -> NDArray[np.float64]:
        """The smallest change of the distribution function at each level that is found with
        probability 0.99, if as many chains cross it; infinite where too few do."""
        crossed = self.up + self.down
        critical = scipy.stats.binom.isf(self.false_alarm / self.up.size / 2, crossed, 0.5) + 1
        upwards = scipy.stats.beta.ppf(POWER, critical, crossed - critical + 1)
        gap = (2 * upwards - 1) * crossed / self.num_chains
        return np.where(critical <= crossed, gap, math.inf)

    def __str__(self) -> str:
        lines = [
            f"{self.num_chains:,} chains; a kernel that keeps the law fails with probability "
            f"{self.false_alarm:.0e}",
            "",
            f"{'statistic':<14}{'at quantile':>12}{'up':>9}{'down':>9}{'p-value':>10}"
            "   finds, 99 times in 100",
        ]
        worst = self.p_values.argmin(axis=1)
        rows = np.arange(len(worst))
        shown = np.sort(np.argsort(self.p_values[rows, worst])[:ROWS])
        for i in shown:
            j = worst[i]
            gap = self.detectable[i, j]
            found = f"a change of {gap:.2g} in the distribution function"
            lines.append(
                f"{self.statistics[i]:<14}{_QUANTILES[j]:>12.3g}{self.up[i, j]:>9}"
                f"{self.down[i, j]:>9}{self.p_values[i, j]:>10.2g}   "
                + (found if math.isfinite(gap) else "nothing: too few crossings")
            )
        if len(shown) < len(rows):
            lines.append(f"({len(rows) - len(shown)} less extreme statistics are not shown)")
        if self.num_nonfinite:
            lines.append(f"{self.num_nonfinite} chains are not finite at the end")
        verdict = "the law is kept" if self.passed else "REJECTED: the law is not kept"
        lines += ["", f"{verdict} (p = {self.p_value:.2g}, of {self.up.size} levels)"]
        return "\n".join(lines)


def invariance(
    kernel: Kernel,
    energy: Energy,
    law: Drawable,
    *,
    key: jax.Array,
    num_steps: int,
    num_chains: int,
    false_alarm: float = 1e-6,
) -> Report | Crossings:
    """Start chains from exact draws of a law and test that they still have it at the end.

    A Gaussian law (or a quadratic energy's) is tested by `compare`. For any other law, the
    distribution functions of each coordinate and of the energy are tested at 15 levels near the
    quantiles k/16: chains that cross a level go up or down with probability 1/2. Bonferroni over
    all.

    It sees what changes one of these distribution functions within `num_steps`. It does not see a
    change only in how coordinates depend on each other, if the energy's distribution stays.

    Args:
        kernel, energy: what is run.
        law: what it should keep: a `Gaussian`, or an energy with an exact sampler (at temperature
            1, whatever the kernel's is).
        key: of the chains.
        num_steps: at least 1. A wrong accept step shows within ten or so.
        num_chains: n.
        false_alarm: the largest probability with which a kernel that keeps the law fails.

    Returns:
        A `Report` for a Gaussian, else `Crossings`. Both have `passed` and `p_value`; printed, they
        say what they would have found.

    Raises:
        TypeError: `law` cannot be drawn from, or `false_alarm` is not a number.
        ValueError: no chain moved (a kernel that stands still keeps every law); other arguments
            as in `sample` and `compare`.

    References: McNemar (1947), https://doi.org/10.1007/BF02295996.

    Example:
        >>> import jax, jlangevin as jl
        >>> energy = jl.energies.funnel(dim=2, scale=1.0)
        >>> options = {"key": jax.random.key(0), "num_steps": 5, "num_chains": 20_000}
        >>> jl.verify.invariance(jl.mala(0.4), energy, energy, **options).passed
        True
        >>> jl.verify.invariance(jl.ula(0.4), energy, energy, **options).passed
        False
    """
    check_key("key", key)
    false_alarm = check_probability("false_alarm", false_alarm)
    check_known("the test is made on the host", key=key)
    check_drawable("law", law)
    if isinstance(law, Quadratic):
        law = Gaussian(law.mean, law.cov)
    num_steps = check_count("num_steps", num_steps, minimum=1)
    num_chains = check_count("num_chains", num_chains, minimum=1)

    def positions(steps: int, first: int, count: int) -> PyTree:
        return sample(
            jax.random.clone(key),
            energy,
            kernel,
            law,
            num_steps=steps,
            chains=first + np.arange(count),
            observe=None,
            on_divergence="ignore",
        ).position

    start, end = positions(0, 0, num_chains), positions(num_steps, 0, num_chains)
    before, after = as_matrix(start), as_matrix(end)
    if np.array_equal(before, after):
        raise ValueError(
            f"kernel: no chain moved in {num_steps} step(s), and a kernel that stands still keeps "
            "every law; take a smaller step size or more steps"
        )
    if isinstance(law, Gaussian):
        return compare(end, law, false_alarm=false_alarm)
    others = positions(0, num_chains, _LEVEL_DRAWS)
    levels = as_matrix(others)
    names = [f"coordinate {i}" for i in range(before.shape[1])]
    with contextlib.suppress(NoEnergyError):  # a score has only the coordinates
        before, after, levels = [
            np.hstack([coordinates, np.asarray(energy_values(energy, x), np.float64)[:, None]])
            for coordinates, x in zip((before, after, levels), (start, end, others), strict=True)
        ]
        names.append("energy")
    finite = np.isfinite(after).all(axis=1)
    at = np.quantile(levels, _QUANTILES, axis=0)[:, None]
    below_before, below_after = before[finite] <= at, after[finite] <= at
    return Crossings(
        num_chains=num_chains,
        num_nonfinite=int(np.sum(~finite)),
        false_alarm=false_alarm,
        statistics=tuple(names),
        up=np.sum(below_before & ~below_after, axis=1).T,
        down=np.sum(~below_before & below_after, axis=1).T,
    )


def assert_invariant(
    kernel: Kernel,
    energy: Energy,
    law: Drawable,
    *,
    key: jax.Array,
    num_steps: int,
    num_chains: int,
    false_alarm: float = 1e-6,
) -> None:
    """Raise AssertionError, with the report of `invariance`, if the kernel does not keep the law.

    Args:
        kernel, energy, law, key, num_steps, num_chains, false_alarm: as in `invariance`.

    Raises:
        AssertionError: the law is not kept.
        TypeError, ValueError: as `invariance`.

    Example:
        >>> import jax, jax.numpy as jnp, jlangevin as jl
        >>> energy = jl.energies.quadratic(jnp.eye(2))
        >>> jl.verify.assert_invariant(jl.mala(0.5, temperature=2.0), energy,
        ...     jl.exact.target(energy, jnp.zeros(2), temperature=2.0),
        ...     key=jax.random.key(0), num_steps=5, num_chains=1000)
    """
    report = invariance(
        kernel,
        energy,
        law,
        key=key,
        num_steps=num_steps,
        num_chains=num_chains,
        false_alarm=false_alarm,
    )
    if not report.passed:
        raise AssertionError(str(report))
