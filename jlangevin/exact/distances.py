"""Distances between Gaussian laws; of laws on a grid, see `grid.distances`."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from jlangevin._core import trees
from jlangevin._core.arithmetic import product, root
from jlangevin.distribution import Gaussian, check_gaussian
from jlangevin.exact.grid.distances import grid_kl
from jlangevin.exact.grid.law import GridLaw

__all__ = ["kl", "wasserstein2"]


def wasserstein2(p: Gaussian, q: Gaussian) -> jax.Array:
    """The 2-Wasserstein distance between two Gaussians (Gelbrich 1990), not squared.

        W² = |m_p - m_q|² + min_U |S_p^{1/2} - S_q^{1/2} U|²_F    over orthogonal U

    which equals the usual tr(S_p + S_q - 2 (S_p^{1/2} S_q S_p^{1/2})^{1/2}) but loses no digits
    where p and q are close. Covariances may be singular, but then the derivative does not exist;
    where p = q it is taken as 0.

    Args:
        p, q: two laws over positions of one structure; for trajectories of laws use `jax.vmap`.

    Raises:
        TypeError: p or q is not a `Gaussian`.
        ValueError: p and q are over different positions, or one is a whole trajectory.

    Example:
        >>> import jax.numpy as jnp, jlangevin as jl
        >>> p = jl.Gaussian(jnp.zeros(1), jnp.eye(1))
        >>> float(jl.exact.wasserstein2(p, jl.Gaussian(3 * jnp.ones(1), 25 * jnp.eye(1))))
        5.0
    """
    m, n = _checked_means(p, q)
    shapes = _bures(p.cov, q.cov)
    # A distance within the rounding of the two roots counts as 0.
    rounding = 4 * jnp.finfo(m.dtype).eps * len(m)
    alike = shapes <= rounding**2 * (jnp.trace(p.cov) + jnp.trace(q.cov))
    return root(jnp.sum((m - n) ** 2) + jnp.where(alike, 0, shapes))


def kl(p: Gaussian | GridLaw, q: Gaussian | GridLaw) -> jax.Array | float:
    """The Kullback-Leibler divergence KL(p || q) in nats.

    Of Gaussians with regular covariances, and NaN if one is singular:

        ½ (tr(S_q⁻¹ S_p) - d + (m_p - m_q)ᵀ S_q⁻¹ (m_p - m_q) + log det S_q - log det S_p)

    Where p or q is a `GridLaw`, ∫ p log(p/q) by quadrature, as good as the laws are; infinite
    where p has an atom that q has not.

    Args:
        p, q: two laws over positions of one structure; for trajectories of Gaussians use
            `jax.vmap`.

    Returns:
        A scalar; of a `GridLaw` a number on the host.

    Raises:
        NoGridLawError: a `GridLaw` p is, by more than the laws' errors, where q is below what
            rounding leaves of a density: the divergence is infinite or cannot be told.
        TypeError: p or q is not a law of these.
        ValueError: p and q are over different positions, or one is a whole trajectory.

    Example:
        >>> import jax.numpy as jnp, jlangevin as jl
        >>> p = jl.Gaussian(jnp.zeros(1), jnp.eye(1))
        >>> float(jl.exact.kl(p, jl.Gaussian(jnp.ones(1), jnp.eye(1))))
        0.5
    """
    if isinstance(p, GridLaw) or isinstance(q, GridLaw):
        return grid_kl(p, q)
    m, n = _checked_means(p, q)
    lower_p, lower_q = jnp.linalg.cholesky(p.cov), jnp.linalg.cholesky(q.cov)
    ratio = jax.scipy.linalg.solve_triangular(lower_q, lower_p, lower=True)
    shift = jax.scipy.linalg.solve_triangular(lower_q, m - n, lower=True)
    # The sum of x - 1 - log x over squared diagonal entries, and the rest, without cancellation.
    diagonal = jnp.diagonal(ratio)
    off = jnp.sum(jnp.tril(ratio, -1) ** 2)
    excess = jnp.sum((diagonal - 1) * (diagonal + 1) - 2 * jnp.log(diagonal))
    return 0.5 * (excess + off + jnp.sum(shift**2))


_Pair = tuple[jax.Array, jax.Array]


@jax.custom_jvp
def _bures(s: jax.Array, t: jax.Array) -> jax.Array:
    a, b = _matrix_root(s), _matrix_root(t)
    left, _, right = jnp.linalg.svd(product(b.T, a))
    return jnp.sum((a - product(b, product(left, right))) ** 2)


@_bures.defjvp
def _bures_jvp(primals: _Pair, tangents: _Pair) -> tuple[jax.Array, jax.Array]:
    # d = tr((I - M) ds) + tr((I - M⁻¹) dt), M the optimal map's matrix, M s M = t.
    (s, t), (ds, dt) = primals, tangents
    half = _matrix_root(s)
    middle = _matrix_root(product(half, t, half))
    inverse = jnp.linalg.inv(half)
    optimal = product(inverse, middle, inverse)
    eye = jnp.eye(len(s), dtype=s.dtype)
    tangent = jnp.sum((eye - optimal) * ds) + jnp.sum((eye - jnp.linalg.inv(optimal)) * dt)
    return _bures(s, t), tangent


def _matrix_root(s: jax.Array) -> jax.Array:
    """The symmetric positive semi-definite square root."""
    values, vectors = jnp.linalg.eigh(s)
    return product(vectors * jnp.sqrt(jnp.maximum(values, 0))[None, :], vectors.T)


def _checked_means(p: Gaussian, q: Gaussian) -> tuple[jax.Array, jax.Array]:
    for name, law in (("p", p), ("q", q)):
        check_gaussian(name, law)
        law.check_single(name)
    trees.assert_like("q", q.mean, p.mean, "like the mean of p")
    return trees.ravel(p.mean), trees.ravel(q.mean)
