"""Persistent contrastive divergence: chains that go on from update to update, in a buffer."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from jlangevin import distribution
from jlangevin._core.checks import check_count, check_scalar, or_nan
from jlangevin._core.trees import PyTree, pytree_dataclass
from jlangevin.distribution import check_drawable
from jlangevin.kernels.base import Kernel
from jlangevin.learn.base import Aux, as_batch, check_model_like, count, held
from jlangevin.learn.negatives import contrast, run_chains

__all__ = ["Buffer", "persistent_contrastive_divergence", "replay_buffer"]


@pytree_dataclass
class Buffer:
    """Where chains of the model are, see `replay_buffer`.

    Attributes:
        positions: one of each chain, (size, …).
        start: the law from which chains are drawn anew.
    """

    positions: Any
    start: Any

    @property
    def size(self) -> int:
        """The number of chains."""
        return count(self.positions)


def replay_buffer(key: jax.Array, start: Any, size: int) -> Buffer:
    """Chains that begin at draws from a law, for `persistent_contrastive_divergence`.

    A buffer is a pytree: it passes through `jit`, and may be spread over devices by
    `jax.device_put`.

    Args:
        key: a typed key.
        start: a law that can be drawn from, `Gaussian` or `starts.uniform` for instance; also where
            chains start again. It should be wider than the data.
        size: the number of chains.

    Raises:
        TypeError: `start` is not such a law, or `size` is not an integer.
        ValueError: `size` is below 1.

    Example:
        >>> import jax, jax.numpy as jnp, jlangevin as jl
        >>> start = jl.Gaussian(jnp.zeros(2), 4.0 * jnp.eye(2))
        >>> jl.learn.replay_buffer(jax.random.key(0), start, 1_000).positions.shape
        (1000, 2)
    """
    check_drawable("start", start)
    size = check_count("size", size, minimum=1)
    return Buffer(distribution.sample(start, key, size), start)


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

    Positions persist, and nothing else of a kernel's state: values of an earlier energy would be
    wrong, and velocities are drawn again.

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
            buffer's positions are not like an item of the batch, or has fewer chains than asked
            for.

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
    positions = held(buffer.positions)
    if number < buffer.size:
        chosen = jax.random.choice(for_rows, buffer.size, (number,), replace=False)
        positions = jax.tree.map(lambda leaf: jnp.take(leaf, chosen, axis=0), positions)
    if not isinstance(rate, float) or rate:
        new = distribution.sample(held(buffer.start), for_law, number)
        anew = jax.random.uniform(for_fresh, (number,)) < jnp.asarray(rate, jnp.float32)
        positions = jax.tree.map(lambda x, y: _where_rows(anew, x, y), new, positions)
    negatives, fared = run_chains(for_chains, energy, kernel, positions, num_steps)
    loss, metrics = contrast(energy, batch, negatives, regularization)
    kept = negatives
    if chosen is not None:
        kept = jax.tree.map(
            lambda old, new: old.at[chosen].set(new), held(buffer.positions), negatives
        )
    moved = dataclasses.replace(buffer, positions=kept)
    return loss, Aux(metrics | fared, negatives, moved)


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
