"""`bias` is exact on Gaussians, the leading order elsewhere, and agrees with what draws show."""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jlangevin as jl

pytestmark = pytest.mark.slow

HESSIAN = [[2.0, 0.5, 0.1], [0.5, 1.0, 0.0], [0.1, 0.0, 4.0]]
COVARIANCE = np.linalg.inv(HESSIAN)
MODE = [1.0, -2.0, 0.5]


def bowl():
    return jl.energies.quadratic(HESSIAN, mean=MODE)


def stable(z):
    """ULA's relative bias at z = ηλ."""
    return (z / 2) / (1 - z / 2)


# Predicted ------------------------------------------------------------------------------------


def test_on_a_gaussian_it_is_the_exact_bias(x64):
    eta, temperature = 0.3, 2.0
    found = jl.diagnostics.bias(jl.ula(eta, temperature=temperature), bowl(), MODE)
    values, vectors = np.linalg.eigh(HESSIAN)
    np.testing.assert_allclose(found.curvature, values, rtol=1e-13)
    np.testing.assert_allclose(np.abs(found.directions @ vectors), np.eye(3), atol=1e-12)
    np.testing.assert_allclose(found.variance, temperature / values, rtol=1e-13)
    np.testing.assert_allclose(found.predicted, stable(eta * values), rtol=1e-12)
    biased = vectors @ np.diag(1 / (values * (1 - eta * values / 2))) @ vectors.T
    expected = np.diagonal(biased) / np.diagonal(np.linalg.inv(HESSIAN)) - 1
    np.testing.assert_allclose(found.coordinates, expected, rtol=1e-12)


@pytest.mark.parametrize(
    ("kernel", "factor"),
    [
        (lambda h: jl.underdamped(h, 0.7, mass=2.0, temperature=3.0), lambda k: 1 + 0 * k),
        (
            lambda h: jl.underdamped(h, 0.7, mass=2.0, splitting="OBABO"),
            lambda k: 1 / (1 - k),
        ),
        (lambda h: jl.underdamped(h, 0.7, mass=2.0, splitting="OABAO"), lambda k: 1 - k),
    ],
    ids=["BAOAB", "OBABO", "OABAO"],
)
def test_it_is_exact_for_any_affine_kernel(kernel, factor, x64):
    """Var x λ/T of a splitting at k = h²λ/(4m)."""
    h = 0.8
    found = jl.diagnostics.bias(kernel(h), bowl(), MODE)
    k = h**2 * found.curvature / (4 * 2.0)
    np.testing.assert_allclose(1 + found.predicted, factor(k), rtol=1e-12)


def test_gradient_noise_counts_and_needs_a_temperature(x64):
    kernel = jl.gradient_noise(jl.ula(0.3), 2.0 * jnp.eye(3))
    with pytest.raises(ValueError, match="temperature: GradientNoise has none of its own"):
        jl.diagnostics.bias(kernel, bowl(), MODE)
    found = jl.diagnostics.bias(kernel, bowl(), MODE, temperature=1.0)
    z = 0.3 * found.curvature
    # 2ηT becomes 2ηT + η² C.
    expected = (1 + 0.3 * 2.0 / 2) / (1 - z / 2) - 1
    np.testing.assert_allclose(found.predicted, expected, rtol=1e-12)


def exact_bias(energy, eta, temperature):
    """The bias of ULA's stationary law in one dimension, against p ∝ exp(-E/T), on a grid.

    Sums over an even grid of functions that vanish at its ends are exact to rounding."""
    x = np.linspace(-12, 12, 1201) * temperature**0.5
    slope = np.asarray(jax.vmap(jax.grad(energy))(jnp.asarray(x)))
    log_p = -np.asarray(jax.vmap(energy)(jnp.asarray(x))) / temperature
    p = np.exp(log_p - log_p.max())
    true = np.sum(p * x**2) / np.sum(p)
    step = np.exp(-((x[:, None] - x + eta * slope) ** 2) / (4 * eta * temperature))
    step /= step.sum(axis=0)
    for _ in range(9):  # 512 steps
        step = step @ step
    q = step @ p / p.sum()
    return np.sum(q * x**2) / np.sum(q) / true - 1


def test_the_quadrature_knows_the_bias_of_a_gaussian(x64):
    assert exact_bias(lambda x: 2 * x**2, 0.1, 0.5) == pytest.approx(stable(0.4), rel=1e-9)


def test_elsewhere_it_is_the_leading_order_for_low_temperatures(x64):
    """log cosh flattens outwards: what is neglected shrinks in proportion to the temperature."""
    eta = 0.5

    def energy(x):
        return jnp.sum(jnp.log(jnp.cosh(x)))

    errors = []
    for temperature in (0.04, 0.02, 0.01):
        kernel = jl.ula(eta, temperature=temperature)
        (predicted,) = jl.diagnostics.bias(kernel, energy, jnp.zeros(1)).predicted
        errors.append(exact_bias(energy, eta, temperature) / predicted - 1)
    assert predicted == pytest.approx(stable(eta), rel=1e-12)
    assert abs(errors[-1]) < 0.02
    ratios = np.array(errors[:-1]) / errors[1:]
    np.testing.assert_allclose(ratios, 2, rtol=0.1)


# Measured -------------------------------------------------------------------------------------


def measured(kernel, reference):
    run = jl.sample(
        jax.random.key(0), bowl(), kernel, bowl(), num_steps=2_000, num_chains=16, burn_in=50
    )
    return jl.diagnostics.bias(jl.ula(0.3), bowl(), MODE, draws=run.draws, reference=reference)


