"""Samples against laws on a grid: right kernels pass, and each mutant is told from the truth.

At a false-alarm rate of 1e-6, 20,000 chains find, with probability 0.99, a shift of 0.056 standard
deviations, a variance off by 8%, or a gap of 0.031 in the distribution function.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

import jlangevin as jl
from jlangevin._core.trees import pytree_dataclass
from jlangevin.kernels.barker import Barker
from jlangevin.kernels.mala import MALA
from jlangevin.kernels.ula import ULA

pytestmark = pytest.mark.slow

NUM_CHAINS, NUM_STEPS = 20_000, 6
ENERGY = jl.energies.double_well(height=2.0)


def start():
    return jl.Gaussian(jnp.full(1, 0.5), jnp.full((1, 1), 0.25))


def sampled(kernel, seed=0):
    run = jl.sample(
        jax.random.key(seed),
        ENERGY,
        kernel,
        start(),
        num_steps=NUM_STEPS,
        num_chains=NUM_CHAINS,
        observe=None,
    )
    return run.position


@pytree_dataclass
class Inverted(MALA):
    """Accepts where it should reject."""

    def step(self, energy, state, noise):
        xi, uniform = noise
        proposed, _ = super().step(energy, state, (xi, jnp.zeros_like(uniform)))
        _, info = super().step(energy, state, noise)
        accepted = uniform >= info.acceptance_rate
        return jax.tree.map(lambda a, b: jnp.where(accepted, a, b), proposed, state), info


@pytree_dataclass
class Tame(MALA):
    """Proposes with noise of variance η, and accepts as if it were 2η."""

    def step(self, energy, state, noise):
        xi, uniform = noise
        return super().step(energy, state, (xi * jnp.sqrt(jnp.asarray(0.5, xi.dtype)), uniform))


@pytree_dataclass
class Steep(Barker):
    """Decides on the sign by twice the gradient, and accepts as if by the gradient."""

    def _move(self, slope, xi, zeta):
        return super()._move(2 * slope, xi, zeta)


@pytree_dataclass
class NoRoot(ULA):
    """sqrt(ηT) ξ."""

    def step(self, energy, state, noise):
        return super().step(energy, state, noise * jnp.sqrt(jnp.asarray(0.5, noise.dtype)))


RIGHT = {
    "ula": jl.ula(0.02),
    "tamed_ula": jl.tamed_ula(0.05),
    "mala": jl.mala(0.05),
    "barker": jl.barker(0.1),
}
MUTANTS = {
    "a dropped √2": ("ula", NoRoot(0.02, 1.0, None)),
    "an inverted acceptance": ("mala", Inverted(0.05, 1.0, None)),
    "noise of variance η": ("mala", Tame(0.05, 1.0, None)),
    "a wrong probability of a sign": ("barker", Steep(0.1, 1.0, None)),
}


def law_of(name):
    return jl.exact.grid_law(RIGHT[name], ENERGY, start(), NUM_STEPS)


@pytest.mark.parametrize("name", RIGHT)
def test_right_kernels_pass(name):
    report = jl.verify.compare(sampled(RIGHT[name]), law_of(name))
    assert report.passed, str(report)
    assert [check.name for check in report.checks] == [
        "mean",
        "covariance",
        "shape",
        "off the grid",
    ]
    mean, covariance, shape, left = (check.detectable for check in report.checks)
    assert mean < 0.06
    assert covariance < 0.09
    assert shape < 0.031
    assert left < 0.01
    assert "a share of" in str(report)


@pytest.mark.parametrize("mutant", MUTANTS)
def test_a_mutant_is_told_from_the_truth(mutant):
    name, kernel = MUTANTS[mutant]
    with pytest.raises(AssertionError, match="REJECTED"):
        jl.verify.assert_law(sampled(kernel), law_of(name))


def test_projected_chains_pass_with_the_atoms_at_the_walls():
    walls = jl.domains.box(0.0, 1.0)
    kernel, energy = jl.projected(0.05, walls), jl.energies.linear([1.0])
    begin = jl.Gaussian(jnp.full(1, 0.5), jnp.zeros((1, 1)))
    law = jl.exact.grid_law(kernel, energy, begin, 4)
    run = jl.sample(
        jax.random.key(0), energy, kernel, begin, num_steps=4, num_chains=NUM_CHAINS, observe=None
    )
    jl.verify.assert_law(run.position, law)
    lost = np.where(run.position == 0, 0.01, run.position)  # none at the lower wall
    with pytest.raises(AssertionError, match="REJECTED"):
        jl.verify.assert_law(lost, law)


# Two numbers --------------------------------------------------------------------------------------

TILTED = jl.energies.gaussian_mixture(
    jnp.array([[-1.0, 0.0], [1.0, 1.0]]), jnp.stack([jnp.eye(2), 0.5 * jnp.eye(2)])
)
POINT = jl.Gaussian(jnp.array([0.5, 0.3]), jnp.zeros((2, 2)))
IN_PLANE = {"ula": jl.ula(0.1), "mala": jl.mala(0.4)}
PLANE_MUTANTS = {
    "a dropped √2": ("ula", NoRoot(0.1, 1.0, None)),
    "an inverted acceptance": ("mala", Inverted(0.4, 1.0, None)),
    "noise of variance η": ("mala", Tame(0.4, 1.0, None)),
}


@pytest.fixture(scope="module")
def plane_law():
    made = {}

    def law(name):
        if name not in made:
            made[name] = jl.exact.grid_law(IN_PLANE[name], TILTED, POINT, 3)
        return made[name]

    return law


def in_plane(kernel):
    return jl.sample(
        jax.random.key(0), TILTED, kernel, POINT, num_steps=3, num_chains=5_000, observe=None
    ).position


@pytest.mark.parametrize("name", IN_PLANE)
def test_chains_in_the_plane_have_their_law(name, plane_law):
    """Of both numbers together; mala's has an atom where the chains begin."""
    law, draws = plane_law(name), in_plane(IN_PLANE[name])
    assert bool(len(law.masses)) is (name == "mala")
    report = jl.verify.compare(draws, law)
    assert report.passed, str(report)
    assert report.coordinates == ("0", "1")
    moved = np.asarray(draws)[np.any(np.asarray(draws) != np.asarray(POINT.mean), axis=1)]
    swapped = np.concatenate([moved[:, :1], np.roll(moved[:, 1:], 1, axis=0)], axis=1)
    wrong = np.concatenate([swapped, np.asarray(draws)[: len(draws) - len(moved)]])
    for k, marginal in enumerate(law.marginals):
        if not len(law.masses):
            jl.verify.assert_law(wrong[:, k : k + 1], marginal)
    assert not jl.verify.compare(wrong, law).passed  # each number is right, but not both


