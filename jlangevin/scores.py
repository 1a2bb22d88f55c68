"""Scores s(x) = -∇E(x): stand-ins for an energy whose gradient alone is known.

A kernel that needs only gradients runs on a score as on an energy. Whatever needs the value, for
instance to accept or reject, is refused with a named error while it is traced.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, TypeVar, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from numpy.typing import NDArray

from jlangevin._core import trees
from jlangevin._core.checks import as_array, check_made, check_scalar, or_nan
from jlangevin._core.listing import listing
from jlangevin._core.trees import Numbers, PyTree, pytree_dataclass, static_field
from jlangevin.energies.base import GivenGradient

__all__ = [
    "GivenGradient",
    "LevelScore",
    "Score",
    "VariancePreserving",
    "from_variance_preserving",
    "level_score",
    "score",
]

__dir__ = listing(__all__)

Predicts = Literal["noise", "score"]


A = TypeVar("A", jax.Array, NDArray[np.float64])


@pytree_dataclass
class Score(GivenGradient):
    """See `score`."""

    function: Callable[[PyTree], PyTree]

    def gradient(self, position: PyTree) -> PyTree:
        return jax.tree.map(jnp.negative, self.function(position))


def score(function: Callable[[PyTree], PyTree]) -> Score:
    """A stand-in for an energy E whose score alone is known.

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

    function: Callable[[PyTree, jax.Array], PyTree]
    sigma: Any

    def gradient(self, position: PyTree) -> PyTree:
        return jax.tree.map(jnp.negative, self.function(position, self.sigma))

    def at(self, sigma: ArrayLike) -> LevelScore:
        """The same at another level."""
        return LevelScore(self.function, sigma)


def level_score(function: Callable[[PyTree, jax.Array], PyTree], sigma: ArrayLike) -> LevelScore:
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


@pytree_dataclass
class VariancePreserving(GivenGradient):
    """See `from_variance_preserving`."""

    function: Callable[[PyTree, jax.Array], PyTree]
    rising: jax.Array  # σ_t of every t
    sigma: Any
    predicts: str = static_field()

    @property
    def sigmas(self) -> jax.Array:
        """All levels of the model, from the highest down, as `annealed` takes them."""
        return self.rising[::-1]

    def gradient(self, position: PyTree) -> PyTree:
        t = jnp.argmin(jnp.abs(self.rising - self.sigma)).astype(jnp.int32)
        kept = 1 / jnp.sqrt(1 + self.sigma**2)  # sqrt(ᾱ)
        factor = 1 / self.sigma if self.predicts == "noise" else -kept

        def times(scale: jax.Array, tree: PyTree) -> PyTree:
            return jax.tree.map(lambda leaf: scale.astype(leaf.dtype) * leaf, tree)

        return times(factor, self.function(times(kept, position), t))

    def at(self, sigma: ArrayLike) -> VariancePreserving:
        """The same at another level, which has to be one of the model's."""
        level = jnp.asarray(sigma, self.rising.dtype)

        def is_one(xp: Any, given: Any) -> Any:
            level, levels = given
            return xp.min(xp.abs(levels - level)) <= _SAME_LEVEL * level

        def refusal() -> Exception:
            nearest = self.rising[jnp.argmin(jnp.abs(self.rising - level))]
            return ValueError(
                f"sigma: expected a level of the model, one of its sigmas = sqrt((1 - ᾱ) / ᾱ) from "
                f"{float(self.rising[-1]):.6g} down to {float(self.rising[0]):.6g}, got "
                f"{float(level):.6g}; the nearest is {float(nearest):.6g}"
            )

        level, _ = or_nan((level, self.rising), is_one, refusal)
        return VariancePreserving(self.function, self.rising, level, self.predicts)


_SAME_LEVEL = 1e-5  # relative; levels of a model are about 1e-2 apart


