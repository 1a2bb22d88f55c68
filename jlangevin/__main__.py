"""The notebook's experiment, corrected and verified: `python -m jlangevin --help`.

E(x) = θ·x in R^d, x_0 ~ N(0, I). The recursion as the notebook writes it,
x' = x - η ∇log p(x) + sqrt(2η) ξ, climbs the energy; Langevin dynamics,
x' = x - η ∇E(x) + sqrt(2η) ξ, descends it. They are ULA on -E and on E. For each number of steps
the chains' end points are tested against the exact law, and then against the law that the notebook
states.
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib.util
import json
import platform
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import jlangevin as jl
from jlangevin.verify import Report

THETA = (0.80342804, 0.5275223)  # what the notebook drew with NumPy's seed 999
STEPS = (1, 10, 100, 1_000, 10_000, 100_000)
PICTURES = (".png", ".svg", ".pdf")
FALSE_ALARM = 1e-6
FORMULA_TOLERANCE = 1e-5

RECURSIONS = {
    "notebook": (
        +1.0,
        "The recursion as the notebook writes it: x' = x - η ∇log p(x) + sqrt(2η) ξ",
        "log p = -θ·x, so each step adds +ηθ: it climbs the energy. It is ULA on -E.",
    ),
    "langevin": (
        -1.0,
        "Langevin dynamics: x' = x - η ∇E(x) + sqrt(2η) ξ",
        "Each step adds -ηθ: it descends the energy. It is ULA on E.",
    ),
}

WRONG_LINE = """\
   The notebook unrolls its recursion correctly,
       x_N = x_0 + N η θ + sqrt(2η) (ξ_1 + … + ξ_N),
   and then counts x_0 as one more term of the noise sum:
       x_N = N η θ + sqrt(2η) 𝓔,   𝓔 ~ N(0, (N + 1) I)        <- here
   But x_0 has variance 1, not 2η. The N noise terms give 2ηN and x_0 gives 1:
       x_N ~ N(N η θ, (1 + 2ηN) I),   not   N(N η θ, 2η(N + 1) I)."""


@dataclasses.dataclass(frozen=True)
class Row:
    """The result for one recursion and one number of steps."""

    recursion: str
    num_steps: int
    num_chains: int
    seconds: float
    samples: Any
    law: jl.Gaussian
    report: Report
    formula_error: float  # the relative error of the derived law against the closed form

    @property
    def passed(self) -> bool:
        """Whether the samples have the derived law, and this is the law derived by hand."""
        return self.report.passed and self.formula_error < FORMULA_TOLERANCE


def chains_for(num_steps: int) -> int:
    """The number of chains of a row: 100,000, or fewer beyond 1,000 steps, for equal work."""
    return max(min(100_000, 100_000_000 // num_steps), 1_000)


def closed_form(theta: Any, eta: float, num_steps: int, sign: float) -> tuple[Any, float]:
    """Mean and variance of x_N, derived by hand: ±N η θ and 1 + 2ηN."""
    return sign * num_steps * eta * np.asarray(theta, np.float64), 1 + 2 * eta * num_steps


def experiment(
    theta: Sequence[float], eta: float, steps: Sequence[int], chains: Sequence[int], seed: int
) -> Iterator[Row]:
    """Sample and verify every row. Rows have different keys, so they are independent."""
    dim = len(theta)
    kernel = jl.ula(step_size=eta)
    dtype = jnp.zeros(()).dtype
    start = jl.Gaussian(np.zeros(dim, dtype), np.eye(dim, dtype=dtype))
    keys = iter(jax.random.split(jax.random.key(seed), len(RECURSIONS) * len(steps)))
    for name, (sign, *_) in RECURSIONS.items():
        energy = jl.energies.linear(-sign * np.asarray(theta, dtype))
        for num_steps, num_chains in zip(steps, chains, strict=True):
            begun = time.perf_counter()
            run = jl.sample(
                next(keys),
                energy,
                kernel,
                start,
                num_steps=num_steps,
                num_chains=num_chains,
                observe=None,
            )
            samples = np.asarray(run.position)
            seconds = time.perf_counter() - begun
            law = jl.exact.law(kernel, energy, start, num_steps)
            mean, variance = closed_form(theta, eta, num_steps, sign)
            error = max(
                float(np.linalg.norm(np.asarray(law.mean) - mean))
                / float(np.linalg.norm(mean) or 1.0),
                float(np.linalg.norm(np.asarray(law.cov) - variance * np.eye(dim)))
                / variance
                / dim**0.5,
            )
            report = jl.verify.compare(samples, law, false_alarm=FALSE_ALARM)
            yield Row(name, num_steps, num_chains, seconds, samples, law, report, error)


def stated_law(theta: Sequence[float], eta: float, num_steps: int) -> jl.Gaussian:
    """The law that the notebook states for x_N: N(N η θ, 2η(N + 1) I)."""
    dim = len(theta)
    dtype = jnp.zeros(()).dtype
    mean = np.asarray(num_steps * eta * np.asarray(theta), dtype)
    return jl.Gaussian(mean, np.asarray(2 * eta * (num_steps + 1) * np.eye(dim), dtype))


# The table ----------------------------------------------------------------------------------

HEADER = (
    f"{'':>9}{'':>9}{'':>3}|{'mean of x_i':^29}|{'variance of x_i':^29}|{'covariance':^29}|\n"
    f"{'steps N':>9}{'chains':>9}{'i':>3}|"
    + f"{'exact':>11}{'measured':>11}{'z':>6} |" * 2
    + f"{'exact':>11}{'measured':>11}{'z':>6} |"
    + f"{'p-value':>9}"
)


def table_lines(row: Row) -> Iterator[str]:
    """One line per coordinate; the covariance is that with the previous coordinate."""
    report = row.report
    for i in range(len(report.mean)):
        cells = [(report.mean[i], report.sample_mean[i], report.mean_z[i])]
        pairs = [(i, i), (i, i - 1)] if i else [(i, i)]
        cells += [(report.cov[j], report.sample_cov[j], report.cov_z[j]) for j in pairs]
        shown = [f"{exact:>11.5g}{got:>11.5g}{z:>6.2f} |" for exact, got, z in cells]
        shown += [f"{'':>28} |"] * (3 - len(shown))
        lead = f"{row.num_steps:>9,}{row.num_chains:>9,}" if i == 0 else f"{'':>18}"
        p = f"{_format_p_value(report.p_value):>9}" if i == 0 else ""
        failed = "  REJECTED" if i == 0 and not row.passed else ""
        yield f"{lead}{i + 1:>3}|{''.join(shown)}{p}{failed}"


def _format_p_value(value: float) -> str:
    return f"{value:.2g}" if value > 0 else "<1e-300"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the experiment and print its results; return 1 if a true law is rejected, else 0."""
    args = _parse_arguments(argv)
    theta, eta = args.theta, args.step_size
    versions = {"jlangevin": jl.__version__, "jax": jax.__version__, "numpy": np.__version__}
    dtype = jnp.zeros(()).dtype
    print(
        f"E(x) = θ·x, θ = {list(theta)}, η = {eta:g}, x_0 ~ N(0, I), seed {args.seed}, {dtype}\n"
        + ", ".join(f"{name} {number}" for name, number in versions.items())
        + f", Python {platform.python_version()}, {jax.devices()[0].platform}"
    )
    begun = time.perf_counter()
    rows: list[Row] = []
    print(f"sampling {len(RECURSIONS) * len(args.steps)} rows …", file=sys.stderr, flush=True)
    for row in experiment(theta, eta, args.steps, args.chains, args.seed):
        if not rows or rows[-1].recursion != row.recursion:
            _, title, remark = RECURSIONS[row.recursion]
            print(f"\n{title}\n   {remark}\n\n{HEADER}")
        rows.append(row)
        print("\n".join(table_lines(row)), flush=True)
        print(
            f"[{len(rows)}/{len(RECURSIONS) * len(args.steps)}] {row.recursion}, "
            f"N = {row.num_steps:,}, {row.num_chains:,} chains: {row.seconds:.2f} s",
            file=sys.stderr,
            flush=True,
        )
    worst = max(row.formula_error for row in rows)
    agree = "agree" if worst < FORMULA_TOLERANCE else "DISAGREE"
    print(f"\nThe laws derived from the kernel's code {agree} with ±Nηθ and 1 + 2ηN: {worst:.1g}.")

    print("\nThe law that the notebook states for its recursion: N(N η θ, 2η(N + 1) I)\n")
    print(f"{'steps N':>9}{'true variance':>16}{'stated':>12}{'measured':>12}{'p-value':>11}")
    stated = {}
    for row in rows:
        if row.recursion != "notebook":
            continue
        claim = stated_law(theta, eta, row.num_steps)
        report = jl.verify.compare(row.samples, claim, false_alarm=FALSE_ALARM)
        stated[row.num_steps] = report
        p_value = _format_p_value(report.p_value)
        found = f"{np.mean(np.diagonal(row.report.sample_cov)):>12.5g}{p_value:>11}"
        told = "  REJECTED" if not report.passed else "  too close to tell at this size"
        print(
            f"{row.num_steps:>9,}{row.report.cov[0, 0]:>16.6g}{report.cov[0, 0]:>12.6g}"
            f"{found}{told}"
        )
    print(f"\n{WRONG_LINE}")

    failed = [row for row in rows if not row.passed]
    rejected = sum(not report.passed for report in stated.values())
    seconds = time.perf_counter() - begun
    print(
        f"\nVerdict: {len(rows) - len(failed)} of {len(rows)} true laws stand, and the notebook's "
        f"stated law is rejected at {rejected} of {len(stated)} numbers of steps.\n"
        f"A true law is rejected wrongly with probability {FALSE_ALARM:.0e} a row; p-values are "
        f"of mean, covariance and shape together. {seconds:.1f} s."
    )
    if args.json:
        _write_json(args, rows, stated, versions, seconds)
    if args.plot:
        _save_picture(args.plot, theta, eta, rows)
        print(f"Picture: {args.plot}")
    return 1 if failed else 0


