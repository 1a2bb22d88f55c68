"""One step of all chains on one device, and the noise it uses.

Inside, chains are the last axis of every array. XLA's CPU backend then turns a step into one
contiguous vector loop; with chains first it computes indices element by element. Whatever a
user sees has chains first.

Noise is made in blocks, before the steps that use it. That way the generator and the step are one
vector loop each. If they were fused, an energy that reads neighbouring elements would evaluate the
generator again for every read. A block's noise should fit in a core's cache, and last for enough
steps that the loop around them costs nothing.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import cached_property, partial
from typing import Any, NamedTuple, Self

import jax
import jax.numpy as jnp

from jlangevin import noise
from jlangevin._core import trees
from jlangevin._core.trees import Parted, PyTree
from jlangevin._core.user_code import shapes_of
from jlangevin._core.vector_loops import aligned
from jlangevin.energies.base import check_energy
from jlangevin.energies.traced import traced_once
from jlangevin.kernels.base import (
    Hyper,
    Info,
    Kernel,
    check_step,
    has_schedule,
    if_sound,
    resolve_schedules,
)
from jlangevin.kernels.traits import Traits
from jlangevin.noise import Pairs
from jlangevin.reducers.base import Reducer
from jlangevin.reducers.pytree import map_reducers
from jlangevin.sampling.health import Health, chains_finite, examine, temperature_of
from jlangevin.sampling.state import SamplerState, Setup, StepRange, Tally

__all__ = ["MIN_BLOCK_STEPS", "Carry", "Steps", "check_observed", "check_on_shapes"]

# Measured optima; results do not depend on them.
_BLOCK_NUMBERS = 2**17
MIN_BLOCK_STEPS = 8
_MAX_BLOCK_STEPS = 8192
# With a single pair XLA unrolls the loop and rounds a step in another way, so that a run cut there
# would differ in its last bits from one that is not.
_MIN_PAIRS = 4


class Carry(NamedTuple):
    """The variables of the loop over steps."""

    step: jax.Array  # int32
    kernel: PyTree  # chains last, as in all that follows
    tally: Tally  # its counts for the whole run have their final values from the start
    reducers: PyTree


@dataclasses.dataclass(frozen=True)
class Steps:
    """The constants of the loop over steps."""

    setup: Setup
    rows: PyTree  # what differs from chain to chain in energy and kernel, chains last
    streams: noise.Streams
    like: PyTree  # the position of a single chain, as shapes and dtypes
    records: bool  # whether states on the way are observed or reduced
    weighs_energies: bool  # whether the kernel accepts by differences of energies
    step_range: StepRange
    thin: int
    careful: bool  # whether to check chains after every step, and freeze those that diverge

    @classmethod
    def begin(
        cls, state: SamplerState, setup: Setup, step_range: StepRange, **own: Any
    ) -> tuple[Self, Carry]:
        """The constants and the first variables of the loop, checked against each other."""
        current = trees.chains_last(state.kernel)
        like = trees.one_chain(current.position, -1)
        made, reported = check_on_shapes(setup, like)
        trees.assert_like(
            "state",
            trees.one_chain(current, -1),
            made,
            "as this kernel makes it; pass the kernel that made the state",
            dtypes=True,
        )
        observe = setup.observe.whole
        if observe is not None:
            check_observed(observe, made)
        by_value = Traits.of(setup.kernel.whole).by_value
        steps = cls(
            setup=setup,
            rows=trees.chains_last(setup.rows.whole),
            streams=state.streams,
            like=like,
            records=observe is not None or bool(jax.tree.leaves(state.reducers)),
            weighs_energies=reported.acceptance_rate is not None or by_value,
            step_range=step_range,
            **own,
        )
        # What is tallied per chain has no other axis, so first and last are the same.
        tally = state.tally._replace(num_steps=step_range.num_steps, num_draws=step_range.num_draws)
        return steps, Carry(state.step, current, tally, trees.chains_last(state.reducers))

    def end(self, carry: Carry) -> tuple[SamplerState, Health]:
        """The state to return, and the chains' health."""
        step = jnp.maximum(self.step_range.ends - 1, 0)

        def temperature(rows: PyTree, _: jax.Array) -> Hyper:
            return temperature_of(self.setup.kernel_for(rows, step))

        each = jax.vmap(temperature, in_axes=-1)(self.rows, carry.tally.first_bad_step)
        health = examine(each, self.energies, carry.kernel, carry.tally, self.weighs_energies)
        kernel, sums = trees.chains_first((carry.kernel, carry.reducers))
        return SamplerState(self.streams, self.step_range.ends, kernel, carry.tally, sums), health

    @property
    def kernel(self) -> Kernel:
        """With slots, if it differs from chain to chain."""
        return self.setup.kernel.whole

    @property
    def reducers(self) -> PyTree:
        return self.setup.reducers.whole

    def energies(self, positions: PyTree) -> jax.Array:
        """The energy of each chain, (chain,)."""

        def one(rows: PyTree, x: PyTree) -> jax.Array:
            value: jax.Array = self.setup.energy_for(rows)(x)
            return value

        return jax.vmap(one, in_axes=-1, out_axes=-1)(self.rows, positions)

    @cached_property
    def block_steps(self) -> int:
        """The number of steps in a block of noise, which is even."""
        numbers = noise.count(self.kernel.step_noise, self.like) * self.streams.high.shape[0]
        steps = _BLOCK_NUMBERS // max(numbers, 1)
        return min(max(steps - steps % 2, MIN_BLOCK_STEPS), _MAX_BLOCK_STEPS)

    def block_noise(self, pair: jax.Array | int, num_pairs: int) -> Pairs:
        """The noise of `num_pairs` pairs of steps, from `pair` on."""
        wants = self.kernel.step_noise
        return noise.pairs(self.streams, wants, self.like, pair, max(num_pairs, _MIN_PAIRS))

    def step(self, carry: Carry, noise_at: Callable[[jax.Array], PyTree]) -> Carry:
        """One step of every chain, with the noise of its number.

        Only a careful step checks for chains that turned non-finite, which costs as much as a cheap
        step. Without, they are found later: a state that is not finite must stay so (`Kernel`).
        """

        def sound(kernel: Kernel, moved: PyTree) -> PyTree:
            return if_sound(kernel, moved) if has_schedule(self.kernel) else moved

        def differing(rows: PyTree, state: PyTree, xi: PyTree) -> tuple[PyTree, Info]:
            kernel = self.setup.kernel_for(rows, carry.step)
            moved, info = kernel.step(self.setup.energy_for(rows), state, xi)
            return sound(kernel, moved), info

        each = partial(jax.vmap, in_axes=-1, out_axes=-1)
        xi = noise_at(carry.step)
        if self.rows:
            moved, info = each(differing)(self.rows, carry.kernel, xi)
        else:  # without a call of ours in between, which would be read in every error
            kernel = self.setup.kernel_for(self.rows, carry.step)
            alike = partial(kernel.step, self.setup.energy_for(self.rows))
            moved, info = each(alike)(carry.kernel, xi)
            moved = sound(kernel, moved)
        moved = aligned(moved)
        tally, counted = carry.tally, carry.step >= self.step_range.begins
        if self.careful:
            alive = tally.first_bad_step < 0
            fine = alive & chains_finite(moved)
            failed = jnp.where(alive & ~fine, carry.step, tally.first_bad_step)
            tally = tally._replace(first_bad_step=failed)
            moved = _select(fine, moved, carry.kernel)
            counted &= fine
        tally = self._tallied(tally, info, carry.step, counted)
        return Carry(carry.step + 1, moved, tally, carry.reducers)

    def _tallied(self, tally: Tally, info: Info, step: jax.Array, counted: jax.Array) -> Tally:
        """`tally` with the report of a step added, for the chains that are `counted`."""
        n = jnp.maximum(self.step_range.num_steps - (self.step_range.ends - 1 - step), 1)

        def mean(before: jax.Array, rate: jax.Array) -> jax.Array:
            rate = trees.at_least_float32(rate)
            after = before + (rate - before) / n.astype(rate.dtype)
            return jnp.where(counted, after, before)

        rejections = tally.rejections
        if rejections is not None:
            rejections = rejections.after(jnp.where(counted, info.rejections, 0))
        acceptance = jax.tree.map(mean, tally.acceptance, info.acceptance_rate)
        return tally._replace(acceptance=acceptance, rejections=rejections)

    def update_reducers(self, carry: Carry) -> Carry:
        """The carry with the reducers updated."""
        n = self.step_range.num_draws - (self.step_range.ends - carry.step) // self.thin

        def update(reducer: Reducer, sums: PyTree) -> PyTree:
            one = jax.vmap(reducer.update, in_axes=(-1, -1, None), out_axes=-1)
            return one(sums, carry.kernel, n)

        return carry._replace(reducers=map_reducers(update, self.reducers, carry.reducers))

    def observed(self, state: PyTree) -> PyTree:
        """What is observed of the states."""
        observe = self.setup.observe.whole
        return None if observe is None else jax.vmap(observe, in_axes=-1, out_axes=-1)(state)


def check_on_shapes(setup: Setup, like: PyTree) -> tuple[PyTree, Info]:
    """See `check_step`; the first chain serves for all."""
    energy, kernel = setup.of_chain(0)
    check_energy(energy, like)
    traced = setup.energy if not setup.rows.arrays else Parted.of(energy)
    return check_step(resolve_schedules(kernel, jnp.int32(0)), traced_once(traced), like)


def check_observed(observe: Callable[[PyTree], PyTree], state: PyTree) -> None:
    """Run `observe` on the shapes of one chain's kernel state; raises as `shapes_of`."""
    shapes_of("observe", "one chain's kernel state", observe, state)


def _select(chosen: jax.Array, new: PyTree, old: PyTree) -> PyTree:
    """`new` for the chosen chains (the last axis), `old` for the others."""
    return jax.tree.map(lambda a, b: jnp.where(jnp.broadcast_to(chosen, a.shape), a, b), new, old)
