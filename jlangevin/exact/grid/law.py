"""A law on a line, by its density on panels and its atoms."""

from __future__ import annotations

from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jlangevin._core import trees
from jlangevin._core.arithmetic import product
from jlangevin._core.checks import check_known, check_made
from jlangevin._core.trees import PyTree, pytree_dataclass, static_field
from jlangevin.distribution import sample
from jlangevin.exact.grid.panels import Floats, Panels, values_to_legendre
from jlangevin.noise import Want

__all__ = ["GridLaw", "as_interval", "check_grid_law", "made_law", "values_at"]

_BLOCK = 32  # laws have a multiple of so many panels, so that few shapes are compiled
_HALVINGS = 50


@pytree_dataclass
class GridLaw:
    """A law of a position of one element, by its density on a grid: see `exact.grid_law`.

    On each of P panels the density is the polynomial through its values at q Gauss-Legendre nodes.
    Atoms hold the mass that walls stop, and the mass that has not yet moved from a start at a
    point. Numbers on the host are float64, whatever the positions' dtype.

    Attributes:
        mean: like a position.
        cov: (1, 1), as that of a `Gaussian`.
        error: the estimated error of expectations of smooth functions: the largest difference
            between the grid and a coarser one in the mean (in standard deviations), the variance
            (relative) and the expectations of tanh(2(x - c)/σ). At least the dtype's rounding.
        cdf_error: likewise the error of the distribution function. It is larger where the
            acceptance rate has kinks.
        left: the share of chains that have left the grid; the law is that of the chains that
            stayed. For a stationary law, the share that leaves in one step.
        edges: (P + 1,), the panels' edges; the last panels may have no width.
        values: (P, q), the density at the nodes.
        atoms, masses: the atoms' positions and masses, (k,) each.

    It can be sampled, and chains can start from it.

    Example:
        >>> import jax, jax.numpy as jnp, jlangevin as jl
        >>> law = jl.exact.grid_target(jl.energies.double_well(), jnp.zeros(1))
        >>> round(float(law.cov[0, 0]), 4), round(float(law.cdf(0.0)), 4)
        (0.8327, 0.5)
        >>> law.sample(jax.random.key(0), 5).shape
        (5, 1)
    """

    draw_noise: ClassVar[PyTree] = Want.UNIFORM

    mean: Any
    cov: Any
    error: float
    cdf_error: float
    left: float
    edges: Any
    values: Any
    atoms: Any
    masses: Any
    order: int = static_field()

    @property
    def support(self) -> tuple[float, float]:
        """The grid's ends.

        Example:
            >>> import jax.numpy as jnp, jlangevin as jl
            >>> walls = jl.domains.box(0.0, 1.0)
            >>> kernel, energy = jl.reflected(0.1, walls), jl.energies.linear([1.0])
            >>> jl.exact.grid_stationary(kernel, energy, jnp.full(1, 0.5)).support
            (0.0, 1.0)
        """
        return self.panels.low, self.panels.high

    @property
    def panels(self) -> Panels:
        """The panels that the density lives on."""
        return Panels(np.asarray(self.edges, np.float64), self.order)

    @property
    def _flat(self) -> Floats:
        return np.asarray(self.values, np.float64).ravel()

    def density(self, x: Any) -> Floats:
        """The density at numbers x of any shape, without the atoms; 0 off the grid.

        Example:
            >>> import jax.numpy as jnp, jlangevin as jl
            >>> law = jl.exact.grid_target(jl.energies.quadratic(jnp.eye(1)), jnp.zeros(1))
            >>> round(float(law.density(0.0)), 4)
            0.3989
        """
        return self.panels.at(self._flat, x)

    def cdf(self, x: Any) -> Floats:
        """The distribution function, P(X ≤ x), at numbers x of any shape, on the host.

        Example:
            >>> import jax.numpy as jnp, jlangevin as jl
            >>> law = jl.exact.grid_target(jl.energies.quadratic(jnp.eye(1)), jnp.zeros(1))
            >>> [round(float(p), 4) for p in law.cdf([-1.0, 0.0, 1.0])]
            [0.1587, 0.5, 0.8413]
        """
        x = np.asarray(x, np.float64)
        stepped = np.sum(np.asarray(self.masses) * (x[..., None] >= self.atoms), axis=-1)
        return np.clip(self.panels.integral(self._flat, x) + stepped, 0, 1)

    def quantile(self, p: Any) -> Floats:
        """The smallest x with P(X ≤ x) ≥ p, for probabilities p of any shape, on the host.

        Example:
            >>> import jax.numpy as jnp, jlangevin as jl
            >>> law = jl.exact.grid_target(jl.energies.quadratic(jnp.eye(1)), jnp.zeros(1))
            >>> round(float(law.quantile(0.975)), 4)
            1.96
        """
        p = np.asarray(p, np.float64)
        low, high = np.full(p.shape, self.panels.low), np.full(p.shape, self.panels.high)
        # An atom at the lower end has nothing below it.
        low = np.where(self.cdf(low) >= p, low, low - 1e-12 * (high - low))
        for _ in range(70):
            middle = (low + high) / 2
            reached = self.cdf(middle) >= p
            low, high = np.where(reached, low, middle), np.where(reached, middle, high)
        return np.clip(high, *self.support)

    def log_prob(self, x: PyTree) -> jax.Array:
        """log density at one position `x` (vmap it over many), without the atoms; the call is that
        of `Gaussian.log_prob`.

        Example:
            >>> import jax.numpy as jnp, jlangevin as jl
            >>> law = jl.exact.grid_target(jl.energies.quadratic(jnp.eye(1)), jnp.zeros(1))
            >>> round(float(law.log_prob(jnp.zeros(1))), 4)
            -0.9189
        """
        trees.assert_like("x", x, self.mean, "like the mean")
        x = trees.ravel(x)[0]
        edges, coefficients = self._for_jax(x.dtype)
        panel = jnp.clip(jnp.searchsorted(edges, x, side="right") - 1, 0, len(edges) - 2)
        low, high = edges[panel], edges[panel + 1]
        t = 2 * (x - low) / jnp.where(high > low, high - low, 1) - 1
        value = product(coefficients[panel], _legendre(t, self.order))
        inside = (x >= edges[0]) & (x <= edges[-1])
        return jnp.where(inside & (value > 0), jnp.log(jnp.where(value > 0, value, 1)), -jnp.inf)

    def expectation(self, function: Any) -> Any:
        """E f(X) of any function of one position, as a float64 array of the shape that it returns.

        f is evaluated at the nodes, in the positions' dtype; it should be smooth, since only its
        values there are used. P(X ≤ x) is `cdf`.

        Example:
            >>> import jax.numpy as jnp, jlangevin as jl
            >>> law = jl.exact.grid_target(jl.energies.quadratic(jnp.eye(1)), jnp.zeros(1))
            >>> round(float(law.expectation(lambda x: x[0] ** 4)), 3)
            3.0
        """
        values = values_at(function, self.states, self.mean)
        return np.tensordot(self.measure, values, axes=1)

    def given(self, low: Any, high: Any) -> GridLaw:
        """The law of X given that low ≤ X ≤ high; either end may be infinite.

        Raises:
            ValueError: the interval is empty, or has no mass.

        Example:
            >>> import jax.numpy as jnp, jlangevin as jl
            >>> law = jl.exact.grid_target(jl.energies.quadratic(jnp.eye(1)), jnp.zeros(1))
            >>> round(float(law.given(0.0, jnp.inf).mean[0]), 4)  # √(2/π)
            0.7979
        """
        low, high = as_interval("low, high", (low, high))
        atoms = np.asarray(self.atoms, np.float64)
        held = (atoms >= low) & (atoms <= high)
        ends = [max(low, self.support[0]), min(high, self.support[1])]
        edges = np.unique(np.clip(np.append(self.panels.edges, ends), *sorted(ends)))
        panels = Panels(edges if len(edges) > 1 else np.repeat(edges, 2), self.order)
        smooth = self.density(panels.nodes) * panels.weights if ends[0] < ends[1] else 0
        smooth = smooth * np.ones(len(panels.nodes))
        measure = np.concatenate([smooth, np.asarray(self.masses, np.float64)[held]])
        share = float(measure.sum())
        if not share > self.cdf_error:
            raise ValueError(
                f"low, high: the law has a share of {max(share, 0):.2g} between {low:.6g} and "
                f"{high:.6g}, no more than its error, {self.cdf_error:.2g}"
            )
        errors = self.error / share, self.cdf_error / share
        return made_law(panels, measure, atoms[held], self.mean, errors, self.left)

    @property
    def states(self) -> Floats:
        """The nodes, and the atoms."""
        return np.concatenate([self.panels.nodes, np.asarray(self.atoms, np.float64)])

    @property
    def measure(self) -> Floats:
        """The weights of the states: sums of smooth functions with them are expectations."""
        smooth = self._flat * self.panels.weights
        return np.concatenate([smooth, np.asarray(self.masses, np.float64)])

    def template(self) -> PyTree:
        """Shapes and dtypes of one draw.

        Example:
            >>> import jax.numpy as jnp, jlangevin as jl
            >>> jl.exact.grid_target(jl.energies.double_well(), jnp.zeros(1)).template()
            ShapeDtypeStruct(shape=(1,), dtype=float32)
        """
        return trees.struct(self.mean)

    def from_noise(self, noise: PyTree) -> PyTree:
        """The inverse of the distribution function at a uniform; atoms come first."""
        u = jnp.asarray(noise)
        masses = jnp.asarray(self.masses, u.dtype)
        stayed = jnp.sum(masses)
        smooth = (u - stayed) / jnp.where(stayed < 1, 1 - stayed, 1)
        x = self._inverse(jnp.maximum(smooth, 0))
        if masses.size:
            atom = jnp.sum((jnp.cumsum(masses) <= u).astype(int))
            atoms = jnp.asarray(self.atoms, u.dtype)
            x = jnp.where(u < stayed, atoms[jnp.minimum(atom, len(atoms) - 1)], x)
        place = trees.unraveler(self.mean)
        return place(x.astype(trees.float_dtype(self.mean))[None])

    def sample(self, key: jax.Array, num_draws: int) -> PyTree:
        """`num_draws` independent draws, on a leading axis; draw i depends on (key, i) alone."""
        return sample(self, key, num_draws)

    def _for_jax(self, dtype: Any) -> tuple[jax.Array, jax.Array]:
        """The edges, and the density's Legendre coefficients (panel, order)."""
        transform = jnp.asarray(values_to_legendre(self.order).T, dtype)
        values = jnp.asarray(self.values, dtype)
        return jnp.asarray(self.edges, dtype), product(values, transform)

    def _inverse(self, u: jax.Array) -> jax.Array:
        """The x at which the smooth part's mass below is u: first the panel, then halving in it."""
        edges, coefficients = self._for_jax(u.dtype)
        half = (edges[1:] - edges[:-1]) / 2
        # ∫ P_k from -1 to 1 is 2 for k = 0, and 0 for all others.
        ends = jnp.cumsum(2 * coefficients[:, 0] * half)
        goal = u * ends[-1]
        panel = jnp.minimum(jnp.sum((ends <= goal).astype(int)), len(half) - 1)
        before = jnp.where(panel > 0, ends[panel - 1], 0)
        mine = coefficients[panel] * half[panel]

        def below(t: jax.Array) -> jax.Array:
            p = _legendre(t, self.order + 1)
            k = jnp.arange(1, self.order, dtype=u.dtype)
            rest = jnp.sum(mine[1:] * (p[2:] - p[:-2]) / (2 * k + 1))
            return mine[0] * (t + 1) + rest

        def halve(_: Any, ends: tuple[Any, Any]) -> tuple[Any, Any]:
            middle = (ends[0] + ends[1]) / 2
            short = before + below(middle) < goal
            return jnp.where(short, middle, ends[0]), jnp.where(short, ends[1], middle)

        one = jnp.ones_like(u)
        low, high = lax.fori_loop(0, _HALVINGS, halve, (-one, one))
        return edges[panel] + half[panel] * ((low + high) / 2 + 1)


