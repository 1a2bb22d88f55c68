"""Kernel Stein discrepancies against a Stein kernel made by automatic differentiation."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jlangevin as jl
from jlangevin import diagnostics
from jlangevin.diagnostics import stein

pytestmark = pytest.mark.slow

FALSE_ALARM = 1e-6  # of every statistical check below


@jax.jit
def matrix(x, energy, temperature, c, beta):
    """k_p of all pairs from its definition."""

    def score(point):
        return -jax.grad(energy)(point) / temperature

    def k(a, b):
        return (c**2 + jnp.sum((a - b) ** 2)) ** beta

    def one(a, b):
        by_a, by_b = jax.grad(k, 0)(a, b), jax.grad(k, 1)(a, b)
        trace = jnp.trace(jax.jacfwd(jax.grad(k, 0), 1)(a, b))
        s, t = score(a), score(b)
        return s @ t * k(a, b) + s @ by_b + t @ by_a + trace

    return jax.vmap(jax.vmap(one, (None, 0)), (0, None))(x, x)


@jax.jit
def u_statistics(x, energy):
    """Of samples (sample, draw, d)."""
    return jax.vmap(lambda x: diagnostics.ksd(x, energy, statistic="U"))(x)


def normal(d):
    return jl.energies.quadratic(jnp.eye(d))


def normals(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


ENERGIES = {
    "rosenbrock": lambda: jl.energies.rosenbrock(num_blocks=2),
    "double well": lambda: jl.energies.double_well(dim=1),
    "correlated": lambda: jl.energies.quadratic(
        jnp.eye(40) + 0.1 * jnp.ones((40, 40)), mean=jnp.arange(40.0)
    ),
}


# The statistic ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ENERGIES)
@pytest.mark.parametrize(("c", "beta"), [(1.0, -0.5), (0.7, -0.3)])
def test_discrepancies_are_sums_of_the_stein_kernel(name, c, beta, x64):
    energy, temperature = ENERGIES[name](), 1.7
    d = {"rosenbrock": 3, "double well": 1, "correlated": 40}[name]
    x = np.random.default_rng(0).normal(size=(36, d))
    x[5] = x[20]  # a rejected proposal

    def score(point):
        return -jax.grad(energy)(point) / temperature

    direct = np.asarray(matrix(x, energy, temperature, c, beta))
    v, u = direct.mean(), (direct.sum() - np.trace(direct)) / (36 * 35)
    for block in (None, 8):  # one block; five blocks, the last one not full
        options = {"c": c, "beta": beta, "block": block}
        found = diagnostics.ksd(x, energy, temperature=temperature, **options)
        np.testing.assert_allclose(found, v, rtol=1e-10)
        found = diagnostics.ksd(x, energy, statistic="U", temperature=temperature, **options)
        np.testing.assert_allclose(found, u, rtol=1e-10)
    found = diagnostics.ksd(x.reshape(4, 9, d), score=score, c=c, beta=beta)
    np.testing.assert_allclose(found, v, rtol=1e-10)
    assert found.dtype == jnp.float64


def test_the_two_statistics_differ_by_the_diagonal():
    energy, n = normal(3), 300
    x = normals(0, n, 3)
    v, u = (diagnostics.ksd(x, energy, statistic=s) for s in "VU")
    assert v.dtype == u.dtype == jnp.float32
    diagonal = np.sum(x.astype(np.float64) ** 2) + 3 * n  # |s|² - 2βd / c²
    np.testing.assert_allclose(n * n * float(v), n * (n - 1) * float(u) + diagonal, rtol=1e-5)


def test_single_precision_is_near_double(x64):
    # Modes 100 apart and a sample far from the origin, where matrix products lose digits.
    energy = jl.energies.gaussian_mixture(
        [[900.0, 0.0], [1000.0, 0.0]], jnp.stack([jnp.eye(2)] * 2)
    )
    x = normals(0, 1000, 2)
    x[:, 0] += np.where(np.arange(1000) % 2, 900, 1000)
    single = jax.tree.map(lambda leaf: leaf.astype(jnp.float32), energy)
    expected = diagnostics.ksd(x.astype(np.float64), energy)
    np.testing.assert_allclose(diagnostics.ksd(x, single), expected, rtol=5e-3)


def test_memory_is_that_of_a_block():
    real, n, d = jnp.float32, 100_000, 10
    points = jax.ShapeDtypeStruct((n, d), real)
    number = jax.ShapeDtypeStruct((), real)
    signs = jax.ShapeDtypeStruct((n, 1), jnp.int8)
    lowered = stein._quadratic_forms.lower(points, points, signs, number, number, block=256)
    assert lowered.compile().memory_analysis().temp_size_in_bytes < 40e6


def test_the_mean_of_u_is_the_discrepancy_of_the_law():
    """ULA at step 0.5 has variance 4/3 in place of 1: its discrepancy by Gauss-Hermite quadrature.

    200 samples of 200 draws; U is unbiased, and by the central limit theorem the mean of 200 is
    within 5 standard errors but for about 1e-6.
    """
    energy = normal(1)
    law = jl.exact.stationary(jl.ula(0.5), energy, jnp.zeros(1))
    np.testing.assert_allclose(law.cov, [[4 / 3]], rtol=1e-5)
    nodes, weights = np.polynomial.hermite_e.hermegauss(80)
    y, w = nodes * np.sqrt(4 / 3), weights / weights.sum()
    r, q = y[:, None] - y[None, :], 1 + (y[:, None] - y[None, :]) ** 2
    k_p = np.outer(y, y) * q**-0.5 - r**2 * q**-1.5 + q**-1.5 - 3 * r**2 * q**-2.5
    expected = w @ k_p @ w

    x = normals(2, 200, 200, 1) * np.float32(4 / 3) ** 0.5
    u = np.asarray(u_statistics(x, energy))
    error = np.std(u) / np.sqrt(200)
    assert abs(np.mean(u) - expected) < 5 * error
    assert error < 0.1 * expected
    x = normals(3, 200, 200, 1)
    u = np.asarray(u_statistics(x, energy))
    assert abs(np.mean(u)) < 5 * np.std(u) / np.sqrt(200)


def test_changed_numbers_do_not_compile_again():
    def energy(theta, x):
        return jnp.sum(theta * x**2)

    x = jnp.ones((5, 2))
    one, other = (jax.tree_util.Partial(energy, jnp.full(2, theta)) for theta in (1.0, 2.0))
    diagnostics.ksd(x, one, temperature=1.0, c=1.0)
    with jl.verify.assert_no_recompilation():
        diagnostics.ksd(x, other, temperature=0.5, c=2.0)


def test_discrepancies_are_differentiable_and_jittable():
    energy = normal(2)
    x = normals(0, 20, 2)
    plain = diagnostics.ksd(x, energy)
    np.testing.assert_allclose(jax.jit(diagnostics.ksd)(x, energy), plain, rtol=1e-5)
    descent = jax.jit(jax.grad(lambda x: diagnostics.ksd(x, energy)))(x)
    assert float(diagnostics.ksd(x - 0.1 * descent, energy)) < float(plain)


# The test ---------------------------------------------------------------------------------------


@functools.partial(jax.jit, static_argnames=("num_bootstrap",))
def p_values(keys, x, energy, flip_probability=0.5, num_bootstrap=199):
    def one(key, x):
        return diagnostics.ksd_test(
            key, x, energy, flip_probability=flip_probability, num_bootstrap=num_bootstrap
        ).p_value

    return jax.vmap(one)(keys, x)


def test_p_values_are_level():
    """1000 p-values from 100 draws each stay within the band of Dvoretzky, Kiefer, Wolfowitz.

    A uniform law fails with probability 1e-6; a test whose level at any p is off by twice the
    band, 0.17, passes with the same probability. The bootstrap is exact for many draws only, and
    what is left of its error at 100 is inside the band.
    """
    energy, number, n = normal(2), 1000, 100
    x = normals(0, number, n, 2)
    p = np.sort(p_values(jax.random.split(jax.random.key(1), number), x, energy))
    band = np.sqrt(np.log(2 / FALSE_ALARM) / (2 * number)) + 1 / 200  # steps of 1/200
    above = np.arange(1, number + 1) / number
    gap = max(np.max(above - p), np.max(p - above + 1 / number))
    assert gap < band


def test_a_wrong_law_is_rejected():
    """50 samples each; a test of power 0.9 rejects fewer than 30 with a probability of 1e-8."""
    energy, number, n = normal(1), 50, 500
    keys = jax.random.split(jax.random.key(4), number)
    laplace = np.random.default_rng(5).laplace(size=(number, n, 1)) / 2**0.5  # of variance 1
    wrong = {
        "Laplace": laplace.astype(np.float32),
        "ULA at a large step, 0.8": normals(6, number, n, 1) * np.float32(5 / 3) ** 0.5,
        "shifted": normals(7, number, n, 1) + np.float32(0.3),
    }
    for name, x in wrong.items():
        assert np.sum(np.asarray(p_values(keys, x, energy)) <= 0.05) >= 30, name


def test_correlated_draws_need_correlated_signs():
    """200 stationary chains with the autocorrelation 0.8^k, τ = 9, tested at level 0.05.

    Independent signs reject half of them or more; 60 or fewer have a probability below 1e-7. With
    signs that outlast the chain, 1/(2a) = 50, the level is at most 0.08; more than 40 have a
    probability below 1e-7.
    """
    energy, number, n = normal(1), 200, 1000
    keys = jax.random.split(jax.random.key(8), number)
    noise = np.random.default_rng(0).normal(size=(n, number))
    for t in range(1, n):
        noise[t] = 0.8 * noise[t - 1] + 0.6 * noise[t]
    x = jnp.asarray(noise.T[:, :, None], jnp.float32)
    assert int(jnp.sum(p_values(keys, x, energy, 0.5) <= 0.05)) > 60
    assert int(jnp.sum(p_values(keys, x, energy, 0.01) <= 0.05)) <= 40


def test_signs_are_markov_chains_that_restart():
    # Means of 4000 products of signs: within 5.5 / sqrt(4000) of their expectation but for 1e-6
    # over these ten.
    flip, bound = jnp.float32(0.1), 5.5 / np.sqrt(4000)
    signs = stein._signs(jax.random.key(0), flip, num_draws=600, restart=300, num_bootstrap=4000)
    assert signs.shape == (600, 4001)
    assert signs.dtype == jnp.int8
    signs = np.asarray(signs, float)
    assert set(np.unique(signs)) == {-1.0, 1.0}
    assert (signs[:, 0] == 1).all()
    w = signs[:, 1:]
    for lag in (1, 2, 5, 20):
        np.testing.assert_allclose(np.mean(w[250] * w[250 + lag]), 0.8**lag, atol=bound)
    for t in (0, 255, 256, 299, 300):
        assert abs(w[t].mean()) < bound
    assert abs(np.mean(w[299] * w[300])) < bound  # another chain


def test_in_double_precision_so_are_the_statistic_and_the_p_value(x64):
    call = functools.partial(diagnostics.ksd_test, jax.random.key(1))
    found = jax.eval_shape(call, jnp.zeros((50, 2)), normal(2))
    assert found.statistic.dtype == found.p_value.dtype == jnp.float64


def test_the_test_has_the_statistic_and_exact_ties():
    energy = normal(2)
    x = normals(0, 50, 2)
    found = diagnostics.ksd_test(jax.random.key(1), x, energy, num_bootstrap=9)
    np.testing.assert_allclose(found.statistic, diagnostics.ksd(x, energy), rtol=1e-5)
    assert found.p_value.dtype == jnp.float32
    # Two draws: V* is V or less, each with probability 1/2, never in between.
    x = jnp.array([[0.0], [3.0]])
    p = diagnostics.ksd_test(jax.random.key(2), x, normal(1), num_bootstrap=2000).p_value
    assert float(p) == pytest.approx(0.5, abs=5 * 0.5 / np.sqrt(2000)) or float(p) == 1.0


# Thinning ---------------------------------------------------------------------------------------


def test_thinning_is_greedy(x64):
    energy = jl.energies.quadratic([[1.0, 0.6], [0.6, 2.0]])
    x = jnp.asarray(np.random.default_rng(0).normal(size=(60, 2)))
    direct = np.asarray(matrix(x, energy, 1.5, 0.8, -0.4))
    chosen = []
    for _ in range(25):
        objective = np.diagonal(direct) / 2 + direct[chosen].sum(0)
        chosen.append(int(np.argmin(objective)))
    found = diagnostics.stein_thinning(x, energy, 25, temperature=1.5, c=0.8, beta=-0.4)
    np.testing.assert_array_equal(found, chosen)
    assert found.dtype == jnp.int32


def test_thinning_corrects_a_biased_sample():
    # Draws of twice the scale and off centre: the best of 50 random subsets is far worse.
    energy = normal(2)
    x = 0.5 + 2 * normals(0, 2000, 2)
    chosen = np.asarray(diagnostics.stein_thinning(x, energy, 40))
    subsets = np.concatenate([chosen[None], np.random.default_rng(0).integers(0, 2000, (50, 40))])
    found = jax.jit(jax.vmap(lambda x: diagnostics.ksd(x, energy)))(x[subsets])
    assert float(found[0]) < 0.3 * float(found[1:].min())


# Scores -----------------------------------------------------------------------------------------


def test_a_score_stands_for_its_energy():
    """In its place, at any temperature; or as the score itself."""
    energy, key = normal(2), jax.random.key(0)
    score = jl.scores.score(jnp.negative)
    x = normals(0, 10, 2)
    for question in (
        diagnostics.ksd,
        functools.partial(diagnostics.ksd_test, jax.random.clone(key), num_bootstrap=9),
        functools.partial(diagnostics.stein_thinning, num_points=4),
    ):
        at_one, hot = question(x, energy), question(x, energy, temperature=2.0)
        for found, expected in (
            (question(x, score), at_one),
            (question(x, score=score), at_one),
            (question(x, score, temperature=2.0), hot),
        ):
            jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-6), found, expected)


# Refusals ---------------------------------------------------------------------------------------


def test_refusals_name_the_argument():
    energy, x, key = normal(2), jnp.ones((10, 2)), jax.random.key(0)
    for call in (
        diagnostics.ksd,
        functools.partial(diagnostics.ksd_test, key),
        diagnostics.stein_thinning,
    ):
        with pytest.raises(ValueError, match=r"x: expected shape \(draw, d\)"):
            call(x[:, 0], energy)
        with pytest.raises(ValueError, match="x: expected finite"):
            call(x.at[0, 0].set(jnp.nan), energy)
        with pytest.raises(ValueError, match=r"x: expected at least \d draw"):
            call(x[:0], energy)
        with pytest.raises(TypeError, match="energy, score: expected one of the two"):
            call(x)
        with pytest.raises(TypeError, match="energy, score: expected one of the two"):
            call(x, energy, score=jax.grad(energy))
        with pytest.raises(ValueError, match=r"score: expected a score of shape \(2,\)"):
            call(x, score=energy)
        with pytest.raises(ValueError, match=r"energy: expected a score of shape \(2,\)"):
            call(x, jl.scores.score(jnp.sum))
        with pytest.raises(ValueError, match="temperature: a score has its own"):
            call(x, score=jax.grad(energy), temperature=2.0)
        with pytest.raises(ValueError, match="energy: not finite"):
            call(x, lambda y: jnp.sum(jnp.log(y - 1)))
        with pytest.raises(ValueError, match="beta: expected a number in"):
            call(x, energy, beta=-1.0)
        with pytest.raises(ValueError, match="c: expected values above zero"):
            call(x, energy, c=0.0)
    with pytest.raises(ValueError, match="x: expected at least 2"):
        diagnostics.ksd(x[:1], energy, statistic="U")
    with pytest.raises(ValueError, match="statistic: expected 'V' or 'U'"):
        diagnostics.ksd(x, energy, statistic="W")
    with pytest.raises(ValueError, match="block: expected at least 1"):
        diagnostics.ksd(x, energy, block=0)
    with pytest.raises(ValueError, match="num_points: expected at least 1"):
        diagnostics.stein_thinning(x, energy, 0)
    with pytest.raises(ValueError, match="flip_probability: expected at most 1/2"):
        diagnostics.ksd_test(key, x, energy, flip_probability=0.6)
    with pytest.raises(ValueError, match="num_bootstrap: expected at least 1"):
        diagnostics.ksd_test(key, x, energy, num_bootstrap=0)
    with pytest.raises(TypeError, match="key: expected a typed key"):
        diagnostics.ksd_test(0, x, energy)
