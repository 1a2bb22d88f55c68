"""What a step of each kernel costs, compared with what it is made of.

`python benchmarks/throughput.py --kernels`. Its "parts" are the random numbers that the kernel asks
for, made as in a run and thrown away, and as many bare gradients as it takes, each timed alone. A
peer is an algorithm of BlackJAX's that makes the same moves, chains inside or outside the scan,
the faster one.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Iterator
from typing import Any

import blackjax
import harness
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from loops import ELEMENTS, ETA, Program, bare_gradient, driven
from problems import Problem, problems

import jlangevin as jl
from jlangevin import noise

H = 0.05  # the step size of those that have a velocity
TEMPERATURES = [1.0, 2.0, 4.0, 8.0]
BLOCK_NUMBERS = 2**17  # of noise made at a time, about as many as in a run
DIMS = {"double well": 10, "Rosenbrock": 10, "mixture of 8": 2, "logistic regression": 31}


@dataclasses.dataclass(frozen=True)
class Case:
    """A kernel for an energy in d dimensions, and how many gradients its step takes."""

    name: str
    make: Callable[[Problem], Any]
    gradients: int = 1
    peer: Callable[[Problem], Peer] | None = None


@dataclasses.dataclass(frozen=True)
class Peer:
    """`init` makes a state of a position, `step` the next state of a key and a state."""

    init: Callable[..., Any]
    step: Callable[..., Any]


# Kernels and their peers ----------------------------------------------------------------------


def matrix(dim: int) -> jax.Array:
    """A preconditioner that is not diagonal."""
    return jnp.eye(dim) + 0.5 / dim


def low_rank(dim: int) -> Any:
    along = jnp.ones((dim, 1)) / np.sqrt(dim)
    return jl.kernels.LowRank(jnp.ones(dim), along, jnp.array([1.5]))


def full_gradient(problem: Problem) -> Callable[..., Any]:
    gradient = jax.grad(problem.energy)
    return lambda key, x: gradient(x)


def log_density(problem: Problem) -> Callable[[jax.Array], jax.Array]:
    return lambda x: -problem.plain(x)


def blackjaxs_sgld(problem: Problem) -> Peer:
    gradient = jax.grad(log_density(problem))
    made = blackjax.sgld(lambda position, _: gradient(position))
    return Peer(lambda x: x, lambda key, x: made.step(key, x, None, ETA))


def blackjaxs_sghmc(problem: Problem) -> Peer:
    gradient = jax.grad(log_density(problem))
    made = blackjax.sghmc(lambda position, _: gradient(position), num_integration_steps=1)
    return Peer(lambda x: x, lambda key, x: made.step(key, x, None, ETA))


def blackjaxs_mala(problem: Problem) -> Peer:
    return adjusted(blackjax.mala(log_density(problem), ETA))


def blackjaxs_barker(problem: Problem) -> Peer:
    return adjusted(blackjax.barker(log_density(problem), float(np.sqrt(2 * ETA))))


def blackjaxs_hmc(leapfrogs: int) -> Callable[[Problem], Peer]:
    def peer(problem: Problem) -> Peer:
        unit = np.ones(problem.dim, np.float32)
        return adjusted(blackjax.hmc(log_density(problem), H, unit, leapfrogs))

    return peer


def blackjaxs_mclmc(problem: Problem) -> Peer:
    made = blackjax.mclmc(log_density(problem), L=1.0, step_size=H)
    key = jax.random.key(1)
    return Peer(lambda x: made.init(x, key), lambda key, state: made.step(key, state)[0])


def adjusted(made: Any) -> Peer:
    return Peer(made.init, lambda key, state: made.step(key, state)[0])


CASES = (
    Case("ula", lambda p: jl.ula(ETA), peer=blackjaxs_sgld),
    Case("ula, dense", lambda p: jl.ula(ETA, preconditioner=matrix(p.dim))),
    Case("leimkuhler_matthews", lambda p: jl.leimkuhler_matthews(ETA)),
    Case("tamed_ula", lambda p: jl.tamed_ula(ETA)),
    Case("underdamped BAOAB", lambda p: jl.underdamped(H, 1.0)),
    Case("underdamped OBABO", lambda p: jl.underdamped(H, 1.0, splitting="OBABO")),
    Case("underdamped UBU", lambda p: jl.underdamped(H, 1.0, splitting="UBU")),
    Case("underdamped BUB", lambda p: jl.underdamped(H, 1.0, splitting="BUB")),
    Case("quicsort", lambda p: jl.quicsort(H, 1.0), 2),
    Case("mala", lambda p: jl.mala(ETA), peer=blackjaxs_mala),
    Case("mala, dense", lambda p: jl.mala(ETA, preconditioner=matrix(p.dim))),
    Case("mala, low rank", lambda p: jl.mala(ETA, preconditioner=low_rank(p.dim))),
    Case("barker", lambda p: jl.barker(ETA), peer=blackjaxs_barker),
    Case("malt, L = 2", lambda p: jl.malt(H, 1.0, 2), 2, blackjaxs_hmc(2)),
    Case("malt, L = 8", lambda p: jl.malt(H, 1.0, 8), 8, blackjaxs_hmc(8)),
    Case("malt, L = 4, BCSS2", lambda p: jl.malt(H, 1.0, 4, integrator="BCSS2"), 8),
    Case("ghmc", lambda p: jl.ghmc(H, 1.0)),
    Case("microcanonical", lambda p: jl.microcanonical(H, 1.0), 2, blackjaxs_mclmc),
    Case(
        "adjusted_microcanonical, L = 2",
        lambda p: jl.adjusted_microcanonical(H, 2, decoherence_length=1.0),
        4,
    ),
    Case("sgld", lambda p: jl.sgld(ETA, full_gradient(p)), peer=blackjaxs_sgld),
    Case("sghmc", lambda p: jl.sghmc(ETA, 1.0, full_gradient(p)), peer=blackjaxs_sghmc),
    Case("gradient_noise(ula)", lambda p: jl.gradient_noise(jl.ula(ETA), matrix(p.dim))),
    Case("projected", lambda p: jl.projected(ETA, jl.domains.box(-5.0, 5.0))),
    Case("reflected", lambda p: jl.reflected(ETA, jl.domains.box(-5.0, 5.0))),
    Case("reflected_mala", lambda p: jl.reflected_mala(ETA, jl.domains.box(-5.0, 5.0))),
    Case("mirrored(mala)", lambda p: jl.mirrored(jl.mala(ETA), jl.domains.box(-5.0, 5.0))),
    Case("tempered(mala), K = 4", lambda p: jl.tempered(jl.mala(ETA), TEMPERATURES), 4),
    Case("coupled(ula)", lambda p: jl.coupled(jl.ula(ETA), lag=10), 2),
)


# Programs -------------------------------------------------------------------------------------


def ours(kernel: Any, problem: Problem, chains: int, steps: int) -> Program:
    key, start = jax.random.key(0), jnp.full((chains, problem.dim), 0.5)
    return lambda: (
        jl.sample(key, problem.energy, kernel, start, num_steps=steps, observe=None).position
    )


def thrown_away(kernel: Any, problem: Problem, chains: int, steps: int) -> Program:
    """The random numbers that the steps ask for, each added to a sum."""
    wants, like = kernel.step_noise, jax.ShapeDtypeStruct((problem.dim,), jnp.float32)
    numbers = noise.count(wants, like) * chains
    pairs = min(max(BLOCK_NUMBERS // numbers // 2, 4), 4096)
    streams = noise.streams(jax.random.key(0), jnp.arange(chains))

    def floats(made: noise.Pairs, step: Any) -> list[jax.Array]:
        keyed = jax.tree.leaves(made.at(step))
        return [
            jax.random.key_data(x) if jnp.issubdtype(x.dtype, jax.dtypes.prng_key) else x
            for x in keyed
        ]

    @jax.jit
    def program(streams: noise.Streams) -> Any:
        def block(k: jax.Array, sums: list[jax.Array]) -> list[jax.Array]:
            made = noise.pairs(streams, wants, like, k * pairs, pairs)
            return lax.fori_loop(
                0,
                2 * pairs,
                lambda step, sums: jax.tree.map(jnp.add, sums, floats(made, step)),
                sums,
            )

        shapes = jax.eval_shape(lambda: floats(noise.pairs(streams, wants, like, 0, pairs), 0))
        none = [jnp.zeros(x.shape, x.dtype) for x in shapes]
        return lax.fori_loop(0, max(steps // (2 * pairs), 1), block, none)

    return lambda: program(streams)


def peers(peer: Peer, problem: Problem, chains: int, steps: int) -> Iterator[tuple[str, Program]]:
    start = jnp.full((chains, problem.dim), 0.5)
    for inside, how in ((True, "scan(vmap)"), (False, "vmap(scan)")):
        yield (
            f"blackjax, {how}",
            driven(peer.step, start, steps, chains_inside=inside, init=peer.init),
        )


# Table ----------------------------------------------------------------------------------------


def measure(case: Case, problem: Problem, chains: int, args: Any) -> dict[str, Any]:
    steps = ELEMENTS // problem.cost // case.gradients // (chains * problem.dim) // 16 * 16
    steps = min(max(steps, 16), 20_000)
    kernel = case.make(problem)
    programs = {
        "jlangevin": ours(kernel, problem, chains, steps),
        "noise": thrown_away(kernel, problem, chains, steps),
        "gradient": bare_gradient(problem, chains, steps),
    }
    if case.peer is not None and not args.without_peers:
        programs |= dict(peers(case.peer(problem), problem, chains, steps))
    timings = harness.interleave(programs, args.repeats)
    scale = 1e9 / (chains * problem.dim * steps)
    ns = {name: timing.median * scale for name, timing in timings.items()}
    ns["parts"] = ns["noise"] + case.gradients * ns["gradient"]
    found = [value for name, value in ns.items() if name.startswith("blackjax")]
    return {
        "energy": problem.name,
        "dim": problem.dim,
        "chains": chains,
        "steps": steps,
        "kernel": case.name,
        "gradients": case.gradients,
        "ns": ns,
        "of parts": ns["jlangevin"] / ns["parts"],
        "peer": min(found) if found else None,
    }


def table(args: Any) -> list[dict[str, Any]]:
    header = ["kernel", "chains", "steps", "ns", "noise", "gradients", "parts", "of parts"]
    header += ["blackjax", "× peer"]
    results = []
    for problem in problems():
        if DIMS.get(problem.name) != problem.dim or (args.only and args.only not in problem.name):
            continue
        rows = []
        for chains, case in itertools.product(args.chains, CASES):
            if args.kernel and args.kernel not in case.name:
                continue
            found = measure(case, problem, chains, args)
            results.append(found)
            ns = found["ns"]
            ours, each = ns["jlangevin"], case.gradients * ns["gradient"]
            peer = found["peer"]
            rows.append(
                [
                    case.name,
                    f"{chains:,}",
                    f"{found['steps']:,}",
                    *(f"{value:.2f}" for value in (ours, ns["noise"], each, ns["parts"])),
                    f"{found['of parts']:.2f}",
                    *([f"{peer:.2f}", f"{peer / ours:.1f}"] if peer else ["", ""]),
                ]
            )
            print(f"{problem.name}, {chains:,} chains, {case.name}", flush=True)
        print(f"\n{problem.name}, d = {problem.dim}: ns an element-step\n")
        harness.print_table(header, rows)
        print()
    return results
