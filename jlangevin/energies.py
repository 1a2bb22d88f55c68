"""Energies E(x) with p(x) ∝ exp(-E(x)): pytree callables, with their true moments where known.

Each energy is a frozen dataclass whose parameters are pytree leaves: it can be passed through
`jit`, `grad` and `vmap`, and a changed parameter never recompiles. `log_z` (the log of
∫ exp(-E)), `mean`, `cov` and the exact sampler `sample(key, num_draws)` are those of p at
temperature 1; where one does not exist, or has no closed form, asking for it is refused by name.

The parameters of an energy, and so its moments and draws, have one dtype: the widest of the arrays
given, or JAX's default if none is. Python's numbers follow the others.

Any other callable from a position to a scalar is an energy too.
"""

from __future__ import annotations

import math
from functools import partial
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.scipy.special import erf

from jlangevin import distribution, trees
from jlangevin._arithmetic import WRITTEN_OUT, convolve, einsum, fold, product, root
from jlangevin._checks import (
    as_array,
    check_count,
    check_finite,
    check_no_half,
    check_positive,
    check_scalar,
    check_spd,
    or_nan,
)
from jlangevin.errors import NoClosedFormError, NotNormalizableError
from jlangevin.noise import Want
from jlangevin.trees import PyTree, pytree_dataclass, static_field

__all__ = [
    "Analytic",
    "DoubleWell",
    "Funnel",
    "GaussianMixture",
    "Linear",
    "Quadratic",
    "Ring",
    "Rosenbrock",
    "double_well",
    "funnel",
    "gaussian_mixture",
    "linear",
    "quadratic",
    "ring",
    "rosenbrock",
]


class Analytic:
    """The facts that an energy of this module may know of its law; refused unless overridden."""

    draw_noise: ClassVar[PyTree] = None

    @property
    def log_z(self) -> jax.Array:
        """log ∫ exp(-E(x)) dx."""
        raise self._refusal("log_z")

    @property
    def mean(self) -> jax.Array:
        """The mean of p, like the position."""
        raise self._refusal("mean")

    @property
    def cov(self) -> jax.Array:
        """The covariance of p, (d, d)."""
        raise self._refusal("cov")

    def template(self) -> jax.ShapeDtypeStruct:
        """The shape and dtype of a position drawn by the exact sampler."""
        raise self._refusal("an exact sampler")

    def from_noise(self, noise: Any) -> jax.Array:
        """One exact draw from the noise that `draw_noise` asks for."""
        raise self._refusal("an exact sampler")

    def sample(self, key: jax.Array, num_draws: int) -> jax.Array:
        """Exact, independent draws, (num_draws, d); draw i depends on (key, i) alone."""
        drawn: jax.Array = distribution.sample(self, key, num_draws)
        return drawn

    def _refusal(self, what: str) -> ValueError:
        return NoClosedFormError(
            f"{type(self).__name__}: {what} has no closed form; sample the energy with a kernel "
            "instead"
        )


def _check_position(energy: Analytic, x: jax.Array, dim: int) -> None:
    name = type(energy).__name__
    if not trees.is_array(x) or jnp.iscomplexobj(x):
        what = f"dtype {x.dtype}" if trees.is_array(x) else f"{type(x).__name__}"
        raise TypeError(f"{name}: expected a position that is a real array, got {what}")
    if jnp.shape(x) != (dim,):
        raise ValueError(
            f"{name}: expected a position of shape ({dim},), got {jnp.shape(x)}; "
            "use jax.vmap over many positions"
        )


def _alike(*parameters: Any) -> tuple[Any, ...]:
    """Numbers in their one dtype; Python's stay as they are, and follow those of the position."""
    dtype = trees.common_dtype(parameters)

    def one(value: Any) -> Any:
        follows = not hasattr(value, "dtype") or getattr(value, "weak_type", False)
        return value if follows else jnp.asarray(trees.own("parameters", value), dtype)

    return tuple(map(one, parameters))


# Linear -------------------------------------------------------------------------------------


