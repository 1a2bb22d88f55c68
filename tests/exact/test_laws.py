"""Exact laws against closed forms, brute force and each other."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg
from exact_laws import (
    arr,
    assert_same_law,
    brute_force,
    cooling,
    decaying,
    eps,
    error,
    gaussian,
    quadratic_form,
    root,
    spd,
    standard,
)

import jlangevin as jl
from jlangevin import adaptation, exact

pytestmark = pytest.mark.slow

# Closed forms -------------------------------------------------------------------------------

STEPS = (0, 1, 2, 3, 10, 1000, 10**9)


def z_grid(dtype):
    """ηλ from what the dtype can resolve up to just below the stability limit, 2."""
    smallest = (1e-9, 1e-6) if dtype == jnp.float64 else ()
    return np.array([*smallest, 1e-3, 0.1, 0.5, 1.0, 1.5, 1.9, 1.99])


def assert_within_rounding(got, expected, z, dtype):
    """Entry by entry; F = 1 - z is rounded to eps, and the law depends on F by 1 / (z (2 - z))."""
    allowed = 100 * eps() * (1 + 1 / (z * (2 - z)))
    relative = np.abs(np.asarray(got, np.float64) - expected) / np.abs(expected)
    assert np.all(relative <= allowed), relative / allowed


@pytest.mark.parametrize("num_steps", STEPS)
def test_ula_has_its_closed_form_along_each_eigenvector(num_steps, dtype):
    z, eta, temperature = z_grid(dtype), 0.2, 0.7
    mu, m0, s0 = 3.0, -1.5, 1.7
    energy = jl.energies.quadratic(jnp.diag(arr(z / eta)), jnp.full(z.size, mu))
    start = jl.Gaussian(jnp.full(z.size, m0), s0 * jnp.eye(z.size))
    law = exact.law(jl.ula(eta, temperature=temperature), energy, start, num_steps)

    with np.errstate(divide="ignore"):
        log_r = np.where(z < 1, np.log1p(-np.minimum(z, 1)), np.log(np.maximum(z - 1, 1e-300)))
    n = num_steps if num_steps else 1e-300  # 0 · log 0 is 0 here
    power = np.sign(1 - z) ** num_steps * np.exp(n * np.maximum(log_r, -1e300))
    mean = mu + power * (m0 - mu)
    grown = -np.expm1(2 * n * np.maximum(log_r, -1e300)) / (z * (2 - z))
    variance = power**2 * s0 + 2 * eta * temperature * grown
    assert_within_rounding(law.mean - mu + 10, mean - mu + 10, z, dtype)
    assert_within_rounding(jnp.diagonal(law.cov), variance, z, dtype)
    np.testing.assert_array_equal(law.cov - jnp.diag(jnp.diagonal(law.cov)), 0)


def test_stationary_variance_of_ula_is_inflated_by_its_step(dtype):
    """T / (λ (1 - ηλ/2))."""
    z, eta, temperature = z_grid(dtype), 0.2, 0.7
    energy = jl.energies.quadratic(jnp.diag(arr(z / eta)), jnp.full(z.size, 3.0))
    kernel = jl.ula(eta, temperature=temperature)
    law = exact.stationary(kernel, energy, jnp.zeros(z.size))
    assert_within_rounding(jnp.diagonal(law.cov), temperature / (z / eta * (1 - z / 2)), z, dtype)
    assert_within_rounding(law.mean, np.full(z.size, 3.0), z, dtype)


@pytest.mark.parametrize("num_steps", STEPS)
def test_law_on_a_linear_energy_spreads_and_drifts_for_ever(num_steps, x64):
    """N(m_0 - N η θ, S_0 + 2 η T N I)."""
    theta, eta, temperature = np.array([0.8, -0.5, 2.0]), 0.01, 1.5
    m0, S0 = np.array([1.0, 2.0, -1.0]), spd(3)
    kernel = jl.ula(eta, temperature=temperature)
    law = exact.law(kernel, jl.energies.linear(arr(theta)), gaussian(m0, S0), num_steps)
    spread = 2 * eta * temperature * num_steps
    mean, cov = m0 - num_steps * eta * theta, S0 + spread * np.eye(3)
    assert error(law, mean, cov) <= 100 * eps()


@pytest.mark.parametrize("diagonal", [False, True], ids=["dense", "diagonal"])
def test_preconditioned_ula_has_its_closed_stationary_covariance(diagonal, x64):
    """T P^{1/2} B⁻¹ (I - ηB/2)⁻¹ P^{1/2}, B = P^{1/2} A P^{1/2}."""
    A, eta, temperature, mu = spd(4, 1), 0.3, 0.6, np.arange(4.0)
    P = np.diag([0.3, 1.0, 1.7, 0.8]) if diagonal else spd(4, 2)
    given = arr(np.diagonal(P) if diagonal else P)
    kernel = jl.ula(eta, temperature=temperature, preconditioner=given)
    energy = jl.energies.quadratic(arr(A), arr(mu))
    law = exact.stationary(kernel, energy, jnp.zeros(4))
    half = root(P)
    B = half @ A @ half
    eye = np.eye(4)
    cov = temperature * half @ np.linalg.inv(B) @ np.linalg.inv(eye - eta * B / 2) @ half
    assert error(law, mu, cov) <= 500 * eps()


def test_gradient_noise_adds_its_covariance_to_every_step(x64):
    """S = F S Fᵀ + 2 η T I + η² C, by SciPy's discrete Lyapunov solver."""
    A, C, eta, temperature = spd(3, 1), spd(3, 2), 0.4, 1.3
    kernel = jl.gradient_noise(jl.ula(eta, temperature=temperature), arr(C))
    law = exact.stationary(kernel, jl.energies.quadratic(arr(A)), jnp.zeros(3))
    Q = 2 * eta * temperature * np.eye(3) + eta**2 * C
    cov = scipy.linalg.solve_discrete_lyapunov(np.eye(3) - eta * A, Q)
    assert error(law, np.zeros(3), cov) <= 500 * eps()


