"""The notebook's own computation beside jlangevin: `python benchmarks/notebook.py`.

E(x) = θ·x in R², x_0 ~ N(0, I), 100,000 steps of x' = x - η ∇log p + sqrt(2η) ξ. The NumPy part is
newly written. It draws as the notebook did, so that with seed 999 it ends where the notebook ended.
NumPy's `multivariate_normal` draws the same numbers here as `randn`, ten times as slowly; the loop
is timed with either.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import harness
import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

import jlangevin as jl

NUM_STEPS, ETA = 100_000, 0.01
STATED_END = (808.83338304, 495.30474785)

Floats = NDArray[np.float64]


def notebook_chain(draw: Callable[[], Floats], num_steps: int) -> tuple[Floats, Floats, Floats]:
    """θ, the notebook's "analytical" draw, and the chain's end."""
    np.random.seed(999)
    theta = np.random.rand(2)
    stated = num_steps * ETA * theta + np.sqrt(2 * ETA) * np.sqrt(num_steps + 1) * draw()
    x = draw()
    for _ in range(num_steps):
        grad_log_p = -theta
        x = x - ETA * grad_log_p + np.sqrt(2 * ETA) * draw()
    return theta, stated, x


def multivariate() -> Floats:
    return np.random.multivariate_normal(np.zeros(2), np.eye(2))


def randn() -> Floats:
    return np.random.randn(2)


def main() -> None:
    args = harness.parser(__doc__.splitlines()[0], repeats=5).parse_args()
    harness.print_environment()
    theta, stated, end = notebook_chain(multivariate, NUM_STEPS)
    print(f"\nNumPy, seed 999: θ = {theta}, stated law's draw {stated}, end of the chain {end}")
    if not np.allclose(end, STATED_END, rtol=0, atol=5e-9):
        raise SystemExit(f"the notebook's chain ends at {STATED_END}")

    energy = jl.energies.linear(-theta)  # as the notebook writes it, the recursion climbs
    kernel = jl.ula(ETA)
    start = jl.Gaussian(jnp.zeros(2), jnp.eye(2))
    key = jax.random.key(999)

    def one_chain() -> Any:
        return jl.sample(key, energy, kernel, start, num_steps=NUM_STEPS, num_chains=1).draws

    def many_chains() -> Any:
        return jl.sample(
            key, energy, kernel, start, num_steps=1_000, num_chains=100_000, observe=None
        ).position

    programs = {
        "NumPy loop, multivariate_normal": lambda: notebook_chain(multivariate, NUM_STEPS),
        "NumPy loop, randn": lambda: notebook_chain(randn, NUM_STEPS),
        "jlangevin, 1 chain, all draws kept": one_chain,
        "jlangevin, 100,000 chains × 1,000 steps": many_chains,
    }
    steps = [NUM_STEPS, NUM_STEPS, NUM_STEPS, 100_000 * 1_000]
    timings = harness.interleave(programs, args.repeats)
    slow = timings["NumPy loop, multivariate_normal"].median / NUM_STEPS
    fast = timings["NumPy loop, randn"].median / NUM_STEPS
    rows, results = [], []
    for (name, timing), count in zip(timings.items(), steps, strict=True):
        each = timing.median / count
        compiled = timing.compile if name.startswith("jlangevin") else math.nan
        rows.append(
            [
                name,
                f"{timing.median * 1e3:,.1f}",
                "" if math.isnan(compiled) else f"{compiled:.2f}",
                f"{each * 1e9:,.2f}",
                f"{1 / each:,.0f}",
                f"{slow / each:,.0f}",
                f"{fast / each:,.0f}",
            ]
        )
        results.append({"name": name, "steps": count, "repeats": timing.repeats})
    print()
    harness.print_table(
        [
            "program",
            "ms",
            "compile s",
            "ns/chain-step",
            "chain-steps/s",
            "× multivariate",
            "× randn",
        ],
        rows,
    )
    harness.write_json(args.json, results)


if __name__ == "__main__":
    main()
