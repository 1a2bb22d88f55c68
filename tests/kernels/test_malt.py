"""MALT: its step by hand, its integrators, and the kernels that it becomes in its limits."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jlangevin as jl
from jlangevin.kernels import integrators

pytestmark = pytest.mark.slow

H, FRICTION, TEMPERATURE, MASS = 0.2, 1.5, 2.0, 3.0
X = np.array([0.5, -1.2])


def noise_of(length, uniform=0.0):
    normals = np.random.default_rng(0).normal(size=(length, 2)).T
    return jnp.asarray(normals), jnp.array(uniform)


LEAPFROG = [0.5, 1.0, 0.5]
TWO, KICK, MOVE = 0.21178, 0.11888010966548, 0.29619504261126  # Blanes, Casas, Sanz-Serna 2014
SHARES = {  # of B, A, B, …
    "minimal_norm": [0.1931833275, 0.5, 1 - 2 * 0.1931833275, 0.5, 0.1931833275],
    "BCSS2": [TWO, 0.5, 1 - 2 * TWO, 0.5, TWO],
    "BCSS3": [KICK, MOVE, 0.5 - KICK, 1 - 2 * MOVE, 0.5 - KICK, MOVE, KICK],
}


def by_hand(energy, normals, friction, shares=LEAPFROG):
    """The end of a trajectory and the rise of E + ½ m |v|² where there is no noise."""

    def of(x):
        value, gradient = jax.value_and_grad(energy)(jnp.asarray(x))
        return float(value), np.asarray(gradient, np.float64)

    first, *others = np.asarray(normals, np.float64).T
    x, v, rise = X, np.sqrt(TEMPERATURE / MASS) * first, 0.0
    for xi in [None, *others]:
        if xi is not None:
            kept = np.exp(-friction * H)
            v = kept * v + np.sqrt((1 - kept**2) * TEMPERATURE / MASS) * xi
        before = of(x)[0] + MASS * v @ v / 2
        for k, share in enumerate(shares):
            if k % 2:
                x = x + share * H * v
            else:
                v = v - share * H / MASS * of(x)[1]
        rise += of(x)[0] + MASS * v @ v / 2 - before
    return x, rise


def stepped(energy, kernel, noise):
    @jax.jit
    def step(kernel, x, noise):
        return kernel.step(energy, kernel.init(energy, x, None), noise)

    return step(kernel, jnp.asarray(X), noise)


@pytest.mark.parametrize("friction", [0.0, FRICTION])
@pytest.mark.parametrize("length", [1, 2, 5])
def test_a_step_is_a_trajectory(length, friction, x64):
    """Without friction, Hamiltonian Monte Carlo's."""
    energy = jl.energies.double_well(height=8.0, dim=2)
    kernel = jl.malt(H, friction, length, temperature=TEMPERATURE, mass=MASS)
    normals, uniform = noise_of(length)
    end, rise = by_hand(energy, normals, friction)
    moved, info = stepped(energy, kernel, (normals, uniform))
    np.testing.assert_allclose(moved.position, end, rtol=1e-10)
    rate = min(1, np.exp(-rise / TEMPERATURE))
    np.testing.assert_allclose(info.acceptance_rate, rate, rtol=1e-10)
    if rate < 1:
        kept, _ = stepped(energy, kernel, (normals, jnp.array(rate + 1e-3)))
        np.testing.assert_array_equal(kept.position, X)


# Integrators --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SHARES)
def test_a_trajectory_of_more_stages(name, x64):
    energy = jl.energies.double_well(height=8.0, dim=2)
    kernel = jl.malt(H, FRICTION, 2, temperature=TEMPERATURE, mass=MASS, integrator=name)
    normals, uniform = noise_of(2)
    end, rise = by_hand(energy, normals, FRICTION, SHARES[name])
    moved, info = stepped(energy, kernel, (normals, uniform))
    np.testing.assert_allclose(moved.position, end, rtol=1e-10)
    rate = min(1, np.exp(-rise / TEMPERATURE))
    np.testing.assert_allclose(info.acceptance_rate, rate, rtol=1e-10)


