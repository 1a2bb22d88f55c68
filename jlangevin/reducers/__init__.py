"""Streaming statistics of a run, which do not need its draws.

A reducer consists of three pure functions for one chain:

    init(state)                    the accumulator before any draw; `state` gives shapes and dtypes
    update(accumulator, state, n)  the accumulator after the n-th draw, n = 1, 2, …
    finish(accumulator, n)         the result after n draws

The driver maps them over chains and calls them for the states that `draws` would hold: those after
burn-in, thinned. Memory does not grow with the number of steps. `pooled(reducer)` gives one result
for all chains, which are combined only then, after the last step.

Each sum is kept in two floats, so that it does not stall: in float32, a plain sum of ones stops at
2**24, and Welford's mean stops moving once an increment is below half a unit in its last place.
"""

from jlangevin._core.listing import listing
from jlangevin.reducers.autocovariance import Autocovariance, autocovariance
from jlangevin.reducers.base import Reducer
from jlangevin.reducers.custom import custom
from jlangevin.reducers.expectation import expectation
from jlangevin.reducers.extrema import Extrema, extrema
from jlangevin.reducers.histogram import Histogram, histogram
from jlangevin.reducers.merge import merge
from jlangevin.reducers.moments import Moments, moments
from jlangevin.reducers.pooled import Pooled, pooled
from jlangevin.reducers.split_rhat import split_rhat

__all__ = [
    "Autocovariance",
    "Extrema",
    "Histogram",
    "Moments",
    "Pooled",
    "Reducer",
    "autocovariance",
    "custom",
    "expectation",
    "extrema",
    "histogram",
    "merge",
    "moments",
    "pooled",
    "split_rhat",
]

__dir__ = listing(__all__)
