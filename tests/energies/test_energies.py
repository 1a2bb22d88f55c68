"""Values, moments and draws of energies agree with quadrature and formulas derived by hand.

Every statistical test fails a correct sampler with a probability of at most 1e-6.
"""

import itertools
import math
from functools import partial
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads
from scipy import integrate, special, stats

import jlangevin as jl
from jlangevin import energies
from jlangevin._core import trees
from jlangevin._core.arithmetic import product
from jlangevin.energies import (
    double_well,
    funnel,
    gaussian_mixture,
    linear,
    quadratic,
    ring,
    rosenbrock,
)

pytestmark = pytest.mark.slow

RATE = 1e-6

A = np.array([[2.0, 0.6], [0.6, 0.5]])
MU = np.array([0.7, -0.3])
MEANS = np.array([[-1.5, 0.0], [1.0, 0.5], [0.5, -2.0]])
COVS = np.array([[[0.5, 0.2], [0.2, 0.4]], [[0.3, 0.0], [0.0, 0.9]], [[0.6, -0.3], [-0.3, 0.4]]])
WEIGHTS = np.array([0.2, 0.5, 0.3])
B3 = np.array([[1.0, 2.0]])
B5 = np.array([[1.0, 2.0], [0.7, 3.0]])


# Each energy beside a formula of its own, and nodes and weights that integrate exp(-E) ---------


class Case(NamedTuple):
    make: Any  # () -> energy, of the default dtype
    formula: Any  # E in NumPy, over positions (n, d)
    nodes: Any  # () -> (nodes (n, d), log of the weights (n,)) for ∫ … exp(-E) dx


def product_rule(*rules):
    """Nodes (n, d) and weights (n,) of a product of one-dimensional rules."""
    grids = np.meshgrid(*[nodes for nodes, _ in rules], indexing="ij")
    weights = np.meshgrid(*[weights for _, weights in rules], indexing="ij")
    return np.stack([g.ravel() for g in grids], 1), np.prod([w.ravel() for w in weights], axis=0)


def even(low, high, num):
    """The trapezoidal rule: exact to rounding for what is smooth and vanishes at both ends."""
    nodes = np.linspace(low, high, num)
    return nodes, np.full(num, nodes[1] - nodes[0])


def legendre(low, high, num):
    nodes, weights = special.roots_legendre(num)
    return low + (nodes + 1) / 2 * (high - low), weights * (high - low) / 2


def box(*sides):
    nodes, weights = product_rule(*[even(*side) for side in sides])
    return nodes, np.log(weights)


def mapped(to_x, log_jacobian, d, rule):
    """Nodes where `to_x` takes those of a standard normal; `rule` integrates each coordinate."""
    t, weights = product_rule(*[rule] * d)
    return to_x(t), np.log(weights) + log_jacobian(t)


def hermite(num):
    """Exact for a polynomial of degree 2 num - 1 times exp(-t²/2), which is left in."""
    t, weights = special.roots_hermitenorm(num)
    return t, weights * np.exp(t**2 / 2)


def rosenbrock_from_normals(a, b, mu, t):
    """x_1, then each coordinate about the square of the one before it in its block."""
    columns = [mu + t[:, 0] / math.sqrt(2 * a)]
    normals = iter(t.T[1:])
    for block in b:
        previous = columns[0]
        for precision in block:
            previous = previous**2 + next(normals) / math.sqrt(2 * precision)
            columns.append(previous)
    return np.stack(columns, axis=1)


def rosenbrock_to_normals(a, b, mu, x):
    columns, values = [math.sqrt(2 * a) * (x[:, 0] - mu)], iter(x.T[1:])
    for block in b:
        previous = x[:, 0]
        for precision in block:
            value = next(values)
            columns.append(math.sqrt(2 * precision) * (value - previous**2))
            previous = value
    return np.stack(columns, axis=1)


def rosenbrock_case(a, b, mu):
    blocks, length = b.shape
    d, log_jacobian = 1 + b.size, -0.5 * (math.log(2 * a) + np.sum(np.log(2 * b)))
    return Case(
        lambda: rosenbrock(a, b, mu, block_length=length + 1, num_blocks=blocks),
        # In the normals it is drawn from, E is half the sum of their squares.
        lambda x: 0.5 * np.sum(rosenbrock_to_normals(a, b, mu, x) ** 2, axis=1),
        lambda: mapped(
            lambda t: rosenbrock_from_normals(a, b, mu, t), lambda t: log_jacobian, d, hermite(6)
        ),
    )


def funnel_case(d, s):
    def to_x(t):
        return np.concatenate([s * t[:, :1], np.exp(s * t[:, :1] / 2) * t[:, 1:]], axis=1)

    def formula(x):
        v, rest = x[:, 0], x[:, 1:]
        density = stats.norm.logpdf(v, scale=s) + stats.norm.logpdf(
            rest, scale=np.exp(v / 2)[:, None]
        ).sum(axis=1)
        return -density - math.log(s) - 0.5 * d * math.log(2 * math.pi)

    log_jacobian = math.log(s)
    return Case(
        lambda: funnel(d, s),
        formula,
        lambda: mapped(
            to_x, lambda t: log_jacobian + (d - 1) / 2 * s * t[:, 0], d, even(-12, 12, 61)
        ),
    )


