"""Chains that move each coordinate alone: products of laws in one dimension."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jlangevin as jl
from jlangevin import exact

WELL = jl.energies.double_well(dim=3)
SCALES = jnp.array([1.0, 0.5, 0.3])
KERNEL = jl.ula(0.05, preconditioner=SCALES)
START = jl.Gaussian(jnp.array([1.0, 0.0, -1.0]), jnp.diag(jnp.array([0.2, 0.1, 0.0])))
BOX = jl.domains.box(jnp.array([-1.0, 0.0]), jnp.array([1.0, 3.0]))  # the last wall is far out


def slanted(x):
    return {"a": jnp.sum(x["a"] ** 4), "b": jnp.sum(jnp.cosh(x["b"]))}


def tree_energy(x):
    return sum(slanted(x).values())


@pytest.fixture(scope="module")
def law():
    return exact.product_law(KERNEL, WELL, START, 7)


@pytest.mark.slow
def test_each_coordinate_has_the_law_that_it_has_alone(law):
    one = jl.energies.double_well()
    for i, scale in enumerate(SCALES):
        start = jl.Gaussian(START.mean[i : i + 1], START.cov[i : i + 1, i : i + 1])
        alone = exact.grid_law(jl.ula(0.05 * scale), one, start, 7)
        np.testing.assert_allclose(law.mean[i], alone.mean[0], atol=2e-6)
        np.testing.assert_allclose(law.cov[i, i], alone.cov[0, 0], rtol=2e-5)
    assert np.array_equal(law.cov, np.diag(np.diagonal(law.cov)))


def test_on_a_quadratic_energy_it_is_the_affine_law(x64):
    energy = jl.energies.quadratic(jnp.diag(jnp.array([1.0, 3.0])))
    kernel, start = jl.ula(0.1), jl.Gaussian(jnp.array([1.0, -2.0]), jnp.eye(2))
    for found, true in (
        (exact.product_law(kernel, energy, start, 5), exact.law(kernel, energy, start, 5)),
        (
            exact.product_stationary(kernel, energy, jnp.zeros(2)),
            exact.stationary(kernel, energy, jnp.zeros(2)),
        ),
    ):
        np.testing.assert_allclose(found.mean, true.mean, atol=1e-8)
        np.testing.assert_allclose(found.cov, true.cov, atol=1e-8)


@pytest.fixture(scope="module")
def draws():
    run = jl.sample(
        jax.random.key(4), WELL, KERNEL, START, num_steps=7, num_chains=20_000, observe=None
    )
    return run.position


def test_draws_are_held_against_it(draws, law):
    jl.verify.assert_law(draws, law)


MUTANTS = {
    "another number of steps": lambda: exact.product_law(KERNEL, WELL, START, 6),
    "coordinates exchanged": lambda: exact.product_law(
        jl.ula(0.05, preconditioner=SCALES[::-1]), WELL, START, 7
    ),
    "noise too small": lambda: exact.product_law(
        jl.ula(0.05, temperature=0.9, preconditioner=SCALES), WELL, START, 7
    ),
}


@pytest.mark.parametrize("name", MUTANTS)
def test_a_wrong_law_is_told_from_it(draws, name):
    assert not jl.verify.compare(draws, MUTANTS[name]()).passed


def test_coordinates_that_depend_on_each_other_are_told_from_it(draws, law):
    mixed = draws.at[:, 1].add(0.05 * draws[:, 0])
    mixed = mixed.at[:, 1].multiply(draws[:, 1].std() / mixed[:, 1].std())
    assert not jl.verify.compare(mixed, law).passed


@pytest.mark.slow
def test_walls_hold_atoms_in_each_coordinate():
    """Draws at two walls at once are spread over both jumps by uniforms of their own."""
    kernel, energy = jl.projected(0.1, BOX), jl.energies.double_well(dim=2)
    start = jl.Gaussian(jnp.array([0.0, 1.0]), jnp.zeros((2, 2)))
    law = exact.product_law(kernel, energy, start, 9)
    run = jl.sample(
        jax.random.key(1), energy, kernel, start, num_steps=9, num_chains=20_000, observe=None
    )
    assert [len(one.masses) for one in law.coordinates] == [2, 2]
    jl.verify.assert_law(run.position, law)


def test_a_wall_beyond_the_mass_is_no_hindrance():
    """The grid does not reach the wall at first, and is widened as far as it and no farther."""
    energy, x = jl.energies.double_well(), jnp.ones(1)
    far, near = (
        exact.grid_stationary(jl.projected(0.1, jl.domains.box(0.0, wall)), energy, x)
        for wall in (30.0, 3.0)
    )
    np.testing.assert_allclose(far.mean, near.mean, rtol=1e-4)


@pytest.mark.slow
def test_it_can_be_drawn_from_and_started_from():
    law = exact.product_target(WELL, jnp.zeros(3))
    jl.verify.assert_law(law.sample(jax.random.key(2), 20_000), law)
    run = jl.sample(jax.random.key(3), WELL, jl.ula(0.01), law, num_steps=0, num_chains=5)
    np.testing.assert_array_equal(run.position, law.sample(jax.random.key(3), 5))
    x, y = jnp.array([0.3, -1.0, 0.5]), jnp.zeros(3)
    np.testing.assert_allclose(law.log_prob(x) - law.log_prob(y), WELL(y) - WELL(x), atol=1e-4)


@pytest.mark.slow
def test_positions_may_be_trees():
    x = {"a": jnp.zeros(2), "b": jnp.zeros(())}
    law = exact.product_stationary(jl.tamed_ula(0.1, coordinatewise=True), tree_energy, x)
    assert law.mean["b"].shape == ()
    assert law.cov[0, 0] == law.cov[1, 1] != law.cov[2, 2]


def test_one_coordinate_is_a_chain_in_one_dimension():
    chain = exact.coordinate(jl.ula(0.05), WELL, jnp.zeros(3), 1)
    alone = exact.grid_relaxation_time(jl.ula(0.05), jl.energies.double_well(), jnp.zeros(1))
    assert exact.grid_relaxation_time(*chain) == pytest.approx(alone, rel=1e-4)


EYE = jnp.eye(2)
REFUSED = {
    "acceptance": (jl.mala(0.1), jl.energies.double_well(dim=2), "accepts or rejects"),
    "a norm": (jl.tamed_ula(0.1), jl.energies.double_well(dim=2), "depends on other coordinates"),
    "a matrix": (
        jl.ula(0.1, preconditioner=EYE + 0.1),
        jl.energies.double_well(dim=2),
        "depends on other coordinates",
    ),
    "an energy": (jl.ula(0.01), jl.energies.rosenbrock(), "depends on other coordinates"),
    "correlated noise": (
        jl.gradient_noise(jl.ula(0.1), EYE + 0.5),
        jl.energies.double_well(dim=2),
        "depends on other coordinates",
    ),
    "a ball": (
        jl.projected(0.1, jl.domains.ball(jnp.zeros(2), 1.0)),
        jl.energies.double_well(dim=2),
        "depends on other coordinates",
    ),
    "a velocity": (jl.underdamped(0.1, 1.0), jl.energies.double_well(dim=2), "more of a state"),
    "a schedule": (
        jl.ula(lambda step: 0.1 / (1 + step.astype(float))),
        jl.energies.double_well(dim=2),
        "has a schedule",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_does_not_move_each_coordinate_alone_is_refused(name):
    kernel, energy, message = REFUSED[name]
    with pytest.raises(jl.NoGridLawError, match=message):
        exact.product_stationary(kernel, energy, jnp.zeros(2))


@pytest.mark.parametrize("step_size", [1e-2, 1e-4, 1e-6])
@pytest.mark.parametrize("center", [0.0, 1e4])
def test_a_small_step_does_not_hide_that_an_energy_mixes_coordinates(step_size, center):
    def mixed(x):
        return 0.5 * jnp.sum((x - center) ** 2) + 0.3 * (x[0] - center) * (x[1] - center)

    with pytest.raises(jl.NoGridLawError, match="depends on other coordinates"):
        exact.coordinate(jl.ula(step_size), mixed, jnp.full(2, center), 0)


@pytest.mark.slow
def test_an_energy_that_is_not_finite_everywhere_is_looked_at_where_it_is():
    """x^1.5 is NaN below 0, and cosh(100 x) infinite at 1."""
    for energy, x in (
        (lambda x: jnp.sum(x**1.5 + x), jnp.ones(2)),
        (lambda x: jnp.sum(jnp.cosh(100 * x)), jnp.zeros(2)),
    ):
        assert exact.coordinate(jl.ula(0.1), energy, x, 1).position.shape == (1,)
    with pytest.raises(ValueError, match="the step of coordinate 0 is not finite"):
        exact.coordinate(jl.ula(0.1), lambda x: jnp.sum(jnp.sqrt(-1 - x**2)), jnp.zeros(2), 1)
    with pytest.raises(ValueError, match=r"position: expected a finite one, got .*nan"):
        exact.product_target(WELL, jnp.array([0.0, jnp.nan, 0.0]))


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_half_precision_is_too_coarse(dtype):
    with pytest.raises(TypeError, match="which is too coarse for a grid"):
        exact.product_target(WELL, jnp.zeros(3, dtype))
    with pytest.raises(TypeError, match="which is too coarse for a grid"):
        exact.grid_target(jl.energies.double_well(), jnp.zeros(1, dtype))


def test_other_refusals():
    with pytest.raises(ValueError, match="index: the position has 3 coordinates, got 3"):
        exact.coordinate(KERNEL, WELL, jnp.zeros(3), 3)
    with pytest.raises(ValueError, match="start: its coordinates depend on each other"):
        exact.product_law(jl.ula(0.1), WELL, jl.Gaussian(jnp.zeros(3), jnp.eye(3) + 0.1), 3)
    with pytest.raises(ValueError, match="position: it is outside of the kernel's domain"):
        exact.product_stationary(
            jl.projected(0.1, BOX), jl.energies.double_well(dim=2), jnp.full(2, 9.0)
        )
    with pytest.raises(TypeError, match=r"start: expected a jlangevin\.Gaussian"):
        exact.product_law(KERNEL, WELL, jnp.zeros(3), 3)
