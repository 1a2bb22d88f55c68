"""`warm_up`: its arguments, the phases one after another, and what they found."""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding

from jlangevin import starts
from jlangevin._core import trees
from jlangevin._core.checks import (
    check_count,
    check_flag,
    check_key,
    check_known,
    check_probability,
    check_scalar,
)
from jlangevin._core.each import Each, check_rows, has_each
from jlangevin._core.trees import PyTree
from jlangevin._core.warn import warn
from jlangevin.adaptation.ensemble import PIECE, Ensemble, quiet
from jlangevin.adaptation.kernel import (
    FORMS,
    Form,
    check,
    check_trajectory,
    default_target,
    first_metric,
    has_own_shapes,
    is_isokinetic,
    number,
    with_friction,
    with_metric,
    with_own_steps,
)
from jlangevin.adaptation.length import untried
from jlangevin.adaptation.moving import Moving
from jlangevin.adaptation.phases import FIRST_WINDOW, Search
from jlangevin.adaptation.verdict import Verdict
from jlangevin.distribution import Drawable
from jlangevin.domains.torus import Torus
from jlangevin.energies.base import Energy
from jlangevin.errors import WarmUpWarning
from jlangevin.kernels.base import check_kernel
from jlangevin.kernels.mala import mala
from jlangevin.kernels.mirrored import Mirrored, MirroredState
from jlangevin.sampling import SamplerState, sample
from jlangevin.sampling.start import as_start, as_streams

__all__ = ["WarmUp", "warm_up"]