def ring_nodes(d, radius, width):
    """Polar coordinates: E is smooth along a radius, not across the origin."""
    r, w = legendre(0, radius + 12 * width, 200)
    if d == 1:
        directions, area = np.array([[-1.0], [1.0]]), np.ones(2)
    elif d == 2:
        angles, area = even(0, 2 * np.pi * 15 / 16, 16)
        directions = np.stack([np.cos(angles), np.sin(angles)], 1)
    else:
        (z, angles), area = (lambda nodes, weights: (nodes.T, weights))(
            *product_rule(legendre(-1, 1, 8), even(0, 2 * np.pi * 15 / 16, 16))
        )
        directions = np.stack(
            [np.sqrt(1 - z**2) * np.cos(angles), np.sqrt(1 - z**2) * np.sin(angles), z], 1
        )
    nodes = (r[:, None, None] * directions[None]).reshape(-1, d)
    return nodes, np.log((w * r ** (d - 1))[:, None] * area[None]).reshape(-1)


def ring_case(d, radius, width):
    return Case(
        lambda: ring(radius, width, dim=d),
        lambda x: (np.linalg.norm(x, axis=1) - radius) ** 2 / (2 * width**2),
        lambda: ring_nodes(d, radius, width),
    )


def mixture_case(means, covs, weights):
    def density(x):
        components = zip(means, covs, weights, strict=True)
        return sum(w * stats.multivariate_normal(m, s).pdf(x) for m, s, w in components)

    return Case(
        lambda: gaussian_mixture(means, covs, weights),
        lambda x: -np.log(density(x)),
        lambda: box(*[(-9, 9, 200)] * means.shape[1]),
    )


def double_well_case(d, h, a):
    return Case(
        lambda: double_well(h, a, dim=d),
        lambda x: h * np.sum(((x / a) ** 2 - 1) ** 2, axis=1),
        lambda: box(*[(-4 * a, 4 * a, 200)] * d),
    )


def quadratic_case(precision, mean):
    d = len(mean)
    root = np.linalg.cholesky(np.linalg.inv(precision))
    return Case(
        lambda: quadratic(precision, mean),
        lambda x: 0.5 * np.einsum("ni,ij,nj->n", x - mean, precision, x - mean),
        lambda: mapped(
            lambda t: mean + t @ root.T,
            lambda t: np.linalg.slogdet(root)[1],
            d,
            even(-10, 10, 41),
        ),
    )


CASES = {
    "quadratic 1d": quadratic_case(np.array([[3.0]]), np.array([-2.0])),
    "quadratic 2d": quadratic_case(A, MU),
    "mixture 1d": mixture_case(MEANS[:, :1], COVS[:, :1, :1], WEIGHTS),
    "mixture 2d": mixture_case(MEANS, COVS, WEIGHTS),
    "double well 1d": double_well_case(1, 2.0, 1.5),
    "double well 2d": double_well_case(2, 0.7, 0.8),
    "rosenbrock 2d": rosenbrock_case(0.5, np.array([[1.3]]), 0.6),
    "rosenbrock 3d": rosenbrock_case(0.5, B3, 0.6),
    "rosenbrock 2 x 3": rosenbrock_case(0.8, B5, 0.4),
    "funnel 2d": funnel_case(2, 1.5),
    "funnel 3d": funnel_case(3, 1.0),
    "ring 1d": ring_case(1, 1.5, 0.4),
    "ring 2d": ring_case(2, 1.5, 0.4),
    "ring 3d": ring_case(3, 1.5, 0.4),
    "wide ring 2d": ring_case(2, 0.3, 1.0),
    "wide ring 3d": ring_case(3, 0.3, 1.0),
}
every_case = pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())


@jax.jit
def facts(energy):
    return energy.log_z, energy.mean, energy.cov


@jax.jit
def value(energy, x):
    return energy(x)


def tolerance(dtype, single, double):
    return single if dtype == jnp.float32 else double


def positions(case, num=30):
    """Nodes drawn by their weight, so where the mass is, reproducibly."""
    nodes, log_weights = case.nodes()
    p = np.exp(log_weights - case.formula(nodes))
    return nodes[np.random.default_rng(0).choice(len(nodes), num, p=p / p.sum())]


@every_case
def test_an_energy_is_its_formula(case, dtype):
    x = positions(case)
    found = jax.jit(jax.vmap(case.make()))(jnp.asarray(x, dtype))
    assert found.dtype == dtype
    np.testing.assert_allclose(
        found,
        case.formula(np.asarray(jnp.asarray(x, dtype), np.float64)),
        rtol=tolerance(dtype, 1e-5, 1e-12),
        atol=tolerance(dtype, 2e-4, 1e-11),
    )


