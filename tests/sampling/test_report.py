"""What is said of a run: faults of the energy, chains that are stuck, what a dtype cannot tell."""

import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jlangevin as jl
from jlangevin.errors import (
    DivergenceError,
    DivergenceWarning,
    EnergyWarning,
    PrecisionWarning,
    StuckWarning,
)


def key():
    return jax.random.key(0)


def said(run):
    """What `run` returns, and its warnings by their class."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        result = run()
    return result, {type(w.message): str(w.message) for w in caught}


# An energy or a gradient that is not a number ---------------------------------------------------


def untaken(x):
    """a²/2 + b²/2, whose gradient is NaN where b < 0, from the branch that is not taken."""
    square = jnp.where(x["b"] > 0, jnp.sqrt(x["b"]) ** 4, x["b"] ** 2)
    return 0.5 * x["a"] ** 2 + 0.5 * square


def gamma(x):
    """The density x² exp(-x) on x > 0, whose gradient is finite where the energy is NaN."""
    return jnp.sum(x - 2 * jnp.log(x))


def both_leaves(n):
    return {"a": jnp.zeros(n), "b": jnp.ones(n)}


REJECTING = {
    "mala": jl.mala(0.3),
    "barker": jl.barker(0.3),
    "malt": jl.malt(0.3, 1.0, 4),
    "tempered": jl.tempered(jl.mala(0.3), [1.0, 2.0]),
    "coupled": jl.coupled(jl.mala(0.3), lag=2),
}


@pytest.mark.parametrize("name", REJECTING)
def test_a_gradient_that_is_nan_where_chains_want_to_go_is_counted_and_named(name):
    run, words = said(
        lambda: jl.sample(
            key(), untaken, REJECTING[name], both_leaves(50), num_steps=30, observe=None
        )
    )
    message = words.pop(EnergyWarning)
    assert not words
    faults = run.info.rejections.faults
    assert f"{int(faults.sum()):,} proposals of {int((faults > 0).sum())} of 50 chains" in message
    first = int(np.flatnonzero(faults)[0])
    assert f"chain {first} of the run, it was its gradient in its leaf ['b']." in message
    # In bits, 1 is the energy, and 2 and 4 are the leaves of its gradient.
    assert set(np.unique(run.info.rejections.faulty)) <= {0, 4}
    assert not run.info.rejections.walls.any()
    assert not run.info.rejections.rounded.any()


@pytest.mark.slow
def test_a_fault_in_the_middle_of_a_trajectory_is_told_from_what_follows():
    """One NaN spreads to the velocity and all leaves of the position; the first cause counts."""
    kernel = jl.malt(0.3, 1.0, 8)
    run, _ = said(
        lambda: jl.sample(key(), untaken, kernel, both_leaves(50), num_steps=30, observe=None)
    )
    assert set(np.unique(run.info.rejections.faulty)) == {4}

    walled = jl.domains.confine(lambda x: jnp.sum(x**2), jl.domains.box(-1.0, 1.0))
    run, words = said(
        lambda: jl.sample(key(), walled, kernel, jnp.zeros((50, 2)), num_steps=30, observe=None)
    )
    assert not words
    assert run.info.rejections.walls.sum() > 0
    assert not run.info.rejections.faults.any()


def test_an_energy_that_is_infinite_is_a_wall_and_no_fault():
    def half_normal(x):
        return jnp.where(x[0] > 0, 0.5 * x[0] ** 2, jnp.inf)

    run = jl.sample(key(), half_normal, jl.mala(0.5), jnp.ones((50, 1)), num_steps=30)
    assert run.info.rejections.walls.sum() > 0
    assert not run.info.rejections.faults.any()
    assert (run.draws > 0).all()


@pytest.mark.slow
def test_an_energy_that_is_nan_or_minus_infinity_is_at_fault():
    for wrong in (jnp.nan, -jnp.inf):

        def energy(x, wrong=wrong):
            return jnp.where(x[0] > 0, 0.5 * x[0] ** 2, wrong)

        run, words = said(
            lambda energy=energy: jl.sample(
                key(), energy, jl.mala(0.5), jnp.ones((50, 1)), num_steps=30
            )
        )
        assert "it was the energy." in words[EnergyWarning]
        assert set(np.unique(run.info.rejections.faulty)) <= {0, 1, 3}


def test_rejections_are_counted_after_burn_in_and_go_on_over_a_resume():
    energy, kernel, start = (
        jl.domains.confine(lambda x: jnp.sum(x**2), jl.domains.box(-1.0, 1.0)),
        (jl.mala(0.5)),
        jnp.zeros((20, 1)),
    )

    def walls(run):
        return np.asarray(run.info.rejections.walls)

    whole = jl.sample(key(), energy, kernel, start, num_steps=12, burn_in=8, observe=None)
    first = jl.sample(key(), energy, kernel, start, num_steps=8, observe=None)
    everything = jl.sample(key(), energy, kernel, start, num_steps=20, observe=None)
    np.testing.assert_array_equal(walls(first) + walls(whole), walls(everything))
    later = jl.resume(first.state, energy, kernel, num_steps=12, observe=None)
    np.testing.assert_array_equal(walls(later), walls(everything))


GRADIENT_ALONE = {
    "ula": jl.ula(0.1),
    "leimkuhler_matthews": jl.leimkuhler_matthews(0.1),
    "underdamped": jl.underdamped(0.3, 1.0),
}


@pytest.mark.parametrize("name", GRADIENT_ALONE)
def test_chains_that_end_where_the_energy_is_not_finite_are_counted(name):
    """If a kernel never asks for the energy, the driver does so where a run ends."""
    run, words = said(
        lambda: jl.sample(
            key(), gamma, GRADIENT_ALONE[name], jnp.ones((100, 1)), num_steps=200, observe=None
        )
    )
    outside = ~np.isfinite(jax.vmap(gamma)(run.position))
    assert 0 < outside.sum() < 100
    np.testing.assert_array_equal(run.info.num_divergent, outside)
    assert (run.info.first_bad_step == -1).all()
    message = words.pop(EnergyWarning)
    assert f"{outside.sum()} of 100 chains" in message
    assert f"the first is chain {np.flatnonzero(outside)[0]} of the run" in message
    assert not words


def test_where_a_run_is_cut_changes_nothing_about_chains_that_end_outside():
    whole, pieces = (
        said(
            lambda cut=cut: jl.sample(
                key(), gamma, jl.ula(0.1), jnp.ones((100, 1)), num_steps=200, block_steps=cut
            )
        )[0]
        for cut in (None, 20)
    )
    np.testing.assert_array_equal(whole.info.num_divergent, pieces.info.num_divergent)
    np.testing.assert_array_equal(whole.draws, pieces.draws)


def test_pooled_reducers_leave_out_chains_that_end_outside():
    reducer = jl.reducers.pooled(jl.reducers.moments())
    run, _ = said(
        lambda: jl.sample(
            key(), gamma, jl.ula(0.1), jnp.ones((100, 1)), num_steps=200, reducers=reducer
        )
    )
    assert run.summary.num_chains == 100 - run.info.num_divergent.sum()


def test_a_score_has_no_energy_to_look_at():
    run = jl.sample(
        key(), jl.scores.score(lambda x: -x), jl.ula(0.1), jnp.ones((4, 1)), num_steps=3
    )
    assert not run.info.num_divergent.any()


@pytest.mark.parametrize(
    ("energy", "kernel"), [(untaken, jl.mala(0.3)), (gamma, jl.ula(0.1))], ids=["met", "outside"]
)
def test_faults_of_the_energy_are_raised_or_ignored_as_divergences_are(energy, kernel):
    start = both_leaves(100) if energy is untaken else jnp.ones((100, 1))

    def run(how):
        return jl.sample(
            key(), energy, kernel, start, num_steps=200, observe=None, on_divergence=how
        )

    with pytest.raises(DivergenceError, match="energy"):
        run("raise")
    ignored = run("ignore")
    reported, words = said(lambda: run("report"))
    assert list(words) == [EnergyWarning]
    np.testing.assert_array_equal(
        jax.tree.leaves(ignored.position)[0], jax.tree.leaves(reported.position)[0]
    )


@pytest.mark.slow
def test_arviz_is_told_of_both():
    """Chains that kept out of a place, and draws where the energy is not finite."""
    cut, _ = said(lambda: jl.sample(key(), untaken, jl.mala(0.3), both_leaves(20), num_steps=30))
    stats = cut.to_datatree()["sample_stats"]
    met = np.asarray(cut.info.rejections.faults) > 0
    np.testing.assert_array_equal(stats["diverging"].all("draw"), met)
    np.testing.assert_array_equal(stats["diverging"].any("draw"), met)
    np.testing.assert_array_equal(stats["rejections_faults"], cut.info.rejections.faults)

    left, _ = said(
        lambda: jl.sample(key(), gamma, jl.ula(0.1), jnp.ones((10, 1)), num_steps=200, thin=10)
    )
    by_draw = left.to_datatree(energy=gamma)["sample_stats"]["diverging"].to_numpy()
    np.testing.assert_array_equal(by_draw, np.asarray(left.draws[..., 0]) <= 0)
    by_chain = left.to_datatree()["sample_stats"]["diverging"].to_numpy()
    np.testing.assert_array_equal(by_chain.all(axis=1), left.info.num_divergent == 1)


def test_the_start_and_the_divergence_name_the_leaf():
    start = {"a": jnp.zeros(4), "b": jnp.array([1.0, 1.0, -1.0, -1.0])}
    wanted = r"start of 2 of 4 chains; .* chain 2, its gradient in its leaf \['b'\] is not"
    with pytest.raises(ValueError, match=wanted):
        jl.sample(key(), untaken, jl.mala(0.3), start, num_steps=1)
    start["a"] = start["a"].at[1].set(jnp.inf)
    with pytest.raises(ValueError, match=r"chain 1, the position in its leaf \['a'\] is not"):
        jl.sample(key(), untaken, jl.mala(0.3), start, num_steps=1)
    with pytest.raises(ValueError, match=r"chain 0, the energy is not"):
        jl.sample(key(), gamma, jl.mala(0.3), -jnp.ones((4, 1)), num_steps=1)
    _, words = said(
        lambda: jl.sample(key(), untaken, jl.ula(0.3), both_leaves(50), num_steps=30, observe=None)
    )
    (message,) = words.values()
    assert "; its gradient in its leaf ['b'] is not finite there." in message
    assert "the energy is not" not in message


# Proposals that overflow ------------------------------------------------------------------------


def cliff(x):
    """½|x|² within a diamond, and beyond it finite numbers whose products overflow."""
    steep = jnp.asarray(1e3 * float(jnp.finfo(x.dtype).max) ** 0.5, x.dtype)
    return jnp.where(size(x) < 2, 0.5 * jnp.sum(x**2), steep * size(x))


def size(x):
    return jnp.abs(x[0]) + 0.2 * jnp.abs(x[1])


def leaning():
    """A positive definite matrix under which the terms of gᵀPg have both signs."""
    return jnp.array([[1.0, -0.8], [-0.8, 1.0]])


OVERFLOWING = {
    "mala": lambda: jl.mala(0.5, preconditioner=leaning()),
    "barker": lambda: jl.barker(0.5, preconditioner=leaning()),
    "malt": lambda: jl.malt(0.7, 1.0, 2, mass=jnp.linalg.inv(leaning())),
    "reflected_mala": lambda: jl.reflected_mala(0.5, jl.domains.box(-9.0, 9.0)),
    "mirrored": lambda: jl.mirrored(jl.mala(0.5), jl.domains.box(-9.0, 9.0)),
    "tempered": lambda: jl.tempered(jl.mala(0.5, preconditioner=leaning()), [1.0, 3.0]),
    "coupled": lambda: jl.coupled(jl.mala(0.5, preconditioner=leaning()), lag=1),
}


@pytest.mark.parametrize("name", OVERFLOWING)
def test_a_proposal_that_overflows_is_rejected_by_the_compiled_program(name):
    """Where +inf and -inf meet in the work, a compiled sum may be +inf, and not NaN."""
    run = jl.sample(
        key(), cliff, OVERFLOWING[name](), jnp.zeros((2_000, 2)), num_steps=20, observe=None
    )
    if name != "barker":  # whose work is finite here
        assert run.info.rejections.walls.sum() > 0
    chains = run.state.kernel
    everywhere = [run.position]
    if name == "coupled":
        everywhere += [chains.lagging.position]
    if name == "tempered":
        everywhere += [jnp.moveaxis(chains.states.position, -1, 0).reshape(-1, 2)]
    for positions in everywhere:
        assert (jax.vmap(size)(positions) < 2).all()


@pytest.mark.slow
def test_an_overflow_is_not_accepted_for_being_plus_infinity():
    """exp(x) in a regression: without a guard half of the chains end above 1e10, and stay."""

    def energy(x):
        return jnp.exp(2 * x[1]) / 8 + (x[0] + jnp.exp(x[1])) ** 2 / 8 + 50 * jnp.sum(x**2)

    kernel = jl.malt(0.2, 1.0, 4, mass=jnp.linalg.inv(leaning()))
    run = jl.sample(key(), energy, kernel, jnp.full((2_000, 2), 0.3), num_steps=20, observe=None)
    assert run.state.kernel.energy.max() < 1e3


def test_the_work_of_a_huge_gradient_has_one_sign():
    """By itself, not compiled: its terms are in the root's coordinates and cannot cancel."""
    from jlangevin.kernels.metropolis import MetropolisState, langevin_work
    from jlangevin.kernels.preconditioner import as_preconditioner

    here = MetropolisState(jnp.zeros(2), jnp.float32(0), jnp.zeros(2))
    there = MetropolisState(jnp.ones(2), jnp.float32(0), jnp.array([1e25, 2e24]))
    for given in (None, leaning(), jnp.array([1.0, 4.0])):
        assert langevin_work(here, there, 0.5, as_preconditioner(given)) == -jnp.inf


