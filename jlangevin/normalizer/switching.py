"""A kernel that turns one energy into another, and weighs what that does to the normaliser."""

from __future__ import annotations

from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jlangevin._core import trees
from jlangevin._core.arithmetic import hidden_zero
from jlangevin._core.checks import as_array, check_flag, or_nan
from jlangevin._core.trees import Number, Numbers, Parted, PyTree, pytree_dataclass, static_field
from jlangevin.energies.base import Energy, check_callable, check_energy
from jlangevin.energies.traced import traced_once
from jlangevin.kernels.around import Around
from jlangevin.kernels.base import (
    Hyper,
    Info,
    Noise,
    Position,
    Schedule,
    WithTemperature,
    cast,
    if_sound,
)
from jlangevin.kernels.nesting import check_inside
from jlangevin.reducers.base import CompensatedSum

__all__ = ["Between", "Switched", "SwitchedState", "as_levels", "switched"]


@pytree_dataclass
class Between:
    """(1 - β) E_0(x) + β E_1(x), the energy at level β of a path."""

    first: Energy
    second: Energy
    level: Number

    def __call__(self, x: PyTree) -> jax.Array:
        first, second = self.first(x), self.second(x)
        beta = cast(self.level, first)
        second = second.astype(first.dtype)
        mixed = (1 - beta) * first + beta * second
        # At the ends by itself, as 0 times the infinite energy of the other is NaN.
        return jnp.where(beta == 0, first, jnp.where(beta == 1, second, mixed))


@pytree_dataclass
class Rung:
    """The level of a step: `ahead` 0 for that before it, 1 for that after it."""

    levels: jax.Array
    ahead: int = static_field()

    def __call__(self, step: jax.Array) -> jax.Array:
        index = jnp.asarray(step, jnp.int32) + self.ahead
        return self.levels[jnp.minimum(index, len(self.levels) - 1)]


class SwitchedState(NamedTuple):
    """Where a chain is, and what it has been weighed by on the way."""

    position: Position
    weights: CompensatedSum  # the sum of the logarithms of all steps so far

    @property
    def log_weight(self) -> jax.Array:
        """log w; -inf for a chain that met E' = +inf."""
        high = self.weights.high  # if that is infinite, the other part is NaN
        return jnp.where(jnp.isfinite(high), self.weights.value, high)


@pytree_dataclass
class Switched(Around):
    """See `switched`."""

    to: Energy
    before: Hyper
    after: Hyper
    backwards: bool = static_field()

    init_noise: ClassVar[None] = None

    @property
    def step_noise(self) -> PyTree:
        """What the inner kernel wants to begin at a level, and for its step."""
        return self.kernel.init_noise, self.kernel.step_noise

    def init(self, energy: Energy, position: Position, noise: None) -> SwitchedState:
        check_energy(self.to, trees.struct(position))
        dtype = trees.at_least_float32(jnp.zeros((), trees.float_dtype(position))).dtype
        zero = CompensatedSum.zero(jnp.zeros((), dtype))
        return SwitchedState(if_sound(self, position), zero)

    def step(
        self, energy: Energy, state: SwitchedState, noise: Noise
    ) -> tuple[SwitchedState, Info]:
        first, moving = noise
        x, to = state.position, traced_once(Parted.of(self.to))
        here = energy(x)
        rise = (to(x).astype(here.dtype) - here) / cast(self.kernel.temperature, here)
        share = jnp.abs(self.after - self.before)
        term = jnp.where(share > 0, -cast(share, rise) * rise, 0)  # 0 times infinity is NaN
        weights = state.weights.add(
            term.astype(state.weights.high.dtype), hidden_zero(share).astype(jnp.int32)
        )
        first_end, second_end = (to, energy) if self.backwards else (energy, to)
        level = Between(first_end, second_end, self.after)
        began = self.kernel.init(level, x, first)
        moved, info = self.kernel.step(level, began, moving)
        return SwitchedState(moved.position, weights), info


def switched(
    kernel: WithTemperature, to: Energy, levels: Numbers, *, backwards: bool = False
) -> Switched:
    """`kernel`, while the energy E it is run on turns into another one, E'.

    The path is E_β = (1 - β) E + β E', with levels 0 = β_0 < β_1 < … < β_n = 1. Step t weighs the
    chain where it is, then moves it at the new level by one step of `kernel`, begun anew:

        log w ← log w - (β_t - β_{t-1}) (E'(x) - E(x)) / T
        x ← a step of the kernel on E_β, β = β_t

    If chains begin with exact draws of exp(-E/T), then after n steps E[w] = Z'/Z, the ratio of the
    integrals of exp(-E'/T) and exp(-E/T), however few the levels and however slow the kernel
    (Jarzynski 1997; Neal 2001). -T log w is the work done on the chain. Steps after the n-th stay
    at the last level, and change no weight.

    `run.state.kernel.log_weight` is (chain,). A step costs one of `kernel`, and a gradient to begin
    it: twice the cost of `mala`, little more than that of `malt`.

    Args:
        kernel: one that leaves exp(-E/T) as it is because it accepts or rejects: `mala`, `barker`,
            `malt`, `ghmc`, `adjusted_microcanonical`, or one of your own with `by_value = True`.
            Its temperature is T; other hyper-parameters may be schedules.
        to: E', a callable as in `sample`.
        levels: 0 = β_0 < … < β_n = 1, an array (n + 1,); another n compiles again.
        backwards: whether E is at level 1 and E' at level 0, and the levels are gone down.

    Raises:
        TypeError: a kernel that accepts everything, as its bias would be one of w; one with walls;
            one that counts steps of its own; one without a temperature; `to` is no energy.
        ValueError: levels that do not rise from 0 to 1; a scheduled temperature.

    Example:
        >>> import jax, jax.numpy as jnp, jlangevin as jl
        >>> wide, narrow = jl.energies.quadratic(jnp.eye(1)), jl.energies.quadratic(4 * jnp.eye(1))
        >>> kernel = jl.normalizer.switched(jl.mala(0.2), narrow, jnp.linspace(0, 1, 11))
        >>> run = jl.sample(jax.random.key(0), wide, kernel, wide, num_steps=10, num_chains=10_000,
        ...                 observe=None)
        >>> round(float(jnp.mean(jnp.exp(run.state.kernel.log_weight))), 1)  # sqrt(1/4)
        0.5
    """
    check_inside("switched", kernel)
    check_callable(to, "to")
    ladder = as_levels(levels)
    if check_flag("backwards", backwards):
        ladder = ladder[::-1]
    return Switched(kernel, to, Schedule(Rung(ladder, 0)), Schedule(Rung(ladder, 1)), backwards)


def as_levels(levels: Numbers) -> jax.Array:
    """Levels that rise from 0 to 1, as an array."""
    array = as_array("levels", levels, ndim=1)
    if len(array) < 2:
        raise ValueError(f"levels: expected at least the two ends, 0 and 1, got {len(array)}")
    return or_nan(
        array,
        lambda xp, b: (b[0] == 0) & (b[-1] == 1) & xp.all(xp.diff(b) > 0),
        lambda: ValueError(
            "levels: expected numbers that rise from 0 to 1, got "
            f"{np.array2string(np.asarray(array), threshold=8)}"
        ),
    )