class WarmUp(NamedTuple):
    """What `warm_up` found. Printed, it is its verdict."""

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
    init: Drawable | PyTree,
    *,
    num_steps: int = 10_000,
    num_chains: int | None = None,
    chains: Any = None,
    per_chain: bool = False,
    target_acceptance: float | None = None,
    energy_variance: float = 1e-4,
    precondition: Form | None = "auto",
    longest_trajectory: int | None = None,
    sharding: Mesh | NamedSharding | None = None,
) -> WarmUp:
    """Find a step size and a preconditioner for a kernel, by running it until chains settle; and,
    if asked to, how long its trajectories should be.

    Starts may be anywhere: draws from a prior, a box, a mode, or all chains at one point. Nothing
    else has to be known, and the result does not depend on units.

    **Come in.** Each chain has its own step size, and every step moves it towards
    `target_acceptance`: log η increases by 0.5 (rate - target), after Robbins and Monro (1951), and
    by up to 8 times that if the rate stays on one side for long. So chains come in from where
    the energy is huge, and a slow chain does not hold up the others. After every 20 steps the
    preconditioner P (or the inverse mass) becomes the geometric mean of the positions'
    covariance and the inverse of the gradients' (Seyboldt, Carlson and Carpenter 2026), over the
    later half of what was seen. On a quadratic energy that is the inverse of the Hessian even if
    chains are far from their law. This phase ends when the energy no longer falls.

    **Settle.** Windows double in length until chains have settled in one of them: split
    R-hat is below 1.1 for the energy and for positions in the coordinates that P makes round; no
    mean drifts by 0.1 standard deviations and four standard errors between the halves; the scales
    of P change by less than 30%; and the acceptance rate is within 0.1 of its target. The last
    window has at least 8 looks and 200 positions.

    **Lengthen**, with `longest_trajectory`. Trajectories of that length show what all shorter ones
    would have done. Let x_k be the point k moves after x_0, and a_k the probability of accepting
    it. Let f be a coordinate along one of the 8 widest principal directions, in coordinates that
    P makes round, or its square about the mean. Then

        1 - ρ_k = E[a_k (f(x_k) - f(x_0))²] / (2 Var f)

    gives the autocorrelation of f over a step. The length becomes the k with the most effective
    draws per move, (1 - ρ_k) / (1 + ρ_k) / k, of the f with the fewest. Squares are
    the criterion of Hoffman, Radul and Sountsov (2021), principal directions that of Sountsov and
    Hoffman (2022). Each length is judged at the step size with the target acceptance rate, found
    from five step sizes. The friction of `malt` becomes sqrt(T) over the largest standard deviation
    along these directions (Riou-Durand, Sountsov, Vogrinc, Margossian and Power 2023), or half of
    that if it is better.

    **Share.** All chains get one step size: the median, adjusted until the average rate is the
    target. It and P are then fixed.

    **Keep apart**, with `per_chain`, instead of sharing. Each chain keeps the step size that it had
    on average in the last window, and `found.kernel.step_size` is `each(steps)`. The phases then
    take a quarter, a half and a quarter of `num_steps`, whatever the chains do.

    **Chains that differ.** If the energy has values marked by `each`, chains have laws of their
    own; likewise if the kernel has such values, for instance its temperature. Then each chain is
    judged by itself: R-hat compares its two halves, in its own standard deviations, and no chain
    starts again from another's place. Chains whose energies differ have no preconditioner in
    common, so the kernel keeps its own. With `per_chain` the result for such a chain depends only
    on its own stream and values: `chains=[7]`, with row 7 of the marked values, finds it again.
    Chains that differ only in temperature do have a preconditioner in common, as T drops out of the
    geometric mean.

    Chains that stay where the energy is far above that of the lowest quarter (by 10 T and 8 of its
    standard deviations) are counted, reported, and start again from where others are; those on
    their way down are left alone. A draw from a law at which the energy is not finite is drawn
    again: see `starts.draw`. A proposal that is not finite is only rejected.

    A kernel that wraps another (`mirrored`, `tempered`, `coupled`) has no step size of its own.
    Warm up the inner kernel alone, on the energy that it runs on, and wrap `found.kernel`. Start
    the run that counts from positions, as `found.state` is the state of the inner kernel. For
    `mirrored` that energy is W(u) = energy(domain.primal(u)) - T * domain.log_det(u), and positions
    are domain.primal(u). On a `domains.torus`, pass `mirrored` itself: what is found is whole, and
    angles are measured around their mean direction.

    Args:
        key: a typed Threefry key. The run that follows by `resume` continues its streams.
        energy, init, num_chains, chains, sharding: as in `sample`. Use 16 chains or more, which
            learn together; a single chain needs as many steps as they take in all.
        kernel: one with a step size and acceptance rates (`mala`, `barker`, `malt`, `ghmc`,
            `adjusted_microcanonical`) or `microcanonical`. Its step size is the first that is
            tried, and P starts as its preconditioner or inverse mass.
        num_steps: the most steps, at least 200; fewer are taken if chains settle earlier. With
            `per_chain` at least 400, and all are taken.
        per_chain: find a step size for each chain, instead of one for all. A kernel whose step size
            is `each(steps)` asks for this too; the search then begins at these.
        target_acceptance: in (0, 1). By default 0.7 for `malt`, 0.85 for `ghmc`, 0.8 for
            `adjusted_microcanonical` and 0.574 for others, best for `mala` in many dimensions
            (Roberts and Rosenthal 1998).
        energy_variance: for `microcanonical`, which accepts everything: the variance of the
            energy's change in a step, over d T². Second moments of a Gaussian law are 1% off with
            1e-4 (and 2% with 4e-4, 0.5% with 1e-5) by its default integrator. The decoherence
            length becomes sqrt(d).
        precondition: "dense" (a matrix), "low rank" (a diagonal and up to 16 more directions),
            "diagonal", or None to keep the kernel's own. "auto" is dense for up to 100 elements
            of a position, and low rank beyond; where energies differ it keeps the kernel's own.
        longest_trajectory: for `malt` and `adjusted_microcanonical`, the most moves that a step may
            have. The kernel's trajectory length, and `malt`'s friction, are then only the first
            that are tried, and `num_steps` must be at least 600. This takes 200 steps of the
            longest trajectory, more with fewer than 50 chains, and compiles nothing more. None
            keeps length and friction.

    Returns:
        A `WarmUp`. Print it, or see its `verdict`.

    Raises:
        TypeError: a kernel without a step size, acceptance rates or, if one is to be found, a
            preconditioner or a trajectory.
        ValueError: numbers out of range, a scheduled step size; a preconditioner or a trajectory
            length that is to be found for chains that differ; otherwise as `sample`.
        AdaptationError: no proposal that moves a chain was accepted, however small the step; or the
            chains' scales are 0 or not finite.
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
    per_chain = check_flag("per_chain", per_chain)
    if precondition not in (None, *FORMS):
        names = ", ".join(f'"{form}"' for form in FORMS)
        raise ValueError(f"precondition: expected {names} or None, got {precondition!r}")
    differs = has_each(energy)
    around = kernel if isinstance(kernel, Mirrored) and isinstance(kernel.domain, Torus) else None
    if around is not None:
        kernel, energy = around.kernel, around.dual_energy(energy)
    if differs or has_own_shapes(kernel):
        _check_keeps_its_own(precondition)
        precondition = None
    check(kernel, precondition)
    apart = per_chain or isinstance(kernel.step_size, Each)
    alike = not differs and not has_each(dataclasses.replace(kernel, step_size=None))
    num_steps = check_count("num_steps", num_steps, minimum=400 if apart else 200)
    if longest_trajectory is not None:
        longest_trajectory = check_count("longest_trajectory", longest_trajectory, minimum=1)
        check_trajectory(kernel)
        _check_together(apart, alike)
        check_count("num_steps", num_steps, minimum=600)
    if target_acceptance is None:
        target_acceptance = default_target(kernel)
    target = check_probability("target_acceptance", target_acceptance)
    check_scalar("energy_variance", energy_variance, positive=True)
    streams = None if chains is None else as_streams(chains)
    redrawn = np.zeros(0, int)
    if isinstance(init, Drawable):
        drawn = starts.draw(key, energy, init, num_chains, chains=streams)
        init, (redrawn,) = drawn.positions, np.nonzero(drawn.redrawn)
    count, start = as_start(init, num_chains, streams)
    check_rows(count, energy=energy, kernel=kernel)
    like = trees.one_chain(trees.struct(start.template()))
    metric = None if precondition is None else first_metric(kernel, like, precondition)
    # The kernel gets the form that is to be found, so that one program serves throughout.
    if apart:
        kernel = with_own_steps(kernel, count)
    else:
        kernel = dataclasses.replace(kernel, step_size=number(kernel.step_size))
    trial = None
    if longest_trajectory is not None:
        trial = untried(like).cut(min(kernel.trajectory_length, longest_trajectory))
        kernel = with_friction(kernel, getattr(kernel, "friction", 0))
        kernel = dataclasses.replace(kernel, trajectory_length=longest_trajectory)
    aim, gain, fastest, wanted = map(np.float32, (target, 0.5, 8.0, energy_variance))
    moving = Moving(with_metric(kernel, metric, like), aim, gain, fastest, wanted, trial)
    scout = moving
    if is_isokinetic(kernel):  # it goes by the energy's change, and creeps where that is steep
        first = mala(0.1, temperature=kernel.temperature)
        first = with_own_steps(first, count) if apart else first
        scout = dataclasses.replace(
            moving, kernel=with_metric(first, metric, like), target=np.float32(0.574), trial=None
        )
    with quiet():
        run = sample(
            key, energy, scout, init,
            num_steps=PIECE, num_chains=num_chains, chains=streams, observe=None, sharding=sharding,
        )  # fmt: skip
    periods = None if around is None else around.domain.raveled(like)
    seen = Ensemble.begun(energy, scout, run.state)
    search = Search(seen, metric, like, num_steps // PIECE, periods, alike)
    search.come_in()
    if scout is not moving:
        search.take_over(key, moving, streams)
    while True:
        search.settle()
        if trial is not None:
            search.lengthen(trial)
        search.share()
        search.confirm()
        if not search.problems or search.left < FIRST_WINDOW:
            break
        search.length *= 2
    verdict = search.verdict(redrawn)
    if not verdict.settled:
        warn(f"warm-up has not settled: {'; '.join(verdict.problems)}", WarmUpWarning)
    if verdict.stayed_behind:
        warn(verdict.stayed_behind, WarmUpWarning)
    kernel, state = seen.found(), seen.given_back()
    if around is not None:
        kernel = dataclasses.replace(around, kernel=kernel)
        wrapped = jax.vmap(around.domain.project)(state.kernel.position)
        dual = state.kernel._replace(position=wrapped)
        state = state._replace(kernel=MirroredState(wrapped, dual))
    return WarmUp(
        kernel,
        state,
        verdict,
        np.array(seen.step_sizes),
        np.array(seen.acceptance),
    )


def _check_keeps_its_own(precondition: Form | None) -> None:
    """Raise if a preconditioner was asked for by name, for chains that cannot share one."""
    if precondition not in (None, "auto"):
        raise ValueError(
            f'precondition: "{precondition}" would be learnt from all chains together, but the '
            "energy or the kernel's own differs from chain to chain (each); leave it out, and the "
            "kernel keeps its own"
        )


def _check_together(apart: bool, alike: bool) -> None:
    """Raise unless all chains can have one trajectory length."""
    if apart or not alike:
        why = "each keeps its own step size" if alike else "their laws differ (each)"
        raise ValueError(
            f"longest_trajectory: a length is found for all chains together, but {why}; leave it "
            "out, and the kernel keeps its own"
        )