@pytest.mark.parametrize(
    ("name", "stages"), [("leapfrog", 1), ("minimal_norm", 2), ("BCSS2", 2), ("BCSS3", 3)]
)
def test_a_stage_costs_a_gradient(name, stages):
    calls = []

    def energy(x):
        calls.append(x)
        return jnp.sum(x**2)

    kernel = jl.malt(H, FRICTION, 4, integrator=name)
    state = kernel.init(energy, jnp.ones(2), None)
    calls.clear()
    jax.make_jaxpr(lambda z: kernel.step(energy, state, z))(noise_of(4))
    assert len(calls) == stages  # in the loop over the four


def energy_error(shares, h):
    """The mean error of a step on ½ x² is at most this times T (Blanes et al.), if it is stable."""
    step = np.eye(2)
    for k, share in enumerate(shares):
        step = np.array([[1, share * h], [0, 1]] if k % 2 else [[1, 0], [-share * h, 1]]) @ step
    (a, b), (c, _) = step
    return (b + c) ** 2 / (2 * (1 - a**2)) if abs(a) < 1 else np.inf


@pytest.mark.parametrize("name", ["BCSS2", "BCSS3"])
def test_the_shares_make_the_largest_energy_error_the_smallest(name):
    """For steps up to 1 a gradient: any other shares of the family have a larger one."""

    def largest(change):
        if name == "BCSS2":
            b = TWO + change
            shares = [b, 0.5, 1 - 2 * b, 0.5, b]
        else:
            a = MOVE + change
            b = (0.5 - 2 * a) / (1 - 6 * a)  # by which the stability limit is as large as it is
            shares = [b, a, 0.5 - b, 1 - 2 * a, 0.5 - b, a, b]
        gradients = len(shares) // 2
        return max(energy_error(shares, gradients * h) for h in np.linspace(0.002, 1, 500))

    assert largest(0.0) < min(largest(2e-5), largest(-2e-5))
    np.testing.assert_allclose(integrators.shares(name), SHARES[name], rtol=1e-12)
    halved = [list(stage) for stage in integrators.stages(name)]
    np.testing.assert_allclose(np.sum(halved, axis=0), [0.5, 1.0, 0.5], rtol=1e-12)
    assert energy_error(SHARES["BCSS2"], 2.0) < energy_error(LEAPFROG, 1.0) / 100


def mixture():
    return jl.energies.gaussian_mixture([[-1.0], [2.0]], [[[0.2]], [[0.5]]], [0.4, 0.6])


def run_from_the_law(name):
    """With a step so large that many are rejected."""
    energy, step = mixture(), 1.9 if name == "BCSS3" else 1.3
    kernel = jl.malt(step, FRICTION, 2, integrator=name)
    return jl.sample(
        jax.random.key(0), energy, kernel, energy,
        num_steps=4, num_chains=50_000, observe=None,
    )  # fmt: skip


@pytest.mark.parametrize("name", ["BCSS2", "BCSS3"])
def test_the_law_is_kept_under_more_stages(name):
    """At a false-alarm rate of 1e-6; a distribution function off by 0.02 is found."""
    run = run_from_the_law(name)
    jl.verify.assert_law(run.position, jl.exact.grid_target(mixture(), jnp.zeros(1)))
    assert 0.2 < run.info.acceptance_rate.mean() < 0.9


@pytest.mark.parametrize(
    "shares",
    [(0.1, 0.3, 0.4, 0.7, 0.5), (0.5, 1.0, 0.3), (0.3, 0.5, 0.4, 0.7, 0.3)],
    ids=["no palindrome", "last B shorter", "last A longer"],
)
def test_an_integrator_that_cannot_be_reversed_is_found(shares, monkeypatch):
    name = str(shares)  # by which its program is known
    monkeypatch.setitem(integrators._SHARES, name, shares)
    law = jl.exact.grid_target(mixture(), jnp.zeros(1))
    assert not jl.verify.compare(run_from_the_law(name).position, law).passed


