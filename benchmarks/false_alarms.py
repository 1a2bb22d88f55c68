"""How often a right sampler is rejected: `python benchmarks/false_alarms.py`.

Every seed runs a right sampler and tests it: `compare` of ULA's end points against their exact law,
`invariance` of MALA by crossings, `ksd_test` of exact draws. The rate of rejections at a level must
not exceed the level. At 1e-6 a few hundred seeds can only show that it isn't far larger; the
looser levels, at which rejections do occur, show that p-values are honest.
"""

from __future__ import annotations

from collections.abc import Callable

import harness
import jax
import jax.numpy as jnp
from scipy import stats

import jlangevin as jl

LEVELS = (1e-6, 0.01, 0.05, 0.2)
SHOWN = 0.05  # the level whose rate is given an interval
NUM_CHAINS = 5_000

PValue = Callable[[int], float]  # of a seed


def compare(
    kernel: jl.Kernel, energy: jl.kernels.Energy, start: jl.Gaussian, num_steps: int
) -> PValue:
    law = jl.exact.law(kernel, energy, start, num_steps)

    def p_value(seed: int) -> float:
        run = jl.sample(
            jax.random.key(seed),
            energy,
            kernel,
            start,
            num_steps=num_steps,
            num_chains=NUM_CHAINS,
            observe=None,
        )
        return jl.verify.compare(run.position, law).p_value

    return p_value


def invariance(kernel: jl.Kernel, energy: jl.energies.GaussianMixture, num_steps: int) -> PValue:
    return lambda seed: (
        jl.verify.invariance(
            kernel,
            energy,
            energy,
            key=jax.random.key(seed),
            num_steps=num_steps,
            num_chains=NUM_CHAINS,
        ).p_value
    )


def ksd_test(energy: jl.energies.Quadratic | jl.energies.GaussianMixture, num_draws: int) -> PValue:
    def p_value(seed: int) -> float:
        draws, signs = jax.random.split(jax.random.key(seed))
        x = energy.sample(draws, num_draws)
        return float(jl.diagnostics.ksd_test(signs, x, energy, num_bootstrap=199).p_value)

    return p_value


def settings() -> dict[str, PValue]:
    standard = jl.Gaussian(jnp.zeros(2), jnp.eye(2))
    skewed = jl.Gaussian(jnp.array([3.0, 1.0]), jnp.array([[2.0, -0.5], [-0.5, 1.0]]))
    correlated = jl.energies.quadratic([[1.0, 0.6], [0.6, 2.0]], mean=[1.0, -2.0])
    wide = jl.energies.quadratic(jnp.diag(jnp.linspace(0.5, 2.0, 10)))
    ten = jl.Gaussian(jnp.ones(10), jnp.eye(10))
    shape = jnp.array([[0.5, 0.2], [0.2, 0.9]])
    warm = jl.ula(0.4, temperature=2.0, preconditioner=shape)
    means, covs = jnp.array([[-1.5, 0.5], [1.0, -0.5]]), jnp.stack([0.5 * jnp.eye(2), jnp.eye(2)])
    mixture = jl.energies.gaussian_mixture(means, covs, jnp.array([0.3, 0.7]))
    return {
        "compare, linear, d = 2, N = 100": compare(
            jl.ula(0.01), jl.energies.linear([0.8, 0.5]), standard, 100
        ),
        "compare, quadratic, d = 2, T = 2, preconditioned": compare(warm, correlated, skewed, 6),
        "compare, quadratic, d = 10, near stationary": compare(jl.ula(0.5), wide, ten, 40),
        "invariance, MALA on a mixture, N = 5": invariance(jl.mala(0.4), mixture, 5),
        "ksd_test, mixture, 200 draws": ksd_test(mixture, 200),
    }


def main() -> None:
    parser = harness.parser(__doc__.splitlines()[0], repeats=1)
    parser.add_argument("--seeds", type=int, default=1_000)
    args = parser.parse_args()
    harness.print_environment()
    rows, results = [], []
    for name, p_value in settings().items():
        p_values = [p_value(seed) for seed in range(args.seeds)]
        counts = {level: sum(p <= level for p in p_values) for level in LEVELS}
        low, high = stats.binomtest(counts[SHOWN], args.seeds).proportion_ci(0.95, "exact")
        results.append({"setting": name, "p_values": p_values, "interval": [low, high]})
        rates = [f"{count / args.seeds:.3f}" for count in counts.values()]
        rows.append([name, *rates, f"{low:.3f} to {high:.3f}"])
        print(*rows[-1], sep="  ", flush=True)
        for level, count in counts.items():
            if stats.binom.sf(count - 1, args.seeds, level) < 1e-6:
                raise SystemExit(f"{name}: {count} of {args.seeds} rejections at level {level}")
    print(
        f"\n{args.seeds} seeds, {NUM_CHAINS:,} chains: the rate of rejections at each level, and "
        f"at {SHOWN} its 95% interval (Clopper and Pearson 1934)\n"
    )
    header = ["setting", *(f"{level:g}" for level in LEVELS), f"interval at {SHOWN}"]
    harness.print_table(header, rows)
    harness.write_json(args.json, results)


if __name__ == "__main__":
    main()
