"""Long runs: blocks, resuming, progress, interruption, checkpoints, foresight of memory.

Whatever is done to a run, it gives the same bits, if a step has 64 numbers or more. (Below that,
loops are so short that compilers take them apart, and round one program differently from another:
docs/pages/streams.md.)
"""

import errno
import functools
import os
import pickle
import re
import shutil
import signal
import subprocess
import sys
import textwrap
import time
import types
import warnings

import chex
import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jlangevin as jl
from jlangevin import reducers
from jlangevin.sampling import memory, program
from jlangevin.sampling.layout import Layout
from jlangevin.sampling.state import Plan, Setup

pytestmark = pytest.mark.slow

REDUCERS = {
    "moments": reducers.pooled(reducers.moments(covariance=True)),
    "serial": reducers.autocovariance(5),
    "extrema": reducers.extrema(),
}


def key():
    return jax.random.key(3)


def setting(dim=2):
    start = jl.Gaussian(jnp.zeros(dim), jnp.eye(dim))
    return jl.energies.double_well(dim=dim), jl.ula(0.01), start


def run(num_steps=60, num_chains=40, dim=2, **options):
    energy, kernel, start = setting(dim)
    options.setdefault("reducers", REDUCERS)
    return jl.sample(
        key(), energy, kernel, start, num_steps=num_steps, num_chains=num_chains, **options
    )


def resume(state, num_steps, **options):
    energy, kernel, _ = setting()
    options.setdefault("reducers", REDUCERS)
    return jl.resume(state, energy, kernel, num_steps=num_steps, **options)


def assert_same(a, b):
    chex.assert_trees_all_equal_structs(a, b)
    jax.tree.map(np.testing.assert_array_equal, a, b)


# States on the host ---------------------------------------------------------------------------


def by_orbax(state, tmp_path):
    import orbax.checkpoint as ocp

    with ocp.StandardCheckpointer() as store:
        store.save(tmp_path / "state", state)
        store.wait_until_finished()
        return store.restore(tmp_path / "state", jax.tree.map(np.zeros_like, state))


@pytest.mark.parametrize(
    "way",
    [
        lambda state, _: jax.device_get(state),
        lambda state, _: jax.tree.map(np.asarray, state),
        lambda state, _: pickle.loads(pickle.dumps(state)),
        lambda state, _: pickle.loads(pickle.dumps(jax.device_get(state))),
        by_orbax,
    ],
    ids=["device_get", "NumPy", "pickle", "pickle of NumPy", "Orbax"],
)
def test_a_state_may_come_from_the_host(way, tmp_path):
    first = run(20)
    assert_same(resume(way(first.state, tmp_path), 40), resume(first.state, 40))


def test_a_state_on_the_host_may_be_overwritten_afterwards():
    state = jax.tree.map(lambda leaf: np.array(leaf), run(20).state)
    rest = resume(state, 0)
    before = jax.tree.map(np.array, rest.state)
    jax.tree.map(lambda leaf: np.copyto(leaf, 0), state)
    assert_same(rest.state, before)


def test_what_is_no_state_on_the_host_is_refused():
    state = jax.device_get(run(20).state)
    double = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), state.kernel)
    with pytest.raises(ValueError, match=r"state: a leaf has dtype float64, .*jax_enable_x64"):
        resume(state._replace(kernel=double), 40)
    with pytest.raises(TypeError, match="state: expected arrays as leaves, got str"):
        resume(state._replace(step="20"), 40)


# Blocks and resuming --------------------------------------------------------------------------


@pytest.mark.parametrize("block_steps", [1, 2, 7, 20, 59, 1000])
def test_no_bit_depends_on_blocks(block_steps):
    assert_same(run(block_steps=block_steps), run())


@pytest.mark.parametrize("block_steps", [2, 14, 38])
def test_no_bit_depends_on_blocks_where_sums_of_two_products_leave_a_choice(block_steps):
    def go(**options):
        energy = jl.energies.rosenbrock()
        start = jl.Gaussian(jnp.zeros(2), 0.1 * jnp.eye(2))
        return jl.sample(
            key(), energy, jl.ula(0.01), start, num_steps=40, num_chains=200, **options
        )

    assert_same(go(block_steps=block_steps).draws, go().draws)


