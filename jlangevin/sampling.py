"""The driver: arguments to compiled programs and back, in one piece or in blocks.

What is compiled is in `program`. Here arguments are checked, a long run is cut into blocks between
which there is time for a progress bar, a checkpoint or Ctrl-C, and divergent chains are reported.
No result depends on where a run is cut.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from jlangevin import memory, noise, program, trees
from jlangevin import reducers as _reducers
from jlangevin._checks import check_count, check_key
from jlangevin.compiling import warn_if_miscompiled
from jlangevin.distribution import Drawable
from jlangevin.errors import DivergenceError, DivergenceWarning, StuckWarning
from jlangevin.kernels.base import Energy, Info, Kernel, check_callable, check_kernel, position
from jlangevin.program import Layout, Outcome, Plan, SamplerState, Tally, Trouble, Work
from jlangevin.progress import Progress
from jlangevin.trees import PyTree, pytree_dataclass, static_field

__all__ = ["Run", "SamplerState", "position", "resume", "sample"]

_ENOUGH_STEPS = 100  # after which chains that have not moved are stuck, and not merely unlucky

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
                        not finite itself
            energy      E(x), if an energy is given; it has no kinetic part, so BFMI is not for it

        and with dimension (chain,), where the kernel rejects:

            acceptance_rate   the mean over all steps after burn-in

        Args:
            energy: evaluated at every draw, which then has to be a position.
            coords: values along dimensions by their names, as in ArviZ.
            dims: names of the dimensions after (chain, draw), by variables, as in ArviZ.

        Raises:
            ValueError: the run kept no draws, or two leaves have one name.
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
        burn_in: steps before the first that counts.
        thin: every thin-th state after burn-in is kept, and seen by reducers.
        observe: a function of one chain's kernel state, kept as `Run.draws`; the position by
            default, nothing if None: memory is then independent of `num_steps`.
        reducers: a reducer, or a pytree of them (`jlangevin.reducers`); their results are
            `Run.summary`.
        sharding: spread the chains over devices: a mesh (over all its axes) or a `NamedSharding`
            whose first entry names the axes. By default as the positions in `init` are.
        on_divergence: what to do about chains that turn non-finite. They are frozen where they were
            last finite and counted; "report" warns, "raise" raises. "ignore" does not look for
            them: they stay as they are, `info.num_divergent` counts those that end non-finite and
            `info.first_bad_step` is -1 throughout. That is half the program to compile where
            `sample` is itself under a transformation, and what to take with `jax.vmap`.
        progress: a bar on stderr with rate, acceptance and divergences, if that is a terminal;
            "always" for any stderr. Needs the extra `progress`.
        block_steps: run in blocks of about so many steps; Ctrl-C then hands back what is done. By
            default a hundredth of the run with `progress`, and all of it without.
        checkpoint: a directory. What it holds of this run is gone on from, and every `every` steps
            the state and the draws are saved there. Needs the extra `checkpoint`.
        every: steps between checkpoints, about; by default a tenth of the run.
        remat: recompute blocks instead of storing their steps when a run is differentiated
            backwards (`jax.checkpoint`); memory then grows with the number of blocks.

    Returns:
        A `Run`.

    Raises:
        TypeError: a key, energy, kernel or reducer that is none, or counts that are no integers.
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
    plan = _plan(num_steps, burn_in, thin, observe, remat)
    loop = _loop(on_divergence, progress, block_steps, checkpoint, every)
    stream_ids, init = _check_start(init, num_chains, chains)
    numbers, placed = stream_ids, None if isinstance(init, Drawable) else init
    layout = _layout(sharding, placed, stream_ids.shape[0])
    parts = [trees.partition(part) for part in (energy, kernel, init, reducers)]
    arrays, structures = map(tuple, zip(*parts, strict=True))
    if layout.mesh is not None:
        init_arrays = _place(arrays[2], layout, chains=not isinstance(init, Drawable))
        arrays = (*_place(arrays[:2], layout), init_arrays, _place(arrays[3], layout))
        key, stream_ids = _place(key, layout), _place(stream_ids, layout, chains=True)
    work = Work((arrays[0], arrays[1], arrays[3]), (structures[0], structures[1], structures[3]))
    if trees.is_concrete(key, arrays):
        shapes = memory.shapes_of_start(stream_ids.shape[0], arrays, structures)
        memory.check(shapes, work, plan, layout, _one_device(layout, key))
    state, bad, fault = program.begin(key, stream_ids, arrays, structures=structures, layout=layout)
    _check_finite_start(bad, fault, numbers)
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
        state: `Run.state` of an earlier run with the same energy and kernel. Under another energy
            the numbers that a state may carry, as `mala` does value and gradient, would be wrong:
            begin anew with `sample`, from `run.position` and under another key.
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
    check_callable(energy)
    check_kernel(kernel)
    _reducers.check(reducers)
    plan = _plan(num_steps, burn_in, thin, observe, remat)
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
    parts = [trees.partition(part) for part in (energy, kernel, reducers)]
    arrays, structures = map(tuple, zip(*parts, strict=True))
    if layout.mesh is not None:
        arrays = _place(arrays, layout)
    work = Work(arrays, structures)
    if trees.is_concrete(state, arrays):
        memory.check(state, work, plan, layout, _one_device(layout, state.streams.high))
    return _go_on(state, work, plan, loop, layout, parity)


def _continue_reducers(state: SamplerState, reducers: Any) -> SamplerState:
    """`state` with accumulators for `reducers`: its own, or new ones if it has none."""

    def begin(kernel_state: Any) -> Any:
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
            failed = int(out.trouble.number)
            bar.update(steps, state.tally, failed)
            if store is not None and save:
                store.save(state, kept)
            if failed and loop.on_divergence == "raise":
                break
    if interrupted:
        done = int(state.step) - begun
        burn_in = max(plan.burn_in - done, 0)
        rest = f"burn_in={burn_in}, " * (burn_in > 0) + f"num_steps={total - done - burn_in}"
        warnings.warn(
            f"interrupted after {done} of {total} steps, which are in the Run handed back; "
            f"resume(run.state, …, {rest}) goes on from there",
            stacklevel=4,
        )
        out = advance(state, plan._replace(burn_in=0, num_steps=0), parity, False)
        kept.append(out.draws)
    assert out is not None
    if int(out.trouble.number) and not ignore:
        _report(out.trouble, out.num_divergent.shape[0], loop.on_divergence)
    _warn_if_stuck(out.state.tally)
    return out._replace(draws=_join(kept))


def _finish(out: Outcome, work: Work, plan: Plan) -> Run:
    tally = out.state.tally
    info = Info(tally.acceptance, out.num_divergent, tally.first_bad_step)
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


def _report(trouble: Trouble, num_chains: int, on_divergence: str) -> None:
    count, first, step = int(trouble.number), int(trouble.chain), int(trouble.step)
    message = (
        f"{count} of {num_chains} chains turned non-finite and were frozen where they were last "
        f"finite; the first is chain {first} of the run, after {step} steps "
        "(run.info.first_bad_step has all of them). Their draws repeat that place from then on and "
        "are still in run.draws; run.info.num_divergent == 0 chooses the other chains. A smaller "
        "step size is the usual remedy; tamed_ula or mala where the energy is steep far out"
    )
    if on_divergence == "raise":
        raise DivergenceError(message)
    warnings.warn(message, DivergenceWarning, stacklevel=5)


def _warn_if_stuck(tally: Tally) -> None:
    """Say so if a kernel rejected all that it proposed, or nearly."""
    rates, steps = tally.acceptance, int(tally.num_steps)
    if rates is None or not rates.is_fully_addressable or steps < _ENOUGH_STEPS:
        return
    most = float(np.max(rates))
    if most * steps < 1:
        warnings.warn(
            f"hardly a chain has moved: acceptance is at most {most:.1g}, over {steps} steps. "
            "A smaller step size is the usual remedy, and warm_up finds one",
            StuckWarning,
            stacklevel=5,
        )


# Arguments ------------------------------------------------------------------------------------


def _plan(
    num_steps: int,
    burn_in: int,
    thin: int,
    observe: Callable[[Any], PyTree] | None,
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
    if observe is not None and not callable(observe):
        raise TypeError(f"observe: expected a function of the kernel state or None, got {observe}")
    return Plan(num_steps, burn_in, thin, observe, bool(remat))


def _loop(
    on_divergence: str, progress: Any, block_steps: Any, checkpoint: Any, every: Any
) -> _Loop:
    if on_divergence not in ("report", "raise", "ignore"):
        raise ValueError(
            f'on_divergence: expected "report", "raise" or "ignore", got {on_divergence!r}'
        )
    if progress not in (False, True, "always"):
        raise ValueError(f'progress: expected True, False or "always", got {progress!r}')
    if block_steps is not None:
        block_steps = check_count("block_steps", block_steps, minimum=1)
    if every is not None:
        every = check_count("every", every, minimum=1)
        if checkpoint is None:
            raise ValueError("every: steps between checkpoints, but no checkpoint is asked for")
    return _Loop(on_divergence, progress, block_steps, checkpoint, every)


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


def _check_start(
    init: Any, num_chains: Any, chains: Any
) -> tuple[np.ndarray[Any, Any] | jax.Array, Any]:
    """The stream of each chain, and `init` with its positions as floating arrays."""
    count = None
    if isinstance(init, type):
        raise TypeError(f"init: expected a law or positions, got the class {init.__name__} itself")
    if not isinstance(init, Drawable):
        init = trees.as_position("init", init)
        leaves = jax.tree.leaves(init)
        if not leaves:
            raise ValueError("init: no positions were given (a pytree without leaves)")
        for leaf in leaves:
            if not jnp.issubdtype(leaf.dtype, jnp.floating):
                raise TypeError(f"init: expected floating positions, got dtype {leaf.dtype}")
            if leaf.ndim == 0:
                raise ValueError("init: expected a leading chain axis, got a scalar")
        counts = {leaf.shape[0] for leaf in leaves}
        if len(counts) != 1:
            raise ValueError(f"init: leaves disagree on the number of chains: {sorted(counts)}")
        (count,) = counts
        if count == 0:
            raise ValueError("init: no positions were given (a chain axis of length 0)")
    stream_ids: np.ndarray[Any, Any] | jax.Array
    if chains is not None:
        if num_chains is not None:
            raise ValueError("num_chains and chains: give one of them, not both")
        stream_ids = _check_chains(chains)
    else:
        if num_chains is None and count is None:
            raise ValueError("num_chains: pass a number of chains, as a law to start from has none")
        wanted = check_count("num_chains", count if num_chains is None else num_chains, minimum=1)
        if wanted > 2**32:
            raise ValueError(f"num_chains: a key has 2**32 streams, got {wanted}")
        stream_ids = np.arange(wanted, dtype=np.uint32)
    if count is not None and count != stream_ids.shape[0]:
        name = "num_chains" if chains is None else "chains"
        raise ValueError(
            f"{name}: {stream_ids.shape[0]} chains were asked for, but init has {count} positions; "
            "for many chains from one point x, start from Gaussian(x, zeros)"
        )
    return stream_ids, init


def _check_chains(chains: Any) -> np.ndarray[Any, Any] | jax.Array:
    if not trees.is_concrete(chains):
        return jnp.asarray(chains, jnp.uint32)
    values = np.asarray(chains)
    if values.ndim != 1 or values.size == 0 or not np.issubdtype(values.dtype, np.integer):
        raise ValueError(f"chains: expected a non-empty list of integers, got {chains!r}")
    if values.min() < 0 or values.max() >= 2**32:
        raise ValueError("chains: stream numbers lie in [0, 2**32)")
    if np.unique(values).size != values.size:
        raise ValueError("chains: a stream named twice would give the same chain twice")
    return values.astype(np.uint32)


def _check_finite_start(bad: Trouble, fault: jax.Array, stream_ids: Any) -> None:
    if not trees.is_concrete(bad) or not int(bad.number):
        return
    what, place = program.FAULTS[int(fault)], int(bad.chain)
    first = f"chain {place}"
    if trees.is_concrete(stream_ids) and int(stream_ids[place]) != place:
        first += f" of the run (stream {int(stream_ids[place])})"
    raise ValueError(
        f"init: not finite at the start of {int(bad.number)} of {len(stream_ids)} chains; of the "
        f"first, {first}, {what} is not. "
        + {
            "the position": "Give finite positions",
            "the kernel's state": "Start inside of the kernel's domain, if it has one",
        }.get(what, "Start where energy and gradient are finite")
    )
