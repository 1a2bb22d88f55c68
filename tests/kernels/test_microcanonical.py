"""Microcanonical dynamics: its moves by hand, what they conserve, and the law, without and with a
test that accepts or rejects.

Laws are tested by `verify` at its false-alarm rate of 1e-6. Its power is that of
`test_metropolis`, with as many chains: it finds, with probability 0.99, a variance off by 5%. The
bias of the unadjusted chains here is below 0.5%. Wrong kernels are rejected by the same check.
"""

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial
from one_of import OneEnergy, numbered
from scipy import integrate
from walks import made_up, walk

import jlangevin as jl
from jlangevin._core.trees import pytree_dataclass
from jlangevin.kernels import AdjustedMicrocanonical, Microcanonical
from jlangevin.noise import Want

NUM_CHAINS = 50_000
TEMPERATURE = 2.0
WORDS = ["leapfrog", "minimal_norm"]
X = np.array([0.5, -1.2, 0.3])
Z = np.array([1.0, 2.0, -0.5])
U = Z / np.linalg.norm(Z)


def bowl(dtype=None):
    precision = [[1.0, 0.6, 0.0], [0.6, 2.0, 0.3], [0.0, 0.3, 0.7]]
    return jl.energies.quadratic(jnp.array(precision, dtype), jnp.array([1.0, -2.0, 0.0], dtype))


def turned(kernel, u, gradient, share=1.0):
    return kernel._turn(jnp.asarray(u), jnp.asarray(gradient), share)


# The moves ----------------------------------------------------------------------------------


def turn_by_hand(u, gradient, time, temperature):
    """B as the docstring has it, and the rise of the kinetic energy."""
    size, d = np.linalg.norm(gradient), len(u)
    e, delta = -gradient / size, time * size / (temperature * (d - 1))
    growth = np.cosh(delta) + e @ u * np.sinh(delta)
    u = (u + (np.sinh(delta) + e @ u * (np.cosh(delta) - 1)) * e) / growth
    return u, temperature * (d - 1) * np.log(growth)


@pytest.mark.parametrize("word", [*WORDS, "BCSS2"])
def test_a_step_by_hand(word, x64):
    h, length = 0.4, 1.5
    third, two = 0.1931833275037836, 0.21178
    shares = {
        "leapfrog": [0.5, 1, 0.5],
        "minimal_norm": [third, 0.5, 1 - 2 * third, 0.5, third],
        "BCSS2": [two, 0.5, 1 - 2 * two, 0.5, two],
    }
    energy = jl.energies.double_well(height=8.0, dim=3)
    x, u, rise = X, U, 0.0
    for k, share in enumerate(shares[word]):
        if k % 2:
            x = x + share * h * u
        else:
            slope = np.asarray(jax.grad(energy)(jnp.asarray(x)), np.float64)
            u, more = turn_by_hand(u, slope, share * h, TEMPERATURE)
            rise += more
    rise += float(energy(jnp.asarray(x)) - energy(jnp.asarray(X)))
    xi = np.array([0.2, -1.0, 0.7])
    u = u + np.sqrt((np.exp(2 * h / length) - 1) / 3) * xi
    kernel = jl.microcanonical(h, length, temperature=TEMPERATURE, integrator=word)
    state = kernel.init(energy, jnp.asarray(X), jnp.asarray(Z))
    state, _ = jax.jit(kernel.step, static_argnums=0)(energy, state, jnp.asarray(xi))
    tolerance = {"rtol": 1e-10}
    np.testing.assert_allclose(state.position, x, **tolerance)
    np.testing.assert_allclose(state.velocity, u / np.linalg.norm(u), **tolerance)
    np.testing.assert_allclose(state.energy_change, rise, **tolerance)
    np.testing.assert_allclose(state.energy, energy(state.position), **tolerance)
    np.testing.assert_allclose(state.gradient, jax.grad(energy)(state.position), **tolerance)


def test_a_turn_solves_its_equation(x64):
    """du/dt = -(I - u uᵀ) g / (T (d - 1)), by a solver of another kind."""
    gradient = np.array([3.0, -1.0, 2.0])

    def rate(t, u):
        return -(gradient - u * (u @ gradient)) / (TEMPERATURE * 2)

    end = integrate.solve_ivp(rate, (0, 0.7), U, rtol=1e-11, atol=1e-12).y[:, -1]
    kernel = jl.microcanonical(0.7, 1.0, temperature=TEMPERATURE)
    np.testing.assert_allclose(turned(kernel, U, gradient)[0], end, rtol=1e-9)