@pytest.mark.parametrize("block_steps", [1, 14])
def test_few_chains_in_blocks_differ_in_rounding_at_most(block_steps):
    np.testing.assert_allclose(
        run(num_chains=1, block_steps=block_steps).draws, run(num_chains=1).draws, atol=1e-5
    )


@pytest.mark.parametrize(("burn_in", "thin"), [(0, 3), (5, 2), (33, 1), (4, 15)])
def test_blocks_know_burn_in_and_thinning(burn_in, thin):
    options = {"burn_in": burn_in, "thin": thin}
    assert_same(run(block_steps=8, **options), run(**options))


@hypothesis.settings(max_examples=4, deadline=None, derandomize=True)
@hypothesis.given(
    num_chains=st.integers(64, 99),
    dim=st.integers(1, 3),
    thin=st.integers(1, 5),
    draws=st.integers(1, 40),
    burn_in=st.integers(0, 25),
    block_steps=st.one_of(st.none(), st.integers(1, 50)),
    cut=st.integers(0, 40),
)
def test_however_a_run_is_cut_it_is_the_same_run(
    num_chains, dim, thin, draws, burn_in, block_steps, cut
):
    """In blocks, and stopped after some draws and resumed from there."""
    cut = min(cut, draws)
    energy, kernel, _ = setting(dim)
    options = {"thin": thin, "block_steps": block_steps}
    whole = run(draws * thin, num_chains, dim, burn_in=burn_in, thin=thin)
    first = run(cut * thin, num_chains, dim, burn_in=burn_in, **options)
    second = jl.resume(
        first.state,
        energy,
        kernel,
        num_steps=(draws - cut) * thin,
        reducers=REDUCERS,
        **options,
    )
    draws_of_both = jnp.concatenate([first.draws, second.draws], axis=1)
    assert_same(draws_of_both, whole.draws)
    assert_same(second.summary, whole.summary)
    assert_same(second.state, whole.state)


def test_the_acceptance_rate_goes_on_over_a_resume(x64):
    """As that of one run: the mean over all steps since burn-in."""

    class Half:
        init_noise = None
        step_noise = jl.noise.Want.NORMAL

        def init(self, energy, position, noise):
            return jl.kernels.ULAState(position)

        def step(self, energy, state, noise):
            return state, jl.Info(acceptance_rate=jnp.abs(noise[0]))

    kernel, energy = Half(), jl.energies.quadratic(jnp.eye(1))
    whole = jl.sample(key(), energy, kernel, jnp.zeros((3, 1)), num_steps=50, burn_in=10)
    first = jl.sample(key(), energy, kernel, jnp.zeros((3, 1)), num_steps=20, burn_in=10)
    second = jl.resume(first.state, energy, kernel, num_steps=30)
    np.testing.assert_allclose(second.info.acceptance_rate, whole.info.acceptance_rate, rtol=1e-12)


def test_reducers_may_begin_on_resuming():
    first = run(20, reducers=None)
    second = resume(first.state, 40)
    np.testing.assert_allclose(
        second.summary["moments"].value.mean, second.draws.mean((0, 1)), rtol=1e-5
    )


def test_reducers_of_a_state_are_neither_lost_nor_mixed_up():
    state = run(20).state
    with pytest.raises(ValueError, match="reducers: the state carries reducers' sums; pass"):
        resume(state, 20, reducers=None)
    with pytest.raises(ValueError, match=r"reducers: expected .*, like the sums in the state, got"):
        resume(state, 20, reducers=reducers.moments())
    dropped = resume(state._replace(reducers=None), 20, reducers=None)
    assert dropped.summary is None


# Faults ---------------------------------------------------------------------------------------


def failing(**options):
    """The double well explodes from far away under a large step: chain 3 at once, 5 later."""
    starts = jnp.full((80, 1), 0.5).at[3].set(50.0).at[5].set(6.5)
    energy, kernel = jl.energies.double_well(), jl.ula(0.05)
    return jl.sample(key(), energy, kernel, starts, num_steps=100, **options)


def test_a_failed_chain_is_frozen_where_it_was_last_finite():
    with pytest.warns(jl.DivergenceWarning, match="2 of 80 chains"):
        result = failing()
    for chain in (3, 5):
        step = int(result.info.first_bad_step[chain])
        assert step > 0
        draws = np.asarray(result.draws[chain, :, 0])
        assert np.isfinite(draws).all()
        assert (draws[step - 1 :] == draws[step - 1]).all()
        assert draws[step - 2] != draws[step - 1]
        assert result.position[chain, 0] == draws[-1]


