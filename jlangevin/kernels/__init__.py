"""One file per dynamics; `base` says what a kernel is."""

from jlangevin.kernels.barker import Barker, barker
from jlangevin.kernels.base import Energy, Info, Kernel, Schedule
from jlangevin.kernels.gradient_noise import GradientNoise, gradient_noise
from jlangevin.kernels.mala import MALA, mala
from jlangevin.kernels.malt import MALT, malt
from jlangevin.kernels.metropolis import MetropolisState
from jlangevin.kernels.preconditioner import Dense, Diagonal
from jlangevin.kernels.ula import ULA, ULAState, ula

__all__ = [
    "MALA",
    "MALT",
    "ULA",
    "Barker",
    "Dense",
    "Diagonal",
    "Energy",
    "GradientNoise",
    "Info",
    "Kernel",
    "MetropolisState",
    "Schedule",
    "ULAState",
    "barker",
    "gradient_noise",
    "mala",
    "malt",
    "ula",
]
