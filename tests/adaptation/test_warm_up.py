"""Warm-up finds step size and scales from many starts, freezes them, reports, and refuses.

Most of the time goes to compiling. So energies are functions of the module, with parameters as
leaves, and tests of a kind use as many chains and coordinates.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial
from warm_up_programs import traced_and_compiled

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


def bell(sd, x):
    return 0.5 * jnp.sum((x / sd) ** 2)


@pytest.mark.parametrize("first", [1e-6, 1.0, 1e6])
def test_the_step_size_reaches_its_acceptance_rate(first):
    energy = jl.energies.double_well(dim=5)
    found = jl.warm_up(
        key(), energy, jl.mala(first), jnp.ones((200, 5)), precondition=None, target_acceptance=0.6
    )
    run = jl.resume(found.state, energy, found.kernel, num_steps=200, observe=None)
    assert abs(float(run.info.acceptance_rate.mean()) - 0.6) < 0.05
    assert found.step_sizes.shape == found.acceptance.shape == (found.verdict.num_steps // 20,)
    assert abs(found.verdict.acceptance - 0.6) < 0.05


def assert_whitens(lower, cov):
    root = np.linalg.inv(np.linalg.cholesky(np.asarray(cov, np.float64)))
    half = np.dot(root, lower)
    assert np.abs(np.linalg.eigvalsh(np.dot(half, half.T)) - 1).max() < 0.3


def test_a_diagonal_preconditioner_holds_the_variances():
    """The inverse of the gradients' variances counts too. So these are the variances with
    correlations left out, between the marginal and the conditional ones."""
    energy, cov = badly_scaled()
    found = jl.warm_up(
        key(), energy, jl.mala(1e-4), energy, num_chains=200, precondition="diagonal"
    )
    scale = np.asarray(found.kernel.preconditioner.scale)
    marginal = np.sqrt(np.diagonal(cov))
    conditional = 1 / np.sqrt(np.diagonal(np.linalg.inv(np.asarray(cov, float))))
    np.testing.assert_allclose(scale, np.sqrt(marginal * conditional), rtol=0.2)


def test_a_position_that_is_a_matrix_has_a_diagonal_like_it():
    """Not a matrix over its elements, as a square array given as a preconditioner would be."""
    scales = jnp.array([[0.1, 1.0], [3.0, 0.5]])
    found = jl.warm_up(
        key(), Partial(bell, scales), jl.mala(1e-3), jnp.zeros((200, 2, 2)), precondition="diagonal"
    )
    np.testing.assert_allclose(found.kernel.preconditioner.scale, scales, rtol=0.3)


def test_a_dense_preconditioner_is_the_covariance_and_the_run_after_it_has_the_exact_law(x64):
    """Frozen and invariant: some way on from the warmed-up state, moments are the target's."""
    energy, cov = badly_scaled()
    found = jl.warm_up(
        key(), energy, jl.mala(1e-4), energy, num_chains=20_000, precondition="dense"
    )
    assert_whitens(found.kernel.preconditioner.lower, cov)
    assert float(found.kernel.step_size) > 0.1
    run = jl.resume(found.state, energy, found.kernel, num_steps=60, observe=None)
    jl.verify.assert_law(run.position, jl.Gaussian(jnp.zeros(3), cov))


def test_the_mass_of_malt_becomes_the_inverse_covariance():
    energy, cov = badly_scaled()
    kernel = jl.malt(1e-3, 1.0, 4)
    found = jl.warm_up(key(), energy, kernel, energy, num_chains=200, precondition="dense")
    assert_whitens(found.kernel.inverse_mass.lower, cov)


def quartic(x):
    return jnp.sum(x**4)


def test_starts_that_suit_no_common_step_size_settle():
    """x⁴ from 0.01 to 100: the curvatures differ by 10⁸, and the moves that fit by 10⁴.

    In tails this light, `mala` now and then stays in place for long. Under any key, about one in a
    hundred chains accepts less than 0.3 over 200 steps; ten do with a probability of 1e-7.
    """
    start = jnp.geomspace(0.01, 100.0, 100)[:, None]
    found = jl.warm_up(key(), quartic, jl.mala(1e-3), start, num_steps=2_000)
    position = found.state.kernel.position
    assert jnp.abs(position).max() < 4
    run = jl.resume(found.state, quartic, found.kernel, num_steps=200)
    assert (run.info.acceptance_rate > 0.3).mean() > 0.9


