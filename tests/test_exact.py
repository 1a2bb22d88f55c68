"""Exact laws: against recorded laws, closed forms and brute force; and what must be refused."""

import functools
import json
import pathlib
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg
from jax.test_util import check_grads
from jax.tree_util import Partial

import jlangevin as jl
from jlangevin import exact
from jlangevin._arithmetic import product
from jlangevin.noise import Want

CASES = json.loads(pathlib.Path(__file__).with_name("laws.json").read_text())["cases"]


# Helpers ------------------------------------------------------------------------------------


def arr(values):
    """An array of the default floating dtype."""
    return jnp.asarray(values, float)


def eps(dtype):
    return float(jnp.finfo(dtype).eps)


def form(A, b, x):
    """E(x) = ½ xᵀAx + b·x, as laws.json has it; A may be zero or indefinite."""
    return 0.5 * product(x, product(A, x)) + product(b, x)


def quadratic_form(A, b):
    return Partial(form, arr(A), arr(b))


def gaussian(mean, cov):
    return jl.Gaussian(arr(mean), arr(cov))


def standard(d):
    return gaussian(np.zeros(d), np.eye(d))


def spd(d, seed=0):
    """A well-conditioned symmetric positive definite matrix without structure."""
    b = np.random.default_rng(seed).normal(size=(d, d))
    return b @ b.T / d + 0.5 * np.eye(d)


def root(s):
    values, vectors = np.linalg.eigh(s)
    return (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T


def error(law, mean, cov):
    """The larger norm-wise relative error, of the raveled mean or of the covariance."""
    mean, cov = np.asarray(mean, np.float64), np.asarray(cov, np.float64)
    got = np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(law.mean)]).astype(np.float64)
    assert got.shape == mean.shape
    assert law.cov.shape == cov.shape
    mean_scale = max(np.linalg.norm(mean), np.sqrt(np.trace(cov)))
    cov_error = np.linalg.norm(np.asarray(law.cov, np.float64) - cov) / np.linalg.norm(cov)
    return max(np.linalg.norm(got - mean) / mean_scale, cov_error)


def assert_same_law(got, expected, tolerance):
    mean = np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(expected.mean)])
    assert error(got, mean, expected.cov) <= tolerance


def has_nan(law):
    return bool(jnp.any(jnp.isnan(law.cov))) and any(
        bool(jnp.any(jnp.isnan(leaf))) for leaf in jax.tree.leaves(law.mean)
    )


def brute_force(A, b, mean, cov, steps):
    """Means and covariances of ULA by the recursion itself, NumPy, one (η, T) a step."""
    A, b, mean, cov = (np.asarray(v, np.float64) for v in (A, b, mean, cov))
    means, covs = [mean], [cov]
    for eta, temperature in steps:
        F = np.eye(len(b)) - eta * A
        mean = F @ mean - eta * b
        cov = F @ cov @ F.T + 2 * eta * temperature * np.eye(len(b))
        means.append(mean)
        covs.append(cov)
    return np.array(means), np.array(covs)


# A kernel that a user might write ------------------------------------------------------------


class Position(NamedTuple):
    position: Any


class Uniform(NamedTuple):
    """ULA that also asks for a uniform, as a Metropolis step does."""

    step_size: Any

    init_noise = None
    step_noise = (Want.NORMAL, Want.UNIFORM)

    def init(self, energy, position, noise):
        return jl.ula(self.step_size).init(energy, position, noise)

    def step(self, energy, state, noise):
        return jl.ula(self.step_size).step(energy, state, noise[0])


# Recorded laws ------------------------------------------------------------------------------


def case_id(case):
    d = len(case["energy"]["b"])
    kind = "linear" if not np.any(case["energy"]["A"]) else "quadratic"
    extra = [k for k in case["kernel_args"] if k in ("preconditioner", "gradient_noise_cov")]
    parts = [case["kernel"], *extra, kind, f"d{d}", f"T{case['temperature']:g}"]
    return "-".join([*parts, f"N{case['num_steps']}"])


def recorded(*kernels):
    cases = [case for case in CASES if case["kernel"] in kernels]
    return pytest.mark.parametrize("case", cases, ids=case_id)


def from_case(case):
    """The energy, start and recorded law of a case."""
    energy = quadratic_form(case["energy"]["A"], case["energy"]["b"])
    return energy, gaussian(**case["init"]), (case["law"]["mean"], case["law"]["cov"])


def recorded_tolerance(dtype):
    return 1e-12 if dtype == jnp.float64 else 1e-5


@recorded("ula")
def test_law_of_ula_is_the_recorded_one(case, dtype):
    energy, start, recorded_law = from_case(case)
    args = {name: arr(value) for name, value in case["kernel_args"].items()}
    noise_cov = args.pop("gradient_noise_cov", None)
    kernel = jl.ula(**args, temperature=case["temperature"])
    if noise_cov is not None:
        kernel = jl.gradient_noise(kernel, noise_cov)
    law = exact.law(kernel, energy, start, case["num_steps"])
    assert law.cov.dtype == law.mean.dtype == dtype
    assert error(law, *recorded_law) <= recorded_tolerance(dtype)


@recorded("leimkuhler_matthews")
def test_law_of_leimkuhler_matthews_is_the_recorded_one(case, dtype):
    energy, start, recorded_law = from_case(case)
    kernel = jl.leimkuhler_matthews(**case["kernel_args"], temperature=case["temperature"])
    law = exact.law(kernel, energy, start, case["num_steps"])
    assert error(law, *recorded_law) <= recorded_tolerance(dtype)


@recorded("BAOAB", "OBABO", "ABOBA", "OABAO")
def test_law_of_a_splitting_is_the_recorded_one_of_position_and_velocity(case, dtype):
    energy, start, recorded_law = from_case(case)
    temperature, word, num_steps = case["temperature"], case["kernel"], case["num_steps"]
    kernel = jl.underdamped(**case["kernel_args"], temperature=temperature, splitting=word)
    law = exact.law(kernel, energy, start, num_steps, full=True)
    d = len(start.mean)
    phase = jl.Gaussian(law.mean[:2], law.cov[: 2 * d, : 2 * d])
    assert phase.cov.dtype == dtype
    assert error(phase, *recorded_law) <= recorded_tolerance(dtype)
    marginal = exact.law(kernel, energy, start, num_steps)
    np.testing.assert_array_equal(marginal.mean, law.mean.position)
    np.testing.assert_array_equal(marginal.cov, law.cov[:d, :d])


