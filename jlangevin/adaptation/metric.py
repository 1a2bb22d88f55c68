"""The preconditioner that suits the chains, from their positions and gradients.

For p ∝ exp(-E/T) and a preconditioner P, the Fisher divergence between p and N(μ, T P) over the
positions x of the chains is least where

    P G P = C,    C = Cov(x),    G = Cov(∇E(x))

so P is the geometric mean of C and of the inverse of G (Seyboldt, Carlson and Carpenter 2026). On a
quadratic energy with Hessian H it is H⁻¹ exactly, wherever the chains are: G = H C H. Chains need
not have settled, as they must if P is their covariance.

This is done on the host in float64, in the coordinates that the current root L, L Lᵀ = P, makes
round. There P is I, and directions that the rows say nothing about stay as they are. So a few
updates find condition numbers that no covariance in the dtype of the chains could hold. Scaling
positions or energies by powers of two does not change a bit.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, Protocol

import jax
import numpy as np
from scipy.linalg import solve_triangular

from jlangevin._core import trees
from jlangevin._core.trees import PyTree
from jlangevin.kernels.preconditioner import Dense, Diagonal, LowRank

__all__ = ["DenseMetric", "DiagonalMetric", "LowRankMetric", "Metric"]

Array = np.ndarray[Any, np.dtype[np.float64]]

_MOST_ROWS = 512  # in which directions are sought
_ITERATIONS = 100  # for an eigenvalue that is shown with a few digits
_ROUNDING = 1e-12  # relative to the largest eigenvalue of a sum of squares: smaller ones are noise


class Metric(Protocol):
    """A root L of P = L Lᵀ."""

    @property
    def name(self) -> str:
        """Its name in a verdict."""
        ...

    def preconditioner(self, like: PyTree, name: str) -> Any:
        """The preconditioner for kernels, for positions like `like`, as the argument `name`."""
        ...

    def to_round(self, x: Array) -> Array:
        """L⁻¹ x for every row x."""
        ...

    def slopes(self, g: Array) -> Array:
        """Lᵀ g for every row g."""
        ...

    def functionals(self, v: Array) -> Array:
        """L⁻ᵀ v for every row v: its product with a position is the round coordinate along v."""
        ...

    @property
    def condition(self) -> float:
        """The condition number of P."""
        ...

    def updated(self, x: Array, g: Array | None) -> tuple[Any, float]:
        """The metric of rows of positions and gradients, and the factor by which scales changed.

        This is exp of the root mean square of their logarithms, in the coordinates that the old
        metric makes round: 1 if nothing has changed.
        """
        ...


@dataclasses.dataclass(frozen=True)
class DiagonalMetric:
    """P = diag(scale²)."""

    scale: Array
    name = "diagonal"

    def preconditioner(self, like: PyTree, name: str) -> Diagonal:
        leaves, treedef = jax.tree.flatten(like)
        parts = np.split(self.scale, np.cumsum([leaf.size for leaf in leaves])[:-1])
        scales = [p.reshape(x.shape).astype(x.dtype) for p, x in zip(parts, leaves, strict=True)]
        return Diagonal(jax.tree.unflatten(treedef, scales), name)

    def to_round(self, x: Array) -> Array:
        return x / self.scale

    def slopes(self, g: Array) -> Array:
        return g * self.scale

    def functionals(self, v: Array) -> Array:
        return v / self.scale

    @property
    def condition(self) -> float:
        return float((np.max(self.scale) / np.min(self.scale)) ** 2)

    def updated(self, x: Array, g: Array | None) -> tuple[DiagonalMetric, float]:
        g = _told(g, self.slopes)
        change = _scales(self.to_round(x), g)
        return DiagonalMetric(self.scale * change), _factor(change)


@dataclasses.dataclass(frozen=True)
class DenseMetric:
    """P = lower lowerᵀ."""

    lower: Array
    name = "dense"

    @classmethod
    def of(cls, root: Array) -> DenseMetric:
        """With P = root rootᵀ."""
        upper = np.asarray(np.linalg.qr(root.T, mode="r"))
        return cls(upper.T * np.where(np.diagonal(upper) < 0, -1.0, 1.0))

    def preconditioner(self, like: PyTree, name: str) -> Dense:
        return Dense(_as(like, self.lower), name)

    def to_round(self, x: Array) -> Array:
        return np.asarray(solve_triangular(self.lower, x.T, lower=True)).T

    def slopes(self, g: Array) -> Array:
        return g @ self.lower

    def functionals(self, v: Array) -> Array:
        return np.asarray(solve_triangular(self.lower, v.T, lower=True, trans="T")).T

    @property
    def condition(self) -> float:
        return float(np.linalg.cond(self.lower) ** 2)

    def updated(self, x: Array, g: Array | None) -> tuple[DenseMetric, float]:
        x = self.to_round(x)
        g = _told(g, self.slopes)
        scales = _scales(x, g)
        x, g = x / scales, None if g is None else g * scales
        values, vectors = np.linalg.eigh(_change(x, g))
        # A triangular root of the same P, without a product that would lose half of the digits.
        root: Array = self.lower @ (scales[:, None] * vectors * np.sqrt(values))
        found = DenseMetric.of(root)
        change = np.linalg.svd(
            solve_triangular(self.lower, found.lower, lower=True), compute_uv=False
        )
        return found, _factor(change)


@dataclasses.dataclass(frozen=True)
class LowRankMetric:
    """P = D (I + U (Λ - I) Uᵀ) D with D = diag(scale) and Λ = diag(roots²)."""

    scale: Array
    vectors: Array  # (d, r), with orthonormal columns
    roots: Array  # (r,), 1 where fewer directions are needed
    name = "low rank"

    def preconditioner(self, like: PyTree, name: str) -> LowRank:
        return LowRank(_as(like, self.scale), _as(like, self.vectors), _as(like, self.roots), name)

    def to_round(self, x: Array) -> Array:
        return self._turned(x / self.scale, 1 / self.roots)

    def slopes(self, g: Array) -> Array:
        return self._turned(g * self.scale, self.roots)

    def functionals(self, v: Array) -> Array:
        return self._turned(v, 1 / self.roots) / self.scale

    def _turned(self, rows: Array, roots: Array) -> Array:
        return rows + (rows @ self.vectors * (roots - 1)) @ self.vectors.T

    @property
    def condition(self) -> float:
        """By power iteration, as the matrix itself may be far too large."""
        largest = self._largest(lambda v: self.scale * self._turned(self.scale * v, self.roots**2))
        inverse = self._largest(lambda v: self._turned(v / self.scale, self.roots**-2) / self.scale)
        return largest * inverse

    def _largest(self, times: Callable[[Array], Array]) -> float:
        """The largest eigenvalue of P or its inverse."""
        v = np.cos(np.arange(1.0, len(self.scale) + 1))
        for _ in range(_ITERATIONS):
            v = times(v / np.linalg.norm(v))
        return float(np.linalg.norm(v))

    def updated(self, x: Array, g: Array | None) -> tuple[LowRankMetric, float]:
        diagonal, _ = DiagonalMetric(self.scale).updated(x, g)
        rows = diagonal.to_round(x)[-_MOST_ROWS:]
        slopes = _told(g, diagonal.slopes)
        slopes = None if slopes is None else slopes[-_MOST_ROWS:]
        # Outside the span of rows and slopes the diagonal stays as it is.
        both = [_centred(part).T for part in (rows, slopes) if part is not None]
        basis, _ = np.linalg.qr(np.concatenate(both, axis=1))
        change = _change(rows @ basis, None if slopes is None else slopes @ basis)
        values, turned = np.linalg.eigh(change)
        n, rank = len(rows), len(self.roots)
        # How far eigenvalues of n rows of noise in d dimensions reach.
        noise = max(2.0, (1 + np.sqrt(x.shape[1] / n)) ** 2)
        values = np.where((values > noise) | (values < 1 / noise), values, 1.0)
        most = np.argsort(-np.abs(np.log(values)), kind="stable")[:rank]
        roots = np.ones(rank)
        roots[: len(most)] = np.sqrt(values[most])
        # If rows span fewer directions than asked for, arbitrary ones fill the rest.
        vectors, _ = np.linalg.qr(
            np.column_stack([basis @ turned[:, most], np.eye(len(basis), rank)])
        )
        return LowRankMetric(diagonal.scale, vectors[:, :rank], roots), _factor(
            diagonal.scale / self.scale
        )


def _as(like: PyTree, value: Array) -> Any:
    """`value` in the dtype of positions, still on the host."""
    return value.astype(trees.float_dtype(like))


def _centred(x: Array) -> Array:
    centred: Array = x - np.mean(x, axis=0)
    return centred


def _told(g: Array | None, slopes: Callable[[Array], Array]) -> Array | None:
    """The slopes of gradients, or None if they are the same everywhere, as on a linear energy."""
    return None if g is None or not np.ptp(g, axis=0).any() else slopes(g)


def _scales(x: Array, g: Array | None) -> Array:
    """The scale of each coordinate by itself: its standard deviation if gradients are unknown or do
    not vary."""
    spread = np.sqrt(np.mean(_centred(x) ** 2, axis=0))
    if g is None:
        return spread
    slopes = np.sqrt(np.mean(_centred(g) ** 2, axis=0))
    return np.where(slopes > 0, np.sqrt(spread / np.where(slopes > 0, slopes, 1)), spread)


def _change(x: Array, g: Array | None) -> Array:
    """P for rows in coordinates in which the current P is I.

    If there are fewer than two rows for each of the d coordinates, rows for which P = I are added,
    with a weight that reaches that of the given rows where n is d or less.
    """
    n, d = x.shape
    x = _centred(x)
    cov = x.T @ x / n
    weight = min(max(2 * d / n - 1, 0.0), 1.0)
    if g is None:
        return (cov + weight * np.eye(d)) / (1 + weight)
    g = _centred(g)
    slopes = g.T @ g / n
    same = weight * min(np.trace(cov), np.trace(slopes)) / d * np.eye(d)
    unit = np.sqrt(np.trace(cov) * np.trace(slopes)) / d  # so that no bit depends on units
    return _geometric_mean((cov + same) / unit, (slopes + same) / unit)


def _geometric_mean(cov: Array, slopes: Array) -> Array:
    """The P with P slopes P = cov."""
    values, vectors = np.linalg.eigh(slopes)
    values = np.maximum(values, _ROUNDING * values[-1])
    root = vectors * np.sqrt(values) @ vectors.T
    inner, turned = np.linalg.eigh(root @ cov @ root)
    inner = np.maximum(inner, _ROUNDING * inner[-1])
    half = vectors / np.sqrt(values) @ vectors.T @ (turned * np.sqrt(np.sqrt(inner)))
    mean: Array = half @ half.T
    return mean


def _factor(scales: Array) -> float:
    """The factor by which scales changed: exp of the root mean square of their logarithms."""
    return float(np.exp(np.sqrt(np.mean(np.log(scales) ** 2))))
