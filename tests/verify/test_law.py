"""Samples against a law: what must be found, how often it may be found wrongly, and the report.

Draws are NumPy's, so the library's own noise is not on trial. Tests on exact draws fail by chance
with a probability of at most 1e-6 each; a binomial count is bounded at 1e-6 too. Where an error
must be found, it is large enough to be missed with a probability below 1e-6.
"""

import functools
import json
import math
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

import jlangevin as jl
from jlangevin.verify import assert_law, compare

RATE = 1e-6


# Helpers ------------------------------------------------------------------------------------


def rng(seed=0):
    return np.random.default_rng(seed)


def standard(d):
    return jl.Gaussian(jnp.zeros(d), jnp.eye(d))


def correlated():
    """A law whose coordinates differ in mean and scale and depend on each other."""
    factor = np.array([[2.0, 0.0, 0.0], [0.5, 0.1, 0.0], [-30.0, 10.0, 20.0]])
    return jl.Gaussian(jnp.array([1.0, -5.0, 100.0]), jnp.asarray(factor @ factor.T, float))


def color(u, law):
    """The draws that whiten to `u`."""
    lower = np.linalg.cholesky(np.asarray(law.cov, np.float64))
    return np.asarray(law.mean, np.float64) + u @ lower.T


def exact_draws(law, n, seed=0):
    return color(rng(seed).normal(size=(n, len(law.mean))), law)


def failed(report):
    return {check.name for check in report.checks if not check.passed}


def check(report, name):
    (found,) = (check for check in report.checks if check.name == name)
    return found


# What passes --------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [2, 10, 1000, 100_000])
@pytest.mark.parametrize("law", [standard(1), correlated(), standard(20)], ids=["1", "3", "20"])
def test_exact_draws_pass(law, n):
    report = compare(exact_draws(law, n), law)
    assert report.passed, report
    assert report.num_draws == n
    assert report.num_nonfinite == 0
    assert [check.name for check in report.checks] == ["mean", "covariance", "shape"]


def test_exact_draws_of_the_library_pass(dtype):
    """float32 draws and float64 draws, as JAX arrays."""
    law = correlated()
    draws = law.sample(jax.random.key(0), 20_000)
    assert draws.dtype == dtype
    assert compare(draws, law).passed


def test_draws_may_be_numpy_arrays_of_either_precision():
    law, draws = correlated(), exact_draws(correlated(), 5000)
    double, single = compare(draws, law), compare(draws.astype(np.float32), law)
    assert double.passed
    assert single.passed
    assert single.p_value == pytest.approx(double.p_value, rel=1e-2)


def test_scales_of_many_orders_of_magnitude_pass():
    """float32 reaches from 1e-30 to 1e30, and the covariance is regular."""
    scales = np.array([1e-15, 1.0, 1e15])
    law = jl.Gaussian(jnp.zeros(3), jnp.diag(jnp.asarray(scales**2, jnp.float32)))
    assert compare(scales * rng().normal(size=(5000, 3)), law).passed


def test_pytree_draws_are_compared_as_their_raveled_vectors():
    law = correlated()
    tree = {"w": law.mean[1:].reshape(2, 1), "b": law.mean[0]}  # raveled, b comes first
    draws = exact_draws(law, 5000)
    tree_draws = {"w": draws[:, 1:].reshape(-1, 2, 1), "b": draws[:, 0]}
    report = compare(tree_draws, jl.Gaussian(tree, law.cov))
    assert report.passed
    assert report.coordinates == ("b", "w[0,0]", "w[1,0]")
    flat = compare(draws, law)
    assert flat.coordinates == ("0", "1", "2")
    assert str(report).replace("w[0,0]", "1     ").replace("w[1,0]", "2     ") == str(flat).replace(
        "\n0  ", "\nb  "
    )


def test_a_chain_passes_against_its_own_law():
    """The triangle closed: driver and kernel against the law derived from the kernel's code."""
    energy, start = jl.energies.quadratic(jnp.array([[2.0, 0.5], [0.5, 1.0]])), standard(2)
    kernel = jl.ula(0.3)
    run = jl.sample(jax.random.key(0), energy, kernel, start, num_steps=5, num_chains=20_000)
    law = jl.exact.law(kernel, energy, start, 5)
    assert_law(run.position, law)
    assert not compare(run.position, jl.exact.target(energy, jnp.zeros(2))).passed


