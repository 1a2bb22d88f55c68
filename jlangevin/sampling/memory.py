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

from jlangevin import noise
from jlangevin._core import trees
from jlangevin._core.compiling import kept, shapes
from jlangevin._core.trees import Parted, PyTree, Structure
from jlangevin.sampling import program
from jlangevin.sampling.layout import Layout
from jlangevin.sampling.state import Plan, SamplerState, Work
from jlangevin.sampling.steps import MIN_BLOCK_STEPS, check_observe

__all__ = ["available", "check", "shapes_of_start"]

_SMALL = 2**26  # bytes that any machine has

Kinds = tuple[Any, ...]
Described = tuple[Structure, Kinds]


def check(state: SamplerState, work: Work, plan: Plan, layout: Layout, device: jax.Device) -> None:
    """Raise MemoryError if a run from `state`, of which shapes will do, cannot fit a device."""
    need = _need(*_kinds(state), *map(_described, (work.kernel, work.observe)))
    num_draws = plan.num_draws
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


def shapes_of_start(num_chains: int, start: Parted, work: Work) -> SamplerState:
    """The state that `program.begin` will return, as shapes."""
    return _begun(num_chains, _described(start), tuple(map(_described, work)))


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
    structure: Any, leaves: Kinds, kernel_described: Described, observe_described: Described
) -> _Need:
    state: SamplerState = jax.tree.unflatten(structure, leaves)
    seen = shapes(_seen, _shapes(observe_described), state.kernel)
    kernel = _shapes(kernel_described).whole
    num_chains = state.streams.high.shape[0]
    like = trees.one_chain(state.kernel.position)
    numbers = num_chains * noise.count(kernel.step_noise, like)
    made = MIN_BLOCK_STEPS * numbers * trees.float_dtype(like).itemsize
    return _Need(_bytes(seen), _bytes(state), _bytes(state.reducers), made)


def _seen(observe: Parted, state: Any) -> Any:
    """What is kept of a state, for all chains."""
    if observe.whole is None:
        return None
    check_observe(observe.whole, trees.one_chain(state))
    return jax.vmap(observe.whole)(state)


@kept
def _begun(num_chains: int, start: Described, work: tuple[Described, ...]) -> SamplerState:
    key = jax.eval_shape(lambda: jax.random.key(0, impl="threefry2x32"))
    stream_ids = jax.ShapeDtypeStruct((num_chains,), jnp.uint32)
    begin = partial(program.begin, layout=Layout())
    parts = _shapes(start), Work(*map(_shapes, work))
    state: SamplerState = shapes(begin, key, stream_ids, *parts)[0]
    return state


def _described(part: Parted) -> Described:
    """The structure, and of each array all that a program is compiled for."""
    return part.structure, tuple(map(_kind, part.arrays))


def _shapes(described: Described) -> Parted:
    """What is described, with shapes for arrays."""
    structure, kinds = described
    return Parted(list(kinds), structure)


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
