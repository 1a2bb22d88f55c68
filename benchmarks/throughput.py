"""Nanoseconds for one element of one step: `python benchmarks/throughput.py`.

ULA on a table of energies, side by side in one run: jlangevin, BlackJAX's `sgld` with the full
gradient (chains inside or outside the scan, the faster one), textbook JAX (`split` and `normal` in
the step), NumPy where it is simple, and TorchEBM if it is installed. Beside them the floor, which
makes the same random bits and nothing else, the energy's bare gradient over the same steps, and for
two energies the loop in C (`hand_written.c`), if there is a compiler.

One figure throughout: wall time / (chains × dimensions × steps), the final state only, float32, the
median of interleaved repeats, compilation apart. `--keep` times one chain and a hundred with every
draw kept instead; `--recording` what draws, thinning and a running mean cost; `--kernels` every
kernel beside what it is made of (`kernel_costs.py`); `--accelerator` the table for a card
(`accelerator.py`).
"""

from __future__ import annotations

from typing import Any

import accelerator
import blackjax
import hand_written
import harness
import jax
import jax.numpy as jnp
import kernel_costs
import numpy as np
from jax import lax
from loops import ELEMENTS, ETA, Program, bare_gradient, driven
from problems import Problem, problems

import jlangevin as jl
from jlangevin.noise import Purpose, Streams

# Programs -----------------------------------------------------------------------------------


def ours(problem: Problem, chains: int, steps: int, keep: bool = False) -> Program:
    kernel, key = jl.ula(ETA), jax.random.key(0)
    start = jnp.zeros((chains, problem.dim))
    observe = jl.position if keep else None

    def program() -> Any:
        run = jl.sample(key, problem.energy, kernel, start, num_steps=steps, observe=observe)
        return run.draws if keep else run.position

    return program


def blackjax_sgld(
    problem: Problem, chains: int, steps: int, keep: bool = False, *, chains_inside: bool
) -> Program:
    gradient = jax.grad(lambda x: -problem.plain(x))
    algorithm = blackjax.sgld(lambda position, _: gradient(position))

    def step(key: jax.Array, x: Any) -> Any:
        return algorithm.step(key, x, None, ETA)

    start = jnp.zeros((chains, problem.dim))
    return driven(step, start, steps, keep=keep, chains_inside=chains_inside)


def textbook(problem: Problem, chains: int, steps: int, keep: bool = False) -> Program:
    gradient = jax.grad(problem.plain)

    def step(key: jax.Array, x: Any) -> Any:
        xi = jax.random.normal(key, x.shape)
        return x - ETA * gradient(x) + jnp.sqrt(2 * ETA) * xi

    start = jnp.zeros((chains, problem.dim))
    return driven(step, start, steps, keep=keep, chains_inside=False)


def vectorised_numpy(problem: Problem, chains: int, steps: int) -> Program:
    """float32 with NumPy's fastest generator."""
    gradient = problem.numpy_gradient
    assert gradient is not None
    generator = np.random.Generator(np.random.SFC64(0))
    eta, sigma = np.float32(ETA), np.float32(np.sqrt(2 * ETA))

    def program() -> Any:
        x = np.zeros((chains, problem.dim), np.float32)
        for _ in range(steps):
            noise = generator.standard_normal(x.shape, dtype=np.float32)
            x = x - eta * gradient(x) + sigma * noise
        return x

    return program


def torchebm(problem: Problem, chains: int, steps: int) -> Program | None:
    """TorchEBM's Langevin dynamics on its own double well, if it is installed."""
    if problem.name != "double well":
        return None
    try:
        import torch
        from torchebm.core import DoubleWellModel
        from torchebm.samplers import LangevinDynamics
    except ImportError:
        return None
    sampler = LangevinDynamics(DoubleWellModel(barrier_height=1.0), step_size=ETA)
    start = torch.zeros(chains, problem.dim)
    return lambda: sampler.sample(x=start, n_steps=steps)