def test_stationary_law_of_leimkuhler_matthews_is_the_target(x64):
    """Leimkuhler and Matthews' variance is T/λ at every stable step."""
    energy = jl.energies.quadratic(arr(np.diag([0.1, 1.0, 1.99])), jnp.ones(3))
    law = exact.stationary(jl.leimkuhler_matthews(1.0, temperature=0.7), energy, jnp.zeros(3))
    assert_same_law(law, exact.target(energy, jnp.zeros(3), temperature=0.7), 1e-12)


def test_full_law_shows_what_a_kernel_carries(x64):
    """The carried noise is N(0, I), and the position holds half of it, times sqrt(2ηT)."""
    eta, temperature, d = 0.3, 0.7, 2
    energy, start = jl.energies.quadratic(arr(spd(d))), gaussian(np.ones(d), spd(d, 1))
    law = exact.law(
        jl.leimkuhler_matthews(eta, temperature=temperature), energy, start, 5, full=True
    )
    assert isinstance(law.mean, jl.kernels.LeimkuhlerMatthewsState)
    np.testing.assert_allclose(law.mean.noise, np.zeros(d), atol=1e-15)
    np.testing.assert_allclose(law.cov[d:, d:], np.eye(d), rtol=1e-14, atol=1e-15)
    carried = np.sqrt(2 * eta * temperature) / 2 * np.eye(d)
    np.testing.assert_allclose(law.cov[:d, d:], carried, rtol=1e-14, atol=1e-15)


# Consistency --------------------------------------------------------------------------------


@pytest.mark.parametrize("num_steps", [0, 1, 100])
@pytest.mark.parametrize(
    "kernel", [jl.ula(0.3), jl.leimkuhler_matthews(0.3)], ids=["ula", "leimkuhler_matthews"]
)
def test_law_is_the_end_of_the_trajectory(kernel, num_steps, x64):
    energy = jl.energies.quadratic(arr(spd(3, 1)), arr([1.0, 2.0, 3.0]))
    start = gaussian([5.0, 0.0, -5.0], spd(3, 2))
    path = exact.trajectory(kernel, energy, start, num_steps)
    assert path.mean.shape == (num_steps + 1, 3)
    assert path.cov.shape == (num_steps + 1, 3, 3)
    first, last = (jax.tree.map(lambda leaf, k=k: leaf[k], path) for k in (0, -1))
    assert_same_law(first, start, 0)
    assert_same_law(last, exact.law(kernel, energy, start, num_steps), 1e-13)


