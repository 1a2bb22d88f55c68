"""Tori: coordinates that wrap around."""

from __future__ import annotations

from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from jlangevin._core import trees
from jlangevin._core.checks import check_known, or_nan
from jlangevin._core.trees import PyTree, pytree_dataclass
from jlangevin.domains.base import fitted

__all__ = ["Torus", "torus"]


@pytree_dataclass
class Torus:
    """See `torus`."""

    period: PyTree

    wraps: ClassVar[bool] = True  # see `domains.base.wraps`

    def contains(self, x: PyTree) -> jax.Array:
        finite = [jnp.all(jnp.isfinite(leaf)) for leaf in jax.tree.leaves(x)]
        return jnp.all(jnp.stack(finite))

    def project(self, x: PyTree) -> PyTree:
        """x between 0 and the period, 0 included. The derivative is that of the identity."""

        def wrapped(x: jax.Array, period: jax.Array) -> jax.Array:
            free = jnp.isinf(period)
            length = jnp.where(free, 1, period)
            rest = jnp.mod(x, length)
            rest = jnp.where(rest >= length, rest - length, rest)  # which rounding makes of -1e-9
            return jnp.where(free, x, rest)

        return jax.tree.map(wrapped, x, self._fitted(x))

    def reflect(self, x: PyTree, y: PyTree) -> tuple[PyTree, PyTree]:
        return self.project(y), jax.tree.map(jnp.subtract, y, x)

    def primal(self, u: PyTree) -> PyTree:
        return self.project(u)

    def dual(self, x: PyTree, noise: PyTree = None) -> PyTree:
        return self.project(x)

    def log_det(self, u: PyTree) -> jax.Array:
        return jnp.zeros((), trees.float_dtype(u))

    def tangent(self, v: PyTree) -> PyTree:
        return v

    def embed(self, draws: PyTree) -> PyTree:
        """What diagnostics are to be given: cos and sin of angles 2πx/period, and free coordinates.

        An angle itself jumps where it wraps, so its R-hat, its effective sample size and its mean
        say little.

        Args:
            draws: leaves (chain, draw, …), or with any other axes before those of a position.

        Returns:
            For each leaf an array (chain, draw, m): the cosines, the sines, and what is free.

        Raises:
            TypeError: the periods are traced.
            ValueError: they are not like the draws.
        """
        check_known("which coordinates are angles decides on shapes", period=self.period)
        periods = self.period
        if trees.is_array(periods) and np.ndim(periods) == 0:
            periods = jax.tree.map(lambda x: np.full(np.shape(x)[2:], periods), draws)

        def one(period: ArrayLike, x: jax.Array) -> jax.Array:
            period = np.asarray(period)
            before = np.ndim(x) - period.ndim
            if before < 0 or np.shape(x)[before:] != period.shape:
                raise ValueError(
                    f"draws: expected (…, {', '.join(map(str, period.shape))}) like the periods, "
                    f"got shape {np.shape(x)}"
                )
            x = jnp.reshape(x, (*np.shape(x)[:before], -1))
            free = np.isinf(period).ravel()
            turn = jnp.asarray(2 * np.pi / period.ravel()[~free], x.dtype)
            angles = x[..., ~free]
            angle = jnp.mod(angles * jnp.broadcast_to(turn, angles.shape), 2 * np.pi)
            return jnp.concatenate([jnp.cos(angle), jnp.sin(angle), x[..., free]], axis=-1)

        return jax.tree.map(one, periods, draws)

    def raveled(self, like: PyTree) -> np.ndarray[Any, Any]:
        """The periods of a position like `like`, one beside the other."""
        leaves = jax.tree.leaves(self._fitted(trees.zeros(like)))
        return np.concatenate([np.asarray(leaf, np.float64).ravel() for leaf in leaves])

    def _fitted(self, x: PyTree) -> PyTree:
        return fitted("period", self.period, x)


def torus(period: PyTree) -> Torus:
    """Coordinates that wrap around: x and x + period are one point; where it is inf, x is free.

    A domain without walls. A chain stays in [0, period), where floats are dense, and a start is
    wrapped. Steps are those of the free space and wrapped afterwards, which for an energy with
    these periods is the same chain: `projected` is `ula` on a torus, `reflected_mala` is `mala`,
    without the bias that walls make, and `mirrored` puts any kernel there. The energy is asked at
    wrapped positions alone, so it may be any; where it jumps between period and 0, kernels that
    accept or reject are still right.

    `warm_up` takes `mirrored(kernel, torus)` whole, and sees angles around their mean direction.

    Args:
        period: above zero, inf for coordinates that do not wrap: a number for all, or an array or
            pytree like the position.

    Raises:
        TypeError: it is not made of numbers.
        ValueError: a period is not above zero.

    Example:
        >>> import jax, jax.numpy as jnp, jlangevin as jl
        >>> circle = jl.domains.torus(2 * jnp.pi)
        >>> energy = lambda x: -2 * jnp.cos(x[0])  # von Mises, around 0
        >>> kernel = jl.mirrored(jl.mala(0.5), circle)
        >>> run = jl.sample(jax.random.key(0), energy, kernel, jnp.zeros((50, 1)), num_steps=500)
        >>> bool((run.draws >= 0).all() and (run.draws < 2 * jnp.pi).all())
        True
        >>> bool((jl.diagnostics.rhat(circle.embed(run.draws)) < 1.05).all())
        True
    """
    period = trees.as_position("period", period)
    return Torus(
        jax.tree.map(
            lambda leaf: or_nan(
                leaf,
                lambda xp, x: xp.all(x > 0),
                lambda: ValueError(
                    f"period: expected values above zero, inf for free coordinates; got {leaf}"
                ),
            ),
            period,
        )
    )
