"""Averages that are known for every p ∝ exp(-E/T), whatever the energy.

    E[(x - a)·∇E] = d T                 equipartition: the virial theorem, for any fixed a
    E[|∇E|²] = T E[ΔE]                  the configurational temperature (Rugh 1997)

Both follow from integration by parts if p vanishes far out (the tails must decay). d is the number
of dimensions in which there is a law; directions along which E does not change, like the centre of
mass of a free cluster, have none and are not counted.

So a wrong temperature, or the bias of a large step, shows without any knowledge of p's moments. But
the identities hold for all of p and, nearly, for each basin alone: they cannot tell whether the
weights of modes far apart are right.
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from jlangevin._core import trees
from jlangevin._core.checks import as_array, check_finite, check_temperature
from jlangevin._core.compiling import compiled_by_size
from jlangevin._core.trees import Numbers
from jlangevin.diagnostics.mcse import mcse_of_mean
from jlangevin.energies.base import Energy, gradient
from jlangevin.energies.draws import as_positions
from jlangevin.energies.traced import mapped
from jlangevin.sampling.run import Run

__all__ = ["Identities", "Identity", "identities"]

_ROUNDINGS = 30  # roundings by which a gradient along a direction may differ from 0
_NUM_HESSIANS = 16  # draws at which the Hessian is used, as few gradients may not span enough


class Identity(NamedTuple):
    """An average and what it should be; all scalars."""

    estimate: jax.Array
    expected: jax.Array
    ratio: jax.Array  # estimate / expected
    z_score: jax.Array  # (estimate - expected) / its standard error


class Identities(NamedTuple):
    """The result of `identities`."""

    virial: Identity  # E[(x - a)·∇E] = d T
    gradient: Identity  # E[|∇E|²] = T E[ΔE]
    num_dimensions: jax.Array  # d, without the directions along which E does not change
    num_flat: jax.Array  # the number of these directions

    def __str__(self) -> str:
        lines = [f"{'identity':<24} {'estimate':>12} {'expected':>12} {'ratio':>10} {'z':>9}"]
        names = ("E[(x - a)·∇E] = d T", "E[|∇E|²] = T E[ΔE]")
        for name, each in zip(names, (self.virial, self.gradient), strict=True):
            estimate, expected, ratio, z = map(float, each)
            lines.append(f"{name:<24} {estimate:>12.5g} {expected:>12.5g} {ratio:>10.4g} {z:>9.3g}")
        if flat := int(self.num_flat):
            d = int(self.num_dimensions)
            lines.append(
                f"E does not change along {flat} of {d + flat} directions, which have no law: "
                f"d = {d}"
            )
        return "\n".join(lines)


def identities(
    x: Run | Numbers,
    energy: Energy,
    temperature: ArrayLike = 1.0,
    *,
    center: ArrayLike | None = None,
    position_shape: tuple[int, ...] | None = None,
) -> Identities:
    """Test draws by E[(x - a)·∇E] = d T and E[|∇E|²] = T E[ΔE].

    The standard error of a z-score is `mcse` of the chains for draws (chain, draw, …), and
    sd / sqrt(n) for draws (draw, …), which must be independent. In the second identity it is that
    of |∇E|² - T ΔE, as both sides are estimated from the same draws. z-scores are standard normal
    for many draws of p if these quantities have a variance; in Neal's funnel |∇E|² hardly does.

    ΔE is exact: the trace of the Hessian, by d derivatives of the gradient. Use it for small d.

    d is the number of elements of a position, less the directions along which E does not change:
    those u with u·∇E = 0 at every draw, and ∇²E u = 0 at 16 of them, up to rounding. Along such a
    direction chains wander for ever and reach no law; along the others both identities hold.

    Args:
        x: draws, (chain, draw, …) or (draw, …), with the axes of a position after these; or a
            `Run` that kept its positions.
        energy: E, a function of a position, twice differentiable; or a score, as
            `jlangevin.scores` makes them, whose divergence is -ΔE.
        temperature: T.
        center: a, like a position, zero if None. The nearer it is to the middle of p, the smaller
            the error.
        position_shape: the shape of one position, that of `center` if None. If neither is given and
            `x` could hold more than one shape that the energy takes, see `ksd`.

    Returns:
        `Identities`: estimate, expected value, ratio and z-score of each, and d; printed, a table.

    Raises:
        TypeError: `x` is not an array of real numbers, or `energy` cannot be called.
        ValueError: `x` of another shape, of a shape that can be read in two ways, not finite, or
            with fewer than 4 draws (of a chain, if there are chains); an energy that is not a
            scalar, or derivatives that are not finite at a draw; T not positive.

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
    if position_shape is None and center is not None:
        shape = np.shape(center)
        given: Any = x
        position_shape = shape if np.shape(given)[-len(shape) :] == shape != () else None
    draws = as_positions("x", x, energy, position_shape, minimum=4)
    points, shape = draws.points, draws.points.shape[1:]
    if draws.batch[-1] < 4:
        raise ValueError(
            f"x: expected at least 4 draws a chain, got {draws.batch[0]} chains of {draws.batch[1]}"
        )
    temperature = check_temperature(temperature, points.dtype)
    center = jnp.zeros(shape, points.dtype) if center is None else as_array("center", center)
    if center.shape != shape:
        raise ValueError(f"center: expected shape {shape}, got {center.shape}")
    center = check_finite("center", center)
    slope, laplacian = mapped(_derivatives, energy, points)
    sampled = np.linspace(0, len(points) - 1, min(_NUM_HESSIANS, len(points))).astype(int)
    hessians = mapped(_hessian, energy, points[sampled])
    try:
        check_finite("energy", (slope, laplacian))
    except ValueError:
        raise ValueError("energy: its derivatives are not finite at a draw") from None
    offset = draws.flat - trees.ravel(center.astype(points.dtype))[None, :]
    return _identities(offset, slope, laplacian, hessians, temperature, batch=draws.batch)


