"""Questions about laws: distances, step sizes, derivatives, many at once, and their cost."""

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
    eps,
    form,
    gaussian,
    quadratic_form,
    root,
    spd,
    standard,
)
from jax.test_util import check_grads
from jax.tree_util import Partial

import jlangevin as jl
from jlangevin import adaptation, exact
from jlangevin._core.arithmetic import product

pytestmark = pytest.mark.slow

# Distances ----------------------------------------------------------------------------------


# Outside of jit each operation is a program of its own; COMPILED asks there.
wasserstein2, kl = jax.jit(exact.wasserstein2), jax.jit(exact.kl)


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


@pytest.mark.parametrize("d", [1, 5])
def test_distances_are_the_textbook_formulas(d, dtype):
    rng = np.random.default_rng(0)
    p, q = ((rng.normal(size=d), spd(d, seed)) for seed in (1, 2))
    tolerance = 1000 * eps()
    for ours, textbook in ((wasserstein2, textbook_wasserstein2), (kl, textbook_kl)):
        got = ours(gaussian(*p), gaussian(*q))
        assert got.dtype == dtype
        assert float(got) == pytest.approx(textbook(p, q), rel=tolerance)


def test_wasserstein2_in_one_dimension_is_pythagoras_in_mean_and_deviation():
    p, q = gaussian([1.0], [[4.0]]), gaussian([-2.0], [[36.0]])
    assert float(wasserstein2(p, q)) == pytest.approx(5.0, rel=10 * eps())


@pytest.mark.parametrize("d", [1, 5])
def test_distances_are_zero_between_a_law_and_itself(d, dtype):
    p = gaussian(np.arange(d), spd(d))
    assert 0 <= float(wasserstein2(p, p)) <= 20 * d * eps()
    assert abs(float(kl(p, p))) <= (20 * d * eps()) ** 2


def test_wasserstein2_is_symmetric(x64):
    p, q = gaussian(np.zeros(5), spd(5, 1)), gaussian(np.ones(5), spd(5, 2))
    forth, back = wasserstein2(p, q), wasserstein2(q, p)
    assert float(forth) == pytest.approx(float(back), rel=100 * eps())


def test_wasserstein2_allows_singular_covariances():
    """Between points, from a point to a law, and between laws on a line."""
    point, law = gaussian(np.zeros(2), np.zeros((2, 2))), gaussian([3.0, 4.0], spd(2))
    other = gaussian([3.0, 4.0], np.zeros((2, 2)))
    close = functools.partial(pytest.approx, rel=20 * eps())
    assert float(wasserstein2(point, other)) == close(5.0)
    assert float(wasserstein2(point, law)) == close(np.sqrt(25 + np.trace(spd(2))))
    line, across = (gaussian(np.zeros(2), np.diag(v)) for v in ([4.0, 0.0], [0.0, 9.0]))
    assert float(wasserstein2(line, across)) == close(np.sqrt(13))
    assert float(wasserstein2(line, line)) == 0


def test_kl_of_a_singular_covariance_is_nan():
    flat = gaussian(np.zeros(2), np.diag([1.0, 0.0]))
    assert jnp.isnan(kl(standard(2), flat))


@pytest.mark.parametrize("dense", [False, True], ids=["identity", "dense"])
def test_tiny_differences_keep_their_digits(dense, x64):
    """Covariance S against (1 + 1e-9) S: the trace formula itself would leave no digits."""
    delta, d = 1e-9, 5
    S = spd(d) if dense else np.eye(d)
    p, q = gaussian(np.zeros(d), S), gaussian(np.zeros(d), (1 + delta) * S)
    expected = np.sqrt(np.trace(S)) * (np.sqrt(1 + delta) - 1)
    assert float(wasserstein2(p, q)) == pytest.approx(expected, rel=1e-5)
    assert float(kl(p, q)) == pytest.approx(d * delta**2 / 4, rel=1e-5)


@pytest.mark.parametrize("size", [1e-6, 1e-12, 1e-16])
def test_tiny_shifts_keep_their_digits(size, dtype):
    """Means are subtracted exactly, however large the covariance beside their difference."""
    p, q = standard(2), gaussian(size * np.array([3.0, 4.0]), np.eye(2))
    close = functools.partial(pytest.approx, rel=10 * eps(), abs=0)
    assert float(wasserstein2(p, q)) == close(5 * size)
    assert float(kl(p, q)) == close(12.5 * size**2)


@pytest.mark.parametrize("distance", [exact.wasserstein2, exact.kl])
def test_distances_refuse_laws_over_different_positions(distance):
    tree = jl.Gaussian({"a": jnp.zeros(2)}, jnp.eye(2))
    for other in (standard(3), tree):
        with pytest.raises(ValueError, match=r"q: expected .*, like the mean of p, got"):
            distance(standard(2), other)


