"""Chains in chunks: the same chains, with their results merged."""

import shutil
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jlangevin as jl
from jlangevin import reducers

KEY = jax.random.key(3)
NUM_CHAINS, CHUNK = 250, 100  # the last chunk is smaller
ENERGY = jl.energies.double_well(dim=2)
KERNEL = jl.mala(0.3)
START = jl.Gaussian(jnp.zeros(2), jnp.eye(2))
GROUPS = np.arange(NUM_CHAINS) // 120  # the last group has no chain in the first chunk
REDUCERS = {
    "covariance": reducers.pooled(reducers.moments(covariance=True)),
    "groups": reducers.pooled(reducers.moments(), by=GROUPS),
    "extrema": reducers.pooled(reducers.extrema()),
    "histogram": reducers.pooled(reducers.histogram(jnp.linspace(-2.0, 2.0, 9))),
    "autocovariance": reducers.pooled(reducers.autocovariance(4)),
    "rhat": reducers.pooled(reducers.split_rhat(20)),
    "expectation": reducers.pooled(reducers.expectation(lambda state: state.position)),
    "each": reducers.moments(),
}
OPTIONS = {"num_steps": 20, "num_chains": NUM_CHAINS, "reducers": REDUCERS}


def in_chunks(energy=ENERGY, kernel=KERNEL, init=START, **options):
    return jl.sample_in_chunks(KEY, energy, kernel, init, **{"chunk_size": CHUNK} | options)


def everything(run):
    return run.draws, run.state, run.info


@pytest.fixture(scope="module")
def whole():
    return jl.sample(KEY, ENERGY, KERNEL, START, **OPTIONS)


@pytest.fixture(scope="module")
def chunked():
    return in_chunks(observe=jl.position, keep=everything, **OPTIONS)


def assert_same(tree, like, **tolerance):
    assert jax.tree.structure(tree) == jax.tree.structure(like)
    for a, b in zip(*map(jax.tree.leaves, (tree, like)), strict=True):
        np.testing.assert_allclose(a, b, **tolerance)


def test_chains_are_those_of_one_run(whole, chunked):
    assert_same(chunked.kept, (whole.draws, whole.state, whole.info), rtol=0, atol=0)
    assert (chunked.num_chains, chunked.num_divergent, chunked.interrupted) == (250, 0, False)
    assert chunked.acceptance_rate == pytest.approx(float(whole.info.acceptance_rate.mean()))


@pytest.mark.parametrize("name", REDUCERS)
def test_results_are_those_of_one_run(whole, chunked, name):
    found, true = chunked.summary[name], whole.summary[name]
    assert_same(found, true, rtol=2e-5, atol=2e-6)


def test_the_state_of_all_chunks_continues(whole, chunked):
    options = {"num_steps": 4, "observe": None}
    states = (state._replace(reducers=None) for state in (chunked.kept[1], whole.state))
    a, b = (jl.resume(state, ENERGY, KERNEL, **options).position for state in states)
    assert np.array_equal(a, b)


@pytest.mark.slow
def test_chosen_chains_and_given_positions():
    chains = np.arange(40, 10, -1)
    x = np.linspace(-1, 1, 60, dtype=np.float32).reshape(30, 2)
    found = in_chunks(
        init=x, chunk_size=15, chains=chains, num_steps=3, keep=lambda run: run.position
    )
    run = jl.sample(KEY, ENERGY, KERNEL, x, chains=chains, num_steps=3, observe=None)
    np.testing.assert_allclose(found.kept, run.position, atol=1e-6)


@pytest.mark.slow
def test_each_chain_sees_its_own_row():
    steps = jl.each(np.linspace(0.01, 0.3, 50, dtype=np.float32))
    options = {"num_steps": 3, "num_chains": 50}
    found = in_chunks(
        kernel=jl.mala(steps), chunk_size=25, keep=lambda run: run.position, **options
    )
    run = jl.sample(KEY, ENERGY, jl.mala(steps), START, observe=None, **options)
    np.testing.assert_allclose(found.kept, run.position, atol=1e-6)


