"""Whether the gradient that an energy gives is the derivative of its value."""

from __future__ import annotations

import contextlib
import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike

from jlangevin._core import trees
from jlangevin._core.arithmetic import product
from jlangevin._core.checks import check_count, check_finite, check_key
from jlangevin._core.compiling import compiled
from jlangevin._core.trees import PyTree
from jlangevin.energies.base import Energy, GivenGradient, check_energy_on, gradient
from jlangevin.energies.traced import mapped
from jlangevin.errors import NoEnergyError

__all__ = ["GradientCheck", "check"]

_ALLOWED = 10  # estimated errors by which a derivative may differ from the difference
_BLURRED = 0.1  # a difference with a larger relative error decides nothing
_DIGITS = {4: 7, 8: 9}  # decades of steps to try, by the bytes of a number


class GradientCheck(NamedTuple):
    """The result of `check`; printed, it says what was found.

    Each array is (n, k): n positions and k directions u of length 1.
    """

    derivative: jax.Array  # u·∇E, by the energy's gradient
    difference: jax.Array  # the derivative along u, by differences of its values
    error: jax.Array  # the estimated error of the difference
    slope: jax.Array  # |∇E|, (n, 1)

    @property
    def relative(self) -> jax.Array:
        """|derivative - difference| in units of |∇E|, or of the difference if that is larger."""
        return _judge(*self)[0]

    @property
    def judged(self) -> jax.Array:
        """Where the differences are sharp enough to decide."""
        return _judge(*self)[1]

    @property
    def wrong(self) -> jax.Array:
        """Where the derivative is not finite, or differs from the difference beyond its error."""
        return _judge(*self)[2]

    @property
    def passed(self) -> bool:
        """Whether nothing is wrong, and at least one derivative could be judged."""
        return not np.asarray(self.wrong).any() and bool(np.asarray(self.judged).any())

    def __str__(self) -> str:
        wrong, judged = np.asarray(self.wrong), np.asarray(self.judged)
        derivative, difference, error, slope = map(np.asarray, self)
        n, k = wrong.shape
        lines = []
        if wrong.any():
            relative = np.nan_to_num(np.asarray(self.relative), nan=np.inf)
            worst = np.unravel_index(np.where(wrong, relative, -1).argmax(), wrong.shape)
            lines += [
                f"WRONG: {wrong.sum()} of {n * k} derivatives, at {wrong.any(1).sum()} of {n} "
                "positions",
                f"  worst at position {worst[0]}: the gradient gives {derivative[worst]:.6g} along "
                f"a direction, differences of the energy {difference[worst]:.6g} "
                f"± {error[worst]:.2g}",
            ]
        elif judged.any():
            sharpness = (error / np.where(slope == 0, 1, slope))[judged]
            lines.append(
                f"the gradient is that of the energy: {n} positions, {k} directions each, compared "
                f"to {np.median(sharpness):.1g} of |∇E|"
            )
        if unclear := int((~judged).sum()):
            lines.append(
                f"{unclear} of {n * k} differences are too inexact to judge: there E is not "
                "smooth, or not finite, or too large for its slope"
            )
        return "\n".join(lines)


