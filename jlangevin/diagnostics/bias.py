"""The bias of a step size: the prediction of a quadratic at a mode, compared with draws.

Near a minimum x* an energy is E(x*) + ½ (x - x*)ᵀA(x - x*) + …, A = ∇²E(x*). On that quadratic
the law of an affine kernel is exact: N(x*, S), where the target is N(x*, T A⁻¹). Along each
eigenvector u of A, with eigenvalue λ, the relative error of the variance is

    uᵀS u / (T/λ) - 1                                                 (ULA: (ηλ/2) / (1 - ηλ/2))

This is exact on Gaussians; elsewhere it is the leading order for low temperatures, at which the
draws see only the quadratic.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from numpy.typing import NDArray

from jlangevin import energies, exact
from jlangevin._core.arithmetic import product
from jlangevin._core.checks import (
    as_array,
    as_draws,
    as_draws_array,
    check_finite,
    check_known,
    check_scalar,
    check_spd,
)
from jlangevin._core.compiling import compiled, compiled_by_size
from jlangevin._core.trees import Numbers, Parted
from jlangevin.diagnostics.mcse import mcse_of_mean
from jlangevin.energies.base import Energy, check_energy, gradient
from jlangevin.errors import NotAModeError
from jlangevin.kernels.base import Kernel, Schedule, check_kernel

__all__ = ["Bias", "bias"]

Floats = NDArray[np.float64]

_MAX_DISTANCE = 0.01  # of a standard deviation, from the minimum of the quadratic
_ROWS = 12


@dataclasses.dataclass(frozen=True)
class Bias:
    """The result of `bias`; printed, it is a table.

    Attributes:
        directions: the eigenvectors of the Hessian, one per row, (d, d).
        curvature: their eigenvalues λ, ascending, (d,).
        variance: of the local target, T/λ, (d,).
        predicted: relative bias of the variance along each direction, (d,).
        coordinates: likewise along each coordinate, (d,).
        measured: relative bias of the draws' variance along each direction, (d,), or None.
        error: its Monte Carlo standard error, including that of the reference, (d,), or None.
    """

    directions: Floats
    curvature: Floats
    variance: Floats
    predicted: Floats
    coordinates: Floats
    measured: Floats | None = None
    error: Floats | None = None

    def __str__(self) -> str:
        d = len(self.curvature)
        header = f"{'direction':<28}{'curvature':>11}{'variance':>11}{'predicted':>11}"
        if self.measured is not None:
            header += f"{'measured':>11}{'± error':>10}"
        lines = ["relative bias of the variance, by the quadratic at the mode", "", header]
        shown = np.sort(np.argsort(-np.abs(self.predicted), kind="stable")[:_ROWS])
        for i in shown:
            line = f"{_direction_name(self.directions[i]):<28}{self.curvature[i]:>11.4g}"
            line += f"{self.variance[i]:>11.4g}{self.predicted[i]:>+11.2%}"
            if self.measured is not None and self.error is not None:
                line += f"{self.measured[i]:>+11.2%}{self.error[i]:>10.2%}"
            lines.append(line)
        if d > len(shown):
            lines.append(f"({d - len(shown)} less biased directions are not shown)")
        return "\n".join(lines)


def bias(
    kernel: Kernel,
    energy: Energy,
    mode: Numbers,
    *,
    draws: Numbers | None = None,
    reference: Numbers | None = None,
    temperature: ArrayLike | None = None,
) -> Bias:
    """Predict the bias of the stationary variance at a mode, and compare draws with it.

    The prediction comes from the kernel's own code: `exact.stationary` on the quadratic at the
    mode, compared with that of the target, T A⁻¹. The measurement, along each eigenvector, is

        Var(draws) / Var(reference) - 1

    with each variance about its own mean. The standard error is that of `mcse` for draws of chains.

    It works on the host, on concrete values. Derivatives, prediction and draws have the position's
    precision; enable x64 for a bias below 1e-5.

    Args:
        kernel: an affine kernel without schedules.
        energy: any energy that is twice differentiable at the mode.
        mode: a minimum of the energy, (d,).
        draws: of the kernel, (chain, draw, d) after burn-in, or None to predict only.
        reference: what the variance should be: the target's covariance, (d, d), or draws of an
            unbiased run, (chain, draw, d), for instance of `mala`. Needs `draws`.
        temperature: T; the kernel's own if None.

    Returns:
        A `Bias`.

    Raises:
        NotAModeError: the Hessian has an eigenvalue that is not positive, or the gradient is not
            zero: Newton's step from `mode` is longer than 0.01 standard deviations.
        NotAffineError: the kernel's step is not affine, like that of `mala`, which has no bias.
        UnstableStepError: the step size is beyond the stability limit of the quadratic.
        NoStationaryLawError: the kernel has a schedule.
        TypeError: an argument that is not a kernel, energy or array where one is needed.
        ValueError: arrays of other shapes; one of `draws` and `reference` without the other; no
            temperature given for a kernel without one.

    Example:
        >>> import jax.numpy as jnp, jlangevin as jl
        >>> energy = jl.energies.double_well(height=2.0)
        >>> print(jl.diagnostics.bias(jl.ula(0.01), energy, jnp.array([1.0])))
        relative bias of the variance, by the quadratic at the mode
        <BLANKLINE>
        direction                     curvature   variance  predicted
        x0                                   16     0.0625     +8.70%
    """
    check_kernel(kernel)
    check_known("the bias is found on the host", kernel=kernel, mode=mode, draws=draws)
    mode = as_array("mode", mode, ndim=1)
    check_finite("mode", mode)
    check_energy(energy, mode)
    temperature = _temperature(kernel, temperature)
    hessian = _hessian_at_mode(energy, mode, temperature)
    local = energies.quadratic(hessian, mean=mode)
    found = np.asarray(exact.stationary(kernel, local, mode).cov, np.float64)
    # By NumPy, as each operation of JAX on a new shape takes a program of its own.
    known = np.asarray(hessian, np.float64)
    curvature, columns = np.linalg.eigh(known)
    temperature = float(np.asarray(temperature))
    variance = temperature / curvature
    predicted = np.sum(columns * np.dot(found, columns), axis=0) / variance - 1
    coordinates = np.diagonal(found) / (temperature * np.diagonal(np.linalg.inv(known))) - 1
    if (draws is None) != (reference is None):
        raise ValueError("draws, reference: give both, or neither to predict only")
    measured, error = (None, None) if draws is None else _measured_bias(draws, reference, columns)
    return Bias(
        directions=columns.T,
        curvature=curvature,
        variance=variance,
        predicted=predicted,
        coordinates=coordinates,
        measured=measured,
        error=error,
    )


def _temperature(kernel: Any, temperature: Any) -> Any:
    if temperature is None:
        temperature = getattr(kernel, "temperature", None)
        if temperature is None:
            raise ValueError(
                f"temperature: {type(kernel).__name__} has none of its own; say at which T the "
                "target is exp(-E/T)"
            )
        if isinstance(temperature, Schedule):
            # `exact.stationary` refuses the schedule; until then any value will do.
            return 1.0
    return check_scalar("temperature", temperature, positive=True)


def _hessian_at_mode(energy: Energy, mode: jax.Array, temperature: Any) -> jax.Array:
    slope, hessian = _derivatives(Parted.of(energy), mode)
    check_finite("energy: its derivatives at mode", (slope, hessian))
    known = np.asarray(hessian, np.float64)
    values = np.linalg.eigvalsh(known)
    if values[0] <= 10 * float(jnp.finfo(hessian.dtype).eps) * len(values) * max(values[-1], 0.0):
        raise NotAModeError(
            f"mode: the energy's Hessian there has the eigenvalue {values[0]:.3g}, which is not "
            "above zero; give a minimum"
        )
    downhill = np.asarray(slope, np.float64)
    newton = np.linalg.solve(known, downhill)
    distance = math.sqrt(float(np.dot(downhill, newton)) / float(temperature))
    if distance > _MAX_DISTANCE:
        raise NotAModeError(
            f"mode: the energy's gradient there is {np.asarray(slope)}; the minimum of the "
            f"quadratic is {distance:.3g} standard deviations away. Minimise the energy first, "
            "for instance by mode -= solve(Hessian, gradient)"
        )
    return hessian


@compiled
def _derivatives(energy: Parted, mode: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The gradient and the Hessian, made symmetric."""
    slope = gradient(energy.whole, mode)
    hessian = jax.jacfwd(lambda x: gradient(energy.whole, x))(mode)
    return slope, (hessian + hessian.T) / 2