@pytest.mark.parametrize("block_steps", [2, 10, 34])
def test_failures_do_not_depend_on_blocks(block_steps):
    with pytest.warns(jl.DivergenceWarning):
        whole = failing()
    with pytest.warns(jl.DivergenceWarning):
        cut = failing(block_steps=block_steps)
    assert_same(cut, whole)


def test_a_failed_chain_stays_frozen_on_resuming():
    with pytest.warns(jl.DivergenceWarning):
        first = failing()
    with pytest.warns(jl.DivergenceWarning, match="2 of 80"):
        second = jl.resume(first.state, jl.energies.double_well(), jl.ula(0.05), num_steps=10)
    assert_same(second.info.first_bad_step, first.info.first_bad_step)
    np.testing.assert_array_equal(second.position[3], first.position[3])
    assert not np.array_equal(second.position[0], first.position[0])


def test_failures_can_raise_or_be_ignored():
    with pytest.raises(jl.DivergenceError, match=r"2 of 80 chains .* the first is chain 3"):
        failing(on_divergence="raise")
    ignored = failing(on_divergence="ignore", reducers=reducers.pooled(reducers.moments()))
    assert (int(ignored.summary.num_chains), int(ignored.summary.num_left_out)) == (78, 2)
    assert bool(jnp.isfinite(ignored.summary.value.mean).all())
    assert np.flatnonzero(ignored.info.num_divergent).tolist() == [3, 5]
    assert not bool(jnp.isfinite(ignored.position[3]).any())


def test_failures_under_jit_are_frozen_too():
    with pytest.warns(jl.DivergenceWarning):
        plain = failing()
    compiled = jax.jit(failing)()  # step sizes are constants here, which rounds differently
    assert_same(compiled.info.num_divergent, plain.info.num_divergent)
    np.testing.assert_allclose(compiled.draws, plain.draws, rtol=1e-4)
    with pytest.raises(ValueError, match='on_divergence: "raise" is not possible under jit'):
        jax.jit(lambda: failing(on_divergence="raise"))()


# Transformations ------------------------------------------------------------------------------


@pytest.mark.parametrize("remat", [False, True])
def test_gradients_of_expectations_are_those_of_the_exact_law(remat, x64):
    """d/dθ of the mean and the second moment over trajectories, with common noise."""
    start = jl.Gaussian(jnp.array([1.0]), jnp.array([[0.5]]))

    def second_moment(precision, step_size):
        energy = jl.energies.Quadratic(precision[None, None], jnp.zeros(1))
        result = jl.sample(
            key(),
            energy,
            jl.ula(step_size),
            start,
            num_steps=20,
            num_chains=20_000,
            observe=None,
            remat=remat,
        )
        return jnp.mean(result.position**2)

    def exact(precision, step_size):
        energy = jl.energies.Quadratic(precision[None, None], jnp.zeros(1))
        law = jl.exact.law(jl.ula(step_size), energy, start, 20)
        return law.cov[0, 0] + law.mean[0] ** 2

    at = (jnp.asarray(1.5), jnp.asarray(0.1))
    found, expected = (jax.grad(f, (0, 1))(*at) for f in (second_moment, exact))
    np.testing.assert_allclose(found, expected, rtol=0.05)


def test_remat_changes_no_value():
    assert_same(run(remat=True).draws, run().draws)


def test_what_needs_the_host_is_refused_under_jit():
    for options in ({"progress": True}, {"block_steps": 10}, {"checkpoint": "nowhere"}):
        with pytest.raises(ValueError, match="progress, block_steps, checkpoint: a run under jit"):
            jax.jit(lambda k, o=options: jl.sample(k, *setting(), num_steps=4, num_chains=2, **o))(
                key()
            )


# Progress and interruption --------------------------------------------------------------------


def test_progress_is_quiet_where_there_is_no_terminal_and_shown_if_asked(capfd):
    run(progress=True)
    assert capfd.readouterr().err == ""
    run(progress="always")
    shown = capfd.readouterr().err
    assert "60.0/60.0" in shown
    assert "step/s" in shown
    assert "divergent=0" in shown


