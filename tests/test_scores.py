"""Scores without energies: gradients alone run, values are refused by name."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial

import jlangevin as jl
from jlangevin._core.arithmetic import product
from jlangevin.kernels import gradient

pytestmark = pytest.mark.slow

NEED_THE_GRADIENT = {
    "ula": jl.ula(0.1, temperature=1.5),
    "leimkuhler_matthews": jl.leimkuhler_matthews(0.1),
    "underdamped": jl.underdamped(0.3, 1.0, mass=2.0),
    "tamed_ula": jl.tamed_ula(0.1),
    "microcanonical": jl.microcanonical(0.2, 1.0),
    "gradient_noise": jl.gradient_noise(jl.ula(0.1), jnp.eye(2)),
}
NEED_THE_VALUE = {
    "mala": jl.mala(0.1),
    "barker": jl.barker(0.1),
    "malt": jl.malt(0.1, 1.0, 2),
    "adjusted_microcanonical": jl.adjusted_microcanonical(0.1, 2),
}


def bowl():
    return jl.energies.quadratic([[1.0, 0.6], [0.6, 2.0]], mean=[1.0, -2.0])


def only_the_score(energy):
    return jl.scores.score(Partial(minus_gradient, energy))


def minus_gradient(energy, x):
    return jax.tree.map(jnp.negative, jax.grad(energy)(x))


def start():
    return jl.Gaussian(jnp.array([3.0, 1.0]), jnp.array([[2.0, -0.5], [-0.5, 1.0]]))


@pytest.mark.parametrize("name", NEED_THE_GRADIENT)
def test_kernels_that_need_the_gradient_walk_alike_on_energy_and_score(name, dtype):
    kernel, energy = NEED_THE_GRADIENT[name], jl.energies.double_well(dim=2)
    a, b = (
        jl.sample(jax.random.key(0), on, kernel, jnp.ones((5, 2)), num_steps=7)
        for on in (energy, only_the_score(energy))
    )
    np.testing.assert_allclose(a.draws, b.draws, rtol=1e3 * float(jnp.finfo(dtype).eps))
    assert b.draws.dtype == dtype


@pytest.mark.parametrize(
    "name", [n for n in NEED_THE_GRADIENT if n not in ("tamed_ula", "microcanonical")]
)
def test_exact_laws_need_no_energy(name, dtype):
    kernel, tolerance = NEED_THE_GRADIENT[name], 1e3 * float(jnp.finfo(dtype).eps)
    a, b = (jl.exact.law(kernel, on, start(), 6) for on in (bowl(), only_the_score(bowl())))
    np.testing.assert_allclose(a.mean, b.mean, rtol=tolerance)
    np.testing.assert_allclose(a.cov, b.cov, rtol=tolerance)
    target = jl.exact.target(only_the_score(bowl()), jnp.zeros(2))
    np.testing.assert_allclose(target.cov, bowl().cov, rtol=tolerance)


@pytest.mark.parametrize("name", NEED_THE_VALUE)
def test_kernels_that_need_the_value_are_refused_by_name(name):
    traced = []

    def s(x):
        traced.append(isinstance(x, jax.core.Tracer))
        return -x

    with pytest.raises(jl.NoEnergyError, match=r"energy: only its score is known.*jlangevin\.ula"):
        jl.sample(
            jax.random.key(0),
            jl.scores.score(s),
            NEED_THE_VALUE[name],
            jnp.ones((2, 2)),
            num_steps=1,
        )
    assert all(traced)  # before anything ran


def test_a_value_is_refused_by_name_under_noise_on_the_gradient_too():
    class Curious:
        init_noise = None
        step_noise = jl.noise.Want.NORMAL

        def init(self, energy, position, noise):
            return jl.kernels.ULAState(position)

        def step(self, energy, state, noise):
            return jl.kernels.ULAState(state.position * energy(state.position)), jl.Info()

    kernel = jl.gradient_noise(Curious(), jnp.eye(2))
    with pytest.raises(jl.NoEnergyError):
        jl.sample(jax.random.key(0), only_the_score(bowl()), kernel, jnp.ones((2, 2)), num_steps=1)
    jl.sample(jax.random.key(0), bowl(), kernel, jnp.ones((2, 2)), num_steps=1)


def test_a_score_of_the_wrong_sign_is_rejected():
    kernel = jl.ula(0.3)
    wrong = jl.scores.score(jax.grad(bowl()))
    run = jl.sample(jax.random.key(0), wrong, kernel, start(), num_steps=3, num_chains=20_000)
    law = jl.exact.law(kernel, bowl(), start(), 3)
    assert not jl.verify.compare(run.position, law).passed
    right = jl.sample(
        jax.random.key(0), only_the_score(bowl()), kernel, start(), num_steps=3, num_chains=20_000
    )
    jl.verify.assert_law(right.position, law)


def test_a_changed_parameter_compiles_nothing():
    traces = []

    def s(scale, x):
        traces.append(None)
        return -scale * x

    def traces_of_a_run(scale):
        before = len(traces)
        on = jl.scores.score(Partial(s, jnp.array(scale)))
        jl.sample(jax.random.key(0), on, jl.ula(0.1), jnp.ones((2, 2)), num_steps=3)
        return len(traces) - before

    assert traces_of_a_run(1.0) > 0
    assert traces_of_a_run(2.0) == 0


def test_a_score_over_a_pytree():
    on = jl.scores.score(lambda x: {"a": -x["a"], "b": -2 * x["b"]})
    starts = {"a": jnp.ones((3, 2)), "b": jnp.ones((3, 2, 2))}
    run = jl.sample(jax.random.key(0), on, jl.ula(0.1), starts, num_steps=4)
    assert run.draws["b"].shape == (3, 4, 2, 2)


def test_a_score_that_is_not_finite_at_a_start_is_refused():
    with pytest.raises(ValueError, match=r"init: .*not finite at the start"):
        jl.sample(
            jax.random.key(0), jl.scores.score(jnp.log), jl.ula(0.1), -jnp.ones((2, 2)), num_steps=1
        )


@pytest.mark.parametrize("s", [jnp.sum, lambda x: (x, x), lambda x: x[:1]])
def test_a_score_unlike_the_position_is_refused(s):
    with pytest.raises(
        ValueError, match=r"energy: expected float32\[2\], like the position, from its score"
    ):
        jl.sample(jax.random.key(0), jl.scores.score(s), jl.ula(0.1), jnp.ones((2, 2)), num_steps=1)


def test_a_score_that_is_not_a_gradient_has_laws_but_no_target():
    turn = jnp.array([[1.0, 0.7], [-0.7, 1.0]])
    on = jl.scores.score(lambda x: -product(turn, x))
    law = jl.exact.stationary(jl.ula(0.1), on, jnp.zeros(2))
    F = np.eye(2) - 0.1 * np.asarray(turn, np.float64)
    cov = np.asarray(law.cov, np.float64)
    np.testing.assert_allclose(F @ cov @ F.T + 0.2 * np.eye(2), cov, atol=1e-5)
    for question in (
        lambda: jl.exact.target(on, jnp.zeros(2)),
        lambda: jl.adaptation.step_size_for(on, jnp.zeros(2), bias=0.1),
    ):
        with pytest.raises(jl.NoEnergyError, match=r"energy: .* not a gradient"):
            question()


def test_a_score_has_a_configurational_temperature():
    x = jnp.array([0.3, -0.2])
    a, b = (
        jl.diagnostics.configurational_temperature(on, x)
        for on in (jl.energies.rosenbrock(), only_the_score(jl.energies.rosenbrock()))
    )
    np.testing.assert_allclose(a, b, rtol=1e-6)


def test_a_level_score_stands_at_its_level_and_at_any_other():
    on = jl.scores.level_score(lambda x, sigma: -x / (1 + sigma**2), sigma=2.0)
    assert float(on.gradient(jnp.array([10.0]))[0]) == 2.0
    assert float(on.at(3.0).gradient(jnp.array([10.0]))[0]) == 1.0
    with pytest.raises(ValueError, match="sigma: expected values above zero"):
        jl.scores.level_score(jnp.add, 0.0)


def test_a_score_is_confined_as_an_energy_is():
    """It has a gradient inside and none outside, and no value."""
    confined = jl.domains.confine(jl.scores.score(lambda x: -x), jl.domains.box(-1.0, 1.0))
    slopes = [float(gradient(confined, jnp.array([x]))[0]) for x in (-0.5, 1.0, 1.5)]
    np.testing.assert_array_equal(slopes, [-0.5, 1.0, np.nan])
    with pytest.raises(jl.NoEnergyError):
        confined(jnp.zeros(1))


@pytest.mark.parametrize("make", [jl.scores.score, lambda s: jl.scores.level_score(s, 1.0)])
def test_a_score_is_callable(make):
    with pytest.raises(TypeError, match="function: expected a score"):
        make(jnp.ones(2))


# Scores of preserved variance ---------------------------------------------------------------------

ALPHA_BAR = tuple(map(float, np.cumprod(1 - np.linspace(1e-3, 0.1, 60))))
MEAN, COV = [1.0, -2.0], [[1.0, 0.4], [0.4, 0.5]]


def trained(predicts, x, t):
    """What a model of these Gaussian data would have learned: the score of x_t, or the noise."""
    kept = jnp.array(ALPHA_BAR)[t]
    mean, cov = jnp.sqrt(kept) * jnp.array(MEAN), kept * jnp.array(COV) + (1 - kept) * jnp.eye(2)
    found = -jnp.linalg.solve(cov, x - mean)
    return found if predicts == "score" else -jnp.sqrt(1 - kept) * found


def exploding(x, sigma):
    return -jnp.linalg.solve(jnp.array(COV) + sigma**2 * jnp.eye(2), x - jnp.array(MEAN))


def preserving(predicts):
    return jl.scores.from_variance_preserving(
        Partial(trained, predicts), np.array(ALPHA_BAR), predicts=predicts
    )


@pytest.mark.parametrize("predicts", ["noise", "score"])
@pytest.mark.parametrize("every", [1, 7])
def test_the_law_of_a_converted_score_is_that_of_the_smoothed_data(predicts, every, dtype):
    """The laws of an anneal and of a reverse diffusion are compared, over all levels or some."""
    energy = preserving(predicts)
    sigmas = energy.sigmas[::every]
    kept = np.array(ALPHA_BAR)
    wanted = np.sqrt((1 - kept) / kept)[::-1][::every]
    np.testing.assert_allclose(sigmas, wanted, rtol=4 * float(jnp.finfo(dtype).eps))
    assert sigmas.dtype == dtype
    start = jl.Gaussian(jnp.zeros(2), sigmas[0] ** 2 * jnp.eye(2))
    smoothed = jl.scores.level_score(exploding, sigmas[-1])
    tolerance = 1e4 * float(jnp.finfo(dtype).eps)
    for kernel in (jl.annealed(sigmas, 3, 1e-4), jl.predictor_corrector(sigmas, 1e-4)):
        found, direct = (
            jl.exact.law(kernel, on, start, 3 * len(sigmas)) for on in (energy, smoothed)
        )
        np.testing.assert_allclose(found.mean, direct.mean, rtol=tolerance)
        np.testing.assert_allclose(found.cov, direct.cov, rtol=tolerance, atol=tolerance)


def test_an_anneal_down_the_levels_of_a_converted_score_ends_at_the_data():
    energy = preserving("noise")
    kernel, start = jl.annealed(energy.sigmas, 100, 1e-4), jl.Gaussian(jnp.zeros(2), jnp.eye(2))
    law = jl.exact.law(kernel, energy, start, 6_000)
    np.testing.assert_allclose(law.mean, MEAN, atol=0.02)
    np.testing.assert_allclose(
        law.cov, np.array(COV) + float(energy.sigma) ** 2 * np.eye(2), atol=0.1
    )
    target = jl.exact.target(energy, jnp.zeros(2))
    np.testing.assert_allclose(
        target.cov, np.array(COV) + float(energy.sigma) ** 2 * np.eye(2), rtol=1e-3
    )


def test_positions_of_a_converted_score_are_pytrees_too():
    noise = lambda x, t: jax.tree.map(lambda leaf: 0.5 * leaf, x)  # noqa: E731
    energy = jl.scores.from_variance_preserving(noise, [0.9, 0.5])
    start = {"a": jnp.ones((3, 2)), "b": (jnp.ones(3),)}
    run = jl.sample(
        jax.random.key(0), energy, jl.annealed(energy.sigmas, 2, 0.01), start, num_steps=4
    )
    assert run.position["a"].shape == (3, 2)


def test_levels_that_are_not_the_models_are_named():
    """Among them are the noise's own scales, which are below 1."""
    energy = preserving("noise")
    kernel = jl.annealed(jnp.sqrt(1 - jnp.array(ALPHA_BAR))[::-1], 2, 1e-4)
    for around in (kernel, jl.gradient_noise(kernel, jnp.eye(2))):
        with pytest.warns(jl.DivergenceWarning, match="sigma: expected a level of the model, one"):
            jl.sample(jax.random.key(0), energy, around, jnp.zeros((3, 2)), num_steps=4)
    make = lambda kept: jl.scores.from_variance_preserving(jnp.add, kept).sigmas  # noqa: E731
    np.testing.assert_allclose(jax.jit(make)(jnp.array([0.8, 0.5])), [1.0, 0.5], rtol=1e-6)
    assert np.isnan(jax.jit(make)(jnp.array([0.5, 0.9]))).all()


def test_a_converted_score_whose_input_is_not_scaled_is_told(x64):
    """A mutant: the model is given y where it was trained on x_t."""

    def slip(x, t):
        return trained("noise", x / jnp.sqrt(jnp.array(ALPHA_BAR)[t]), t)

    wrong = jl.scores.from_variance_preserving(slip, np.array(ALPHA_BAR))
    target = jl.exact.target(wrong.at(wrong.sigmas[20]), jnp.zeros(2))
    right = jl.exact.target(preserving("noise").at(wrong.sigmas[20]), jnp.zeros(2))
    assert not np.allclose(target.cov, right.cov, rtol=0.1)