@pytest.mark.parametrize("mutant", PLANE_MUTANTS)
def test_a_mutant_in_the_plane_is_told_from_the_truth(mutant, plane_law):
    name, kernel = PLANE_MUTANTS[mutant]
    with pytest.raises(AssertionError, match="REJECTED"):
        jl.verify.assert_law(in_plane(kernel), plane_law(name))


def rippled(x):
    return 0.5 * jnp.sum(x**2) + jnp.sum(jnp.cos(2 * x))


def test_a_position_and_the_normal_that_it_carries_have_their_law():
    kernel, begin = jl.underdamped(0.3, 1.5, mass=2.0), start()
    law = jl.exact.grid_law(kernel, rippled, begin, 5, full=True)
    run = jl.sample(
        jax.random.key(0), rippled, kernel, begin, num_steps=5, num_chains=5_000, observe=None
    )
    velocity = run.state.kernel.velocity
    jl.verify.assert_law(jl.exact.Carried(run.position, np.sqrt(2.0) * velocity), law)
    for wrong in (velocity, -np.sqrt(2.0) * velocity):
        assert not jl.verify.compare(jl.exact.Carried(run.position, wrong), law).passed


def test_distribution_functions_in_the_plane_are_those_of_a_gaussian():
    cov = np.array([[1.0, 0.6], [0.6, 1.0]])
    energy = jl.energies.quadratic(jnp.asarray(np.linalg.inv(cov), jnp.float32))
    law = jl.exact.grid_target(energy, jnp.zeros(2))
    x = np.random.default_rng(0).normal(size=(7, 2))
    wanted = stats.multivariate_normal(np.zeros(2), cov)
    np.testing.assert_allclose(law.cdf(x), [wanted.cdf(point) for point in x], rtol=0, atol=1e-5)
    given = stats.norm.cdf(x[:, 1], 0.6 * x[:, 0], 0.8)
    np.testing.assert_allclose(law.conditional_cdf(x), given, rtol=0, atol=1e-5)
    assert law.cdf([np.inf, np.inf]) == pytest.approx(1, abs=1e-6)
    assert np.isnan(law.conditional_cdf([100.0, 0.0]))
    exactly = jl.Gaussian(jnp.zeros(2), jnp.asarray(cov, jnp.float32))
    assert jl.exact.total_variation(law, exactly) <= 1e-4
    apart = jl.Gaussian(jnp.array([1.0, 0.6]), exactly.cov)
    for pair in ((law, apart), (exactly, apart)):  # their distance is a Gaussian's of one number
        wanted = 2 * stats.norm.cdf(0.5) - 1
        assert jl.exact.total_variation(*pair) == pytest.approx(wanted, abs=2e-3)


# What is not known --------------------------------------------------------------------------------


def test_what_is_off_the_grid_is_counted():
    law = jl.exact.grid_target(jl.energies.quadratic(jnp.eye(1)), jnp.zeros(1))
    draws = np.array(law.sample(jax.random.key(0), 1000))
    jl.verify.assert_law(draws, law)
    draws[:40] = 100.0
    report = jl.verify.compare(draws, law)
    assert not report.checks[-1].passed
    assert report.checks[-1].worst.startswith("40 of 1000")


def test_a_law_that_is_not_known_well_enough_is_refused():
    law = jl.exact.grid_target(jl.energies.double_well(), jnp.zeros(1))
    worse = jax.tree.map(lambda leaf: leaf, law)
    object.__setattr__(worse, "cdf_error", 1e-3)
    draws = law.sample(jax.random.key(0), 100_000)
    with pytest.raises(ValueError, match=r"is known to 0\.001, which 100000 draws could tell"):
        jl.verify.compare(draws, worse)
