"""How steep an energy is: what a step size by formula needs to know."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from jlangevin._core import trees
from jlangevin._core.checks import check_count
from jlangevin.energies.base import Energy, check_energy, gradient

__all__ = ["curvature"]


def curvature(energy: Energy, position: Any, *, num_iterations: int = 50) -> jax.Array:
    """The largest eigenvalue of ∇²E at a position, in absolute value, by power iteration.

    What a kernel that accepts everything makes of it, on a quadratic energy:

        ula                    stable iff η λ_max < 2; along that eigenvector the variance has the
                               relative bias δ = z/2 / (1 - z/2), z = η λ_max: for a wanted δ take
                               η = 2 δ / ((1 + δ) λ_max)
        leimkuhler_matthews    stable iff η λ_max < 2, without bias
        underdamped            stable iff h² λ_max / m < 4, whatever the friction, by the symmetric
                               splittings; what bias these have is in its docstring

    For the bias along all eigenvectors, of any affine kernel, see `diagnostics.bias`. Each
    iteration costs a gradient's derivative along a vector, about two gradients.

    Args:
        energy: a callable from a position to a scalar, twice differentiable; or a score as
            `jlangevin.scores` makes them.
        position: where, a pytree of floating arrays; a mode, or a draw.
        num_iterations: enough where the largest eigenvalue is not alone.

    Raises:
        TypeError: an energy that cannot be called, or a position that is not floating.
        ValueError: `num_iterations` below 1, an energy that is no scalar, or a score that is not
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

    start = jnp.cos(jnp.arange(1, flat.size + 1).astype(flat.dtype))  # orthogonal to none by design
    v = jax.lax.fori_loop(0, num_iterations, iterate, start / jnp.linalg.norm(start))
    return jnp.linalg.norm(jax.jvp(slope, (flat,), (v,))[1])
