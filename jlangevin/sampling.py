"""The driver: arguments to compiled programs and back, in one piece or in blocks.

What is compiled is in `program`. Here arguments are checked, a long run is cut into blocks between
which there is time for a progress bar, a checkpoint or Ctrl-C, and divergent chains are reported.
No result depends on where a run is cut.
"""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from jlangevin import memory, noise, program, report, trees
from jlangevin import reducers as _reducers
from jlangevin._checks import (
    check_count,
    check_flag,
    check_key,
    check_made,
    check_tree,
    check_width,
)
from jlangevin._warn import warn
from jlangevin.compiling import warn_if_miscompiled
from jlangevin.distribution import Drawable, check_drawable
from jlangevin.kernels.base import (
    Energy,
    Info,
    Kernel,
    check_callable,
    check_kernel,
    position,
)
from jlangevin.program import Layout, Outcome, Plan, SamplerState, Work
from jlangevin.progress import Progress
from jlangevin.trees import PyTree, pytree_dataclass, static_field

__all__ = ["Run", "SamplerState", "position", "resume", "sample"]

OnDivergence = Literal["report", "raise", "ignore"]


@pytree_dataclass
class Run:
    """What `sample` and `resume` return.

    Attributes:
        draws: what `observe` saw, leaves of shape (chain, draw, …) as ArviZ wants them; None
            if `observe` was None. A chain that diverged repeats where it was last finite.
        info: per chain, over all steps after burn-in, see `Info`.
        summary: the results of the reducers, in the structure they were given in; None without.
        state: where to go on from.
        thin: steps from one draw to the next.
    """

    draws: Any
    info: Info
    summary: Any
    state: SamplerState
    thin: int = static_field(default=1)

    def __repr__(self) -> str:
        """What there is, without the numbers."""

        def known(leaf: Any) -> bool:
            # Arrays that other processes hold a part of are not asked: all would have to.
            return (
                isinstance(leaf, jax.Array)
                and trees.is_concrete(leaf)
                and leaf.is_fully_addressable
            )

        parts = {"draws": self.draws, "position": self.position, "summary": self.summary}
        lines = [f"{name}: {trees.shown(tree)}" for name, tree in parts.items()]
        if known(self.state.step):
            lines.append(f"steps: {int(self.state.step):,}")
        if known(self.info.num_divergent):
            lines.append(f"divergent chains: {int(self.info.num_divergent.sum()):,}")
        if self.info.rejections is not None and known(self.info.rejections.faults):
            faults = int(self.info.rejections.faults.sum())
            if faults:
                lines.append(f"proposals at which the energy is at fault: {faults:,}")
        if known(self.info.acceptance_rate):
            lines.append(
                f"acceptance rate: {float(self.info.acceptance_rate.mean()):.3g} on average"
            )
        return "\n  ".join(["Run", *lines])

    @property
    def position(self) -> Any:
        """Where the chains are now, leaves of shape (chain, …)."""
        return self.state.kernel.position

    def to_datatree(self, *, energy: Any = None, coords: Any = None, dims: Any = None) -> Any:
        """The draws as an `xarray.DataTree`, which ArviZ takes from version 1.

        Its groups are "posterior" and "sample_stats". A leaf of the draws is a variable named by
        its path, joined by dots as in "layer.weight"; draws that are one array are "x". Of the
        draws are known, with dimensions (chain, draw):

            diverging   the chain has diverged, and the draw repeats where it was last finite, or is
                        not finite itself; or the energy is not finite at the draw (where its chain
                        ended, if no energy is given); or the chain kept out of a place because the
                        energy or its gradient is NaN there
            energy      E(x), if an energy is given; it has no kinetic part, so BFMI is not for it

        and with dimension (chain,), where the kernel rejects:

            acceptance_rate     the mean over all steps after burn-in
            rejections_walls, rejections_faults, rejections_rounded
                                proposals that could not be weighed, see `kernels.Rejections`

        Args:
            energy: evaluated at every draw, which then has to be a position.
            coords: values along dimensions by their names, as in ArviZ.
            dims: names of the dimensions after (chain, draw), by variables, as in ArviZ.

        Raises:
            TypeError: `coords` or `dims` that is no dict.
            ValueError: the run kept no draws, or two leaves have one name; `coords` or `dims` that
                do not fit them.
            ImportError: ArviZ is not installed, see the extra `arviz`.
        """
        from jlangevin import interop

        return interop.to_datatree(self, energy, coords, dims)

    def to_inference_data(self, *, energy: Any = None, coords: Any = None, dims: Any = None) -> Any:
        """The draws as an `arviz.InferenceData`, for ArviZ before version 1.

        Arguments, groups and variables are those of `to_datatree`.

        Raises:
            ValueError: as `to_datatree`.
            ImportError: ArviZ is not installed, or one that has no `InferenceData`.
        """
        from jlangevin import interop

        return interop.to_inference_data(self, energy, coords, dims)


