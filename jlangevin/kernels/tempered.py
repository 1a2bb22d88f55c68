"""Parallel tempering: replicas of a chain at many temperatures, and swaps between neighbours."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from jlangevin._core import trees
from jlangevin._core.arithmetic import fold
from jlangevin._core.checks import as_array, check_positive, or_nan
from jlangevin._core.trees import Numbers, PyTree, pytree_dataclass
from jlangevin._core.vector_loops import choose, pick, put, repeat
from jlangevin.energies.base import Energy
from jlangevin.kernels.around import Around
from jlangevin.kernels.base import (
    Info,
    Noise,
    Position,
    WithTemperature,
    known,
)
from jlangevin.kernels.nesting import check_inside
from jlangevin.kernels.traits import Traits, convert_state, warn_of_adopt
from jlangevin.noise import Many, Want

__all__ = ["Tempered", "TemperedState", "as_ladder", "tempered"]

_Setting = tuple[jax.Array, jax.Array | None]  # temperature and step size

F = TypeVar("F", bound=Callable[..., Any])

_WAITING, _RISING, _RETURNING = 0, 1, 2  # never at T_1, from there to T_K, and back


class TemperedState(NamedTuple):
    """One state a temperature, from T_1 to T_K, and where the replicas have been."""

    position: Position  # a copy of that at T_1
    states: PyTree  # the inner kernel's, leaves with the temperatures on the last axis
    replica: jax.Array  # int32 (K,), which replica is at each temperature; k began at T_k
    leg: jax.Array  # int32 (K,), of the replica there: on which leg of a round trip
    steps: jax.Array  # int32, done so far: the parity says which pairs are next
    acceptance: jax.Array  # (K - 1,), the mean probability of a swap of each pair
    round_trips: jax.Array  # int32, of all replicas


@pytree_dataclass
class Tempered(Around):
    """See `tempered`."""

    temperatures: jax.Array
    step_sizes: jax.Array | None

    by_value = True
    counts_steps = True
    carries = ()

    @property
    def init_noise(self) -> PyTree:
        return self._each(self.kernel.init_noise)

    @property
    def step_noise(self) -> PyTree:
        """The inner kernel's for each temperature; a uniform for each pair that is offered."""
        return self._each(self.kernel.step_noise), Many(Want.UNIFORM, len(self.temperatures) // 2)

    def init(self, energy: Energy, position: Position, noise: Noise) -> TemperedState:
        def one(temperature: jax.Array, step_size: jax.Array | None, z: Noise) -> PyTree:
            return self._at(temperature, step_size).init(energy, position, z)

        states = _over(one)(self.temperatures, self.step_sizes, noise)
        replica = jnp.arange(len(self.temperatures), dtype=jnp.int32)
        zero = jnp.zeros((), jnp.int32)
        mean = jnp.zeros(len(replica) - 1, trees.float_dtype(position))
        leg = jnp.where(replica == 0, _RISING, _WAITING).astype(jnp.int32)
        return TemperedState(position, states, replica, leg, zero, mean, zero)

    def step(
        self, energy: Energy, state: TemperedState, noise: Noise
    ) -> tuple[TemperedState, Info]:
        inner, uniforms = noise

        settings = (self.temperatures, self.step_sizes)

        def moved(k: ArrayLike, states: PyTree) -> tuple[PyTree, Info]:
            at = jax.tree.map(lambda leaf: pick(leaf, k), (settings, states, inner))
            (temperature, step_size), here, z = at
            stepped: tuple[PyTree, Info] = self._at(temperature, step_size).step(energy, here, z)
            return stepped

        def move(k: jax.Array, carry: tuple[PyTree, Info]) -> tuple[PyTree, Info]:
            after: tuple[PyTree, Info] = jax.tree.map(
                lambda leaf, new: put(leaf, new, k), carry, moved(k, carry[0])
            )
            return after

        # One temperature after the other, each by the loops that the kernel has alone.
        number = len(self.temperatures)
        reported = jax.eval_shape(lambda: moved(0, state.states)[1])
        info = jax.tree.map(lambda x: jnp.zeros((*x.shape, number), x.dtype), reported)
        states, info = repeat(number, move, (state.states, info))
        rate = self._rate(energy, states).astype(state.acceptance.dtype)
        pair = jnp.arange(len(rate), dtype=jnp.int32)
        offered = (pair + state.steps) % 2 == 0
        swapped = offered & (jnp.repeat(uniforms, 2)[: len(rate)] < rate)

        # With no pair below the first temperature or above the last.
        falls = jnp.concatenate([jnp.zeros(1, bool), swapped])
        rises = jnp.concatenate([swapped, jnp.zeros(1, bool)])
        before = (settings, states, state.replica, state.leg)

        def exchange(k: jax.Array, after: PyTree) -> PyTree:
            """What is at a temperature after the swaps, no two of which have one in common."""
            below, above = jnp.maximum(k - 1, 0), jnp.minimum(k + 1, number - 1)
            fallen, risen = pick(falls, k), pick(rises, k)

            def of(leaf: jax.Array, after: jax.Array) -> jax.Array:
                here = choose(risen, pick(leaf, above), pick(leaf, k))
                return put(after, choose(fallen, pick(leaf, below), here), k)

            return jax.tree.map(of, before, after)

        # One by one into arrays of their own: a roll, a gather or swaps in place would cost XLA's
        # CPU backend its vector loops or copies of all states.
        there, states, replica, leg = repeat(number, exchange, jax.tree.map(jnp.zeros_like, before))

        def converted(here: _Setting, there: _Setting, s: PyTree) -> PyTree:
            return convert_state(self._at(*here), energy, s, self._at(*there))

        states = _over(converted)(settings, there, states)
        times = (state.steps // 2 + 1).astype(rate.dtype)  # that such a pair has been offered one
        mean = state.acceptance + (rate - state.acceptance) / times
        leg, back = _travel(leg)
        after = TemperedState(
            _coldest(states.position),
            states,
            replica,
            leg,
            state.steps + 1,
            jnp.where(offered, mean, state.acceptance),
            state.round_trips + back,
        )
        causes = info.rejections
        if causes is not None:
            causes = fold(jnp.maximum, jnp.max, causes)
        return after, _coldest(info._replace(rejections=None))._replace(rejections=causes)

    def _each(self, wants: PyTree) -> PyTree:
        """Of each want one a temperature."""
        return jax.tree.map(lambda want: Many(want, len(self.temperatures)), wants)

    def _at(self, temperature: jax.Array, step_size: jax.Array | None) -> WithTemperature:
        """The inner kernel at one temperature."""
        changes = {} if step_size is None else {"step_size": step_size}
        return dataclasses.replace(self.kernel, temperature=temperature, **changes)

    def _rate(self, energy: Energy, states: PyTree) -> jax.Array:
        """min(1, exp((1/T_i - 1/T_{i+1}) (E_i - E_{i+1}))) for each pair; 0 if E is not finite."""
        values = known(states, "energy")
        if values is None:
            values = _over(energy)(states.position)
        cold, hot = self.temperatures[:-1], self.temperatures[1:]
        fall = values[:-1] - values[1:]
        log_ratio = ((hot - cold) / (cold * hot)).astype(fall.dtype) * fall
        return jnp.where(jnp.isfinite(log_ratio), jnp.exp(jnp.minimum(log_ratio, 0)), 0)


def _over(function: F) -> F:
    """`function` at every temperature, which are the last axis but for that of the chains."""
    return jax.vmap(function, in_axes=-1, out_axes=-1)


def _coldest(tree: PyTree) -> PyTree:
    return jax.tree.map(lambda leaf: pick(leaf, 0), tree)


def _travel(leg: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The legs after a look at both ends, and whether a replica has come back to the cold one."""
    back = leg[0] == _RETURNING
    hottest = jnp.where(leg[-1] == _WAITING, _WAITING, _RETURNING)
    leg = leg.at[0].set(_RISING).at[-1].set(hottest.astype(leg.dtype))
    return leg, back.astype(jnp.int32)


def tempered(
    kernel: WithTemperature, temperatures: Numbers, *, step_sizes: Numbers | None = None
) -> Tempered:
    """Parallel tempering (Geyer 1991; Hukushima and Nemoto 1996) around a kernel.

    A chain is K replicas, one at each of the temperatures T_1 < … < T_K. In a step each makes one
    of `kernel`, and then neighbours i and i + 1 swap with probability

        min(1, exp((1/T_i - 1/T_{i+1}) (E_i - E_{i+1})))

    pairs (1, 2), (3, 4), … after the first step, (2, 3), (4, 5), … after the second, and so on in
    turn (Okabe, Kawata, Okamoto and Mikami 2001; Syed, Bouchard-Côté, Deligiannidis and Doucet
    2022). Replicas then travel up and down rather than diffuse. A swap leaves the product of the
    densities exp(-E(x)/T_k) as it is, so that of `kernel` is the only bias. `position`, and with it
    all that is observed, reduced and verified, is that at T_1; so is `Info.acceptance_rate`. Other
    temperatures are in `states`, for instance `observe=lambda state: state.states.position`, with
    the temperatures on the last axis. All replicas begin where the chain does.

    A swap exchanges all that belongs to a position, then `kernel.convert_state(energy, state,
    other)` makes of a state of `other`, the same kernel at another temperature, one of its own.
    Positions and energies stay as they are, velocities are multiplied by sqrt(T/T'), and the noise
    that `leimkuhler_matthews` carries is shifted, at the cost of one gradient. On a Gaussian, swaps
    add no bias to that kernel if its step sizes are equal, and none to `underdamped` in any case
    where its own positions have none.

    K steps of `kernel` a step, and K values of the energy where its state has no member `energy`
    to take them from, as those that accept or reject have.

    Args:
        kernel: one with a temperature, which is T_1, and `convert_state`: `ula`, `tamed_ula`,
            `leimkuhler_matthews`, `underdamped`, `microcanonical`, `mala`, `barker`, `malt`,
            `ghmc`, `adjusted_microcanonical`, `projected`, `reflected` or `reflected_mala`.
        temperatures: T_1 < … < T_K, K ≥ 2; another K compiles again. See `diagnostics.equalized`.
        step_sizes: one a temperature, (K,). By default all have the kernel's, which is right as far
            as the energy is quadratic: the noise grows with T by itself. The steps of the
            microcanonical ones are lengths, and may grow as sqrt(T).

    Raises:
        TypeError: a kernel that cannot be tempered, as those are that know no energy (`sgld`,
            `sghmc`) or have levels of their own (`annealed`).
        ValueError: temperatures that do not rise, are not positive or do not begin with the
            kernel's; a scheduled temperature; step sizes that are not positive, or of another
            number.
        NoEnergyError: later, where only a score is known.

    Example:
        >>> import jax, jax.numpy as jnp, jlangevin as jl
        >>> modes = jl.energies.gaussian_mixture([[-5.0], [5.0]], jnp.ones((2, 1, 1)), [0.2, 0.8])
        >>> kernel = jl.tempered(jl.mala(0.5), [1.0, 3.0, 9.0])
        >>> run = jl.sample(jax.random.key(0), modes, kernel, jnp.full((400, 1), -5.0),
        ...                 num_steps=500, observe=None)
        >>> bool(jnp.abs(jnp.mean(run.position > 0) - 0.8) < 0.1)
        True
        >>> jl.diagnostics.swap_report(run.state.kernel).acceptance.shape
        (400, 2)
    """
    check_inside("tempered", kernel)
    warn_of_adopt(kernel)
    ladder = as_ladder(temperatures)
    own = as_array("kernel.temperature", kernel.temperature).astype(ladder.dtype)
    ladder, _ = or_nan(
        (ladder, own),
        lambda xp, given: given[0][0] == given[1],
        lambda: ValueError(
            f"temperatures: the first is {ladder[0]} and the kernel's {own}; both are to be the "
            "one that is wanted"
        ),
    )
    if step_sizes is not None:
        if not Traits.own(kernel).has_step_size:
            raise TypeError(f"step_sizes: {type(kernel).__name__} has no step size")
        step_sizes = check_positive("step_sizes", as_array("step_sizes", step_sizes, ndim=1))
        if len(step_sizes) != len(ladder):
            raise ValueError(
                f"step_sizes: expected {len(ladder)}, one a temperature, got {len(step_sizes)}"
            )
    return Tempered(kernel, ladder, step_sizes)


def as_ladder(temperatures: Numbers) -> jax.Array:
    """Temperatures that rise, as an array."""
    ladder = as_array("temperatures", temperatures, ndim=1)
    if len(ladder) < 2:
        raise ValueError(f"temperatures: expected at least two, got {len(ladder)}")
    return or_nan(
        check_positive("temperatures", ladder),
        lambda xp, t: xp.all(xp.diff(t) > 0),
        lambda: ValueError(f"temperatures: expected them to rise, got {np.asarray(ladder)}"),
    )
