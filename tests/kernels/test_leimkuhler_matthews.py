"""Leimkuhler and Matthews' method: ULA's cost, half of the noise shared with the next step."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jlangevin as jl
from jlangevin._core.arithmetic import product
from jlangevin.kernels import LeimkuhlerMatthewsState

P = [[0.5, 0.2], [0.2, 0.9]]


def setting():
    energy = jl.energies.quadratic([[1.0, 0.6], [0.6, 2.0]], mean=[1.0, -2.0])
    start = jl.Gaussian(jnp.array([3.0, 1.0]), jnp.array([[2.0, -0.5], [-0.5, 1.0]]))
    return energy, start


@pytest.mark.parametrize("preconditioner", [None, P])
def test_a_step_is_the_update_rule(preconditioner, dtype):
    x, before, xi = jnp.array([0.5, -1.0]), jnp.array([-1.0, 0.3]), jnp.array([2.0, 3.0])
    energy = jl.energies.double_well(dim=2)
    shape = None if preconditioner is None else jnp.array(preconditioner)
    kernel = jl.leimkuhler_matthews(0.1, temperature=3.0, preconditioner=shape)
    moved, _ = kernel.step(energy, LeimkuhlerMatthewsState(x, before), xi)
    p = jnp.eye(2) if shape is None else shape
    shared = product(jnp.linalg.cholesky(p), before + xi) / 2
    expected = x - 0.1 * product(p, jax.grad(energy)(x)) + jnp.sqrt(2 * 0.1 * 3.0) * shared
    np.testing.assert_allclose(moved.position, expected, rtol=1e-5)
    np.testing.assert_array_equal(moved.noise, xi)
    assert moved.position.dtype == dtype


def test_the_first_noise_comes_from_init():
    x, xi = jnp.ones(2), jnp.array([2.0, 3.0])
    kernel = jl.leimkuhler_matthews(0.1)
    assert kernel.init_noise is jl.noise.Want.NORMAL
    np.testing.assert_array_equal(kernel.init(jnp.sum, x, xi).noise, xi)


def test_one_gradient_a_step():
    calls = []

    def energy(x):
        calls.append(x)
        return jnp.sum(x**2)

    kernel = jl.leimkuhler_matthews(0.1)
    jax.make_jaxpr(lambda s, z: kernel.step(energy, s, z))(
        LeimkuhlerMatthewsState(jnp.ones(2), jnp.ones(2)), jnp.ones(2)
    )
    assert len(calls) == 1


@pytest.mark.parametrize("temperature", [0.5, 2.0])
@pytest.mark.parametrize("preconditioner", [None, [0.5, 1.5], P])
def test_samples_have_the_exact_law(preconditioner, temperature):
    energy, start = setting()
    shape = None if preconditioner is None else jnp.array(preconditioner)
    kernel = jl.leimkuhler_matthews(0.3, temperature=temperature, preconditioner=shape)
    run = jl.sample(
        jax.random.key(0),
        energy,
        kernel,
        start,
        num_steps=6,
        num_chains=20_000,
        observe=None,
    )
    jl.verify.assert_law(run.position, jl.exact.law(kernel, energy, start, 6))


@pytest.mark.parametrize("fraction", [0.01, 0.5, 0.95])
def test_the_stationary_law_is_the_target_at_every_stable_step(fraction, x64):
    energy, _ = setting()
    limit = 2 / np.linalg.eigvalsh(energy.precision)[-1]
    kernel = jl.leimkuhler_matthews(fraction * limit, temperature=0.7)
    law = jl.exact.stationary(kernel, energy, jnp.zeros(2))
    np.testing.assert_allclose(law.cov, 0.7 * np.linalg.inv(energy.precision), rtol=1e-12)
    np.testing.assert_allclose(law.mean, energy.center, rtol=1e-12)


def test_beyond_the_stability_limit_is_refused(x64):
    energy, _ = setting()
    kernel = jl.leimkuhler_matthews(2.01 / np.linalg.eigvalsh(energy.precision)[-1])
    with pytest.raises(jl.UnstableStepError):
        jl.exact.stationary(kernel, energy, jnp.zeros(2))


@pytest.mark.parametrize("num_steps", [1, 2, 50])
def test_a_linear_energy_spreads_half_a_step_less(num_steps, x64):
    """var_N = var_0 + 2ηT (N - ½)."""
    kernel = jl.leimkuhler_matthews(0.1, temperature=0.7)
    start = jl.Gaussian(jnp.zeros(2), jnp.eye(2))
    law = jl.exact.law(kernel, jl.energies.linear([0.8, 0.5]), start, num_steps)
    spread = 2 * 0.1 * 0.7 * (num_steps - 0.5)
    np.testing.assert_allclose(law.cov, (1 + spread) * np.eye(2), rtol=1e-13)


def test_a_schedule_scales_both_halves_by_the_step_they_are_used_in(x64):
    """x_2 = x_0 + σ_0 (ξ_0 + ξ_1)/2 + σ_1 (ξ_1 + ξ_2)/2 where there is no drift."""

    def growing(t):
        return 1 + jnp.asarray(t, float)

    kernel = jl.leimkuhler_matthews(lambda t: 0.1 / growing(t), temperature=growing)
    start = jl.Gaussian(jnp.zeros(1), jnp.zeros((1, 1)))
    law = jl.exact.law(kernel, jl.energies.linear([0.0]), start, 2)
    s0, s1 = np.sqrt(2 * 0.1 * 1.0), np.sqrt(2 * 0.05 * 2.0)
    variance = (s0**2 + (s0 + s1) ** 2 + s1**2) / 4
    np.testing.assert_allclose(law.cov[0, 0], variance, rtol=1e-13)


def test_at_temperature_zero_it_descends():
    kernel = jl.leimkuhler_matthews(0.1, temperature=lambda t: jnp.float32(0.0))
    run = jl.sample(
        jax.random.key(0), lambda x: jnp.sum(x**2), kernel, jnp.ones((3, 2)), num_steps=1
    )
    np.testing.assert_allclose(run.position, 0.8, rtol=1e-6)


def test_positions_may_be_pytrees():
    starts = {"a": jnp.ones((3, 2)), "b": jnp.ones((3, 2, 2))}

    def energy(x):
        return jnp.sum(x["a"] ** 2) + jnp.sum(x["b"] ** 2)

    run = jl.sample(
        jax.random.key(0), energy, jl.leimkuhler_matthews(0.1), starts, num_steps=4, thin=2
    )
    assert jax.tree.map(jnp.shape, run.draws) == {"a": (3, 2, 2), "b": (3, 2, 2, 2)}


@pytest.mark.parametrize("name", ["step_size", "temperature"])
@pytest.mark.parametrize("value", [0.0, -0.1, float("nan"), float("inf")])
def test_hyperparameters_are_finite_and_positive(name, value):
    with pytest.raises(ValueError, match=f"{name}: expected"):
        jl.leimkuhler_matthews(**{"step_size": 0.1, name: value})
