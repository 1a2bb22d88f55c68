"""Two chains of one kernel, each with its own law, that are made to meet."""

from __future__ import annotations

import functools
from typing import Literal

import jax
import jax.numpy as jnp

from jlangevin._core.arithmetic import hidden_zero, separately_rounded
from jlangevin._core.checks import check_count
from jlangevin._core.trees import PyTree, pytree_dataclass, static_field
from jlangevin._core.vector_loops import apart
from jlangevin.energies.base import Energy
from jlangevin.kernels.around import Around
from jlangevin.kernels.base import Info, Kernel, Noise, Position
from jlangevin.kernels.metropolis import total
from jlangevin.kernels.nesting import check_inside
from jlangevin.kernels.traits import Traits
from jlangevin.noise import Want

__all__ = ["Coupled", "CoupledState", "coupled"]


_Moved = tuple[PyTree, PyTree, jax.Array, Info]  # both states, whether they are the same


@pytree_dataclass
class CoupledState:
    """Both chains, and when they met."""

    leading: PyTree  # the kernel's state X_t
    lagging: PyTree  # the kernel's state Y_{t-L}, the start until t = L
    steps: jax.Array  # t, int32
    meeting_time: jax.Array  # the first t > L at which the two were the same, int32; -1 before

    @property
    def position(self) -> Position:
        """That of the leading chain."""
        return self.leading.position


@pytree_dataclass
class Coupled(Around):
    """See `coupled`."""

    lag: jax.Array
    how: str = static_field()

    counts_steps = True
    carries = ()

    @property
    def step_noise(self) -> PyTree:
        # The kernel's noise comes first, and so is what it would be if the kernel were alone.
        wants = self.kernel.step_noise
        return (wants, Want.UNIFORM) if self.how == "reflection" else wants

    def init(self, energy: Energy, position: Position, noise: Noise) -> CoupledState:
        start = self.kernel.init(energy, position, noise)
        return CoupledState(start, start, jnp.int32(0), jnp.int32(-1))

    def step(self, energy: Energy, state: CoupledState, noise: Noise) -> tuple[CoupledState, Info]:
        if self.how == "reflection":
            leading, lagging, same, info = self._reflected(energy, state, *noise)
        else:
            leading, lagging, same, info = self._common(energy, state, noise)
        leading = jax.tree.map(_in_memory, leading)
        waits = state.steps < self.lag
        met = state.meeting_time >= 0
        meets = (same | _equal(leading, lagging)) & ~waits & ~met

        def follow(old: jax.Array, moved: jax.Array, other: jax.Array) -> jax.Array:
            return jnp.where(waits, old, jnp.where(met | meets, other, moved))

        lagging = jax.tree.map(follow, state.lagging, lagging, leading)
        steps = state.steps + 1
        return CoupledState(
            leading, lagging, steps, jnp.where(meets, steps, state.meeting_time)
        ), info

    def _common(self, energy: Energy, state: CoupledState, noise: Noise) -> _Moved:
        """Both chains on the same noise."""
        leading, info = self.kernel.step(energy, state.leading, noise)
        lagging, report = self.kernel.step(energy, state.lagging, jax.tree.map(_again, noise))
        return leading, lagging, jnp.zeros((), bool), _of_both(info, report)

    def _reflected(
        self, energy: Energy, state: CoupledState, noise: Noise, uniform: jax.Array
    ) -> _Moved:
        """Both chains, and whether they are now the same but for rounding."""
        adjusted = Traits.of(self.kernel).by_value
        xi = noise[0] if adjusted else noise
        laws = (self.kernel.proposal(energy, each) for each in (state.leading, state.lagging))
        other, same = reflect(xi, next(laws).gap(next(laws)), uniform)
        leading, info = self.kernel.step(energy, state.leading, noise)
        lagging, report = self.kernel.step(
            energy, state.lagging, (other, noise[1]) if adjusted else other
        )
        if adjusted:  # one proposal for both must be accepted by both
            same &= noise[1] < jnp.minimum(info.acceptance_rate, report.acceptance_rate)
        return leading, lagging, same, _of_both(info, report)


def reflect(xi: PyTree, gap: PyTree, uniform: jax.Array) -> tuple[PyTree, jax.Array]:
    """The second chain's normals from the first's, and whether the two proposals are one.

    ξ' = ξ + z with probability min(1, φ(ξ + z)/φ(ξ)), else ξ - 2 (ξ·z) z / |z|².
    """
    # A gap beyond the largest float has no direction: then the two chains' normals are the same.
    largest = functools.reduce(jnp.maximum, [jnp.max(jnp.abs(z)) for z in jax.tree.leaves(gap)])
    known = jnp.isfinite(largest)
    gap = jax.tree.map(lambda z: jnp.where(known, z, 0), gap)
    log_ratio = -total(lambda z, xi: z * (xi + z / 2), gap, xi)
    same = known & (jnp.log(uniform) < log_ratio)
    # |z|² may be beyond the largest float, and is not once z is divided by its largest element.
    unit = jnp.where(known & (largest > 0), largest, 1)
    way = jax.tree.map(lambda z: z / unit.astype(z.dtype), gap)
    square = total(lambda z: z * z, way)
    along = total(lambda z, xi: z * xi, way, xi)
    times = -2 * along / jnp.where(square > 0, square, 1)
    zero = hidden_zero(uniform)

    def move(xi: jax.Array, z: jax.Array, way: jax.Array) -> jax.Array:
        return xi + jnp.where(same, z, separately_rounded(times.astype(z.dtype) * way, zero))

    return jax.tree.map(move, xi, gap, way), same


