"""The energy of a mixture of Gaussians."""

from __future__ import annotations

import math
from functools import partial
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.custom_derivatives import SymbolicZero

from jlangevin._core import trees
from jlangevin._core.arithmetic import WRITTEN_OUT, einsum, fold, product
from jlangevin._core.checks import (
    as_array,
    check_finite,
    check_no_half,
    check_positive,
    check_spd,
    or_nan,
)
from jlangevin._core.trees import Numbers, PyTree, pytree_dataclass
from jlangevin.energies.analytic import Analytic, check_position
from jlangevin.noise import Want

__all__ = ["GaussianMixture", "gaussian_mixture"]


_sum = partial(fold, jnp.add, jnp.sum)


def _mixture_and_gradient(
    x: jax.Array, means: jax.Array, whitening: jax.Array, log_norm: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """E = -log Σ_k exp(log_norm_k - ½ |z_k|²) with z_k = W_k (x - m_k), and Σ_k r_k W_kᵀ z_k.

    r are the responsibilities, the softmax of the exponents. Autodiff's gradient is five times
    slower: it turns every slice into a padded sum.
    """
    d = means.shape[1]
    offset = (x[None, :] - means).T  # (d, k), as all below
    if d * d <= WRITTEN_OUT:
        z = jnp.stack(
            [_sum([whitening[:, i, j] * offset[j] for j in range(i + 1)]) for i in range(d)]
        )
    else:
        whitening = jnp.tril(whitening)
        z = einsum("kij,jk->ik", whitening, offset)
    exponent = log_norm - 0.5 * _sum(z * z)
    top = jnp.max(exponent)
    part = jnp.exp(exponent - top)
    total = _sum(part)
    if d * d <= WRITTEN_OUT:
        pull = [_sum([whitening[:, j, i] * z[j] for j in range(i, d)]) for i in range(d)]
        gradient = jnp.stack([_sum(part * row) for row in pull])
    else:
        gradient = einsum("kij,ik->j", whitening, part[None, :] * z)
    return -(top + jnp.log(total)), gradient / total


@jax.custom_jvp
def _mixture(
    x: jax.Array, means: jax.Array, whitening: jax.Array, log_norm: jax.Array
) -> jax.Array:
    return _mixture_and_gradient(x, means, whitening, log_norm)[0]


def _mixture_jvp(
    primals: tuple[jax.Array, ...], tangents: tuple[jax.Array | SymbolicZero, ...]
) -> tuple[jax.Array, jax.Array]:
    zero = jax.custom_derivatives.SymbolicZero
    (x, *parameters), (d_x, *d_parameters) = primals, tangents
    value, gradient = _mixture_and_gradient(x, *parameters)
    tangent = jnp.zeros_like(value)
    if not isinstance(d_x, zero):
        tangent = tangent + product(gradient, d_x)
    if not all(isinstance(d, zero) for d in d_parameters):
        d_parameters = [
            jnp.zeros_like(p) if isinstance(d, zero) else d
            for p, d in zip(parameters, d_parameters, strict=True)
        ]
        _, by_parameters = jax.jvp(
            lambda *given: _mixture_and_gradient(x, *given)[0], parameters, d_parameters
        )
        tangent = tangent + by_parameters
    return value, tangent


_mixture.defjvp(_mixture_jvp, symbolic_zeros=True)


@pytree_dataclass
class GaussianMixture(Analytic):
    """See `gaussian_mixture`. Component k has covariance (Wᵀ W)⁻¹, W = `whitening[k]`."""

    means: jax.Array
    whitening: jax.Array
    weights: jax.Array

    draw_noise: ClassVar[PyTree] = (Want.NORMAL, Want.UNIFORM)

    def __call__(self, x: jax.Array) -> jax.Array:
        check_position(self, x, self.means.shape[1])
        value: jax.Array = _mixture(x, self.means, self.whitening, self._log_norm())
        return value

    def _log_norm(self) -> jax.Array:
        """The log weight of each component plus the log of its density's constant."""
        d = self.means.shape[1]
        diagonals = jnp.diagonal(self.whitening, axis1=1, axis2=2)
        log_det = jnp.sum(jnp.log(diagonals), axis=1)
        return jnp.log(self.weights) + log_det - 0.5 * d * math.log(2 * math.pi)

    def component_log_densities(self, x: jax.Array) -> jax.Array:
        """log w_k N(x; m_k, S_k) of each component, (k,); their softmax is the responsibilities."""
        check_position(self, x, self.means.shape[1])
        z = einsum("kij,kj->ki", self.whitening, x[None, :] - self.means)
        return self._log_norm() - 0.5 * jnp.sum(z * z, axis=1)

    @property
    def log_z(self) -> jax.Array:
        known = jnp.all(jnp.isfinite(self._log_norm()))
        return jnp.where(known, 0.0, jnp.nan).astype(self.means.dtype)

    @property
    def mean(self) -> jax.Array:
        return product(self.weights, self.means)

    @property
    def cov(self) -> jax.Array:
        factors = jnp.linalg.inv(self.whitening)
        within = einsum("k,kij,klj->il", self.weights, factors, factors)
        deviations = self.means - self.mean[None, :]
        return within + einsum("k,ki,kj->ij", self.weights, deviations, deviations)

    def template(self) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct(self.means.shape[1:], self.means.dtype)

    def from_noise(self, noise: tuple[jax.Array, jax.Array]) -> jax.Array:
        """The component from the uniform, then a draw of its Gaussian from the normals."""
        normals, uniform = noise
        edges = jnp.cumsum(self.weights)[:-1]
        k = jnp.sum((uniform > edges).astype(jnp.int32))
        return self.means[k] + jax.scipy.linalg.solve_triangular(
            self.whitening[k], normals, lower=True
        )


def gaussian_mixture(
    means: Numbers, covs: Numbers, weights: Numbers | None = None
) -> GaussianMixture:
    """E(x) = -log Σ_k w_k N(x; m_k, S_k), normalised: log Z = 0.

    Args:
        means: m, shape (k, d).
        covs: S, shape (k, d, d), each symmetric positive definite; one of shape (d, d) for all
            components; or their variance, a scalar.
        weights: w, shape (k,), positive with sum 1; equal weights if None.

    Raises:
        TypeError: an argument is not numbers, or has half precision, in which no matrix can be
            factorised.
        ValueError: shapes are wrong, a covariance is not symmetric positive definite, or weights
            are not positive or do not sum to 1.

    Example:
        >>> import jax.numpy as jnp, jlangevin as jl
        >>> energy = jl.energies.gaussian_mixture([[-2.0], [2.0]], jnp.ones((2, 1, 1)))
        >>> [round(v, 3) for v in (float(energy.mean[0]), float(energy.cov[0, 0]))]
        [0.0, 5.0]
        >>> jl.energies.gaussian_mixture([[-2.0], [2.0]], 1.0).cov
        Array([[5.]], dtype=float32)
    """
    dtype = trees.common_dtype(means, covs, weights)
    check_no_half("means, covs", dtype)
    means, covs = as_array("means", means, ndim=2), as_array("covs", covs)
    k, d = means.shape
    if k == 0:
        raise ValueError("means: expected at least one component")
    means = check_finite("means", means)
    if covs.shape not in ((k, d, d), (d, d), ()):
        raise ValueError(
            f"covs: expected shape ({k}, {d}, {d}) to match means, ({d}, {d}) for one covariance "
            f"of all components, or a scalar variance; got {covs.shape}"
        )
    if covs.ndim == 0:
        covs = check_positive("covs", covs) * jnp.eye(d, dtype=covs.dtype)
    elif covs.ndim == 2:
        covs = check_spd("covs", covs)
    else:
        checked = [check_spd(f"covs[{i}]", covs[i]) for i in range(k)]
        covs = covs if trees.is_concrete(covs) else jnp.stack(checked)
    covs = jnp.broadcast_to(covs, (k, d, d))
    if weights is None:
        weights = jnp.full(k, 1.0 / k, dtype)
    weights = as_array("weights", weights)
    if weights.shape != (k,):
        raise ValueError(f"weights: expected shape ({k},) to match means, got {weights.shape}")
    means, covs, weights = or_nan(
        (means, covs, check_positive("weights", weights)),
        lambda xp, given: xp.abs(xp.sum(given[2]) - 1) <= 1e-5,
        lambda: ValueError(f"weights: expected a sum of 1, got {float(np.sum(weights)):.6g}"),
    )
    eye = jnp.eye(d, dtype=dtype)
    whitening = jax.vmap(
        lambda s: jax.scipy.linalg.solve_triangular(jnp.linalg.cholesky(s), eye, lower=True)
    )(covs.astype(dtype))
    return GaussianMixture(means.astype(dtype), whitening, weights.astype(dtype))
