"""One file per dynamics; `base` says what a kernel is."""

from jlangevin.kernels.base import Energy, Info, Kernel, Schedule
from jlangevin.kernels.gradient_noise import GradientNoise, gradient_noise
from jlangevin.kernels.preconditioner import Dense, Diagonal
from jlangevin.kernels.ula import ULA, ULAState, ula

__all__ = [
    "ULA",
    "Dense",
    "Diagonal",
    "Energy",
    "GradientNoise",
    "Info",
    "Kernel",
    "Schedule",
    "ULAState",
    "gradient_noise",
    "ula",
]