@pytest.mark.parametrize("time", [1e-3, 0.7, 6.0])
def test_the_kinetic_energy_is_what_a_turn_does_to_volumes(time, x64):
    """rise = -T log det of the map on the sphere, by its derivative along a basis."""
    gradient, kernel = np.array([3.0, -1.0, 2.0]), jl.microcanonical(time, 1.0, temperature=2.0)

    def tangents(u):
        return np.linalg.svd(np.asarray(u)[None])[2][1:]

    def extended(u):  # the map off the sphere, along rays
        return turned(kernel, u / jnp.linalg.norm(u), gradient)[0]

    after, rise = turned(kernel, U, gradient)
    slope = np.asarray(jax.jacfwd(extended)(jnp.asarray(U)))
    volume = abs(np.linalg.det(np.linalg.multi_dot([tangents(after), slope, tangents(U).T])))
    np.testing.assert_allclose(rise, -TEMPERATURE * np.log(volume), rtol=1e-8)


@pytest.mark.parametrize("scale", [0.0, 1e-30, 1e-3, 1.0, 30.0, 1e3, 1e30])
@pytest.mark.parametrize("along", ["any", "towards", "opposite"])
def test_turns_by_forces_of_any_size(along, scale, dtype):
    """u stays a unit vector, and half a turn twice is a turn. Where u and e are opposite to the
    last bit, it stays where it is; the rise is then -|g| t."""
    u = jnp.asarray(U if along == "any" else np.array([0.0, 1.0, 0.0]), dtype)
    way = {"any": [0.6, 0.0, 0.8], "towards": [0.0, -1.0, 0.0], "opposite": [0.0, 1.0, 0.0]}
    gradient = jnp.asarray(scale, dtype) * jnp.asarray(way[along], dtype)
    kernel = jl.microcanonical(1.0, 1.0)
    after, rise = turned(kernel, u, gradient)
    half, first = turned(kernel, u, gradient, 0.5)
    half, second = turned(kernel, half, gradient, 0.5)
    tolerance = 100 * float(jnp.finfo(dtype).eps)
    np.testing.assert_allclose(jnp.linalg.norm(after), 1, rtol=tolerance)
    np.testing.assert_allclose(half, after, atol=20 * tolerance)
    np.testing.assert_allclose(first + second, rise, rtol=20 * tolerance, atol=tolerance)
    if along != "any":
        np.testing.assert_allclose(after, u, rtol=tolerance)
        sign = 1 if along == "towards" else -1
        np.testing.assert_allclose(rise, sign * jnp.asarray(scale, dtype), rtol=10 * tolerance)


@pytest.mark.parametrize("word", WORDS)
def test_turned_around_it_goes_back(word, x64):
    energy = jl.energies.double_well(dim=3)
    kernel = jl.microcanonical(0.3, 1.0, integrator=word)
    start = kernel.init(energy, jnp.asarray(X), jnp.asarray(Z))
    there, _ = kernel.step(energy, start, jnp.zeros(3))
    back, _ = kernel.step(energy, there._replace(velocity=-there.velocity), jnp.zeros(3))
    np.testing.assert_allclose(back.position, X, rtol=1e-12)
    np.testing.assert_allclose(back.velocity, -U, rtol=1e-12)
    np.testing.assert_allclose(back.energy_change, -there.energy_change, rtol=1e-8)


@pytest.mark.parametrize("word", WORDS)
def test_what_is_conserved_changes_by_the_third_power_of_the_step(word, x64):
    energy = jl.energies.double_well(dim=3)

    def error(h):
        kernel = jl.microcanonical(h, 1.0, integrator=word)
        start = kernel.init(energy, jnp.asarray(X), jnp.asarray(Z))
        return float(kernel.step(energy, start, jnp.zeros(3))[0].energy_change)

    assert 7 < error(0.02) / error(0.01) < 9


