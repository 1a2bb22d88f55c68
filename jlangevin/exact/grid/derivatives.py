"""How a stationary expectation depends on the parameters of kernel and energy, exactly."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jlangevin._core.compiling import compiled
from jlangevin._core.trees import Parted, PyTree
from jlangevin.energies.base import Energy
from jlangevin.errors import NoGridLawError
from jlangevin.exact.grid.answers import lost_a_step
from jlangevin.exact.grid.chain import check_function, has_gap, poisson, settled_chain, values_of
from jlangevin.exact.grid.far_out import LEAVES_A_STEP
from jlangevin.exact.grid.moves import REACH, Branch, Piece, moves
from jlangevin.exact.grid.panels import Floats, Ints, gauss
from jlangevin.exact.grid.steps import CHUNK, StepFunction, step_of_one
from jlangevin.kernels.base import Kernel

__all__ = ["grid_value_and_grad"]

_INTERVALS, _ORDER = 24, 12  # of the normals, and nodes in each
_NO_MASS = 1e-16  # of the largest mass: steps from states with less are not looked at


def grid_value_and_grad(
    kernel: Kernel,
    energy: Energy,
    position: PyTree,
    function: Callable[[PyTree], Any] | None = None,
    *,
    tolerance: Any = None,
    within: Any = None,
) -> tuple[float, tuple[Kernel, Energy]]:
    """E f(X) under the stationary law of a chain in one dimension, and its derivatives.

        ∂/∂θ E f = ∫ p(dx) ∫ φ(ξ) ∂/∂θ [a h(y) + (1 - a) h(x)] dξ,    (I - K) h = f - E f

    for each parameter θ that the step's proposal y and acceptance rate a depend on. The law p is
    defined by p K = p; this is the derivative of that equation (Schweitzer 1968), and not of the
    grid. It says how a larger step changes the bias, and how each parameter of an energy changes
    the moments under a chain that is not exact.

    Args:
        kernel, energy, position, tolerance, within: as for `grid_stationary`. Parameters are the
            leaves that are floats.
        function: f, which takes one position, returns a scalar and depends on no parameter; None
            for the position itself.

    Returns:
        The expectation, and a pair like (kernel, energy) with a derivative in place of each
        parameter, in the positions' dtype. Leaves that are integers become None.

    Raises:
        NoGridLawError: the chain has no spectral gap (see `grid_relaxation_time`), so a derivative
            need not exist; a second number decides which way the step goes, as in `barker`; chains
            leave the interval that is given as `within`. Also as for `grid_stationary`.
        NoStationaryLawError, TypeError, ValueError: as for `grid_stationary`.

    References: Schweitzer (1968), https://doi.org/10.2307/3212261; Nyström (1930).

    Example:
        >>> import jax.numpy as jnp, jlangevin as jl
        >>> bowl, x = jl.energies.quadratic(2 * jnp.eye(1)), jnp.zeros(1)
        >>> square, (kernel, energy) = jl.exact.grid_value_and_grad(
        ...     jl.ula(0.1), bowl, x, lambda x: x[0] ** 2)  # 1 / (λ (1 - ηλ/2)) with λ = 2
        >>> [round(float(v), 3) for v in (square, kernel.step_size, energy.precision[0, 0])]
        [0.556, 0.617, -0.247]
    """
    check_function(function)
    steps, region, found = settled_chain(kernel, energy, position, tolerance, within)
    if lost_a_step(found) > LEAVES_A_STEP:
        raise NoGridLawError(
            "within: chains leave this interval, and the law of those that are still in it has no "
            "derivatives here; give a wider one, or leave `within` out"
        )
    if not has_gap(steps, region, found):
        raise NoGridLawError(
            f"kernel: {steps.name} has no spectral gap on this energy, so expectations need not "
            "have derivatives. If it is exact, the law is that of exact.grid_target at any step "
            "size, and ∂/∂θ E f = -Cov(f, ∂E/∂θ) / T"
        )
    made, measure = found.operator, found.measure
    values = values_of(function, made.states, steps.like)
    mean = float(np.dot(measure, values))
    excess = poisson(found, values, np.ones(len(measure), bool))
    solution = np.zeros(len(measure))
    solution[excess.states] = excess.h
    panels = made.panels
    curve = (panels.edges, panels.coefficients(solution[: len(panels.nodes)]))
    held = measure > _NO_MASS * measure.max()
    total: Any = None
    for x, normals, weights in _nodes(steps, made.states[held], measure[held]):
        for part in steps.chunks((x, normals, weights), CHUNK):
            slopes = _slopes(*steps.given, *(jnp.asarray(c, steps.dtype) for c in curve), *part)
            total = slopes if total is None else jax.tree.map(jnp.add, total, slopes)
    parted = steps.given[:2]
    return mean, tuple(_like(each, of) for each, of in zip(parted, total, strict=True))


def _nodes(
    steps: StepFunction, x: Floats, measure: Floats
) -> Iterator[tuple[Floats, Floats, Floats]]:
    """Positions, normals and their weights, which integrate over p(dx) φ(ξ) dξ."""
    branches = moves(steps, x, with_odds=False)
    if len(branches) > 1:
        raise NoGridLawError(
            f"kernel: a number that {steps.name} draws decides which way its step goes, and "
            "automatic differentiation does not see how its odds depend on a parameter"
        )
    for branch in branches:
        for piece in branch.pieces:
            rows, low, high = _intervals(steps, x, branch, piece)
            t, w = gauss(_ORDER)
            half = (high - low)[:, None] / 2
            xi = (low + high)[:, None] / 2 + half * t
            weight = half * w * np.exp(-0.5 * xi * xi) / np.sqrt(2 * np.pi)
            rows = np.repeat(rows, _ORDER)
            yield x[rows], branch.normals(rows, xi.ravel()), weight.ravel() * measure[rows]


def _intervals(
    steps: StepFunction, x: Floats, branch: Branch, piece: Piece
) -> tuple[Ints, Floats, Floats]:
    """The rows of a piece, and intervals of its normals, cut where the rate reaches 1."""
    rows = np.nonzero(piece.start < piece.stop)[0]
    low = np.maximum(piece.start[rows], -REACH)
    high = np.minimum(piece.stop[rows], REACH)
    rows, low, high = rows[low < high], low[low < high], high[low < high]
    share = np.arange(_INTERVALS + 1) / _INTERVALS
    ends = low[:, None] + (high - low)[:, None] * share
    rows = np.repeat(rows, _INTERVALS)
    low, high = ends[:, :-1].ravel(), ends[:, 1:].ravel()
    if not steps.rejects:
        return rows, low, high
    full = [steps(x[rows], branch.normals(rows, end))[1] >= 1 for end in (low, high)]
    turns = full[0] != full[1]
    at = (branch.normals(rows[turns], end[turns]) for end in (low, high))
    met = low[turns] + steps.turning(x[rows[turns]], *at, by_rate=True) * (high - low)[turns]
    rows, low, high = (
        np.concatenate(pair) for pair in ((rows, rows[turns]), (low, met), (high, high[turns]))
    )
    high[np.nonzero(turns)[0]] = met
    return rows, low, high


@compiled
def _slopes(
    of: Parted, on: Parted, like: PyTree, edges: Any, curve: Any, x: Any, z: Any, weight: Any
) -> tuple[Any, Any]:
    """∂/∂θ Σ weight · [a h(y) + (1 - a) h(x)], for each floating array of kernel and energy."""

    def h(at: Any) -> Any:
        """The piecewise polynomial with Legendre coefficients `curve`, (panels, order)."""
        last = len(curve) - 1
        panel = jnp.clip(jnp.searchsorted(edges, jax.lax.stop_gradient(at)) - 1, 0, last)
        low, high = edges[panel], edges[panel + 1]
        t = (2 * at - low - high) / (high - low)
        t = jnp.clip(t, -1, 1)
        before, now = jnp.ones_like(t), t
        total = curve[panel, 0] + curve[panel, 1] * t
        for k in range(1, curve.shape[1] - 1):
            before, now = now, ((2 * k + 1) * t * now - k * before) / (k + 1)
            total = total + curve[panel, k + 1] * now
        return total

    def expected(kernel: list[Any], energy: list[Any]) -> Any:
        def one(x: Any, z: Any, weight: Any) -> Any:
            tiny = jnp.asarray(jnp.finfo(x.dtype).tiny, x.dtype)
            _, y, rate = step_of_one(_with(of, kernel), _with(on, energy), like, x, z, tiny)
            gain = rate * (h(y) - h(x))
            return jnp.where(weight > 0, weight * gain, 0)

        return jnp.sum(jax.vmap(one, in_axes=-1)(x, z, weight))

    kernel, energy = jax.grad(expected, argnums=(0, 1))(_floats(of), _floats(on))
    return kernel, energy


def _is_float(leaf: Any) -> bool:
    return jnp.issubdtype(jnp.result_type(leaf), jnp.floating)


def _floats(parted: Parted) -> list[Any]:
    return [jnp.asarray(leaf) for leaf in parted.arrays if _is_float(leaf)]


def _with(parted: Parted, floats: list[Any]) -> Parted:
    """The same, with other floating arrays in place of its own."""
    remaining = iter(floats)
    arrays = [next(remaining) if _is_float(leaf) else leaf for leaf in parted.arrays]
    return Parted(arrays, parted.structure)


def _like(parted: Parted, floats: list[Any]) -> Any:
    """The pytree with derivatives in place of its floats, and None in place of other arrays."""
    remaining = iter(floats)
    arrays = [next(remaining) if _is_float(leaf) else None for leaf in parted.arrays]
    return Parted(arrays, parted.structure).whole
