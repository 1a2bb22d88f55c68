"""Seconds to the first result in a fresh Python: `python benchmarks/first_call.py`.

The double well in ten dimensions, 100 chains × 100 steps, float32. Each kernel runs in a process of
its own, where none of its programs has been compiled yet. The clock starts when the library is
imported and the key and the start positions exist, and stops when the result is ready; XLA's
compilations in between are counted. Then a run of 101 steps is timed in the same process. Runs that
keep their draws have processes of their own, as 101 draws have another shape.

Beside it runs BlackJAX as its documentation shows it: a `scan` over keys of a kernel under `vmap`,
in one `jit`, with nothing kept. `init` makes its states before the `jit` or inside it, whichever is
faster. `ula` is compared with `sgld` on the full gradient, `malt` with Hamiltonian Monte Carlo of
as many leapfrogs.

The processes take turns, so that a slow minute falls on all alike; the figures are medians. A
second table says where the first call's time went.
"""

from __future__ import annotations

import dataclasses
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import harness
import jax
import jax.numpy as jnp
import numpy as np

CHAINS, DIM, STEPS = 100, 10, 100
ETA = 1e-3
H = 0.05  # the step size of those that have a velocity
Run = Callable[[int], Any]  # number of steps to result

# Which of BlackJAX's algorithms stands beside which kernel.
PEERS = {"ula": "sgld", "mala": "mala", "malt, L = 4": "hmc", "malt, L = 8": "hmc"}
KERNELS = (
    "ula",
    "leimkuhler_matthews",
    "underdamped",
    "mala",
    "barker",
    "malt, L = 4",
    "malt, L = 8",
    "tempered(mala), 4 temperatures",
    "coupled(mala)",
)


@dataclasses.dataclass(frozen=True)
class Case:
    """What one process runs: one of KERNELS by one of BUILDERS."""

    kernel: str
    by: str

    def exists(self) -> bool:
        return self.by.startswith("jlangevin") or self.kernel in PEERS


@dataclasses.dataclass(frozen=True)
class Call:
    """The seconds that one call took, the number of programs compiled, and the seconds of three of
    its parts, which do not overlap."""

    seconds: float
    programs: int
    tracing: float
    lowering: float
    compiling: float


# In a process of its own ----------------------------------------------------------------------


def ours(kernel: str, keep: bool) -> Callable[..., Run]:
    import jlangevin as jl

    made: dict[str, Callable[[], Any]] = {
        "ula": lambda: jl.ula(ETA),
        "leimkuhler_matthews": lambda: jl.leimkuhler_matthews(ETA),
        "underdamped": lambda: jl.underdamped(H, 1.0),
        "mala": lambda: jl.mala(ETA),
        "barker": lambda: jl.barker(ETA),
        "malt, L = 4": lambda: jl.malt(H, 1.0, 4),
        "malt, L = 8": lambda: jl.malt(H, 1.0, 8),
        "tempered(mala), 4 temperatures": lambda: jl.tempered(jl.mala(ETA), [1.0, 2.0, 4.0, 8.0]),
        "coupled(mala)": lambda: jl.coupled(jl.mala(ETA), lag=10),
    }

    def build(key: jax.Array, start: jax.Array) -> Run:
        energy, chosen = jl.energies.double_well(dim=DIM), made[kernel]()
        options: dict[str, Any] = {} if keep else {"observe": None}
        return lambda steps: jl.sample(key, energy, chosen, start, num_steps=steps, **options)

    return build


def blackjaxs(kernel: str, init_inside: bool) -> Callable[..., Run]:
    """A run that keeps only the final states."""
    import blackjax

    def log_density(x: jax.Array) -> jax.Array:
        return -jnp.sum((x**2 - 1) ** 2)

    def algorithm() -> tuple[Callable[..., Any], Callable[..., Any]]:
        """`init`, a function of a position, and `step`, a function of a key and a state."""
        if PEERS[kernel] == "sgld":
            sgld = blackjax.sgld(lambda position, _: jax.grad(log_density)(position))
            return sgld.init, lambda key, x: sgld.step(key, x, None, ETA)
        if PEERS[kernel] == "mala":
            made = blackjax.mala(log_density, ETA)
        else:
            made = blackjax.hmc(log_density, H, np.ones(DIM, np.float32), int(kernel[-1]))
        return made.init, lambda key, state: made.step(key, state)[0]

    def build(key: jax.Array, start: jax.Array) -> Run:
        init, step = algorithm()
        states = start if init_inside else jax.vmap(init)(start)

        @partial(jax.jit, static_argnums=2)
        def inference_loop(key: jax.Array, states: Any, steps: int) -> Any:
            def one_step(states: Any, key: jax.Array) -> tuple[Any, None]:
                return jax.vmap(step)(jax.random.split(key, CHAINS), states), None

            if init_inside:
                states = jax.vmap(init)(states)
            return jax.lax.scan(one_step, states, jax.random.split(key, steps))[0]

        return lambda steps: inference_loop(key, states, steps)

    return build


BUILDERS: dict[str, Callable[[str], Callable[..., Run]]] = {
    "jlangevin": partial(ours, keep=False),
    "jlangevin, draws kept": partial(ours, keep=True),
    "blackjax, init before": partial(blackjaxs, init_inside=False),
    "blackjax, init inside": partial(blackjaxs, init_inside=True),
}


