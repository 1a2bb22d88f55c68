"""Warm-up: what it finds, that it is frozen, and what it refuses."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jlangevin as jl

pytestmark = pytest.mark.slow


def key():
    return jax.random.key(0)


def badly_scaled():
    """Correlated, with standard deviations from 0.01 to 10."""
    scales = jnp.array([0.01, 1.0, 10.0])
    correlation = jnp.array([[1.0, 0.8, 0.0], [0.8, 1.0, 0.3], [0.0, 0.3, 1.0]])
    cov = scales[:, None] * correlation * scales[None, :]
    return jl.energies.quadratic(jnp.linalg.inv(cov)), cov


@pytest.mark.parametrize(
    ("kernel", "first"),
    [(jl.mala, 1e-6), (jl.mala, 1.0), (jl.mala, 1e6), (jl.barker, 1e-6), (jl.barker, 1.0)],
)
def test_the_step_size_reaches_its_acceptance_rate(kernel, first):
    energy = jl.energies.double_well(dim=5)
    found = jl.warm_up(
        key(), energy, kernel(first), jnp.ones((200, 5)), precondition=None, target_acceptance=0.6
    )
    run = jl.resume(found.state, energy, found.kernel, num_steps=200, observe=None)
    assert abs(float(run.info.acceptance_rate.mean()) - 0.6) < 0.05
    assert found.step_sizes.shape == found.acceptance.shape == (50,)


def test_a_dense_preconditioner_is_the_covariance():
    energy, cov = badly_scaled()
    found = jl.warm_up(key(), energy, jl.mala(1e-4), energy, num_chains=200, precondition="dense")
    lower = found.kernel.preconditioner.lower
    root = jnp.linalg.inv(jnp.linalg.cholesky(cov))
    whitened = root @ lower @ lower.T @ root.T
    assert np.abs(np.linalg.eigvalsh(np.asarray(whitened)) - 1).max() < 0.3
    assert float(found.kernel.step_size) > 0.1


def test_a_diagonal_preconditioner_holds_the_variances():
    energy, cov = badly_scaled()
    found = jl.warm_up(key(), energy, jl.mala(1e-4), energy, num_chains=200)
    np.testing.assert_allclose(
        found.kernel.preconditioner.scale, jnp.sqrt(jnp.diagonal(cov)), rtol=0.3
    )


def test_a_position_that_is_a_matrix_has_a_diagonal_like_it():
    """No matrix of its elements, which a square array given as a preconditioner would be."""
    scales = jnp.array([[0.1, 1.0], [3.0, 0.5]])
    found = jl.warm_up(
        key(), lambda x: jnp.sum((x / scales) ** 2) / 2, jl.mala(1e-3), jnp.zeros((200, 2, 2))
    )
    np.testing.assert_allclose(found.kernel.preconditioner.scale, scales, rtol=0.3)


def test_the_run_after_it_has_the_exact_law(x64):
    """Frozen and invariant: from the warmed-up state far enough on, the target's own moments."""
    energy, cov = badly_scaled()
    found = jl.warm_up(
        key(), energy, jl.mala(1e-4), energy, num_chains=20_000, precondition="dense", num_steps=400
    )
    run = jl.resume(found.state, energy, found.kernel, num_steps=60, observe=None)
    jl.verify.assert_law(run.position, jl.Gaussian(jnp.zeros(3), cov))


def test_the_mass_of_malt_becomes_the_inverse_covariance():
    energy, cov = badly_scaled()
    kernel = jl.malt(1e-3, 1.0, 4)
    found = jl.warm_up(key(), energy, kernel, energy, num_chains=200, precondition="dense")
    lower = found.kernel.inverse_mass.lower
    root = jnp.linalg.inv(jnp.linalg.cholesky(cov))
    whitened = root @ lower @ lower.T @ root.T
    assert np.abs(np.linalg.eigvalsh(np.asarray(whitened)) - 1).max() < 0.3


@pytest.mark.parametrize("kernel", [jl.mala(1e-3), jl.barker(1e-3)])
def test_starts_that_suit_no_common_step_size_settle(kernel):
    """x⁴ from 0.01 to 100: the curvatures differ by 10⁸, and the moves that fit by 10⁴.

    In tails this light `mala` now and then stays where it is for long: whichever the key, about one
    of a hundred chains accepts less than 0.3 over 200 steps, and ten do with a probability of 1e-7.
    """
    start = jnp.geomspace(0.01, 100.0, 100)[:, None]
    found = jl.warm_up(key(), lambda x: jnp.sum(x**4), kernel, start, num_steps=2_000)
    position = found.state.kernel.position
    assert jnp.abs(position).max() < 4
    run = jl.resume(found.state, lambda x: jnp.sum(x**4), found.kernel, num_steps=200)
    assert (run.info.acceptance_rate > 0.3).mean() > 0.9


