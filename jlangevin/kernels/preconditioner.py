"""Constant preconditioners and masses: a symmetric positive definite P by an L with L Lᵀ = P."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jax.tree_util import KeyPath
from jax.typing import ArrayLike

from jlangevin._core import trees
from jlangevin._core.arithmetic import product
from jlangevin._core.checks import (
    as_array,
    check_finite,
    check_positive,
    check_scalar,
    check_spd,
    or_nan,
)
from jlangevin._core.deprecation import deprecated
from jlangevin._core.each import Each, each
from jlangevin._core.trees import Numbers, PyTree, pytree_dataclass, static_field

__all__ = [
    "Dense",
    "Diagonal",
    "LowRank",
    "Preconditioner",
    "Scalar",
    "Square",
    "as_mass",
    "as_preconditioner",
]


class _Root:
    """A root L, which is multiplied by."""

    def factor(self, vector: PyTree) -> PyTree:
        """L vector."""
        raise NotImplementedError

    def unmultiplied(self, vector: PyTree) -> tuple[PyTree, PyTree]:
        """L vector as scales, scalar or like the leaves, and what they are to multiply.

        For callers that must not form a sum of two products, of which this would be one. Where L is
        no diagonal the scales are ones.
        """
        return jax.tree.map(lambda v: jnp.ones((), v.dtype), vector), self.factor(vector)

    @deprecated("unmultiplied", since="0.1")
    def apart(self, vector: PyTree) -> tuple[PyTree, PyTree]:
        return self.unmultiplied(vector)


@pytree_dataclass
class Scalar(_Root):
    """P = scale² I."""

    scale: PyTree  # an array, or `Each` of arrays

    def apply(self, vector: PyTree) -> PyTree:
        """P vector."""
        return self.factor(self.factor(vector))

    def factor(self, vector: PyTree) -> PyTree:
        """L vector."""
        return jax.tree.map(lambda v: self.scale.astype(v.dtype) * v, vector)

    transposed = factor

    def solve(self, vector: PyTree) -> PyTree:
        """L⁻¹ vector."""
        return jax.tree.map(lambda v: v / self.scale.astype(v.dtype), vector)

    def inverse(self) -> Scalar:
        """P⁻¹."""
        return Scalar(jax.tree.map(lambda scale: 1 / scale, self.scale))

    def unmultiplied(self, vector: PyTree) -> tuple[PyTree, PyTree]:
        return jax.tree.map(lambda v: self.scale.astype(v.dtype), vector), vector


@pytree_dataclass
class Diagonal(_Root):
    """P = diag(scale²). `scale` is a pytree like the position.

    Example:
        >>> import jax.numpy as jnp, jlangevin as jl
        >>> kernel = jl.ula(0.1, preconditioner=jl.kernels.Diagonal(jnp.ones((3, 5))))
    """

    scale: PyTree
    name: str = static_field(default="preconditioner")  # of the argument, for errors

    def apply(self, vector: PyTree) -> PyTree:
        """P vector."""
        return self.factor(self.factor(vector))

    def factor(self, vector: PyTree) -> PyTree:
        """L vector."""
        scales, vector = self.unmultiplied(vector)
        return jax.tree.map(lambda s, v: s * v, scales, vector)

    transposed = factor

    def solve(self, vector: PyTree) -> PyTree:
        """L⁻¹ vector."""
        scales, vector = self.unmultiplied(vector)
        return jax.tree.map(lambda s, v: v / s, scales, vector)

    def inverse(self) -> Diagonal:
        """P⁻¹."""
        return Diagonal(jax.tree.map(lambda s: 1 / s, self.scale), self.name)

    def unmultiplied(self, vector: PyTree) -> tuple[PyTree, PyTree]:
        trees.assert_like(self.name, self.scale, vector, "like the position")
        return jax.tree.map(lambda s, v: s.astype(v.dtype), self.scale, vector), vector


@pytree_dataclass
class Dense(_Root):
    """P = L Lᵀ over the elements of the position in `ravel_pytree` order; `lower` is L, (d, d).

    Example:
        >>> import jax.numpy as jnp, jlangevin as jl
        >>> kernel = jl.ula(0.1, preconditioner=jl.kernels.Dense(jnp.eye(3)))
    """

    lower: jax.Array  # or any other root
    name: str = static_field(default="preconditioner")

    def apply(self, vector: PyTree) -> PyTree:
        """P vector."""
        return self._times(lambda lower, flat: product(lower, product(lower.T, flat)), vector)

    def factor(self, vector: PyTree) -> PyTree:
        """L vector."""
        return self._times(product, vector)

    def transposed(self, vector: PyTree) -> PyTree:
        """Lᵀ vector."""
        return self._times(lambda lower, flat: product(lower.T, flat), vector)

    def solve(self, vector: PyTree) -> PyTree:
        """L⁻¹ vector."""
        return self._times(jnp.linalg.solve, vector)

    def inverse(self) -> Dense:
        """P⁻¹."""
        return Dense(jnp.linalg.inv(self.lower).T, self.name)

    def _times(
        self, function: Callable[[jax.Array, jax.Array], jax.Array], vector: PyTree
    ) -> PyTree:
        flat, unravel = ravel_pytree(vector)
        if self.lower.shape != (flat.size, flat.size):
            raise ValueError(
                f"{self.name}: a dense one of shape {self.lower.shape} does not fit a "
                f"position of {flat.size} elements; for the diagonal p of a position of this shape "
                "give jlangevin.kernels.Diagonal(sqrt(p))"
            )
        return unravel(function(self.lower.astype(flat.dtype), flat))


@pytree_dataclass
class LowRank(_Root):
    """P = D (I + U (Λ - I) Uᵀ) D over the elements of the position in `ravel_pytree` order.

    D = diag(scale), U has r orthonormal columns, and Λ = diag(roots²): a diagonal that is corrected
    along r directions, at a cost of O(d r) a product where a matrix has O(d²).

    Example:
        >>> import jax.numpy as jnp, jlangevin as jl
        >>> along = jnp.ones((100, 1)) / 10
        >>> P = jl.kernels.LowRank(jnp.ones(100), along, jnp.array([5.0]))
        >>> kernel = jl.mala(0.1, preconditioner=P)
    """

    scale: jax.Array  # (d,)
    vectors: jax.Array  # (d, r)
    roots: jax.Array  # (r,)
    name: str = static_field(default="preconditioner")

    def apply(self, vector: PyTree) -> PyTree:
        """P vector."""
        return self.factor(self.transposed(vector))

    def factor(self, vector: PyTree) -> PyTree:
        """L vector, L = D (I + U (sqrt(Λ) - I) Uᵀ)."""
        return self._on(vector, lambda v, s, turn: s * turn(v))

    def transposed(self, vector: PyTree) -> PyTree:
        """Lᵀ vector."""
        return self._on(vector, lambda v, s, turn: turn(s * v))

    def solve(self, vector: PyTree) -> PyTree:
        """L⁻¹ vector."""
        return self.inverse().transposed(vector)

    def inverse(self) -> LowRank:
        """P⁻¹, by the root L⁻ᵀ."""
        return LowRank(1 / self.scale, self.vectors, 1 / self.roots, self.name)

    def _on(self, vector: PyTree, function: _Rule) -> PyTree:
        flat, unravel = ravel_pytree(vector)
        if self.scale.shape != flat.shape:
            raise ValueError(
                f"{self.name}: one of low rank for {self.scale.size} elements does not fit a "
                f"position of {flat.size} elements"
            )
        scale, vectors, roots = (
            x.astype(flat.dtype) for x in (self.scale, self.vectors, self.roots)
        )

        def turn(v: jax.Array) -> jax.Array:
            return v + product(vectors, (roots - 1) * product(vectors.T, v))

        return unravel(function(flat, scale, turn))


@pytree_dataclass
class Square(_Root):
    """P by a square array: its diagonal where the position has the array's shape, else the matrix.

    No array can be both, as a matrix for a position of shape (n, n) has n² rows.
    """

    matrix: Dense | None  # None if it is not positive definite
    diagonal: Diagonal

    def of(self, vector: PyTree) -> Dense | Diagonal:
        """What it is for positions like `vector`."""
        (shape,) = (leaf.shape for leaf in jax.tree.leaves(self.diagonal))
        name = self.diagonal.name
        if trees.is_array(vector) and jnp.shape(vector) == shape:
            return self.diagonal
        if self.matrix is None:
            raise ValueError(
                f"{name}: as a matrix, an array of shape {shape} has to be symmetric and positive "
                "definite, and this one is not; as a diagonal it has to have the shape of the "
                f"position, which is {trees.shown(vector)}"
            )
        return self.matrix

    def apply(self, vector: PyTree) -> PyTree:
        """P vector."""
        return self.of(vector).apply(vector)

    def factor(self, vector: PyTree) -> PyTree:
        """L vector."""
        return self.of(vector).factor(vector)

    def transposed(self, vector: PyTree) -> PyTree:
        """Lᵀ vector."""
        return self.of(vector).transposed(vector)

    def solve(self, vector: PyTree) -> PyTree:
        """L⁻¹ vector."""
        return self.of(vector).solve(vector)

    def inverse(self) -> Square:
        """P⁻¹."""
        return Square(self.matrix and self.matrix.inverse(), self.diagonal.inverse())

    def unmultiplied(self, vector: PyTree) -> tuple[PyTree, PyTree]:
        return self.of(vector).unmultiplied(vector)


_Turn = Callable[[jax.Array], jax.Array]
_Rule = Callable[[jax.Array, jax.Array, _Turn], jax.Array]  # of a vector, the scale and a turn

Preconditioner = Diagonal | Dense | LowRank | Square


def as_preconditioner(value: PyTree, name: str = "preconditioner") -> Preconditioner | None:
    """None; one of the above; the diagonal, a pytree like the position; or a matrix.

    A matrix is over the elements of the position in `ravel_pytree` order. A square array is one
    unless the position has its shape; where it is traced it always is.
    """
    if value is None:
        return None
    if isinstance(value, Diagonal):
        return Diagonal(_scales(f"{name}.scale", value.scale), name)
    if isinstance(value, Dense):
        return Dense(_root(f"{name}.lower", value.lower), name)
    if isinstance(value, LowRank):
        return _low_rank(name, value)
    value = _arrays(name, value)
    if isinstance(value, jax.Array) and value.ndim == 2 and value.shape[0] == value.shape[1]:
        return _square(name, value)
    return Diagonal(jax.tree.map(jnp.sqrt, check_positive(name, value)), name)


def _square(name: str, array: jax.Array) -> Dense | Square:
    """A matrix if it is traced, or an element is not positive; else the position decides."""
    if not trees.is_concrete(array) or not (np.asarray(array) > 0).all():
        return Dense(jnp.linalg.cholesky(check_spd(name, array)), name)
    diagonal = Diagonal(jnp.sqrt(check_positive(name, array)), name)
    try:
        matrix = Dense(jnp.linalg.cholesky(check_spd(name, array)), name)
    except ValueError:
        return Square(None, diagonal)
    return Square(matrix, diagonal)


def _arrays(name: str, value: PyTree) -> PyTree:
    """`value` with floating arrays for leaves."""

    def one(path: KeyPath[Any], leaf: ArrayLike) -> jax.Array:
        return as_array(name + jax.tree_util.keystr(path), leaf)

    return jax.tree_util.tree_map_with_path(one, trees.as_position(name, value))


def _scales(name: str, value: PyTree) -> PyTree:
    """Scales of a `Diagonal`, none of which may be 0: their squares are P."""

    def one(path: KeyPath[Any], leaf: jax.Array) -> jax.Array:
        where = name + jax.tree_util.keystr(path)
        return or_nan(
            check_finite(where, leaf),
            lambda xp, s: xp.all(s != 0),
            lambda: ValueError(f"{where}: expected scales other than 0, got {leaf}"),
        )

    return jax.tree_util.tree_map_with_path(one, _arrays(name, value))


def _root(name: str, value: Numbers) -> jax.Array:
    """The root L of a `Dense`, which has to be regular for L Lᵀ to be positive definite."""
    lower = check_finite(name, as_array(name, value, ndim=2))
    if lower.shape[0] != lower.shape[1]:
        raise ValueError(f"{name}: expected a square matrix, got shape {lower.shape}")

    def regular(xp: Any, lower: Any) -> Any:
        wide = np.asarray(lower, np.float64) if xp is np else trees.at_least_float32(lower)
        return xp.linalg.matrix_rank(wide) == len(wide)

    return or_nan(lower, regular, lambda: ValueError(f"{name}: expected a regular matrix"))


def _low_rank(name: str, value: LowRank) -> LowRank:
    """Checked: scales and roots other than 0, columns orthonormal to a thousandth."""
    scale = _scales(f"{name}.scale", as_array(f"{name}.scale", value.scale, ndim=1))
    roots = _scales(f"{name}.roots", as_array(f"{name}.roots", value.roots, ndim=1))
    vectors = check_finite(f"{name}.vectors", as_array(f"{name}.vectors", value.vectors, ndim=2))
    wanted = (scale.shape[0], roots.shape[0])
    if vectors.shape != wanted:
        raise ValueError(f"{name}.vectors: expected shape {wanted}, got {vectors.shape}")

    def orthonormal(xp: Any, vectors: Any) -> Any:
        gram = xp.matmul(vectors.T, vectors)
        return xp.all(abs(gram - xp.eye(len(gram))) < 1e-3)

    vectors = or_nan(
        vectors,
        orthonormal,
        lambda: ValueError(f"{name}.vectors: expected orthonormal columns, as by jnp.linalg.qr"),
    )
    return LowRank(scale, vectors, roots, name)


def as_mass(value: ArrayLike | PyTree) -> Scalar | Preconditioner:
    """A number, or one for each chain, or whatever else `as_preconditioner` takes but None."""
    if isinstance(value, Each) and getattr(value.rows, "ndim", None) == 1:
        return Scalar(each(jnp.sqrt(check_positive("mass", as_array("mass", value.rows)))))
    if trees.is_array(value) and jnp.ndim(value) == 0:
        mass = check_scalar("mass", value, positive=True)
        scale = as_array("mass", trees.as_position("mass", mass))
        # On the host where it is known, as each operation there is a program to compile.
        return Scalar(np.sqrt(np.asarray(scale)) if trees.is_concrete(scale) else jnp.sqrt(scale))
    matrix = as_preconditioner(value, "mass")
    if matrix is None:
        raise TypeError("mass: expected a number, a diagonal or a matrix, got None")
    return matrix