def test_a_notebook_is_shown_progress_although_it_is_no_terminal(monkeypatch, capfd):
    shell = types.SimpleNamespace(config={"IPKernelApp": {}})
    ipython = types.SimpleNamespace(get_ipython=lambda: shell)
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    run(progress=True)
    assert "60.0/60.0" in capfd.readouterr().err


def test_progress_changes_no_bit():
    assert_same(run(progress="always"), run())


def interrupted_after(monkeypatch, blocks):
    advance, calls = program.advance, []

    def interrupt(*args, **options):
        calls.append(None)
        if len(calls) == blocks + 1:
            raise KeyboardInterrupt
        return advance(*args, **options)

    monkeypatch.setattr(program, "advance", interrupt)


@pytest.mark.parametrize("blocks", [0, 2])
def test_ctrl_c_hands_back_what_is_done(monkeypatch, blocks):
    whole = run()
    interrupted_after(monkeypatch, blocks)
    with pytest.warns(jl.InterruptedWarning, match=f"interrupted after {10 * blocks} of 60 steps"):
        part = run(block_steps=10)
    assert part.interrupted
    assert "interrupted" in repr(part)
    assert not whole.interrupted
    assert_same(part.draws, whole.draws[:, : 10 * blocks])
    rest = resume(part.state, 60 - 10 * blocks)
    assert_same(rest.summary, whole.summary)


def test_a_loop_over_runs_can_be_stopped_by_ctrl_c(monkeypatch):
    """By what the run says, or by a warning that is made an error; the message names both."""
    done = []

    def loop():
        for _ in range(3):
            done.append(run(block_steps=10))
            if done[-1].interrupted:
                break

    interrupted_after(monkeypatch, 1)
    with pytest.warns(jl.InterruptedWarning, match="if run.interrupted: break"):
        loop()
    assert len(done) == 1
    interrupted_after(monkeypatch, 1)
    with warnings.catch_warnings():
        warnings.simplefilter("error", jl.InterruptedWarning)
        with pytest.raises(jl.InterruptedWarning):
            loop()
    assert len(done) == 1


def test_without_blocks_ctrl_c_is_an_interrupt(monkeypatch):
    interrupted_after(monkeypatch, 0)
    with pytest.raises(KeyboardInterrupt):
        run()


# Checkpoints ----------------------------------------------------------------------------------


def steps_in(path):
    return sorted(int(p.name) for p in path.iterdir() if p.name.isdigit())


@pytest.mark.parametrize("observe", [jl.position, None])
def test_a_run_interrupted_goes_on_from_its_checkpoint(monkeypatch, tmp_path, observe):
    whole = run(observe=observe, burn_in=6)
    options = {"checkpoint": tmp_path / "run", "every": 10, "observe": observe, "burn_in": 6}
    with monkeypatch.context() as patch:
        interrupted_after(patch, 4)
        with pytest.warns(jl.InterruptedWarning, match="interrupted after 36 of 66"):
            run(**options)
    assert steps_in(tmp_path / "run")[-1] == 36
    calls = []
    advance = program.advance
    monkeypatch.setattr(program, "advance", lambda *a, **k: calls.append(k) or advance(*a, **k))
    assert_same(run(**options), whole)
    assert (
        sum(call["step_range"].ends - call["step_range"].begins for call in calls) == 30
    )  # what was done is not done again


def test_a_finished_run_is_only_read(tmp_path):
    first = run(checkpoint=tmp_path, every=20)
    assert_same(run(checkpoint=tmp_path, every=20), first)


def test_a_finished_run_can_be_made_longer(tmp_path):
    run(40, checkpoint=tmp_path, every=20)
    assert_same(run(60, checkpoint=tmp_path, every=20), run(60))


CHILD = """
    import jax, jax.numpy as jnp, numpy as np, sys
    import jlangevin as jl

    path, out = sys.argv[1:]
    run = jl.sample(
        jax.random.key(3), jl.energies.double_well(dim=2), jl.ula(0.01),
        jl.Gaussian(jnp.zeros(2), jnp.eye(2)), num_steps=200_000, num_chains=40, thin=1000,
        reducers=jl.reducers.pooled(jl.reducers.moments()),
        **({} if path == "none" else {"checkpoint": path, "every": 4_000}),
    )
    np.savez(out, draws=run.draws, mean=run.summary.value.mean, square=run.summary.value.variance)
"""


