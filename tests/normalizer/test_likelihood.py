"""The likelihood of data: its mean, its interval, and what makes it unknown."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

import jlangevin as jl

RATE = 1e-6
REPEATS = 200
BOWL = jl.energies.quadratic(jnp.eye(2))
TRUTH = -1.0 - math.log(2 * math.pi)  # the negative entropy of N(0, I)
KNOWN = jl.normalizer.LogZ(
    math.log(2 * math.pi), 0.0, (1.8, 1.9), (1.7, 2.0), 0.99, None, None, math.nan, math.nan, ()
)


def test_intervals_hold_as_often_as_stated_with_an_error_of_log_z_as_large_as_the_datas():
    rng = np.random.default_rng(0)
    data = rng.normal(size=(REPEATS, 200, 2))
    error = 1 / 200**0.5
    misses = 0
    for each in data:
        off = error * rng.normal()
        z = dataclasses.replace(KNOWN, value=KNOWN.value + off, std_error=error)
        found = jl.normalizer.log_likelihood(jnp.asarray(each, float), BOWL, z)
        misses += not found.interval[0] < TRUTH < found.interval[1]
        np.testing.assert_allclose(found.std_error, math.hypot(error, error), rtol=0.3)
    assert misses <= stats.binom.isf(RATE, REPEATS, 0.01)


def test_each_item_has_a_likelihood_and_the_mean_is_theirs():
    data = jax.random.normal(jax.random.key(0), (50, 2))
    found = jl.normalizer.log_likelihood(data, BOWL, float(BOWL.log_z))
    expected = stats.multivariate_normal(np.zeros(2), np.eye(2)).logpdf(data)
    np.testing.assert_allclose(found.of_data, expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found.value, expected.mean(), rtol=1e-5)
    assert "over 50 items" in str(found)
    hot = jl.normalizer.log_likelihood(data, BOWL, math.log(2 * math.pi * 3), temperature=3.0)
    wide = stats.multivariate_normal(np.zeros(2), 3 * np.eye(2)).logpdf(data)
    np.testing.assert_allclose(hot.of_data, wide, rtol=1e-4, atol=1e-5)


def test_problems_of_log_z_are_those_of_the_likelihood_and_widen_its_interval():
    data = jax.random.normal(jax.random.key(0), (50, 2))
    doubtful = dataclasses.replace(KNOWN, interval=(0.0, math.inf), problems=("too few",))
    found = jl.normalizer.log_likelihood(data, BOWL, doubtful)
    assert not found.ok
    assert found.interval[0] == -math.inf
    assert "NOT known well" in str(found)


def test_what_is_refused_is_named():
    data = jnp.ones((5, 2))
    with pytest.raises(ValueError, match="row 3"):
        jl.normalizer.log_likelihood(data.at[3].set(jnp.nan), BOWL, KNOWN)
    with pytest.raises(ValueError, match="temperature: 2"):
        jl.normalizer.log_likelihood(data, BOWL, KNOWN, temperature=2.0)
    with pytest.raises(ValueError, match="got log Z'/Z"):
        jl.normalizer.log_likelihood(data, BOWL, dataclasses.replace(KNOWN, of="log Z'/Z"))