@pytest.mark.parametrize("distance", [exact.wasserstein2, exact.kl])
def test_distances_are_between_two_laws(distance):
    """An energy has moments too, and a trajectory could be taken for one large law."""
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
    np.testing.assert_allclose(jax.vmap(wasserstein2, (None, 0))(start, laws), shifts)
    np.testing.assert_allclose(jax.vmap(kl, (None, 0))(start, laws), shifts**2 / 2)


def test_distance_from_a_law_that_is_nan_is_nan():
    """Under jit, a law that cannot be refused is NaN."""
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


@pytest.mark.parametrize("d", [1, 5])
def test_derivative_of_wasserstein2_is_zero_where_the_laws_are_equal(d):
    p = gaussian(np.arange(d), spd(d))
    slope = jax.grad(exact.wasserstein2)(p, p)
    np.testing.assert_array_equal(slope.mean, np.zeros(d))
    np.testing.assert_array_equal(slope.cov, np.zeros((d, d)))


# Step sizes ---------------------------------------------------------------------------------


@pytest.mark.parametrize("bias", [1e-3, 0.05, 1.0])
@pytest.mark.parametrize("preconditioner", ["none", "diagonal", "dense"])
def test_step_size_for_reaches_the_bias_and_no_more(preconditioner, bias, x64):
    """The largest x·S_stationary·x / x·S_target·x over directions x is 1 + bias."""
    given = {"none": None, "diagonal": arr([0.5, 1.0, 2.0]), "dense": arr(spd(3, 2))}
    energy, zeros = jl.energies.quadratic(arr(spd(3, 1))), jnp.zeros(3)
    P = given[preconditioner]
    eta = adaptation.step_size_for(energy, zeros, bias=bias, preconditioner=P)
    chex.assert_shape(eta, ())
    law = exact.stationary(jl.ula(eta, preconditioner=P), energy, zeros)
    target = exact.target(energy, zeros)
    ratios = scipy.linalg.eigvalsh(np.asarray(law.cov), np.asarray(target.cov))
    assert ratios[-1] - 1 == pytest.approx(bias, rel=1e-4, abs=500 * eps())


def test_step_size_for_is_its_formula(x64):
    energy = jl.energies.quadratic(jnp.diag(arr([1.0, 4.0])))
    eta = adaptation.step_size_for(energy, jnp.zeros(2), bias=0.25)
    assert float(eta) == pytest.approx(2 * 0.25 / (1.25 * 4), rel=10 * eps())


@pytest.mark.parametrize("bias", [0.0, -0.1, np.nan, np.inf])
def test_step_size_for_refuses_a_bias_that_is_not_positive(bias):
    with pytest.raises(ValueError, match="bias"):
        adaptation.step_size_for(jl.energies.quadratic(jnp.eye(1)), jnp.zeros(1), bias=bias)


@pytest.mark.parametrize("A", [np.zeros((2, 2)), -np.eye(2)], ids=["linear", "negative"])
def test_step_size_for_refuses_an_energy_that_confines_nothing(A):
    with pytest.raises(jl.NotNormalizableError, match="largest eigenvalue"):
        adaptation.step_size_for(quadratic_form(A, np.ones(2)), jnp.zeros(2), bias=0.1)


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
    "trajectory": lambda k, e, s: jax.tree.map(lambda v: v[-1], exact.trajectory(k, e, s, 5)),
    "stationary": lambda k, e, s: exact.stationary(k, e, s.mean),
    "target": lambda k, e, s: exact.target(e, s.mean, temperature=k.temperature),
    "step_size_for": lambda k, e, s: jl.Gaussian(
        adaptation.step_size_for(e, s.mean, bias=0.1)[None], jnp.eye(1)
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


# Cost ---------------------------------------------------------------------------------------


def test_program_of_a_billion_steps_is_no_longer_than_that_of_ten(x64):
    def traced(num_steps):
        def law(start):
            return exact.law(jl.ula(0.1), jl.energies.quadratic(jnp.eye(2)), start, num_steps)

        return len(str(jax.make_jaxpr(law)(standard(2))))

    assert traced(10**9) <= 1.02 * traced(10)


def test_new_parameters_trace_nothing(x64):
    """The energy's code runs once for each shape, in all that is derived from it."""
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
    "step_size_for": lambda k, e, s: adaptation.step_size_for(e, s.mean, bias=k.step_size),
    "wasserstein2": lambda k, e, s: exact.wasserstein2(s, s),
    "kl": lambda k, e, s: exact.kl(s, s),
}


@pytest.mark.parametrize("name", COMPILED)
def test_new_parameters_compile_nothing(name, compilations):
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
