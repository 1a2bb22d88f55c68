"""Refusals by name: a question that has no answer gets an error that says why."""

from __future__ import annotations

from typing import Any

__all__ = [
    "AdaptationError",
    "AxesWarning",
    "CheckpointError",
    "CheckpointWarning",
    "DivergenceError",
    "DivergenceWarning",
    "EnergyWarning",
    "InterruptedWarning",
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
    "StuckWarning",
    "UnstableStepError",
    "WarmUpWarning",
]


class NotNormalizableError(ValueError):
    """exp(-E) has no finite integral, so there is no probability law to speak of."""


class NoClosedFormError(ValueError):
    """The quantity exists but has no closed form; what to do instead is in the message."""


class NoEnergyError(ValueError):
    """Only a score is known, or it is not the gradient of any energy."""


class NotAffineError(ValueError):
    """The step is not affine in state and noise, so its law is not Gaussian."""


class NotAModeError(ValueError):
    """The point is not a minimum of the energy."""


class UnstableStepError(ValueError):
    """The step size is beyond the stability limit: the chain grows without bound."""


class NoGridLawError(ValueError):
    """The chain's law cannot be had on a grid, or not to the accuracy asked for."""


class NoStationaryLawError(ValueError):
    """The chain has no stationary law."""


class NonFiniteLossError(ArithmeticError):
    """A loss, or its gradient, is not finite.

    Attributes:
        step: the updates done before it.
        loss: its value.
        fit: the `learn.Fit` after these updates, with the last good parameters.
    """

    def __init__(self, message: str, *, step: int, loss: float, fit: Any) -> None:
        super().__init__(message)
        self.step, self.loss, self.fit = step, loss, fit


class DivergenceError(ArithmeticError):
    """Chains turned non-finite, or met a fault of the energy, under on_divergence="raise"."""


class DivergenceWarning(RuntimeWarning):
    """Chains turned non-finite and were frozen."""


class EnergyWarning(RuntimeWarning):
    """The energy or its gradient is not a number where chains went or wanted to go, or the energy
    falls without end there."""


class PrecisionWarning(RuntimeWarning):
    """The dtype is too coarse for what chains do: their energies, or the walls of their domain."""


class StuckWarning(RuntimeWarning):
    """A kernel that accepts or rejects has rejected everything, or nearly, in some chains."""


class InterruptedWarning(UserWarning):
    """Ctrl-C ended a run between its blocks; what it had done is returned."""


class MiscompiledWarning(RuntimeWarning):
    """XLA may compute energies wrongly in a program of the caller's own."""


class NormalizerWarning(RuntimeWarning):
    """A normaliser is less certain than its standard error says."""


class RecompilationWarning(RuntimeWarning):
    """One piece of code is compiled again and again, because its parameters are not leaves."""


class AxesWarning(UserWarning):
    """An array has more chains than draws, as one whose axes were swapped would."""


class AdaptationError(ValueError):
    """Warm-up found no hyper-parameters that work."""


class WarmUpWarning(RuntimeWarning):
    """Warm-up ended before chains had settled, or left chains out that stayed behind."""


class CheckpointError(ValueError):
    """Checkpoints belong to another run or to something else, or hold more than is asked for."""


class CheckpointWarning(RuntimeWarning):
    """A checkpoint is damaged and was set aside; the run goes on from one before it, or again."""