@pytest.mark.slow
def test_directions_are_forgotten_over_the_decoherence_length():
    """On a flat energy E[u·u'] is e^{-ε/ℓ}, up to order 1/d, and x moves by ε: d is 4,000, the
    tolerance ten standard deviations of the mean of 400 chains."""
    h, length = 0.6, 2.0
    kernel, flat = jl.microcanonical(h, length), jl.energies.linear(jnp.zeros(4_000))
    run = jl.sample(
        jax.random.key(0), flat, kernel, jnp.zeros((400, 4_000)), num_steps=2,
        observe=lambda state: state.velocity,
    )  # fmt: skip
    kept = jnp.sum(run.draws[:, 0] * run.draws[:, 1], axis=-1)
    np.testing.assert_allclose(kept.mean(), np.exp(-h / length), atol=10 / 4_000**0.5 / 20)
    steps = jnp.linalg.norm(run.position - h * run.draws[:, 0], axis=-1)
    np.testing.assert_allclose(steps, h, rtol=1e-3)


# Laws ---------------------------------------------------------------------------------------


ENERGIES = {"bowl": bowl, "funnel": lambda: jl.energies.funnel(dim=3, scale=1.0)}


def ended(kernel, name, num_steps):
    """Where chains from the energy's law end: the bowl's is that at T = 2, the funnel's at 1."""
    energies = {name: make() for name, make in ENERGIES.items()}
    law = bowl_law() if name == "bowl" else energies[name]
    return jl.sample(
        jax.random.key(0), numbered(OneEnergy, energies)[name], kernel,
        law.sample(jax.random.key(1), NUM_CHAINS), num_steps=num_steps, observe=None,
    ).position  # fmt: skip


def bowl_law():
    energy = bowl()
    return jl.Gaussian(energy.center, TEMPERATURE * np.linalg.inv(energy.precision))


def rejected(kernel, num_steps=40):
    """Whether chains from the law at T = 2 no longer have it in the end."""
    return not jl.verify.compare(ended(kernel, "bowl", num_steps), bowl_law()).passed


def unadjusted(kind=Microcanonical, word="minimal_norm"):
    right = jl.microcanonical(0.3, 2.0, temperature=TEMPERATURE, integrator=word)
    return kind(**vars(right))


def adjusted(kind=AdjustedMicrocanonical):
    right = jl.adjusted_microcanonical(
        2.2, 2, decoherence_length=4.0, temperature=TEMPERATURE, integrator="leapfrog"
    )
    return kind(**vars(right))


class Turned:
    """Its temperature, the force and the rise of the kinetic energy times factors, in a turn."""

    def _turn(self, u, gradient, share):
        hot = replace(self, temperature=self.temperature * self.heat)
        u, rise = super(Turned, hot)._turn(u, self.push * gradient, share)
        return u, self.lift * rise


@pytree_dataclass
class TurnedMicrocanonical(Turned, Microcanonical):
    heat: Any
    push: Any
    lift: Any


@pytree_dataclass
class TurnedAdjustedMicrocanonical(Turned, AdjustedMicrocanonical):
    heat: Any
    push: Any
    lift: Any


def turning(kernel, heat=1.0, push=1.0, lift=1.0):
    kind = {
        Microcanonical: TurnedMicrocanonical,
        AdjustedMicrocanonical: TurnedAdjustedMicrocanonical,
    }[type(kernel)]
    return kind(**vars(kernel), heat=heat, push=push, lift=lift)


SLIPS = {  # in three dimensions
    "d - 1 dropped": {"heat": 1 / 2},
    "d for d - 1": {"heat": 3 / 2},
    "temperature forgotten": {"heat": 1 / TEMPERATURE},
    "turned away from the force": {"push": -1.0},
}
SLIPS_OF_THE_ENERGY = {
    "kinetic energy of the wrong sign": {"lift": -1.0},
    "no kinetic energy": {"lift": 0.0},
    "kinetic energy without d - 1": {"lift": 1 / 2},
}


class NotDrawnAnew:
    """The first direction of each trajectory is always the same."""

    def step(self, energy, state, noise):
        normals, uniform = noise
        return super().step(energy, state, (normals.at[:, 0].set(1.0), uniform))


class NoiseOfOneSign:
    """Noise that turns u in some directions rather than in all alike."""

    def refresh(self, u, noise, decoherence_length):
        return super().refresh(u, jnp.abs(noise), decoherence_length)


def mutated(slip, kind):
    """`kind` with a slip, as a class that JAX knows."""
    return pytree_dataclass(
        type(f"{slip.__name__}{kind.__name__}", (slip, kind), {"__doc__": None})
    )


@pytest.mark.slow
def test_small_steps_keep_the_law():
    assert not rejected(unadjusted(word="leapfrog"))


