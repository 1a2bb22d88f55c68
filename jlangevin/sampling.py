"""The driver: noise in blocks, a scan over steps, a vmap over chains, all under jit.

Inside, chains are the last axis of every array. XLA's CPU backend then turns a step into one
contiguous vector loop; with chains first it computes indices element by element. Whatever a
user sees has chains first.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jlangevin import noise, trees
from jlangevin._checks import check_count, check_key
from jlangevin.distribution import Drawable, starts
from jlangevin.kernels.base import (
    Energy,
    Info,
    Kernel,
    at_step,
    check_callable,
    check_energy,
    check_kernel,
)
from jlangevin.trees import PyTree, Structure, pytree_dataclass

__all__ = ["Run", "SamplerState", "position", "resume", "sample"]

_Observer = Callable[[Any], PyTree]

# A block's noise should stay in a core's cache, and serve enough steps that the loop around
# them costs nothing. These are measured optima; results do not depend on them.
_BLOCK_NUMBERS = 2**17
_MIN_BLOCK_STEPS = 8
_MAX_BLOCK_STEPS = 8192


class SamplerState(NamedTuple):
    """All that is needed to go on: give it to `resume`. Leaves have a leading chain axis."""

    streams: noise.Streams  # which noise each chain is given
    step: jax.Array  # int32 scalar, steps done so far, burn-in included
    kernel: Any  # the kernel's state of every chain


@pytree_dataclass
class Run:
    """What `sample` and `resume` return.

    Attributes:
        draws: what `observe` saw, leaves of shape (chain, draw, …) as ArviZ wants them; None
            if `observe` was None.
        info: per chain, see `Info`; `num_divergent` is 1 for a chain whose state is not finite.
        state: where to go on from.
    """

    draws: Any
    info: Info
    state: SamplerState

    @property
    def position(self) -> Any:
        """Where the chains are now, leaves of shape (chain, …)."""
        return self.state.kernel.position


def position(state: Any) -> Any:
    """The default of `observe`: a kernel state's position."""
    return state.position


def sample(
    key: jax.Array,
    energy: Energy,
    kernel: Kernel,
    init: Any,
    *,
    num_steps: int,
    num_chains: int | None = None,
    chains: Any = None,
    burn_in: int = 0,
    thin: int = 1,
    observe: Callable[[Any], PyTree] | None = position,
) -> Run:
    """Run independent chains of `kernel` on `energy`.

    The noise of chain i at step t depends on (`key`, i, t) and on nothing else, so
    `chains=[7]` runs again chain 7 of any earlier run under the same key.

    Args:
        key: a typed Threefry key, `jax.random.key(seed)`.
        energy: a callable from one position to a scalar. A pytree callable (those of `energies`,
            `jax.tree_util.Partial(f, params)`, an Equinox module) keeps its parameters traced:
            new values compile nothing. A bare function is compiled once per function object.
        kernel: for instance `ula(step_size=0.01)`.
        init: a law that can be drawn from (`Gaussian`, or an energy with an exact sampler), or
            positions, a pytree of floating arrays with a leading chain axis.
        num_steps: steps after burn-in, a multiple of `thin`; 0 for the start alone.
        num_chains: the number of chains, streams 0 … num_chains - 1. From positions it may be
            left out.
        chains: instead of `num_chains`, which streams to run: distinct integers in [0, 2**32).
        burn_in: steps before the first that counts.
        thin: every thin-th state after burn-in is kept.
        observe: a function of one chain's kernel state, kept as `Run.draws`; the position by
            default, nothing if None: memory is then independent of `num_steps`.

    Returns:
        A `Run`.

    Raises:
        TypeError: a key, energy or kernel that is none, or counts that are no integers.
        ValueError: an energy that is not scalar, or not finite at a start; `num_chains` that
            contradicts `init`; counts out of range; `num_steps` that is no multiple of `thin`.

    Example:
        >>> import jax, jax.numpy as jnp, jlangevin as jl
        >>> start = jl.Gaussian(jnp.zeros(2), jnp.eye(2))
        >>> run = jl.sample(jax.random.key(0), jl.energies.linear([0.8, 0.5]), jl.ula(0.01),
        ...                 start, num_steps=100, num_chains=10, thin=20)
        >>> run.draws.shape, run.position.shape
        ((10, 5, 2), (10, 2))
    """
    check_key("key", key)
    check_callable(energy)
    check_kernel(kernel)
    plan = _plan(num_steps, burn_in, thin, observe)
    stream_ids, init = _check_start(init, num_chains, chains)
    arrays, structures = zip(*map(trees.partition, (energy, kernel, init)), strict=True)
    state, finite = _begin(key, stream_ids, arrays, structures=structures)
    _check_finite_start(finite, stream_ids)
    return _go_on(state, energy, kernel, plan, parity=0)