@recorded("annealed")
def test_laws_compose_through_the_levels_of_an_anneal(case, dtype):
    args = case["kernel_args"]
    law = gaussian(**case["init"])
    for sigma in args["sigmas"]:
        cov = arr(args["data_cov"]) + sigma**2 * jnp.eye(len(args["data_mean"]))
        energy = jl.energies.quadratic(jnp.linalg.inv(cov), arr(args["data_mean"]))
        step_size = args["base_step_size"] * sigma**2 / args["sigmas"][-1] ** 2
        kernel = jl.ula(step_size, temperature=case["temperature"])
        law = exact.law(kernel, energy, law, case["num_steps"])
    assert error(law, case["law"]["mean"], case["law"]["cov"]) <= recorded_tolerance(dtype)


# Closed forms -------------------------------------------------------------------------------

STEPS = (0, 1, 2, 3, 10, 1000, 10**9)


def z_grid(dtype):
    """ηλ from what the dtype can resolve up to just below the stability limit, 2."""
    smallest = (1e-9, 1e-6) if dtype == jnp.float64 else ()
    return np.array([*smallest, 1e-3, 0.1, 0.5, 1.0, 1.5, 1.9, 1.99])


def assert_within_rounding(got, expected, z, dtype):
    """Entry by entry; F = 1 - z is rounded to eps, and the law depends on F by 1 / (z (2 - z))."""
    allowed = 100 * eps(dtype) * (1 + 1 / (z * (2 - z)))
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
def test_law_on_a_linear_energy_spreads_and_drifts_for_ever(num_steps, dtype):
    """N(m_0 - N η θ, S_0 + 2 η T N I)."""
    theta, eta, temperature = np.array([0.8, -0.5, 2.0]), 0.01, 1.5
    m0, S0 = np.array([1.0, 2.0, -1.0]), spd(3)
    kernel = jl.ula(eta, temperature=temperature)
    law = exact.law(kernel, jl.energies.linear(arr(theta)), gaussian(m0, S0), num_steps)
    spread = 2 * eta * temperature * num_steps
    mean, cov = m0 - num_steps * eta * theta, S0 + spread * np.eye(3)
    assert error(law, mean, cov) <= 100 * eps(dtype)


@pytest.mark.parametrize("diagonal", [False, True], ids=["dense", "diagonal"])
def test_preconditioned_ula_has_its_closed_stationary_covariance(diagonal, dtype):
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
    assert error(law, mu, cov) <= 500 * eps(dtype)


def test_gradient_noise_adds_its_covariance_to_every_step(dtype):
    """S = F S Fᵀ + 2 η T I + η² C, by SciPy's discrete Lyapunov solver."""
    A, C, eta, temperature = spd(3, 1), spd(3, 2), 0.4, 1.3
    kernel = jl.gradient_noise(jl.ula(eta, temperature=temperature), arr(C))
    law = exact.stationary(kernel, jl.energies.quadratic(arr(A)), jnp.zeros(3))
    Q = 2 * eta * temperature * np.eye(3) + eta**2 * C
    cov = scipy.linalg.solve_discrete_lyapunov(np.eye(3) - eta * A, Q)
    assert error(law, np.zeros(3), cov) <= 500 * eps(dtype)


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


def test_trajectory_is_the_brute_force_recursion(dtype):
    A, b, eta = spd(3, 1), np.array([1.0, -2.0, 0.5]), 0.3
    start = gaussian([5.0, 0.0, -5.0], spd(3, 2))
    path = exact.trajectory(jl.ula(eta), quadratic_form(A, b), start, 20)
    means, covs = brute_force(A, b, start.mean, start.cov, [(eta, 1.0)] * 20)
    for k in range(21):
        law = jax.tree.map(lambda leaf, k=k: leaf[k], path)
        assert error(law, means[k], covs[k]) <= 200 * eps(dtype)


def test_full_trajectory_is_of_the_whole_state(x64):
    energy, start = jl.energies.quadratic(arr(spd(2))), standard(2)
    path = exact.trajectory(jl.leimkuhler_matthews(0.3), energy, start, 4, full=True)
    chex.assert_shape([path.mean.position, path.mean.noise], (5, 2))
    chex.assert_shape(path.cov, (5, 4, 4))
    last = jax.tree.map(lambda leaf: leaf[-1], path)
    law = exact.law(jl.leimkuhler_matthews(0.3), energy, start, 4, full=True)
    np.testing.assert_allclose(last.cov, law.cov, rtol=1e-13, atol=1e-15)


@pytest.mark.parametrize(("first", "second"), [(0, 5), (1, 1), (3, 4), (1000, 24)])
def test_laws_compose(first, second, dtype):
    energy = jl.energies.quadratic(arr(spd(3, 1)), arr([1.0, 2.0, 3.0]))
    start, kernel = gaussian([5.0, 0.0, -5.0], spd(3, 2)), jl.ula(0.3)
    middle = exact.law(kernel, energy, start, first)
    law = exact.law(kernel, energy, middle, second)
    assert_same_law(law, exact.law(kernel, energy, start, first + second), 200 * eps(dtype))


def test_law_tends_to_the_stationary_law(dtype):
    energy = jl.energies.quadratic(arr(spd(3, 1)), arr([1.0, 2.0, 3.0]))
    law = exact.law(jl.ula(0.3), energy, standard(3), 10**9)
    limit = exact.stationary(jl.ula(0.3), energy, jnp.zeros(3))
    assert_same_law(law, limit, 200 * eps(dtype))


def test_position_s_values_do_not_matter(dtype):
    energy = jl.energies.quadratic(arr(spd(2)), arr([1.0, 2.0]))
    here = exact.affine_map(jl.ula(0.1), energy, jnp.zeros(2))
    there = exact.affine_map(jl.ula(0.1), energy, jnp.full(2, 1e6))
    chex.assert_trees_all_equal(here, there)


def test_position_may_be_a_numpy_array(dtype):
    """Of NumPy's default dtype even where x64 is disabled, as everywhere in JAX."""
    energy, position = jl.energies.quadratic(jnp.eye(2)), np.zeros(2)
    close = functools.partial(pytest.approx, rel=10 * eps(dtype))
    assert float(exact.affine_map(jl.ula(0.5), energy, position).matrix[0, 0]) == close(0.5)
    assert float(exact.stationary(jl.ula(1.0), energy, position).cov[0, 0]) == close(2)
    assert float(exact.target(energy, position).cov[0, 0]) == close(1)
    assert float(exact.step_size_for(energy, position, bias=1.0)) == close(1)


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