def test_pytree_positions_are_warmed_up():
    def energy(x):
        return 0.5 * jnp.sum(x["a"] ** 2) + 50.0 * jnp.sum(x["b"] ** 2)

    start = {"a": jnp.zeros((100, 2)), "b": jnp.zeros((100, 2, 2))}
    found = jl.warm_up(key(), energy, jl.mala(1e-3), start)
    scale = found.kernel.preconditioner.scale
    np.testing.assert_allclose(scale["a"], 1.0, rtol=0.3)
    np.testing.assert_allclose(scale["b"], 0.1, rtol=0.3)


def test_proposals_that_are_not_finite_do_not_drive_the_step_to_zero():
    """A wall at 0: proposals beyond it have no finite energy."""

    def energy(x):
        return jnp.sum(x - 0.5 * jnp.log(x))

    found = jl.warm_up(key(), energy, jl.mala(0.1), jnp.ones((200, 2)), precondition=None)
    assert float(found.kernel.step_size) > 0.02


def test_no_new_step_size_compiles_anything():
    energy = jl.energies.quadratic(jnp.eye(2))
    traces = []

    class Counted(type(jl.mala(0.1))):
        def step(self, energy, state, noise):
            traces.append(None)
            return super().step(energy, state, noise)

    jax.tree_util.register_pytree_node(
        Counted,
        lambda k: ((k.step_size, k.temperature, k.preconditioner), None),
        lambda _, leaves: Counted(*leaves),
    )
    jl.warm_up(key(), energy, Counted(0.1, 1.0, None), energy, num_chains=10, precondition=None)
    assert len(traces) <= 10  # of fifty pieces


@pytest.mark.parametrize(
    "kernel", [jl.ula(0.01), jl.mala(0.01), jl.malt(0.01, 1.0, 4)], ids=["ula", "mala", "malt"]
)
def test_an_energy_is_traced_few_times(kernel):
    """Of a deep network each time costs as much as half of its compilation."""
    count = 0

    def energy(x):
        nonlocal count
        count += 1
        return 0.5 * jnp.sum(x**2)

    jl.sample(key(), energy, kernel, jnp.ones((4, 2)), num_steps=20, burn_in=3)
    assert 0 < count <= 6
    count = 0
    if not isinstance(kernel, type(jl.ula(0.1))):
        jl.warm_up(key(), lambda x: energy(x), kernel, jnp.ones((4, 2)), num_steps=200)
        assert 0 < count <= 10


class Named:
    """An energy with a member that a kernel of one's own may ask for."""

    strength = 3.0

    def __call__(self, x):
        return 0.5 * jnp.sum(x**2)


class Asking(NamedTuple):
    step_size: float = 0.1
    init_noise = None
    step_noise = None

    def init(self, energy, position, noise):
        return jl.kernels.ULAState(position)

    def step(self, energy, state, noise):
        return jl.kernels.ULAState(state.position * energy.strength), jl.Info()


def test_what_an_energy_has_is_there_for_a_kernel():
    run = jl.sample(key(), Named(), Asking(), jnp.ones((4, 2)), num_steps=2)
    np.testing.assert_array_equal(run.position, 9.0)


def test_the_curvature_is_the_largest_eigenvalue_of_the_hessian(dtype):
    energy, cov = badly_scaled()
    score = jl.scores.score(lambda x: -jax.grad(energy)(x))
    expected = 1 / np.linalg.eigvalsh(np.asarray(cov, np.float64)).min()
    for on in (energy, score):
        np.testing.assert_allclose(jl.adaptation.curvature(on, jnp.zeros(3)), expected, rtol=1e-2)


def test_a_flat_energy_has_no_curvature():
    assert jl.adaptation.curvature(lambda x: jnp.sum(0 * x**2), jnp.zeros(2)) == 0


@pytest.mark.parametrize(
    ("energy", "position", "error", "message"),
    [
        (lambda x: x**2, jnp.zeros(2), ValueError, "energy: expected a scalar for one position"),
        (jnp.sum, jnp.zeros(2, int), TypeError, "position: expected floating arrays, got .* int32"),
        (None, jnp.zeros(2), TypeError, "energy: expected a callable"),
    ],
)
def test_what_has_no_curvature_is_refused(energy, position, error, message):
    with pytest.raises(error, match=message):
        jl.adaptation.curvature(energy, position)


