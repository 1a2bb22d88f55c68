"""Samples against laws on a grid: right kernels pass, and each mutant is told from the truth.

At a false-alarm rate of 1e-6, 20,000 chains find, with probability 0.99, a shift of 0.056 standard
deviations, a variance off by 8%, or a gap of 0.031 in the distribution function.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

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