@pytest.mark.slow
@pytest.mark.parametrize("slip", SLIPS)
def test_a_wrong_turn_is_rejected_and_the_right_one_is_not(slip):
    assert not rejected(turning(unadjusted()))
    assert rejected(turning(unadjusted(), **SLIPS[slip]))


@pytest.mark.slow
def test_noise_of_one_sign_is_rejected():
    assert rejected(unadjusted(mutated(NoiseOfOneSign, Microcanonical)))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("word", "step", "length"), [("leapfrog", 2.2, None), ("minimal_norm", 3.5, 4.0)]
)
def test_any_step_keeps_the_law_where_it_is_adjusted(word, step, length):
    kernel = jl.adjusted_microcanonical(
        step, 2, decoherence_length=length, temperature=TEMPERATURE, integrator=word
    )
    assert not rejected(kernel, num_steps=10)
    x = np.asarray(ended(replace(kernel, temperature=jnp.float32(1.0)), "funnel", 5), np.float64)
    normals = np.concatenate([x[:, :1], x[:, 1:] * np.exp(-x[:, :1] / 2)], axis=1)
    jl.verify.assert_law(normals, jl.Gaussian(jnp.zeros(3), jnp.eye(3)))


@pytest.mark.slow
@pytest.mark.parametrize("slip", ["d - 1 dropped", "d for d - 1", *SLIPS_OF_THE_ENERGY])
def test_a_wrong_trajectory_is_rejected_and_the_right_one_is_not(slip):
    assert not rejected(turning(adjusted()), num_steps=10)
    wrong = turning(adjusted(), **(SLIPS | SLIPS_OF_THE_ENERGY)[slip])
    assert rejected(wrong, num_steps=10)


@pytest.mark.slow
def test_a_first_direction_that_is_not_drawn_anew_is_rejected():
    assert rejected(adjusted(mutated(NotDrawnAnew, AdjustedMicrocanonical)), num_steps=10)


@pytest.mark.slow
@pytest.mark.parametrize("dim", [10, 100])
def test_the_bias_goes_with_the_energy_change(dim):
    """The page's table: about 0.2 (Var[Δ]/d)^{1/3}, narrow, at the step that is given there."""
    energy = jl.energies.quadratic(jnp.eye(dim))
    kernel = jl.microcanonical(0.8 * dim**0.5, dim**0.5)

    def seen(state):
        return jnp.mean(state.position**2), state.energy_change

    run = jl.sample(
        jax.random.key(0), energy, kernel, energy, observe=seen,
        num_steps=100, burn_in=25, num_chains=200_000 // dim,
    )  # fmt: skip
    square = run.draws[0].mean(axis=1)
    error = 5 * float(square.std()) / len(square) ** 0.5
    wanted = -0.2 * float(run.draws[1].var() / dim) ** (1 / 3)
    assert abs(float(square.mean()) - 1 - wanted) < error - 0.3 * wanted


# What it stands on --------------------------------------------------------------------------


@pytest.mark.parametrize("diagonal", [True, False])
def test_a_preconditioner_is_a_change_of_coordinates(diagonal, x64):
    lower = np.diag([0.5, 2.0, 1.0]) if diagonal else np.tril(np.ones((3, 3))) * 0.7
    p = np.diagonal(lower) ** 2 if diagonal else np.dot(lower, lower.T)
    energy = jl.energies.double_well(dim=3)

    start = jnp.ones((5, 3))
    first, noise = made_up(Want.NORMAL, start[0], 5), made_up(Want.NORMAL, start[0], 5, 8)
    kernel = jl.microcanonical(0.2, 1.0, preconditioner=jnp.asarray(p))
    states, _ = walk(kernel, energy, start, noise, first)
    straight = Partial(lambda lower, y: energy(lower @ y), jnp.asarray(lower))
    inner = jnp.asarray(np.linalg.solve(lower, start.T).T)
    plain, _ = walk(jl.microcanonical(0.2, 1.0), straight, inner, noise, first)
    expected = np.dot(plain.position, lower.T)
    np.testing.assert_allclose(states.position, expected, rtol=1e-8, atol=1e-10)
    np.testing.assert_allclose(states.velocity, plain.velocity, rtol=1e-7)


