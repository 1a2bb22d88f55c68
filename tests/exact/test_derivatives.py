"""Derivatives of stationary expectations, beside formulas and differences."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial

import jlangevin as jl
from jlangevin import exact
from jlangevin.exact.grid import derivatives

pytestmark = pytest.mark.usefixtures("x64")


def quartic(a, b, x):
    """E(x) = a x⁴/4 - b x: a well that leans."""
    return a * x[0] ** 4 / 4 - b * x[0]


def skewed(x):
    return x[0] + 0.3 * x[0] ** 2


X = np.zeros(1)


def test_ula_on_a_quadratic_is_the_formula():
    """E x² = m² + T / (λ (1 - ηλ/2)), for mean m."""
    eta, lam, m, heat = 0.3, 1.7, 0.4, 0.8
    energy = jl.energies.quadratic(jnp.array([[lam]]), jnp.array([m]))
    kernel = jl.ula(jnp.array(eta), temperature=jnp.array(heat))
    value, (k, e) = exact.grid_value_and_grad(kernel, energy, X, lambda x: x[0] ** 2)
    rest = 1 - eta * lam / 2
    expected = {
        "value": m**2 + heat / (lam * rest),
        "step_size": heat / (2 * rest**2),
        "temperature": 1 / (lam * rest),
        "precision": -heat * (1 - eta * lam) / (lam * rest) ** 2,
        "center": 2 * m,
    }
    got = [value, k.step_size, k.temperature, e.precision[0, 0], e.center[0]]
    np.testing.assert_allclose(got, list(expected.values()), rtol=1e-7)
    assert k.step_size.dtype == jnp.float64


KERNELS = {
    "ula": jl.ula,
    "tamed_ula": jl.tamed_ula,
    "reflected": lambda eta, **of: jl.reflected(eta, jl.domains.box(-1.2, 3.0), **of),
    "projected": lambda eta, **of: jl.projected(eta, jl.domains.box(-0.8, 3.0), **of),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", KERNELS)
def test_derivatives_are_differences_of_laws(name):
    def given(eta, heat, a, b):
        kernel = KERNELS[name](jnp.asarray(eta), temperature=jnp.asarray(heat))
        return kernel, Partial(quartic, jnp.asarray(a), jnp.asarray(b))

    at = np.array([0.08, 0.9, 1.3, 0.4])
    options = {"tolerance": 1e-10}
    _, (kernel, energy) = exact.grid_value_and_grad(*given(*at), X, skewed, **options)
    slopes = [kernel.step_size, kernel.temperature, *energy.args]

    def value(shift):
        return float(exact.grid_stationary(*given(*(at + shift)), X, **options).expectation(skewed))

    differences = [(value(d) - value(-d)) / 2e-4 for d in 1e-4 * np.eye(4)]
    # The laws are within 1e-10, so their differences over 2e-4 are within 1e-6.
    np.testing.assert_allclose(slopes, differences, rtol=1e-5, atol=1e-6)


def test_an_exact_kernel_depends_on_the_target_alone():
    """On a quadratic the acceptance rate is what keeps E x² = T/λ at every step size."""
    energy = jl.energies.quadratic(jnp.array([[2.0]]))
    kernel = jl.mala(jnp.array(0.4), temperature=jnp.array(1.5))
    value, (k, e) = exact.grid_value_and_grad(kernel, energy, X, lambda x: x[0] ** 2)
    got = [value, k.step_size, k.temperature, e.precision[0, 0]]
    np.testing.assert_allclose(got, [0.75, 0, 0.5, -0.375], atol=1e-6)


def test_without_what_the_acceptance_rate_adds_the_derivative_is_another(monkeypatch):
    step = derivatives.step_of_one

    def stopped(*args):
        state, y, rate = step(*args)
        return state, y, jax.lax.stop_gradient(rate)

    monkeypatch.setattr(derivatives, "step_of_one", stopped)
    kernel = jl.mala(jnp.array(0.41), temperature=jnp.array(1.5))
    # For a function of its own a program is compiled.
    _, (k, _) = exact.grid_value_and_grad(kernel, lambda x: x[0] ** 2, X, lambda x: x[0] ** 2)
    assert abs(float(k.step_size)) > 0.01


def test_integers_and_functions_have_no_derivative():
    def energy(n, scale, x):
        return scale * 0.5 * n * x[0] ** 2

    whole = Partial(energy, jnp.array(2), jnp.array(1.5))
    mean, (kernel, slopes) = exact.grid_value_and_grad(jl.ula(0.1), whole, X)
    assert slopes.args[0] is None
    np.testing.assert_allclose([mean, slopes.args[1], kernel.step_size], 0, atol=1e-9)
    _, (_, bare) = exact.grid_value_and_grad(jl.ula(0.1), lambda x: x[0] ** 2, X)
    assert jax.tree.leaves(bare) == [] or callable(bare)


def test_what_has_no_derivative_is_refused():
    bowl = jl.energies.quadratic(jnp.eye(1))
    refused = {
        "decides which way its step goes": (jl.barker(0.5), bowl),
        "has no spectral gap": (jl.mala(0.1), jl.energies.double_well()),
    }
    for message, (kernel, energy) in refused.items():
        with pytest.raises(jl.errors.NoGridLawError, match=message):
            exact.grid_value_and_grad(kernel, energy, X)
    with pytest.raises(jl.errors.NoGridLawError, match="within: chains leave this interval"):
        exact.grid_value_and_grad(jl.ula(0.1), bowl, X, within=(-1.0, 1.0))
    with pytest.raises(TypeError, match="function: expected a function of one position"):
        exact.grid_value_and_grad(jl.ula(0.1), bowl, X, 3)
    with pytest.raises(ValueError, match="function: expected a scalar"):
        exact.grid_value_and_grad(jl.ula(0.1), bowl, X, lambda x: x)
