"""Laws of chains whose state has two dimensions, on an evenly spaced lattice.

`steps` evaluates the kernel's step; `lattice` has the points, and functions between them. `carried`
has the matrix for a position and the normal that is carried with it, `spread` the matrix for
positions of two elements. `parts` decides where to look, `solve` how fine the lattice is, and
`answers` gives the laws.
"""

from jlangevin.exact.grid.plane.law import Carried, PlaneLaw

__all__ = ["Carried", "PlaneLaw"]
