"""What is known of a normaliser: an estimate, its error, bounds, and whether to believe them."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jlangevin._core.warn import warn
from jlangevin.errors import NormalizerWarning

__all__ = ["LogZ", "Weights"]

Floats = NDArray[np.float64]


@dataclasses.dataclass(frozen=True)
class Weights:
    """The chains of one direction.

    Attributes:
        log_weights: of each chain, (chain,); on the way back of E[w] = Z/Z'.
        value: what this direction says alone of log Z'/Z (or log Z).
        std_error: its standard error.
        ess: what the weights are worth, (Σ w)²/Σ w², from 1 to the number of chains.
        acceptance: the kernel's mean acceptance rate.
    """

    log_weights: Floats
    value: float
    std_error: float
    ess: float
    acceptance: float = math.nan

    def __str__(self) -> str:
        error = f"{self.value:.6g} ± {self.std_error:.2g}"
        text = f"{error}, weights of {len(self.log_weights):,} chains worth {self.ess:,.1f}"
        return text + f", acceptance {self.acceptance:.2f}" * math.isfinite(self.acceptance)


@dataclasses.dataclass(frozen=True)
class LogZ:
    """log Z, or log Z'/Z, and how well it is known; printed, it is a few lines.

    Attributes:
        value: the estimate.
        std_error: its standard error, which means little if there are `problems`.
        interval: (low, high), that the truth is in with the probability `confidence`: by the
            standard error, or if there are problems the bounds.
        bounds: (lower, upper), between which the truth is with a probability of at least
            `confidence`, whatever the law of the weights: the lower one if chains began with
            exact draws of the base, the upper one, which is inf without the way back, if they
            began with exact draws of the energy.
        confidence: of the interval and of the bounds.
        forward, reverse: what each direction says, `Weights`; None for one that was not gone.
        agreement: the p-value of a test that both directions obey Crooks' theorem; NaN for one.
        overlap: how many chains are, in effect, where both directions go; NaN for one.
        problems: why this is not to be believed and what to do, a sentence or two each.
        of: what this is, in words.
        temperature: T.
    """

    value: float
    std_error: float
    interval: tuple[float, float]
    bounds: tuple[float, float]
    confidence: float
    forward: Weights | None
    reverse: Weights | None
    agreement: float
    overlap: float
    problems: tuple[str, ...]
    of: str = "log Z"
    temperature: float = 1.0

    @property
    def ok(self) -> bool:
        """Whether nothing speaks against the estimate and its error."""
        return not self.problems

    @property
    def free_energy(self) -> float:
        """-T log Z, or the difference -T log Z'/Z."""
        return -self.temperature * self.value

    def warn(self) -> None:
        """A `NormalizerWarning` if there are problems."""
        if self.problems:
            warn(f"{self.of}: " + "; ".join(self.problems), NormalizerWarning)

    def __str__(self) -> str:
        low, high = self.interval
        share = f"{100 * self.confidence:g}%"
        head = f"{self.of} = {self.value:.6g} ± {self.std_error:.2g}"
        if not self.ok:
            head = f"{self.of} is NOT known well: about {self.value:.6g}"
        lines = [
            head,
            f"  interval    [{low:.6g}, {high:.6g}] at {share}",
            f"  bounds      [{self.bounds[0]:.6g}, {self.bounds[1]:.6g}] at {share}, whatever the "
            "law of the weights",
        ]
        for name, way in (("forward", self.forward), ("reverse", self.reverse)):
            if way is not None:
                lines.append(f"  {name:<12}{way}")
        if math.isfinite(self.agreement):
            lines.append(
                f"  agreement   p = {self.agreement:.2g} that both directions are those of one "
                f"path, {self.overlap:,.0f} chains where both go"
            )
        lines += [f"  problem     {problem}" for problem in self.problems]
        return "\n".join(lines)


def shifted(known: LogZ, by: float, of: str, temperature: Any) -> LogZ:
    """`known` plus a number that is known exactly."""

    def way(weights: Weights | None) -> Weights | None:
        return weights and dataclasses.replace(weights, value=weights.value + by)

    return dataclasses.replace(
        known,
        value=known.value + by,
        interval=(known.interval[0] + by, known.interval[1] + by),
        bounds=(known.bounds[0] + by, known.bounds[1] + by),
        forward=way(known.forward),
        reverse=way(known.reverse),
        of=of,
        temperature=float(temperature),
    )
