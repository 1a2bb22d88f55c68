"""Timing side by side: interleaved repeats, medians, compile time apart, versions, JSON."""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import jax

PACKAGES = (
    "jlangevin",
    "jax",
    "jaxlib",
    "numpy",
    "scipy",
    "blackjax",
    "numpyro",
    "optax",
    "SGMCMCJax",
    "thermox",
    "ase",
    "torchebm",
    "torch",
)


@dataclasses.dataclass(frozen=True)
class Timing:
    """The seconds of the first call, which compiles, and of each repeat after it."""

    first: float
    repeats: tuple[float, ...]

    @property
    def median(self) -> float:
        return statistics.median(self.repeats)

    @property
    def compile(self) -> float:
        """How much longer the first call took than a later one."""
        return max(self.first - self.median, 0.0)


def interleave(programs: dict[str, Callable[[], Any]], repeats: int) -> dict[str, Timing]:
    """Time each program `repeats` times in turn, so that a slow minute of a shared machine
    falls on all of them alike. Each returns JAX arrays, or anything that is ready."""

    def clock(program: Callable[[], Any]) -> float:
        begun = time.perf_counter()
        jax.block_until_ready(program())
        return time.perf_counter() - begun

    first = {name: clock(program) for name, program in programs.items()}
    times: dict[str, list[float]] = {name: [] for name in programs}
    for _ in range(repeats):
        for name, program in programs.items():
            times[name].append(clock(program))
    return {name: Timing(first[name], tuple(times[name])) for name in programs}


def environment() -> dict[str, Any]:
    """The machine and the versions that a figure belongs to."""
    versions = {}
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    return {
        "machine": _processor(),
        "cores": os.cpu_count(),
        "device": jax.devices()[0].device_kind,
        "python": platform.python_version(),
        "xla_flags": os.environ.get("XLA_FLAGS", ""),
        "versions": versions,
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    flags = " ".join(line for line in lines if line.startswith("flags"))
    vectors = "AVX-512" if "avx512f" in flags else "AVX2" if "avx2" in flags else ""
    return f"{names[0] if names else platform.machine()} {vectors}".strip()


def print_environment() -> None:
    env = environment()
    print(", ".join(f"{k} {v}" for k, v in env["versions"].items()))
    flags = f", XLA_FLAGS={env['xla_flags']}" if env["xla_flags"] else ""
    print(f"{env['machine']}, {env['cores']} cores, {env['device']}, Python {env['python']}{flags}")


def print_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print the first column left-aligned and the others right-aligned."""
    widths = [max(len(row[i]) for row in [header, *rows]) for i in range(len(header))]
    for row in [header, ["-" * width for width in widths], *rows]:
        cells = [row[0].ljust(widths[0])]
        cells += [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
        print("  ".join(cells).rstrip())


def parser(description: str, *, repeats: int) -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(description=description)
    made.add_argument("--repeats", type=int, default=repeats)
    made.add_argument("--json", metavar="FILE", help="write the figures to FILE")
    return made


def write_json(path: str | None, results: Any) -> None:
    if path:
        Path(path).write_text(
            json.dumps({"environment": environment(), "results": results}, indent=1)
        )
        print(f"\nFigures: {path}")
