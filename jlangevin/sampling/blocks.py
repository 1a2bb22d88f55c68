"""The host's loop over the blocks of a run: a single one unless something happens in between."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jlangevin._core import trees, xla
from jlangevin._core.compiling import result_shapes
from jlangevin._core.trees import PyTree
from jlangevin._core.warn import warn
from jlangevin.errors import InterruptedWarning
from jlangevin.kernels.base import Info
from jlangevin.sampling import program, report
from jlangevin.sampling.arguments import BlockOptions
from jlangevin.sampling.counted import CountedSpec
from jlangevin.sampling.fixed import FixedSpec
from jlangevin.sampling.fused import CHOSEN_BY_ITSELF, FusedSpec, refusal
from jlangevin.sampling.health import Sign, any_signs
from jlangevin.sampling.layout import Layout, has_accelerators, is_accelerator
from jlangevin.sampling.paired import PairedSpec
from jlangevin.sampling.program import Outcome
from jlangevin.sampling.progress import Progress
from jlangevin.sampling.run import Run
from jlangevin.sampling.state import Plan, SamplerState, Setup, StepRange
from jlangevin.sampling.unrolled import NotInRegistersError

__all__ = ["run"]


def run(
    state: SamplerState, setup: Setup, plan: Plan, options: BlockOptions, layout: Layout
) -> Run:
    """Carry out a plan from `state`."""
    if not (trees.is_concrete(state, setup) and xla.outermost()):
        return _run_traced(state, setup, plan, options, layout)
    plan = plan._replace(fused=_is_fused(state, setup, plan, layout))
    begun, total = int(state.step), plan.burn_in + plan.num_steps
    counted = int(state.tally.num_steps)
    kept: list[PyTree] = []
    store = None
    if options.checkpoint is not None:
        from jlangevin.sampling.checkpoint import Store

        store = Store.of_run(options.checkpoint, state, setup, plan)
        state, kept = store.restore(state)
    done = int(state.step) - begun
    out, interrupted = None, False
    with Progress(options.progress, total, done) as bar:
        for piece, save in _pieces(plan, options, done):
            advance = partial(
                program.advance, state, setup, **_program_arguments(piece, state, setup, layout)
            )
            try:
                out = jax.block_until_ready(advance())
                signs = any_signs(out.health)
                if not options.ignores and Sign.DIVERGED in signs:
                    out = jax.block_until_ready(program.frozen(out, advance(careful=True)))
                    signs = any_signs(out.health)
            except KeyboardInterrupt:
                if not options.any:
                    raise
                interrupted = True
                break
            state = out.state
            kept.append(out.draws)
            bar.update(piece.burn_in + piece.num_steps, state.tally, out.health)
            if store is not None and save:
                store.save(state, kept)
            if options.raises and signs & report.FAILURES:
                break
    if interrupted:
        _warn_of_what_is_left(plan, int(state.step) - begun)
        nothing = plan._replace(burn_in=0, num_steps=0)
        out = program.advance(state, setup, **_program_arguments(nothing, state, setup, layout))
        kept.append(out.draws)
    assert out is not None
    if not options.ignores:
        report.warn_or_raise(out.state, out.health, setup, raising=options.raises)
    report.warn_if_stuck(out.state, setup, counted)
    return _as_run(out._replace(draws=_concatenate_draws(kept)), setup, plan, interrupted)


def _program_arguments(
    plan: Plan, state: SamplerState, setup: Setup, layout: Layout
) -> dict[str, Any]:
    """The arguments of `program.advance` that carry out a plan, by the loop that the devices want.

    On an accelerator, a loop whose length is data would make the host wait at every iteration, so
    the number of steps is static there.
    """
    how: CountedSpec | FixedSpec | FusedSpec | PairedSpec
    step_range, parity = _range_and_parity(plan, state)
    if plan.fused:
        assert parity is not None
        how = FusedSpec.of(plan, parity)
    elif is_accelerator(layout.device(state.streams.high)):
        how = _static_form_on_a_card(plan, parity)
    else:
        kept = setup.observe.whole is not None
        recorded = kept or bool(jax.tree.leaves(state.reducers))
        how = CountedSpec(plan.thin if recorded else 1, plan.num_draws if kept else 0)
    return {"step_range": step_range, "how": how, "layout": layout}


def _is_fused(state: SamplerState, setup: Setup, plan: Plan, layout: Layout) -> bool | str:
    """Whether a run is to be a fused kernel; raises if it cannot be although it was asked for."""
    device = layout.device(state.streams.high)
    chosen = CHOSEN_BY_ITSELF and is_accelerator(device) if plan.fused is None else plan.fused
    if not chosen:
        return False
    why_not = refusal(state, setup, plan, device)
    if plan.fused is None:
        return why_not is None and _unrolls(state, setup, plan, layout)
    if why_not is not None:
        raise ValueError(f"fused: {why_not}")
    return chosen


def _unrolls(state: SamplerState, setup: Setup, plan: Plan, layout: Layout) -> bool:
    """Whether a step has a form in registers."""
    options = _program_arguments(plan._replace(fused=True), state, setup, layout)
    step_range = options.pop("step_range")
    try:
        result_shapes(partial(program.advance, **options), state, setup, step_range)
    except NotInRegistersError:
        return False
    return True


def _range_and_parity(plan: Plan, state: SamplerState) -> tuple[StepRange, int | None]:
    """The steps of a plan, and whether the first is odd; None if that is not known."""
    done: Any = (state.step, state.tally.num_steps, state.tally.num_draws)
    if not trees.is_concrete(done):
        return StepRange(*map(jnp.int32, StepRange.of(plan, *done))), None
    done = [int(number) for number in done]
    return StepRange(*map(np.int32, StepRange.of(plan, *done))), done[0] % 2


def _static_form_on_a_card(plan: Plan, parity: int | None) -> FixedSpec | PairedSpec:
    # Recomputing in reverse-mode differentiation goes by blocks.
    return FixedSpec(plan, parity) if plan.remat or parity is None else PairedSpec(plan, parity)


def _run_traced(
    state: SamplerState, setup: Setup, plan: Plan, options: BlockOptions, layout: Layout
) -> Run:
    """Carry out a plan inside a program of the caller's own.

    Whether chains diverge is not known while it is traced, so the program contains both the quick
    and the careful steps if diverged chains are to be frozen.
    """
    if options.raises:
        raise ValueError(
            'on_divergence: "raise" is not possible under jit or another transformation, where no '
            "value is known; look at run.info.num_divergent afterwards"
        )
    if plan.fused:
        raise ValueError(
            "fused: a fused kernel cannot be a part of another program, nor be differentiated or "
            "mapped; call sample outside of jit and the like, or leave fused out"
        )
    if options.any:
        raise ValueError(
            "progress, block_steps, checkpoint: a run under jit or another transformation is one "
            "program and cannot be cut into blocks; call sample outside of it"
        )
    xla.warn_if_miscompiled(jax.tree.leaves((state, setup)))
    step_range, parity = _range_and_parity(plan, state)

    def advance(careful: bool = False) -> Outcome:
        def by(how: FixedSpec | PairedSpec) -> Callable[[SamplerState, Setup], Outcome]:
            rest: Any = {"step_range": step_range, "layout": layout, "careful": careful}
            return lambda state, setup: program.advance(state, setup, how=how, **rest)

        on_cpu, on_card = by(FixedSpec(plan, parity)), by(_static_form_on_a_card(plan, parity))
        if not has_accelerators():
            return on_cpu(state, setup)
        found: Outcome = lax.platform_dependent(state, setup, cpu=on_cpu, default=on_card)
        return found

    out = advance()
    if not options.ignores:
        out = lax.cond(
            jnp.any(out.health.signs & Sign.DIVERGED > 0),
            lambda quick: program.frozen(quick, advance(careful=True)),
            lambda quick: quick,
            out,
        )
    return _as_run(out, setup, plan)


def _warn_of_what_is_left(plan: Plan, done: int) -> None:
    total = plan.burn_in + plan.num_steps
    burn_in = max(plan.burn_in - done, 0)
    rest = f"burn_in={burn_in}, " * (burn_in > 0) + f"num_steps={total - done - burn_in}"
    warn(
        f"interrupted after {done} of {total} steps, which are in the Run returned; "
        f"resume(run.state, …, {rest}) continues from there. A loop over runs goes on: stop it by "
        "`if run.interrupted: break`, or by making jlangevin.InterruptedWarning an error",
        InterruptedWarning,
    )


def _as_run(out: Outcome, setup: Setup, plan: Plan, interrupted: bool = False) -> Run:
    tally = out.state.tally
    lost = out.health.num_divergent
    info = Info(tally.acceptance, tally.rejections, lost, tally.first_bad_step)
    summary = None
    if jax.tree.leaves(out.state.reducers):
        summary = program.summarise(out.state, lost, setup.reducers)
    return Run(out.draws, info, summary, out.state, plan.thin, interrupted)


def _pieces(plan: Plan, options: BlockOptions, done: int) -> Iterator[tuple[Plan, bool]]:
    """The rest of a plan after `done` steps, in pieces, and whether to save after each piece.

    Pieces consist of whole draws, and have an even number of steps, so that all of them start at
    the same parity.
    """
    burn_in = max(plan.burn_in - done, 0)
    num_steps = plan.num_steps - max(done - plan.burn_in, 0)
    total = plan.burn_in + plan.num_steps
    size = options.block_steps or (math.ceil(total / 100) if options.progress else None)
    every = options.every or math.ceil(total / 10)
    if options.checkpoint is not None:
        size = min(size or every, every)
    if size is None or burn_in + num_steps == 0:
        yield plan._replace(num_steps=num_steps, burn_in=burn_in), False
        return
    unit = plan.thin if plan.thin % 2 == 0 else 2 * plan.thin
    size = max(math.ceil(size / unit), 1) * unit
    unsaved = 0
    while burn_in or num_steps:
        now = min(size, burn_in or num_steps)
        if burn_in:
            piece, burn_in = plan._replace(num_steps=0, burn_in=now), burn_in - now
        else:
            piece, num_steps = plan._replace(num_steps=now, burn_in=0), num_steps - now
        unsaved += now
        save = unsaved >= every or burn_in + num_steps == 0
        unsaved = 0 if save else unsaved
        yield piece, save


def _concatenate_draws(kept: list[PyTree]) -> PyTree:
    """The draws of all pieces, along the draw axis."""
    if len(kept) == 1:
        return kept[0]
    return jax.tree.map(lambda *parts: jnp.concatenate(parts, axis=1), *kept)