@pytree_dataclass
class Linear(Analytic):
    """See `linear`."""

    theta: jax.Array

    def __call__(self, x: jax.Array) -> jax.Array:
        _check_position(self, x, self.theta.shape[0])
        return jnp.sum(self.theta * x)

    def _refusal(self, what: str) -> ValueError:
        return NotNormalizableError(
            f"Linear: {what} does not exist: exp(-θ·x) has no finite integral over R^d. "
            "Ask for the law after a finite number of steps (exact.law), or bound the energy"
        )


def linear(theta: Any) -> Linear:
    """E(x) = θ·x on R^d, the notebook's energy. exp(-E) has no finite integral.

    Args:
        theta: θ, shape (d,).

    Raises:
        ValueError: θ is not a finite vector.
        NotNormalizableError: on `log_z`, `mean`, `cov` and `sample`, which do not exist.

    Example:
        >>> import jax.numpy as jnp, jlangevin as jl
        >>> float(jl.energies.linear([1.0, 2.0])(jnp.array([3.0, 0.5])))
        4.0
    """
    return Linear(check_finite("theta", as_array("theta", theta, ndim=1)))


# Quadratic ----------------------------------------------------------------------------------


@jax.custom_jvp
def _half_form(matrix: jax.Array, y: jax.Array) -> jax.Array:
    """½ yᵀ A y for a symmetric A; its gradient costs one product, autodiff's own costs two."""
    return 0.5 * product(y, product(matrix, y))


def _half_form_jvp(primals: Any, tangents: Any) -> tuple[jax.Array, jax.Array]:
    (matrix, y), (d_matrix, d_y) = primals, tangents
    slope = product(matrix, y)
    tangent = jnp.zeros_like(slope, shape=())
    if not isinstance(d_y, jax.custom_derivatives.SymbolicZero):
        tangent = tangent + product(slope, d_y)
    if not isinstance(d_matrix, jax.custom_derivatives.SymbolicZero):
        tangent = tangent + 0.5 * product(y, product(d_matrix, y))
    return 0.5 * product(y, slope), tangent


_half_form.defjvp(_half_form_jvp, symbolic_zeros=True)


@pytree_dataclass
class Quadratic(Analytic):
    """See `quadratic`."""

    precision: jax.Array
    center: jax.Array

    draw_noise: ClassVar[Want] = Want.NORMAL

    def __call__(self, x: jax.Array) -> jax.Array:
        _check_position(self, x, self.center.shape[0])
        return _half_form(self.precision, x - self.center)

    def _lower(self) -> jax.Array:
        """L with L Lᵀ = A."""
        check_no_half("precision", self.precision.dtype)
        return jnp.linalg.cholesky(self.precision)

    @property
    def log_z(self) -> jax.Array:
        d = self.center.shape[0]
        lower = self._lower()
        return 0.5 * d * math.log(2 * math.pi) - jnp.sum(jnp.log(jnp.diagonal(lower)))

    @property
    def mean(self) -> jax.Array:
        return self.center

    @property
    def cov(self) -> jax.Array:
        lower = self._lower()
        inverse = jax.scipy.linalg.solve_triangular(
            lower, jnp.eye(lower.shape[0], dtype=lower.dtype), lower=True
        )
        return product(inverse.T, inverse)

    def template(self) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct(self.center.shape, self.center.dtype)

    def from_noise(self, noise: jax.Array) -> jax.Array:
        """μ + L⁻ᵀ ξ with L Lᵀ = A."""
        lower = self._lower()
        return self.center + jax.scipy.linalg.solve_triangular(lower, noise, lower=True, trans=1)


def quadratic(precision: Any, mean: Any = None) -> Quadratic:
    """E(x) = ½ (x - μ)ᵀ A (x - μ): the Gaussian N(μ, A⁻¹).

    Args:
        precision: A, shape (d, d), symmetric positive definite.
        mean: μ, shape (d,); zero if None.

    Raises:
        ValueError: wrong shapes, or A not symmetric positive definite.

    Example:
        >>> import jax.numpy as jnp, jlangevin as jl
        >>> float(jl.energies.quadratic(2 * jnp.eye(2))(jnp.ones(2)))
        2.0
    """
    dtype = trees.common_dtype(precision, mean)
    precision = check_spd("precision", as_array("precision", precision, ndim=2))
    d = precision.shape[0]
    center = jnp.zeros(d, dtype) if mean is None else as_array("mean", mean)
    if center.shape != (d,):
        raise ValueError(f"mean: expected shape ({d},) to match precision, got {center.shape}")
    center = check_finite("mean", center)
    return Quadratic(precision.astype(dtype), center.astype(dtype))


