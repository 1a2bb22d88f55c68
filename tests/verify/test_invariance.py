"""`invariance`: kernels that keep a law pass, mutants do not, and rate and power are as stated."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

import jlangevin as jl
from jlangevin.verify import Crossings

pytestmark = pytest.mark.slow

NUM_STEPS, NUM_CHAINS = 5, 20_000
LEVELS = 15


def targets():
    means, covs = jnp.array([[-1.5, 0.5], [1.0, -0.5]]), jnp.stack([0.5 * jnp.eye(2), jnp.eye(2)])
    return {
        "mixture": jl.energies.gaussian_mixture(means, covs, jnp.array([0.3, 0.7])),
        "funnel": jl.energies.funnel(dim=3, scale=1.0),
        "ring": jl.energies.ring(),
        "quadratic": jl.energies.quadratic([[1.0, 0.6], [0.6, 2.0]]),
    }


STEPS = {"mixture": 0.4, "funnel": 0.4, "ring": 0.05, "quadratic": 0.4}


def options(**changes):
    defaults = {"key": jax.random.key(0), "num_steps": NUM_STEPS, "num_chains": NUM_CHAINS}
    return defaults | changes


@pytest.mark.parametrize("name", ["mixture", "ring"])
def test_an_adjusted_kernel_keeps_the_law(name):
    energy = targets()[name]
    jl.verify.assert_invariant(jl.mala(STEPS[name]), energy, energy, **options())


@pytest.mark.parametrize("name", STEPS)
def test_without_the_accept_step_it_is_rejected(name):
    """ULA is MALA with every proposal accepted."""
    energy = targets()[name]
    with pytest.raises(AssertionError, match="REJECTED"):
        jl.verify.assert_invariant(jl.ula(STEPS[name]), energy, energy, **options())


def test_a_wrong_temperature_is_rejected():
    """Of two temperatures that differ by 5%, only one keeps the funnel's law."""
    energy = targets()["funnel"]
    for temperature, passes in ((1.0, True), (1.05, False)):
        kernel = jl.mala(0.4, temperature=temperature)
        report = jl.verify.invariance(
            kernel, energy, energy, **options(num_steps=20, num_chains=100_000)
        )
        assert report.passed is passes


def test_a_kernel_need_not_be_reversible():
    """The chain that a MALA step and a turn of the ring make has a direction, and keeps the law."""

    class Turning:
        init_noise, step_noise = None, jl.mala(0.05).step_noise

        def init(self, energy, position, noise):
            return jl.mala(0.05).init(energy, position, noise)

        def step(self, energy, state, noise):
            state, info = jl.mala(0.05).step(energy, state, noise)
            turn = jnp.array([[0.6, -0.8], [0.8, 0.6]])
            moved = jl.mala(0.05).init(energy, turn @ state.position, None)
            return moved, info

    ring = targets()["ring"]
    jl.verify.assert_invariant(Turning(), ring, ring, **options())


def test_a_gaussian_at_a_temperature_is_held_against_its_closed_form():
    energy = targets()["quadratic"]
    law = jl.exact.target(energy, jnp.zeros(2), 2.0)
    report = jl.verify.invariance(jl.mala(0.4, temperature=2.0), energy, law, **options())
    assert isinstance(report, jl.verify.Report)
    assert report.passed
    assert not jl.verify.invariance(jl.mala(0.4), energy, law, **options()).passed


def test_positions_may_be_pytrees():
    law = jl.Gaussian({"a": jnp.zeros(()), "b": jnp.ones((2, 1))}, jnp.diag(jnp.arange(1.0, 4.0)))

    def energy(x):
        return -law.log_prob(x)

    jl.verify.assert_invariant(jl.mala(0.3), energy, law, **options(num_chains=2_000))


# Rate and power -------------------------------------------------------------------------------


def test_p_values_are_below_a_level_no_more_often_than_it_says():
    """150 seeds at the level 0.2: 56 rejections or more have a probability below 1e-6."""
    energy = targets()["mixture"]
    rejected = sum(
        not jl.verify.invariance(
            jl.mala(0.4),
            energy,
            energy,
            **options(key=jax.random.key(seed), num_chains=500, false_alarm=0.2),
        ).passed
        for seed in range(150)
    )
    assert stats.binom.sf(55, 150, 0.2) < 1e-6
    assert rejected < 56


def crossings(up, down, num_nonfinite=0):
    shape = (1, LEVELS)
    up, down = np.full(shape, up), np.full(shape, down)
    return Crossings(10_000, num_nonfinite, 1e-6, ("coordinate 0",), up, down)


@pytest.mark.parametrize(("up", "down"), [(0, 0), (3, 9), (500, 500), (480, 620)])
def test_p_values_are_those_of_the_sign_test(up, down):
    expected = stats.binomtest(up, up + down).pvalue if up + down else 1.0
    np.testing.assert_allclose(crossings(up, down).p_values, expected, rtol=1e-9)


@pytest.mark.parametrize("crossed", [30, 100, 2_000])
def test_what_is_called_detectable_is_detected_99_times_in_100(crossed):
    """Exactly: upward crossings of `crossed` chains are binomial, and too many are rejected."""
    gap = crossings(crossed // 2, crossed - crossed // 2).detectable[0, 0]
    upwards = (1 + gap * 10_000 / crossed) / 2
    numbers = np.arange(crossed + 1)
    rejects = [not crossings(int(k), crossed - int(k)).passed for k in numbers]
    power = stats.binom.pmf(numbers, crossed, upwards)[rejects].sum()
    np.testing.assert_allclose(power, 0.99, atol=1e-6)


def test_too_few_crossings_find_nothing():
    assert np.isinf(crossings(10, 10).detectable).all()
    assert "nothing: too few crossings" in str(crossings(10, 10))


def test_a_chain_that_is_not_finite_is_a_failure():
    assert crossings(50, 50).passed
    assert not crossings(50, 50, num_nonfinite=1).passed
    assert "1 chains are not finite" in str(crossings(50, 50, num_nonfinite=1))
    energy = targets()["funnel"]
    report = jl.verify.invariance(jl.ula(1e20), energy, energy, **options(num_chains=100))
    assert report.num_nonfinite > 0


def test_the_report_says_where_and_how_much():
    text = str(crossings(400, 600))
    assert "coordinate 0" in text
    assert "REJECTED" in text
    assert "a change of 0.02" in text


# Refusals -------------------------------------------------------------------------------------


def test_a_kernel_that_stands_still_is_refused():
    energy = targets()["funnel"]
    with pytest.raises(ValueError, match="no chain moved in 5"):
        jl.verify.assert_invariant(jl.mala(1e30), energy, energy, **options(num_chains=50))


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"law": jnp.zeros((5, 2))}, TypeError, "law: expected one that can be drawn from"),
        ({"law": jl.energies.double_well()}, ValueError, "exact sampler"),
        ({"num_steps": 0}, ValueError, "num_steps: expected at least 1"),
        ({"false_alarm": 0.0}, ValueError, "false_alarm: expected a probability"),
        ({"key": 0}, TypeError, "key: expected a typed key"),
    ],
)
def test_refusals(changes, error, message):
    energy = jl.energies.double_well()
    arguments = options(num_chains=10) | {"law": jl.Gaussian(jnp.zeros(1), jnp.eye(1))} | changes
    with pytest.raises(error, match=message):
        jl.verify.invariance(jl.mala(0.1), energy, **arguments)
