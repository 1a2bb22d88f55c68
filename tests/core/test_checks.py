"""Arguments that are refused: by an error where they are known, by NaN where they are traced."""

import inspect
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from test_surface import public_objects

import jlangevin as jl
from jlangevin import conventions, domains, energies, kernels, reducers
from jlangevin._core import checks, trees

EYE, X = jnp.eye(2), jnp.array([0.3, 0.6])
LOPSIDED = jnp.array([[1.0, 1.0], [0.0, 1.0]])
SADDLE = jnp.array([[1.0, 2.0], [2.0, 1.0]])
BOWL = energies.quadratic(EYE)
LINE = energies.quadratic(jnp.eye(1))


def mixture(weights):
    return energies.gaussian_mixture([[-9.0], [9.0]], jnp.ones((2, 1, 1)), weights)


def started(kernel):
    """The first position of a kernel that rejects."""
    return kernel.init(BOWL, X, None).position


def moved(kernel):
    return kernel.step(BOWL, kernel.init(BOWL, X, None), jnp.ones(2))[0].position


def counted(edges):
    reducer = reducers.histogram(edges)
    sums = reducer.update(reducer.init(kernels.ULAState(X)), kernels.ULAState(X), n=jnp.int32(1))
    return reducer.finish(sums, jnp.int32(1)).fractions


# name: (what is made of a value, a right value, wrong ones)
TRACED = {
    "finite": (lambda v: energies.linear(v)(X), jnp.ones(2), [jnp.array([jnp.inf, 1.0])]),
    "step size": (lambda v: moved(jl.ula(v)), 0.1, [-0.1, 0.0, jnp.inf]),
    "temperature": (lambda v: moved(jl.ula(0.1, temperature=v)), 1.0, [-1.0]),
    "step size of one that rejects": (lambda v: started(jl.mala(v)), 0.1, [-0.1, 0.0]),
    "friction of one that rejects": (lambda v: started(jl.malt(0.1, v, 2)), 0.0, [-1.0]),
    "decoherence length of one that rejects": (
        lambda v: started(jl.adjusted_microcanonical(0.1, 2, decoherence_length=v)), 1.0, [-1.0]),
    "step size between walls": (
        lambda v: started(jl.reflected_mala(v, domains.box(0.0, 1.0))), 0.1, [-0.1]),
    "covariance": (lambda v: jl.Gaussian(X, v).cov, EYE, [SADDLE, LOPSIDED, EYE * jnp.nan]),
    "covariance, of a draw": (
        lambda v: jl.Gaussian(X, v).from_noise(jnp.ones(2)), jnp.diag(X), [SADDLE]),
    "covariance, singular": (lambda v: jl.Gaussian(X, v).cov, jnp.zeros((2, 2)), [-EYE]),
    "error of a gradient": (lambda v: jl.gradient_noise(jl.ula(0.1), v).scale, EYE, [-EYE]),
    "precision": (lambda v: jax.grad(energies.quadratic(v))(X), EYE, [LOPSIDED, SADDLE, 0 * EYE]),
    "weights": (lambda v: mixture(v)(X[:1]), jnp.full(2, 0.5), [jnp.ones(2), SADDLE[0] * -1]),
    "weights, log Z": (lambda v: mixture(v).log_z, jnp.full(2, 0.5), [jnp.full(2, 2.0)]),
    "weights, a draw": (
        lambda v: mixture(v).from_noise((jnp.ones(1), jnp.float32(0.3))), jnp.full(2, 0.5),
        [jnp.full(2, 2.0)]),
    "height": (lambda v: energies.double_well(v)(X[:1]), 1.0, [-1.0]),
    "height, the mean": (lambda v: energies.double_well(v).mean, 1.0, [-1.0]),
    "scale": (lambda v: energies.funnel(2, v).mean, 1.0, [0.0]),
    "width": (lambda v: energies.ring(1.0, v).mean, 1.0, [0.0]),
    "ladder": (lambda v: jl.tempered(jl.mala(0.5), v).temperatures, jnp.array([1.0, 4.0]),
               [jnp.array([1.0, 0.5]), jnp.array([2.0, 4.0])]),
    "levels": (lambda v: jl.annealed(v, 2, 0.1).sigma(0), jnp.array([1.0, 0.1]),
               [jnp.array([0.1, 1.0]), jnp.array([1.0, -1.0])]),
    "level": (lambda v: jl.scores.level_score(lambda x, s: -x / s, v).gradient(X), 1.0, [-1.0]),
    "upper wall": (lambda v: domains.box(0.0, v).project(X), 0.5, [0.0, -1.0, jnp.nan]),
    "upper wall, mirrored": (lambda v: domains.box(0.0, v).primal(X), 1.0, [-1.0]),
    "radius": (lambda v: domains.ball(0.0, v).project(X), 5.0, [-5.0]),
    "normal": (lambda v: domains.half_space(v, 1.0).project(X), jnp.ones(2), [jnp.zeros(2)]),
    "edges": (counted, jnp.array([0.0, 1.0, 2.0]), [jnp.array([2.0, 1.0, 0.0])]),
    "matrix": (lambda v: moved(jl.ula(0.1, preconditioner=v)), EYE, [LOPSIDED, SADDLE]),
    "diagonal": (lambda v: moved(jl.ula(0.1, preconditioner=v)), X, [-X]),
    "scales": (lambda v: moved(jl.ula(0.1, preconditioner=kernels.Diagonal(v))), X, [0 * X]),
    "root": (lambda v: moved(jl.ula(0.1, preconditioner=kernels.Dense(v))), EYE,
             [jnp.ones((2, 2))]),
    "mass": (lambda v: jl.malt(0.1, 1.0, 2, mass=v).inverse_mass.scale, 1.0, [-1.0]),
    "what is known of an estimate": (
        lambda v: jl.sghmc(0.1, 9.0, jnp.add, gradient_cov=v).known.values, EYE, [-EYE, LOPSIDED]),
    "other convention": (conventions.from_h, 1.0, [-1.0, 0.0]),
    "noise scale": (lambda v: conventions.from_noise_scale(1.0, v).temperature, 1.0, [-1.0]),
}  # fmt: skip


