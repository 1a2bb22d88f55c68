"""The weights of a path: their law where steps draw afresh, by closed forms; slips are rejected.

If each step draws a new position from its level, log w is a sum of independent terms. Between
½|x|² and ½λ|x|² in d dimensions the levels have precisions k_t = 1 + β_t (λ - 1), and

    log w = -Σ_t c_t |x_{t-1}|²/T,  c_t = (β_t - β_{t-1}) (λ - 1)/2,  |x_{t-1}|² k_{t-1}/T ~ χ²_d

Every statistical test fails a right path with a probability of at most 1e-6.
"""

import dataclasses
from functools import partial
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

import jlangevin as jl
from jlangevin import noise
from jlangevin._core.trees import pytree_dataclass
from jlangevin.kernels.base import resolve_schedules
from jlangevin.noise import Want
from jlangevin.normalizer.switching import Switched

RATE = 1e-6
LAMBDA, DIM, T = 5.0, 3, 2.0
LEVELS = np.array([0.0, 0.1, 0.3, 1.0])
N = 20_000
START = jl.energies.quadratic(jnp.eye(DIM) / T)  # the law exp(-½|x|²/T), to draw from
END = jl.energies.quadratic(LAMBDA * jnp.eye(DIM) / T)


class Here(NamedTuple):
    position: jax.Array


@pytree_dataclass
class Afresh:
    """Draws from the level itself, which is an isotropic Gaussian."""

    temperature: float = T
    init_noise: ClassVar[None] = None
    step_noise: ClassVar[Want] = Want.NORMAL
    by_value: ClassVar[bool] = True

    def init(self, energy, position, noise):
        return Here(position)

    def step(self, energy, state, noise):
        precision = jax.grad(energy)(jnp.ones_like(noise))[0]
        return Here(noise * jnp.sqrt(self.temperature / precision)), jl.Info()


def wide(x):
    return 0.5 * jnp.sum(x**2)


def narrow(x):
    return 0.5 * LAMBDA * jnp.sum(x**2)


WAY = jl.normalizer.path(wide, narrow, Afresh(), levels=LEVELS)


def law(backwards=False):
    """Mean, variance and fourth cumulant of log w, in NumPy."""
    precision = 1 + LEVELS * (LAMBDA - 1)
    at, sign = (precision[1:], 1) if backwards else (precision[:-1], -1)
    c = sign * np.diff(LEVELS) * (LAMBDA - 1) / 2 / at
    return DIM * c.sum(), 2 * DIM * np.sum(c**2), 48 * DIM * np.sum(c**4)


def far_from(found, law):
    """The z-values of mean and variance of n draws."""
    mean, variance, fourth = law
    n = len(found)
    of_mean = (found.mean() - mean) / (variance / n) ** 0.5
    of_variance = (found.var() - variance) / ((fourth + 2 * variance**2) / n) ** 0.5
    return np.array([of_mean, of_variance])


def weights(run):
    return np.asarray(run.state.kernel.log_weight, np.float64)


Z = stats.norm.isf(RATE / 4)


@pytest.mark.parametrize("backwards", [False, True])
def test_weights_of_fresh_draws_have_the_mean_and_variance_of_the_closed_form(backwards):
    go, init = (WAY.reverse, END) if backwards else (WAY.forward, START)
    found = weights(go(jax.random.key(0), init, num_chains=N))
    assert np.all(np.abs(far_from(found, law(backwards))) < Z)
    # And E[w] is the ratio of normalisers, of which the mean of log w falls short.
    truth = (0.5 if backwards else -0.5) * DIM * np.log(LAMBDA)
    error = np.exp(found - truth).std() / N**0.5
    assert abs(np.exp(found - truth).mean() - 1) < Z * error
    assert law(backwards)[0] < truth


class NoDifference(Switched):
    """Weighs by the level itself instead of its rise."""

    def step(self, energy, state, noise):
        return dataclasses.replace(self, before=jnp.zeros_like(self.after))._step(
            energy, state, noise
        )

    def _step(self, energy, state, noise):
        return Switched.step(self, energy, state, noise)


class WeighsAfter(Switched):
    """Weighs where the chain has moved to, instead of where it was."""

    def step(self, energy, state, noise):
        moved, info = Switched.step(self, energy, state, noise)
        again, _ = Switched.step(self, energy, state._replace(position=moved.position), noise)
        return moved._replace(weights=again.weights), info


def mutant(kind, kernel):
    """`kernel` as one of `kind`, a pytree like it."""
    made = pytree_dataclass(kind)
    fields = {f.name: getattr(kernel, f.name) for f in dataclasses.fields(kernel)}
    return made(**fields)


@pytest.mark.parametrize("kind", [NoDifference, WeighsAfter])
def test_slips_in_the_weights_are_rejected(kind):
    right = jl.normalizer.switched(Afresh(), narrow, LEVELS)

    def found(kernel):
        run = jl.sample(
            jax.random.key(0), wide, kernel, START, num_steps=3, num_chains=N, observe=None
        )
        return weights(run)

    assert np.all(np.abs(far_from(found(right), law())) < Z)
    assert np.any(np.abs(far_from(found(mutant(kind, right)), law())) > 2 * Z)