def decaying(t):
    return 0.4 / (1 + 0.2 * jnp.asarray(t, float))


def cooling(t):
    return 1 + 3 * jnp.exp(-0.3 * jnp.asarray(t, float))


@pytest.mark.parametrize("num_steps", [0, 1, 25])
def test_law_with_schedules_is_the_brute_force_recursion(num_steps, dtype):
    A, b = spd(3, 1), np.array([1.0, -2.0, 0.5])
    start = gaussian([5.0, 0.0, -5.0], spd(3, 2))
    kernel = jl.ula(decaying, temperature=cooling)
    steps = [(0.4 / (1 + 0.2 * t), 1 + 3 * np.exp(-0.3 * t)) for t in range(num_steps)]
    means, covs = brute_force(A, b, start.mean, start.cov, steps)
    law = exact.law(kernel, quadratic_form(A, b), start, num_steps)
    assert error(law, means[-1], covs[-1]) <= 200 * eps(dtype)


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
def test_affine_map_stands_where_in_the_schedule_it_is_told(step, dtype):
    A, b = spd(2), np.array([1.0, -2.0])
    move = exact.affine_map(jl.ula(decaying), quadratic_form(A, b), jnp.zeros(2), step=step)
    eta = 0.4 / (1 + 0.2 * step)
    close = functools.partial(np.testing.assert_allclose, rtol=0, atol=20 * eps(dtype))
    close(move.matrix, np.eye(2) - eta * A)
    close(move.offset, -eta * b)
    close(move.cov, 2 * eta * np.eye(2))


@pytest.mark.parametrize("num_steps", [0, 3])
def test_schedule_is_given_an_int32_scalar(num_steps, dtype):
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
    assert error(law, *expected) <= 200 * eps(dtype)


def test_target_of_a_quadratic_energy_is_its_own_moments(dtype):
    energy = jl.energies.quadratic(arr(spd(3)), arr([1.0, 2.0, 3.0]))
    law = exact.target(energy, jnp.zeros(3))
    assert error(law, energy.mean, energy.cov) <= 100 * eps(dtype)


@pytest.mark.parametrize("temperature", [0.0, -1.0, np.inf, np.nan])
def test_target_refuses_a_temperature_that_is_none(temperature):
    with pytest.raises(ValueError, match="temperature"):
        exact.target(jl.energies.quadratic(jnp.eye(1)), jnp.zeros(1), temperature=temperature)


@pytest.mark.parametrize(
    "A",
    [np.zeros((2, 2)), np.diag([1.0, 0.0]), np.diag([1.0, -1.0]), -np.eye(2), np.ones((2, 2))],
    ids=["linear", "flat", "indefinite", "negative", "singular"],
)
def test_target_refuses_an_energy_that_is_not_normalizable(A, dtype):
    with pytest.raises(jl.NotNormalizableError, match="no finite integral"):
        exact.target(quadratic_form(A, np.ones(2)), jnp.zeros(2))


# Refusals -----------------------------------------------------------------------------------


def wavy(weight):
    return lambda x: 0.5 * jnp.sum(x**2) + weight * jnp.sum(jnp.cos(x))


def quartic(weight):
    return lambda x: 0.5 * jnp.sum(x**2) + weight * jnp.sum(x**4)


NOT_QUADRATIC = {
    "double well": jl.energies.double_well(dim=2),
    "rosenbrock": jl.energies.rosenbrock(),
    "funnel": jl.energies.funnel(),
    "ring": jl.energies.ring(),
    "cos": lambda x: jnp.sum(jnp.cos(x)),
    "barely a cos": wavy(3e-3),
    "barely quartic": quartic(1e-7),
    "tiny and quartic": lambda x: 1e-9 * jnp.sum(x**4),
    "tiny and cos": lambda x: 1e-9 * jnp.sum(jnp.cos(x)),
    "absolute value": lambda x: jnp.sum(jnp.abs(x)),
    "Huber": lambda x: jnp.sum(jnp.where(jnp.abs(x) < 5, x**2, 10 * jnp.abs(x) - 25)),
    "in one coordinate": lambda x: x[0] ** 2 + x[1] ** 2 + x[1] ** 3,
    "in a product": lambda x: x[0] ** 2 + x[1] ** 2 + 1e-3 * x[0] ** 2 * x[1],
    "beside a stiff coordinate": lambda x: 0.5e6 * x[0] ** 2 + jnp.cos(x[1]),
}


@pytest.mark.parametrize("step_size", [0.1, 1e-12])
@pytest.mark.parametrize("name", NOT_QUADRATIC)
def test_energy_that_is_not_quadratic_is_refused_at_any_step_size(name, step_size):
    """However small the step or the part that is not quadratic, in float32, where it is hardest."""
    with pytest.raises(jl.NotAffineError, match="energy: its gradient is not affine"):
        exact.law(jl.ula(step_size), NOT_QUADRATIC[name], standard(2), 10)


@pytest.mark.parametrize("name", ["double well", "barely a cos"])
def test_every_question_is_refused_on_an_energy_that_is_not_quadratic(name, dtype):
    energy, zeros = NOT_QUADRATIC[name], jnp.zeros(2)
    questions = [
        lambda: exact.affine_map(jl.ula(0.1), energy, zeros),
        lambda: exact.trajectory(jl.ula(0.1), energy, standard(2), 10),
        lambda: exact.law(jl.ula(decaying), energy, standard(2), 10),
        lambda: exact.stationary(jl.ula(0.1), energy, zeros),
        lambda: exact.target(energy, zeros),
        lambda: exact.step_size_for(energy, zeros, bias=0.1),
    ]
    for question in questions:
        with pytest.raises(jl.NotAffineError):
            question()


@pytest.mark.parametrize("weight", [1e-6, 1e-9])
def test_double_precision_sees_smaller_departures(weight, x64):
    with pytest.raises(jl.NotAffineError):
        exact.law(jl.ula(1e-6), wavy(weight), standard(2), 10)


@pytest.mark.parametrize("unit", [1e-12, 1e-9, 1e9, 1e11])
def test_energy_that_is_not_quadratic_is_refused_in_any_unit(unit):
    """Also where all that is beyond its middle overflows."""
    for function in (jnp.cos, lambda y: y**4):
        energy = Partial(lambda unit, x, f=function: jnp.sum(f(x / unit)), arr(unit))
        with pytest.raises(jl.NotAffineError, match="energy: its gradient is not affine"):
            exact.law(jl.ula(0.1 * unit**2), energy, standard(2), 10)


