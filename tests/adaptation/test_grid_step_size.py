"""A step size for a stated bias, from exact laws on a grid."""

import jax.numpy as jnp
import numpy as np
import pytest

import jlangevin as jl
from jlangevin import exact
from jlangevin.adaptation import step_size_for

WELL = jl.energies.double_well()


def test_on_a_quadratic_energy_it_is_the_formula(x64):
    """By the grid and by the formula; that of E x², about a mean m, is relative to S + m²."""
    energy, x = jl.energies.quadratic(2.0 * jnp.eye(1), 0.4 * jnp.ones(1)), jnp.zeros(1)
    formula = float(step_size_for(energy, x, bias=0.1))
    for temperature in (1.0, 2.5):
        found = step_size_for(
            energy, x, bias=0.1, kernel=lambda eta, t=temperature: jl.ula(eta, temperature=t)
        )
        assert (1 - 2e-3) * formula <= float(found) <= formula
    mean = float(exact.target(energy, x).mean[0])
    share = 1 + mean**2 / 0.5  # E x² is so many variances
    square = step_size_for(energy, x, bias=0.1, function=lambda x: x[0] ** 2)
    assert float(square) == pytest.approx(
        float(step_size_for(energy, x, bias=0.1 * share)), rel=2e-3
    )


@pytest.mark.parametrize("make", [jl.ula, jl.tamed_ula])
def test_on_another_energy_the_bias_is_the_stated_one(make, x64):
    eta = step_size_for(WELL, jnp.zeros(1), bias=0.02, kernel=make)
    wanted = exact.grid_target(WELL, jnp.zeros(1)).cov[0, 0]
    biases = [
        abs(float(exact.grid_stationary(make(each), WELL, jnp.zeros(1)).cov[0, 0] / wanted) - 1)
        for each in (eta, 1.01 * eta)
    ]
    assert 0.0199 <= biases[0] <= 0.02 < biases[1]
    assert make is not jl.ula or eta == step_size_for(WELL, jnp.zeros(1), bias=0.02)


def test_in_float32_it_is_about_the_same():
    eta = step_size_for(WELL, jnp.zeros(1), bias=0.01)
    assert eta.dtype == jnp.float32
    assert float(eta) == pytest.approx(0.01191, rel=0.01)


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"kernel": jl.mala}, jl.NoGridLawError, "kernel: .* is the error of the laws"),
        ({"function": lambda x: x[0]}, ValueError, "function: its expectation .* add a constant"),
        ({"function": lambda x: x}, ValueError, "function: expected a scalar"),
        ({"kernel": jl.ula, "preconditioner": 2.0}, ValueError, "preconditioner: .* the kernel"),
    ],
)
def test_what_has_no_such_step_is_refused(options, error, words):
    with pytest.raises(error, match=words):
        step_size_for(WELL, jnp.zeros(1), bias=0.01, **options)


def test_where_nothing_settles_no_step_is_given():
    with pytest.raises(jl.NotNormalizableError, match="does not rise on both sides"):
        step_size_for(lambda x: -jnp.cos(x[0]), jnp.zeros(1), bias=0.1)
    assert np.isfinite(float(step_size_for(WELL, jnp.zeros(1), bias=0.5)))
