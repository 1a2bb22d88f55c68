"""The compiled part of a run: noise in blocks, a scan over steps, a vmap over chains.

Inside, chains are the last axis of every array. XLA's CPU backend then turns a step into one
contiguous vector loop; with chains first it computes indices element by element. Whatever a
user sees has chains first.

A step does not look for chains that turned non-finite: that would cost as much as a cheap step.
`advance` looks once, at the end, as what is not finite has to stay so (`Kernel`); and if it finds
such chains, the same steps are made again with the same noise by another program, which looks after
every step and freezes a chain where it was last finite. What it says of these replaces what was
there; the others keep the result of the first program, to the last bit.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.sharding import Mesh, PartitionSpec

from jlangevin import noise, reducers, trees
from jlangevin.compiling import compiled, traced_once
from jlangevin.distribution import Drawable, starts
from jlangevin.errors import NoEnergyError
from jlangevin.kernels.base import (
    Rejections,
    at_step,
    check_energy,
    check_step,
    has_schedule,
    if_sound,
    layers,
    shapes_of,
    value_and_gradient,
)
from jlangevin.trees import PyTree, Structure

__all__ = [
    "Layout",
    "Outcome",
    "Plan",
    "SamplerState",
    "Tally",
    "Trouble",
    "Work",
    "advance",
    "begin",
    "check_observe",
    "summarise",
]

# A block's noise should stay in a core's cache, and serve enough steps that the loop around
# them costs nothing. These are measured optima; results do not depend on them.
_BLOCK_NUMBERS = 2**17
MIN_BLOCK_STEPS = 8
_MAX_BLOCK_STEPS = 8192
_MIN_PAIRS = 4

COARSE = 0.1  # of T: where energies are rounded by more, they are not what is accepted by


class Tally(NamedTuple):
    """What has been counted since the first burn-in ended."""

    num_steps: jax.Array  # int32 scalar
    num_draws: jax.Array  # int32 scalar, states that draws and reducers have seen
    acceptance: Any  # (chain,), the mean of Info.acceptance_rate, or None
    rejections: Any  # Rejections, or None
    first_bad_step: jax.Array  # int32 (chain,), the steps a chain did before it diverged, or -1


class SamplerState(NamedTuple):
    """All that is needed to go on: give it to `resume`. Leaves have a leading chain axis."""

    streams: noise.Streams  # which noise each chain is given
    step: jax.Array  # int32 scalar, steps done so far, burn-in included
    kernel: Any  # the kernel's state of every chain
    tally: Tally
    reducers: Any  # the reducers' accumulators, None if there are none


class Plan(NamedTuple):
    """The shape of a run: it is compiled for."""

    num_steps: int
    burn_in: int
    thin: int
    remat: bool = False


class Layout(NamedTuple):
    """Over which axes of which mesh the chains are spread; the default is one device."""

    mesh: Mesh | None = None
    axes: tuple[str, ...] = ()

    @property
    def chains(self) -> PartitionSpec:
        return PartitionSpec(self.axes)

    @property
    def num_devices(self) -> int:
        return math.prod(self.mesh.shape[name] for name in self.axes) if self.mesh else 1

    def state(self) -> SamplerState:
        """The partition of a state's leaves."""
        one: Any = PartitionSpec()
        each: Any = self.chains
        return SamplerState(each, one, each, Tally(one, one, each, each, each), each)

    def spread(self, function: Callable[..., Any], in_specs: Any, out_specs: Any) -> Any:
        """`function` on every device with its own chains, and nothing sent between them."""
        if self.mesh is None:
            return function
        return jax.shard_map(
            function, mesh=self.mesh, in_specs=in_specs, out_specs=out_specs, check_vma=False
        )


def _one_chain(positions: PyTree) -> PyTree:
    """The position of a single chain, as shapes and dtypes, out of arrays with chains last."""
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape[:-1], x.dtype), positions)


