"""What a run will need, before it is begun."""

from __future__ import annotations

import contextlib
import math
import os
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jlangevin import noise, program, trees
from jlangevin.compiling import kept
from jlangevin.program import Layout, Plan, SamplerState, Work
from jlangevin.trees import PyTree, Structure

__all__ = ["available", "check", "shapes_of_start"]

_SMALL = 2**26  # bytes that any machine has

Kinds = tuple[Any, ...]


def check(state: SamplerState, work: Work, plan: Plan, layout: Layout, device: jax.Device) -> None:
    """Raise MemoryError if a run from `state`, of which shapes will do, cannot fit a device."""
    parts = (work.arrays[1], work.arrays[3])
    need = _need(*_kinds(state), *_kinds(parts), (work.structures[1], work.structures[3]))
    num_draws = plan.num_steps // plan.thin
    total = need.total(num_draws) // layout.num_devices
    if total <= _SMALL:
        return
    limit = available(device)
    if limit is None or total <= limit:
        return
    num_chains = state.streams.high.shape[0]
    draws = need.total(num_draws) - need.total(0)
    if draws > need.total(0):
        raise MemoryError(
            f"draws: {num_chains:,} chains × {num_draws:,} draws × {need.draw // num_chains:,} "
            f"bytes over {layout.num_devices} device(s), twice while they are laid out chain by "
            f"chain, are {_gib(draws / layout.num_devices)} a device, which has {_gib(limit)}. "
            "Keep fewer (thin=…), less (observe=…, for instance one coordinate), or nothing but "
            "statistics (observe=None, reducers=…)"
        )
    raise MemoryError(
        f"num_chains: {num_chains:,} chains over {layout.num_devices} device(s), each with "
        f"{need.state // num_chains:,} bytes of state before and after a block of steps "
        f"({need.reducers // num_chains:,} of them for reducers) and {need.noise // num_chains:,} "
        f"of noise, are {_gib(total)} a device, which has {_gib(limit)}. Run some at a time "
        "(chains=…), which changes none of them, or spread them (sharding=…)"
    )


def shapes_of_start(
    num_chains: int, arrays: tuple[list[Any], ...], structures: tuple[Structure, ...]
) -> SamplerState:
    """The state that `program.begin` will return, as shapes."""
    return _begun(num_chains, *_kinds(arrays), structures)


class _Need(NamedTuple):
    """Bytes for all chains."""

    draw: int  # one draw of each
    state: int
    reducers: int  # a part of the state
    noise: int  # of a block of steps, at least

    def total(self, num_draws: int) -> int:
        # Draws step by step and laid out chain by chain; the states before and after.
        return 2 * self.draw * num_draws + 2 * self.state + self.noise


@kept
def _need(
    structure: Any,
    leaves: Kinds,
    arrays_structure: Any,
    arrays_leaves: Kinds,
    structures: tuple[Structure, ...],
) -> _Need:
    state: SamplerState = jax.tree.unflatten(structure, leaves)
    arrays = jax.tree.unflatten(arrays_structure, arrays_leaves)
    seen = jax.eval_shape(partial(_seen, structures[1]), arrays[1], state.kernel)
    kernel = trees.combine(arrays[0], structures[0])
    num_chains = state.streams.high.shape[0]
    like = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype), state.kernel.position
    )
    numbers = num_chains * noise.count(kernel.step_noise, like)
    width = trees.float_dtype(like).itemsize
    made = program.MIN_BLOCK_STEPS * numbers * width
    return _Need(_bytes(seen), _bytes(state), _bytes(state.reducers), made)


def _seen(structure: Structure, arrays: list[Any], state: Any) -> Any:
    """What is kept of a state, for all chains."""
    observe = trees.combine(arrays, structure)
    if observe is None:
        return None
    one = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape[1:], x.dtype), state)
    program.check_observe(observe, one)
    return jax.vmap(observe)(state)


@kept
def _begun(
    num_chains: int, structure: Any, leaves: Kinds, structures: tuple[Structure, ...]
) -> SamplerState:
    arrays = jax.tree.unflatten(structure, leaves)
    key = jax.eval_shape(lambda: jax.random.key(0, impl="threefry2x32"))
    stream_ids = jax.ShapeDtypeStruct((num_chains,), jnp.uint32)
    begin = partial(program.begin, structures=structures, layout=Layout())
    state: SamplerState = jax.eval_shape(begin, key, stream_ids, arrays)[0]
    return state


def _kinds(tree: PyTree) -> tuple[Any, Kinds]:
    """The structure, and of each leaf all that a program is compiled for."""
    leaves, structure = jax.tree.flatten(tree)
    return structure, tuple(_kind(leaf) for leaf in leaves)


def _kind(leaf: Any) -> Any:
    if not hasattr(leaf, "dtype"):
        return type(leaf)(1)  # a number of Python's
    dtype = jax.dtypes.canonicalize_dtype(leaf.dtype, allow_extended_dtype=True)
    return jax.ShapeDtypeStruct(leaf.shape, dtype, weak_type=getattr(leaf, "weak_type", False))


def _bytes(tree: PyTree) -> int:
    return sum(math.prod(leaf.shape) * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))


def _gib(number: float) -> str:
    return f"{number / 2**30:,.1f} GiB"


def available(device: jax.Device) -> int | None:
    """Bytes that a device can hold, None if it does not say. For a CPU, the free memory."""
    if device.platform != "cpu":
        stats = device.memory_stats() or {}
        limit = stats.get("bytes_limit")
        return None if limit is None else int(limit) - int(stats.get("bytes_in_use", 0))
    bounds = []
    try:
        fields = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines())
        bounds.append(int(fields["MemAvailable"].split()[0]) * 1024)
    except (OSError, KeyError, ValueError):
        try:
            bounds.append(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
        except (AttributeError, OSError, ValueError):
            return None
    with contextlib.suppress(OSError, ValueError):  # a container's own limit
        bounds.append(int(Path("/sys/fs/cgroup/memory.max").read_text()))
    return min(bounds)