@pytest.mark.parametrize("unit", [1e-15, 1e15])
def test_quadratic_energy_is_not_refused_in_any_unit(unit):
    """Also where the largest probes overflow."""
    energy = Partial(lambda unit, x: 0.5 * jnp.sum((x / unit) ** 2), arr(unit))
    assert exact.affine_map(jl.ula(0.1 * unit**2), energy, jnp.zeros(2)).matrix.shape == (2, 2)


@pytest.mark.parametrize("center", [0.0, 100.0, 1e5])
def test_quadratic_energy_is_not_refused_for_its_rounding(center, dtype):
    """Ill-conditioned, far from the origin, and written in a roundabout way."""
    d = 30
    rotation = np.linalg.qr(np.random.default_rng(0).normal(size=(d, d)))[0]
    energy = Partial(roundabout, arr(rotation), arr(np.logspace(-2, 2, d)), arr(center))
    exact.law(jl.ula(1e-5), energy, standard(d), 10)


def roundabout(rotation, scales, center, x):
    return -jnp.sum(jax.scipy.stats.norm.logpdf(product(rotation, x - center), 0.0, scales))


@pytest.mark.parametrize("scale", [1.0, 1e3, 1e5])
def test_least_squares_is_not_refused_for_the_scale_of_a_feature(scale, dtype):
    """An intercept beside a centred feature: its gradient is small, its rounding is not."""
    feature = scale * jnp.linspace(-1.0, 1.0, 200)
    energy = Partial(least_squares, feature)
    assert exact.affine_map(jl.ula(1e-12), energy, jnp.zeros(2)).matrix.shape == (2, 2)


def least_squares(feature, x):
    return 0.5 * jnp.sum((x[0] + feature * x[1] - 1) ** 2)


def test_affine_kernel_on_a_linear_energy_is_not_refused(dtype):
    """Taming a constant gradient leaves it constant."""
    law = exact.law(jl.tamed_ula(0.1), jl.energies.linear(arr([3.0, 4.0])), standard(2), 10)
    drift = 10 * 0.1 / (1 + 0.1 * 5) * np.array([3.0, 4.0])
    assert error(law, -drift, 3 * np.eye(2)) <= 100 * eps(dtype)


@pytest.mark.parametrize(
    ("step_size", "center"), [(0.1, 1.0), (1e-2, 1.0), (1e-3, 1.0), (3e-4, 100.0), (1e-4, 100.0)]
)
def test_kernel_that_is_not_affine_is_refused(step_size, center, dtype):
    """In the last cases taming weakens the drift by 4 and 1.4 percent: not to be overlooked."""
    energy = jl.energies.quadratic(jnp.eye(2), jnp.full(2, center))
    with pytest.raises(jl.NotAffineError, match="kernel: its step is not affine"):
        exact.law(jl.tamed_ula(step_size), energy, standard(2), 10)


@pytest.mark.parametrize("ask", ["law", "trajectory", "stationary", "affine_map"])
def test_kernel_that_wants_a_uniform_is_refused(ask, dtype):
    energy = jl.energies.quadratic(jnp.eye(2))
    rest = (standard(2), 5) if ask in ("law", "trajectory") else (jnp.zeros(2),)
    with pytest.raises(jl.NotAffineError, match=r"Want\.UNIFORM"):
        getattr(exact, ask)(Uniform(0.1), energy, *rest)


@pytest.mark.parametrize("A", [np.zeros((2, 2)), np.diag([1.0, 0.0]), np.ones((2, 2))])
def test_stationary_law_of_a_linear_or_flat_direction_is_refused(A, dtype):
    for kernel in (jl.ula(0.1), jl.underdamped(0.1, 1.0)):
        with pytest.raises(jl.NoStationaryLawError, match="linear or flat"):
            exact.stationary(kernel, quadratic_form(A, np.ones(2)), jnp.zeros(2))


def test_stationary_law_of_a_schedule_is_refused(dtype):
    energy = jl.energies.quadratic(jnp.eye(2))
    for kernel in (jl.ula(decaying), jl.ula(0.1, temperature=cooling)):
        with pytest.raises(jl.NoStationaryLawError, match="changes with time"):
            exact.stationary(kernel, energy, jnp.zeros(2))


def stability_limits():
    """(kernel at a multiple of its limit, energy) with λ = 4 the largest eigenvalue."""
    P = np.diag([2.0, 1.0])
    return {
        "ula": lambda c: jl.ula(c * 0.5),
        "preconditioned ula": lambda c: jl.ula(c * 0.5, preconditioner=arr(np.diagonal(P))),
        "leimkuhler_matthews": lambda c: jl.leimkuhler_matthews(c * 0.5),
        "BAOAB": lambda c: jl.underdamped(c * 1.0, 1.0),
    }


@pytest.mark.parametrize("name", stability_limits())
def test_stability_limit_is_met_within_a_thousandth(name, dtype):
    """η < 2/λ for first-order kernels, h < 2 sqrt(m/λ) for splittings."""
    kernel_at = stability_limits()[name]
    energy, zeros = jl.energies.quadratic(jnp.diag(arr([1.0, 4.0]))), jnp.zeros(2)
    assert np.isfinite(exact.law(kernel_at(0.999), energy, standard(2), 100).cov).all()
    assert np.isfinite(exact.stationary(kernel_at(0.999), energy, zeros).cov).all()
    with pytest.raises(jl.UnstableStepError, match="stability limit"):
        exact.law(kernel_at(1.001), energy, standard(2), 100)
    with pytest.raises(jl.UnstableStepError, match="stability limit"):
        exact.stationary(kernel_at(1.001), energy, zeros)


def test_energy_without_a_minimum_is_unstable_at_any_step(dtype):
    with pytest.raises(jl.UnstableStepError, match="no minimum"):
        exact.law(jl.ula(0.01), quadratic_form(np.diag([1.0, -1.0]), np.zeros(2)), standard(2), 5)


def test_law_of_an_unstable_chain_is_given_on_request(dtype):
    A, b, eta = np.diag([1.0, 4.0]), np.ones(2), 0.7
    start = gaussian([1.0, 2.0], spd(2))
    law = exact.law(jl.ula(eta), quadratic_form(A, b), start, 20, allow_unstable=True)
    means, covs = brute_force(A, b, start.mean, start.cov, [(eta, 1.0)] * 20)
    assert error(law, means[-1], covs[-1]) <= 1e3 * eps(dtype)
    path = exact.trajectory(jl.ula(eta), quadratic_form(A, b), start, 20)
    assert_same_law(jax.tree.map(lambda leaf: leaf[-1], path), law, 1e3 * eps(dtype))