def _finite(tree: PyTree) -> jax.Array:
    """For each chain (the last axis) whether all floating entries are finite."""
    checks = [
        jnp.all(jnp.isfinite(leaf), axis=tuple(range(leaf.ndim - 1)))
        for leaf in jax.tree.leaves(tree)
        if jnp.issubdtype(leaf.dtype, jnp.floating)
    ]
    return jnp.all(jnp.stack(checks), axis=0) if checks else jnp.array(True)


def _select(chosen: jax.Array, new: PyTree, old: PyTree) -> PyTree:
    """`new` for the chosen chains (the last axis), `old` for the others."""
    return jax.tree.map(lambda a, b: jnp.where(jnp.broadcast_to(chosen, a.shape), a, b), new, old)


def first_fault(values: tuple[PyTree, Any, PyTree], state: Any = None) -> jax.Array:
    """For each chain the first of these that is not finite, by its number, or -1.

    The leaves of position, energy and gradient, in this order, and whatever else `state` has.
    """
    position, value, slope = values
    parts = [*jax.tree.leaves(position), value, *jax.tree.leaves(slope), state]
    fault = jnp.full(parts[0].shape[-1], -1, jnp.int32)
    for number, part in reversed([*enumerate(parts)]):
        fault = jnp.where(_finite(part), fault, number)
    return fault


# The start ------------------------------------------------------------------------------------


class Trouble(NamedTuple):
    """Chains that something is wrong with, in numbers that every process of a run can read."""

    number: jax.Array
    chain: jax.Array  # of the first: its place in the run
    step: jax.Array  # how many steps that chain had done
    what: jax.Array  # what is wrong with it, by a number


def trouble(bad: jax.Array, steps: Any = 0, what: Any = 0) -> Trouble:
    """How many chains are bad, and the first among those that became so at the earliest step."""
    steps = jnp.broadcast_to(jnp.asarray(steps, jnp.int32), bad.shape)
    never = jnp.iinfo(jnp.int32).max
    earliest = jnp.min(jnp.where(bad, steps, never))
    place = jnp.arange(bad.shape[0], dtype=jnp.uint32)
    chain = jnp.min(jnp.where(bad & (steps == earliest), place, jnp.uint32(2**32 - 1)))
    first = jnp.max(jnp.where(place == chain, jnp.asarray(what, jnp.int32), 0))
    return Trouble(jnp.sum(bad.astype(jnp.int32)), chain, earliest, first)


def begin(
    key: jax.Array,
    stream_ids: Any,
    arrays: tuple[list[Any], ...],
    *,
    structures: tuple[Structure, ...],
    layout: Layout,
) -> tuple[SamplerState, Trouble]:
    """The state before the first step, and the chains that are not finite then.

    `Trouble.what` is what of the first is not, see `first_fault`.

    `arrays` and `structures` are of energy, kernel, reducers and start. There are several programs,
    as the streams serve every kernel and energy, and starts every kernel.
    """
    streams = _streams(key, stream_ids, layout=layout)
    init = trees.combine(arrays[3], structures[3])
    if isinstance(init, Drawable):
        init = _starts(streams, arrays[3], structure=structures[3], layout=layout)
    return _begin(streams, init, arrays[:3], structures=structures[:3], layout=layout)


@partial(compiled, static_argnames=("layout",))
def _streams(key: jax.Array, stream_ids: jax.Array, *, layout: Layout) -> noise.Streams:
    each = layout.chains
    return layout.spread(noise.streams, (PartitionSpec(), each), each)(key, stream_ids)


@partial(compiled, static_argnames=("structure", "layout"))
def _starts(
    streams: noise.Streams, arrays: list[Any], *, structure: Structure, layout: Layout
) -> PyTree:
    """Positions drawn from a law, (chain, …)."""

    def local(streams: noise.Streams, arrays: list[Any]) -> PyTree:
        return trees.chains_first(starts(trees.combine(arrays, structure), streams))

    each = layout.chains
    return layout.spread(local, (each, PartitionSpec()), each)(streams, arrays)


