"""Wrong samplers, each of which verification must reject, and the right ones, which it must not.

The setting is the same for all: two correlated dimensions, a large step, T ≠ 1, few steps, so
that the start still matters, and 20,000 chains. At a false-alarm rate of 1e-6 that finds, with
probability 0.99, a shift of 0.055 standard deviations or a variance off by 8%.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jlangevin as jl
from jlangevin.noise import Want

NUM_CHAINS = 20_000
NUM_STEPS = 6
ETA, TEMPERATURE = 0.4, 2.0


def setting():
    energy = jl.energies.quadratic([[1.0, 0.6], [0.6, 2.0]], mean=[1.0, -2.0])
    start = jl.Gaussian(jnp.array([3.0, 1.0]), jnp.array([[2.0, -0.5], [-0.5, 1.0]]))
    return energy, start


class Update(NamedTuple):
    """A kernel by its update rule x' = rule(∇E, x, ξ)."""

    rule: Any

    init_noise = None
    step_noise = Want.NORMAL

    def init(self, energy, position, noise):
        return State(position)

    def step(self, energy, state, noise):
        return State(self.rule(jax.grad(energy), state.position, noise)), jl.Info()


class State(NamedTuple):
    position: Any


class ForgetsStart(NamedTuple):
    """`ula`, but every chain starts at the origin."""

    kernel: Any
    init_noise = None
    step_noise = Want.NORMAL

    def init(self, energy, position, noise):
        return self.kernel.init(energy, jnp.zeros_like(position), noise)

    def step(self, energy, state, noise):
        return self.kernel.step(energy, state, noise)


SIGMA = (2 * ETA * TEMPERATURE) ** 0.5


def heun(g, x, xi):
    predicted = x - ETA * g(x)
    return x - ETA * (g(x) + g(predicted)) / 2 + SIGMA * xi


RIGHT = jl.ula(ETA, temperature=TEMPERATURE)
KERNEL_MUTANTS = {
    "drift sign flipped": Update(lambda g, x, xi: x + ETA * g(x) + SIGMA * xi),
    "sqrt(2) dropped": Update(lambda g, x, xi: x - ETA * g(x) + SIGMA / 2**0.5 * xi),
    "T for sqrt(T)": Update(lambda g, x, xi: x - ETA * g(x) + (2 * ETA) ** 0.5 * TEMPERATURE * xi),
    "gradient halved": Update(lambda g, x, xi: x - ETA * g(x) / 2 + SIGMA * xi),
    "Heun drift, noise added afterwards": Update(heun),
    "x_0 ignored": ForgetsStart(RIGHT),
}


def drive(noise_at):
    """`ula` under a driver that takes step t's noise from `noise_at(streams, t)`."""
    energy, start = setting()
    streams = jl.noise.streams(jax.random.key(0), jnp.arange(NUM_CHAINS))
    x = jl.distribution.starts(start, streams)
    step = jax.vmap(
        lambda x, z: RIGHT.step(energy, jl.kernels.ULAState(x), z)[0].position,
        in_axes=-1,
        out_axes=-1,
    )
    for t in range(NUM_STEPS):
        x = step(x, noise_at(streams, t))
    return x.T


def fresh(streams, t):
    return jl.noise.at_step(
        streams, Want.NORMAL, jax.ShapeDtypeStruct((2,), jnp.zeros(()).dtype), t
    )


def shared(streams, t):
    return jnp.broadcast_to(fresh(streams, t)[:, :1], (2, NUM_CHAINS))


DRIVER_MUTANTS = {
    "noise shared between chains": shared,
    "noise reused at every second step": lambda streams, t: fresh(streams, t - t % 2),
}


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
    jl.verify.assert_law(drive(fresh), true_law())


@pytest.mark.parametrize("name", KERNEL_MUTANTS)
def test_a_wrong_kernel_is_rejected(name, dtype):
    with pytest.raises(AssertionError, match="REJECTED"):
        jl.verify.assert_law(sampled(KERNEL_MUTANTS[name]), true_law())


@pytest.mark.parametrize("name", DRIVER_MUTANTS)
def test_a_wrong_driver_is_rejected(name, dtype):
    with pytest.raises(AssertionError, match="REJECTED"):
        jl.verify.assert_law(drive(DRIVER_MUTANTS[name]), true_law())


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
def test_a_wrong_kernel_has_the_law_of_its_own_code(name, dtype):
    """Samples against the derived law test noise and driver, which are right here. That the code
    is the wrong one shows in the other leg: the derived law against one derived by hand."""
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
