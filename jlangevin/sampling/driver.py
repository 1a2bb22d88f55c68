"""`sample` and `resume`: from arguments to a run."""

from __future__ import annotations

from collections.abc import Callable
from os import PathLike
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding

from jlangevin import noise
from jlangevin._core import trees
from jlangevin._core.checks import check_key, check_width
from jlangevin._core.compiling import result_shapes
from jlangevin._core.each import check_rows
from jlangevin._core.trees import Numbers, Parted, PyTree
from jlangevin.distribution import Drawable
from jlangevin.energies.base import Energy, check_callable
from jlangevin.kernels.base import Kernel, check_kernel, position
from jlangevin.reducers.pytree import (
    check_functions,
    check_groups,
    check_num_draws,
    check_reducers,
)
from jlangevin.sampling import blocks, memory, program, report
from jlangevin.sampling.arguments import (
    AsFused,
    OnDivergence,
    as_block_options,
    as_plan,
    check_observe,
)
from jlangevin.sampling.layout import as_layout
from jlangevin.sampling.run import Run
from jlangevin.sampling.start import as_start, as_streams
from jlangevin.sampling.state import SamplerState, Setup

__all__ = ["resume", "sample"]


def sample(
    key: jax.Array,
    energy: Energy,
    kernel: Kernel,
    init: Drawable | PyTree,
    *,
    num_steps: int,
    num_chains: int | None = None,
    chains: Numbers | None = None,
    burn_in: int = 0,
    thin: int = 1,
    observe: Callable[[PyTree], PyTree] | None = position,
    reducers: PyTree = None,
    sharding: Mesh | NamedSharding | None = None,
    on_divergence: OnDivergence = "report",
    progress: bool | Literal["always"] = False,
    block_steps: int | None = None,
    checkpoint: str | PathLike[str] | None = None,
    every: int | None = None,
    remat: bool = False,
    fused: AsFused = None,
) -> Run:
    """Run independent chains of `kernel` on `energy`.

    The noise of chain i at step t depends only on (`key`, i, t), so `chains=[7]` repeats chain 7 of
    any earlier run under the same key. Blocks, devices, checkpoints and what is observed do not
    change the noise of any chain, and change its path at most by rounding.

    Args:
        key: a typed Threefry key, `jax.random.key(seed)`.
        energy: a callable from one position to a scalar. A pytree callable (those of `energies`,
            `jax.tree_util.Partial(f, params)`, an Equinox module) keeps its parameters traced:
            new values compile nothing. A bare function is compiled once per function object.
        kernel: for instance `ula(step_size=0.01)`.
        init: a law that can be drawn from (`Gaussian`, or an energy with an exact sampler), or
            positions, a pytree of floating arrays with a leading chain axis.
        num_steps: steps after burn-in, a multiple of `thin`; 0 for only the start.
        num_chains: the number of chains, streams 0 … num_chains - 1. It may be left out if `init`
            is positions.
        chains: instead of `num_chains`, which streams to run: distinct integers in [0, 2**32).
            If they are traced and invalid, the chains are NaN.
        burn_in: steps before the first that counts.
        thin: every thin-th state after burn-in is kept, and given to the reducers.
        observe: a function of one chain's kernel state, kept as `Run.draws`; the position by
            default, nothing if None: memory is then independent of `num_steps`.
        reducers: a reducer, or a pytree of them (`jlangevin.reducers`); their results are
            `Run.summary`.
        sharding: how to spread the chains over devices: a mesh (over all its axes) or a
            `NamedSharding` whose first entry names the axes. By default like the positions in
            `init`.
        on_divergence: what to do about chains that turn non-finite, and about an energy that is not
            a number where chains end or at their proposals. Chains that turn non-finite are frozen
            where they were last finite; both are counted. "report" warns, "raise" raises. "ignore"
            does not look for them: chains are not frozen, `info.num_divergent` counts those that
            end non-finite, and `info.first_bad_step` is -1 throughout. It halves the program where
            `sample` is itself under a transformation, and is the choice under `jax.vmap`.
        progress: a bar on stderr with rate, acceptance and divergences, if that is a terminal;
            "always" for any stderr. Needs the extra `progress`.
        block_steps: run in blocks of about this many steps; Ctrl-C then returns the steps done so
            far, with `run.interrupted` and an `InterruptedWarning`. By default a hundredth of the
            run with `progress`, and all of it without.
        checkpoint: a directory (~ is the home folder). A run continues from its checkpoints there,
            and saves its state and draws every `every` steps. Needs the extra `checkpoint`.
        every: about how many steps lie between checkpoints; by default a tenth of the run.
        remat: recompute blocks instead of storing their steps in reverse-mode differentiation
            (`jax.checkpoint`); memory then grows with the number of blocks.
        fused: True for all steps in one kernel on a GPU (Pallas, Triton), with the states of the
            chains in registers: for runs with observe=None and no reducers, by the kernels `ula`,
            `leimkuhler_matthews`, `underdamped`, `tamed_ula`, `mala` and `malt`, in few dimensions.
            The noise is the same, and the chains are up to rounding. What cannot be done so is
            refused. "interpret" does the same on any device by JAX's own operations, slowly. By
            default, as by False, no run is fused: no card has run it yet.

    Returns:
        A `Run`.

    Raises:
        TypeError: the key, energy, kernel or a reducer is not one; a count is not an integer; or an
            array of 64 bits was made while x64 was enabled, which it no longer is. Errors raised by
            `energy`, `observe`, a reducer or a schedule get a note that says which and for what
            arguments.
        ValueError: the energy is not scalar, or not finite at a start; `num_chains` contradicts
            `init` or is not a multiple of the number of devices; a count is out of range;
            `num_steps` is not a multiple of `thin`; the run cannot be `fused`, with the reason.
        MemoryError: the draws, or the chains themselves, do not fit on the device.
        DivergenceError: a chain diverged under on_divergence="raise".
        ImportError: an extra is not installed.
        CheckpointError: the checkpoints are of another run, or of another program.
        OSError: the folder for checkpoints cannot be written or read.

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
    check_reducers(reducers)
    plan = as_plan(num_steps, burn_in, thin, remat, fused)
    check_num_draws(reducers, plan.num_draws)
    check_observe(observe)
    options = as_block_options(on_divergence, progress, block_steps, checkpoint, every)
    streams = None if chains is None else as_streams(chains)
    count, start = as_start(init, num_chains, streams)
    check_rows(count, energy=energy, kernel=kernel)
    check_kernel(kernel, start.template())
    layout = as_layout(sharding, start.positions, count)
    check_width(energy=energy, kernel=kernel, init=init)
    check_groups(reducers, count)
    setup = layout.place_setup(Setup.of(energy, kernel, reducers, observe))
    begun = layout.place(Parted.of(start), chains=start.chained)
    key = layout.place(key)
    unobserved = setup._replace(observe=Parted.of(None))  # one program serves any `observe`
    with start.note_on_errors():
        if trees.is_concrete(key, begun, setup):
            begins_as = memory.shapes_of_start(count, begun, unobserved)
            memory.check_fits(begins_as, setup, plan, layout, layout.device(key))
        numbers = np.arange(count, dtype=np.uint32) if streams is None else streams
        ids = layout.place(numbers, chains=True)
        state, fault = program.begin(key, ids, begun, unobserved, layout=layout)
    report.check_start(fault, state, numbers)
    if not trees.is_concrete(state):  # these numbers are known nevertheless
        zero: Any = np.int32(0)
        tally = state.tally._replace(num_steps=zero, num_draws=zero)
        state = state._replace(step=zero, tally=tally)
    return blocks.run(state, setup, plan, options, layout)


def resume(
    state: SamplerState,
    energy: Energy,
    kernel: Kernel,
    *,
    num_steps: int,
    burn_in: int = 0,
    thin: int = 1,
    observe: Callable[[PyTree], PyTree] | None = position,
    reducers: PyTree = None,
    on_divergence: OnDivergence = "report",
    progress: bool | Literal["always"] = False,
    block_steps: int | None = None,
    remat: bool = False,
    fused: AsFused = None,
) -> Run:
    """Continue from `run.state` as if the run had never stopped.

    Args:
        state: `Run.state` of an earlier run with the same energy and kernel, on a device or on the
            host (`jax.device_get`, pickled, or read back by Orbax with a template). A state may
            carry values of its energy, as `mala` carries value and gradient, which would be wrong
            under another one: then start again with `sample`, from `run.position` and under
            another key.
        reducers: those of the earlier run, which continue; new ones only if it had none.
        energy, kernel, num_steps, burn_in, thin, observe, on_divergence, progress, block_steps,
            remat, fused: as in `sample`; schedules continue from the steps already done, and
            chains stay on their devices. Under on_divergence="ignore", chains that an earlier run
            froze move again, and are no longer counted.

    Returns:
        A `Run` with the draws of the new steps, and with `info` and `summary` of all steps since
        the first burn-in (a later `burn_in` counts for neither).

    Raises:
        TypeError, ValueError, MemoryError, DivergenceError: as `sample`; ValueError also if the
            kernel makes other states, or the reducers' sums are not like the state's.

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
    count = state.streams.high.shape[0]
    check_rows(count, energy=energy, kernel=kernel)
    check_kernel(kernel, state.kernel.position)
    check_reducers(reducers)
    plan = as_plan(num_steps, burn_in, thin, remat, fused)
    if trees.is_concrete(state.tally.num_draws):
        before = int(state.tally.num_draws) if jax.tree.leaves(state.reducers) else 0
        check_num_draws(reducers, before + plan.num_draws)
    check_observe(observe)
    options = as_block_options(on_divergence, progress, block_steps, None, None)
    if trees.is_concrete(state.step):
        done = int(state.step)
        if done + plan.burn_in + plan.num_steps > noise.MAX_STEPS:
            raise ValueError(
                f"num_steps: a stream has {noise.MAX_STEPS} steps, of which {done} are used up; "
                "start new chains under another key"
            )
    if options.ignores:
        failed = state.tally.first_bad_step
        state = state._replace(tally=state.tally._replace(first_bad_step=jnp.minimum(failed, -1)))
    layout = as_layout(None, state.streams.high, count)
    state = _continue_reducers(state, reducers)
    check_width(energy=energy, kernel=kernel)
    check_groups(reducers, count)
    setup = layout.place_setup(Setup.of(energy, kernel, reducers, observe))
    if trees.is_concrete(state, setup):
        memory.check_fits(state, setup, plan, layout, layout.device(state.streams.high))
    return blocks.run(state, setup, plan, options, layout)