@every_case
def test_log_z_mean_and_covariance_are_those_of_the_integral(case, dtype):
    """exp(-E - log_z) integrates to one, x to the mean, and x xᵀ to the covariance about it."""
    energy = case.make()
    nodes, log_weights = case.nodes()
    log_z, found_mean, found_cov = facts(energy)
    log_density = -jax.jit(jax.vmap(energy))(jnp.asarray(nodes, dtype)) - log_z
    assert log_density.dtype == found_mean.dtype == found_cov.dtype == dtype
    p = np.exp(np.asarray(log_density, np.float64) + log_weights)
    mean = p @ nodes
    cov = (nodes - mean).T @ ((nodes - mean) * p[:, None])
    rtol = tolerance(dtype, 1e-4, 1e-9)
    np.testing.assert_allclose(p.sum(), 1, rtol=tolerance(dtype, 1e-5, 1e-9))
    np.testing.assert_allclose(found_mean, mean, rtol=rtol, atol=rtol)
    np.testing.assert_allclose(found_cov, cov, rtol=rtol, atol=rtol * np.max(np.diagonal(cov)))


# Formulas and integrals of their own -----------------------------------------------------------


@pytest.mark.parametrize("height", [1e-6, 1e-2, 1.0, 30.0, 1e4, 1e5, 1e6])
def test_double_well_integrals_are_accurate_at_any_height(height, dtype):
    """Against adaptive quadrature around one well; log_z counts both wells in both coordinates."""
    reach = math.sqrt(1 + math.sqrt(40 / height))
    start = math.sqrt(max(0.0, 1 - math.sqrt(40 / height)))

    def integral(power):
        return integrate.quad(
            lambda y: y**power * math.exp(-height * (y * y - 1) ** 2),
            start,
            reach,
            points=[1.0],
            epsabs=0,
            epsrel=1e-13,
            limit=500,
        )[0]

    energy = double_well(height, 0.5, dim=2)
    expected = 2 * math.log(2 * integral(0) * 0.5)
    log_z, _, cov = facts(energy)
    np.testing.assert_allclose(log_z, expected, atol=tolerance(dtype, 5e-6, 1e-9))
    variance = 0.25 * integral(2) / integral(0)
    np.testing.assert_allclose(
        cov, variance * np.eye(2), rtol=tolerance(dtype, 1e-5, 1e-10), atol=1e-12
    )


def test_rosenbrock_moments_by_hand(dtype):
    """m = μ, s = 1/(2a), s_2 = 1/(2b): E x_2 = m² + s, Var x_2 = 2s² + 4m²s + s_2, Cov = 2ms."""
    a, b, mu = 0.3, 1.7, -0.8
    s, s2 = 1 / (2 * a), 1 / (2 * b)
    energy = rosenbrock(a, b, mu)
    rtol = tolerance(dtype, 1e-5, 1e-13)
    _, mean, cov = facts(energy)
    np.testing.assert_allclose(mean, [mu, mu**2 + s], rtol=rtol)
    variance = 2 * s**2 + 4 * mu**2 * s + s2
    np.testing.assert_allclose(cov, [[s, 2 * mu * s], [2 * mu * s, variance]], rtol=rtol)


def test_blocks_of_five_have_moments_and_longer_ones_are_refused(x64):
    """Degree 16 twice over: 17 Hermite nodes are exact for x_5², which has degree 32."""
    energy = rosenbrock(2.0, np.array([[5.0, 4.0, 6.0, 3.0]]), 0.5, block_length=5)
    t, weights = special.roots_hermitenorm(17)
    first = 0.5 + t / 2.0
    # E[x_5 | x_1] by the same rule, one conditional Gaussian after another.
    mean = np.zeros(17)
    for k, start in enumerate(first):
        nodes, mass = np.array([start]), np.ones(1)
        for b in (5.0, 4.0, 6.0, 3.0):
            z, w = special.roots_hermitenorm(9)
            nodes = (nodes[:, None] ** 2 + z[None, :] / math.sqrt(2 * b)).ravel()
            mass = (mass[:, None] * w[None, :] / w.sum()).ravel()
        mean[k] = mass @ nodes
    weights = weights / weights.sum()
    _, found, cov = facts(energy)
    np.testing.assert_allclose(found[4], weights @ mean, rtol=1e-12)
    np.testing.assert_allclose(cov[4, 0], weights @ ((first - 0.5) * mean), rtol=1e-12)
    long = rosenbrock(block_length=6)
    assert jnp.isfinite(long.log_z)
    for moment in ("mean", "cov"):
        with pytest.raises(jl.NoClosedFormError, match="blocks of up to 5"):
            getattr(long, moment)


def test_a_funnel_has_the_lognormal_variance(dtype):
    np.testing.assert_allclose(
        facts(funnel(3, 3.0))[2], np.diag([9, math.exp(4.5), math.exp(4.5)]), 1e-6
    )


def test_a_mixture_without_weights_has_equal_ones(dtype):
    energy = gaussian_mixture(MEANS, COVS)
    np.testing.assert_allclose(energy.mean, MEANS.mean(axis=0), atol=1e-6)


