"""Langevin sampling of energy-based models in JAX, checked against exact laws.

The path of a chain: a key becomes noise (`noise`), noise drives a kernel (`kernels`) on an energy
(`energies`), the driver repeats that over steps and chains (`sampling`), the kernel's own code
yields the exact law of what comes out (`exact`), and `verify` holds the samples against it.
"""

from importlib.metadata import version as _version

from jlangevin import (
    adaptation,
    diagnostics,
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
    NoClosedFormError,
    NoEnergyError,
    NoStationaryLawError,
    NotAffineError,
    NotAModeError,
    NotNormalizableError,
    UnstableStepError,
)
from jlangevin.kernels import (
    Info,
    Kernel,
    Schedule,
    annealed,
    barker,
    gradient_noise,
    leimkuhler_matthews,
    mala,
    malt,
    predictor_corrector,
    sghmc,
    sgld,
    tamed_ula,
    ula,
    underdamped,
)
from jlangevin.sampling import Run, SamplerState, position, resume, sample

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
    "NoClosedFormError",
    "NoEnergyError",
    "NoStationaryLawError",
    "NotAModeError",
    "NotAffineError",
    "NotNormalizableError",
    "Run",
    "SamplerState",
    "Schedule",
    "UnstableStepError",
    "adaptation",
    "annealed",
    "barker",
    "diagnostics",
    "energies",
    "estimators",
    "exact",
    "gradient_noise",
    "kernels",
    "leimkuhler_matthews",
    "mala",
    "malt",
    "noise",
    "position",
    "predictor_corrector",
    "reducers",
    "resume",
    "sample",
    "scores",
    "sghmc",
    "sgld",
    "tamed_ula",
    "ula",
    "underdamped",
    "verify",
    "warm_up",
]
