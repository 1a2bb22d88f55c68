"""Whether chains look as if a log density had been given as the energy."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from numpy.typing import NDArray

from jlangevin._core.trees import MaybeArray, PyTree

__all__ = ["IS_IT_MINUS", "falls_without_end", "is_bottomless"]

IS_IT_MINUS = (
    "The energy falls without end where chains go: is E minus the log density? p ∝ exp(-E/T), so "
    "other libraries' log densities need a minus sign"
)

_FEWEST = 8  # chains, of which all but one in twenty have to agree
_MOST = 32  # chains whose energies are looked at further out
_FURTHER = (1, 4, 16, 64)  # times as far from the chains' common mean


def falls_without_end(
    energies: Callable[[PyTree, ArrayLike], ArrayLike],
    position: PyTree,
    gradient: PyTree,
    temperature: float,
) -> bool:
    """Whether the energy falls away from the chains' common mean, and further out still.

    Over draws of a law the virial (x - E x)·∇E has the mean d T. With the sign of E wrong it is
    negative, and grows as chains run off. `position` and `gradient` have leaves (chain, …) on the
    host; `energies(points, chains)` are those at points, in the chains of these places in the run.
    """
    x, slope = (_rows(tree) for tree in (position, gradient))
    num_chains, size = x.shape
    if num_chains < _FEWEST or x.shape != slope.shape:
        return False
    virial = np.sum((x - np.mean(x, axis=0)) * slope, axis=1)
    if np.mean(virial < 0) < 0.95 or np.median(virial) > -size * temperature:
        return False

    def stretched(leaf: ArrayLike) -> jax.Array:
        leaf = np.asarray(leaf)
        mean = np.mean(leaf, axis=0, dtype=np.float64)
        points = [mean + times * (leaf[:_MOST] - mean) for times in _FURTHER]
        return jnp.asarray(np.concatenate(points).astype(leaf.dtype))

    chains = np.tile(np.arange(min(num_chains, _MOST)), len(_FURTHER))
    values = np.asarray(energies(jax.tree.map(stretched, position), chains), np.float64)
    values = values.reshape(len(_FURTHER), -1)
    deeper = (values[1:] < values[:-1]) | np.isneginf(values[1:])
    return bool(np.mean(np.all(deeper, axis=0)) >= 0.95)


def _rows(tree: PyTree) -> NDArray[np.float64]:
    """The leaves of each chain side by side."""
    leaves = [np.asarray(leaf) for leaf in jax.tree.leaves(tree)]
    rows = [leaf.reshape(len(leaf), -1).astype(np.float64) for leaf in leaves]
    return np.concatenate(rows, axis=1)


def is_bottomless(value: MaybeArray) -> bool:
    """Whether an energy is so low that nothing is left of T beside it."""
    return bool(value < -1 / float(jnp.finfo(value.dtype).eps))
