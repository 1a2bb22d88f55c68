"""Two phases of a contrastive loss: data against points of the model, and the chains that make
these."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike

from jlangevin._core import trees
from jlangevin._core.checks import check_not_negative, check_scalar
from jlangevin._core.trees import PyTree
from jlangevin.distribution import Drawable
from jlangevin.energies.base import Energy
from jlangevin.kernels.base import Kernel
from jlangevin.learn.base import held, values
from jlangevin.sampling import sample

__all__ = ["contrast", "run_chains"]

Metrics = dict[str, jax.Array]


def run_chains(
    key: jax.Array,
    energy: Energy,
    kernel: Kernel,
    init: Drawable | PyTree,
    num_steps: int,
    *,
    num_chains: int | None = None,
    stop_gradient: bool = True,
) -> tuple[PyTree, Metrics]:
    """The kernel's states where chains of the model end, (chain, …), and how they fared.

    They run by `sample`, which leaves them as they are if they turn non-finite: then so is the
    loss.
    """
    if stop_gradient:
        energy, init = held(energy), held(init)
    run = sample(
        key,
        energy,
        kernel,
        init,
        num_steps=num_steps,
        num_chains=num_chains,
        observe=None,
        on_divergence="ignore",
    )
    state = run.state.kernel
    metrics = {"num_divergent": jnp.sum(run.info.num_divergent)}
    if run.info.acceptance_rate is not None:
        metrics["acceptance_rate"] = jnp.mean(run.info.acceptance_rate)
    # What the energy holds in a closure, and not as leaves, is stopped here.
    return lax.stop_gradient(state) if stop_gradient else state, metrics


def contrast(
    energy: Energy, batch: PyTree, negatives: PyTree, regularization: ArrayLike
) -> tuple[jax.Array, Metrics]:
    """mean E(x⁺) - mean E(x⁻) + α (mean E(x⁺)² + mean E(x⁻)²), and the metrics of both phases."""
    alpha = check_not_negative("regularization", check_scalar("regularization", regularization))
    data, model = values(energy, batch), values(energy, negatives)
    loss = jnp.mean(data) - jnp.mean(model)
    # A Python number says at once that there is no such term.
    if not isinstance(alpha, float) or alpha:
        square = jnp.mean(data**2) + jnp.mean(model**2)
        loss = loss + jnp.asarray(alpha, square.dtype) * square
    metrics = {
        "energy_data": jnp.mean(data),
        "energy_negatives": jnp.mean(model),
        "mean_distance": _distance(jnp.mean, batch, negatives),
        "sd_distance": _distance(jnp.std, batch, negatives),
    }
    return loss, jax.tree.map(lax.stop_gradient, metrics)


def _distance(moment: Callable[..., jax.Array], batch: PyTree, negatives: PyTree) -> jax.Array:
    """The root mean square, over coordinates, of the difference in a moment."""
    gaps = jax.tree.map(lambda x, y: moment(x, axis=0) - moment(y, axis=0), batch, negatives)
    square = sum(jnp.sum(lax.stop_gradient(gap) ** 2) for gap in jax.tree.leaves(gaps))
    return jnp.sqrt(jnp.asarray(square) / max(trees.size(gaps), 1))