# What each family finds ---------------------------------------------------------------------


def test_shift_too_small_to_see_in_any_coordinate_is_found():
    """0.02 standard deviations in each of 50: 2.8 standard errors each, 20 in all."""
    u = rng().normal(size=(20_000, 50)) + 0.02
    assert "mean" in failed(compare(u, standard(50)))


def test_shift_against_the_correlation_is_found():
    """0.05 standard deviations in each coordinate, in a direction where the law is very narrow."""
    cov = np.array([[1.0, 0.999], [0.999, 1.0]])
    law = jl.Gaussian(jnp.zeros(2), jnp.asarray(cov, float))
    draws = exact_draws(law, 10_000) + np.array([0.05, -0.05])
    assert "mean" in failed(compare(draws, law))


@pytest.mark.parametrize("factor", [1.15, 0.87])
def test_scale_of_one_variance_is_found(factor):
    u = rng().normal(size=(20_000, 3))
    u[:, 1] *= math.sqrt(factor)
    report = compare(u, standard(3))
    assert "covariance" in failed(report)
    found = re.fullmatch(r"variance of direction 1: (.*), not 1", check(report, "covariance").worst)
    assert float(found[1]) == pytest.approx(factor, abs=0.07)  # seven standard errors


@pytest.mark.parametrize("factor", [1.02, 0.98])
def test_variance_off_by_little_in_all_of_many_coordinates_is_found(factor):
    """2 percent in each of 50: 2 standard errors each, 14 in their sum."""
    u = math.sqrt(factor) * rng().normal(size=(20_000, 50))
    report = compare(u, standard(50))
    assert "covariance" in failed(report)
    assert check(report, "covariance").worst.startswith(f"total variance: {factor}")


@pytest.mark.parametrize("correlation", [0.1, -0.1])
def test_correlation_is_found(correlation):
    """Every marginal is right."""
    u = rng().normal(size=(20_000, 3))
    u[:, 2] = correlation * u[:, 0] + math.sqrt(1 - correlation**2) * u[:, 2]
    report = compare(u, standard(3))
    assert failed(report) == {"covariance"}
    assert check(report, "covariance").worst.startswith("correlation of 0 and 2: ")


@pytest.mark.parametrize("shape", ["uniform", "Laplace", "mixture"])
def test_shape_with_the_right_mean_and_covariance_is_found(shape):
    generator, n = rng(), 20_000
    u = {
        "uniform": generator.uniform(-math.sqrt(3), math.sqrt(3), n),
        "Laplace": generator.laplace(0, math.sqrt(0.5), n),
        "mixture": 0.8 * generator.choice([-1, 1], n) + 0.6 * generator.normal(size=n),
    }[shape]
    beside = generator.normal(size=n)
    assert "shape" in failed(compare(u[:, None], standard(1)))
    assert "shape" in failed(compare(np.stack([beside, u], axis=1), standard(2)))


def test_wrong_distance_from_the_mean_is_found_where_every_marginal_is_right():
    """Two exact standard normals, uncorrelated, one large where the other is small."""
    generator, n = rng(), 20_000
    level = generator.uniform(size=n)
    sizes = stats.norm.isf(np.stack([1 - level, level], axis=1) / 2)
    u = sizes * generator.choice([-1, 1], size=(n, 2))
    for i in range(2):
        assert compare(u[:, i : i + 1], standard(1)).passed
    report = compare(u, standard(2))
    assert failed(report) == {"shape"}
    assert check(report, "shape").worst.startswith("distance from the mean: cdf off by ")


def test_heavy_tails_that_all_coordinates_share_are_found():
    """A variance of 0.85 or 1.15 for the whole vector hardly shows in any one coordinate."""
    generator, n, d = rng(), 20_000, 50
    scale = np.sqrt(generator.choice([0.85, 1.15], size=(n, 1)))
    report = compare(scale * generator.normal(size=(n, d)), standard(d))
    assert "shape" in failed(report)
    assert check(report, "shape").worst.startswith("distance from the mean: cdf off by ")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_one_draw_that_is_not_finite_is_a_failure_of_its_own(value):
    draws = exact_draws(correlated(), 1000)
    draws[17, 1] = value
    report = compare(draws, correlated())
    assert failed(report) == {"finite"}
    assert report.num_nonfinite == 1
    assert report.num_draws == 999
    assert report.p_value == 0
    assert "1 of 1000 not finite" in str(report)