def resume(
    state: SamplerState,
    energy: Energy,
    kernel: Kernel,
    *,
    num_steps: int,
    burn_in: int = 0,
    thin: int = 1,
    observe: Callable[[Any], PyTree] | None = position,
) -> Run:
    """Go on from `run.state` as if the run had never stopped.

    Args:
        state: `Run.state` of an earlier run with the same energy and kernel.
        energy, kernel, num_steps, burn_in, thin, observe: as in `sample`; schedules go on from
            the steps already done.

    Returns:
        A `Run` of the further steps alone.

    Raises:
        TypeError, ValueError: as `sample`.

    Example:
        >>> import jax, jax.numpy as jnp, jlangevin as jl
        >>> energy, kernel = jl.energies.double_well(), jl.ula(0.01)
        >>> first = jl.sample(jax.random.key(0), energy, kernel, jnp.zeros((3, 1)), num_steps=5)
        >>> jl.resume(first.state, energy, kernel, num_steps=7).draws.shape
        (3, 7, 1)
    """
    if not isinstance(state, SamplerState):
        hint = "pass run.state" if isinstance(state, Run) else f"got {type(state).__name__}"
        raise TypeError(f"state: expected the state of a Run; {hint}")
    check_callable(energy)
    check_kernel(kernel)
    plan = _plan(num_steps, burn_in, thin, observe)
    parity = None
    if trees.is_concrete(state.step):
        done = int(state.step)
        parity = done % 2
        if done + plan.burn_in + plan.num_steps > noise.MAX_STEPS:
            raise ValueError(
                f"num_steps: a stream has {noise.MAX_STEPS} steps and {done} are used up; "
                "start new chains under another key"
            )
    return _go_on(state, energy, kernel, plan, parity)


def _go_on(
    state: SamplerState, energy: Energy, kernel: Kernel, plan: _Plan, parity: int | None
) -> Run:
    arrays, structures = zip(*map(trees.partition, (energy, kernel)), strict=True)
    return _advance(state, arrays, structures=structures, plan=plan, parity=parity)


# Arguments ----------------------------------------------------------------------------------


class _Plan(NamedTuple):
    num_steps: int
    burn_in: int
    thin: int
    observe: Callable[[Any], PyTree] | None


def _plan(
    num_steps: int, burn_in: int, thin: int, observe: Callable[[Any], PyTree] | None
) -> _Plan:
    num_steps = check_count("num_steps", num_steps, minimum=0)
    burn_in = check_count("burn_in", burn_in, minimum=0)
    thin = check_count("thin", thin, minimum=1)
    if num_steps % thin:
        below = num_steps - num_steps % thin
        raise ValueError(
            f"num_steps: {num_steps} is no multiple of thin={thin}; take {below} or {below + thin}"
        )
    if num_steps + burn_in > noise.MAX_STEPS:
        raise ValueError(
            f"num_steps: {num_steps} after a burn_in of {burn_in} is more than the "
            f"{noise.MAX_STEPS} steps of a stream; run more chains instead"
        )
    if observe is not None and not callable(observe):
        raise TypeError(f"observe: expected a function of the kernel state or None, got {observe}")
    return _Plan(num_steps, burn_in, thin, observe)


def _check_start(
    init: Any, num_chains: Any, chains: Any
) -> tuple[np.ndarray[Any, Any] | jax.Array, Any]:
    """The stream of each chain, and `init` with its positions as floating arrays."""
    count = None
    if not isinstance(init, Drawable):
        init = trees.as_position("init", init)
        leaves = jax.tree.leaves(init)
        if not leaves:
            raise ValueError("init: no positions were given (a pytree without leaves)")
        for leaf in leaves:
            if not jnp.issubdtype(leaf.dtype, jnp.floating):
                raise TypeError(f"init: expected floating positions, got dtype {leaf.dtype}")
            if leaf.ndim == 0:
                raise ValueError("init: expected a leading chain axis, got a scalar")
        counts = {leaf.shape[0] for leaf in leaves}
        if len(counts) != 1:
            raise ValueError(f"init: leaves disagree on the number of chains: {sorted(counts)}")
        (count,) = counts
        if count == 0:
            raise ValueError("init: no positions were given (a chain axis of length 0)")
    stream_ids: np.ndarray[Any, Any] | jax.Array
    if chains is not None:
        if num_chains is not None:
            raise ValueError("num_chains and chains: give one of them, not both")
        stream_ids = _check_chains(chains)
    else:
        if num_chains is None and count is None:
            raise ValueError("num_chains: how many chains is not said by a law to start from")
        wanted = check_count("num_chains", count if num_chains is None else num_chains, minimum=1)
        if wanted > 2**32:
            raise ValueError(f"num_chains: a key has 2**32 streams, got {wanted}")
        stream_ids = np.arange(wanted, dtype=np.uint32)
    if count is not None and count != stream_ids.shape[0]:
        name = "num_chains" if chains is None else "chains"
        raise ValueError(
            f"{name}: {stream_ids.shape[0]} chains were asked for, but init has {count} positions; "
            "for many chains from one point x, start from Gaussian(x, zeros)"
        )
    return stream_ids, init