def test_trajectory_is_the_brute_force_recursion(x64):
    A, b, eta = spd(3, 1), np.array([1.0, -2.0, 0.5]), 0.3
    start = gaussian([5.0, 0.0, -5.0], spd(3, 2))
    path = exact.trajectory(jl.ula(eta), quadratic_form(A, b), start, 20)
    means, covs = brute_force(A, b, start.mean, start.cov, [(eta, 1.0)] * 20)
    for k in range(21):
        law = jax.tree.map(lambda leaf, k=k: leaf[k], path)
        assert error(law, means[k], covs[k]) <= 200 * eps()


def test_full_trajectory_is_of_the_whole_state(x64):
    energy, start = jl.energies.quadratic(arr(spd(2))), standard(2)
    path = exact.trajectory(jl.leimkuhler_matthews(0.3), energy, start, 4, full=True)
    chex.assert_shape([path.mean.position, path.mean.noise], (5, 2))
    chex.assert_shape(path.cov, (5, 4, 4))
    last = jax.tree.map(lambda leaf: leaf[-1], path)
    law = exact.law(jl.leimkuhler_matthews(0.3), energy, start, 4, full=True)
    np.testing.assert_allclose(last.cov, law.cov, rtol=1e-13, atol=1e-15)


@pytest.mark.parametrize(("first", "second"), [(0, 5), (1, 1), (3, 4), (1000, 24)])
def test_laws_compose(first, second, x64):
    energy = jl.energies.quadratic(arr(spd(3, 1)), arr([1.0, 2.0, 3.0]))
    start, kernel = gaussian([5.0, 0.0, -5.0], spd(3, 2)), jl.ula(0.3)
    middle = exact.law(kernel, energy, start, first)
    law = exact.law(kernel, energy, middle, second)
    assert_same_law(law, exact.law(kernel, energy, start, first + second), 200 * eps())


def test_law_tends_to_the_stationary_law(x64):
    energy = jl.energies.quadratic(arr(spd(3, 1)), arr([1.0, 2.0, 3.0]))
    law = exact.law(jl.ula(0.3), energy, standard(3), 10**9)
    limit = exact.stationary(jl.ula(0.3), energy, jnp.zeros(3))
    assert_same_law(law, limit, 200 * eps())


def test_position_s_values_do_not_matter(x64):
    energy = jl.energies.quadratic(arr(spd(2)), arr([1.0, 2.0]))
    here = exact.affine_map(jl.ula(0.1), energy, jnp.zeros(2))
    there = exact.affine_map(jl.ula(0.1), energy, jnp.full(2, 1e6))
    chex.assert_trees_all_equal(here, there)


def test_position_may_be_a_numpy_array():
    """Of NumPy's default dtype even where x64 is disabled, as everywhere in JAX."""
    energy, position = jl.energies.quadratic(jnp.eye(2)), np.zeros(2)
    close = functools.partial(pytest.approx, rel=10 * eps())
    assert float(exact.affine_map(jl.ula(0.5), energy, position).matrix[0, 0]) == close(0.5)
    assert float(exact.stationary(jl.ula(1.0), energy, position).cov[0, 0]) == close(2)
    assert float(exact.target(energy, position).cov[0, 0]) == close(1)
    assert float(adaptation.step_size_for(energy, position, bias=1.0)) == close(1)


def test_law_keeps_the_dtype_of_its_position(x64):
    """float32 problems stay float32 with x64 enabled."""
    energy = jl.energies.quadratic(jnp.eye(2, dtype=jnp.float32))
    start = jl.Gaussian(jnp.zeros(2, jnp.float32), jnp.eye(2, dtype=jnp.float32))
    laws = [
        exact.law(jl.ula(0.1), energy, start, 10),
        exact.trajectory(jl.ula(0.1), energy, start, 10),
        exact.stationary(jl.ula(0.1), energy, start.mean),
        exact.target(energy, start.mean),
    ]
    chex.assert_type(jax.tree.leaves(laws), jnp.float32)


