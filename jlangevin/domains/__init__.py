"""Closed convex sets that positions are confined to, and the maps that keep them there; and tori,
which have no walls.

Each domain is a frozen dataclass whose parameters are pytree leaves. Its methods, for one position,
are

    contains(x)     whether x is inside, a boolean scalar
    project(x)      the nearest point of the domain
    reflect(x, y)   the end of the straight move from x to y if walls reflect it like light, and
                    the move after the last reflection: as long as y - x, but in its new direction
    primal(u)       a smooth map of the whole space onto the interior, the gradient of a convex
                    function: ∇h* of a mirror map h
    dual(x, noise)  its inverse; not finite on the boundary. Where x does not determine u, as on a
                    simplex, the rest of u is made of `noise`, normals like x, or 0 without them
    log_det(u)      log |det ∂x/∂u|
    tangent(v)      the part of a direction that lies along the domain: all of it, except on a
                    simplex, which is flat

Over many positions use `jax.vmap`. If a parameter is an array like the position, positions of
another shape are refused. Numbers do not determine a shape: `ball(0.0, 1.0)` reads an array
(100, 2) as one position of 200 coordinates, and `box(0.0, 1.0)` returns one answer for all of it;
`ball(jnp.zeros(2), 1.0)` and `box(jnp.zeros(2), 1.0)` refuse it. Any other object with these
methods is a domain too. The results of `project`, `reflect` and `primal` are inside in exact
arithmetic, not just up to rounding: a point within a few roundings of a curved or slanted wall is
moved inwards by as much. NaN stays NaN.
"""

from jlangevin._core.listing import listing
from jlangevin.domains.ball import Ball, ball
from jlangevin.domains.base import Domain
from jlangevin.domains.box import Box, box
from jlangevin.domains.confined import Confined, confine
from jlangevin.domains.half_space import HalfSpace, half_space
from jlangevin.domains.simplex import Simplex, simplex
from jlangevin.domains.torus import Torus, torus

__all__ = [
    "Ball",
    "Box",
    "Confined",
    "Domain",
    "HalfSpace",
    "Simplex",
    "Torus",
    "ball",
    "box",
    "confine",
    "half_space",
    "simplex",
    "torus",
]

__dir__ = listing(__all__)