@pytest.mark.parametrize("jit", [False, True])
@pytest.mark.parametrize("covs", [COVS[0], 0.7])
def test_one_covariance_or_variance_of_a_mixture_stands_for_copies_of_it(covs, jit):
    made = jax.jit(lambda covs: gaussian_mixture(MEANS, covs, WEIGHTS)) if jit else None
    covs = jnp.asarray(covs)
    one = made(covs) if jit else gaussian_mixture(MEANS, covs, WEIGHTS)
    each = covs if covs.ndim else covs * jnp.eye(2)
    many = jnp.broadcast_to(each, (3, 2, 2))
    many = made(many) if jit else gaussian_mixture(MEANS, many, WEIGHTS)
    chex.assert_trees_all_equal_shapes_and_dtypes(one, many)
    chex.assert_trees_all_close(one, many, rtol=1e-6)
    if jit:
        assert np.isnan(made(-covs)(jnp.zeros(2)))


def test_a_mixture_of_one_is_a_quadratic_energy_up_to_log_z():
    mixture = gaussian_mixture(MU[None], np.linalg.inv(A)[None])
    energy, x = quadratic(A, MU), jnp.array([0.3, 1.1])
    log_z, _, cov = facts(energy)
    np.testing.assert_allclose(value(mixture, x), value(energy, x) + log_z, rtol=1e-5)
    np.testing.assert_allclose(facts(mixture)[2], cov, rtol=1e-5)


def test_energies_know_dimensions_beyond_those_that_quadrature_reaches(x64):
    d = 7
    x = np.linspace(-0.5, 1.0, d)
    one, many = double_well(1.3, 0.9), double_well(1.3, 0.9, dim=d)
    parts = [value(one, x[i : i + 1]) for i in range(d)]
    np.testing.assert_allclose(value(many, x), sum(parts), rtol=1e-14)
    np.testing.assert_allclose(facts(many)[0], d * facts(one)[0])
    # A ring's E|x|² by one radial integral.
    r = np.linspace(0, 2 + 12 * 0.3, 20_001)
    p = r ** (d - 1) * np.exp(-((r - 2) ** 2) / (2 * 0.3**2))
    square = integrate.simpson(p * r**2, x=r) / integrate.simpson(p, x=r)
    of_ring, _, cov = facts(ring(2.0, 0.3, dim=d))
    np.testing.assert_allclose(np.trace(cov), square, rtol=1e-10)
    area = 2 * math.pi ** (d / 2) / math.gamma(d / 2)
    log_z = math.log(area * integrate.simpson(p, x=r))
    np.testing.assert_allclose(of_ring, log_z, rtol=1e-10)


# Refusals --------------------------------------------------------------------------------------


@pytest.mark.parametrize("fact", ["log_z", "mean", "cov", "template"])
def test_a_linear_energy_has_no_law(fact):
    with pytest.raises(jl.NotNormalizableError, match="Linear"):
        getattr(linear([0.8, 0.5]), fact)()


def test_a_linear_energy_cannot_be_drawn_from():
    with pytest.raises(jl.NotNormalizableError, match=r"Linear.*no finite integral"):
        linear([0.8, 0.5]).sample(jax.random.key(0), 3)


def test_a_double_well_has_no_exact_sampler():
    with pytest.raises(jl.NoClosedFormError, match=r"DoubleWell.*kernel"):
        double_well().sample(jax.random.key(0), 3)


# Exact samplers --------------------------------------------------------------------------------


DRAWS = 100_000  # in every test, so that a kind of energy has one program


@partial(jax.jit, static_argnums=2)
def sample(energy, key, num_draws):
    return energy.sample(key, num_draws)


def draw(energy):
    """Draws in float64, having checked that they come in the energy's own dtype."""
    draws = sample(energy, jax.random.key(0), DRAWS)
    assert draws.dtype == energy.template().dtype
    assert draws.shape == (DRAWS, *energy.template().shape)
    return np.asarray(draws, np.float64)


def assert_distributed(values, cdf, num_tests=1):
    """The gap D of Dvoretzky, Kiefer, Wolfowitz and Massart: P(D > ε) ≤ 2 exp(-2 n ε²)."""
    values, n = np.sort(values), len(values)
    expected = cdf(values)
    gap = max(np.max(np.arange(1, n + 1) / n - expected), np.max(expected - np.arange(n) / n))
    assert gap < math.sqrt(math.log(2 * num_tests / RATE) / (2 * n))


def standard(d):
    return jl.Gaussian(jnp.zeros(d), jnp.eye(d))


def test_quadratic_draws_have_their_law(dtype):
    law = jl.Gaussian(MU, np.linalg.inv(A))
    jl.verify.assert_law(draw(quadratic(A, MU)), law, false_alarm=RATE)


@pytest.mark.parametrize("b", [B3, B5], ids=["3d", "2 x 3"])
def test_rosenbrock_draws_come_from_independent_normals(b):
    """Each conditional Gaussian, inverted, must give back standard normals."""
    blocks, length = b.shape
    energy = rosenbrock(0.5, b, 0.6, block_length=length + 1, num_blocks=blocks)
    normals = rosenbrock_to_normals(0.5, b, 0.6, draw(energy))
    jl.verify.assert_law(normals, standard(energy.dim), false_alarm=RATE)


def test_funnel_draws_come_from_independent_normals():
    x = draw(funnel(3, 3.0))
    normals = np.concatenate([x[:, :1] / 3, x[:, 1:] * np.exp(-x[:, :1] / 2)], axis=1)
    jl.verify.assert_law(normals, standard(3), false_alarm=RATE)


