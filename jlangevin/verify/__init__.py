"""Verification: samples against what they must be, with stated false-alarm rate and power."""

from jlangevin.verify.assertions import assert_no_recompilation, assert_streams_independent
from jlangevin.verify.invariance import Crossings, assert_invariant, invariance
from jlangevin.verify.law import Check, Report, assert_law, compare

__all__ = [
    "Check",
    "Crossings",
    "Report",
    "assert_invariant",
    "assert_law",
    "assert_no_recompilation",
    "assert_streams_independent",
    "compare",
    "invariance",
]
