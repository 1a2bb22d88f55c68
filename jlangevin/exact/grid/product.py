"""Laws of chains whose coordinates move independently: products of laws on grids."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jlangevin._core import trees
from jlangevin._core.trees import PyTree, pytree_dataclass
from jlangevin.distribution import Gaussian, check_gaussian, sample
from jlangevin.energies.base import Energy
from jlangevin.exact.grid.answers import grid_law, grid_stationary
from jlangevin.exact.grid.coordinates import coordinates
from jlangevin.exact.grid.law import GridLaw
from jlangevin.exact.grid.target import grid_target
from jlangevin.kernels.base import Kernel
from jlangevin.kernels.ula import ula
from jlangevin.noise import Many, Want

__all__ = ["ProductLaw", "product_law", "product_stationary", "product_target"]


@pytree_dataclass
class ProductLaw:
    """Independent coordinates, each with a law on a grid: see `exact.product_law`.

    Attributes:
        mean: like a position.
        cov: (d, d), diagonal, as that of a `Gaussian`.
        coordinates: the law of each coordinate, in the order of the raveled position.
        left: the share of chains that have left the grid in any coordinate.

    It can be sampled, and chains can start from it.
    """

    mean: Any
    cov: Any
    coordinates: tuple[GridLaw, ...]
    left: float

    @property
    def draw_noise(self) -> PyTree:
        return Many(Want.UNIFORM, len(self.coordinates))

    def template(self) -> PyTree:
        """Shapes and dtypes of one draw."""
        return trees.struct(self.mean)

    def from_noise(self, noise: PyTree) -> PyTree:
        """Each coordinate from its own uniform, see `GridLaw.from_noise`."""
        parts = [law.from_noise(u) for law, u in zip(self.coordinates, noise, strict=True)]
        return trees.unraveler(self.mean)(jnp.concatenate(parts))

    def sample(self, key: jax.Array, num_draws: int) -> PyTree:
        """`num_draws` independent draws, on a leading axis; draw i depends on (key, i) alone."""
        law: Any = self  # whose noise depends on how many coordinates there are
        return sample(law, key, num_draws)

    def log_prob(self, x: PyTree) -> jax.Array:
        """log density at one position `x`."""
        trees.assert_like("x", x, self.mean, "like the mean")
        flat = trees.ravel(x)
        parts = [law.log_prob(flat[i][None]) for i, law in enumerate(self.coordinates)]
        return jnp.sum(jnp.stack(parts))


def product_law(
    kernel: Kernel,
    energy: Energy,
    start: Gaussian | ProductLaw,
    num_steps: int,
    *,
    tolerance: Any = None,
) -> ProductLaw:
    """The exact law after `num_steps` steps of a chain whose coordinates move independently.

    Args:
        kernel, energy: as for `coordinate`: a separable energy, and a kernel that accepts every
            step and mixes no coordinates.
        start: the law of the first position, of independent coordinates: a `Gaussian` with a
            diagonal covariance (0 for a point), or a `ProductLaw`.
        num_steps, tolerance: as for `grid_law`.

    Raises:
        NoGridLawError: the coordinates do not move independently. Also as for `grid_law`.
        ValueError: the start's covariance is not diagonal.
        TypeError, ValueError, UnstableStepError: as for `grid_law`.

    Example:
        >>> import jax.numpy as jnp, jlangevin as jl
        >>> energy, start = jl.energies.double_well(dim=3), jl.Gaussian(jnp.ones(3), jnp.eye(3) / 4)
        >>> law = jl.exact.product_law(jl.ula(0.05), energy, start, num_steps=40)
        >>> [round(float(v), 3) for v in law.mean]
        [0.151, 0.151, 0.151]
    """
    starts = _starts(start)
    laws = [
        grid_law(chain.kernel, chain.energy, first, num_steps, tolerance=tolerance)
        for chain, first in zip(coordinates(kernel, energy, start.mean), starts, strict=True)
    ]
    return _product(start.mean, laws)


def product_stationary(
    kernel: Kernel, energy: Energy, position: PyTree, *, tolerance: Any = None
) -> ProductLaw:
    """The stationary law of a chain whose coordinates move independently.

    Args:
        kernel, energy, position: as for `coordinate`.
        tolerance: as for `grid_stationary`.

    Raises:
        NoGridLawError: the coordinates do not move independently. Also as for `grid_stationary`.
        NoStationaryLawError, TypeError, ValueError: as for `grid_stationary`.

    Example:
        >>> import jax.numpy as jnp, jlangevin as jl
        >>> law = jl.exact.product_stationary(
        ...     jl.ula(0.05), jl.energies.double_well(dim=2), jnp.zeros(2))
        >>> round(float(law.cov[1, 1]), 3)
        0.789
    """
    chains = coordinates(kernel, energy, position)
    return _product(position, [grid_stationary(*chain, tolerance=tolerance) for chain in chains])


def product_target(
    energy: Energy, position: PyTree, temperature: Any = 1.0, *, tolerance: Any = None
) -> ProductLaw:
    """The law p ∝ exp(-E/T) itself of a separable energy.

    Args:
        energy: an energy that is a sum over coordinates; its gradient is checked at random
            positions.
        position, temperature, tolerance: as for `grid_target`.

    Raises:
        NoGridLawError: the energy is not separable. Also as for `grid_target`.
        NoEnergyError, NotNormalizableError, TypeError, ValueError: as for `grid_target`.

    Example:
        >>> import jax.numpy as jnp, jlangevin as jl
        >>> law = jl.exact.product_target(jl.energies.double_well(dim=2), jnp.zeros(2))
        >>> round(float(law.cov[0, 0]), 4)
        0.8327
    """
    chains = coordinates(ula(1.0), energy, position)
    laws = [
        grid_target(chain.energy, chain.position, temperature, tolerance=tolerance)
        for chain in chains
    ]
    return _product(position, laws)


def _product(like: PyTree, laws: list[GridLaw]) -> ProductLaw:
    means = jnp.concatenate([law.mean for law in laws])
    variances = jnp.concatenate([law.cov[0] for law in laws])
    stayed = np.prod([1 - float(law.left) for law in laws])
    return ProductLaw(
        trees.unraveler(trees.as_position("position", like))(means),
        jnp.diag(variances),
        tuple(laws),
        float(1 - stayed),
    )


def _starts(start: Any) -> list[Any]:
    """The law of each coordinate at the start."""
    if isinstance(start, ProductLaw):
        return list(start.coordinates)
    check_gaussian("start", start, "exact.product_law and exact.product_target give others")
    start.check_single("start")
    cov = np.asarray(start.cov)
    if np.any(cov != np.diag(np.diagonal(cov))):
        raise ValueError(
            "start: its coordinates depend on each other; a product of laws needs a diagonal "
            "covariance"
        )
    flat = trees.ravel(start.mean)
    return [Gaussian(flat[i][None], start.cov[i, i][None, None]) for i in range(len(flat))]
