"""Gauss-Legendre panels: functions on an interval by their values at the nodes of each panel.

On each panel a function is the polynomial of degree q - 1 through its values at the panel's q
nodes. Integrals of such polynomials, and of products of two, are exact.
"""

from __future__ import annotations

from functools import cached_property, lru_cache
from typing import Any

import numpy as np
from numpy.polynomial import legendre
from numpy.typing import NDArray

__all__ = ["Flags", "Floats", "Ints", "Panels", "basis", "gauss", "values_to_legendre"]

Floats = NDArray[np.float64]
Ints = NDArray[np.intp]
Flags = NDArray[np.bool_]


@lru_cache
def gauss(order: int) -> tuple[Floats, Floats]:
    """Nodes and weights of Gauss's rule on [-1, 1]."""
    nodes, weights = legendre.leggauss(order)
    return np.asarray(nodes), np.asarray(weights)


@lru_cache
def values_to_legendre(order: int) -> Floats:
    """The matrix (order, order) from values at the nodes to coefficients of Legendre polynomials:
    c_k = (2k + 1)/2 Σ_j w_j P_k(t_j) v_j, exact for the polynomial through them."""
    nodes, weights = gauss(order)
    vander = legendre.legvander(nodes, order - 1)
    made: Floats = (vander * weights[:, None]).T * (np.arange(order) + 0.5)[:, None]
    return made


@lru_cache
def _integrals(order: int) -> Floats:
    """The matrix from a function's coefficients to those of its integral from -1:
    ∫ P_k = (P_{k+1} - P_{k-1}) / (2k + 1)."""
    made = np.zeros((order + 1, order))
    for k in range(order):
        made[:, k] = np.pad(legendre.legint(np.eye(order)[k], lbnd=-1), (0, order))[: order + 1]
    return made


def _vander(t: Floats, degree: int) -> Floats:
    """Legendre's polynomials at `t` of any shape, on a last axis."""
    made = legendre.legvander(np.ravel(t), degree)
    return np.asarray(made.reshape(*np.shape(t), degree + 1))


def basis(t: Floats, order: int) -> Floats:
    """The polynomials that are 1 at one node and 0 at the others, at `t` in [-1, 1]: (…, order)."""
    return np.asarray(np.dot(legendre.legvander(t, order - 1), values_to_legendre(order)))


class Panels:
    """An interval cut into panels, with `order` nodes in each."""

    def __init__(self, edges: Floats, order: int) -> None:
        self.edges, self.order = np.asarray(edges, np.float64), order

    @cached_property
    def nodes(self) -> Floats:
        """All nodes, in rising order: (panels · order,)."""
        t, _ = gauss(self.order)
        return (self._middle[:, None] + self._half[:, None] * t).ravel()

    @cached_property
    def weights(self) -> Floats:
        _, w = gauss(self.order)
        return (self._half[:, None] * w).ravel()

    @property
    def num(self) -> int:
        return len(self.edges) - 1

    @property
    def low(self) -> float:
        return float(self.edges[0])

    @property
    def high(self) -> float:
        return float(self.edges[-1])

    @property
    def _half(self) -> Floats:
        return np.diff(self.edges) / 2

    @property
    def _middle(self) -> Floats:
        return (self.edges[1:] + self.edges[:-1]) / 2

    def find(self, x: Any) -> Ints:
        """The panel of each x, among those with a width; for x outside, the first or the last."""
        inside = np.searchsorted(self.edges, x, side="right") - 1
        last = np.searchsorted(self.edges, self.high) - 1
        return np.asarray(np.clip(inside, 0, last), np.intp)

    def local(self, x: Floats, panel: Ints) -> Floats:
        """Where each x is in its panel, in [-1, 1]. In a panel without width every x is at -1."""
        half = self._half[panel]
        return np.where(half > 0, (x - self._middle[panel]) / np.where(half > 0, half, 1), -1.0)

    def coefficients(self, values: Floats) -> Floats:
        """The coefficients of Legendre polynomials in each panel: (panels, order)."""
        blocks = values.reshape(self.num, self.order)
        return np.asarray(np.dot(blocks, values_to_legendre(self.order).T))

    def at(self, values: Floats, x: Any) -> Floats:
        """The function with these `values`, at points of any shape; 0 outside of the interval."""
        x = np.asarray(x, np.float64)
        panel = self.find(x)
        vander = _vander(np.clip(self.local(x, panel), -1, 1), self.order - 1)
        found = np.sum(vander * self.coefficients(values)[panel], axis=-1)
        return np.where((x >= self.low) & (x <= self.high), found, 0.0)

    def integral(self, values: Floats, x: Any) -> Floats:
        """The integral from the interval's lower end to x."""
        x = np.asarray(x, np.float64)
        panel = self.find(x)
        whole = (values * self.weights).reshape(self.num, self.order).sum(axis=1)
        before = np.concatenate([[0.0], np.cumsum(whole)])[panel]
        of_integral = np.dot(self.coefficients(values), _integrals(self.order).T)
        vander = _vander(np.clip(self.local(x, panel), -1, 1), self.order)
        inside = self._half[panel] * np.sum(vander * of_integral[panel], axis=-1)
        total = before + inside
        return np.where(x < self.low, 0.0, np.where(x >= self.high, whole.sum(), total))

    def tails(self, values: Floats) -> Floats:
        """The largest of the last three coefficients in each panel, by size: about what a
        polynomial of this degree misses of the function."""
        return np.asarray(np.max(np.abs(self.coefficients(values)[:, -3:]), axis=1))

    def split(self, which: Any) -> Panels:
        """These panels, with those cut in half for which `which` is true."""
        middles = self._middle[np.asarray(which, bool)]
        return Panels(np.sort(np.concatenate([self.edges, middles])), self.order)

    def of_order(self, order: int) -> Panels:
        return Panels(self.edges, order)
