"""Verification: samples against what they must be, with stated false-alarm rate and power."""

from jlangevin.verify.audit import AuditReport, Draw, Finding, Rule, audit, drawer
from jlangevin.verify.law import Check, Report, assert_law, compare, dkw_radius

__all__ = [
    "AuditReport",
    "Check",
    "Draw",
    "Finding",
    "Report",
    "Rule",
    "assert_law",
    "audit",
    "compare",
    "dkw_radius",
    "drawer",
]
