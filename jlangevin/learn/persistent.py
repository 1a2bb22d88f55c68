"""Persistent contrastive divergence: chains that go on from update to update, in a buffer."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jax.tree_util import Partial

from jlangevin import distribution
from jlangevin._core.checks import check_count, check_scalar, or_nan
from jlangevin._core.trees import PyTree, pytree_dataclass
from jlangevin.distribution import check_drawable
from jlangevin.kernels.base import Kernel, check_kernel
from jlangevin.kernels.traits import Traits
from jlangevin.learn.base import Aux, as_batch, check_model_like, count, held
from jlangevin.learn.carried import carried_by, check_carried, going_on
from jlangevin.learn.negatives import contrast, run_chains
from jlangevin.sampling import sample

__all__ = ["Buffer", "persistent_contrastive_divergence", "replay_buffer"]


@pytree_dataclass
class Buffer:
    """Where chains of the model are, see `replay_buffer`.

    Attributes:
        positions: one of each chain, (size, …).
        start: the law from which chains are drawn anew.
        carried: what else of a kernel's states goes on, by name, (size, …); None for positions
            alone.
    """

    positions: Any
    start: Any
    carried: Any = None

    @property
    def size(self) -> int:
        """The number of chains."""
        return count(self.positions)


def replay_buffer(key: jax.Array, start: Any, size: int, *, kernel: Kernel | None = None) -> Buffer:
    """Chains that begin at draws from a law, for `persistent_contrastive_divergence`.

    A buffer is a pytree: it passes through `jit`, and may be spread over devices by
    `jax.device_put`.

    Args:
        key: a typed key.
        start: a law that can be drawn from, `Gaussian` or `starts.uniform` for instance; also where
            chains start again. It should be wider than the data.
        size: the number of chains.
        kernel: the one that will move them. Then chains go on with their velocities too, if it has
            such (`underdamped`, `quicsort`, `sghmc`, `microcanonical`), or the half noise of
            `leimkuhler_matthews`; the first are the kernel's own. Without, each update draws them
            anew.

    Raises:
        TypeError: `start` is not such a law, `kernel` is not one, or `size` is not an integer.
        ValueError: `size` is below 1.

    Example:
        >>> import jax, jax.numpy as jnp, jlangevin as jl
        >>> start = jl.Gaussian(jnp.zeros(2), 4.0 * jnp.eye(2))
        >>> jl.learn.replay_buffer(jax.random.key(0), start, 1_000).positions.shape
        (1000, 2)
        >>> with_momentum = jl.learn.replay_buffer(
        ...     jax.random.key(0), start, 1_000, kernel=jl.underdamped(0.1, 1.0))
        >>> with_momentum.carried["velocity"].shape
        (1000, 2)
    """
    check_drawable("start", start)
    size = check_count("size", size, minimum=1)
    if kernel is not None:
        check_kernel(kernel)
    if kernel is None or not Traits.of(kernel).carries:
        return Buffer(distribution.sample(start, key, size), start)
    begun = sample(key, Partial(_flat), kernel, start, num_chains=size, num_steps=0, observe=None)
    return Buffer(begun.position, start, carried_by(kernel, begun.state.kernel))


def _flat(position: PyTree) -> jax.Array:
    """An energy for states of which nothing is kept that depends on one."""
    sums = [jnp.sum(0 * leaf) for leaf in jax.tree.leaves(position)]
    return sum(sums[1:], sums[0])


def persistent_contrastive_divergence(
    key: jax.Array,
    energy: Any,
    batch: PyTree,
    buffer: Buffer,
    *,
    kernel: Kernel,
    num_steps: int,
    num_negatives: int | None = None,
    redraw_rate: Any = 0.05,
    regularization: Any = 0.0,
) -> tuple[jax.Array, Aux]:
    """The data against chains that go on from update to update (Tieleman 2008).

        L = mean E(x⁺) - mean E(x⁻) + α (mean E(x⁺)² + mean E(x⁻)²)

    x⁻ are some chains of the buffer, or all, after k more steps; `aux.buffer` has their new
    positions, for the next update. As parameters change little in an update, chains stay close to
    the model's law, and few steps are enough. Before the steps each starts anew with a small
    probability, so that chains also find modes that were empty (Du and Mordatch 2019). A chain that
    turns non-finite is not replaced: the loss is not finite then.

    Positions persist, and velocities in a buffer that was made for the kernel; otherwise these are
    drawn again, which damps them more. Energies and gradients are always those of the new energy.
    Of `tempered` and `coupled` only the position goes on. A chain that starts anew has a state by
    the kernel's own `init`.

    Args:
        key, energy, batch, kernel, regularization: as for `contrastive_divergence`.
        buffer: of `replay_buffer`, or an earlier `aux.buffer`.
        num_steps: k ≥ 1.
        num_negatives: how many chains to move, drawn at random without repetition; all by default.
        redraw_rate: the probability, in [0, 1], with which a chain starts anew.

    Returns:
        L and an `Aux` with the negatives and the new buffer. Metrics: those of
        `contrastive_divergence`.

    Raises:
        TypeError, ValueError, NoEnergyError: as `contrastive_divergence`; ValueError also if the
            buffer's positions are not like an item of the batch, if it has fewer chains than asked
            for, or holds velocities that the kernel has not.

    Example:
        >>> import jax, jax.numpy as jnp, jlangevin as jl
        >>> energy, start = jl.energies.double_well(), jl.Gaussian(jnp.zeros(1), jnp.eye(1))
        >>> buffer = jl.learn.replay_buffer(jax.random.key(0), start, 100)
        >>> data = jnp.ones((50, 1))
        >>> loss, aux = jl.learn.persistent_contrastive_divergence(
        ...     jax.random.key(1), energy, data, buffer, kernel=jl.mala(0.05), num_steps=10)
        >>> bool(loss < 0), aux.buffer.positions.shape  # lower at the minimum than elsewhere
        (True, (100, 1))
    """
    batch = as_batch(energy, batch)
    num_steps = check_count("num_steps", num_steps, minimum=1)
    _check_buffer(buffer, batch)
    check_carried(kernel, buffer.carried)
    number = buffer.size if num_negatives is None else num_negatives
    number = check_count("num_negatives", number, minimum=1)
    if number > buffer.size:
        raise ValueError(
            f"num_negatives: {number} chains were asked for, but the buffer has {buffer.size}"
        )
    rate = or_nan(
        check_scalar("redraw_rate", redraw_rate),
        lambda xp, r: (r >= 0) & (r <= 1),
        lambda: ValueError(f"redraw_rate: expected a probability in [0, 1], got {redraw_rate}"),
    )
    for_rows, for_law, for_fresh, for_chains = jax.random.split(key, 4)
    chosen = None
    before = held((buffer.positions, buffer.carried))
    positions, carried = before
    if number < buffer.size:
        chosen = jax.random.choice(for_rows, buffer.size, (number,), replace=False)
        positions, carried = jax.tree.map(lambda leaf: jnp.take(leaf, chosen, axis=0), before)
    anew = jnp.zeros(number, bool)
    if not isinstance(rate, float) or rate:
        new = distribution.sample(held(buffer.start), for_law, number)
        anew = jax.random.uniform(for_fresh, (number,)) < jnp.asarray(rate, jnp.float32)
        positions = jax.tree.map(lambda x, y: _where_rows(anew, x, y), new, positions)
    going = going_on(kernel, carried, anew)
    ended, fared = run_chains(for_chains, energy, going, positions, num_steps)
    loss, metrics = contrast(energy, batch, ended.position, regularization)
    kept = ended.position, None if carried is None else carried_by(kernel, ended)
    if chosen is not None:
        kept = jax.tree.map(lambda old, new: old.at[chosen].set(new), before, kept)
    moved = dataclasses.replace(buffer, positions=kept[0], carried=kept[1])
    return loss, Aux(metrics | fared, ended.position, moved)


def _where_rows(rows: jax.Array, new: jax.Array, old: jax.Array) -> jax.Array:
    """`new` in the rows that are true, `old` in the others."""
    return jnp.where(jnp.broadcast_to(rows.reshape(-1, *[1] * (old.ndim - 1)), old.shape), new, old)


def _check_buffer(buffer: Any, batch: PyTree) -> None:
    if not isinstance(buffer, Buffer):
        raise TypeError(
            "buffer: expected the result of jlangevin.learn.replay_buffer, or aux.buffer, got "
            f"{type(buffer).__name__}"
        )
    hint = "this buffer is of another model: make one by jlangevin.learn.replay_buffer"
    check_model_like("buffer", buffer.positions, batch, hint)