def _check_chains(chains: Any) -> np.ndarray[Any, Any] | jax.Array:
    if not trees.is_concrete(chains):
        return jnp.asarray(chains, jnp.uint32)
    values = np.asarray(chains)
    if values.ndim != 1 or values.size == 0 or not np.issubdtype(values.dtype, np.integer):
        raise ValueError(f"chains: expected a non-empty list of integers, got {chains!r}")
    if values.min() < 0 or values.max() >= 2**32:
        raise ValueError("chains: stream numbers lie in [0, 2**32)")
    if np.unique(values).size != values.size:
        raise ValueError("chains: a stream named twice would give the same chain twice")
    return values.astype(np.uint32)


def _check_finite_start(finite: jax.Array, stream_ids: np.ndarray[Any, Any] | jax.Array) -> None:
    if not trees.is_concrete(finite, stream_ids) or np.asarray(finite).all():
        return
    bad = np.asarray(stream_ids)[~np.asarray(finite)]
    raise ValueError(
        f"init: the energy or its gradient is not finite at the start of {bad.size} of "
        f"{finite.size} chains (the first is chain {bad[0]}); start where the energy is finite"
    )


# The compiled part --------------------------------------------------------------------------


def _one_chain(positions: PyTree) -> PyTree:
    """The position of a single chain, as shapes and dtypes, out of arrays with chains last."""
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape[:-1], x.dtype), positions)


def _finite(tree: PyTree) -> jax.Array:
    """For each chain (the last axis) whether all floating entries are finite."""
    checks = [
        jnp.all(jnp.isfinite(leaf), axis=tuple(range(leaf.ndim - 1)))
        for leaf in jax.tree.leaves(tree)
        if jnp.issubdtype(leaf.dtype, jnp.floating)
    ]
    return jnp.all(jnp.stack(checks), axis=0)


@partial(jax.jit, static_argnames=("structures",))
def _begin(
    key: jax.Array,
    stream_ids: jax.Array,
    arrays: tuple[list[Any], ...],
    *,
    structures: tuple[Structure, ...],
) -> tuple[SamplerState, jax.Array]:
    """The state before the first step, and for each chain whether its energy is finite there."""
    energy, kernel, init = map(trees.combine, arrays, structures)
    streams = noise.streams(key, stream_ids)
    positions = starts(init, streams) if isinstance(init, Drawable) else trees.chains_last(init)
    like = _one_chain(positions)
    check_energy(energy, like)
    made = noise.at_step(streams, kernel.init_noise, like, 0, noise.Purpose.INIT)
    start = at_step(kernel, jnp.int32(0))

    def begin(x: PyTree, z: PyTree) -> tuple[Any, Any]:
        return start.init(energy, x, z), jax.value_and_grad(energy)(x)

    state, values = jax.vmap(begin, in_axes=-1, out_axes=-1)(positions, made)
    _check_step(start, energy, like, streams)
    chained = SamplerState(streams, jnp.int32(0), trees.chains_first(state))
    return chained, _finite((positions, values))


def _check_step(kernel: Kernel, energy: Energy, like: PyTree, streams: noise.Streams) -> None:
    """A step must hand back a state like the one it was given."""
    one = noise.Streams(*(word[0] for word in streams))

    def both(x: PyTree) -> tuple[Any, Any]:
        z0 = noise.at_step(one, kernel.init_noise, like, 0, noise.Purpose.INIT)
        z1 = noise.at_step(one, kernel.step_noise, like)
        state = kernel.init(energy, x, z0)
        return state, kernel.step(energy, state, z1)[0]

    before, after = jax.eval_shape(both, like)
    try:
        chex.assert_trees_all_equal_structs(before, after)
        chex.assert_trees_all_equal_shapes_and_dtypes(before, after)
    except AssertionError as error:
        raise ValueError(f"kernel: step returns another kind of state than init: {error}") from None


class _Carry(NamedTuple):
    step: jax.Array  # int32
    kernel: Any  # chains last
    acceptance: Any  # running mean of Info.acceptance_rate since burn-in, (chain,), or None