# What a dtype cannot tell apart -----------------------------------------------------------------


def raised(constant, x):
    return constant + 0.5 * jnp.sum(x**2)


def lifted(by):
    return jax.tree_util.Partial(raised, jnp.float32(by))


WEIGHING = {
    **REJECTING,
    "tempered ula": jl.tempered(jl.ula(0.3), [1.0, 2.0]),
    "mirrored": jl.mirrored(jl.mala(0.3), jl.domains.box(0.0, jnp.inf)),
}


@pytest.mark.parametrize("name", WEIGHING)
def test_energies_too_large_for_their_dtype_are_said_where_they_are_weighed(name):
    start = jnp.ones((8, 1))
    for by, coarse in ((5e5, False), (1e6, True)):
        _, words = said(
            lambda by=by: jl.sample(key(), lifted(by), WEIGHING[name], start, num_steps=5)
        )
        assert list(words) == [PrecisionWarning] * coarse
    assert "energies of 8 of 8 chains" in words[PrecisionWarning]
    assert "up to 0.12 T" in words[PrecisionWarning]
    assert "Subtract a constant" in words[PrecisionWarning]


def test_what_counts_is_the_energy_over_the_temperature():
    for temperature, coarse in (
        (0.5, True),
        (2.0, False),
        (lambda t: jnp.exp2(-t.astype(float)), True),
    ):
        kernel = jl.mala(0.3, temperature=temperature)
        _, words = said(
            lambda kernel=kernel: jl.sample(
                key(), lifted(5e5), kernel, jnp.ones((8, 1)), num_steps=6
            )
        )
        assert list(words) == [PrecisionWarning] * coarse