@partial(compiled, static_argnames=("structures", "layout"))
def _begin(
    streams: noise.Streams,
    init: PyTree,
    arrays: tuple[list[Any], ...],
    *,
    structures: tuple[Structure, ...],
    layout: Layout,
) -> tuple[SamplerState, Trouble]:
    """The state at positions `init`, and the chains that are not finite there."""

    def local(
        streams: noise.Streams, init: PyTree, arrays: tuple[list[Any], ...]
    ) -> tuple[SamplerState, jax.Array]:
        energy, kernel, reduce = map(trees.combine, arrays, structures)
        positions = trees.chains_last(init)
        like = _one_chain(positions)
        check_energy(energy, like)
        energy = traced_once(arrays[0], structures[0])
        made = noise.at_step(streams, kernel.init_noise, like, 0, noise.Purpose.INIT)
        start = at_step(kernel, jnp.int32(0))
        shapes, info = check_step(start, energy, like)
        reducers.check_functions(reduce, shapes)

        def one(x: PyTree, z: PyTree) -> tuple[Any, Any, Any]:
            state = start.init(energy, x, z)
            sums = reducers.over(lambda r: r.init(state), reduce)
            return state, sums, value_and_gradient(energy, x)

        state, sums, values = jax.vmap(one, in_axes=-1, out_axes=-1)(positions, made)
        chained = streams.high.shape[0]
        acceptance = jax.tree.map(
            lambda x: trees.wide(jnp.zeros(chained, x.dtype)), info.acceptance_rate
        )
        rejections = None if info.rejections is None else Rejections.none(chained)
        never = jnp.full(chained, -1, jnp.int32)
        tally = Tally(jnp.int32(0), jnp.int32(0), acceptance, rejections, never)
        fault = first_fault((positions, *values), state)
        state, sums = trees.chains_first((state, sums))
        return SamplerState(streams, jnp.int32(0), state, tally, sums), fault

    each = layout.chains
    spread = layout.spread(local, (each, each, PartitionSpec()), (layout.state(), each))
    state, fault = spread(streams, init, arrays)
    return state, trouble(fault >= 0, what=fault)


# Steps ----------------------------------------------------------------------------------------


class _Carry(NamedTuple):
    step: jax.Array  # int32
    kernel: Any  # chains last, as in all that follows
    tally: Tally
    reducers: Any


class Work(NamedTuple):
    """Energy, kernel, reducers and `observe`, each parted into its arrays and the rest."""

    arrays: tuple[list[Any], ...]
    structures: tuple[Structure, ...]

    @classmethod
    def of(cls, *parts: Any) -> Work:
        arrays, structures = zip(*map(trees.partition, parts), strict=True)
        return cls(arrays, structures)

    def parts(self) -> Iterator[Any]:
        return map(trees.combine, self.arrays, self.structures)


class Outcome(NamedTuple):
    """What `advance` gives."""

    draws: PyTree  # (chain, draw, …)
    state: SamplerState
    num_divergent: jax.Array  # int32 (chain,), 1 for a chain that diverged or is outside
    diverged: Trouble  # chains that are not finite
    outside: Trouble  # chains where the energy is not finite, although they are
    faulty: Trouble  # chains that rejected proposals at which the energy is at fault
    rounded: Trouble  # chains that rejected proposals which were rounded onto a wall
    blurred: Trouble  # chains whose energy is too large for its dtype to weigh T against
    blur: jax.Array  # the most that eps |E| / T is


def advance(
    state: SamplerState,
    work: Work,
    *,
    plan: Plan,
    layout: Layout,
    parity: int | None,
    freeze: bool | None,
) -> Outcome:
    """`plan.burn_in` steps, then `plan.num_steps` with every `plan.thin`-th observed.

    `parity` is that of the steps done so far; None if it is not known, which costs each block
    one more pair of normals. `freeze` says whether to freeze chains that diverge; None that
    they are to be frozen but nothing can be looked at now, so that the program must contain both
    ways.
    """
    run = partial(
        _advance,
        state,
        work.arrays,
        structures=work.structures,
        plan=plan,
        layout=layout,
        parity=parity,
    )
    quick = run(careful=False)
    if freeze is None:
        return lax.cond(
            quick.diverged.number > 0,
            lambda q: _replace_divergent(q, run(careful=True)),
            lambda q: q,
            quick,
        )
    if freeze and int(quick.diverged.number):  # waits for the run
        return _replace_divergent(quick, run(careful=True))
    return quick


