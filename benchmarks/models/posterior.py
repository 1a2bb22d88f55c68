"""What a model is, what is known of it, and the pieces that its energy is made of."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

Array = np.ndarray[Any, Any]
Starts = Callable[[np.random.Generator, int], Array]

FOLDER = Path(__file__).parent / "data"
NUM_DRAWS = 10_000  # in each of posteriordb's references


@dataclasses.dataclass(frozen=True)
class Reference:
    """Means of the quantities and of their squares, with Monte Carlo errors, shape (k,)."""

    mean: Array
    mean_error: Array
    square: Array
    square_error: Array

    @property
    def sd(self) -> Array:
        return np.sqrt(self.square - self.mean**2)


@dataclasses.dataclass(frozen=True)
class Posterior:
    """Draws from p ∝ exp(-energy) at temperature 1.

    `prior(rng, n)` draws starts of shape (n, dim): from the prior or, where a part of it is flat
    and cannot be drawn from, uniform on (-2, 2), as Stan does. `quantities` maps a position to what
    is reported of it, shape (k,), in the order of `names`.
    """

    name: str
    dim: int
    names: tuple[str, ...]
    energy: Callable[[jax.Array], jax.Array]
    prior: Starts
    quantities: Callable[[jax.Array], jax.Array]
    reference: Reference | None


def read(name: str) -> tuple[dict[str, Any], tuple[str, ...], Reference]:
    """The data, the quantities' names and the reference of a file in either of its two forms."""
    loaded = json.loads((FOLDER / f"{name}.json").read_text())
    found = loaded["reference"]
    if "mean_value" in found:
        parts = ("mean_value", "mcse_mean_value", "mean_squared_value", "mcse_mean_squared_value")
        reference = Reference(*(np.asarray(found[part]) for part in parts))
        return loaded["data"], tuple(found["names"]), reference

    names = tuple(loaded["names"])
    mean, sd, square, error = (
        np.asarray([found[name][part] for name in names])
        for part in ("mean", "sd", "mean_square", "error_of_mean")
    )
    # The error comes from ten chains' means, so it is itself uncertain by a quarter. Where it is
    # below the error of independent draws, theirs is used.
    error = np.maximum(error, sd / NUM_DRAWS**0.5)
    # These files lack the error of the mean square. It is taken from as many independent draws of a
    # normal quantity as give this error of the mean.
    square_error = error * np.sqrt(4 * mean**2 + 2 * sd**2)
    return loaded["data"], names, Reference(mean, error, square, square_error)


def floats(data: dict[str, Any], *names: str) -> tuple[jax.Array, ...]:
    """Arrays of the default floating dtype, whatever the file has."""
    return tuple(jnp.asarray(np.asarray(data[name], float)) for name in names)


def uniform(dim: int) -> Starts:
    """Stan's starts, uniform on (-2, 2) in each coordinate."""
    return lambda rng, n: rng.uniform(-2, 2, (n, dim))


# Energies of log s for a positive s, with the log-Jacobian ----------------------------------------


def flat(log_value: jax.Array) -> jax.Array:
    return -log_value


def half_normal(scale: Any, log_value: jax.Array) -> jax.Array:
    return 0.5 * (jnp.exp(log_value) / scale) ** 2 - log_value


def half_cauchy(scale: Any, log_value: jax.Array) -> jax.Array:
    return jnp.log1p((jnp.exp(log_value) / scale) ** 2) - log_value


def half_normal_logs(rng: np.random.Generator, scale: float, n: int) -> Array:
    return np.log(scale * np.abs(rng.normal(size=n)))


def half_cauchy_logs(rng: np.random.Generator, scale: float, n: int) -> Array:
    return np.log(scale * np.abs(rng.standard_cauchy(n)))


# A probability as its logit: Stan's stick-breaking of two pieces ----------------------------------


def log_pair(logit: jax.Array) -> jax.Array:
    """log p and log(1 - p), each without the other's rounding; their sum is the log-Jacobian."""
    return jax.nn.log_sigmoid(jnp.stack([logit, -logit]))


def pair(logit: jax.Array) -> jax.Array:
    """p and 1 - p."""
    return jax.nn.sigmoid(jnp.stack([logit, -logit]))
