"""How replicas of parallel tempering travel, and temperatures at which they travel better."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import scipy
from numpy.typing import NDArray

from jlangevin._core import trees
from jlangevin._core.checks import as_array, check_count, check_known
from jlangevin._core.trees import Numbers
from jlangevin.kernels.tempered import TemperedState, as_ladder

__all__ = ["SwapReport", "equalized", "swap_report"]

_A_LINE, _LINES = 10, 4  # rates on a line, and lines, so that a report fits a screen


class SwapReport(NamedTuple):
    """The result of `swap_report`; printed, a few lines."""

    acceptance: jax.Array  # (chain, K - 1), the mean probability of a swap of each pair
    round_trips: jax.Array  # (chain,), by all replicas of a chain
    barrier: jax.Array  # Λ, the sum of the pairs' rejection rates

    def __str__(self) -> str:
        acceptance = np.asarray(self.acceptance, np.float64)
        rates = acceptance.reshape(-1, acceptance.shape[-1]).mean(axis=0)
        trips, worst = np.asarray(self.round_trips), int(np.argmin(rates))
        few = f"{trips.min()} to {trips.max()}" if trips.min() < trips.max() else f"{trips.min()}"
        rows = [rates[i : i + _A_LINE] for i in range(0, len(rates), _A_LINE)]
        shown = [" ".join(f"{rate:5.2f}" for rate in row) for row in rows[:_LINES]]
        hidden = len(rates) - sum(map(len, rows[:_LINES]))
        if hidden:
            shown.append(f"and of {hidden} more")
        return "\n".join(
            [
                f"swaps accepted   {shown[0]}",
                *(f"{'':17}{row}" for row in shown[1:]),
                f"least            {rates[worst]:.2f}, of temperatures {worst + 1} and {worst + 2}",
                f"round trips      {few} a chain, {trips.sum():,} in all",
                f"barrier Λ        {float(self.barrier):.3g}; 2Λ + 1 temperatures are about right",
            ]
        )


def swap_report(state: TemperedState) -> SwapReport:
    """How well replicas travel, over all steps of the state, burn-in included.

    A round trip is from T_1 to T_K and back. The rejection rates of all pairs, averaged over
    chains, sum to Λ, an estimate of the communication barrier, which depends little on the
    temperatures in between (Syed et al. 2022). If the energies of successive steps were
    independent, there would be n / (2 + 2 Σ r/(1 - r)) round trips in n steps for rejection rates
    r, which is less than n / (2 + 2Λ). Far fewer mean that the kernel is slow at some temperature.
    Without any, T_1 may be as stuck as a chain alone.

    Args:
        state: `run.state.kernel` of a run of a `tempered` kernel.

    Raises:
        TypeError: the state of another kernel.
        ValueError: fewer than two steps; each pair needs two to be offered a swap.

    Example:
        >>> import jax, jax.numpy as jnp, jlangevin as jl
        >>> energy = jl.energies.quadratic(jnp.eye(3))
        >>> kernel = jl.tempered(jl.mala(0.5), [1.0, 2.0])
        >>> run = jl.sample(jax.random.key(0), energy, kernel, energy, num_steps=300, num_chains=99)
        >>> report = jl.diagnostics.swap_report(run.state.kernel)
        >>> round(float(report.acceptance.mean()), 1), bool(report.round_trips.min() > 0)
        (0.6, True)
    """
    if not isinstance(state, TemperedState):
        raise TypeError(
            f"state: expected run.state.kernel of a tempered kernel, got {type(state).__name__}"
        )
    if trees.is_concrete(state) and bool(jnp.any(state.steps < 2)):
        raise ValueError("state: in fewer than two steps not every pair has been offered a swap")
    barrier = jnp.sum(1 - jnp.mean(state.acceptance.reshape(-1, state.acceptance.shape[-1]), 0))
    return SwapReport(state.acceptance, state.round_trips, barrier)


def equalized(
    temperatures: Numbers, acceptance: Numbers, num_temperatures: int | None = None
) -> NDArray[np.float64]:
    """Temperatures between the same ends, at which all pairs should swap equally often.

    The rejection rates summed from T_1 up to T_k are the communication barrier Λ(T_k), whatever
    the temperatures are. Between them log T is interpolated monotonically as a function of Λ, and
    the new temperatures are equally spaced in Λ (Syed et al. 2022). On a Gaussian they are
    geometric. A pair that hardly ever swaps says little about its barrier, as no rate is above 1.
    Then repeat with the rates of the new temperatures, and use more of them. About 2Λ + 1
    temperatures, with half of the swaps accepted, give the most round trips for the work.

    Args:
        temperatures: T_1 < … < T_K, at which the rates were measured.
        acceptance: the rates, (K - 1,) or (chain, K - 1) as in `SwapReport`, then averaged.
        num_temperatures: how many temperatures to return, at least 2; by default K.

    Returns:
        An array of temperatures, on the host.

    Raises:
        ValueError: invalid temperatures; a wrong number of rates, rates outside [0, 1], or a pair
            that always swaps, which has no barrier to divide.

    Example:
        >>> import jax.numpy as jnp, jlangevin as jl
        >>> jl.diagnostics.equalized([1.0, 2.0, 16.0], [0.75, 0.25], 3).round(2).tolist()
        [1.0, 4.0, 16.0]
    """
    check_known("equalized works on the host", temperatures=temperatures, acceptance=acceptance)
    ladder = np.asarray(as_ladder(temperatures), np.float64)
    rates = np.asarray(as_array("acceptance", acceptance), np.float64)
    if rates.ndim not in (1, 2) or rates.shape[-1] != len(ladder) - 1:
        raise ValueError(
            f"acceptance: expected shape ({len(ladder) - 1},) or (chain, {len(ladder) - 1}) for "
            f"{len(ladder)} temperatures, got {rates.shape}"
        )
    rates = rates.reshape(-1, len(ladder) - 1).mean(axis=0)
    if not np.all((rates >= 0) & (rates < 1)):
        raise ValueError(f"acceptance: expected mean rates in [0, 1), got {rates}")
    number = len(ladder)
    if num_temperatures is not None:
        number = check_count("num_temperatures", num_temperatures, minimum=2)
    barrier = np.concatenate([[0.0], np.cumsum(1 - rates)])
    wanted = np.linspace(0, barrier[-1], number)[1:-1]
    between = np.exp(scipy.interpolate.PchipInterpolator(barrier, np.log(ladder))(wanted))
    return np.concatenate([ladder[:1], between, ladder[-1:]])
