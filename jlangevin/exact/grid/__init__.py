"""Laws of chains in one dimension, on a grid: see `jlangevin.exact.grid_law`."""

from jlangevin.exact.grid.answers import grid_law, grid_stationary
from jlangevin.exact.grid.chain import grid_autocorrelation_time, grid_relaxation_time
from jlangevin.exact.grid.distances import total_variation, wasserstein1
from jlangevin.exact.grid.hitting import grid_hitting_time
from jlangevin.exact.grid.law import GridLaw
from jlangevin.exact.grid.target import grid_target

__all__ = [
    "GridLaw",
    "grid_autocorrelation_time",
    "grid_hitting_time",
    "grid_law",
    "grid_relaxation_time",
    "grid_stationary",
    "grid_target",
    "total_variation",
    "wasserstein1",
]
