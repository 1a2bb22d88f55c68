"""log Z of energies that have one: inside the stated intervals at the stated rate, between bounds.

Every statistical test fails a right estimator with a probability of at most 1e-6.
"""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import integrate, special, stats

import jlangevin as jl
from jlangevin import energies
from jlangevin._core.arithmetic import product
from jlangevin.normalizer.path import as_base

RATE = 1e-6
REPEATS = 200


class Case(NamedTuple):
    make: Any
    base: Any
    kernel: Any
    num_steps: int
    num_chains: int  # of a repeat


def gaussian(mean, *variances):
    return jl.Gaussian(jnp.asarray(mean, float), jnp.diag(jnp.asarray(variances, float)))


GRID = [[5.0 * i, 5.0 * j] for i in range(-2, 3) for j in range(-2, 3)]

CASES = {
    "quadratic": Case(
        lambda: energies.quadratic([[2.0, 0.6], [0.6, 0.5]], mean=[0.7, -0.3]),
        lambda: gaussian([0.0, 0.0], 4.0, 4.0), lambda: jl.mala(0.3), 48, 64,
    ),
    "gaussian_mixture": Case(
        lambda: energies.gaussian_mixture([[-1.5, 0.0], [1.0, 0.5]], [[0.5, 0.0], [0.0, 0.3]]),
        lambda: gaussian([0.0, 0.0], 4.0, 4.0), lambda: jl.barker(0.3), 48, 64,
    ),
    "double_well": Case(
        lambda: energies.double_well(dim=2),
        lambda: gaussian([0.0, 0.0], 2.0, 2.0), lambda: jl.malt(0.3, 1.0, 3), 32, 96,
    ),
    "funnel": Case(
        lambda: energies.funnel(dim=2, scale=1.0),
        lambda: gaussian([0.0, 0.0], 2.0, 4.0), lambda: jl.mala(0.2), 128, 128,
    ),
    "ring": Case(
        lambda: energies.ring(),
        lambda: gaussian([0.0, 0.0], 4.0, 4.0), lambda: jl.mala(0.05), 64, 96,
    ),
    "rosenbrock": Case(
        lambda: energies.rosenbrock(a=0.5, b=1.0),
        lambda: gaussian([1.0, 2.0], 2.0, 9.0), lambda: jl.mala(0.2), 96, 96,
    ),
}  # fmt: skip


def in_repeats(run):
    """Log weights (repeat, chain): chains are independent, so that a run is many repeats."""
    return np.asarray(run.state.kernel.log_weight, np.float64).reshape(REPEATS, -1)


def most_misses(confidence):
    return stats.binom.isf(RATE, REPEATS, 1 - confidence)


def well_draws(num):
    """Of the double well's law in two dimensions, by its distribution function on a grid."""
    x = np.linspace(-4, 4, 20_001)
    well = energies.double_well()
    density = np.exp(-np.asarray(jax.vmap(well)(jnp.asarray(x, float)[:, None]), np.float64))
    share = integrate.cumulative_trapezoid(density, x, initial=0)
    u = np.random.default_rng(0).random((num, 2))
    return jnp.asarray(np.interp(u, share / share[-1], x), float)


@pytest.mark.parametrize(
    "name",
    [name if name == "quadratic" else pytest.param(name, marks=pytest.mark.slow)
     for name in CASES],
)  # fmt: skip
def test_log_z_is_in_its_interval_and_between_its_bounds_as_often_as_stated(name):
    case = CASES[name]
    energy, known = case.make(), as_base(case.base())
    way = jl.normalizer.path(known.energy, energy, case.kernel(), num_steps=case.num_steps)
    number = REPEATS * case.num_chains
    draws = well_draws(number) if name == "double_well" else energy
    count = {} if name == "double_well" else {"num_chains": number}
    forward = in_repeats(way.forward(jax.random.key(0), known.law, num_chains=number))
    reverse = in_repeats(way.reverse(jax.random.key(1), draws, **count))
    truth = float(energy.log_z) - float(known.log_z)
    both = [jl.normalizer.bennett(*pair) for pair in zip(forward, reverse, strict=True)]
    alone = [jl.normalizer.jarzynski(each) for each in forward]
    for found, least in ((both, 0.98), (alone, 0.98)):
        misses = sum(not low < truth < high for low, high in (each.interval for each in found))
        assert misses <= most_misses(least), (name, misses)
        bounded = [each.bounds[0] < truth < each.bounds[1] for each in found]
        assert REPEATS - sum(bounded) <= most_misses(0.99)
    assert np.mean([each.ok for each in both]) > 0.9  # that intervals are not bounds in disguise
    there = np.array([each.forward.value for each in both])
    back = np.array([each.reverse.value for each in both])
    margin = stats.norm.isf(RATE) / REPEATS**0.5
    assert there.mean() < truth + margin * there.std()
    assert back.mean() > truth - margin * back.std()


