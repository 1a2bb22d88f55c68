"""Every loss on a Gaussian family whose true parameters it should find, and slips that miss them.

A loss is consistent if its expected gradient is zero at the truth, and points away from it nearby.
Both are tests of a mean over independent batches, with the t law: no training, and no seed.
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial
from scipy import stats

import jlangevin as jl
from jlangevin import learn

NUM_BATCHES = 64
MEAN, COV = np.array([0.5, -1.0]), np.array([[1.5, 0.6], [0.6, 0.8]])
SIGMA, SIGMAS = 0.5, np.array([1.5, 0.5])
FALSE_ALARM = 1e-6


def data_law():
    return jl.Gaussian(jnp.asarray(MEAN, float), jnp.asarray(COV, float))


class Family(NamedTuple):
    """An energy by its parameters (a precision or covariance, a mean, a constant); the loss; the
    true parameters; items in a batch."""

    energy: Any
    loss: Any  # (key, energy, batch)
    truth: tuple
    batch_size: int = 512


def normal(precision, mean, constant):
    return jl.energies.quadratic((precision + precision.T) / 2, mean)


def with_constant(precision, mean, constant):
    return Partial(lambda q, c, x: q(x) + c, normal(precision, mean, constant), constant)


def smoothed(cov, mean, constant):
    def score(cov, mean, x, sigma):
        return jnp.linalg.solve(cov + sigma**2 * jnp.eye(2), mean - x)

    return jl.scores.level_score(Partial(score, cov, mean), 1.0)


def persistent(key, energy, batch):
    for_buffer, for_loss = jax.random.split(key)
    buffer = learn.replay_buffer(for_buffer, data_law(), 512)
    return learn.persistent_contrastive_divergence(
        for_loss, energy, batch, buffer, kernel=jl.mala(0.3), num_steps=3, num_negatives=400
    )


PRECISION = np.linalg.inv(COV)
LOG_Z = np.log(2 * np.pi) + 0.5 * np.log(np.linalg.det(COV))
TRUE = PRECISION, MEAN, 0.0
SMOOTHED = np.linalg.inv(COV + SIGMA**2 * np.eye(2)), MEAN, 0.0

FAMILIES = {
    "contrastive divergence": Family(
        normal, partial(learn.contrastive_divergence, kernel=jl.mala(0.3), num_steps=3), TRUE
    ),
    "persistent contrastive divergence": Family(normal, persistent, TRUE),
    "maximum likelihood": Family(normal, learn.maximum_likelihood, TRUE),
    "implicit": Family(normal, learn.implicit_score_matching, TRUE),
    "sliced": Family(normal, partial(learn.sliced_score_matching, num_slices=2), TRUE),
    "denoising": Family(normal, partial(learn.denoising_score_matching, sigma=SIGMA), SMOOTHED),
    "multi-scale": Family(
        smoothed, partial(learn.multiscale_score_matching, sigmas=SIGMAS), (COV, MEAN, 0.0)
    ),
    "noise-contrastive": Family(
        with_constant,
        partial(
            learn.noise_contrastive,
            noise=jl.Gaussian(jnp.array([0.0, 0.0]), jnp.array([[3.0, 0.0], [0.0, 3.0]])),
            num_noise=1024,
        ),
        (PRECISION, MEAN, LOG_Z),
    ),
    # Of a bias of the order of 1/M, which is below what 64 batches of 64 can see.
    "energy discrepancy": Family(
        normal,
        partial(learn.energy_discrepancy, sigma=0.5, num_samples=256, stabilization=0.0),
        TRUE,
        batch_size=64,
    ),
}


# Slips ------------------------------------------------------------------------------------------


def swapped(loss):
    """Positive and negative phase, or a whole loss with the wrong sign."""

    def wrong(key, energy, batch):
        value, aux = loss(key, energy, batch)
        return -value, aux

    return wrong


def inverted_target(key, energy, batch):
    noise = jax.random.normal(key, batch.shape)
    scores = -jax.vmap(jax.grad(energy))(batch + SIGMA * noise)
    return 0.5 * jnp.mean(jnp.sum((SIGMA * scores - noise) ** 2, axis=1)), learn.Aux({})


def without_divergence(key, energy, batch):
    _, aux = learn.implicit_score_matching(key, energy, batch)
    scores = jax.vmap(jax.grad(energy))(batch)
    return 0.5 * jnp.mean(jnp.sum(scores**2, axis=1)), aux


def target_of_the_data(key, energy, batch):
    """Denoising that is taken to learn the density of the data themselves."""
    return learn.denoising_score_matching(key, energy, batch, sigma=SIGMA)


def without_log_ratio(key, energy, batch):
    """Noise-contrastive, twice as many draws of noise as data, taken for as many."""
    noise = FAMILIES["noise-contrastive"].loss.keywords["noise"]
    draws = noise.sample(key, 2 * len(batch))
    logits = lambda x: -energy(x) - noise.log_prob(x)  # noqa: E731
    data, other = jax.vmap(logits)(batch), jax.vmap(logits)(draws)
    return jnp.mean(jax.nn.softplus(-data)) + 2 * jnp.mean(jax.nn.softplus(other)), None


def without_centre(key, energy, batch):
    """Energy discrepancy with samples around the data instead of around noisy data."""
    noise = jax.random.normal(key, (64, *batch.shape))
    moved = jax.vmap(jax.vmap(energy))(batch[None] + SIGMA * noise)
    exponents = jax.vmap(energy)(batch)[None] - moved
    return jnp.mean(jax.nn.logsumexp(exponents, axis=0)), None


SLIPS = {
    "swapped phases": FAMILIES["maximum likelihood"]._replace(
        loss=swapped(learn.maximum_likelihood)
    ),
    "score matching with the wrong sign": FAMILIES["implicit"]._replace(
        loss=swapped(learn.implicit_score_matching)
    ),
    "inverted denoising target": FAMILIES["denoising"]._replace(loss=inverted_target),
    "dropped divergence": FAMILIES["implicit"]._replace(loss=without_divergence),
    "denoising without noise in the truth": FAMILIES["denoising"]._replace(
        loss=target_of_the_data, truth=TRUE
    ),
    "dropped log ratio": FAMILIES["noise-contrastive"]._replace(loss=without_log_ratio),
    "dropped centre": FAMILIES["energy discrepancy"]._replace(loss=without_centre),
    "chains with the bias of their step": FAMILIES["contrastive divergence"]._replace(
        loss=partial(learn.contrastive_divergence, kernel=jl.ula(0.3), num_steps=3)
    ),
}


# The test ---------------------------------------------------------------------------------------


def gradients(family, parameters, key):
    """The gradient by all parameters for each of many independent batches, (batch, parameter)."""
    parameters = jax.tree.map(lambda p: jnp.asarray(p, float), parameters)
    for_data, for_loss = jax.random.split(key)
    size = family.batch_size
    data = data_law().sample(for_data, NUM_BATCHES * size).reshape(NUM_BATCHES, size, 2)

    def slope(key, batch):
        def loss(parameters):
            return family.loss(key, family.energy(*parameters), batch)[0]

        return jax.flatten_util.ravel_pytree(jax.grad(loss)(parameters))[0]

    keys = jax.random.split(for_loss, NUM_BATCHES)
    return np.asarray(
        jax.jit(lambda keys, data: jax.lax.map(lambda a: slope(*a), (keys, data)))(keys, data),
        np.float64,
    )


def z_scores(samples, expected=0.0):
    mean, sd = samples.mean(axis=0), samples.std(axis=0, ddof=1)
    gap = mean - expected
    scale = np.where(sd > 0, sd, 1) / np.sqrt(len(samples))
    return gap / scale


def threshold(number):
    return stats.t.isf(FALSE_ALARM / (2 * number), NUM_BATCHES - 1)


def is_consistent(family, key):
    """Whether the gradient is zero at the truth, and leads back to it from elsewhere."""
    at, near = jax.random.split(key)
    there = gradients(family, family.truth, at)
    if np.abs(z_scores(there)).max() > threshold(there.shape[1]):
        return False
    matrix, mean, constant = family.truth
    away = 0.4 * matrix, np.array([0.2, 0.2]), 0.0
    moved = matrix + away[0], mean + away[1], constant
    along = gradients(family, moved, near) @ jax.flatten_util.ravel_pytree(away)[0]
    return bool(z_scores(along[:, None])[0] > threshold(1))
