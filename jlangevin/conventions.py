"""Converters to our one convention, x' = x - η ∇E(x) + sqrt(2ηT) ξ.

What a step size means differs from library to library by a factor of two or a square; the page on
conventions says which of these is for which.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from jlangevin._checks import check_scalar

__all__ = ["StepAndTemperature", "from_h", "from_noise_scale", "from_proposal_scale"]


class StepAndTemperature(NamedTuple):
    """Our two hyper-parameters; unpack it."""

    step_size: Any  # η
    temperature: Any  # T


def from_h(h: Any) -> Any:
    """η = h/2, of those who write x' = x + (h/2) ∇log p(x) + sqrt(h) ξ.

    That is Welling and Teh (2011), Song and Ermon (2019) with α for h, and TensorFlow Probability.

    Args:
        h: h > 0, a scalar.

    Returns:
        The step size η, a scalar like h.

    Raises:
        TypeError, ValueError: h is no finite, positive scalar.

    Example:
        >>> import jlangevin as jl
        >>> jl.conventions.from_h(0.02)
        0.01
    """
    check_scalar("h", h, positive=True)
    return h / 2


def from_noise_scale(step_size: Any, sigma: Any) -> StepAndTemperature:
    """η and T = σ²/(2η), of those who choose the noise by itself, x' = x - η ∇E(x) + σ ξ.

    As energy-based models are often trained (Nijkamp, Hill, Zhu and Wu 2019). With a noise that is
    smaller than sqrt(2η) such chains sample p^{1/T} at T < 1, sharper than p.

    Args:
        step_size: η > 0, the factor of the gradient, a scalar.
        sigma: σ > 0, the standard deviation of the noise of one step, a scalar.

    Returns:
        η and T.

    Raises:
        TypeError, ValueError: one of them is no finite, positive scalar.

    Example:
        >>> import jlangevin as jl
        >>> step_size, temperature = jl.conventions.from_noise_scale(0.5, sigma=0.1)
        >>> round(temperature, 6)
        0.01
        >>> kernel = jl.ula(step_size, temperature=temperature)
    """
    check_scalar("step_size", step_size, positive=True)
    check_scalar("sigma", sigma, positive=True)
    return StepAndTemperature(step_size, sigma**2 / (2 * step_size))


def from_proposal_scale(sigma: Any, temperature: Any = 1.0) -> Any:
    """η = σ²/(2T), of those whose step size is the standard deviation of a proposal.

    As in the Barker proposals of BlackJAX and NumPyro (Livingstone and Zanella 2022).

    Args:
        sigma: σ > 0, a scalar.
        temperature: T > 0, a scalar.

    Returns:
        The step size η, a scalar.

    Raises:
        TypeError, ValueError: one of them is no finite, positive scalar.

    Example:
        >>> import jlangevin as jl
        >>> round(jl.conventions.from_proposal_scale(0.2), 6)
        0.02
    """
    check_scalar("sigma", sigma, positive=True)
    check_scalar("temperature", temperature, positive=True)
    return sigma**2 / (2 * temperature)
