"""Each loss finds the true parameters of a Gaussian family; slips do not. Its gradient is right."""

import jax
import jax.numpy as jnp
import losses
import numpy as np
import pytest
from exact_laws import product
from jax.tree_util import Partial
from losses import COV, FAMILIES, MEAN, SLIPS

import jlangevin as jl
from jlangevin import learn


@pytest.mark.parametrize("name", FAMILIES)
def test_the_expected_gradient_is_zero_at_the_truth_and_leads_there(name):
    assert losses.is_consistent(FAMILIES[name], jax.random.key(0))


@pytest.mark.parametrize("name", SLIPS)
def test_a_slip_is_found(name):
    assert not losses.is_consistent(SLIPS[name], jax.random.key(0))


def test_exact_negatives_give_the_gradient_of_the_likelihood():
    """Of one batch, away from the truth: the mean over draws, against E + log Z differentiated."""
    batch = losses.data_law().sample(jax.random.key(0), 100)
    energy = jl.energies.quadratic(jnp.array([[1.0, 0.2], [0.2, 2.0]]), jnp.array([0.3, 0.1]))

    def likelihood(energy):
        return jnp.mean(jax.vmap(energy)(batch)) + energy.log_z

    def slope(key):
        return jax.grad(lambda e: learn.maximum_likelihood(key, e, batch, num_negatives=512)[0])(
            energy
        )

    found = jax.jit(jax.vmap(slope))(jax.random.split(jax.random.key(1), losses.NUM_BATCHES))
    for samples, exact in zip(
        jax.tree.leaves(found), jax.tree.leaves(jax.grad(likelihood)(energy)), strict=True
    ):
        samples = np.asarray(samples, np.float64).reshape(losses.NUM_BATCHES, -1)
        z = losses.z_scores(samples, np.asarray(exact).ravel())
        assert np.abs(z).max() < losses.threshold(6)


# Score matching on Gaussians, in closed form ----------------------------------------------------


A, M = np.array([[1.0, 0.3], [0.3, 2.0]]), np.array([0.2, 0.1])


def test_implicit_score_matching_is_the_fisher_divergence(dtype):
    """½ E|s - s_p|² = ½ mean|A (x - m)|² - tr A + ½ tr S⁻¹ for data with moments of N(m_p, S)."""
    with jax.enable_x64(dtype == jnp.float64):
        batch = np.asarray(losses.data_law().sample(jax.random.key(0), 50), dtype)
        mean, cov = batch.mean(axis=0), np.cov(batch.T, bias=True)
        energy = jl.energies.quadratic(jnp.asarray(A, dtype), jnp.asarray(M, dtype))
        loss, aux = learn.implicit_score_matching(None, energy, jnp.asarray(batch))
    # of N(mean, cov): the score's difference is (S⁻¹ - A) (x - mean) - A (mean - M)
    gap = np.linalg.inv(cov) - A
    fisher = 0.5 * np.trace(gap @ cov @ gap.T) + 0.5 * np.sum((A @ (mean - M)) ** 2)
    tolerance = 1e-5 if dtype == jnp.float32 else 1e-12
    np.testing.assert_allclose(loss + 0.5 * np.trace(np.linalg.inv(cov)), fisher, rtol=tolerance)
    np.testing.assert_allclose(aux.metrics["divergence"], -np.trace(A), rtol=tolerance)


def test_slices_are_exact_in_one_dimension_and_along_all_signs():
    batch = jnp.array([[0.3], [1.2], [-2.0]])
    energy = jl.energies.double_well()
    sliced, _ = learn.sliced_score_matching(jax.random.key(0), energy, batch)
    exact, _ = learn.implicit_score_matching(None, energy, batch)
    np.testing.assert_allclose(sliced, exact, rtol=1e-6)


def test_denoising_is_the_fisher_divergence_of_smoothed_data():
    """At two energies: the difference of the losses, with the same noise, against closed form."""
    sigma, n = 0.7, 200_000
    batch = losses.data_law().sample(jax.random.key(0), n)

    def expected(precision):  # σ² ½ E|s - s_σ|², up to a constant
        cov = COV + sigma**2 * np.eye(2)
        gap = np.linalg.inv(cov) - precision
        return sigma**2 * 0.5 * np.trace(gap @ cov @ gap.T)

    def loss(precision):
        energy = jl.energies.quadratic(
            jnp.asarray(precision, jnp.float32), jnp.asarray(MEAN, jnp.float32)
        )
        return learn.denoising_score_matching(jax.random.key(1), energy, batch, sigma=sigma)[0]

    found, exact = (f(A) - f(2 * A) for f in (loss, expected))
    # Each item's difference has a standard deviation of about 10, so this is 6 of their mean's.
    assert abs(found - exact) < 6 * 10 / np.sqrt(n)


# Derivatives, by finite differences -------------------------------------------------------------


