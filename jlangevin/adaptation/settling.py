"""Whether chains have settled, and which stayed behind, judged by a window of looks.

Chains are independent given what they share, so the spread between them gives the error of
estimates. Chains that have different laws are each compared with themselves.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from scipy.special import stdtrit

from jlangevin.adaptation.ensemble import Look
from jlangevin.adaptation.metric import Metric

__all__ = ["MOST_OFF", "Window", "are_behind", "centred", "is_falling", "miss", "seen_in"]

Array = np.ndarray[Any, np.dtype[np.float64]]

MOST_OFF = 0.1  # how far an acceptance rate may miss its target

_MOST_RHAT = 1.1
_MOST_DRIFT = 0.1  # of a standard deviation, between the halves of a window
_CHANCE = 5e-5  # probability of so large an error, by Student's t: four standard errors


def is_falling(looks: list[Look]) -> bool:
    """Whether the energy still falls in more chains than by chance."""
    half = len(looks) // 2
    early, late = (
        np.mean([look.energies for look in part], axis=0) for part in (looks[:half], looks[-half:])
    )
    fell = np.mean(late < early)
    return bool(fell > 0.5 + 1.5 / np.sqrt(len(early)))


def are_behind(looks: list[Look], temperature: float) -> np.ndarray[Any, Any]:
    """Which chains stay where the energy is far above that of the lowest quarter of the chains.

    Far means higher by more than 10 T plus 8 standard deviations: of the energy within the lowest
    quarter, or of a Gaussian law, sqrt(d/2) T, if that is more. For a mode at such an energy to
    matter, its volume would have to be larger by exp of that. A chain on its way down does not
    stay: from one half of the window to the other its energy fell by more than what is left. With
    fewer than four chains, or while the energy still falls in most chains, none counts as behind.
    """
    energies = np.array([look.energies for look in looks])
    num_chains, d = energies.shape[1], looks[-1].positions.shape[1]
    if num_chains < 4 or is_falling(looks):
        return np.zeros(num_chains, bool)
    level = np.median(energies, axis=0)
    lowest = np.argsort(level, kind="stable")[: num_chains // 4]
    within = max(
        float(np.median(np.std(energies[:, lowest], axis=0))), np.sqrt(d / 2) * temperature
    )
    least = np.min(energies, axis=0)
    height = least - np.median(level[lowest])
    half = -(-len(energies) // 2)
    fell = np.min(energies[:half], axis=0) - least
    behind: np.ndarray[Any, Any] = (height > 10 * temperature + 8 * within) & (fell < height)
    return behind


def miss(looks: list[Look], target: float) -> np.ndarray[Any, Any]:
    """Which chains miss the target rate by more than 0.1, and by more than is likely by chance."""
    rates = np.array([look.rates for look in looks])
    off = np.abs(np.mean(rates, axis=0) - target)
    error = np.std(rates, axis=0, ddof=1) / np.sqrt(len(rates))
    missed: np.ndarray[Any, Any] = (off > MOST_OFF) & (off > error * _largest_by_chance(len(rates)))
    return missed


def centred(looks: list[Look], periods: Array | None, *, alike: bool = True) -> list[Look]:
    """Looks with the coordinates that wrap seen around their mean direction, from half a period
    below it to half a period above. The mean is that of all chains, or each chain's own if they are
    not `alike`. Coordinates that do not wrap have the period inf."""
    if periods is None:
        return looks
    turns = np.isfinite(periods)
    period = periods[turns]
    angles = np.array([look.positions[:, turns] for look in looks]) * (2 * np.pi / period)
    direction = np.mean(np.exp(1j * angles), axis=(0, 1) if alike else 0)
    middle = np.angle(direction) * period / (2 * np.pi)

    def seen(positions: Array) -> Array:
        x = positions.copy()
        x[:, turns] -= period * np.round((x[:, turns] - middle) / period)
        return x

    return [look._replace(positions=seen(look.positions)) for look in looks]


class Window(NamedTuple):
    """What a window says about each quantity: the position's elements, and the energy."""

    rhat: Array
    drift: Array  # of the mean between its halves, in standard deviations
    certainty: Array  # the drift over the largest that is likely by chance; 0 for a single chain

    @property
    def disagrees(self) -> bool:
        return bool(np.max(self.rhat) > _MOST_RHAT)

    @property
    def drifts(self) -> bool:
        return bool(np.any((self.drift > _MOST_DRIFT) & (self.certainty > 1)))


def seen_in(looks: list[Look], metric: Metric | None, *, alike: bool = True) -> Window:
    """The window of these looks, in coordinates that `metric` makes round.

    Chains that are not `alike` have means and scales of their own. So each is measured from its own
    mean, in its own standard deviations, and R-hat compares the two halves of each chain.
    """
    x = np.array(
        [
            np.column_stack(
                [
                    look.positions if metric is None else metric.to_round(look.positions),
                    look.energies_seen,
                ]
            )
            for look in looks
        ]
    )
    half = len(x) // 2
    if not alike:
        with np.errstate(divide="ignore", invalid="ignore"):
            x = (x - np.mean(x, axis=0)) / np.std(x, axis=0)
        x = np.nan_to_num(x, nan=0.0)
    early, late = x[:half], x[-half:]
    halves = np.concatenate([early, late], axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        within = np.mean(np.var(halves, axis=0, ddof=1), axis=0)
        if alike:
            between = np.var(np.mean(halves, axis=0), axis=0, ddof=1)
        else:  # the variance of the two means of a chain, on average
            between = np.mean((np.mean(late, axis=0) - np.mean(early, axis=0)) ** 2, axis=0) / 2
        rhat = np.sqrt((half - 1) / half + between / within)
        change = np.mean(late, axis=0) - np.mean(early, axis=0)
        mean, num_chains = np.abs(np.mean(change, axis=0)), len(change)
        drift = mean / np.std(x, axis=(0, 1))
        error = np.std(change, axis=0, ddof=1) if num_chains > 1 else np.full(mean.shape, np.inf)
        certainty = mean / (error / np.sqrt(num_chains)) / _largest_by_chance(num_chains)
    # Quantities that do not vary do not count.
    return Window(*(np.nan_to_num(each, nan=0.0) for each in (rhat, drift, certainty)))


def _largest_by_chance(num_chains: int) -> float:
    """The largest mean over this many chains that is likely, in estimated standard errors."""
    return float(stdtrit(num_chains - 1, 1 - _CHANCE)) if num_chains > 1 else np.inf
