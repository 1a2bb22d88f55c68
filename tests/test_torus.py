"""Tori: chains that wrap are those of the free space, and stay where floats are dense.

The law is von Mises' in an angle and normal in a free coordinate, given the angle. Tests against it
use 2,000 chains and fail a right kernel with a probability of 1e-6; they find a shift of 0.03 in a
mean with a probability of 0.99.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special, stats

import jlangevin as jl

pytestmark = pytest.mark.slow

KAPPA = 2.0
TURN = 2 * np.pi
NUM = 2_000
Z = stats.norm.isf(0.5e-6)


def torus():
    return jl.domains.torus(jnp.array([TURN, jnp.inf]))


def energy(mu):
    def of(x):
        return -KAPPA * jnp.cos(x[0] - mu) + 0.5 * (x[1] - jnp.sin(x[0])) ** 2

    return of


KERNELS = {
    "mirrored mala": lambda domain: jl.mirrored(jl.mala(0.3), domain),
    "mirrored barker": lambda domain: jl.mirrored(jl.barker(0.5), domain),
    "mirrored malt": lambda domain: jl.mirrored(jl.malt(0.5, 1.0, 3), domain),
    "mirrored underdamped": lambda domain: jl.mirrored(jl.underdamped(0.1, 1.0), domain),
    "mirrored microcanonical": lambda domain: jl.mirrored(jl.microcanonical(0.1, 1.0), domain),
    "reflected_mala": lambda domain: jl.reflected_mala(0.3, domain),
    "reflected": lambda domain: jl.reflected(2e-3, domain),
    "projected": lambda domain: jl.projected(2e-3, domain),
    "tempered": lambda domain: jl.tempered(jl.reflected_mala(0.3, domain), [1.0, 2.0]),
}


@pytest.mark.parametrize("mu", [0.0, 3.0])
@pytest.mark.parametrize("name", KERNELS)
def test_every_kernel_has_the_law_of_an_angle_and_stays_inside(name, mu):
    kernel, k = KERNELS[name](torus()), jax.random.split(jax.random.key(2), 3)
    angle = stats.vonmises(KAPPA, loc=mu).rvs(NUM, random_state=np.random.default_rng(0))
    free = np.sin(angle) + np.asarray(jax.random.normal(k[0], (NUM,)))
    start = jnp.asarray(np.stack([angle, free], axis=1), jnp.float32)
    run = jl.sample(k[1], energy(mu), kernel, start, num_steps=400, observe=None)
    x = np.asarray(run.position, np.float64)
    assert (x[:, 0] >= 0).all()
    assert (x[:, 0] < TURN).all()
    assert (np.abs(x[:, 1]) > 1).any()
    wanted = special.i1(KAPPA) / special.i0(KAPPA)
    for seen, mean in (
        (np.cos(x[:, 0] - mu), wanted),
        (np.sin(x[:, 0] - mu), 0),
        (x[:, 1] - np.sin(x[:, 0]), 0),
        ((x[:, 1] - np.sin(x[:, 0])) ** 2, 1),
    ):
        assert abs(seen.mean() - mean) < (Z + 0.5) * seen.std() / np.sqrt(NUM)


@pytest.mark.parametrize(
    ("free", "name"),
    [
        (jl.mala(0.3), "mirrored mala"),
        (jl.mala(0.3), "reflected_mala"),
        (jl.malt(0.5, 1.0, 3), "mirrored malt"),
        (jl.underdamped(0.1, 1.0), "mirrored underdamped"),
        (jl.ula(2e-3), "projected"),
        (jl.ula(2e-3), "reflected"),
    ],
)
def test_a_chain_is_that_of_the_free_space_wrapped(free, name, x64):
    """On the same noise, from starts anywhere."""
    start, domain = 9 * jax.random.normal(jax.random.key(1), (20, 2)), torus()
    whole, run = (
        jl.sample(jax.random.key(0), energy(1.0), kernel, start, num_steps=60).draws
        for kernel in (free, KERNELS[name](domain))
    )
    apart = np.array(whole - run)
    apart[..., 0] -= TURN * np.round(apart[..., 0] / TURN)
    np.testing.assert_allclose(apart, 0, atol=1e-7)
    assert (np.asarray(whole) // TURN)[..., 0].any()


def test_a_chain_that_winds_keeps_its_digits():
    """A slope drives it around ten thousand times, in steps of half a turn and more."""
    kernel = jl.mirrored(jl.ula(1.0), jl.domains.torus(1.0))
    run = jl.sample(
        jax.random.key(0), lambda x: -(2**14) * x[0], kernel, jnp.zeros((4, 1)), num_steps=2_000
    )
    assert (run.state.kernel.dual.position < 1).all()
    assert (run.draws >= 0).all()
    assert (run.draws < 1).all()


def test_what_is_wrapped(dtype):
    domain = jl.domains.torus({"a": 2.0, "b": jnp.array([jnp.inf, 1.0])})
    x = {"a": jnp.array(-0.5), "b": jnp.array([-7.5, 3.25])}
    y = domain.project(x)
    assert float(y["a"]) == 1.5
    np.testing.assert_array_equal(y["b"], [-7.5, 0.25])
    assert y["a"].dtype == dtype
    tiny = jl.domains.torus(2 * np.pi).project(jnp.array([-1e-30, 2 * np.pi, -0.0]))
    np.testing.assert_array_equal(tiny, 0)
    slope = jax.jacfwd(domain.project)(x)
    np.testing.assert_array_equal(slope["b"]["b"], np.eye(2))
    assert float(slope["a"]["a"]) == 1
    assert bool(domain.contains(x))
    assert not bool(domain.contains({"a": jnp.array(jnp.nan), "b": x["b"]}))
    np.testing.assert_array_equal(domain.raveled(x), [2.0, np.inf, 1.0])


def test_diagnostics_are_of_cosines_and_sines():
    """Around 0 an angle jumps at every other step, and its mean is where there is no mass."""
    domain = torus()
    kernel = KERNELS["mirrored mala"](domain)
    run = jl.sample(
        jax.random.key(0), energy(0.0), kernel, jnp.zeros((8, 2)), num_steps=2_000, burn_in=100
    )
    seen = domain.embed(run.draws)
    assert seen.shape == (8, 2_000, 3)
    x = np.asarray(run.draws)
    np.testing.assert_allclose(
        seen, np.stack([np.cos(x[..., 0]), np.sin(x[..., 0]), x[..., 1]], -1), atol=1e-5
    )
    assert (jl.diagnostics.rhat(seen) < 1.05).all()
    assert jl.diagnostics.ess(seen).min() > 400
    assert jl.domains.torus(1.0).embed(jnp.zeros((2, 3, 4))).shape == (2, 3, 8)


@pytest.mark.parametrize("mu", [0.0, 3.0])
def test_warm_up_sees_the_width_of_the_law_and_not_of_the_winding(mu):
    """The variance of a von Mises law about its mean, however long the chains have wound."""
    kernel = jl.mirrored(jl.mala(0.1), torus())
    angles = np.linspace(-np.pi, np.pi, 2_001)
    density = np.exp(KAPPA * np.cos(angles))
    variance = np.sum(angles**2 * density) / np.sum(density)
    for num_steps in (600, 2_400):
        found = jl.warm_up(
            jax.random.key(0), energy(mu), kernel, jnp.zeros((200, 2)), num_steps=num_steps
        )
        assert found.verdict.settled, str(found)
        lower = np.asarray(found.kernel.kernel.preconditioner.lower, np.float64)
        assert 0.3 * variance < (lower @ lower.T)[0, 0] < 1.5 * variance
    assert found.kernel.domain is kernel.domain
    assert (found.state.kernel.position[:, 0] < TURN).all()
    run = jl.resume(found.state, energy(mu), found.kernel, num_steps=100)
    assert abs(float(run.info.acceptance_rate.mean()) - 0.574) < 0.1
    wanted = special.i1(KAPPA) / special.i0(KAPPA)
    means = np.cos(np.asarray(run.draws[..., 0]) - mu).mean(axis=1)
    assert abs(means.mean() - wanted) < Z * means.std() / np.sqrt(len(means))
