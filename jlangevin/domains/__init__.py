"""Closed convex sets that positions are confined to, and the maps that keep them there.

Each domain is a frozen dataclass whose parameters are pytree leaves, with

    contains(x)     whether x is inside, a boolean scalar
    project(x)      the nearest point of the domain
    reflect(x, y)   where the straight move from x to y ends if walls reflect it, as light, and the
                    move as it is after the last of them: as long as y - x, but turned
    primal(u)       a smooth map of all of space onto the interior, the gradient of a convex
                    function: ∇h* of a mirror map h
    dual(x, noise)  its inverse; not finite on the boundary. Where x does not say all of u, as on a
                    simplex, the rest is made of `noise`, normals like x, and is 0 without
    log_det(u)      log |det ∂x/∂u|
    tangent(v)      the part of a direction along which the domain extends: all of it but on a
                    simplex, which is flat

for one position; over many, use `jax.vmap`. Where a parameter is an array like the position, what
has another shape is refused. From numbers alone no shape is known: `ball(0.0, 1.0)` takes an array
(100, 2) for one position of 200 coordinates, and `box(0.0, 1.0)` says once whether all of it is
inside; `ball(jnp.zeros(2), 1.0)` and `box(jnp.zeros(2), 1.0)` refuse it. Any other object with
these is a domain too. What `project`, `reflect` and `primal` give is inside in exact arithmetic,
not up to rounding: a point within a few roundings of a curved or slanted wall is moved inwards by
as much. What is not a number stays so.
"""

from jlangevin.domains.ball import Ball, ball
from jlangevin.domains.base import Domain
from jlangevin.domains.box import Box, box
from jlangevin.domains.confined import Confined, confine
from jlangevin.domains.half_space import HalfSpace, half_space
from jlangevin.domains.simplex import Simplex, simplex

__all__ = [
    "Ball",
    "Box",
    "Confined",
    "Domain",
    "HalfSpace",
    "Simplex",
    "ball",
    "box",
    "confine",
    "half_space",
    "simplex",
]