def test_ways_back_that_are_no_reverse_are_rejected():
    """One that goes forwards from the draws of the end; one with the gaps of the way there, which
    gives the right ratio, but is not the reverse of the way there."""
    key = jax.random.key(0)
    forwards = WAY.forward(key, END, num_chains=N)
    turned = jl.normalizer.switched(Afresh(), wide, LEVELS)
    same_gaps = jl.sample(key, narrow, turned, END, num_steps=3, num_chains=N, observe=None)
    right = WAY.reverse(key, END, num_chains=N)
    there = weights(WAY.forward(jax.random.key(1), START, num_chains=N))
    assert jl.normalizer.bennett(there, weights(right)).ok
    for wrong in (forwards, same_gaps):
        assert np.any(np.abs(far_from(weights(wrong), law(True))) > 2 * Z)
        assert not jl.normalizer.bennett(there, weights(wrong)).ok


def test_a_step_weighs_where_the_chain_is_and_moves_at_the_new_level():
    """Against the inner kernel on an energy written by hand, on the same noise."""
    levels, kernel = np.array([0.0, 0.25, 1.0]), jl.mala(0.1, temperature=T)
    one, other = jl.energies.double_well(dim=2), jl.energies.rosenbrock()
    switched = jl.normalizer.switched(kernel, other, levels)
    x, streams = jnp.array([0.3, -0.7]), noise.streams(jax.random.key(0), jnp.arange(1)[0])
    state, total = switched.init(one, x, None), 0.0

    def level(x, beta):
        return (1 - beta) * one(x) + beta * other(x)

    @jax.jit
    def both(t, state, x, beta):
        """The step, one of the inner kernel by hand, and by how much the energy rises."""
        z = noise.at_step(streams, switched.step_noise, x, t)
        here = partial(level, beta=beta)
        expected, _ = kernel.step(here, kernel.init(here, x, None), z[1])
        state, _ = resolve_schedules(switched, t).step(one, state, z)
        return state, expected.position, other(x) - one(x)

    for t in range(2):
        state, x, rise = both(jnp.int32(t), state, x, jnp.float32(levels[t + 1]))
        total -= (levels[t + 1] - levels[t]) * float(rise) / T
        np.testing.assert_allclose(state.position, x, rtol=1e-5)
        np.testing.assert_allclose(state.log_weight, total, rtol=1e-5)


@pytest.mark.slow
def test_a_chain_is_the_same_alone_and_resumed_steps_change_no_weight():
    way = jl.normalizer.path(wide, narrow, jl.mala(0.2, temperature=T), num_steps=5)
    begun = way.forward(jax.random.key(3), START, num_chains=9)
    alone = way.forward(jax.random.key(3), START, chains=[7])
    np.testing.assert_allclose(weights(alone)[0], weights(begun)[7], rtol=1e-5)
    kernel = jl.normalizer.switched(way.kernel, narrow, way.levels)
    later = jl.resume(begun.state, wide, kernel, num_steps=4, observe=None)
    np.testing.assert_array_equal(weights(later), weights(begun))
    assert np.any(np.asarray(later.position) != np.asarray(begun.position))


@pytest.mark.slow
def test_schedules_are_turned_around_on_the_way_back():
    """A step size that belongs to a level is that of the same level in both directions: the law of
    the weights is that of a pair, which a schedule left as it is does not have."""
    sizes = jnp.array([0.6, 0.3, 0.0003, 0.15, 0.1, 0.1])
    kernel = jl.mala(jl.Schedule(jax.tree_util.Partial(lambda s, t: s[t], sizes)), temperature=T)
    way = jl.normalizer.path(wide, narrow, kernel, num_steps=6)
    seen = [float(resolve_schedules(way._turned(), jnp.int32(t)).step_size) for t in range(6)]
    np.testing.assert_allclose(seen, [*sizes[4::-1], sizes[0]])
    forward = weights(way.forward(jax.random.key(0), START, num_chains=N))
    reverse = weights(way.reverse(jax.random.key(1), END, num_chains=N))
    assert jl.normalizer.bennett(forward, reverse).ok


@pytest.mark.parametrize(
    "kernel",
    [
        jl.ula(0.1),
        jl.underdamped(0.1, 1.0),
        jl.tempered(jl.mala(0.1), [1.0, 2.0]),
        jl.reflected_mala(0.1, jl.domains.box(0.0, 1.0)),
        jl.mirrored(jl.mala(0.1), jl.domains.box(0.0, 1.0)),
        jl.coupled(jl.mala(0.1), 1),
        jl.normalizer.switched(jl.mala(0.1), wide, [0.0, 1.0]),
        jl.mala(0.1, temperature=lambda step: 1.0),
    ],
    ids=lambda kernel: type(kernel).__name__,
)
def test_kernels_whose_steps_change_the_law_of_a_level_are_refused(kernel):
    with pytest.raises((TypeError, ValueError), match=r"^(kernel|temperature): "):
        jl.normalizer.switched(kernel, wide, [0.0, 1.0])
