"""All runs that an audit makes of a sampler."""

from __future__ import annotations

import math
import warnings
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jlangevin._core.trees import PyTree
from jlangevin.distribution import Gaussian
from jlangevin.energies import GaussianMixture, GradientCheck, check
from jlangevin.energies.base import Energy
from jlangevin.errors import PrecisionWarning
from jlangevin.verify.audit.problems import (
    FAR,
    FEW_STEPS,
    MANY_STEPS,
    NUM_REPEATS,
    UNITS,
    in_units,
    problems_at,
)
from jlangevin.verify.audit.sampler import Draw, Trial, run_once

__all__ = ["Settings", "Trials", "run_trials"]


class Settings(NamedTuple):
    """The arguments of an audit."""

    claim: str | None
    step_size: float
    temperature: float
    num_chains: int
    level: float  # each test's share of the false-alarm rate


class Trials(NamedTuple):
    """Every run of an audit; None if the sampler does not support the energy."""

    settings: Settings
    target: Gaussian  # of the quadratic energy

    # From a point.
    linear_once: Trial | None
    linear_many: Trial | None

    # From a Gaussian.
    quadratic_once: Trial | None
    quadratic_few: Trial | None
    quadratic_many: Trial | None
    quadratic_far: Trial | None  # from far away

    # From exact starts.
    target_once: Trial | None
    target_few: Trial | None
    mixture_once: Trial | None
    mixture_few: Trial | None

    # At temperature 1, from the same Gaussian: E(√T ·)/T and E/T.
    shrunk: Trial | None
    divided: Trial | None

    # From a point: the same key twice, another key, and the same key with fewer chains, and with
    # half the step.
    same_key: Trial | None
    same_key_again: Trial | None
    other_key: Trial | None
    half_of_the_chains: Trial | None
    two_chains: Trial | None
    one_chain: Trial | None
    half_the_step: Trial | None

    # From a point, many runs of so few chains; None if the draws above are the same anyway.
    in_twos: Trial | None
    in_ones: Trial | None

    # From a Gaussian, with x divided, and multiplied, by c; the step size by c², or by c if that
    # comes nearer to the same chain.
    unit: str
    in_small_units: Trial | None
    in_large_units: Trial | None

    gradient: GradientCheck | None  # of the energy that was given, if any

    @property
    def completed(self) -> dict[str, Trial]:
        """The runs from usual starts in usual units, on energies that the sampler supports."""
        usual = self._replace(
            quadratic_far=None, in_small_units=None, in_large_units=None
        )._asdict()
        named = ((name.replace("_", " "), each) for name, each in usual.items())
        return {name: each for name, each in named if isinstance(each, Trial)}

    @property
    def draws_depend_on_batch(self) -> bool:
        """Whether the same key gives a chain other draws if there are fewer chains."""
        whole = self.same_key
        parts = (self.half_of_the_chains, self.two_chains, self.one_chain)
        return whole is not None and any(
            part is not None and not _same_draws(part, whole) for part in parts
        )