@functools.partial(compiled, quickly=True)
def _judge(
    derivative: jax.Array, difference: jax.Array, error: jax.Array, slope: jax.Array
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """What `GradientCheck` calls relative, judged and wrong: one program, not one an operation."""
    limits = jnp.finfo(slope.dtype)
    size = jnp.maximum(slope, jnp.abs(difference))
    gap = jnp.abs(derivative - difference)
    relative = jnp.where(gap == 0, 0, gap / jnp.where(size == 0, 1, size))
    sharp = jnp.isfinite(error) & (error <= _BLURRED * size + limits.tiny)
    judged = sharp | (derivative == difference)
    allowed = _ALLOWED * (error + limits.eps * slope)
    return relative, judged, ~jnp.isfinite(derivative) | (judged & (gap > allowed))


def check(key: jax.Array, energy: Energy, x: PyTree, *, num_directions: int = 4) -> GradientCheck:
    """Compare an energy's gradient with differences of its values, along random directions.

    For an energy with a gradient of its own, such as one with a custom derivative or a score with
    a value; for one that JAX differentiates, it finds what a `stop_gradient`, a rounding or a
    `where` has done to the derivative. Along each direction u it forms

        (E(x + hu) - E(x - hu)) / 2h

    for steps h over several decades, estimates the error of each from half the step and from the
    rounding of E, and keeps the one with the smallest.

    Args:
        key: decides the directions.
        energy: E, a function of one position.
        x: positions, a pytree of floating arrays with n positions on the first axis, at which E is
            smooth; draws are best.
        num_directions: k, the directions at each position. One wrong element in d is seen along
            nearly every direction.

    Returns:
        `GradientCheck`, with `passed`. In float32 an error of about 1e-3 of |∇E| is found, in
        float64 one of about 1e-8, where E itself is not much larger than its changes.

    Raises:
        NoEnergyError: only the score is known, so that there is nothing to compare with.
        TypeError, ValueError: an energy that is not a scalar function of one position; positions
            that are not finite.

    Example:
        >>> import jax, jax.numpy as jnp, jlangevin as jl
        >>> x = jax.random.normal(jax.random.key(0), (8, 3))
        >>> jl.energies.check(jax.random.key(1), lambda x: jnp.sum(x**4), x).passed
        True
        >>> def stopped(x):
        ...     return jnp.sum(x**4) + jax.lax.stop_gradient(x[0])
        >>> jl.energies.check(jax.random.key(1), stopped, x).passed
        False
    """
    check_key("key", key)
    x = jax.tree.map(trees.at_least_float32, trees.as_position("x", x, floating=True))
    counts = {jnp.shape(leaf)[:1] for leaf in jax.tree.leaves(x)}
    if len(counts) != 1 or counts & {(), (0,)}:
        raise ValueError(
            f"x: expected positions on the first axis of each leaf, got {trees.shown(x)}"
        )
    check_finite("x", x)
    num_directions = check_count("num_directions", num_directions, minimum=1)
    check_energy_on(energy, x)
    if isinstance(energy, GivenGradient):
        with contextlib.suppress(NoEnergyError):
            jax.eval_shape(energy, trees.one_chain(x))
            return _check(key, energy, x, num_directions)
        raise NoEnergyError(
            "energy: only its score is known, and there is no value whose differences it could be "
            "compared with; jlangevin.diagnostics.identities tests a score on draws"
        )
    return _check(key, energy, x, num_directions)


def _check(key: jax.Array, energy: Energy, x: PyTree, num_directions: int) -> GradientCheck:
    leaf, point = jax.tree.leaves(x)[0], jax.eval_shape(trees.one_chain, x)
    like = jax.eval_shape(trees.ravel, point)
    u = _directions(key, shape=(len(leaf), num_directions, like.size), dtype=like.dtype)
    return GradientCheck(*mapped(_along, energy, (x, u)))


@functools.partial(compiled, static_argnames=("shape", "dtype"), quickly=True)
def _directions(key: jax.Array, *, shape: tuple[int, ...], dtype: DTypeLike) -> jax.Array:
    """Vectors of length 1 on the last axis; one program for all energies."""
    u = jax.random.normal(key, shape, dtype)
    return u / jnp.linalg.norm(u, axis=2, keepdims=True)


def _along(energy: Energy, given: tuple[PyTree, jax.Array]) -> tuple[jax.Array, ...]:
    """Derivative, difference, its error, all (k,), and |∇E|, (1,), at one position."""
    point, directions = given
    flat, unravel = trees.ravel(point), trees.unraveler(point)
    slope = trees.ravel(gradient(energy, point))
    eps, size = jnp.finfo(flat.dtype).eps, jnp.sqrt(jnp.mean(flat**2))
    size = jnp.where(size == 0, 1, size)
    decades = jnp.arange(_DIGITS[flat.dtype.itemsize], dtype=flat.dtype)
    steps = size * jnp.power(jnp.asarray(10, flat.dtype), -decades)

    def gap(u: jax.Array, h: jax.Array) -> tuple[jax.Array, jax.Array]:
        """The difference quotient less the derivative, and the rounding in it.

        Both are of the points as they are rounded, whose distance is not 2hu.
        """
        ahead, behind = flat + h * u, flat - h * u
        above, below = energy(unravel(ahead)), energy(unravel(behind))
        rise = (above - below).astype(flat.dtype) - product(slope, ahead - behind)
        rounding = eps * (jnp.abs(above) + jnp.abs(below)).astype(flat.dtype) / h
        return rise / (2 * h), rounding

    def best(u: jax.Array) -> tuple[jax.Array, jax.Array]:
        def at(h: jax.Array) -> tuple[jax.Array, jax.Array]:
            coarse, _ = gap(u, h)
            fine, rounding = gap(u, h / 2)
            error = jnp.abs(coarse - fine) + rounding
            return fine, jnp.where(jnp.isfinite(error), error, jnp.inf)

        gaps, errors = jax.vmap(at)(steps)
        chosen = jnp.argmin(errors)
        # Far beyond the scale of a bounded energy, the quotients of large steps are all near 0 and
        # so near each other. A smaller step that contradicts them decides, if it finds ∇E right.
        apart = jnp.abs(gaps - gaps[chosen]) > errors + errors[chosen]
        right = (steps < steps[chosen]) & (jnp.abs(gaps) <= _ALLOWED * errors) & apart
        finer = jnp.argmin(jnp.where(right & jnp.isfinite(errors), errors, jnp.inf))
        chosen = jnp.where(right[finer], finer, chosen)
        return gaps[chosen], errors[chosen]

    gaps, errors = jax.vmap(best)(directions)
    along = product(directions, slope)
    return along, along + gaps, errors, jnp.linalg.norm(slope)[None]
