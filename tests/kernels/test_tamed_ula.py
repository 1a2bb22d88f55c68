"""Tamed ULA: where gradients outgrow every step size."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jlangevin as jl
from jlangevin.kernels import TamedULAState

pytestmark = pytest.mark.slow


def octic(x):
    return jnp.sum(x**8)


def test_a_step_is_the_update_rule(dtype):
    x, xi = jnp.array([0.5, -2.0]), jnp.array([2.0, 3.0])
    moved, _ = jl.tamed_ula(0.1, temperature=3.0).step(octic, TamedULAState(x), xi)
    g = jax.grad(octic)(x)
    drift = 0.1 * g / (1 + 0.1 * jnp.linalg.norm(g))
    np.testing.assert_allclose(moved.position, x - drift + jnp.sqrt(0.6) * xi, rtol=1e-5)
    assert moved.position.dtype == dtype


def test_coordinatewise_each_element_is_tamed_by_itself(dtype):
    x, xi = jnp.array([0.5, -2.0]), jnp.array([2.0, 3.0])
    kernel = jl.tamed_ula(0.1, temperature=3.0, coordinatewise=True)
    moved, _ = kernel.step(octic, TamedULAState(x), xi)
    g = jax.grad(octic)(x)
    drift = 0.1 * g / (1 + 0.1 * jnp.abs(g))
    np.testing.assert_allclose(moved.position, x - drift + jnp.sqrt(0.6) * xi, rtol=1e-5)


def test_the_norm_is_over_the_whole_position():
    theta = {"a": jnp.array([3.0]), "b": jnp.array([[0.0, 4.0]])}

    def energy(x):
        return jnp.sum(theta["a"] * x["a"]) + jnp.sum(theta["b"] * x["b"])

    zeros = jax.tree.map(jnp.zeros_like, theta)
    moved, _ = jl.tamed_ula(0.1).step(energy, TamedULAState(zeros), zeros)
    expected = jax.tree.map(lambda g: -0.1 * g / 1.5, theta)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), moved.position, expected)


def test_one_gradient_a_step():
    calls = []

    def energy(x):
        calls.append(x)
        return jnp.sum(x**2)

    kernel = jl.tamed_ula(0.1)
    jax.make_jaxpr(lambda x, z: kernel.step(energy, TamedULAState(x), z))(jnp.ones(2), jnp.ones(2))
    assert len(calls) == 1


@pytest.mark.parametrize("coordinatewise", [False, True])
@pytest.mark.parametrize(
    ("energy", "far"), [(jl.energies.double_well(dim=2), 30.0), (octic, 20.0)], ids=["well", "x⁸"]
)
def test_chains_come_in_from_afar_where_ula_explodes(energy, far, coordinatewise):
    starts = jnp.full((100, 2), far)
    tamed = jl.tamed_ula(0.05, coordinatewise=coordinatewise)
    options = {"num_steps": 200, "observe": None}
    with pytest.warns(jl.DivergenceWarning, match="100 of 100 chains"):
        jl.sample(jax.random.key(0), energy, jl.ula(0.05), starts, **options)
    run = jl.sample(jax.random.key(0), energy, tamed, starts, **options)
    assert int(run.info.num_divergent.sum()) == 0
    assert float(jnp.max(jnp.abs(run.position))) < 4


def test_no_gradient_is_too_large_or_too_small_to_be_squared():
    """In float32 the squares overflow from 2e19 on, and vanish below 1e-23."""
    kernel, state, still = jl.tamed_ula(0.1), TamedULAState(jnp.zeros(2)), jnp.zeros(2)
    for size, length in ((1e30, 1.0), (1e-30, 0.1 * 5e-30)):
        energy = jl.energies.linear(size * jnp.array([3.0, 4.0]))
        moved, _ = kernel.step(energy, state, still)
        np.testing.assert_allclose(moved.position, [-0.6 * length, -0.8 * length], rtol=1e-5)


@pytest.mark.parametrize("dim", [1, 32, 33, 100])
def test_the_norm_is_right_in_few_dimensions_and_many(dim):
    theta = jnp.linspace(-1.0, 2.0, dim)
    state, still = TamedULAState(jnp.zeros(dim)), jnp.zeros(dim)
    moved, _ = jl.tamed_ula(0.1).step(jl.energies.linear(theta), state, still)
    expected = -0.1 * theta / (1 + 0.1 * jnp.sqrt(jnp.sum(theta**2)))
    np.testing.assert_allclose(moved.position, expected, rtol=1e-5)


def test_a_step_can_be_differentiated_at_a_minimum():
    def moved(x):
        return jl.tamed_ula(0.1).step(octic, TamedULAState(x), jnp.zeros(2))[0].position

    np.testing.assert_allclose(jax.jacfwd(moved)(jnp.zeros(2)), np.eye(2))
    np.testing.assert_allclose(jax.jacrev(moved)(jnp.zeros(2)), np.eye(2))


@pytest.mark.parametrize("coordinatewise", [False, True])
def test_samples_on_a_linear_energy_have_their_exact_law(coordinatewise):
    energy, start = jl.energies.linear([3.0, 4.0]), jl.Gaussian(jnp.zeros(2), jnp.eye(2))
    kernel = jl.tamed_ula(0.3, temperature=0.7, coordinatewise=coordinatewise)
    law = jl.exact.law(kernel, energy, start, 6)
    g = np.array([3.0, 4.0])
    sizes = g if coordinatewise else 5.0
    np.testing.assert_allclose(law.mean, -6 * 0.3 * g / (1 + 0.3 * sizes), rtol=1e-5)
    np.testing.assert_allclose(law.cov, (1 + 2 * 0.3 * 0.7 * 6) * np.eye(2), rtol=1e-5)
    run = jl.sample(
        jax.random.key(0), energy, kernel, start, num_steps=6, num_chains=20_000, observe=None
    )
    jl.verify.assert_law(run.position, law)


def test_schedules_are_followed():
    def growing(t):
        return 1 + jnp.asarray(t, float)

    kernel = jl.tamed_ula(lambda t: 0.1 / growing(t), temperature=growing)
    start = jl.Gaussian(jnp.zeros(1), jnp.zeros((1, 1)))
    law = jl.exact.law(kernel, jl.energies.linear([2.0]), start, 2)
    np.testing.assert_allclose(law.mean[0], -(0.1 * 2 / 1.2 + 0.05 * 2 / 1.1), rtol=1e-5)
    np.testing.assert_allclose(law.cov[0, 0], 2 * 0.1 * 1 + 2 * 0.05 * 2, rtol=1e-5)


@pytest.mark.parametrize("name", ["step_size", "temperature"])
@pytest.mark.parametrize("value", [0.0, -0.1, float("nan"), float("inf")])
def test_hyperparameters_are_finite_and_positive(name, value):
    with pytest.raises(ValueError, match=f"{name}: expected"):
        jl.tamed_ula(**{"step_size": 0.1, name: value})
