"""Distances between laws in one dimension.

Both densities are polynomials between neighbouring edges of either grid, so Gauss's rule is exact
there; |f| is integrated between changes of sign.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np

from jlangevin._core import trees
from jlangevin._core.checks import check_known
from jlangevin.distribution import Gaussian, check_gaussian
from jlangevin.errors import NoGridLawError
from jlangevin.exact.grid.law import GridLaw, made_law
from jlangevin.exact.grid.panels import Floats, Panels, gauss
from jlangevin.exact.grid.plane.law import PlaneLaw
from jlangevin.exact.grid.plane.target import plane_distance
from jlangevin.exact.grid.steps import one_element

__all__ = ["grid_kl", "total_variation", "wasserstein1"]

_LOOKED_AT = 33  # points of each interval, between which signs may change
_HALVINGS = 50
# Standard deviations of a Gaussian that are held, so that a narrow q has a log density where p is.
_TAIL = 13.0
_UNRESOLVED = 1e-13  # of its largest value on a panel: below it a density is rounding
_UNTOLD = 1e-10  # the mass of p that may be where q is unresolved
_ROUNDS = 12


def total_variation(p: GridLaw | PlaneLaw | Gaussian, q: GridLaw | PlaneLaw | Gaussian) -> float:
    """The total variation distance of two laws on grids, the largest |P(A) - Q(A)|.

        ½ ∫ |p(x) - q(x)| dx + ½ Σ |P(atom) - Q(atom)|

    It is as accurate as the laws (`GridLaw.error`); the integral itself loses about 1e-13.

    Args:
        p, q: laws over positions of one element: a `GridLaw`, or a `Gaussian` with a variance. Or
            over two elements: `PlaneLaw`s, or `Gaussian`s with a density. Then the
            integral is computed by the trapezoidal rule, with a relative error of about 1e-3.

    Returns:
        A number between 0 and 1, on the host.

    Raises:
        NoGridLawError: the positions have not one element each, or two each.
        TypeError, ValueError: `p` or `q` is not such a law.

    Example:
        >>> import jax.numpy as jnp, jlangevin as jl
        >>> well, x = jl.energies.double_well(), jnp.zeros(1)
        >>> wanted = jl.exact.grid_target(well, x)
        >>> found = jl.exact.grid_stationary(jl.ula(0.05), well, x)
        >>> round(jl.exact.total_variation(found, wanted), 4)
        0.0824
    """
    either = isinstance(p, PlaneLaw) or isinstance(q, PlaneLaw)
    if either or (_is_of_two(p) and _is_of_two(q)):
        return plane_distance(p, q)
    p, q = _on_grid("p", p), _on_grid("q", q)
    edges = _edges(p, q)
    smooth = _absolute(lambda x: p.density(x) - q.density(x), edges)
    atoms = np.union1d(p.atoms, q.atoms)
    apart = sum(abs(_mass(p, at) - _mass(q, at)) for at in atoms)
    return min((smooth + apart) / 2, 1.0)


def wasserstein1(p: GridLaw | Gaussian, q: GridLaw | Gaussian) -> float:
    """The 1-Wasserstein distance of two laws in one dimension, by their distribution functions.

        ∫ |F(x) - G(x)| dx = sup |E f(X) - E f(Y)|    over |f(x) - f(y)| ≤ |x - y|

    It is as accurate as the laws (`GridLaw.cdf_error`); the integral itself loses about 1e-13.

    Args:
        p, q: as for `total_variation`.

    Returns:
        A number in the position's units, on the host.

    Raises:
        NoGridLawError, TypeError, ValueError: as for `total_variation`.

    References: Vallender (1974).

    Example:
        >>> import jax.numpy as jnp, jlangevin as jl
        >>> p, q = (jl.Gaussian(jnp.full(1, m), jnp.eye(1)) for m in (0.0, 1.5))
        >>> round(jl.exact.wasserstein1(p, q), 4)
        1.5
    """
    p, q = _on_grid("p", p), _on_grid("q", q)
    return _absolute(lambda x: p.cdf(x) - q.cdf(x), _edges(p, q))


def grid_kl(p: GridLaw | Gaussian, q: GridLaw | Gaussian) -> float:
    """KL(p || q) if at least one of the laws is on a grid; see `exact.kl`."""
    p, q = _on_grid("p", p), _on_grid("q", q)
    atoms = 0.0
    for at, mass in zip(np.asarray(p.atoms), np.asarray(p.masses), strict=True):
        other = _mass(q, at)
        if mass > 0 and other == 0:
            return float(np.inf)
        atoms += mass * np.log(mass / other) if mass > 0 else 0.0
    floors = _UNRESOLVED * np.max(np.asarray(q.values), axis=1)

    def resolved(x: Floats) -> Any:
        return q.density(x) > floors[q.panels.find(x)]

    def unresolved(x: Floats) -> Floats:
        return np.where(resolved(x), 0.0, np.maximum(p.density(x), 0))

    def gain(x: Floats) -> Floats:
        """p log(p/q) - p + q, which is never below 0, and keeps its digits where p and q are
        close."""
        f, g = np.maximum(p.density(x), 0), q.density(x)
        known = resolved(x) & (f > 0)
        excess = np.where(known, f / np.where(known, g, 1) - 1, 0)
        return np.where(known, g * ((1 + excess) * np.log1p(excess) - excess), np.maximum(g, 0))

    edges = _edges(p, q)
    gap = _sum(unresolved, edges)
    if gap > max(_UNTOLD, 10 * (p.cdf_error + q.cdf_error)):
        raise NoGridLawError(
            f"p: a share of {gap:.2g} of it is where q, on its grid from {q.support[0]:.4g} to "
            f"{q.support[1]:.4g}, is below what rounding leaves of a density; KL(p || q) is "
            "infinite or cannot be told. Give q a larger interval, `within`, or take "
            "exact.total_variation or exact.wasserstein1"
        )
    return max(_adaptive(gain, edges) + atoms + _smooth_mass(p) - _smooth_mass(q), 0.0)


def _is_of_two(law: Any) -> bool:
    """Whether it is a Gaussian over positions of two elements."""
    return isinstance(law, Gaussian) and jnp.ndim(law.cov) == 2 and trees.size(law.mean) == 2


def _on_grid(name: str, law: Any) -> GridLaw:
    if isinstance(law, GridLaw):
        check_known("a grid is made on the host", **{name: law})
        return law
    check_gaussian(name, law, "or a GridLaw, as exact.grid_law gives it")
    law.check_single(name)
    one_element(name, law.mean)
    check_known("a grid is made on the host", **{name: law})
    mean = float(np.asarray(trees.ravel(law.mean), np.float64)[0])
    deviation = float(np.sqrt(np.asarray(law.cov, np.float64)[0, 0]))
    if not deviation > 0:
        raise ValueError(
            f"{name}: expected a Gaussian with a variance, got {deviation**2:.3g}; a point is a "
            "law on a grid by exact.grid_law(..., num_steps=0)"
        )
    panels = Panels(mean + deviation * np.linspace(-_TAIL, _TAIL, 53), 16)
    measure = np.exp(-0.5 * ((panels.nodes - mean) / deviation) ** 2) * panels.weights
    rounding = 10 * float(np.finfo(trees.float_dtype(law.mean)).eps)
    return made_law(panels, measure, np.zeros(0), law.mean, (rounding, rounding), 0.0)


def _mass(law: GridLaw, at: float) -> float:
    """The mass of the atom at a position, 0 if there is no atom."""
    return float(np.sum(np.asarray(law.masses)[np.asarray(law.atoms) == at]))


def _smooth_mass(law: GridLaw) -> float:
    return 1 - float(np.sum(np.asarray(law.masses)))


def _edges(p: GridLaw, q: GridLaw) -> Floats:
    """The edges and atoms of both grids: between neighbours both densities are polynomials."""
    return np.unique(np.concatenate([p.panels.edges, q.panels.edges, p.atoms, q.atoms]))


def _sum(function: Callable[[Floats], Floats], edges: Floats, order: int = 16) -> float:
    panels = Panels(edges, order)
    return float(np.dot(function(panels.nodes), panels.weights))


def _absolute(function: Callable[[Floats], Floats], edges: Floats) -> float:
    """∫ |f|, cut at every change of sign."""
    # Each interval is examined from inside, as its ends also belong to its neighbours.
    inside = np.linspace(-1 + 1e-9, 1 - 1e-9, _LOOKED_AT)
    half, middle = np.diff(edges) / 2, (edges[1:] + edges[:-1]) / 2
    x = middle[:, None] + half[:, None] * inside
    above = function(x) >= 0
    rows, places = np.nonzero(above[:, 1:] != above[:, :-1])
    low, high, first = x[rows, places], x[rows, places + 1], above[rows, places]
    for _ in range(_HALVINGS):
        at = (low + high) / 2
        same = (function(at) >= 0) == first
        low, high = np.where(same, at, low), np.where(same, high, at)
    cuts = np.unique(np.concatenate([edges, (low + high) / 2]))
    panels = Panels(cuts, 16)
    parts = (function(panels.nodes) * panels.weights).reshape(panels.num, -1).sum(axis=1)
    return float(np.sum(np.abs(parts)))


def _adaptive(function: Callable[[Floats], Floats], edges: Floats) -> float:
    """∫ f where f is not a polynomial: intervals are halved until two of Gauss's rules agree."""
    total = 0.0
    t, w = gauss(16)
    rough, v = gauss(12)
    low, high = edges[:-1], edges[1:]
    for turn in range(_ROUNDS):
        half, middle = (high - low) / 2, (high + low) / 2
        fine = half * np.dot(function(middle[:, None] + half[:, None] * t), w)
        coarse = half * np.dot(function(middle[:, None] + half[:, None] * rough), v)
        open_ = (np.abs(fine - coarse) > 1e-14) & (turn < _ROUNDS - 1)
        total += float(np.sum(fine[~open_]))
        low, middle, high = low[open_], middle[open_], high[open_]
        low, high = np.concatenate([low, middle]), np.concatenate([middle, high])
    return total
