"""What a run is made of: the state between two steps, what has been counted, and what is run."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax

from jlangevin import noise
from jlangevin._core.trees import Parted

__all__ = ["Plan", "SamplerState", "Span", "Tally", "Work"]


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
    """How far to go."""

    num_steps: int  # after burn-in, a multiple of `thin`
    burn_in: int
    thin: int
    remat: bool = False

    @property
    def num_draws(self) -> int:
        return self.num_steps // self.thin


class Span(NamedTuple):
    """Where a run is in its streams, int32: numbers, or traced."""

    begins: Any  # the step at which burn-in ends
    ends: Any
    num_steps: Any  # what is counted of them, and how many draws are seen, by then
    num_draws: Any

    @classmethod
    def of(cls, plan: Plan, step: Any, num_steps: Any, num_draws: Any) -> Span:
        """That of a plan, after `step` steps of which so many are counted."""
        begins = step + plan.burn_in
        ends = begins + plan.num_steps
        return cls(begins, ends, num_steps + plan.num_steps, num_draws + plan.num_draws)


class Work(NamedTuple):
    """What is run, each parted into what is traced and what is compiled for."""

    energy: Parted
    kernel: Parted
    reducers: Parted
    observe: Parted

    @classmethod
    def of(cls, energy: Any, kernel: Any, reducers: Any = None, observe: Any = None) -> Work:
        return cls(*map(Parted.of, (energy, kernel, reducers, observe)))