def from_variance_preserving(
    function: Callable[[PyTree, jax.Array], PyTree],
    alpha_bar: Numbers,
    sigma: ArrayLike | None = None,
    *,
    predicts: Predicts = "noise",
) -> VariancePreserving:
    """A `level_score` made of a model that was trained on data whose variance is preserved.

    Such models (DDPM: Ho, Jain and Abbeel 2020; the VP SDE of Song et al. 2021) see

        x_t = sqrt(ᾱ_t) x_0 + sqrt(1 - ᾱ_t) ε,    ε ~ N(0, I)

    while the kernels here run on y = x_t / sqrt(ᾱ_t) = x_0 + σ_t ε, of exploding variance:

        σ_t = sqrt((1 - ᾱ_t) / ᾱ_t)
        s(y, σ_t) = -ε(x_t, t) / σ_t  =  sqrt(ᾱ_t) s_t(x_t),    x_t = sqrt(ᾱ_t) y

    Positions are y throughout. At the last level they are data and noise σ_0 ε, in the units of the
    data; a start at the first is σ_T times standard normals, about. The levels of a kernel have to
    be levels of the model, all of them or some: `annealed(made.sigmas[::10], …)`. The noise's own
    scale, sqrt(1 - ᾱ_t), is not a level.

    Args:
        function: what was trained, from one x_t and t, an int32 scalar from 0, to a pytree like
            x_t. A model in continuous time is `lambda x, t: model(x, times[t])`.
        alpha_bar: ᾱ_0 > ᾱ_1 > … in (0, 1), shape (number of levels,), `cumprod(1 - β)`. In float32
            1 - ᾱ loses digits at the first of them; NumPy's float64 is taken as it is.
        sigma: one of the levels, at which it stands for all kernels that do not choose their own;
            the lowest by default.
        predicts: "noise" if the model gives ε, "score" if it gives s_t.

    Raises:
        TypeError: `function` cannot be called.
        ValueError: ᾱ does not fall, or is not between 0 and 1; `predicts` is neither; σ is not a
            level of the model. A kernel's levels that are not the model's turn its chains to NaN,
            and the warning names them.
        NoEnergyError: later, where the energy's value is asked for.

    Example:
        >>> import jax.numpy as jnp, numpy as np, jlangevin as jl
        >>> alpha_bar = np.cumprod(1 - np.linspace(1e-3, 0.1, 100))
        >>> noise = lambda x, t: jnp.sqrt(1 - jnp.array(alpha_bar)[t]) * x  # of data from N(0, 1)
        >>> made = jl.scores.from_variance_preserving(noise, alpha_bar)
        >>> kernel = jl.annealed(made.sigmas, 50, 1e-4)
        >>> start = jl.Gaussian(jnp.zeros(1), made.sigmas[0] ** 2 * jnp.eye(1))
        >>> round(float(jl.exact.law(kernel, made, start, 5_000).cov[0, 0]), 1)
        1.0
    """
    _check_callable(function)
    if predicts not in get_args(Predicts):
        raise ValueError(f'predicts: expected "noise" or "score", got {predicts!r}')
    if trees.is_concrete(alpha_bar):
        as_array("alpha_bar", alpha_bar, ndim=1)
        dtype = trees.common_dtype(alpha_bar)
        known = _check_alpha_bar(np.asarray(alpha_bar, np.float64))
        rising = jnp.asarray(np.sqrt((1 - known) / known), dtype)
    else:
        kept = _check_alpha_bar(as_array("alpha_bar", alpha_bar, ndim=1))
        rising = jnp.sqrt((1 - kept) / kept)
    made = VariancePreserving(function, rising, rising[0], predicts)
    return made if sigma is None else made.at(check_scalar("sigma", sigma, positive=True))


def _check_alpha_bar(values: A) -> A:
    if len(values) == 0:
        raise ValueError("alpha_bar: expected at least one level")
    return or_nan(
        values,
        lambda xp, kept: xp.all(xp.diff(kept) < 0) & xp.all((kept > 0) & (kept < 1)),
        lambda: ValueError(
            "alpha_bar: expected numbers in (0, 1) that fall, cumprod(1 - β), got "
            f"{np.array2string(np.asarray(values), threshold=8)}"
        ),
    )


def _check_callable(function: object) -> None:
    check_made("function", function)
    if isinstance(function, GivenGradient):
        raise TypeError(
            f"function: got a {type(function).__name__}, which already stands for an energy; pass "
            "it as the energy"
        )
    if not callable(function):
        raise TypeError(f"function: expected a score x -> s(x), got {type(function).__name__}")
