"""How a public name is retired: it works for one more minor version, and names its replacement."""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

from jlangevin._core.warn import warn

__all__ = ["deprecated", "renamed", "warn_deprecated"]

P = ParamSpec("P")
R = TypeVar("R")


def deprecated(instead: str, *, since: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """A decorator for a function that will be removed; each call warns, at the caller's line.

        @deprecated("exact.law", since="0.3")
        def old_law(...): ...

    Args:
        instead: what to use instead.
        since: the version that deprecated it.
    """

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        @functools.wraps(function)
        def warning(*args: P.args, **kwargs: P.kwargs) -> R:
            warn_deprecated(function.__qualname__, instead, since=since)
            return function(*args, **kwargs)

        return warning

    return decorate


def renamed(module: str, names: dict[str, str], *, since: str) -> Callable[[str], Any]:
    """A module's `__getattr__` for functions, classes or constants that were renamed.

        __getattr__ = renamed(__name__, {"Old": "jlangevin.there.New"}, since="0.3")

    Args:
        module: `__name__`.
        names: for each old name, the new one with its module.
        since: the version that renamed them.
    """

    def look_up(name: str) -> Any:
        if name not in names:
            raise AttributeError(f"module {module!r} has no attribute {name!r}")
        home, _, new = names[name].rpartition(".")
        warn_deprecated(f"{module}.{name}", names[name], since=since)
        return getattr(importlib.import_module(home), new)

    return look_up


def warn_deprecated(name: str, instead: str, *, since: str) -> None:
    """Warn that what a user still has, such as a method of the user's own, has another name now."""
    message = f"{name} is deprecated since jlangevin {since}; use {instead} instead"
    warn(message, DeprecationWarning)
