"""How the moves A and B make a step of Hamilton's equations, or of those at a constant speed."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["Stage", "as_integrator", "shares", "stages"]

_MINIMAL = 0.1931833275037836  # which makes the leading error of a step the smallest
# These make the largest mean error of a harmonic oscillator's energy the smallest, over all steps
# up to a time of 1/ω a gradient.
_TWO = 0.21178
_THREE = 0.11888010966548, 0.29619504261126

# The shares of a step that the moves take in turn: B, A, B, and so on. Each is a palindrome.
_SHARES = {
    "leapfrog": (0.5, 1.0, 0.5),
    "minimal_norm": (_MINIMAL, 0.5, 1 - 2 * _MINIMAL, 0.5, _MINIMAL),
    "BCSS2": (_TWO, 0.5, 1 - 2 * _TWO, 0.5, _TWO),
    "BCSS3": (
        _THREE[0],
        _THREE[1],
        0.5 - _THREE[0],
        1 - 2 * _THREE[1],
        0.5 - _THREE[0],
        _THREE[1],
        _THREE[0],
    ),
}


class Stage(NamedTuple):
    """B A B, in shares of a step."""

    before: float
    along: float
    after: float


def shares(integrator: str) -> tuple[float, ...]:
    """Those of B, A, B, … in turn, which begin and end with B."""
    return _SHARES[integrator]


def stages(integrator: str) -> list[Stage]:
    """The same, with every B between two A's halved, so that each A has its own two. A stage costs
    one gradient."""
    own = list(_SHARES[integrator])
    own[2:-1:2] = [share / 2 for share in own[2:-1:2]]
    return [Stage(own[k - 1], own[k], own[k + 1]) for k in range(1, len(own), 2)]


def as_integrator(integrator: object) -> str:
    """`integrator`, checked to be the name of one."""
    if not isinstance(integrator, str) or integrator not in _SHARES:
        *names, last = (f'"{name}"' for name in _SHARES)
        raise ValueError(f"integrator: expected {', '.join(names)} or {last}, got {integrator!r}")
    return integrator
