"""Averages that are known for every p ∝ exp(-E/T), whatever the energy.

Both follow from integrating by parts where p vanishes far out (the tails must decay):

    E[(x - a)·∇E] = d T                 equipartition: the virial theorem, for any fixed a
    E[|∇E|²] = T E[ΔE]                  the configurational temperature (Rugh 1997)

so a sampler at the wrong temperature, or with the bias of a large step, shows without any
knowledge of p's moments. They hold for the whole of p and, nearly, for each basin of it alone: they
cannot tell whether the weights of modes far apart are right.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jlangevin._checks import as_array, as_draws, check_finite, check_temperature
from jlangevin.compiling import compiled, mapped
from jlangevin.diagnostics.series import mcse
from jlangevin.kernels.base import gradient
from jlangevin.kernels.underdamped import configurational_temperature

__all__ = ["Identities", "Identity", "identities"]


class Identity(NamedTuple):
    """An average beside what it should be; all scalars."""

    estimate: jax.Array
    expected: jax.Array
    ratio: jax.Array  # estimate / expected
    z_score: jax.Array  # (estimate - expected) / its standard error


class Identities(NamedTuple):
    """The result of `identities`."""

    virial: Identity  # E[(x - a)·∇E] = d T
    gradient: Identity  # E[|∇E|²] = T E[ΔE]

    def __str__(self) -> str:
        lines = [f"{'identity':<24}{'estimate':>12}{'expected':>12}{'ratio':>9}{'z':>9}"]
        names = ("E[(x - a)·∇E] = d T", "E[|∇E|²] = T E[ΔE]")
        for name, each in zip(names, self, strict=True):
            estimate, expected, ratio, z = map(float, each)
            lines.append(f"{name:<24}{estimate:>12.5g}{expected:>12.5g}{ratio:>9.4f}{z:>9.2f}")
        return "\n".join(lines)


def identities(x: Any, energy: Any, temperature: Any = 1.0, *, center: Any = None) -> Identities:
    """Hold draws against E[(x - a)·∇E] = d T and E[|∇E|²] = T E[ΔE].

    The standard error of a z-score is `mcse` of the chains for draws (chain, draw, d), and
    sd / sqrt(n) for draws (draw, d), which must be independent; in the second identity it is that
    of |∇E|² - T ΔE, as both sides are estimated from the same draws. z-scores are standard normal
    for many draws of p if these quantities have a variance; in Neal's funnel |∇E|² hardly does.

    ΔE is exact, the trace of the Hessian by d derivatives of the gradient: for small d.

    Args:
        x: draws, (chain, draw, d) or (draw, d).
        energy: E, a function of a position (d,), twice differentiable; or a score, as
            `jlangevin.scores` makes them, whose divergence is -ΔE.
        temperature: T.
        center: a, (d,), zero if None. The nearer to the middle of p, the smaller the error.

    Returns:
        `Identities`: estimate, expected value, ratio and z-score of each; printed, a table.

    Raises:
        TypeError: `x` is no array of real numbers, or `energy` cannot be called.
        ValueError: `x` of another shape, not finite, or fewer than 4 draws (a chain, if there are
            chains); an energy that is no scalar, or derivatives that are not finite at a draw; T
            not positive.

    References: Rugh (1997), https://doi.org/10.1103/PhysRevLett.78.772; Butler, Ayton, Jepps,
        Evans (1998).

    Example:
        >>> import jax, jax.numpy as jnp, jlangevin as jl
        >>> energy = jl.energies.quadratic(jnp.eye(2))
        >>> x = energy.sample(jax.random.key(0), 10_000)
        >>> found = jl.diagnostics.identities(x, energy)
        >>> round(float(found.virial.ratio), 1), bool(abs(found.virial.z_score) < 5)
        (1.0, True)
        >>> bool(jl.diagnostics.identities(1.1 * x, energy).gradient.z_score > 5)
        True
    """
    draws = as_draws("x", x, minimum=4)
    if draws.ndim == 3 and draws.shape[1] < 4:
        raise ValueError(f"x: expected at least 4 draws a chain, got shape {draws.shape}")
    d = draws.shape[-1]
    temperature = check_temperature(temperature, draws.dtype)
    center = jnp.zeros(d, draws.dtype) if center is None else as_array("center", center)
    if center.shape != (d,):
        raise ValueError(f"center: expected shape ({d},), got {center.shape}")
    center = check_finite("center", center)
    slope, square, laplacian = mapped(_derivatives, energy, draws.reshape(-1, d))
    try:
        check_finite("energy", (slope, laplacian))
    except ValueError:
        raise ValueError("energy: its derivatives are not finite at a draw") from None
    return _identities(draws, slope, square, laplacian, temperature, center.astype(draws.dtype))


def _derivatives(energy: Any, point: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """∇E, |∇E|² and ΔE at one point."""
    pair = configurational_temperature(energy, point)
    return gradient(energy, point), pair.gradient_square, pair.laplacian


@compiled
def _identities(
    draws: jax.Array,
    slope: jax.Array,
    square: jax.Array,
    laplacian: jax.Array,
    temperature: jax.Array,
    center: jax.Array,
) -> Identities:
    shape = draws.shape[:-1]
    offset = draws.reshape(slope.shape) - center[None, :]
    virial = jnp.sum(offset * slope, axis=1).reshape(shape)
    square = square.reshape(shape)
    curvature = temperature * laplacian.reshape(shape)

    def identity(estimate: jax.Array, expected: jax.Array) -> Identity:
        difference = estimate - expected
        if len(shape) == 2:
            error = mcse(difference)
        else:
            error = jnp.std(difference, ddof=1) / jnp.sqrt(jnp.asarray(shape[0], draws.dtype))
        left, right, off = jnp.mean(estimate), jnp.mean(expected), jnp.mean(difference)
        # Draws so far out that squares of these overflow are no draws of p.
        z_score = jnp.where(jnp.isfinite(error), off / error, jnp.copysign(jnp.inf, off))
        return Identity(left, right, left / right, z_score)

    known = jnp.broadcast_to(draws.shape[-1] * temperature, shape)
    return Identities(identity(virial, known), identity(square, curvature))
