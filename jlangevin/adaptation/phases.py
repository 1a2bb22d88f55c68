"""`warm_up`: chains come in, settle, and share one step size."""

from __future__ import annotations

import dataclasses
import math
from typing import Any, NamedTuple

import jax
import numpy as np

from jlangevin import starts
from jlangevin._core import trees
from jlangevin._core.checks import (
    check_count,
    check_key,
    check_known,
    check_probability,
    check_scalar,
)
from jlangevin._core.trees import PyTree
from jlangevin._core.warn import warn
from jlangevin.adaptation.ensemble import PIECE, Ensemble, Look, host, quiet
from jlangevin.adaptation.kernel import (
    FORMS,
    Form,
    argument,
    check,
    check_trajectory,
    default_target,
    first_metric,
    is_isokinetic,
    metric_of,
    number,
    with_first_step,
    with_friction,
    with_metric,
)
from jlangevin.adaptation.length import FRICTIONS, STEPS, Trial, best, directions, untried
from jlangevin.adaptation.metric import Metric
from jlangevin.adaptation.moving import Moving
from jlangevin.adaptation.settling import are_behind, centred, is_falling, seen_in
from jlangevin.adaptation.verdict import Verdict
from jlangevin.distribution import Drawable
from jlangevin.energies.base import Energy
from jlangevin.errors import AdaptationError, WarmUpWarning
from jlangevin.kernels.base import check_kernel
from jlangevin.kernels.mala import mala
from jlangevin.kernels.mirrored import Mirrored, MirroredState
from jlangevin.sampling import SamplerState, sample
from jlangevin.sampling.start import as_start
from jlangevin.sampling.wrong_sign import IS_IT_MINUS, falls_without_end

__all__ = ["WarmUp", "warm_up"]

_FIRST_WINDOW = 4  # looks
_LEAST_WINDOW = 8  # looks in the window that confirms, at least
_LEAST_ROWS = 200  # positions there, over all chains
_TRIALS = 1_000  # trajectories with each step size and friction, over all chains
_SHARING = 3  # pieces in which the common step size is found
_SLOPE = 0.6  # by how much the rate falls as log η rises, where about 60% are accepted
_OFF = 0.1  # by how much a rate may miss its target
_STUCK = 0.05  # the rate of a chain that hardly moves
_CHANGING = 1.3  # the factor by which scales change while they have not settled


class WarmUp(NamedTuple):
    """What `warm_up` found. Printed, it says its verdict."""

    kernel: Any  # the kernel given, with step size and preconditioner set
    state: SamplerState  # for `resume` with that kernel
    verdict: Verdict
    step_sizes: np.ndarray[Any, Any]  # medians over chains, after each look
    acceptance: np.ndarray[Any, Any]  # mean rates over chains, and the steps up to each look

    def __str__(self) -> str:
        return str(self.verdict)


