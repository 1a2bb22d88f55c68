"""What kernels with a thermal velocity share: its law N(0, T M⁻¹), and the moves O and U that
keep it."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jlangevin._core.arithmetic import tanh_shares
from jlangevin.kernels.base import Hyper, Position, cast
from jlangevin.kernels.preconditioner import Preconditioner, Scalar, as_mass

__all__ = [
    "added",
    "coasted",
    "inverse_mass",
    "ornstein_uhlenbeck",
    "ornstein_uhlenbeck_or_fresh",
    "rescaled",
    "thermal",
]


def inverse_mass(kernel: object) -> Scalar | Preconditioner | None:
    """M⁻¹ of a kernel that has one, or a number for a mass; None of any other."""
    found: Scalar | Preconditioner | None = getattr(kernel, "inverse_mass", None)
    mass = getattr(kernel, "mass", None)
    return as_mass(mass).inverse() if found is None and mass is not None else found


def thermal(temperature: Hyper, factored: Position, mass: Hyper | None = None) -> Position:
    """A velocity of N(0, T M⁻¹): sqrt(T) L ξ with L Lᵀ = M⁻¹, given L ξ; or sqrt(T/m) ξ."""

    def hot(xi: jax.Array) -> jax.Array:
        variance = cast(temperature, xi)
        return jnp.sqrt(variance if mass is None else variance / cast(mass, xi)) * xi

    return jax.tree.map(hot, factored)


def added(step_size: Hyper, value: Position, rate: Position, parts: int = 1) -> Position:
    """value + h/parts rate: the move A of a position, B of a velocity."""
    return jax.tree.map(lambda y, r: y + _share(step_size, y, parts) * r, value, rate)


def ornstein_uhlenbeck(
    velocity: Position,
    noise: Position,
    inverse_mass: Scalar | Preconditioner,
    step_size: Hyper,
    friction: Hyper,
    temperature: Hyper,
    parts: int = 1,
) -> Position:
    """The move O for t = h/parts, exact: e^{-γt} v + sqrt((1 - e^{-2γt}) T) L ξ, L Lᵀ = M⁻¹.

    As in `diffuse` the increment comes first, so that a small γt is not lost in e^{-γt} ≈ 1, and no
    sum has two products: compilers could contract either.
    """

    def move(v: jax.Array, xi: jax.Array, scale: jax.Array) -> jax.Array:
        time = cast(friction, v) * _share(step_size, v, parts)
        lost = -jnp.expm1(-time)
        heat = -jnp.expm1(-2 * time) * cast(temperature, v)
        sigma = scale * jnp.sqrt(heat)
        cold = sigma == 0
        ratio = lost / jnp.where(cold, 1, sigma)
        return jnp.where(cold, v - lost * v, v + sigma * (xi - ratio * v))

    scales, noise = inverse_mass.unmultiplied(noise)
    return jax.tree.map(move, velocity, noise, scales)


def coasted(
    position: Position,
    velocity: Position,
    noise: tuple[Position, Position],
    inverse_mass: Scalar | Preconditioner,
    step_size: Hyper,
    friction: Hyper,
    temperature: Hyper,
    parts: int = 1,
) -> tuple[Position, Position]:
    """The move U for t = h/parts, exact: O on the velocity, and where it has meanwhile led.

        x' = x + τ (v + v') + sqrt(2T (t - 2τ)/γ) L ξ_2,    τ = tanh(γt/2)/γ

    ξ_2 is independent of the ξ_1 of O: what the position's noise has in common with the velocity's
    is in v'.
    """
    fresh, apart = noise
    arguments = inverse_mass, step_size, friction, temperature, parts
    after = ornstein_uhlenbeck(velocity, fresh, *arguments)

    def move(
        x: jax.Array, v: jax.Array, w: jax.Array, xi: jax.Array, scale: jax.Array
    ) -> jax.Array:
        time = _share(step_size, x, parts)
        ratio, gap = tanh_shares(cast(friction, x) * time / 2)
        reach = time * ratio / 2
        sigma = scale * (time * jnp.sqrt(gap * cast(temperature, x)))
        cold = sigma == 0
        share = reach / jnp.where(cold, 1, sigma)
        path = v + w
        return jnp.where(cold, x + reach * path, x + sigma * (xi + share * path))

    scales, apart = inverse_mass.unmultiplied(apart)
    return jax.tree.map(move, position, velocity, after, apart, scales), after


def ornstein_uhlenbeck_or_fresh(
    velocity: Position,
    noise: Position,
    inverse_mass: Scalar | Preconditioner,
    step_size: Hyper,
    friction: Hyper,
    temperature: Hyper,
    fresh: ArrayLike,
) -> Position:
    """The move O for t = h, with a friction of 0 or more; if `fresh`, a new thermal velocity.

    Both by one scale and one sum, in which what is kept of the velocity comes second.
    """

    def move(v: jax.Array, xi: jax.Array, scale: jax.Array) -> jax.Array:
        time = cast(friction, v) * cast(step_size, v)
        kept = jnp.where(fresh, 0, jnp.exp(-time))
        lost = jnp.where(fresh, 1, -jnp.expm1(-2 * time))
        sigma = scale * jnp.sqrt(lost * cast(temperature, v))
        still = sigma == 0  # without friction, or at a temperature of 0
        ratio = kept / jnp.where(still, 1, sigma)
        return jnp.where(still, kept * v, sigma * (xi + ratio * v))

    scales, noise = inverse_mass.unmultiplied(noise)
    return jax.tree.map(move, velocity, noise, scales)


def rescaled(velocity: Position, temperature: Hyper, before: Hyper) -> Position:
    """A velocity that was thermal at a temperature `before`, at another one."""

    def warm(v: jax.Array) -> jax.Array:
        return v * jnp.sqrt(cast(temperature, v) / cast(before, v))

    return jax.tree.map(warm, velocity)


def _share(step_size: Hyper, like: jax.Array, parts: int) -> jax.Array:
    return cast(step_size, like) if parts == 1 else cast(step_size, like) / parts
