"""What a window says of chains: whether they fall, disagree, drift, or stayed behind."""

import numpy as np
import pytest

from jlangevin.adaptation.ensemble import Look
from jlangevin.adaptation.settling import are_behind, is_falling, miss, seen_in


def looks(positions, energies=None):
    """Looks at positions (look, chain, d)."""
    count, chains, _ = positions.shape
    if energies is None:
        energies = 0.5 * np.sum(positions**2, axis=2)
    return [Look(positions[k], None, energies[k], np.full(chains, 0.6), 1) for k in range(count)]


def normal(count, chains, d=3, seed=0):
    return np.random.default_rng(seed).normal(size=(count, chains, d))


@pytest.mark.parametrize("chains", [2, 4, 64])
def test_independent_draws_have_nothing_against_them(chains):
    for seed in range(50):
        seen = looks(normal(16, chains, seed=seed))
        window = seen_in(seen, None)
        assert not window.drifts
        assert not is_falling(seen)
        assert not are_behind(seen, 1.0).any()
        if chains > 2:
            assert not seen_in(looks(normal(100, chains, seed=seed)), None).disagrees


# Chains that differ ------------------------------------------------------------------------------


def of_their_own(count, chains, seed=0):
    """Draws with means and scales of each chain's own."""
    scale = np.geomspace(1e-3, 1e3, chains)[:, None]
    return 1e4 * np.linspace(-1, 1, chains)[:, None] + scale * normal(count, chains, seed=seed)


@pytest.mark.parametrize("chains", [1, 4, 64])
def test_chains_with_laws_of_their_own_are_not_compared(chains):
    """R-hat is about 1 whatever means and scales are, as it is for one law."""
    for seed in range(50):
        draws = of_their_own(max(16, 400 // chains), chains, seed)
        window = seen_in(looks(draws), None, alike=False)
        assert not window.drifts
        assert not window.disagrees
    assert seen_in(looks(of_their_own(16, 64)), None).disagrees
    rhats = [
        seen_in(looks(of_their_own(8, 64, seed)), None, alike=False).rhat for seed in range(50)
    ]
    assert abs(np.mean(rhats) - 1) < 0.01


def test_chains_that_differ_and_move_apart_have_not_settled():
    """Each drifts by two of its standard deviations, half of them up: on average, by nothing."""
    x = of_their_own(16, 64)
    sign = np.where(np.arange(64) % 2, 1.0, -1.0)[:, None]
    drift = np.linspace(-1, 1, 16)[:, None, None] * sign * np.geomspace(1e-3, 1e3, 64)[:, None]
    assert seen_in(looks(x + drift), None, alike=False).disagrees


def test_a_chain_misses_its_rate_by_more_than_chance():
    rng = np.random.default_rng(0)
    rates = 0.6 + 0.1 * rng.normal(size=(16, 200))
    rates[:, 7], rates[:, 30], rates[:, 31] = 0.0, 0.8 + 0.05 * rng.normal(size=16), 1.0
    seen = [Look(np.zeros((200, 1)), None, np.zeros(200), each, 1) for each in rates]
    np.testing.assert_array_equal(np.nonzero(miss(seen, 0.6))[0], [7, 30, 31])


# Chains of one law -------------------------------------------------------------------------------


def test_chains_in_two_places_disagree():
    x = normal(16, 64)
    x[:, ::2] += 4.0
    window = seen_in(looks(x), None)
    assert window.disagrees
    assert not window.drifts


def test_means_that_move_together_drift():
    x = normal(16, 64) + np.linspace(0.0, 1.0, 16)[:, None, None]
    assert seen_in(looks(x), None).drifts


def test_an_energy_that_falls_in_most_chains_falls():
    energies = 1e6 * np.exp(-np.arange(4.0))[:, None] * np.linspace(1.0, 2.0, 64)
    assert is_falling(looks(normal(4, 64), energies))
    assert not is_falling(looks(normal(4, 64), np.flip(energies, 0)))


def test_a_chain_far_above_the_lowest_quarter_is_behind():
    energies = 0.5 * np.sum(normal(4, 64) ** 2, axis=2)
    energies[:, 7] += 100.0
    behind = are_behind(looks(normal(4, 64), energies), 1.0)
    assert list(np.nonzero(behind)[0]) == [7]
    # The same in another unit of energy, at the matching temperature.
    behind = are_behind(looks(normal(4, 64), 1e9 * energies), 1e9)
    assert list(np.nonzero(behind)[0]) == [7]


def test_one_that_comes_down_is_not_behind():
    energies = 0.5 * np.sum(normal(4, 64) ** 2, axis=2)
    energies[:3, 7] += 100.0
    assert not are_behind(looks(normal(4, 64), energies), 1.0).any()


@pytest.mark.parametrize(
    ("way", "behind"),
    [
        ([5000.0, 2600.0, 1000.0, 500.0], False),  # down soon
        ([1000.0, 960.0, 940.0, 900.0], True),  # so slowly that it holds up the others
        ([5000.0, 500.0, 505.0, 498.0], True),  # it fell, and stays in another mode
        ([500.0, 500.0, 500.0, 500.0], True),
    ],
)
def test_one_that_is_on_its_way_is_not_behind(way, behind):
    energies = 0.5 * np.sum(normal(4, 64) ** 2, axis=2)
    energies[:, 7] = way
    assert not is_falling(looks(normal(4, 64), energies))
    found = are_behind(looks(normal(4, 64), energies), 1.0)
    assert list(np.nonzero(found)[0]) == [7] * behind


def test_while_most_chains_fall_none_is_behind():
    energies = np.linspace(4e3, 1e3, 4)[:, None] * np.linspace(0.01, 1.0, 64)
    energies[:, 7] = 1e6
    assert is_falling(looks(normal(4, 64), energies))
    assert not are_behind(looks(normal(4, 64), energies), 1.0).any()


def test_half_of_the_chains_may_be_behind():
    energies = 0.5 * np.sum(normal(4, 64) ** 2, axis=2)
    energies[:, ::2] += 100.0
    assert are_behind(looks(normal(4, 64), energies), 1.0).sum() == 32


def test_of_three_chains_none_is_said_to_be_behind():
    energies = np.zeros((4, 3))
    energies[:, 0] = 1e6
    assert not are_behind(looks(normal(4, 3), energies), 1.0).any()


def test_what_does_not_vary_has_no_say():
    window = seen_in(looks(np.ones((8, 4, 2))), None)
    assert not window.disagrees
    assert not window.drifts
