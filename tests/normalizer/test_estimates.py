"""Ratios of normalisers from weights whose law is known: estimates, errors, bounds, verdicts.

With a ~ N(r - s²/2, s²) on the way there and N(r + s²/2, s²) on the way back, the densities obey
Crooks' theorem, and E[e^a] = e^r. Every statistical test fails a right estimator with a probability
of at most 1e-6.
"""

import numpy as np
import pytest
from scipy import optimize, special, stats

import jlangevin as jl
from jlangevin.normalizer.bounds import effective_size, log_mean_bound
from jlangevin.normalizer.estimates import DISAGREE

RATE = 1e-6
REPEATS = 200
R = 2.5


def pairs(s, there, back, seed=0, repeats=REPEATS, off=0.0, scale=1.0):
    """Log weights of both directions; `off` and `scale` break Crooks' theorem on the way back."""
    rng = np.random.default_rng(seed)
    a = R - s**2 / 2 + s * rng.normal(size=(repeats, there))
    b = R + s**2 / 2 + off + s * scale * rng.normal(size=(repeats, back))
    return a, -b


def most_misses(confidence, repeats=REPEATS):
    """More are seen with a probability of at most 1e-6 where each is missed as stated."""
    return stats.binom.isf(RATE, repeats, 1 - confidence)


@pytest.mark.parametrize(
    ("s", "there", "back"), [(0.5, 100, 100), (1.5, 400, 100), (2.0, 150, 900)]
)
def test_bennett_is_within_its_interval_and_its_bounds_as_often_as_it_says(s, there, back):
    forward, reverse = pairs(s, there, back)
    found = [jl.normalizer.bennett(*pair) for pair in zip(forward, reverse, strict=True)]
    assert all(each.ok for each in found)
    inside = [each.interval[0] < R < each.interval[1] for each in found]
    bounded = [each.bounds[0] < R < each.bounds[1] for each in found]
    assert REPEATS - sum(inside) <= most_misses(0.99)
    assert REPEATS - sum(bounded) <= most_misses(0.99)
    # The spread of the estimates is the error that they state.
    errors = np.array([each.std_error for each in found])
    z = (np.array([each.value for each in found]) - R) / errors
    low, high = stats.chi2.ppf([RATE / 2, 1 - RATE / 2], REPEATS - 1) / (REPEATS - 1)
    assert low < np.var(z, ddof=1) < 1.15 * high
    assert abs(z.mean()) < stats.norm.isf(RATE / 2) / REPEATS**0.5 + 0.1


def test_bennett_solves_his_equation():
    (forward,), (reverse,) = pairs(1.0, 50, 80, repeats=1)
    shift = np.log(50 / 80)

    def balance(r):
        return np.sum(special.expit(forward - r - shift)) - np.sum(
            special.expit(-(-reverse - r - shift))
        )

    found = jl.normalizer.bennett(forward, reverse)
    np.testing.assert_allclose(found.value, optimize.brentq(balance, -50, 50), rtol=1e-9)
    other = jl.normalizer.bennett(reverse, forward)  # from the other end
    np.testing.assert_allclose(
        [other.value, other.std_error], [-found.value, found.std_error], rtol=1e-9
    )
    np.testing.assert_allclose(other.agreement, found.agreement, rtol=1e-6)


def test_directions_of_one_path_agree_as_often_as_they_should():
    """The p-values of a right pair are uniform. A way back that is off by half a deviation, or half
    as wide again, is found."""
    p = np.array(
        [jl.normalizer.bennett(*pair).agreement for pair in zip(*pairs(1.0, 200, 200), strict=True)]
    )
    assert stats.kstest(p, "uniform").pvalue > RATE
    for wrong in ({"off": 0.5}, {"scale": 1.5}):
        off, back = pairs(1.0, 2000, 2000, repeats=1, **wrong)
        verdict = jl.normalizer.bennett(off[0], back[0])
        assert verdict.agreement < DISAGREE, wrong
        assert not verdict.ok
        assert verdict.interval == tuple(sorted(verdict.bounds))
        assert "not those of one path" in str(verdict)


def test_directions_that_go_to_different_places_are_not_believed():
    forward, reverse = pairs(9.0, 100, 100, repeats=1)
    found = jl.normalizer.bennett(forward[0], reverse[0])
    assert "hardly go to the same place" in found.problems[0]
    assert found.interval == found.bounds
    assert found.interval[0] < R < found.interval[1]
    assert "NOT known well" in str(found)


