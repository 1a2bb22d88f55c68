"""How often verification rejects a correct sampler: `python benchmarks/false_alarms.py`.

Every seed runs ULA in three settings and holds the end points against the exact law. The rate of
rejections at a level must not exceed the level. At 1e-6 a few hundred seeds can only show that it
isn't far larger; the looser levels, at which rejections do occur, show that p-values are honest.
"""

from __future__ import annotations

import harness
import jax
import jax.numpy as jnp
from scipy import stats

import jlangevin as jl

LEVELS = (1e-6, 0.01, 0.05, 0.2)
NUM_CHAINS = 5_000


def settings() -> dict[str, tuple[jl.Kernel, jl.kernels.Energy, jl.Gaussian, int]]:
    standard = jl.Gaussian(jnp.zeros(2), jnp.eye(2))
    skewed = jl.Gaussian(jnp.array([3.0, 1.0]), jnp.array([[2.0, -0.5], [-0.5, 1.0]]))
    correlated = jl.energies.quadratic([[1.0, 0.6], [0.6, 2.0]], mean=[1.0, -2.0])
    wide = jl.energies.quadratic(jnp.diag(jnp.linspace(0.5, 2.0, 10)))
    ten = jl.Gaussian(jnp.ones(10), jnp.eye(10))
    shape = jnp.array([[0.5, 0.2], [0.2, 0.9]])
    return {
        "linear, d = 2, N = 100": (jl.ula(0.01), jl.energies.linear([0.8, 0.5]), standard, 100),
        "quadratic, d = 2, T = 2, preconditioned": (
            jl.ula(0.4, temperature=2.0, preconditioner=shape),
            correlated,
            skewed,
            6,
        ),
        "quadratic, d = 10, near stationary": (jl.ula(0.5), wide, ten, 40),
    }


def main() -> None:
    parser = harness.parser(__doc__.splitlines()[0], repeats=1)
    parser.add_argument("--seeds", type=int, default=300)
    args = parser.parse_args()
    harness.print_environment()
    rows, results = [], []
    for name, (kernel, energy, start, num_steps) in settings().items():
        law = jl.exact.law(kernel, energy, start, num_steps)
        p_values = []
        for seed in range(args.seeds):
            run = jl.sample(
                jax.random.key(seed),
                energy,
                kernel,
                start,
                num_steps=num_steps,
                num_chains=NUM_CHAINS,
                observe=None,
            )
            p_values.append(jl.verify.compare(run.position, law).p_value)
        counts = [sum(p < level for p in p_values) for level in LEVELS]
        results.append({"setting": name, "p_values": p_values})
        rows.append([name, *(f"{count / args.seeds:.3f}" for count in counts)])
        for level, count in zip(LEVELS, counts, strict=True):
            if stats.binom.sf(count - 1, args.seeds, level) < 1e-6:
                raise SystemExit(f"{name}: {count} of {args.seeds} rejections at level {level}")
    print(f"\n{args.seeds} seeds, {NUM_CHAINS:,} chains: the rate of rejections at each level\n")
    harness.print_table(["setting", *(f"{level:g}" for level in LEVELS)], rows)
    harness.write_json(args.json, results)


if __name__ == "__main__":
    main()
