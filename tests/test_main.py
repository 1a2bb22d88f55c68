"""The main job: what it prints, writes and returns."""

import json
import subprocess
import sys

import jax.numpy as jnp
import pytest

import jlangevin as jl
from jlangevin.__main__ import main

pytestmark = pytest.mark.slow

SMALL = ["--steps", "1", "100", "--chains", "5000"]


def test_a_small_experiment_passes_and_rejects_the_notebooks_law(capsys):
    assert main(SMALL) == 0
    out, err = capsys.readouterr()
    assert "4 of 4 true laws stand" in out
    assert "rejected at 2 of 2 numbers of steps" in out
    assert "x_0 has variance 1, not 2η" in out
    assert "[4/4] langevin, N = 100" in err  # progress goes to stderr alone
    assert "[4/4]" not in out


def test_a_wrong_law_makes_the_exit_status_1(capsys, monkeypatch):
    true_law = jl.exact.law

    def wrong_law(*args, **kwargs):
        law = true_law(*args, **kwargs)
        return jl.Gaussian(law.mean, 1.2 * law.cov)

    monkeypatch.setattr(jl.exact, "law", wrong_law)
    assert main(SMALL) == 1
    assert "0 of 4 true laws stand" in capsys.readouterr().out


def test_a_wrong_kernel_makes_the_exit_status_1(capsys, monkeypatch):
    """Its samples agree with the law derived from its own code, but not with the closed form."""
    right = jl.ula
    monkeypatch.setattr(jl, "ula", lambda step_size: right(step_size / 2))
    assert main(SMALL) == 1
    assert "DISAGREE" in capsys.readouterr().out


def test_other_dimensions_and_step_sizes(capsys):
    assert main([*SMALL, "--theta", "1.5", "--step-size", "0.1", "--seed", "3"]) == 0
    assert main([*SMALL, "--theta", "1", "0", "-1"]) == 0


def test_json_and_picture_are_written(tmp_path, capsys):
    figures, picture = tmp_path / "out.json", tmp_path / "out.png"
    assert main([*SMALL, "--json", str(figures), "--plot", str(picture)]) == 0
    result = json.loads(figures.read_text())
    assert [row["num_steps"] for row in result["rows"]] == [1, 100, 1, 100]
    assert all(row["report"]["passed"] for row in result["rows"])
    assert not any(report["passed"] for report in result["stated_law"].values())
    assert picture.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--steps", "0"], "at least 1"),
        (["--steps", "ten"], "--steps"),
        (["--steps", "1", "2", "--chains", "5", "6", "7"], "--chains: expected 1 or 2 numbers"),
        (["--chains", "1"], "at least 2 chains"),
        (["--steps", "10", "10"], "--steps: expected each number only once"),
        (["--steps", "3000000000"], "--steps: a stream has"),
        (["--plot", "nowhere/a.png"], "--plot: there is no folder"),
        (["--plot", "a.txt"], "--plot: expected a name that ends in"),
        (["--step-size", "-1"], "--step-size"),
        (["--step-size", "nan"], "--step-size"),
        (["--theta", "inf"], "--theta"),
    ],
)
def test_bad_options_are_refused_by_name(arguments, message, capsys):
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == 2
    assert message in capsys.readouterr().err


def test_it_runs_as_a_module():
    done = subprocess.run(
        [sys.executable, "-m", "jlangevin", "--steps", "1", "--chains", "1000"],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert "Verdict: 2 of 2 true laws stand" in done.stdout


def test_the_mean_of_the_notebooks_recursion_climbs_and_langevins_descends():
    theta = jnp.array([1.0, 2.0])
    start = jl.Gaussian(jnp.zeros(2), jnp.eye(2))
    up = jl.exact.law(jl.ula(0.1), jl.energies.linear(-theta), start, 10).mean
    down = jl.exact.law(jl.ula(0.1), jl.energies.linear(theta), start, 10).mean
    assert jnp.allclose(up, theta)
    assert jnp.allclose(down, -theta)