def sample(
    key: jax.Array,
    energy: Energy,
    kernel: Kernel,
    init: Any,
    *,
    num_steps: int,
    num_chains: int | None = None,
    chains: Any = None,
    burn_in: int = 0,
    thin: int = 1,
    observe: Callable[[Any], PyTree] | None = position,
    reducers: Any = None,
    sharding: Mesh | NamedSharding | None = None,
    on_divergence: OnDivergence = "report",
    progress: bool | Literal["always"] = False,
    block_steps: int | None = None,
    checkpoint: Any = None,
    every: int | None = None,
    remat: bool = False,
) -> Run:
    """Run independent chains of `kernel` on `energy`.

    The noise of chain i at step t depends on (`key`, i, t) and on nothing else, so
    `chains=[7]` runs again chain 7 of any earlier run under the same key. Blocks, devices,
    checkpoints and what is observed change the noise of no chain, and its path by rounding at most.

    Args:
        key: a typed Threefry key, `jax.random.key(seed)`.
        energy: a callable from one position to a scalar. A pytree callable (those of `energies`,
            `jax.tree_util.Partial(f, params)`, an Equinox module) keeps its parameters traced:
            new values compile nothing. A bare function is compiled once per function object.
        kernel: for instance `ula(step_size=0.01)`.
        init: a law that can be drawn from (`Gaussian`, or an energy with an exact sampler), or
            positions, a pytree of floating arrays with a leading chain axis.
        num_steps: steps after burn-in, a multiple of `thin`; 0 for the start alone.
        num_chains: the number of chains, streams 0 … num_chains - 1. From positions it may be
            left out.
        chains: instead of `num_chains`, which streams to run: distinct integers in [0, 2**32).
            Where they are traced and are not so, the chains are NaN.
        burn_in: steps before the first that counts.
        thin: every thin-th state after burn-in is kept, and seen by reducers.
        observe: a function of one chain's kernel state, kept as `Run.draws`; the position by
            default, nothing if None: memory is then independent of `num_steps`.
        reducers: a reducer, or a pytree of them (`jlangevin.reducers`); their results are
            `Run.summary`.
        sharding: spread the chains over devices: a mesh (over all its axes) or a `NamedSharding`
            whose first entry names the axes. By default as the positions in `init` are.
        on_divergence: what to do about chains that turn non-finite, and about an energy that is not
            a number where chains end or wanted to go. The first are frozen where they were last
            finite; both are counted. "report" warns, "raise" raises. "ignore" does not look for
            them: they stay as they are, `info.num_divergent` counts those that end non-finite and
            `info.first_bad_step` is -1 throughout. That is half the program to compile where
            `sample` is itself under a transformation, and what to take with `jax.vmap`.
        progress: a bar on stderr with rate, acceptance and divergences, if that is a terminal;
            "always" for any stderr. Needs the extra `progress`.
        block_steps: run in blocks of about so many steps; Ctrl-C then hands back what is done. By
            default a hundredth of the run with `progress`, and all of it without.
        checkpoint: a directory (~ is the home folder). What it holds of this run is gone on from,
            and every `every` steps the state and the draws are saved there. Needs the extra
            `checkpoint`.
        every: steps between checkpoints, about; by default a tenth of the run.
        remat: recompute blocks instead of storing their steps when a run is differentiated
            backwards (`jax.checkpoint`); memory then grows with the number of blocks.

    Returns:
        A `Run`.

    Raises:
        TypeError: a key, energy, kernel or reducer that is none, or counts that are no integers;
            arrays of 64 bits from when x64 was enabled, while it is not. What `energy`, `observe`,
            a reducer or a schedule raises itself has a note that names it and what it was given.
        ValueError: an energy that is not scalar, or not finite at a start; `num_chains` that
            contradicts `init` or that the devices do not divide; counts out of range; `num_steps`
            that is no multiple of `thin`.
        MemoryError: draws, or the chains themselves, that do not fit the device.
        DivergenceError: under on_divergence="raise".
        ImportError: an extra that is not installed.
        CheckpointError: checkpoints of another run, or of something else.
        OSError: a folder for checkpoints that cannot be written or read.

    Example:
        >>> import jax, jax.numpy as jnp, jlangevin as jl
        >>> start = jl.Gaussian(jnp.zeros(2), jnp.eye(2))
        >>> run = jl.sample(jax.random.key(0), jl.energies.linear([0.8, 0.5]), jl.ula(0.01),
        ...                 start, num_steps=100, num_chains=10, thin=20)
        >>> run.draws.shape, run.position.shape
        ((10, 5, 2), (10, 2))
    """
    check_key("key", key)
    check_callable(energy)
    check_kernel(kernel)
    _reducers.check(reducers)
    plan = _plan(num_steps, burn_in, thin, remat)
    _reducers.check_number(reducers, plan.num_steps // plan.thin)
    _check_observe(observe)
    loop = _loop(on_divergence, progress, block_steps, checkpoint, every)
    chains = None if chains is None else _check_chains(chains)
    count, init = _check_start(init, num_chains, chains)
    check_kernel(kernel, init.template() if isinstance(init, Drawable) else init)
    layout = _layout(sharding, None if isinstance(init, Drawable) else init, count)
    check_width(energy=energy, kernel=kernel, init=init)
    work = Work.of(energy, kernel, reducers, observe)
    init_arrays, init_structure = trees.partition(init)
    if layout.mesh is not None:
        work = work._replace(arrays=_place(work.arrays, layout))
        init_arrays = _place(init_arrays, layout, chains=not isinstance(init, Drawable))
        key = _place(key, layout)
    arrays = (*work.arrays[:3], init_arrays)
    structures = (*work.structures[:3], init_structure)
    if trees.is_concrete(key, arrays, work.arrays):
        with _noted_start(init):
            shapes = memory.shapes_of_start(count, arrays, structures)
        memory.check(shapes, work, plan, layout, _one_device(layout, key))
    numbers = stream_ids = np.arange(count, dtype=np.uint32) if chains is None else chains
    if layout.mesh is not None:
        stream_ids = _place(stream_ids, layout, chains=True)
    with _noted_start(init):
        state, bad = program.begin(key, stream_ids, arrays, structures=structures, layout=layout)
    report.check_start(bad, state, numbers)
    return _go_on(state, work, plan, loop, layout, parity=0)


def resume(
    state: SamplerState,
    energy: Energy,
    kernel: Kernel,
    *,
    num_steps: int,
    burn_in: int = 0,
    thin: int = 1,
    observe: Callable[[Any], PyTree] | None = position,
    reducers: Any = None,
    on_divergence: OnDivergence = "report",
    progress: bool | Literal["always"] = False,
    block_steps: int | None = None,
    remat: bool = False,
) -> Run:
    """Go on from `run.state` as if the run had never stopped.

    Args:
        state: `Run.state` of an earlier run with the same energy and kernel, on a device or on the
            host (`jax.device_get`, pickled, or read back by Orbax with a template). Under another
            energy the numbers that a state may carry, as `mala` does value and gradient, would be
            wrong: begin again with `sample`, from `run.position` and under another key.
        reducers: those of the earlier run, which go on; or others if it had none, which begin.
        energy, kernel, num_steps, burn_in, thin, observe, on_divergence, progress, block_steps,
            remat: as in `sample`; schedules go on from the steps already done, and chains stay on
            the devices where they are. Under on_divergence="ignore", chains that an earlier run
            has frozen move again, and are no longer counted.

    Returns:
        A `Run`: the draws of the further steps; `info` and `summary` of all steps since the first
        burn-in (a later `burn_in` counts for neither).

    Raises:
        TypeError, ValueError, MemoryError, DivergenceError: as `sample`; ValueError also for
            a kernel that makes other states, and reducers whose sums are not like the state's.

    Example:
        >>> import jax, jax.numpy as jnp, jlangevin as jl
        >>> energy, kernel = jl.energies.double_well(), jl.ula(0.01)
        >>> first = jl.sample(jax.random.key(0), energy, kernel, jnp.zeros((3, 1)), num_steps=5)
        >>> jl.resume(first.state, energy, kernel, num_steps=7).draws.shape
        (3, 7, 1)
    """
    if not isinstance(state, SamplerState):
        hint = "pass run.state" if isinstance(state, Run) else f"got {type(state).__name__}"
        raise TypeError(f"state: expected the state of a Run; {hint}")
    state = trees.on_device("state", state)
    _check_state(state)
    check_callable(energy)
    check_kernel(kernel, state.kernel.position)
    _reducers.check(reducers)
    plan = _plan(num_steps, burn_in, thin, remat)
    if trees.is_concrete(state.tally.num_draws):
        before = int(state.tally.num_draws) if jax.tree.leaves(state.reducers) else 0
        _reducers.check_number(reducers, before + plan.num_steps // plan.thin)
    _check_observe(observe)
    loop = _loop(on_divergence, progress, block_steps, None, None)
    parity = None
    if trees.is_concrete(state.step):
        done = int(state.step)
        parity = done % 2
        if done + plan.burn_in + plan.num_steps > noise.MAX_STEPS:
            raise ValueError(
                f"num_steps: a stream has {noise.MAX_STEPS} steps and {done} are used up; "
                "start new chains under another key"
            )
    if on_divergence == "ignore":
        again = state.tally._replace(first_bad_step=jnp.full_like(state.tally.first_bad_step, -1))
        state = state._replace(tally=again)
    layout = _layout(None, state.streams.high, state.streams.high.shape[0])
    state = _continue_reducers(state, reducers)
    check_width(energy=energy, kernel=kernel)
    work = Work.of(energy, kernel, reducers, observe)
    if layout.mesh is not None:
        work = work._replace(arrays=_place(work.arrays, layout))
    if trees.is_concrete(state, work.arrays):
        memory.check(state, work, plan, layout, _one_device(layout, state.streams.high))
    return _go_on(state, work, plan, loop, layout, parity)


def _check_state(state: SamplerState) -> None:
    """Raise unless the arrays of a state have one number of chains."""
    chained = state.streams, state.kernel, state.reducers
    counts = sorted({np.shape(leaf)[:1] for leaf in jax.tree.leaves(chained)})
    if len(counts) != 1 or not jax.tree.leaves(state.kernel):
        raise ValueError(
            f"state: expected one number of chains in its streams and its kernel's state, got "
            f"{trees.shown((state.streams, state.kernel))}; pass run.state as it is"
        )
    check_width(state=state)


def _continue_reducers(state: SamplerState, reducers: Any) -> SamplerState:
    """`state` with accumulators for `reducers`: its own, or new ones if it has none."""

    def begin(kernel_state: Any) -> Any:
        _reducers.check_functions(reducers, trees.struct(kernel_state))
        return _reducers.over(lambda r: r.init(kernel_state), reducers)

    if not jax.tree.leaves(state.reducers):
        tally = state.tally._replace(num_draws=jnp.zeros_like(state.tally.num_draws))
        return state._replace(reducers=jax.vmap(begin)(state.kernel), tally=tally)
    if reducers is None:
        raise ValueError(
            "reducers: the state carries reducers' sums; pass the same reducers to go on with "
            "them, or drop them with state._replace(reducers=None)"
        )
    mine = jax.eval_shape(jax.vmap(begin), state.kernel)
    trees.assert_like("reducers", mine, state.reducers, "like the sums in the state")
    return state


# Running --------------------------------------------------------------------------------------


class _Loop(NamedTuple):
    on_divergence: str
    progress: bool | str
    block_steps: int | None
    checkpoint: Any
    every: int | None


def _go_on(
    state: SamplerState,
    work: Work,
    plan: Plan,
    loop: _Loop,
    layout: Layout,
    parity: int | None,
) -> Run:
    def advance(
        state: SamplerState, piece: Plan, parity: int | None, freeze: bool | None
    ) -> Outcome:
        return program.advance(state, work, plan=piece, layout=layout, parity=parity, freeze=freeze)

    ignore = loop.on_divergence == "ignore"
    if trees.is_concrete(state, work.arrays):
        return _finish(_in_blocks(advance, state, work, plan, loop, parity), work, plan)
    if loop.on_divergence == "raise":
        raise ValueError(
            'on_divergence: "raise" cannot be under jit or another transformation, where no value '
            "is known; look at run.info.num_divergent afterwards"
        )
    if loop.progress or loop.block_steps or loop.checkpoint is not None:
        raise ValueError(
            "progress, block_steps, checkpoint: a run under jit or another transformation is one "
            "program and cannot be cut; call sample outside of it"
        )
    warn_if_miscompiled((state, work.arrays))
    return _finish(advance(state, plan, parity, False if ignore else None), work, plan)


def _in_blocks(
    advance: Callable[..., Outcome],
    state: SamplerState,
    work: Work,
    plan: Plan,
    loop: _Loop,
    parity: int | None,
) -> Outcome:
    """The host's loop around compiled blocks: one, unless something is to happen in between."""
    begun, total = int(state.step), plan.burn_in + plan.num_steps
    kept: list[PyTree] = []
    store = None
    if loop.checkpoint is not None:
        from jlangevin.checkpoint import Store

        store = Store(loop.checkpoint, state, work, plan)
        state, kept = store.restore(state)
        parity = int(state.step) % 2
    done = int(state.step) - begun
    ignore = loop.on_divergence == "ignore"
    out = interrupted = None
    with Progress(loop.progress, total, done) as bar:
        for piece, save in _pieces(plan, loop, done):
            try:
                out = jax.block_until_ready(advance(state, piece, parity, not ignore))
            except KeyboardInterrupt:
                if loop.block_steps is None and not loop.progress and store is None:
                    raise
                interrupted = True
                break
            state = out.state
            kept.append(out.draws)
            steps = piece.burn_in + piece.num_steps
            parity = None if parity is None else (parity + steps) % 2
            bar.update(steps, state.tally, int(out.diverged.number))
            if store is not None and save:
                store.save(state, kept)
            if loop.on_divergence == "raise" and report.failed(out):
                break
    if interrupted:
        done = int(state.step) - begun
        burn_in = max(plan.burn_in - done, 0)
        rest = f"burn_in={burn_in}, " * (burn_in > 0) + f"num_steps={total - done - burn_in}"
        warn(
            f"interrupted after {done} of {total} steps, which are in the Run handed back; "
            f"resume(run.state, …, {rest}) goes on from there",
            UserWarning,
        )
        out = advance(state, plan._replace(burn_in=0, num_steps=0), parity, False)
        kept.append(out.draws)
    assert out is not None
    if not ignore:
        report.tell(out, work, raising=loop.on_divergence == "raise")
    report.warn_if_stuck(out.state)
    return out._replace(draws=_join(kept))


def _finish(out: Outcome, work: Work, plan: Plan) -> Run:
    tally = out.state.tally
    info = Info(tally.acceptance, tally.rejections, out.num_divergent, tally.first_bad_step)
    arrays, structure = work.arrays[2], work.structures[2]
    summary = None
    if jax.tree.leaves(out.state.reducers):
        summary = program.summarise(out.state, out.num_divergent, arrays, structure=structure)
    return Run(out.draws, info, summary, out.state, plan.thin)


def _pieces(plan: Plan, loop: _Loop, done: int) -> Iterator[tuple[Plan, bool]]:
    """What is left of a plan after `done` steps, cut up, and after which pieces to save.

    Pieces have an even number of steps, which keeps the parity, and whole draws.
    """
    burn_in = max(plan.burn_in - done, 0)
    num_steps = plan.num_steps - max(done - plan.burn_in, 0)
    total = plan.burn_in + plan.num_steps
    size = loop.block_steps or (math.ceil(total / 100) if loop.progress else None)
    every = loop.every or math.ceil(total / 10)
    if loop.checkpoint is not None:
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


# Arguments ------------------------------------------------------------------------------------


def _plan(
    num_steps: int,
    burn_in: int,
    thin: int,
    remat: bool,
) -> Plan:
    num_steps = check_count("num_steps", num_steps, minimum=0)
    burn_in = check_count("burn_in", burn_in, minimum=0)
    thin = check_count("thin", thin, minimum=1)
    if num_steps % thin:
        below = num_steps - num_steps % thin
        raise ValueError(
            f"num_steps: {num_steps} is no multiple of thin={thin}; take {below} or {below + thin}"
        )
    if num_steps + burn_in > noise.MAX_STEPS:
        raise ValueError(
            f"num_steps: {num_steps} after a burn_in of {burn_in} is more than the "
            f"{noise.MAX_STEPS} steps of a stream; run more chains instead"
        )
    return Plan(num_steps, burn_in, thin, check_flag("remat", remat))


def _check_observe(observe: Any) -> None:
    if observe is not None and not callable(observe):
        raise TypeError(f"observe: expected a function of the kernel state or None, got {observe}")


def _loop(
    on_divergence: str, progress: Any, block_steps: Any, checkpoint: Any, every: Any
) -> _Loop:
    if on_divergence not in ("report", "raise", "ignore"):
        raise ValueError(
            f'on_divergence: expected "report", "raise" or "ignore", got {on_divergence!r}'
        )
    if not (isinstance(progress, str) and progress == "always"):
        progress = check_flag("progress", progress, also=', or "always"')
    if block_steps is not None:
        block_steps = check_count("block_steps", block_steps, minimum=1)
    if checkpoint is not None:
        checkpoint = _folder(checkpoint)
    if every is not None:
        every = check_count("every", every, minimum=1)
        if checkpoint is None:
            raise ValueError("every: steps between checkpoints, but no checkpoint is asked for")
    return _Loop(on_divergence, progress, block_steps, checkpoint, every)


def _folder(checkpoint: Any) -> Path:
    """`checkpoint` as a path, in which ~ is the home folder."""
    if not isinstance(checkpoint, str | bytes | os.PathLike):
        raise TypeError(f"checkpoint: expected the path of a folder, got {checkpoint!r}")
    path = os.fsdecode(checkpoint)
    if not path:
        raise ValueError('checkpoint: expected a folder, got ""; "." is the one that you are in')
    folder = Path(os.path.expanduser(path)).absolute()
    if folder.exists() and not folder.is_dir():
        raise FileExistsError(
            f"checkpoint: expected a folder, and {folder} is a file; name another path"
        )
    return folder


def _layout(sharding: Any, chained: Any, num_chains: int) -> Layout:
    """Where the chains go: where they are told to, or where those of `chained` are."""
    if sharding is None:
        for leaf in jax.tree.leaves(chained):
            found = getattr(leaf, "sharding", None) if trees.is_concrete(leaf) else None
            if isinstance(found, NamedSharding) and found.spec and found.spec[0] is not None:
                sharding = found
                break
        else:
            return Layout()
    if isinstance(sharding, Mesh):
        layout = Layout(_automatic(sharding), tuple(sharding.axis_names))
    elif isinstance(sharding, NamedSharding) and sharding.spec and sharding.spec[0] is not None:
        if any(entry is not None for entry in sharding.spec[1:]):
            raise ValueError(
                f"sharding: chains alone can be spread, the first axis; got {sharding.spec}"
            )
        names = sharding.spec[0]
        mesh = sharding.mesh
        if not isinstance(mesh, Mesh):
            raise TypeError("sharding: expected a mesh of devices, got an abstract one")
        layout = Layout(_automatic(mesh), names if isinstance(names, tuple) else (names,))
    else:
        raise TypeError(
            "sharding: expected a jax.sharding.Mesh, or a NamedSharding that names the axes of "
            f"the chains, got {sharding!r}"
        )
    devices = layout.num_devices
    if num_chains % devices:
        below = num_chains - num_chains % devices
        raise ValueError(
            f"num_chains: {num_chains} chains cannot be spread evenly over {devices} devices; take "
            f"{f'{below} or ' * (below > 0)}{below + devices}"
        )
    return layout


def _one_device(layout: Layout, placed: jax.Array) -> jax.Device:
    """One of this process's devices on which the run will be."""
    return layout.mesh.local_devices[0] if layout.mesh else next(iter(placed.devices()))


def _automatic(mesh: Mesh) -> Mesh:
    """`mesh` with axes that the compiler may reason about; `jax.make_mesh` makes others."""
    return Mesh(mesh.devices, mesh.axis_names)


def _place(tree: PyTree, layout: Layout, *, chains: bool = False) -> PyTree:
    """`tree` on the devices of a layout: by chains, or the whole of it on each.

    In a run of many processes every process has the same `tree`, or parts of one global array.
    """
    assert layout.mesh is not None
    sharding = NamedSharding(layout.mesh, layout.chains if chains else PartitionSpec())

    def put(leaf: Any) -> Any:
        if not trees.is_concrete(leaf):
            return leaf
        leaf = jnp.asarray(leaf)
        if sharding.is_fully_addressable or not leaf.is_fully_addressable:
            return jax.device_put(leaf, sharding)
        if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            return jax.random.wrap_key_data(
                put(jax.random.key_data(leaf)), impl=jax.random.key_impl(leaf)
            )
        values = np.asarray(leaf)
        return jax.make_array_from_callback(values.shape, sharding, values.__getitem__)

    return jax.tree.map(put, tree)


def _check_start(init: Any, num_chains: Any, chains: Any) -> tuple[int, Any]:
    """The number of chains, and `init` with its positions as floating arrays."""
    count = None
    check_made("init", init)
    if isinstance(init, Drawable):
        check_drawable("init", init)
    else:
        init = _positions(init)
        counts = {leaf.shape[0] for leaf in jax.tree.leaves(init)}
        if len(counts) != 1:
            lengths = ", ".join(
                f"{n} has {x.shape[0]}" for n, x in trees.named_leaves("init", init)
            )
            raise ValueError(
                f"init: leaves disagree on the number of chains, their first axis: {lengths}"
            )
        (count,) = counts
        if count == 0:
            raise ValueError("init: no positions were given (a chain axis of length 0)")
    if chains is not None:
        if num_chains is not None:
            raise ValueError("num_chains and chains: give one of them, not both")
        name, wanted = "chains", chains.shape[0]
        init = _if_streams(chains, init)
    else:
        if num_chains is None and count is None:
            raise ValueError("num_chains: pass a number of chains, as a law to start from has none")
        wanted = check_count("num_chains", count if num_chains is None else num_chains, minimum=1)
        if wanted > noise.MAX_CHAINS:
            raise ValueError(f"num_chains: a key has {noise.MAX_CHAINS} streams, got {wanted}")
        name = "num_chains"
    if count not in (None, wanted):
        raise ValueError(
            f"{name}: {wanted} chains were asked for, but init has {count} positions; "
            "for many chains from one point x, start from Gaussian(x, zeros)"
        )
    return wanted, init


def _positions(init: Any) -> PyTree:
    """`init`, which is no law, as floating arrays with an axis of chains."""
    if isinstance(init, Run):
        raise TypeError(
            "init: got a Run; pass run.position to begin anew from there, or go on with "
            "resume(run.state, …)"
        )
    ours = type(init).__module__.startswith("jlangevin.")
    if isinstance(init, SamplerState) or (ours and hasattr(init, "position")):
        raise TypeError(
            f"init: got a {type(init).__name__}, a state; pass the positions in it, run.position"
        )
    check_tree("init", init)
    init = trees.as_position("init", init)
    leaves = trees.named_leaves("init", init)
    if not leaves:
        raise ValueError("init: no positions were given (a pytree without leaves)")
    for name, leaf in leaves:
        if isinstance(leaf, jax.ShapeDtypeStruct):
            raise TypeError(f"{name}: expected positions, got shapes alone, {trees.shown(leaf)}")
        if not jnp.issubdtype(leaf.dtype, jnp.floating):
            raise TypeError(f"{name}: expected floating positions, got dtype {leaf.dtype}")
        if leaf.ndim == 0:
            raise ValueError(
                f"{name}: expected a leading chain axis, and init is {trees.shown(init)}; for "
                "one chain at x pass jax.tree.map(lambda leaf: jnp.asarray(leaf)[None], x), and "
                "for positions in tuples an array, jnp.array(x)"
            )
    return init


@contextlib.contextmanager
def _noted_start(init: Any) -> Iterator[None]:
    """Errors of what is traced at the start have notes.

    They say how `init` was read, where one position may have been meant, and that functions may not
    keep what they were given.
    """
    try:
        yield
    except Exception as error:
        if not isinstance(init, Drawable) and any(x.ndim == 1 for x in jax.tree.leaves(init)):
            error.add_note(
                f"jlangevin: init is {trees.shown(init)}, and its first axis is the chain, so each "
                "chain has a position without axes; for one chain at x pass x[None]"
            )
        if isinstance(error, jax.errors.UnexpectedTracerError):
            error.add_note(
                "jlangevin: the energy or the kernel has kept a value of an earlier call; let it "
                "depend on its arguments alone"
            )
        raise


def _check_chains(chains: Any) -> np.ndarray[Any, Any] | jax.Array:
    values = np.asarray(chains) if trees.is_concrete(chains) else chains
    integers = jnp.issubdtype(values.dtype, jnp.integer)
    if values.ndim != 1 or values.size == 0 or not integers:
        raise ValueError(f"chains: expected a non-empty list of integers, got {chains!r}")
    if not trees.is_concrete(values):  # see `_if_streams`
        return jnp.asarray(values)
    numbers = noise.as_chains(values)
    found, counts = np.unique(numbers, return_counts=True)
    if found.size != numbers.size:
        raise ValueError(
            "chains: a stream named twice would give the same chain twice, and "
            f"{found[counts > 1][0]} is; name each once"
        )
    return numbers


def _if_streams(chains: Any, init: Any) -> Any:
    """`init`, but NaN where traced `chains` are refused, being no streams or not distinct."""
    if trees.is_concrete(chains):
        return init
    ids = jnp.sort(jnp.asarray(chains))
    fine = (ids[0] >= 0) & jnp.all(ids[1:] != ids[:-1])
    if jnp.iinfo(ids.dtype).max >= 2**32:
        fine &= ids[-1] < 2**32

    def keep(leaf: Any) -> Any:
        if not jnp.issubdtype(jnp.result_type(leaf), jnp.floating):
            return leaf
        return jnp.where(fine, leaf, jnp.nan)

    return jax.tree.map(keep, init)
