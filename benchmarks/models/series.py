"""Series in time, whose energies are scans: volatility, hidden states, an equation of motion."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import scipy.stats
from jax.tree_util import Partial

from .posterior import Array, Posterior, floats, log_pair, pair, read, uniform

# GARCH(1, 1) --------------------------------------------------------------------------------------


def _garch_energy(y: jax.Array, first: jax.Array, x: jax.Array) -> jax.Array:
    logs = log_pair(x[2])  # of α_1 and of 1 - α_1, the upper bound of β_1
    alpha_0, alpha_1, beta_1 = jnp.exp(x[1]), jnp.exp(logs[0]), jnp.exp(logs[1] + log_pair(x[3])[0])
    squares = (y - x[0]) ** 2

    def step(variance: jax.Array, square: jax.Array) -> tuple[jax.Array, jax.Array]:
        return alpha_0 + alpha_1 * square + beta_1 * variance, variance

    _, variances = jax.lax.scan(step, first**2, squares)
    jacobian = x[1] + logs.sum() + logs[1] + log_pair(x[3]).sum()
    return 0.5 * jnp.sum(squares / variances + jnp.log(variances)) - jacobian


def _garch_quantities(x: jax.Array) -> jax.Array:
    alpha_1, rest = pair(x[2])
    return jnp.stack([x[0], jnp.exp(x[1]), alpha_1, rest * pair(x[3])[0]])


def garch() -> Posterior:
    """GARCH(1, 1), flat priors: positions (μ, log α_0, logit α_1, logit(β_1 / (1 - α_1)))."""
    data, names, reference = read("garch-garch11")
    return Posterior(
        "garch",
        4,
        names,
        Partial(_garch_energy, *floats(data, "y", "sigma1")),
        uniform(4),
        _garch_quantities,
        reference,
    )


# A hidden Markov model ----------------------------------------------------------------------------


def _ordered_positive(x: jax.Array) -> jax.Array:
    """0 < exp(x_0) < exp(x_0) + exp(x_1), with the log-Jacobian x_0 + x_1."""
    return jnp.cumsum(jnp.exp(x))


def _hidden_markov_energy(y: jax.Array, x: jax.Array) -> jax.Array:
    transitions = jax.vmap(log_pair)(x[:2])  # log p(to | from), (from, to)
    mu = _ordered_positive(x[2:])

    def emission(value: jax.Array) -> jax.Array:
        return -0.5 * (value - mu) ** 2

    def step(forward: jax.Array, value: jax.Array) -> tuple[jax.Array, None]:
        arrived = jax.nn.logsumexp(forward[:, None] + transitions, axis=0)
        return arrived + emission(value), None

    forward, _ = jax.lax.scan(step, emission(y[0]), y[1:])
    prior = 0.5 * ((mu[0] - 3) ** 2 + (mu[1] - 10) ** 2)
    return prior - jax.nn.logsumexp(forward) - transitions.sum() - x[2:].sum()


def _hidden_markov_quantities(x: jax.Array) -> jax.Array:
    return jnp.concatenate([pair(x[0]), pair(x[1]), _ordered_positive(x[2:])])


def _hidden_markov_prior(rng: np.random.Generator, n: int) -> Array:
    """The prior practically never draws means out of order, or a negative lower mean."""
    lower = np.abs(3 + rng.normal(size=n))
    gap = np.abs(10 + rng.normal(size=n) - lower)
    return np.column_stack([rng.logistic(size=(n, 2)), np.log(lower), np.log(gap)])


def hidden_markov() -> Posterior:
    """Two hidden states, the sum over them by the forward algorithm.

    Positions (logit θ_11, logit θ_21, log μ_1, log(μ_2 - μ_1)), θ_ij from state i to state j.
    """
    data, names, reference = read("hmm_example-hmm_example")
    return Posterior(
        "hidden Markov",
        4,
        names,
        Partial(_hidden_markov_energy, *floats(data, "y")),
        _hidden_markov_prior,
        _hidden_markov_quantities,
        reference,
    )


# Lotka–Volterra -----------------------------------------------------------------------------------

# Runge-Kutta steps a year. Within three standard deviations, log z is right to 4e-7.
STEPS_A_YEAR = 32
RATE_MEANS, RATE_SDS = (1, 0.05, 1, 0.05), (0.5, 0.05, 0.5, 0.05)


def populations(rates: jax.Array, start: jax.Array, years: int, steps_a_year: int) -> jax.Array:
    """The logarithms of prey and predator at the years 0, 1 … `years`, shape (years + 1, 2).

    The equation is solved for the logarithms w, so the populations stay positive:
    dw_1/dt = θ_1 - θ_2 exp(w_2), dw_2/dt = -θ_3 + θ_4 exp(w_1).
    """
    h = 1 / steps_a_year

    def velocity(w: jax.Array) -> jax.Array:
        grown = jnp.exp(w)
        return jnp.stack([rates[0] - rates[1] * grown[1], rates[3] * grown[0] - rates[2]])

    def runge_kutta(_: int, w: jax.Array) -> jax.Array:
        k1 = velocity(w)
        k2 = velocity(w + 0.5 * h * k1)
        k3 = velocity(w + 0.5 * h * k2)
        k4 = velocity(w + h * k3)
        return w + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4)

    def year(w: jax.Array, _: None) -> tuple[jax.Array, jax.Array]:
        w = jax.lax.fori_loop(0, steps_a_year, runge_kutta, w)
        return w, w

    _, later = jax.lax.scan(year, start, length=years)
    return jnp.concatenate([start[None], later])


def _lotka_volterra_energy(log_y: jax.Array, x: jax.Array) -> jax.Array:
    rates, log_sigma = jnp.exp(x[:4]), x[6:]
    log_z = populations(rates, x[4:6], len(log_y) - 1, STEPS_A_YEAR)
    residuals = (log_y - log_z) * jnp.exp(-log_sigma)[None]
    likelihood = 0.5 * jnp.sum(residuals**2) + len(log_y) * jnp.sum(log_sigma)
    means, sds = jnp.asarray(RATE_MEANS, x.dtype), jnp.asarray(RATE_SDS, x.dtype)
    of_rates = 0.5 * jnp.sum(((rates - means) / sds) ** 2) - jnp.sum(x[:4])
    of_starts = 0.5 * jnp.sum((x[4:6] - np.log(10)) ** 2)
    return likelihood + of_rates + of_starts + 0.5 * jnp.sum((log_sigma + 1) ** 2)


def _lotka_volterra_prior(rng: np.random.Generator, n: int) -> Array:
    means, sds = np.asarray(RATE_MEANS), np.asarray(RATE_SDS)
    rates = scipy.stats.truncnorm.rvs(-means / sds, np.inf, means, sds, (n, 4), random_state=rng)
    start, log_sigma = np.log(10) + rng.normal(size=(n, 2)), -1 + rng.normal(size=(n, 2))
    return np.column_stack([np.log(rates), start, log_sigma])


def lotka_volterra() -> Posterior:
    """Lynx and hares of Hudson Bay: positions are the logarithms of (θ_1 … θ_4, z_0, σ).

    Other modes lie far away, and draws of the prior reach them.
    """
    data, names, reference = read("hudson_lynx_hare-lotka_volterra")
    assert data["ts"] == list(range(1, len(data["ts"]) + 1))
    log_y = jnp.asarray(np.log([data["y_init"], *data["y"]]))
    return Posterior(
        "Lotka-Volterra",
        8,
        names,
        Partial(_lotka_volterra_energy, log_y),
        _lotka_volterra_prior,
        jnp.exp,
        reference,
    )
