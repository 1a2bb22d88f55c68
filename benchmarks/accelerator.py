"""Steps on a card, beside a textbook loop: `python benchmarks/throughput.py --accelerator`.

ULA in both layouts of the library (noise made inside the step, as accelerators get it, and in
blocks, as CPUs do) and as a fused kernel, BlackJAX's `sgld`, textbook JAX, and the random bits
alone; then each kernel beside BlackJAX's, and a loop in PyTorch where it is installed. One run,
interleaved, medians, compilation apart. It runs on any device, with fewer steps on a CPU, where
nothing is fused.
"""

from __future__ import annotations

import time
from typing import Any
from unittest import mock

import harness
import jax
import jax.numpy as jnp
from jax import lax
from kernel_costs import CASES, Case
from loops import ETA, Program, driven
from problems import Problem, problems

import jlangevin as jl
from jlangevin.sampling import blocks

SIZES = (1_000, 100_000, 1_000_000)
ENERGIES = (("linear", 2), ("double well", 10), ("Rosenbrock", 10), ("double well", 100))
KERNELS = [
    "ula",
    "leimkuhler_matthews",
    "tamed_ula",
    "underdamped BAOAB",
    "mala",
    "mala, dense",
    "barker",
    "malt, L = 2",
    "malt, L = 8",
    "tempered(mala), K = 4",
    "coupled(ula)",
]
MOST_BYTES = 2**31  # of the positions of one run


def laid_out(program: Program, *, on_card: bool) -> Program:
    """A run in the layout of accelerators, or in that of CPUs, wherever it runs."""

    def run() -> Any:
        with mock.patch.object(blocks, "is_accelerator", return_value=on_card):
            return jax.block_until_ready(program())

    return run


def ours(problem: Problem, kernel: Any, chains: int, steps: int, **options: Any) -> Program:
    start, key = jnp.zeros((chains, problem.dim)), jax.random.key(0)
    options |= {"num_steps": steps, "observe": None}
    return lambda: jl.sample(key, problem.energy, kernel, start, **options).position


def fused(problem: Problem, kernel: Any, chains: int, steps: int) -> Program | None:
    """All steps as one kernel, if it can be; says how far it is from the other layout."""
    few = 100
    begun = time.perf_counter()
    try:
        found = jax.block_until_ready(ours(problem, kernel, chains, few, fused=True)())
    except ValueError as refusal:
        print(refusal)
        return None
    took = time.perf_counter() - begun
    wanted = laid_out(ours(problem, kernel, chains, few), on_card=True)()
    apart = float(jnp.max(jnp.abs(found - wanted)))
    print(f"fused: first run in {took:.1f} s; at most {apart:.1e} apart after {few} steps")
    return ours(problem, kernel, chains, steps, fused=True)


def textbook(problem: Problem, chains: int, steps: int) -> Program:
    gradient = jax.vmap(jax.grad(problem.plain))

    @jax.jit
    def program(key: jax.Array, x: jax.Array) -> jax.Array:
        def step(carry: Any, _: None) -> Any:
            key, x = carry
            key, now = jax.random.split(key)
            xi = jax.random.normal(now, x.shape)
            return (key, x - ETA * gradient(x) + jnp.sqrt(2 * ETA) * xi), None

        return lax.scan(step, (key, x), None, length=steps)[0][1]

    start = jnp.zeros((chains, problem.dim))
    return lambda: program(jax.random.key(0), start)


def bits(problem: Problem, chains: int, steps: int) -> Program:
    """As many random words as the textbook's loop needs, folded together."""

    @jax.jit
    def program(key: jax.Array) -> jax.Array:
        def step(carry: Any, _: None) -> Any:
            key, folded = carry
            key, now = jax.random.split(key)
            return (key, folded ^ jax.random.bits(now, folded.shape)), None

        start = jnp.zeros((chains, problem.dim), jnp.uint32)
        return lax.scan(step, (key, start), None, length=steps)[0][1]

    return lambda: program(jax.random.key(0))


def torch_loop(problem: Problem, chains: int, steps: int) -> Program | None:
    """A loop in PyTorch on the same kind of device, for the double well."""
    if problem.name != "double well":
        return None
    try:
        import torch
    except ImportError:
        return None
    device = "cuda" if torch.cuda.is_available() else "cpu"

    def program() -> Any:
        x = torch.zeros(chains, problem.dim, device=device)
        for _ in range(steps):
            x = x - ETA * 4 * x * (x * x - 1) + (2 * ETA) ** 0.5 * torch.randn_like(x)
        return x.sum().item()

    return program


