"""Assertions about streams and compilations, each shown to fail by mutants of the driver."""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

import jlangevin as jl
from jlangevin.noise import Streams, Want
from jlangevin.verify._statistics import fisher_test

pytestmark = pytest.mark.slow

# Streams --------------------------------------------------------------------------------------

KERNELS = {
    "mala": lambda: jl.mala(0.3),
    "a key": lambda: Keyed(),
}


class Position(NamedTuple):
    position: Any


class Keyed(NamedTuple):
    """Asks for a key and draws for itself; from a key of its own if it is a mutant."""

    own: bool = False

    init_noise = None
    step_noise = Want.KEY

    def init(self, energy, position, noise):
        return Position(position)

    def step(self, energy, state, noise):
        key = jax.random.key(0) if self.own else noise
        x = state.position
        return Position(0.9 * x + jax.random.normal(key, x.shape, x.dtype)), jl.Info()


def assert_independent(kernel, dim=2, **options):
    energy = jl.energies.quadratic(jnp.eye(dim))
    jl.verify.assert_streams_independent(
        kernel, energy, jnp.ones(dim), key=jax.random.key(0), **options
    )


@pytest.mark.parametrize("name", KERNELS)
def test_streams_of_the_driver_are_independent(name):
    assert_independent(KERNELS[name](), num_chains=512)


def test_streams_are_independent_in_double_precision(x64):
    assert_independent(jl.underdamped(0.3, 1.0))


def test_one_dimension_and_a_number_of_chains_that_is_not_a_power_of_two():
    assert_independent(jl.mala(1.0), dim=1, num_chains=1001, num_steps=5)


def test_positions_may_be_pytrees():
    position = {"a": jnp.ones(()), "b": jnp.zeros((2, 1))}

    def energy(x):
        return sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(x))

    jl.verify.assert_streams_independent(
        jl.underdamped(0.1, 1.0), energy, position, key=jax.random.key(0), num_chains=100
    )


def test_a_kernel_that_leaves_its_noise_alone_fails():
    with pytest.raises(AssertionError, match=r"path: of 1024 chains under two keys, 1024"):
        assert_independent(Keyed(own=True), num_chains=512)


right_streams, right_normals = jl.noise.streams, jl.noise._normals


def two_by_two(key, chains):
    return right_streams(key, chains // 2)


def by_number_of_chains(key, chains):
    return right_streams(key, chains + chains.size)


def the_same_for_all_keys(key, chains):
    return right_streams(jax.random.key(0), chains)


def marked_pairs(key, chains):
    """The streams of pairs; one bit of their words says which of the two it is."""
    high, low = right_streams(key, chains // 2)
    return Streams(high & ~jnp.uint32(1) | (chains.astype(jnp.uint32) & jnp.uint32(1)), low)


def antithetic(of, *rest):
    """The second of two chains has the noise of the first with the sign turned."""
    odd = of.high & jnp.uint32(1)
    made = right_normals(Streams(of.high - odd, of.low), *rest)
    sign = 1 - 2 * odd.astype(made.dtype)
    pairs_last = rest[-1]
    return made * jnp.broadcast_to(sign[..., None] if pairs_last else sign, made.shape)


def marked_by_key(key, chains):
    """Streams with half a word that is the same for all chains of a key."""
    high, low = right_streams(key, chains)
    half = jnp.uint32(16)
    return Streams(jax.random.key_data(key)[1] << half | high >> half, low)


def common_part(of, *rest):
    """A tenth of each normal's variance is common to all chains."""
    common = Streams(of.high >> jnp.uint32(16), jnp.zeros_like(of.low))
    both = jax.tree.map(lambda *parts: jnp.stack(parts), of, common)
    # As data of a loop: LLVM takes minutes where half of the bits of a key are known to it.
    own, common = jax.lax.map(lambda streams: right_normals(streams, *rest), both)
    return 0.9**0.5 * own + 0.1**0.5 * common


DRIVER_MUTANTS = {
    "two chains to a stream": (two_by_two, right_normals, "noise: of 8192 chains"),
    "streams by the number of chains": (by_number_of_chains, right_normals, "has other noise"),
    "the key ignored": (the_same_for_all_keys, right_normals, "noise: of 8192 chains"),
    "antithetic pairs": (marked_pairs, antithetic, "chains that differ in bit 0"),
    "common noise": (marked_by_key, common_part, "under both keys"),
}


@pytest.fixture
def patched(monkeypatch):
    """Put a mutant into the driver, whose compiled programs must be forgotten before and after."""

    def patch(streams, normals):
        jax.clear_caches()
        monkeypatch.setattr(jl.noise, "streams", streams)
        monkeypatch.setattr(jl.noise, "_normals", normals)

    yield patch
    jax.clear_caches()


@pytest.mark.parametrize("name", DRIVER_MUTANTS)
def test_a_driver_whose_streams_depend_on_each_other_fails(name, patched):
    streams, normals, message = DRIVER_MUTANTS[name]
    patched(streams, normals)
    with pytest.raises(AssertionError, match=message):
        assert_independent(jl.ula(0.1))


def test_positions_that_depend_on_the_number_of_chains_fail(monkeypatch):
    right = jl.verify.assertions.sample

    def wrong(*args, **options):
        run = right(*args, **options)
        x, z = run.draws
        return dataclasses.replace(run, draws=(x + 0.01 * len(x), z))

    monkeypatch.setattr(jl.verify.assertions, "sample", wrong)
    with pytest.raises(AssertionError, match="chain 0 goes elsewhere alone than among 4096"):
        assert_independent(jl.ula(0.1))


class Silent(NamedTuple):
    init_noise = None
    step_noise = None

    def init(self, energy, position, noise):
        return Position(position)

    def step(self, energy, state, noise):
        return state, jl.Info()


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"num_steps": 4}, ValueError, "num_steps: expected at least 5"),
        ({"num_chains": 3}, ValueError, "num_chains: expected at least 4"),
        ({"false_alarm": 1.0}, ValueError, "false_alarm"),
        ({"kernel": None}, TypeError, "kernel: None is not a kernel"),
        ({"kernel": Silent()}, ValueError, "kernel: it asks for no noise"),
    ],
)
def test_refusals(changes, error, message):
    with pytest.raises(error, match=message):
        assert_independent(**({"kernel": jl.ula(0.1)} | changes))