def test_mixture_draws_have_their_law_along_every_projection():
    """Along a direction u the law is the mixture of N(u·m_k, uᵀ S_k u)."""
    x = draw(gaussian_mixture(MEANS, COVS, WEIGHTS))
    angles = np.arange(8) * np.pi / 8
    for u in np.stack([np.cos(angles), np.sin(angles)], axis=1):
        scales = np.sqrt(np.einsum("i,kij,j->k", u, COVS, u))
        assert_distributed(
            x @ u,
            lambda t, u=u, scales=scales: (
                stats.norm.cdf((t[:, None] - MEANS @ u) / scales) @ WEIGHTS
            ),
            num_tests=8,
        )


def radius_cdf(d, radius, width):
    """By the trapezoidal rule on a fine grid, error below 1e-7."""
    r = np.linspace(0, radius + 14 * width, 100_001)
    p = r ** (d - 1) * np.exp(-((r - radius) ** 2) / (2 * width**2))
    below = integrate.cumulative_trapezoid(p, r, initial=0)
    return lambda s: np.interp(s, r, below / below[-1])


@pytest.mark.parametrize("dim", [1, 2, 3])
@pytest.mark.parametrize(("radius", "width"), [(2.0, 0.3), (0.2, 1.0)], ids=["narrow", "wide"])
def test_ring_draws_have_their_radius_and_any_direction(dim, radius, width):
    """One coordinate of a direction has a symmetric beta law: an arcsine in 2-D, uniform in 3-D.

    The radius is also looked at in both half-spaces, where it must have the same law.
    """
    x = draw(ring(radius, width, dim=dim))
    r, cdf = np.linalg.norm(x, axis=1), radius_cdf(dim, radius, width)
    assert_distributed(r, cdf, num_tests=3 + dim)
    for half in (x[:, 0] > 0, x[:, 0] < 0):
        assert_distributed(r[half], cdf, num_tests=3 + dim)
    if dim == 1:
        p_value = stats.binomtest(int(np.sum(x > 0)), len(x)).pvalue
        assert p_value > RATE / (3 + dim)
    else:
        law = stats.beta((dim - 1) / 2, (dim - 1) / 2)
        for i in range(dim):
            assert_distributed(x[:, i] / r, lambda c: law.cdf((c + 1) / 2), num_tests=3 + dim)


SAMPLED = {
    "quadratic": lambda: quadratic(A, MU),
    "mixture": lambda: gaussian_mixture(MEANS, COVS, WEIGHTS),
    "rosenbrock": lambda: rosenbrock(0.5, B3, 0.6, block_length=3),
    "funnel": lambda: funnel(3),
    "ring": ring,
}


@pytest.mark.parametrize("make", SAMPLED.values(), ids=SAMPLED.keys())
def test_a_draw_does_not_depend_on_how_many_there_are(make):
    few, many = (sample(make(), jax.random.key(0), n) for n in (3, DRAWS))
    np.testing.assert_allclose(few, many[:3], rtol=1e-6)


# Gradients -------------------------------------------------------------------------------------


@every_case
def test_gradients_are_finite_also_at_the_origin_and_far_out(case):
    """In float32, which overflows first."""
    energy = case.make()
    x = np.concatenate([positions(case), 5 * positions(case)[:3]])
    x = np.concatenate([x, np.zeros_like(x[:1])])
    gradients = jax.jit(jax.vmap(jax.grad(energy)))(jnp.asarray(x, jnp.float32))
    assert np.all(np.isfinite(gradients))


@pytest.mark.parametrize("dim", [1, 2, 3])
def test_the_gradient_of_a_ring_is_zero_at_its_centre(dim):
    parameters, slope = jax.jit(jax.grad(value, (0, 1)))(ring(dim=dim), jnp.zeros(dim))
    np.testing.assert_array_equal(slope, np.zeros(dim))
    np.testing.assert_allclose(parameters.radius, 2.0 / 0.3**2, rtol=1e-6)


LARGEST = (
    *("quadratic 2d", "mixture 2d", "double well 2d", "rosenbrock 2 x 3", "funnel 3d"),
    *("ring 1d", "ring 3d", "wide ring 3d"),
)
each_largest = pytest.mark.parametrize("name", LARGEST)


@each_largest
def test_gradients_agree_with_finite_differences(name, x64):
    """By the position and by every parameter, forwards and backwards."""
    x = jnp.asarray(positions(CASES[name])[0])
    check_grads(value, (floating(CASES[name].make()), x), order=1, rtol=1e-6)


@each_largest
def test_log_z_and_moments_can_be_differentiated(name, x64):
    """d log_z / dparameter = -E[dE / dparameter] is what trains an energy."""
    energy = floating(CASES[name].make())
    check_grads(facts, (energy,), order=1, modes=["rev"], rtol=1e-5, atol=1e-5)


def floating(energy):
    """Python numbers as arrays, for `check_grads`."""
    return jax.tree.map(jnp.asarray, energy)


def plain(matrix, x):
    return 0.5 * product(x, product(matrix, x))


def symmetric(v):
    return v + v.T


