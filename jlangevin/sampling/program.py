"""The compiled programs of a run: its start, its steps, and the results of its reducers.

If chains turn non-finite, another program repeats the same steps with the same noise. It checks the
chains after every step and freezes a chain where it was last finite. Its result is used only for
these chains; the others keep the result of the first program, to the last bit.
"""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jlangevin import noise
from jlangevin._core import trees
from jlangevin._core.compiling import compiled
from jlangevin._core.trees import Parted, PyTree
from jlangevin.energies.base import value_and_gradient
from jlangevin.kernels.base import Info, Rejections
from jlangevin.reducers.pytree import check_functions, finish_reducers, map_reducers
from jlangevin.sampling.counted import CountedSpec
from jlangevin.sampling.fixed import FixedSpec
from jlangevin.sampling.fused import FusedSpec
from jlangevin.sampling.health import Health, first_fault
from jlangevin.sampling.layout import Layout
from jlangevin.sampling.paired import PairedSpec
from jlangevin.sampling.state import SamplerState, Setup, StepRange, Tally
from jlangevin.sampling.steps import check_on_shapes

__all__ = ["Outcome", "accumulators", "advance", "begin", "frozen", "summarise"]


@partial(compiled, static_argnames=("layout",))
def begin(
    key: jax.Array, stream_ids: jax.Array, start: Parted, setup: Setup, *, layout: Layout
) -> tuple[SamplerState, jax.Array]:
    """The state before the first step, and for each chain the first non-finite part of it.

    Parts are numbered as in `first_fault`.
    """
    each, whole = layout.each, layout.whole
    placed = each if start.whole.chained else whole
    spread = layout.spread(
        _begin_on_device, (whole, each, placed, layout.setup), (layout.state, each)
    )
    begun: tuple[SamplerState, jax.Array] = spread(key, stream_ids, start, setup)
    return begun


def _begin_on_device(
    key: jax.Array, stream_ids: jax.Array, start: Parted, setup: Setup
) -> tuple[SamplerState, jax.Array]:
    streams = noise.streams(key, stream_ids)
    positions = start.whole.of(streams)
    like = trees.one_chain(positions, -1)
    reduce = setup.reducers.whole
    shapes, info = check_on_shapes(setup, like)
    check_functions(reduce, shapes)
    made = noise.at_step(streams, setup.kernel.whole.init_noise, like, 0, noise.Purpose.INIT)

    def one(rows: PyTree, x: PyTree, z: PyTree) -> tuple[PyTree, PyTree, PyTree]:
        energy = setup.energy_for(rows)
        state = setup.kernel_for(rows, jnp.int32(0)).init(energy, x, z)
        sums = map_reducers(lambda r: r.init(state), reduce)
        return state, sums, value_and_gradient(energy, x)

    rows = trees.chains_last(setup.rows.whole)
    state, sums, values = jax.vmap(one, in_axes=-1, out_axes=-1)(rows, positions, made)
    fault = first_fault((positions, *values), state)
    state, sums = trees.chains_first((state, sums))
    return SamplerState(streams, jnp.int32(0), state, _nothing_yet(info, fault), sums), fault


def _nothing_yet(info: Info, each: jax.Array) -> Tally:
    """A tally before the first step, for as many chains as `each` has."""
    acceptance = jax.tree.map(
        lambda x: trees.at_least_float32(jnp.zeros(each.shape, x.dtype)), info.acceptance_rate
    )
    rejections = None if info.rejections is None else Rejections.none(each.size)
    return Tally(
        jnp.int32(0), jnp.int32(0), acceptance, rejections, jnp.full(each.shape, -1, jnp.int32)
    )


class Outcome(NamedTuple):
    """The result of a program of steps."""

    draws: PyTree  # (chain, draw, …)
    state: SamplerState
    health: Health


@partial(compiled, static_argnames=("how", "layout", "careful"))
def advance(
    state: SamplerState,
    setup: Setup,
    step_range: StepRange,
    *,
    how: CountedSpec | FixedSpec | FusedSpec | PairedSpec,
    layout: Layout,
    careful: bool = False,
) -> Outcome:
    """The steps of a range, by the loop that `how` asks for; it may make their number static."""
    loop: Any = how.loop
    run = partial(loop.run, how=how, careful=careful)
    each, whole, state_spec = layout.each, layout.whole, layout.state
    spread = layout.spread(run, (state_spec, layout.setup, whole), (each, state_spec, each))
    return Outcome(*spread(state, setup, step_range))


@compiled
def frozen(quick: Outcome, careful: Outcome) -> Outcome:
    """`careful` for the chains that turned non-finite, `quick` for the others."""
    failed = careful.state.tally.first_bad_step >= 0

    def choose(a: jax.Array, b: jax.Array) -> jax.Array:
        if a.shape[:1] != failed.shape:  # numbers that belong to the whole run
            return a
        return jnp.where(jnp.broadcast_to(_expand_to(failed, a), a.shape), b, a)

    return jax.tree.map(choose, quick, careful)


def _expand_to(each: jax.Array, leaf: jax.Array) -> jax.Array:
    """`each`, of shape (chain,), with as many axes as `leaf`, whose first axis counts chains."""
    return each.reshape(-1, *[1] * (leaf.ndim - 1))


@compiled
def accumulators(state: PyTree, given: Parted) -> PyTree:
    """The reducers' accumulators before any draw, for kernel states with chains first."""
    return jax.vmap(lambda state: map_reducers(lambda r: r.init(state), given.whole))(state)


@compiled
def summarise(state: SamplerState, num_divergent: jax.Array, given: Parted) -> PyTree:
    """The reducers' results. Only here are chains combined."""
    return finish_reducers(given.whole, state.reducers, num_divergent == 0, state.tally.num_draws)