def test_pytree_positions_are_warmed_up():
    def energy(x):
        return 0.5 * jnp.sum(x["a"] ** 2) + 50.0 * jnp.sum(x["b"] ** 2)

    start = {"a": jnp.zeros((100, 2)), "b": jnp.zeros((100, 2, 2))}
    found = jl.warm_up(key(), energy, jl.mala(1e-3), start, precondition="diagonal")
    scale = found.kernel.preconditioner.scale
    np.testing.assert_allclose(scale["a"], 1.0, rtol=0.3)
    np.testing.assert_allclose(scale["b"], 0.1, rtol=0.3)


def walled(power, x):
    """-log p of a gamma law, with a wall at 0."""
    return jnp.sum(x - power * jnp.log(x))


def test_proposals_that_are_not_finite_do_not_drive_the_step_to_zero():
    energy = Partial(walled, jnp.float32(0.5))
    found = jl.warm_up(key(), energy, jl.mala(0.1), jnp.ones((200, 2)), precondition=None)
    assert float(found.kernel.step_size) > 0.02


def test_draws_that_are_not_finite_are_drawn_again():
    energy, law = Partial(walled, jnp.float32(2.0)), jl.starts.uniform(-2, 2, like=jnp.zeros(2))
    found = jl.warm_up(key(), energy, jl.mala(0.1), law, num_chains=200, precondition=None)
    assert 100 < len(found.verdict.redrawn) < 190  # three of four, by chance
    assert "drawn again" in str(found)


def test_an_energy_is_traced_few_times():
    """For a deep network, each trace costs half as much as its compilation. In a warm-up of malt,
    see test_with_the_run_after_it_four_programs_are_compiled."""
    count = 0

    def energy(x):
        nonlocal count
        count += 1
        return 0.5 * jnp.sum(x**2)

    for kernel in (jl.ula(0.01), jl.mala(0.01)):
        count = 0
        jl.sample(key(), energy, kernel, jnp.ones((4, 2)), num_steps=20, burn_in=3)
        assert 0 < count <= 6


def test_no_new_step_size_compiles_anything():
    traces, count = [], 0

    class Counted(type(jl.mala(0.1))):
        def step(self, energy, state, noise):
            traces.append(None)
            return super().step(energy, state, noise)

    jax.tree_util.register_pytree_node(
        Counted,
        lambda k: ((k.step_size, k.temperature, k.preconditioner), None),
        lambda _, leaves: Counted(*leaves),
    )

    def energy(x):
        nonlocal count
        count += 1
        return 0.5 * jnp.sum(x**2)

    jl.warm_up(key(), energy, Counted(0.1, 1.0, None), jnp.ones((64, 2)))
    assert len(traces) <= 10  # of fifty pieces
    assert 0 < count <= 4


class Named:
    """An energy with a member that a user's kernel may ask for."""

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


def test_a_kernel_can_use_every_member_of_an_energy():
    run = jl.sample(key(), Named(), Asking(), jnp.ones((4, 2)), num_steps=2)
    np.testing.assert_array_equal(run.position, 9.0)