# Schedules ----------------------------------------------------------------------------------


@pytest.mark.parametrize("num_steps", [0, 25])
def test_law_with_schedules_is_the_brute_force_recursion(num_steps, x64):
    A, b = spd(3, 1), np.array([1.0, -2.0, 0.5])
    start = gaussian([5.0, 0.0, -5.0], spd(3, 2))
    kernel = jl.ula(decaying, temperature=cooling)
    steps = [(0.4 / (1 + 0.2 * t), 1 + 3 * np.exp(-0.3 * t)) for t in range(num_steps)]
    means, covs = brute_force(A, b, start.mean, start.cov, steps)
    law = exact.law(kernel, quadratic_form(A, b), start, num_steps)
    assert error(law, means[-1], covs[-1]) <= 200 * eps()


def test_trajectory_with_schedules_is_the_brute_force_recursion(x64):
    A, b = spd(3, 1), np.array([1.0, -2.0, 0.5])
    start = gaussian([5.0, 0.0, -5.0], spd(3, 2))
    kernel = jl.ula(decaying, temperature=cooling)
    steps = [(0.4 / (1 + 0.2 * t), 1 + 3 * np.exp(-0.3 * t)) for t in range(25)]
    means, covs = brute_force(A, b, start.mean, start.cov, steps)
    path = exact.trajectory(kernel, quadratic_form(A, b), start, 25)
    np.testing.assert_allclose(path.mean, means, rtol=1e-13, atol=1e-13)
    np.testing.assert_allclose(path.cov, covs, rtol=1e-13, atol=1e-13)


def test_schedule_inside_a_wrapped_kernel_is_followed(x64):
    A, b, C = spd(2, 1), np.zeros(2), spd(2, 2)
    kernel = jl.gradient_noise(jl.ula(decaying), arr(C))
    law = exact.law(kernel, quadratic_form(A, b), standard(2), 5)
    mean, cov = np.zeros(2), np.eye(2)
    for t in range(5):
        eta = 0.4 / (1 + 0.2 * t)
        F = np.eye(2) - eta * A
        cov = F @ cov @ F.T + 2 * eta * np.eye(2) + eta**2 * C
    assert error(law, mean, cov) <= 1e-13


@pytest.mark.parametrize("step", [0, 3, 100])
def test_affine_map_is_that_of_the_given_step_of_a_schedule(step, x64):
    A, b = spd(2), np.array([1.0, -2.0])
    move = exact.affine_map(jl.ula(decaying), quadratic_form(A, b), jnp.zeros(2), step=step)
    eta = 0.4 / (1 + 0.2 * step)
    close = functools.partial(np.testing.assert_allclose, rtol=0, atol=20 * eps())
    close(move.matrix, np.eye(2) - eta * A)
    close(move.offset, -eta * b)
    close(move.cov, 2 * eta * np.eye(2))


@pytest.mark.parametrize("num_steps", [3])
def test_schedule_is_given_an_int32_scalar(num_steps):
    """As `Schedule` promises, and as the driver does."""

    def schedule(t):
        assert t.dtype == jnp.int32
        assert t.shape == ()
        return 0.1 / (1 + t.astype(float))

    energy = jl.energies.quadratic(jnp.eye(2))
    exact.affine_map(jl.ula(schedule), energy, jnp.zeros(2), step=num_steps)
    exact.law(jl.ula(schedule), energy, standard(2), num_steps)
    exact.trajectory(jl.ula(schedule), energy, standard(2), num_steps)


# Pytree positions ---------------------------------------------------------------------------


def tree_problem(kernel_of):
    """The same problem over a dict of arrays and over its raveled vector."""
    A, mu, d = spd(5, 1), np.arange(5.0), 5
    mean = {"w": arr(np.ones((2, 2))), "b": arr([2.0])}
    flat_energy = jl.energies.quadratic(arr(A), arr(mu))

    def energy(x):
        return flat_energy(jax.flatten_util.ravel_pytree(x)[0])

    flat_mean = jax.flatten_util.ravel_pytree(mean)[0]
    cov = arr(spd(d, 2))
    tree = kernel_of(lambda flat: {"b": flat[:1], "w": flat[1:].reshape(2, 2)})
    return (
        (tree, energy, jl.Gaussian(mean, cov)),
        (kernel_of(lambda flat: flat), flat_energy, jl.Gaussian(flat_mean, cov)),
    )


