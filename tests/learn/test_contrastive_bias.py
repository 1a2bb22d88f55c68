"""The bias of CD-k, and of ULA's step, on Gaussian families: where the exact laws say it is.

The expected gradient of contrastive divergence is a difference of moments between the data and the
law after k steps from there. `exact.law` has that law, so it has the parameter at which learning
stops, for any kernel, step and k.
"""

import functools

import jax
import jax.numpy as jnp
import losses
import numpy as np
import optax
import pytest
import scipy.optimize
from jax.tree_util import Partial

import jlangevin as jl
from jlangevin import learn

BATCH = 2_048


class Scaled:
    """The energies ½ a xᵀBx, of one parameter a, and data from N(0, S)."""

    def __init__(self, B, S):
        self.B, self.S = np.array(B), np.array(S)
        self.likelihood = len(B) / np.sum(self.B * self.S)  # where tr B S = tr B (a B)⁻¹

    @property
    def law(self):
        return jl.Gaussian(jnp.zeros(len(self.B)), jnp.asarray(self.S, float))

    def energy(self, scale):
        return jl.energies.quadratic(scale * jnp.asarray(self.B, float))

    def gradient(self, scale, kernel, num_steps):
        """½ tr B (S - S_k), the expected gradient by a, from the exact law after k steps."""
        law = jl.exact.law(kernel, self.energy(jnp.asarray(scale, float)), self.law, num_steps)
        return 0.5 * float(np.sum(self.B * (self.S - np.asarray(law.cov, np.float64))))

    def settles(self, kernel, num_steps):
        """Where that is zero."""
        found = scipy.optimize.brentq(
            lambda a: self.gradient(a, kernel, num_steps), 0.2, 1.5, xtol=1e-5
        )
        return float(found)

    def gradients(self, scale, kernel, num_steps, key):
        """The gradient of the loss by a, for independent batches."""
        for_data, for_loss = jax.random.split(key)
        number = losses.NUM_BATCHES
        data = self.law.sample(for_data, number * BATCH).reshape(number, BATCH, -1)

        def slope(key, batch):
            def loss(scale):
                return learn.contrastive_divergence(
                    key, self.energy(scale), batch, kernel=kernel, num_steps=num_steps
                )[0]

            return jax.grad(loss)(jnp.asarray(scale, float))

        keys = jax.random.split(for_loss, number)
        found = jax.jit(lambda *a: jax.lax.map(lambda each: slope(*each), a))(keys, data)
        return np.asarray(found, np.float64)[:, None]


def z(samples, expected=0.0):
    return abs(losses.z_scores(samples, expected)[0])


LIMIT = losses.threshold(1)


@pytest.mark.parametrize("num_steps", [1, pytest.param(20, marks=pytest.mark.slow)])
def test_cd_k_settles_where_the_exact_law_says(num_steps):
    """There, and neither where the likelihood is greatest, nor where other numbers of steps do.

    Data that the model cannot be for any a: what CD-k learns then depends on k.
    """
    # a: 0.338 for k = 1, 0.389 for 4, 0.529 for 20, 0.535 for many, and 0.467 by the likelihood
    family, kernel = Scaled([[1.0, 0.8], [0.8, 2.0]], [[1.0, 0.8], [0.8, 1.0]]), jl.ula(0.3)
    places = [family.settles(kernel, num_steps), family.likelihood, family.settles(kernel, 4)]
    keys = jax.random.split(jax.random.key(0), 3)
    at, *elsewhere = (
        family.gradients(a, kernel, num_steps, k) for a, k in zip(places, keys, strict=True)
    )
    assert z(at) < LIMIT
    for a, each in zip(places[1:], elsewhere, strict=True):
        assert z(each) > LIMIT
        assert z(each, family.gradient(a, kernel, num_steps)) < LIMIT


def biased_precision(variance, eta):
    """λ with 1 / (λ (1 - ηλ/2)) = s: the variance of the data is that of the chain."""
    return (1 - np.sqrt(1 - 2 * eta / variance)) / eta


@pytest.mark.parametrize("kernel", [jl.ula(0.4), jl.underdamped(0.4, 1.0, splitting="OBABO")])
def test_in_a_full_family_every_k_settles_where_the_step_does(kernel):
    """The data's variance is the chain's stationary one there, which no number of steps changes:
    the bias of negatives at step η, in closed form."""
    family = Scaled([[1.0]], [[2.0]])
    if isinstance(kernel, jl.kernels.ULA):
        expected = biased_precision(2.0, 0.4)
    else:  # stationary variance 1 / (λ (1 - h²λ/4))
        expected = scipy.optimize.brentq(lambda a: 1 / (a * (1 - 0.04 * a)) - 2.0, 0.3, 1.5)
    settled = jl.exact.stationary(kernel, family.energy(expected), jnp.zeros(1))
    np.testing.assert_allclose(settled.cov[0, 0], 2.0, rtol=1e-5)
    for num_steps in (1, 5):
        np.testing.assert_allclose(family.settles(kernel, num_steps), expected, rtol=1e-3)
    at, unbiased = (
        family.gradients(a, kernel, 5, jax.random.key(1)) for a in (expected, family.likelihood)
    )
    assert z(at) < LIMIT
    if isinstance(kernel, jl.kernels.ULA):  # the other's bias is too small to be seen
        assert z(unbiased) > LIMIT


@pytest.mark.slow
def test_learning_with_persistent_chains_arrives_at_the_biased_precision():
    """A whole run of `fit`: 17% from the data's own precision, and within 2% of the prediction."""
    eta, size = 0.5, 50_000
    data = jnp.sqrt(2.0) * jax.random.normal(jax.random.key(0), (size, 1))
    variance = float(np.mean(np.asarray(data, np.float64) ** 2))
    start = jl.Gaussian(jnp.zeros(1), 2.0 * jnp.eye(1))
    energy = Partial(lambda a, x: 0.5 * a * jnp.sum(x**2), jnp.float32(1.0))
    seen = []
    learn.fit(
        jax.random.key(1),
        energy,
        data,
        functools.partial(
            learn.persistent_contrastive_divergence,
            kernel=jl.ula(eta),
            num_steps=5,
            redraw_rate=0.0,
        ),
        optax.sgd(0.02),
        num_updates=6_000,
        batch_size=256,
        buffer=learn.replay_buffer(jax.random.key(2), start, 256),
        callback=lambda fit: seen.append(float(fit.energy.args[0])),
        every=20,
    )
    found = np.mean(seen[len(seen) // 2 :])
    assert abs(found / biased_precision(variance, eta) - 1) < 0.02
    assert abs(found * variance - 1) > 0.1
