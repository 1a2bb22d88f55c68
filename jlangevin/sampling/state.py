"""The parts of a run: what to run, how far, the state between two steps, and counts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jlangevin import noise
from jlangevin._core.each import filled, split
from jlangevin._core.trees import MaybeArray, Parted, PyTree
from jlangevin.energies.base import Energy
from jlangevin.energies.traced import mapped, traced_once
from jlangevin.kernels.base import Kernel, resolve_schedules

__all__ = ["Plan", "SamplerState", "Setup", "StepRange", "Tally"]


class Tally(NamedTuple):
    """Counts since the end of the first burn-in."""

    num_steps: jax.Array  # int32 scalar
    num_draws: jax.Array  # int32 scalar, states that were observed and reduced
    acceptance: MaybeArray  # (chain,), the mean of Info.acceptance_rate, or None
    rejections: PyTree  # Rejections, or None
    first_bad_step: jax.Array  # int32 (chain,), a chain's steps before it diverged, or -1


class SamplerState(NamedTuple):
    """All that `resume` needs to continue a run. Leaves have a leading chain axis."""

    streams: noise.Streams  # the chains' noise
    step: jax.Array  # int32 scalar, steps done so far, burn-in included
    kernel: PyTree  # the kernel's state of every chain
    tally: Tally
    reducers: PyTree  # the reducers' accumulators, None if there are none


class Plan(NamedTuple):
    """How many steps to make."""

    num_steps: int  # after burn-in, a multiple of `thin`
    burn_in: int
    thin: int
    remat: bool = False
    fused: bool | str | None = False  # None if it is not decided yet

    @property
    def num_draws(self) -> int:
        return self.num_steps // self.thin


class StepRange(NamedTuple):
    """The steps of a plan, as they are counted in the streams; int32, perhaps traced."""

    begins: Any  # the step at which burn-in ends
    ends: Any
    num_steps: Any  # the counts of the tally at the end
    num_draws: Any

    @classmethod
    def of(
        cls, plan: Plan, step: jax.Array, num_steps: jax.Array, num_draws: jax.Array
    ) -> StepRange:
        """The range of a plan that starts after `step` steps, with these counts in the tally."""
        begins = step + plan.burn_in
        ends = begins + plan.num_steps
        return cls(begins, ends, num_steps + plan.num_steps, num_draws + plan.num_draws)


class Setup(NamedTuple):
    """What to run, each part split into what is traced and what is static."""

    energy: Parted  # with a `Slot` in place of what differs from chain to chain
    kernel: Parted
    reducers: Parted
    observe: Parted
    rows: Parted  # what belongs into the slots, (chain, …)

    @classmethod
    def of(
        cls,
        energy: Energy,
        kernel: Kernel | None,
        reducers: PyTree = None,
        observe: Callable[[PyTree], PyTree] | None = None,
    ) -> Setup:
        (energy, kernel), rows = split(energy, kernel)
        return cls(*map(Parted.of, (energy, kernel, reducers, observe, rows)))

    def of_chain(self, number: int) -> tuple[Energy, Kernel]:
        """The energy and the kernel of one chain, by its place in the run."""
        rows = jax.tree.map(lambda leaf: leaf[number], self.rows.whole)
        return filled(self.energy.whole, rows), filled(self.kernel.whole, rows)

    def energies_at(self, points: PyTree, chains: ArrayLike) -> jax.Array:
        """The energies at points (n, …), in the chains of these n places in the run."""
        given = self.energy.whole, self.rows.whole
        found: jax.Array = mapped(_energy_at, given, (jnp.asarray(chains, jnp.int32), points))
        return found

    def energy_for(self, rows: PyTree) -> Energy:
        """The energy of a chain with these rows, with its Python code traced once."""
        return traced_once(Parted.of(filled(self.energy.whole, rows)) if rows else self.energy)

    def kernel_for(self, rows: PyTree, step: jax.Array) -> Kernel:
        """The kernel of a chain with these rows, at a step: its schedules may have rows too."""
        return resolve_schedules(filled(self.kernel.whole, rows), step)


def _energy_at(setup: tuple[Energy, PyTree], given: tuple[jax.Array, PyTree]) -> jax.Array:
    (energy, rows), (chain, point) = setup, given
    value: jax.Array = filled(energy, jax.tree.map(lambda leaf: leaf[chain], rows))(point)
    return value
