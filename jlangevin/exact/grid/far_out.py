"""Limits and refusals shared by all questions that places far out may decide, where chains leave or
nearly all proposals are rejected."""

from __future__ import annotations

from collections.abc import Sequence

from jlangevin.errors import NoGridLawError

__all__ = [
    "FARTHER",
    "GROSS",
    "LEAVES",
    "LEAVES_A_STEP",
    "OUTSIDE",
    "STUCK",
    "check_gap",
    "settled_time",
]

LEAVES = 1e-4  # a share of chains that leave, above which a law is refused
LEAVES_A_STEP = 1e-6  # likewise of a stationary law, in one step
GROSS = 1e-3  # a share that leaves, above which a rough law is enough to say so

FARTHER = (1.0, 1.3, 1.7, 2.2, 3.0)  # times the grid, where rejections are looked at
OUTSIDE = (1e-6, 1e-8, 1e-10)  # masses that are left out
_MOVES_BY = 1e-3  # relative: a number that changes by less than this holds for all of these masses
STUCK = 1e-3  # by how much the share of rejections has to be below |λ₂|


def check_gap(name: str, stuck: float, second: float, where: str) -> None:
    """Raise NoGridLawError if a chain is stuck somewhere for longer than it takes to forget."""
    if 0 < stuck >= second - STUCK:
        raise NoGridLawError(
            f"kernel: {name} has no spectral gap on this energy, and so no relaxation time: "
            f"at {where} it rejects a share of {stuck:.6g} of its proposals. "
            "exact.grid_autocorrelation_time says how it mixes where its mass is"
        )


def settled_time(what: str, times: Sequence[float], mass: str, hint: str, unit: str = "") -> float:
    """The time without the least of the masses `OUTSIDE`, if all of these give the same."""
    if max(times) - min(times) > _MOVES_BY * min(times):
        shown = ", ".join(f"{time:.4g}" for time in times)
        raise NoGridLawError(
            f"kernel: {what} on this energy depends on how far out one looks: it is {shown}{unit} "
            f"where all but 1e-6, 1e-8 and 1e-10 of {mass}. {hint}"
        )
    return times[-1]
