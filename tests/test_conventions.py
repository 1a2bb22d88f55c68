"""Converters: one step of ours is one step of theirs, written as they write it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jlangevin as jl
from jlangevin import conventions

X, XI = jnp.array([0.7, -1.2]), jnp.array([0.3, 1.1])
ENERGY = jl.energies.double_well(dim=2)
G = jax.grad(ENERGY)(X)


def step(kernel):
    return kernel.step(ENERGY, kernel.init(ENERGY, X, None), XI)[0].position


def test_h():
    h = 0.02
    np.testing.assert_allclose(
        step(jl.ula(conventions.from_h(h))), X - h / 2 * G + np.sqrt(h) * XI, rtol=1e-6
    )


def test_noise_scale():
    eta, sigma = 0.02, 0.05
    step_size, temperature = conventions.from_noise_scale(eta, sigma)
    ours = step(jl.ula(step_size, temperature=temperature))
    np.testing.assert_allclose(ours, X - eta * G + sigma * XI, rtol=1e-6)


def test_a_noise_scale_of_its_own_prints_the_temperature_that_it_implies():
    """σ²/(2η), and what chains sample at it, in numbers of Python and of JAX."""
    for number in (float, jnp.float32, np.float64):
        printed = str(conventions.from_noise_scale(number(0.5), number(0.1)))
        assert printed == (
            "step size 0.5, temperature 0.01: chains sample exp(-E/T) = p^100, not p = exp(-E)"
        )
    assert str(conventions.from_noise_scale(0.5, 1.0)).endswith(
        "temperature 1: chains sample p = exp(-E)"
    )
    jax.jit(lambda s: len(str(conventions.from_noise_scale(s, s))))(0.1)  # what is traced too


def test_proposal_scale():
    """The noise of one of our steps has the standard deviation of their proposal."""
    sigma, temperature = 0.3, 2.0
    eta = conventions.from_proposal_scale(sigma, temperature)
    flat = jl.energies.linear(jnp.zeros(1))
    cov = jl.exact.affine_map(jl.ula(eta, temperature=temperature), flat, jnp.zeros(1)).cov
    np.testing.assert_allclose(cov[0, 0], sigma**2, rtol=1e-6)


@pytest.mark.parametrize(
    ("convert", "name"),
    [
        (lambda bad: conventions.from_h(bad), "h"),
        (lambda bad: conventions.from_noise_scale(bad, 1.0), "step_size"),
        (lambda bad: conventions.from_noise_scale(1.0, bad), "sigma"),
        (lambda bad: conventions.from_proposal_scale(bad), "sigma"),
        (lambda bad: conventions.from_proposal_scale(1.0, bad), "temperature"),
    ],
)
def test_what_is_not_a_positive_number_is_refused_by_name(convert, name):
    for bad in (0.0, -1.0, float("nan")):
        with pytest.raises(ValueError, match=f"^{name}: "):
            convert(bad)
    with pytest.raises(TypeError, match=f"^{name}: "):
        convert("small")


def test_they_pass_through_jit():
    assert float(jax.jit(conventions.from_h)(0.5)) == 0.25
    assert float(jax.jit(conventions.from_noise_scale)(0.5, 1.0).temperature) == 1.0
