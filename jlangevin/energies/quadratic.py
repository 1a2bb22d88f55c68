"""The quadratic energy, whose law is Gaussian."""

from __future__ import annotations

import math
from typing import ClassVar

import jax
import jax.numpy as jnp
from jax.custom_derivatives import SymbolicZero

from jlangevin._core import trees
from jlangevin._core.arithmetic import product
from jlangevin._core.checks import (
    as_array,
    check_finite,
    check_no_half,
    check_spd,
)
from jlangevin._core.trees import Numbers, pytree_dataclass
from jlangevin.energies.analytic import Analytic, check_position
from jlangevin.noise import Want

__all__ = ["Quadratic", "quadratic"]


@jax.custom_jvp
def _half_form(matrix: jax.Array, y: jax.Array) -> jax.Array:
    """½ yᵀ A y for a symmetric A; its gradient costs one product, where autodiff's costs two."""
    return 0.5 * product(y, product(matrix, y))


def _half_form_jvp(
    primals: tuple[jax.Array, ...], tangents: tuple[jax.Array | SymbolicZero, ...]
) -> tuple[jax.Array, jax.Array]:
    (matrix, y), (d_matrix, d_y) = primals, tangents
    slope = product(matrix, y)
    tangent = jnp.zeros_like(slope, shape=())
    if not isinstance(d_y, jax.custom_derivatives.SymbolicZero):
        tangent = tangent + product(slope, d_y)
    if not isinstance(d_matrix, jax.custom_derivatives.SymbolicZero):
        tangent = tangent + 0.5 * product(y, product(d_matrix, y))
    return 0.5 * product(y, slope), tangent


_half_form.defjvp(_half_form_jvp, symbolic_zeros=True)


@pytree_dataclass
class Quadratic(Analytic):
    """See `quadratic`."""

    precision: jax.Array
    center: jax.Array

    draw_noise: ClassVar[Want] = Want.NORMAL

    def __call__(self, x: jax.Array) -> jax.Array:
        check_position(self, x, self.center.shape[0])
        return _half_form(self.precision, x - self.center)

    def _lower(self) -> jax.Array:
        """L with L Lᵀ = A."""
        check_no_half("precision", self.precision.dtype)
        return jnp.linalg.cholesky(self.precision)

    @property
    def log_z(self) -> jax.Array:
        d = self.center.shape[0]
        lower = self._lower()
        return 0.5 * d * math.log(2 * math.pi) - jnp.sum(jnp.log(jnp.diagonal(lower)))

    @property
    def mean(self) -> jax.Array:
        return self.center

    @property
    def cov(self) -> jax.Array:
        lower = self._lower()
        inverse = jax.scipy.linalg.solve_triangular(
            lower, jnp.eye(lower.shape[0], dtype=lower.dtype), lower=True
        )
        return product(inverse.T, inverse)

    def template(self) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct(self.center.shape, self.center.dtype)

    def from_noise(self, noise: jax.Array) -> jax.Array:
        """μ + L⁻ᵀ ξ with L Lᵀ = A."""
        lower = self._lower()
        return self.center + jax.scipy.linalg.solve_triangular(lower, noise, lower=True, trans=1)


def quadratic(precision: Numbers, mean: Numbers | None = None) -> Quadratic:
    """E(x) = ½ (x - μ)ᵀ A (x - μ): the Gaussian N(μ, A⁻¹).

    Args:
        precision: A, shape (d, d), symmetric positive definite.
        mean: μ, shape (d,); zero if None.

    Raises:
        ValueError: shapes are wrong, or A is not symmetric positive definite.

    Example:
        >>> import jax.numpy as jnp, jlangevin as jl
        >>> float(jl.energies.quadratic(2 * jnp.eye(2))(jnp.ones(2)))
        2.0
    """
    dtype = trees.common_dtype(precision, mean)
    precision = check_spd("precision", as_array("precision", precision, ndim=2))
    d = precision.shape[0]
    center = jnp.zeros(d, dtype) if mean is None else as_array("mean", mean)
    if center.shape != (d,):
        raise ValueError(f"mean: expected shape ({d},) to match precision, got {center.shape}")
    center = check_finite("mean", center)
    return Quadratic(precision.astype(dtype), center.astype(dtype))