@pytest.mark.parametrize("start", [np.zeros(2), jnp.zeros(2), (0.0, 1.0), None])
@pytest.mark.parametrize("law", [exact.law, exact.trajectory])
def test_start_that_is_no_gaussian_is_refused(law, start):
    with pytest.raises(TypeError, match=r"start: expected a jlangevin\.Gaussian,"):
        law(jl.ula(0.1), jl.energies.linear([1.0, 2.0]), start, 5)


@pytest.mark.parametrize("law", [exact.law, exact.trajectory])
def test_number_of_steps_is_a_count(law):
    energy = jl.energies.linear([1.0, 2.0])
    with pytest.raises(ValueError, match="num_steps: expected at least 0, got -1"):
        law(jl.ula(0.1), energy, standard(2), -1)
    for wrong in (1.0, "3", None, True):
        with pytest.raises(TypeError, match="num_steps: expected an integer"):
            law(jl.ula(0.1), energy, standard(2), wrong)
    assert law(jl.ula(0.1), energy, standard(2), np.int64(3)).mean.shape[-1] == 2


# Distances ----------------------------------------------------------------------------------


def textbook_wasserstein2(p, q):
    (m, s), (n, t) = p, q
    half = root(s)
    trace = np.trace(s + t - 2 * root(half @ t @ half))
    return np.sqrt(np.sum((m - n) ** 2) + trace)


def textbook_kl(p, q):
    (m, s), (n, t) = p, q
    inverse = np.linalg.inv(t)
    log_det = np.linalg.slogdet(t)[1] - np.linalg.slogdet(s)[1]
    return 0.5 * (np.trace(inverse @ s) - len(m) + (m - n) @ inverse @ (m - n) + log_det)


@pytest.mark.parametrize("d", [1, 2, 5, 20])
def test_distances_are_the_textbook_formulas(d, dtype):
    rng = np.random.default_rng(0)
    p, q = ((rng.normal(size=d), spd(d, seed)) for seed in (1, 2))
    tolerance = 1000 * eps(dtype)
    for ours, textbook in ((exact.wasserstein2, textbook_wasserstein2), (exact.kl, textbook_kl)):
        got = ours(gaussian(*p), gaussian(*q))
        assert got.dtype == dtype
        assert float(got) == pytest.approx(textbook(p, q), rel=tolerance)


def test_wasserstein2_in_one_dimension_is_pythagoras_in_mean_and_deviation(dtype):
    p, q = gaussian([1.0], [[4.0]]), gaussian([-2.0], [[36.0]])
    assert float(exact.wasserstein2(p, q)) == pytest.approx(5.0, rel=10 * eps(dtype))


@pytest.mark.parametrize("d", [1, 3, 10])
def test_distances_are_zero_between_a_law_and_itself(d, dtype):
    p = gaussian(np.arange(d), spd(d))
    assert 0 <= float(exact.wasserstein2(p, p)) <= 20 * d * eps(dtype)
    assert abs(float(exact.kl(p, p))) <= (20 * d * eps(dtype)) ** 2


def test_wasserstein2_is_symmetric(dtype):
    p, q = gaussian(np.zeros(4), spd(4, 1)), gaussian(np.ones(4), spd(4, 2))
    forth, back = exact.wasserstein2(p, q), exact.wasserstein2(q, p)
    assert float(forth) == pytest.approx(float(back), rel=100 * eps(dtype))


def test_wasserstein2_allows_singular_covariances(dtype):
    """Between points, from a point to a law, and between laws on a line."""
    point, law = gaussian(np.zeros(2), np.zeros((2, 2))), gaussian([3.0, 4.0], spd(2))
    other = gaussian([3.0, 4.0], np.zeros((2, 2)))
    close = functools.partial(pytest.approx, rel=20 * eps(dtype))
    assert float(exact.wasserstein2(point, other)) == close(5.0)
    assert float(exact.wasserstein2(point, law)) == close(np.sqrt(25 + np.trace(spd(2))))
    line, across = (gaussian(np.zeros(2), np.diag(v)) for v in ([4.0, 0.0], [0.0, 9.0]))
    assert float(exact.wasserstein2(line, across)) == close(np.sqrt(13))
    assert float(exact.wasserstein2(line, line)) == 0


def test_kl_of_a_singular_covariance_is_nan(dtype):
    flat = gaussian(np.zeros(2), np.diag([1.0, 0.0]))
    assert jnp.isnan(exact.kl(standard(2), flat))


@pytest.mark.parametrize("dense", [False, True], ids=["identity", "dense"])
def test_tiny_differences_keep_their_digits(dense, x64):
    """Covariance S against (1 + 1e-9) S: the trace formula itself would leave none."""
    delta, d = 1e-9, 7
    S = spd(d) if dense else np.eye(d)
    p, q = gaussian(np.zeros(d), S), gaussian(np.zeros(d), (1 + delta) * S)
    expected = np.sqrt(np.trace(S)) * (np.sqrt(1 + delta) - 1)
    assert float(exact.wasserstein2(p, q)) == pytest.approx(expected, rel=1e-5)
    assert float(exact.kl(p, q)) == pytest.approx(d * delta**2 / 4, rel=1e-5)


@pytest.mark.parametrize("size", [1e-6, 1e-12, 1e-16])
def test_tiny_shifts_keep_their_digits(size, dtype):
    """Means are subtracted exactly, however large the covariance beside their difference."""
    p, q = standard(2), gaussian(size * np.array([3.0, 4.0]), np.eye(2))
    close = functools.partial(pytest.approx, rel=10 * eps(dtype), abs=0)
    assert float(exact.wasserstein2(p, q)) == close(5 * size)
    assert float(exact.kl(p, q)) == close(12.5 * size**2)


@pytest.mark.parametrize("distance", [exact.wasserstein2, exact.kl])
def test_distances_refuse_laws_over_different_positions(distance):
    tree = jl.Gaussian({"a": jnp.zeros(2)}, jnp.eye(2))
    for other in (standard(3), tree):
        with pytest.raises(ValueError, match=r"q: expected .*, like the mean of p, got"):
            distance(standard(2), other)


