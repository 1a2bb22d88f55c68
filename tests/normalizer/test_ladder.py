"""A ladder that tunes itself: evenly swapping temperatures, their number, and what is wrong."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jlangevin as jl
from jlangevin.normalizer.ladder import _problems, _respaced

BOWL = jl.energies.quadratic(jnp.eye(8))
ROUGH = [1.0, 1.1, 1.3, 1.6, 16.0]


def test_a_bad_ladder_becomes_geometric_on_a_gaussian():
    """Where rejection depends on the ratio of temperatures alone, so that equal ratios are even."""
    kernel = jl.tempered(jl.mala(0.3), ROUGH, step_sizes=[0.3, 0.31, 0.33, 0.36, 0.6])
    found = jl.normalizer.tune_ladder(
        jax.random.key(0), BOWL, kernel, BOWL, num_steps=800, num_chains=64, num_temperatures=5
    )
    np.testing.assert_allclose(found.temperatures, np.geomspace(1, 16, 5), rtol=0.15)
    assert found.acceptance.max() - found.acceptance.min() < 0.1
    assert found.ok
    np.testing.assert_allclose(found.barrier, np.sum(1 - found.acceptance))
    assert 0.25 * found.best_rate < found.round_trip_rate < 1.2 * found.best_rate
    # Step sizes go along: those of the ends stay, and they rise in between.
    sizes = np.asarray(found.kernel.step_sizes)
    np.testing.assert_allclose(sizes[[0, -1]], [0.3, 0.6], rtol=1e-6)
    assert np.all(np.diff(sizes) > 0)
    # The state goes on under the kernel found.
    later = jl.resume(found.state, BOWL, found.kernel, num_steps=4)
    assert later.draws.shape == (64, 4, 8)
    for part in ("5 temperatures", "barrier", "round trips one in"):
        assert part in str(found)


@pytest.mark.slow
def test_the_number_of_temperatures_follows_the_barrier():
    """Too few and too many end near 2Λ + 1, with the same Λ."""
    few, many = (
        jl.normalizer.tune_ladder(
            jax.random.key(0),
            BOWL,
            jl.tempered(jl.mala(0.3), np.geomspace(1, 16, number)),
            BOWL,
            num_steps=1600,
            num_chains=64,
        )
        for number in (3, 20)
    )
    for found in (few, many):
        assert abs(len(found.temperatures) - (2 * found.barrier + 1)) <= 2.5
    np.testing.assert_allclose(few.barrier, many.barrier, rtol=0.15)


def test_uneven_rates_and_replicas_that_do_not_travel_are_problems():
    assert _problems(np.array([0.5, 0.55]), trips=0.1, best=0.2, num_steps=100) == ()
    (uneven,) = _problems(np.array([0.2, 0.5]), trips=0.1, best=0.2, num_steps=100)
    assert "differ by 0.15 from their mean" in uneven
    (slow,) = _problems(np.array([0.5, 0.5]), trips=0.01, best=0.2, num_steps=100)
    assert "make 1 round trips in 100 steps, where 20 would be possible" in slow


def test_ladders_without_a_barrier_or_without_swaps_are_refused():
    kernel = jl.tempered(jl.mala(0.3), [1.0, 2.0])
    with pytest.raises(jl.AdaptationError, match="every swap was accepted"):
        _respaced(kernel, np.ones(1), None)
    with pytest.raises(jl.AdaptationError, match="no swap was accepted"):
        _respaced(kernel, np.zeros(1), None)