# Gaussian mixture ---------------------------------------------------------------------------


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


def _mixture_jvp(primals: Any, tangents: Any) -> tuple[jax.Array, jax.Array]:
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
        _check_position(self, x, self.means.shape[1])
        value: jax.Array = _mixture(x, self.means, self.whitening, self._log_norm())
        return value

    def _log_norm(self) -> jax.Array:
        """log weight + log of the normal density's constant, for each component."""
        d = self.means.shape[1]
        diagonals = jnp.diagonal(self.whitening, axis1=1, axis2=2)
        log_det = jnp.sum(jnp.log(diagonals), axis=1)
        return jnp.log(self.weights) + log_det - 0.5 * d * math.log(2 * math.pi)

    def component_log_densities(self, x: jax.Array) -> jax.Array:
        """log w_k N(x; m_k, S_k) of each component, (k,); their softmax is responsibilities."""
        _check_position(self, x, self.means.shape[1])
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
        """The component by the uniform, then its own Gaussian by the normals."""
        normals, uniform = noise
        edges = jnp.cumsum(self.weights)[:-1]
        k = jnp.sum((uniform > edges).astype(jnp.int32))
        return self.means[k] + jax.scipy.linalg.solve_triangular(
            self.whitening[k], normals, lower=True
        )


def gaussian_mixture(means: Any, covs: Any, weights: Any = None) -> GaussianMixture:
    """E(x) = -log Σ_k w_k N(x; m_k, S_k), normalised: log Z = 0.

    Args:
        means: m, shape (k, d).
        covs: S, shape (k, d, d), each symmetric positive definite.
        weights: w, shape (k,), positive with sum 1; equal weights if None.

    Raises:
        TypeError: no numbers, or those of half precision, in which no matrix can be factorised.
        ValueError: wrong shapes, a covariance that is not symmetric positive definite, or
            weights that are not positive or do not sum to 1.

    Example:
        >>> import jax.numpy as jnp, jlangevin as jl
        >>> energy = jl.energies.gaussian_mixture([[-2.0], [2.0]], jnp.ones((2, 1, 1)))
        >>> [round(v, 3) for v in (float(energy.mean[0]), float(energy.cov[0, 0]))]
        [0.0, 5.0]
    """
    dtype = trees.common_dtype(means, covs, weights)
    check_no_half("means, covs", dtype)
    means, covs = as_array("means", means, ndim=2), as_array("covs", covs, ndim=3)
    k, d = means.shape
    if k == 0:
        raise ValueError("means: expected at least one component")
    means = check_finite("means", means)
    if covs.shape != (k, d, d):
        raise ValueError(f"covs: expected shape ({k}, {d}, {d}) to match means, got {covs.shape}")
    checked = [check_spd(f"covs[{i}]", covs[i]) for i in range(k)]
    covs = covs if trees.is_concrete(covs) else jnp.stack(checked)
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


# Double well --------------------------------------------------------------------------------


