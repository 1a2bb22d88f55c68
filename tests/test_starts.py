"""Starts: laws on a box, and draws at which the energy is finite."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

import jlangevin as jl


def key():
    return jax.random.key(0)


def beyond_a_wall(x):
    return jnp.where(jnp.all(x > 0), jnp.sum(x), jnp.inf)


def test_uniform_is_uniform_on_its_box(dtype):
    law = jl.starts.uniform(-1.0, 3.0, like=jnp.zeros((2,), dtype))
    x = jl.starts.draw(key(), lambda x: jnp.sum(x**2), law, 20_000).positions
    assert x.dtype == dtype
    assert x.shape == (20_000, 2)
    for column in np.asarray(x, np.float64).T:
        assert stats.kstest(column, stats.uniform(-1.0, 4.0).cdf).pvalue > 1e-7
    assert float(x.min()) >= -1.0
    assert float(x.max()) <= 3.0


@pytest.mark.slow
def test_a_position_may_be_a_pytree_or_shapes_alone():
    like = {"a": jax.ShapeDtypeStruct((), jnp.float32), "b": jnp.zeros((2, 3))}
    law = jl.starts.uniform(like=like)
    run = jl.sample(
        key(), lambda x: x["a"] ** 2 + jnp.sum(x["b"] ** 2), jl.mala(0.1), law,
        num_steps=2, num_chains=5,
    )  # fmt: skip
    assert run.draws["a"].shape == (5, 2)
    assert run.draws["b"].shape == (5, 2, 2, 3)


def test_draws_that_are_finite_are_those_of_a_run():
    law = jl.starts.uniform(like=jnp.zeros(3))
    drawn = jl.starts.draw(key(), lambda x: jnp.sum(x**2), law, 10)
    run = jl.sample(key(), lambda x: jnp.sum(x**2), jl.ula(0.1), law, num_steps=0, num_chains=10)
    np.testing.assert_array_equal(drawn.positions, run.position)
    assert not drawn.redrawn.any()


def test_others_are_drawn_again_chain_by_chain():
    law = jl.starts.uniform(like=jnp.zeros(2))
    some, more = (jl.starts.draw(key(), beyond_a_wall, law, n) for n in (50, 200))
    assert bool((more.positions > 0).all())
    assert 0.6 < more.redrawn.mean() < 0.9  # three of four
    np.testing.assert_array_equal(some.positions, more.positions[:50])


def test_a_law_that_is_redrawn_is_the_law_given_that_the_energy_is_finite():
    law = jl.starts.uniform(like=jnp.zeros(1))
    x = jl.starts.draw(key(), beyond_a_wall, law, 20_000).positions
    assert stats.kstest(np.asarray(x[:, 0], np.float64), stats.uniform(0.0, 2.0).cdf).pvalue > 1e-7


def test_a_gaussian_is_drawn_again_too():
    law = jl.Gaussian(jnp.zeros(2), jnp.eye(2))
    assert bool((jl.starts.draw(key(), beyond_a_wall, law, 100).positions > 0).all())


def test_where_no_draw_is_finite_it_says_so():
    law = jl.starts.uniform(-2, -1, like=jnp.zeros(2))
    with pytest.raises(
        ValueError, match="at any of 100 draws for 3 of 3 chains, the first of which"
    ):
        jl.starts.draw(key(), beyond_a_wall, law, 3)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"low": 2, "high": -2}, ValueError, "low, high: expected low < high, got 2 and -2"),
        ({"low": jnp.nan}, ValueError, "low"),
        ({"high": jnp.ones(2)}, ValueError, "high"),
        ({"like": jnp.zeros(2, int)}, TypeError, "like: expected floating"),
        ({"like": jax.ShapeDtypeStruct((2,), jnp.int32)}, TypeError, "like: expected floating"),
    ],
)
def test_what_is_not_a_box_is_refused(arguments, error, message):
    with pytest.raises(error, match=message):
        jl.starts.uniform(**({"like": jnp.zeros(2)} | arguments))


def test_a_law_is_wanted_to_draw_from():
    with pytest.raises(TypeError, match="law: expected one that can be drawn from"):
        jl.starts.draw(key(), beyond_a_wall, jnp.zeros((3, 2)), 3)
