"""Energy discrepancy: data against what noise makes of them, without chains or scores."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jlangevin._core import trees
from jlangevin._core.checks import check_count, check_key, check_not_negative, check_scalar
from jlangevin._core.trees import PyTree
from jlangevin.energies.base import Energy
from jlangevin.learn.base import Aux, as_batch, normals_like, values

__all__ = ["energy_discrepancy"]


def energy_discrepancy(
    key: jax.Array,
    energy: Energy,
    batch: PyTree,
    *,
    sigma: ArrayLike,
    num_samples: int = 16,
    stabilization: ArrayLike = 1.0,
) -> tuple[jax.Array, Aux]:
    """Energy discrepancy with Gaussian noise (Schröder et al. 2023).

        L = mean log (w/M + 1/M Σ_j exp(E(x) - E(x + σ ξ + σ ξ_j))),    ξ, ξ_j ~ N(0, I),  j = 1 … M

    No chain is run, and no gradient by x is needed. For M to infinity at w = 0 it is the difference
    of two KL divergences, between data and model and between both after noise of variance σ², and
    is least where the model is the data's law. A small σ is like score matching and blind to the
    weights of modes far apart, a large one like maximum likelihood, and needs many samples. Finite
    M and w > 0 bias it, by the order of 1/M.

    Args:
        key: a typed key.
        energy, batch: as for `contrastive_divergence`.
        sigma: σ > 0, in the units of the data; σ² is t in the paper.
        num_samples: M ≥ 1, for each item.
        stabilization: w ≥ 0. Without it the loss has no lower bound for energies that are steep.

    Returns:
        L and an `Aux`. Metrics: `energy_data`, and `energy_negatives`, the mean over all
        x + σ ξ + σ ξ_j.

    Raises:
        TypeError, ValueError: as `contrastive_divergence`; σ is not finite and positive, w is
            negative, M is not a positive integer.

    Example:
        >>> import jax, jax.numpy as jnp, jlangevin as jl
        >>> data = jax.random.normal(jax.random.key(0), (2_000, 1))
        >>> def loss(precision):
        ...     energy = jax.tree_util.Partial(lambda a, x: 0.5 * a * jnp.sum(x**2), precision)
        ...     return jl.learn.energy_discrepancy(
        ...         jax.random.key(1), energy, data, sigma=1.0, num_samples=64)[0]
        >>> bool(jax.grad(loss)(0.7) < 0 < jax.grad(loss)(1.4))
        True
    """
    batch = as_batch(energy, batch)
    check_key("key", key)
    sigma = check_scalar("sigma", sigma, positive=True)
    weight = check_not_negative("stabilization", check_scalar("stabilization", stabilization))
    number = check_count("num_samples", num_samples, minimum=1)

    def moved(x: jax.Array, e: jax.Array) -> jax.Array:
        return x + jnp.asarray(sigma, x.dtype) * e

    for_center, for_samples = jax.random.split(key)
    center = jax.tree.map(moved, batch, normals_like(for_center, batch))
    centers = jax.tree.map(
        lambda x: jnp.broadcast_to(x[:, None], (len(x), number, *x.shape[1:])), center
    )
    samples = jax.tree.map(moved, centers, normals_like(for_samples, trees.struct(centers)))
    data = values(energy, batch)
    other = jax.vmap(lambda points: values(energy, points))(samples)
    exponents = data[:, None] - other
    constant = jnp.full((len(data), 1), jnp.log(jnp.asarray(weight, data.dtype)))
    whole = jnp.concatenate([exponents, constant], axis=1)
    loss = jnp.mean(jax.nn.logsumexp(whole, axis=1)) - math.log(number)
    metrics = {"energy_data": jnp.mean(data), "energy_negatives": jnp.mean(other)}
    return loss, Aux(jax.tree.map(jax.lax.stop_gradient, metrics))
