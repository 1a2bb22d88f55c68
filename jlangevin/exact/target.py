"""The law exp(-E/T) of a quadratic energy."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jlangevin._core import trees
from jlangevin._core.checks import check_scalar
from jlangevin._core.compiling import compiled
from jlangevin._core.trees import Parted, PyTree
from jlangevin.distribution import Gaussian, unchecked_gaussian
from jlangevin.energies.base import Energy, GivenGradient, check_energy
from jlangevin.errors import (
    NoEnergyError,
    NotNormalizableError,
)
from jlangevin.exact.affine import derive_gradient, refuse_not_affine
from jlangevin.exact.per_chain import per_chain

__all__ = ["quadratic_form", "target"]


@per_chain
def target(energy: Energy, position: PyTree, temperature: ArrayLike = 1.0) -> Gaussian:
    """The law p ∝ exp(-E/T) of a quadratic energy: N(-A⁻¹ b, T A⁻¹).

    Args:
        energy: a quadratic energy, A = ∇²E, b = ∇E(0).
        position: one position, for structure, shapes and dtypes.
        temperature: T > 0.

    Raises:
        NotAffineError: the gradient is not affine, so p is not Gaussian.
        NoEnergyError: the energy is a score that is not a gradient.
        NotNormalizableError: A has an eigenvalue that is not positive.
        TypeError: the position is not floating.

    Example:
        >>> import jax.numpy as jnp, jlangevin as jl
        >>> energy = jl.energies.quadratic(4.0 * jnp.eye(1))
        >>> float(jl.exact.target(energy, jnp.zeros(1), temperature=2.0).cov[0, 0])
        0.5
    """
    temperature = check_scalar("temperature", temperature, positive=True)
    position = trees.as_position("position", position, floating=True)
    hessian, slope = quadratic_form(energy, position)
    values, mean, cov = _moments(hessian, slope, temperature)
    if trees.is_concrete(values):
        smallest, largest = float(values[0]), float(values[-1])
        if smallest <= 10 * float(jnp.finfo(values.dtype).eps) * len(values) * max(largest, 0.0):
            raise NotNormalizableError(
                f"energy: its Hessian has the eigenvalue {smallest:.3g}, which is not above zero, "
                "so exp(-E/T) has no finite integral; the law after a number of steps exists, see "
                "exact.law"
            )
    return unchecked_gaussian(trees.unraveler(position)(mean), cov)


def quadratic_form(energy: Energy, position: PyTree) -> tuple[jax.Array, jax.Array]:
    """A = ∇²E and b = ∇E(0) over the raveled position; an error if E is not quadratic."""
    check_energy(energy, position)
    hessian, slope, good, symmetric = _derived(Parted.of(energy), trees.zeros(position))
    refuse_not_affine(good, jnp.array(True))
    if trees.is_concrete(symmetric) and not bool(symmetric):
        raise NoEnergyError(
            "energy: the derivative of its score is not symmetric, so the score is not a gradient "
            "and there is no density exp(-E/T); exact.stationary gives the law a kernel tends to"
        )
    return hessian, slope


@compiled
def _derived(on: Parted, zeros: PyTree) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array]:
    """A, or NaN unless the gradient is affine and that of a function; b; and both of these."""
    energy = on.whole
    slope, good = derive_gradient(energy, zeros)
    symmetric = jnp.array(True)
    if isinstance(energy, GivenGradient):
        symmetric = _is_symmetric(slope.matrix)
    hessian = jnp.where(good & symmetric, (slope.matrix + slope.matrix.T) / 2, jnp.nan)
    return hessian, slope.offset, good, symmetric


@partial(compiled, quickly=True)
def _moments(
    hessian: jax.Array, slope: jax.Array, temperature: ArrayLike
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """The eigenvalues of A, -A⁻¹ b and T A⁻¹."""
    lower = jnp.linalg.cholesky(hessian)
    mean = -jax.scipy.linalg.cho_solve((lower, True), slope)
    cov = jax.scipy.linalg.cho_solve((lower, True), jnp.eye(len(slope), dtype=slope.dtype))
    return jnp.linalg.eigvalsh(hessian), mean, jnp.asarray(temperature, cov.dtype) * cov


def _is_symmetric(matrix: jax.Array) -> jax.Array:
    largest = jnp.max(jnp.abs(matrix), initial=0)
    tolerance = 1e3 * float(jnp.finfo(matrix.dtype).eps) * max(len(matrix), 1)
    return jnp.max(jnp.abs(matrix - matrix.T), initial=0) <= tolerance * largest
