"""Slips in the library's own source. The tests have to notice each one.

    python benchmarks/source_mutants.py             # all of them, about an hour on two cores
    python benchmarks/source_mutants.py driver      # those whose name contains a word
    python benchmarks/source_mutants.py --list

Each slip is one replacement in a copy of the package. The tests named beside it run against the
copy, and at least one has to fail. `mutants.py` has whole samplers that are wrong, which the tests
run. The slips here need another source, so this runs by hand. The exit status is 1 if a slip
survives, or no longer fits the source.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parent.parent


class Mutant(NamedTuple):
    """A replacement in one file, and the tests that see it."""

    name: str
    file: str  # below jlangevin/
    before: str
    after: str
    tests: str  # arguments of pytest


SAMPLING = "tests/sampling -m 'not slow'"
METROPOLIS = "tests/kernels/test_metropolis.py tests/kernels/test_mala.py"
LOSSES = "tests/learn/test_losses.py -m 'not slow'"
FIT = "tests/learn/test_fit.py -m 'not slow'"
PERSISTENT = "tests/learn/test_persistent.py -m 'not slow'"


def tests_of(*names: str) -> str:
    """The tests of these modules of tests/kernels, slow ones too: some have no others."""
    return " ".join(f"tests/kernels/test_{name}.py" for name in names)


MUTANTS = [
    Mutant(
        "driver: the acceptance rate of the last step for the mean",
        "sampling/steps.py",
        "after = before + (rate - before) / n.astype(rate.dtype)",
        "after = rate",
        SAMPLING,
    ),
    Mutant(
        "driver: the first bad step off by one",
        "sampling/steps.py",
        "failed = jnp.where(alive & ~fine, carry.step, tally.first_bad_step)",
        "failed = jnp.where(alive & ~fine, carry.step + 1, tally.first_bad_step)",
        SAMPLING,
    ),
    Mutant(
        "driver: noise of the next pair from block boundaries on",
        "sampling/counted.py",
        "made = self.block_noise(first >> 1, self.block_steps // 2)",
        "made = self.block_noise((first >> 1) + (first > 0), self.block_steps // 2)",
        SAMPLING,
    ),
    Mutant(
        "driver: diverged chains are not frozen",
        "sampling/steps.py",
        "moved = _select(fine, moved, carry.kernel)",
        "moved = moved",
        SAMPLING,
    ),
    Mutant(
        "driver: diverged chains go on being counted",
        "sampling/steps.py",
        "counted &= fine",
        "counted &= True",
        SAMPLING,
    ),
    Mutant(
        "driver: the reducers' number of draws off by one",
        "sampling/steps.py",
        "n = self.step_range.num_draws - (self.step_range.ends - carry.step) // self.thin",
        "n = self.step_range.num_draws + 1 - (self.step_range.ends - carry.step) // self.thin",
        "tests/test_reducers.py -m 'not slow'",
    ),
    Mutant(
        "driver: draws a place late",
        "sampling/counted.py",
        "// self.thin - 1, 0)",
        "// self.thin, 0)",
        SAMPLING,
    ),
    Mutant(
        "driver: the last state of burn-in is counted",
        "sampling/counted.py",
        "counted = carry.step > self.step_range.begins",
        "counted = carry.step >= self.step_range.begins",
        f"tests/test_reducers.py {SAMPLING}",
    ),
    Mutant(
        "driver: thinned draws are due from the first step",
        "sampling/counted.py",
        "return (done > 0) & (done % self.thin == 0)",
        "return (done > 0) & (done % self.thin == 1 % self.thin)",
        SAMPLING,
    ),
    Mutant(
        "driver: all chains take the careful result",
        "sampling/program.py",
        "return jnp.where(jnp.broadcast_to(_expand_to(failed, a), a.shape), b, a)",
        "return b",
        SAMPLING,
    ),
    Mutant(
        "driver: an unsound schedule is not looked at",
        "sampling/steps.py",
        "return if_sound(kernel, moved) if has_schedule(self.kernel) else moved",
        "return moved",
        SAMPLING,
    ),
    Mutant(
        "driver: a block ends a step late",
        "sampling/counted.py",
        "return (carry.step - first < self.block_steps)",
        "return (carry.step - first <= self.block_steps)",
        SAMPLING,
    ),
    Mutant(
        "driver: rejections of burn-in are counted",
        "sampling/steps.py",
        "rejections = rejections.after(jnp.where(counted, info.rejections, 0))",
        "rejections = rejections.after(info.rejections)",
        SAMPLING,
    ),
    Mutant(
        "noise: a uniform that can be 0",
        "noise.py",
        "return (cell + float_type(0.5)) * float_type(2.0**-bits)",
        "return cell * float_type(2.0**-bits)",
        "tests/test_noise.py -m 'not slow'",
    ),
    Mutant(
        "reducers: variances divided by n",
        "reducers/moments.py",
        "square / (n - 1).astype(square.dtype)",
        "square / n.astype(square.dtype)",
        "tests/test_reducers.py -m 'not slow'",
    ),
    Mutant(
        "reducers: pooled variances divided by n",
        "reducers/moments.py",
        "(count / (draws * count - 1))",
        "(1 / draws)",
        "tests/test_reducers.py -m 'not slow'",
    ),
    Mutant(
        "reducers: merged without the spread between the parts",
        "reducers/over_chains.py",
        "_mix(a.spread, b.spread, share) + between",
        "_mix(a.spread, b.spread, share)",
        "tests/sampling/test_chunks.py",
    ),
    Mutant(
        "driver: on a card, both steps of a pair have the noise of the first",
        "sampling/paired.py",
        "lambda _: pair.at(odd)",
        "lambda _: pair.at(0)",
        "tests/sampling/test_programs.py -m 'not slow'",
    ),
    Mutant(
        "kernels: malt's friction halved",
        "kernels/malt.py",
        "            self.friction,\n",
        "            0.5 * self.friction,\n",
        tests_of("malt"),
    ),
    Mutant(
        "kernels: malt's work without the mass",
        "kernels/hamiltonian.py",
        "langevin_work(first, last, 0.5 * h**2, self.inverse_mass)",
        "langevin_work(first, last, 0.5 * h**2)",
        tests_of("malt"),
    ),
    Mutant(
        "kernels: malt's work of the last leapfrog only",
        "kernels/hamiltonian.py",
        "work += more",
        "work = more",
        tests_of("malt"),
    ),
    Mutant(
        "kernels: ghmc's velocity not turned by a rejection",
        "kernels/ghmc.py",
        "back = jax.tree.map(jnp.negative, velocity)",
        "back = velocity",
        tests_of("ghmc"),
    ),
    Mutant(
        "kernels: ghmc's rejected velocity is that before the noise",
        "kernels/ghmc.py",
        "jax.tree.map(jnp.negative, velocity)",
        "jax.tree.map(jnp.negative, state.velocity)",
        tests_of("ghmc"),
    ),
    Mutant(
        "kernels: barker's uniform from another normal",
        "kernels/barker.py",
        "jnp.abs(zeta) * math.sqrt(0.5)",
        "jnp.abs(zeta) * 0.75",
        tests_of("barker"),
    ),
    Mutant(
        "kernels: barker's work without T",
        "kernels/barker.py",
        "rise, rise_back = w * g / temperature, -w * h / temperature",
        "rise, rise_back = w * g, -w * h",
        tests_of("barker"),
    ),
    Mutant(
        "kernels: acceptance 3% low",
        "kernels/metropolis.py",
        "accepted = uniform < rate",
        "accepted = uniform < 0.97 * rate",
        METROPOLIS,
    ),
    Mutant(
        "kernels: a proposal that cannot be weighed is let through",
        "kernels/metropolis.py",
        "possible = (cause == 0) & ~jnp.isnan(log_ratio)",
        "possible = ~jnp.isnan(log_ratio)",
        METROPOLIS,
    ),
    Mutant(
        "kernels: leimkuhler_matthews is not shifted at a swap",
        "kernels/leimkuhler_matthews.py",
        "return xi + separately_rounded((now - before) * g, hidden_zero(now))",
        "return xi",
        tests_of("leimkuhler_matthews", "tempered"),
    ),
    Mutant(
        "kernels: underdamped is not rescaled at a swap",
        "kernels/underdamped.py",
        "return state._replace(velocity=velocity)",
        "return state",
        tests_of("underdamped", "tempered"),
    ),
    Mutant(
        "kernels: the exponent of a swap with T squared",
        "kernels/tempered.py",
        "((hot - cold) / (cold * hot))",
        "((hot - cold) / (cold * hot) ** 2)",
        tests_of("tempered"),
    ),
    Mutant(
        "kernels: coupled chains meet if one of them accepts",
        "kernels/coupled.py",
        "jnp.minimum(info.acceptance_rate, report.acceptance_rate)",
        "info.acceptance_rate",
        tests_of("coupled"),
    ),
    Mutant(
        "kernels: a reflection by half",
        "kernels/coupled.py",
        "times = -2 * along",
        "times = -along",
        tests_of("coupled"),
    ),
    Mutant(
        "warm-up: the covariance doubled",
        "adaptation/metric.py",
        "cov = x.T @ x / n",
        "cov = 2 * x.T @ x / n",
        "tests/adaptation -m 'not slow'",
    ),
    Mutant(
        "warm-up: step sizes of chains that are kept apart are pooled",
        "adaptation/ensemble.py",
        "self.share(self.own_steps * np.exp(self.log_steps / len(self.looks)))",
        "self.share(self.own_steps * np.exp(np.mean(self.log_steps) / len(self.looks)))",
        "tests/adaptation/test_chains_that_differ.py",
    ),
    Mutant(
        "warm-up: chains with laws of their own are compared",
        "adaptation/settling.py",
        "if not alike:",
        "if False:",
        "tests/adaptation/test_settling.py",
    ),
    Mutant(
        "learning: positive and negative phase swapped",
        "learn/negatives.py",
        "loss = jnp.mean(data) - jnp.mean(model)",
        "loss = jnp.mean(model) - jnp.mean(data)",
        LOSSES,
    ),
    Mutant(
        "learning: negatives are where chains began",
        "learn/negatives.py",
        "return lax.stop_gradient(run.position) if stop_gradient else run.position, metrics",
        "return lax.stop_gradient(init) if stop_gradient else init, metrics",
        f"tests/learn/test_contrastive_bias.py {LOSSES}",
    ),
    Mutant(
        "learning: the gradient flows through negatives",
        "learn/negatives.py",
        "return lax.stop_gradient(run.position) if stop_gradient else run.position, metrics",
        "return run.position, metrics",
        LOSSES,
    ),
    Mutant(
        "learning: the denoising target inverted",
        "learn/denoising.py",
        "jnp.mean(squares(jax.tree.map(jnp.add, scores, noise)))",
        "jnp.mean(squares(jax.tree.map(jnp.subtract, scores, noise)))",
        LOSSES,
    ),
    Mutant(
        "learning: one level for all items",
        "learn/denoising.py",
        "slope = gradient(at(sigma), noisy)",
        "slope = gradient(at(levels[0]), noisy)",
        LOSSES,
    ),
    Mutant(
        "learning: the divergence dropped",
        "learn/implicit.py",
        "return 0.5 * square + divergence, reported(square, divergence)",
        "return 0.5 * square, reported(square, divergence)",
        LOSSES,
    ),
    Mutant(
        "learning: the divergence along one coordinate twice",
        "learn/implicit.py",
        "jnp.eye(at.size, dtype=at.dtype)",
        "jnp.eye(at.size, dtype=at.dtype)[:1].repeat(at.size, 0)",
        LOSSES,
    ),
    Mutant(
        "learning: slices that are not of unit variance",
        "learn/sliced.py",
        "along = jax.vmap(lambda v: jnp.sum(v * push(v)))(directions)",
        "along = jax.vmap(lambda v: jnp.sum(v * push(v)))(directions / size**0.5)",
        LOSSES,
    ),
    Mutant(
        "learning: the log ratio of noise to data dropped",
        "learn/noise_contrastive.py",
        "return -energies - _log_density(noise, points) - math.log(ratio), energies",
        "return -energies - _log_density(noise, points), energies",
        LOSSES,
    ),
    Mutant(
        "learning: energy discrepancy around the data",
        "learn/discrepancy.py",
        "center = jax.tree.map(moved, batch, normals_like(for_center, batch))",
        "center = batch",
        LOSSES,
    ),
    Mutant(
        "learning: the buffer is not moved",
        "learn/persistent.py",
        "moved = dataclasses.replace(buffer, positions=kept[0],",
        "moved = dataclasses.replace(buffer, positions=buffer.positions,",
        LOSSES,
    ),
    Mutant(
        "learning: persistent chains lose their velocity",
        "learn/carried.py",
        "chosen = jax.tree.map(functools.partial(jnp.where, self.anew), fresh, before)",
        "chosen = fresh",
        PERSISTENT,
    ),
    Mutant(
        "learning: chains that start anew keep their velocity",
        "learn/carried.py",
        "chosen = jax.tree.map(functools.partial(jnp.where, self.anew), fresh, before)",
        "chosen = before",
        PERSISTENT,
    ),
    Mutant(
        "learning: chains start anew at the other rate",
        "learn/persistent.py",
        "anew = jax.random.uniform(for_fresh, (number,)) <",
        "anew = jax.random.uniform(for_fresh, (number,)) >",
        LOSSES,
    ),
    Mutant(
        "learning: an update that is not finite is kept",
        "learn/updates.py",
        "kept = jax.tree.map(lambda a, b: jnp.where(fine, a, b), new, state)",
        "kept = new",
        FIT,
    ),
    Mutant(
        "learning: every update of a block has the same randomness",
        "learn/updates.py",
        "jax.random.split(jax.random.fold_in(key, state.step))",
        "jax.random.split(jax.random.fold_in(key, state.step - state.step % number))",
        FIT,
    ),
    Mutant(
        "learning: what is not to be learned is",
        "learn/model.py",
        "if train is None or train(name))",
        "if train is None or train(name) or True)",
        FIT,
    ),
]


def survives(mutant: Mutant) -> str:
    """Why it was not noticed, or nothing."""
    with tempfile.TemporaryDirectory() as folder:
        for part in ("jlangevin", "tests", "benchmarks", "docs", "README.md", "pyproject.toml"):
            source, copy = ROOT / part, Path(folder) / part
            (shutil.copytree if source.is_dir() else shutil.copy)(source, copy)
        file = Path(folder) / "jlangevin" / mutant.file
        text = file.read_text()
        if text.count(mutant.before) != 1:
            return f"its line stands {text.count(mutant.before)} times in {mutant.file}"
        file.write_text(text.replace(mutant.before, mutant.after))
        done = subprocess.run(
            f"{sys.executable} -m pytest -x -q -n 2 -p no:cacheprovider {mutant.tests}",
            shell=True,
            cwd=folder,
            env={**os.environ, "PYTHONPATH": folder},
            capture_output=True,
            text=True,
        )
    last = (done.stdout.strip().splitlines() or [""])[-1]
    return "" if " failed" in last else f"pytest says {last!r}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("word", nargs="?", default="")
    parser.add_argument("--list", action="store_true")
    options = parser.parse_args()
    chosen = [mutant for mutant in MUTANTS if options.word in mutant.name]
    bad = 0
    for mutant in chosen:
        why = None if options.list else survives(mutant)
        bad += bool(why)
        status = "" if why is None else f"  SURVIVES: {why}" if why else "  noticed"
        print(f"{mutant.name}{status}", flush=True)
    return bool(bad)


if __name__ == "__main__":
    sys.exit(main())
