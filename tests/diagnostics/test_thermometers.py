"""Thermometers: T by velocities and by positions, of one chain or of a run."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from masses import MASSES, mass_of, matrix_of

import jlangevin as jl
from jlangevin.diagnostics import configurational_temperature, kinetic_temperature
from jlangevin.kernels import UnderdampedState


@pytest.mark.parametrize("form", MASSES)
def test_the_kinetic_temperature_is_twice_the_kinetic_energy_a_dimension(form):
    v = np.array([1.0, -2.0])
    state = UnderdampedState(jnp.zeros(2), jnp.asarray(v, float), None)
    kernel = jl.underdamped(0.1, 1.0, mass=mass_of(form))
    expected = v @ matrix_of(form) @ v / 2
    np.testing.assert_allclose(kinetic_temperature(kernel, state), expected, rtol=1e-5)


def estimator(key, x):
    return x


@pytest.mark.parametrize(
    "kernel",
    [
        jl.underdamped(0.1, 1.0, mass=2.0, temperature=0.25),
        jl.underdamped(0.1, 1.0, mass=jnp.full(3, 2.0), temperature=0.25),
        jl.underdamped(0.1, 1.0, mass=2.0 * jnp.eye(3), temperature=0.25),
        jl.sghmc(0.01, 1.0, estimator, mass=2.0, temperature=0.25),
    ],
    ids=["number", "diagonal", "matrix", "sghmc"],
)
def test_the_kinetic_temperature_is_that_of_the_run_whatever_the_mass(kernel):
    """At the start, where velocities have their law. The mean of 6,000 squares of normals has a
    relative error of 0.018, and is within five of them except with probability 1e-6. Without its
    mass it would be T/m, half of T."""
    energy = jl.energies.quadratic(jnp.eye(3))
    run = jl.sample(
        jax.random.key(0), energy, kernel, jnp.zeros((2000, 3)), num_steps=0, observe=None
    )
    found = kinetic_temperature(kernel, run.state)
    assert found.shape == (2000,)
    assert abs(float(found.mean()) / 0.25 - 1) < 5 * 0.018
    one_by_one = jax.vmap(lambda state: kinetic_temperature(kernel, state))(run.state.kernel)
    np.testing.assert_allclose(found, one_by_one, rtol=1e-6)


def test_a_kinetic_temperature_is_observed_of_one_chain():
    kernel = jl.underdamped(0.1, 1.0, mass=2.0)
    run = jl.sample(
        jax.random.key(0),
        lambda x: 0.5 * jnp.sum(x**2),
        kernel,
        jnp.zeros((5, 4, 4)),
        num_steps=3,
        observe=lambda state: kinetic_temperature(kernel, state, position_shape=(4, 4)),
    )
    np.testing.assert_allclose(run.draws[:, -1], kinetic_temperature(kernel, run.state), rtol=1e-5)


def state_of(*shape):
    return UnderdampedState(jnp.ones(shape), jnp.ones(shape), None)


@pytest.mark.parametrize(
    ("mass", "state", "options", "message"),
    [
        (2.0, state_of(8, 3), {}, r"state: float32\[8, 3\] may be one position or .* 8 chains"),
        (
            2.0,
            state_of(8, 3),
            {"position_shape": (3,)},
            "state: expected one position of position_shape",
        ),
        (jnp.ones(3), state_of(8, 3), {}, "mass: expected"),
        (jnp.eye(3), state_of(8, 3), {}, "mass: a dense one"),
    ],
)
def test_the_kinetic_temperature_averages_no_chains_in_silence(mass, state, options, message):
    with pytest.raises(ValueError, match=message):
        kinetic_temperature(jl.underdamped(0.1, 1.0, mass=mass), state, **options)


def test_the_kinetic_temperature_is_of_velocities_and_of_their_kernel():
    kernel = jl.underdamped(0.1, 1.0)
    with pytest.raises(
        TypeError, match="state: expected one with a velocity, got PositionState; use"
    ):
        kinetic_temperature(kernel, jl.ula(0.1).init(jnp.sum, jnp.zeros(2), None))
    with pytest.raises(TypeError, match="kernel: expected one with a mass, got ULA"):
        kinetic_temperature(jl.ula(0.1), state_of(3))
    for call in (
        lambda: kinetic_temperature(state_of(3)),
        lambda: kinetic_temperature(state_of(3), 2.0),
    ):
        with pytest.raises(
            TypeError, match=r"pass kinetic_temperature\(kernel, state\), got Under"
        ):
            call()


@pytest.mark.slow
def test_the_configurational_temperature_is_of_one_position_or_of_a_run():
    """One energy is not a sum over rows; one takes only positions of the right shape."""

    def any_shape(x):
        return (jnp.sum(x**2) - 1) ** 2

    kernel = jl.mala(0.01)
    run = jl.sample(
        jax.random.key(0), any_shape, kernel, jnp.ones((8, 3)), num_steps=3, observe=None
    )
    pair = configurational_temperature(any_shape, run.state)
    one_by_one = jax.vmap(lambda x: configurational_temperature(any_shape, x))(run.position)
    assert pair.laplacian.shape == (8,)
    jax.tree.map(np.testing.assert_array_equal, pair, one_by_one)
    with pytest.raises(
        ValueError, match=r"position: .* pass run\.state; .*position_shape=\(8, 3\)"
    ):
        configurational_temperature(any_shape, run.position)
    configurational_temperature(any_shape, run.position, position_shape=(8, 3))
    configurational_temperature(lambda x: jnp.sum(x.reshape(8, 3) ** 2), run.position)


def test_the_configurational_temperature_is_a_ratio_of_averages(x64):
    """By the trapezoidal rule under exp(-E/T), where the average of the ratios is far off."""
    energy, temperature = jl.energies.double_well(dim=1), 0.7
    x = np.linspace(-5.0, 5.0, 2001)[:, None]
    at = jax.jit(jax.vmap(lambda x: (energy(x), configurational_temperature(energy, x))))
    energies, pair = jax.tree.map(np.asarray, at(x))
    p = np.exp(-energies / temperature)
    ratio = np.sum(p * pair.gradient_square) / np.sum(p * pair.laplacian)
    np.testing.assert_allclose(ratio, temperature, rtol=1e-9)
    of_ratios = np.sum(p * pair.gradient_square / pair.laplacian) / np.sum(p)
    assert abs(of_ratios - temperature) > 0.1


def test_the_configurational_temperature_takes_pytrees():
    def energy(x):
        return jnp.sum(x["a"] ** 2) + 2 * jnp.sum(x["b"] ** 2)

    pair = configurational_temperature(energy, {"a": jnp.ones(2), "b": jnp.ones((1, 1))})
    np.testing.assert_allclose(pair.gradient_square, 4 + 4 + 16)
    np.testing.assert_allclose(pair.laplacian, 2 + 2 + 4)


@pytest.mark.parametrize(
    ("energy", "position", "error", "message"),
    [
        (jnp.square, jnp.zeros(2), ValueError, "energy: expected a scalar for one position"),
        (jnp.sum, jnp.zeros(2, int), TypeError, "position: expected floating arrays"),
        # Its Jacobian is not square, but has a trace.
        (jl.scores.score(lambda x: x[:1]), jnp.zeros(2), ValueError, "energy: expected float32"),
    ],
)
def test_the_configurational_temperature_refuses_by_name(energy, position, error, message):
    with pytest.raises(error, match=message):
        configurational_temperature(energy, position)
