"""GHMC: its step by hand, the law that it keeps of position and velocity, and what it becomes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

import jlangevin as jl
from jlangevin._core.trees import pytree_dataclass
from jlangevin.kernels import integrators
from jlangevin.kernels.ghmc import GHMC

H, FRICTION, TEMPERATURE, MASS = 0.2, 1.5, 2.0, 3.0
X, ZETA = np.array([0.5, -1.2]), np.array([0.3, 1.1])
WELL = jl.energies.double_well(height=8.0, dim=2)


def kernel_of(name="leapfrog", friction=FRICTION):
    return jl.ghmc(H, friction, temperature=TEMPERATURE, mass=MASS, integrator=name)


def by_hand(xi, name):
    """The velocity after O, the end of a step, and the rise of E + ½ m |v|² after O."""

    def of(x):
        value, gradient = jax.value_and_grad(WELL)(jnp.asarray(x))
        return float(value), np.asarray(gradient)

    kept = np.exp(-FRICTION * H)
    thermal = np.sqrt(TEMPERATURE / MASS)
    x, start = X, kept * thermal * ZETA + np.sqrt(1 - kept**2) * thermal * xi
    v, before = start, of(X)[0] + MASS * np.dot(start, start) / 2
    for k, share in enumerate(integrators.shares(name)):
        if k % 2:
            x = x + share * H * v
        else:
            v = v - share * H / MASS * of(x)[1]
    return start, x, v, of(x)[0] + MASS * np.dot(v, v) / 2 - before


def stepped(kernel, xi, uniform):
    @jax.jit
    def step(kernel, zeta, xi, uniform):
        return kernel.step(WELL, kernel.init(WELL, jnp.asarray(X), zeta), (xi, uniform))

    return step(kernel, jnp.asarray(ZETA), jnp.asarray(xi), jnp.asarray(uniform))


@pytest.mark.parametrize("name", ["leapfrog", "BCSS2"])
def test_a_step_by_hand(name, x64):
    """A rejection keeps the position and turns the velocity that O has made."""
    xi = np.array([2.0, 2.0])
    start, x, v, rise = by_hand(xi, name)
    moved, info = stepped(kernel_of(name), xi, 0.0)
    np.testing.assert_allclose(moved.position, x, rtol=1e-10)
    np.testing.assert_allclose(moved.velocity, v, rtol=1e-10)
    np.testing.assert_allclose(moved.energy, WELL(jnp.asarray(x)), rtol=1e-10)
    rate = min(1, np.exp(-rise / TEMPERATURE))
    np.testing.assert_allclose(info.acceptance_rate, rate, rtol=1e-10)
    assert rate < 0.999
    kept, _ = stepped(kernel_of(name), xi, rate + 1e-3 * (1 - rate))
    np.testing.assert_array_equal(kept.position, X)
    np.testing.assert_allclose(kept.velocity, -start, rtol=1e-10)


def test_of_large_friction_it_is_mala(x64):
    """Of step size h²/(2m): nothing is left of the velocity."""
    xi, uniform = np.array([-0.7, 0.4]), 0.5
    moved, info = stepped(kernel_of(friction=1e4), xi, uniform)
    mala = jl.mala(H**2 / (2 * MASS), temperature=TEMPERATURE)
    state = mala.init(WELL, jnp.asarray(X), None)
    wanted, wanted_info = mala.step(WELL, state, (jnp.asarray(xi), jnp.asarray(uniform)))
    np.testing.assert_allclose(moved.position, wanted.position, rtol=1e-10)
    np.testing.assert_allclose(info.acceptance_rate, wanted_info.acceptance_rate, rtol=1e-10)


# The law ------------------------------------------------------------------------------------------

MIXTURE = jl.energies.gaussian_mixture([[-1.0], [2.0]], [[[0.2]], [[0.5]]], [0.4, 0.6])


@pytree_dataclass
class NotTurned(GHMC):
    """It keeps its direction where it is rejected."""

    def step(self, energy, state, noise):
        moved, info = super().step(energy, state, noise)
        rejected = noise[1] >= info.acceptance_rate
        velocity = jnp.where(rejected, -moved.velocity, moved.velocity)
        return moved._replace(velocity=velocity), info


@pytree_dataclass
class Warm(GHMC):
    """Its noise is that of a temperature of 1.2."""

    def step(self, energy, state, noise):
        xi, uniform = noise
        return super().step(energy, state, (xi * jnp.sqrt(jnp.asarray(1.2, xi.dtype)), uniform))


def is_kept(kernel):
    """From the law, with steps so large that many are rejected, at a false-alarm rate of 1e-6.

    Of the position, of the velocity, and of both: wherever a chain is, each direction is as
    frequent as the other. A gap of 0.03 in a distribution function is found.
    """
    run = jl.sample(
        jax.random.key(0), MIXTURE, kernel, MIXTURE,
        num_steps=20, num_chains=20_000, observe=None,
    )  # fmt: skip
    assert 0.3 < run.info.acceptance_rate.mean() < 0.95
    x, v = (np.asarray(a, np.float64)[:, 0] for a in (run.position, run.state.kernel.velocity))
    target = jl.exact.grid_target(MIXTURE, jnp.zeros(1))
    directions = [stats.binomtest(int(np.sum(here & (v > 0))), int(here.sum())).pvalue
                  for here in (x < 0, x >= 0)]  # fmt: skip
    return (
        jl.verify.compare(x[:, None], target, false_alarm=4e-7).passed
        and stats.kstest(v, "norm").pvalue > 2e-7
        and min(directions) > 2e-7
    )


@pytest.mark.slow
@pytest.mark.parametrize("name", ["leapfrog", "BCSS2"])
def test_the_law_of_position_and_velocity_is_kept(name):
    assert is_kept(jl.ghmc(1.9 if name == "BCSS2" else 1.0, 0.7, integrator=name))


@pytest.mark.slow
@pytest.mark.parametrize("mutant", [NotTurned, Warm])
def test_slips_are_found(mutant):
    right = jl.ghmc(1.0, 0.7)
    fields = right.step_size, right.friction, right.temperature, right.inverse_mass
    assert not is_kept(mutant(*fields))


@pytest.mark.slow
def test_it_goes_on_where_mala_diffuses():
    """With as many gradients: the variance of the chains' means is 1/n of the law's, n being the
    number of draws that they are worth. It is known to 4.5%."""
    bowl = jl.energies.quadratic(jnp.diag(jnp.array([1.0, 400.0])))

    def worth(kernel):
        run = jl.sample(
            jax.random.key(0), bowl, kernel, bowl, num_steps=4_000, num_chains=1_000,
            observe=None, reducers={"moments": jl.reducers.moments()},
        )  # fmt: skip
        means = np.asarray(run.summary["moments"].mean, np.float64)[:, 0]
        return 1 / means.var()

    small = 0.05  # times the width of the narrow direction
    assert worth(jl.ghmc(small, 0.7)) > 5 * worth(jl.mala(small**2 / 2))


def test_velocities_follow_the_temperature(x64):
    """Replicas that are swapped keep their size relative to that of their temperature."""
    cold, hot = (jl.ghmc(0.1, 1.0, temperature=t) for t in (1.0, 4.0))
    state = hot.init(WELL, jnp.asarray(X), jnp.asarray(ZETA))
    after = cold.convert_state(WELL, state, hot)
    np.testing.assert_allclose(after.velocity, state.velocity / 2, rtol=1e-12)
    np.testing.assert_array_equal(after.position, state.position)


@pytest.mark.slow
def test_warm_up_finds_the_step_and_the_mass():
    """As in the docstring of `warm_up`: 85% are accepted, as a rejection costs more than malt's."""
    narrow = jl.energies.quadratic(jnp.diag(jnp.array([1.0, 400.0])))
    found = jl.warm_up(jax.random.key(0), narrow, jl.ghmc(0.01, 1.0), narrow, num_chains=64)
    assert found.verdict.settled
    assert found.verdict.target == pytest.approx(0.85)
    run = jl.resume(found.state, narrow, found.kernel, num_steps=200, observe=None)
    assert abs(float(run.info.acceptance_rate.mean()) - 0.85) < 0.06
    assert float(found.kernel.friction) == 1.0
