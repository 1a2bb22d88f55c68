"""Contrastive divergence: short chains from the data, or from anywhere else."""

from __future__ import annotations

import jax
from jax.typing import ArrayLike

from jlangevin._core.checks import check_count, check_flag
from jlangevin._core.trees import PyTree
from jlangevin.distribution import Drawable
from jlangevin.energies.base import Energy
from jlangevin.kernels.base import Kernel
from jlangevin.learn.base import Aux, as_batch, check_model_like, count
from jlangevin.learn.negatives import contrast, run_chains

__all__ = ["contrastive_divergence"]


def contrastive_divergence(
    key: jax.Array,
    energy: Energy,
    batch: PyTree,
    *,
    kernel: Kernel,
    num_steps: int,
    init: Drawable | PyTree | None = None,
    num_negatives: int | None = None,
    regularization: ArrayLike = 0.0,
    stop_gradient: bool = True,
) -> tuple[jax.Array, Aux]:
    """CD-k: the data against where k steps of a chain lead from there (Hinton 2002).

        L = mean E(x⁺) - mean E(x⁻) + α (mean E(x⁺)² + mean E(x⁻)²),    x⁻ after k steps from x⁺

    Descending L lowers E at the data and lifts it at the negatives. With negatives from the model
    itself, p ∝ exp(-E/T), the gradient of L is T times that of the mean of -log p(x⁺). With few
    steps, or with a kernel that has a bias, it is another one: θ settles where the chain leaves the
    moments of the data as they are that the energy's derivatives by θ are. On Gaussian families
    `exact.law` has this point in closed form. For negatives by `ula` at step η with data of
    variance s it is the precision

        λ = (1 - sqrt(1 - 2η/s)) / η    instead of    1/s

    for any k, as this is where the chain's stationary variance 1 / (λ (1 - ηλ/2)) is s.

    Args:
        key: a typed key.
        energy: E, a callable from one position to a scalar, as for `sample`. L is differentiable in
            its leaves.
        batch: the data x⁺, a pytree of floating arrays whose first axis counts items.
        kernel: for instance `ula(0.01)` or `mala(0.1)`. Its temperature is T. Where noise σ and
            step η are set apart, T is σ²/(2η), see `conventions.from_noise_scale`.
        num_steps: k ≥ 1.
        init: where chains start instead of at the data: positions, or a law that can be drawn from
            (then, with few steps, these are short-run chains; Nijkamp et al. 2019).
        num_negatives: their number, if `init` is a law; by default as many as items.
        regularization: α ≥ 0, which keeps energies near 0 (Du and Mordatch 2019).
        stop_gradient: whether negatives are constants, as in CD. If False, L is differentiated as
            it stands, through all steps of the chain, in memory that grows with k.

    Returns:
        L and an `Aux` with the negatives. Metrics: the means of the `energy_data` and the
        `energy_negatives`; `mean_distance` and `sd_distance`, root mean squares over coordinates of
        the differences between data and negatives; `num_divergent` chains; and the
        `acceptance_rate`, of kernels that reject.

    Raises:
        TypeError: an argument is not of its kind; labels among the data.
        ValueError: the batch does not fit the energy, has rows that are not finite, or the energy
            is one of a whole batch.
        NoEnergyError: the energy is a score.

    Example:
        >>> import jax, jax.numpy as jnp, jlangevin as jl
        >>> data = 2.0 * jax.random.normal(jax.random.key(0), (10_000, 1))
        >>> def loss(precision):
        ...     energy = jax.tree_util.Partial(lambda a, x: 0.5 * a * jnp.sum(x**2), precision)
        ...     return jl.learn.contrastive_divergence(
        ...         jax.random.key(1), energy, data, kernel=jl.mala(1.0), num_steps=10)
        >>> low, _ = jax.grad(loss, has_aux=True)(0.15)
        >>> high, _ = jax.grad(loss, has_aux=True)(0.35)
        >>> bool(low < 0 < high)  # descent leads to 1/4, the data's precision
        True
    """
    batch = as_batch(energy, batch)
    num_steps = check_count("num_steps", num_steps, minimum=1)
    stop_gradient = check_flag("stop_gradient", stop_gradient)
    if num_negatives is None and isinstance(init, Drawable):
        num_negatives = count(batch)
    ended, fared = run_chains(
        key,
        energy,
        kernel,
        batch if init is None else init,
        num_steps,
        num_chains=num_negatives,
        stop_gradient=stop_gradient,
    )
    negatives = ended.position
    if init is not None:
        check_model_like("init", negatives, batch, "where chains start is not")
    loss, metrics = contrast(energy, batch, negatives, regularization)
    return loss, Aux(metrics | fared, jax.lax.stop_gradient(negatives))
