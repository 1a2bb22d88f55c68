"""Langevin sampling of energy-based models in JAX, checked against exact laws.

The path of a chain: a key becomes noise (`noise`), noise drives a kernel (`kernels`) on an energy
(`energies`), the driver repeats that over steps and chains (`sampling`), the kernel's own code
yields the exact law of what comes out (`exact`), and `verify` holds the samples against it.
"""

from importlib import import_module as _import_module
from importlib.metadata import version as _version
from typing import TYPE_CHECKING as _TYPE_CHECKING
from typing import Any as _Any

from jlangevin import (
    adaptation,
    conventions,
    diagnostics,
    domains,
    energies,
    estimators,
    exact,
    kernels,
    noise,
    reducers,
    scores,
    verify,
)
from jlangevin.adaptation import warm_up
from jlangevin.distribution import Gaussian
from jlangevin.errors import (
    AdaptationError,
    CheckpointError,
    CheckpointWarning,
    DivergenceError,
    DivergenceWarning,
    MiscompiledWarning,
    NoClosedFormError,
    NoEnergyError,
    NoStationaryLawError,
    NotAffineError,
    NotAModeError,
    NotNormalizableError,
    StuckWarning,
    UnstableStepError,
)
from jlangevin.kernels import (
    Info,
    Kernel,
    Schedule,
    annealed,
    barker,
    coupled,
    gradient_noise,
    leimkuhler_matthews,
    mala,
    malt,
    mirrored,
    predictor_corrector,
    projected,
    reflected,
    reflected_mala,
    sghmc,
    sgld,
    tamed_ula,
    tempered,
    ula,
    underdamped,
)
from jlangevin.sampling import Run, SamplerState, position, resume, sample

if _TYPE_CHECKING:
    from jlangevin import plot

__version__ = _version("jlangevin")

__all__ = [
    "AdaptationError",
    "CheckpointError",
    "CheckpointWarning",
    "DivergenceError",
    "DivergenceWarning",
    "Gaussian",
    "Info",
    "Kernel",
    "MiscompiledWarning",
    "NoClosedFormError",
    "NoEnergyError",
    "NoStationaryLawError",
    "NotAModeError",
    "NotAffineError",
    "NotNormalizableError",
    "Run",
    "SamplerState",
    "Schedule",
    "StuckWarning",
    "UnstableStepError",
    "adaptation",
    "annealed",
    "barker",
    "conventions",
    "coupled",
    "diagnostics",
    "domains",
    "energies",
    "estimators",
    "exact",
    "gradient_noise",
    "kernels",
    "leimkuhler_matthews",
    "mala",
    "malt",
    "mirrored",
    "noise",
    "plot",
    "position",
    "predictor_corrector",
    "projected",
    "reducers",
    "reflected",
    "reflected_mala",
    "resume",
    "sample",
    "scores",
    "sghmc",
    "sgld",
    "tamed_ula",
    "tempered",
    "ula",
    "underdamped",
    "verify",
    "warm_up",
]


def __getattr__(name: str) -> _Any:
    """`plot`, for which only those wait who draw."""
    if name == "plot":
        return _import_module("jlangevin.plot")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