def test_draws_that_never_left_the_mean_are_rejected():
    """A chain that does not move."""
    report = compare(np.zeros((1000, 3)), standard(3))
    assert failed(report) >= {"covariance", "shape"}


def test_draws_that_are_all_one_are_rejected():
    report = compare(np.tile([0.3, -0.2, 0.1], (1000, 1)), standard(3))
    assert failed(report) == {"mean", "covariance", "shape"}


def test_draws_on_a_line_are_rejected():
    line = rng().normal(size=(1000, 1))
    report = compare(np.concatenate([line, -line], axis=1), standard(2))
    assert "covariance" in failed(report)
    assert check(report, "covariance").worst.startswith("correlation of 0 and 1: ")
    assert check(report, "covariance").p_value == 0


@pytest.mark.parametrize("size", [1e30, 1e200])
def test_huge_but_finite_draw_is_rejected(size):
    """A chain on its way to infinity, caught before it arrives."""
    draws = exact_draws(correlated(), 1000)
    draws[17, 1] = size
    assert failed(compare(draws, correlated())) >= {"mean", "covariance"}


# Calibration --------------------------------------------------------------------------------

REPLICATIONS = 2000


@functools.cache
def replications():
    """Reports on exact draws, n = 200 in 3 dimensions, at a false-alarm rate of 5 percent."""
    law, generator = correlated(), rng()
    draws = (color(generator.normal(size=(200, 3)), law) for _ in range(REPLICATIONS))
    return [compare(x, law, false_alarm=0.05) for x in draws]


def at_most(probability, trials=REPLICATIONS):
    """The largest count that `probability` explains at 1e-6."""
    return stats.binom.isf(RATE, trials, probability)


def at_least(probability, trials=REPLICATIONS):
    return stats.binom.ppf(RATE, trials, probability)


@pytest.mark.slow
@pytest.mark.parametrize("level", [0.01, 0.1, 0.5])
@pytest.mark.parametrize("name", ["mean", "covariance", "shape"])
def test_p_values_of_exact_draws_are_valid(name, level):
    """P(p ≤ level) ≤ level."""
    small = sum(check(report, name).p_value <= level for report in replications())
    assert small <= at_most(level)


@pytest.mark.slow
@pytest.mark.parametrize("level", [0.01, 0.1, 0.5])
def test_p_value_of_the_mean_is_exact(level):
    small = sum(check(report, "mean").p_value <= level for report in replications())
    assert small >= at_least(level)


@pytest.mark.slow
def test_p_value_of_the_covariance_is_not_wasteful():
    """Bonferroni over seven members costs less than half of the level."""
    small = sum(check(report, "covariance").p_value <= 0.1 for report in replications())
    assert small >= at_least(0.05)


def test_whole_report_rejects_exact_draws_no_more_often_than_stated():
    rejected = sum(not report.passed for report in replications())
    assert rejected <= at_most(0.05)
    assert rejected >= at_least(0.02)  # and two of the three families spend their share


def test_z_scores_of_exact_draws_have_unit_variance():
    """Over 2,000 replications the variance of a z-score is 1 within 0.2, six standard errors."""
    mean_z = np.array([report.mean_z for report in replications()])
    cov_z = np.array([report.cov_z for report in replications()])
    np.testing.assert_allclose((mean_z**2).mean(axis=0), np.ones(3), atol=0.2)
    np.testing.assert_allclose((cov_z**2).mean(axis=0), np.ones((3, 3)), atol=0.2)


# Power --------------------------------------------------------------------------------------

POWER_DRAWS, POWER_TRIALS, POWER_RATE = 2000, 500, 1e-3


def detected(law, name, make_wrong, share=1.0):
    """How many of 500 samples with `share` of the error said to be detectable fail its check."""
    generator = rng()
    d = len(law.mean)
    sound = compare(exact_draws(law, POWER_DRAWS), law, false_alarm=POWER_RATE)
    error = share * check(sound, name).detectable
    count = 0
    for _ in range(POWER_TRIALS):
        u = make_wrong(generator.normal(size=(POWER_DRAWS, d)), error)
        count += name in failed(compare(color(u, law), law, false_alarm=POWER_RATE))
    return count


def shifted(u, error):
    direction = np.arange(1.0, u.shape[1] + 1)
    return u + error * direction / np.linalg.norm(direction)


