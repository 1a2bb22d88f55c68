"""The step size whose bias on an energy in one dimension is known, from exact laws on a grid."""

from __future__ import annotations

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import scipy

from jlangevin._core import trees
from jlangevin._core.checks import check_known
from jlangevin._core.trees import Number, PyTree
from jlangevin._core.user_code import note_on_errors
from jlangevin.energies.base import Energy
from jlangevin.errors import NoGridLawError, NoStationaryLawError
from jlangevin.exact.grid import GridLaw, grid_stationary, grid_target
from jlangevin.exact.grid.regions import temperature_of
from jlangevin.kernels.base import Kernel, check_kernel

__all__ = ["step_size_on_grid"]

_UP = 1.5  # from one step size that is looked at to the next
_MOST = 40  # of them
_UNSEEN = 4  # step sizes in a row without a bias: there is none
_PRECISE = 1e-3  # of itself: of the step size
_TRUSTED = 10.0  # times the error of a law: the least bias that can be told


def step_size_on_grid(
    energy: Energy,
    position: PyTree,
    bias: Number,
    make: Callable[[Number], Kernel],
    function: Callable[[PyTree], jax.Array] | None,
) -> jax.Array:
    """See `step_size_for`."""
    check_known("a grid is made on the host", bias=bias)
    wanted, dtype = float(bias), trees.float_dtype(position)

    def kernel_of(step_size: float) -> Kernel:
        with note_on_errors(f"by kernel, given a step size {step_size:.4g}"):
            kernel = make(jnp.asarray(step_size, dtype))
        check_kernel(kernel)
        return kernel

    target = grid_target(energy, position, temperature_of(kernel_of(1.0)))
    true = _value(target, function)
    if function is not None and not abs(true) > 1e3 * target.error:
        raise ValueError(
            f"function: its expectation under the target is {true:.2g}, so no bias is relative to "
            "it; add a constant to it"
        )
    trust, unseen = target.error, 0

    def off(step_size: float) -> float:
        """The bias, infinite where there is no law."""
        nonlocal trust, unseen
        try:
            law = grid_stationary(kernel_of(step_size), energy, position)
        except NoStationaryLawError:
            return math.inf
        trust = max(trust, law.error)
        found = abs(_value(law, function) - true) / abs(true)
        unseen = unseen + 1 if found <= _TRUSTED * law.error else 0
        if unseen == _UNSEEN:
            raise NoGridLawError(
                f"kernel: {law.error:.1g} is the error of the laws, and at {_UNSEEN} step sizes up "
                f"to {step_size:.4g} the bias is no larger; kernels that accept or reject have none"
            )
        return found

    # ULA on a quadratic energy with this variance has half of the bias here.
    low = float(np.asarray(target.cov)[0, 0]) * wanted / (1 + wanted)
    found = off(low)
    for _ in range(_MOST):
        if found < wanted:
            break
        low /= 4
        found = off(low)
    high = low
    for _ in range(_MOST):
        high *= _UP
        found = off(high)
        if found >= wanted:
            break
        low = high
    else:
        raise NoGridLawError(f"bias: it is below {wanted:.3g} at every step size up to {high:.4g}")
    if wanted < _TRUSTED * trust:
        raise NoGridLawError(
            f"bias: {wanted:.2g} is less than ten times the error of the laws, "
            f"{trust:.2g}; float64 is more exact"
        )

    def excess(at: float) -> float:
        """log(bias/δ), close to affine in the log of the step size."""
        return math.log(min(max(off(math.exp(at)), 1e-300) / wanted, 1e3))

    at = scipy.optimize.brentq(excess, math.log(low), math.log(high), xtol=_PRECISE / 2)
    return jnp.asarray(math.exp(at - _PRECISE / 2), dtype)


def _value(law: GridLaw, function: Callable[[PyTree], jax.Array] | None) -> float:
    if function is None:
        mean = float(np.dot(law.measure, law.states))
        return float(np.dot(law.measure, (law.states - mean) ** 2))
    value = law.expectation(function)
    if np.shape(value) != ():
        raise ValueError(
            f"function: expected a scalar for one position, got shape {np.shape(value)}"
        )
    return float(value)
