"""How time and memory grow: `python benchmarks/scaling.py --plot scaling.png`.

Time against the number of element-steps, chains × steps × dimensions, over three decades of each
factor with the others fixed; and the process's peak memory against the number of steps and of
chains, with nothing kept but the final state, each in a process of its own.
"""

from __future__ import annotations

import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import harness
import jax
import jax.numpy as jnp
import numpy as np

import jlangevin as jl

Size = tuple[int, int, int]  # chains, steps, dimensions

SERIES: dict[str, list[Size]] = {
    "steps": [(1_000, steps, 2) for steps in (100, 1_000, 10_000, 100_000)],
    "chains": [(chains, 400, 2) for chains in (1_000, 10_000, 100_000, 1_000_000)],
    "dimensions": [(1_000, 400, dim) for dim in (2, 20, 200, 2_000)],
}
MEMORY: dict[str, list[Size]] = {
    "steps": [(1_000, steps, 2) for steps in (1_000, 10_000, 100_000, 1_000_000)],
    "chains": [(chains, 100, 2) for chains in (1_000, 10_000, 100_000, 1_000_000, 10_000_000)],
}


def program(chains: int, steps: int, dim: int) -> Callable[[], Any]:
    key, kernel = jax.random.key(0), jl.ula(1e-3)
    energy, start = jl.energies.double_well(dim=dim), jnp.zeros((chains, dim))

    def run() -> Any:
        return jl.sample(key, energy, kernel, start, num_steps=steps, observe=None).position

    return run


def cost(repeats: int) -> list[dict[str, Any]]:
    """Seconds of each size, and the power of the number of element-steps that fits them."""
    results: list[dict[str, Any]] = []
    for name, sizes in SERIES.items():
        programs = {str(size): program(*size) for size in sizes}
        timings = harness.interleave(programs, repeats)
        seconds = [timings[str(size)].median for size in sizes]
        elements = [float(np.prod(size)) for size in sizes]
        power = np.polyfit(np.log(elements[1:]), np.log(seconds[1:]), 1)[0]
        results.append(
            {
                "varied": name,
                "sizes": sizes,
                "elements": elements,
                "seconds": seconds,
                "power": float(power),
            }
        )
    print("\ndouble well, the final state only\n")
    rows = [
        [
            r["varied"],
            f"{chains:,}",
            f"{steps:,}",
            f"{dim:,}",
            f"{s * 1e3:.2f}",
            f"{s * 1e9 / n:.2f}",
        ]
        for r in results
        for (chains, steps, dim), n, s in zip(r["sizes"], r["elements"], r["seconds"], strict=True)
    ]
    harness.print_table(["varied", "chains", "steps", "d", "ms", "ns an element-step"], rows)
    powers = ", ".join(f"{r['varied']} {r['power']:.2f}" for r in results)
    print(f"\nTime grows with this power, over the upper two decades: {powers}")
    return results


def peak_memory(size: Size) -> float:
    """The peak resident memory in MB of a process that does nothing else."""
    command = [sys.executable, __file__, "--child", *map(str, size)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return float(done.stdout)


def _peak_of_this_process() -> float:
    """In MB. On Linux getrusage would count the parent's memory before `exec` in."""
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6  # bytes on macOS
    (peak,) = (line.split()[1] for line in status.splitlines() if line.startswith("VmHWM"))
    return int(peak) / 1e3


def memory() -> list[dict[str, Any]]:
    results: list[dict[str, Any]] = []
    bare = peak_memory((1, 2, 1))
    for name, sizes in MEMORY.items():
        results += [
            {"varied": name, "size": size, "mb": peak_memory(size) - bare} for size in sizes
        ]
    print(f"\nPeak memory beyond the {bare:,.0f} MB of a run of one chain\n")
    harness.print_table(
        ["varied", "chains", "steps", "MB", "bytes a chain"],
        [
            [
                r["varied"],
                f"{r['size'][0]:,}",
                f"{r['size'][1]:,}",
                f"{r['mb']:,.1f}",
                f"{r['mb'] * 1e6 / r['size'][0]:,.0f}",
            ]
            for r in results
        ],
    )
    return results


def plot(results: list[dict[str, Any]], path: str) -> None:
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(6.4, 4.2), layout="constrained")
    for result, marker in zip(results, "os^", strict=True):
        label = f"{result['varied']} varied"
        axes.loglog(result["elements"], result["seconds"], marker + "-", label=label)
    ends = np.array([2e5, 2e9])
    axes.loglog(ends, ends * 0.7e-9, "k:", label="0.7 ns an element-step")
    axes.set(xlabel="chains × steps × dimensions", ylabel="seconds")
    axes.legend(frameon=False)
    figure.savefig(path, dpi=150)
    print(f"\nPicture: {path}")


def main() -> None:
    parser = harness.parser(__doc__.splitlines()[0], repeats=5)
    parser.add_argument("--plot", metavar="FILE", help="draw time against size")
    parser.add_argument("--child", nargs=3, type=int, help="print the peak memory of one size")
    args = parser.parse_args()
    if args.child:
        jax.block_until_ready(program(*args.child)())
        print(_peak_of_this_process())
        return
    harness.print_environment()
    results: dict[str, Any] = {"memory": memory(), "cost": cost(args.repeats)}
    if args.plot:
        plot(results["cost"], args.plot)
    harness.write_json(args.json, results)


if __name__ == "__main__":
    main()