class Bare(NamedTuple):
    """A kernel with a step size and no more."""

    step_size: float = 0.1
    init_noise = step_noise = init = step = None


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"num_steps": 100}, ValueError, "num_steps: expected at least 200"),
        ({"target_acceptance": 1.0}, ValueError, "target_acceptance: expected a probability"),
        ({"precondition": "some"}, ValueError, "precondition: expected"),
        ({"kernel": jl.ula(0.1)}, TypeError, "kernel: ULA accepts everything"),
        ({"kernel": Bare()}, TypeError, "kernel: Bare has no preconditioner and no mass"),
        ({"kernel": None}, TypeError, "kernel: None is no kernel"),
        (
            {"kernel": jl.coupled(jl.mala(0.1), lag=1)},
            TypeError,
            "kernel: Coupled has no step size of its own to adapt; warm up MALA, the kernel inside",
        ),
        ({"kernel": jl.mala(lambda t: 0.1)}, ValueError, "kernel: a scheduled"),
    ],
)
def test_what_cannot_be_adapted_is_refused(options, error, message):
    energy = jl.energies.quadratic(jnp.eye(2))
    call = {"key": key(), "energy": energy, "kernel": jl.mala(0.1), "init": jnp.zeros((4, 2))}
    with pytest.raises(error, match=message):
        jl.warm_up(**(call | options))


def test_where_nothing_is_ever_accepted_warm_up_says_so():
    def energy(x):
        """Finite at the starts alone."""
        return jnp.where(jnp.all(x == 1.0), 0.0, jnp.inf) + 0.0 * jnp.sum(x)

    with pytest.raises(jl.AdaptationError, match="step_size: no proposal was accepted down to"):
        jl.warm_up(key(), energy, jl.mala(0.1), jnp.ones((4, 2)), precondition=None, num_steps=2000)


# Units --------------------------------------------------------------------------------------

# Powers of two, by which numbers are scaled without rounding: about 1e-12, 1 and 1e12.
UNITS = np.array([2.0**-40, 1.0, 2.0**40], np.float32)


def correlated(factor, units, x):
    y = x / units
    return factor * (0.5 * jnp.sum(y**2) + 0.9 * y[0] * y[1] + 0.1 * jnp.sum(y**4))


def warmed(make, units, *, factor=1.0, **options):
    """`correlated` with positions in `units` and energies in units of 1/`factor`."""
    energy = jax.tree_util.Partial(correlated, jnp.float32(factor), jnp.asarray(units))
    starts = jax.random.normal(jax.random.key(1), (10, 3)) * units[None]
    return jl.warm_up(key(), energy, make(units, factor), starts, num_steps=200, **options)


def mala_in(units, factor):
    diagonal = jl.kernels.Diagonal(jnp.asarray(units))
    return jl.mala(0.01 / factor, temperature=factor, preconditioner=diagonal)


def dense_mala_in(units, factor):
    return jl.mala(0.01 * units[0] ** 2 / factor, temperature=factor)


def malt_in(units, factor):
    mass = jnp.asarray(factor / units**2)
    return jl.malt(0.01, 1.0, 3, temperature=factor, mass=mass)


@pytest.mark.parametrize(
    ("make", "units", "factor", "options"),
    [
        (mala_in, UNITS, 1.0, {}),
        (mala_in, UNITS, 2.0**30, {}),
        (malt_in, UNITS, 2.0**30, {}),
        (mala_in, UNITS, 1.0, {"precondition": "dense"}),
        (dense_mala_in, np.full(3, 2.0**-40, np.float32), 1.0, {"precondition": "dense"}),
        (dense_mala_in, np.full(3, 2.0**40, np.float32), 2.0**30, {"precondition": "dense"}),
    ],
    ids=["positions", "energies", "malt", "dense", "dense, small", "dense, large"],
)
def test_the_same_problem_in_other_units_gives_the_same_chains(make, units, factor, options):
    here = warmed(make, np.ones(3, np.float32), **options)
    there = warmed(make, units, factor=factor, **options)
    np.testing.assert_array_equal(
        there.state.kernel.position / units[None], here.state.kernel.position
    )
    np.testing.assert_array_equal(there.acceptance, here.acceptance)
    shape = "inverse_mass" if make is malt_in else "preconditioner"
    here_root, there_root = (
        np.asarray(jax.tree.leaves(getattr(found.kernel, shape))[0], np.float64)
        for found in (here, there)
    )
    np.testing.assert_array_equal(
        there_root, (here_root.T * units / np.sqrt(factor)).T.astype(np.float32)
    )
    # Of windows, whose covariance has the step's unit.
    assert float(there.kernel.step_size) == float(here.kernel.step_size)