def child(tmp_path, *arguments):
    script = tmp_path / "child.py"
    script.write_text(textwrap.dedent(CHILD))
    return subprocess.Popen([sys.executable, script, *map(str, arguments)], env=dict(os.environ))


def test_a_run_killed_in_the_middle_ends_as_one_never_killed(tmp_path):
    """It is killed twice by SIGKILL, each time as soon as two more checkpoints are there."""
    path = tmp_path / "run"
    for more in (2, 4):
        process = child(tmp_path, path, tmp_path / "never.npz")
        while process.poll() is None and (not path.exists() or len(steps_in(path)) < more):
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert not (tmp_path / "never.npz").exists()
    assert child(tmp_path, path, tmp_path / "killed.npz").wait() == 0
    assert child(tmp_path, "none", tmp_path / "whole.npz").wait() == 0
    killed, whole = np.load(tmp_path / "killed.npz"), np.load(tmp_path / "whole.npz")
    for name in whole.files:
        np.testing.assert_array_equal(killed[name], whole[name])


def damage_arrays(path):
    """Flip bits in the middle of every data file."""
    for file in path.glob("**/d/*"):
        data = bytearray(file.read_bytes())
        for i in range(len(data) // 3, 2 * len(data) // 3):
            data[i] ^= 0xFF
        file.write_bytes(bytes(data))


def truncate_record(path):
    for file in path.glob("record/*"):
        if file.is_file():
            file.write_bytes(file.read_bytes()[:-20])


def lose_the_state(path):
    shutil.rmtree(path / "state")


@pytest.mark.parametrize("damage", [damage_arrays, truncate_record, lose_the_state])
@pytest.mark.parametrize("observe", [jl.position, None])
def test_a_damaged_checkpoint_is_named_and_the_one_before_it_is_used(tmp_path, damage, observe):
    options = {"checkpoint": tmp_path, "every": 20, "observe": observe}
    whole = run(**options)
    assert 40 in steps_in(tmp_path)
    damage(tmp_path / "60")
    with pytest.warns(jl.CheckpointWarning, match=re.escape(f"{tmp_path / '60'} is damaged")):
        again = run(**options)
    assert_same(again, whole)


def test_whole_checkpoints_after_a_damaged_one_are_not_lost_without_a_word(tmp_path):
    whole = run(checkpoint=tmp_path, every=20)
    damage_arrays(tmp_path / "40")
    message = re.escape("[60], are set aside too")
    with (
        pytest.warns(jl.CheckpointWarning, match="is damaged"),
        pytest.warns(jl.CheckpointWarning, match=message) as warned,
    ):
        assert_same(run(checkpoint=tmp_path, every=20), whole)
    assert {w.filename for w in warned} == {__file__}  # they point at the call


def test_if_no_checkpoint_is_whole_the_run_begins_anew_and_says_so(tmp_path):
    whole = run(checkpoint=tmp_path, every=30)
    for step in steps_in(tmp_path):
        damage_arrays(tmp_path / str(step))
    with (
        pytest.warns(jl.CheckpointWarning, match="is damaged"),
        pytest.warns(jl.CheckpointWarning, match="are set aside too"),
        pytest.warns(jl.CheckpointWarning, match="none in .* is intact; the run starts over"),
    ):
        assert_same(run(checkpoint=tmp_path, every=30), whole)


def test_a_half_written_checkpoint_is_not_seen(tmp_path):
    """Orbax writes under another name first, and that is what a kill leaves behind."""
    whole = run(checkpoint=tmp_path, every=20)
    shutil.move(tmp_path / "60", tmp_path / "60.orbax-checkpoint-tmp")
    assert_same(run(checkpoint=tmp_path, every=20), whole)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"key": jax.random.key(4)}, "key and chains"),
        ({"num_chains": 41}, "key and chains is 40 chains, here it is 41 chains; its start"),
        (
            {"kernel": jl.ula(0.02)},
            r"kernel is ULA\(step_size=0.01.* here it is ULA\(step_size=0.02",
        ),
        ({"kernel": jl.ula(0.01, preconditioner=[1.0, 1.0])}, "kernel"),
        ({"energy": jl.energies.double_well(2.0, dim=2)}, "energy"),
        ({"energy": jl.energies.rosenbrock()}, "energy"),
        ({"init": jl.Gaussian(jnp.ones(2), jnp.eye(2))}, "start"),
        ({"thin": 2}, "thin is 1, here it is 2"),
        ({"burn_in": 2}, "burn_in"),
        ({"observe": lambda state: state.position[0]}, "observe"),
        ({"reducers": None}, "reducers"),
    ],
)
def test_a_checkpoint_of_another_run_is_refused(tmp_path, change, named):
    energy, kernel, start = setting()
    call = {"key": key(), "energy": energy, "kernel": kernel, "init": start, "num_steps": 20}
    call |= {"num_chains": 40, "reducers": REDUCERS, "checkpoint": tmp_path, "every": 10}
    jl.sample(**call)
    with pytest.raises(jl.CheckpointError, match=f"belongs to another run: its {named}"):
        jl.sample(**(call | change))


