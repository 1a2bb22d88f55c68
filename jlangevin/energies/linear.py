"""The linear energy, for which exp(-E) is not normalisable: a chain on it drifts forever."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from jlangevin._core.checks import (
    as_array,
    check_finite,
)
from jlangevin._core.trees import Numbers, pytree_dataclass
from jlangevin.energies.analytic import Analytic, check_position
from jlangevin.errors import NotNormalizableError

__all__ = ["Linear", "linear"]


@pytree_dataclass
class Linear(Analytic):
    """See `linear`."""

    theta: jax.Array

    def __call__(self, x: jax.Array) -> jax.Array:
        check_position(self, x, self.theta.shape[0])
        return jnp.sum(self.theta * x)

    def _refusal(self, what: str) -> ValueError:
        return NotNormalizableError(
            f"Linear: {what} does not exist: exp(-θ·x) has no finite integral over R^d. "
            "Use the law after a finite number of steps (exact.law), or bound the energy"
        )


def linear(theta: Numbers) -> Linear:
    """E(x) = θ·x on R^d, the notebook's energy. exp(-E) has no finite integral.

    Args:
        theta: θ, shape (d,).

    Raises:
        ValueError: θ is not a finite vector.
        NotNormalizableError: on `log_z`, `mean`, `cov` and `sample`, which do not exist.

    Example:
        >>> import jax.numpy as jnp, jlangevin as jl
        >>> float(jl.energies.linear([1.0, 2.0])(jnp.array([3.0, 0.5])))
        4.0
    """
    return Linear(check_finite("theta", as_array("theta", theta, ndim=1)))