@pytest.mark.parametrize("power", [2, 6])
def test_scales_from_small_to_large_are_all_found(power):
    sd = jnp.logspace(-power, power, 5)
    energy = jax.tree_util.Partial(lambda sd, x: 0.5 * jnp.sum((x / sd) ** 2), sd)
    starts = sd[None] * jax.random.normal(jax.random.key(9), (200, 5))
    found = jl.warm_up(key(), energy, jl.mala(float(sd[0]) ** 2), starts, num_steps=400)
    np.testing.assert_allclose(found.kernel.preconditioner.scale, sd, rtol=0.2)
    assert float(found.kernel.step_size) > 0.5


def test_a_first_step_in_another_unit_is_left_behind():
    """A first step of 1 where 1e-14 fits."""
    energy = jax.tree_util.Partial(lambda sd, x: 0.5 * jnp.sum((x / sd) ** 2), jnp.float32(1e-7))
    starts = 1e-7 * jax.random.normal(jax.random.key(9), (200, 5))
    found = jl.warm_up(key(), energy, jl.mala(1.0), starts, num_steps=1000)
    np.testing.assert_allclose(found.kernel.preconditioner.scale, 1e-7, rtol=0.3)


def test_fewer_draws_than_coordinates_have_a_dense_covariance():
    """One chain, whose first window has 40 draws of 60 coordinates, of which each has a scale."""
    scales = jnp.logspace(-3.0, 3.0, 60)
    energy = jax.tree_util.Partial(lambda s, x: 0.5 * jnp.sum((x / s) ** 2), scales)
    kernel = jl.mala(0.1, preconditioner=scales**2)
    found = jl.warm_up(key(), energy, kernel, scales[None], num_steps=400, precondition="dense")
    lower = found.kernel.preconditioner.lower / scales[:, None]
    assert np.linalg.cond(np.asarray(lower, np.float64)) < 100


def test_the_covariance_is_shrunk_by_the_noise_of_its_correlations():
    """By hand for two coordinates with r = 1/2: w = (1 - 1/4)² / (9 · 1/4) = 1/4."""
    shrunk = jl.adaptation._shrunk(jnp.array([[4.0, 1e6], [1e6, 1e12]]), 10)
    np.testing.assert_allclose(shrunk, [[4.0, 0.75e6], [0.75e6, 1e12]], rtol=1e-6)
    none = jl.adaptation._shrunk(jnp.array([[4.0, 0.1], [0.1, 1.0]]), 10)  # all of it is noise
    np.testing.assert_array_equal(none, [[4.0, 0.0], [0.0, 1.0]])
    np.testing.assert_array_equal(jl.adaptation._shrunk(jnp.array([[4.0]]), 10), [[4.0]])


# Chains without a covariance ----------------------------------------------------------------


def far_apart(x):
    """A scale of 1e5 along one direction, of 1 along the five others."""
    mean = jnp.mean(x)
    return 0.5 * (mean / 1e5) ** 2 + 0.5 * jnp.sum((x - mean) ** 2)


@pytest.mark.parametrize(
    ("kernel", "energy", "starts", "message"),
    [
        (
            jl.malt(1e20, 1.0, 2),
            lambda x: 0.5 * jnp.sum((x / 1e20) ** 2),
            jnp.linspace(-1e20, 1e20, 20)[:, None] * jnp.ones((20, 2)),
            r"mass: the covariance .* size \d\.\de\+20, is not finite in float32; measure",
        ),
        (
            jl.mala(0.5),
            far_apart,
            jnp.linspace(-1e5, 1e5, 20)[:, None] * jnp.ones((20, 6)),
            "preconditioner: the covariance .* is not positive definite in float32; take",
        ),
        (
            jl.mala(1e-10),
            lambda x: 0.5 * jnp.sum(((x - 1e4) / jnp.array([1e-5, 1.0])) ** 2),
            1e4 + jnp.linspace(-1.0, 1.0, 20)[:, None] * jnp.array([[0.0, 1.0]]),
            r"size 1.0e\+04, is 0 for 1 of 2 coordinates in float32; measure",
        ),
    ],
    ids=["squares overflow", "rounding", "a coordinate that does not move"],
)
def test_chains_without_a_covariance_to_adapt_to_are_told(kernel, energy, starts, message):
    """In the word of the argument: a mass for `malt`."""
    with pytest.raises(jl.AdaptationError, match=message):
        jl.warm_up(key(), energy, kernel, starts, num_steps=200, precondition="dense")
