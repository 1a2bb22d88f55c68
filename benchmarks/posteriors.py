"""Effective samples a second on posteriors of real data: `python benchmarks/posteriors.py`.

For each posterior, one warm-up of ours (timed apart) settles the chains and finds the covariance.
Every sampler starts from these chains; peers run in coordinates that the covariance makes round.
Each finds its own step size: ours by `warm_up`, NUTS by its library's window adaptation, MCLMC by
its own tuning. BlackJAX's MALA has no tuning and is given ours. All run the same number of chains.

All are judged by one rule. The effective sample size of a quantity is its variance over the squared
Monte Carlo error, and with m independent chains that is the variance of the m chain means over m.
The table shows the least over all quantities, per second and per gradient. Repeats under different
keys are taken together; time is their median. Beside it stands the largest deviation of a mean or a
mean square from the reference, in combined Monte Carlo errors and in posterior standard deviations;
the latter shows the bias of samplers that accept everything. The reference is posteriordb's draws
or, for the logistic regression, a long run of BlackJAX's NUTS.
"""

from __future__ import annotations

import dataclasses
import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import blackjax
import harness
import jax
import jax.numpy as jnp
import models
import numpy as np
from models import Posterior, Reference

import jlangevin as jl

MAKES = (
    models.autoregression,
    models.eight_schools,
    models.kid_scores,
    models.logistic_regression,
)

Step = Callable[[jax.Array, Any], tuple[Any, Any]]  # (key, state) -> (state, gradients taken)


@dataclasses.dataclass(frozen=True)
class Settled:
    """A posterior in round coordinates, its chains there, and what `warm_up` found."""

    posterior: Posterior
    round: Posterior
    positions: jax.Array  # round, (chains, dim)
    lower: jax.Array
    seconds: float


@dataclasses.dataclass(frozen=True)
class Program:
    """An adapted sampler. `run(key)` gives each chain's means of the quantities and of their
    squares, (chains, 2, k), and the number of gradients that a chain took."""

    run: Callable[[jax.Array], tuple[Any, Any]]
    chains: int


def settle(posterior: Posterior, chains: int) -> Settled:
    begun = time.perf_counter()
    starts = jnp.asarray(posterior.prior(np.random.default_rng(0), chains), float)
    found = jl.warm_up(
        jax.random.key(0),
        posterior.energy,
        jl.malt(1e-2, 1.0, 4),
        starts,
        precondition="dense",
        target_acceptance=0.7,
    )
    lower = jnp.linalg.cholesky(found.kernel.inverse_mass.lower @ found.kernel.inverse_mass.lower.T)
    positions = jnp.linalg.solve(lower, found.state.kernel.position.T).T
    jax.block_until_ready(positions)
    seconds = time.perf_counter() - begun
    straight = dataclasses.replace(
        posterior,
        energy=lambda y: posterior.energy(lower @ y),
        quantities=lambda y: posterior.quantities(lower @ y),
    )
    return Settled(posterior, straight, positions, lower, seconds)


def observed(posterior: Posterior, position: jax.Array) -> jax.Array:
    quantities = posterior.quantities(position)
    return jnp.stack([quantities, quantities**2])


# jlangevin ----------------------------------------------------------------------------------------


def tuned(settled: Settled, kernel: Any, target: float, **options: Any) -> Any:
    """`kernel` with the step size that accepts `target`."""
    return jl.warm_up(
        jax.random.key(1),
        settled.posterior.energy,
        kernel,
        settled.positions @ settled.lower.T,
        precondition=None,
        target_acceptance=target,
        **options,
    ).kernel


def ours(settled: Settled, kernel: Any, gradients: int) -> Program:
    """`kernel`, run for as many steps as take `gradients`."""
    posterior, starts = settled.posterior, settled.positions @ settled.lower.T
    reducer = jl.reducers.expectation(lambda state: observed(posterior, state.position))
    per_step = getattr(kernel, "trajectory_length", 1)

    def run(key: jax.Array) -> tuple[Any, Any]:
        made = jl.sample(
            key,
            posterior.energy,
            kernel,
            starts,
            num_steps=gradients // per_step,
            observe=None,
            reducers=reducer,
        )
        return made.summary, gradients

    return Program(run, len(starts))


# Peers --------------------------------------------------------------------------------------------


