"""What draws say about themselves: arrays in, arrays out.

All of it works under `jit`, but for `bias` and `equalized`, which work on the host.

`summary` is a table of a whole run, and a verdict: where to begin.
`rhat` asks whether chains have mixed, `ess` what they are worth and `mcse` how well they estimate;
`meetings` how near coupled chains are to stationarity after any number of steps;
`stein`, `identities` and `modes` ask whether the draws have the law that an energy stands for;
`thinning` chooses a few of them that stand for all;
`bias` what a step size makes of it; `thermometers` what temperature a state has;
`swaps` how replicas of parallel tempering travel.
"""

from jlangevin._core.autocorrelation import integrated_time
from jlangevin._core.listing import listing
from jlangevin.diagnostics.bias import Bias, bias
from jlangevin.diagnostics.ess import autocorrelation, ess
from jlangevin.diagnostics.identities import Identities, Identity, identities
from jlangevin.diagnostics.mcse import mcse
from jlangevin.diagnostics.meetings import Bound, meeting_times, total_variation_bound
from jlangevin.diagnostics.modes import ModeOccupancy, mode_occupancy
from jlangevin.diagnostics.rhat import nested_rhat, rhat
from jlangevin.diagnostics.stein import KSDTest, ksd, ksd_test, stein_thinning
from jlangevin.diagnostics.summary import Summary, summary
from jlangevin.diagnostics.swaps import SwapReport, equalized, swap_report
from jlangevin.diagnostics.thermometers import (
    ConfigurationalTemperature,
    configurational_temperature,
    kinetic_temperature,
)
from jlangevin.diagnostics.thinning import kernel_thinning

__all__ = [
    "Bias",
    "Bound",
    "ConfigurationalTemperature",
    "Identities",
    "Identity",
    "KSDTest",
    "ModeOccupancy",
    "Summary",
    "SwapReport",
    "autocorrelation",
    "bias",
    "configurational_temperature",
    "equalized",
    "ess",
    "identities",
    "integrated_time",
    "kernel_thinning",
    "kinetic_temperature",
    "ksd",
    "ksd_test",
    "mcse",
    "meeting_times",
    "mode_occupancy",
    "nested_rhat",
    "rhat",
    "stein_thinning",
    "summary",
    "swap_report",
    "total_variation_bound",
]

__dir__ = listing(__all__)