def _legendre(t: jax.Array, order: int) -> jax.Array:
    """P_0(t), …, P_{order-1}(t), by their recurrence."""
    made = [jnp.ones_like(t), t]
    for k in range(1, order - 1):
        made.append(((2 * k + 1) * t * made[k] - k * made[k - 1]) / (k + 1))
    return jnp.stack(made[:order])


def values_at(function: Any, states: Floats, like: PyTree) -> Floats:
    """A user's function at many positions, on the host."""
    place, dtype = trees.unraveler(like), trees.float_dtype(like)
    found = jax.vmap(lambda x: function(place(x[None])))(jnp.asarray(states, dtype))
    return np.asarray(found, np.float64)


def made_law(
    panels: Panels,
    measure: Floats,
    atoms: Floats,
    like: PyTree,
    errors: tuple[float, float],
    left: float,
) -> GridLaw:
    """The law with these weights of the nodes and the atoms, made to sum to 1."""
    size = panels.num * panels.order
    measure = measure / measure.sum()
    states = np.concatenate([panels.nodes, atoms])
    mean = float(np.dot(measure, states))
    variance = float(np.dot(measure, (states - mean) ** 2))
    dtype = trees.float_dtype(like)
    spare = -panels.num % _BLOCK
    # All of a law at one point is an atom, and its panels have no width.
    wide = panels.weights > 0
    values = np.where(wide, measure[:size], 0) / np.where(wide, panels.weights, 1)
    values = values.reshape(panels.num, panels.order)
    return GridLaw(
        mean=trees.unraveler(like)(jnp.full(1, mean, dtype)),
        cov=jnp.full((1, 1), variance, dtype),
        error=errors[0],
        cdf_error=errors[1],
        left=left,
        edges=np.concatenate([panels.edges, np.full(spare, panels.high)]),
        values=np.concatenate([values, np.zeros((spare, panels.order))]),
        atoms=atoms,
        masses=measure[size:],
        order=panels.order,
    )


def as_interval(name: str, value: Any) -> tuple[float, float]:
    """Two numbers, low < high; either may be infinite."""
    check_known("a grid is made on the host", **{name: value})
    try:
        low, high = (float(end) for end in value)
    except (TypeError, ValueError):
        raise TypeError(f"{name}: expected two numbers, low and high, got {value!r}") from None
    if not low < high:
        raise ValueError(f"{name}: expected low < high, got {low} and {high}")
    return low, high


def check_grid_law(name: str, value: Any) -> None:
    """Raise TypeError unless `value` is a `GridLaw`."""
    check_made(name, value)
    if not isinstance(value, GridLaw):
        raise TypeError(
            f"{name}: expected a law on a grid, as exact.grid_law gives it, got "
            f"{type(value).__name__}"
        )
