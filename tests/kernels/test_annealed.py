"""Annealed Langevin dynamics against the recorded law, and slips in it.

On Gaussian data the anneal is affine. The law derived from the kernel and samples are each compared
with the law recorded in laws.json. For samples `verify` has a false-alarm rate of 1e-6, at which
20,000 chains show, with probability 0.99, a shift of 0.06 standard deviations or a variance off by
8%.
"""

import json
import pathlib
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial

import jlangevin as jl

CASES = json.loads((pathlib.Path(__file__).parents[1] / "laws.json").read_text())["cases"]
(CASE,) = (case for case in CASES if case["kernel"] == "annealed")
ARGS = CASE["kernel_args"]
SIGMAS, K, ETA = ARGS["sigmas"], CASE["num_steps"], ARGS["base_step_size"]
NUM_STEPS = K * len(SIGMAS)


def gaussian_score(mean, cov, x, sigma):
    """-(Σ + σ²I)⁻¹ (x - μ)."""
    smoothed = cov + jnp.asarray(sigma, x.dtype) ** 2 * jnp.eye(len(x), dtype=x.dtype)
    return jnp.linalg.solve(smoothed, mean - x)


def smoothed(function=gaussian_score):
    parts = (jnp.array(ARGS["data_mean"]), jnp.array(ARGS["data_cov"]))
    return jl.scores.level_score(Partial(function, *parts), SIGMAS[0])


def start():
    return jl.Gaussian(jnp.array(CASE["init"]["mean"]), jnp.array(CASE["init"]["cov"]))


def recorded():
    return jl.Gaussian(jnp.array(CASE["law"]["mean"]), jnp.array(CASE["law"]["cov"]))


def draw(kernel, energy, num_chains=20_000, num_steps=NUM_STEPS):
    return jl.sample(
        jax.random.key(0),
        energy,
        kernel,
        start(),
        num_steps=num_steps,
        num_chains=num_chains,
        observe=None,
    ).position


def test_the_law_is_the_recorded_one(x64):
    law = jl.exact.law(jl.annealed(SIGMAS, K, ETA), smoothed(), start(), NUM_STEPS)
    np.testing.assert_allclose(law.mean, CASE["law"]["mean"], rtol=1e-11)
    np.testing.assert_allclose(law.cov, CASE["law"]["cov"], rtol=1e-11)


def test_samples_have_the_recorded_law():
    draws = draw(jl.annealed(SIGMAS, K, ETA), smoothed())
    jl.verify.assert_law(draws, recorded())


def with_wrong_step(power=2, base=-1):
    """The step sizes η (σ_l/σ_base)^power."""
    steps = Partial(scaled, jnp.float32(power), jnp.float32(SIGMAS[base]))
    return replace(jl.annealed(SIGMAS, K, ETA), step_size=jl.Schedule(steps))


