"""Converters to our convention, x' = x - η ∇E(x) + sqrt(2ηT) ξ.

The step sizes of other libraries differ from η by a factor of two or a square. The page on
conventions says which converter is for which library.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np

from jlangevin._core import trees
from jlangevin._core.checks import check_scalar, or_nan
from jlangevin._core.listing import listing
from jlangevin._core.trees import Number

__all__ = ["StepAndTemperature", "from_h", "from_noise_scale", "from_proposal_scale"]

__dir__ = listing(__all__)


class StepAndTemperature(NamedTuple):
    """The two hyper-parameters of our convention, a tuple to unpack; printed, it says what they
    mean."""

    step_size: Number  # η
    temperature: Number  # T

    def __str__(self) -> str:
        if not trees.is_concrete(self):
            return f"step size {self.step_size}, temperature {self.temperature}"
        eta, t = float(self.step_size), float(self.temperature)
        what = "p = exp(-E)" if t == 1 else f"exp(-E/T) = p^{1 / t:.4g}, not p = exp(-E)"
        return f"step size {eta:.4g}, temperature {t:.4g}: chains sample {what}"


def _converted(formula: Callable[..., Any], **given: Number) -> Any:
    """`formula` of positive numbers in floats of at least 32 bits, or an error unless positive.

    Squares of 8-bit integers would overflow, and those of half-precision floats underflow to 0.
    """
    numbers = [
        _as_wide_float(check_scalar(name, value, positive=True)) for name, value in given.items()
    ]
    try:
        with np.errstate(over="ignore", under="ignore"):
            value = formula(*numbers)
    except OverflowError:  # raised by Python numbers
        value = math.inf
    return or_nan(
        value,
        lambda xp, x: xp.isfinite(x) & (x > 0),
        lambda: ValueError(
            f"{', '.join(given)}: {' and '.join(map(str, given.values()))} give {value}, which is "
            "not finite and above zero; use another unit, or floats of more bits"
        ),
    )


def _as_wide_float(value: Number) -> Number:
    if isinstance(value, jax.Array):
        return trees.at_least_float32(value)
    dtype = getattr(value, "dtype", None)
    kept = dtype is not None and np.issubdtype(dtype, np.floating) and dtype.itemsize >= 4
    return value if kept else float(value)


def from_h(h: Number) -> Number:
    """η = h/2, for the convention x' = x + (h/2) ∇log p(x) + sqrt(h) ξ.

    It is used by Welling and Teh (2011), Song and Ermon (2019) with α for h, TensorFlow
    Probability, and CUQIpy, whose `scale` is h.

    Args:
        h: h > 0, a scalar.

    Returns:
        The step size η, a scalar in floats of 32 bits or more.

    Raises:
        TypeError, ValueError: h or η is not a finite, positive scalar.

    Example:
        >>> import jlangevin as jl
        >>> jl.conventions.from_h(0.02)
        0.01
    """
    return _converted(lambda h: h / 2, h=h)


def from_noise_scale(step_size: Number, sigma: Number) -> StepAndTemperature:
    """η and T = σ²/(2η), for the convention x' = x - η ∇E(x) + σ ξ with an independent noise scale.

    Energy-based models are often trained this way (Nijkamp, Hill, Zhu and Wu 2019). With noise
    smaller than sqrt(2η), such chains sample p^{1/T} at T < 1, which is sharper than p.

    Args:
        step_size: η > 0, the factor of the gradient, a scalar.
        sigma: σ > 0, the standard deviation of the noise in one step, a scalar.

    Returns:
        η and T.

    Raises:
        TypeError, ValueError: η, σ or T is not a finite, positive scalar.

    Example:
        >>> import jlangevin as jl
        >>> step_size, temperature = jl.conventions.from_noise_scale(0.5, sigma=0.1)
        >>> print(jl.conventions.from_noise_scale(0.5, sigma=0.1))
        step size 0.5, temperature 0.01: chains sample exp(-E/T) = p^100, not p = exp(-E)
        >>> kernel = jl.ula(step_size, temperature=temperature)
    """
    temperature = _converted(
        lambda sigma, eta: sigma**2 / (2 * eta), sigma=sigma, step_size=step_size
    )
    return StepAndTemperature(check_scalar("step_size", step_size, positive=True), temperature)


def from_proposal_scale(sigma: Number, temperature: Number = 1.0) -> Number:
    """η = σ²/(2T), for conventions whose step size is the standard deviation of a proposal.

    So it is in the `MALA` of flowMC and the `MALAMCMC` of PINTS, x + (σ²/2) ∇log p + σ ξ, and in
    the Barker proposals of BlackJAX and NumPyro (Livingstone and Zanella 2022).

    Args:
        sigma: σ > 0, a scalar.
        temperature: T > 0, a scalar.

    Returns:
        The step size η, a scalar.

    Raises:
        TypeError, ValueError: σ, T or η is not a finite, positive scalar.

    Example:
        >>> import jlangevin as jl
        >>> round(jl.conventions.from_proposal_scale(0.2), 6)
        0.02
    """
    return _converted(lambda sigma, t: sigma**2 / (2 * t), sigma=sigma, temperature=temperature)
