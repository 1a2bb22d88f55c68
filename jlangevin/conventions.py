"""Converters to our one convention, x' = x - η ∇E(x) + sqrt(2ηT) ξ.

What a step size means differs from library to library by a factor of two or a square; the page on
conventions says which of these is for which.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np

from jlangevin._core import trees
from jlangevin._core.checks import check_scalar, or_nan

__all__ = ["StepAndTemperature", "from_h", "from_noise_scale", "from_proposal_scale"]


class StepAndTemperature(NamedTuple):
    """Our two hyper-parameters; unpack it."""

    step_size: Any  # η
    temperature: Any  # T


def _converted(formula: Callable[..., Any], **given: Any) -> Any:
    """`formula` of positive numbers, in floats of 32 bits or more; it has to be positive as well.

    Squares of 8-bit integers would wrap around, those of half precision be 0.
    """
    numbers = [
        _at_least_float32(check_scalar(name, value, positive=True)) for name, value in given.items()
    ]
    try:
        with np.errstate(over="ignore", under="ignore"):
            value = formula(*numbers)
    except OverflowError:  # of Python's own numbers
        value = math.inf
    return or_nan(
        value,
        lambda xp, x: xp.isfinite(x) & (x > 0),
        lambda: ValueError(
            f"{', '.join(given)}: {' and '.join(map(str, given.values()))} give {value}, which is "
            "not finite and above zero; take another unit, or floats of more bits"
        ),
    )


def _at_least_float32(value: Any) -> Any:
    if isinstance(value, jax.Array):
        return trees.at_least_float32(value)
    dtype = getattr(value, "dtype", None)
    kept = dtype is not None and np.issubdtype(dtype, np.floating) and dtype.itemsize >= 4
    return value if kept else float(value)


def from_h(h: Any) -> Any:
    """η = h/2, of those who write x' = x + (h/2) ∇log p(x) + sqrt(h) ξ.

    That is Welling and Teh (2011), Song and Ermon (2019) with α for h, and TensorFlow Probability.

    Args:
        h: h > 0, a scalar.

    Returns:
        The step size η, a scalar in floats of 32 bits or more.

    Raises:
        TypeError, ValueError: h is no finite, positive scalar, or η would be none.

    Example:
        >>> import jlangevin as jl
        >>> jl.conventions.from_h(0.02)
        0.01
    """
    return _converted(lambda h: h / 2, h=h)


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
        TypeError, ValueError: one of them is no finite, positive scalar, or T would be none.

    Example:
        >>> import jlangevin as jl
        >>> step_size, temperature = jl.conventions.from_noise_scale(0.5, sigma=0.1)
        >>> round(temperature, 6)
        0.01
        >>> kernel = jl.ula(step_size, temperature=temperature)
    """
    temperature = _converted(
        lambda sigma, eta: sigma**2 / (2 * eta), sigma=sigma, step_size=step_size
    )
    return StepAndTemperature(check_scalar("step_size", step_size, positive=True), temperature)


def from_proposal_scale(sigma: Any, temperature: Any = 1.0) -> Any:
    """η = σ²/(2T), of those whose step size is the standard deviation of a proposal.

    As in the Barker proposals of BlackJAX and NumPyro (Livingstone and Zanella 2022).

    Args:
        sigma: σ > 0, a scalar.
        temperature: T > 0, a scalar.

    Returns:
        The step size η, a scalar.

    Raises:
        TypeError, ValueError: one of them is no finite, positive scalar, or η would be none.

    Example:
        >>> import jlangevin as jl
        >>> round(jl.conventions.from_proposal_scale(0.2), 6)
        0.02
    """
    return _converted(lambda sigma, t: sigma**2 / (2 * t), sigma=sigma, temperature=temperature)