def sure(found, truth):
    """Whether `truth` is in the interval, at 1e-6."""
    wide = stats.norm.isf(RATE / 2) * found.std_error
    return found.ok and abs(found.value - truth) < wide


@pytest.mark.slow
def test_log_z_is_that_of_the_kernels_temperature_and_positions_are_any_pytree():
    """∫ exp(-E/T) of ½ (a² + 4 |b|²): T/2 log… in three dimensions, against the closed form."""
    temperature = 2.5

    def energy(x):
        return 0.5 * (x["a"] ** 2 + 4 * jnp.sum(x["b"] ** 2))

    cov = 3 * jnp.eye(3) + 0.5  # correlated
    base = jl.Gaussian({"a": jnp.zeros(()), "b": jnp.ones(2)}, cov)
    kernel = jl.mala(0.1, temperature=temperature)
    exact = jl.Gaussian(
        {"a": jnp.zeros(()), "b": jnp.zeros(2)}, temperature * jnp.diag(jnp.array([1, 0.25, 0.25]))
    )
    found = jl.log_normalizer(
        jax.random.key(0), energy, kernel, base, draws=exact, num_steps=60, num_chains=300
    )
    truth = 1.5 * math.log(2 * math.pi * temperature) - math.log(4)
    assert sure(found, truth)
    assert found.bounds[0] < truth < found.bounds[1]
    np.testing.assert_allclose(found.free_energy, -temperature * found.value)
    for part in ("log Z = ", "reverse", "acceptance 0."):
        assert part in str(found)
    alone = jl.log_normalizer(jax.random.key(0), energy, kernel, base, num_steps=60)
    assert alone.bounds[1] == math.inf
    assert alone.bounds[0] < truth


@pytest.mark.slow
def test_free_energies_differ_as_they_do_between_two_energies_of_which_none_is_normalised():
    """Crooks and Jarzynski: from draws of the one to the other, log Z'/Z, and perturbation."""
    one, other = jl.energies.double_well(), jl.energies.quadratic([[3.0]], mean=[1.0])
    truth = float(other.log_z - one.log_z)
    draws = well_draws(500)[:, :1]
    found = jl.normalizer.log_ratio(
        jax.random.key(0), one, other, jl.mala(0.1), draws, draws_to=other, num_steps=40,
        num_chains=300,
    )  # fmt: skip
    assert sure(found, truth)
    assert found.of == "log Z'/Z"
    assert len(found.forward.log_weights) == 500
    at_once = jl.normalizer.log_ratio(
        jax.random.key(0), one, other, jl.mala(0.1), draws, levels=[0.0, 1.0]
    )
    np.testing.assert_allclose(
        at_once.forward.log_weights,
        jax.vmap(one)(draws) - jax.vmap(other)(draws),
        rtol=1e-4,
        atol=1e-4,
    )


@pytest.mark.slow
def test_a_base_that_reaches_outside_of_walls_gives_weights_of_zero():
    """The uniform energy on [0, 1]: Z = 1. Of the base a share of draws is outside."""

    def box(x):
        return jnp.where(jnp.all((x > 0) & (x < 1)), 0.0, jnp.inf) + 0.0 * jnp.sum(x)

    inside = jl.starts.uniform(0.0, 1.0, like=jnp.zeros(1))
    base = gaussian([0.5], 1.0)
    found = jl.log_normalizer(
        jax.random.key(0), box, jl.mala(0.05), base, draws=inside, num_steps=30, num_chains=2000
    )
    share = np.mean(found.forward.log_weights == -np.inf)
    assert abs(share - 2 * stats.norm.sf(0.5)) < 4.9 * 0.5 / 2000**0.5
    assert sure(found, 0.0)


@pytest.mark.slow
def test_draws_that_miss_a_mode_are_found_out():
    """The way back from one of two modes; from both it is right."""
    energy = energies.gaussian_mixture([[-4.0], [4.0]], 1.0, [0.3, 0.7])
    base = gaussian([0.0], 25.0)

    def found(draws):
        return jl.log_normalizer(
            jax.random.key(0), energy, jl.mala(0.5), base, draws=draws, num_steps=100,
            num_chains=1000,
        )  # fmt: skip

    assert sure(found(energy), 0.0)
    with pytest.warns(jl.NormalizerWarning, match="not those of one path"):
        one = found(jl.Gaussian(jnp.array([4.0]), jnp.eye(1)))
    assert one.interval == tuple(sorted(one.bounds))