def _measured_bias(draws: Any, reference: Any, columns: Floats) -> tuple[Floats, Floats]:
    """The relative bias along the columns and its standard error."""
    d = len(columns)
    variance, error = _variance("draws", draws, columns)
    reference = as_draws_array("reference", reference)
    if reference.ndim == 2:
        if reference.shape != (d, d):
            raise ValueError(
                f"reference: expected a covariance ({d}, {d}) or draws (chain, draw, {d}), got "
                f"shape {reference.shape}"
            )
        check_spd("reference", reference)
        true = np.sum(columns * np.dot(np.asarray(reference, np.float64), columns), axis=0)
        true_error = np.zeros(d)
    else:
        true, true_error = _variance("reference", reference, columns)
    ratio = variance / true
    return ratio - 1, ratio * np.sqrt((error / variance) ** 2 + (true_error / true) ** 2)


def _variance(name: str, draws: Any, columns: Floats) -> tuple[Floats, Floats]:
    """The variance of draws (chain, draw, d) along the columns, and its standard error."""
    x = as_draws(name, draws)
    if x.ndim != 3 or x.shape[2] != len(columns) or x.shape[1] < 4:
        raise ValueError(
            f"{name}: expected shape (chain, draw, {len(columns)}) with at least 4 draws a chain, "
            f"got {x.shape}"
        )
    variance, error = _moments_along(x, jnp.asarray(columns, x.dtype))
    return np.asarray(variance, np.float64), np.asarray(error, np.float64)


@compiled_by_size
def _moments_along(x: jax.Array, columns: jax.Array) -> tuple[jax.Array, jax.Array]:
    along = product(x - jnp.mean(x, axis=(0, 1), keepdims=True), columns)
    square = along**2
    return jnp.mean(square, axis=(0, 1)), mcse_of_mean(square)


def _direction_name(direction: Floats) -> str:
    """A direction as a sum of its largest coordinates."""
    largest = np.argsort(-np.abs(direction), kind="stable")[:3]
    terms = [i for i in np.sort(largest) if abs(direction[i]) > 0.05]
    if len(terms) == 1 and abs(direction[terms[0]]) > 0.999:
        return f"x{terms[0]}"
    text = " ".join(f"{direction[i]:+.2f} x{i}" for i in terms)
    rest = 1 - sum(direction[i] ** 2 for i in terms)
    return text + (" …" if rest > 0.01 else "")