@pytree_dataclass
class DoubleWell(Analytic):
    """See `double_well`."""

    height: Any
    minimum: Any
    dim: int = static_field()

    def __call__(self, x: jax.Array) -> jax.Array:
        _check_position(self, x, self.dim)
        excess = (x / self.minimum) ** 2 - 1
        return self.height * jnp.sum(excess**2)

    def _integral(self, power: int) -> jax.Array:
        """∫ y^power exp(-h (y² - 1)²) dy over R for an even power, y = x / minimum.

        The trapezoidal rule converges geometrically for an analytic integrand that is even or
        negligible at the ends: twice the half line, out to where exp(-E) < 1e-17, leaves nothing
        but rounding. Nodes are held as y - 1, so that narrow wells keep their digits.
        """
        h = jnp.asarray(self.height, self._dtype)
        reach = jnp.sqrt(40 / lax.stop_gradient(h))
        low = -reach / (1 + jnp.sqrt(jnp.maximum(1 - reach, 0)))
        low, high = jnp.maximum(low, -1), reach / (1 + jnp.sqrt(1 + reach))
        nodes, intervals = np.arange(513), 512
        w = low + (high - low) / intervals * nodes.astype(h.dtype)
        weights = np.where((nodes == 0) | (nodes == intervals), 0.5, 1.0).astype(h.dtype)
        values = (1 + w) ** power * jnp.exp(-h * (w * (w + 2)) ** 2)
        return 2 * jnp.sum(weights * values) * (high - low) / intervals

    @property
    def log_z(self) -> jax.Array:
        return self.dim * jnp.log(self._integral(0) * self.minimum)

    @property
    def mean(self) -> jax.Array:
        return jnp.zeros(self.dim, self._dtype) * self.minimum * self.height

    @property
    def cov(self) -> jax.Array:
        variance = self.minimum**2 * self._integral(2) / self._integral(0)
        return variance * jnp.eye(self.dim, dtype=self._dtype)

    @property
    def _dtype(self) -> Any:
        return trees.common_dtype(self.height, self.minimum)


def double_well(height: Any = 1.0, minimum: Any = 1.0, *, dim: int = 1) -> DoubleWell:
    """E(x) = h Σ_i ((x_i / a)² - 1)²: two wells in each coordinate, at ±a, barrier h.

    `log_z` and `cov` are one-dimensional integrals, evaluated to rounding by quadrature; there is
    no exact sampler in closed form.

    Args:
        height: h > 0, the barrier between the wells in units of E.
        minimum: a > 0, where the wells are.
        dim: d, the number of coordinates; there are 2^d wells.

    Raises:
        ValueError: h or a not finite and positive, or d < 1.
        NoClosedFormError: on `sample`.

    Example:
        >>> import jax.numpy as jnp, jlangevin as jl
        >>> float(jl.energies.double_well(height=3.0)(jnp.zeros(1)))
        3.0
    """
    height, minimum = _alike(
        check_scalar("height", height, positive=True),
        check_scalar("minimum", minimum, positive=True),
    )
    return DoubleWell(height, minimum, check_count("dim", dim, minimum=1))


# Rosenbrock ---------------------------------------------------------------------------------


