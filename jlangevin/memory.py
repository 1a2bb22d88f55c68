"""What a run will need, before it is begun."""

from __future__ import annotations

import contextlib
import math
import os
from functools import lru_cache
from pathlib import Path
from typing import Any

import jax

from jlangevin.program import Layout, Plan, SamplerState

__all__ = ["available", "check_draws"]

_SMALL = 2**26  # bytes that any machine has


def check_draws(state: SamplerState, plan: Plan, layout: Layout) -> None:
    """Raise MemoryError if the draws cannot fit a device."""
    if plan.observe is None:
        return
    num_draws = plan.num_steps // plan.thin
    num_chains = state.streams.high.shape[0]
    devices = layout.num_devices
    leaves, structure = jax.tree.flatten(state.kernel)
    shapes = tuple((leaf.shape, leaf.dtype) for leaf in leaves)
    draw = _bytes_seen(plan.observe, structure, shapes)
    need = 2 * draw * num_draws // devices  # step by step, and laid out chain by chain
    if need <= _SMALL:
        return
    device = next(iter(state.streams.high.devices()))
    limit = available(device)
    if limit is None or need <= limit:
        return
    raise MemoryError(
        f"draws: {num_chains:,} chains × {num_draws:,} draws × {draw // num_chains:,} bytes over "
        f"{devices} device(s), twice while they are laid out chain by chain, are {_gib(need)} a "
        f"device, which has {_gib(limit)}. Keep fewer (thin=…), less (observe=…, for instance one "
        "coordinate), or nothing but statistics (observe=None, reducers=…)"
    )


@lru_cache(maxsize=256)
def _bytes_seen(observe: Any, structure: Any, shapes: tuple[Any, ...]) -> int:
    """Of one draw of all chains."""
    leaves = [jax.ShapeDtypeStruct(shape, dtype) for shape, dtype in shapes]
    seen = jax.eval_shape(jax.vmap(observe), jax.tree.unflatten(structure, leaves))
    return sum(math.prod(leaf.shape) * leaf.dtype.itemsize for leaf in jax.tree.leaves(seen))


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