def test_an_edited_function_is_another_run(tmp_path):
    """In its constants or in what it closes over."""

    def made(scale, inner):
        return (lambda x: scale * jnp.sum(x**2)) if inner else (lambda x: jnp.sum((scale * x) ** 2))

    start = jl.Gaussian(jnp.zeros(2), jnp.eye(2))

    def go(energy):
        options = {"num_steps": 20, "num_chains": 3, "checkpoint": tmp_path, "every": 10}
        return jl.sample(key(), energy, jl.ula(0.01), start, **options)

    first = go(made(1.0, True))
    assert_same(go(made(1.0, True)).draws, first.draws)
    for other in (made(2.0, True), made(1.0, False), lambda x: 3.0 * jnp.sum(x**2)):
        with pytest.raises(jl.CheckpointError, match="its energy"):
            go(other)


HEIGHT, UNREAD = 1.0, 1.0


def well(x):
    return HEIGHT * jnp.sum((x**2 - 1) ** 2)


def two_wells(x):
    return well(x) + jnp.sum(x)


@pytest.mark.parametrize("energy", [well, two_wells])
def test_a_function_that_reads_another_global_is_another_run(energy, tmp_path, monkeypatch):
    """By itself, or through a function of its module."""
    start = jl.Gaussian(jnp.zeros(2), jnp.eye(2))

    def go():
        options = {"num_steps": 20, "num_chains": 3, "checkpoint": tmp_path, "every": 10}
        return jl.sample(key(), energy, jl.ula(0.01), start, **options)

    first = go()
    monkeypatch.setitem(globals(), "UNREAD", 2.0)
    assert_same(go().draws, first.draws)
    monkeypatch.setitem(globals(), "HEIGHT", 2.0)
    with pytest.raises(jl.CheckpointError, match="its energy"):
        go()


@pytest.mark.parametrize("observe", [jl.position, None])
def test_fewer_steps_than_there_are_is_refused(tmp_path, observe):
    run(40, checkpoint=tmp_path, every=20, observe=observe)
    with pytest.raises(jl.CheckpointError, match="holds 40 steps of this run, but only 20"):
        run(20, checkpoint=tmp_path, every=20, observe=observe)


def test_checkpoints_of_something_else_are_refused_and_left_alone(tmp_path):
    ocp = pytest.importorskip("orbax.checkpoint")
    with ocp.CheckpointManager(tmp_path) as manager:
        for step in (10, 20):
            manager.save(step, args=ocp.args.StandardSave({"model": jnp.arange(4.0)}))
    before = sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*"))
    with pytest.raises(jl.CheckpointError, match=r"was not written by jlangevin: it has no record"):
        run(checkpoint=tmp_path)
    assert sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*")) == before


def test_a_disk_that_fails_is_no_damage(tmp_path, monkeypatch):
    import orbax.checkpoint as ocp

    run(checkpoint=tmp_path, every=20)
    before = sorted(path.name for path in tmp_path.iterdir())

    def fail(*_, **__):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(ocp.CheckpointManager, "restore", fail)
    with pytest.raises(OSError, match="Input/output error"):
        run(checkpoint=tmp_path, every=20)
    assert sorted(path.name for path in tmp_path.iterdir()) == before


def test_a_place_that_cannot_be_written_is_refused_before_the_first_step(tmp_path):
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(FileExistsError, match=r"checkpoint: expected a folder, but .*file is a"):
        run(10**9, 1000, observe=None, checkpoint=tmp_path / "file")
    with pytest.raises(OSError, match=r"checkpoint: cannot write in .*run: Not a directory"):
        run(10**9, 1000, observe=None, checkpoint=tmp_path / "file" / "run")


