"""The energies whose steps are timed, as the library has them and as one would write them."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import jlangevin as jl


@dataclasses.dataclass(frozen=True)
class Problem:
    """An energy as the library has it and as one would write it in plain JAX."""

    name: str
    dim: int
    energy: Any
    plain: Callable[[jax.Array], jax.Array]
    numpy_gradient: Callable[[Any], Any] | None = None  # of (chains, d)
    cost: int = 1  # by how much to cut the number of steps


def problems() -> Iterator[Problem]:
    theta = jnp.array([0.80342804, 0.5275223])
    theta_np = np.asarray(theta)
    yield Problem(
        "linear",
        2,
        jl.energies.linear(theta),
        lambda x: jnp.dot(theta, x),
        lambda x: theta_np,
    )
    for d in (2, 10, 100):
        yield _quadratic(d)
    for d in (2, 10, 100):
        yield Problem(
            "double well",
            d,
            jl.energies.double_well(dim=d),
            lambda x: jnp.sum((x**2 - 1) ** 2),
            lambda x: 4 * x * (x * x - 1),
        )
    for d in (2, 10, 100):
        yield Problem(
            "Rosenbrock",
            d,
            jl.energies.rosenbrock(block_length=d),
            lambda x: 0.05 * (x[0] - 1) ** 2 + jnp.sum(5.0 * (x[1:] - x[:-1] ** 2) ** 2),
        )
    yield _mixture()
    yield _logistic()
    yield _perceptron()


def _quadratic(d: int) -> Problem:
    root = np.random.default_rng(0).normal(size=(d, d)).astype(np.float32) / np.sqrt(d)
    matrix = jnp.asarray(root @ root.T + np.eye(d, dtype=np.float32))
    matrix_np = np.asarray(matrix)
    return Problem(
        "quadratic",
        d,
        jl.energies.quadratic(matrix),
        lambda x: 0.5 * x @ matrix @ x,
        lambda x: x @ matrix_np,
    )


def _mixture() -> Problem:
    angles = 2 * np.pi * np.arange(8) / 8
    means = jnp.asarray(4 * np.stack([np.cos(angles), np.sin(angles)], 1), jnp.float32)
    covs = jnp.tile(jnp.array([[0.5, 0.1], [0.1, 0.4]]), (8, 1, 1))
    weights = jnp.full(8, 1 / 8)

    def plain(x: jax.Array) -> jax.Array:
        log_density = jax.vmap(partial(jax.scipy.stats.multivariate_normal.logpdf, x))
        return -jax.nn.logsumexp(log_density(means, covs), b=weights)

    return Problem("mixture of 8", 2, jl.energies.gaussian_mixture(means, covs), plain, cost=5)


def _logistic() -> Problem:
    from sklearn.datasets import load_breast_cancer

    features, labels = load_breast_cancer(return_X_y=True)
    features = (features - features.mean(0)) / features.std(0)
    x = jnp.asarray(np.column_stack([features, np.ones(len(features))]), jnp.float32)
    sign = jnp.asarray(2.0 * labels - 1, jnp.float32)

    def energy(w: jax.Array) -> jax.Array:
        return jnp.sum(jax.nn.softplus(-sign * (x @ w))) + 0.5 * jnp.sum(w**2)

    return Problem("logistic regression", 31, energy, energy, cost=50)


def _perceptron() -> Problem:
    rng = np.random.default_rng(0)
    sizes = (2, 64, 64, 1)
    weights = [
        jnp.asarray(rng.normal(size=(a, b)) / np.sqrt(a), jnp.float32)
        for a, b in itertools.pairwise(sizes)
    ]

    def energy(x: jax.Array) -> jax.Array:
        h = jnp.tanh(x @ weights[0])
        h = jnp.tanh(h @ weights[1])
        return (h @ weights[2])[0] + 0.5 * jnp.sum(x**2)

    return Problem("MLP 2-64-64-1", 2, energy, energy, cost=50)
