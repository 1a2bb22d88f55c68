"""Rosenbrock's valley, in blocks that share their first coordinate."""

from __future__ import annotations

import math
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from jlangevin._core import trees
from jlangevin._core.arithmetic import convolve
from jlangevin._core.checks import (
    as_array,
    check_count,
    check_positive,
    check_scalar,
)
from jlangevin._core.trees import Number, Numbers, pytree_dataclass
from jlangevin.energies.analytic import Analytic, check_position, in_common_dtype
from jlangevin.errors import NoClosedFormError
from jlangevin.noise import Want

__all__ = ["Rosenbrock", "rosenbrock"]


@pytree_dataclass
class Rosenbrock(Analytic):
    """See `rosenbrock`."""

    a: Number
    b: jax.Array
    mu: Number

    draw_noise: ClassVar[Want] = Want.NORMAL

    @property
    def dim(self) -> int:
        return 1 + self.b.size

    def __call__(self, x: jax.Array) -> jax.Array:
        check_position(self, x, self.dim)
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
        return self._mean_and_cov()[0]

    @property
    def cov(self) -> jax.Array:
        return self._mean_and_cov()[1]

    def _mean_and_cov(self) -> tuple[jax.Array, jax.Array]:
        """Mean and covariance, by polynomials in x_1.

        If f is a polynomial, E[f(x_i) | x_{i-1}] is a polynomial in x_{i-1}.
        """
        blocks, length = self.b.shape
        if length > 4:
            raise NoClosedFormError(
                f"Rosenbrock: moments of blocks of {length + 1} are polynomials of degree "
                f"{2 ** (length + 1)}, whose values overflow; moments are available for blocks of "
                "up to 5"
            )
        variances = 1 / (2 * self.b)
        x = jnp.array([0.0, 1.0], self.b.dtype)

        def back(polynomial: jax.Array, block: int, i: int, j: int) -> jax.Array:
            """E[polynomial(x_i) | x_j] in powers of x_j, indices within the block; -1 is x_1."""
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
        """x_1 from its Gaussian, then each x_i from its Gaussian around x_{i-1}²."""
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
    a: Number = 0.05,
    b: Numbers = 5.0,
    mu: Number = 1.0,
    *,
    block_length: int = 2,
    num_blocks: int = 1,
) -> Rosenbrock:
    """The hybrid Rosenbrock energy of Pagani, Wiegand and Nadarajah (2022), with exact draws.

        E(x) = a (x_1 - μ)² + Σ_j Σ_{i≥2} b_ji (x_ji - x_{j,i-1}²)²,    x_j1 = x_1

    The `num_blocks` blocks j of coordinates share the first, x_1; the position is
    (x_1, x_12, …, x_1n, x_22, …), d = 1 + num_blocks (block_length - 1).

    Args:
        a, b, mu: a > 0; b > 0, a scalar or of shape (num_blocks, block_length - 1); μ.
        block_length: n ≥ 2, the coordinates of a block, x_1 included.
        num_blocks: the number of blocks.

    Raises:
        ValueError: a or b is not positive, or b has the wrong shape.
        NoClosedFormError: on `mean` and `cov` for blocks longer than 5, where they overflow.

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
    return Rosenbrock(*in_common_dtype(a, b, mu))
