"""Chains over eight devices: run by test_devices.py in a process that has them."""

import dataclasses
import re

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import warm_ups
from jax.sharding import Mesh, NamedSharding, PartitionSpec

import jlangevin as jl
from jlangevin import reducers
from jlangevin.sampling import blocks, program
from jlangevin.sampling.layout import Layout
from jlangevin.sampling.state import Plan, Setup

REDUCERS = {
    "each": reducers.moments(),
    "all": reducers.pooled(reducers.moments(covariance=True)),
    "serial": reducers.pooled(reducers.autocovariance(5)),
    "range": reducers.pooled(reducers.extrema()),
    "rhat": reducers.pooled(reducers.split_rhat(30)),
}


def key():
    return jax.random.key(5)


def mesh(shape=(8,), names=("chains",)):
    return Mesh(np.array(jax.devices()).reshape(shape), names)


def setting():
    """Starts are arrays: a law's matrix product is rounded according to its number of columns."""
    energy = jl.energies.double_well(dim=2)
    starts = np.random.default_rng(0).normal(size=(640, 2)).astype(np.float32)
    return energy, jl.ula(0.02), 0.4 * starts


def run(num_chains=640, **options):
    energy, kernel, start = setting()
    options = {"num_steps": 30, "burn_in": 3, "reducers": REDUCERS} | options
    return jl.sample(key(), energy, kernel, start[:num_chains], **options)


def assert_same(a, b):
    chex.assert_trees_all_equal_structs(a, b)
    jax.tree.map(np.testing.assert_array_equal, a, b)


def assert_close(a, b):
    """Equal to a few roundings, as loops of other lengths contract products and sums differently.
    In a sum of two parts, the second holds the rounding error of the first."""
    chex.assert_trees_all_equal_structs(a, b)

    def is_sum(node):
        return hasattr(node, "low") and jnp.issubdtype(node.low.dtype, jnp.floating)

    def close(x, y):
        if is_sum(x):
            x, y = (np.asarray(part.high, float) + part.low for part in (x, y))
        np.testing.assert_allclose(x, y, rtol=1e-3, atol=1e-5)

    jax.tree.map(close, a, b, is_leaf=is_sum)


def test_there_are_eight_devices():
    assert jax.device_count() == 8


@pytest.mark.parametrize(("shape", "names"), [((8,), ("chains",)), ((2, 4), ("hosts", "chips"))])
def test_results_are_those_of_one_device(shape, names):
    spread, one = run(sharding=mesh(shape, names)), run()
    assert_close(spread, one)


class Recorder:
    """A kernel whose position is the noise it was given."""

    init_noise = None
    step_noise = jl.noise.Want.NORMAL

    def init(self, energy, position, noise):
        return jl.kernels.ULAState(position)

    def step(self, energy, state, noise):
        return jl.kernels.ULAState(noise), jl.Info()


@pytest.mark.parametrize("num_chains", [8, 8000])
def test_noise_is_that_of_one_device_to_the_last_bit(num_chains):
    def go(**options):
        starts = jnp.zeros((num_chains, 3))
        energy = jl.energies.quadratic(jnp.eye(3))
        return jl.sample(key(), energy, Recorder(), starts, num_steps=9, **options).draws

    assert_same(go(sharding=mesh()), go())


def test_starts_drawn_from_a_law_have_the_noise_of_one_device():
    energy, kernel, _ = setting()
    law = jl.Gaussian(jnp.zeros(2), jnp.array([[0.5, 0.2], [0.2, 0.3]]))

    def go(**options):
        return jl.sample(key(), energy, kernel, law, num_steps=0, num_chains=640, **options)

    np.testing.assert_allclose(go(sharding=mesh()).position, go().position, rtol=1e-4, atol=1e-6)


def test_values_of_a_chain_go_where_the_chain_goes():
    _, _, start = setting()

    def go(**options):
        rows = np.arange(640, dtype=np.float32)
        energy = jax.tree_util.Partial(lambda a, x: jnp.sum((x - a) ** 2), jl.each(rows / 640))
        kernel = jl.mala(jl.each((rows + 1) / 6400))
        return jl.sample(key(), energy, kernel, start, num_steps=9, **options)

    spread = go(sharding=mesh())
    assert_close(spread.draws, go().draws)
    np.testing.assert_allclose(
        spread.info.acceptance_rate, go().info.acceptance_rate, rtol=1e-3, atol=1e-3
    )


def test_results_stay_where_the_chains_are():
    result = run(sharding=mesh())
    expected = NamedSharding(mesh(), PartitionSpec("chains"))
    for array in (result.draws, result.position, result.state.streams.high):
        assert array.sharding.is_equivalent_to(expected, array.ndim)


