"""A ladder of temperatures that tunes itself."""

from __future__ import annotations

import dataclasses
import math
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding
from numpy.typing import NDArray

from jlangevin._core.checks import check_count, check_key, check_known
from jlangevin._core.trees import PyTree
from jlangevin._core.warn import warn
from jlangevin.diagnostics.swaps import equalized, swap_report
from jlangevin.distribution import Drawable
from jlangevin.energies.base import Energy
from jlangevin.errors import AdaptationError, NormalizerWarning
from jlangevin.kernels.tempered import Tempered
from jlangevin.sampling import SamplerState, sample

__all__ = ["TunedLadder", "tune_ladder"]

Floats = NDArray[np.float64]

_ALWAYS = 1e-3  # the least rejection rate that a pair is taken to have
_GAP = 0.9  # rejection rates above it say little of the barrier
_UNEVEN = 0.1  # by which a rejection rate may differ from the mean of all
_SLOW = 0.25  # the share of the round trips of independent energies that is enough


@dataclasses.dataclass(frozen=True)
class TunedLadder:
    """The result of `tune_ladder`; printed, it is a table.

    Attributes:
        kernel: the `tempered` kernel with the temperatures found.
        temperatures: T_1 < … < T_K, (K,).
        acceptance: the mean probability of a swap of each pair, measured at them, (K - 1,).
        barrier: Λ, the sum of the rejection rates.
        round_trip_rate: round trips from T_1 to T_K and back of a chain in a step, measured.
        best_rate: what it would be if the energies of successive steps were independent,
            1/(2 + 2 Σ r/(1 - r)) with the rejection rates r.
        state: of the last run, all of whose chains have the temperatures found; `resume` goes on.
        rounds: of tuning.
        problems: what is wrong and what to do, a sentence or two each.
    """

    kernel: Tempered
    temperatures: Floats
    acceptance: Floats
    barrier: float
    round_trip_rate: float
    best_rate: float
    state: SamplerState
    rounds: int
    problems: tuple[str, ...]

    @property
    def ok(self) -> bool:
        """Whether all pairs swap about equally often, and replicas travel."""
        return not self.problems

    def __str__(self) -> str:
        head = f"{len(self.temperatures)} temperatures after {self.rounds} rounds"
        rates = [*(f"{rate:.2f}" for rate in self.acceptance), ""]
        lines = [
            head if self.ok else f"{head}: NOT tuned",
            f"  barrier     {self.barrier:.2f}, for which {_best_number(self.barrier)} "
            "temperatures give the most round trips for the work",
            f"  round trips one in {_every(self.round_trip_rate)} steps of a chain, at best one in "
            f"{_every(self.best_rate)}",
            f"  {'T':<12}swaps with the next",
            *(f"  {t:<12.5g}{rate}" for t, rate in zip(self.temperatures, rates, strict=True)),
        ]
        lines += [f"  problem     {problem}" for problem in self.problems]
        return "\n".join(lines)