def network(dim=2):
    keys = jax.random.split(jax.random.key(0), 2)
    weights = {
        "inner": jax.random.normal(keys[0], (8, dim)),
        "outer": jax.random.normal(keys[1], (8,)),
    }

    def energy(weights, x):
        return product(weights["outer"], jnp.tanh(product(weights["inner"], x))) + 0.5 * jnp.sum(
            x**2
        )

    return Partial(energy, weights)


LOSSES = {
    "contrastive divergence through the chain": lambda key, energy, batch: (
        learn.contrastive_divergence(
            key,
            energy,
            batch,
            kernel=jl.underdamped(0.2, 1.0),
            num_steps=4,
            stop_gradient=False,
            regularization=0.1,
        )
    ),
    **{
        name: FAMILIES[name].loss
        for name in ("implicit", "sliced", "denoising", "energy discrepancy", "noise-contrastive")
    },
}


@pytest.mark.parametrize("name", LOSSES)
def test_the_derivative_is_that_of_the_value(name, x64):
    energy, key = network(), jax.random.key(1)
    batch = jax.random.normal(jax.random.key(2), (20, 2))
    flat, unravel = jax.flatten_util.ravel_pytree(energy)
    if name == "noise-contrastive":
        noise = jl.Gaussian(jnp.zeros(2), 3.0 * jnp.eye(2))
        loss = lambda k, e, b: learn.noise_contrastive(k, e, b, noise=noise)  # noqa: E731
    else:
        loss = LOSSES[name]

    @jax.jit
    @jax.value_and_grad
    def both(flat):
        return loss(jax.random.clone(key), unravel(flat), batch)[0]

    direction = np.random.default_rng(3).normal(size=flat.shape)
    along, step = np.dot(both(flat)[1], direction), 1e-5
    up, down = (both(flat + sign * step * direction)[0] for sign in (1, -1))
    np.testing.assert_allclose(along, (up - down) / (2 * step), rtol=1e-6)


@pytest.mark.slow
def test_with_the_gradient_stopped_negatives_are_constants():
    """Also those of an energy that holds its parameters in a closure."""
    batch, kernel = jnp.array([[1.0], [-0.5]]), jl.ula(0.1)

    def loss(scale, *, stop, leaf):
        energy = (
            Partial(lambda s, x: s * jnp.sum(x**4), scale)
            if leaf
            else (lambda x: scale * jnp.sum(x**4))
        )
        value, aux = learn.contrastive_divergence(
            jax.random.key(0), energy, batch, kernel=kernel, num_steps=3, stop_gradient=stop
        )
        return value, aux.negatives

    for leaf in (True, False):
        slope, negatives = jax.grad(loss, has_aux=True)(1.0, stop=True, leaf=leaf)
        by_hand = jnp.mean(batch**4) - jnp.mean(negatives**4)
        np.testing.assert_allclose(slope, by_hand, rtol=1e-6)
    through, _ = jax.grad(loss, has_aux=True)(1.0, stop=False, leaf=True)
    assert abs(through - slope) > 1e-2


# What losses report -----------------------------------------------------------------------------


def test_the_buffer_holds_the_chains_that_moved_and_leaves_the_others():
    start = jl.Gaussian(jnp.zeros(2), jnp.eye(2))
    buffer = learn.replay_buffer(jax.random.key(0), start, 10)
    _, aux = learn.persistent_contrastive_divergence(
        jax.random.key(1),
        jl.energies.quadratic(jnp.eye(2)),
        jnp.ones((5, 2)),
        buffer,
        kernel=jl.ula(0.1),
        num_steps=2,
        num_negatives=4,
        redraw_rate=0.0,
    )
    moved = np.any(np.asarray(aux.buffer.positions != buffer.positions), axis=1)
    assert moved.sum() == 4
    there = {tuple(row) for row in np.asarray(aux.buffer.positions[moved])}
    assert there == {tuple(row) for row in np.asarray(aux.negatives)}


def test_chains_start_anew_at_the_rate_that_is_asked_for():
    """From a law far from the buffer: binomial, within 5 standard deviations (1e-6)."""
    size, rate = 2_000, 0.1
    far = jl.Gaussian(jnp.full(1, 100.0), jnp.eye(1))
    buffer = learn.Buffer(jnp.zeros((size, 1)), far)
    flat = Partial(lambda s, x: s * jnp.sum(x), jnp.zeros(()))
    _, aux = learn.persistent_contrastive_divergence(
        jax.random.key(0), flat, jnp.zeros((1, 1)), buffer,
        kernel=jl.ula(0.01), num_steps=1, redraw_rate=rate,
    )  # fmt: skip
    anew = int(jnp.sum(aux.negatives > 50))
    assert abs(anew - size * rate) < 5 * np.sqrt(size * rate * (1 - rate))


def test_chains_that_diverge_are_counted_and_the_loss_says_so():
    loss, aux = learn.contrastive_divergence(
        jax.random.key(0),
        lambda x: jnp.sum(x**4),
        jnp.array([[0.1], [30.0]]),
        kernel=jl.ula(0.5),
        num_steps=50,
    )
    assert int(aux.metrics["num_divergent"]) >= 1
    assert not np.isfinite(loss)