def _check_state(state: SamplerState) -> None:
    """Raise unless the arrays of a state have the same number of chains."""
    chained = state.streams, state.kernel, state.reducers
    counts = sorted({np.shape(leaf)[:1] for leaf in jax.tree.leaves(chained)})
    if len(counts) != 1 or not jax.tree.leaves(state.kernel):
        raise ValueError(
            f"state: expected the same number of chains in its streams and its kernel's state, got "
            f"{trees.shown((state.streams, state.kernel))}; pass run.state unchanged"
        )
    check_width(state=state)


def _continue_reducers(state: SamplerState, reducers: PyTree) -> SamplerState:
    """`state` with accumulators for `reducers`: its own, or new ones if it has none."""
    if not jax.tree.leaves(state.reducers):
        none: Any = np.int32(0)
        tally = state.tally._replace(num_draws=none)
        if reducers is None:
            return state._replace(reducers=None, tally=tally)
        check_functions(reducers, trees.one_chain(state.kernel))
        sums = program.accumulators(state.kernel, Parted.of(reducers))
        return state._replace(reducers=sums, tally=tally)
    if reducers is None:
        raise ValueError(
            "reducers: the state carries reducers' sums; pass the same reducers to continue them, "
            "or drop them with state._replace(reducers=None)"
        )
    mine = result_shapes(program.accumulators, state.kernel, Parted.of(reducers))
    trees.assert_like("reducers", mine, state.reducers, "like the sums in the state")
    return state
