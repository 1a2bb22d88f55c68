"""Any number of steps by one program."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from jlangevin._core import trees
from jlangevin._core.trees import PyTree
from jlangevin.sampling.state import SamplerState, Span, Work
from jlangevin.sampling.steps import Carry, Steps
from jlangevin.sampling.trouble import End

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

        def goes_on(carry: Carry) -> jax.Array:
            return (carry.step - first < self.block_steps) & (carry.step < self.span.ends)

        step = partial(self.step, made=made, first=first)
        if not self.looks:
            return lax.while_loop(goes_on, step, moving[0]), moving[1]
        turn = self.every if self.thin == 1 else partial(self.some, goes_on)
        return lax.while_loop(lambda moving: goes_on(moving[0]), partial(turn, step), moving)

    def every(self, step: Callable[..., Any], moving: tuple[Carry, PyTree]) -> tuple[Carry, PyTree]:
        """A step, and a look at where it leads to. Before burn-in ends the look is in vain."""
        carry, draws = step(moving[0]), moving[1]
        seen, draws = self.note(carry, draws)
        counted = carry.step > self.span.begins
        sums = jax.tree.map(lambda a, b: jnp.where(counted, a, b), seen.reducers, carry.reducers)
        return carry._replace(reducers=sums), draws

    def some(
        self,
        goes_on: Callable[[Carry], jax.Array],
        step: Callable[..., Any],
        moving: tuple[Carry, PyTree],
    ) -> tuple[Carry, PyTree]:
        """Steps until a look is due or the block ends.

        What reducers hold has no part in the loop: a condition in it would copy that at every step.
        """

        def due(carry: Carry) -> jax.Array:
            done = carry.step - self.span.begins
            return (done > 0) & (done % self.thin == 0)

        carry, draws = moving
        moved = lax.while_loop(
            lambda moved: goes_on(moved) & ~(due(moved) & (moved.step > carry.step)),
            step,
            carry._replace(reducers=None),
        )
        carry = moved._replace(reducers=carry.reducers)
        return lax.cond(due(carry), self.note, lambda *same: same, carry, draws)

    def note(self, carry: Carry, draws: PyTree) -> tuple[Carry, PyTree]:
        """What reducers make of the states, and what is kept of them."""
        place = jnp.maximum((carry.step - self.span.begins) // self.thin - 1, 0)

        def put(kept: jax.Array, seen: jax.Array) -> jax.Array:
            if not len(kept):
                return kept
            return lax.dynamic_update_index_in_dim(kept, seen, place, 0)

        return self.see(carry), jax.tree.map(put, draws, self.seen(carry.kernel))