def scaled(power, base, t):
    """What makes the kernel, which scales by (σ_l/σ_L)² itself, take the steps wanted."""
    sigma = jnp.array(SIGMAS)[jnp.minimum(t // K, len(SIGMAS) - 1)]
    return ETA * (sigma / base) ** power / (sigma / SIGMAS[-1]) ** 2


def wrong_score(number, mean, cov, x, sigma):
    """Of the other sign; σ for σ²; at the first level: one program for the three."""
    sigma = jnp.stack([sigma, jnp.sqrt(sigma), jnp.full_like(sigma, SIGMAS[0])])[number]
    return jnp.where(number == 0, -1, 1) * gaussian_score(mean, cov, x, sigma)


def score_of_number(number):
    return Partial(wrong_score, jnp.int32(number))


MUTANTS = {
    "σ_1 for σ_L": lambda: (with_wrong_step(base=0), gaussian_score),
    "scaling inverted": lambda: (with_wrong_step(power=-2), gaussian_score),
    "σ for σ²": lambda: (with_wrong_step(power=1), gaussian_score),
    "sign of the score": lambda: (jl.annealed(SIGMAS, K, ETA), score_of_number(0)),
    "σ for σ² in the score": lambda: (jl.annealed(SIGMAS, K, ETA), score_of_number(1)),
    "score of the first level": lambda: (jl.annealed(SIGMAS, K, ETA), score_of_number(2)),
    "a step twice as long": lambda: (jl.annealed(SIGMAS, K, 2 * ETA), gaussian_score),
    "T for sqrt(T)": lambda: (jl.annealed(SIGMAS, K, ETA, temperature=2.0), gaussian_score),
    "last level missing": lambda: (
        jl.annealed(SIGMAS[:-1], K, ETA * SIGMAS[-2] ** 2 / SIGMAS[-1] ** 2),
        gaussian_score,
    ),
}


@pytest.mark.slow
def test_the_mutants_machinery_unchanged_is_accepted():
    jl.verify.assert_law(draw(with_wrong_step(), smoothed()), recorded())


@pytest.mark.slow
@pytest.mark.parametrize("name", MUTANTS)
def test_a_wrong_anneal_is_rejected(name):
    kernel, function = MUTANTS[name]()
    assert not jl.verify.compare(draw(kernel, smoothed(function)), recorded()).passed


@pytest.mark.slow
def test_levels_change_after_their_steps_and_the_last_stays():
    kernel, energy = jl.annealed(SIGMAS, K, ETA), smoothed()
    law = jl.exact.law(kernel, energy, start(), NUM_STEPS)
    for index, sigma in enumerate(SIGMAS):
        eta = ETA * sigma**2 / SIGMAS[-1] ** 2
        right = jl.exact.affine_map(jl.ula(eta), energy.at(sigma), jnp.zeros(2))
        last = index == len(SIGMAS) - 1
        for step in (index * K, index * K + K - 1, *([NUM_STEPS + 10 * K] if last else ())):
            found = jl.exact.affine_map(kernel, energy, jnp.zeros(2), step)
            jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), found, right)
    eta = jl.ula(ETA)
    longer = jl.exact.law(kernel, energy, start(), NUM_STEPS + 7)
    by_hand = jl.exact.law(eta, energy.at(SIGMAS[-1]), law, 7)
    np.testing.assert_allclose(longer.cov, by_hand.cov, rtol=1e-4)


@pytest.mark.slow
def test_other_levels_and_step_sizes_compile_nothing():
    traces = []

    def s(x, sigma):
        traces.append(None)
        return -x / (1 + sigma**2)

    def traces_of_a_run(sigmas, steps_each, eta):
        before = len(traces)
        on = jl.scores.level_score(s, sigmas[0])
        kernel = jl.annealed(sigmas, steps_each, eta)
        jl.sample(jax.random.key(0), on, kernel, jnp.ones((2, 2)), num_steps=4)
        return len(traces) - before

    assert traces_of_a_run([2.0, 1.0], 2, 0.1) > 0
    assert traces_of_a_run([3.0, 0.5], 3, 0.2) == 0


@pytest.mark.slow
def test_an_energy_of_levels_needs_no_score():
    class Bowls:
        def __call__(self, x):
            return self.at(1.0)(x)

        def at(self, sigma):
            return lambda x: 0.5 * jnp.sum(x**2) / (1 + sigma**2)

    a, b = (
        jl.sample(
            jax.random.key(0), on, jl.annealed([2.0, 1.0], 3, 0.1), jnp.ones((2, 2)), num_steps=6
        )
        for on in (Bowls(), jl.scores.level_score(lambda x, sigma: -x / (1 + sigma**2), 1.0))
    )
    np.testing.assert_allclose(a.draws, b.draws, rtol=1e-5)


@pytest.mark.slow
def test_an_energy_without_levels_is_refused():
    with pytest.raises(TypeError, match="energy: Quadratic has no levels; pass"):
        jl.sample(
            jax.random.key(0),
            jl.energies.quadratic(jnp.eye(2)),
            jl.annealed(SIGMAS, K, ETA),
            jnp.ones((2, 2)),
            num_steps=1,
        )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([1.0, 2.0], 3, 0.1), "sigmas: expected levels that fall"),
        (([1.0, 1.0], 3, 0.1), "sigmas: expected levels that fall"),
        (([1.0, 0.0], 3, 0.1), "sigmas: expected values above zero"),
        (([], 3, 0.1), "sigmas: expected at least one level"),
        (([1.0], 0, 0.1), "steps_each: expected at least 1"),
        (([1.0], 3, 0.0), "step_size: expected"),
    ],
)
def test_bad_arguments_are_refused_by_name(arguments, message):
    with pytest.raises(ValueError, match=message):
        jl.annealed(*arguments)
