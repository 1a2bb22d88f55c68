"""One step of all chains on one device, and the noise that it is made of.

Inside, chains are the last axis of every array. XLA's CPU backend then turns a step into one
contiguous vector loop; with chains first it computes indices element by element. Whatever a
user sees has chains first.

Noise is made a block at a time, beforehand. Kept apart, generator and step are one vector loop
each. Fused, an energy that reads neighbouring elements evaluates the generator anew for every read.
A block's noise should stay in a core's cache, and serve enough steps that the loop around them
costs nothing.
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
from jlangevin._core.trees import PyTree
from jlangevin._core.user_code import shapes_of
from jlangevin.energies.base import check_energy
from jlangevin.energies.traced import traced_once
from jlangevin.kernels.base import Info, at_step, check_step, has_schedule, if_sound
from jlangevin.noise import Pairs
from jlangevin.reducers.pytree import map_reducers
from jlangevin.sampling.state import SamplerState, Span, Tally, Work
from jlangevin.sampling.trouble import End, finite, look

__all__ = ["MIN_BLOCK_STEPS", "Carry", "Steps", "check_observe"]

# Measured optima; results do not depend on them.
_BLOCK_NUMBERS = 2**17
MIN_BLOCK_STEPS = 8
_MAX_BLOCK_STEPS = 8192
# With a single pair XLA takes the loop apart and rounds a step in another way; a run cut there
# would differ from the whole in its last bits.
_MIN_PAIRS = 4


class Carry(NamedTuple):
    """What changes from step to step."""

    step: jax.Array  # int32
    kernel: Any  # chains last, as in all that follows
    tally: Tally  # of which the numbers of the whole run are those of the end from the start on
    reducers: Any


@dataclasses.dataclass(frozen=True)
class Steps:
    """What stays the same from step to step."""

    energy: Any
    kernel: Any
    reducers: Any
    observe: Any
    streams: noise.Streams
    like: PyTree  # the position of a single chain, as shapes and dtypes
    looks: bool  # whether anybody looks at states on the way
    weighs: bool  # whether differences of energies are what the kernel goes by
    span: Span
    thin: int
    careful: bool  # whether to look at chains after every step, and freeze those that diverge

    @classmethod
    def begin(cls, state: SamplerState, work: Work, span: Span, **own: Any) -> tuple[Self, Carry]:
        """What does not change, checked against what does."""
        kernel = work.kernel.whole
        current = trees.chains_last(state.kernel)
        like = trees.one_chain(current.position, -1)
        check_energy(work.energy.whole, like)
        energy = traced_once(work.energy)
        made, reported = check_step(at_step(kernel, jnp.int32(0)), energy, like)
        trees.assert_like(
            "state",
            trees.one_chain(current, -1),
            made,
            "as this kernel makes it; pass the kernel that the state is of",
            dtypes=True,
        )
        observe = work.observe.whole
        if observe is not None:
            check_observe(observe, made)
        weighs = reported.acceptance_rate is not None or getattr(kernel, "by_value", False)
        steps = cls(
            energy=energy,
            kernel=kernel,
            reducers=work.reducers.whole,
            observe=observe,
            streams=state.streams,
            like=like,
            looks=observe is not None or bool(jax.tree.leaves(state.reducers)),
            weighs=weighs,
            span=span,
            **own,
        )
        # What is tallied per chain has no other axis, so first and last are the same.
        tally = state.tally._replace(num_steps=span.num_steps, num_draws=span.num_draws)
        return steps, Carry(state.step, current, tally, trees.chains_last(state.reducers))

    def end(self, carry: Carry) -> tuple[SamplerState, End]:
        """The state to hand back, and how the chains ended."""
        last = at_step(self.kernel, jnp.maximum(self.span.ends - 1, 0))
        end = look(last, self.energy, carry.kernel, carry.tally, self.weighs)
        kernel, sums = trees.chains_first((carry.kernel, carry.reducers))
        return SamplerState(self.streams, self.span.ends, kernel, carry.tally, sums), end

    @cached_property
    def block_steps(self) -> int:
        """How many steps the noise is made for at a time, an even number."""
        numbers = noise.count(self.kernel.step_noise, self.like) * self.streams.high.shape[0]
        steps = _BLOCK_NUMBERS // max(numbers, 1)
        return min(max(steps - steps % 2, MIN_BLOCK_STEPS), _MAX_BLOCK_STEPS)

    def noise(self, pair: Any, num_pairs: int) -> Pairs:
        """The noise of so many pairs of steps."""
        wants = self.kernel.step_noise
        return noise.pairs(self.streams, wants, self.like, pair, max(num_pairs, _MIN_PAIRS))

    def step(self, carry: Carry, made: Pairs, first: Any) -> Carry:
        """One step of every chain, on noise whose first is that of step `first`.

        It does not look for chains that turned non-finite: that would cost as much as a cheap step,
        and what is not finite has to stay so (`Kernel`). Only a careful one does.
        """
        kernel = at_step(self.kernel, carry.step)
        each = jax.vmap(partial(kernel.step, self.energy), in_axes=-1, out_axes=-1)
        moved, info = each(carry.kernel, made.at(carry.step - first))
        if has_schedule(self.kernel):
            moved = if_sound(kernel, moved)
        tally, counted = carry.tally, carry.step >= self.span.begins
        if self.careful:
            alive = tally.first_bad_step < 0
            fine = alive & finite(moved)
            failed = jnp.where(alive & ~fine, carry.step, tally.first_bad_step)
            tally = tally._replace(first_bad_step=failed)
            moved = _select(fine, moved, carry.kernel)
            counted &= fine
        tally = self._told(tally, info, carry.step, counted)
        return Carry(carry.step + 1, moved, tally, carry.reducers)

    def _told(self, tally: Tally, info: Info, step: jax.Array, counted: jax.Array) -> Tally:
        """With what the step reports of the chains that are `counted`."""
        n = jnp.maximum(self.span.num_steps - (self.span.ends - 1 - step), 1)

        def mean(before: jax.Array, rate: jax.Array) -> jax.Array:
            rate = trees.at_least_float32(rate)
            after = before + (rate - before) / n.astype(rate.dtype)
            return jnp.where(counted, after, before)

        rejections = tally.rejections
        if rejections is not None:
            rejections = rejections.after(jnp.where(counted, info.rejections, 0))
        acceptance = jax.tree.map(mean, tally.acceptance, info.acceptance_rate)
        return tally._replace(acceptance=acceptance, rejections=rejections)

    def see(self, carry: Carry) -> Carry:
        """What reducers make of the states."""
        n = self.span.num_draws - (self.span.ends - carry.step) // self.thin

        def update(reducer: Any, sums: Any) -> Any:
            one = jax.vmap(reducer.update, in_axes=(-1, -1, None), out_axes=-1)
            return one(sums, carry.kernel, n)

        return carry._replace(reducers=map_reducers(update, self.reducers, carry.reducers))

    def seen(self, state: Any) -> PyTree:
        """What is kept of the states."""
        if self.observe is None:
            return None
        return jax.vmap(self.observe, in_axes=-1, out_axes=-1)(state)


def check_observe(observe: Callable[[Any], PyTree], state: Any) -> None:
    """Run `observe` on shapes, at one chain's kernel state: see `shapes_of` for what is raised."""
    shapes_of("observe", "one chain's kernel state", observe, state)


def _select(chosen: jax.Array, new: PyTree, old: PyTree) -> PyTree:
    """`new` for the chosen chains (the last axis), `old` for the others."""
    return jax.tree.map(lambda a, b: jnp.where(jnp.broadcast_to(chosen, a.shape), a, b), new, old)
