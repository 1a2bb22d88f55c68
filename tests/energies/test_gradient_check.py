"""`energies.check`: right gradients pass, wrong ones are found."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jlangevin as jl
from jlangevin.energies.base import GivenGradient

X = jax.random.normal(jax.random.key(0), (9, 4))
KEY = jax.random.key(1)


def check(energy, x=X, **options):
    return jl.energies.check(jax.random.clone(KEY), energy, x, **options)


class Quartic(GivenGradient):
    """Σ x⁴ with a gradient of its own, wrong by a factor, or in one element."""

    def __init__(self, factor=1.0, extra=0.0):
        self.factor, self.extra = factor, extra

    def __call__(self, x):
        return jnp.sum(x**4)

    def gradient(self, x):
        slope = jnp.asarray(4 * self.factor, x.dtype) * x**3
        return slope.at[0].add(jnp.asarray(self.extra, x.dtype))


RIGHT = {
    "quartic": lambda x: jnp.sum(x**4),
    "with a gradient of its own": Quartic(),
    "in small units": lambda x: 1e-6 * jnp.sum(jnp.cos(x)),
    "flat": lambda x: 0 * jnp.sum(x) + 3,
    "steep": lambda x: jnp.sum(jnp.exp(5 * x)),
}
WRONG = {
    "a sign": Quartic(-1.0),
    "a factor": Quartic(1.01),
    "one element": Quartic(extra=0.1),
    "stopped": lambda x: jnp.sum(x**4) + jax.lax.stop_gradient(jnp.sum(x)),
    "where": lambda x: jnp.sum(x**4 + jnp.where(x > -99, 0, jnp.sqrt(x - 99))),
}


@pytest.mark.parametrize("name", RIGHT)
def test_right_gradients_pass(name):
    found = check(RIGHT[name])
    assert found.passed, found
    assert "the gradient is that of the energy" in str(found)


@pytest.mark.parametrize("name", WRONG)
def test_wrong_gradients_are_found(name):
    found = check(WRONG[name])
    assert not found.passed
    assert "WRONG" in str(found)


def test_precision_is_that_of_the_numbers(x64):
    assert check(Quartic(), X.astype(jnp.float64)).passed
    assert not check(Quartic(1 + 1e-7), X.astype(jnp.float64)).passed
    assert check(Quartic(1 + 1e-7), X.astype(jnp.float32)).passed


def test_positions_may_be_trees():
    x = {"a": X, "b": X[:, :2]}
    assert check(lambda x: jnp.sum(x["a"] ** 2) + jnp.prod(x["b"]), x).passed


def test_what_cannot_be_judged_is_said():
    """A constant of 1e9 leaves nothing of the differences in float32."""
    found = check(lambda x: jnp.sum(x**2) + 1e9)
    assert not found.passed
    assert "36 of 36 differences are too inexact to judge" in str(found)
    assert not np.asarray(found.wrong).any()


@pytest.mark.parametrize("offset", [1e3, 1e4, 1e6])
def test_positions_may_be_far_larger_than_the_scale_of_the_energy(offset):
    found = check(lambda x: jnp.sum(jnp.cos(x)), offset * (1 + X / 10))
    assert not np.asarray(found.wrong).any(), found


@pytest.mark.slow
def test_the_energies_of_the_library_pass():
    for energy in (jl.energies.rosenbrock(), jl.energies.ring(), jl.energies.funnel(2)):
        assert check(energy, X[:, : energy.template().shape[0]]).passed


@pytest.mark.parametrize(
    ("energy", "x", "error", "message"),
    [
        (jl.scores.score(lambda x: -x), X, jl.NoEnergyError, "only its score is known"),
        (RIGHT["quartic"], X.at[0, 0].set(jnp.nan), ValueError, "x: expected finite"),
        (RIGHT["quartic"], jnp.zeros((0, 2)), ValueError, "x: expected positions"),
        (lambda x: x, X, ValueError, "energy: expected a scalar"),
    ],
)
def test_bad_input_is_refused(energy, x, error, message):
    with pytest.raises(error, match=message):
        check(energy, x)
