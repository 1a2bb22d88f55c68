"""Seconds from nothing to 1,000 effective draws: `python benchmarks/time_to_draws.py`.

Each sampler begins in a process of its own, where none of its programs has been compiled yet, with
a posterior of `models` and chains that start uniformly on (-2, 2). The clock starts when the
library is imported and the posterior and the key exist. It runs while a sampler compiles, warms up
and draws. It stops while the draws are judged, by the same rule for all. Draws come in chunks,
until the bulk effective sample size of the worst quantity is 1,000, or a chain has 20,000.

Ours is `malt` with 64 chains, its default warm-up, and 50 steps a chunk. Beside it are NumPyro's
and BlackJAX's NUTS with a dense mass, 4 chains, 1,000 steps of warm-up, 250 steps a chunk, and
defaults otherwise. Their finite starts are drawn before the clock starts; ours are drawn while it
runs. NumPyro's own driver compiles again in every call, so its kernel is scanned instead, and one
program serves warm-up and draws. BlackJAX has a program for each, as its documentation shows it. No
later chunk compiles anything.

"Off by sd" is the largest deviation of a quantity's mean from its reference, in standard deviations
of the reference: by chance 0.03 to 0.1, and more where a sampler was fast and wrong. "Refused"
marks a warm-up of ours which says that chains have not settled; the run goes on nevertheless.

The processes take turns, so that a slow minute falls on all alike; the figures are medians.
"""

from __future__ import annotations

import argparse
import collections
import dataclasses
import json
import math
import os
import statistics
import subprocess
import sys
import warnings
from collections.abc import Callable
from typing import Any

import harness
import jax
import jax.numpy as jnp
import models
import numpy as np
from first_call import Clock
from models import Posterior

import jlangevin as jl

TARGET, CAP = 1_000, 20_000  # effective draws in all, draws a chain
CHAINS, PEERS_CHAINS = 64, 4
CHUNK, PEERS_CHUNK = 50, 250  # steps
WARM_UP = 1_000  # steps of the peers'


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What one process found, or the medians of several. The defaults are those of a failure."""

    note: str = ""
    seconds: float = math.inf
    warm_up: float = math.inf  # of these seconds, with what it compiled
    compiling: float = math.inf  # of these seconds, with tracing and lowering
    late_programs: float = 0  # compiled after the first chunk
    draws: float = 0  # of a chain
    ess: float = 0
    off: float = math.nan

    @property
    def reached(self) -> bool:
        return self.ess >= TARGET


# Samplers -----------------------------------------------------------------------------------------

# Each takes a key, a posterior and a law to start from, prepares what is not timed, and returns
# what is: a function that warms up. That one returns a note on the warm-up and a function that
# draws a chunk of positions, (chain, draw, element).
More = Callable[[], jax.Array]
Begin = Callable[[], tuple[str, More]]


def ours(key: jax.Array, posterior: Posterior, law: Any) -> Begin:
    def begin() -> tuple[str, More]:
        kernel = jl.malt(0.1, 1.0, 4)
        found = jl.warm_up(key, posterior.energy, kernel, law, num_chains=CHAINS)
        state = found.state

        def more() -> jax.Array:
            nonlocal state
            run = jl.resume(state, posterior.energy, found.kernel, num_steps=CHUNK)
            state = run.state
            return run.draws

        return "" if found.verdict.settled else "refused", more

    return begin


def numpyros(key: jax.Array, posterior: Posterior, law: Any) -> Begin:
    from numpyro.infer import NUTS

    starts = jl.starts.draw(key, posterior.energy, law, PEERS_CHAINS).positions
    kernel = NUTS(potential_fn=posterior.energy, dense_mass=True)

    @jax.jit
    def go_on(state: Any) -> Any:
        def one(state: Any, _: None) -> Any:
            state = kernel.sample(state, (), {})
            return state, state.z

        return jax.lax.scan(one, state, length=PEERS_CHUNK)

    def begin() -> tuple[str, More]:
        keys = jax.random.split(key, PEERS_CHAINS)
        state = kernel.init(keys, WARM_UP, starts, (), {})
        for _ in range(WARM_UP // PEERS_CHUNK):
            state, _ = go_on(state)
        jax.block_until_ready(state)

        def more() -> jax.Array:
            nonlocal state
            state, positions = go_on(state)
            return positions.swapaxes(0, 1)

        return "", more

    return begin


def blackjaxs(key: jax.Array, posterior: Posterior, law: Any) -> Begin:
    import blackjax

    starts = jl.starts.draw(key, posterior.energy, law, PEERS_CHAINS).positions

    def log_density(x: jax.Array) -> jax.Array:
        return -posterior.energy(x)

    @jax.jit
    @jax.vmap
    def adapt(key: jax.Array, start: jax.Array) -> Any:
        """Each chain adapts by itself, as NumPyro's chains do."""
        adaptation = blackjax.window_adaptation(
            blackjax.nuts,
            log_density,
            is_mass_matrix_diagonal=False,
            adaptation_info_fn=blackjax.adaptation.base.get_filter_adapt_info_fn(),
        )
        return adaptation.run(key, start, WARM_UP)[0]

    @jax.jit
    @jax.vmap
    def draw(key: jax.Array, state: Any, parameters: Any) -> Any:
        step = blackjax.nuts(log_density, **parameters).step

        def one(state: Any, key: jax.Array) -> Any:
            state, _ = step(key, state)
            return state, state.position

        return jax.lax.scan(one, state, jax.random.split(key, PEERS_CHUNK))

    def begin() -> tuple[str, More]:
        keys = jax.random.split(key, PEERS_CHAINS)
        state, parameters = jax.block_until_ready(adapt(keys, starts))
        chunk = 0

        def more() -> jax.Array:
            nonlocal state, chunk
            chunk += 1
            keys = jax.random.split(jax.random.fold_in(key, chunk), PEERS_CHAINS)
            state, positions = draw(keys, state, parameters)
            return positions

        return "", more

    return begin


