"""Laws of chains in one dimension and in the plane, on a grid, and products of such laws: see
`exact.grid_law`."""

from jlangevin.exact.grid.answers import grid_law, grid_stationary
from jlangevin.exact.grid.chain import grid_autocorrelation_time, grid_relaxation_time
from jlangevin.exact.grid.coordinates import Coordinate, coordinate
from jlangevin.exact.grid.derivatives import grid_value_and_grad
from jlangevin.exact.grid.distances import total_variation, wasserstein1
from jlangevin.exact.grid.hitting import grid_hitting_time
from jlangevin.exact.grid.law import GridLaw
from jlangevin.exact.grid.plane.law import Carried, PlaneLaw
from jlangevin.exact.grid.product import (
    ProductLaw,
    product_law,
    product_stationary,
    product_target,
)
from jlangevin.exact.grid.target import grid_target

__all__ = [
    "Carried",
    "Coordinate",
    "GridLaw",
    "PlaneLaw",
    "ProductLaw",
    "coordinate",
    "grid_autocorrelation_time",
    "grid_hitting_time",
    "grid_law",
    "grid_relaxation_time",
    "grid_stationary",
    "grid_target",
    "grid_value_and_grad",
    "product_law",
    "product_stationary",
    "product_target",
    "total_variation",
    "wasserstein1",
]
