"""Laws of chains in one dimension, on a grid: see `jlangevin.exact.grid_law`."""

from jlangevin.exact.grid.answers import grid_law, grid_stationary
from jlangevin.exact.grid.law import GridLaw
from jlangevin.exact.grid.target import grid_target

__all__ = ["GridLaw", "grid_law", "grid_stationary", "grid_target"]
