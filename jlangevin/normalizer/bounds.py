"""A bound on a mean of weights that holds whatever their law is."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, special

__all__ = ["effective_size", "log_mean_bound"]


def log_mean_bound(log_weights: NDArray[np.float64], miss: float) -> float:
    """A number that log E[w] is below with probability `miss` at most, from independent w ≥ 0.

    A gambler who bets a share λ of the capital on each weight being above a claimed mean m has
    Π (1 - λ + λ w_i / m) after n weights. If the mean is m its expectation is 1, so that by
    Markov's inequality it is above 1/miss with probability `miss` at most. The bound is the m at
    which it is just that, for the mean capital of λ = 1, ½, ¼, …, which is a bet, too
    (Waudby-Smith and Ramdas 2024). λ = 1 alone is Jensen's bound, the mean of log w.
    """
    n = len(log_weights)
    found = log_weights[log_weights > -np.inf]
    if not len(found):
        return -math.inf
    shares = 0.5 ** np.arange(1 + math.ceil(math.log2(n)))
    kept = np.log1p(-shares[1:])  # log(1 - λ); for λ = 1 it is -inf
    zeros = n - len(found)

    def log_capital(claim: float) -> float:
        gains = found - claim
        # A weight of 0 leaves 1 - λ of the capital, and nothing if all was bet.
        all_bet = np.sum(gains) if not zeros else -np.inf
        parts = np.logaddexp(kept[:, None], np.log(shares[1:])[:, None] + gains[None, :])
        others = np.sum(parts, axis=1) + zeros * kept
        return float(special.logsumexp([all_bet, *others]) - math.log(len(shares)))

    high = float(special.logsumexp(found)) - math.log(n)  # where no bet has gained, by Jensen
    step, wanted = 1.0, -math.log(miss)
    while log_capital(high - step) < wanted:
        step *= 2
    found_at: float = optimize.brentq(lambda m: log_capital(m) - wanted, high - step, high)
    return found_at


def effective_size(log_weights: NDArray[np.float64]) -> float:
    """(Σ w)² / Σ w², how many equal weights these are worth."""
    if not np.any(log_weights > -np.inf):
        return 0.0
    twice: Any = special.logsumexp(2 * log_weights)
    return float(np.exp(2 * special.logsumexp(log_weights) - twice))