def test_warm_up_hits_its_target_where_the_rate_falls_steeply():
    """The rate of more stages is near 1 until it drops within a fifth of the step."""
    curved = jl.energies.quadratic(jnp.diag(jnp.geomspace(1.0, 100.0, 20)))
    kernel = jl.malt(0.1, 1.0, 2, integrator="BCSS3")
    found = jl.warm_up(jax.random.key(0), curved, kernel, jnp.zeros((100, 20)))
    assert found.verdict.settled
    run = jl.resume(found.state, curved, found.kernel, num_steps=50, observe=None)
    assert abs(float(run.info.acceptance_rate.mean()) - 0.7) < 0.1
    # Per gradient it goes further than leapfrogs: 70% of those are accepted at 0.81.
    gradients = len(integrators.stages("BCSS3"))
    assert float(found.kernel.step_size) / gradients > 1.2 * 0.81


# Limits -------------------------------------------------------------------------------------


def test_of_length_one_it_is_mala(x64):
    """Of step size h²/(2m), whatever the friction."""
    energy = jl.energies.double_well(height=8.0, dim=2)
    normals, uniform = noise_of(1)
    malt = jl.malt(H, FRICTION, 1, temperature=TEMPERATURE, mass=MASS)
    mala = jl.mala(H**2 / (2 * MASS), temperature=TEMPERATURE)
    a, a_info = stepped(energy, malt, (normals, uniform))
    b, b_info = stepped(energy, mala, (normals[:, 0], uniform))
    np.testing.assert_allclose(a.position, b.position, rtol=1e-10)
    np.testing.assert_allclose(a_info.acceptance_rate, b_info.acceptance_rate, rtol=1e-10)


def test_of_large_friction_it_is_steps_of_ula_accepted_together(x64):
    """Each velocity is then a fresh one."""
    energy = jl.energies.double_well(height=8.0, dim=2)
    normals, uniform = noise_of(4)
    malt = jl.malt(H, 1e4, 4, temperature=TEMPERATURE, mass=MASS)
    ula = jl.ula(H**2 / (2 * MASS), temperature=TEMPERATURE)
    state = ula.init(energy, jnp.asarray(X), None)
    for xi in normals.T:
        state, _ = ula.step(energy, state, xi)
    moved, info = stepped(energy, malt, (normals, uniform))
    assert info.acceptance_rate > 0
    np.testing.assert_allclose(moved.position, state.position, rtol=1e-10)


def test_without_friction_a_small_step_follows_the_exact_orbit(x64):
    """On ½ λ x² it is x cos ωt + v/ω sin ωt, ω² = λ/m; at t = π/ω every chain is at -x."""
    precision, length = 4.0, 400
    period = np.pi * (MASS / precision) ** 0.5
    energy = jl.energies.quadratic(precision * jnp.eye(2))
    kernel = jl.malt(period / length, 0.0, length, temperature=TEMPERATURE, mass=MASS)
    moved, info = stepped(energy, kernel, noise_of(length))
    np.testing.assert_allclose(moved.position, -X, atol=1e-4)
    np.testing.assert_allclose(info.acceptance_rate, 1, atol=1e-4)


def test_the_length_is_a_count():
    with pytest.raises(TypeError, match="trajectory_length: expected an integer"):
        jl.malt(0.1, 1.0, 2.5)
    with pytest.raises(ValueError, match="trajectory_length: expected at least 1"):
        jl.malt(0.1, 1.0, 0)


@pytest.mark.parametrize("friction", [-1.0, float("nan"), float("inf")])
def test_friction_is_finite_and_not_negative(friction):
    with pytest.raises(ValueError, match="friction: expected"):
        jl.malt(0.1, friction, 3)


def test_friction_may_be_a_schedule():
    kernel = jl.malt(0.2, lambda t: jnp.exp2(t.astype(float)), 3)
    energy = jl.energies.double_well(dim=2)
    run = jl.sample(jax.random.key(0), energy, kernel, jnp.ones((5, 2)), num_steps=4)
    assert bool(jnp.isfinite(run.draws).all())