def _derivatives(energy: Energy, point: jax.Array) -> tuple[jax.Array, jax.Array]:
    """∇E, raveled, and ΔE at one point."""
    return trees.ravel(gradient(energy, point)), jnp.trace(_hessian(energy, point))


def _hessian(energy: Energy, point: jax.Array) -> jax.Array:
    unravel = trees.unraveler(point)
    slope = jax.jacfwd(lambda flat: trees.ravel(gradient(energy, unravel(flat))))
    found: jax.Array = slope(trees.ravel(point))
    return found


def _num_flat(slopes: jax.Array, hessians: jax.Array, temperature: jax.Array) -> jax.Array:
    """The number of directions in which u·∇E = 0 at all draws, and ∇²E u = 0 at some.

    Coordinates are scaled by how steep E is along them, and energies by T, so units do not matter.
    """
    n, d = slopes.shape
    steep = jnp.max(jnp.abs(slopes), axis=0)
    steep = steep * jnp.sqrt(jnp.mean((slopes / jnp.where(steep > 0, steep, 1)[None]) ** 2, axis=0))
    scale = jnp.where(steep > 0, 1 / jnp.where(steep > 0, steep, 1), 1)
    first = slopes * scale[None] / jnp.sqrt(jnp.asarray(n, scale.dtype))
    second = hessians * (temperature * scale[:, None] * scale[None])[None]
    rows = jnp.concatenate([first, second.reshape(-1, d)])
    values = jnp.linalg.svd(jnp.linalg.qr(rows, mode="r"), compute_uv=False)
    rank = jnp.sum(values > _ROUNDINGS * jnp.finfo(values.dtype).eps * values[0])
    return jnp.int32(d) - rank.astype(jnp.int32)


@functools.partial(compiled_by_size, static_argnames=("batch",))
def _identities(
    offset: jax.Array,
    slope: jax.Array,
    laplacian: jax.Array,
    hessians: jax.Array,
    temperature: jax.Array,
    *,
    batch: tuple[int, ...],
) -> Identities:
    """The identities for n points (n, d), whose axes were `batch`."""
    shape, dtype = batch, offset.dtype
    flat = _num_flat(slope, hessians, temperature)
    num_dimensions = jnp.int32(offset.shape[1]) - flat
    virial = jnp.sum(offset * slope, axis=1).reshape(shape)
    square = jnp.sum(slope * slope, axis=1).reshape(shape)
    curvature = temperature * laplacian.reshape(shape)

    def identity(estimate: jax.Array, expected: jax.Array) -> Identity:
        difference = estimate - expected
        if len(shape) == 2:
            error = mcse_of_mean(difference)
        else:
            error = jnp.std(difference, ddof=1) / jnp.sqrt(jnp.asarray(shape[0], dtype))
        left, right, off = jnp.mean(estimate), jnp.mean(expected), jnp.mean(difference)
        # Draws so far out that their squares overflow are not draws of p.
        z_score = jnp.where(jnp.isfinite(error), off / error, jnp.copysign(jnp.inf, off))
        return Identity(left, right, left / right, z_score)

    known = jnp.broadcast_to(num_dimensions.astype(dtype) * temperature, shape)
    return Identities(identity(virial, known), identity(square, curvature), num_dimensions, flat)