class Clock:
    """Times calls and hears from JAX what it traces, lowers and compiles in them."""

    def __init__(self) -> None:
        self._spans: dict[str, list[tuple[float, float]]] = {}
        jax.monitoring.register_event_time_span_listener(self._listen)

    def _listen(self, event: str, start_time: float, end_time: float, **_: Any) -> None:
        spans = self._spans.setdefault(event.removeprefix("/jax/core/compile/"), [])
        spans.append((start_time, end_time))

    def __call__(self, program: Callable[[], Any]) -> Call:
        self._spans.clear()
        begun = time.perf_counter()
        jax.block_until_ready(program())
        seconds = time.perf_counter() - begun
        compiled = self._spans.get("backend_compile_duration", [])
        lowered = compiled + self._spans.get("jaxpr_to_mlir_module_duration", [])
        traced = lowered + self._spans.get("jaxpr_trace_duration", [])
        compiling, lowering, tracing = map(covered, (compiled, lowered, traced))
        return Call(seconds, len(compiled), tracing - lowering, lowering - compiling, compiling)


def covered(spans: Iterable[tuple[float, float]]) -> float:
    """Seconds within any of the spans, which may lie inside one another."""
    total, last = 0.0, -np.inf
    for begun, ended in sorted(spans):
        total += max(ended - max(begun, last), 0.0)
        last = max(last, ended)
    return total


def measure(case: Case) -> list[Call]:
    """Time the first call, and one with another number of steps."""
    build = BUILDERS[case.by](case.kernel)
    inputs = jax.random.key(0), jnp.asarray(np.ones((CHAINS, DIM), np.float32))
    jax.block_until_ready(inputs)
    clock, built = Clock(), []

    def first() -> Any:
        built.append(build(*inputs))
        return built[0](STEPS)

    return [clock(first), clock(lambda: built[0](STEPS + 1))]


# Tables ---------------------------------------------------------------------------------------


def in_a_fresh_process(case: Case) -> list[Call]:
    done = subprocess.run(
        [sys.executable, __file__, "--child", case.kernel, case.by],
        env=os.environ | {"JAX_ENABLE_COMPILATION_CACHE": "false"},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return [Call(**call) for call in json.loads(done.stdout.splitlines()[-1])]


def median(calls: Iterable[Call]) -> Call:
    """The median of each figure by itself."""
    columns = zip(*map(dataclasses.astuple, calls), strict=True)
    seconds, programs, *parts = map(statistics.median, columns)
    return Call(seconds, int(programs), *parts)


def first_calls(only: str, repeats: int) -> dict[Case, list[Call]]:
    cases = [Case(kernel, by) for kernel in KERNELS if only in kernel for by in BUILDERS]
    measured: dict[Case, list[list[Call]]] = {case: [] for case in cases if case.exists()}
    for repeat in range(repeats):
        for case in measured:
            measured[case].append(in_a_fresh_process(case))
        print(f"repeat {repeat + 1} of {repeats}", flush=True)
    return {case: [median(nth) for nth in zip(*m, strict=True)] for case, m in measured.items()}


def table(found: dict[Case, list[Call]]) -> list[dict[str, Any]]:
    other_steps = f"{STEPS + 1} steps s"
    header = ["kernel", "first call s", "programs", other_steps, "programs"]
    header += [f"{other_steps}, draws kept", "programs", "blackjax: first call s", other_steps]
    header += ["first call / blackjax's"]
    rows, results = [], []
    for kernel in dict.fromkeys(case.kernel for case in found):
        by = {case.by: calls for case, calls in found.items() if case.kernel == kernel}
        first, other = by["jlangevin"]
        kept = by["jlangevin, draws kept"][1]
        shown = [text for call in (first, other, kept) for text in _cells(call)]
        peers = [calls for name, calls in by.items() if name.startswith("blackjax")]
        if peers:
            peer = min(peers, key=lambda calls: calls[0].seconds)
            ratio = first.seconds / peer[0].seconds
            shown += [f"{peer[0].seconds:.3f}", f"{peer[1].seconds:.3f}", f"{ratio:.2f}"]
        rows.append([kernel, *shown, *[""] * (len(header) - 1 - len(shown))])
        calls = {name: [dataclasses.asdict(call) for call in c] for name, c in by.items()}
        results.append({"kernel": kernel, "calls": calls})
    print(f"\ndouble well, d = {DIM}, {CHAINS} chains × {STEPS} steps, then {STEPS + 1}\n")
    harness.print_table(header, rows)
    return results


def _cells(call: Call) -> list[str]:
    return [f"{call.seconds:.3f}", str(call.programs)]


def parts(found: dict[Case, list[Call]]) -> None:
    header = ["seconds of the first call", "programs", "tracing", "lowering", "compiling", "rest"]
    rows = []
    for case, (first, _) in found.items():
        each = (first.tracing, first.lowering, first.compiling)
        rest = first.seconds - sum(each)
        figures = [f"{seconds:.2f}" for seconds in (*each, rest)]
        rows.append([f"{case.kernel}: {case.by}", str(first.programs), *figures])
    print()
    harness.print_table(header, rows)


def main() -> None:
    parser = harness.parser(__doc__.splitlines()[0], repeats=5)
    parser.add_argument(
        "--only", metavar="NAME", default="", help="kernels whose name contains NAME"
    )
    parser.add_argument("--child", nargs=2, help="print the figures of one kernel by one library")
    args = parser.parse_args()
    if args.child:
        print(json.dumps([dataclasses.asdict(call) for call in measure(Case(*args.child))]))
        return
    # Otherwise this process would take most of a card's memory, which the others need.
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    harness.print_environment()
    found = first_calls(args.only, args.repeats)
    results = table(found)
    parts(found)
    harness.write_json(args.json, results)


if __name__ == "__main__":
    main()