def floor(problem: Problem, chains: int, steps: int) -> Program:
    """The bits that the steps need, folded together and thrown away."""
    pairs = max(4, min(512, 2**14 // (chains * problem.dim)))
    streams = jl.noise.streams(jax.random.key(0), jnp.arange(chains))

    @jax.jit
    def program(streams: Streams) -> Any:
        def block(k: jax.Array, folded: jax.Array) -> jax.Array:
            first = (k.astype(jnp.uint32) * pairs + jnp.arange(pairs, dtype=jnp.uint32)) * 2
            words = jl.noise._threefry_words(streams, first, 0, problem.dim, Purpose.STEP)
            return folded ^ lax.reduce(words[0] ^ words[1], np.uint32(0), lax.bitwise_xor, (0,))

        return lax.fori_loop(
            0, max(steps // (2 * pairs), 1), block, jnp.zeros((problem.dim, chains), jnp.uint32)
        )

    return lambda: program(streams)


def programs_for(problem: Problem, chains: int, steps: int) -> dict[str, Program]:
    made: dict[str, Program] = {
        "jlangevin": ours(problem, chains, steps),
        "floor": floor(problem, chains, steps),
        "gradient": bare_gradient(problem, chains, steps),
        "textbook": textbook(problem, chains, steps),
        "blackjax, scan(vmap)": blackjax_sgld(problem, chains, steps, chains_inside=True),
        "blackjax, vmap(scan)": blackjax_sgld(problem, chains, steps, chains_inside=False),
    }
    if problem.numpy_gradient is not None:
        made["numpy"] = vectorised_numpy(problem, chains, steps)
    torch = torchebm(problem, chains, steps)
    if torch is not None:
        made["torchebm"] = torch
    in_c = hand_written.ula(problem.name, problem.energy, problem.dim, chains, steps, ETA)
    if in_c is not None:
        made["C"] = in_c
    return made


# Tables -------------------------------------------------------------------------------------

PEERS = ("blackjax", "textbook", "numpy", "torchebm")


def measure(problem: Problem, chains: int, repeats: int) -> dict[str, Any]:
    steps = ELEMENTS // problem.cost // (chains * problem.dim) // 16 * 16
    steps = min(max(steps, 208), 100_000)
    timings = harness.interleave(programs_for(problem, chains, steps), repeats)
    scale = 1e9 / (chains * problem.dim * steps)
    return {
        "energy": problem.name,
        "dim": problem.dim,
        "chains": chains,
        "steps": steps,
        "ns": {name: timing.median * scale for name, timing in timings.items()},
        "compile": {name: timing.compile for name, timing in timings.items()},
    }


def best(figures: dict[str, float], prefix: str) -> float:
    return min((v for k, v in figures.items() if k.startswith(prefix)), default=float("nan"))


def throughput(args: Any) -> list[dict[str, Any]]:
    header = ["energy", "d", "chains", "steps", "jlangevin", "floor", "gradient", "blackjax"]
    header += ["textbook", "numpy", "torchebm", "C", "× best peer", "compile s", "blackjax"]
    rows, results = [], []
    for problem in problems():
        if args.only and args.only not in problem.name:
            continue
        for chains in (1, 100, 10_000, 100_000):
            if chains * problem.dim * problem.cost > 1_000_000:
                continue
            result = measure(problem, chains, args.repeats)
            ns, compiled = result["ns"], result["compile"]
            peers = [v for k, v in ns.items() if k.startswith(PEERS)]
            result["ratio"] = min(peers) / ns["jlangevin"]
            results.append(result)
            figures = [best(ns, name) for name in header[4:12]]
            rows.append(
                [
                    problem.name,
                    str(problem.dim),
                    f"{chains:,}",
                    f"{result['steps']:,}",
                    *("" if np.isnan(v) else f"{v:.2f}" for v in figures),
                    f"{result['ratio']:.1f}",
                    f"{compiled['jlangevin']:.2f}",
                    f"{best(compiled, 'blackjax'):.2f}",
                ]
            )
            print(f"{problem.name}, d = {problem.dim}, {chains:,} chains", flush=True)
    print("\nns an element-step\n")
    harness.print_table(header, rows)
    return results


def plot(results: list[dict[str, Any]], path: str) -> None:
    """Of each energy and dimension the figures at the largest number of chains."""
    import matplotlib.pyplot as plt

    largest = list({(r["energy"], r["dim"]): r for r in results}.values())
    largest.sort(key=lambda result: -result["ns"]["jlangevin"])
    shown = (
        ("jlangevin", "jlangevin", "o", "#0072B2"),
        ("blackjax", "BlackJAX sgld", "s", "#D55E00"),
        ("textbook", "textbook JAX loop", "^", "#009E73"),
        ("numpy", "NumPy", "v", "#CC79A7"),
        ("C", "C, written by hand", "D", "#56B4E9"),
        ("floor", "its random bits alone", "|", "black"),
    )
    figure, axes = plt.subplots(figsize=(7.6, 4.4), layout="constrained")
    rows = range(len(largest))
    for prefix, label, marker, color in shown:
        at = [best(result["ns"], prefix) for result in largest]
        axes.plot(at, rows, marker, color=color, label=label, ms=7, alpha=0.9)
    for row, result in enumerate(largest):
        ns = result["ns"]
        peers = min(value for name, value in ns.items() if name.startswith(PEERS))
        axes.plot([ns["jlangevin"], peers], [row, row], color="0.8", lw=1, zorder=0)
    names = [f"{r['energy']}, d = {r['dim']}\n{r['chains']:,} chains" for r in largest]
    axes.set_yticks(rows, names, fontsize=7)
    axes.set(xscale="log", xlabel="ns for one element of one step of one chain (less is faster)")
    axes.grid(axis="x", color="0.9")
    axes.legend(frameon=False, fontsize=8)
    figure.savefig(path, dpi=150)
    print(f"\nPicture: {path}")


def keeping(args: Any) -> list[dict[str, Any]]:
    """Few chains and every draw kept, in microseconds a step of all chains."""
    rows, results = [], []
    for problem in problems():
        if problem.dim != 2 or problem.cost > 5 or (args.only and args.only not in problem.name):
            continue
        for chains, steps in ((1, 100_000), (100, 10_000)):
            made = {
                "jlangevin": ours(problem, chains, steps, keep=True),
                "textbook": textbook(problem, chains, steps, keep=True),
                "blackjax, scan(vmap)": blackjax_sgld(
                    problem, chains, steps, True, chains_inside=True
                ),
                "blackjax, vmap(scan)": blackjax_sgld(
                    problem, chains, steps, True, chains_inside=False
                ),
            }
            timings = harness.interleave(made, args.repeats)
            ms = {name: timing.median * 1e3 for name, timing in timings.items()}
            ratio = min(v for k, v in ms.items() if k != "jlangevin") / ms["jlangevin"]
            results.append(
                {"energy": problem.name, "chains": chains, "steps": steps, "ms": ms, "ratio": ratio}
            )
            shown = [ms["jlangevin"], best(ms, "blackjax"), ms["textbook"]]
            rows.append(
                [
                    problem.name,
                    f"{chains:,}",
                    f"{steps:,}",
                    *(f"{v:.2f}" for v in shown),
                    f"{ratio:.1f}",
                ]
            )
    print("\nmilliseconds, every draw kept\n")
    harness.print_table(
        ["energy, d = 2", "chains", "steps", "jlangevin", "blackjax", "textbook", "× best peer"],
        rows,
    )
    return results


def recording(args: Any) -> list[dict[str, Any]]:
    """What it costs to keep something, beyond writing it to memory."""
    chains, steps, dim = 10_000, 400, 2
    energy, kernel, key = jl.energies.double_well(dim=dim), jl.ula(ETA), jax.random.key(0)
    start = jnp.zeros((chains, dim))

    def sample(**options: Any) -> Program:
        return lambda: jl.sample(key, energy, kernel, start, num_steps=steps, **options)

    @jax.jit
    def traffic(x: jax.Array) -> Any:
        return lax.scan(lambda x, _: (x + 1, x), x, None, length=steps)[1].transpose(1, 0, 2)

    timings = harness.interleave(
        {
            "final state only": sample(observe=None),
            "every draw": sample(),
            "every 10th draw": sample(thin=10),
            "memory traffic of every draw": lambda: traffic(start),
        },
        args.repeats,
    )
    bare = timings["final state only"].median
    print(f"\ndouble well, {chains:,} chains × {steps} steps, d = {dim}\n")
    harness.print_table(
        ["what is kept", "ms", "of final state only"],
        [[k, f"{t.median * 1e3:.2f}", f"{t.median / bare:.2f}"] for k, t in timings.items()],
    )
    return [{"kept": k, "ms": t.median * 1e3} for k, t in timings.items()]


def main() -> None:
    parser = harness.parser(__doc__.splitlines()[0], repeats=5)
    parser.add_argument("--only", metavar="NAME", help="energies whose name contains NAME")
    parser.add_argument("--keep", action="store_true", help="few chains, every draw kept")
    parser.add_argument("--recording", action="store_true", help="what keeping something costs")
    parser.add_argument("--kernels", action="store_true", help="every kernel, and its parts")
    parser.add_argument("--accelerator", action="store_true", help="the table for a card")
    parser.add_argument("--kernel", metavar="NAME", help="of those, whose name contains NAME")
    parser.add_argument("--chains", type=int, nargs="+", default=[10_000], help="for --kernels")
    parser.add_argument("--without-peers", action="store_true", help="for --kernels")
    parser.add_argument(
        "--plot", metavar="FILE", help="draw the table, its largest numbers of chains"
    )
    args = parser.parse_args()
    harness.print_environment()
    table = throughput
    for chosen, other in (
        (args.keep, keeping),
        (args.recording, recording),
        (args.kernels, kernel_costs.table),
        (args.accelerator, accelerator.table),
    ):
        table = other if chosen else table
    results = table(args)
    harness.write_json(args.json, results)
    if args.plot and table is throughput:
        plot(results, args.plot)


if __name__ == "__main__":
    main()
