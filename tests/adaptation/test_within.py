"""A step size with a stated bias: held against exact laws, told where it cannot be."""

import math
import re
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jlangevin as jl
from jlangevin import adaptation
from jlangevin._core.trees import pytree_dataclass
from jlangevin.kernels.base import PositionState


@pytree_dataclass
class TwiceTheNoise:
    """x - η∇E + sqrt(4 η T) ξ."""

    step_size: Any
    temperature: Any

    init_noise: ClassVar = None
    step_noise: ClassVar = jl.noise.Want.NORMAL

    def init(self, energy, position, noise):
        return PositionState(position)

    def step(self, energy, state, noise):
        mean = state.position - self.step_size * jax.grad(energy)(state.position)
        spread = jnp.sqrt(4 * self.step_size * self.temperature)
        return PositionState(mean + spread * noise), jl.Info()


BOWL = jl.energies.quadratic(np.diag([1.0, 30.0, 100.0]))
ROUND = jl.energies.quadratic(np.eye(3))


def wells(x):
    """Three double wells that lean, of different heights."""
    return jnp.sum(jnp.array([1.0, 0.5, 1.0]) * (x**2 - 1) ** 2 + 0.2 * x)


def found_for(energy, kernel, bias, **options):
    """With 1,000 chains a bias is known to a few percent of itself: that one which is stated is
    off by a factor of two is an error of more than ten standard deviations."""
    start = jnp.zeros((1_000, 3))
    return adaptation.warm_up_within(jax.random.key(0), energy, kernel, start, bias=bias, **options)


def on_quadratic(kernel, energy):
    """The largest bias of its stationary law."""
    law = jl.exact.stationary(kernel, energy, jnp.zeros(3))
    return float(np.max(np.abs(np.diag(law.cov) * np.diag(energy.precision) - 1)))


@pytest.mark.parametrize("bias", [0.02, 0.2])
def test_the_bias_stated_is_that_of_the_exact_law(bias):
    found = found_for(BOWL, jl.ula(0.1), bias)
    assert (found.bias, found.at_most, found.problems) == (bias, False, ())
    assert bias / 2 < on_quadratic(found.kernel, BOWL) < 2 * bias
    run = jl.resume(found.state, BOWL, found.kernel, num_steps=10, observe=None)
    assert not run.info.num_divergent.any()
    assert re.match(rf"ULA: step size 0\.\d+, a bias of {bias}\n  tried ", str(found))


@pytest.mark.slow
def test_a_bias_of_second_order_is_scaled_as_that():
    found = found_for(BOWL, jl.underdamped(0.1, 1.0, splitting="OBABO"), 0.02)
    assert found.bias == 0.02
    assert 0.01 < on_quadratic(found.kernel, BOWL) < 0.04


@pytest.mark.slow
def test_a_bias_that_is_not_reached_is_stated_as_a_bound():
    """On a quadratic energy this kernel has none; a step is given at which chains are stable."""
    found = found_for(BOWL, jl.leimkuhler_matthews(0.1), 0.05)
    assert (found.bias, found.at_most) == (0.05, True)
    assert on_quadratic(found.kernel, BOWL) < 0.05
    assert "at most" in str(found).splitlines()[0]


@pytest.mark.slow
def test_where_the_law_is_no_gaussian_it_is_that_of_the_law_on_grids():
    found = found_for(wells, jl.ula(0.1), 0.03, precondition=None, num_steps=60_000)
    assert found.bias == 0.03
    law = jl.exact.product_stationary(found.kernel, wells, jnp.zeros(3))
    true = jl.exact.product_target(wells, jnp.zeros(3))
    squares = np.diag(law.cov) + (np.asarray(law.mean) - np.asarray(true.mean)) ** 2
    assert 0.015 < np.max(np.abs(squares / np.diag(true.cov) - 1)) < 0.06


@pytest.mark.slow
def test_a_kernel_whose_bias_does_not_vanish_is_told():
    """Its variance is twice the target's and more, however small the step."""
    kernel = TwiceTheNoise(jnp.array(0.1), jnp.array(1.0))
    with pytest.warns(jl.errors.WarmUpWarning, match="the bias cannot be told: it is 1"):
        found = found_for(ROUND, kernel, 0.02, precondition=None, num_steps=5_000)
    assert math.isnan(found.bias)
    assert "that cannot be told" in str(found)


def test_what_was_not_seen_clearly_is_not_stated():
    with pytest.warns(jl.errors.WarmUpWarning, match="which is not clear; give more chains"):
        found = adaptation.warm_up_within(
            *(jax.random.key(0), ROUND, jl.ula(0.1), jnp.zeros((32, 3))),
            bias=0.001,
            num_steps=12_000,
            precondition=None,
        )
    assert math.isnan(found.bias)
    assert on_quadratic(found.kernel, ROUND) < 0.05  # a cautious guess


def test_refusals_say_what_to_use():
    def ask(kernel, start=None, **options):
        start = jnp.zeros((20, 3)) if start is None else start
        options = {"bias": 0.1} | options
        adaptation.warm_up_within(jax.random.key(0), BOWL, kernel, start, **options)

    box = jl.domains.box(-1.0, 1.0)
    for error, message, kernel in (
        (TypeError, "kernel: MALA accepts or rejects, and so has no bias; use warm_up", jl.mala(1)),
        (TypeError, "Microcanonical is warmed up by warm_up", jl.microcanonical(0.1, 1.0)),
        (TypeError, "kernel: Projected has walls", jl.projected(0.1, box)),
        (TypeError, "TamedULA has no preconditioner and no mass", jl.tamed_ula(0.1)),
        (ValueError, "a scheduled hyper-parameter", jl.ula(lambda step: 0.1 / (1 + step))),
    ):
        with pytest.raises(error, match=message):
            ask(kernel)
    with pytest.raises(ValueError, match="bias: expected a number in"):
        ask(jl.ula(0.1), bias=1.5)
    with pytest.raises(ValueError, match="init: errors come from the spread between 16 chains"):
        ask(jl.ula(0.1), jnp.zeros((4, 3)))