@pytest.mark.parametrize("distance", [exact.wasserstein2, exact.kl])
def test_distances_are_between_two_laws(distance):
    """One energy's moments would do, and a trajectory's would be taken for one large law's."""
    path = jax.tree.map(lambda leaf: jnp.stack([leaf, leaf, leaf]), standard(2))
    for pair, name in (((path, path), "p"), ((standard(2), path), "q")):
        with pytest.raises(ValueError, match=f"^{name}: expected one law, got a trajectory of 3"):
            distance(*pair)
    energy = jl.energies.quadratic(jnp.eye(2))
    for pair, name in (((energy, standard(2)), "p: .*Quadratic"), ((standard(2), 3), "q: .*int")):
        with pytest.raises(TypeError, match=f"^{name}"):
            distance(*pair)


def test_distances_map_over_trajectories():
    shifts = jnp.arange(3.0)
    laws = jax.vmap(lambda shift: gaussian([shift], [[1.0]]))(shifts)
    start = standard(1)
    np.testing.assert_allclose(jax.vmap(lambda q: exact.wasserstein2(start, q))(laws), shifts)
    np.testing.assert_allclose(jax.vmap(lambda q: exact.kl(start, q))(laws), shifts**2 / 2)


def test_distance_from_what_is_no_number_is_none():
    """As a law is that could not be refused, under jit."""
    law = standard(2)
    for at in ("mean", "cov"):
        parts = {"mean": law.mean, "cov": law.cov}
        parts[at] = jnp.full_like(parts[at], jnp.nan)
        unknown = jax.jit(jl.Gaussian)(**parts)
        assert jnp.isnan(exact.wasserstein2(unknown, law))


def distance_between(distance):
    """A function of unconstrained arrays, each covariance symmetrised."""

    def f(m, s, n, t):
        s, t = (s + s.T) / 2, (t + t.T) / 2
        return distance(jl.Gaussian(m, s), jl.Gaussian(n, t))

    return f


