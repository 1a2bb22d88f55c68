"""Verification: samples against what they must be, with stated false-alarm rate and power."""

from jlangevin.verify.law import Check, Report, assert_law, compare, dkw_radius

__all__ = ["Check", "Report", "assert_law", "compare", "dkw_radius"]
