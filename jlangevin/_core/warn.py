"""Warnings that point at the caller's line, however deep in the library they are raised."""

from __future__ import annotations

import inspect
import warnings

__all__ = ["warn"]

# Packages whose frames may lie between two of ours.
_BETWEEN = ("jlangevin", "jax", "contextlib", "functools")


def warn(message: str, category: type[Warning]) -> None:
    """`warnings.warn`, at the innermost line that is neither ours nor called by us through JAX."""
    frame, level = inspect.currentframe(), 0
    while frame is not None and _is_ours(frame.f_globals.get("__name__", "")):
        frame, level = frame.f_back, level + 1
    warnings.warn(message, category, stacklevel=level + 1)


def _is_ours(module: str) -> bool:
    return module.partition(".")[0] in _BETWEEN