def test_a_quadratic_energy_has_the_derivatives_of_its_plain_formula(dtype):
    """Its gradient is written by hand, and must compose: one, two and mixed derivatives."""
    energy, mu = quadratic(A, MU), jnp.asarray(MU)
    x, v = jnp.array([0.4, -1.2]), jnp.array([0.9, 0.3])
    matrix, direction = energy.precision, symmetric(jnp.array([[0.3, 0.8], [-0.1, 0.5]]))

    def ours(matrix, x):
        return energies.Quadratic(matrix, mu)(x)

    def theirs(matrix, x):
        return plain(matrix, x - mu)

    def along_matrix(f):
        """d/dε of the gradient at A + ε D, for a symmetric D."""
        return jax.jvp(lambda m: jax.grad(f, 1)(m, x), (matrix,), (direction,))[1]

    def along_both(f):
        return jax.jvp(f, (matrix, x), (direction, v))[1]

    derivatives = (
        lambda f: f(matrix, x),
        lambda f: jax.grad(f, 1)(matrix, x),
        lambda f: jax.hessian(f, 1)(matrix, x),
        lambda f: jax.jacrev(jax.jacrev(f, 1), 1)(matrix, x),
        lambda f: jax.jacfwd(jax.jacfwd(f, 1), 1)(matrix, x),
        lambda f: jax.grad(f, 0)(matrix, x),
        lambda f: jax.hessian(f, 0)(matrix, x),
        lambda f: jax.grad(lambda x: jax.grad(f, 1)(matrix, x) @ v)(x),
        lambda f: jax.vmap(jax.grad(f, 1), (None, 0))(matrix, jnp.stack([x, v])),
        lambda f: jax.vmap(jax.grad(f, 1), (0, None))(jnp.stack([matrix, direction]), x),
        along_matrix,
        along_both,
        lambda f: jnp.sum(direction * jax.grad(lambda m: jax.grad(f, 1)(m, x) @ v)(matrix)),
    )

    def all_of(f):
        return jax.jit(lambda: [derivative(f) for derivative in derivatives])()

    for one, other in zip(all_of(ours), all_of(theirs), strict=True):
        assert one.dtype == dtype
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


def test_the_gradient_of_a_quadratic_energy_costs_one_product():
    equations = jax.make_jaxpr(jax.grad(quadratic(A, MU)))(jnp.zeros(2)).jaxpr.eqns
    products = [e for e in equations if any(v.aval.shape == (2, 2) for v in e.invars)]
    assert [e.primitive.name for e in products] == ["dot_general"]


# Pytrees ---------------------------------------------------------------------------------------

VARIANTS = {
    "linear": (lambda: linear([0.8, 0.5]), lambda: linear([-1.0, 2.0])),
    "quadratic": (lambda: quadratic(A, MU), lambda: quadratic(2 * A, MU + 1)),
    "mixture": (
        lambda: gaussian_mixture(MEANS, COVS, WEIGHTS),
        lambda: gaussian_mixture(MEANS + 1, 2 * COVS, WEIGHTS[::-1]),
    ),
    "double well": (lambda: double_well(1.0, 2.0, dim=2), lambda: double_well(3.0, 0.7, dim=2)),
    "rosenbrock": (lambda: rosenbrock(0.5, 1.3, 0.6), lambda: rosenbrock(0.7, 2.0, -0.2)),
    "funnel": (lambda: funnel(2, 3.0), lambda: funnel(2, 1.5)),
    "ring": (lambda: ring(2.0, 0.3), lambda: ring(1.0, 0.5)),
}
every_pair = pytest.mark.parametrize(("one", "other"), VARIANTS.values(), ids=VARIANTS.keys())


@every_pair
def test_changed_parameters_do_not_retrace(one, other):
    chex.clear_trace_counter()

    @jax.jit
    @chex.assert_max_traces(n=1)
    def traced(energy, x):
        return energy(x)

    x = jnp.array([0.4, -0.9])
    for energy in (one(), other()):
        alone = jax.jit(lambda x, energy=energy: energy(x))
        np.testing.assert_allclose(traced(energy, x), alone(x), rtol=1e-5)


@every_pair
def test_energies_stack_and_map_over_their_parameters(one, other):
    x = jnp.array([0.4, -0.9])
    pair = one(), other()
    stacked = jax.tree.map(lambda *leaves: jnp.stack(list(map(jnp.asarray, leaves))), *pair)
    found = jax.vmap(value, (0, None))(stacked, x)
    np.testing.assert_allclose(found, [value(energy, x) for energy in pair], rtol=1e-5)
    if type(pair[0]) is not energies.Linear:
        mapped_facts = jax.vmap(facts)(stacked)
        for i, energy in enumerate(pair):
            for fact, own in zip(mapped_facts, facts(energy), strict=True):
                np.testing.assert_allclose(fact[i], own, rtol=1e-5, atol=1e-6)


@every_pair
def test_energies_are_made_and_drawn_from_under_jit(one, other):
    """The constructor's checks of values wait for values."""

    @jax.jit
    def rebuilt(energy):
        return jax.tree.map(jnp.asarray, energy)

    for energy in (one(), other()):
        chex.assert_trees_all_equal_structs(rebuilt(energy), floating(energy))
        chex.assert_trees_all_close(rebuilt(energy), floating(energy))

    made = jax.jit(lambda s: quadratic(s * A.astype(np.float32))(jnp.ones(2)))(2.0)
    np.testing.assert_allclose(made, A.sum(), rtol=1e-6)