def test_over_some_axes_of_a_mesh():
    """Four groups of two devices; both of a group have the same chains."""
    some = NamedSharding(mesh((4, 2), ("chains", "model")), PartitionSpec("chains"))
    assert_close(run(sharding=some).draws, run().draws)


def test_meshes_with_explicit_axes_are_taken_too():
    made = jax.make_mesh((8,), ("chains",))
    assert_same(run(sharding=made).summary, run(sharding=mesh()).summary)


def test_positions_that_are_spread_already_stay_so():
    energy, kernel, start = setting()
    positions = jax.device_put(start, NamedSharding(mesh(), PartitionSpec("chains")))
    spread = jl.sample(key(), energy, kernel, positions, num_steps=10)
    one = jl.sample(key(), energy, kernel, start, num_steps=10)
    assert_close(spread.draws, one.draws)
    assert len(spread.draws.sharding.device_set) == 8


def test_resuming_stays_where_the_chains_are():
    energy, kernel, _ = setting()
    first = run(sharding=mesh(), num_steps=12)
    second = jl.resume(first.state, energy, kernel, num_steps=18, reducers=REDUCERS)
    whole = run(sharding=mesh(), num_steps=30)
    assert_same(second.state, whole.state)
    assert_same(second.summary, whole.summary)
    assert len(second.draws.sharding.device_set) == 8


def test_blocks_and_checkpoints_over_devices(tmp_path):
    options = {"checkpoint": tmp_path, "every": 10, "sharding": mesh()}
    whole = run(**options)
    again = run(**options)
    assert_same(again, whole)
    assert len(again.draws.sharding.device_set) == 8
    assert_close(whole.draws, run().draws)


def test_a_warm_up_finds_what_one_device_finds():
    warm_ups.assert_same(warm_ups.found(sharding=mesh()), warm_ups.found(), devices=8)


def test_a_chain_that_fails_is_frozen_on_its_device_and_counted_by_all():
    starts = jnp.full((640, 1), 0.5).at[333].set(50.0)
    energy, kernel = jl.energies.double_well(), jl.ula(0.05)

    def go(**options):
        with pytest.warns(
            jl.DivergenceWarning, match=r"1 of 640 chains .* chain 333 of the run, after 3"
        ):
            return jl.sample(key(), energy, kernel, starts, num_steps=50, **options)

    assert_close(go(sharding=mesh()).draws, go().draws)


COLLECTIVES = r" (all-reduce|all-gather|all-to-all|collective-permute|reduce-scatter)[-(]"


def test_nothing_is_sent_between_devices():
    energy, kernel, _ = setting()
    work = Setup.of(energy, kernel)
    layout = Layout(mesh(), ("chains",))
    state = run(sharding=mesh(), reducers=None).state
    how = blocks._program_arguments(Plan(1000, 0, 1), state, work, layout)
    text = program.advance.lower(state, work, **how).compile().as_text()
    assert not re.search(COLLECTIVES, text)
    assert re.search(r" while\(", text)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"num_chains": 636}, ValueError, "num_chains: 636 chains cannot be .* use 632 or 640"),
        ({"num_chains": 4}, ValueError, "num_chains: 4 chains cannot be .* use 8"),
        ({"sharding": 3}, TypeError, "sharding: expected a jax.sharding.Mesh"),
        (
            {"sharding": lambda: NamedSharding(mesh(), PartitionSpec())},
            TypeError,
            "sharding: expected",
        ),
        (
            {"sharding": lambda: NamedSharding(mesh((4, 2), ("a", "b")), PartitionSpec("a", "b"))},
            ValueError,
            "sharding: only the first axis, the chains, can be spread",
        ),
    ],
)
def test_what_cannot_be_spread_is_refused(options, error, message):
    options = {"sharding": mesh} | options
    if callable(options["sharding"]):
        options["sharding"] = options["sharding"]()
    with pytest.raises(error, match=message):
        run(**options)


def test_chains_of_a_replay_buffer_stay_on_their_devices_while_an_energy_is_learned():
    energy, kernel, starts = setting()
    buffer = jl.learn.Buffer(jnp.asarray(starts), jl.Gaussian(jnp.zeros(2), jnp.eye(2)))
    spread = NamedSharding(mesh(), PartitionSpec("chains"))
    on_devices = dataclasses.replace(buffer, positions=jax.device_put(buffer.positions, spread))

    @jax.jit
    def negatives(key, buffer):
        _, aux = jl.learn.persistent_contrastive_divergence(
            key, energy, jnp.ones((8, 2)), buffer, kernel=kernel, num_steps=3
        )
        return aux.buffer

    one, many = negatives(key(), buffer), negatives(key(), on_devices)
    assert many.positions.sharding == spread
    assert_close(one, jax.device_get(many))