@pytest.mark.parametrize("name", TRACED)
def test_what_is_refused_is_nan_where_it_is_traced(name):
    make, right, wrong = TRACED[name]
    traced = jax.jit(make)
    np.testing.assert_allclose(traced(right), make(right), rtol=1e-6)
    for value in wrong:
        with pytest.raises(ValueError, match=": "):
            make(value)
        assert bool(jnp.all(jnp.isnan(traced(value)))), value


def test_a_covariance_that_is_singular_but_for_rounding_is_taken_where_it_is_traced():
    """Of rank one in 50 dimensions: no eigenvalue is below zero by more than rounding."""
    v = np.random.default_rng(0).normal(size=(50, 1)).astype(np.float32)
    cov = jax.jit(lambda cov: jl.Gaussian(jnp.zeros(50), cov).cov)(v @ v.T)
    np.testing.assert_array_equal(cov, v @ v.T)


def test_derivatives_and_batches_pass_through_what_is_checked():
    def draw(scale):
        return jnp.sum(jl.Gaussian(jnp.zeros(2), scale * EYE).from_noise(jnp.ones(2)))

    np.testing.assert_allclose(jax.jit(jax.grad(draw))(4.0), 0.5, rtol=1e-5)
    radii = jax.vmap(lambda r: domains.ball(0.0, r).radius)(jnp.array([1.0, -1.0]))
    np.testing.assert_array_equal(radii, [1.0, np.nan])


