"""MALT: its step by hand, and the kernels that it becomes in its limits."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jlangevin as jl

pytestmark = pytest.mark.slow

H, FRICTION, TEMPERATURE, MASS = 0.2, 1.5, 2.0, 3.0
X = np.array([0.5, -1.2])


def noise_of(length, dtype, uniform=0.0):
    normals = np.random.default_rng(0).normal(size=(length, 2)).T
    return jnp.asarray(normals, dtype), jnp.asarray(uniform, dtype)


def by_hand(energy, normals, friction):
    """The end of a trajectory and the rise of E + ½ m |v|² in its leapfrogs."""

    def of(x):
        value, gradient = jax.value_and_grad(energy)(jnp.asarray(x))
        return float(value), np.asarray(gradient, np.float64)

    first, *others = np.asarray(normals, np.float64).T
    x, v, rise = X, np.sqrt(TEMPERATURE / MASS) * first, 0.0
    for xi in [None, *others]:
        if xi is not None:
            kept = np.exp(-friction * H)
            v = kept * v + np.sqrt((1 - kept**2) * TEMPERATURE / MASS) * xi
        value, gradient = of(x)
        before = value + MASS * v @ v / 2
        v = v - H / 2 / MASS * gradient
        x = x + H * v
        value, gradient = of(x)
        v = v - H / 2 / MASS * gradient
        rise += value + MASS * v @ v / 2 - before
    return x, rise


def stepped(energy, kernel, noise, dtype):
    return kernel.step(energy, kernel.init(energy, jnp.asarray(X, dtype), None), noise)


def tolerance(dtype):
    return 1e-5 if dtype == jnp.float32 else 1e-10


@pytest.mark.parametrize("friction", [0.0, FRICTION])
@pytest.mark.parametrize("length", [1, 2, 5])
def test_a_step_is_a_trajectory(length, friction, dtype):
    """Without friction, Hamiltonian Monte Carlo's."""
    energy = jl.energies.double_well(height=8.0, dim=2)
    kernel = jl.malt(H, friction, length, temperature=TEMPERATURE, mass=MASS)
    normals, uniform = noise_of(length, dtype)
    end, rise = by_hand(energy, normals, friction)
    moved, info = stepped(energy, kernel, (normals, uniform), dtype)
    np.testing.assert_allclose(moved.position, end, rtol=tolerance(dtype))
    rate = min(1, np.exp(-rise / TEMPERATURE))
    np.testing.assert_allclose(info.acceptance_rate, rate, rtol=tolerance(dtype))
    assert moved.position.dtype == info.acceptance_rate.dtype == dtype
    if rate < 1:
        kept, _ = stepped(energy, kernel, (normals, jnp.asarray(rate + 1e-3, dtype)), dtype)
        np.testing.assert_array_equal(kept.position, jnp.asarray(X, dtype))


def test_of_length_one_it_is_mala(dtype):
    """Of step size h²/(2m), whatever the friction."""
    energy = jl.energies.double_well(height=8.0, dim=2)
    normals, uniform = noise_of(1, dtype)
    malt = jl.malt(H, FRICTION, 1, temperature=TEMPERATURE, mass=MASS)
    mala = jl.mala(H**2 / (2 * MASS), temperature=TEMPERATURE)
    a, a_info = stepped(energy, malt, (normals, uniform), dtype)
    b, b_info = stepped(energy, mala, (normals[:, 0], uniform), dtype)
    np.testing.assert_allclose(a.position, b.position, rtol=tolerance(dtype))
    np.testing.assert_allclose(
        a_info.acceptance_rate, b_info.acceptance_rate, rtol=tolerance(dtype)
    )


def test_of_large_friction_it_is_steps_of_ula_accepted_together(dtype):
    """Each velocity is then a fresh one."""
    energy = jl.energies.double_well(height=8.0, dim=2)
    normals, uniform = noise_of(4, dtype)
    malt = jl.malt(H, 1e4, 4, temperature=TEMPERATURE, mass=MASS)
    ula = jl.ula(H**2 / (2 * MASS), temperature=TEMPERATURE)
    state = ula.init(energy, jnp.asarray(X, dtype), None)
    for xi in normals.T:
        state, _ = ula.step(energy, state, xi)
    moved, info = stepped(energy, malt, (normals, uniform), dtype)
    assert info.acceptance_rate > 0
    np.testing.assert_allclose(moved.position, state.position, rtol=tolerance(dtype))


def test_without_friction_a_small_step_follows_the_exact_orbit(x64):
    """On ½ λ x² it is x cos ωt + v/ω sin ωt, ω² = λ/m; at t = π/ω every chain is at -x."""
    precision, length = 4.0, 400
    period = np.pi * (MASS / precision) ** 0.5
    energy = jl.energies.quadratic(precision * jnp.eye(2))
    kernel = jl.malt(period / length, 0.0, length, temperature=TEMPERATURE, mass=MASS)
    moved, info = stepped(energy, kernel, noise_of(length, jnp.float64), jnp.float64)
    np.testing.assert_allclose(moved.position, -X, atol=1e-4)
    np.testing.assert_allclose(info.acceptance_rate, 1, atol=1e-4)


def test_the_length_is_a_count():
    with pytest.raises(TypeError, match="trajectory_length: expected an integer"):
        jl.malt(0.1, 1.0, 2.5)
    with pytest.raises(ValueError, match="trajectory_length: expected at least 1"):
        jl.malt(0.1, 1.0, 0)


@pytest.mark.parametrize("friction", [-1.0, float("nan"), float("inf")])
def test_friction_is_finite_and_not_negative(friction):
    with pytest.raises(ValueError, match="friction: expected"):
        jl.malt(0.1, friction, 3)


def test_friction_may_be_a_schedule():
    kernel = jl.malt(0.2, lambda t: jnp.exp2(t.astype(float)), 3)
    energy = jl.energies.double_well(dim=2)
    run = jl.sample(jax.random.key(0), energy, kernel, jnp.ones((5, 2)), num_steps=4)
    assert bool(jnp.isfinite(run.draws).all())