def test_a_folder_is_what_a_shell_would_take_it_for(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    run(2, checkpoint="~/run")
    assert steps_in(tmp_path / "run")
    run(2, checkpoint=os.fsencode(tmp_path / "bytes"))
    assert steps_in(tmp_path / "bytes")


@pytest.mark.parametrize(
    ("checkpoint", "error", "message"),
    [
        ("", ValueError, 'checkpoint: expected a folder, got ""'),
        (b"", ValueError, 'checkpoint: expected a folder, got ""'),
        (3, TypeError, "checkpoint: expected the path of a folder, got 3"),
        (True, TypeError, "checkpoint: expected the path of a folder, got True"),
    ],
)
def test_what_is_not_a_folder_is_refused_by_name(checkpoint, error, message):
    with pytest.raises(error, match=message):
        run(checkpoint=checkpoint)


def test_every_without_checkpoint_is_refused():
    with pytest.raises(ValueError, match="every: needs checkpoint="):
        run(every=10)


# Memory ---------------------------------------------------------------------------------------


def test_draws_that_cannot_fit_are_refused_with_the_arithmetic():
    message = r"1,000 chains × 1,000,000,000 draws × 8 bytes .* 14,901\.2 GiB .*thin.*reducers"
    with pytest.raises(MemoryError, match=message):
        run(10**9, 1000)
    assert memory.available(jax.devices()[0]) > 2**20


def test_thinned_or_unkept_draws_are_not_refused():
    state = run(2, reducers=None).state
    for thin, observe in ((10**8, jl.position), (1, None)):
        work = Setup.of(*setting()[:2], None, observe)
        plan = Plan(10**9, 0, thin)
        memory.check_fits(state, work, plan, Layout(), jax.devices()[0])


def test_chains_that_cannot_fit_are_refused_before_they_are_begun():
    """The state itself, a reducer's sums of it, or the noise of a block of steps."""
    kernel, start = jl.ula(0.01), jl.Gaussian(jnp.zeros(2), jnp.eye(2))
    message = (
        r"num_chains: 100,000,000 chains .* 20 bytes of state .* \(0 .* 64 of noise, take 9\.7 GiB"
    )
    many = functools.partial(jl.sample, key(), jl.energies.double_well(dim=2), kernel, start)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(memory, "available", lambda device: 2**33)
        with pytest.raises(MemoryError, match=message):
            many(num_steps=1, num_chains=10**8, observe=None)
        sums = jl.reducers.histogram(jnp.linspace(-1, 1, 2_000))
        with pytest.raises(MemoryError, match=r"num_chains: .* \([\d,]{6,} of them for reducers"):
            many(num_steps=1, num_chains=10**6, observe=None, reducers=sums)


def test_a_card_makes_no_block_of_noise_and_so_fits_more_chains(monkeypatch):
    state = run(2, reducers=None).state
    many = jax.tree.map(lambda x: jax.ShapeDtypeStruct((10**7, *x.shape[1:]), x.dtype), state)
    many = many._replace(step=state.step)
    work, check = Setup.of(*setting()[:2]), functools.partial(memory.check_fits, many)
    monkeypatch.setattr(memory, "available", lambda device: 2**30)
    with pytest.raises(MemoryError, match="num_chains"):
        check(work, Plan(10, 0, 1), Layout(), jax.devices()[0])
    monkeypatch.setattr(memory, "is_accelerator", lambda device: True)
    check(work, Plan(10, 0, 1), Layout(), jax.devices()[0])


def test_a_resumed_run_is_refused_what_does_not_fit():
    first = run(2)
    energy, kernel, _ = setting()
    with pytest.raises(MemoryError, match=r"draws: .* GiB"):
        jl.resume(first.state, energy, kernel, num_steps=10**9, reducers=REDUCERS)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"on_divergence": "shout"}, "on_divergence: expected"),
        ({"progress": "sometimes"}, "progress: expected True"),
        ({"block_steps": 0}, "block_steps: expected at least 1"),
        ({"every": 0, "checkpoint": "x"}, "every: expected at least 1"),
    ],
)
def test_bad_input_is_refused_by_name(options, message):
    with pytest.raises((TypeError, ValueError), match=message):
        run(**options)