def run_trials(
    draw: Draw, key: jax.Array, settings: Settings, energy: Energy | None, positions: PyTree
) -> Trials:
    """Run a sampler on all problems, and check the gradient of `energy`, if it is given."""
    n, temperature = settings.num_chains, settings.temperature
    problems = problems_at(temperature)
    *keys_of_runs, key_of_check = jax.random.split(key, 40)
    keys = iter(keys_of_runs)
    checked = None if energy is None else check(key_of_check, energy, positions)
    repeated_key = next(keys)
    point, spread, target = problems.point, problems.spread, problems.target
    at_point = jnp.tile(point.mean, (n, 1))
    factor = jnp.asarray(temperature, problems.mixture.means.dtype)
    heated_mixture = jax.tree_util.Partial(_scaled, problems.mixture, factor)
    root = jnp.asarray(math.sqrt(temperature), point.mean.dtype)

    def starts(law: Gaussian | GaussianMixture) -> jax.Array:
        drawn: jax.Array = law.sample(next(keys), n)
        return drawn

    def trial(
        energy: Energy,
        init: jax.Array,
        num_steps: int,
        start_law: Gaussian | None = None,
        at_temperature: float = temperature,
        old_key: jax.Array | None = None,
        step_size: float = settings.step_size,
    ) -> Trial | None:
        key = next(keys) if old_key is None else jax.random.clone(old_key)
        return run_once(draw, key, energy, step_size, at_temperature, init, num_steps, start_law)

    def from_law(energy: Energy, law: Gaussian, num_steps: int) -> Trial | None:
        return trial(energy, starts(law), num_steps, law)

    def repeat(
        old_key: jax.Array, num_chains: int = n, step_size: float = settings.step_size
    ) -> Trial | None:
        init = at_point[:num_chains]
        return trial(problems.quadratic, init, FEW_STEPS, old_key=old_key, step_size=step_size)

    def many_runs(num_chains: int) -> Trial | None:
        """The chains of many runs, as if they were of one."""
        few = [
            trial(problems.quadratic, at_point[:num_chains], FEW_STEPS, old_key=each)
            for each in jax.random.split(next(keys), NUM_REPEATS)
        ]
        known = [each for each in few if each is not None]
        if not known:
            return None
        start, position = (
            np.concatenate([getattr(each, part) for each in known])
            for part in ("start", "position")
        )
        return known[0]._replace(start=start, position=position, velocity=None)

    def elsewhere(scale: float, unit: float) -> Trial | None:
        """The quadratic energy with x multiplied by `scale`, and the step size by `unit`."""
        energy, law = in_units(scale)
        return trial(energy, starts(law), FEW_STEPS, law, step_size=settings.step_size * unit)

    # Each run takes the next keys, so the order of these lines decides the draws.
    made = Trials(
        settings=settings,
        target=target,
        linear_once=trial(problems.linear, at_point, 1, point),
        linear_many=trial(problems.linear, at_point, MANY_STEPS, point),
        quadratic_once=from_law(problems.quadratic, spread, 1),
        quadratic_few=from_law(problems.quadratic, spread, FEW_STEPS),
        quadratic_many=from_law(problems.quadratic, spread, MANY_STEPS),
        quadratic_far=None,
        target_once=from_law(problems.quadratic, target, 1),
        target_few=from_law(problems.quadratic, target, FEW_STEPS),
        mixture_once=trial(heated_mixture, starts(problems.mixture), 1),
        mixture_few=trial(heated_mixture, starts(problems.mixture), FEW_STEPS),
        shrunk=trial(problems.shrunk, starts(spread) / root, FEW_STEPS, at_temperature=1.0),
        divided=trial(problems.divided, starts(spread), FEW_STEPS, at_temperature=1.0),
        same_key=repeat(repeated_key),
        same_key_again=repeat(repeated_key),
        other_key=repeat(next(keys)),
        half_of_the_chains=repeat(repeated_key, n // 2),
        two_chains=repeat(repeated_key, 2),
        one_chain=repeat(repeated_key, 1),
        half_the_step=repeat(repeated_key, step_size=settings.step_size / 2),
        in_twos=None,
        in_ones=None,
        unit="",
        in_small_units=None,
        in_large_units=None,
        gradient=checked,
    )
    if made.draws_depend_on_batch:
        made = made._replace(in_twos=many_runs(2), in_ones=many_runs(1))
    if made.quadratic_few is None:
        return made
    tried = {unit: elsewhere(1 / UNITS, UNITS**-power) for unit, power in (("c²η", 2), ("ch", 1))}
    spread_here = _spread(made.quadratic_few)
    unit = min(tried, key=lambda unit: abs(math.log(_spread(tried[unit]) * UNITS / spread_here)))
    made = made._replace(
        unit=unit,
        in_small_units=tried[unit],
        in_large_units=elsewhere(UNITS, UNITS ** (2 if unit == "c²η" else 1)),
    )
    center = target.mean[None, :]
    away = center + FAR * (starts(target) - center)
    with warnings.catch_warnings():  # so far away energies are rounded, and no law is asked for
        warnings.simplefilter("ignore", PrecisionWarning)
        return made._replace(quadratic_far=trial(problems.quadratic, away, FEW_STEPS))


def _spread(trial: Trial | None) -> float:
    """The root mean square distance from the mean, above 0 and finite."""
    if trial is None or not trial.finite.any():
        return 1e300
    x = trial.position[trial.finite]
    found = float(np.sqrt(np.mean(np.sum((x - x.mean(axis=0)) ** 2, axis=1))))
    return min(max(found, 1e-300), 1e300)


def _same_draws(part: Trial, whole: Trial) -> bool:
    n = len(part.position)
    rounding = 1e-4 * float(np.nanmax(np.abs(part.position), initial=0))
    return np.allclose(whole.position[:n], part.position, 0, rounding, equal_nan=True)


def _scaled(energy: Energy, factor: jax.Array, x: jax.Array) -> jax.Array:
    return factor * energy(x)
