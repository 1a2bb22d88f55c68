"""The phases of a warm-up: chains come in, settle, and share one step size or keep their own."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import jax
import numpy as np

from jlangevin._core import trees
from jlangevin._core.each import Each
from jlangevin._core.trees import PyTree
from jlangevin.adaptation.ensemble import PIECE, Ensemble, Look, host, quiet
from jlangevin.adaptation.kernel import (
    argument,
    metric_of,
    with_first_step,
    with_friction,
    with_metric,
)
from jlangevin.adaptation.length import FRICTIONS, STEPS, Trial, best, directions
from jlangevin.adaptation.metric import Metric
from jlangevin.adaptation.moving import Moving
from jlangevin.adaptation.settling import (
    MOST_OFF,
    are_behind,
    centred,
    is_falling,
    miss,
    seen_in,
)
from jlangevin.adaptation.verdict import Verdict
from jlangevin.errors import AdaptationError
from jlangevin.kernels.traits import Traits
from jlangevin.sampling import sample
from jlangevin.sampling.state import Setup
from jlangevin.sampling.wrong_sign import IS_IT_MINUS, falls_without_end

__all__ = ["FIRST_WINDOW", "Search"]

FIRST_WINDOW = 4  # looks
_LEAST_WINDOW = 8  # looks in the window that confirms, at least
_LEAST_ROWS = 200  # positions there, over all chains
_TRIALS = 1_000  # trajectories with each step size and friction, over all chains
_SHARING = 3  # pieces in which the common step size is found
_SLOPE = 0.6  # how fast the rate falls as log η rises, where about 60% are accepted
_STUCK = 0.05  # the rate of a chain that hardly moves
_CHANGING = 1.3  # scales that change by more than this factor have not settled


@dataclasses.dataclass
class Search:
    """The state of a warm-up; its methods are the phases, in order."""

    chains: Ensemble
    metric: Metric | None
    like: PyTree  # a position of one chain, as shapes
    pieces: int  # at most, in all
    periods: np.ndarray[Any, Any] | None  # (d,), if there are coordinates that wrap
    alike: bool = True  # whether all chains have one law, so that they can be compared
    changed: float = 1.0  # the factor by which the metric's scales changed at its last update
    length: int = FIRST_WINDOW  # of the next window
    problems: list[str] = dataclasses.field(default_factory=list)  # in the last window
    rhat: float = math.nan  # the largest there
    acceptance: float = math.nan
    trajectory: str = ""  # what was found, in words
    left_out: dict[int, float] = dataclasses.field(default_factory=dict)  # chain to energy

    @property
    def target(self) -> float:
        return float(self.chains.moving.target)

    @property
    def num_chains(self) -> int:
        return int(self.chains.state.kernel.log_step.shape[0])

    @property
    def temperature(self) -> float:
        """The temperature; the highest, if chains have their own."""
        value = getattr(self.chains.moving.kernel, "temperature", 1.0)
        return float(np.max(np.asarray(value.rows if isinstance(value, Each) else value)))

    @property
    def apart(self) -> bool:
        """Whether each chain keeps a step size of its own. Then the lengths of the phases do not
        depend on any chain, so that the result for one chain does not depend on the others."""
        return isinstance(self.chains.moving.kernel.step_size, Each)

    @property
    def least(self) -> int:
        """Looks that can confirm that chains have settled."""
        return max(_LEAST_WINDOW, -(-_LEAST_ROWS // self.num_chains))

    @property
    def left(self) -> int:
        """Pieces that may be run before `share` and `confirm`, for which some are reserved."""
        if self.apart:
            return self.pieces - self.chains.num_pieces - self.pieces // 4
        kept = min(max(self.least, self.length), max(self.pieces // 3, FIRST_WINDOW))
        return self.pieces - self.chains.num_pieces - self.trying - _SHARING - kept

    @property
    def trying(self) -> int:
        """Pieces in which lengths are tried, equally many for each step size and friction."""
        if self.chains.moving.trial is None:
            return 0
        cases = len(STEPS) * len(FRICTIONS)
        wanted = -(-_TRIALS // (PIECE * self.num_chains))
        return cases * max(1, min(wanted, self.pieces // (4 * cases)))

    def come_in(self) -> None:
        """Run until the energy no longer falls. The step sizes move fast, and the metric is that of
        the later half of what was seen."""
        before = self.chains.state.kernel.position
        while self.left > 0:
            self.chains.look()
            seen = self.chains.num_pieces
            if seen < 3:
                continue
            # The latest four looks decide when this ends.
            self.chains.looks = self.chains.looks[-max(seen // 2, 4) :]
            self.update(self.chains.looks[-max(seen // 2, 2) :])
            if seen == 3 and self.metric is not None:
                self.chains.set(kernel=with_first_step(self.chains.moving.kernel, self.like))
                self.chains.share(self.chains.own_steps)
            if self._is_in(self.chains.looks[-4:]):
                break
        self._check_movement(before)
        self.restart(self.chains.looks[-4:])

    def _is_in(self, looks: list[Look]) -> bool:
        """Whether chains have come in, by the latest looks."""
        seen = self.chains.num_pieces
        if self.apart:
            return seen >= self.pieces // 4
        near = abs(self._rate(looks) - self.target) < 0.2
        return seen >= 6 and near and not is_falling(looks)

    def take_over(self, key: jax.Array, moving: Moving, streams: Any) -> None:
        """Continue with another kernel from where the chains are, further on in their `streams`."""
        chains = self.chains
        there = chains.state.kernel.position
        with quiet():
            begun = sample(
                key, chains.energy, moving, there, chains=streams, num_steps=0, observe=None
            ).state
        chains.state = begun._replace(step=chains.state.step)
        if self.metric is not None:
            kernel = with_metric(with_first_step(moving.kernel, self.like), self.metric, self.like)
            moving = dataclasses.replace(moving, kernel=kernel)
        chains.moving = moving

    def settle(self) -> None:
        """Run windows that double in length, until one has no problems. If each chain keeps its
        step size, run all windows; the last may be up to three times as long."""
        self.chains.set(gain=np.float32(0.3), fastest=np.float32(1.0))
        while self.left >= FIRST_WINDOW:
            rest = self.apart and self.left < 3 * self.length
            looks = self.chains.run(self.left if rest else min(self.length, self.left))
            behind = self.restart(looks)
            looks = [look.without(behind) for look in looks]
            self.update(looks, must=True)
            self.problems = self._problems(looks)
            if not self.problems and not behind.any() and not self.apart:
                break
            self.length *= 2

    def lengthen(self, trial: Trial) -> None:
        """Find the best length and friction of trajectories, once chains have settled."""
        chains = self.chains
        kernel = chains.moving.kernel
        looks = centred(chains.looks, self.periods)
        rows = np.concatenate([look.positions for look in looks])
        metric = metric_of(kernel, self.like) if self.metric is None else self.metric
        centre, axes, widest = directions(rows, metric)
        trial = trial.along(centre, axes).cut(kernel.trajectory_length)
        chains.set(gain=np.float32(0), trial=trial)
        chains.tried()
        step_sizes, choices = chains.step_size * STEPS, []
        for friction in FRICTIONS * math.sqrt(self.temperature) / widest:
            chains.set(kernel=with_friction(kernel, friction))
            seen = []
            for step_size in step_sizes:
                chains.share(step_size)
                chains.run(self.trying // (len(STEPS) * len(FRICTIONS)))
                seen.append(chains.tried())
            choices.append((best(step_sizes, seen, self.target), friction))
        choice, friction = max(choices, key=lambda each: each[0].draws)
        chains.set(kernel=with_friction(kernel, friction), trial=trial.cut(choice.length))
        chains.share(choice.step_size)
        moves = "1 move" if choice.length == 1 else f"{choice.length} moves"
        self.trajectory = f"{moves} of at most {kernel.trajectory_length}"
        if Traits.own(kernel).has_friction:
            self.trajectory += f", friction {friction:.4g}"

    def share(self) -> None:
        """Give all chains one step size, adjusted until their common rate is the target. Or give
        each chain the step size that it had on average over the last window."""
        chains = self.chains
        chains.set(gain=np.float32(0))
        if self.apart:
            chains.keep()
            return
        chains.share(chains.step_size)
        slope, above, step = _SLOPE, 0.0, 0.0  # step is the last change of log η
        for _ in range(_SHARING):
            off = self._rate(chains.run(1)) - self.target
            if off * above < 0 and abs(off) > MOST_OFF:  # overshot: the rate falls faster than that
                slope = max(slope, (above - off) / step)
            above, step = off, off / slope
            chains.share(float(chains.own_steps) * math.exp(step))

    def confirm(self) -> None:
        """Run a window of the kernel that is returned."""
        rest = max(self.pieces - self.chains.num_pieces, FIRST_WINDOW)
        wanted = rest if self.apart else max(self.least, self.length)
        looks = self.chains.run(min(wanted, rest), last=True)
        self.changed = 1.0
        self.problems = self._problems(looks)
        if len(looks) < self.least:
            self.problems.append(
                f"num_steps={self.pieces * PIECE} is too few to tell whether {self.num_chains} "
                f"chains have settled{'; more chains need fewer steps' * self.alike}"
            )
        rates = np.mean([look.rates for look in looks], axis=0)
        self.acceptance = float(np.mean(rates))
        if self.apart:
            self._say_who_misses(looks, rates)
        elif stuck := int(np.sum(rates < _STUCK)):
            why = (
                "the energy is steeper where they are, as in the neck of a funnel. Use other "
                "coordinates, in which scales differ less, or a higher target_acceptance"
                if self.alike
                else "pass per_chain=True, so that each chain keeps its own"
            )
            self.problems.append(
                f"{stuck} of {len(rates)} chains hardly move at the step size that suits the "
                f"others: {why}"
            )

    def _say_who_misses(self, looks: list[Look], rates: np.ndarray[Any, Any]) -> None:
        """Add a problem that names the chains whose own step sizes miss the target rate."""
        (which,) = np.nonzero(miss(looks, self.target))
        if len(which):
            shown = ", ".join(map(str, which[:5])) + ", …" * (len(which) > 5)
            self.problems.append(
                f"{len(which)} of {len(rates)} chains ({shown}) miss the target acceptance of "
                f"{self.target:.2f} at their own step sizes, with {np.min(rates[which]):.2f} to "
                f"{np.max(rates[which]):.2f}; give more steps than "
                f"num_steps={self.pieces * PIECE}, or start nearer"
            )

    def update(self, looks: list[Look], *, must: bool = False) -> None:
        """Update the metric by these looks, without outlying energies. If that is impossible, raise
        if it `must` be done."""
        if self.metric is None:
            return
        looks = centred(looks, self.periods)
        energies = np.concatenate([look.energies_seen for look in looks])
        lower, upper = np.quantile(energies, [0.25, 0.75])
        usual = energies <= upper + 3 * (upper - lower)
        positions = np.concatenate([look.positions for look in looks])[usual]
        if still := int(np.sum(np.ptp(positions, axis=0) == 0)):
            if must:
                dtype = trees.float_dtype(self.like)
                raise AdaptationError(
                    f"{argument(self.chains.moving.kernel)}: the chains, whose positions are of "
                    f"the size {np.max(np.abs(positions)):.1e}, do not differ at all in {still} of "
                    f"{positions.shape[1]} coordinates in {dtype}; shift the origin of positions, "
                    "enable x64, or pass precondition=None"
                )
            return
        gradients = None
        if looks[-1].gradients is not None:
            gradients = np.concatenate([look.gradients for look in looks])[usual]
        self.metric, self.changed = self.metric.updated(positions, gradients)
        kernel = self.chains.moving.kernel
        self.chains.set(kernel=with_metric(kernel, self.metric, self.like))

    def restart(self, looks: list[Look]) -> np.ndarray[Any, Any]:
        """Put chains that stay behind where others are, and return which. Chains with laws of their
        own stay where they are: their energies cannot be compared."""
        if not self.alike:
            return np.zeros(self.num_chains, bool)
        behind = are_behind(looks, self.temperature)
        if behind.any():
            energies = np.min([look.energies for look in looks], axis=0)
            for chain in np.nonzero(behind)[0]:
                self.left_out[int(chain)] = float(energies[chain])
            self.chains.restart(behind)
        return behind

    def _problems(self, looks: list[Look]) -> list[str]:
        """The problems in a window, in words."""
        more = f"give more steps than num_steps={self.pieces * PIECE}"
        problems = []
        if is_falling(looks):
            problems.append(f"the energy still falls; {more}, or start nearer")
        own = {"alike": self.alike}
        window = seen_in(centred(looks, self.periods, **own), self.metric, **own)
        self.rhat = float(np.max(window.rhat))
        if window.disagrees and not self.alike:
            problems.append(
                f"chains have not settled, R-hat of the halves of each is {self.rhat:.2f}; {more}"
            )
        elif window.disagrees:
            problems.append(
                f"chains disagree, R-hat is {self.rhat:.2f}; {more}, or use jlangevin.tempered if "
                "there are modes between which chains do not cross"
            )
        if window.drifts:
            problems.append(
                f"means still drift, by {np.max(window.drift):.2g} standard deviations in "
                f"{len(looks) * PIECE} steps; {more}"
            )
        if self.changed > _CHANGING:
            problems.append(
                f"the preconditioner's scales still change, by a factor of {self.changed:.2g}; "
                f"{more}"
            )
        if problems and self._falls_without_end():
            problems.insert(0, IS_IT_MINUS)
        rate = self._rate(looks)
        if abs(rate - self.target) > MOST_OFF:
            problems.append(
                f"{rate:.2f} of the proposals were accepted, but the target is {self.target:.2f}; "
                f"{more}"
            )
        return problems

    def _falls_without_end(self) -> bool:
        chain = self.chains.state.kernel.chain
        if getattr(chain, "gradient", None) is None:
            return False
        position, gradient = jax.tree.map(host, (chain.position, chain.gradient))
        energies = Setup.of(self.chains.energy, self.chains.moving).energies_at
        return falls_without_end(energies, position, gradient, self.temperature)

    @staticmethod
    def _rate(looks: list[Look]) -> float:
        return float(np.mean([look.rates for look in looks[-2:]]))

    def verdict(self, redrawn: np.ndarray[Any, Any]) -> Verdict:
        left_out = np.array(sorted(self.left_out), int)
        metric, moving = self.metric, self.chains.moving
        return Verdict(
            problems=tuple(self.problems),
            num_steps=self.chains.num_pieces * PIECE,
            num_chains=self.num_chains,
            kernel=type(moving.kernel).__name__,
            step_size=self.chains.own_steps if self.apart else float(self.chains.own_steps),
            acceptance=self.acceptance,
            target=self.target,
            preconditioner="as given" if metric is None else metric.name,
            condition=math.nan if metric is None else metric.condition,
            trajectory=self.trajectory,
            rhat=self.rhat,
            left_out=left_out,
            energies=np.array([self.left_out[chain] for chain in left_out]),
            median=float(np.median(self.chains.looks[-1].energies)),
            redrawn=redrawn,
        )

    def _check_movement(self, before: PyTree) -> None:
        """Raise if no chain has moved. Steps so small that they are lost in rounding are always
        accepted, so acceptance rates do not show this."""
        after = self.chains.state.kernel.position
        pairs = zip(jax.tree.leaves(before), jax.tree.leaves(after), strict=True)
        if all(np.array_equal(host(a), host(b)) for a, b in pairs):
            raise AdaptationError(
                f"step_size: no proposal was accepted down to {min(self.chains.step_sizes):.1e}; "
                "is the energy finite around the starts?"
            )
