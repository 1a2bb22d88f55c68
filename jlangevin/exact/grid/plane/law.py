"""A law in the plane, by its density on a lattice and its atoms."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jlangevin._core import trees
from jlangevin._core.arithmetic import product
from jlangevin._core.trees import PyTree, pytree_dataclass, static_field
from jlangevin.distribution import sample
from jlangevin.exact.grid.law import GridLaw, made_law
from jlangevin.exact.grid.panels import Floats, Panels, gauss
from jlangevin.exact.grid.plane.lattice import Lattice, panels_over, sinc_matrix
from jlangevin.noise import Many, Want

__all__ = ["Carried", "PlaneLaw", "made_plane_law", "marginal_of"]

_AT_ONCE = 1 << 21


class Carried(NamedTuple):
    """A position of one element, and the normal ζ: `init` makes the kernel's state from both.

    For `underdamped` the velocity is sqrt(T/M) ζ. For `leimkuhler_matthews` ζ is the half of the
    noise that the next step shares.
    """

    position: Any
    noise: Any


@pytree_dataclass
class PlaneLaw:
    """A law of two numbers, by its density on an evenly spaced lattice: see `exact.grid_law`.

    The two numbers are a position of two elements, or a `Carried`: a position of one element and
    the normal that is carried with it. Between the points the density is the sum of sinc functions
    through its values. Numbers on the host are float64, whatever the positions' dtype.

    Attributes:
        mean: like a position, or a `Carried`.
        cov: (2, 2), as that of a `Gaussian`.
        error: the estimated error of expectations of smooth functions: the largest difference from
            a coarser lattice in moments of first and second order (in standard deviations) and in
            expectations of smoothed steps along either axis. At least the dtype's rounding. The
            density is less exact between the points: interpolation misses frequencies above
            π/spacing, sums over the points only those above about twice that. The `cdf_error` of
            `marginals` includes this.
        left: the share of chains that have left the lattice; of a stationary law, the share that
            leaves in one step.
        low, spacing: the lattice's lower corner and its spacings, (2,) each.
        values: the density at its points, (n, m).
        atoms, masses: the atoms' positions, (k, 2), and masses, (k,).
        marginals: the laws of the two numbers, each a `GridLaw` of one element.

    It can be sampled, and chains can start from it.
    """

    mean: Any
    cov: Any
    error: float
    left: float
    low: Any
    spacing: Any
    values: Any
    atoms: Any
    masses: Any
    marginals: tuple[GridLaw, GridLaw]
    carries: bool = static_field(default=False)

    draw_noise: ClassVar[PyTree] = Many(Want.UNIFORM, 2)

    @property
    def lattice(self) -> Lattice:
        """The lattice that the density is given on."""
        n, m = np.shape(self.values)
        low, spacing = (np.asarray(each, np.float64) for each in (self.low, self.spacing))
        return Lattice(low, spacing, (n, m), np.arange(n * m))

    @property
    def states(self) -> Floats:
        """The lattice's points, and the atoms: (2, n)."""
        return np.concatenate([self.lattice.nodes, np.asarray(self.atoms, np.float64).T], axis=1)

    @property
    def measure(self) -> Floats:
        """The weights of the states: sums of smooth functions with them are expectations."""
        smooth = np.asarray(self.values, np.float64).ravel() * self.lattice.area
        return np.concatenate([smooth, np.asarray(self.masses, np.float64)])

    def density(self, x: Any) -> Floats:
        """The density at points (…, 2), without the atoms; 0 off the lattice's rectangle."""
        flat, values = _points(x), np.asarray(self.values, np.float64)
        lattice, made = self.lattice, [np.zeros(0)]
        for part in self._parts(flat):
            first, second = (lattice.sinc(k, part[:, k]) for k in (0, 1))
            made.append(np.sum(np.dot(first, values) * second, axis=1))
        ends = [(axis[0], axis[-1]) for axis in (lattice.axis(0), lattice.axis(1))]
        inside = np.all(
            [(flat[:, k] >= ends[k][0]) & (flat[:, k] <= ends[k][1]) for k in (0, 1)], 0
        )
        return np.where(inside, np.concatenate(made), 0.0).reshape(np.shape(x)[:-1])

    def cdf(self, x: Any) -> Floats:
        """P(X₁ ≤ x₁ and X₂ ≤ x₂) at points (…, 2), on the host; an infinite number asks nothing.

        Example:
            >>> import jax.numpy as jnp, jlangevin as jl
            >>> law = jl.exact.grid_target(jl.energies.quadratic(jnp.eye(2)), jnp.zeros(2))
            >>> [round(float(law.cdf(x)), 4) for x in ([0.0, 0.0], [0.0, jnp.inf])]
            [0.25, 0.5]
        """
        flat = _points(x)
        found = [self._both(part, conditional=False)[0] for part in self._parts(flat)]
        stepped = np.all(flat[:, None] >= np.asarray(self.atoms), axis=-1)
        below = np.concatenate([*found, np.zeros(0)]) + np.dot(stepped, np.asarray(self.masses))
        return np.clip(below, 0, 1).reshape(np.shape(x)[:-1])

    def conditional_cdf(self, x: Any) -> Floats:
        """P(X₂ ≤ x₂ | X₁ = x₁) at points (…, 2), on the host, without the atoms.

        NaN where the density of x₁ is not positive.

        Example:
            >>> import jax.numpy as jnp, jlangevin as jl
            >>> energy = jl.energies.quadratic(jnp.array([[2.0, -1.0], [-1.0, 1.0]]))
            >>> law = jl.exact.grid_target(energy, jnp.zeros(2))
            >>> round(float(law.conditional_cdf([1.0, 1.0])), 4)
            0.5
        """
        found = [self._both(part, conditional=True) for part in self._parts(_points(x))]
        below, whole = (np.concatenate([*each, np.zeros(0)]) for each in zip(*found, strict=True))
        share = np.where(whole > 0, below / np.where(whole > 0, whole, 1), np.nan)
        return np.clip(share, 0, 1).reshape(np.shape(x)[:-1])

    def _parts(self, flat: Floats) -> Iterator[Floats]:
        """Some of the points at a time; one part of none if there are none."""
        size = max(_AT_ONCE // sum(np.shape(self.values)), 1)
        return (flat[begin : begin + size] for begin in range(0, max(len(flat), 1), size))

    def _both(self, flat: Floats, *, conditional: bool) -> tuple[Floats, Floats]:
        """Integrals over the second number, up to that of each point and over all: of the density
        at the first number, or of its integral up to that."""
        lattice, values = self.lattice, np.asarray(self.values, np.float64)
        first = (lattice.sinc if conditional else lattice.sinc_integrals)(0, flat[:, 0])
        rows = np.dot(first, values)
        below = np.sum(rows * lattice.sinc_integrals(1, flat[:, 1]), axis=1)
        return below, rows.sum(axis=1) * float(lattice.spacing[1])

    def expectation(self, function: Any) -> Any:
        """E f(X) of any function of one position (or `Carried`), as a float64 array of its shape.

        f is evaluated at the lattice's points, in the positions' dtype; it should be smooth, since
        only its values there are used.
        """
        held = self.measure != 0
        states = jnp.asarray(self.states[:, held], trees.float_dtype(self.mean))
        place = trees.unraveler(self.mean)
        found = jax.vmap(lambda s: function(place(s)), in_axes=-1)(states)
        return np.tensordot(self.measure[held], np.asarray(found, np.float64), axes=1)

    def template(self) -> PyTree:
        """Shapes and dtypes of one draw."""
        return trees.struct(self.mean)

    def from_noise(self, noise: PyTree) -> PyTree:
        """The inverses of the first number's distribution function, and of the second's given the
        first, at two uniforms; atoms come first."""
        u, v = noise
        dtype = u.dtype
        first, given = self.marginals
        masses = jnp.asarray(self.masses, dtype)
        stayed = jnp.sum(masses)
        smooth = first._inverse(jnp.maximum((u - stayed) / jnp.where(stayed < 1, 1 - stayed, 1), 0))
        row = product(self._sinc(0, smooth), jnp.asarray(self.values, dtype))
        edges = jnp.asarray(given.edges, dtype)
        middle, half = (edges[1:] + edges[:-1]) / 2, (edges[1:] - edges[:-1]) / 2
        nodes = middle[:, None] + half[:, None] * jnp.asarray(gauss(given.order)[0], dtype)[None]
        found = product(self._sinc(1, nodes.ravel()), row)
        values = jnp.maximum(found, 0).reshape(nodes.shape)
        other = dataclasses.replace(given, values=values)._inverse(v)
        drawn = jnp.stack([smooth, other])
        if masses.size:
            atom = jnp.minimum(jnp.sum((jnp.cumsum(masses) <= u).astype(int)), masses.size - 1)
            drawn = jnp.where(u < stayed, jnp.asarray(self.atoms, dtype)[atom], drawn)
        return trees.unraveler(self.mean)(drawn.astype(trees.float_dtype(self.mean)))

    def sample(self, key: jax.Array, num_draws: int) -> PyTree:
        """`num_draws` independent draws, on a leading axis; draw i depends on (key, i) alone."""
        return sample(self, key, num_draws)

    def log_prob(self, x: PyTree) -> jax.Array:
        """log density at one position `x` (vmap it over many), without the atoms."""
        trees.assert_like("x", x, self.mean, "like the mean")
        flat = trees.ravel(x)
        values = jnp.asarray(self.values, flat.dtype)
        value = product(self._sinc(0, flat[0]), values, self._sinc(1, flat[1]))
        low, spacing = (jnp.asarray(a, flat.dtype) for a in (self.low, self.spacing))
        places = (flat - low) / spacing
        most = jnp.asarray(values.shape, flat.dtype) - 1
        value = jnp.where(jnp.all((places >= 0) & (places <= most)), value, 0)
        return jnp.where(value > 0, jnp.log(jnp.where(value > 0, value, 1)), -jnp.inf)

    def _sinc(self, k: int, x: jax.Array) -> jax.Array:
        low, spacing = jnp.asarray(self.low, x.dtype)[k], jnp.asarray(self.spacing, x.dtype)[k]
        places = jnp.arange(np.shape(self.values)[k], dtype=x.dtype)
        u = (x[..., None] - low) / spacing
        return jnp.sinc(u - jnp.expand_dims(places, tuple(range(x.ndim))))


def _points(x: Any) -> Floats:
    """Points (…, 2) as (n, 2)."""
    x = np.asarray(x, np.float64)
    if x.shape[-1:] != (2,):
        raise ValueError(f"x: expected points of shape (…, 2), got {x.shape}")
    return x.reshape(-1, 2)


def marginal_of(
    lattice: Lattice,
    weights: Floats,
    k: int,
    like: Any,
    atoms: tuple[Floats, Floats],
    errors: tuple[float, float],
    left: float,
) -> GridLaw:
    """The law of one of the two numbers."""
    count, spacing, low = lattice.shape[k], float(lattice.spacing[k]), float(lattice.low[k])
    density = lattice.table(weights).sum(axis=1 - k) / spacing
    panels: Panels = panels_over(low, spacing, count)
    size = max(_AT_ONCE // count, 1)
    values = np.concatenate(
        [
            np.dot(sinc_matrix(panels.nodes[i : i + size], low, spacing, count), density)
            for i in range(0, len(panels.nodes), size)
        ]
    )
    measure = np.concatenate([values * panels.weights, atoms[1]])
    return made_law(panels, measure, atoms[0], like, errors, left)


def made_plane_law(
    lattice: Lattice,
    measure: Floats,
    like: PyTree,
    *,
    carries: bool,
    atom: Floats | None,
    errors: tuple[float, float],
    left: float,
) -> PlaneLaw:
    """The law with these weights of the points and of the atom, made to sum to 1."""
    measure = measure / measure.sum()
    n, dtype = lattice.num, trees.float_dtype(like)
    held = atom is not None and measure[n] > 1e-15
    masses = measure[n:] if held else np.zeros(0)
    atoms = atom[None] if held and atom is not None else np.zeros((0, 2))
    weights = measure[:n]
    states = np.concatenate([lattice.nodes, atoms.T], axis=1)
    whole = np.concatenate([weights, masses])
    mean = np.dot(states, whole)
    away = states - mean[:, None]
    cov = np.dot(away * whole, away.T)
    whose: Any = Carried(like, jnp.zeros(1, dtype)) if carries else like
    sides = [like, jnp.zeros(1, dtype)] if carries else [jnp.zeros(1, dtype)] * 2
    marginals = [
        marginal_of(lattice, weights, k, sides[k], (atoms[:, k], masses), errors, left)
        for k in (0, 1)
    ]
    return PlaneLaw(
        mean=trees.unraveler(whose)(jnp.asarray(mean, dtype)),
        cov=jnp.asarray(cov, dtype),
        error=errors[0],
        left=left,
        low=lattice.low,
        spacing=lattice.spacing,
        values=lattice.table(weights) / lattice.area,
        atoms=atoms,
        masses=masses,
        marginals=(marginals[0], marginals[1]),
        carries=carries,
    )