def _write_json(
    args: argparse.Namespace,
    rows: list[Row],
    stated: dict[int, Report],
    versions: dict[str, str],
    seconds: float,
) -> None:
    result = {
        "theta": list(args.theta),
        "step_size": args.step_size,
        "seed": args.seed,
        "versions": versions,
        "seconds": seconds,
        "rows": [
            {
                "recursion": row.recursion,
                "num_steps": row.num_steps,
                "num_chains": row.num_chains,
                "seconds": row.seconds,
                "formula_error": row.formula_error,
                "report": row.report.to_dict(),
            }
            for row in rows
        ],
        "stated_law": {n: report.to_dict() for n, report in stated.items()},
    }
    with open(args.json, "w", encoding="utf-8") as file:
        json.dump(result, file, indent=1, allow_nan=False)
    print(f"Figures: {args.json}")


def _save_picture(path: str, theta: Sequence[float], eta: float, rows: list[Row]) -> None:
    """Draw mean and variance against N with the exact curves, and end points with the law."""
    from jlangevin import plot

    made, axes = plot.figure(3 if len(theta) == 2 else 2)
    num_shown = min(len(theta), 3)  # coordinates; each has one colour per recursion
    per = max(num_shown, 2)
    colors = [plot.COLORS[k * per : (k + 1) * per] for k in range(len(RECURSIONS))]
    most = max(row.num_steps for row in rows)
    curve = np.unique(np.geomspace(1, max(most, 2), 200).astype(int))
    names = {"notebook": "as the notebook writes it", "langevin": "Langevin dynamics"}
    for k, name in enumerate(RECURSIONS):
        mine = [row for row in rows if row.recursion == name]
        sign = RECURSIONS[name][0]
        steps = [row.num_steps for row in mine]
        for i in range(num_shown):
            plot.moment_against_steps(
                steps,
                [row.report.sample_mean[i] for row in mine],
                curve,
                sign * curve * eta * theta[i],
                label=f"{names[name]}, $x_{i + 1}$",
                color=colors[k][i],
                band=[3 * np.sqrt(row.report.cov[i, i] / row.num_chains) for row in mine],
                ax=axes[0],
            )
        plot.moment_against_steps(
            steps,
            [float(np.mean(np.diagonal(row.report.sample_cov))) for row in mine],
            curve,
            1 + 2 * eta * curve,
            label="_",
            color=colors[k][0],
            marker="os"[k],
            ax=axes[1],
        )
    axes[1].plot(curve, 1 + 2 * eta * curve, color="black", lw=1.4, label="exact, $1 + 2\\eta N$")
    for k, name in enumerate(RECURSIONS):
        axes[1].plot([], [], "os"[k], color=colors[k][0], mfc="white", label=f"measured, {name}")
    axes[1].plot(
        curve, 2 * eta * (curve + 1), "--", color="black", lw=1, label="stated, $2\\eta(N+1)$"
    )
    title = "mean, ±3 standard errors"
    if num_shown < len(theta):
        title += f"; the first {num_shown} coordinates"
    axes[0].set(xscale="log", title=title, ylabel="mean of $x_i$")
    axes[0].set_yscale("symlog", linthresh=0.02)
    axes[1].set(xscale="log", yscale="log", title="variance", ylabel="mean variance of $x_i$")
    axes[0].margins(y=0.12)
    for ax in axes[:2]:
        ax.legend(frameon=False, fontsize=9)
    if len(theta) == 2:
        shown = max((r.num_steps for r in rows if r.num_steps <= 1_000), default=most)
        for k, name in enumerate(RECURSIONS):
            (row,) = (r for r in rows if r.recursion == name and r.num_steps == shown)
            plot.cloud(row.samples, row.law, label=names[name], color=colors[k][0], ax=axes[2])
        axes[2].set_title(f"end points after {shown:,} steps, and\n50, 90 and 99% of their law")
        axes[2].legend(frameon=False, fontsize=9, markerscale=3)
    made.savefig(path, dpi=150)