@pytest.mark.slow
def test_warm_up_says_it_of_what_it_found():
    def search():
        return jl.warm_up(
            key(),
            jl.energies.quadratic(jnp.eye(1)),
            jl.mala(0.5),
            jnp.zeros((20, 1)),
        )

    assert not said(search)[1]

    def shifted():
        energy = jax.tree_util.Partial(lambda c, x: 0.5 * jnp.sum(x**2) + c, 1e7)
        return jl.warm_up(key(), energy, jl.mala(0.5), jnp.zeros((20, 1)))

    assert PrecisionWarning in said(shifted)[1]


def test_energies_that_nobody_weighs_may_be_large(x64):
    jl.sample(key(), lifted(1e9), jl.ula(0.3), jnp.ones((8, 1), jnp.float32), num_steps=5)
    in_double = jax.tree_util.Partial(raised, 1e9)
    jl.sample(key(), in_double, jl.mala(0.3), jnp.ones((8, 1)), num_steps=5)


@pytest.mark.slow
def test_proposals_that_are_rounded_onto_a_wall_are_counted():
    """A Beta law that is dense at 1, where floats are not, against 0, where they are."""
    kernel = jl.mirrored(jl.mala(2.0), jl.domains.box(0.0, 1.0))

    def beta(x):
        return jnp.sum(0.9 * jnp.log1p(-x))

    run, words = said(
        lambda: jl.sample(key(), beta, kernel, jnp.full((200, 1), 0.5), num_steps=100, observe=None)
    )
    rounded = run.info.rejections.rounded
    assert rounded.sum() > 0
    assert not run.info.rejections.faults.any()
    assert list(words) == [PrecisionWarning]
    assert f"proposals of {int((rounded > 0).sum())} of 200 chains" in words[PrecisionWarning]
    assert "float32 rounds them onto a wall" in words[PrecisionWarning]


