"""The loop over a static number of steps, which reverse-mode differentiation and `vmap` need."""

from __future__ import annotations

import dataclasses
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from jlangevin._core import trees
from jlangevin._core.trees import PyTree
from jlangevin.sampling.health import Health
from jlangevin.sampling.state import Plan, SamplerState, Setup, StepRange
from jlangevin.sampling.steps import Carry, Steps

__all__ = ["Fixed", "FixedSpec"]


class FixedSpec(NamedTuple):
    """The static part of a plan: all of it."""

    plan: Plan
    parity: int | None  # of the number of steps done so far, None if it is not known

    @property
    def loop(self) -> type[Fixed]:
        return Fixed


class Segment(NamedTuple):
    """A part of a run in which all steps are treated alike."""

    num_draws: int
    thin: int  # steps from one draw to the next
    parity: int | None  # of the first step; None if not known, which costs one more pair of noise
    recorded: bool  # whether draws are observed or reduced

    @property
    def num_steps(self) -> int:
        return self.num_draws * self.thin


@dataclasses.dataclass(frozen=True)
class Fixed(Steps):
    """Steps in scans, whose lengths the compiler knows."""

    remat: bool

    @classmethod
    def run(
        cls,
        state: SamplerState,
        setup: Setup,
        step_range: StepRange,
        *,
        how: Any,  # FixedSpec, or that of a subclass
        careful: bool,
    ) -> tuple[PyTree, SamplerState, Health]:
        """The draws, the state afterwards, and how the chains ended."""
        plan, parity = how
        steps, carry = cls.begin(
            state, setup, step_range, thin=plan.thin, careful=careful, remat=plan.remat
        )
        if plan.burn_in:
            carry, _ = steps.run_segment(carry, Segment(plan.burn_in, 1, parity, False))
        if parity is not None:
            parity = (parity + plan.burn_in) % 2
        # If nothing is recorded, blocks need not consist of whole draws.
        thin = plan.thin if steps.records else 1
        segment = Segment(plan.num_steps // thin, thin, parity, steps.records)
        carry, draws = steps.run_segment(carry, segment)
        return trees.chains_first(draws), *steps.end(carry)

    def run_segment(self, carry: Carry, segment: Segment) -> tuple[Carry, PyTree]:
        """The segment in blocks of whole draws, or if draws are longer, each draw in blocks."""
        if segment.thin <= self.block_steps:
            return self.run_blocks(carry, segment)
        parity = segment.parity if segment.thin % 2 == 0 else None
        inner = Segment(segment.thin, 1, parity, False)

        def draw(carry: Carry, _: None) -> tuple[Carry, PyTree]:
            return self.record(self.run_blocks(carry, inner)[0], segment)

        return lax.scan(draw, carry, None, length=segment.num_draws)

    def run_blocks(self, carry: Carry, segment: Segment) -> tuple[Carry, PyTree]:
        """The draws of a segment, in blocks of whole draws."""
        per_block = _draws_per_block(segment.num_draws, segment.thin, self.block_steps)
        whole, rest = divmod(segment.num_draws, per_block)
        block: Any = partial(self.run_block, segment=segment._replace(num_draws=per_block))
        if self.remat:
            block = jax.checkpoint(block)
        carry, draws = lax.scan(block, carry, None, length=whole)
        draws = jax.tree.map(lambda y: y.reshape(whole * per_block, *y.shape[2:]), draws)
        if rest:
            carry, more = self.run_block(carry, None, segment=segment._replace(num_draws=rest))
            draws = jax.tree.map(lambda a, b: jnp.concatenate([a, b]), draws, more)
        return carry, draws

    def run_block(self, carry: Carry, _: None, *, segment: Segment) -> tuple[Carry, PyTree]:
        """The draws of a segment that fits into one block of noise."""
        odd = carry.step % 2 if segment.parity is None else segment.parity
        spare = 1 if segment.parity is None else segment.parity
        first = carry.step - odd
        made = self.block_noise(first // 2, (segment.num_steps + spare + 1) // 2)

        def step(_: Any, carry: Carry) -> Carry:
            return self.step(carry, lambda number: made.at(number - first))

        def draw(carry: Carry, _: None) -> tuple[Carry, PyTree]:
            carry = (
                lax.fori_loop(0, segment.thin, step, carry)
                if segment.thin > 1
                else step(None, carry)
            )
            return self.record(carry, segment)

        return lax.scan(draw, carry, None, length=segment.num_draws)

    def record(self, carry: Carry, segment: Segment) -> tuple[Carry, PyTree]:
        """Update the reducers with the states, and return what is observed of them."""
        return (
            (self.update_reducers(carry), self.observed(carry.kernel))
            if segment.recorded
            else (carry, None)
        )


def _draws_per_block(num_draws: int, thin: int, block_steps: int) -> int:
    """How many draws a block of about `block_steps` steps contains.

    It is a divisor of `num_draws` if one is not much smaller: a last block of another length would
    be compiled separately, and appending its draws would copy all others.
    """
    most = max(block_steps // thin, 1)
    even = 1 + thin % 2  # all blocks but the last have an even number of steps
    for count in range(min(most, num_draws), max(most // 4, 1) - 1, -1):
        if num_draws % count == 0 and (count % even == 0 or count == num_draws):
            return count
    return most + most % even
