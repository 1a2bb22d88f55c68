"""Any number of steps by one program."""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from jlangevin import noise, trees
from jlangevin.sampling.state import SamplerState, Span, Work
from jlangevin.sampling.steps import Carry, Steps
from jlangevin.sampling.trouble import End
from jlangevin.trees import PyTree

__all__ = ["Counted", "Counting"]


class Counting(NamedTuple):
    """What of a number of steps is compiled for."""

    thin: int
    num_draws: int  # that are kept

    @property
    def steps(self) -> type[Counted]:
        return Counted


class Counted(Steps):
    """Steps whose number is data. Only draws that are kept have a shape, and so are compiled for.

    A loop whose end is data cannot be differentiated backwards; see `fixed.Fixed`. XLA compiles
    each number that changes by itself, and so there is but one, the step.
    """

    @classmethod
    def run(
        cls, state: SamplerState, work: Work, span: Span, *, how: Counting, careful: bool
    ) -> tuple[PyTree, SamplerState, End]:
        """The draws, the state afterwards, and how the chains ended."""
        steps, carry = cls.begin(state, work, span, thin=how.thin, careful=careful)
        draws = jax.tree.map(
            lambda x: jnp.zeros((how.num_draws, *x.shape), x.dtype),
            jax.eval_shape(steps.seen, carry.kernel),
        )
        carry, draws = lax.while_loop(lambda c: c[0].step < span.ends, steps.block, (carry, draws))
        return trees.chains_first(draws), *steps.end(carry)

    def block(self, moving: tuple[Carry, PyTree]) -> tuple[Carry, PyTree]:
        """The steps on one block of noise, which begins at an even step."""
        first = moving[0].step & ~1
        made = self.noise(first >> 1, self.block_steps // 2)

        def goes_on(moving: tuple[Carry, PyTree]) -> jax.Array:
            step = moving[0].step
            return (step - first < self.block_steps) & (step < self.span.ends)

        return lax.while_loop(goes_on, partial(self.turn, made, first), moving)

    def turn(
        self, made: noise.Pairs, first: jax.Array, moving: tuple[Carry, PyTree]
    ) -> tuple[Carry, PyTree]:
        """A step, and a look at where it leads to if one is due."""
        carry, draws = moving
        carry = self.step(carry, made, first)
        if not self.looks:
            return carry, draws
        done = carry.step - self.span.begins
        due = (done > 0) & (done % self.thin == 0)
        return lax.cond(due, self.note, lambda *same: same, carry, draws)

    def note(self, carry: Carry, draws: PyTree) -> tuple[Carry, PyTree]:
        """What reducers make of the states, and what is kept of them."""
        place = (carry.step - self.span.begins) // self.thin - 1

        def put(kept: jax.Array, seen: jax.Array) -> jax.Array:
            if not len(kept):
                return kept
            return lax.dynamic_update_index_in_dim(kept, seen, place, 0)

        return self.see(carry), jax.tree.map(put, draws, self.seen(carry.kernel))
