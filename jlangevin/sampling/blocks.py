"""The host's loop over blocks of a run: one, unless something is to happen in between."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jlangevin._core import trees, xla
from jlangevin._core.trees import PyTree
from jlangevin._core.warn import warn
from jlangevin.kernels.base import Info
from jlangevin.sampling import program, report
from jlangevin.sampling.arguments import Stops
from jlangevin.sampling.counted import Counting
from jlangevin.sampling.fixed import Fixing
from jlangevin.sampling.layout import Layout
from jlangevin.sampling.program import Outcome
from jlangevin.sampling.progress import Progress
from jlangevin.sampling.run import Run
from jlangevin.sampling.state import Plan, SamplerState, Span, Work
from jlangevin.sampling.trouble import Sign, seen

__all__ = ["run"]


def run(state: SamplerState, work: Work, plan: Plan, stops: Stops, layout: Layout) -> Run:
    """Carry out a plan from `state`."""
    if not (trees.is_concrete(state, work) and xla.outermost()):
        return _inside(state, work, plan, stops, layout)
    begun, total = int(state.step), plan.burn_in + plan.num_steps
    counted = int(state.tally.num_steps)
    kept: list[PyTree] = []
    store = None
    if stops.checkpoint is not None:
        from jlangevin.sampling.checkpoint import Store

        store = Store(stops.checkpoint, state, work, plan)
        state, kept = store.restore(state)
    done = int(state.step) - begun
    out, interrupted = None, False
    with Progress(stops.progress, total, done) as bar:
        for piece, save in _pieces(plan, stops, done):
            advance = partial(program.advance, state, work, **_by(piece, state, work, layout))
            try:
                out = jax.block_until_ready(advance())
                signs = seen(out.end)
                if not stops.ignores and Sign.DIVERGED in signs:
                    out = jax.block_until_ready(program.frozen(out, advance(careful=True)))
                    signs = seen(out.end)
            except KeyboardInterrupt:
                if not stops.any:
                    raise
                interrupted = True
                break
            state = out.state
            kept.append(out.draws)
            bar.update(piece.burn_in + piece.num_steps, state.tally, out.end)
            if store is not None and save:
                store.save(state, kept)
            if stops.raises and signs & report.FAILURES:
                break
    if interrupted:
        _warn_of_what_is_left(plan, int(state.step) - begun)
        nothing = plan._replace(burn_in=0, num_steps=0)
        out = program.advance(state, work, **_by(nothing, state, work, layout))
        kept.append(out.draws)
    assert out is not None
    if not stops.ignores:
        report.tell(out.state, out.end, work, raising=stops.raises)
    report.warn_if_stuck(out.state, counted)
    return _finish(out._replace(draws=_join(kept)), work, plan)


def _by(
    plan: Plan, state: SamplerState, work: Work, layout: Layout, *, inside: bool = False
) -> dict[str, Any]:
    """How `program.advance` is to carry out a plan: see `Counting` and `Fixing`.

    `inside` says that it is a part of another program. A loop whose end is data makes the host of
    an accelerator wait at every turn.
    """
    how: Counting | Fixing
    done: Any = (state.step, state.tally.num_steps, state.tally.num_draws)
    if known := trees.is_concrete(done):
        done = [int(number) for number in done]
    span = Span(*map(np.int32 if known else jnp.int32, Span.of(plan, *done)))
    if not inside and layout.device(state.streams.high).platform == "cpu":
        kept = work.observe.whole is not None
        looked = kept or bool(jax.tree.leaves(state.reducers))
        how = Counting(plan.thin if looked else 1, plan.num_draws if kept else 0)
    else:
        how = Fixing(plan, done[0] % 2 if known else None)
    return {"span": span, "how": how, "layout": layout}


def _inside(state: SamplerState, work: Work, plan: Plan, stops: Stops, layout: Layout) -> Run:
    """A plan as a part of a program of the caller's own.

    Whether chains diverge cannot be looked at, so if they are to be frozen then both ways are in
    the program.
    """
    if stops.raises:
        raise ValueError(
            'on_divergence: "raise" cannot be under jit or another transformation, where no value '
            "is known; look at run.info.num_divergent afterwards"
        )
    if stops.any:
        raise ValueError(
            "progress, block_steps, checkpoint: a run under jit or another transformation is one "
            "program and cannot be cut; call sample outside of it"
        )
    xla.warn_if_miscompiled(jax.tree.leaves((state, work)))
    by = _by(plan, state, work, layout, inside=True)
    advance = partial(program.advance, state, work, **by)
    out = advance()
    if not stops.ignores:
        out = lax.cond(
            jnp.any(out.end.signs & Sign.DIVERGED > 0),
            lambda quick: program.frozen(quick, advance(careful=True)),
            lambda quick: quick,
            out,
        )
    return _finish(out, work, plan)


def _warn_of_what_is_left(plan: Plan, done: int) -> None:
    total = plan.burn_in + plan.num_steps
    burn_in = max(plan.burn_in - done, 0)
    rest = f"burn_in={burn_in}, " * (burn_in > 0) + f"num_steps={total - done - burn_in}"
    warn(
        f"interrupted after {done} of {total} steps, which are in the Run handed back; "
        f"resume(run.state, …, {rest}) goes on from there",
        UserWarning,
    )


def _finish(out: Outcome, work: Work, plan: Plan) -> Run:
    tally = out.state.tally
    lost = out.end.num_divergent
    info = Info(tally.acceptance, tally.rejections, lost, tally.first_bad_step)
    summary = None
    if jax.tree.leaves(out.state.reducers):
        summary = program.summarise(out.state, lost, work.reducers)
    return Run(out.draws, info, summary, out.state, plan.thin)


def _pieces(plan: Plan, stops: Stops, done: int) -> Iterator[tuple[Plan, bool]]:
    """What is left of a plan after `done` steps, cut up, and after which pieces to save.

    Pieces have an even number of steps, which keeps the parity, and whole draws.
    """
    burn_in = max(plan.burn_in - done, 0)
    num_steps = plan.num_steps - max(done - plan.burn_in, 0)
    total = plan.burn_in + plan.num_steps
    size = stops.block_steps or (math.ceil(total / 100) if stops.progress else None)
    every = stops.every or math.ceil(total / 10)
    if stops.checkpoint is not None:
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


def _join(kept: list[PyTree]) -> PyTree:
    """The draws of all pieces, along the draw axis."""
    if len(kept) == 1:
        return kept[0]
    return jax.tree.map(lambda *parts: jnp.concatenate(parts, axis=1), *kept)
