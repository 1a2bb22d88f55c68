"""The simplex of probabilities."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.nn import log_softmax, softmax

from jlangevin._core.trees import pytree_dataclass
from jlangevin._core.vector_loops import apart
from jlangevin.domains.base import single_array

__all__ = ["Simplex", "simplex"]


# Where a move is, its direction, the share of it that is left, and how often it was reflected.
_Bounces = tuple[jax.Array, jax.Array, jax.Array, jax.Array]


@pytree_dataclass
class Simplex:
    """See `simplex`."""

    def contains(self, x: jax.Array) -> jax.Array:
        x = single_array(x, 1)
        return jnp.all(x >= 0) & (jnp.abs(jnp.sum(x) - 1) <= x.size * jnp.finfo(x.dtype).eps)

    def project(self, x: jax.Array) -> jax.Array:
        """max(x - τ, 0), where τ makes the sum 1 (Held, Wolfe and Crowder 1974)."""
        x = single_array(x, 1)
        x = x - jnp.max(x)  # changes only τ, and keeps digits
        falling = -jnp.sort(-x)
        excess = (jnp.cumsum(falling) - 1) / jnp.arange(1, x.size + 1).astype(x.dtype)
        last = jnp.sum(falling > excess) - 1
        return self._normalise(x - excess[last])

    def reflect(self, x: jax.Array, y: jax.Array) -> tuple[jax.Array, jax.Array]:
        """From face to face within the plane Σ x_i = 1, with at most 100 n reflections. A move
        with more ends where it began, with its direction reversed, which keeps it reversible."""
        x = single_array(x, 1)
        move = (y - x) - jnp.mean(y - x)
        most = 100 * x.size

        def time_to_a_face(x: jax.Array, move: jax.Array) -> jax.Array:
            inwards = move >= 0
            return jnp.where(inwards, jnp.inf, jnp.maximum(x, 0) / jnp.where(inwards, 1, -move))

        def leaves(carry: _Bounces) -> jax.Array:
            x, move, left, number = carry
            return (jnp.min(time_to_a_face(x, move)) < left) & (number < most)

        def bounce(carry: _Bounces) -> _Bounces:
            x, move, left, number = carry
            times = time_to_a_face(x, move)
            face = jnp.arange(x.size) == jnp.argmin(times)
            time = jnp.min(times)
            x = jnp.where(face, 0, x + time * move)
            # The face's normal within the plane is e_i - 1/n, with squared length 1 - 1/n.
            inwards = face.astype(x.dtype) - 1 / x.size
            speed = jnp.sum(jnp.where(face, move, 0))
            return x, move - 2 * speed / (1 - 1 / x.size) * inwards, left - time, number + 1

        start = (x, move, jnp.ones((), x.dtype), jnp.int32(0))
        end, turned, left, number = lax.while_loop(leaves, bounce, start)
        held = number == most
        end = jnp.where(number == 0, x + move, end + left * turned)
        return self._normalise(jnp.where(held, x, end)), jnp.where(held, -move, turned)

    def primal(self, u: jax.Array) -> jax.Array:
        return self._normalise(softmax(single_array(u, 1)))

    def dual(self, x: jax.Array, noise: jax.Array | None = None) -> jax.Array:
        logs = jnp.log(single_array(x, 1))
        spare = 0 if noise is None else jnp.mean(noise)
        return logs - jnp.mean(logs) + spare

    def tangent(self, v: jax.Array) -> jax.Array:
        """The part of v within the plane Σ x_i = 1."""
        return v - jnp.mean(v)

    def log_det(self, u: jax.Array) -> jax.Array:
        """log n + Σ log x_i within the plane, and a normal log density for the rest of u."""
        u = single_array(u, 1)
        spare = jnp.sum(u) ** 2 / u.size
        return jnp.sum(log_softmax(u)) - 0.5 * spare + np.log(u.size).astype(u.dtype)

    def _normalise(self, x: jax.Array) -> jax.Array:
        """`x` without negative entries, scaled to the sum 1 up to rounding."""
        # In a loop of its own: computed once more for the sum it could be rounded in another way.
        x = apart(lambda x: jnp.maximum(x, 0), x)
        return x / jnp.sum(x)


def simplex() -> Simplex:
    """The simplex x_i ≥ 0, Σ x_i = 1, for positions that are one vector of n ≥ 2 entries.

    A law on it is a density in the plane Σ x_i = 1; gradients and noise are projected onto that
    plane. The sum is 1 to n eps, as accurate as floats allow. A move is reflected from face to
    face, at most 100 n times. The dual coordinates are x = softmax(u). As x does not depend on
    their sum, that direction is given a standard normal law: `log_det` contains -(Σ u_i)²/(2n).

    Raises:
        TypeError: when used, if the position is not a single vector.

    Example:
        >>> import jax.numpy as jnp, jlangevin as jl
        >>> [round(float(x), 4) for x in jl.domains.simplex().project(jnp.array([0.9, 0.5, -1.0]))]
        [0.7, 0.3, 0.0]
    """
    return Simplex()
