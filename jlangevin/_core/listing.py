"""What a public module shows of itself, to `dir` and to the completion of names."""

from __future__ import annotations

from collections.abc import Callable, Iterable

__all__ = ["listing"]


def listing(names: Iterable[str]) -> Callable[[], list[str]]:
    """A module's `__dir__`: its public names alone, not what it imports nor its files.

    __dir__ = listing(__all__)
    """
    return lambda: sorted(names)