@pytest.mark.parametrize("table", [[[8, 2], [1, 5]], [[3, 3], [3, 3]], [[0, 6], [6, 0]]])
def test_fishers_test_doubles_the_smaller_tail(table):
    """Unlike SciPy's two-sided test, which adds up all tables that are less probable."""
    counts = np.ravel(table)
    a, b = (np.repeat(column, counts)[:, None] for column in ([1, 1, 0, 0], [1, 0, 1, 0]))
    (found,) = fisher_test(a == 1, b == 1)
    tails = [stats.fisher_exact(table, tail).pvalue for tail in ("less", "greater")]
    assert found == pytest.approx(min(1.0, 2 * min(tails)), rel=1e-12)


# Compilation ----------------------------------------------------------------------------------


def go(seed=0, step_size=0.1, num_chains=3, energy=None):
    energy = energy or jl.energies.double_well(height=float(seed + 1))
    starts = jnp.full((num_chains, 1), float(seed))
    return jl.sample(jax.random.key(seed), energy, jl.ula(step_size), starts, num_steps=4)


def test_other_values_compile_nothing(dtype):
    go()
    with jl.verify.assert_no_recompilation():
        go(seed=1, step_size=0.2)


@pytest.mark.parametrize(
    "change",
    [{"num_chains": 4}, {"energy": lambda x: jnp.sum(x**2)}, {"step_size": lambda t: 0.1}],
    ids=["a new shape", "a new function object", "a new schedule"],
)
def test_what_compiles_is_named(change):
    go()
    compiled = pytest.raises(AssertionError, match=r"program\(s\) compiled: .*jit\(advance\)")
    with compiled, jl.verify.assert_no_recompilation():
        go(**change)


def test_a_value_that_is_static_is_found():
    scaled = jax.jit(lambda x, by: x * by, static_argnames="by")
    x = jnp.ones(3)
    scaled(x, 2.0)
    with jl.verify.assert_no_recompilation():
        scaled(x, 2.0)
    with pytest.raises(AssertionError, match="1 program"), jl.verify.assert_no_recompilation():
        scaled(x, 3.0)


def test_an_error_inside_is_not_hidden_and_nothing_listens_afterwards(monkeypatch):
    left = []
    unregister = jax.monitoring.unregister_event_duration_listener
    monkeypatch.setattr(
        jax.monitoring,
        "unregister_event_duration_listener",
        lambda listener: left.append(unregister(listener)),
    )
    with pytest.raises(ZeroDivisionError), jl.verify.assert_no_recompilation():
        jax.jit(lambda: 1 / 0)()
    assert left == [None]


def test_a_jax_that_reports_nothing_is_refused(monkeypatch):
    monkeypatch.setattr(jl.verify.assertions, "_COMPILE_EVENT", "/an/event/that/never/comes")
    refused = pytest.raises(RuntimeError, match="does not report the event")
    with refused, jl.verify.assert_no_recompilation():
        pass