@pytest.mark.slow
@jax.debug_key_reuse(False)  # the keys are looked at, and nothing is drawn from them
def test_rows_may_be_keys():
    def moved(key, x):
        return 0.5 * jnp.sum((x - (jax.random.key_data(key)[0] % 8).astype(x.dtype)) ** 2)

    energy = jax.tree_util.Partial(moved, jl.each(jax.random.split(jax.random.key(1), 4)))
    options = {"num_steps": 2, "num_chains": 4}
    found = in_chunks(energy, chunk_size=2, keep=lambda run: run.position, **options)
    run = jl.sample(KEY, energy, KERNEL, START, observe=None, **options)
    np.testing.assert_allclose(found.kept, run.position, atol=1e-6)


def test_chunks_compile_nothing_more():
    options = {"num_steps": 3, "keep": lambda run: run.position}
    in_chunks(num_chains=2 * CHUNK, **options)
    with jl.verify.assert_no_recompilation():
        in_chunks(num_chains=5 * CHUNK, **options)


@pytest.mark.slow
def test_diverging_chains_are_counted_and_left_out_and_said_once():
    x = np.where(np.arange(30) % 10 == 3, 50.0, 0.5).astype(np.float32)[:, None]
    moments = reducers.pooled(reducers.moments())
    with pytest.warns(jl.DivergenceWarning) as told:
        found = in_chunks(
            jl.energies.double_well(), jl.ula(0.1), x, chunk_size=10, num_steps=9, reducers=moments
        )
    (warning,) = [w for w in told if w.category is jl.DivergenceWarning]
    assert str(warning.message).startswith("in the chunk of chains 0 to 9: 1 of 10 chains turned")
    assert str(warning.message).endswith("(3 of 3 chunks warn so)")
    assert found.num_divergent == 3
    assert (int(found.summary.num_chains), int(found.summary.num_left_out)) == (27, 3)
    with pytest.raises(jl.DivergenceError) as error:
        in_chunks(
            jl.energies.double_well(), jl.ula(0.1), x[3:4], chunk_size=1, num_steps=9,
            reducers=moments, on_divergence="raise",
        )  # fmt: skip
    assert "in the chunk of chains 0 to 0" in error.value.__notes__[-1]


def test_an_error_in_a_later_chunk_does_not_swallow_what_was_warned_before():
    def visit(run):
        if not run.info.num_divergent.any():
            raise OSError("the disk is full")

    x = np.array([[50.0], [0.5]], np.float32)
    options = {"chunk_size": 1, "num_steps": 9, "visit": visit}
    with (
        pytest.warns(jl.DivergenceWarning, match="in the chunk of chains 0 to 0"),
        pytest.raises(OSError, match="the disk is full"),
    ):
        in_chunks(jl.energies.double_well(), jl.ula(0.1), x, **options)


@pytest.mark.slow
def test_ctrl_c_hands_back_the_chunks_done_and_a_checkpoint_continues(tmp_path, whole):
    visits = []

    def visit(run):
        visits.append(run.position.shape[0])
        if len(visits) == 2:
            raise KeyboardInterrupt

    def keep(run):
        return run.position, run.state.step

    some = {name: REDUCERS[name] for name in ("groups", "each")}
    options = {"keep": keep, "visit": visit, "checkpoint": tmp_path, "every": 1, **OPTIONS}
    options["reducers"] = some
    with pytest.warns(jl.InterruptedWarning, match="interrupted after 100 of 250 chains"):
        first = in_chunks(**options)
    assert first.interrupted
    assert first.kept[0].shape == (100, 2)
    found = in_chunks(**options)
    assert visits == [100, 100, 100, 50]  # what a checkpoint has is not visited again
    assert_same(found.kept, (whole.position, whole.state.step), rtol=0, atol=0)
    assert_same(found.summary, {name: whole.summary[name] for name in some}, rtol=2e-5, atol=2e-6)
    with pytest.raises(jl.CheckpointError, match=r"another run: .*num_steps is 20, here it is 10"):
        in_chunks(**options | {"num_steps": 10, "reducers": REDUCERS["extrema"]})


def test_merging_knows_more_chains_than_float32_counts():
    """Sums are float64: two runs of 2**24 + 1 chains have 2**25 + 2, which float32 has not."""
    reducer = reducers.pooled(reducers.expectation(lambda state: state.position))
    run = jl.sample(KEY, ENERGY, KERNEL, START, num_steps=2, num_chains=2, reducers=reducer)
    many = run.summary._replace(num_chains=np.int32(2**24 + 1))
    assert int(reducers.merge(reducer, [many, many]).num_chains) == 2**25 + 2


