"""A number of steps that is compiled for: what can be differentiated backwards, and mapped."""

from __future__ import annotations

import dataclasses
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from jlangevin._core import trees
from jlangevin._core.trees import PyTree
from jlangevin.sampling.state import Plan, SamplerState, Span, Work
from jlangevin.sampling.steps import Carry, Steps
from jlangevin.sampling.trouble import End

__all__ = ["Fixed", "Fixing"]


class Fixing(NamedTuple):
    """All that is compiled for."""

    plan: Plan
    parity: int | None  # of the steps done so far, None if that is not known

    @property
    def steps(self) -> type[Fixed]:
        return Fixed


class Leg(NamedTuple):
    """A part of a run, in which each step is treated alike."""

    num_draws: int
    thin: int  # steps from one draw to the next
    parity: int | None  # of the first step; None if it is not known, which costs a pair of normals
    looked: bool  # whether anybody looks at the draws

    @property
    def num_steps(self) -> int:
        return self.num_draws * self.thin


@dataclasses.dataclass(frozen=True)
class Fixed(Steps):
    """Steps in scans, whose lengths the compiler knows."""

    remat: bool

    @classmethod
    def run(
        cls, state: SamplerState, work: Work, span: Span, *, how: Fixing, careful: bool
    ) -> tuple[PyTree, SamplerState, End]:
        """The draws, the state afterwards, and how the chains ended."""
        plan, parity = how
        steps, carry = cls.begin(
            state, work, span, thin=plan.thin, careful=careful, remat=plan.remat
        )
        if plan.burn_in:
            carry, _ = steps.leg(carry, Leg(plan.burn_in, 1, parity, False))
        if parity is not None:
            parity = (parity + plan.burn_in) % 2
        # If nobody looks, nothing keeps the blocks from being as long as they like.
        thin = plan.thin if steps.looks else 1
        leg = Leg(plan.num_steps // thin, thin, parity, steps.looks)
        carry, draws = steps.leg(carry, leg)
        return trees.chains_first(draws), *steps.end(carry)

    def leg(self, carry: Carry, leg: Leg) -> tuple[Carry, PyTree]:
        """Its steps, in blocks of whole draws, or its draws in blocks of steps."""
        if leg.thin <= self.block_steps:
            return self.blocks(carry, leg)
        parity = leg.parity if leg.thin % 2 == 0 else None
        inner = Leg(leg.thin, 1, parity, False)

        def draw(carry: Carry, _: None) -> tuple[Carry, PyTree]:
            return self.note(self.blocks(carry, inner)[0], leg)

        return lax.scan(draw, carry, None, length=leg.num_draws)

    def blocks(self, carry: Carry, leg: Leg) -> tuple[Carry, PyTree]:
        """The draws of a leg, in blocks of whole draws."""
        per_block = _draws_per_block(leg.num_draws, leg.thin, self.block_steps)
        whole, rest = divmod(leg.num_draws, per_block)
        block: Any = partial(self.block, leg=leg._replace(num_draws=per_block))
        if self.remat:
            block = jax.checkpoint(block)
        carry, draws = lax.scan(block, carry, None, length=whole)
        draws = jax.tree.map(lambda y: y.reshape(whole * per_block, *y.shape[2:]), draws)
        if rest:
            carry, more = self.block(carry, None, leg=leg._replace(num_draws=rest))
            draws = jax.tree.map(lambda a, b: jnp.concatenate([a, b]), draws, more)
        return carry, draws

    def block(self, carry: Carry, _: None, *, leg: Leg) -> tuple[Carry, PyTree]:
        """The draws of a leg, on one block of noise."""
        odd = carry.step % 2 if leg.parity is None else leg.parity
        spare = 1 if leg.parity is None else leg.parity
        first = carry.step - odd
        made = self.noise(first // 2, (leg.num_steps + spare + 1) // 2)

        def step(_: Any, carry: Carry) -> Carry:
            return self.step(carry, made, first)

        def draw(carry: Carry, _: None) -> tuple[Carry, PyTree]:
            carry = lax.fori_loop(0, leg.thin, step, carry) if leg.thin > 1 else step(None, carry)
            return self.note(carry, leg)

        return lax.scan(draw, carry, None, length=leg.num_draws)

    def note(self, carry: Carry, leg: Leg) -> tuple[Carry, PyTree]:
        """What reducers make of the states, and what is kept of them."""
        return (self.see(carry), self.seen(carry.kernel)) if leg.looked else (carry, None)


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