def warm_up(
    key: jax.Array,
    energy: Energy,
    kernel: Any,
    init: Any,
    *,
    num_steps: int = 10_000,
    num_chains: int | None = None,
    target_acceptance: float | None = None,
    energy_variance: float = 1e-4,
    precondition: Form | None = "auto",
    longest_trajectory: int | None = None,
    sharding: Any = None,
) -> WarmUp:
    """Find step size and preconditioner for a kernel that accepts or rejects, until chains settle;
    and, if asked to, how long its trajectories should be.

    Starts may be anywhere: draws from a prior, a box, a mode, all chains at one point. Nothing else
    has to be known, and nothing has a unit of its own.

    **Come in.** Each chain has a step size of its own, and every step moves it towards
    `target_acceptance`: log η increases by 0.5 (rate - target), after Robbins and Monro (1951), and
    by up to 8 times that where the rate has been on one side for long. So chains come in from where
    the energy is huge, and none that is slow holds up the others. After every 20 steps the
    preconditioner P (or the inverse of the mass) becomes the geometric mean of the positions'
    covariance and the inverse of the gradients' (Seyboldt, Carlson and Carpenter 2026), over the
    later half of what was seen. On a quadratic energy that is the inverse of the Hessian even where
    chains are far from their law. This ends when the energy falls no more.

    **Settle.** Windows double in length until one of them says that chains have settled: split
    R-hat below 1.1 for the energy and for positions in the coordinates that P makes round; no mean
    that drifts by 0.1 standard deviations and four standard errors between its halves; scales of P
    that change by less than 30%; and `target_acceptance` met within 0.1. The last window has at
    least 8 looks and 200 positions, and for a dense P ten positions for each element.

    **Lengthen**, with `longest_trajectory`. Trajectories of that length tell of all shorter ones
    what they would have done. Of x_0 and x_k, k moves further, let a_k be the probability of being
    accepted, and f a coordinate along one of the 8 widest principal directions, in coordinates that
    P makes round, or its square about the mean. Then

        1 - ρ_k = E[a_k (f(x_k) - f(x_0))²] / (2 Var f)

    has the autocorrelation of f over a step, and the length becomes the k of the most effective
    draws a move, (1 - ρ_k) / (1 + ρ_k) / k, of that f of which there are the fewest. Squares are
    the criterion of Hoffman, Radul and Sountsov (2021), principal directions that of Sountsov and
    Hoffman (2022). Lengths are compared where each is accepted at the target, by five step sizes.
    The friction of `malt` becomes sqrt(T) over the largest standard deviation along these
    directions (Riou-Durand, Sountsov, Vogrinc, Margossian and Power 2023), or half of that if it is
    the better.

    **Share.** One step size for all chains: the median, moved until the target is accepted on
    average. It and P are then fixed.

    Chains that stay where the energy is far above that of the lowest quarter (by 10 T and 8 of its
    standard deviations) are counted, said, and started anew from where others are; those on their
    way down are not. A draw from a law at which the energy is not finite is drawn again: see
    `starts.draw`. A proposal that is not finite is rejected, no more.

    A kernel that wraps another (`mirrored`, `tempered`, `coupled`) has no step size of its own.
    Warm up the one inside by itself, on the energy that it is run on, and wrap `found.kernel`; the
    run that counts starts from positions, as `found.state` is that of the kernel inside. For
    `mirrored` that energy is W(u) = energy(domain.primal(u)) - T * domain.log_det(u), and positions
    are domain.primal(u). On a `domains.torus`, `mirrored` is taken whole: so is what is found, and
    angles are seen around their mean direction, not as far as they have wound.

    Args:
        key: a typed Threefry key. The run that follows by `resume` goes on in its streams.
        energy, init, num_chains, sharding: as in `sample`. Some 16 chains or more learn together;
            a single one needs as many steps as they have in all.
        kernel: one with a step size and acceptance rates (`mala`, `barker`, `malt`,
            `adjusted_microcanonical`) or `microcanonical`, the step size the first that is tried.
            P begins as what its preconditioner or mass is.
        num_steps: at most so many, at least 200. Fewer are taken where chains have settled.
        target_acceptance: in (0, 1). By default 0.7 for `malt`, 0.8 for `adjusted_microcanonical`
            and 0.574 for others, best for `mala` in many dimensions (Roberts and Rosenthal 1998).
        energy_variance: for `microcanonical`, which accepts everything: the variance of the
            energy's change in a step, over d T². Second moments of a Gaussian law are 1% off with
            1e-4 (and 2% with 4e-4, 0.5% with 1e-5) by its default integrator. The decoherence
            length becomes sqrt(d).
        precondition: "dense" (a matrix), "low rank" (a diagonal, and up to 16 directions beside
            it), "diagonal", or None for what the kernel has. "auto" is dense for up to 100 elements
            of a position, low rank beyond.
        longest_trajectory: for `malt` and `adjusted_microcanonical`, the most moves that a step may
            have. Given, the kernel's trajectory length is the first that is tried, and so is
            `malt`'s friction, and `num_steps` is at least 600. It takes 200 steps of the longest,
            more of fewer than 50 chains, and no program more. None keeps length and friction.

    Returns:
        A `WarmUp`. Print it, or see its `verdict`.

    Raises:
        TypeError: a kernel without a step size, acceptance rates or, if one is to be found, a
            preconditioner or a trajectory.
        ValueError: numbers out of range, a scheduled step size; as `sample` otherwise.
        AdaptationError: no proposal that moves a chain was accepted, however small the step; or the
            chains have no scales that are finite and not 0.
        WarmUpWarning: chains did not settle in `num_steps`, and why; or some stayed behind.

    Example:
        >>> import jax, jax.numpy as jnp, jlangevin as jl
        >>> energy = jl.energies.quadratic(jnp.diag(jnp.array([1.0, 1e4])))
        >>> found = jl.warm_up(jax.random.key(0), energy, jl.mala(1e-3), jnp.zeros((100, 2)))
        >>> found.verdict.settled, found.verdict.preconditioner
        (True, 'dense')
        >>> run = jl.resume(found.state, energy, found.kernel, num_steps=100)
        >>> abs(float(run.info.acceptance_rate.mean()) - 0.574) < 0.1
        True
    """
    check_key("key", key)
    check_kernel(kernel)
    check_known("warm-up decides on the host", key=key, energy=energy, kernel=kernel, init=init)
    least = 200 if longest_trajectory is None else 600
    num_steps = check_count("num_steps", num_steps, minimum=least)
    if precondition not in (None, *FORMS):
        names = ", ".join(f'"{form}"' for form in FORMS)
        raise ValueError(f"precondition: expected {names} or None, got {precondition!r}")
    around = kernel if isinstance(kernel, Mirrored) and hasattr(kernel.domain, "wraps") else None
    if around is not None:
        kernel, energy = around.kernel, around.dual_energy(energy)
    check(kernel, precondition)
    if longest_trajectory is not None:
        longest_trajectory = check_count("longest_trajectory", longest_trajectory, minimum=1)
        check_trajectory(kernel)
    if target_acceptance is None:
        target_acceptance = default_target(kernel)
    target = check_probability("target_acceptance", target_acceptance)
    check_scalar("energy_variance", energy_variance, positive=True)
    redrawn = np.zeros(0, int)
    if isinstance(init, Drawable):
        count, _ = as_start(init, num_chains, None)
        drawn = starts.draw(key, energy, init, count)
        init, (redrawn,) = drawn.positions, np.nonzero(drawn.redrawn)
    count, start = as_start(init, num_chains, None)
    like = trees.one_chain(trees.struct(start.template()))
    metric = None if precondition is None else first_metric(kernel, like, precondition)
    # So that one program serves throughout, the kernel has the form that is to be found.
    kernel = dataclasses.replace(kernel, step_size=number(kernel.step_size))
    trial = None
    if longest_trajectory is not None:
        trial = untried(like).cut(min(kernel.trajectory_length, longest_trajectory))
        kernel = with_friction(kernel, getattr(kernel, "friction", 0))
        kernel = dataclasses.replace(kernel, trajectory_length=longest_trajectory)
    aim, gain, fastest, wanted = map(np.float32, (target, 0.5, 8.0, energy_variance))
    moving = Moving(with_metric(kernel, metric, like), aim, gain, fastest, wanted, trial)
    scout = moving
    if is_isokinetic(kernel):  # which creeps where the energy is steep, as it goes by its change
        first = mala(0.1, temperature=kernel.temperature)
        scout = dataclasses.replace(
            moving, kernel=with_metric(first, metric, like), target=np.float32(0.574), trial=None
        )
    with quiet():
        run = sample(
            key, energy, scout, init,
            num_steps=PIECE, num_chains=num_chains, observe=None, sharding=sharding,
        )  # fmt: skip
    periods = None if around is None else around.domain.raveled(like)
    chains = Ensemble.begun(energy, scout, run.state)
    search = _Search(chains, metric, like, num_steps // PIECE, periods)
    search.come_in()
    if scout is not moving:
        search.take_over(key, moving)
    while True:
        search.settle()
        if trial is not None:
            search.lengthen(trial)
        search.share()
        search.confirm()
        if not search.problems or search.left < _FIRST_WINDOW:
            break
        search.length *= 2
    verdict = search.verdict(redrawn)
    if not verdict.settled:
        warn(f"warm-up has not settled: {'; '.join(verdict.problems)}", WarmUpWarning)
    if verdict.stayed_behind:
        warn(verdict.stayed_behind, WarmUpWarning)
    kernel, state = chains.found(), chains.given_back()
    if around is not None:
        kernel = dataclasses.replace(around, kernel=kernel)
        wrapped = jax.vmap(around.domain.project)(state.kernel.position)
        dual = state.kernel._replace(position=wrapped)
        state = state._replace(kernel=MirroredState(wrapped, dual))
    return WarmUp(
        kernel,
        state,
        verdict,
        np.array(chains.step_sizes),
        np.array(chains.acceptance),
    )


@dataclasses.dataclass
class _Search:
    """What is known while a warm-up lasts; its methods are the phases, in their order."""

    chains: Ensemble
    metric: Metric | None
    like: PyTree  # a position of one chain, as shapes
    pieces: int  # at most, in all
    periods: np.ndarray[Any, Any] | None  # (d,), if there are coordinates that wrap
    changed: float = 1.0  # by what factor the metric's scales did, at its last update
    length: int = _FIRST_WINDOW  # of the window that is next
    problems: list[str] = dataclasses.field(default_factory=list)  # of the last window
    rhat: float = math.nan  # the largest there
    acceptance: float = math.nan
    trajectory: str = ""  # what was found of it
    left_out: dict[int, float] = dataclasses.field(default_factory=dict)  # chain to energy

    @property
    def target(self) -> float:
        return float(self.chains.moving.target)

    @property
    def num_chains(self) -> int:
        return int(self.chains.state.kernel.log_step.shape[0])

    @property
    def temperature(self) -> float:
        return float(getattr(self.chains.moving.kernel, "temperature", 1.0))

    @property
    def least(self) -> int:
        """Looks that can confirm that chains have settled."""
        return max(_LEAST_WINDOW, -(-_LEAST_ROWS // self.num_chains))

    @property
    def left(self) -> int:
        """Pieces that may be run before `share` and `confirm`, for which some are kept."""
        kept = min(max(self.least, self.length), max(self.pieces // 3, _FIRST_WINDOW))
        return self.pieces - self.chains.num_pieces - self.trying - _SHARING - kept

    @property
    def trying(self) -> int:
        """Pieces in which lengths are tried, as many with each step size and friction."""
        if self.chains.moving.trial is None:
            return 0
        cases = len(STEPS) * len(FRICTIONS)
        wanted = -(-_TRIALS // (PIECE * self.num_chains))
        return cases * max(1, min(wanted, self.pieces // (4 * cases)))

    def come_in(self) -> None:
        """Until the energy falls no more. The step sizes move fast, and the metric is that of the
        later half of what was seen."""
        before = self.chains.state.kernel.position
        while self.left > 0:
            self.chains.look()
            seen = self.chains.num_pieces
            if seen < 3:
                continue
            # The latest four say when this ends.
            self.chains.looks = self.chains.looks[-max(seen // 2, 4) :]
            self.update(self.chains.looks[-max(seen // 2, 2) :])
            if seen == 3 and self.metric is not None:
                kernel = with_first_step(self.chains.moving.kernel, self.like)
                self.chains.set(kernel=kernel)
                self.chains.share(kernel.step_size)
            late = self.chains.looks[-4:]
            if seen >= 6 and not is_falling(late) and abs(self._rate(late) - self.target) < 0.2:
                break
        self._check_movement(before)
        self.restart(self.chains.looks[-4:])

    def take_over(self, key: jax.Array, moving: Moving) -> None:
        """Go on with another kernel from where the chains are, further on in their streams."""
        chains = self.chains
        there = chains.state.kernel.position
        with quiet():
            begun = sample(key, chains.energy, moving, there, num_steps=0, observe=None).state
        chains.state = begun._replace(step=chains.state.step)
        if self.metric is not None:
            kernel = with_metric(with_first_step(moving.kernel, self.like), self.metric, self.like)
            moving = dataclasses.replace(moving, kernel=kernel)
        chains.moving = moving

    def settle(self) -> None:
        """Windows that double in length, until one has nothing to say."""
        self.chains.set(gain=np.float32(0.3), fastest=np.float32(1.0))
        while self.left >= _FIRST_WINDOW:
            looks = self.chains.run(min(self.length, self.left))
            behind = self.restart(looks)
            looks = [look.without(behind) for look in looks]
            self.update(looks, must=True)
            self.problems = self._problems(looks)
            if not self.problems and not behind.any():
                break
            self.length *= 2

    def lengthen(self, trial: Trial) -> None:
        """The length and friction by which trajectories are best, at what has settled."""
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
                chains.share(number(step_size))
                chains.run(self.trying // (len(STEPS) * len(FRICTIONS)))
                seen.append(chains.tried())
            choices.append((best(step_sizes, seen, self.target), friction))
        choice, friction = max(choices, key=lambda each: each[0].draws)
        chains.set(kernel=with_friction(kernel, friction), trial=trial.cut(choice.length))
        chains.share(number(choice.step_size))
        moves = "1 move" if choice.length == 1 else f"{choice.length} moves"
        self.trajectory = f"{moves} of at most {kernel.trajectory_length}"
        if hasattr(kernel, "friction"):
            self.trajectory += f", friction {friction:.4g}"

    def share(self) -> None:
        """One step size for all, moved to where the target is accepted of all chains together."""
        chains = self.chains
        chains.share(number(chains.step_size))
        chains.set(gain=np.float32(0))
        for _ in range(_SHARING):
            factor = math.exp((self._rate(chains.run(1)) - self.target) / _SLOPE)
            chains.share(number(float(chains.moving.kernel.step_size) * factor))

    def confirm(self) -> None:
        """A window of the kernel that is handed back."""
        rest = max(self.pieces - self.chains.num_pieces, _FIRST_WINDOW)
        looks = self.chains.run(min(max(self.least, self.length), rest), last=True)
        self.changed = 1.0
        self.problems = self._problems(looks)
        if len(looks) < self.least:
            self.problems.append(
                f"num_steps={self.pieces * PIECE} are too few to tell whether {self.num_chains} "
                "chains have settled; more chains need fewer steps"
            )
        rates = np.mean([look.rates for look in looks], axis=0)
        self.acceptance = float(np.mean(rates))
        if stuck := int(np.sum(rates < _STUCK)):
            self.problems.append(
                f"{stuck} of {len(rates)} chains hardly move at the step size that suits the "
                "others: where they are the energy is steeper, as in the neck of a funnel. Other "
                "coordinates, in which scales differ less, are the remedy; or a higher "
                "target_acceptance"
            )

    def update(self, looks: list[Look], *, must: bool = False) -> None:
        """The metric of these looks, without those of energies that lie far off, if it can be told
        or `must` be."""
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
                    f"{positions.shape[1]} coordinates in {dtype}; measure positions from another "
                    "zero, enable x64, or pass precondition=None"
                )
            return
        gradients = None
        if looks[-1].gradients is not None:
            gradients = np.concatenate([look.gradients for look in looks])[usual]
        self.metric, self.changed = self.metric.updated(positions, gradients)
        kernel = self.chains.moving.kernel
        self.chains.set(kernel=with_metric(kernel, self.metric, self.like))

    def restart(self, looks: list[Look]) -> np.ndarray[Any, Any]:
        behind = are_behind(looks, self.temperature)
        if behind.any():
            energies = np.min([look.energies for look in looks], axis=0)
            for chain in np.nonzero(behind)[0]:
                self.left_out[int(chain)] = float(energies[chain])
            self.chains.restart(behind)
        return behind

    def _problems(self, looks: list[Look]) -> list[str]:
        """What a window has to say, in words."""
        more = f"give more steps than num_steps={self.pieces * PIECE}"
        problems = []
        if is_falling(looks):
            problems.append(f"the energy still falls; {more}, or start nearer")
        window = seen_in(centred(looks, self.periods), self.metric)
        self.rhat = float(np.max(window.rhat))
        if window.disagrees:
            problems.append(
                f"chains disagree, R-hat is {self.rhat:.2f}; {more}, or if there are modes between "
                "which chains do not cross take jlangevin.tempered"
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
        if abs(rate - self.target) > _OFF:
            problems.append(
                f"{rate:.2f} of the proposals were accepted where {self.target:.2f} was asked; "
                f"{more}"
            )
        return problems

    def _falls_without_end(self) -> bool:
        chain = self.chains.state.kernel.chain
        if getattr(chain, "gradient", None) is None:
            return False
        position, gradient = jax.tree.map(host, (chain.position, chain.gradient))
        return falls_without_end(self.chains.energy, position, gradient, self.temperature)

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
            step_size=float(moving.kernel.step_size),
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
        """Raise if no chain has moved, although a step so small that it is lost in rounding is
        accepted whatever the energy."""
        after = self.chains.state.kernel.position
        pairs = zip(jax.tree.leaves(before), jax.tree.leaves(after), strict=True)
        if all(np.array_equal(host(a), host(b)) for a, b in pairs):
            raise AdaptationError(
                f"step_size: no proposal was accepted down to {min(self.chains.step_sizes):.1e}; "
                "is the energy finite around the starts?"
            )