def test_a_mixture_with_known_weights_is_made_under_jit():
    """As the score of a smoothed mixture is: the covariances are traced, the weights are not."""
    means, weights = jnp.zeros((2, 1)), jnp.array([0.2, 0.8])
    made = jax.jit(lambda s: gaussian_mixture(means, s * jnp.ones((2, 1, 1)), weights)(jnp.ones(1)))
    np.testing.assert_allclose(made(2.0), 0.25 + 0.5 * np.log(4 * np.pi), rtol=1e-6)


def test_parameters_of_every_kind_are_leaves_and_dimensions_are_not():
    assert len(jax.tree.leaves(ring(2.0, 0.3, dim=3))) == 2
    assert len(jax.tree.leaves(double_well(dim=3))) == 2
    assert len(jax.tree.leaves(funnel(4))) == 1
    assert jax.tree.structure(funnel(4)) != jax.tree.structure(funnel(5))


def test_whole_numbers_are_parameters_like_any_other(dtype):
    """ring(2, 1) is ring(2.0, 1.0): the same values and the same dtypes."""
    x = jnp.array([0.4, -0.9])
    for whole, real in (
        (linear([1, 2]), linear([1.0, 2.0])),
        (quadratic([[2, 0], [0, 1]], [1, 0]), quadratic([[2.0, 0.0], [0.0, 1.0]], [1.0, 0.0])),
        (double_well(1, 2, dim=2), double_well(1.0, 2.0, dim=2)),
        (rosenbrock(1, 2, 1), rosenbrock(1.0, 2.0, 1.0)),
        (funnel(2, 3), funnel(2, 3.0)),
        (ring(2, 1), ring(2.0, 1.0)),
    ):
        assert value(whole, x).dtype == dtype
        np.testing.assert_array_equal(value(whole, x), value(real, x))
        if type(whole) is not energies.Linear:
            np.testing.assert_array_equal(facts(whole)[2], facts(real)[2])


def in_single(number):
    return jnp.float32(number)


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda: quadratic(np.eye(2, dtype=np.float32), [0.0, 0.0]), "float32"),
        (lambda: quadratic([[2.0]], np.zeros(1, np.float32)), "float32"),
        (lambda: quadratic(np.eye(2, dtype=np.float32), np.zeros(2)), "float64"),
        (lambda: gaussian_mixture(np.zeros((2, 1), np.float32), np.ones((2, 1, 1))), "float64"),
        (lambda: gaussian_mixture(in_single([[0.0], [1.0]]), [[[1.0]], [[2.0]]]), "float32"),
        (lambda: gaussian_mixture([[0.0]], [[[1.0]]], np.ones(1, np.float32)), "float32"),
        (lambda: double_well(in_single(1)), "float32"),
        (lambda: double_well(2.0, in_single(1), dim=2), "float32"),
        (lambda: double_well(in_single(1), np.float64(1)), "float64"),
        (lambda: rosenbrock(in_single(0.1)), "float32"),
        (lambda: rosenbrock(b=in_single([[1.0, 2.0]]), block_length=3), "float32"),
        (lambda: rosenbrock(in_single(0.1), np.float64(1)), "float64"),
        (lambda: funnel(3, in_single(1)), "float32"),
        (lambda: ring(in_single(2)), "float32"),
        (lambda: ring(2, in_single(1)), "float32"),
        (lambda: ring(in_single(2), np.float64(1)), "float64"),
    ],
)
def test_an_energy_has_one_dtype(make, expected, x64):
    """The dtype of the widest array given, throughout; Python's numbers follow. The energy takes a
    position of that dtype under strict promotion."""
    energy = make()
    of_law = jax.eval_shape(facts, energy)
    position = jax.ShapeDtypeStruct(of_law[1].shape, jnp.dtype(expected))
    known = [of_law, jax.eval_shape(energy, position)]
    if type(energy) is not energies.DoubleWell:
        assert energy.template() == position
        normals, uniform = trees.zeros(position), jnp.zeros((), expected)
        wanted = (normals, uniform) if isinstance(energy.draw_noise, tuple) else normals
        known.append(jax.eval_shape(energy.from_noise, wanted))
    chex.assert_type(jax.tree.leaves(known), jnp.dtype(expected))


# Bad input -------------------------------------------------------------------------------------

