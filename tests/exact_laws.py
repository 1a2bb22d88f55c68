"""What the tests of exact laws share: problems, laws by NumPy, and the error of a law."""

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial

import jlangevin as jl
from jlangevin._core.arithmetic import product


def arr(values):
    """An array of the default floating dtype."""
    return jnp.asarray(values, float)


def eps():
    """The rounding of the default floating dtype."""
    return float(jnp.finfo(arr(0).dtype).eps)


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


def decaying(t):
    return 0.4 / (1 + 0.2 * jnp.asarray(t, float))


def cooling(t):
    return 1 + 3 * jnp.exp(-0.3 * jnp.asarray(t, float))
