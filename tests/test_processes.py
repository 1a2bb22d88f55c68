"""Many processes over the loopback interface, as many machines would be."""

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import process_child
import pytest
import warm_ups

CHILD = Path(process_child.__file__)

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(jax.default_backend() != "cpu", reason="uses CPU collectives"),
]


def free_port():
    with socket.socket() as s:
        s.bind(("localhost", 0))
        return s.getsockname()[1]


def start(num_processes, folder, checkpoint=None, dying=None, dies_after=None, child=CHILD):
    port, processes = free_port(), []
    for process in range(num_processes):
        arguments = [port, num_processes, process, folder / f"{process}.npz"]
        arguments += [] if checkpoint is None else [checkpoint]
        arguments += [dies_after] if process == dying else []
        with (folder / f"{process}.log").open("w") as log:
            processes.append(
                subprocess.Popen(
                    [sys.executable, child, *map(str, arguments)],
                    env=os.environ | {"XLA_FLAGS": "", "JAX_PLATFORMS": "cpu"},
                    stdout=log,
                    stderr=subprocess.STDOUT,
                )
            )
    return processes


def finish(processes, folder, seconds=240):
    """Exit codes; a process that is still running after this time is a failure."""
    end = time.monotonic() + seconds
    try:
        return [process.wait(max(end - time.monotonic(), 0.1)) for process in processes]
    except subprocess.TimeoutExpired:
        logs = "\n".join(f.read_text()[-2000:] for f in sorted(folder.glob("*.log")))
        raise AssertionError(f"still running after {seconds} s:\n{logs}") from None
    finally:
        for process in processes:
            process.kill()


def results(folder, num_processes):
    parts = [dict(np.load(folder / f"{i}.npz")) for i in range(num_processes)]
    for part in parts[1:]:  # pooled results are every process's
        np.testing.assert_array_equal(part["mean"], parts[0]["mean"])
        np.testing.assert_array_equal(part["variance"], parts[0]["variance"])
    return parts[0] | {"draws": np.concatenate([part["draws"] for part in parts])}


def assert_logs(codes, folder):
    for i, code in enumerate(codes):
        assert code == 0, (folder / f"{i}.log").read_text()[-3000:]


@pytest.fixture(scope="module")
def alone():
    run = process_child.sample()
    return {
        "draws": np.asarray(run.draws),
        "mean": np.asarray(run.summary.value.mean),
        "variance": np.asarray(run.summary.value.variance),
    }


def assert_close(found, expected):
    """Loops of other lengths round differently, and trajectories come apart: the double well has
    two modes, so a chain may cross at another time. Early draws and pooled moments must agree."""
    np.testing.assert_allclose(found["draws"][:, 0], expected["draws"][:, 0], atol=2e-2)
    np.testing.assert_allclose(found["variance"], expected["variance"], rtol=0.05)


@pytest.mark.parametrize("num_processes", [2, 4])
def test_processes_together_give_what_one_gives(num_processes, tmp_path, alone):
    codes = finish(start(num_processes, tmp_path), tmp_path)
    assert_logs(codes, tmp_path)
    assert_close(results(tmp_path, num_processes), alone)


def test_a_warm_up_of_two_processes_finds_what_one_finds(tmp_path):
    """And each of the two finds exactly what the other does, or they would differ for good."""
    codes = finish(start(2, tmp_path, child=Path(warm_ups.__file__)), tmp_path, seconds=480)
    assert_logs(codes, tmp_path)
    first, second = (dict(np.load(tmp_path / f"{i}.npz")) for i in range(2))
    for name, value in first.items():
        np.testing.assert_array_equal(second[name], value, err_msg=name)
    expected = warm_ups.found()
    results = {
        setting: {what: first[f"{setting} {what}"] for what in each}
        for setting, each in expected.items()
    }
    warm_ups.assert_same(results, expected, devices=2)


def test_when_one_process_dies_the_others_end(tmp_path):
    """One is killed in the middle. The others end by themselves with an error that says why. The
    job, started again, goes on from its last checkpoint and ends as one that was never killed."""
    killed, again, never = (tmp_path / name for name in ("killed", "again", "never"))
    for folder in (killed, again, never):
        folder.mkdir()
    store = tmp_path / "store"
    codes = finish(start(2, killed, store, dying=1, dies_after=3), killed)
    assert codes[1] == -9
    assert codes[0] != 0
    log = (killed / "0.log").read_text()
    assert "heartbeat" in log or "Connection" in log or "UNAVAILABLE" in log, log[-3000:]
    assert not list(killed.glob("*.npz"))
    assert any(p.name.isdigit() for p in store.iterdir())

    assert_logs(finish(start(2, again, store), again), again)
    assert_logs(finish(start(2, never, tmp_path / "other"), never), never)
    found, expected = results(again, 2), results(never, 2)
    for name, value in expected.items():
        np.testing.assert_array_equal(found[name], value)
