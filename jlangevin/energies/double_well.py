"""A double well along each coordinate."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jlangevin._core import trees
from jlangevin._core.checks import (
    check_count,
    check_scalar,
)
from jlangevin._core.trees import Number, pytree_dataclass, static_field
from jlangevin.energies.analytic import Analytic, check_position, in_common_dtype

__all__ = ["DoubleWell", "double_well"]


@pytree_dataclass
class DoubleWell(Analytic):
    """See `double_well`."""

    height: Number
    minimum: Number
    dim: int = static_field()

    def __call__(self, x: jax.Array) -> jax.Array:
        check_position(self, x, self.dim)
        excess = (x / self.minimum) ** 2 - 1
        return self.height * jnp.sum(excess**2)

    def _integral(self, power: int) -> jax.Array:
        """∫ y^power exp(-h (y² - 1)²) dy over R for an even power, y = x / minimum.

        The trapezoidal rule converges geometrically for an analytic integrand that is even or
        negligible at the ends. Applied to the half line, out to where exp(-E) < 1e-17, it has no
        error but rounding. Nodes are stored as y - 1, so that narrow wells keep their digits.
        """
        h = jnp.asarray(self.height, self._dtype)
        reach = jnp.sqrt(40 / lax.stop_gradient(h))
        low = -reach / (1 + jnp.sqrt(jnp.maximum(1 - reach, 0)))
        low, high = jnp.maximum(low, -1), reach / (1 + jnp.sqrt(1 + reach))
        nodes, intervals = np.arange(513), 512
        w = low + (high - low) / intervals * nodes.astype(h.dtype)
        weights = np.where((nodes == 0) | (nodes == intervals), 0.5, 1.0).astype(h.dtype)
        values = (1 + w) ** power * jnp.exp(-h * (w * (w + 2)) ** 2)
        return 2 * jnp.sum(weights * values) * (high - low) / intervals

    @property
    def log_z(self) -> jax.Array:
        return self.dim * jnp.log(self._integral(0) * self.minimum)

    @property
    def mean(self) -> jax.Array:
        return jnp.zeros(self.dim, self._dtype) * self.minimum * self.height

    @property
    def cov(self) -> jax.Array:
        variance = self.minimum**2 * self._integral(2) / self._integral(0)
        return variance * jnp.eye(self.dim, dtype=self._dtype)

    @property
    def _dtype(self) -> np.dtype:
        return trees.common_dtype(self.height, self.minimum)


def double_well(height: Number = 1.0, minimum: Number = 1.0, *, dim: int = 1) -> DoubleWell:
    """E(x) = h Σ_i ((x_i / a)² - 1)²: two wells in each coordinate, at ±a, barrier h.

    `log_z` and `cov` are one-dimensional integrals, evaluated to rounding by quadrature; there is
    no exact sampler in closed form.

    Args:
        height: h > 0, the barrier between the wells in units of E.
        minimum: a > 0, where the wells are.
        dim: d, the number of coordinates; there are 2^d wells.

    Raises:
        ValueError: h or a is not finite and positive, or d < 1.
        NoClosedFormError: on `sample`.

    Example:
        >>> import jax.numpy as jnp, jlangevin as jl
        >>> float(jl.energies.double_well(height=3.0)(jnp.zeros(1)))
        3.0
    """
    height, minimum = in_common_dtype(
        check_scalar("height", height, positive=True),
        check_scalar("minimum", minimum, positive=True),
    )
    return DoubleWell(height, minimum, check_count("dim", dim, minimum=1))
