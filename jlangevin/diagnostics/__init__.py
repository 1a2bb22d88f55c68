"""Diagnostics of draws: arrays in, arrays out.

Everything works under `jit`, except `bias` and `equalized`, which work on the host.

Begin with `summary`: a table of a whole run, and a verdict.
`rhat` says whether chains have mixed, `ess` what they are worth, `mcse` how well they estimate, and
`meetings` how near coupled chains are to stationarity after any number of steps.
`stein`, `identities` and `modes` say whether the draws have the law of an energy.
`thinning` chooses a few draws that represent all.
`bias` predicts the effect of a step size, `thermometers` measure the temperature of a state, and
`swaps` says how replicas of parallel tempering travel.
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
