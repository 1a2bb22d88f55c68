"""Pictures, by Matplotlib (extra `plot`). Each function draws on `ax` and returns it.

Without `ax` it makes a new figure, independent of pyplot's global state; `ax.figure.savefig` writes
it to a file. Draws are (draw, d) or (chain, draw, d), as `jlangevin.sample` keeps them. Where the
exact law is known, it is drawn beside the measurements.

The colours are those of Okabe and Ito (2008), which colour-blind readers can distinguish.
Matplotlib is imported when the first picture is made.
"""

from jlangevin._core.listing import listing
from jlangevin.plot._figure import COLORS, figure
from jlangevin.plot.animation import animate
from jlangevin.plot.bias import stationary_variance
from jlangevin.plot.density import cloud, density
from jlangevin.plot.grid import bias_and_relaxation, histogram
from jlangevin.plot.landscape import contours, score_field, trajectory
from jlangevin.plot.law import ecdf, qq
from jlangevin.plot.moments import mean, moment_against_steps, variance
from jlangevin.plot.series import autocorrelation, energy_trace, ksd, occupancy

__all__ = [
    "COLORS",
    "animate",
    "autocorrelation",
    "bias_and_relaxation",
    "cloud",
    "contours",
    "density",
    "ecdf",
    "energy_trace",
    "figure",
    "histogram",
    "ksd",
    "mean",
    "moment_against_steps",
    "occupancy",
    "qq",
    "score_field",
    "stationary_variance",
    "trajectory",
    "variance",
]

__dir__ = listing(__all__)
