"""All runs that an audit makes of a sampler."""

from __future__ import annotations

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jlangevin.distribution import Gaussian
from jlangevin.energies import GaussianMixture
from jlangevin.energies.base import Energy
from jlangevin.verify.audit.problems import FEW_STEPS, MANY_STEPS, problems_at
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

    # From exact starts.
    target_once: Trial | None
    target_few: Trial | None
    mixture_once: Trial | None
    mixture_few: Trial | None

    # At temperature 1, from the same Gaussian: E(√T ·)/T and E/T.
    shrunk: Trial | None
    divided: Trial | None

    # From a point: the same key twice, another key, and the same key with half the chains.
    same_key: Trial | None
    same_key_again: Trial | None
    other_key: Trial | None
    half_of_the_chains: Trial | None

    @property
    def completed(self) -> list[Trial]:
        """The runs on energies that the sampler supports."""
        return [each for each in self if isinstance(each, Trial)]


def run_trials(draw: Draw, key: jax.Array, settings: Settings) -> Trials:
    """Run a sampler on all problems."""
    n, temperature = settings.num_chains, settings.temperature
    problems = problems_at(temperature)
    keys = iter(jax.random.split(key, 32))
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
    ) -> Trial | None:
        key = next(keys) if old_key is None else jax.random.clone(old_key)
        return run_once(
            draw, key, energy, settings.step_size, at_temperature, init, num_steps, start_law
        )

    def from_law(energy: Energy, law: Gaussian, num_steps: int) -> Trial | None:
        return trial(energy, starts(law), num_steps, law)

    def repeat(old_key: jax.Array, num_chains: int = n) -> Trial | None:
        return trial(problems.quadratic, at_point[:num_chains], FEW_STEPS, old_key=old_key)

    # Each run takes the next keys, so the order of these lines decides the draws.
    return Trials(
        settings=settings,
        target=target,
        linear_once=trial(problems.linear, at_point, 1, point),
        linear_many=trial(problems.linear, at_point, MANY_STEPS, point),
        quadratic_once=from_law(problems.quadratic, spread, 1),
        quadratic_few=from_law(problems.quadratic, spread, FEW_STEPS),
        quadratic_many=from_law(problems.quadratic, spread, MANY_STEPS),
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
    )


def _scaled(energy: Energy, factor: jax.Array, x: jax.Array) -> jax.Array:
    return factor * energy(x)