def scanned(settled: Settled, step: Step, init: Any, chains: int, steps: int) -> Program:
    """A peer's step mapped over chains and scanned over steps, with running sums for draws."""
    posterior = settled.round

    @jax.jit
    def run(key: jax.Array) -> tuple[Any, Any]:
        def chain(key: jax.Array, position: jax.Array) -> tuple[Any, Any]:
            def one(carry: Any, key: jax.Array) -> tuple[Any, None]:
                state, total, gradients = carry
                state, cost = step(key, state)
                return (state, total + observed(posterior, state.position), gradients + cost), None

            state, zero = init(position), jnp.zeros_like(observed(posterior, position))
            keys = jax.random.split(key, steps)
            (_, total, cost), _ = jax.lax.scan(one, (state, zero, jnp.asarray(0)), keys)
            return total / steps, cost

        starts = settled.positions[:chains]
        means, costs = jax.vmap(chain)(jax.random.split(key, chains), starts)
        return means, costs.mean()

    return Program(run, chains)


def log_density(settled: Settled) -> Callable[[jax.Array], jax.Array]:
    return lambda y: -settled.round.energy(y)


def blackjax_nuts(settled: Settled, chains: int, gradients: int) -> Program:
    adaptation = blackjax.window_adaptation(blackjax.nuts, log_density(settled))
    (_, parameters), _ = adaptation.run(jax.random.key(2), settled.positions[0], 500)
    kernel = blackjax.nuts(log_density(settled), **parameters)

    def step(key: jax.Array, state: Any) -> tuple[Any, Any]:
        state, info = kernel.step(key, state)
        return state, info.num_integration_steps

    return scanned(settled, step, kernel.init, chains, gradients // 5)


def blackjax_mala(settled: Settled, chains: int, gradients: int, step_size: float) -> Program:
    kernel = blackjax.mala(log_density(settled), step_size)

    def step(key: jax.Array, state: Any) -> tuple[Any, Any]:
        return kernel.step(key, state)[0], 1

    return scanned(settled, step, kernel.init, chains, gradients)


def blackjax_mclmc(settled: Settled, chains: int, gradients: int) -> Program:
    """Unadjusted, with the two gradients a step of its default integrator."""
    density = log_density(settled)

    def init(position: jax.Array) -> Any:
        return blackjax.mclmc.init(position, density, jax.random.key(3))

    _, found, _ = blackjax.mclmc_find_L_and_step_size(
        blackjax.mcmc.mclmc.build_kernel(),
        num_steps=5_000,
        state=init(settled.positions[0]),
        rng_key=jax.random.key(4),
        logdensity_fn=density,
        diagonal_preconditioning=False,
    )
    kernel = blackjax.mclmc(density, L=found.L, step_size=found.step_size)

    def step(key: jax.Array, state: Any) -> tuple[Any, Any]:
        return kernel.step(key, state)[0], 2

    return scanned(settled, step, init, chains, gradients // 2)


def numpyro_nuts(settled: Settled, chains: int, gradients: int) -> Program:
    """With its own driver, chains vectorised; the draws it keeps are reduced afterwards."""
    from numpyro.infer import MCMC, NUTS

    posterior, steps = settled.round, gradients // 5
    sampler = MCMC(
        NUTS(potential_fn=posterior.energy),
        num_warmup=300,
        num_samples=steps,
        num_chains=chains,
        chain_method="vectorized",
        progress_bar=False,
    )
    sampler.warmup(
        jax.random.key(5), init_params=settled.positions[:chains], extra_fields=("num_steps",)
    )
    reduce = jax.jit(jax.vmap(lambda x: jax.vmap(lambda y: observed(posterior, y))(x).mean(0)))

    def run(key: jax.Array) -> tuple[Any, Any]:
        sampler.run(key, extra_fields=("num_steps",))
        means = reduce(sampler.get_samples(group_by_chain=True))
        return means, sampler.get_extra_fields()["num_steps"].sum() / chains

    return Program(run, chains)


# The judgement ------------------------------------------------------------------------------------


def long_reference(settled: Settled) -> Reference:
    """The moments of 64 chains of NUTS, 4,000 draws each."""
    means, _ = blackjax_nuts(settled, 64, 20_000).run(jax.random.key(6))
    means = np.asarray(means)
    error = means.std(axis=0, ddof=1) / 8
    (mean, square), (mean_error, square_error) = means.mean(axis=0), error
    return Reference(mean, mean_error, square, square_error)


def judge(program: Program, reference: Reference, repeats: int) -> dict[str, Any]:
    jax.block_until_ready(program.run(jax.random.key(100)))
    seconds, costs, every = [], [], []
    for repeat in range(repeats):
        begun = time.perf_counter()
        means, gradients = jax.block_until_ready(program.run(jax.random.key(101 + repeat)))
        seconds.append(time.perf_counter() - begun)
        costs.append(float(gradients) * program.chains)
        every.append(np.asarray(means, float))
    means = np.concatenate(every)
    count = len(means)
    error = means.std(axis=0, ddof=1) / count**0.5
    mean, square = means.mean(axis=0)
    variance = square - mean**2
    of_mean = np.mean([each[:, 0].var(axis=0, ddof=1) for each in every], axis=0) / program.chains
    effective = float((variance / of_mean).min())
    z = np.abs(
        [
            (mean - reference.mean) / np.hypot(error[0], reference.mean_error),
            (square - reference.square) / np.hypot(error[1], reference.square_error),
        ]
    )
    return {
        "ess_per_second": effective / statistics.median(seconds),
        "ess_per_gradient": effective / statistics.median(costs),
        "z": float(z.max()),
        "off": float(np.abs((mean - reference.mean) / reference.sd).max()),
    }


def samplers(settled: Settled, chains: int, gradients: int) -> dict[str, Callable[[], Program]]:
    """The programs of each row, as functions that make them."""
    p = jl.kernels.Dense(settled.lower)
    mala = tuned(settled, jl.mala(0.3, preconditioner=p), 0.574)
    eta = float(mala.step_size)
    mass = jl.kernels.Dense(settled.lower).inverse()
    rows: dict[str, Callable[[], Program]] = {}
    for length in (1, 2, 4, 8):
        malt = tuned(settled, jl.malt(0.5, 1.0, length, mass=mass), 0.7)
        rows[f"jlangevin malt, L = {length}"] = partial(ours, settled, malt, gradients)
    malt = tuned(settled, jl.malt(0.5, 1.0, 2, mass=mass), 0.7, longest_trajectory=8)
    name = f"jlangevin malt, L = {malt.trajectory_length} as found"
    rows[name] = partial(ours, settled, malt, gradients)
    rows["jlangevin mala"] = lambda: ours(settled, mala, gradients)
    rows["jlangevin ula"] = lambda: ours(settled, jl.ula(eta, preconditioner=p), gradients)
    rows["jlangevin baoab"] = lambda: ours(
        settled, jl.underdamped((2 * eta) ** 0.5, 1.0, mass=mass), gradients
    )
    for name, make in (
        ("BlackJAX nuts", blackjax_nuts),
        ("BlackJAX mclmc", blackjax_mclmc),
        ("NumPyro nuts", numpyro_nuts),
    ):
        rows[name] = partial(make, settled, chains, gradients)
    rows["BlackJAX mala"] = lambda: blackjax_mala(settled, chains, gradients, eta)
    return rows


def main() -> None:
    parser = harness.parser(__doc__.splitlines()[0], repeats=3)
    parser.add_argument("--chains", type=int, default=100)
    parser.add_argument("--gradients", type=int, default=10_000, help="a chain, about")
    options = parser.parse_args()
    jax.config.update("jax_enable_x64", True)
    harness.print_environment()
    results = []
    for make in MAKES:
        posterior = make()
        settled = settle(posterior, options.chains)
        reference = posterior.reference or long_reference(settled)
        print(
            f"\n{posterior.name}, d = {posterior.dim}: "
            f"{options.chains} chains settled in {settled.seconds:.1f} s"
        )
        table = []
        for name, program in samplers(settled, options.chains, options.gradients).items():
            try:
                found = judge(program(), reference, options.repeats)
            except ImportError as error:
                table.append([name, "-", "-", "-", str(error)])
                continue
            results.append({"posterior": posterior.name, "sampler": name, **found})
            table.append(
                [
                    name,
                    f"{found['ess_per_second']:,.0f}",
                    f"{found['ess_per_gradient']:.3f}",
                    f"{found['z']:.1f}",
                    f"{found['off']:.3f}",
                ]
            )
        harness.print_table(["sampler", "ESS/s", "ESS/gradient", "largest z", "off by sd"], table)
    harness.write_json(options.json, results)


if __name__ == "__main__":
    main()