NAN, INF = math.nan, math.inf
INDEFINITE = [[1.0, 2.0], [2.0, 1.0]]
ASYMMETRIC = [[1.0, 0.5], [0.0, 1.0]]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: linear([NAN, 1.0]), "theta: expected finite"),
        (lambda: linear(1.0), "theta: expected 1 dimension"),
        (lambda: linear(np.eye(2)), "theta: expected 1 dimension"),
        (lambda: quadratic(np.ones(2)), "precision: expected 2 dimension"),
        (lambda: quadratic(np.ones((2, 3))), "precision: expected a square"),
        (lambda: quadratic(ASYMMETRIC), "precision: not symmetric"),
        (lambda: quadratic(INDEFINITE), "precision: not positive definite"),
        (lambda: quadratic(np.zeros((2, 2))), "precision: not positive definite"),
        (lambda: quadratic([[NAN]]), "precision: expected finite"),
        (lambda: quadratic(np.eye(2), np.zeros(3)), "mean: expected shape"),
        (lambda: quadratic(np.eye(2), [INF, 0.0]), "mean: expected finite"),
        (lambda: gaussian_mixture(np.zeros(2), COVS), "means: expected 2 dimension"),
        (lambda: gaussian_mixture(MEANS * NAN, COVS), "means: expected finite"),
        (lambda: gaussian_mixture(MEANS, COVS[:2]), "covs: expected shape"),
        (lambda: gaussian_mixture(MEANS, COVS[:, 0, 0]), "covs: expected shape"),
        (lambda: gaussian_mixture(MEANS, ASYMMETRIC), "covs: not symmetric"),
        (lambda: gaussian_mixture(MEANS, 0.0), "covs: expected values above zero"),
        (lambda: gaussian_mixture(np.zeros((2, 2)), [np.eye(2), ASYMMETRIC]), r"covs\[1\]: not sy"),
        (lambda: gaussian_mixture(np.zeros((1, 2)), [INDEFINITE]), r"covs\[0\]: not positive"),
        (lambda: gaussian_mixture(MEANS, COVS, [0.5, 0.5]), "weights: expected shape"),
        (lambda: gaussian_mixture(MEANS, COVS, [0.5, 0.3, 0.3]), "weights: expected a sum of 1"),
        (lambda: gaussian_mixture(MEANS, COVS, [1.2, -0.1, -0.1]), "weights: expected values abo"),
        (lambda: double_well(-1.0), "height: expected values above zero"),
        (lambda: double_well(NAN), "height: expected finite"),
        (lambda: double_well(1.0, 0.0), "minimum: expected values above zero"),
        (lambda: double_well(dim=0), "dim: expected at least 1"),
        (lambda: rosenbrock(0.0), "a: expected values above zero"),
        (lambda: rosenbrock(0.1, -1.0), "b: expected values above zero"),
        (lambda: rosenbrock(0.1, [1.0, 2.0], block_length=3), "b: expected a scalar or shape"),
        (lambda: rosenbrock(0.1, mu=INF), "mu: expected finite"),
        (lambda: rosenbrock(block_length=1), "block_length: expected at least 2"),
        (lambda: rosenbrock(num_blocks=0), "num_blocks: expected at least 1"),
        (lambda: funnel(1), "dim: expected at least 2"),
        (lambda: funnel(2, -3.0), "scale: expected values above zero"),
        (lambda: ring(0.0), "radius: expected values above zero"),
        (lambda: ring(1.0, -0.1), "width: expected values above zero"),
        (lambda: ring(dim=0), "dim: expected at least 1"),
    ],
)
def test_a_wrong_value_is_refused_by_its_name(make, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        make()


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda v: double_well(v, dim=2), "height"),
        (lambda v: double_well(1.0, v, dim=2), "minimum"),
        (lambda v: rosenbrock(v), "a"),
        (lambda v: rosenbrock(mu=v), "mu"),
        (lambda v: funnel(2, v), "scale"),
        (lambda v: ring(v), "radius"),
        (lambda v: ring(1.0, v), "width"),
    ],
)
def test_what_must_be_a_number_is_refused_if_it_is_not_one(make, name):
    """An array of numbers would make the energy an array."""
    with pytest.raises(ValueError, match=f"^{name}: "):
        make(jnp.array([1.0, 2.0]))
    for nonsense in ("1", None, 1j):
        with pytest.raises(TypeError, match=f"^{name}: "):
            make(nonsense)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: linear([None]), "theta: expected an array"),
        (lambda: linear([1j]), "theta: expected real"),
        (lambda: linear([True]), "theta: expected real"),
        (lambda: quadratic(None), "precision: "),
        (lambda: ring(dim=2.0), "dim: expected an integer"),
        (lambda: double_well(dim=True), "dim: expected an integer"),
        (lambda: rosenbrock(block_length="2"), "block_length: expected an integer"),
    ],
)
def test_a_wrong_type_is_refused_by_its_name(make, message):
    with pytest.raises(TypeError, match=f"^{message}"):
        make()


@every_pair
@pytest.mark.parametrize("shape", [(), (1,), (3,), (5, 2)], ids=str)
def test_a_position_of_another_shape_is_refused(one, other, shape):
    name = type(one()).__name__
    with pytest.raises(ValueError, match=rf"{name}: expected a position of shape \(2,\)"):
        one()(jnp.zeros(shape))


@pytest.mark.parametrize(
    ("key", "error"),
    [(0, TypeError), (np.zeros(2, np.uint32), TypeError)],
    ids=["a seed", "a legacy key"],
)
def test_samplers_want_a_typed_key(key, error):
    with pytest.raises(error, match="key: expected a typed key"):
        ring().sample(key, 3)


def test_all_energies_are_exported():
    names = set(itertools.chain(energies.__all__))
    assert {"linear", "quadratic", "gaussian_mixture", "double_well", "rosenbrock"} <= names
    assert {"funnel", "ring"} <= names