@pytree_dataclass
class Rosenbrock(Analytic):
    """See `rosenbrock`."""

    a: Any
    b: jax.Array
    mu: Any

    draw_noise: ClassVar[Want] = Want.NORMAL

    @property
    def dim(self) -> int:
        return 1 + self.b.size

    def __call__(self, x: jax.Array) -> jax.Array:
        _check_position(self, x, self.dim)
        blocks, length = self.b.shape
        if blocks == 1:
            values, previous, b = x[1:], x[:-1], self.b[0]
        else:
            values, b = x[1:].reshape(blocks, length), self.b
            first = jnp.broadcast_to(x[0], (blocks, 1))
            previous = jnp.concatenate([first, values[:, :-1]], axis=1)
        return self.a * (x[0] - self.mu) ** 2 + jnp.sum(b * (values - previous**2) ** 2)

    @property
    def log_z(self) -> jax.Array:
        log_pi = self.dim * math.log(math.pi)
        return 0.5 * (log_pi - jnp.log(self.a) - jnp.sum(jnp.log(self.b)))

    @property
    def mean(self) -> jax.Array:
        return self._moments()[0]

    @property
    def cov(self) -> jax.Array:
        return self._moments()[1]

    def _moments(self) -> tuple[jax.Array, jax.Array]:
        """Mean and covariance by polynomials in x_1: E[f(x_i) | x_{i-1}] is one in x_{i-1}."""
        blocks, length = self.b.shape
        if length > 4:
            raise NoClosedFormError(
                f"Rosenbrock: moments of blocks of {length + 1} are polynomials of degree "
                f"{2 ** (length + 1)}, whose values overflow; they are given for blocks of up to 5"
            )
        variances = 1 / (2 * self.b)
        x = jnp.array([0.0, 1.0], self.b.dtype)

        def back(polynomial: jax.Array, block: int, i: int, j: int) -> jax.Array:
            """E[polynomial(x_i) | x_j] in powers of x_j, counted in the block; j = -1 is x_1."""
            for step in range(i, j, -1):
                smoothed = _smooth(polynomial, variances[block, step])
                squared = jnp.zeros(2 * len(smoothed) - 1, smoothed.dtype)
                polynomial = squared.at[::2].set(smoothed)
            return polynomial

        def expect(polynomial: jax.Array) -> jax.Array:
            smoothed = _smooth(polynomial, jnp.asarray(1 / (2 * self.a), x.dtype))
            return jnp.polyval(smoothed[::-1], jnp.asarray(self.mu, x.dtype))

        index = [(block, i) for block in range(blocks) for i in range(length)]
        given_first = [x] + [back(x, block, i, -1) for block, i in index]
        mean = jnp.stack([expect(p) for p in given_first])
        second = [[jnp.zeros((), x.dtype)] * self.dim for _ in range(self.dim)]
        for row in range(self.dim):
            for col in range(row + 1):
                both = convolve(given_first[row], given_first[col])
                if col > 0 and index[row - 1][0] == index[col - 1][0]:
                    (block, i), (_, j) = index[row - 1], index[col - 1]
                    both = back(convolve(x, back(x, block, i, j)), block, j, -1)
                second[row][col] = second[col][row] = expect(both)
        return mean, jnp.array(second) - jnp.outer(mean, mean)

    def template(self) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct((self.dim,), self.b.dtype)

    def from_noise(self, noise: jax.Array) -> jax.Array:
        """x_1 by its Gaussian, then each x_i by its own around the square of the one before."""
        blocks, length = self.b.shape
        first = self.mu + noise[0] / jnp.sqrt(jnp.asarray(2 * self.a, noise.dtype))
        normals = noise[1:].reshape(blocks, length)
        columns = []
        previous = jnp.broadcast_to(first, (blocks,))
        for i in range(length):
            previous = previous**2 + normals[:, i] / jnp.sqrt(2 * self.b[:, i])
            columns.append(previous)
        return jnp.concatenate([first[None], jnp.stack(columns, axis=1).reshape(-1)])


