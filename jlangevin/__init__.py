"""Langevin sampling of energy-based models in JAX, checked against exact laws.

The path of a chain: a key becomes noise (`noise`), noise drives a kernel (`kernels`) on an energy
(`energies`), the driver repeats that over steps and chains (`sampling`), the kernel's own code
yields the exact law of what comes out (`exact`), and `verify` tests the samples against it.

Signatures use these names for types:

- `PyTree`: a pytree of arrays, such as a position; `Energy`: a function of one position that
  returns a scalar; `Drawable`: a law that can be drawn from.
- `ArrayLike`: an array or a number; `Numbers`: also nested lists of numbers; `Number`: a scalar.
- `HyperLike`: a hyper-parameter, which is a number, a function of the step, or `each` of numbers.
"""

from importlib import import_module as _import_module
from importlib.metadata import version as _version
from typing import TYPE_CHECKING as _TYPE_CHECKING
from typing import Any as _Any

from jlangevin import domains, energies, kernels, noise, reducers, scores
from jlangevin._core.each import each
from jlangevin._core.listing import listing as _listing
from jlangevin.distribution import Gaussian
from jlangevin.errors import (
    AdaptationError,
    AxesWarning,
    CheckpointError,
    CheckpointWarning,
    DivergenceError,
    DivergenceWarning,
    EnergyWarning,
    InterruptedWarning,
    MiscompiledWarning,
    NoClosedFormError,
    NoEnergyError,
    NoGridLawError,
    NonFiniteLossError,
    NormalizerWarning,
    NoStationaryLawError,
    NotAffineError,
    NotAModeError,
    NotNormalizableError,
    PrecisionWarning,
    RecompilationWarning,
    StuckWarning,
    UnstableStepError,
    WarmUpWarning,
)
from jlangevin.kernels import (
    Info,
    Kernel,
    Schedule,
    adjusted_microcanonical,
    annealed,
    barker,
    coupled,
    ghmc,
    gradient_noise,
    leimkuhler_matthews,
    mala,
    malt,
    microcanonical,
    mirrored,
    predictor_corrector,
    projected,
    quicsort,
    reflected,
    reflected_mala,
    sghmc,
    sgld,
    tamed_ula,
    tempered,
    ula,
    underdamped,
)
from jlangevin.sampling import (
    Chunked,
    Run,
    SamplerState,
    position,
    resume,
    sample,
    sample_in_chunks,
)

if _TYPE_CHECKING:
    from jlangevin import (
        adaptation,
        conventions,
        diagnostics,
        estimators,
        exact,
        learn,
        normalizer,
        plot,
        starts,
        verify,
    )
    from jlangevin.adaptation import warm_up
    from jlangevin.normalizer import log_normalizer

__version__ = _version("jlangevin")

__all__ = [
    "AdaptationError",
    "AxesWarning",
    "CheckpointError",
    "CheckpointWarning",
    "Chunked",
    "DivergenceError",
    "DivergenceWarning",
    "EnergyWarning",
    "Gaussian",
    "Info",
    "InterruptedWarning",
    "Kernel",
    "MiscompiledWarning",
    "NoClosedFormError",
    "NoEnergyError",
    "NoGridLawError",
    "NoStationaryLawError",
    "NonFiniteLossError",
    "NormalizerWarning",
    "NotAModeError",
    "NotAffineError",
    "NotNormalizableError",
    "PrecisionWarning",
    "RecompilationWarning",
    "Run",
    "SamplerState",
    "Schedule",
    "StuckWarning",
    "UnstableStepError",
    "WarmUpWarning",
    "adaptation",
    "adjusted_microcanonical",
    "annealed",
    "barker",
    "conventions",
    "coupled",
    "diagnostics",
    "domains",
    "each",
    "energies",
    "estimators",
    "exact",
    "ghmc",
    "gradient_noise",
    "kernels",
    "learn",
    "leimkuhler_matthews",
    "log_normalizer",
    "mala",
    "malt",
    "microcanonical",
    "mirrored",
    "noise",
    "normalizer",
    "plot",
    "position",
    "predictor_corrector",
    "projected",
    "quicsort",
    "reducers",
    "reflected",
    "reflected_mala",
    "resume",
    "sample",
    "sample_in_chunks",
    "scores",
    "sghmc",
    "sgld",
    "starts",
    "tamed_ula",
    "tempered",
    "ula",
    "underdamped",
    "verify",
    "warm_up",
]


# What a run does not need is imported when it is first asked for.
_LATER = {
    "adaptation",
    "conventions",
    "diagnostics",
    "estimators",
    "exact",
    "normalizer",
    "learn",
    "plot",
    "starts",
    "verify",
}


def __getattr__(name: str) -> _Any:
    if name in _LATER:
        return _import_module(f"jlangevin.{name}")
    if name == "log_normalizer":
        return _import_module("jlangevin.normalizer").log_normalizer
    if name == "warm_up":
        return _import_module("jlangevin.adaptation").warm_up
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


__dir__ = _listing(__all__)
