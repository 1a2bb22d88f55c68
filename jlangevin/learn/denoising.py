"""Denoising score matching, at one level of noise and at many."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jlangevin._core import trees
from jlangevin._core.checks import check_key, check_scalar
from jlangevin._core.trees import Numbers, PyTree
from jlangevin.energies.base import Energy, check_callable, gradient, level
from jlangevin.kernels.annealed import as_sigmas
from jlangevin.learn.base import Aux, as_batch, as_rows, count, normals_like, squares

__all__ = ["denoising_score_matching", "multiscale_score_matching"]


def denoising_score_matching(
    key: jax.Array, energy: Energy, batch: PyTree, *, sigma: ArrayLike
) -> tuple[jax.Array, Aux]:
    """The score of data with noise, from the noise that was added (Vincent 2011).

        L = ½ mean |σ s(x + σ ε) + ε|²,    s = -∇E,    ε ~ N(0, I)

    The best s is the score of p_σ, the density of the data smoothed by noise of variance σ²: L is
    σ² times the Fisher divergence ½ E|s - ∇ log p_σ|², plus a term that does not depend on the
    model. So E is learned as that of p_σ, not of the data themselves.

    Args:
        key: a typed key.
        energy, batch: as for `implicit_score_matching`.
        sigma: σ > 0, in the units of the data.

    Returns:
        L and an `Aux`. Metrics: `score_square`, the mean of |σ s|².

    Raises:
        TypeError, ValueError: as `implicit_score_matching`; σ is not finite and positive.

    Example:
        >>> import jax, jax.numpy as jnp, jlangevin as jl
        >>> data = jnp.zeros((10_000, 1))  # with noise of variance 1/4
        >>> def loss(precision):
        ...     energy = jax.tree_util.Partial(lambda a, x: 0.5 * a * jnp.sum(x**2), precision)
        ...     return jl.learn.denoising_score_matching(
        ...         jax.random.key(0), energy, data, sigma=0.5)[0]
        >>> float(loss(4.0)) < 1e-9 < float(loss(3.0))  # every score points at its datum
        True
    """
    batch = as_batch(energy, batch)
    sigma = check_scalar("sigma", sigma, positive=True)
    levels = jnp.full(count(batch), sigma, trees.float_dtype(batch))
    return _matched(key, lambda _: energy, batch, levels)


def multiscale_score_matching(
    key: jax.Array, energy: Energy, batch: PyTree, *, sigmas: Numbers
) -> tuple[jax.Array, Aux]:
    """Denoising score matching at many levels of noise at once (Song and Ermon 2019).

        L = ½ mean |σ s(x + σ ε, σ) + ε|²,    σ of each item drawn from σ_1 … σ_L, all alike

    The weight σ² makes all levels count alike, as σ s is of the order of 1 at each. What is learned
    is sampled by `annealed` or `predictor_corrector` with the same levels.

    Args:
        key: a typed key.
        energy: one with levels: `scores.level_score(Partial(apply, parameters), sigma)` of a
            network s(x, σ), or any energy with a method `at(sigma)`.
        batch: as for `implicit_score_matching`.
        sigmas: σ_1 > … > σ_L > 0, (L,), as for `annealed`: the largest as wide as the data, the
            smallest as fine as what is to be seen in them.

    Returns:
        L and an `Aux`. Metrics: `score_square`, the mean of |σ s|².

    Raises:
        TypeError, ValueError: as `implicit_score_matching`; levels that do not fall or are not
            positive; an energy without levels.

    Example:
        >>> import jax, jax.numpy as jnp, jlangevin as jl
        >>> smoothed = jl.scores.level_score(lambda x, sigma: -x / (1 + sigma**2), 1.0)
        >>> wrong = jl.scores.level_score(lambda x, sigma: -x / sigma**2, 1.0)
        >>> data = jax.random.normal(jax.random.key(0), (10_000, 2))
        >>> def loss(score):
        ...     return jl.learn.multiscale_score_matching(
        ...         jax.random.key(1), score, data, sigmas=jnp.geomspace(3.0, 0.1, 5))[0]
        >>> bool(loss(smoothed) < loss(wrong))
        True
    """
    check_callable(energy)
    batch = as_rows("batch", batch)
    sigmas = as_sigmas(sigmas)
    as_batch(level(energy, sigmas[0]), batch)
    check_key("key", key)
    for_levels, for_noise = jax.random.split(key)
    chosen = jax.random.randint(for_levels, (count(batch),), 0, len(sigmas))
    levels = jnp.take(sigmas, chosen).astype(trees.float_dtype(batch))
    return _matched(for_noise, lambda sigma: level(energy, sigma), batch, levels)


def _matched(
    key: jax.Array, at: Callable[[jax.Array], Energy], batch: PyTree, levels: jax.Array
) -> tuple[jax.Array, Aux]:
    """The loss with `levels` (n,) of the items, and an energy `at(sigma)`."""
    check_key("key", key)
    noise = normals_like(key, batch)

    def scaled_score(x: PyTree, e: PyTree, sigma: jax.Array) -> PyTree:
        noisy = jax.tree.map(lambda x, e: x + sigma.astype(x.dtype) * e, x, e)
        slope = gradient(at(sigma), noisy)
        return jax.tree.map(lambda g: -sigma.astype(g.dtype) * g, slope)

    scores = jax.vmap(scaled_score)(batch, noise, levels)
    loss = 0.5 * jnp.mean(squares(jax.tree.map(jnp.add, scores, noise)))
    metrics = {"score_square": jax.lax.stop_gradient(jnp.mean(squares(scores)))}
    return loss, Aux(metrics)