SAMPLERS = {"jlangevin": ours, "numpyro": numpyros, "blackjax": blackjaxs}


# In a process of its own --------------------------------------------------------------------------


def measure(name: str, by: str, seed: int) -> Outcome:
    posterior = next(made for made in (make() for make in models.ALL) if made.name == name)
    law = jl.starts.uniform(-2, 2, like=jnp.zeros(posterior.dim))
    key = jax.block_until_ready(jax.random.key(seed))
    begin = SAMPLERS[by](key, posterior, law)
    quantities_of = jax.jit(jax.vmap(jax.vmap(posterior.quantities)))
    clock, calls = Clock(), []

    def timed(program: Callable[[], Any]) -> Any:
        results: list[Any] = []

        def run() -> Any:
            results.append(program())
            return results[0]

        calls.append(clock(run))
        return results[0]

    warnings.simplefilter("ignore")  # note and figures say it, and 400 chunks would each warn
    try:
        note, more = timed(begin)
    except jl.errors.AdaptationError:
        return Outcome("refused")
    chunks: list[Any] = []
    due, ess = 1, math.nan  # the number of chunks at the next judgement; the last result
    while not ess >= TARGET:
        chunks.append(np.asarray(quantities_of(timed(more)), float))
        draws = len(chunks) * chunks[0].shape[1]
        if len(chunks) >= due or draws >= CAP:
            seen = np.concatenate(chunks, axis=1)
            ess = float(np.min(jl.diagnostics.ess(jnp.asarray(seen))))
            # Judging compiles too, so it waits for nine tenths of what is likely to be needed, or
            # for twice what there is.
            factor = min(0.9 * TARGET / ess, 2) if ess > 0 else 1
            due = max(len(chunks) + 1, int(len(chunks) * factor))
        if draws >= CAP:
            break
    off = math.nan
    if reference := posterior.reference:
        off = float(np.max(np.abs(seen.mean(axis=(0, 1)) - reference.mean) / reference.sd))
    return Outcome(
        note,
        seconds=sum(call.seconds for call in calls),
        warm_up=calls[0].seconds,
        compiling=sum(call.tracing + call.lowering + call.compiling for call in calls),
        late_programs=sum(call.programs for call in calls[2:]),
        draws=draws,
        ess=ess,
        off=off,
    )


# Tables -------------------------------------------------------------------------------------------


