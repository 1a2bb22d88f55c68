"""The finding on the energy that was given."""

from __future__ import annotations

from jlangevin.verify.audit.conclusion import Conclusion
from jlangevin.verify.audit.report import Finding
from jlangevin.verify.audit.trials import Trials

__all__ = ["gradient"]


def gradient(trials: Trials, conclusion: Conclusion) -> Finding:
    """Whether the gradient of the energy that was given is that of its value."""
    name, found = "gradient", trials.gradient
    if found is None:
        return Finding(name, "n/a", "no energy was given")
    says = "; ".join(line.strip().removeprefix("WRONG: ") for line in str(found).splitlines())
    if found.wrong.any():
        return Finding(name, "FAIL", f"the gradient is wrong: {says}")
    return Finding(name, "pass" if found.passed else "info", says)