def check_observe(observe: Callable[[Any], PyTree], state: Any) -> None:
    """Run `observe` on shapes, at one chain's kernel state: see `shapes_of` for what is raised."""
    shapes_of("observe", "one chain's kernel state", observe, state)


@compiled
def _replace_divergent(quick: Outcome, careful: Outcome) -> Outcome:
    failed = careful.state.tally.first_bad_step >= 0

    def choose(a: jax.Array, b: jax.Array) -> jax.Array:
        if a.shape[:1] != failed.shape:  # the step and other numbers of the whole run
            return a
        return jnp.where(jnp.broadcast_to(failed.reshape(-1, *[1] * (a.ndim - 1)), a.shape), b, a)

    def chosen(quick: PyTree, careful: PyTree) -> PyTree:
        return jax.tree.map(choose, quick, careful)

    return careful._replace(
        draws=chosen(quick.draws, careful.draws),
        state=chosen(quick.state, careful.state),
        num_divergent=chosen(quick.num_divergent, careful.num_divergent),
    )


@partial(compiled, static_argnames=("structures", "plan", "layout", "parity", "careful"))
def _advance(
    state: SamplerState,
    arrays: tuple[list[Any], ...],
    *,
    structures: tuple[Structure, ...],
    plan: Plan,
    layout: Layout,
    parity: int | None,
    careful: bool,
) -> Outcome:
    local = partial(_local, structures=structures, plan=plan, parity=parity, careful=careful)
    each, whole = layout.chains, layout.state()
    spread = layout.spread(local, (whole, PartitionSpec()), (each, whole, each))
    draws, after, end = spread(state, arrays)
    failed = after.tally.first_bad_step
    bad = ~end.finite | (failed >= 0)
    outside = ~bad & end.outside
    rejections, rounded = after.tally.rejections, jnp.zeros(bad.shape, jnp.int32)
    faulty = rounded if rejections is None else rejections.faulty
    rounded = rounded if rejections is None else rejections.rounded
    return Outcome(
        draws,
        after,
        (bad | outside).astype(jnp.int32),
        trouble(bad, failed),
        trouble(outside),
        trouble(faulty > 0, what=faulty),
        trouble(rounded > 0),
        trouble(end.blur > COARSE),
        jnp.max(end.blur),
    )


class _End(NamedTuple):
    """What is looked at where a run or block ends, (chain,)."""

    finite: jax.Array  # whether all of the kernel's state is
    outside: jax.Array  # whether the energy is not
    blur: jax.Array  # eps |E| / T where the kernel weighs energies, else 0