def test_the_curvature_is_the_largest_eigenvalue_of_the_hessian():
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
        ({"kernel": None}, TypeError, "kernel: None is not a kernel"),
        (
            {"kernel": jl.coupled(jl.mala(0.1), lag=1)},
            TypeError,
            "kernel: Coupled has no step size of its own to adapt; warm up MALA, the inner kernel",
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
        """Finite only at the starts."""
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
    energy = Partial(correlated, jnp.float32(factor), jnp.asarray(units))
    starts = jax.random.normal(jax.random.key(1), (10, 3)) * units[None]
    return jl.warm_up(key(), energy, make(units, factor), starts, num_steps=200, **options)


def mala_in(units, factor):
    diagonal = jl.kernels.Diagonal(jnp.asarray(units))
    return jl.mala(0.01 / factor, temperature=factor, preconditioner=diagonal)


def dense_mala_in(units, factor):
    return jl.mala(0.01 * units[0] ** 2 / factor, temperature=factor)


@pytest.mark.filterwarnings("ignore:warm-up has not settled")  # in so few steps
@pytest.mark.parametrize(
    ("make", "units", "factor", "options"),
    [
        (mala_in, UNITS, 1.0, {"precondition": "diagonal"}),
        (mala_in, UNITS, 2.0**30, {"precondition": "diagonal"}),
        (mala_in, UNITS, 1.0, {"precondition": "dense"}),
        (dense_mala_in, np.full(3, 2.0**-40, np.float32), 1.0, {"precondition": "dense"}),
        (dense_mala_in, np.full(3, 2.0**40, np.float32), 2.0**30, {"precondition": "dense"}),
    ],
    ids=["positions", "energies", "dense", "dense, small", "dense, large"],
)
def test_the_same_problem_in_other_units_gives_the_same_chains(make, units, factor, options):
    here = warmed(make, np.ones(3, np.float32), **options)
    there = warmed(make, units, factor=factor, **options)
    np.testing.assert_array_equal(
        there.state.kernel.position / units[None], here.state.kernel.position
    )
    np.testing.assert_array_equal(there.acceptance, here.acceptance)
    here_root, there_root = (
        np.asarray(jax.tree.leaves(found.kernel.preconditioner)[0], np.float64)
        for found in (here, there)
    )
    np.testing.assert_array_equal(
        there_root, (here_root.T * units / np.sqrt(factor)).T.astype(np.float32)
    )
    # The covariance carries the units, so the step size does not.
    assert float(there.kernel.step_size) == float(here.kernel.step_size)


@pytest.mark.parametrize("power", [2, 6])
def test_scales_from_small_to_large_are_all_found(power):
    sd = jnp.logspace(-power, power, 5)
    energy = Partial(bell, sd)
    starts = sd[None] * jax.random.normal(jax.random.key(9), (200, 5))
    found = jl.warm_up(key(), energy, jl.mala(float(sd[0]) ** 2), starts, precondition="diagonal")
    np.testing.assert_allclose(found.kernel.preconditioner.scale, sd, rtol=0.2)
    assert float(found.kernel.step_size) > 0.5


def test_a_first_step_in_another_unit_is_left_behind():
    """A first step of 1 where 1e-14 fits."""
    energy = Partial(bell, jnp.full(5, 1e-7))
    starts = 1e-7 * jax.random.normal(jax.random.key(9), (200, 5))
    found = jl.warm_up(key(), energy, jl.mala(1.0), starts, precondition="diagonal")
    np.testing.assert_allclose(found.kernel.preconditioner.scale, 1e-7, rtol=0.3)


@pytest.mark.filterwarnings("ignore:warm-up has not settled")
def test_fewer_draws_than_coordinates_leave_a_dense_preconditioner_regular():
    """One chain, looked at 20 times, in 60 coordinates that each have a scale of their own."""
    scales = jnp.logspace(-3.0, 3.0, 60)
    energy = Partial(bell, scales)
    kernel = jl.mala(0.1, preconditioner=scales**2)
    found = jl.warm_up(key(), energy, kernel, scales[None], num_steps=400, precondition="dense")
    lower = found.kernel.preconditioner.lower / scales[:, None]
    assert np.linalg.cond(np.asarray(lower, np.float64)) < 100


# Scales that a covariance could not hold ----------------------------------------------------


def far_apart(x):
    """A scale of 1e5 along one direction, of 1 along the five others."""
    mean = jnp.mean(x)
    return 0.5 * (mean / 1e5) ** 2 + 0.5 * jnp.sum((x - mean) ** 2)


def test_squares_may_overflow():
    found = jl.warm_up(
        key(),
        Partial(bell, jnp.float32(1e20)),
        jl.malt(1e20, 1.0, 2),
        jnp.linspace(-1e20, 1e20, 20)[:, None] * jnp.array([[1.0, -0.5]]),
    )
    assert found.verdict.settled


def test_a_condition_number_may_exceed_the_digits_of_the_dtype():
    starts = jnp.linspace(-1e5, 1e5, 64)[:, None] * jnp.ones((64, 6))
    found = jl.warm_up(key(), far_apart, jl.mala(0.5), starts)
    assert found.verdict.settled
    assert found.verdict.condition > 1e9
    assert float(found.kernel.step_size) > 0.3  # in coordinates that are round


def test_a_coordinate_that_cannot_move_in_its_dtype_is_reported():
    """At 1e4, float32 numbers are 1e-3 apart, and the scale is 1e-5."""
    starts = 1e4 + jnp.linspace(-1.0, 1.0, 64)[:, None] * jnp.array([[0.0, 1.0]])
    energy = two_wells(1e4, jnp.inf, width=jnp.array([1e-5, 1.0]))
    message = (
        r"preconditioner: .* size 1.0e\+04, do not differ at all in 1 of 2 coordinates in float32"
    )
    with pytest.raises(jl.AdaptationError, match=message):
        jl.warm_up(key(), energy, jl.mala(1e-10), starts)


# Starts ---------------------------------------------------------------------------------------


def residuals(X, y, q):
    residual = (y - X @ q[:2]) * jnp.exp(-q[2])
    return 0.5 * jnp.sum(residual**2) + 1_000 * q[2] + 0.5 * q[2] ** 2


@functools.cache
def regression():
    """Predictors near 70 with a spread of 4, as data come: a condition number of a million."""
    rng = np.random.default_rng(0)
    height = 66.6 + 3.8 * rng.standard_normal(1_000)
    y = 5.8 + 0.06 * (height - 66.6) + 0.9 * rng.standard_normal(1_000)
    X = np.column_stack([np.ones(1_000), height])
    arrays = jnp.asarray(X, jnp.float32), jnp.asarray(y, jnp.float32)
    return Partial(residuals, *arrays), np.linalg.lstsq(X, y, rcond=None)[0]


@pytest.mark.parametrize(
    ("kernel", "start"),
    [
        (jl.mala(0.1), "a box"),
        (jl.mala(0.1), "one point"),
        (jl.mala(0.1), "one far point"),
        (jl.malt(0.1, 1.0, 4), "a box"),
        (jl.barker(0.1), "one far point"),
    ],
)
def test_nothing_has_to_be_known_of_a_regression(kernel, start):
    energy, least_squares = regression()
    init = {
        "a box": jl.starts.uniform(-2, 2, like=jnp.zeros(3)),
        "one point": jl.Gaussian(jnp.zeros(3), jnp.zeros((3, 3))),
        "one far point": jl.Gaussian(jnp.array([-50.0, 10.0, 3.0]), jnp.zeros((3, 3))),
    }[start]
    found = jl.warm_up(key(), energy, kernel, init, num_chains=64)
    run = jl.resume(found.state, energy, found.kernel, num_steps=1_000, thin=4)
    assert found.verdict.settled
    assert abs(float(run.info.acceptance_rate.mean()) - found.verdict.target) < 0.07
    assert float(jl.diagnostics.rhat(run.draws).max()) < 1.01
    draws = np.asarray(run.draws, np.float64)[..., :2]
    assert np.abs((draws.mean((0, 1)) - least_squares) / draws.std((0, 1))).max() < 0.1


def test_chains_come_in_from_an_energy_of_1e100(x64):
    def energy(x):
        return 0.5 * jnp.sum(x**2) + jnp.sum(x**50)

    starts = jnp.full((64, 2), 1e2) * jax.random.uniform(key(), (64, 2), minval=0.5)
    assert float(jax.vmap(energy)(starts).max()) > 1e95
    found = jl.warm_up(key(), energy, jl.mala(0.1), starts)
    assert found.verdict.settled
    assert float(jnp.abs(found.state.kernel.position).max()) < 1.5


# What is said ---------------------------------------------------------------------------------


def wells(centre, height, width, x):
    low, high = (0.5 * jnp.sum(((x - place) / width) ** 2) for place in (centre, -centre))
    return jnp.minimum(low, height + high)


def two_wells(centre=50.0, height=200.0, width=1.0):
    """About ±centre. The second one is higher, by default so that its mass is exp(-200) of the
    other's."""
    width = jnp.broadcast_to(jnp.float32(width), 2)
    return Partial(wells, jnp.float32(centre), jnp.float32(height), width)


def test_chains_that_stay_behind_are_counted_and_started_again():
    starts = jnp.concatenate([jnp.full((60, 2), 50.0), jnp.full((4, 2), -50.0)])
    with pytest.warns(jl.WarmUpWarning, match=r"4 of 64 chains \(60, 61, 62, 63\) stayed at"):
        found = jl.warm_up(key(), two_wells(), jl.mala(0.1), starts)
    assert found.verdict.settled
    np.testing.assert_array_equal(found.verdict.left_out, [60, 61, 62, 63])
    assert np.all(found.verdict.energies > 195)
    assert float(found.state.kernel.position.min()) > 0


def test_all_that_stay_behind_are_found_among_many_chains():
    """Here at most every second chain's position is looked at."""
    starts = np.full((8_192, 2), 50.0, np.float32)
    starts[1::2000] = -50.0
    with pytest.warns(jl.WarmUpWarning, match=r"5 of 8,192 chains \(1, 2001, 4001, 6001, 8001\)"):
        found = jl.warm_up(key(), two_wells(), jl.mala(0.1), starts)
    assert float(found.state.kernel.position.min()) > 0


def test_chains_in_a_mode_of_like_energy_disagree_but_are_not_behind():
    starts = jnp.concatenate([jnp.full((60, 2), 9.0), jnp.full((4, 2), -9.0)])
    energy = two_wells(9.0, 0.0)
    with pytest.warns(jl.WarmUpWarning, match=r"chains disagree, R-hat is .*jlangevin.tempered"):
        found = jl.warm_up(key(), energy, jl.mala(0.1), starts, num_steps=2_000)
    assert not found.verdict.settled
    assert len(found.verdict.left_out) == 0


@pytest.mark.parametrize("kernel", [jl.mala(0.1), jl.malt(0.1, 1.0, 4), jl.barker(0.1)])
def test_a_warm_up_that_was_too_short_says_so(kernel):
    """It says nothing else: chains that are on their way have not stayed behind."""
    energy, _ = regression()
    law = jl.starts.uniform(-2, 2, like=jnp.zeros(3))
    with pytest.warns(jl.WarmUpWarning, match="num_steps=200"):
        found = jl.warm_up(key(), energy, kernel, law, num_chains=64, num_steps=200)
    assert not found.verdict.settled
    assert found.verdict.num_steps <= 220
    assert len(found.verdict.left_out) == 0


def test_the_neck_of_a_funnel_is_named():
    funnel = jl.energies.funnel(dim=10)
    starts = jl.starts.uniform(-2, 2, like=jnp.zeros(10))
    with pytest.warns(jl.WarmUpWarning, match="hardly move|disagree|drift"):
        found = jl.warm_up(key(), funnel, jl.mala(0.1), starts, num_chains=64, num_steps=4_000)
    assert not found.verdict.settled


def test_what_is_printed_fits_a_screen():
    energy, _ = regression()
    law = jl.starts.uniform(-2, 2, like=jnp.zeros(3))
    found = jl.warm_up(key(), energy, jl.malt(0.1, 1.0, 4), law, num_chains=64)
    lines = str(found).splitlines()
    assert lines[0].startswith("warm-up of MALT: settled after ")
    assert lines[3].startswith("  preconditioner  dense, condition number 1")
    assert len(lines) <= 8
    assert max(map(len, lines)) <= 100


def along_the_diagonal(widths, x):
    """30 times as wide along the diagonal."""
    y = x / widths
    return bell(1.0, y) - 0.5 * (1 - 1 / 900) * jnp.sum(y) ** 2 / len(widths)


@pytest.mark.parametrize(
    ("kernel", "num_steps"), [(jl.mala(0.1), 1_000), (jl.malt(0.1, 1.0, 3), 300)]
)
def test_many_coordinates_have_a_diagonal_and_few_directions(kernel, num_steps):
    d = 150
    widths = jnp.geomspace(0.1, 10.0, d)
    energy = Partial(along_the_diagonal, widths)
    starts = jl.starts.uniform(-2, 2, like=jnp.zeros(d))
    found = jl.warm_up(key(), energy, kernel, starts, num_chains=64)
    assert found.verdict.settled
    assert found.verdict.preconditioner == "low rank"
    run = jl.resume(found.state, energy, found.kernel, num_steps=num_steps, thin=num_steps // 100)
    variances = np.var(np.asarray(run.draws, np.float64), axis=(0, 1)) / np.asarray(widths) ** 2
    np.testing.assert_allclose(variances, 1 + 899 / d, rtol=0.1)


@pytest.mark.parametrize(
    "kernel",
    [
        jl.microcanonical(0.1, 1.0),
        jl.adjusted_microcanonical(0.1, trajectory_length=2, decoherence_length=1.0),
    ],
    ids=["unadjusted", "adjusted"],
)
def test_microcanonical_kernels_have_their_lengths_found(kernel):
    """For the unadjusted one, from the variance of the energy's change, to a bias of about 1%."""
    skewed = jl.energies.quadratic(jnp.diag(10.0 ** jnp.linspace(-2, 2, 20)))
    starts = jl.starts.uniform(-2, 2, like=jnp.zeros(20))
    found = jl.warm_up(key(), skewed, kernel, starts, num_chains=100)
    assert found.verdict.settled
    np.testing.assert_allclose(found.kernel.decoherence_length, 20**0.5, rtol=1e-6)
    run = jl.resume(found.state, skewed, found.kernel, num_steps=1_000, thin=2)
    variances = np.var(np.asarray(run.draws, np.float64), axis=(0, 1))
    scaled = variances * 10.0 ** np.linspace(-2, 2, 20)
    bias = -0.01 if run.info.acceptance_rate is None else 0.0
    np.testing.assert_allclose(np.mean(scaled), 1 + bias, atol=0.012)


def test_with_the_run_after_it_four_programs_are_compiled():
    """For the starts, the first state, the steps that adapt, and the steps that count."""
    traced, programs = traced_and_compiled()
    assert programs == ["jit(_drawn)", "jit(begin)", "jit(advance)", "jit(advance)"]
    assert traced <= 6