@partial(jax.jit, static_argnames=("structures", "plan", "parity"))
def _advance(
    state: SamplerState,
    arrays: tuple[list[Any], ...],
    *,
    structures: tuple[Structure, ...],
    plan: _Plan,
    parity: int | None,
) -> Run:
    """`plan.burn_in` steps, then `plan.num_steps` with every `plan.thin`-th observed.

    `parity` is that of the steps done so far; None if it is not known, which costs each block
    one more pair of normals.
    """
    energy, kernel = map(trees.combine, arrays, structures)
    current = trees.chains_last(state.kernel)
    like = _one_chain(current.position)
    num_chains = state.streams.high.shape[0]
    wanted = max(1, len(jax.tree.leaves(kernel.step_noise))) * trees.size(like) * num_chains
    block_steps = min(max(_BLOCK_NUMBERS // wanted, _MIN_BLOCK_STEPS), _MAX_BLOCK_STEPS)
    counted_from = state.step + plan.burn_in

    def move(carry: _Carry, made: PyTree) -> tuple[Any, Info]:
        now = at_step(kernel, carry.step)
        moved: tuple[Any, Info] = jax.vmap(partial(now.step, energy), in_axes=-1, out_axes=-1)(
            carry.kernel, made
        )
        return moved

    def block(
        carry: _Carry, num_draws: int, thin: int, parity: int | None, observe: _Observer
    ) -> tuple[_Carry, PyTree]:
        """`num_draws` times `thin` steps on noise made beforehand, in a loop body of its own.

        Kept apart, generator and step are one vector loop each. Fused, an energy that reads
        neighbouring elements evaluates the generator anew for every read.
        """
        odd = carry.step % 2 if parity is None else jnp.int32(parity)
        num_pairs = (num_draws * thin + (1 if parity is None else parity) + 1) // 2
        first = carry.step
        made = noise.pairs(state.streams, kernel.step_noise, like, first // 2, num_pairs)

        def step(_: Any, carry: _Carry) -> _Carry:
            moved, info = move(carry, made.at(carry.step - first + odd))
            mean = carry.acceptance
            if mean is not None:
                count = jnp.maximum(carry.step - counted_from, 0) + 1
                mean = mean + (info.acceptance_rate - mean) / count.astype(mean.dtype)
            return _Carry(carry.step + 1, moved, mean)

        def draw(carry: _Carry, _: None) -> tuple[_Carry, PyTree]:
            carry = lax.fori_loop(0, thin, step, carry) if thin > 1 else step(None, carry)
            return carry, observe(carry.kernel)

        return lax.scan(draw, carry, None, length=num_draws)

    def advance(
        carry: _Carry, num_draws: int, thin: int, parity: int | None, observe: _Observer
    ) -> tuple[_Carry, PyTree]:
        """`num_draws` times `thin` steps, in blocks."""
        if thin > block_steps:  # a draw takes several blocks
            inner = parity if thin % 2 == 0 else None

            def draw(carry: _Carry, _: None) -> tuple[_Carry, PyTree]:
                carry, _ = advance(carry, thin, 1, inner, _nothing)
                return carry, observe(carry.kernel)

            return lax.scan(draw, carry, None, length=num_draws)
        per_block = _draws_per_block(num_draws, thin, block_steps)
        whole, rest = divmod(num_draws, per_block)
        carry, draws = lax.scan(
            lambda carry, _: block(carry, per_block, thin, parity, observe),
            carry,
            None,
            length=whole,
        )
        draws = jax.tree.map(lambda y: y.reshape(whole * per_block, *y.shape[2:]), draws)
        if rest:
            carry, more = block(carry, rest, thin, parity, observe)
            draws = jax.tree.map(lambda a, b: jnp.concatenate([a, b]), draws, more)
        return carry, draws

    made = jax.eval_shape(lambda: noise.at_step(state.streams, kernel.step_noise, like))
    _, info = jax.eval_shape(move, _Carry(state.step, current, None), made)
    mean = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), info.acceptance_rate)
    carry = _Carry(state.step, current, mean)
    carry, _ = advance(carry, plan.burn_in, 1, parity, _nothing)
    if parity is not None:
        parity = (parity + plan.burn_in) % 2
    if plan.observe is None:
        carry, draws = advance(carry, plan.num_steps, 1, parity, _nothing)
    else:
        observe = jax.vmap(plan.observe, in_axes=-1, out_axes=-1)
        num_draws = plan.num_steps // plan.thin
        carry, draws = advance(carry, num_draws, plan.thin, parity, observe)
        draws = trees.chains_first(draws)
    num_divergent = (~_finite(carry.kernel)).astype(jnp.int32)
    after = SamplerState(state.streams, carry.step, trees.chains_first(carry.kernel))
    return Run(draws, Info(carry.acceptance, num_divergent), after)


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


def _nothing(_: Any) -> None:
    return None
