"""Mirrored kernels: the dual energy, a Dirichlet law, and what cannot be mirrored."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial
from scipy import special, stats

import jlangevin as jl

pytestmark = pytest.mark.slow

domains = jl.domains
ALPHA = np.array([0.4, 1.0, 2.5])


def dirichlet(x):
    return -jnp.sum(jnp.asarray(ALPHA - 1, x.dtype) * jnp.log(x))


def test_a_dirichlet_law_that_is_infinite_at_a_face_is_kept():
    """50,000 chains from the law: x_1 is a Beta, and so is the share of x_2 in what is left."""
    rng = np.random.default_rng(0)
    first, share = rng.beta(0.4, 3.5, 50_000), rng.beta(1.0, 2.5, 50_000)
    x = np.stack([first, (1 - first) * share, (1 - first) * (1 - share)], axis=1)
    x = np.asarray(jax.jit(jax.vmap(domains.simplex().project))(jnp.asarray(x, jnp.float32)))
    x = np.where(x.min(axis=1, keepdims=True) > 0, x, np.float32(1 / 3))
    kernel = jl.mirrored(jl.mala(0.7), domains.simplex())
    run = jl.sample(jax.random.key(0), dirichlet, kernel, x, num_steps=8, observe=None)
    y = np.asarray(run.position, np.float64)
    u = np.stack([stats.beta(0.4, 3.5).cdf(y[:, 0]),
                  stats.beta(1.0, 2.5).cdf(y[:, 1] / (y[:, 1] + y[:, 2]))], axis=1)  # fmt: skip
    u = special.ndtri(np.clip(u, 1e-12, 1 - 1e-9))
    jl.verify.assert_law(u, jl.Gaussian(jnp.zeros(2), jnp.eye(2)))
    assert 0.3 < run.info.acceptance_rate.mean() < 0.95


def test_settled_chains_have_the_dirichlets_mean_and_covariance():
    """From one point, 200 steps; means within 5.5 standard errors, and second moments too."""
    kernel = jl.mirrored(jl.mala(0.7), domains.simplex())
    start = jnp.full((50_000, 3), 1 / 3)
    run = jl.sample(jax.random.key(1), dirichlet, kernel, start, num_steps=200, observe=None)
    y, total = np.asarray(run.position, np.float64), ALPHA.sum()
    mean = ALPHA / total
    cov = (np.diag(mean) - np.outer(mean, mean)) / (total + 1)
    second = y[:, :, None] * y[:, None, :]
    for found, truth in ((y, mean), (second, cov + np.outer(mean, mean))):
        error = found.std(axis=0) / len(found) ** 0.5
        assert np.all(np.abs(found.mean(axis=0) - truth) < 5.5 * error)


def dual_energy(temperature, u):
    x = jax.nn.softplus(u)
    return jnp.sum(1.5 * x + temperature * jax.nn.softplus(-u))


@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_with_ula_it_is_mirrored_langevin_on_the_dual_energy(temperature, x64):
    """Hsieh et al.: ULA on W(u) = E(x(u)) - T log x'(u), x = log(1 + e^u), written by hand."""

    u = jnp.asarray(np.random.default_rng(0).normal(size=(50, 2)))
    inner = jl.ula(0.2, temperature=temperature)
    kernel = jl.mirrored(inner, domains.box(0.0, jnp.inf))
    x = jax.nn.softplus(u)
    energy = jl.energies.linear([1.5, 1.5])
    run = jl.sample(jax.random.key(0), energy, kernel, x, num_steps=20)
    by_hand = Partial(dual_energy, temperature)
    bare = jl.sample(jax.random.key(0), by_hand, inner, u, num_steps=20)
    rtol = 1e-10
    np.testing.assert_allclose(run.state.kernel.dual.position, bare.position, rtol=rtol, atol=rtol)
    np.testing.assert_allclose(run.draws, jax.nn.softplus(bare.draws), rtol=rtol, atol=rtol)


def test_a_score_alone_will_do():
    ball = domains.ball(0.0, 1.0)
    kernel = jl.mirrored(jl.ula(0.05), ball)
    start = jnp.full((20, 2), 0.3)
    energy = jl.energies.quadratic(jnp.diag(jnp.array([1.0, 2.0])))
    score = jl.scores.score(lambda x: -x * jnp.array([1.0, 2.0]))
    runs = [
        jl.sample(jax.random.key(0), given, kernel, start, num_steps=10)
        for given in (energy, score)
    ]
    np.testing.assert_allclose(runs[0].draws, runs[1].draws, rtol=1e-4, atol=1e-5)
    with pytest.raises(jl.NoEnergyError):
        jl.sample(jax.random.key(0), score, jl.mirrored(jl.mala(0.1), ball), start, num_steps=1)


def test_a_start_on_the_boundary_is_refused():
    for domain, x in (
        (domains.box(0.0, 1.0), [0.0, 0.5]),
        (domains.ball(0.0, 1.0), [0.0, 1.0]),
        (domains.simplex(), [0.0, 1.0]),
    ):
        kernel = jl.mirrored(jl.ula(0.1), domain)
        with pytest.raises(ValueError, match="inside the kernel's domain"):
            jl.sample(jax.random.key(0), jnp.sum, kernel, jnp.array([x]), num_steps=1)


def test_what_cannot_be_mirrored_is_refused():
    box = domains.box(0.0, 1.0)
    batches = jl.estimators.minibatch(lambda x, y: 0.5 * (x - y) ** 2, jnp.arange(100.0), 10)
    with pytest.raises(TypeError, match=r"kernel: .* is not a kernel"):
        jl.mirrored(0.1, box)
    with pytest.raises(TypeError, match="GradientNoise has no temperature"):
        jl.mirrored(jl.gradient_noise(jl.ula(0.1), jnp.eye(1)), box)
    with pytest.raises(TypeError, match="the estimator of SGLD"):
        jl.mirrored(jl.sgld(0.1, batches), box)
    with pytest.raises(ValueError, match="temperature: expected a number"):
        jl.mirrored(jl.ula(0.1, temperature=lambda t: 1 / (1 + t)), box)


def test_an_anneal_in_free_coordinates_has_its_levels():
    """At a single level it is `ula`."""
    box = domains.box(0.0, 1.0)
    levels = jl.scores.level_score(lambda x, sigma: -(x - 0.3) / sigma**2, 1.0)
    anneal = jl.mirrored(jl.annealed([1.0], 10, 0.01), box)
    plain = jl.mirrored(jl.ula(0.01), box)
    energy = jl.scores.score(lambda x: -(x - 0.3))
    start = jnp.full((7, 2), 0.5)
    runs = [
        jl.sample(jax.random.key(0), e, kernel, start, num_steps=10)
        for e, kernel in ((levels, anneal), (energy, plain))
    ]
    assert jnp.allclose(runs[0].draws, runs[1].draws, atol=1e-5)