def _parse_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m jlangevin",
        description="Sample E(x) = θ·x by Langevin dynamics and test the chains' end points "
        "against the exact law, and then against the law that the notebook states.",
    )
    parser.add_argument("--steps", type=_positive_int, nargs="+", default=list(STEPS), metavar="N")
    parser.add_argument(
        "--chains",
        type=_positive_int,
        nargs="+",
        metavar="C",
        help="one number for all, or one for each N (default: 100,000, fewer beyond 1,000 steps)",
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--theta", type=float, nargs="+", default=list(THETA))
    parser.add_argument("--step-size", type=float, default=0.01, metavar="η")
    parser.add_argument("--json", metavar="FILE", help="write all figures to FILE")
    parser.add_argument(
        "--plot", metavar="FILE", help="draw the picture to FILE (.png, .svg, .pdf)"
    )
    parser.add_argument("--version", action="version", version=f"jlangevin {jl.__version__}")
    args = parser.parse_args(argv)
    if args.chains is None:
        args.chains = [chains_for(n) for n in args.steps]
    elif len(args.chains) == 1:
        args.chains *= len(args.steps)
    elif len(args.chains) != len(args.steps):
        parser.error(f"--chains: expected 1 or {len(args.steps)} numbers, got {len(args.chains)}")
    if min(args.chains) < 2:
        parser.error("--chains: testing a law needs at least 2 chains")
    if len(set(args.steps)) < len(args.steps):
        parser.error(f"--steps: expected each number only once, got {args.steps}")
    if max(args.steps) > jl.noise.MAX_STEPS:
        parser.error(f"--steps: a stream has {jl.noise.MAX_STEPS} steps, got {max(args.steps)}")
    if not 0 <= args.seed < 2**32:
        parser.error(f"--seed: expected a whole number from 0 to 2**32 - 1, got {args.seed}")
    if args.json and args.plot and Path(args.json).resolve() == Path(args.plot).resolve():
        parser.error(f"--json, --plot: expected two files, got {args.json} for both")
    if args.plot:
        if Path(args.plot).suffix not in PICTURES:
            parser.error(f"--plot: expected a name that ends in {', '.join(PICTURES)}")
        if importlib.util.find_spec("matplotlib") is None:
            parser.error("--plot: needs Matplotlib, the extra plot: pip install matplotlib")
    if not (np.isfinite(args.step_size) and args.step_size > 0):
        parser.error(f"--step-size: expected a finite number above zero, got {args.step_size}")
    if not np.all(np.isfinite(args.theta)):
        parser.error(f"--theta: expected finite numbers, got {args.theta}")
    number = jnp.finfo(jnp.zeros(()).dtype)
    largest = max(1 + 2 * args.step_size * max(args.steps), *np.abs(args.theta))
    largest = max(largest, args.step_size * max(args.steps) * max(np.abs(args.theta)))
    if largest > float(number.max) or args.step_size < float(number.tiny):
        parser.error(
            f"--step-size, --theta, --steps: the mean Nηθ and the variance 1 + 2ηN must be finite "
            f"in {number.dtype}, and η at least {number.tiny:.2g}; got η = {args.step_size:g}, "
            f"θ = {args.theta}, N = {args.steps}"
        )
    for name, path in (("--json", args.json), ("--plot", args.plot)):
        if path:
            _check_output(parser, name, Path(path))
    return args


def _check_output(parser: argparse.ArgumentParser, name: str, path: Path) -> None:
    """Stop before the run if its output cannot be written."""
    if not path.absolute().parent.is_dir():
        parser.error(f"{name}: there is no folder {path.absolute().parent}")
    fresh = not path.exists()
    try:
        with open(path, "ab"):  # does not change an existing file
            pass
    except OSError as error:
        parser.error(f"{name}: cannot write {path}: {error.strerror}; name another file")
    if fresh:
        path.unlink()


def _positive_int(text: str) -> int:
    try:
        value = int(text.replace(",", "").replace("_", ""))
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected a whole number, got {text!r}") from None
    if value < 1:
        raise argparse.ArgumentTypeError(f"expected at least 1, got {value}")
    return value


if __name__ == "__main__":
    sys.exit(main())
