"""Many states at once, and integration over temperatures, against closed forms.

Every statistical test fails a right estimator with a probability of at most 1e-6.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import signal, stats

import jlangevin as jl
from jlangevin.normalizer.thermodynamic import _parts

RATE = 1e-6
REPEATS = 200
WIDTHS = np.array([1.0, 1.7, 3.0])
LADDER = np.array([1.0, 1.6, 2.5, 4.0])


def of_gaussians(rng, chains, draws, memory=0.0):
    """u of draws of three Gaussians (repeat, chain, draw, 3, 3), which may remember the one before.

    They are coupled across states, too, as swaps couple them.
    """
    shape = (REPEATS, chains, draws + 100, 3)
    z = rng.normal(size=shape) + 0.5 * rng.normal(size=(*shape[:-1], 1))
    x = signal.lfilter([1.0], [1.0, -memory], z, axis=2)[:, :, 100:]
    x *= WIDTHS * np.sqrt((1 - memory**2) / 1.25)
    return 0.5 * (x[..., None] / WIDTHS) ** 2


def z_values(found, truth):
    return np.array([(each.log_z - truth)[1:] / each.std_error[1:] for each in found])


@pytest.mark.slow
@pytest.mark.parametrize("memory", [0.0, 0.9])
def test_intervals_hold_as_often_as_stated_for_draws_that_remember_and_are_coupled(memory):
    u = of_gaussians(np.random.default_rng(0), 12, 60, memory)
    found = [jl.normalizer.multistate(each) for each in u]
    assert all(each.ok for each in found)
    z = z_values(found, np.log(WIDTHS))
    most = stats.binom.isf(RATE, REPEATS, 0.01)
    for k in range(2):
        inside = np.abs(z[:, k]) < stats.t.isf(0.005, 11)
        assert REPEATS - inside.sum() <= most
    if memory:  # errors that took draws for independent would be a fraction of these
        naive = [jl.normalizer.multistate(each.reshape(-1, 1, 3, 3)) for each in u[:50]]
        missed = np.abs(z_values(naive, np.log(WIDTHS))) > stats.norm.isf(0.005)
        assert missed.mean() > 0.1


def test_two_states_are_bennetts_and_equations_hold():
    u = of_gaussians(np.random.default_rng(1), 4, 200)[0][..., [0, 2], :][..., [0, 2]]
    found = jl.normalizer.multistate(u)
    forward, reverse = (u[:, :, 0, 0] - u[:, :, 0, 1]), (u[:, :, 1, 1] - u[:, :, 1, 0])
    both = jl.normalizer.bennett(forward.reshape(-1), reverse.reshape(-1))
    np.testing.assert_allclose(found.difference(1), (both.value, found.std_error[1]), atol=1e-8)
    np.testing.assert_allclose(found.difference(0, 1)[0], -both.value, atol=1e-8)
    weights = np.exp(-found.log_z - u.reshape(-1, 2))
    np.testing.assert_allclose((weights / weights.sum(1)[:, None]).sum(0), 800, rtol=1e-6)


def test_a_state_of_energy_inf_and_states_far_apart():
    rng = np.random.default_rng(2)
    x = rng.random((6, 300, 2)) * [1.0, 2.0]  # uniform on [0, 1] and on [0, 2]
    u = np.where(x[..., None] < [1.0, 2.0], 0.0, np.inf)
    found = jl.normalizer.multistate(u, labels=("narrow", "wide"))
    assert abs(found.log_z[1] - np.log(2)) < stats.t.isf(RATE / 2, 5) * found.std_error[1]
    assert "wide" in str(found)
    means = np.array([0.0, 8.0])
    far = means + rng.normal(size=(6, 300, 2))
    apart = jl.normalizer.multistate(0.5 * (far[..., None] - means) ** 2)
    assert not apart.ok
    assert "hardly overlap" in str(apart)


@pytest.fixture(scope="module")
def bowl():
    """A run of `tempered` on a bowl in three dimensions, and what it kept."""
    energy = jl.energies.quadratic(jnp.diag(jnp.array([1.0, 2.0, 4.0])), mean=jnp.ones(3))
    run = jl.sample(
        jax.random.key(0),
        energy,
        jl.tempered(jl.mala(0.2), LADDER),
        energy,
        num_steps=400,
        burn_in=100,
        num_chains=32,
        observe=lambda state: (state.states.position, state.states.energy),
    )
    return energy, *run.draws


def exact(energy, temperature):
    return float(energy.log_z) + 1.5 * np.log(temperature)


@pytest.mark.slow
def test_log_z_of_every_temperature_from_the_draws_of_tempered(bowl):
    energy, draws, _ = bowl
    base = jl.Gaussian(jnp.zeros(3), 4 * jnp.eye(3))
    found = jl.normalizer.tempered_log_z(jax.random.key(1), energy, draws, LADDER, base)
    truth = np.array([0.0, *(exact(energy, t) for t in LADDER[::-1])])
    wide = stats.t.isf(RATE / 2, 31) * found.std_error
    assert np.all(np.abs(found.log_z - truth)[1:] < wide[1:])
    assert found.ok
    assert found.labels[-1] == "T = 1"
    assert np.all(wide < 0.6)
    # Of draws that are not at these temperatures it is not.
    other = LADDER * np.array([1.0, 1.4, 1.4, 1.4])
    wrong = jl.normalizer.tempered_log_z(jax.random.key(1), energy, draws, other, base)
    truth = np.array([0.0, *(exact(energy, t) for t in other[::-1])])
    assert np.any(np.abs(wrong.log_z - truth) > 2 * stats.t.isf(RATE / 2, 31) * wrong.std_error)


def test_integration_over_temperatures_is_between_its_bounds(bowl):
    energy, _, energies = bowl
    found = jl.normalizer.thermodynamic(energies, LADDER, confidence=1 - RATE)
    truth = exact(energy, 1.0) - exact(energy, 4.0)
    assert found.interval[0] < truth < found.interval[1]
    assert found.bounds[0] < truth < found.bounds[1]
    assert found.correction < 0.1
    assert "bounds" in str(found)
    np.testing.assert_allclose(found.mean_energy, 1.5 * LADDER, rtol=0.1)


def test_intervals_of_integration_hold_as_often_as_stated():
    """For energies that are Gamma(d/2, T), as on a quadratic: half the chi-squared of d degrees."""
    rng = np.random.default_rng(3)
    energies = LADDER * rng.gamma(2, size=(REPEATS, 20, 50, 4))
    truth = -2 * np.log(4.0)
    found = [jl.normalizer.thermodynamic(each.astype(np.float32), LADDER) for each in energies]
    misses = sum(not each.interval[0] < truth < each.interval[1] for each in found)
    assert misses <= stats.binom.isf(RATE, REPEATS, 0.01)
    assert all(each.bounds[0] < truth < each.bounds[1] for each in found)


def test_the_corrected_rule_is_of_fourth_order():
    """With the exact moments of Gamma(2, T): halving the pieces leaves a sixteenth of the error."""

    def errors(pieces):
        ladder = np.geomspace(1.0, 4.0, pieces + 1)
        parts = _parts(np.zeros(pieces + 1), 2 * ladder**2, 2 * ladder, ladder)
        return np.abs(np.array([parts[0], parts[4]]) + 2 * np.log(4.0))

    coarse, fine = errors(8), errors(16)
    np.testing.assert_allclose(coarse / fine, [4, 16], rtol=0.05)
