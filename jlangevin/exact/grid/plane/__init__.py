"""Laws of chains whose state has two dimensions, on an evenly spaced lattice.

`steps` evaluates the kernel's step; `lattice` has the points, and functions between them; `carried`
is the step of a position and the normal that its state was made of, `spread` that of positions of
two elements; `parts` says where to look, `solve` how fine, and `answers` what was asked.
"""

from jlangevin.exact.grid.plane.law import Carried, PlaneLaw

__all__ = ["Carried", "PlaneLaw"]
