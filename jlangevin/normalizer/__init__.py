"""Normalisers: log Z of an energy with bounds, ratios of two, and how likely data are.

Begin with `log_normalizer`: chains go from a law that is known to the energy, and back.
`log_ratio` is the same between two energies, neither of which need be known.
`log_likelihood` says what an energy thinks of data, given its log Z.

Their parts: `switched` is a kernel that turns one energy into another and weighs the chain (in
`switching`), `path` runs it in both directions, `jarzynski` and `bennett` make an estimate of the
weights (in `estimates`, with `bounds`), and `LogZ` is what is known then (in `report`).

Of the draws of a `tempered` kernel, `tempered_log_z` and `multistate` estimate log Z at every
temperature, and `thermodynamic` integrates between them. `tune_ladder` finds the temperatures.
"""

from jlangevin._core.listing import listing
from jlangevin.normalizer.annealing import log_normalizer, log_ratio
from jlangevin.normalizer.estimates import bennett, jarzynski
from jlangevin.normalizer.ladder import TunedLadder, tune_ladder
from jlangevin.normalizer.likelihood import LogLikelihood, log_likelihood
from jlangevin.normalizer.multistate import Multistate, multistate, tempered_log_z
from jlangevin.normalizer.path import Path, path
from jlangevin.normalizer.report import LogZ, Weights
from jlangevin.normalizer.switching import Switched, SwitchedState, switched
from jlangevin.normalizer.thermodynamic import Thermodynamic, thermodynamic

__all__ = [
    "LogLikelihood",
    "LogZ",
    "Multistate",
    "Path",
    "Switched",
    "SwitchedState",
    "Thermodynamic",
    "TunedLadder",
    "Weights",
    "bennett",
    "jarzynski",
    "log_likelihood",
    "log_normalizer",
    "log_ratio",
    "multistate",
    "path",
    "switched",
    "tempered_log_z",
    "thermodynamic",
    "tune_ladder",
]

__dir__ = listing(__all__)
