"""The loop over steps for accelerators, which makes noise where it is used.

A block of noise suits the cache of a CPU. On a card it would go through main memory, which takes
longer than to make it. So the noise of a pair of steps is made inside the loop, where it can stay
in registers.
"""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from jlangevin import noise
from jlangevin._core.trees import PyTree
from jlangevin.sampling.fixed import Fixed, Segment
from jlangevin.sampling.state import Plan
from jlangevin.sampling.steps import Carry

__all__ = ["Paired", "PairedSpec"]


class PairedSpec(NamedTuple):
    """The static part of a plan: all of it."""

    plan: Plan
    parity: int  # of the number of steps done so far

    @property
    def loop(self) -> type[Paired]:
        return Paired


_UNROLLED_PAIRS = 4  # with more, compilation takes long and steps are no faster


@dataclasses.dataclass(frozen=True)
class Paired(Fixed):
    """Steps in scans over pairs; the parity of the first step is known."""

    def run_segment(self, carry: Carry, segment: Segment) -> tuple[Carry, PyTree]:
        thin, odd = segment.thin, segment.parity
        assert odd is not None
        if not segment.recorded:
            return self.walk(carry, segment.num_steps, odd), None
        if thin % 2 == 0:  # every draw begins alike

            def draw(carry: Carry, _: None) -> tuple[Carry, PyTree]:
                return self.record(self.walk(carry, thin, odd), segment)

            return lax.scan(draw, carry, None, length=segment.num_draws)
        return self.draws_of_odd_length(carry, segment)

    def draws_of_odd_length(self, carry: Carry, segment: Segment) -> tuple[Carry, PyTree]:
        """Two draws at a time, as the first ends in the middle of a pair of steps."""
        rest = segment.thin - 1
        parts = []

        def first_half(carry: Carry) -> tuple[Carry, PyTree, noise.Pairs]:
            carry = self.walk(carry, rest, 0)
            made = self.pair(carry)
            return *self.record(self.step_of(made, 0, carry), segment), made

        def second_half(carry: Carry, made: noise.Pairs) -> tuple[Carry, PyTree]:
            return self.record(self.walk(self.step_of(made, 1, carry), rest, 0), segment)

        def two(carry: Carry, _: None) -> tuple[Carry, PyTree]:
            carry, first, made = first_half(carry)
            carry, second = second_half(carry, made)
            return carry, jax.tree.map(lambda *draws: jnp.stack(draws), first, second)

        num_draws = segment.num_draws
        if segment.parity and num_draws:
            carry, draw = second_half(carry, self.pair(carry))
            parts.append(jax.tree.map(lambda x: x[None], draw))
            num_draws -= 1
        carry, draws = lax.scan(two, carry, None, length=num_draws // 2)
        parts.append(jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), draws))
        if num_draws % 2:
            carry, draw, _ = first_half(carry)
            parts.append(jax.tree.map(lambda x: x[None], draw))
        if len(parts) == 1:
            return carry, parts[0]
        return carry, jax.tree.map(lambda *draws: jnp.concatenate(draws), *parts)

    def walk(self, carry: Carry, num_steps: int, parity: int) -> Carry:
        """Steps on the way to a draw; `parity` is that of the first."""
        if num_steps and parity:
            carry = self.one(carry, 1)
            num_steps -= 1
        pairs, rest = divmod(num_steps, 2)
        if pairs:
            unroll = min(_UNROLLED_PAIRS, pairs)
            carry, _ = lax.scan(
                lambda carry, _: (self.both(carry), None), carry, None, length=pairs, unroll=unroll
            )
        return self.one(carry, 0) if rest else carry

    def both(self, carry: Carry) -> Carry:
        """A pair of steps."""
        made = self.pair(carry)
        return self.step_of(made, 1, self.step_of(made, 0, carry))

    def one(self, carry: Carry, odd: int) -> Carry:
        """The even or the odd step of a pair alone."""
        return self.step_of(self.pair(carry), odd, carry)

    def pair(self, carry: Carry) -> noise.Pairs:
        """The noise of the pair of steps to which the next one belongs."""
        return noise.pairs(self.streams, self.kernel.step_noise, self.like, carry.step >> 1, 1)

    def step_of(self, pair: noise.Pairs, odd: int, carry: Carry) -> Carry:
        """The even or the odd step of a pair."""
        return self.step(carry, lambda _: pair.at(odd))
