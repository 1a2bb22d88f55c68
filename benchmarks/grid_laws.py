"""Seconds of an exact law in one dimension: `python benchmarks/grid_laws.py`.

The law of chains on the double well (x² - 1)² after 37 steps, from N(0.5, ¼), in float64: by
`exact.grid_law` at its default tolerance of 1e-8, and by what one writes in NumPy, a dense matrix
on evenly spaced points from the kernel's formula, with the trapezoidal rule. Its number of points
is doubled until its variance is as near to the truth as ours, or 1e-8, or the matrix is too large.
The truth is `exact.grid_law` at 1e-11, and at 1e-10 for kernels that reject: where that is on the
same grid our error reads 0, and the dense one says how far both agree. The dense form is told its
interval and its number of points; ours finds its grid, and works on a second one for its error.

What is timed is a law for parameters that have not been seen before, with everything compiled. The
first call is given apart.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import harness
import jax
import jax.numpy as jnp
import numpy as np

import jlangevin as jl

jax.config.update("jax_enable_x64", True)

NUM_STEPS, ETA, END = 37, 0.05, 3.2
MOST_POINTS = 6400
Floats = Any


def slope(x: Floats) -> Floats:
    return 4 * x * (x * x - 1)


def proposed(x: Floats, y: Floats, eta: float) -> Floats:
    """log of the density with which ula leads from x to y, up to a constant."""
    return -((y - x + eta * slope(x)) ** 2) / (4 * eta)


def by_numpy(name: str, points: int, eta: float) -> float:
    """The variance after the steps, on evenly spaced points, from the kernel's formula."""
    x, width = np.linspace(-END, END, points, retstep=True)
    there = proposed(x[:, None], x, eta)
    matrix = np.exp(there) * (width / np.sqrt(4 * np.pi * eta))
    if name == "mala":
        energy = (x * x - 1) ** 2
        log_rate = proposed(x, x[:, None], eta) - there - energy + energy[:, None]
        matrix *= np.exp(np.minimum(log_rate, 0))
        matrix[np.diag_indices(points)] += 1 - matrix.sum(axis=1)
    measure = np.exp(-2 * (x - 0.5) ** 2)
    measure /= measure.sum()
    for _ in range(NUM_STEPS):
        measure = np.dot(measure, matrix)
    measure /= measure.sum()
    mean = np.dot(measure, x)
    return float(np.dot(measure, (x - mean) ** 2))


def by_grid(make: Callable[[float], Any], eta: float, tolerance: float | None = None) -> float:
    start = jl.Gaussian(jnp.full(1, 0.5), jnp.eye(1) / 4)
    law = jl.exact.grid_law(
        make(eta),
        jl.energies.double_well(),
        start,
        NUM_STEPS,
        within=(-END, END),
        tolerance=tolerance,
    )
    return float(law.cov[0, 0])


def _at_next(program: Callable[[float], float], etas: Iterator[float]) -> float:
    return program(next(etas))


def main() -> None:
    options = harness.parser(__doc__, repeats=7).parse_args()
    harness.print_environment()
    figures, rows = [], []
    for name, make, finest in (("ula", jl.ula, 1e-11), ("mala", jl.mala, 1e-10)):
        truth = by_grid(make, ETA, finest)
        ours = abs(by_grid(make, ETA) - truth)
        points, error = 100, np.inf
        while error > max(ours, 1e-8) and 2 * points <= MOST_POINTS:
            points *= 2
            error = abs(by_numpy(name, points, ETA) - truth)
        etas = (ETA * (1 + 1e-3 * k) for k in itertools.count(1))
        jax.clear_caches()
        programs = {"grid": partial(by_grid, make), "dense": partial(by_numpy, name, points)}
        timings = harness.interleave(
            {each: partial(_at_next, program, etas) for each, program in programs.items()},
            options.repeats,
        )
        grid, dense = timings["grid"], timings["dense"]
        figures.append(
            {
                "kernel": name,
                "error": ours,
                "seconds": grid.repeats,
                "first": grid.first,
                "dense_points": points,
                "dense_error": error,
                "dense_seconds": dense.repeats,
            }
        )
        cells = (ours, grid.median, grid.first, points, error, dense.median)
        rows.append([name, *(f"{cell:.2g}" if cell < 10 else str(cell) for cell in cells)])
    header = ["", "error", "seconds", "first call", "dense: points", "error", "seconds"]
    harness.print_table(header, rows)
    harness.write_json(options.json, figures)


if __name__ == "__main__":
    main()
