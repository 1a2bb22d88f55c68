"""The predictor-corrector sampler against a recursion in NumPy on Gaussian data, and slips in it.

Samples are held against the recursion's law by `verify` at a false-alarm rate of 1e-6; 20,000
chains show, with probability 0.99, a shift of 0.06 standard deviations or a variance off by 8%.
"""

from dataclasses import replace
from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial

import jlangevin as jl

pytestmark = pytest.mark.slow

SIGMAS = [3.0, 1.5, 0.8, 0.5]
ETA, M = 0.1, 2
DATA_MEAN = np.array([1.0, -2.0])
DATA_COV = np.array([[0.5, 0.3], [0.3, 1.2]])
MEAN_0, COV_0 = np.array([2.0, 1.0]), np.array([[8.0, 1.0], [1.0, 6.0]])


def gaussian_score(mean, cov, x, sigma):
    smoothed = cov + jnp.asarray(sigma, x.dtype) ** 2 * jnp.eye(len(x), dtype=x.dtype)
    return jnp.linalg.solve(smoothed, mean - x)


def smoothed():
    function = Partial(gaussian_score, jnp.array(DATA_MEAN), jnp.array(DATA_COV))
    return jl.scores.level_score(function, SIGMAS[0])


def start():
    return jl.Gaussian(jnp.array(MEAN_0), jnp.array(COV_0))


def recursion(corrector_steps=M, more=0, heat=1.0, at_next=False):
    """The law at the end, every move written out; the last two arguments are slips."""
    mean, cov, eye = MEAN_0, COV_0, np.eye(2)

    def move(size, variance, sigma):
        nonlocal mean, cov
        F = eye - size * np.linalg.inv(DATA_COV + sigma**2 * eye)
        mean, cov = DATA_MEAN + F @ (mean - DATA_MEAN), F @ cov @ F.T + variance * eye

    for sigma, following in pairwise(SIGMAS):
        fall = sigma**2 - following**2
        move(fall, heat * fall, following if at_next else sigma)
        for _ in range(corrector_steps):
            eta = ETA * following**2 / SIGMAS[-1] ** 2
            move(eta, 2 * eta, following)
    for _ in range(more * corrector_steps):
        move(ETA, 2 * ETA, SIGMAS[-1])
    return jl.Gaussian(jnp.array(mean), jnp.array((cov + cov.T) / 2))


def draw(kernel):
    return jl.sample(
        jax.random.key(0),
        smoothed(),
        kernel,
        start(),
        num_steps=len(SIGMAS) - 1,
        num_chains=20_000,
        observe=None,
    ).position


@pytest.mark.parametrize("corrector_steps", [0, M])
def test_the_law_is_that_of_the_recursion(corrector_steps, x64):
    """At the last level, and three steps later."""
    kernel = jl.predictor_corrector(SIGMAS, ETA, corrector_steps=corrector_steps)
    end = len(SIGMAS) - 1
    laws = jl.exact.trajectory(kernel, smoothed(), start(), end + 3)
    for more in (0, 3):
        expected = recursion(corrector_steps, more)
        np.testing.assert_allclose(laws.mean[end + more], expected.mean, rtol=1e-12)
        np.testing.assert_allclose(laws.cov[end + more], expected.cov, rtol=1e-12)


def test_samples_have_that_law():
    draws = draw(jl.predictor_corrector(SIGMAS, ETA, corrector_steps=M))
    jl.verify.assert_law(draws, recursion())


MUTANTS = {
    "no corrector": jl.predictor_corrector(SIGMAS, ETA, corrector_steps=0),
    "one corrector step": jl.predictor_corrector(SIGMAS, ETA, corrector_steps=1),
    "levels late": replace(
        jl.predictor_corrector(SIGMAS, ETA, corrector_steps=M),
        next_sigma=jl.predictor_corrector(SIGMAS, ETA).sigma,
    ),
    "a step twice as long": jl.predictor_corrector(SIGMAS, 2 * ETA, corrector_steps=M),
}


@pytest.mark.parametrize("name", MUTANTS)
def test_a_wrong_kernel_is_rejected(name):
    assert not jl.verify.compare(draw(MUTANTS[name]), recursion()).passed


@pytest.mark.parametrize("slip", [{"heat": 2.0}, {"at_next": True}])
def test_another_predictor_is_rejected(slip):
    draws = draw(jl.predictor_corrector(SIGMAS, ETA, corrector_steps=M))
    assert not jl.verify.compare(draws, recursion(**slip)).passed


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([1.0, 2.0], 0.1, 1), "sigmas: expected levels that fall"),
        (([2.0, 1.0], 0.0, 1), "step_size: expected"),
        (([2.0, 1.0], 0.1, -1), "corrector_steps: expected at least 0"),
    ],
)
def test_bad_arguments_are_refused_by_name(arguments, message):
    sigmas, eta, steps = arguments
    with pytest.raises(ValueError, match=message):
        jl.predictor_corrector(sigmas, eta, corrector_steps=steps)
