"""The Gaussian law: construction, density, draws, and its passage through JAX's transformations.

Statistical tests fail a correct sampler with a probability of at most 1e-6.
"""

import dataclasses
import math
from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads
from scipy import stats

import jlangevin as jl
from jlangevin import distribution, noise
from jlangevin._core import trees

RATE = 1e-6

MEAN = np.array([1.0, -2.0, 0.5])
COV = np.array([[2.0, 0.6, -0.3], [0.6, 0.5, 0.1], [-0.3, 0.1, 1.0]])
RANK_TWO = np.array([[1.0, 1.0, 0.0], [1.0, 1.0, 0.0], [0.0, 0.0, 4.0]])


def gaussian():
    return jl.Gaussian(MEAN, COV)


@partial(jax.jit, static_argnums=2)
def sample(law, key, num_draws):
    return law.sample(key, num_draws)


# Construction ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mean", "cov", "message"),
    [
        (np.zeros(2), np.eye(3), r"cov: expected shape \(2, 2\) for a mean of 2 elements"),
        (np.zeros(2), np.ones(2), r"cov: expected shape \(2, 2\)"),
        (np.zeros(2), 1.0, r"cov: expected shape \(2, 2\)"),
        ({"a": np.zeros(2), "b": 0.0}, np.eye(2), r"cov: expected shape \(3, 3\)"),
        (np.zeros(2), [[1.0, 0.5], [0.0, 1.0]], r"cov: not symmetric .*\(A \+ A.T\) / 2"),
        (np.zeros(2), [[1.0, 2.0], [2.0, 1.0]], "cov: not positive semi-definite"),
        (np.zeros(1), [[-1.0]], "cov: not positive semi-definite"),
        (np.zeros(1), [[math.nan]], "cov: expected finite"),
        (np.zeros(1), [[math.inf]], "cov: expected finite"),
        ([0.0, math.nan], np.eye(2), "mean.*: expected finite"),
        ({"a": np.zeros(1), "b": math.inf}, np.eye(2), "mean.*: expected finite"),
    ],
)
def test_a_wrong_mean_or_covariance_is_refused_by_its_name(mean, cov, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        jl.Gaussian(mean, cov)


def test_what_is_not_an_array_is_refused_by_its_name():
    with pytest.raises(TypeError, match=r"^mean: expected an array"):
        jl.Gaussian("zero", np.eye(2))
    with pytest.raises(TypeError, match=r"^cov: expected an array"):
        jl.Gaussian(np.zeros(2), None)
    with pytest.raises(TypeError, match=r"^mean: expected real numbers"):
        jl.Gaussian(np.zeros(2, complex), np.eye(2))


def test_whole_numbers_become_floats_of_the_default_dtype(dtype):
    law = jl.Gaussian(np.array([1, 2]), [[2, 1], [1, 2]])
    assert law.mean.dtype == law.cov.dtype == dtype


@pytest.mark.parametrize(
    ("mean", "cov", "expected"),
    [
        (np.zeros(2, np.float32), np.eye(2), "float64"),
        (np.zeros(2), np.eye(2, dtype=np.float32), "float64"),
        (np.zeros(2, np.float32), [[1.0, 0.0], [0.0, 1.0]], "float32"),
        ([0.0, 0.0], np.eye(2, dtype=np.float32), "float32"),
        ({"a": 0.0, "b": np.zeros(1, np.float32)}, np.eye(2, dtype=int), "float32"),
        ([0.0, 0.0], [[1, 0], [0, 1]], "float64"),
    ],
)
def test_mean_covariance_and_draws_have_one_dtype(mean, cov, expected, x64):
    """The widest of the arrays given; Python's numbers follow."""
    law = jl.Gaussian(mean, cov)
    draws = jax.eval_shape(law.from_noise, trees.zeros(law.template()))
    chex.assert_type(jax.tree.leaves((law, law.template(), draws)), jnp.dtype(expected))


def test_a_covariance_that_rounding_made_asymmetric_is_taken(dtype):
    eps = float(jnp.finfo(dtype).eps)
    jl.Gaussian(np.zeros(2), [[1.0, 0.5], [0.5 + eps, 1.0]])


def test_a_gaussian_is_a_pytree_of_its_mean_and_covariance():
    law = gaussian()
    leaves, treedef = jax.tree.flatten(law)
    assert len(leaves) == 2
    again = jax.tree.unflatten(treedef, leaves)
    assert type(again) is jl.Gaussian
    chex.assert_trees_all_equal(again, law)
    paths = [jax.tree_util.keystr(path) for path, _ in jax.tree_util.tree_leaves_with_path(law)]
    assert paths == [".mean", ".cov"]


def test_rebuilding_a_gaussian_checks_nothing():
    """JAX puts placeholders, and `exact.trajectory` a step axis, where checks would refuse them."""
    many = jax.tree.map(lambda leaf: jnp.stack([leaf, leaf]), gaussian())
    assert many.cov.shape == (2, 3, 3)
    assert jax.tree.map(lambda _: None, gaussian()).mean is None


def test_it_cannot_be_changed_and_is_checked_when_it_is_replaced():
    law = gaussian()
    with pytest.raises(dataclasses.FrozenInstanceError, match="cov: a Gaussian was checked"):
        law.cov = -law.cov
    with pytest.raises(dataclasses.FrozenInstanceError):
        del law.mean
    np.testing.assert_array_equal(dataclasses.replace(law, cov=2 * COV).cov, 2 * law.cov)
    with pytest.raises(ValueError, match="cov: not positive semi-definite"):
        dataclasses.replace(law, cov=-law.cov)


def test_it_is_equal_to_itself_alone_and_can_be_a_key():
    law = gaussian()
    assert law == law
    assert law != gaussian()
    assert {law: 1}[law] == 1


def test_its_repr_shows_mean_and_covariance():
    assert repr(gaussian()).startswith("Gaussian(mean=Array([ 1. , -2. ,  0.5]")


def test_it_is_a_law_to_draw_from():
    assert isinstance(gaussian(), distribution.Drawable)
    assert not isinstance(np.zeros(2), distribution.Drawable)


# Density ---------------------------------------------------------------------------------------


def test_log_prob_is_scipys(dtype):
    x = np.random.default_rng(0).normal(size=(20, 3)).astype(dtype)
    found = jax.vmap(gaussian().log_prob)(jnp.asarray(x))
    assert found.dtype == dtype
    rtol = 1e-5 if dtype == jnp.float32 else 1e-13
    np.testing.assert_allclose(found, stats.multivariate_normal(MEAN, COV).logpdf(x), rtol=rtol)


def test_log_prob_of_a_pytree_is_that_of_its_elements_in_order():
    law = jl.Gaussian({"b": MEAN[1:], "a": MEAN[0]}, COV)
    x = {"b": jnp.array([0.1, 0.2]), "a": jnp.array(0.3)}
    flat = gaussian().log_prob(jnp.array([0.3, 0.1, 0.2]))  # keys are sorted
    np.testing.assert_allclose(law.log_prob(x), flat, rtol=1e-6)


def test_log_prob_is_nan_where_there_is_no_density():
    for cov in (np.zeros((3, 3)), RANK_TWO):
        assert jnp.isnan(jl.Gaussian(MEAN, cov).log_prob(jnp.asarray(MEAN, jnp.float32)))


def test_log_prob_of_a_whole_trajectory_is_refused():
    laws = jax.tree.map(lambda leaf: jnp.stack([leaf, leaf]), gaussian())
    with pytest.raises(
        ValueError, match=r"expected one law, got a trajectory of 2, or .* jax\.vmap"
    ):
        laws.log_prob(jnp.zeros((2, 3)))


@pytest.mark.parametrize("x", [jnp.zeros(2), jnp.zeros((5, 3)), {"a": jnp.zeros(3)}], ids=str)
def test_log_prob_of_another_shape_is_refused(x):
    with pytest.raises(ValueError, match=r"^x: expected .*, like the mean, got"):
        gaussian().log_prob(x)


# Draws -----------------------------------------------------------------------------------------


def test_draws_have_their_law(dtype):
    law = gaussian()
    draws = law.sample(jax.random.key(0), 100_000)
    assert draws.dtype == dtype
    assert draws.shape == (100_000, 3)
    jl.verify.assert_law(draws, law, false_alarm=RATE)


def test_draws_of_a_pytree_have_their_law(dtype):
    law = jl.Gaussian({"a": np.float32(1.0), "b": np.array([[-2.0], [0.5]], np.float32)}, COV)
    law = jax.tree.map(lambda leaf: leaf.astype(dtype), law)
    draws = sample(law, jax.random.key(0), 100_000)
    assert jax.tree.map(jnp.shape, draws) == {"a": (100_000,), "b": (100_000, 2, 1)}
    jl.verify.assert_law(draws, law, false_alarm=RATE)


def test_a_wrong_law_is_found_by_the_same_test():
    """The power of the tests above: a mean off by 0.03 standard deviations."""
    wrong = jl.Gaussian(MEAN + 0.03 * np.sqrt(np.diagonal(COV)), COV)
    draws = sample(gaussian(), jax.random.key(0), 100_000)
    assert not jl.verify.compare(draws, wrong, false_alarm=RATE).passed


def test_a_law_without_spread_is_a_point(dtype):
    draws = jl.Gaussian(MEAN, np.zeros((3, 3))).sample(jax.random.key(0), 10)
    np.testing.assert_array_equal(draws, np.broadcast_to(MEAN, (10, 3)).astype(dtype))


def test_draws_of_a_singular_law_lie_in_its_plane_and_have_its_law(dtype):
    """x_1 = x_2 there; x_1 and x_3 are a regular Gaussian."""
    draws = sample(jl.Gaussian(MEAN, RANK_TWO), jax.random.key(0), 100_000)
    np.testing.assert_allclose(draws[:, 0] - MEAN[0], draws[:, 1] - MEAN[1], atol=5e-6)
    plane = jl.Gaussian(MEAN[[0, 2]], RANK_TWO[np.ix_([0, 2], [0, 2])])
    jl.verify.assert_law(draws[:, [0, 2]], plane, false_alarm=RATE)


@pytest.mark.parametrize(
    "cov", [COV, RANK_TWO, np.zeros((3, 3))], ids=["regular", "plane", "point"]
)
def test_the_factor_gives_the_covariance_back(cov, dtype):
    factor = np.asarray(distribution.factor(jnp.asarray(cov)), np.float64)
    eps = float(jnp.finfo(dtype).eps)
    np.testing.assert_allclose(factor @ factor.T, cov, atol=20 * eps)


@pytest.mark.slow
def test_a_draw_does_not_depend_on_how_many_there_are(dtype):
    """Its noise does not at all; the product with the factor is rounded as the backend likes."""
    law, eps = gaussian(), float(jnp.finfo(dtype).eps)
    many = sample(law, jax.random.key(0), 1000)
    for num_draws in (1, 10):
        few = sample(law, jax.random.key(0), num_draws)
        np.testing.assert_allclose(few, many[:num_draws], rtol=0, atol=10 * eps)


@pytest.mark.slow
def test_a_draw_is_the_start_of_the_chain_of_the_same_number():
    law, key = gaussian(), jax.random.key(5)
    draws = law.sample(key, 20)
    one = distribution.starts(law, noise.streams(key, jnp.uint32(13)))
    np.testing.assert_allclose(one, draws[13], rtol=1e-6)
    run = jl.sample(
        key, jl.energies.linear(np.zeros(3)), jl.ula(0.1), law, num_steps=0, chains=[13]
    )
    np.testing.assert_allclose(run.position[0], draws[13], rtol=1e-6)


def test_other_keys_give_other_draws():
    one, other = (gaussian().sample(jax.random.key(seed), 10) for seed in (0, 1))
    assert not np.any(np.asarray(one) == np.asarray(other))


# Bad keys and counts ---------------------------------------------------------------------------


def test_keys_of_the_wrong_kind_are_refused_with_a_way_out():
    law = gaussian()
    with pytest.raises(TypeError, match=r"key: .*legacy uint32 key.*wrap_key_data"):
        law.sample(jax.random.PRNGKey(0), 3)
    with pytest.raises(TypeError, match="key: expected a threefry2x32 key, got rbg"):
        law.sample(jax.random.key(0, impl="rbg"), 3)
    with pytest.raises(ValueError, match=r"key: .*array of keys.*jax.vmap"):
        law.sample(jax.random.split(jax.random.key(0), 2), 3)
    with pytest.raises(TypeError, match=r"key: expected a typed key.*got int"):
        law.sample(0, 3)


@pytest.mark.parametrize(
    ("num_draws", "error"), [(0, ValueError), (-1, ValueError), (2.0, TypeError), (True, TypeError)]
)
def test_a_wrong_number_of_draws_is_refused_by_name(num_draws, error):
    with pytest.raises(error, match=r"^num_draws: expected"):
        gaussian().sample(jax.random.key(0), num_draws)


# Transformations -------------------------------------------------------------------------------


def test_other_values_do_not_retrace(dtype):
    chex.clear_trace_counter()

    @jax.jit
    @chex.assert_max_traces(n=1)
    def draw_and_rate(law, key):
        draws = law.sample(key, 5)
        return draws, jax.vmap(law.log_prob)(draws)

    for seed, law in enumerate((gaussian(), jl.Gaussian(2 * MEAN, 3 * COV))):
        draws, log_prob = draw_and_rate(law, jax.random.key(seed))
        expected = stats.multivariate_normal(law.mean, law.cov).logpdf(draws)
        np.testing.assert_allclose(log_prob, expected, rtol=1e-5)


def test_a_gaussian_can_be_made_under_jit():
    """Its checks of values wait for values, those of shapes do not."""
    made = jax.jit(lambda scale: jl.Gaussian(jnp.zeros(2), scale * jnp.eye(2)))(3.0)
    np.testing.assert_array_equal(made.cov, 3 * np.eye(2))
    with pytest.raises(ValueError, match="cov: expected shape"):
        jax.jit(lambda scale: jl.Gaussian(jnp.zeros(3), scale * jnp.eye(2)))(3.0)


def test_many_laws_map_at_once():
    laws = jax.vmap(lambda shift: jl.Gaussian(MEAN.astype(np.float32) + shift, COV))(
        jnp.arange(3.0)
    )
    x = jnp.zeros(3)
    each = [stats.multivariate_normal(MEAN + shift, COV).logpdf(np.zeros(3)) for shift in range(3)]
    found = jax.jit(jax.vmap(lambda law: law.log_prob(x)))(laws)
    np.testing.assert_allclose(found, each, rtol=1e-5)
    keys = jax.random.split(jax.random.key(0), 3)
    draws = jax.jit(jax.vmap(lambda law, key: law.sample(key, 4)))(laws, keys)
    assert draws.shape == (3, 4, 3)


def test_the_gradient_of_log_prob_is_the_score(dtype):
    x = jnp.array([0.3, 0.1, 0.2])
    expected = -np.linalg.solve(COV, np.asarray(x, np.float64) - MEAN)
    rtol = 1e-5 if dtype == jnp.float32 else 1e-12
    to_law, to_x = jax.jit(jax.grad(jl.Gaussian.log_prob, (0, 1)))(gaussian(), x)
    np.testing.assert_allclose(to_x, expected, rtol=rtol)
    np.testing.assert_allclose(to_law.mean, -expected, rtol=rtol)


def test_the_derivative_by_a_singular_covariance_is_zero_and_spoils_no_other():
    """The derivative does not exist: a root has no slope at 0. The one by the mean is right, and so
    is the one by a regular covariance beside a singular one."""

    def total(mean, cov):
        return jnp.sum(jl.Gaussian(mean, cov).from_noise(jnp.array([1.0, 2.0, 3.0])))

    mean, covs = jnp.zeros(3), jnp.asarray([np.zeros((3, 3)), RANK_TWO, COV], jnp.float32)
    to_mean, to_cov = jax.jit(jax.vmap(jax.grad(total, (0, 1)), (None, 0)))(mean, covs)
    np.testing.assert_array_equal(to_mean, np.ones((3, 3)))
    np.testing.assert_array_equal(to_cov[:2], np.zeros((2, 3, 3)))
    np.testing.assert_allclose(to_cov[2], jax.grad(total, 1)(mean, covs[2]), rtol=1e-6)


def test_densities_and_draws_can_be_differentiated(x64):
    """By mean and covariance: a draw is a smooth function of them, its noise being fixed."""
    law, x = gaussian(), jnp.array([0.3, 0.1, 0.2])
    check_grads(jax.jit(jl.Gaussian.log_prob), (law, x), order=1, rtol=1e-6, atol=1e-6)
    of = noise.streams(jax.random.key(0), jnp.arange(4))
    draw = jax.jit(lambda law: distribution.starts(law, of))
    check_grads(draw, (law,), order=1, rtol=1e-6, atol=1e-6)
