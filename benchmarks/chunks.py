"""Chains in chunks: peak memory of a hundred million chains, and the rate beside one run.

    python benchmarks/chunks.py

The rate is that of chunks, in element-steps a second, over that of one `sample` of as many chains
as a chunk has, in turn in one process; medians.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import jax
import jax.numpy as jnp

import jlangevin as jl


def seconds(function: Callable[[], object]) -> float:
    begin = time.perf_counter()
    jax.block_until_ready(function())
    return time.perf_counter() - begin


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--num-chains", type=int, default=100_000_000)
    parser.add_argument("--chunk-size", type=int, default=500_000)
    parser.add_argument("--num-steps", type=int, default=100)
    parser.add_argument("--repeats", type=int, default=7)
    options = parser.parse_args()
    key, energy, kernel = jax.random.key(0), jl.energies.double_well(dim=2), jl.ula(0.01)
    start = jl.Gaussian(jnp.zeros(2), jnp.eye(2))
    settings: dict[str, Any] = {
        "num_steps": options.num_steps,
        "observe": None,
        "reducers": jl.reducers.pooled(jl.reducers.moments()),
    }
    size = options.chunk_size

    def in_chunks(num_chains: int, **more: Any) -> jl.Chunked:
        return jl.sample_in_chunks(
            key, energy, kernel, start, chunk_size=size, num_chains=num_chains, **settings, **more
        )

    def whole() -> object:
        return jl.sample(key, energy, kernel, start, num_chains=size, **settings).summary

    print(
        f"jlangevin {version('jlangevin')}, jax {jax.__version__}, Python {sys.version.split()[0]}"
    )
    whole(), in_chunks(size)
    parts = 10
    ratios = [
        parts * seconds(whole) / seconds(lambda: in_chunks(parts * size).summary)
        for _ in range(options.repeats)
    ]
    print(f"rate in {parts} chunks of {size:,}, over one run: {statistics.median(ratios):.3f}")
    begin = time.perf_counter()
    found = in_chunks(options.num_chains, progress=True)
    took = time.perf_counter() - begin
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    each = took / (options.num_chains * options.num_steps * 2) * 1e9
    print(
        f"{found.num_chains:,} chains × {options.num_steps} steps: {took:.1f} s, {each:.2f} ns an "
        f"element-step, peak memory {peak:.2f} GiB"
    )
    moments = found.summary.value
    print(f"mean {moments.mean}, variance {moments.variance}")


if __name__ == "__main__":
    main()
