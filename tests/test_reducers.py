"""Streaming statistics equal the two-pass ones on the draws that were kept."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jlangevin as jl
from jlangevin import reducers
from jlangevin._core.trees import pytree_dataclass
from jlangevin.kernels import ULAState
from jlangevin.reducers.base import CompensatedSum
from jlangevin.reducers.pytree import check_reducers, finish_reducers

CHAINS, DRAWS = 5, 60


def key():
    return jax.random.key(0)


def run(given, num_steps=DRAWS, num_chains=CHAINS, **options):
    energy = jl.energies.quadratic([[1.0, 0.6], [0.6, 2.0]], mean=[1.0, -2.0])
    return jl.sample(
        key(),
        energy,
        jl.ula(0.2),
        jl.Gaussian(jnp.zeros(2), jnp.eye(2)),
        num_steps=num_steps,
        num_chains=num_chains,
        reducers=given,
        **options,
    )


def reduced(reducer, values):
    """A reducer on given values (chain, draw, …), without the driver."""
    states = ULAState(jnp.moveaxis(values, 1, 0))
    first = jax.tree.map(lambda x: x[0], states)
    accumulators = jax.vmap(reducer.init)(first)

    def body(carry, state):
        n, accumulators = carry
        update = jax.vmap(lambda a, s: reducer.update(a, s, n + 1))
        return (n + 1, update(accumulators, state)), None

    (n, accumulators), _ = jax.jit(lambda c: jax.lax.scan(body, c, states))(
        (jnp.int32(0), accumulators)
    )
    keep = jnp.ones(values.shape[0], bool)
    return finish_reducers(reducer, accumulators, keep, n)


def tolerance(dtype):
    return 1e-5 if dtype == jnp.float32 else 1e-12


def square_and_sum(state):
    return {"square": state.position**2, "sum": jnp.sum(state.position)}


SEVERAL = {
    "moments": reducers.moments(),
    "covariance": reducers.moments(covariance=True),
    "pooled moments": reducers.pooled(reducers.moments()),
    "pooled covariance": reducers.pooled(reducers.moments(covariance=True)),
    "expectation": reducers.expectation(square_and_sum),
    "pooled expectation": reducers.pooled(reducers.expectation(square_and_sum)),
    "extrema": reducers.extrema(),
    "pooled extrema": reducers.pooled(reducers.extrema()),
    "autocovariance": reducers.autocovariance(20),
    "more lags than draws": reducers.autocovariance(100),
    "split rhat": reducers.pooled(reducers.split_rhat(DRAWS)),
    "split rhat of more": reducers.split_rhat(DRAWS + 10),
}


@functools.cache
def several(dtype):
    """The draws in double precision, and the summaries of all reducers of one run."""
    result = run(SEVERAL)
    assert result.draws.dtype == dtype
    return np.asarray(result.draws, np.float64), result.summary


# Against two passes ---------------------------------------------------------------------------


def test_moments_are_those_of_the_draws(dtype):
    x, summary = several(dtype)
    found = summary["moments"]
    np.testing.assert_allclose(found.mean, x.mean(1), rtol=tolerance(dtype))
    np.testing.assert_allclose(found.variance, x.var(1, ddof=1), rtol=tolerance(dtype))
    assert found.mean.dtype == dtype


def test_covariances_are_those_of_the_draws(dtype):
    x, summary = several(dtype)
    expected = [np.cov(chain.T) for chain in x]
    np.testing.assert_allclose(summary["covariance"].variance, expected, rtol=10 * tolerance(dtype))


@pytest.mark.parametrize("covariance", [False, True])
def test_pooled_moments_are_those_of_all_draws(covariance, dtype):
    x, summary = several(dtype)
    x = x.reshape(-1, 2)
    value, num_chains, num_left_out = summary[
        f"pooled {'covariance' if covariance else 'moments'}"
    ][:3]
    expected = np.cov(x.T) if covariance else x.var(0, ddof=1)
    np.testing.assert_allclose(value.mean, x.mean(0), rtol=tolerance(dtype))
    np.testing.assert_allclose(value.variance, expected, rtol=10 * tolerance(dtype))
    assert (int(num_chains), int(num_left_out)) == (CHAINS, 0)


def test_no_draw_has_no_moments():
    """As it has no expectation: a mean of 0 would be a number like any other."""
    names = ("moments", "covariance", "expectation")
    given = [SEVERAL[name] for name in names]
    alone, pooled = run((given, [reducers.pooled(one) for one in given]), num_steps=0).summary
    values = (alone, [one.value for one in pooled])
    assert all(np.isnan(leaf).all() for leaf in jax.tree.leaves(values))


def test_expectations_are_means_of_the_function(dtype):
    x, summary = several(dtype)
    each, pooled = summary["expectation"], summary["pooled expectation"].value
    np.testing.assert_allclose(each["square"], (x**2).mean(1), rtol=tolerance(dtype))
    np.testing.assert_allclose(each["sum"], x.sum(2).mean(1), rtol=tolerance(dtype))
    np.testing.assert_allclose(pooled["square"], (x**2).mean((0, 1)), rtol=tolerance(dtype))


def test_extrema_are_those_of_the_draws():
    x, summary = several(jnp.dtype("float32"))
    each, pooled = summary["extrema"], summary["pooled extrema"]
    np.testing.assert_array_equal(each.minimum, x.min(1))
    np.testing.assert_array_equal(each.maximum, x.max(1))
    np.testing.assert_array_equal(pooled.value.minimum, x.min((0, 1)))
    np.testing.assert_array_equal(pooled.value.maximum, x.max((0, 1)))


def test_histograms_count_as_numpy_does():
    edges = np.linspace(-2.0, 3.0, 11, dtype=np.float32)
    values = jnp.asarray(np.random.default_rng(0).normal(size=(3, 50)), jnp.float32)
    values = values.at[0, :3].set([-2.0, 3.0, 0.5])  # on edges: the first, the last, an inner one
    each = reduced(reducers.histogram(edges), values)
    pooled = reduced(reducers.pooled(reducers.histogram(edges)), values).value
    for chain in range(3):
        counts, _ = np.histogram(values[chain], edges)
        np.testing.assert_allclose(each.fractions[chain], counts / 50, atol=1e-7)
        np.testing.assert_allclose(each.below[chain], np.mean(values[chain] < -2.0), atol=1e-7)
        np.testing.assert_allclose(each.above[chain], np.mean(values[chain] > 3.0), atol=1e-7)
    np.testing.assert_allclose(pooled.fractions, each.fractions.mean(0), atol=1e-6)


def test_quantiles_of_a_histogram_are_right_to_a_bin_and_refused_outside():
    edges = jnp.linspace(-3.0, 3.0, 601)
    values = jnp.asarray(np.random.default_rng(0).normal(size=(1, 5000)), jnp.float32)
    histogram = reduced(reducers.histogram(edges), values)
    for q in (0.05, 0.5, 0.9):
        np.testing.assert_allclose(
            histogram.quantile(q)[0], np.quantile(values, q), atol=2 * 6 / 600
        )
    assert bool(jnp.isnan(histogram.quantile(1e-5)[0]))


def test_draws_that_are_nan_are_in_no_bin_and_shown():
    """A quarter of chain 1 is NaN: neither below nor above, and no quantile is known."""
    values = jnp.tile(jnp.array([-5.0, 0.5, 1.5, 5.0]), (2, 1)).at[1, 0].set(jnp.nan)
    each = reduced(reducers.histogram([0.0, 1.0, 2.0]), values)
    np.testing.assert_array_equal(each.nan, [0, 0.25])
    np.testing.assert_array_equal(each.below, [0.25, 0])
    np.testing.assert_array_equal(each.above, [0.25, 0.25])
    np.testing.assert_array_equal(each.fractions, np.full((2, 2), 0.25))
    np.testing.assert_array_equal(each.quantile(0.5), [1.0, np.nan])
    pooled = reduced(reducers.pooled(reducers.histogram([0.0, 1.0, 2.0])), values).value
    assert (float(pooled.nan), float(pooled.below)) == (0.125, 0.125)
    assert (each.edges.shape, pooled.edges.shape) == ((2, 3), (3,))


def test_autocovariances_are_those_of_the_draws(dtype):
    x, summary = several(dtype)
    found = summary["autocovariance"]
    centred = x - x.mean(1, keepdims=True)
    expected = np.stack(
        [(centred[:, lag:] * centred[:, : DRAWS - lag]).sum(1) / DRAWS for lag in range(21)], -1
    )
    np.testing.assert_allclose(found.mean, x.mean(1), rtol=tolerance(dtype))
    np.testing.assert_allclose(
        found.autocovariance, expected, atol=20 * tolerance(dtype) * expected.max()
    )


def test_more_lags_than_draws_are_zeros():
    _, summary = several(jnp.dtype("float32"))
    assert not np.any(np.asarray(summary["more lags than draws"].autocovariance)[..., DRAWS:])


@pytest.mark.parametrize("num_chains", [1, 4])
def test_effective_numbers_and_errors_are_those_of_arviz(num_chains, x64):
    """Given enough lags, and without splitting chains, as there is nothing to split."""
    stats = pytest.importorskip("arviz_stats.base").array_stats
    result = run(
        reducers.pooled(reducers.autocovariance(300)), num_steps=1000, num_chains=num_chains
    )
    for i in range(2):
        x = np.asarray(result.draws[..., i])
        expected = stats.ess(x, chain_axis=0, draw_axis=1, method="identity")
        np.testing.assert_allclose(result.summary.value.ess[i], expected, rtol=1e-9)
        np.testing.assert_allclose(
            result.summary.value.mcse[i], np.std(x, ddof=1) / np.sqrt(expected), rtol=1e-9
        )
    assert bool(result.summary.value.complete.all())


def test_too_few_lags_are_said_to_be_too_few():
    energy = jl.energies.quadratic(jnp.eye(1))
    result = jl.sample(
        key(),
        energy,
        jl.ula(0.01),
        energy,
        num_steps=2000,
        num_chains=50,
        reducers=reducers.pooled(reducers.autocovariance(5)),
    )
    assert not bool(result.summary.value.complete[0])


def assert_split_rhat(found, x, **tolerance):
    halves = np.concatenate([x[:, :30], x[:, -30:]])
    within, between = halves.var(1, ddof=1).mean(0), halves.mean(1).var(0, ddof=1)
    expected = np.sqrt(between / within + 29 / 30)
    np.testing.assert_allclose(found.value, expected, **tolerance)


def test_split_rhat_is_that_of_the_halves(dtype):
    x, summary = several(dtype)
    assert_split_rhat(summary["split rhat"], x, rtol=10 * tolerance(dtype))


def test_the_middle_of_an_odd_number_of_draws_is_in_neither_half():
    result = run(reducers.pooled(reducers.split_rhat(61)), num_steps=61)
    assert_split_rhat(result.summary, np.asarray(result.draws, np.float64), rtol=1e-4)


def test_split_rhat_can_be_resumed_but_not_beyond_its_number():
    energy, half = jl.energies.quadratic(jnp.eye(2)), reducers.split_rhat(8)
    first = jl.sample(key(), energy, jl.ula(0.1), jnp.ones((2, 2)), num_steps=4, reducers=half)
    assert np.isnan(first.summary).all()
    both = jl.resume(first.state, energy, jl.ula(0.1), num_steps=4, reducers=half)
    assert np.isfinite(both.summary).all()
    with pytest.raises(ValueError, match=r"split_rhat\(8\) expects 8 draws, but there will be 12"):
        jl.resume(both.state, energy, jl.ula(0.1), num_steps=4, reducers=half)


def test_split_rhat_of_another_number_of_draws_is_nan():
    _, summary = several(jnp.dtype("float32"))
    assert np.isnan(summary["split rhat of more"]).all()


# Numbers that are hard on float32 -------------------------------------------------------------


def test_moments_are_right_where_the_mean_is_ten_thousand_standard_deviations():
    x = 1e4 + np.random.default_rng(0).normal(size=(2, 200_000))
    values = jnp.asarray(x, jnp.float32)
    exact = np.asarray(values, np.float64)
    for reducer in (reducers.moments(), reducers.pooled(reducers.moments())):
        found = reduced(reducer, values)
        found = getattr(found, "value", found)
        axis = 1 if found.mean.ndim else None
        np.testing.assert_allclose(found.mean, exact.mean(axis), rtol=1e-7)
        np.testing.assert_allclose(found.variance, exact.var(axis, ddof=1), rtol=2e-6)


def test_sums_do_not_stall_after_two_to_the_24():
    """A plain float32 sum of ones ends at 16,777,216."""
    sum_ = CompensatedSum.zero(jnp.float32(0))._replace(high=jnp.float32(2**24))
    for _ in range(5):
        sum_ = jax.jit(lambda s: s.add(jnp.float32(1), jnp.int32(2**24)))(sum_)
    assert float(sum_.high) + float(sum_.low) == 2**24 + 5


def test_half_precision_is_summed_in_single():
    values = jnp.ones((1, 1000), jnp.bfloat16)
    found = reduced(reducers.expectation(lambda state: state.position), values)
    assert found.dtype == jnp.float32
    assert float(found[0]) == 1


# In the driver --------------------------------------------------------------------------------


def test_reducers_see_what_is_thinned_and_not_what_is_burnt():
    result = run(reducers.moments(), burn_in=7, thin=3)
    np.testing.assert_allclose(result.summary.mean, np.asarray(result.draws).mean(1), rtol=1e-4)


@pytest.mark.slow
def test_draws_do_not_depend_on_reducers_nor_summaries_on_draws():
    """To the last bit, for 64 numbers a step or more: docs/pages/streams.md."""
    kept = run(reducers.moments(), num_chains=40)
    unkept = run(reducers.moments(), num_chains=40, observe=None)
    np.testing.assert_array_equal(kept.draws, run(None, num_chains=40).draws)
    np.testing.assert_array_equal(kept.summary.mean, unkept.summary.mean)
    assert unkept.draws is None
    assert run(None).summary is None


def test_any_function_of_the_position_may_be_reduced():
    result = run({"radius": reducers.moments(lambda state: jnp.linalg.norm(state.position))})
    expected = np.linalg.norm(result.draws, axis=-1).mean(1)
    np.testing.assert_allclose(result.summary["radius"].mean, expected, rtol=1e-5)


def test_a_users_reducer_is_three_functions():
    longest = reducers.custom(
        init=lambda state: (jnp.int32(0), jnp.int32(0)),
        update=lambda a, state, n: (
            jnp.where(state.position[0] > 1, a[0] + 1, 0),
            jnp.maximum(a[1], jnp.where(state.position[0] > 1, a[0] + 1, 0)),
        ),
        finish=lambda a, n: a[1],
    )
    result = run(longest)
    for draws, found in zip(np.asarray(result.draws[..., 0]) > 1, result.summary, strict=True):
        runs = "".join("x" if above else " " for above in draws).split()
        assert int(found) == max(map(len, runs), default=0)


@pytest.mark.slow
def test_a_chain_that_diverged_is_left_out_of_pooled_results_and_counted():
    starts = jnp.full((8, 1), 0.5).at[3].set(50.0)
    moments = reducers.moments()
    with pytest.warns(jl.DivergenceWarning):
        result = jl.sample(
            key(),
            jl.energies.double_well(),
            jl.ula(0.05),
            starts,
            num_steps=200,
            reducers=(moments, reducers.pooled(moments), reducers.pooled(reducers.extrema())),
        )
    each, pooled, extrema = result.summary
    whole = np.asarray(result.draws)[np.arange(8) != 3]
    assert (int(pooled.num_chains), int(pooled.num_left_out)) == (7, 1)
    np.testing.assert_allclose(pooled.value.mean, whole.mean((0, 1)), rtol=1e-5)
    assert float(extrema.value.maximum[0]) == whole.max()
    assert bool(jnp.isfinite(each.mean).all())


def test_memory_does_not_grow_with_the_number_of_steps():
    """The shapes of the state and its accumulators do not depend on the number of steps."""
    few, many = (
        run(reducers.autocovariance(10), num_steps=n, observe=None).state for n in (20, 2000)
    )
    assert jax.tree.map(jnp.shape, few) == jax.tree.map(jnp.shape, many)


# Refusals -------------------------------------------------------------------------------------


HISTOGRAM = reducers.Histogram(*map(jnp.asarray, ([0.0, 1.0], [1.0], 0.0, 0.0, 0.0)))


@pytree_dataclass
class Unfinished:
    """It lacks `finish`. As a pytree it has no leaves, so it has none that could be refused."""

    def init(self, state):
        return jnp.int32(0)

    def update(self, accumulator, state, n):
        return accumulator + 1


def test_containers_without_reducers_are_taken():
    for nothing in (None, (), {"a": None, "b": []}):
        check_reducers(nothing)
    check_reducers(({"a": reducers.moments(), "b": None}, [reducers.extrema()]))


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: reducers.moments(3), TypeError, "of: expected a function"),
        (lambda: reducers.histogram([1.0]), ValueError, "edges: expected at least two"),
        (lambda: reducers.histogram([1.0, 1.0]), ValueError, "edges: expected at least two, each"),
        (lambda: reducers.histogram([0.0, jnp.inf]), ValueError, "edges: expected finite"),
        (lambda: reducers.autocovariance(0), ValueError, "max_lag: expected at least 1"),
        (lambda: reducers.split_rhat(3), ValueError, "num_draws: expected at least 4"),
        (lambda: reducers.pooled(3), TypeError, "reducer: int cannot be pooled"),
        (
            lambda: reducers.pooled(
                reducers.custom(lambda s: 0, lambda a, s, n: a, lambda a, n: a)
            ),
            TypeError,
            "reducer: Custom cannot be pooled",
        ),
        (lambda: run(3), TypeError, "reducers: expected a reducer or a pytree of them, got int"),
        (
            lambda: run({"a": reducers.moments}),
            TypeError,
            r"got the function moments .* moments\(\)",
        ),
        (lambda: run(Unfinished()), TypeError, r"reducers: .* got Unfinished \(it lacks finish\)"),
        (
            lambda: run((reducers.moments(), {"a": Unfinished()})),
            TypeError,
            "reducers: .* got Unfinished",
        ),
        *[
            (
                lambda make=make: run(make(lambda s: jax.lax.complex(s.position, s.position))),
                TypeError,
                "of: expected it to return real numbers, got dtype complex64; return jnp.real",
            )
            for make in (
                reducers.moments,
                reducers.expectation,
                reducers.extrema,
                lambda of: reducers.histogram([0.0, 1.0], of),
                lambda of: reducers.autocovariance(2, of),
                lambda of: reducers.split_rhat(DRAWS, of),
            )
        ],
        (
            lambda: run(reducers.pooled(reducers.split_rhat(DRAWS - 2))),
            ValueError,
            rf"reducers: split_rhat\({DRAWS - 2}\) expects .* will be {DRAWS}, num_steps",
        ),
        (lambda: reducers.custom(None, None, None), TypeError, "init: expected a function"),
        (lambda: reducers.custom(abs, abs, 1), TypeError, "finish: expected a function, got 1"),
        (lambda: reducers.histogram([0.0, 1.0], of=3), TypeError, "of: expected a function"),
        (lambda: HISTOGRAM.quantile(1.5), ValueError, "q: expected a number between 0 and 1"),
        (lambda: HISTOGRAM.quantile(jnp.nan), ValueError, "q: expected finite values"),
        (lambda: HISTOGRAM.quantile([0.5]), TypeError, "q: expected a real number"),
    ],
)
def test_bad_input_is_refused_by_name(make, error, message):
    with pytest.raises(error, match=message):
        make()