def test_a_pytree_moves_as_its_raveled_vector(x64):
    flat, kernel = jl.energies.rosenbrock(block_length=3), jl.microcanonical(0.1, 1.0)

    def energy(x):
        return flat(jnp.concatenate([x["a"][None], x["b"].reshape(-1)]))

    def split(x):
        return {"a": x[..., 0], "b": x[..., 1:, None]}

    start = jnp.ones((5, 3))
    first, noise = made_up(Want.NORMAL, start[0], 5), made_up(Want.NORMAL, start[0], 5, 5)
    tree, _ = walk(kernel, energy, split(start), split(noise), split(first))
    vector, _ = walk(kernel, flat, start, noise, first)
    np.testing.assert_allclose(tree.position["a"], vector.position[..., 0], rtol=1e-9)
    np.testing.assert_allclose(tree.position["b"][..., 0], vector.position[..., 1:], rtol=1e-9)


@pytest.mark.slow
def test_of_a_score_there_is_no_energy_to_change():
    energy, kernel = jl.energies.double_well(dim=2), jl.microcanonical(0.2, 1.0)
    score = jl.scores.score(lambda x: -jax.grad(energy)(x))
    a, b = (
        jl.sample(jax.random.key(0), on, kernel, jnp.ones((5, 2)), num_steps=7)
        for on in (energy, score)
    )
    np.testing.assert_allclose(a.draws, b.draws, rtol=1e-4)
    assert b.state.kernel.energy is b.state.kernel.energy_change is None


def test_a_run_goes_on_where_it_ended_whatever_the_cut():
    energy, start = jl.energies.double_well(dim=3), jnp.ones((4, 3))

    def run(num_steps, kernel, seed=0):
        return jl.sample(
            jax.random.key(seed), energy, kernel, start, num_steps=num_steps, observe=None
        )

    kernel = jl.microcanonical(0.2, 1.0)
    whole, part = run(9, kernel), run(5, kernel)
    rest = jl.resume(part.state, energy, kernel, num_steps=4, observe=None)
    np.testing.assert_array_equal(rest.position, whole.position)
    with jl.verify.assert_no_recompilation():
        run(9, jl.microcanonical(0.3, 2.0), seed=1)


def beyond_one(there, x):
    return jnp.where(x[0] > 1, there, jnp.sum(x**2))


@pytest.mark.parametrize("there", [np.inf, np.nan])
def test_a_chain_that_has_left_is_frozen_where_it_was_last_finite(there):
    """Even where the gradient is finite, so that it could come back."""
    kernel = jl.microcanonical(0.5, 5.0)
    energy = Partial(beyond_one, jnp.array(there))
    with pytest.warns(jl.DivergenceWarning):
        run = jl.sample(jax.random.key(0), energy, kernel, jnp.zeros((50, 2)), num_steps=30)
    assert run.draws[:, :, 0].max() <= 1
    assert 0 < run.info.num_divergent.sum() <= 50
    assert bool(jnp.isfinite(run.draws).all())


@pytest.mark.parametrize("size", [0, 1])
@pytest.mark.parametrize(
    "kernel",
    [jl.microcanonical(0.1, 1.0), jl.adjusted_microcanonical(0.1, 2)],
    ids=["unadjusted", "adjusted"],
)
def test_fewer_than_two_dimensions_are_refused_by_name(kernel, size):
    energy = jl.energies.linear(jnp.zeros(size))
    with pytest.raises(ValueError, match=rf"dimension {size} it cannot turn.*jlangevin\.malt"):
        kernel.init(energy, jnp.ones(size), jnp.ones(size))


@pytest.mark.slow
def test_no_affine_law_is_claimed():
    start = jl.Gaussian(jnp.zeros(3), jnp.eye(3))
    with pytest.raises(jl.NotAffineError, match=r"Microcanonical .* keeps a velocity's length"):
        jl.exact.law(jl.microcanonical(0.1, 1.0), bowl(), start, 3)


@pytest.mark.slow
def test_a_warm_up_finds_step_and_preconditioner():
    scales = 10.0 ** jnp.linspace(-1, 1, 10)
    energy, kernel = jl.energies.quadratic(jnp.diag(scales**-2)), jl.adjusted_microcanonical(0.1, 4)
    found = jl.warm_up(
        jax.random.key(0), energy, kernel, jnp.zeros((100, 10)),
        target_acceptance=0.8, precondition="diagonal",
    )  # fmt: skip
    np.testing.assert_allclose(found.kernel.preconditioner.scale, scales, rtol=0.25)
    assert found.kernel.step_size > 1