def blackjaxs(case: Case, problem: Problem, chains: int, steps: int) -> Program:
    assert case.peer is not None
    peer, start = case.peer(problem), jnp.zeros((chains, problem.dim))
    return driven(peer.step, start, steps, chains_inside=True, init=peer.init)


def shown(seconds: float, chains: int, dim: int, steps: int) -> str:
    """Microseconds a step of few chains, picoseconds an element-step of many."""
    if chains <= 1_000:
        return f"{seconds / steps * 1e6:.2f} us"
    return f"{seconds / (steps * chains * dim) * 1e12:.1f} ps"


def table(args: Any) -> list[dict[str, Any]]:
    on_cpu = jax.default_backend() == "cpu"
    budget = 2 * 10**7 if on_cpu else 4 * 10**10
    most = 2_000 if on_cpu else 20_000
    made = {(p.name, p.dim): p for p in problems()}
    by_name = {case.name: case for case in CASES}
    print(
        f"\n{jax.devices()[0].device_kind}: µs a step of 1,000 chains, ps an element-step of more\n"
    )
    results: list[dict[str, Any]] = []

    def steps_for(chains: int, dim: int) -> int:
        return max(min(budget // (chains * dim), most) // 16 * 16, 16)

    def measure(name: str, chains: int, dim: int, steps: int, programs: dict[str, Program]) -> Any:
        timings = harness.interleave(programs, args.repeats)
        results.append(
            {"row": name, "chains": chains, "d": dim, "steps": steps}
            | {"seconds": {n: t.median for n, t in timings.items()}}
            | {"compile": {n: t.compile for n, t in timings.items()}}
        )
        print(f"{name}, d = {dim}, {chains:,} chains", flush=True)
        return timings

    def row(name: str, chains: int, dim: int, steps: int, timings: Any, columns: Any) -> list[str]:
        cells = [
            shown(timings[c].median, chains, dim, steps) if c in timings else "" for c in columns
        ]
        peers = [t.median for n, t in timings.items() if n in ("textbook", "blackjax")]
        ratio = min(peers) / timings["card"].median if peers else float("nan")
        compiled = f"{timings['card'].compile:.1f}"
        return [name, str(dim), f"{chains:,}", *cells, f"{ratio:.2f}" if peers else "", compiled]

    on_gpu = jax.devices()[0].platform == "gpu"
    if not on_gpu:
        print("fused: left out, as there is no GPU\n")
    columns = ("card", "fused", "blocks", "textbook", "blackjax", "torch", "bits")
    rows = []
    for key in ENERGIES:
        problem = made[key]
        for chains in SIZES:
            if chains * problem.dim * 4 > (MOST_BYTES if not on_cpu else 2**23):
                continue
            steps = steps_for(chains, problem.dim)
            run = ours(problem, jl.ula(ETA), chains, steps)
            programs: dict[str, Any] = {
                "card": laid_out(run, on_card=True),
                "fused": fused(problem, jl.ula(ETA), chains, steps) if on_gpu else None,
                "blocks": laid_out(run, on_card=False),
                "textbook": textbook(problem, chains, steps),
                "blackjax": blackjaxs(by_name["ula"], problem, chains, steps),
                "torch": torch_loop(problem, chains, steps),
                "bits": bits(problem, chains, steps),
            }
            programs = {name: program for name, program in programs.items() if program}
            timings = measure(problem.name, chains, problem.dim, steps, programs)
            rows.append(row(problem.name, chains, problem.dim, steps, timings, columns))
    print()
    heading = ["energy, ula", "d", "chains", *columns, "× best", "compile s"]
    harness.print_table(heading, rows)

    problem, chains = made["double well", 10], 10_000 if on_cpu else 100_000
    few, rows = ("card", "fused", "blocks", "blackjax"), []
    for name in KERNELS:
        case = by_name[name]
        steps = max(steps_for(chains, problem.dim) // case.gradients // 16 * 16, 16)
        run = ours(problem, case.make(problem), chains, steps)
        programs = {
            "card": laid_out(run, on_card=True),
            "blocks": laid_out(run, on_card=False),
        }
        one = fused(problem, case.make(problem), chains, steps) if on_gpu else None
        if one is not None:
            programs["fused"] = one
        if case.peer is not None:
            programs["blackjax"] = blackjaxs(case, problem, chains, steps)
        timings = measure(name, chains, problem.dim, steps, programs)
        rows.append(row(name, chains, problem.dim, steps, timings, few))
    print()
    heading = ["double well", "d", "chains", *few, "× best", "compile s"]
    harness.print_table(heading, rows)
    return results
