"""Persistent chains of kernels with momentum go on as if no update had come between."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.tree_util import Partial

import jlangevin as jl
from jlangevin import learn
from jlangevin.learn import persistent

SIZE, STEPS, UPDATES = 2_000, 3, 5
KERNEL = jl.underdamped(0.3, 0.1)
START = jl.Gaussian(jnp.full(2, 3.0), 0.01 * jnp.eye(2))
DATA = jnp.ones((4, 2))
KERNELS = {
    "underdamped": KERNEL,
    "microcanonical": jl.microcanonical(0.3, 2.0),
    "mirrored": jl.mirrored(KERNEL, jl.domains.box(-10.0, 10.0)),
    "quicsort": jl.quicsort(0.3, 0.1),
    "leimkuhler_matthews": jl.leimkuhler_matthews(0.1),
}


def bowl(stiffness, x):
    return 0.5 * stiffness * jnp.sum(x**2)


ENERGY = Partial(bowl, jnp.ones(()))


def key_of(number):
    return jax.random.fold_in(jax.random.key(7), number)


def moved(number, buffer, kernel=KERNEL, data=DATA, energy=ENERGY, **options):
    options = {"redraw_rate": 0.0, **options}
    return learn.persistent_contrastive_divergence(
        key_of(number), energy, data, buffer, kernel=kernel, num_steps=STEPS, **options
    )[1].buffer


def begun(kernel=KERNEL, start=START, size=SIZE):
    return learn.replay_buffer(jax.random.key(1), start, size, kernel=kernel)


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.slow if name in list(KERNELS)[1:] else ())
        for name in KERNELS
    ],
)
def test_chains_are_those_of_a_run_that_was_never_cut(name):
    """But for the noise, which is that of each update's key. Bit for bit, as far as positions say
    all; those of `mirrored` are taken back to free coordinates."""
    kernel = KERNELS[name]
    start = jl.Gaussian(jnp.full(2, 0.5), jnp.eye(2))
    buffer = begun(kernel, start, 16)
    same = functools.partial(np.testing.assert_allclose, rtol=0, atol=0)
    if name == "mirrored":
        same = functools.partial(np.testing.assert_allclose, atol=1e-4)
    uncut = begun_state(kernel, start)
    for number in range(3):
        chains = jax.random.split(key_of(number), 4)[3]
        fresh = jl.sample(chains, ENERGY, kernel, buffer.positions, num_steps=0).state
        run = jl.resume(fresh._replace(kernel=uncut), ENERGY, kernel, num_steps=STEPS)
        uncut = run.state.kernel
        buffer = moved(number, buffer, kernel)
        same(buffer.positions, run.position)
        for path, kept in buffer.carried.items():
            same(kept, functools.reduce(getattr, path.split("."), uncut))


def begun_state(kernel, start):
    """A run's first state, with the positions and velocities that a buffer begins with."""
    key = jax.random.key(1)
    return jl.sample(key, ENERGY, kernel, start, num_chains=16, num_steps=0).state.kernel


def after_updates(buffer):
    for number in range(UPDATES):
        buffer = moved(number, buffer)
    return buffer.positions


def exact():
    return jl.exact.law(KERNEL, ENERGY, START, num_steps=STEPS * UPDATES)


@pytest.mark.slow
def test_their_law_is_that_of_an_uncut_run():
    """And at a friction of 0.1 that of chains without memory is far from it."""
    jl.verify.assert_law(after_updates(begun()), exact())
    forgetful = after_updates(learn.replay_buffer(jax.random.key(1), START, SIZE))
    with pytest.raises(AssertionError):
        jl.verify.assert_law(forgetful, exact())


def test_velocities_that_are_dropped_are_noticed(monkeypatch):
    monkeypatch.setattr(persistent, "going_on", lambda kernel, carried, anew: kernel)
    with pytest.raises(AssertionError):
        jl.verify.assert_law(after_updates(begun()), exact())


@pytest.mark.slow
def test_energies_and_gradients_are_those_of_the_new_energy():
    """A carried force would be that of the last update."""
    buffer = moved(0, begun(size=8))
    stiff = Partial(bowl, jnp.full((), 3.0))
    there = moved(1, buffer, energy=stiff)
    state = jl.sample(
        jax.random.split(key_of(1), 4)[3], stiff, KERNEL, buffer.positions, num_steps=0
    ).state
    state = state._replace(kernel=state.kernel._replace(velocity=buffer.carried["velocity"]))
    expected = jl.resume(state, stiff, KERNEL, num_steps=STEPS).position
    np.testing.assert_array_equal(there.positions, expected)


def test_a_chain_that_starts_anew_has_a_velocity_of_the_kernels_own():
    buffer = begun(size=8)
    wild = learn.Buffer(buffer.positions, START, {"velocity": jnp.full((8, 2), 1e6)})
    found = moved(0, wild, redraw_rate=1.0)
    alone = moved(0, learn.Buffer(buffer.positions, START), redraw_rate=1.0)
    np.testing.assert_array_equal(found.positions, alone.positions)
    some = moved(0, wild, redraw_rate=0.5)
    assert 0 < np.sum(np.abs(some.positions[:, 0]) < 100) < 8


@pytest.mark.slow
def test_chains_that_are_not_moved_keep_their_velocity():
    buffer = begun(size=8)
    after = moved(0, buffer, num_negatives=3)
    for old, new in ((buffer.positions, after.positions), *zip(
        buffer.carried.values(), after.carried.values(), strict=True
    )):  # fmt: skip
        assert np.sum(np.any(np.asarray(old != new), axis=1)) == 3


@pytest.mark.slow
def test_updates_compile_once_and_learning_keeps_velocities():
    buffer = begun(size=8)
    update = jax.jit(functools.partial(
        learn.persistent_contrastive_divergence, kernel=KERNEL, num_steps=STEPS
    ))  # fmt: skip
    _, aux = update(key_of(0), ENERGY, DATA, buffer)
    with jl.verify.assert_no_recompilation():
        for number in range(1, 4):
            _, aux = update(key_of(number), ENERGY, DATA, aux.buffer)
    loss = functools.partial(
        learn.persistent_contrastive_divergence, kernel=KERNEL, num_steps=STEPS
    )
    fitted = learn.fit(
        jax.random.key(0), ENERGY, DATA, loss, optax.sgd(1e-3), num_updates=4, buffer=buffer
    )
    assert fitted.buffer.carried["velocity"].shape == (8, 2)


def test_a_kernel_without_a_velocity_has_a_buffer_of_positions():
    assert begun(jl.ula(0.1), size=4).carried is None
    assert begun(jl.malt(0.1, 1.0, 2), size=4).carried is None


@pytest.mark.parametrize("kernel", [jl.ula(0.1), jl.leimkuhler_matthews(0.1)])
def test_the_velocities_of_another_kernel_are_refused(kernel):
    with pytest.raises(ValueError, match="buffer: beside positions it holds velocity, but"):
        moved(0, begun(size=4), kernel)