def test_or_nan_looks_at_all_together_and_says_what_is_wrong():
    def rising(xp, pair):
        return xp.all(pair[0] < pair[1])

    def check(low, high):
        return checks.or_nan((low, high), rising, lambda: ValueError("low: too high"))

    assert check(1, 2) == (1, 2)
    with pytest.raises(ValueError, match="low: too high"):
        check(2, 1)
    assert [float(v) for v in jax.jit(check)(1, 2)] == [1, 2]
    assert all(np.isnan(v) for v in jax.jit(check)(2, 1))  # integers, which have no NaN, too
    low, high = jax.jit(lambda high: check(np.float32(0), high))(jnp.float32(-1))
    assert np.isnan(low)
    assert np.isnan(high)


# Flags ----------------------------------------------------------------------------------------


def run(**given):
    return jl.sample(jax.random.key(0), BOWL, jl.ula(0.1), jnp.ones((2, 2)), num_steps=0, **given)


def law(ask, **given):
    return ask(jl.ula(0.1), BOWL, jl.Gaussian(X, EYE), 3, **given)


def between(ask, **given):
    """Four chains are too few, and that is said."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", jl.NormalizerWarning)
        key, kernel = jax.random.key(0), jl.mala(0.1)
        return ask(key=key, energy=BOWL, kernel=kernel, num_steps=4, num_chains=4, **given)


FLAGS = {
    ("sample", "progress"): lambda flag: run(progress=flag),
    ("sample", "remat"): lambda flag: run(remat=flag),
    ("resume", "progress"): lambda flag: jl.resume(
        run().state, BOWL, jl.ula(0.1), num_steps=0, progress=flag),
    ("resume", "remat"): lambda flag: jl.resume(
        run().state, BOWL, jl.ula(0.1), num_steps=0, remat=flag),
    ("sample_in_chunks", "progress"): lambda flag: jl.sample_in_chunks(
        jax.random.key(0), BOWL, jl.ula(0.1), jnp.ones((4, 2)), chunk_size=2, num_steps=0,
        keep=lambda run: run.position, progress=flag),
    ("warm_up", "per_chain"): lambda flag: jl.warm_up(
        jax.random.key(0), BOWL, jl.mala(0.1), jnp.zeros((64, 2)), per_chain=flag),
    ("tamed_ula", "coordinatewise"): lambda flag: jl.tamed_ula(0.1, coordinatewise=flag),
    ("moments", "covariance"): lambda flag: reducers.moments(covariance=flag),
    ("law", "full"): lambda flag: law(jl.exact.law, full=flag),
    ("law", "allow_unstable"): lambda flag: law(jl.exact.law, allow_unstable=flag),
    ("trajectory", "full"): lambda flag: law(jl.exact.trajectory, full=flag),
    ("stationary", "full"): lambda flag: jl.exact.stationary(jl.ula(0.1), BOWL, X, full=flag),
    ("grid_law", "full"): lambda flag: jl.exact.grid_law(
        jl.ula(0.1), LINE, jl.Gaussian(jnp.zeros(1), jnp.eye(1)), 1, full=flag),
    ("grid_stationary", "full"): lambda flag: jl.exact.grid_stationary(
        jl.ula(0.1), LINE, jnp.zeros(1), full=flag),
    ("mode_occupancy", "hard"): lambda flag: jl.diagnostics.mode_occupancy(
        jnp.ones((3, 1)), mixture([0.5, 0.5]), hard=flag),
    ("switched", "backwards"): lambda flag: jl.normalizer.switched(
        jl.mala(0.1), BOWL, [0.0, 1.0], backwards=flag),
    ("log_normalizer", "progress"): lambda flag: between(
        jl.log_normalizer, base=jl.Gaussian(X, EYE), progress=flag),
    ("log_ratio", "progress"): lambda flag: between(
        jl.normalizer.log_ratio, to=BOWL, draws=BOWL, progress=flag),
    ("tune_ladder", "progress"): lambda flag: jl.normalizer.tune_ladder(
        jax.random.key(0), BOWL, jl.tempered(jl.mala(0.5), [1.0, 2.0]), jnp.ones((4, 2)),
        num_steps=64, progress=flag),
    ("contrastive_divergence", "stop_gradient"): lambda flag: jl.learn.contrastive_divergence(
        jax.random.key(0), BOWL, jnp.ones((3, 2)), kernel=jl.ula(0.1), num_steps=1,
        stop_gradient=flag),
    ("fit", "progress"): lambda flag: jl.learn.fit(
        jax.random.key(0), BOWL, jnp.ones((4, 2)), jl.learn.implicit_score_matching,
        optax.sgd(0.1), num_updates=1, progress=flag),
}  # fmt: skip


@pytest.mark.parametrize(("function", "name"), FLAGS)
def test_flags_are_true_or_false(function, name):
    for other in ("no", 1, None, jnp.array(True)):
        with pytest.raises(TypeError, match=f"^{name}: expected True or False.*, got"):
            FLAGS[function, name](other)


# That take seconds to compile, as `sample` does not.
LONG = {"warm_up", "log_normalizer", "log_ratio", "tune_ladder", "contrastive_divergence"}


@pytest.mark.parametrize(("function", "name"), [flag for flag in FLAGS if flag[0] not in LONG])
def test_flags_may_be_numpys(function, name):
    FLAGS[function, name](np.False_)


def test_no_flag_of_the_public_surface_is_left_out():
    found = {
        (value.__name__, parameter.name)
        for _, value in public_objects()
        if inspect.isfunction(value)
        for parameter in inspect.signature(value).parameters.values()
        if isinstance(parameter.default, bool)
    }
    assert found == set(FLAGS)


# Numbers --------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [True, np.True_, jnp.array(True), np.array([True]), 1j, "1"])
def test_booleans_and_all_that_are_not_numbers_are_refused(value):
    for make in (jl.ula, energies.double_well, conventions.from_h, lambda v: domains.ball(0.0, v)):
        with pytest.raises(TypeError, match="expected a real number"):
            make(value)
    for make in (lambda v: checks.check_count("n", v, minimum=0),
                 lambda v: checks.check_probability("p", v)):  # fmt: skip
        with pytest.raises(TypeError, match=r"^[np]: expected"):
            make(value)


@pytest.mark.parametrize("value", [20, np.uint8(20), np.int8(20), jnp.array(20, jnp.uint8)])
def test_squares_of_small_integers_do_not_wrap_around(value):
    assert float(conventions.from_proposal_scale(value)) == 200.0
    assert float(conventions.from_noise_scale(value, value).temperature) == 10.0


def test_half_precision_does_not_underflow_in_another_convention():
    for small in (np.float16(1e-4), jnp.array(1e-4, jnp.float16), jnp.array(1e-4, jnp.bfloat16)):
        step_size, temperature = conventions.from_noise_scale(0.5, small)
        assert step_size == 0.5
        np.testing.assert_allclose(temperature, float(small) ** 2, rtol=1e-6)
    for none in (np.float32(1e-30), 1e-200, 10**200):
        with pytest.raises(ValueError, match=r"^sigma, temperature: .* not finite and above zero"):
            conventions.from_proposal_scale(none)
    assert np.isnan(jax.jit(conventions.from_proposal_scale)(1e-30))
    with pytest.raises(ValueError, match=r"^h: expected a number that a float can hold"):
        conventions.from_h(10**400)


def test_numbers_that_are_0_or_infinite_for_the_positions_are_refused(x64):
    bad = {"step_size": [1e-45, 1e39], "temperature": [1e-50]}
    for name, values in bad.items():
        for value in values:
            kernel = jl.mala(**{"step_size": 0.1, name: value})
            for outer in (kernel, jl.coupled(kernel, 1)):
                with pytest.raises(
                    ValueError, match=f"^{name}: .* in float32, which the positions"
                ):
                    jl.sample(jax.random.key(0), BOWL, outer, jnp.ones((2, 2), jnp.float32),
                              num_steps=1)  # fmt: skip
            kernels.base.check_kernel(kernel, jnp.zeros(2, jnp.float64))
    with pytest.raises(ValueError, match=r"^step_size: 1e-08 is 0 in float16"):
        kernels.base.check_kernel(jl.ula(1e-8), jnp.zeros(2, jnp.float16))


def test_bad_stream_numbers_are_refused():
    key = jax.random.key(0)
    for bad in (-1, 2**32):
        with pytest.raises(ValueError, match=r"chains: stream numbers lie in \[0, 2\*\*32\)"):
            jl.noise.streams(key, np.array([bad]))
    with pytest.raises(TypeError, match="chains: expected integers, got dtype float32"):
        jl.noise.streams(key, jnp.array([0.7]))
    with pytest.raises(ValueError, match=r"times: expected numbers below 2\*\*31, got 4294967296"):
        jl.diagnostics.total_variation_bound(jnp.array([20, 30]), 10, np.array([2**32]))


def test_traced_streams_that_are_not_distinct_make_nan():
    @jax.jit
    def starts(chains, init):
        return jl.sample(
            jax.random.key(0), BOWL, jl.ula(0.1), init, chains=chains, num_steps=0
        ).position

    for init in (jnp.ones((3, 2)), jl.Gaussian(X, EYE)):
        assert bool(jnp.all(jnp.isfinite(starts(jnp.array([4, 0, 9]), init))))
        for bad in ([0, 1, 0], [0, -1, 1]):
            assert bool(jnp.all(jnp.isnan(starts(jnp.array(bad), init))))


@pytest.mark.parametrize("x", [X.astype(complex), [0.3, 0.6], 0.3, "x"])
def test_energies_refuse_positions_that_are_not_real_arrays(x):
    for energy in (BOWL, energies.linear(X), energies.double_well(dim=2), energies.rosenbrock()):
        with pytest.raises((TypeError, ValueError), match=f"^{type(energy).__name__}: expected a"):
            energy(x)


# Schedules ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("schedule", "error", "message"),
    [
        (lambda t: "0.1", TypeError, "expected a real number, got '0.1'"),
        (lambda t: True, TypeError, "expected a real number, got True"),
        (lambda t: t > 0, TypeError, "expected a real number"),
        (lambda t: None, TypeError, "expected a real number, got None"),
        (lambda t: 0.1j, TypeError, "expected a real number"),
        (lambda t: jnp.ones(3), ValueError, r"expected a scalar, got shape \(3,\)"),
        (lambda t: -0.1, ValueError, "expected values of zero or more, got -0.1"),
        (lambda t: t.astype(float) - 1, ValueError, "expected values of zero or more, got -1.0"),
        (lambda t: jnp.nan, ValueError, "expected finite values, got nan"),
    ],
)
def test_schedules_are_checked_for_step_0(schedule, error, message):
    for name, kernel in (
        ("step_size", jl.ula(schedule)),
        ("temperature", jl.mala(0.1, temperature=schedule)),
        ("friction", jl.malt(0.1, jl.Schedule(schedule), 2)),
    ):  # fmt: skip
        with pytest.raises(error, match=f"^{name}: its schedule at step 0: {message}"):
            kernels.base.check_kernel(kernel, X)


def test_schedules_that_turn_negative_are_nan_from_there_and_may_be_0():
    kernel = jl.ula(lambda t: 0.2 - 0.1 * t.astype(float), temperature=lambda t: 0.0)
    kernels.base.check_kernel(kernel, X)
    values = jax.vmap(lambda t: kernels.base.resolve_schedules(kernel, t).step_size)(jnp.arange(4))
    np.testing.assert_allclose(values, [0.2, 0.1, 0.0, np.nan], atol=1e-7)


def test_a_schedule_of_ones_own_kernel_may_be_negative():
    assert float(jl.Schedule(lambda t: -1.0)(0)) == -1.0


@pytest.mark.parametrize("value", [jl.Schedule(0.1), jl.Schedule, jl.Gaussian])
def test_what_is_neither_number_nor_schedule_is_refused(value):
    with pytest.raises(TypeError, match="step_size: expected a number or a function of the step"):
        jl.ula(value)


def test_errors_of_a_schedule_say_whose_it_is():
    with pytest.raises(TypeError) as caught:
        kernels.base.check_kernel(jl.ula(lambda: 0.1), X)
    assert "by the schedule of step_size" in caught.value.__notes__[0]


# Leaves ---------------------------------------------------------------------------------------


def broken(leaf):
    return {"layers": [{"weight": leaf}, jnp.ones(4)]}


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: trees.as_position("x", broken(jnp.tanh)),
         r"expected an array of numbers, got PjitFunction; keep functions in the energy"),
        (lambda: trees.as_position("x", broken("w")), "expected an array of numbers, got str"),
        (lambda: trees.as_position("x", broken(np.array([None]))), "got dtype object"),
        (lambda: trees.as_position("x", broken(jnp.arange(3)), floating=True), "dtype int32"),
        (lambda: checks.check_finite("x", broken(jnp.array([0.0, jnp.inf]))), "finite values"),
        (lambda: checks.check_positive("x", broken(jnp.array([0.0, 1.0]))), "values above zero"),
    ],
)  # fmt: skip
def test_errors_of_a_leaf_say_which(make, message):
    with pytest.raises(
        (TypeError, ValueError), match=rf"^x\['layers'\]\[0\]\['weight'\]: .*{message}"
    ):
        make()


@pytest.mark.parametrize(
    ("leaf", "message"),
    [
        (jnp.tanh, r"init\['layers'\]\[0\]\['weight'\]: expected an array of numbers"),
        (jnp.arange(4), r"init\['layers'\]\[0\]\['weight'\]: expected floating positions"),
        (jnp.float32(1), r"init\['layers'\]\[0\]\['weight'\]: expected a leading chain axis"),
        (
            jnp.ones(3),
            r"init: .*init\['layers'\]\[0\]\['weight'\] has 3, init\['layers'\]\[1\] has 4",
        ),
    ],
)
def test_the_leaf_of_a_start_is_named(leaf, message):
    with pytest.raises((TypeError, ValueError), match=message):
        jl.sample(jax.random.key(0), BOWL, jl.ula(0.1), broken(leaf), num_steps=1)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: domains.box({"a": 0.0, "b": 1.0}, {"a": 1.0, "b": 0.5}), r"lower\['b'\]: exp"),
        (lambda: domains.box({"a": 0.0}, {"a": jnp.nan}), r"upper\['a'\]: .*, got NaN"),
        (lambda: domains.box({"a": jnp.zeros(3)}, {"a": 1.0}).project({"a": X}),
         r"lower\['a'\]: shape \(3,\) does not fit a position of shape \(2,\)"),
        (lambda: domains.ball(0.0, 1.0).project({"a": X}), r"single array, got \{'a': fl"),
        (lambda: domains.box(jnp.zeros(3), jnp.ones(2)), r"upper: shape \(2,\) does not fit"),
        (lambda: jl.ula(0.1, preconditioner={"a": X, "b": -X}), r"preconditioner\['b'\]: expected"),
        (lambda: jl.ula(0.1, preconditioner=kernels.Diagonal({"a": 0 * X})),
         r"preconditioner\.scale\['a'\]: expected scales other than 0"),
        (lambda: jl.ula(0.1, preconditioner=kernels.Diagonal("ones")), r"preconditioner\.scale: "),
        (lambda: jl.underdamped(0.1, 1.0, mass=kernels.Dense(jnp.ones((2, 2)))),
         r"mass\.lower: expected a regular matrix"),
        (lambda: jl.ula(0.1, preconditioner=kernels.Dense(jnp.ones((2, 3)))), "square matrix"),
        (lambda: jl.Gaussian({"a": X, "b": jnp.nan * X}, jnp.eye(4)), r"mean\['b'\]: exp"),
        (lambda: jl.estimators.minibatch(jnp.add, {"x": jnp.ones(3), "y": 1.0}, 2),
         r"data\['y'\]: expected an array whose first axis counts the items"),
        (lambda: jl.estimators.minibatch(jnp.add, {"x": jnp.ones(3), "y": jnp.ones(2)}, 2),
         r"data: .*data\['x'\] has 3, data\['y'\] has 2"),
        (lambda: energies.gaussian_mixture(jnp.zeros((0, 2)), jnp.zeros((0, 2, 2))), "means: "),
    ],
)  # fmt: skip
def test_the_leaf_of_a_parameter_is_named(make, message):
    with pytest.raises((TypeError, ValueError), match=message):
        make()


def test_a_root_given_as_lists_is_an_array():
    rooted = jl.ula(0.1, preconditioner=kernels.Dense([[1.0, 0.0], [1.0, 2.0]]))
    assert isinstance(rooted.preconditioner.lower, jax.Array)
    np.testing.assert_array_equal(
        moved(rooted),
        moved(jl.ula(0.1, preconditioner=kernels.Dense(jnp.array([[1.0, 0.0], [1.0, 2.0]])))),
    )


# Lists ----------------------------------------------------------------------------------------


def test_a_list_of_arrays_is_a_pytree_and_one_of_numbers_an_array():
    for numbers in ([[1, 2], [3.0, 4]], [[np.float32(1), 2.0]], [1.5]):
        assert isinstance(trees.as_position("x", numbers), jax.Array)
    for arrays in ([jnp.zeros(2), jnp.ones(2)], [np.zeros(2), 1.0], [[jnp.zeros(1)], [2.0]]):
        made = trees.as_position("x", arrays)
        assert jax.tree.structure(made) == jax.tree.structure(arrays)
    law = jl.Gaussian([jnp.zeros(2), jnp.zeros(2)], jnp.eye(4))
    assert [leaf.shape for leaf in law.mean] == [(2,), (2,)]


def test_chains_of_a_list_of_arrays_are_on_the_first_axis_of_each():
    def energy(p):
        return jnp.sum(p[0] ** 2) + jnp.sum((p[1] - 1) ** 2)

    weights = [jnp.zeros((4, 2)), jnp.ones((4, 2))]
    a = jl.sample(jax.random.key(0), energy, jl.ula(0.1), weights, num_steps=3)
    b = jl.sample(jax.random.key(0), energy, jl.ula(0.1), tuple(weights), num_steps=3)
    assert [leaf.shape for leaf in a.draws] == [(4, 3, 2), (4, 3, 2)]
    jax.tree.map(np.testing.assert_array_equal, tuple(a.draws), b.draws)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ([jnp.float32(0), 0.0], r"^x: .* could be one array or a pytree; pass jnp\.stack"),
        ([np.array(0.0), np.array(1.0)], r"^x: .* could be one array or a pytree"),
        ([[1.0, 1.0], [1.0]], r"^x: .* do not form an array; pass a tuple or a dict of arrays"),
    ],
)
def test_lists_that_could_be_either_are_refused(value, message):
    with pytest.raises(ValueError, match=message):
        trees.as_position("x", value)


# Estimates ------------------------------------------------------------------------------------


@pytest.mark.parametrize("estimator", [
    lambda key, x: jnp.sum(x), lambda key, x: 1.0, lambda key, x: x[:1], lambda key, x: (x, x),
    lambda key, x: x.astype(jnp.float16)])  # fmt: skip
@pytest.mark.parametrize("make", [jl.sgld, lambda *a: jl.sghmc(a[0], 1.0, a[1])])
def test_estimates_unlike_the_position_are_refused(make, estimator):
    with pytest.raises(ValueError, match=r"estimator: expected float32\[2\], like the position"):
        jl.sample(jax.random.key(0), BOWL, make(0.1, estimator), jnp.ones((3, 2)), num_steps=1)
