"""The Barker proposal: its step against the textbook, detailed balance, and too large a step."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special, stats

import jlangevin as jl

ETA, TEMPERATURE = 0.3, 2.0
SIGMA = (2 * ETA * TEMPERATURE) ** 0.5


def log_density(move, slope):
    """log q(x + w | x) up to the same constant everywhere, from the paper: 2 N(w) F(w ∂log p)."""
    return np.sum(stats.norm.logpdf(move, scale=SIGMA) + special.log_expit(move * slope))


def test_a_step_is_the_textbooks(x64):
    energy, kernel = jl.energies.double_well(dim=2), jl.barker(ETA, temperature=TEMPERATURE)
    x, look = np.array([0.5, -1.2]), jax.jit(jax.value_and_grad(energy))
    state = jax.jit(lambda x: kernel.init(energy, x, None))(x)
    step = jax.jit(lambda state, noise: kernel.step(energy, state, noise))
    slope = -np.asarray(state.gradient, np.float64) / TEMPERATURE
    assert slope[0] > 0 > -slope[1]
    for xi, zeta, signs in (
        ([0.3, -0.5], [0.0, 0.0], [1, 1]),  # ζ = 0: a uniform of 1, both along the slope
        ([0.3, -0.5], [5.0, 0.0], [-1, 1]),  # ζ = 5: a uniform of 6e-7, against it
        ([-0.3, 0.5], [-5.0, 5.0], [-1, -1]),
    ):
        y = x + signs * np.sign(slope) * SIGMA * np.abs(xi)
        value, gradient = look(y)
        back, rise = -np.asarray(gradient) / TEMPERATURE, float(value) - float(look(x)[0])
        log_ratio = -rise / TEMPERATURE + log_density(x - y, back) - log_density(y - x, slope)
        moved, info = step(state, (np.array(xi), np.array(zeta), np.array(0.0)))
        np.testing.assert_allclose(moved.position, y, rtol=1e-12)
        np.testing.assert_allclose(info.acceptance_rate, min(1, np.exp(log_ratio)), rtol=1e-12)


def test_moves_go_uphill_with_barkers_probability():
    """The share of 10⁶ moves that go uphill, of one size and slope, within 5 standard errors."""
    num, size, slope = 1_000_000, 1.5, 2.0
    kernel = jl.barker(size**2 / 2)

    def energy(x):
        return slope * jnp.sum(x)

    state = kernel.init(energy, jnp.zeros(num), None)
    zeta = jax.random.normal(jax.random.key(0), (num,))
    # All moves are one step, which is accepted or not as a whole, so the proposal is looked at.
    proposed = kernel._move(state.gradient, jnp.ones(num), zeta)
    np.testing.assert_allclose(jnp.abs(proposed), size, rtol=1e-5)
    uphill, expected = float(jnp.mean(proposed > 0)), special.expit(-size * slope)
    assert abs(uphill - expected) < 5 * (expected * (1 - expected) / num) ** 0.5


def test_a_small_step_has_the_drift_and_variance_of_ula(x64):
    """To first order, mean -η ∂E and variance 2ηT. Barker's probability averages over ζ, and
    quadrature over ξ."""
    eta, slope = 1e-4, 3.0
    kernel = jl.barker(eta, temperature=TEMPERATURE)
    xi, weights = special.roots_hermitenorm(40)
    shape = jnp.full(40, slope)
    down, up = (
        np.asarray(
            kernel._move(shape, jnp.asarray(xi), jnp.full(40, zeta)),
            np.float64,
        )
        for zeta in (0.0, 6.0)
    )
    assert np.all(down < 0)
    np.testing.assert_array_equal(up, -down)
    p_up, weights = special.expit(down * slope / TEMPERATURE), weights / weights.sum()
    mean = weights @ (p_up * up + (1 - p_up) * down)
    np.testing.assert_allclose(mean, -eta * slope, rtol=1e-3)
    np.testing.assert_allclose(weights @ up**2, 2 * eta * TEMPERATURE, rtol=1e-5)


def test_detailed_balance(x64):
    """p(x) q(y|x) a(x, y) is symmetric. |ξ| is the distance over the scale. Bisection of the step
    function finds up to which |ζ| it goes to the side of y, and the normal law gives the
    probability."""
    energy, kernel = jl.energies.double_well(), jl.barker(ETA, temperature=TEMPERATURE)
    grid = np.linspace(-1.7, 1.7, 35)
    x, y = (part.ravel() for part in np.meshgrid(grid, grid, indexing="ij"))
    apart = x != y
    x, y = x[apart], y[apart]

    @jax.jit
    @jax.vmap
    def step(x, xi, zeta):
        state = kernel.init(energy, x[None], None)
        return kernel.step(energy, state, (xi[None], zeta[None], jnp.array(0.0)))

    xi = np.abs(y - x) / SIGMA
    at_zero = np.asarray(step(x, xi, np.zeros_like(x))[0].position)[:, 0] > x
    low, high = np.zeros_like(x), np.full_like(x, 30.0)
    for _ in range(60):
        middle = (low + high) / 2
        same = (np.asarray(step(x, xi, middle)[0].position)[:, 0] > x) == at_zero
        low, high = np.where(same, middle, low), np.where(same, high, middle)
    within, beyond = 1 - 2 * stats.norm.sf(low), 2 * stats.norm.sf(low)
    to_y = (y > x) == at_zero
    moved, info = step(x, xi, np.where(to_y, low / 2, low + 1))
    np.testing.assert_allclose(moved.position[:, 0], y, atol=1e-12)
    density = 2 * stats.norm.pdf(xi) / SIGMA * np.where(to_y, within, beyond)
    value = np.asarray(jax.vmap(energy)(x[:, None]))
    flows = np.zeros((35, 35))
    flows[apart.reshape(35, 35)] = np.exp(-value / TEMPERATURE) * density * info.acceptance_rate
    np.testing.assert_allclose(flows, flows.T, rtol=1e-10, atol=0)
    assert np.all(flows + np.eye(35) > 0)


def test_a_step_too_large_for_the_steepest_direction_is_still_accepted():
    """Scales 1 and 0.05, and a step made for the first: ηλ is 0.1 and 40."""
    energy = jl.energies.quadratic(jnp.diag(jnp.array([1.0, 400.0])))
    rates = {
        make: jl.sample(
            jax.random.key(0),
            energy,
            make(0.1),
            energy,
            num_steps=10,
            num_chains=5_000,
            observe=None,
        ).info.acceptance_rate.mean()
        for make in (jl.mala, jl.barker)
    }
    assert rates[jl.mala] < 0.01
    assert rates[jl.barker] > 0.1


def quartic(x):
    return jnp.sum(x**4)


def test_a_start_far_out_comes_home_where_mala_is_stuck():
    """x⁴ from 30: the gradient is 10⁵, and a step of MALA's goes to -1000."""

    def end(kernel):
        start = jnp.full((100, 1), 30.0)
        return jl.sample(
            jax.random.key(0), quartic, kernel, start, num_steps=600, observe=None
        ).position

    with pytest.warns(jl.StuckWarning):
        np.testing.assert_array_equal(end(jl.mala(0.01)), 30.0)
    assert jnp.abs(end(jl.barker(0.01))).max() < 4
