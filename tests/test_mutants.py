"""Verification must reject every wrong sampler, and must not reject the right ones.

The samplers and their setting stand in `benchmarks/mutants.py`. Here 20,000 chains at a false-alarm
rate of 1e-6 find, with probability 0.99, a shift of 0.055 standard deviations or a variance off by
8%.
"""

import jax
import jax.numpy as jnp
import mutants
import numpy as np
import pytest

import jlangevin as jl

pytestmark = pytest.mark.slow

NUM_CHAINS = 20_000
NUM_STEPS, ETA, TEMPERATURE = mutants.NUM_STEPS, mutants.ETA, mutants.TEMPERATURE
RIGHT, KERNEL_MUTANTS = mutants.ULA.right, mutants.ULA.mutants


def setting():
    return mutants.bowl(), mutants.start()


def sampled(kernel):
    energy, start = setting()
    run = jl.sample(
        jax.random.key(0), energy, kernel, start, num_steps=NUM_STEPS, num_chains=NUM_CHAINS
    )
    return run.position


def true_law():
    energy, start = setting()
    return jl.exact.law(RIGHT, energy, start, NUM_STEPS)


def test_the_right_sampler_is_accepted(dtype):
    jl.verify.assert_law(sampled(RIGHT), true_law())


def test_the_right_driver_is_accepted_in_the_mutants_loop(dtype):
    jl.verify.assert_law(mutants.drive(mutants.fresh, 0, NUM_CHAINS), true_law())


@pytest.mark.parametrize("name", KERNEL_MUTANTS)
def test_a_wrong_kernel_is_rejected(name):
    with pytest.raises(AssertionError, match="REJECTED"):
        jl.verify.assert_law(sampled(KERNEL_MUTANTS[name]), true_law())


@pytest.mark.parametrize("name", mutants.DRIVERS)
def test_a_wrong_driver_is_rejected(name):
    with pytest.raises(AssertionError, match="REJECTED"):
        jl.verify.assert_law(mutants.drive(mutants.DRIVERS[name], 0, NUM_CHAINS), true_law())


def test_the_notebooks_variance_is_rejected(dtype):
    """N(∓Nηθ, 2η(N + 1) I) against the chain it is stated for, at its own η and 100 steps."""
    eta, num_steps, theta = 0.01, 100, jnp.array([0.80342804, 0.5275223])
    start = jl.Gaussian(jnp.zeros(2), jnp.eye(2))
    kernel, energy = jl.ula(eta), jl.energies.linear(-theta)
    run = jl.sample(
        jax.random.key(0), energy, kernel, start, num_steps=num_steps, num_chains=NUM_CHAINS
    )
    stated = jl.Gaussian(num_steps * eta * theta, 2 * eta * (num_steps + 1) * jnp.eye(2))
    with pytest.raises(AssertionError, match="REJECTED"):
        jl.verify.assert_law(run.position, stated)
    jl.verify.assert_law(run.position, jl.exact.law(kernel, energy, start, num_steps))


@pytest.mark.parametrize("name", KERNEL_MUTANTS)
def test_a_wrong_kernel_has_the_law_of_its_own_code(name):
    """Samples against the derived law test noise and driver, which are right here. The other leg
    shows that the code is wrong: the derived law against one derived by hand."""
    energy, start = setting()
    own = jl.exact.law(KERNEL_MUTANTS[name], energy, start, NUM_STEPS, allow_unstable=True)
    jl.verify.assert_law(sampled(KERNEL_MUTANTS[name]), own)
    mean, cov = by_hand(energy, start)
    assert np.allclose(true_law().mean, mean, rtol=1e-5)
    assert np.allclose(true_law().cov, cov, rtol=1e-5)
    assert not np.allclose(own.mean, mean, rtol=1e-2) or not np.allclose(own.cov, cov, rtol=1e-2)


def by_hand(energy, start):
    """Plain NumPy recursion of ULA's mean and covariance."""
    a, mu = np.float64(energy.precision), np.float64(energy.center)
    mean, cov = np.float64(start.mean), np.float64(start.cov)
    f = np.eye(2) - ETA * a
    for _ in range(NUM_STEPS):
        mean = mu + f @ (mean - mu)
        cov = f @ cov @ f.T + 2 * ETA * TEMPERATURE * np.eye(2)
    return mean, cov
