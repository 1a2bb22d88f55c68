"""Constant preconditioners: a symmetric positive definite P, by a factor L with L Lᵀ = P."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from jlangevin import trees
from jlangevin._checks import as_array, check_positive, check_spd
from jlangevin.trees import PyTree, pytree_dataclass

__all__ = ["Dense", "Diagonal", "as_preconditioner"]


@pytree_dataclass
class Diagonal:
    """P = diag(scale²). `scale` is a pytree like the position."""

    scale: Any

    def apply(self, vector: PyTree) -> PyTree:
        """P vector."""
        return self.factor(self.factor(vector))

    def factor(self, vector: PyTree) -> PyTree:
        """L vector."""
        trees.assert_like("preconditioner", self.scale, vector)
        return jax.tree.map(lambda s, v: s.astype(v.dtype) * v, self.scale, vector)


@pytree_dataclass
class Dense:
    """P = L Lᵀ over the elements of the position in `ravel_pytree` order; `lower` is L."""

    lower: jax.Array

    def apply(self, vector: PyTree) -> PyTree:
        """P vector."""
        return self._times(lambda lower, flat: lower @ (lower.T @ flat), vector)

    def factor(self, vector: PyTree) -> PyTree:
        """L vector."""
        return self._times(lambda lower, flat: lower @ flat, vector)

    def _times(self, product: Any, vector: PyTree) -> PyTree:
        flat, unravel = ravel_pytree(vector)
        if self.lower.shape != (flat.size, flat.size):
            raise ValueError(
                f"preconditioner: a dense one of shape {self.lower.shape} does not fit a "
                f"position of {flat.size} elements"
            )
        return unravel(product(self.lower.astype(flat.dtype), flat))


def as_preconditioner(value: Any) -> Diagonal | Dense | None:
    """None; a square matrix over the raveled position; or the diagonal, a pytree like it.

    A two-dimensional array is a matrix. For the diagonal of a position that is itself
    two-dimensional, build `Diagonal(sqrt of the diagonal)`.
    """
    if value is None or isinstance(value, Diagonal | Dense):
        return value
    value = trees.as_position("preconditioner", value)
    if not isinstance(value, jax.Array) or value.ndim != 2:
        check_positive("preconditioner", value)
        return Diagonal(jax.tree.map(lambda p: jnp.sqrt(as_array("preconditioner", p)), value))
    matrix = as_array("preconditioner", value)
    check_spd("preconditioner", matrix)
    return Dense(jnp.linalg.cholesky(matrix))
