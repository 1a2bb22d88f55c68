"""How steep an energy is, for step sizes by formula."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from jlangevin._core import trees
from jlangevin._core.checks import check_count
from jlangevin._core.trees import PyTree
from jlangevin.energies.base import Energy, check_energy, gradient

__all__ = ["curvature"]


def curvature(energy: Energy, position: PyTree, *, num_iterations: int = 50) -> jax.Array:
    """The largest eigenvalue of ∇²E at a position, in absolute value, by power iteration.

    On a quadratic energy it decides the stability and bias of kernels that accept everything:

        ula                    stable iff η λ_max < 2; along that eigenvector the variance has the
                               relative bias δ = z/2 / (1 - z/2), z = η λ_max: for a wanted δ take
                               η = 2 δ / ((1 + δ) λ_max)
        leimkuhler_matthews    stable iff η λ_max < 2, without bias underdamped            stable
        iff h² λ_max / m < 4, whatever the friction, for symmetric splittings; its docstring gives
        their bias

    For the bias along all eigenvectors, of any affine kernel, see `diagnostics.bias`. Each
    iteration costs a gradient's derivative along a vector, about two gradients.

    Args:
        energy: a callable from a position to a scalar, twice differentiable; or a score as
            `jlangevin.scores` makes them.
        position: where, a pytree of floating arrays; a mode, or a draw.
        num_iterations: 50 is enough unless other eigenvalues are close to the largest.

    Raises:
        TypeError: an energy that cannot be called, or a position that is not floating.
        ValueError: `num_iterations` below 1, an energy that is not a scalar, or a score that is not
            like the position.

    Example:
        >>> import jax.numpy as jnp, jlangevin as jl
        >>> energy = jl.energies.quadratic(jnp.diag(jnp.array([1.0, 50.0])))
        >>> round(float(jl.adaptation.curvature(energy, jnp.zeros(2))), 3)
        50.0
    """
    num_iterations = check_count("num_iterations", num_iterations, minimum=1)
    position = trees.as_position("position", position, floating=True)
    check_energy(energy, position)
    flat, unravel = ravel_pytree(position)

    def slope(x: jax.Array) -> jax.Array:
        return trees.ravel(gradient(energy, unravel(x)))

    def iterate(_: Any, v: jax.Array) -> jax.Array:
        turned = jax.jvp(slope, (flat,), (v,))[1]
        length = jnp.linalg.norm(turned)
        return jnp.where(length > 0, turned / length, v)

    start = jnp.cos(jnp.arange(1, flat.size + 1).astype(flat.dtype))  # unlikely to be orthogonal
    v = jax.lax.fori_loop(0, num_iterations, iterate, start / jnp.linalg.norm(start))
    return jnp.linalg.norm(jax.jvp(slope, (flat,), (v,))[1])
