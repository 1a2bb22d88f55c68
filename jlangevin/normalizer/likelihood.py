"""How likely data are under an energy."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import jax
import numpy as np
from jax.typing import ArrayLike
from numpy.typing import NDArray
from scipy import special

from jlangevin._core import trees
from jlangevin._core.checks import (
    check_known,
    check_no_run,
    check_number,
    check_probability,
    check_scalar,
)
from jlangevin._core.trees import PyTree
from jlangevin.energies.base import Energy, check_callable, check_energy_on
from jlangevin.energies.traced import energy_values
from jlangevin.normalizer.report import LogZ

__all__ = ["LogLikelihood", "log_likelihood"]


@dataclasses.dataclass(frozen=True)
class LogLikelihood:
    """The result of `log_likelihood`; printed, it is a few lines.

    Attributes:
        value: the mean of log p(x) over the data, in nats.
        std_error: of that as an estimate of the mean over the law that data are from: the standard
            error over the data, and that of log Z.
        interval: (low, high), by the standard error; if log Z has problems, its bounds instead of
            its error.
        of_data: log p(x) of each item, (n,).
        confidence: of the interval.
        problems: those of log Z.
    """

    value: float
    std_error: float
    interval: tuple[float, float]
    of_data: NDArray[np.float64]
    confidence: float
    problems: tuple[str, ...]

    @property
    def ok(self) -> bool:
        """Whether log Z is known well."""
        return not self.problems

    def __str__(self) -> str:
        head = f"mean log p(x) = {self.value:.6g} ± {self.std_error:.2g} nats"
        if not self.ok:
            head = f"mean log p(x) is NOT known well: about {self.value:.6g} nats"
        low, high = self.interval
        lines = [
            f"{head}, over {len(self.of_data):,} items",
            f"  interval    [{low:.6g}, {high:.6g}] at {100 * self.confidence:g}%",
        ]
        lines += [f"  problem     {problem}" for problem in self.problems]
        return "\n".join(lines)


def log_likelihood(
    data: PyTree,
    energy: Energy,
    log_z: LogZ | float,
    *,
    temperature: ArrayLike = 1.0,
    confidence: float = 0.99,
) -> LogLikelihood:
    """The mean of log p(x) = -E(x)/T - log Z over data, with an interval.

    The data are to be held out: those that the energy was learned from are likelier. Their number
    n limits how well the mean over their law is known, log Z how well each term is:

        std_error² = Var(E(x)/T)/n + std_error(log Z)²

    Args:
        data: independent items, a pytree of arrays whose first axis counts them, two or more.
        energy: E, a callable from one item to a scalar.
        log_z: a `LogZ` of it, as `log_normalizer` finds it, or a number that is exact.
        temperature: T > 0, that of `log_z`.
        confidence: of the interval, in (0, 1).

    Returns:
        `LogLikelihood`. If `log_z` has problems, the interval is that of the data with log Z
        anywhere in its own, and it is named in `problems`.

    Raises:
        TypeError: data that are not floating, an energy that is none, a `log_z` that is neither.
        ValueError: fewer than two items; energies that are not finite, with the row; another
            temperature than that of `log_z`; the log of a ratio of normalisers.

    Example:
        >>> import jax, jax.numpy as jnp, jlangevin as jl
        >>> energy = jl.energies.rosenbrock(a=0.5, b=1.0)
        >>> base = jl.Gaussian(jnp.array([1.0, 2.0]), jnp.diag(jnp.array([2.0, 9.0])))
        >>> log_z = jl.log_normalizer(jax.random.key(0), energy, jl.mala(0.1), base, draws=energy,
        ...                           num_steps=300, num_chains=500)
        >>> data = energy.sample(jax.random.key(1), 1_000)
        >>> found = jl.normalizer.log_likelihood(data, energy, log_z)
        >>> truth = -1.0 - float(energy.log_z)  # as E is half a sum of two squares, of mean 1 each
        >>> found.interval[0] < truth < found.interval[1]
        True
    """
    check_callable(energy)
    check_no_run("data", data, "run.position")
    check_known("the likelihood is estimated on the host", data=data, energy=energy)
    level = check_probability("confidence", confidence)
    t = float(check_scalar("temperature", temperature, positive=True))
    z = _as_log_z(log_z, t)
    items = trees.as_position("data", data, floating=True)
    counts = {leaf.shape[:1] for leaf in jax.tree.leaves(items)}
    if len(counts) != 1 or not next(iter(counts)) or next(iter(counts))[0] < 2:
        raise ValueError(
            "data: expected arrays whose first axis counts two items or more, got "
            f"{trees.shown(items)}"
        )
    check_energy_on(energy, items)
    values = np.asarray(energy_values(energy, items), np.float64) / t
    wrong = ~np.isfinite(values)
    if wrong.any():
        row = int(np.argmax(wrong))
        raise ValueError(
            f"data: the energy is not finite at {wrong.sum()} of {len(values)} items, the first "
            f"of which is row {row}, where it is {values[row]}; look at data[{row}]"
        )
    n = len(values)
    own = float(np.std(values, ddof=1)) / math.sqrt(n)
    error = math.hypot(own, z.std_error if z.ok else 0.0)
    mean = float(-values.mean())
    spread = float(special.stdtrit(n - 1, 0.5 + level / 2))
    if z.ok:
        interval = (mean - z.value - spread * error, mean - z.value + spread * error)
    else:
        interval = (mean - spread * own - z.interval[1], mean + spread * own - z.interval[0])
    return LogLikelihood(
        value=mean - z.value,
        std_error=error,
        interval=interval,
        of_data=-values - z.value,
        confidence=level,
        problems=z.problems,
    )


def _as_log_z(value: Any, temperature: float) -> LogZ:
    if not isinstance(value, LogZ):
        check_known("the likelihood is estimated on the host", log_z=value)
        check_number("log_z", value)
        number = float(check_scalar("log_z", value))
        exact = (number, number)
        return LogZ(number, 0.0, exact, exact, 1.0, None, None, math.nan, math.nan, ())
    if value.of != "log Z":
        raise ValueError(
            f"log_z: expected log Z of the energy, got {value.of}; add what is known of the other"
        )
    if not math.isclose(value.temperature, temperature, rel_tol=1e-6):
        raise ValueError(
            f"temperature: {temperature}, but log_z is that of T = {value.temperature}"
        )
    return value
