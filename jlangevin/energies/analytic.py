"""The interface of energies whose law is known, and checks they have in common."""

from __future__ import annotations

from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jlangevin import distribution
from jlangevin._core import trees
from jlangevin._core.trees import PyTree
from jlangevin.errors import NoClosedFormError

__all__ = ["Analytic", "check_position", "in_common_dtype"]


class Analytic:
    """What an energy may know about its law; each member raises an error unless overridden."""

    draw_noise: ClassVar[PyTree] = None

    @property
    def log_z(self) -> jax.Array:
        """log Z = log ∫ exp(-E(x)) dx."""
        raise self._refusal("log_z")

    @property
    def mean(self) -> jax.Array:
        """The mean of p, like the position."""
        raise self._refusal("mean")

    @property
    def cov(self) -> jax.Array:
        """The covariance of p, (d, d)."""
        raise self._refusal("cov")

    def template(self) -> jax.ShapeDtypeStruct:
        """The shape and dtype of a position drawn by the exact sampler."""
        raise self._refusal("an exact sampler")

    def from_noise(self, noise: PyTree) -> jax.Array:
        """One exact draw from the noise that `draw_noise` asks for."""
        raise self._refusal("an exact sampler")

    def sample(self, key: jax.Array, num_draws: int) -> jax.Array:
        """Exact, independent draws, (num_draws, d); draw i depends only on (key, i)."""
        drawn: jax.Array = distribution.sample(self, key, num_draws)
        return drawn

    def _refusal(self, what: str) -> ValueError:
        return NoClosedFormError(
            f"{type(self).__name__}: {what} has no closed form; sample the energy with a kernel "
            "instead"
        )


def check_position(energy: Analytic, x: jax.Array, dim: int) -> None:
    name = type(energy).__name__
    if not trees.is_array(x) or jnp.iscomplexobj(x):
        what = f"dtype {x.dtype}" if trees.is_array(x) else f"{type(x).__name__}"
        raise TypeError(f"{name}: expected a position that is a real array, got {what}")
    if jnp.shape(x) != (dim,):
        raise ValueError(
            f"{name}: expected a position of shape ({dim},), got {jnp.shape(x)}; "
            "use jax.vmap over many positions"
        )


def in_common_dtype(*parameters: ArrayLike) -> tuple[Any, ...]:
    """Arrays in their common dtype; Python numbers are unchanged, to adopt the position's dtype."""
    dtype = trees.common_dtype(parameters)

    def one(value: ArrayLike) -> ArrayLike:
        follows = not hasattr(value, "dtype") or getattr(value, "weak_type", False)
        return value if follows else jnp.asarray(trees.own("parameters", value), dtype)

    return tuple(map(one, parameters))
