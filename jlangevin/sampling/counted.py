"""The loop over steps whose number is data: one program for any number of steps."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from jlangevin._core import trees
from jlangevin._core.trees import PyTree
from jlangevin.sampling.health import Health
from jlangevin.sampling.state import SamplerState, Setup, StepRange
from jlangevin.sampling.steps import Carry, Steps

__all__ = ["Counted", "CountedSpec"]


class CountedSpec(NamedTuple):
    """The static part of a plan whose number of steps is data."""

    thin: int
    num_draws: int  # draws that are kept

    @property
    def loop(self) -> type[Counted]:
        return Counted


class Counted(Steps):
    """Steps whose number is data. Only the number of draws that are kept is static, as a shape.

    A loop whose length is data cannot be differentiated in reverse mode; see `fixed.Fixed`. XLA
    compiles each counter of a loop separately, so there is only one, the step.
    """

    @classmethod
    def run(
        cls,
        state: SamplerState,
        setup: Setup,
        step_range: StepRange,
        *,
        how: CountedSpec,
        careful: bool,
    ) -> tuple[PyTree, SamplerState, Health]:
        """The draws, the state afterwards, and how the chains ended."""
        steps, carry = cls.begin(state, setup, step_range, thin=how.thin, careful=careful)
        draws = jax.tree.map(
            lambda x: jnp.zeros((how.num_draws, *x.shape), x.dtype),
            jax.eval_shape(steps.observed, carry.kernel),
        )
        carry, draws = lax.while_loop(
            lambda c: c[0].step < step_range.ends, steps.run_block, (carry, draws)
        )
        return trees.chains_first(draws), *steps.end(carry)

    def run_block(self, moving: tuple[Carry, PyTree]) -> tuple[Carry, PyTree]:
        """The steps that use one block of noise, which begins at an even step."""
        first = moving[0].step & ~1
        made = self.block_noise(first >> 1, self.block_steps // 2)

        def in_block(carry: Carry) -> jax.Array:
            return (carry.step - first < self.block_steps) & (carry.step < self.step_range.ends)

        step = partial(self.step, noise_at=lambda number: made.at(number - first))
        if not self.records:
            return lax.while_loop(in_block, step, moving[0]), moving[1]
        turn = self.step_and_record if self.thin == 1 else partial(self.step_until_due, in_block)
        return lax.while_loop(lambda moving: in_block(moving[0]), partial(turn, step), moving)

    def step_and_record(
        self, step: Callable[..., Carry], moving: tuple[Carry, PyTree]
    ) -> tuple[Carry, PyTree]:
        """One step, after which the state is recorded; during burn-in the record is discarded."""
        carry, draws = step(moving[0]), moving[1]
        noted, draws = self.record(carry, draws)
        counted = carry.step > self.step_range.begins
        sums = jax.tree.map(lambda a, b: jnp.where(counted, a, b), noted.reducers, carry.reducers)
        return carry._replace(reducers=sums), draws

    def step_until_due(
        self,
        in_block: Callable[[Carry], jax.Array],
        step: Callable[..., Carry],
        moving: tuple[Carry, PyTree],
    ) -> tuple[Carry, PyTree]:
        """Steps until a state is to be recorded or the block ends.

        The reducers' sums stay outside the loop: a condition inside would copy them at every step.
        """

        def due(carry: Carry) -> jax.Array:
            done = carry.step - self.step_range.begins
            return (done > 0) & (done % self.thin == 0)

        carry, draws = moving
        moved = lax.while_loop(
            lambda moved: in_block(moved) & ~(due(moved) & (moved.step > carry.step)),
            step,
            carry._replace(reducers=None),
        )
        carry = moved._replace(reducers=carry.reducers)
        return lax.cond(due(carry), self.record, lambda *same: same, carry, draws)

    def record(self, carry: Carry, draws: PyTree) -> tuple[Carry, PyTree]:
        """Update the reducers with the states, and store what is observed of them."""
        place = jnp.maximum((carry.step - self.step_range.begins) // self.thin - 1, 0)

        def put(kept: jax.Array, drawn: jax.Array) -> jax.Array:
            if not len(kept):
                return kept
            return lax.dynamic_update_index_in_dim(kept, drawn, place, 0)

        return self.update_reducers(carry), jax.tree.map(put, draws, self.observed(carry.kernel))