def in_a_fresh_process(name: str, by: str, seed: int, x64: bool, limit: float) -> Outcome:
    try:
        done = subprocess.run(
            [sys.executable, __file__, "--child", name, by, str(seed), *["--x64"] * x64],
            env=os.environ | {"JAX_ENABLE_COMPILATION_CACHE": "false"},
            stdout=subprocess.PIPE,
            text=True,
            check=True,
            timeout=limit,
        )
    except subprocess.TimeoutExpired:
        return Outcome(f"over {limit:.0f} s")
    except subprocess.CalledProcessError:
        return Outcome("failed")  # and has said why
    return Outcome(**json.loads(done.stdout.splitlines()[-1]))


def median(outcomes: list[Outcome]) -> Outcome:
    """The median of each figure by itself, and how many outcomes have each note."""
    notes, *figures = zip(*map(dataclasses.astuple, outcomes), strict=True)
    counts = collections.Counter(filter(None, notes))
    note = ", ".join(f"{note} {count} of {len(notes)}" for note, count in counts.items())
    return Outcome(note, *map(statistics.median, figures))


Found = dict[str, dict[str, list[Outcome]]]  # posterior to sampler to repeats


def outcomes(args: argparse.Namespace) -> Found:
    names = [name for name in (make().name for make in models.ALL) if args.only in name]
    found: Found = {name: {by: [] for by in SAMPLERS} for name in names}
    for seed in range(args.repeats):
        for name, samplers in found.items():
            for by, each in samplers.items():
                each.append(in_a_fresh_process(name, by, seed, args.x64, args.limit))
                print(f"{seed + 1} of {args.repeats}, {name}, {by}: {each[-1].seconds:.1f} s")
                sys.stdout.flush()
    return found


def ratio(medians: dict[str, Outcome]) -> str:
    """The seconds of the best peer that reached the target, over ours."""
    mine, *peers = medians.values()
    reached = [peer.seconds for peer in peers if peer.reached]
    if not mine.reached or not reached:
        return "-"
    return f"{min(reached) / mine.seconds:.2f}"


def tables(found: dict[str, dict[str, Outcome]]) -> None:
    rows, details = [], []
    for name, medians in found.items():
        # In brackets if the effective draws are fewer.
        seconds = [
            f"{m.seconds:.1f}" if m.reached else f"({m.seconds:.1f})" for m in medians.values()
        ]
        notes = ", ".join(f"{by} {m.note}" for by, m in medians.items() if m.note)
        rows.append([name, *seconds, ratio(medians), notes])
        for by, m in medians.items():
            figures = [f"{m.warm_up:.1f}", f"{m.compiling:.1f}", f"{m.draws:,.0f}", f"{m.ess:,.0f}"]
            details.append([f"{name}: {by}", *figures, f"{m.off:.3f}"])
    print(f"\nseconds to {TARGET:,} effective draws, (to fewer)\n")
    harness.print_table(["posterior", *SAMPLERS, "best peer / ours", "notes"], rows)
    print()
    header = ["seconds spent", "warm-up", "compiling", "draws of a chain", "ESS", "off by sd"]
    harness.print_table(header, details)


def main() -> None:
    parser = harness.parser(__doc__.splitlines()[0], repeats=3)
    parser.add_argument("--only", metavar="NAME", default="", help="posteriors whose name has NAME")
    parser.add_argument("--x64", action="store_true", help="all in float64")
    parser.add_argument("--limit", type=float, default=900, help="seconds of a process at most")
    parser.add_argument("--child", nargs=3, help="print one sampler's figures on one posterior")
    args = parser.parse_args()
    jax.config.update("jax_enable_x64", args.x64)
    if args.child:
        name, by, seed = args.child
        print(json.dumps(dataclasses.asdict(measure(name, by, int(seed)))))
        return
    # Otherwise this process would take most of a card's memory, which the others need.
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    harness.print_environment()
    every = outcomes(args)
    tables({name: {by: median(each[by]) for by in each} for name, each in every.items()})
    results = [
        {"posterior": name, "sampler": by, "repeats": [dataclasses.asdict(o) for o in each]}
        for name, samplers in every.items()
        for by, each in samplers.items()
    ]
    harness.write_json(args.json, results)


if __name__ == "__main__":
    main()
