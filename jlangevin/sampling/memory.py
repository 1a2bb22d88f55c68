"""The memory that a run needs, estimated before it starts."""

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
from jlangevin._core.compiling import cached_while_alive, result_shapes
from jlangevin._core.trees import Parted, PyTree, Structure
from jlangevin.sampling import program
from jlangevin.sampling.layout import Layout, is_accelerator
from jlangevin.sampling.state import Plan, SamplerState, Setup
from jlangevin.sampling.steps import MIN_BLOCK_STEPS, check_observed

__all__ = ["available", "check_fits", "shapes_of_start"]

_SMALL = 2**26  # bytes that any machine has to spare

AbstractLeaves = tuple[Any, ...]
AbstractParted = tuple[Structure, AbstractLeaves]


def check_fits(
    state: SamplerState, setup: Setup, plan: Plan, layout: Layout, device: jax.Device
) -> None:
    """Raise MemoryError if a run from `state` (shapes suffice) cannot fit on a device."""
    need = _footprint_of(
        *_abstract_leaves(state),
        *map(_abstract_parted, (setup.kernel, setup.observe)),
        2 if is_accelerator(device) and not plan.remat else MIN_BLOCK_STEPS,
    )
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
            f"chain, take {_gib(draws / layout.num_devices)} per device, which has {_gib(limit)}. "
            "Keep fewer draws (thin=…), less of each (observe=…, for instance one coordinate), or "
            "only statistics (observe=None, reducers=…)"
        )
    raise MemoryError(
        f"num_chains: {num_chains:,} chains over {layout.num_devices} device(s), each with "
        f"{need.state // num_chains:,} bytes of state before and after a block of steps "
        f"({need.reducers // num_chains:,} of them for reducers) and {need.noise // num_chains:,} "
        f"of noise, take {_gib(total)} per device, which has {_gib(limit)}. Run some at a time "
        "(sample_in_chunks), which does not change them, or spread them over devices (sharding=…)"
    )


def shapes_of_start(num_chains: int, start: Parted, setup: Setup) -> SamplerState:
    """The state that `program.begin` will return, as shapes."""
    return _shapes_begun(num_chains, _abstract_parted(start), tuple(map(_abstract_parted, setup)))


class _Footprint(NamedTuple):
    """Bytes for all chains."""

    draw: int  # one draw of each
    state: int
    reducers: int  # a part of the state
    noise: int  # for a block of steps, at least

    def total(self, num_draws: int) -> int:
        # Draws exist twice, by step and by chain; so do states, before and after.
        return 2 * self.draw * num_draws + 2 * self.state + self.noise


@cached_while_alive
def _footprint_of(
    structure: jax.tree_util.PyTreeDef,
    leaves: AbstractLeaves,
    kernel_described: AbstractParted,
    observe_described: AbstractParted,
    block_steps: int,
) -> _Footprint:
    state: SamplerState = jax.tree.unflatten(structure, map(_as_shape, leaves))
    seen = result_shapes(_observed_draws, _with_shapes(observe_described), state.kernel)
    kernel = _with_shapes(kernel_described).whole
    num_chains = state.streams.high.shape[0]
    like = trees.one_chain(state.kernel.position)
    numbers = num_chains * noise.count(kernel.step_noise, like)
    made = block_steps * numbers * trees.float_dtype(like).itemsize
    return _Footprint(_bytes(seen), _bytes(state), _bytes(state.reducers), made)


def _observed_draws(observe: Parted, state: PyTree) -> PyTree:
    """What is observed of a state, for all chains."""
    if observe.whole is None:
        return None
    check_observed(observe.whole, trees.one_chain(state))
    return jax.vmap(observe.whole)(state)


@cached_while_alive
def _shapes_begun(
    num_chains: int, start: AbstractParted, setup: tuple[AbstractParted, ...]
) -> SamplerState:
    key = jax.eval_shape(lambda: jax.random.key(0, impl="threefry2x32"))
    stream_ids = jax.ShapeDtypeStruct((num_chains,), jnp.uint32)
    begin = partial(program.begin, layout=Layout())
    parts = _with_shapes(start), Setup(*map(_with_shapes, setup))
    state: SamplerState = result_shapes(begin, key, stream_ids, *parts)[0]
    return state


def _abstract_parted(part: Parted) -> AbstractParted:
    """The structure, and of each array all that is static in a program."""
    return part.structure, tuple(map(_abstract_leaf, part.arrays))


def _with_shapes(described: AbstractParted) -> Parted:
    """The `Parted` that `described` stands for, with shapes instead of arrays."""
    structure, leaves = described
    return Parted([*map(_as_shape, leaves)], structure)


def _abstract_leaves(tree: PyTree) -> tuple[jax.tree_util.PyTreeDef, AbstractLeaves]:
    """The structure, and of each leaf all that is static in a program."""
    leaves, structure = jax.tree.flatten(tree)
    return structure, tuple(_abstract_leaf(leaf) for leaf in leaves)


def _abstract_leaf(leaf: Any) -> Any:
    if isinstance(leaf, jax.ShapeDtypeStruct):
        return leaf
    if isinstance(leaf, jax.Array):
        return jax.typeof(leaf)  # which the array has at hand
    if not hasattr(leaf, "dtype"):
        return type(leaf)(1)  # a Python number
    dtype = jax.dtypes.canonicalize_dtype(leaf.dtype, allow_extended_dtype=True)
    return jax.ShapeDtypeStruct(jnp.shape(leaf), dtype, weak_type=getattr(leaf, "weak_type", False))


def _as_shape(described: Any) -> Any:
    """What stands for a leaf in functions of shapes, which look for more than a type has."""
    if not hasattr(described, "dtype"):
        return described
    weak = bool(described.weak_type)
    return jax.ShapeDtypeStruct(described.shape, described.dtype, weak_type=weak)


def _bytes(tree: PyTree) -> int:
    return sum(math.prod(leaf.shape) * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))


def _gib(number: float) -> str:
    return f"{number / 2**30:,.1f} GiB"


def available(device: jax.Device) -> int | None:
    """The free memory of a device in bytes; None if it does not report it."""
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
    with contextlib.suppress(OSError, ValueError):  # the limit of a container
        bounds.append(int(Path("/sys/fs/cgroup/memory.max").read_text()))
    return min(bounds)