def tune_ladder(
    key: jax.Array,
    energy: Energy,
    kernel: Tempered,
    init: Drawable | PyTree,
    *,
    num_steps: int,
    num_chains: int | None = None,
    num_temperatures: int | None = None,
    sharding: Mesh | NamedSharding | None = None,
    progress: bool | Literal["always"] = False,
) -> TunedLadder:
    """Temperatures between the same ends at which all pairs of a `tempered` kernel swap equally
    often, found by running it (Syed, Bouchard-Côté, Deligiannidis and Doucet 2022).

    Each round runs the kernel afresh, from the positions where the last one ended, measures the
    rejection rates r of all pairs, whose sum is the barrier Λ, and spaces the temperatures evenly
    in it, see `diagnostics.equalized`. Rounds take an eighth, a quarter and a half of `num_steps`,
    and the last one, with the temperatures that are returned, all of them. Unless it is given, the
    number of temperatures becomes about 2Λ + 1, where half of the swaps are accepted, which gives
    the most round trips for the work.

    Args:
        key: a typed Threefry key; round i's is `jax.random.fold_in(key, i)`.
        energy: a callable as in `sample`.
        kernel: a `tempered` one, whose first and last temperature stay. Its step sizes, if it has
            some, are interpolated: log η in log T.
        init: as in `sample`.
        num_steps: of the last round, at least 64; about twice in all.
        num_chains: as in `sample`; rates are averaged over them.
        num_temperatures: K ≥ 2 of the result; by default as the barrier asks for.
        sharding, progress: as in `sample`.

    Returns:
        `TunedLadder`.

    Raises:
        TypeError: another kernel; traced values.
        ValueError: counts out of range; and as `sample`.
        AdaptationError: no pair of neighbours ever rejects, so that there is nothing to divide, or
            swaps are never accepted.

    Warns:
        NormalizerWarning: the result has `problems`: rates that differ by more than 0.1 from their
            mean, or far fewer round trips than if energies were independent from step to step.

    Example:
        >>> import jax, jax.numpy as jnp, jlangevin as jl
        >>> energy = jl.energies.gaussian_mixture([[-6.0], [6.0]], 1.0)
        >>> rough = jl.tempered(jl.mala(1.0), [1.0, 1.2, 1.5, 25.0])
        >>> found = jl.normalizer.tune_ladder(jax.random.key(0), energy, rough,
        ...                                   jnp.full((64, 1), -6.0), num_steps=800)
        >>> bool(abs(found.acceptance - found.acceptance.mean()).max() < 0.1)
        True
    """
    check_key("key", key)
    if not isinstance(kernel, Tempered):
        raise TypeError(
            f"kernel: expected what jlangevin.tempered makes, got {type(kernel).__name__}"
        )
    check_known("temperatures are found on the host", kernel=kernel, key=key)
    num_steps = check_count("num_steps", num_steps, minimum=64)
    if num_temperatures is not None:
        num_temperatures = check_count("num_temperatures", num_temperatures, minimum=2)
    lengths = [num_steps // 2**k for k in (3, 2, 1, 0)]
    for number, length in enumerate(lengths):
        run = sample(
            jax.random.fold_in(key, number),
            energy,
            kernel,
            init,
            num_steps=length,
            num_chains=num_chains if number == 0 else None,
            observe=None,
            sharding=sharding,
            progress=progress,
        )
        report = swap_report(run.state.kernel)
        rates = np.asarray(report.acceptance, np.float64).mean(0)
        if number < len(lengths) - 1:
            init = run.position
            kernel = _respaced(kernel, rates, num_temperatures)
    trips = float(np.mean(np.asarray(report.round_trips))) / num_steps
    rejections = 1 - rates
    best = 1 / (2 + 2 * float(np.sum(rejections / np.maximum(rates, 1e-12))))
    found = TunedLadder(
        kernel=kernel,
        temperatures=np.asarray(kernel.temperatures, np.float64),
        acceptance=rates,
        barrier=float(rejections.sum()),
        round_trip_rate=trips,
        best_rate=best,
        state=run.state,
        rounds=len(lengths),
        problems=_problems(rejections, trips, best, num_steps),
    )
    if found.problems:
        warn("tune_ladder: " + "; ".join(found.problems), NormalizerWarning)
    return found


def _respaced(kernel: Tempered, rates: Floats, wanted: int | None) -> Tempered:
    """The kernel with temperatures that are even in the barrier measured."""
    if not np.any(rates > 0):
        raise AdaptationError(
            "kernel: no swap was accepted between any two temperatures; put more temperatures "
            "between the first and the last, or run more steps"
        )
    if np.all(rates > 1 - _ALWAYS):
        raise AdaptationError(
            "kernel: every swap was accepted, so that there is no barrier to divide; end with a "
            "higher temperature, or run the kernel inside of it alone"
        )
    rates = np.minimum(rates, 1 - _ALWAYS)
    ladder = np.asarray(kernel.temperatures, np.float64)
    barrier = float(np.sum(1 - rates))
    number = len(ladder) if wanted is None else wanted
    if wanted is None and abs(number - _best_number(barrier)) > 1:  # another one compiles again
        number = _best_number(barrier)
    if wanted is None and np.any(rates < 1 - _GAP):
        number = max(number, len(ladder) + int(np.sum(rates < 1 - _GAP)))
    spaced = equalized(ladder, rates, number)
    spaced[[0, -1]] = ladder[[0, -1]]
    sizes = kernel.step_sizes
    if sizes is not None:
        known = np.log(np.asarray(sizes, np.float64))
        between = np.exp(np.interp(np.log(spaced), np.log(ladder), known))
        sizes = jnp.asarray(between, sizes.dtype)
    temperatures = jnp.asarray(spaced, kernel.temperatures.dtype)
    return dataclasses.replace(kernel, temperatures=temperatures, step_sizes=sizes)


def _best_number(barrier: float) -> int:
    """About 2Λ + 1, and three at least."""
    return max(3, math.ceil(2 * barrier) + 1)


def _problems(rejections: Floats, trips: float, best: float, num_steps: int) -> tuple[str, ...]:
    problems = []
    uneven = float(np.max(np.abs(rejections - rejections.mean())))
    if uneven > _UNEVEN:
        problems.append(
            f"rejection rates still differ by {uneven:.2f} from their mean; tune again from here, "
            "with more steps"
        )
    if trips < _SLOW * best:
        problems.append(
            f"replicas make {trips * num_steps:.2g} round trips in {num_steps:,} steps, where "
            f"{best * num_steps:.2g} would be possible; the kernel is slow at some temperature: "
            "give it other step sizes, or a higher last temperature"
        )
    return tuple(problems)


def _every(rate: float) -> str:
    return f"{1 / rate:,.0f}" if rate > 0 else "∞"
