"""One file per dynamics; `base` says what a kernel is."""

from jlangevin._core.deprecation import renamed
from jlangevin._core.listing import listing
from jlangevin.energies.base import Energy, gradient
from jlangevin.kernels.adjusted_microcanonical import (
    AdjustedMicrocanonical,
    adjusted_microcanonical,
)
from jlangevin.kernels.annealed import Annealed, Levels, annealed
from jlangevin.kernels.barker import Barker, barker
from jlangevin.kernels.base import Info, Kernel, Rejections, Schedule
from jlangevin.kernels.coupled import Coupled, CoupledState, coupled
from jlangevin.kernels.ghmc import GHMC, GHMCState, ghmc
from jlangevin.kernels.gradient_noise import GradientNoise, gradient_noise
from jlangevin.kernels.leimkuhler_matthews import (
    LeimkuhlerMatthews,
    LeimkuhlerMatthewsState,
    leimkuhler_matthews,
)
from jlangevin.kernels.mala import MALA, mala
from jlangevin.kernels.malt import MALT, malt
from jlangevin.kernels.metropolis import MetropolisState
from jlangevin.kernels.microcanonical import (
    Microcanonical,
    MicrocanonicalState,
    microcanonical,
)
from jlangevin.kernels.mirrored import Mirrored, MirroredState, mirrored
from jlangevin.kernels.preconditioner import Dense, Diagonal, LowRank
from jlangevin.kernels.predictor_corrector import PredictorCorrector, predictor_corrector
from jlangevin.kernels.projected import Projected, projected
from jlangevin.kernels.quicsort import QUICSORT, QUICSORTState, quicsort
from jlangevin.kernels.reflected import Reflected, reflected
from jlangevin.kernels.reflected_mala import ReflectedMALA, reflected_mala
from jlangevin.kernels.sghmc import SGHMC, SGHMCState, sghmc
from jlangevin.kernels.sgld import SGLD, sgld
from jlangevin.kernels.tamed_ula import TamedULA, TamedULAState, tamed_ula
from jlangevin.kernels.tempered import Tempered, TemperedState, tempered
from jlangevin.kernels.ula import ULA, ULAState, ula
from jlangevin.kernels.underdamped import (
    Underdamped,
    UnderdampedState,
    underdamped,
)

__all__ = [
    "GHMC",
    "MALA",
    "MALT",
    "QUICSORT",
    "SGHMC",
    "SGLD",
    "ULA",
    "AdjustedMicrocanonical",
    "Annealed",
    "Barker",
    "Coupled",
    "CoupledState",
    "Dense",
    "Diagonal",
    "Energy",
    "GHMCState",
    "GradientNoise",
    "Info",
    "Kernel",
    "LeimkuhlerMatthews",
    "LeimkuhlerMatthewsState",
    "Levels",
    "LowRank",
    "MetropolisState",
    "Microcanonical",
    "MicrocanonicalState",
    "Mirrored",
    "MirroredState",
    "PredictorCorrector",
    "Projected",
    "QUICSORTState",
    "Reflected",
    "ReflectedMALA",
    "Rejections",
    "SGHMCState",
    "Schedule",
    "TamedULA",
    "TamedULAState",
    "Tempered",
    "TemperedState",
    "ULAState",
    "Underdamped",
    "UnderdampedState",
    "adjusted_microcanonical",
    "annealed",
    "barker",
    "coupled",
    "ghmc",
    "gradient",
    "gradient_noise",
    "leimkuhler_matthews",
    "mala",
    "malt",
    "microcanonical",
    "mirrored",
    "predictor_corrector",
    "projected",
    "quicsort",
    "reflected",
    "reflected_mala",
    "sghmc",
    "sgld",
    "tamed_ula",
    "tempered",
    "ula",
    "underdamped",
]

__dir__ = listing(__all__)

__getattr__ = renamed(
    __name__,
    {
        name: f"jlangevin.diagnostics.{name}"
        for name in (
            "ConfigurationalTemperature",
            "configurational_temperature",
            "kinetic_temperature",
        )
    },
    since="0.1",
)