def scaled_up(u, error):
    return u * np.sqrt(np.array([1 + error, *np.ones(u.shape[1] - 1)]))


def scaled_down(u, error):
    return u * np.sqrt(np.array([1 - error, *np.ones(u.shape[1] - 1)]))


def gapped(u, error):
    """P(u_0 < 0) is ½ - error: what was just below zero lies just above."""
    level = stats.norm.cdf(u[:, 0])
    level = np.where((level > 0.5 - error) & (level < 0.5), level + error, level)
    return np.concatenate([stats.norm.ppf(level)[:, None], u[:, 1:]], axis=1)


WRONG = {
    "shift": ("mean", shifted),
    "larger variance": ("covariance", scaled_up),
    "smaller variance": ("covariance", scaled_down),
    "gap": ("shape", gapped),
}


@pytest.mark.slow
@pytest.mark.parametrize("wrong", WRONG)
def test_error_said_to_be_detectable_is_detected_99_times_in_100(wrong):
    name, make_wrong = WRONG[wrong]
    assert detected(correlated(), name, make_wrong) >= at_least(0.99, POWER_TRIALS)


@pytest.mark.slow
@pytest.mark.parametrize("wrong", ["shift", "larger variance"])
def test_error_said_to_be_detectable_is_about_the_smallest(wrong):
    """Four fifths of it are missed more often than one time in 100."""
    name, make_wrong = WRONG[wrong]
    missed = POWER_TRIALS - detected(correlated(), name, make_wrong, share=0.8)
    assert missed > at_most(0.01, POWER_TRIALS)


def test_shift_of_a_correlated_coordinate_by_its_standard_deviations_is_detected():
    """Correlation only helps: the shift is stated for a coordinate on its own."""
    law = correlated()
    deviation = np.sqrt(np.diagonal(np.asarray(law.cov, np.float64)))
    lower = np.linalg.cholesky(np.asarray(law.cov, np.float64))

    def one_coordinate(u, error):
        return u + np.linalg.solve(lower, error * deviation * np.array([0, 1, 0]))

    assert detected(law, "mean", one_coordinate) >= at_least(0.99, POWER_TRIALS)


def test_more_draws_detect_smaller_errors():
    law = standard(2)
    few, many = (compare(exact_draws(law, n), law) for n in (1000, 100_000))
    for name in ("mean", "covariance", "shape"):
        ratio = check(few, name).detectable / check(many, name).detectable
        assert ratio == pytest.approx(10, rel=0.2)  # one over the root of n


# The report ---------------------------------------------------------------------------------


def test_report_is_a_readable_table():
    law = correlated()
    report = compare(exact_draws(law, 20_000), law)
    text = str(report)
    assert text.startswith("20,000 draws in 3 dimension(s)")
    assert "a correct sampler fails with probability 1e-06" in text
    for name in ("mean", "covariance", "shape"):
        (row,) = (line for line in text.splitlines() if line.startswith(f"{name} "))
        assert f"{check(report, name).p_value:.2g}" in row
        assert f"{check(report, name).detectable:.2g}" in row
    for words in (" sd", "a variance off by", "in a cdf", "coordinates before i"):
        assert words in text
    assert f"{100.0:>13.6g}" in text  # a mean
    assert f"{float(law.cov[2, 2]):>15.6g}" in text
    assert f"{report.sample_mean[2]:>13.6g}" in text
    assert f"{report.mean_z[2]:>8.2f}" in text
    assert "FAILED" not in text
    assert text.splitlines()[-1] == f"the draws agree with the law (p = {report.p_value:.2g})"
    assert max(map(len, text.splitlines())) <= 120


def test_report_of_a_failure_says_what_failed():
    report = compare(exact_draws(correlated(), 5000) + 1000, correlated())
    text = str(report)
    (row,) = (line for line in text.splitlines() if line.startswith("mean "))
    assert row.endswith("FAILED")
    assert "the law is REJECTED (p = 0)" in text


def test_report_shows_the_most_extreme_of_many_coordinates():
    u = rng().normal(size=(1000, 50))
    u[:, 37] += 1
    u[:, 42] *= 2
    rows = [line.split() for line in str(compare(u, standard(50))).splitlines()]
    coordinates = [int(row[0]) for row in rows if row and row[0].isdigit() and len(row) == 7]
    assert len(coordinates) == 8
    assert coordinates == sorted(coordinates)
    assert {37, 42} <= set(coordinates)
    assert "(42 less extreme coordinates are not shown)" in str(compare(u, standard(50)))