def _of_both(info: Info, report: Info) -> Info:
    """The leading chain's, with whatever either could not weigh."""
    return info._replace(rejections=jax.tree.map(jnp.maximum, info.rejections, report.rejections))


def _equal(one: PyTree, other: PyTree) -> jax.Array:
    """Whether two states are the same to the last bit."""
    equal = jax.tree.map(lambda x, y: jnp.all(x == y), one, other)
    return jnp.all(jnp.stack(jax.tree.leaves(equal)))


def _in_memory(x: jax.Array) -> jax.Array:
    """`x`, computed once: where it is computed again it may be rounded in another way."""
    if not jnp.issubdtype(x.dtype, jnp.floating):
        return x
    return apart(lambda x: separately_rounded(x, hidden_zero(jnp.abs(x))), x)


def _again(noise: jax.Array) -> jax.Array:
    """`noise` to be used a second time, which of keys has to be said."""
    return jax.random.clone(noise) if jnp.issubdtype(noise.dtype, jax.dtypes.prng_key) else noise


def coupled(
    kernel: Kernel, lag: int, *, how: Literal["reflection", "common"] = "reflection"
) -> Coupled:
    """Two chains of `kernel` in one, the second L steps behind the first, that are made to meet.

    The leading chain X is, bit for bit, the chain that `kernel` alone makes under the same key;
    where an energy or an estimator is a sum of products, but for how the compiler rounds that. The
    lagging one, Y, starts where X did, waits for L steps, and then moves along with X: from
    (X_t, Y_{t-L}) to (X_{t+1}, Y_{t+1-L}). Alone it has the law of any other chain of the kernel.
    The first t > L at which X_t = Y_{t-L} is the meeting time τ; from then on they stay together,
    to the last bit. What τ says of the distance to stationarity is in
    `jlangevin.diagnostics.total_variation_bound`, which asks of each chain for its law alone: that
    both have one start is no loss.

    "reflection" is the reflection-maximal coupling of the proposals N(m, σ²P) and N(m', σ²P),
    σ² = 2ηT, P = L Lᵀ (Bou-Rabee, Eberle and Zimmer 2020; Jacob, O'Leary and Atchadé 2020). With
    z = L⁻¹(m - m')/σ and φ the density of N(0, I), Y's normals are made from X's:

        ξ' = ξ + z                  with probability min(1, φ(ξ + z)/φ(ξ))
        ξ' = ξ - 2 (ξ·z) z/|z|²     otherwise

    The first makes one proposal for both. No coupling of the two proposals makes them one with a
    higher probability, which is 2Φ(-|z|/2). For `mala` the uniform that accepts is common, and they
    meet where both accept. "common" gives both chains the same noise, whatever the kernel wants.
    Where the drift contracts, so do they, and meet only where rounding ends the difference.

    A state is a `CoupledState`, its `position` that of X: draws, reducers and `Info` are X's. Two
    steps of the kernel, and so two gradients, a step.

    Args:
        kernel: `ula` or `mala`; for "common" any kernel but `tempered` and `coupled`, which go by
            the number of steps done, in which the chains differ. No schedules, under which there is
            no stationary law to be near to.
        lag: L ≥ 1. The greater, the sharper the bound, up to about where it falls below 1.
        how: "reflection" or "common".

    Raises:
        TypeError: `kernel` is not a kernel, or cannot be reflected; L is not an integer.
        ValueError: L < 1, a kernel with a schedule, another `how`.

    Example:
        >>> import jax, jax.numpy as jnp, jlangevin as jl
        >>> energy, kernel = jl.energies.double_well(), jl.coupled(jl.mala(0.1), lag=50)
        >>> run = jl.sample(jax.random.key(0), energy, kernel, jnp.ones((100, 1)), num_steps=1000)
        >>> times = jl.diagnostics.meeting_times(run.state.kernel)
        >>> times.shape, bool(times.min() > 50)
        ((100,), True)
    """
    check_inside("coupled", kernel)
    if how not in ("reflection", "common"):
        raise ValueError(f'how: expected "reflection" or "common", got {how!r}')
    if how == "reflection":
        check_inside("reflected", kernel)
    return Coupled(kernel, jnp.asarray(check_count("lag", lag, minimum=1), jnp.int32), how)