def test_the_draws_show_what_is_predicted(x64):
    """Within 5.5 standard errors each: false alarms 1.2e-7; the bias itself is 6 to 60 of them."""
    found = measured(jl.ula(0.3), COVARIANCE)
    assert np.all(np.abs(found.measured - found.predicted) < 5.5 * found.error)
    assert np.all(found.measured > 6 * found.error)


def test_draws_of_another_step_size_do_not(x64):
    found = measured(jl.ula(0.15), COVARIANCE)
    assert np.any(np.abs(found.measured - found.predicted) > 5.5 * found.error)


def test_the_reference_may_be_draws_of_an_adjusted_run(x64):
    adjusted = jl.sample(
        jax.random.key(1), bowl(), jl.mala(0.3), bowl(), num_steps=2_000, num_chains=16
    )
    known = measured(jl.ula(0.3), COVARIANCE)
    found = measured(jl.ula(0.3), adjusted.draws)
    assert np.all(np.abs(found.measured - found.predicted) < 5.5 * found.error)
    assert np.all(found.error > known.error)


# Report ---------------------------------------------------------------------------------------


def test_the_table_names_directions_and_figures(x64):
    energy = jl.energies.quadratic(np.diag([1.0, 4.0, 9.0]))
    draws = np.random.default_rng(0).normal(size=(4, 1_000, 3)) / np.array([1.0, 2.0, 3.0])
    kernel = jl.ula(0.1)
    plain = str(jl.diagnostics.bias(kernel, energy, jnp.zeros(3)))
    assert "measured" not in plain
    assert "x1                                    4       0.25    +25.00%" in plain
    beside = jl.diagnostics.bias(kernel, energy, jnp.zeros(3), draws=draws, reference=energy.cov)
    assert "measured   ± error" in str(beside)
    columns = ("curvature", "variance", "predicted", "measured", "error")
    rows = {name: np.tile(getattr(beside, name), 10) for name in columns}
    many = dataclasses.replace(beside, directions=np.eye(30), **rows)
    assert "(18 less biased" in str(many)


def test_draws_in_half_precision_are_summed_in_single():
    """As if the same numbers had come in single precision."""
    draws = jax.random.normal(jax.random.key(0), (2, 9, 1)).astype(jnp.bfloat16)
    energy, kernel = jl.energies.double_well(height=2.0), jl.ula(0.01)
    half, single = (
        jl.diagnostics.bias(kernel, energy, jnp.ones(1), draws=x, reference=jnp.eye(1))
        for x in (draws, draws.astype(jnp.float32))
    )
    np.testing.assert_array_equal(half.measured, single.measured)
    np.testing.assert_array_equal(half.error, single.error)
    np.testing.assert_allclose(single.predicted, stable(0.01 * 16), rtol=1e-4)


# Refusals -------------------------------------------------------------------------------------


class Run(NamedTuple):
    draws: None = None


RUN = Run()  # what makes it one, for these checks


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"mode": jnp.array([0.9])}, jl.NotAModeError, "minimum of the quadratic is 0.4.* away"),
        ({"mode": jnp.array([0.0])}, jl.NotAModeError, "eigenvalue -8, which is not above zero"),
        ({"mode": jnp.array([jnp.nan])}, ValueError, "mode: expected finite"),
        ({"mode": jnp.zeros((1, 1))}, ValueError, "mode: expected 1 dimension"),
        ({"kernel": jl.mala(0.01)}, jl.NotAffineError, "asks for Want.UNIFORM"),
        ({"kernel": jl.tamed_ula(0.01)}, jl.NotAffineError, "step is not affine"),
        ({"kernel": jl.ula(0.2)}, jl.UnstableStepError, "spectral radius"),
        ({"kernel": jl.ula(lambda t: 0.01)}, jl.NoStationaryLawError, "changes with time"),
        (
            {"kernel": jl.ula(0.01, temperature=lambda t: 1.0)},
            jl.NoStationaryLawError,
            "changes with time",
        ),
        ({"kernel": None}, TypeError, "is not a kernel"),
        ({"temperature": -1.0}, ValueError, "temperature: expected values above zero"),
        ({"draws": jnp.zeros((2, 9, 1))}, ValueError, "draws, reference: give both"),
        (
            {"draws": jnp.zeros((9, 1)), "reference": jnp.eye(1)},
            ValueError,
            r"draws: expected shape \(chain, draw, 1\)",
        ),
        (
            {"draws": jnp.zeros((2, 9, 1)), "reference": jnp.eye(2)},
            ValueError,
            r"reference: expected a covariance \(1, 1\)",
        ),
        (
            {"draws": {"w": jnp.zeros((2, 9, 1))}, "reference": jnp.eye(1)},
            TypeError,
            r"draws: expected one array, got \{'w': float32\[2, 9, 1\]\}; pass one leaf",
        ),
        ({"draws": RUN, "reference": jnp.eye(1)}, TypeError, r"draws: got a Run; pass run\.draws"),
        ({"draws": jnp.zeros((2, 9, 1)), "reference": RUN}, TypeError, "reference: got a Run"),
    ],
)
def test_refusals(changes, error, message):
    energy = jl.energies.double_well(height=2.0)
    arguments = {"kernel": jl.ula(0.01), "energy": energy, "mode": jnp.array([1.0])} | changes
    with pytest.raises(error, match=message):
        jl.diagnostics.bias(**arguments)


def test_a_point_on_a_flat_direction_is_not_a_mode():
    with pytest.raises(jl.NotAModeError, match="eigenvalue 0,"):
        jl.diagnostics.bias(jl.ula(0.1), lambda x: x[0] ** 2, jnp.zeros(2))
