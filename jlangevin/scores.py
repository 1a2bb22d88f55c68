"""Scores s(x) = -∇E(x): stand-ins for an energy of which only the gradient is known.

A kernel that needs only gradients runs on a score as on an energy. Whatever needs the value, for
instance to accept or reject, is refused with a named error while it is traced.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from jlangevin._core.checks import check_made, check_scalar
from jlangevin._core.listing import listing
from jlangevin._core.trees import PyTree, pytree_dataclass
from jlangevin.energies.base import GivenGradient

__all__ = ["GivenGradient", "LevelScore", "Score", "level_score", "score"]

__dir__ = listing(__all__)


@pytree_dataclass
class Score(GivenGradient):
    """See `score`."""

    function: Any

    def gradient(self, position: PyTree) -> PyTree:
        return jax.tree.map(jnp.negative, self.function(position))


def score(function: Any) -> Score:
    """A stand-in for an energy E of which only the score is known.

        s(x) = ∇ log p(x) = -∇E(x)

    Use it wherever an energy goes. At temperature T a kernel samples p^{1/T}: s is the score at
    T = 1. Nothing checks that s is a gradient; `exact.law` takes any affine s.

    Args:
        function: s, from one position to a pytree like it. A `jax.tree_util.Partial` or another
            pytree callable keeps its parameters traced.

    Raises:
        TypeError: `function` cannot be called.
        NoEnergyError: later, when the energy's value is needed.

    Example:
        >>> import jax, jax.numpy as jnp, jlangevin as jl
        >>> normal = jl.scores.score(lambda x: -x)
        >>> run = jl.sample(jax.random.key(0), normal, jl.ula(0.1), jnp.zeros((3, 2)), num_steps=10)
        >>> run.draws.shape
        (3, 10, 2)
        >>> round(float(jl.exact.stationary(jl.ula(1.0), normal, jnp.zeros(1)).cov[0, 0]), 6)
        2.0
    """
    _check_callable(function)
    return Score(function)


@pytree_dataclass
class LevelScore(GivenGradient):
    """See `level_score`."""

    function: Any
    sigma: Any

    def gradient(self, position: PyTree) -> PyTree:
        return jax.tree.map(jnp.negative, self.function(position, self.sigma))

    def at(self, sigma: Any) -> LevelScore:
        """The same at another level."""
        return LevelScore(self.function, sigma)


def level_score(function: Any, sigma: Any) -> LevelScore:
    """The score of a density smoothed by noise of any level, set to one of them.

        s(x, σ) = ∇ log ∫ p(y) N(x; y, σ² I) dy

    Kernels that run through levels, such as `annealed`, choose their own; all others, and the check
    of starts, use `sigma`.

    Args:
        function: s(x, σ), from one position and a scalar to a pytree like the position.
        sigma: σ > 0.

    Raises:
        TypeError: `function` cannot be called.
        ValueError: σ is not finite and positive.
        NoEnergyError: later, when the energy's value is needed.

    Example:
        >>> import jax.numpy as jnp, jlangevin as jl
        >>> smoothed = jl.scores.level_score(lambda x, sigma: -x / (1 + sigma**2), sigma=2.0)
        >>> float(jl.exact.target(smoothed, jnp.zeros(1)).cov[0, 0])
        5.0
    """
    _check_callable(function)
    return LevelScore(function, check_scalar("sigma", sigma, positive=True))


def _check_callable(function: Any) -> None:
    check_made("function", function)
    if isinstance(function, GivenGradient):
        raise TypeError(
            f"function: got a {type(function).__name__}, which already stands for an energy; pass "
            "it as the energy"
        )
    if not callable(function):
        raise TypeError(f"function: expected a score x -> s(x), got {type(function).__name__}")
