"""Neal's funnel."""

from __future__ import annotations

import math
from typing import ClassVar

import jax
import jax.numpy as jnp

from jlangevin._core import trees
from jlangevin._core.checks import (
    check_count,
    check_scalar,
)
from jlangevin._core.trees import Number, pytree_dataclass, static_field
from jlangevin.energies.analytic import Analytic, check_position, in_common_dtype
from jlangevin.noise import Want

__all__ = ["Funnel", "funnel"]


@pytree_dataclass
class Funnel(Analytic):
    """See `funnel`."""

    scale: Number
    dim: int = static_field()

    draw_noise: ClassVar[Want] = Want.NORMAL

    def __call__(self, x: jax.Array) -> jax.Array:
        check_position(self, x, self.dim)
        v, rest = x[0], x[1:]
        k = self.dim - 1
        return 0.5 * ((v / self.scale) ** 2 + jnp.exp(-v) * jnp.sum(rest**2) + k * v)

    @property
    def log_z(self) -> jax.Array:
        return jnp.log(self._scale_array) + 0.5 * self.dim * math.log(2 * math.pi)

    @property
    def mean(self) -> jax.Array:
        return jnp.zeros(self.dim, self._scale_array.dtype) * self._scale_array

    @property
    def cov(self) -> jax.Array:
        variance = self._scale_array**2
        rest = jnp.broadcast_to(jnp.exp(variance / 2), (self.dim - 1,))
        return jnp.diag(jnp.concatenate([variance[None], rest]))

    def template(self) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct((self.dim,), self._scale_array.dtype)

    @property
    def _scale_array(self) -> jax.Array:
        return jnp.asarray(self.scale, trees.common_dtype(self.scale))

    def from_noise(self, noise: jax.Array) -> jax.Array:
        """v from its Gaussian, then the other coordinates with variance e^v."""
        v = self.scale * noise[:1]
        return jnp.concatenate([v, jnp.exp(0.5 * v) * noise[1:]])


def funnel(dim: int = 2, scale: Number = 3.0) -> Funnel:
    """Neal's funnel (2003): v = x_1 ~ N(0, s²), and x_2, …, x_d ~ N(0, e^v) given v.

        E(x) = v²/(2s²) + e^{-v} Σ x_i² / 2 + (d - 1) v / 2

    Args:
        dim: d ≥ 2.
        scale: s > 0, the standard deviation of v.

    Raises:
        ValueError: d < 2, or s is not finite and positive.

    Example:
        >>> import jax.numpy as jnp, jlangevin as jl
        >>> float(jl.energies.funnel(dim=3)(jnp.zeros(3)))
        0.0
    """
    (scale,) = in_common_dtype(check_scalar("scale", scale, positive=True))
    return Funnel(scale, check_count("dim", dim, minimum=2))