def _smooth(polynomial: jax.Array, variance: jax.Array) -> jax.Array:
    """Coefficients of m -> E[polynomial(m + sqrt(variance) Z)], lowest power first."""
    degree = len(polynomial) - 1
    result = polynomial
    for pairs in range(1, degree // 2 + 1):
        # C(k, 2 pairs) (2 pairs - 1)!! carries m^k to m^(k - 2 pairs)
        double_factorial = math.factorial(2 * pairs) / (2**pairs * math.factorial(pairs))
        weights = np.array([math.comb(k, 2 * pairs) for k in range(2 * pairs, degree + 1)])
        weights = (weights * double_factorial).astype(polynomial.dtype)
        shifted = polynomial[2 * pairs :] * weights * variance**pairs
        result = result.at[: degree + 1 - 2 * pairs].add(shifted)
    return result


def rosenbrock(
    a: Any = 0.05, b: Any = 5.0, mu: Any = 1.0, *, block_length: int = 2, num_blocks: int = 1
) -> Rosenbrock:
    """The hybrid Rosenbrock energy of Pagani, Wiegand and Nadarajah (2022), drawn from exactly.

        E(x) = a (x_1 - μ)² + Σ_j Σ_{i≥2} b_ji (x_ji - x_{j,i-1}²)²,    x_j1 = x_1

    `num_blocks` chains of coordinates j hang on the common x_1; the position is
    (x_1, x_12, …, x_1n, x_22, …), d = 1 + num_blocks (block_length - 1).

    Args:
        a, b, mu: a > 0; b > 0, a scalar or of shape (num_blocks, block_length - 1); μ.
        block_length: n ≥ 2, the coordinates of a block, x_1 included.
        num_blocks: the number of blocks.

    Raises:
        ValueError: a or b not positive, or of the wrong shape.
        NoClosedFormError: `mean` or `cov` for blocks longer than 5, where they overflow.

    Example:
        >>> import jlangevin as jl
        >>> [round(float(v), 4) for v in jl.energies.rosenbrock().mean]
        [1.0, 11.0]
    """
    length = check_count("block_length", block_length, minimum=2) - 1
    blocks = check_count("num_blocks", num_blocks, minimum=1)
    a, mu = check_scalar("a", a, positive=True), check_scalar("mu", mu)
    dtype = trees.common_dtype(a, b, mu)
    b = as_array("b", b)
    if b.shape not in ((), (blocks, length)):
        raise ValueError(f"b: expected a scalar or shape ({blocks}, {length}), got {b.shape}")
    b = jnp.broadcast_to(check_positive("b", b).astype(dtype), (blocks, length))
    return Rosenbrock(*_alike(a, b, mu))


# Funnel -------------------------------------------------------------------------------------


@pytree_dataclass
class Funnel(Analytic):
    """See `funnel`."""

    scale: Any
    dim: int = static_field()

    draw_noise: ClassVar[Want] = Want.NORMAL

    def __call__(self, x: jax.Array) -> jax.Array:
        _check_position(self, x, self.dim)
        v, rest = x[0], x[1:]
        k = self.dim - 1
        return 0.5 * ((v / self.scale) ** 2 + jnp.exp(-v) * jnp.sum(rest**2) + k * v)

    @property
    def log_z(self) -> jax.Array:
        return jnp.log(self._scale) + 0.5 * self.dim * math.log(2 * math.pi)

    @property
    def mean(self) -> jax.Array:
        return jnp.zeros(self.dim, self._scale.dtype) * self._scale

    @property
    def cov(self) -> jax.Array:
        variance = self._scale**2
        rest = jnp.broadcast_to(jnp.exp(variance / 2), (self.dim - 1,))
        return jnp.diag(jnp.concatenate([variance[None], rest]))

    def template(self) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct((self.dim,), self._scale.dtype)

    @property
    def _scale(self) -> jax.Array:
        return jnp.asarray(self.scale, trees.common_dtype(self.scale))

    def from_noise(self, noise: jax.Array) -> jax.Array:
        """v by its Gaussian, then the rest with variance e^v."""
        v = self.scale * noise[:1]
        return jnp.concatenate([v, jnp.exp(0.5 * v) * noise[1:]])


def funnel(dim: int = 2, scale: Any = 3.0) -> Funnel:
    """Neal's funnel (2003): v = x_1 ~ N(0, s²), and x_2, …, x_d ~ N(0, e^v) given v.

        E(x) = v²/(2s²) + e^{-v} Σ x_i² / 2 + (d - 1) v / 2

    Args:
        dim: d ≥ 2.
        scale: s > 0, the standard deviation of v.

    Raises:
        ValueError: d < 2, or s not finite and positive.

    Example:
        >>> import jax.numpy as jnp, jlangevin as jl
        >>> float(jl.energies.funnel(dim=3)(jnp.zeros(3)))
        0.0
    """
    (scale,) = _alike(check_scalar("scale", scale, positive=True))
    return Funnel(scale, check_count("dim", dim, minimum=2))


# Ring ---------------------------------------------------------------------------------------


@pytree_dataclass
class Ring(Analytic):
    """See `ring`."""

    radius: Any
    width: Any
    dim: int = static_field()

    draw_noise: ClassVar[PyTree] = (Want.NORMAL, Want.UNIFORM)

    def __call__(self, x: jax.Array) -> jax.Array:
        _check_position(self, x, self.dim)
        return 0.5 * ((root(jnp.sum(x * x)) - self.radius) / self.width) ** 2

    def _lengths(self) -> tuple[jax.Array, jax.Array]:
        """Radius and width as arrays."""
        dtype = trees.common_dtype(self.radius, self.width)
        return jnp.asarray(self.radius, dtype), jnp.asarray(self.width, dtype)

    def _in_units(self) -> tuple[Ring, jax.Array]:
        """The same ring in units in which its radius is about 1 and powers don't overflow."""
        big_r, w = self._lengths()
        unit = jnp.maximum(big_r, w * math.sqrt(self.dim))
        return Ring(big_r / unit, w / unit, self.dim), unit

    def _integrals(self, highest: int, upper: jax.Array | None = None) -> jax.Array:
        """∫ s^k exp(-(s - R)²/(2w²)) ds from 0 to `upper` (∞ if None) for k = 0 … `highest`."""
        big_r, w = self._lengths()
        whole = w * math.sqrt(math.pi / 2)
        scale = w * math.sqrt(2)
        start = jnp.exp(-0.5 * (big_r / w) ** 2)
        if upper is None:
            ends = [jnp.zeros_like(start)] * max(highest, 1)
            found = [whole * (1 + erf(big_r / scale))]
        else:
            end = jnp.exp(-0.5 * ((upper - big_r) / w) ** 2)
            ends = [upper**k * end for k in range(max(highest, 1))]
            found = [whole * (erf((upper - big_r) / scale) + erf(big_r / scale))]
        found.append(big_r * found[0] + w**2 * (start - ends[0]))
        for k in range(2, highest + 1):
            found.append(big_r * found[k - 1] + w**2 * ((k - 1) * found[k - 2] - ends[k - 1]))
        return jnp.stack(found)

    @property
    def log_z(self) -> jax.Array:
        sphere = math.log(2) + 0.5 * self.dim * math.log(math.pi) - math.lgamma(self.dim / 2)
        ring, unit = self._in_units()
        integral = ring._integrals(self.dim - 1)[self.dim - 1]
        return sphere + jnp.log(integral) + self.dim * jnp.log(unit)

    @property
    def mean(self) -> jax.Array:
        radius, width = self._lengths()
        return jnp.zeros(self.dim, radius.dtype) * radius * width

    @property
    def cov(self) -> jax.Array:
        ring, unit = self._in_units()
        integrals = ring._integrals(self.dim + 1)
        square = unit**2 * integrals[self.dim + 1] / integrals[self.dim - 1]
        return square / self.dim * jnp.eye(self.dim, dtype=square.dtype)

    def template(self) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct((self.dim,), self._lengths()[0].dtype)

    def from_noise(self, noise: tuple[jax.Array, jax.Array]) -> jax.Array:
        """A direction by the normals, and the radius by bisection of its distribution function."""
        normals, uniform = noise
        k = self.dim - 1
        ring, unit = self._in_units()
        total = ring._integrals(k)[k]
        mode = 0.5 * (ring.radius + jnp.sqrt(ring.radius**2 + 4 * k * ring.width**2))

        def halve(_: int, bracket: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
            low, high = bracket
            middle = 0.5 * (low + high)
            below = ring._integrals(k, middle)[k] < uniform * total
            return jnp.where(below, middle, low), jnp.where(below, high, middle)

        bits = 60 if total.dtype == jnp.float64 else 30
        low, high = lax.fori_loop(0, bits, halve, (jnp.zeros_like(mode), mode + 12 * ring.width))
        return unit * 0.5 * (low + high) * normals / root(jnp.sum(normals * normals))


def ring(radius: Any = 2.0, width: Any = 0.3, *, dim: int = 2) -> Ring:
    """E(x) = (|x| - R)² / (2 w²): a ring in the plane, a shell in more dimensions.

    At the origin, where E has a kink, the gradient is taken as 0.

    Args:
        radius: R > 0.
        width: w > 0.
        dim: d ≥ 1.

    Raises:
        ValueError: R or w not finite and positive, or d < 1.

    Example:
        >>> import jax.numpy as jnp, jlangevin as jl
        >>> float(jl.energies.ring(radius=1.0, width=1.0)(jnp.array([3.0, 0.0])))
        2.0
    """
    radius, width = _alike(
        check_scalar("radius", radius, positive=True), check_scalar("width", width, positive=True)
    )
    return Ring(radius, width, check_count("dim", dim, minimum=1))