@pytest.mark.parametrize("distance", [exact.wasserstein2, exact.kl])
@pytest.mark.parametrize("pair", ["dense", "identity", "degenerate", "commuting"])
def test_distances_have_their_derivatives(distance, pair, x64):
    """Also where eigenvalues coincide, and an eigendecomposition has no derivative."""
    s, t = {
        "dense": (spd(3, 1), spd(3, 2)),
        "identity": (np.eye(3), 2 * np.eye(3)),
        "degenerate": (np.eye(3), spd(3)),
        "commuting": (np.diag([1.0, 1.0, 2.0]), np.diag([3.0, 3.0, 3.0])),
    }[pair]
    at = (jnp.zeros(3), arr(s), arr([1.0, 0.0, 2.0]), arr(t))
    check_grads(jax.jit(distance_between(distance)), at, order=1, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("d", [1, 2, 5])
def test_derivative_of_wasserstein2_is_zero_where_the_laws_are_one(d, dtype):
    p = gaussian(np.arange(d), spd(d))
    slope = jax.grad(exact.wasserstein2)(p, p)
    np.testing.assert_array_equal(slope.mean, np.zeros(d))
    np.testing.assert_array_equal(slope.cov, np.zeros((d, d)))


# Step sizes ---------------------------------------------------------------------------------


@pytest.mark.parametrize("bias", [1e-3, 0.05, 1.0])
@pytest.mark.parametrize("preconditioner", ["none", "diagonal", "dense"])
def test_step_size_for_reaches_the_bias_and_no_more(preconditioner, bias, dtype):
    """The largest x·S_stationary·x / x·S_target·x over directions x is 1 + bias."""
    given = {"none": None, "diagonal": arr([0.5, 1.0, 2.0]), "dense": arr(spd(3, 2))}
    energy, zeros = jl.energies.quadratic(arr(spd(3, 1))), jnp.zeros(3)
    P = given[preconditioner]
    eta = exact.step_size_for(energy, zeros, bias=bias, preconditioner=P)
    chex.assert_shape(eta, ())
    law = exact.stationary(jl.ula(eta, preconditioner=P), energy, zeros)
    target = exact.target(energy, zeros)
    ratios = scipy.linalg.eigvalsh(np.asarray(law.cov), np.asarray(target.cov))
    assert ratios[-1] - 1 == pytest.approx(bias, rel=1e-4, abs=500 * eps(dtype))


def test_step_size_for_is_its_formula(dtype):
    energy = jl.energies.quadratic(jnp.diag(arr([1.0, 4.0])))
    eta = exact.step_size_for(energy, jnp.zeros(2), bias=0.25)
    assert float(eta) == pytest.approx(2 * 0.25 / (1.25 * 4), rel=10 * eps(dtype))


@pytest.mark.parametrize("bias", [0.0, -0.1, np.nan, np.inf])
def test_step_size_for_refuses_a_bias_that_is_not_positive(bias):
    with pytest.raises(ValueError, match="bias"):
        exact.step_size_for(jl.energies.quadratic(jnp.eye(1)), jnp.zeros(1), bias=bias)


@pytest.mark.parametrize("A", [np.zeros((2, 2)), -np.eye(2)], ids=["linear", "negative"])
def test_step_size_for_refuses_an_energy_that_confines_nothing(A, dtype):
    with pytest.raises(jl.NotNormalizableError, match="largest eigenvalue"):
        exact.step_size_for(quadratic_form(A, np.ones(2)), jnp.zeros(2), bias=0.1)


# Transformations ----------------------------------------------------------------------------


def problem(step_size, temperature, theta, factor, mean):
    """Laws as functions of unconstrained parameters; A = B Bᵀ + I."""
    A = product(factor, factor.T) + jnp.eye(len(theta))
    energy = Partial(form, A, theta)
    kernel = jl.ula(step_size, temperature=temperature)
    return kernel, energy, jl.Gaussian(mean, jnp.eye(len(theta)))


def parameters():
    rng = np.random.default_rng(0)
    factor = 0.5 * rng.normal(size=(2, 2))
    return tuple(map(arr, (0.1, 0.7, [1.0, -2.0], factor, [0.3, 0.5])))


def numbers(law):
    return jnp.concatenate([law.mean, law.cov.reshape(-1)])


QUESTIONS = {
    "law": lambda k, e, s: exact.law(k, e, s, 13),
    "no step": lambda k, e, s: exact.law(k, e, s, 0),
    "trajectory": lambda k, e, s: jax.tree.map(lambda v: v[-1], exact.trajectory(k, e, s, 5)),
    "leimkuhler_matthews": lambda k, e, s: exact.law(
        jl.leimkuhler_matthews(k.step_size, temperature=k.temperature), e, s, 6
    ),
    "stationary": lambda k, e, s: exact.stationary(k, e, s.mean),
    "target": lambda k, e, s: exact.target(e, s.mean, temperature=k.temperature),
    "step_size_for": lambda k, e, s: jl.Gaussian(
        exact.step_size_for(e, s.mean, bias=0.1)[None], jnp.eye(1)
    ),
}


@pytest.mark.parametrize("name", QUESTIONS)
def test_laws_are_the_same_under_jit(name, x64):
    def answer(*args):
        return numbers(QUESTIONS[name](*problem(*args)))

    expected = answer(*parameters())
    np.testing.assert_allclose(jax.jit(answer)(*parameters()), expected, rtol=1e-14, atol=1e-14)


@pytest.mark.parametrize("name", ["law", "stationary", "target"])
def test_laws_have_their_derivatives(name, x64):
    """By step size, temperature, θ, precision and start; the law's also forwards."""
    modes = ["fwd", "rev"] if name == "law" else ["rev"]

    @jax.jit
    def answer(*args):
        return numbers(QUESTIONS[name](*problem(*args)))

    check_grads(answer, parameters(), order=1, modes=modes, rtol=1e-5, atol=1e-6)


def test_derivative_by_the_parameters_of_library_energies(x64):
    @jax.jit
    def answer(factor, center, theta):
        A = product(factor, factor.T) + jnp.eye(2)
        bowl = exact.law(jl.ula(0.1), jl.energies.quadratic(A, center), standard(2), 9)
        slope = exact.law(jl.ula(0.1), jl.energies.linear(theta), standard(2), 9)
        return jnp.concatenate([numbers(bowl), numbers(slope)])

    at = arr([[0.3, 0.2], [-0.5, 0.1]]), arr([1.0, 2.0]), arr([0.5, -0.5])
    check_grads(answer, at, order=1, modes=["rev"], rtol=1e-6, atol=1e-6)


def test_laws_map_over_step_sizes(x64):
    energy, start = jl.energies.quadratic(arr(spd(2))), standard(2)
    etas = arr([0.01, 0.1, 0.5])
    many = jax.jit(jax.vmap(lambda eta: exact.law(jl.ula(eta), energy, start, 9)))(etas)
    for i, eta in enumerate(etas):
        one = exact.law(jl.ula(eta), energy, start, 9)
        assert_same_law(jax.tree.map(lambda v, i=i: v[i], many), one, 1e-13)


def test_laws_map_over_energies(x64):
    precisions = arr([spd(2, seed) for seed in range(3)])
    thetas = arr([[1.0, 2.0], [0.0, 0.0], [-3.0, 1.0]])
    start = standard(2)
    energies = jax.vmap(lambda A: jl.energies.quadratic(A))(precisions)
    many = jax.jit(jax.vmap(lambda e: exact.stationary(jl.ula(0.1), e, start.mean)))(energies)
    drift = jax.jit(jax.vmap(lambda e: exact.law(jl.ula(0.1), e, start, 5)))
    drifting = drift(jl.energies.Linear(thetas))
    for i in range(3):
        energy = jl.energies.quadratic(precisions[i])
        one = exact.stationary(jl.ula(0.1), energy, start.mean)
        assert_same_law(jax.tree.map(lambda v, i=i: v[i], many), one, 1e-13)
        np.testing.assert_allclose(drifting.mean[i], -0.5 * thetas[i], rtol=1e-14)


def test_laws_map_over_starts(x64):
    energy, means = jl.energies.quadratic(arr(spd(2))), arr([[0.0, 1.0], [2.0, 3.0]])
    many = jax.vmap(lambda m: exact.law(jl.ula(0.1), energy, jl.Gaussian(m, jnp.eye(2)), 5))(means)
    one = exact.law(jl.ula(0.1), energy, jl.Gaussian(means[1], jnp.eye(2)), 5)
    assert_same_law(jax.tree.map(lambda v: v[1], many), one, 1e-13)


REFUSED = {
    "not quadratic": lambda x: exact.law(jl.ula(0.1), well(x), standard(2), 10),
    "its trajectory": lambda x: jax.tree.map(
        lambda v: v[1:], exact.trajectory(jl.ula(0.1), well(x), standard(2), 3)
    ),
    "on a schedule": lambda x: exact.law(jl.ula(decaying), well(x), standard(2), 10),
    "its stationary law": lambda x: exact.stationary(jl.ula(0.1), well(x), jnp.zeros(2)),
    "its target": lambda x: exact.target(well(x), jnp.zeros(2)),
    "not affine": lambda x: exact.law(jl.tamed_ula(0.1 * x), bowl(x), standard(2), 10),
    "unstable": lambda x: exact.law(jl.ula(2.1 * x), bowl(x), standard(2), 10),
    "unstable, stationary": lambda x: exact.stationary(jl.ula(2.1 * x), bowl(x), jnp.zeros(2)),
    "linear, stationary": lambda x: exact.stationary(jl.ula(0.1), slope(x), jnp.zeros(2)),
    "linear, its target": lambda x: exact.target(slope(x), jnp.zeros(2)),
}


def well(x):
    return jl.energies.double_well(height=x, dim=2)


def bowl(x):
    return jl.energies.quadratic(x * jnp.eye(2), jnp.ones(2))


def slope(x):
    return jl.energies.linear(x * jnp.ones(2))


@pytest.mark.parametrize("name", REFUSED)
def test_where_nothing_can_be_raised_a_refusal_is_nan(name, x64):
    """Never a wrong number; and outside of jit the same question raises."""
    with pytest.raises(ValueError, match=r"^(energy|kernel|step_size): "):
        REFUSED[name](arr(1.0))
    assert has_nan(jax.jit(REFUSED[name])(arr(1.0)))


def test_step_size_for_is_nan_under_jit_where_nothing_is_confined(x64):
    """Rather than a negative step."""

    def step_size(A):
        return exact.step_size_for(Partial(form, A, jnp.zeros(2)), jnp.zeros(2), bias=0.1)

    for A in (jnp.zeros((2, 2)), -jnp.eye(2)):
        assert not jnp.isfinite(jax.jit(step_size)(A))
    assert jnp.isnan(jax.jit(lambda x: exact.step_size_for(well(x), jnp.zeros(2), bias=0.1))(1.0))


def test_stable_law_may_lie_beside_an_unstable_one(x64):
    """Mapped over step sizes, only what is refused is NaN."""
    energy, start = jl.energies.quadratic(jnp.eye(2)), standard(2)
    laws = jax.vmap(lambda eta: exact.law(jl.ula(eta), energy, start, 10))(arr([0.1, 2.1]))
    assert np.isfinite(laws.cov[0]).all()
    assert np.isnan(laws.cov[1]).all()


# Cost ---------------------------------------------------------------------------------------


def test_billion_steps_are_no_longer_a_program_than_ten(x64):
    def traced(num_steps):
        def law(start):
            return exact.law(jl.ula(0.1), jl.energies.quadratic(jnp.eye(2)), start, num_steps)

        return len(str(jax.make_jaxpr(law)(standard(2))))

    assert traced(10**9) <= 1.02 * traced(10)


def test_new_parameters_trace_nothing_anew(x64):
    """The energy's code runs once a shape, in all that is derived from it."""
    calls = []

    def counted(A, b, x):
        calls.append(x)
        return form(A, b, x)

    def ask(i):
        energy = Partial(counted, arr(spd(2, i)), arr([i, 1.0]))
        kernel = jl.ula(arr(0.1 / (i + 1)), temperature=arr(1.0 + i))
        start = gaussian([i, 2.0], spd(2, i))
        exact.affine_map(kernel, energy, start.mean)
        exact.law(kernel, energy, start, 100 + i)
        exact.trajectory(kernel, energy, start, 5)
        exact.stationary(kernel, energy, start.mean)

    ask(0)
    traced = len(calls)
    assert traced > 0
    for i in range(1, 4):
        ask(i)
    assert len(calls) == traced


@pytest.fixture
def compilations():
    """A list that gains an entry whenever XLA compiles a program."""
    seen = []

    def listen(event, seconds, **_):
        if "backend_compile" in event:
            seen.append(seconds)

    jax.monitoring.register_event_duration_secs_listener(listen)
    yield seen
    jax.monitoring.unregister_event_duration_listener(listen)


def scaled(scale, t):
    return scale / (1 + jnp.asarray(t, float))


COMPILED = {
    "affine_map": lambda k, e, s: exact.affine_map(k, e, s.mean),
    "law": lambda k, e, s: exact.law(k, e, s, 100),
    "trajectory": lambda k, e, s: exact.trajectory(k, e, s, 5),
    "scheduled law": lambda k, e, s: exact.law(jl.ula(Partial(scaled, k.step_size)), e, s, 5),
    "stationary": lambda k, e, s: exact.stationary(k, e, s.mean),
    "target": lambda k, e, s: exact.target(e, s.mean, temperature=k.temperature),
    "step_size_for": lambda k, e, s: exact.step_size_for(e, s.mean, bias=k.step_size),
    "wasserstein2": lambda k, e, s: exact.wasserstein2(s, s),
    "kl": lambda k, e, s: exact.kl(s, s),
}


@pytest.mark.parametrize("name", COMPILED)
def test_new_parameters_compile_nothing_anew(name, compilations):
    def ask(i):
        energy = Partial(form, arr(spd(2, i)), arr([i, 1.0]))
        kernel = jl.ula(arr(0.1 / (i + 1)), temperature=arr(1.0 + i))
        start = gaussian([i, 2.0], spd(2, i))
        return jax.block_until_ready(COMPILED[name](kernel, energy, start))

    ask(0)
    compilations.clear()
    for i in range(1, 4):
        ask(i)
    assert len(compilations) == 0


@pytest.mark.parametrize("side", [-1.0, 1.0])
def test_energy_that_departs_on_one_side_only_is_refused(side, dtype):
    def one_sided(x):
        return 0.5 * jnp.sum(x**2) + 50 * jnp.sum(jax.nn.relu(side * x[0] - 0.5) ** 2)

    for dim in (1, 3):
        with pytest.raises(jl.NotAffineError):
            exact.law(jl.ula(0.005), one_sided, standard(dim), 10)


def test_schedule_that_turns_negative_is_refused_with_its_step():
    kernel = jl.ula(lambda t: 0.1 - 0.02 * jnp.asarray(t, float))
    with pytest.raises(jl.NotAffineError, match="at step 6 of its schedules"):
        exact.law(kernel, jl.energies.quadratic(jnp.eye(2)), standard(2), 20)


def test_refusals_are_named_under_grad_too():
    energy = jl.energies.quadratic(jnp.eye(2))
    with pytest.raises(jl.UnstableStepError):
        jax.grad(lambda eta: exact.law(jl.ula(eta), energy, standard(2), 10).cov[0, 0])(3.0)


def test_a_trajectory_is_not_one_law():
    path = exact.trajectory(jl.ula(0.1), jl.energies.quadratic(jnp.eye(2)), standard(2), 3)
    with pytest.raises(ValueError, match="expected one law, got a trajectory of 4"):
        path.sample(jax.random.key(0), 5)
    with pytest.raises(ValueError, match="law: expected one law"):
        jl.verify.compare(np.zeros((10, 2)), path)


@pytest.mark.parametrize(
    "ask",
    [
        lambda energy, x: exact.affine_map(jl.ula(0.1), energy, x),
        lambda energy, x: exact.stationary(jl.ula(0.1), energy, x),
        lambda energy, x: exact.target(energy, x),
        lambda energy, x: exact.step_size_for(energy, x, bias=0.1),
    ],
    ids=["affine_map", "stationary", "target", "step_size_for"],
)
def test_whole_numbers_are_no_position(ask):
    with pytest.raises(TypeError, match=r"^position: expected floating arrays, got dtype int32"):
        ask(jl.energies.quadratic(jnp.eye(2)), jnp.array([0, 0]))


def test_the_step_of_an_affine_map_is_a_count():
    energy = jl.energies.quadratic(jnp.eye(2))
    with pytest.raises(TypeError, match=r"^step: expected an integer, got 1\.7"):
        exact.affine_map(jl.ula(0.1), energy, jnp.zeros(2), step=1.7)
    with pytest.raises(ValueError, match=r"^step: expected at least 0, got -1"):
        exact.affine_map(jl.ula(0.1), energy, jnp.zeros(2), step=-1)


def test_swapped_arguments_are_refused_by_name():
    with pytest.raises(TypeError, match=r"kernel: .* is no kernel"):
        exact.law(jl.energies.linear([1.0, 2.0]), jl.ula(0.1), standard(2), 3)
    with pytest.raises(ValueError, match="energy: expected a scalar"):
        exact.law(jl.ula(0.1), lambda x: x**2, standard(2), 3)
