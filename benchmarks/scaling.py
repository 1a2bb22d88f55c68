"""How time and memory grow: `python benchmarks/scaling.py --plot scaling.png`.

It measures time against the number of element-steps, chains × steps × dimensions, over three
decades of each factor with the others fixed; peak memory against the number of steps and of chains,
with only the final state kept, each in a process of its own; what each reducer and a checkpoint
add; and the time of one run over virtual devices and over processes. Where these share the cores of
one machine, the figures can show that spreading costs nothing, but not that it gains.
"""

from __future__ import annotations

import os
import resource
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import harness
import jax
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


REDUCED: Size = (10_000, 400, 2)
SPREAD: Size = (100_000, 200, 2)


def program(
    chains: int, steps: int, dim: int, reducers: Any = None, **options: Any
) -> Callable[[], Any]:
    key, kernel = jax.random.key(0), jl.ula(1e-3)
    energy, start = jl.energies.double_well(dim=dim), np.zeros((chains, dim), np.float32)
    options |= {"num_steps": steps, "observe": None, "reducers": reducers}

    def run() -> Any:
        done = jl.sample(key, energy, kernel, start, **options)
        return done.position, done.summary

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
    """In MB. On Linux getrusage would include the parent's memory before `exec`."""
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


def reducing(repeats: int) -> list[dict[str, Any]]:
    """On a cheap energy, so that the cost of a reducer shows."""
    of = jl.reducers
    given = {
        "nothing": None,
        "expectation": of.expectation(jl.position),
        "moments": of.moments(),
        "moments, pooled": of.pooled(of.moments()),
        "covariance": of.moments(covariance=True),
        "extrema": of.extrema(),
        "histogram, 50 bins": of.histogram(np.linspace(-3, 3, 51)),
        "autocovariance, 20 lags": of.autocovariance(20),
        "split R-hat": of.pooled(of.split_rhat(REDUCED[1])),
    }
    timings = harness.interleave({name: program(*REDUCED, r) for name, r in given.items()}, repeats)
    elements = float(np.prod(REDUCED))
    bare = timings["nothing"].median
    chains, steps, dim = REDUCED
    print(f"\ndouble well, {chains:,} chains × {steps} steps, d = {dim}, every step reduced\n")
    harness.print_table(
        ["reducer", "ms", "ns an element-step", "of nothing"],
        [
            [
                k,
                f"{t.median * 1e3:.1f}",
                f"{t.median * 1e9 / elements:.2f}",
                f"{t.median / bare:.2f}",
            ]
            for k, t in timings.items()
        ],
    )
    return [{"reducer": k, "seconds": t.median} for k, t in timings.items()]


def saving(repeats: int) -> list[dict[str, Any]]:
    """The time of a checkpoint of 100,000 chains: a run with ten of them against one with none."""
    size = (100_000, 1_000, 2)

    def checkpointed() -> Any:
        with tempfile.TemporaryDirectory() as folder:
            return program(*size, checkpoint=f"{folder}/run", every=size[1] // 10)()

    def in_blocks() -> Any:
        return program(*size, block_steps=size[1] // 10)()

    timings = harness.interleave({"none": in_blocks, "ten": checkpointed}, repeats)
    each = (timings["ten"].median - timings["none"].median) / 10
    print(f"\nA checkpoint of {size[0]:,} chains in d = {size[2]}: {each * 1e3:.0f} ms")
    return [{"chains": size[0], "seconds": each}]


def spread(repeats: int) -> list[dict[str, Any]]:
    """The same run over virtual devices of one process, and over processes."""
    results = []
    for devices in (1, 2, 4, 8):
        flags = f"--xla_force_host_platform_device_count={devices}"
        (seconds,) = _children([["--devices", str(repeats)]], flags)
        results.append({"devices": devices, "processes": 1, "seconds": seconds})
    for processes in (1, 2):
        with socket.socket() as s:
            s.bind(("localhost", 0))
            port = str(s.getsockname()[1])
        calls = [
            ["--process", port, str(processes), str(i), str(repeats)] for i in range(processes)
        ]
        results.append({"devices": 1, "processes": processes, "seconds": max(_children(calls, ""))})
    print("\n{:,} chains × {} steps, d = {}, spread\n".format(*SPREAD))
    harness.print_table(
        ["processes", "devices each", "ms", "ns an element-step"],
        [
            [
                str(r["processes"]),
                str(r["devices"]),
                f"{r['seconds'] * 1e3:.1f}",
                f"{r['seconds'] * 1e9 / float(np.prod(SPREAD)):.2f}",
            ]
            for r in results
        ],
    )
    return results


def _children(calls: list[list[str]], flags: str) -> list[float]:
    """What several calls of this script print, run at the same time."""
    started = [
        subprocess.Popen(
            [sys.executable, __file__, *call],
            env=os.environ | {"XLA_FLAGS": flags},
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        for call in calls
    ]
    outputs = [process.communicate()[0] for process in started]
    return [float(output.split()[-1]) for output in outputs]


def _time_spread(repeats: int) -> float:
    mesh = jax.sharding.Mesh(np.array(jax.devices()), ("chains",))
    run = program(*SPREAD, sharding=mesh)
    return harness.interleave({"run": run}, repeats)["run"].median


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
    parser.add_argument("--devices", nargs=1, type=int, help="time a run over all devices")
    parser.add_argument("--process", nargs=4, help="the same as one of several processes")
    args = parser.parse_args()
    if args.devices:
        print(_time_spread(*args.devices))
        return
    if args.process:
        port, processes, process, repeats = args.process
        jax.config.update("jax_cpu_collectives_implementation", "gloo")
        jax.distributed.initialize(f"localhost:{port}", int(processes), int(process))
        print(_time_spread(int(repeats)))
        return
    if args.child:
        jax.block_until_ready(program(*args.child)())
        print(_peak_of_this_process())
        return
    harness.print_environment()
    results: dict[str, Any] = {
        "memory": memory(),
        "cost": cost(args.repeats),
        "reducers": reducing(args.repeats),
        "checkpoint": saving(args.repeats),
        "spread": spread(args.repeats),
    }
    if args.plot:
        plot(results["cost"], args.plot)
    harness.write_json(args.json, results)


if __name__ == "__main__":
    main()
