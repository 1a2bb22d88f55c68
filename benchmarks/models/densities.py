"""A mixture of two normal distributions, and a Gaussian process."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial

from .posterior import Array, Posterior, floats, half_normal, half_normal_logs, log_pair, pair, read


def _ordered(x: jax.Array) -> jax.Array:
    """x_0 < x_0 + exp(x_1), with the log-Jacobian x_1."""
    return x[0] + jnp.stack([jnp.zeros_like(x[1]), jnp.exp(x[1])])


def _mixture_energy(y: jax.Array, x: jax.Array) -> jax.Array:
    mu, log_sigma, log_weights = _ordered(x[:2]), x[2:4], log_pair(x[4])
    residuals = (y[:, None] - mu[None]) * jnp.exp(-log_sigma)[None]
    components = (log_weights - log_sigma)[None] - 0.5 * residuals**2
    of_means = 0.5 * jnp.sum((mu / 2) ** 2) - x[1]
    # Beta(5, 5) has the fourth powers of both weights, and the Jacobian one more of each.
    prior = of_means + jnp.sum(half_normal(2.0, log_sigma)) - 5 * jnp.sum(log_weights)
    return prior - jnp.sum(jax.nn.logsumexp(components, axis=1))


def _mixture_quantities(x: jax.Array) -> jax.Array:
    return jnp.concatenate([_ordered(x[:2]), jnp.exp(x[2:4]), pair(x[4])[:1]])


def _mixture_prior(rng: np.random.Generator, n: int) -> Array:
    mu = np.sort(2 * rng.normal(size=(n, 2)), axis=1)
    scales = [half_normal_logs(rng, 2.0, n) for _ in range(2)]
    weight = rng.beta(5, 5, n)
    return np.column_stack(
        [mu[:, 0], np.log(mu[:, 1] - mu[:, 0]), *scales, np.log(weight) - np.log1p(-weight)]
    )


def gaussian_mixture() -> Posterior:
    """Two normal components: positions (μ_1, log(μ_2 - μ_1), log σ_1, log σ_2, logit θ).

    A second, lower mode holds chains from far starts.
    """
    data, names, reference = read("low_dim_gauss_mix-low_dim_gauss_mix")
    return Posterior(
        "Gaussian mixture",
        5,
        names,
        Partial(_mixture_energy, *floats(data, "y")),
        _mixture_prior,
        _mixture_quantities,
        reference,
    )


def _process_energy(distances: jax.Array, y: jax.Array, x: jax.Array) -> jax.Array:
    log_rho, log_alpha, log_sigma = x
    smooth = jnp.exp(2 * log_alpha - 0.5 * (distances * jnp.exp(-log_rho)) ** 2)
    lower = jnp.linalg.cholesky(smooth + jnp.exp(log_sigma) * jnp.eye(y.size))
    white = jax.scipy.linalg.solve_triangular(lower, y, lower=True)
    likelihood = 0.5 * jnp.sum(white**2) + jnp.sum(jnp.log(jnp.diag(lower)))
    of_rho = 4 * jnp.exp(log_rho) - 25 * log_rho  # Gamma(25, rate 4), and the log-Jacobian
    return likelihood + of_rho + half_normal(2.0, log_alpha) + half_normal(1.0, log_sigma)


def _process_prior(rng: np.random.Generator, n: int) -> Array:
    scales = [half_normal_logs(rng, scale, n) for scale in (2.0, 1.0)]
    return np.column_stack([np.log(rng.gamma(25, 1 / 4, n)), *scales])


def gaussian_process() -> Posterior:
    """Eleven values of a Gaussian process with noise: positions (log ρ, log α, log σ).

    ρ is its length, α its scale and σ the noise's variance.
    """
    data, names, reference = read("gp_pois_regr-gp_regr")
    x = np.asarray(data["x"], float)
    return Posterior(
        "Gaussian process",
        3,
        names,
        Partial(_process_energy, jnp.asarray(x[:, None] - x), *floats(data, "y")),
        _process_prior,
        jnp.exp,
        reference,
    )
