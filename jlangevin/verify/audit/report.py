"""The report of an audit."""

from __future__ import annotations

import dataclasses
from typing import Any, Literal

__all__ = ["NO_QUADRATIC", "AuditReport", "Finding"]

NO_QUADRATIC = "the sampler has no notion of a quadratic energy"


@dataclasses.dataclass(frozen=True)
class Finding:
    """One line of an audit.

    Attributes:
        name: what was looked at.
        verdict: "pass"; "FAIL"; "info" if nothing can be right or wrong; "n/a".
        p_value: of the decisive test, or None.
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
        findings: one for each check.
        step_size, temperature, num_chains: the settings.
        false_alarm: the largest probability with which a correct sampler fails.
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
