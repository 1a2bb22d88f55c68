"""The step size whose bias is known."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from jlangevin._core import trees
from jlangevin._core.arithmetic import product
from jlangevin._core.checks import check_scalar
from jlangevin._core.trees import PyTree
from jlangevin.energies.base import Energy
from jlangevin.errors import (
    NotNormalizableError,
)
from jlangevin.exact.target import quadratic_form
from jlangevin.kernels.preconditioner import as_preconditioner

__all__ = ["step_size_for"]


def step_size_for(
    energy: Energy, position: PyTree, *, bias: Any, preconditioner: Any = None
) -> jax.Array:
    """The largest step of `ula` whose stationary variance is within a relative `bias` everywhere.

    ULA's stationary variance along an eigenvalue λ of A (of L^T A L with a preconditioner
    P = L Lᵀ) is T/λ · 1/(1 - ηλ/2), so a relative bias δ is reached at η = 2δ / ((1 + δ) λ_max).

    Args:
        energy, position: as for `target`.
        bias: δ > 0; 0.01 for one percent.
        preconditioner: as in `ula`.

    Raises:
        NotAffineError: the energy is not quadratic.
        NoEnergyError: as `target`.
        NotNormalizableError: no direction of it is confined.
        TypeError: a position that is not floating.

    Example:
        >>> import jax.numpy as jnp, jlangevin as jl
        >>> energy = jl.energies.quadratic(jnp.diag(jnp.array([1.0, 4.0])))
        >>> eta = jl.adaptation.step_size_for(energy, jnp.zeros(2), bias=0.25)
        >>> law = jl.exact.stationary(jl.ula(eta), energy, jnp.zeros(2))
        >>> round(float(law.cov[1, 1]), 4)  # the target's variance is 0.25
        0.3125
    """
    bias = check_scalar("bias", bias, positive=True)
    position = trees.as_position("position", position, floating=True)
    hessian, _ = quadratic_form(energy, position)
    shape = as_preconditioner(preconditioner)
    if shape is not None:
        unravel = trees.unraveler(position)
        columns = jax.vmap(lambda column: trees.ravel(shape.factor(unravel(column))))
        lower = columns(jnp.eye(len(hessian), dtype=hessian.dtype)).T
        hessian = product(lower.T, hessian, lower)
    largest = jnp.linalg.eigvalsh(hessian)[-1]
    if trees.is_concrete(largest) and float(largest) <= 0:
        raise NotNormalizableError(
            f"energy: the largest eigenvalue of its Hessian is {float(largest):.3g}; no step size "
            "gives a stationary law; exact.law gives the law after a number of "
            "steps"
        )
    delta = jnp.asarray(bias, hessian.dtype)
    return jnp.where(largest > 0, 2 * delta / ((1 + delta) * largest), jnp.nan)
