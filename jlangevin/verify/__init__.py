"""Verification: test samples against their law, with stated false-alarm rate and power."""

from jlangevin._core.listing import listing
from jlangevin.verify.assertions import assert_no_recompilation, assert_streams_independent
from jlangevin.verify.audit import AuditReport, Draw, Finding, Rule, audit, drawer
from jlangevin.verify.invariance import Crossings, assert_invariant, invariance
from jlangevin.verify.law import Check, Report, assert_law, compare, dkw_radius

__all__ = [
    "AuditReport",
    "Check",
    "Crossings",
    "Draw",
    "Finding",
    "Report",
    "Rule",
    "assert_invariant",
    "assert_law",
    "assert_no_recompilation",
    "assert_streams_independent",
    "audit",
    "compare",
    "dkw_radius",
    "drawer",
    "invariance",
]

__dir__ = listing(__all__)
