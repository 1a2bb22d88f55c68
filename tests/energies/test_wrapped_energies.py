"""Energies made of others pass on value, gradient and levels, and refuse them, in one way."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jlangevin as jl
from jlangevin.energies.base import (
    GivenGradient,
    WrappedEnergy,
    gradient,
    level,
    value_and_gradient,
)
from jlangevin.exact.grid.coordinates import CoordinateEnergy
from jlangevin.kernels.gradient_noise import Tilted
from jlangevin.kernels.mirrored import DualEnergy

X = jnp.array([0.3, 0.7])
BOX = jl.domains.box(-5.0, 5.0)
WRAPPERS = {
    "confine": lambda energy: jl.domains.confine(energy, BOX),
    "gradient_noise": lambda energy: Tilted(energy, jnp.array([0.5, -1.0])),
    "mirrored": lambda energy: DualEnergy(energy, BOX, 2.0),
}


class Bowl:
    """|x|²/(2σ²), with levels."""

    def __init__(self, sigma):
        self.sigma = sigma

    def __call__(self, x):
        return 0.5 * jnp.sum(x**2) / self.sigma**2

    def at(self, sigma):
        return Bowl(sigma)


class GivesBoth(Bowl, GivenGradient):
    """The same, with its own gradient."""

    def gradient(self, x):
        return x / self.sigma**2

    def at(self, sigma):
        return GivesBoth(sigma)


def without_levels(x):
    return Bowl(1.0)(x)


def level_score():
    return jl.scores.level_score(lambda x, sigma: -x / sigma**2, 1.0)


def score():
    return jl.scores.score(lambda x: -x)


def close(a, b):
    np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-6)


def test_these_are_all_wrappers():
    """But for that of a single element: see tests/exact/test_product.py."""
    made = {type(make(Bowl(1.0))) for make in WRAPPERS.values()}
    assert made == set(WrappedEnergy.__subclasses__()) - {CoordinateEnergy}


@pytest.mark.parametrize("name", WRAPPERS)
def test_value_and_gradient_are_passed_on(name):
    wrap = WRAPPERS[name]
    value, slope = jax.value_and_grad(wrap(without_levels))(X)
    close(wrap(without_levels).gradient(X), slope)
    for energy in (Bowl(1.0), GivesBoth(1.0)):
        found, given = value_and_gradient(wrap(energy), X)
        close(found, value)
        close(given, slope)
    for energy in (score(), level_score()):
        close(wrap(energy).gradient(X), slope)
        assert value_and_gradient(wrap(energy), X)[0] is None
        with pytest.raises(jl.NoEnergyError, match="only its score is known"):
            wrap(energy)(X)


@pytest.mark.parametrize("names", [*WRAPPERS, *itertools.permutations(WRAPPERS, 2)])
def test_levels_are_passed_on_however_deep(names):
    def wrap(energy):
        for name in (names,) if isinstance(names, str) else names:
            energy = WRAPPERS[name](energy)
        return energy

    wanted = wrap(Bowl(3.0))
    for energy in (Bowl(1.0), GivesBoth(1.0), level_score()):
        close(gradient(level(wrap(energy), 3.0), X), gradient(wanted, X))
    close(level(wrap(Bowl(1.0)), 3.0)(X), wanted(X))
    for energy, what in ((without_levels, "function"), (score(), "Score")):
        with pytest.raises(TypeError, match=rf"energy: {what} has no levels; pass .*level_score"):
            level(wrap(energy), 3.0)


@pytest.mark.parametrize(
    "kernel",
    [
        jl.annealed([2.0, 1.0], 1, 0.1),
        jl.predictor_corrector([2.0, 1.0], 0.1),
        jl.gradient_noise(jl.annealed([2.0, 1.0], 1, 0.1), jnp.eye(2)),
        jl.mirrored(jl.annealed([2.0, 1.0], 1, 0.1), BOX),
    ],
)
@pytest.mark.parametrize("confined", [False, True])
def test_kernels_that_go_by_levels_name_what_has_none(kernel, confined):
    energy = WRAPPERS["confine"](without_levels) if confined else without_levels
    with pytest.raises(TypeError, match="energy: function has no levels"):
        jl.sample(jax.random.key(0), energy, kernel, X[None], num_steps=1)


def test_an_anneal_on_a_confined_level_score_has_its_levels():
    everywhere = jl.domains.box(-jnp.inf, jnp.inf)
    a, b = (
        jl.sample(jax.random.key(0), on, jl.annealed([2.0, 1.0], 2, 0.1), X[None], num_steps=4)
        for on in (level_score(), jl.domains.confine(level_score(), everywhere))
    )
    close(a.draws, b.draws)


def test_what_cannot_be_called_is_not_confined():
    with pytest.raises(TypeError, match="energy: expected a callable x -> scalar, got str"):
        jl.domains.confine("energy", BOX)