class Counts:
    """The fraction of draws on the right; without the functions that merging needs."""

    init = staticmethod(lambda state: jnp.int32(0))
    update = staticmethod(lambda acc, state, n: acc + (state.position[0] > 0).astype(jnp.int32))
    finish = staticmethod(lambda acc, n: acc / n)
    pool = staticmethod(lambda accs, keep, n: jnp.sum(accs, where=keep) / (n * jnp.sum(keep)))


REFUSALS = {
    "nothing is left": ({}, ValueError, "so nothing would be left of a chunk"),
    "draws are lost": (
        {"observe": jl.position, "reducers": REDUCERS["extrema"]},
        ValueError, "observe: the draws of a chunk are gone after it; pass keep=",
    ),
    "cannot merge": (
        {"reducers": reducers.pooled(Counts())},
        TypeError, "reducers: pooled results of Counts cannot be merged",
    ),
    "no chain axis": (
        {"keep": lambda run: {"mean": run.position.mean(0)}},
        ValueError, r"keep: expected arrays with a leading axis of the 100 chains.*\['mean'\]",
    ),
    "neither numbers nor arrays": (
        {"keep": lambda run: (run.position, "x")},
        TypeError, "keep: expected numbers, arrays or a pytree of them as its result.* got str",
    ),
    "a key": (
        {"keep": lambda run: {"key": jax.random.key(5)}},
        TypeError, r"keep: NumPy has no keys.*return jax.random.key_data\(key\), got key.*'key'",
    ),
    "other shapes": (
        {"keep": lambda run: run.position[:, : run.position.shape[0] % 99]},
        ValueError, r"keep: expected the same structure.* float32\[100, 1\] and float32\[50, 2\]",
    ),
    "keep": ({"keep": "position"}, TypeError, "keep: expected a function .*, got 'position'"),
    "visit": ({"visit": 3}, TypeError, "visit: expected a function of a chunk's Run, got 3"),
    "numbers that differ": (
        {"keep": lambda run: run.position[0, 0]},
        ValueError, "keep: a number has to be the same in every chunk",
    ),
    "chunk_size": ({"chunk_size": 0}, ValueError, "chunk_size: expected at least 1, got 0"),
    "every": ({"every": 3}, ValueError, "every: needs checkpoint="),
    "rows": (
        {"kernel": jl.ula(jl.each(jnp.ones(9)))},
        ValueError, "kernel.*: each has 9 rows, but the run has 250 chains",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSALS)
def test_refusals(name):
    options, error, message = REFUSALS[name]
    if "keep" not in options and "reducers" not in options and name != "nothing is left":
        options = options | {"keep": lambda run: run.position}
    with pytest.raises(error, match=message):
        in_chunks(num_steps=2, num_chains=NUM_CHAINS, **options)


def test_what_does_not_fit_is_said_before_the_last_chunk():
    visits = []
    with pytest.raises(ValueError, match="the same in every chunk"):
        in_chunks(
            num_steps=2, num_chains=NUM_CHAINS,
            keep=lambda run: run.position[0, 0], visit=visits.append,
        )  # fmt: skip
    assert len(visits) == 2


def test_a_function_for_numbers_is_told_that_a_checkpoint_traces_it(tmp_path):
    with pytest.raises(jax.errors.TracerArrayConversionError) as error:
        in_chunks(
            num_steps=2, num_chains=5, keep=lambda run: np.asarray(run.position),
            checkpoint=tmp_path,
        )  # fmt: skip
    assert "use jax.numpy" in " ".join(error.value.__notes__)
    assert "raised by keep" in " ".join(error.value.__notes__)


@pytest.mark.slow
@jax.debug_key_reuse(False)  # the keys are looked at, and nothing is drawn from them
def test_observed_keys_come_back_from_a_checkpoint(tmp_path):
    def key(state):
        return jax.random.wrap_key_data(jnp.full(2, state.position[0] > 0, jnp.uint32))

    options = {"num_steps": 4, "num_chains": 2, "observe": key, "checkpoint": tmp_path}
    first, again = (jl.sample(KEY, ENERGY, KERNEL, START, **options).draws for _ in range(2))
    assert again.dtype == first.dtype
    assert jnp.array_equal(jax.random.key_data(again), jax.random.key_data(first))


def test_a_checkpoint_that_was_taken_away_leaves_no_gap(tmp_path):
    def keep(run):
        return run.position

    options = {"num_steps": 2, "num_chains": 6, "chunk_size": 2, "keep": keep, "every": 1}
    true = in_chunks(**options | {"checkpoint": tmp_path}).kept
    shutil.rmtree(tmp_path / "2")
    with pytest.warns(jl.CheckpointWarning, match="the one before it, 2, is missing") as told:
        found = in_chunks(**options | {"checkpoint": tmp_path})
    assert np.array_equal(found.kept, true)
    assert told


def test_it_is_refused_inside_a_program():
    def sum_of_positions(x):
        return in_chunks(init=x, num_steps=1, keep=lambda run: run.position).kept.sum()

    with pytest.raises(TypeError, match="call it outside of jit and vmap"):
        jax.jit(sum_of_positions)(jnp.ones((4, 2)))


@pytest.mark.slow
def test_summaries_of_runs_of_other_lengths_are_not_merged():
    reducer = REDUCERS["extrema"]
    runs = [
        jl.sample(KEY, ENERGY, KERNEL, START, num_steps=n, num_chains=2, reducers=reducer).summary
        for n in (1, 2)
    ]
    with pytest.raises(ValueError, match="the same number of draws, got 1, 2"):
        reducers.merge(reducer, runs)
    with pytest.raises(ValueError, match="summaries: none were given"):
        reducers.merge(reducer, [])


def summary_of(reducer, dim=2):
    start = jl.Gaussian(jnp.zeros(dim), jnp.eye(dim))
    energy = jl.energies.double_well(dim=dim)
    options = {"num_steps": 2, "num_chains": 2, "reducers": reducer, "observe": None}
    return jl.sample(KEY, energy, KERNEL, start, **options).summary


class Angle(NamedTuple):
    """A user's reducer, which knows its own results by their unit."""

    degrees: float

    def init(self, state):
        return jnp.zeros(())

    def update(self, accumulator, state, n):
        return accumulator + jnp.arctan2(*state.position) / jnp.pi * self.degrees / 2

    def finish(self, accumulator, n):
        return {"angle": accumulator / n.astype(float), "turn": jnp.float32(self.degrees)}

    def check_result(self, value):
        if (value["turn"] != self.degrees).any():
            raise ValueError("one has another unit")


BINS = [reducers.histogram(jnp.linspace(-2.0, highest, 5)) for highest in (2.0, 3.0)]

FOREIGN = {
    "other edges": (
        reducers.pooled(BINS[0]),
        [reducers.pooled(bins) for bins in BINS],
        "a histogram with other edges",
    ),
    "other edges in each chain": (BINS[0], BINS, "a histogram with other edges"),
    "other bins": (reducers.histogram(jnp.arange(3.0)), BINS[:1], "a histogram with other edges"),
    "another unit": (Angle(360.0), [Angle(360.0), Angle(400.0)], "one has another unit"),
    "another reducer": (
        reducers.pooled(reducers.moments()),
        [reducers.pooled(reducers.expectation(jl.position))] * 2,
        "MomentsReducer .*",
    ),
    "other groups": (
        reducers.pooled(reducers.moments(), by=[0, 1]),
        [reducers.pooled(reducers.moments(), by=by) for by in ([0, 1], [0, 0])],
        "results of MomentsReducer differ",
    ),
    "not pooled": (reducers.moments(), [reducers.pooled(reducers.moments())], "one is pooled"),
    "pooled": (reducers.pooled(reducers.moments()), [reducers.moments()], "reducer is pooled"),
    "another tree": ({"a": reducers.moments()}, [reducers.moments()], ""),
}


@pytest.mark.parametrize("name", FOREIGN)
def test_summaries_of_other_reducers_are_not_merged(name):
    reducer, others, message = FOREIGN[name]
    with pytest.raises(ValueError, match=f"summaries: expected run.summary of runs .*{message}"):
        reducers.merge(reducer, [summary_of(other) for other in others])


@pytest.mark.slow
def test_summaries_of_other_dimensions_are_not_merged():
    for reducer in (reducers.moments(), reducers.pooled(reducers.moments())):
        with pytest.raises(ValueError, match="results of MomentsReducer differ"):
            reducers.merge(reducer, [summary_of(reducer, dim) for dim in (2, 3)])


def test_what_is_merged_can_be_merged_again():
    reducer = reducers.pooled(reducers.moments())
    one = summary_of(reducer)
    again = reducers.merge(reducer, [reducers.merge(reducer, [one, one]), one])
    assert int(again.num_chains) == 6
    np.testing.assert_allclose(again.value.mean, one.value.mean, rtol=1e-6)
