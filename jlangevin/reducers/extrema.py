"""The least and the greatest values."""

from __future__ import annotations

from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jlangevin._core.trees import pytree_dataclass, static_field
from jlangevin.kernels.base import position
from jlangevin.reducers.base import (
    EachLeaf,
    StateFunction,
    check_of,
)
from jlangevin.reducers.over_chains import mask_like

__all__ = ["Extrema", "ExtremaReducer", "extrema"]


class Extrema(NamedTuple):
    """The least and the greatest value."""

    minimum: jax.Array
    maximum: jax.Array

    def merge(self, other: Extrema) -> Extrema:
        """Those of both, as NumPy arrays."""
        least: Any = np.minimum(self.minimum, other.minimum)
        greatest: Any = np.maximum(self.maximum, other.maximum)
        return Extrema(least, greatest)


@pytree_dataclass
class ExtremaReducer(EachLeaf):
    """See `extrema`."""

    of: StateFunction = static_field()

    _accumulator: ClassVar[type] = Extrema
    _gathered: ClassVar[type] = Extrema

    def start(self, x: jax.Array) -> Extrema:
        return Extrema(jnp.full_like(x, jnp.inf), jnp.full_like(x, -jnp.inf))

    def add(self, accumulator: Extrema, x: jax.Array, n: jax.Array) -> Extrema:
        return Extrema(jnp.minimum(accumulator.minimum, x), jnp.maximum(accumulator.maximum, x))

    def result(self, accumulator: Extrema, n: jax.Array) -> Extrema:
        return accumulator

    def gather_leaf(self, accumulator: Extrema, keep: jax.Array, n: jax.Array) -> Extrema:
        mask = mask_like(keep, accumulator.minimum)
        return Extrema(
            jnp.min(accumulator.minimum, axis=0, initial=jnp.inf, where=mask),
            jnp.max(accumulator.maximum, axis=0, initial=-jnp.inf, where=mask),
        )

    def conclude_leaf(self, gathered: Extrema, n: jax.Array) -> Extrema:
        return gathered


def extrema(of: StateFunction = position) -> ExtremaReducer:
    """The least and the greatest value of each element of `of(state)`.

    Args:
        of: a function of one chain's kernel state; the position by default.

    Raises:
        TypeError: `of` is not a function.

    Example:
        >>> import jax, jax.numpy as jnp, jlangevin as jl
        >>> run = jl.sample(jax.random.key(0), jl.energies.double_well(), jl.ula(0.01),
        ...                 jnp.ones((5, 1)), num_steps=100, reducers=jl.reducers.extrema())
        >>> bool((run.summary.minimum <= run.draws[:, 7]).all())
        True
    """
    check_of(of)
    return ExtremaReducer(of)
