"""The step size whose bias is known: by a formula, or on a grid in one dimension."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp

from jlangevin._core import trees
from jlangevin._core.arithmetic import product
from jlangevin._core.checks import check_scalar
from jlangevin._core.trees import Number, PyTree
from jlangevin.adaptation.grid_step_size import step_size_on_grid
from jlangevin.energies.base import Energy
from jlangevin.errors import NotAffineError, NotNormalizableError
from jlangevin.exact.target import quadratic_form
from jlangevin.kernels.base import Kernel
from jlangevin.kernels.preconditioner import Preconditioner, as_preconditioner
from jlangevin.kernels.ula import ula

__all__ = ["step_size_for"]


def step_size_for(
    energy: Energy,
    position: PyTree,
    *,
    bias: Number,
    preconditioner: Preconditioner | PyTree | None = None,
    kernel: Callable[[Number], Kernel] | None = None,
    function: Callable[[PyTree], jax.Array] | None = None,
) -> jax.Array:
    """The largest step size whose stationary variance is within a relative `bias` of the target's.

    On quadratic energies, for `ula`: its stationary variance along an eigenvalue λ of A (of L^T A L
    with a preconditioner P = L Lᵀ) is T/λ · 1/(1 - ηλ/2), so a relative bias δ is reached at
    η = 2δ / ((1 + δ) λ_max), and T is of no matter.

    On any other energy of one element, or where `kernel` or `function` is given, from the exact
    laws on a grid, `exact.grid_stationary` and `exact.grid_target`: the first step size, going up,
    at which |E_η f - E f| reaches δ |E f|, to a thousandth; or from which on the chain has no
    stationary law.

    Args:
        energy, position: as for `exact.target`.
        bias: δ > 0; 0.01 for one percent.
        preconditioner: as in `ula`.
        kernel: from a step size to a kernel, such as `jlangevin.tamed_ula`; `ula` by default. It
            and its temperature, which is the target's, are as for `exact.grid_law`.
        function: f of one position, a smooth scalar whose E f is not 0; by default it is the
            variance that counts.

    Returns:
        A step size.

    Raises:
        NotAffineError: the energy is not quadratic, and the position has more than one element.
        NoGridLawError: the kernel cannot be on a grid, or δ is less than ten times the error of
            its laws, or the kernel has no bias, as `mala` has none.
        NoEnergyError: as `exact.target`.
        NotNormalizableError: no direction of it is confined.
        TypeError: a position that is not floating.
        ValueError: E f is 0; a preconditioner is given besides a kernel or a function.

    Example:
        >>> import jax.numpy as jnp, jlangevin as jl
        >>> energy = jl.energies.quadratic(jnp.diag(jnp.array([1.0, 4.0])))
        >>> eta = jl.adaptation.step_size_for(energy, jnp.zeros(2), bias=0.25)
        >>> law = jl.exact.stationary(jl.ula(eta), energy, jnp.zeros(2))
        >>> round(float(law.cov[1, 1]), 4)  # the target's variance is 0.25
        0.3125
        >>> well = jl.energies.double_well()
        >>> round(float(jl.adaptation.step_size_for(well, jnp.zeros(1), bias=0.01)), 4)
        0.0119
    """
    bias = check_scalar("bias", bias, positive=True)
    position = trees.as_position("position", position, floating=True)
    if kernel is not None or function is not None:
        if preconditioner is not None:
            raise ValueError(
                "preconditioner: it is for the formula of ula on quadratic energies; give one to "
                "the kernel, kernel=lambda eta: jlangevin.ula(eta, preconditioner=P)"
            )
        return step_size_on_grid(energy, position, bias, kernel or ula, function)
    try:
        hessian, _ = quadratic_form(energy, position)
    except NotAffineError:
        if trees.size(position) != 1 or preconditioner is not None:
            raise
        return step_size_on_grid(energy, position, bias, ula, None)
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