def test_z_scores_and_sample_moments_are_numpys():
    law = correlated()
    draws = exact_draws(law, 500)
    mean, cov = (np.asarray(part, np.float64) for part in (law.mean, law.cov))
    report = compare(draws, law)
    np.testing.assert_array_equal(report.mean, mean)
    np.testing.assert_array_equal(report.cov, cov)
    np.testing.assert_allclose(report.sample_mean, draws.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(report.sample_cov, (draws - mean).T @ (draws - mean) / 500)
    deviation = np.sqrt(np.diagonal(cov))
    z = (draws.mean(axis=0) - mean) / deviation * math.sqrt(500)
    np.testing.assert_allclose(report.mean_z, z, rtol=1e-9)
    variance_z = (np.mean((draws - mean) ** 2, axis=0) / deviation**2 - 1) * math.sqrt(500 / 2)
    np.testing.assert_allclose(np.diagonal(report.cov_z), variance_z, rtol=1e-9)


@pytest.mark.slow
def test_z_score_of_a_check_is_that_of_its_p_value():
    report = compare(exact_draws(correlated(), 500), correlated())
    for found in report.checks:
        assert 2 * stats.norm.sf(found.z_score) == pytest.approx(found.p_value)
    (mean, *_) = compare(exact_draws(correlated(), 500) + 1e6, correlated()).checks
    assert mean.z_score == math.inf


@pytest.mark.slow
@pytest.mark.parametrize("false_alarm", [0.3, 1e-6, 1e-12])
@pytest.mark.parametrize("shift", [0.0, 0.1, 0.25])
def test_report_passes_exactly_where_its_p_value_reaches_the_false_alarm_rate(shift, false_alarm):
    draws = exact_draws(standard(2), 1000) + shift
    report = compare(draws, standard(2), false_alarm=false_alarm)
    assert report.passed == (report.p_value >= false_alarm)
    assert report.false_alarm == false_alarm
    assert sum(found.threshold for found in report.checks) == pytest.approx(false_alarm)


def reports():
    nonfinite = exact_draws(correlated(), 100)
    nonfinite[3] = np.nan
    return {
        "passed": compare(exact_draws(correlated(), 1000), correlated()),
        "rejected with p = 0": compare(exact_draws(correlated(), 1000) + 1e6, correlated()),
        "not finite": compare(nonfinite, correlated()),
        "two draws": compare(exact_draws(standard(1), 2), standard(1)),
    }


@pytest.mark.parametrize("name", ["passed", "rejected with p = 0", "not finite", "two draws"])
def test_report_is_json(name):
    report = reports()[name]
    plain = json.loads(json.dumps(report.to_dict(), allow_nan=False))
    assert plain == report.to_dict() | {"checks": list(plain["checks"])}
    assert plain["passed"] is report.passed
    assert plain["num_draws"] == report.num_draws
    assert plain["num_nonfinite"] == report.num_nonfinite
    assert [c["name"] for c in plain["checks"]] == [c.name for c in report.checks]
    assert plain["sample_cov"] == report.sample_cov.tolist()


def test_too_few_draws_to_detect_anything_are_said_to_be():
    report = compare(exact_draws(standard(1), 2), standard(1))
    assert math.isinf(check(report, "shape").detectable)
    assert "nothing: too few draws" in str(report)


def test_assert_law_raises_the_report_or_returns_nothing():
    law, draws = correlated(), exact_draws(correlated(), 1000)
    assert assert_law(draws, law) is None
    with pytest.raises(AssertionError) as caught:
        assert_law(draws + 10, law)
    assert str(caught.value) == str(compare(draws + 10, law))


def test_assert_law_keeps_to_its_false_alarm_rate():
    """A shift of five standard errors is within chance at 1e-12, and beyond it at 1e-3."""
    draws = exact_draws(standard(1), 1000)
    draws += 5 / math.sqrt(1000) - draws.mean()
    assert_law(draws, standard(1), false_alarm=1e-12)
    with pytest.raises(AssertionError):
        assert_law(draws, standard(1), false_alarm=1e-3)


# Refusals -----------------------------------------------------------------------------------


def test_history_of_chains_is_refused_with_what_to_do():
    run = jl.sample(
        jax.random.key(0), jl.energies.linear([1.0, 2.0]), jl.ula(0.1), standard(2),
        num_steps=5, num_chains=10,
    )  # fmt: skip
    with pytest.raises(ValueError, match=r"take one per chain, for instance draws\[:, -1\]"):
        compare(run.draws, standard(2))


@pytest.mark.parametrize("shape", [(100, 2), (100, 4), (100,), (), (100, 3, 1), (3,)])
def test_draws_of_the_wrong_width_are_refused(shape):
    with pytest.raises(ValueError, match=r"samples: expected shape \(n, 3\)"):
        compare(np.zeros(shape), standard(3))


def test_a_run_is_refused_with_what_to_give():
    run = jl.sample(
        jax.random.key(0), jl.energies.linear([1.0, 2.0]), jl.ula(0.1), standard(2),
        num_steps=5, num_chains=10, observe=None,
    )  # fmt: skip
    with pytest.raises(TypeError, match=r"samples: got a Run; pass .* run\.position"):
        compare(run, standard(2))
    with pytest.raises(TypeError, match=r"samples: got None; .*observe=None"):
        compare(run.draws, standard(2))


def test_draws_of_another_structure_are_refused():
    tree = jl.Gaussian({"a": jnp.zeros(2)}, jnp.eye(2))
    for draws, law in (
        (np.zeros((10, 2)), tree),
        ({"b": np.zeros((10, 2))}, tree),
        ({"a": np.zeros((10, 2))}, standard(2)),
        ((np.zeros((10, 1)), np.zeros((10, 1))), standard(2)),
    ):
        with pytest.raises(
            ValueError, match=r"samples: expected a pytree like law\.mean, .*; got "
        ):
            compare(draws, law)


def test_leaves_that_disagree_on_the_number_of_draws_are_refused():
    law = jl.Gaussian({"a": jnp.zeros(1), "b": jnp.zeros(1)}, jnp.eye(2))
    with pytest.raises(ValueError, match="samples: expected shape"):
        compare({"a": np.zeros((10, 1)), "b": np.zeros((11, 1))}, law)


@pytest.mark.parametrize("draws", [np.zeros((0, 2)), np.zeros((1, 2)), np.full((50, 2), np.nan)])
def test_fewer_than_two_finite_draws_are_refused(draws):
    with pytest.raises(ValueError, match="give at least 2"):
        compare(draws, standard(2))


@pytest.mark.parametrize(
    "cov",
    [np.zeros((2, 2)), np.diag([1.0, 0.0]), np.ones((2, 2))],
    ids=["point", "plane", "line"],
)
def test_singular_covariance_is_refused_with_what_to_do(cov):
    law = jl.Gaussian(jnp.zeros(2), jnp.asarray(cov, float))
    with pytest.raises(ValueError, match=r"singular.*compare after at least one step"):
        compare(np.zeros((10, 2)), law)


def test_law_that_was_refused_under_jit_is_refused_here():
    """Its covariance is NaN."""
    law = jax.jit(
        lambda start: jl.exact.law(jl.ula(0.1), jl.energies.double_well(dim=2), start, 5)
    )(standard(2))
    with pytest.raises(ValueError, match="not finite"):
        compare(np.zeros((10, 2)), law)


@pytest.mark.parametrize("law", [None, jnp.zeros(2), jl.energies.quadratic(jnp.eye(2))])
def test_law_that_is_not_a_gaussian_is_refused(law):
    for question in (compare, assert_law):
        with pytest.raises(TypeError, match=r"law: expected a jlangevin\.Gaussian"):
            question(np.zeros((10, 2)), law)


@pytest.mark.parametrize("false_alarm", [0.0, 1.0, -0.1, 2.0, math.nan])
def test_false_alarm_rate_is_a_probability(false_alarm):
    for question in (compare, assert_law):
        with pytest.raises(ValueError, match="false_alarm: expected a probability"):
            question(np.zeros((10, 2)), standard(2), false_alarm=false_alarm)


@pytest.mark.parametrize("false_alarm", [None, "rare", True, [0.1, 0.2]])
def test_false_alarm_rate_is_a_number(false_alarm):
    for question in (compare, assert_law):
        with pytest.raises(TypeError, match="false_alarm: expected a probability"):
            question(np.zeros((10, 2)), standard(2), false_alarm=false_alarm)
