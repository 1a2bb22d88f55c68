"""Test 10⁸ normals against their law: `python benchmarks/noise_quality.py [--x64]`.

They are made as a run makes them, by `noise.pairs` and `Pairs.at`, in five layouts with streams of
their own. Chunk by chunk they go into counts and sums in float64, so memory does not grow. All
tests together reject a perfect generator with probability 1e-6: each is held to 1e-6 over their
number.

The law is the continuous normal. The effect of 32 bits and of float32 is too small to see.
Box-Muller on the centres of 2³² cells of radius and 2³² cells of angle moves the distribution
function by less than 2⁻³¹: one cell for an arc of angles, half a cell for an interval of radii.
Relative errors of 6.5 roundings, which the tests allow a normal, move it by less than
6.5 · 2⁻²⁴ · max |x| φ(x) < 1e-7. The standard error of a distribution function from 10⁸ draws is
5e-5. Only bins hardly wider than the spacing of floats would see it: of a million equiprobable
bins, those near x = 1 hold some 35 floats each, and the χ² of all bins was 3.1 standard errors too
large in float32, 0.4 in float64.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import harness
import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
from scipy import special, stats

from jlangevin import noise
from jlangevin.noise import Purpose, Want

Array = npt.NDArray[np.float64]
Draw = Callable[["Layout", jax.Array, int, Any, Purpose], Array]

RATE = 1e-6
CHUNK, SMALLEST_CHUNK = 1_000_000, 20_000
GRID = 1_000_000  # equiprobable bins of the Kolmogorov-Smirnov test
BINS = 1_000  # and of the χ² test
SIGMAS = (3.0, 4.0, 4.5, 5.0)
MOMENTS = range(1, 9)


class Check(NamedTuple):
    """One test. Where there is a z-score, it is standard normal if the generator is right."""

    group: str
    name: str
    statistic: float
    expected: float
    z: float | None
    p: float


# Draws --------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Layout:
    """What one chunk asks for. The next one goes on with later steps, or with other chains."""

    name: str
    chains: int
    leaves: tuple[tuple[int, ...], ...]  # their shapes
    steps: int  # an even number
    other_chains: bool = False
    crossed: bool = False  # also against other purposes and another key

    def like(self, dtype: Any) -> list[jax.ShapeDtypeStruct]:
        return [jax.ShapeDtypeStruct(shape, dtype) for shape in self.leaves]

    @property
    def elements(self) -> int:
        return sum(math.prod(shape) for shape in self.leaves)


def layouts(chunk: int = CHUNK) -> tuple[Layout, ...]:
    """Five layouts of `chunk` draws, a multiple of 20,000. Both orders of axes occur."""
    return (
        Layout("many chains, few steps", chunk // 10, ((1,),), 10, other_chains=True),
        Layout("few chains, many steps", 2, ((5,),), chunk // 10),
        Layout("one number", 1, ((),), chunk),
        Layout("many elements", 1, ((chunk // 2000, 80), (chunk // 100,)), 20),
        Layout("a hundred chains", 100, ((2, 3), (4,)), chunk // 1000, crossed=True),
    )


@functools.partial(jax.jit, static_argnames=("layout", "dtype", "purpose"))
def _made(
    key: jax.Array,
    first_chain: jax.Array,
    first_pair: jax.Array,
    layout: Layout,
    dtype: Any,
    purpose: Purpose,
) -> jax.Array:
    of = noise.streams(key, jnp.arange(layout.chains, dtype=jnp.uint32) + first_chain)
    like = layout.like(dtype)
    pairs = noise.pairs(of, Want.NORMAL, like, first_pair, layout.steps // 2, purpose)
    leaves = jax.tree.leaves(jax.vmap(pairs.at)(jnp.arange(layout.steps)))
    return jnp.concatenate([z.reshape(layout.steps, -1, layout.chains) for z in leaves], axis=1)


def draw(
    layout: Layout, key: jax.Array, index: int, dtype: Any, purpose: Purpose = Purpose.STEP
) -> Array:
    """Chunk number `index` of a layout, in float64: axes are steps, elements and chains."""
    first_chain = index * layout.chains if layout.other_chains else 0
    first_pair = 0 if layout.other_chains else index * layout.steps // 2
    start = jnp.uint32(first_chain), jnp.uint32(first_pair)
    return np.asarray(_made(key, *start, layout, jnp.dtype(dtype), purpose), np.float64)


def flipped(key: jax.Array, bit: int) -> jax.Array:
    """The key with one of its 64 bits flipped."""
    mask = np.zeros(2, np.uint32)
    mask[bit // 32] = np.uint32(1) << np.uint32(bit % 32)
    return jax.random.wrap_key_data(jax.random.key_data(key) ^ mask, impl="threefry2x32")


# Sums and counts ----------------------------------------------------------------------------


class Tally:
    """Counts and sums of draws that each have the standard normal law."""

    def __init__(self, bound: float) -> None:
        self.bound = bound
        self.size = 0  # finite draws
        self.not_finite = 0
        self.beyond = 0
        self.largest = 0.0
        self.powers = np.zeros(len(MOMENTS))
        self.tails = np.zeros((2, len(SIGMAS)), np.int64)
        self.grid = np.zeros(GRID, np.int64)

    def add(self, x: Array) -> None:
        x = x.reshape(-1)
        finite = np.isfinite(x)
        if not finite.all():
            self.not_finite += int(x.size - finite.sum())
            x = x[finite]
        self.size += x.size
        size = np.abs(x)
        self.largest = max(self.largest, float(np.max(size)))
        self.beyond += int(np.sum(size > self.bound))
        self.tails += [[np.sum(sign * x > s) for s in SIGMAS] for sign in (-1, 1)]
        # The distribution function gives the bin, rightly except for draws within a rounding,
        # 1e-16, of a quantile.
        cells = np.minimum((special.ndtr(x) * GRID).astype(np.int64), GRID - 1)
        np.add.at(self.grid, cells, 1)
        power = np.ones_like(x)
        for row in range(len(MOMENTS)):
            power *= x
            self.powers[row] += np.sum(power)


class Products:
    """Sums of x y and of (x² - 1)(y² - 1)/2 over independent pairs of standard normals. Both terms
    have mean 0 and variance 1; those of overlapping pairs, x y and y z, are uncorrelated."""

    def __init__(self) -> None:
        self.sums: dict[str, Array] = {}

    def add(self, name: str, x: Array, y: Array) -> None:
        if x.size:
            x, y = x.reshape(-1), y.reshape(-1)
            # Summed pairwise by NumPy: many short dot products cost BLAS more in its threads.
            products = [x.size, np.sum(x * y), np.sum((x * x - 1) * (y * y - 1)) / 2]
            self.sums[name] = self.sums.get(name, np.zeros(3)) + products

    def add_neighbours(self, name: str, z: Array) -> None:
        """Axes are steps, elements and chains; the first step is even."""
        self.add(f"two steps of a pair, {name}", z[::2], z[1::2])
        self.add(f"steps of two pairs, {name}", z[1:-1:2], z[2::2])
        self.add(f"elements, {name}", z[:, :-1], z[:, 1:])
        self.add(f"chains, {name}", z[..., :-1], z[..., 1:])


# Tests --------------------------------------------------------------------------------------


def moment(k: int) -> int:
    """E x**k of the standard normal."""
    return math.prod(range(1, k, 2)) if k % 2 == 0 else 0


def _of_z(group: str, name: str, statistic: float, expected: float, error: float) -> Check:
    z = (statistic - expected) / error
    return Check(group, name, statistic, expected, z, float(2 * special.ndtr(-abs(z))))


def check_moments(tally: Tally) -> list[Check]:
    """A mean of x**k has variance (E x**2k - (E x**k)²) / n. It is normal enough: in the worst
    case, k = 8 and 10⁸ draws, a skewness of 0.011 and an excess kurtosis of 5e-4 change the
    probability of exceeding 5.6 standard errors by less than a tenth."""
    return [
        _of_z(
            "moments",
            f"mean of x^{k}",
            float(total) / tally.size,
            moment(k),
            math.sqrt((moment(2 * k) - moment(k) ** 2) / tally.size),
        )
        for k, total in zip(MOMENTS, tally.powers, strict=True)
    ]


def check_distribution(tally: Tally) -> list[Check]:
    """Kolmogorov-Smirnov and χ².

    The largest gap at the quantiles of the grid is at most 1/GRID short of the largest gap
    anywhere. The p-value is from the asymptotic law of the latter, so it is never too small. The χ²
    test is two-sided: numbers can be too evenly spread.
    """
    edges = np.arange(1, GRID + 1) / GRID
    gap = float(np.max(np.abs(np.cumsum(tally.grid) / tally.size - edges)))
    root = math.sqrt(tally.size)
    median = float(stats.kstwobign.median()) / root
    p_value = float(stats.kstwobign.sf(root * gap))
    counts = tally.grid.reshape(BINS, -1).sum(1)
    mean = tally.size / BINS
    square = float(np.sum((counts - mean) ** 2) / mean)
    law = stats.chi2(BINS - 1)
    both = min(1.0, 2 * float(min(law.cdf(square), law.sf(square))))
    return [
        Check("distribution", "Kolmogorov-Smirnov, gap", gap, median, None, p_value),
        Check("distribution", f"χ² of {BINS:,} bins", square, BINS - 1, None, both),
    ]


def check_tails(tally: Tally) -> list[Check]:
    """The numbers of draws beyond each of `SIGMAS`, on either side, are binomial."""
    checks = []
    for sign, counts in zip("<>", tally.tails, strict=True):
        for sigmas, count in zip(SIGMAS, counts, strict=True):
            p = float(special.ndtr(-sigmas))
            p_value = float(stats.binomtest(int(count), tally.size, p).pvalue)
            name = f"x {sign} {'-' if sign == '<' else ''}{sigmas:g}"
            expected = p * tally.size
            z = (float(count) - expected) / math.sqrt(expected * (1 - p))
            checks.append(Check("tails", name, float(count), expected, z, p_value))
    return checks


def largest_normal(dtype: Any) -> float:
    """sqrt(-2 log u) of the smallest u, half of 2**-32 or of 2**-64."""
    bits = 64 if jnp.dtype(dtype) == jnp.float64 else 32
    return math.sqrt(2 * (bits + 1) * math.log(2))


def check_extremes(tally: Tally) -> list[Check]:
    """Values that must never occur, and the largest |x|, two-sided under a continuous normal. For
    10⁸ draws the upper p-value of the second is still 1e-3 at the bound of float32; beyond the
    bound the first rejects."""
    never = tally.not_finite + tally.beyond
    log_within = tally.size * math.log1p(-2 * float(special.ndtr(-tally.largest)))
    both = 2 * min(math.exp(log_within), -math.expm1(log_within))
    median = float(-special.ndtri(-math.expm1(-math.log(2) / tally.size) / 2))
    name = f"NaN, infinite or beyond {tally.bound:.3f}"
    return [
        Check("extremes", name, never, 0, None, 0.0 if never else 1.0),
        Check("extremes", "largest |x|", tally.largest, median, None, both),
    ]


def check_correlations(products: Products) -> list[Check]:
    """Correlations: mean and variance are known, so the standard errors are exact."""
    checks = []
    for name, (size, *totals) in products.sums.items():
        for what, total in zip(("", ", squares"), totals, strict=True):
            error = 1 / math.sqrt(size)
            checks.append(_of_z("correlations", name + what, total / size, 0.0, error))
    return checks


def study(
    every: tuple[Layout, ...], chunks: int, seed: int, dtype: Any, make: Draw = draw
) -> tuple[int, list[Check]]:
    """The number of draws, and all tests of `chunks` chunks of every layout."""
    # The bound leaves room for a few roundings.
    tally, products = Tally(largest_normal(dtype) * (1 + 1e-6)), Products()
    for number, layout in enumerate(every):
        key = jax.random.fold_in(jax.random.key(seed), number)
        for index in range(chunks):
            step = make(layout, key, index, dtype, Purpose.STEP)
            tally.add(step)
            products.add_neighbours(layout.name, step)
            if layout.crossed:
                init, start = (
                    make(layout, key, index, dtype, purpose)
                    for purpose in (Purpose.INIT, Purpose.START)
                )
                # Over 64 chunks every bit has its turn.
                other = make(layout, flipped(key, 13 * index % 64), index, dtype, Purpose.STEP)
                products.add("purposes step and init", step, init)
                products.add("purposes step and start", step, start)
                products.add("purposes init and start", init, start)
                products.add("keys that differ in a bit", step, other)
    checks = [
        *check_moments(tally),
        *check_distribution(tally),
        *check_tails(tally),
        *check_extremes(tally),
        *check_correlations(products),
    ]
    return tally.size + tally.not_finite, checks


def rejected(checks: list[Check], rate: float = RATE) -> list[Check]:
    """The tests that reject; with a perfect generator any does so with probability at most `rate`.
    A NaN rejects, whatever made it."""
    return [check for check in checks if not check.p >= rate / len(checks)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--draws", type=int, default=100_000_000, help="rounded up to whole chunks")
    parser.add_argument("--x64", action="store_true", help="float64 in place of float32")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", metavar="FILE", help="write the figures to FILE")
    args = parser.parse_args()
    if args.draws < 1:
        parser.error("--draws: at least 1")
    jax.config.update("jax_enable_x64", args.x64)
    dtype = "float64" if args.x64 else "float32"
    per_layout = math.ceil(args.draws / len(layouts()))
    chunk = min(CHUNK, math.ceil(per_layout / SMALLEST_CHUNK) * SMALLEST_CHUNK)
    every, chunks = layouts(chunk), math.ceil(per_layout / chunk)

    harness.print_environment()
    draws, checks = study(every, chunks, args.seed, dtype)
    print(f"\n{draws:,} normals in {dtype}, {draws // len(every):,} a layout, seed {args.seed}\n")
    rows = [
        [
            layout.name,
            f"{layout.chains * (chunks if layout.other_chains else 1):,}",
            f"{layout.elements:,}",
            f"{layout.steps * (1 if layout.other_chains else chunks):,}",
        ]
        for layout in every
    ]
    harness.print_table(["layout", "chains", "elements", "steps"], rows)
    print()
    harness.print_table(
        ["test", "statistic", "expected", "z", "p"],
        [
            [
                check.name,
                f"{check.statistic:.7g}",
                f"{check.expected:.7g}",
                "" if check.z is None else f"{check.z:.2f}",
                f"{check.p:.2g}",
            ]
            for check in checks
        ],
    )
    failed = rejected(checks)
    smallest = min(checks, key=lambda check: check.p)
    print(f"\n{len(checks)} tests at {RATE / len(checks):.1e} each, {RATE:g} together")
    print(f"The smallest p-value: {smallest.p:.2g}, {smallest.name}")
    harness.write_json(
        args.json,
        {
            "draws": draws,
            "dtype": dtype,
            "seed": args.seed,
            "rate": RATE,
            "checks": [check._asdict() for check in checks],
        },
    )
    if failed:
        raise SystemExit("Rejected: " + "; ".join(check.name for check in failed))
    print("Verdict: none rejects")


if __name__ == "__main__":
    main()