@pytest.mark.parametrize("preconditioner", ["none", "diagonal", "dense"])
def test_pytree_position_has_the_law_of_its_raveled_vector(preconditioner, x64):
    def kernel_of(unravel):
        given = {"none": None, "dense": arr(spd(5, 3))}.get(preconditioner, "diagonal")
        if given is not None and preconditioner == "diagonal":
            given = unravel(arr([0.5, 1.0, 1.5, 2.0, 0.7]))
        return jl.ula(0.2, temperature=0.8, preconditioner=given)

    tree, flat = tree_problem(kernel_of)
    got = exact.law(*tree, 7)
    chex.assert_trees_all_equal_structs(got.mean, tree[2].mean)
    chex.assert_trees_all_equal_shapes(got.mean, tree[2].mean)
    assert_same_law(got, exact.law(*flat, 7), 1e-14)
    got = exact.stationary(tree[0], tree[1], tree[2].mean)
    assert_same_law(got, exact.stationary(flat[0], flat[1], flat[2].mean), 1e-13)


def test_every_law_over_a_pytree_is_like_it(x64):
    (kernel, energy, start), flat = tree_problem(lambda _: jl.ula(0.2))
    path = exact.trajectory(kernel, energy, start, 7)
    chex.assert_trees_all_equal_structs(path.mean, start.mean)
    chex.assert_shape([path.mean["w"], path.mean["b"], path.cov], [(8, 2, 2), (8, 1), (8, 5, 5)])
    np.testing.assert_allclose(path.cov, exact.trajectory(*flat, 7).cov, rtol=1e-13, atol=1e-13)
    target = exact.target(energy, start.mean)
    chex.assert_trees_all_equal_shapes(target.mean, start.mean)
    assert_same_law(target, exact.target(flat[1], flat[2].mean), 1e-13)
    apart = exact.wasserstein2(start, target)
    flat_apart = exact.wasserstein2(flat[2], exact.target(flat[1], flat[2].mean))
    assert float(apart) == pytest.approx(float(flat_apart), rel=1e-12)


# The target ---------------------------------------------------------------------------------


@pytest.mark.parametrize("temperature", [1.0, 0.3, 4])
def test_target_is_the_gaussian_of_the_energy(temperature, dtype):
    A, b = spd(4), np.array([1.0, -2.0, 0.5, 3.0])
    law = exact.target(quadratic_form(A, b), jnp.zeros(4), temperature=temperature)
    expected = -np.linalg.solve(A, b), temperature * np.linalg.inv(A)
    assert error(law, *expected) <= 200 * eps()


def test_target_of_a_quadratic_energy_is_its_own_moments(x64):
    energy = jl.energies.quadratic(arr(spd(3)), arr([1.0, 2.0, 3.0]))
    law = exact.target(energy, jnp.zeros(3))
    assert error(law, energy.mean, energy.cov) <= 100 * eps()


@pytest.mark.parametrize("temperature", [0.0, -1.0, np.inf, np.nan])
def test_target_refuses_a_bad_temperature(temperature):
    with pytest.raises(ValueError, match="temperature"):
        exact.target(jl.energies.quadratic(jnp.eye(1)), jnp.zeros(1), temperature=temperature)


@pytest.mark.parametrize(
    "A",
    [np.zeros((2, 2)), np.diag([1.0, 0.0]), np.diag([1.0, -1.0]), -np.eye(2), np.ones((2, 2))],
    ids=["linear", "flat", "indefinite", "negative", "singular"],
)
def test_target_refuses_an_energy_that_is_not_normalizable(A):
    with pytest.raises(jl.NotNormalizableError, match="no finite integral"):
        exact.target(quadratic_form(A, np.ones(2)), jnp.zeros(2))