def _local(
    state: SamplerState,
    arrays: tuple[list[Any], ...],
    *,
    structures: tuple[Structure, ...],
    plan: Plan,
    parity: int | None,
    careful: bool,
) -> tuple[PyTree, SamplerState, _End]:
    """The draws, the state afterwards, and how the chains ended."""
    energy, kernel, reduce, observe = Work(arrays, structures).parts()
    current = trees.chains_last(state.kernel)
    like = _one_chain(current.position)
    num_chains = state.streams.high.shape[0]
    check_energy(energy, like)
    energy = traced_once(arrays[0], structures[0])
    made, reported = check_step(at_step(kernel, jnp.int32(0)), energy, like)
    trees.assert_like(
        "state",
        _one_chain(current),
        made,
        "as this kernel makes it; pass the kernel that the state is of",
        dtypes=True,
    )
    wanted = max(1, noise.count(kernel.step_noise, like)) * num_chains
    block_steps = min(max(_BLOCK_NUMBERS // wanted, MIN_BLOCK_STEPS), _MAX_BLOCK_STEPS)

    if observe is not None:
        check_observe(observe, made)
    scheduled = has_schedule(kernel)
    look = jax.vmap(observe or _nothing, in_axes=-1, out_axes=-1)

    def step(carry: _Carry, made: PyTree, counted: bool) -> _Carry:
        now = at_step(kernel, carry.step)
        moved, info = jax.vmap(partial(now.step, energy), in_axes=-1, out_axes=-1)(
            carry.kernel, made
        )
        if scheduled:
            moved = if_sound(now, moved)
        tally = carry.tally
        rate = jax.tree.map(trees.wide, info.acceptance_rate)
        if careful:
            alive = tally.first_bad_step < 0
            fine = alive & _finite(moved)
            failed = jnp.where(alive & ~fine, carry.step, tally.first_bad_step)
            tally = tally._replace(first_bad_step=failed)
            moved = _select(fine, moved, carry.kernel)
            rate = jax.tree.map(lambda new: jnp.where(fine, new, tally.acceptance), rate)
            causes = jax.tree.map(lambda new: jnp.where(fine, new, 0), info.rejections)
            info = info._replace(rejections=causes)
        if counted:
            n = tally.num_steps + 1
            mean = jax.tree.map(
                lambda a, b: a + (b - a) / n.astype(a.dtype), tally.acceptance, rate
            )
            tally = tally._replace(num_steps=n, acceptance=mean)
            if tally.rejections is not None:
                tally = tally._replace(rejections=tally.rejections.after(info.rejections))
        return _Carry(carry.step + 1, moved, tally, carry.reducers)

    def see(carry: _Carry) -> tuple[_Carry, PyTree]:
        n = carry.tally.num_draws + 1

        def update(reducer: Any, sums: Any) -> Any:
            one = jax.vmap(reducer.update, in_axes=(-1, -1, None), out_axes=-1)
            return one(sums, carry.kernel, n)

        sums = reducers.over(update, reduce, carry.reducers)
        tally = carry.tally._replace(num_draws=n)
        return _Carry(carry.step, carry.kernel, tally, sums), look(carry.kernel)

    def block(
        carry: _Carry, num_draws: int, thin: int, parity: int | None, counted: bool, seen: bool
    ) -> tuple[_Carry, PyTree]:
        """`num_draws` times `thin` steps on noise made beforehand, in a loop body of its own.

        Kept apart, generator and step are one vector loop each. Fused, an energy that reads
        neighbouring elements evaluates the generator anew for every read.
        """
        odd = carry.step % 2 if parity is None else jnp.int32(parity)
        num_pairs = (num_draws * thin + (1 if parity is None else parity) + 1) // 2
        # With a single pair XLA takes the loop apart and rounds a step in another way; a run cut
        # there would differ from the whole in its last bits.
        num_pairs = max(num_pairs, _MIN_PAIRS)
        first = carry.step
        made = noise.pairs(state.streams, kernel.step_noise, like, first // 2, num_pairs)

        def one(_: Any, carry: _Carry) -> _Carry:
            return step(carry, made.at(carry.step - first + odd), counted)

        def draw(carry: _Carry, _: None) -> tuple[_Carry, PyTree]:
            carry = lax.fori_loop(0, thin, one, carry) if thin > 1 else one(None, carry)
            return see(carry) if seen else (carry, None)

        return lax.scan(draw, carry, None, length=num_draws)

    def blocks(
        carry: _Carry, num_draws: int, thin: int, parity: int | None, counted: bool, seen: bool
    ) -> tuple[_Carry, PyTree]:
        """`num_draws` times `thin` steps, in blocks of whole draws."""
        per_block = _draws_per_block(num_draws, thin, block_steps)
        whole, rest = divmod(num_draws, per_block)

        def one_block(carry: _Carry, _: None) -> tuple[_Carry, PyTree]:
            return block(carry, per_block, thin, parity, counted, seen)

        if plan.remat:
            one_block = jax.checkpoint(one_block)
        carry, draws = lax.scan(one_block, carry, None, length=whole)
        draws = jax.tree.map(lambda y: y.reshape(whole * per_block, *y.shape[2:]), draws)
        if rest:
            carry, more = block(carry, rest, thin, parity, counted, seen)
            draws = jax.tree.map(lambda a, b: jnp.concatenate([a, b]), draws, more)
        return carry, draws

    def go(
        carry: _Carry, num_draws: int, thin: int, parity: int | None, counted: bool, seen: bool
    ) -> tuple[_Carry, PyTree]:
        """`num_draws` times `thin` steps."""
        if thin <= block_steps:
            return blocks(carry, num_draws, thin, parity, counted, seen)
        inner = parity if thin % 2 == 0 else None

        def draw(carry: _Carry, _: None) -> tuple[_Carry, PyTree]:
            carry, _ = blocks(carry, thin, 1, inner, counted, False)
            return see(carry) if seen else (carry, None)

        return lax.scan(draw, carry, None, length=num_draws)

    tally = state.tally  # per chain throughout, so first and last are the same
    carry = _Carry(state.step, current, tally, trees.chains_last(state.reducers))
    if plan.burn_in:
        carry, _ = go(carry, plan.burn_in, 1, parity, False, False)
    if parity is not None:
        parity = (parity + plan.burn_in) % 2
    if observe is None and not jax.tree.leaves(state.reducers):
        # Nobody looks, so nothing keeps the blocks from being as long as they like.
        carry, draws = go(carry, plan.num_steps, 1, parity, True, False)
        seen = carry.tally.num_draws + plan.num_steps // plan.thin
        carry = carry._replace(tally=carry.tally._replace(num_draws=seen))
    else:
        carry, draws = go(carry, plan.num_steps // plan.thin, plan.thin, parity, True, True)
    weighs = reported.acceptance_rate is not None or getattr(kernel, "by_value", False)
    last = at_step(kernel, jnp.maximum(carry.step - 1, 0))
    end = _look(last, energy, carry.kernel, weighs)
    kernel_state, sums = trees.chains_first((carry.kernel, carry.reducers))
    after = SamplerState(state.streams, carry.step, kernel_state, carry.tally, sums)
    return trees.chains_first(draws), after, end


def _look(kernel: Any, energy: Any, state: Any, weighs: bool) -> _End:
    """How chains in `state` ended. The energy is evaluated unless the kernel has done so."""
    finite = _finite(state)
    values = getattr(state, "energy", None)
    if values is None:
        try:
            values = jax.vmap(energy, in_axes=-1, out_axes=-1)(state.position)
        except NoEnergyError:
            return _End(finite, jnp.zeros_like(finite), jnp.zeros(finite.shape))
    blur = jnp.zeros_like(values)
    temperatures = (layer.temperature for layer in layers(kernel) if hasattr(layer, "temperature"))
    temperature = next(temperatures, None)
    if weighs and temperature is not None:
        temperature = jnp.asarray(temperature, values.dtype)
        grain = jnp.finfo(values.dtype).eps * jnp.abs(values)
        judged = finite & jnp.isfinite(values) & (temperature > 0)
        blur = jnp.where(judged, grain / temperature, 0)
    return _End(finite, ~jnp.isfinite(values), blur)


def _nothing(_: Any) -> None:
    return None


def _draws_per_block(num_draws: int, thin: int, block_steps: int) -> int:
    """How many draws a block of about `block_steps` steps makes.

    A divisor of `num_draws` if there is one not much smaller: a last block of another length would
    be compiled by itself, and its draws joined to the others by copying all of them.
    """
    most = max(block_steps // thin, 1)
    even = 1 + thin % 2  # a block before another has an even number of steps, to keep the parity
    for count in range(min(most, num_draws), max(most // 4, 1) - 1, -1):
        if num_draws % count == 0 and (count % even == 0 or count == num_draws):
            return count
    return most + most % even


@partial(compiled, static_argnames=("structure",))
def summarise(
    state: SamplerState, num_divergent: jax.Array, arrays: list[Any], *, structure: Structure
) -> Any:
    """The reducers' results. Here alone chains meet."""
    combined = trees.combine(arrays, structure)
    return reducers.summary(combined, state.reducers, num_divergent == 0, state.tally.num_draws)