# Stuck chains -----------------------------------------------------------------------------------


def test_some_chains_that_never_move_are_counted_and_their_energies_compared():
    """Two of eight start where the slope is so steep that nothing is ever accepted."""

    def energy(x):
        return jnp.sum(jnp.where(x > 50, 1e8 * jnp.cos(1e4 * x), 0.5 * x**2))

    start = jnp.zeros((8, 1)).at[jnp.array([2, 5])].set(99.0)
    _, words = said(
        lambda: jl.sample(key(), energy, jl.mala(0.1), start, num_steps=100, observe=None)
    )
    message = words[StuckWarning]
    assert message.startswith(
        "2 of 8 chains have hardly moved (in the run: 2, 5): their acceptance"
    )
    assert "Their energies are" in message
    assert "the median of the others is" in message


@pytest.mark.parametrize("chunk", [20, 60, 100, 250])
def test_stuck_chains_of_a_run_in_parts_are_reported_once(chunk):
    """When they can first be told: after a hundred steps."""
    energy, kernel = jl.energies.quadratic(jnp.eye(1)), jl.mala(1e4)
    state = jl.sample(key(), energy, kernel, jnp.ones((4, 1)), num_steps=0).state
    spoken = []
    for _ in range(8):
        run, words = said(lambda: jl.resume(state, energy, kernel, num_steps=chunk))  # noqa: B023
        state = run.state
        spoken += [int(state.tally.num_steps)] * (StuckWarning in words)
    assert spoken == [-(-100 // chunk) * chunk]


# The wrong sign -----------------------------------------------------------------------------------


def mixture():
    means = jnp.array([[-3.0, 0.0, 0.0], [3.0, 0.0, 0.0]])
    return jl.energies.gaussian_mixture(means, jnp.stack([jnp.eye(3)] * 2))


SIGNED = {
    "bowl": lambda sign, x: sign * 0.5 * jnp.sum(x**2),
    "mixture": lambda sign, x: sign * mixture()(x),
    "laplace": lambda sign, x: sign * jnp.sum(jnp.abs(x)),
}


@pytest.mark.slow
@pytest.mark.parametrize(
    "kernel", [jl.mala(0.5), jl.mala(0.05), jl.barker(0.5), jl.malt(0.5, 1, 3)]
)
@pytest.mark.parametrize("name", SIGNED)
def test_a_log_density_for_an_energy_is_recognised_and_an_energy_is_not(name, kernel):
    """Whether chains run off, as down the tails of a Laplace law, or stick."""
    start = jax.random.normal(jax.random.key(1), (20, 3))
    options = {"num_steps": 1_000, "observe": None}
    right, wrong = (jax.tree_util.Partial(SIGNED[name], jnp.float32(sign)) for sign in (1, -1))
    _, words = said(lambda: jl.sample(key(), wrong, kernel, start, **options))
    assert any("is E minus the log density?" in text for text in words.values())
    assert not said(lambda: jl.sample(key(), right, kernel, start, **options))[1]


@pytest.mark.parametrize(
    "energy",
    [
        lambda x: x @ jnp.array([300.0, 0.0, 1.0]),  # which has no law, but no centre either
        lambda x: 1e4 * jnp.sum((x**2 - 1) ** 2) - 1e6,  # from a hilltop, and far below zero
        lambda x: -1e5 + 0.5 * jnp.sum(x**2),
    ],
)
@pytest.mark.filterwarnings("ignore::jlangevin.PrecisionWarning")
def test_energies_far_below_zero_are_not_log_densities(energy):
    start = 1e-3 * jax.random.normal(jax.random.key(1), (20, 3))
    run = lambda: jl.sample(key(), energy, jl.mala(1e-5), start, num_steps=500)  # noqa: E731
    assert "log density" not in str(said(run)[1])


@pytest.mark.slow
@pytest.mark.parametrize("kernel", [jl.ula(0.5), jl.underdamped(0.5, 1.0)])
def test_chains_that_diverge_because_the_energy_has_no_floor_are_told_from_those_of_a_large_step(
    kernel,
):
    start = jnp.ones((8, 2))
    run = lambda sign: said(  # noqa: E731
        lambda: jl.sample(key(), lambda x: 0.5 * sign * jnp.sum(x**2), kernel, start, num_steps=400)
    )[1]
    assert "is E minus the log density?" in run(-1)[DivergenceWarning]
    steep = run(1e3)[DivergenceWarning]
    assert "A smaller step size is the usual remedy" in steep
    assert "log density" not in steep


# Schedules --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["ula", "mala", "malt"])
def test_a_schedule_that_turns_negative_freezes_the_chains_and_is_named(name):
    schedule = jax.tree_util.Partial(
        lambda last, step: 0.01 * (last - step).astype(float), jnp.int32(30)
    )
    kernel = {"ula": jl.ula, "mala": jl.mala, "malt": lambda h: jl.malt(h, 1.0, 2)}[name](schedule)
    run, words = said(
        lambda: jl.sample(
            key(), jl.energies.quadratic(jnp.eye(1)), kernel, jnp.zeros((3, 1)), num_steps=40
        )
    )
    assert list(words) == [DivergenceWarning]
    assert "step_size: its schedule at step 31: expected" in words[DivergenceWarning]
    np.testing.assert_array_equal(run.info.first_bad_step, [31] * 3)
    assert (run.draws[:, 31:] == run.draws[:, 30:31]).all()