def test_jarzynski_is_within_its_interval_as_often_as_it_says_and_its_bound_lies_below():
    forward, _ = pairs(0.7, 200, 1)
    found = [jl.normalizer.jarzynski(each) for each in forward]
    inside = [each.interval[0] < R < each.interval[1] for each in found]
    assert REPEATS - sum(inside) <= most_misses(0.98)
    assert REPEATS - sum(each.bounds[0] < R for each in found) <= most_misses(0.99)
    values = np.array([each.value for each in found])
    np.testing.assert_allclose(values, special.logsumexp(forward, axis=1) - np.log(200))
    spread = np.std(values, ddof=1)
    np.testing.assert_allclose(np.mean([each.std_error for each in found]), spread, rtol=0.3)
    # In expectation it is below the truth: by about half its variance.
    assert values.mean() < R + stats.norm.isf(RATE) * spread / REPEATS**0.5


def test_few_effective_weights_leave_only_the_bound():
    forward, _ = pairs(4.0, 300, 1, repeats=1)
    found = jl.normalizer.jarzynski(forward[0])
    assert found.forward.ess < 30
    assert found.interval == found.bounds == (found.bounds[0], np.inf)
    assert "worth" in found.problems[0]


@pytest.mark.parametrize("law", ["normal", "rare", "equal"])
def test_the_bound_on_a_mean_of_weights_holds_whatever_their_law(law):
    """At 90%, that misses show. For rare large weights an interval by the standard error fails."""
    rng = np.random.default_rng(1)
    with np.errstate(divide="ignore"):
        logs = {
            "normal": 3 * rng.normal(size=(1000, 50)) - 4.5,
            "rare": np.log(rng.random((1000, 50)) < 0.02) - np.log(0.02),
            "equal": np.zeros((1000, 50)),
        }[law]  # all of mean 1
    bounds = np.array([log_mean_bound(each, 0.1) for each in logs])
    assert np.sum(bounds > 0) <= stats.binom.isf(RATE, 1000, 0.1)
    if law == "rare":
        errors = np.array([np.exp(each).std(ddof=1) / 50**0.5 for each in logs])
        low = np.array([np.exp(each).mean() for each in logs]) - 1.28 * errors
        assert np.sum(low < 1) < 1000  # not all are below
    if law == "equal":
        assert np.all(bounds > -0.15)


def test_the_bound_is_as_tight_as_the_spread_allows():
    """Near the normal one, z σ/√n, for many weights of small spread."""
    logs = 0.2 * np.random.default_rng(2).normal(size=4000)
    gap = special.logsumexp(logs) - np.log(4000) - log_mean_bound(logs, 0.01)
    assert 2.3 * 0.2 / 4000**0.5 < gap < 3 * 2.3 * 0.2 / 4000**0.5


def test_bounds_and_sizes_of_weights_by_hand():
    assert log_mean_bound(np.array([-np.inf, -np.inf]), 0.01) == -np.inf
    # One weight: a bet of all, mixed with none other: capital w/m = 1/miss.
    np.testing.assert_allclose(log_mean_bound(np.array([0.3]), 0.05), 0.3 + np.log(0.05))
    np.testing.assert_allclose(effective_size(np.log([1.0, 2.0, 3.0])), 36 / 14)
    assert effective_size(np.array([-np.inf, 800.0])) == 1


def test_weights_of_zero_count_as_chains():
    logs = np.log([0.0, 1.0] * 100, where=[False, True] * 100, out=np.full(200, -np.inf))
    found = jl.normalizer.jarzynski(logs)
    np.testing.assert_allclose(found.value, np.log(0.5))
    np.testing.assert_allclose(found.std_error, np.std(np.exp(logs), ddof=1) / 200**0.5 / 0.5)
    none = jl.normalizer.jarzynski(np.full(5, -np.inf))
    assert none.value == -np.inf
    assert not none.ok


def test_what_is_printed_says_how_well_it_is_known():
    forward, reverse = pairs(0.5, 100, 100, repeats=1)
    text = str(jl.normalizer.bennett(forward[0], reverse[0]))
    for part in ("log Z'/Z = 2.", "interval", "bounds", "forward", "reverse", "agreement"):
        assert part in text