@pytest.mark.slow
def test_few_levels_are_not_made_to_look_certain():
    """In 40 dimensions, in two steps, the ways do not meet, and a standard error is wrong."""
    energy = jl.energies.quadratic(jnp.eye(40))
    arguments = (energy, jl.mala(0.1), gaussian(jnp.zeros(40), *[9.0] * 40))
    with pytest.warns(jl.NormalizerWarning, match="hardly go to the same place"):
        both = jl.log_normalizer(
            jax.random.key(0), *arguments, num_steps=2, num_chains=100, draws=energy
        )
    truth = float(energy.log_z)
    assert both.bounds[0] < truth < both.bounds[1]
    assert both.interval == both.bounds
    assert abs(both.forward.value - truth) > 5 * both.forward.std_error


def test_nan_energies_are_named():
    def torn(x):
        return jnp.where(x[0] > 1, jnp.nan, 0.5 * jnp.sum(x**2))

    with pytest.raises(ValueError, match=r"NaN or infinite, the first that of chain \d"):
        jl.log_normalizer(
            jax.random.key(0), torn, jl.mala(0.1), gaussian([0.0], 1.0), num_steps=5, num_chains=50
        )


@pytest.mark.slow
def test_twenty_five_modes_and_how_a_chain_of_a_key_is_run_alone():
    energy, base = energies.gaussian_mixture(GRID, 0.25), gaussian([0.0, 0.0], 64.0, 64.0)
    found = jl.log_normalizer(
        jax.random.key(0), energy, jl.mala(0.2), base, draws=energy, num_steps=400, num_chains=1000
    )
    assert sure(found, 0.0)
    assert found.bounds[0] < 0 < found.bounds[1]
    known = as_base(base)
    way = jl.normalizer.path(known.energy, energy, jl.mala(0.2), num_steps=400)
    there, _ = jax.random.split(jax.random.key(0))
    alone = way.forward(there, base, chains=[7]).state.kernel.log_weight[0]
    np.testing.assert_allclose(alone, found.forward.log_weights[7], atol=1e-3)


@pytest.mark.slow
def test_a_rosenbrock_as_it_comes(x64):
    """Of variance 10 and 200 along a narrow valley, from a wide base."""
    energy, base = energies.rosenbrock(), gaussian([1.0, 11.0], 15.0, 400.0)
    found = jl.log_normalizer(
        jax.random.key(0), energy, jl.mala(0.05), base, draws=energy, num_steps=2000,
        num_chains=1000,
    )  # fmt: skip
    assert sure(found, float(energy.log_z))
    assert found.bounds[0] < float(energy.log_z) < found.bounds[1]


@pytest.mark.slow
def test_a_network_in_two_dimensions_is_what_quadrature_says():
    """A random network of two layers over a bowl, as one that is learned would be: many minima. The
    way back is from the ends of chains, as no law can be drawn from exactly."""
    first, second = (
        jax.random.normal(jax.random.key(seed), shape) for seed, shape in ((1, (2, 32)), (2, (32,)))
    )

    def energy(x):
        return 0.25 * jnp.sum(x**2) + jnp.sum(jnp.tanh(2 * product(x, first)) * second)

    nodes = np.linspace(-10, 10, 801)
    grid = jnp.asarray(np.stack(np.meshgrid(nodes, nodes), -1).reshape(-1, 2), float)
    values = np.asarray(jax.lax.map(energy, grid, batch_size=4096), np.float64)
    truth = special.logsumexp(-values) + 2 * math.log(nodes[1] - nodes[0])
    base = gaussian([0.0, 0.0], 6.0, 6.0)
    run = jl.sample(
        jax.random.key(3),
        energy,
        jl.tempered(jl.mala(0.05), [1.0, 2.0, 4.0, 8.0]),
        base,
        num_steps=600,
        num_chains=1000,
        observe=None,
    )
    found = jl.log_normalizer(
        jax.random.key(4), energy, jl.mala(0.05), base, draws=run.position, num_steps=600
    )
    assert sure(found, truth)
    assert found.bounds[0] < truth < found.bounds[1]
    likelihood = jl.normalizer.log_likelihood(run.position, energy, found)
    density = np.exp(-values - truth) * (nodes[1] - nodes[0]) ** 2
    entropy = np.sum(density * (values + truth))
    assert abs(likelihood.value + entropy) < 4.9 * likelihood.std_error


@pytest.mark.parametrize("between", [0.0, 0.7])
def test_the_energy_of_a_gaussian_base_is_that_of_its_density(between):
    mean = {"a": jnp.ones(()), "b": jnp.array([2.0, -1.0])}
    law = jl.Gaussian(mean, jnp.array([[1.0, 0, 0], [0, 4.0, between], [0, between, 0.5]]))
    known, x = as_base(law), {"a": jnp.zeros(()), "b": jnp.array([0.3, 0.5])}
    np.testing.assert_allclose(-known.energy(x) - known.log_z, law.log_prob(x), rtol=1e-5)
    with pytest.raises(ValueError, match=r"like the mean|of shape"):
        known.energy({"a": jnp.zeros(()), "b": jnp.zeros(3)})
