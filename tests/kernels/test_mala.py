"""MALA: its step against the textbook, its acceptance rate, and detailed balance."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

import jlangevin as jl

P = [[0.5, 0.2], [0.2, 0.9]]
ETA, TEMPERATURE = 0.1, 3.0
X, XI = np.array([0.5, -1.0]), np.array([-1.0, -0.5])


def gradient(energy, x):
    return np.asarray(jax.grad(energy)(jnp.asarray(x)), np.float64)


def textbook(energy, p):
    """The proposal, and log p(y) q(x|y) - log p(x) q(y|x) by the densities themselves."""

    def drift(x):
        return x - ETA * p @ gradient(energy, x)

    cov = 2 * ETA * TEMPERATURE * p
    y = drift(X) + np.sqrt(2 * ETA * TEMPERATURE) * np.linalg.cholesky(p) @ XI
    rise = float(energy(jnp.asarray(y)) - energy(jnp.asarray(X)))
    there, back = (stats.multivariate_normal.logpdf(b, drift(a), cov) for a, b in ((X, y), (y, X)))
    return y, -rise / TEMPERATURE + back - there


@pytest.mark.parametrize("p", [None, [0.5, 1.5], P])
def test_a_step_is_the_textbooks(p, x64):
    energy = jl.energies.double_well(dim=2)
    matrix = np.eye(2) if p is None else np.array(p)
    y, log_ratio = textbook(energy, matrix if matrix.ndim == 2 else np.diag(matrix))
    shape = None if p is None else jnp.array(p)
    kernel = jl.mala(ETA, temperature=TEMPERATURE, preconditioner=shape)
    step = jax.jit(lambda x, noise: kernel.step(energy, kernel.init(energy, x, None), noise))
    rate = np.exp(log_ratio)
    assert 0.05 < rate < 0.95
    for uniform, expected in ((rate - 0.01, y), (rate + 0.01, X)):
        moved, info = step(X, (XI, np.array(uniform)))
        np.testing.assert_allclose(moved.position, expected, rtol=1e-12)
        np.testing.assert_allclose(info.acceptance_rate, rate, rtol=1e-12)


def test_with_a_preconditioner_a_gaussian_law_is_kept():
    energy = jl.energies.quadratic([[1.0, 0.6], [0.6, 2.0]], mean=[1.0, -2.0])
    law = jl.Gaussian(energy.center, TEMPERATURE * np.linalg.inv(energy.precision))
    kernel = jl.mala(1.2, temperature=TEMPERATURE, preconditioner=jnp.array(P))
    run = jl.sample(
        jax.random.key(0), energy, kernel, law, num_steps=10, num_chains=50_000, observe=None
    )
    jl.verify.assert_law(run.position, law)
    assert 0.2 < run.info.acceptance_rate.mean() < 0.8


@pytest.mark.parametrize("z", [0.1, 0.5, 1.0, 1.7])
def test_the_stationary_acceptance_rate_is_the_closed_form(z):
    """1 - (2/π) arcsin(z² / sqrt((z² + 2z)(4 - 2z + z²))), z = ηλ, within 5 standard errors."""
    precision, num_chains = 4.0, 50_000
    energy = jl.energies.quadratic([[precision]])
    law = jl.Gaussian(jnp.zeros(1), jnp.full((1, 1), TEMPERATURE / precision))
    kernel = jl.mala(z / precision, temperature=TEMPERATURE)
    run = jl.sample(
        jax.random.key(0), energy, kernel, law, num_steps=4, num_chains=num_chains, observe=None
    )
    rates = np.asarray(run.info.acceptance_rate, np.float64)
    expected = 1 - 2 / np.pi * np.arcsin(z**2 / np.sqrt((z**2 + 2 * z) * (4 - 2 * z + z**2)))
    assert abs(rates.mean() - expected) < 5 * rates.std() / num_chains**0.5


def test_detailed_balance(x64):
    """p(x) q(y|x) a(x, y) is symmetric. The proposal is an increasing affine function of ξ, so the
    step function itself says which ξ leads from x to y, and the density of y."""
    energy = jl.energies.double_well()
    kernel = jl.mala(0.2, temperature=TEMPERATURE)
    grid = jnp.linspace(-1.7, 1.7, 35)

    def step(x, xi):
        return kernel.step(energy, kernel.init(energy, x[None], None), (xi[None], jnp.array(0.0)))

    def flow(x, y):
        at_zero, at_one = (step(x, jnp.array(xi))[0].position[0] for xi in (0.0, 1.0))
        slope = at_one - at_zero
        xi = (y - at_zero) / slope
        moved, info = step(x, xi)
        density = jnp.exp(-energy(x[None]) / TEMPERATURE - xi**2 / 2) / slope
        return density * info.acceptance_rate, moved.position[0]

    flows, reached = jax.jit(jax.vmap(jax.vmap(flow, (None, 0)), (0, None)))(grid, grid)
    np.testing.assert_allclose(reached, jnp.broadcast_to(grid, reached.shape), atol=1e-12)
    np.testing.assert_allclose(flows, flows.T, rtol=1e-10, atol=0)
    assert flows.min() > 0


def test_the_ratio_keeps_its_digits_in_many_dimensions():
    """float32 in 10,000 dimensions around 100: |ξ|² is 10⁴, the log of the ratio about 1."""
    d, eta = 10_000, 0.05
    rng = np.random.default_rng(0)
    x = (100 + 0.94 * rng.normal(size=d)).astype(np.float32)
    xi = rng.normal(size=d).astype(np.float32)
    kernel = jl.mala(eta)

    def energy(x):
        return jnp.sum((x - 100) ** 2) / 2

    step = jax.jit(lambda x, noise: kernel.step(energy, kernel.init(energy, x, None), noise))
    moved, info = step(x, (xi, np.float32(0)))
    here, there = (np.asarray(part, np.float64) - 100 for part in (x, moved.position))
    expected = min(1.0, np.exp(-eta / 4 * (there @ there - here @ here)))
    assert 0.01 < expected < 0.99
    np.testing.assert_allclose(info.acceptance_rate, expected, rtol=5e-3)
