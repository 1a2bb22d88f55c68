"""Kernel Stein discrepancy: how far draws are from p ∝ exp(-E/T), from the score alone.

With the score s = -∇E/T and a base kernel k, the Stein kernel (Oates, Girolami, Chopin 2017)

    k_p(x, y) = s(x)·s(y) k + s(x)·∇_y k + s(y)·∇_x k + ∇_x·∇_y k

has mean 0 in each argument under p, and KSD² = E k_p(X, Y), for independent draws X and Y of the
law that is tested, is 0 only for p. For the inverse multiquadric k = q^β, q = c² + |r|², r = x - y,

    ∇_x k = 2β q^{β-1} r = -∇_y k,    ∇_x·∇_y k = -2βd q^{β-1} - 4β(β-1) |r|² q^{β-2}

so that

    k_p(x, y) = q^β [ s(x)·s(y) + (2β ((s(y) - s(x))·r - d) - 4β(β-1) |r|²/q) / q ]
    k_p(x, x) = c^{2β} [ |s(x)|² - 2βd / c² ]

With β in (-1, 0) KSD controls convergence in any dimension, which lighter-tailed kernels do not
for d ≥ 3 (Gorham and Mackey 2017). It is blind to wrong weights between modes far apart, so also
look at `mode_occupancy`.

The n × n matrix is never stored: it is made in blocks of pairs by matrix products, which in float32
are accurate to about 1e-7 (R/c)², where R is the distance of the draws from their mean.
"""

from __future__ import annotations

import functools
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import ArrayLike

from jlangevin import noise
from jlangevin._core import trees
from jlangevin._core.arithmetic import product
from jlangevin._core.checks import (
    check_count,
    check_finite,
    check_key,
    check_made,
    check_scalar,
    check_temperature,
    or_nan,
)
from jlangevin._core.compiling import compiled
from jlangevin._core.trees import Number, Numbers
from jlangevin._core.user_code import shapes_of
from jlangevin.energies.base import Energy, GivenGradient, check_callable, gradient
from jlangevin.energies.draws import Draws, as_positions
from jlangevin.energies.traced import mapped
from jlangevin.noise import Want
from jlangevin.sampling.run import Run
from jlangevin.scores import Score

__all__ = ["KSDTest", "ksd", "ksd_test", "stein_thinning"]

# Pairs of blocks that stay in a CPU's cache; accelerators need larger blocks.
_BLOCK_SIZE_CPU, _BLOCK_SIZE = 256, 2048
_ROWS = 128  # pairs of draws whose signs are made at a time


def ksd(
    x: Run | Numbers,
    energy: Energy | None = None,
    *,
    score: Score | None = None,
    statistic: Literal["V", "U"] = "V",
    temperature: ArrayLike = 1.0,
    c: ArrayLike = 1.0,
    beta: float = -0.5,
    block: int | None = None,
    position_shape: tuple[int, ...] | None = None,
) -> jax.Array:
    """The squared kernel Stein discrepancy between draws and p ∝ exp(-E/T).

        V = Σ_ij k_p(x_i, x_j) / n²        U = Σ_{i≠j} k_p(x_i, x_j) / (n (n - 1))

    V is never negative and has the expectation E k_p(X, X) / n for n draws of p; U has the
    expectation 0, and may be negative. Costs four products of n² d / 2 multiplications each, and
    memory O(n d + block²).

    Args:
        x: draws, (draw, …) or (chain, draw, …), with the axes of a position after these; or a
            `Run` that kept its positions. d is the number of a position's elements.
        energy: E, a function of a position, as everywhere, or a score made by `jlangevin.scores`;
            or None with `score`.
        score: s = ∇ log p, a function from a position to a pytree like it, in place of the energy.
            A score made by `jlangevin.scores` works too, at temperature 1.
        statistic: "V" or "U".
        temperature: T, with an energy.
        c: c > 0, the length at which the kernel falls off; about the size of p's features.
        beta: β in (-1, 0), a Python number.
        block: rows and columns of the matrix that are made at a time; None for a good choice.
        position_shape: the shape of one position; () for scalars. If None, it is that of the run,
            or found from `x` and the energy, or the score. If two shapes are possible, a
            two-dimensional `x` with more rows than columns is (draw, d), and any other is refused.

    Returns:
        A scalar, the square of the discrepancy.

    Raises:
        TypeError: an argument of the wrong kind, or both or neither of energy and score.
        ValueError: `x` of another shape, of a shape that can be read in two ways, not finite, or
            too few draws (at least 1 for "V", 2 for "U"); a score that is not finite at a draw or
            has another shape; numbers out of range.

    References: Liu, Lee, Jordan (2016), https://arxiv.org/abs/1602.03253; Chwialkowski,
        Strathmann, Gretton (2016); Gorham, Mackey (2017), https://arxiv.org/abs/1703.01717.

    Example:
        >>> import jax, jax.numpy as jnp, jlangevin as jl
        >>> energy = jl.energies.quadratic(jnp.eye(2))
        >>> x = energy.sample(jax.random.key(0), 1000)
        >>> good, bad = (jl.diagnostics.ksd(y, energy, statistic="U") for y in (x, x + 0.5))
        >>> bool(abs(good) < 0.01), bool(bad > 0.05)
        (True, True)
    """
    if statistic not in ("V", "U"):
        raise ValueError(f"statistic: expected 'V' or 'U', got {statistic!r}")
    draws = _checked_draws(x, energy, score, position_shape, minimum=2 if statistic == "U" else 1)
    points, scores = _points_and_scores(draws, energy, score, temperature)
    kernel, block = _kernel_parameters(c, beta, points.dtype), _block_size(block, len(points))
    ones = jnp.ones((len(points), 1), jnp.int8)
    pairs, diagonal = _quadratic_forms(points, scores, ones, *kernel, block=block)
    n = len(points)
    if statistic == "U":
        return pairs[0] / n / (n - 1)
    return (pairs[0] + diagonal) / n / n


class KSDTest(NamedTuple):
    """The result of `ksd_test`."""

    statistic: jax.Array  # the squared discrepancy, a V-statistic
    p_value: jax.Array  # small if the draws do not have the law


def ksd_test(
    key: jax.Array,
    x: Run | Numbers,
    energy: Energy | None = None,
    *,
    score: Score | None = None,
    num_bootstrap: int = 1000,
    flip_probability: Number = 0.5,
    temperature: ArrayLike = 1.0,
    c: ArrayLike = 1.0,
    beta: float = -0.5,
    block: int | None = None,
    position_shape: tuple[int, ...] | None = None,
) -> KSDTest:
    """Test whether draws have the law p ∝ exp(-E/T), by the wild bootstrap of `ksd`.

    Under p, V behaves as V* = Σ_ij w_i w_j k_p(x_i, x_j) / n² with random signs w, so that

        p-value = (1 + #{V* ≥ V}) / (1 + num_bootstrap)

    is uniform for many draws. The signs of a chain are a Markov chain: the first is +1 or -1, and
    each differs from the one before it with probability a, so that w_i and w_{i+k} have the
    correlation (1 - 2a)^k. For independent draws take a = 1/2. For a correlated chain with
    integrated autocorrelation time τ the signs must stay longer than its correlation, but change
    many times: τ ≪ 1/(2a) ≪ n. Or thin the chain to near independence first. With a = 1/2 a
    correlated chain is rejected too often.

    Args:
        key: of the signs.
        x: draws, (draw, …), one chain, or (chain, draw, …), whose chains are independent; or a
            `Run`.
        energy, score, temperature, c, beta, block, position_shape: as in `ksd`.
        num_bootstrap: the number of V*; no p-value is below 1 / (1 + num_bootstrap). Each costs
            n² multiplications and n bytes.
        flip_probability: a in (0, 1/2].

    Returns:
        A `KSDTest`.

    Raises:
        TypeError, ValueError: as `ksd`, for at least 2 draws; a key that is not one typed key.

    References: Chwialkowski, Strathmann, Gretton (2016), https://arxiv.org/abs/1602.02964.

    Example:
        >>> import jax, jax.numpy as jnp, jlangevin as jl
        >>> energy = jl.energies.quadratic(jnp.eye(2))
        >>> x = energy.sample(jax.random.key(0), 500)
        >>> test = jl.diagnostics.ksd_test(jax.random.key(1), 1.3 * x, energy)
        >>> bool(test.p_value < 0.01)
        True
    """
    check_key("key", key)
    num_bootstrap = check_count("num_bootstrap", num_bootstrap, minimum=1)
    check_scalar("flip_probability", flip_probability, positive=True)
    if trees.is_concrete(flip_probability) and not flip_probability <= 0.5:
        raise ValueError(f"flip_probability: expected at most 1/2, got {flip_probability}")
    draws = _checked_draws(x, energy, score, position_shape, minimum=2)
    points, scores = _points_and_scores(draws, energy, score, temperature)
    kernel, block = _kernel_parameters(c, beta, points.dtype), _block_size(block, len(points))
    flip = jnp.asarray(flip_probability, jnp.float32)
    signs = _signs(
        key, flip, num_draws=len(points), restart=draws.batch[-1], num_bootstrap=num_bootstrap
    )
    pairs, diagonal = _quadratic_forms(points, scores, signs, *kernel, block=block)
    n = len(points)
    # The diagonal is the same for every choice of signs, so it is left out to make ties exact.
    exceed = jnp.sum((pairs[1:] >= pairs[0]).astype(jnp.int32))
    p_value = (1 + exceed).astype(points.dtype) / (1 + num_bootstrap)
    return KSDTest((pairs[0] + diagonal) / n / n, p_value)


def stein_thinning(
    x: Run | Numbers,
    energy: Energy | None = None,
    num_points: int = 100,
    *,
    score: Score | None = None,
    temperature: ArrayLike = 1.0,
    c: ArrayLike = 1.0,
    beta: float = -0.5,
    position_shape: tuple[int, ...] | None = None,
) -> jax.Array:
    """Choose the few draws that best represent p ∝ exp(-E/T): greedy minimisation of `ksd`.

        i_t = argmin_i  k_p(x_i, x_i) / 2 + Σ_{s<t} k_p(x_{i_s}, x_i)

    The chosen points approach p, as far as the draws cover it, even if the draws do not have that
    law, for instance after a short burn-in or with a large step. A draw may be chosen twice.

    A few such points lie closer together than draws of p, and their weights between modes mean
    nothing. From 4,000 exact draws of N(0, I) in 10 dimensions it chose 40 whose mean square is
    0.54 (0.85 in 2 dimensions, 1.02 in one). From 20 sets of draws of a mixture with 20 and 80%
    in two modes far apart it put 7.5 to 77.5% into the small one. `kernel_thinning` keeps the
    draws' law.
    Costs O(n num_points d), memory O(n d).

    Args:
        x: draws, (draw, …) or (chain, draw, …); or a `Run`.
        num_points: how many to choose.
        energy, score, temperature, c, beta, position_shape: as in `ksd`.

    Returns:
        Indices, (num_points,), in the order of choice, into the draws of all chains one after the
        other, `x.reshape(-1, d)` for positions that are vectors.

    Raises:
        TypeError, ValueError: as `ksd`; `num_points` is not a positive integer.

    References: Riabiz, Chen, Cockayne, Swietach, Niederer, Mackey, Oates (2022),
        https://arxiv.org/abs/2005.03952.

    Example:
        >>> import jax, jax.numpy as jnp, jlangevin as jl
        >>> energy = jl.energies.quadratic(jnp.eye(2))
        >>> x = 2.0 * energy.sample(jax.random.key(0), 1000)
        >>> best = x[jl.diagnostics.stein_thinning(x, energy, 20)]
        >>> bool(jl.diagnostics.ksd(best, energy) < jl.diagnostics.ksd(x[:20], energy) / 2)
        True
    """
    num_points = check_count("num_points", num_points, minimum=1)
    draws = _checked_draws(x, energy, score, position_shape)
    points, scores = _points_and_scores(draws, energy, score, temperature)
    kernel = _kernel_parameters(c, beta, points.dtype)
    return _chosen_indices(points, scores, *kernel, num_points=num_points)


# Arguments --------------------------------------------------------------------------------------


def _checked_draws(x: Any, energy: Any, score: Any, shape: Any, *, minimum: int = 1) -> Draws:
    if (energy is None) == (score is None):
        given = "neither" if energy is None else "both"
        raise TypeError(f"energy, score: expected one of the two, got {given}")
    if energy is None:
        check_made("score", score)
        if not callable(score):
            raise TypeError(
                "score: expected a function of a position (d,), s(x) = -∇E(x), got "
                f"{type(score).__name__}"
            )
        energy = score if isinstance(score, GivenGradient) else Score(score)
    check_callable(energy)
    return as_positions("x", x, energy, shape, minimum=minimum)


def _points_and_scores(
    draws: Draws, energy: Any, score: Any, temperature: Any
) -> tuple[jax.Array, jax.Array]:
    """Points and their scores, both (n, d)."""
    points = draws.points
    temperature = check_temperature(temperature, points.dtype)
    if energy is None:
        name, scores = "score", mapped(_score_at, score, points)
        if trees.is_concrete(temperature) and float(temperature) != 1:
            raise ValueError(
                "temperature: a score has its own; if yours does not include T, divide it by T"
            )
    else:
        name, scores = "energy", -mapped(gradient, energy, points).astype(points.dtype)
        scores = scores / temperature
    if scores.shape != points.shape:
        raise ValueError(
            f"{name}: expected a score of shape {points.shape[1:]} at a point, got "
            f"{scores.shape[1:]}"
        )
    try:
        check_finite(name, scores)
    except ValueError:
        bad = np.any(~np.isfinite(np.asarray(scores)).reshape(len(points), -1), axis=1)
        raise ValueError(
            f"{name}: not finite (its value or gradient) at {bad.sum()} of {len(points)} draws, "
            f"the first of them {np.asarray(points)[bad.argmax()]}; leave out draws where p is 0"
        ) from None
    return draws.flat, scores.astype(points.dtype).reshape(len(points), -1)


def _score_at(score: Any, point: jax.Array) -> jax.Array:
    if isinstance(score, GivenGradient):
        return -score.gradient(point)
    shapes_of("score", "one position", score, point)
    return jnp.asarray(score(point))


def _kernel_parameters(c: Any, beta: float, dtype: Any) -> tuple[jax.Array, jax.Array]:
    c = check_scalar("c", c, positive=True)
    beta = or_nan(
        check_scalar("beta", beta),
        lambda xp, b: (b > -1) & (b < 0),
        lambda: ValueError(f"beta: expected a number in (-1, 0), got {beta}"),
    )
    return jnp.asarray(c, dtype), jnp.asarray(beta, dtype)


def _block_size(block: int | None, n: int) -> int:
    if block is None:
        block = _BLOCK_SIZE_CPU if jax.default_backend() == "cpu" else _BLOCK_SIZE
    return min(check_count("block", block, minimum=1), n)


# The Stein kernel -------------------------------------------------------------------------------


def _stein_kernel(
    r2: jax.Array, ss: jax.Array, sr: jax.Array, d: int, c: jax.Array, beta: jax.Array
) -> jax.Array:
    """k_p from |r|², s(x)·s(y) and (s(y) - s(x))·r."""
    inverse = 1 / (c * c + r2)
    # A root is ten times as fast as a power.
    base = lax.cond(
        beta == -0.5, lambda: jnp.sqrt(inverse), lambda: jnp.exp(-beta * jnp.log(inverse))
    )
    return base * (ss + inverse * (2 * beta * (sr - d) - 4 * beta * (beta - 1) * r2 * inverse))


def _diagonal(scores: jax.Array, c: jax.Array, beta: jax.Array) -> jax.Array:
    """k_p(x, x) of every point."""
    square = jnp.sum(scores * scores, axis=1)
    return c ** (2 * beta) * (square - 2 * beta * scores.shape[1] / (c * c))


@functools.partial(compiled, static_argnames=("block",))
def _quadratic_forms(
    x: jax.Array,
    s: jax.Array,
    signs: jax.Array,
    c: jax.Array,
    beta: jax.Array,
    *,
    block: int,
) -> tuple[jax.Array, jax.Array]:
    """Σ_{i≠j} w_i w_j k_p(x_i, x_j) for each column w of `signs` (n, m), and Σ_i k_p(x_i, x_i)."""
    n, d = x.shape
    num_blocks = -(-n // block)

    def blocks(array: jax.Array) -> jax.Array:
        padded = jnp.pad(array, ((0, num_blocks * block - n), (0, 0)))
        return padded.reshape(num_blocks, block, -1)

    x = x - jnp.mean(x, axis=0, keepdims=True)  # distances do not change, and lose fewer digits
    xs, ss, signs = blocks(x), blocks(s), blocks(signs)
    x2, sx = jnp.sum(xs * xs, axis=2), jnp.sum(xs * ss, axis=2)
    off_diagonal = 1 - jnp.eye(block, dtype=x.dtype)

    def add_block(_: None, pair: tuple[jax.Array, jax.Array]) -> tuple[None, jax.Array]:
        i, j = pair
        r2 = x2[i][:, None] + x2[j][None, :] - 2 * product(xs[i], xs[j].T)
        sr = product(xs[i], ss[j].T) + product(ss[i], xs[j].T) - sx[i][:, None] - sx[j][None, :]
        k = _stein_kernel(jnp.maximum(r2, 0), product(ss[i], ss[j].T), sr, d, c, beta)
        k = lax.cond(i == j, lambda k: k * off_diagonal, lambda k: 2 * k, k)
        left, right = signs[i].astype(x.dtype), signs[j].astype(x.dtype)
        return None, jnp.sum(left * product(k, right), axis=0)

    upper = np.triu_indices(num_blocks)
    _, sums = lax.scan(add_block, None, (jnp.asarray(upper[0]), jnp.asarray(upper[1])))
    return jnp.sum(sums, axis=0), jnp.sum(_diagonal(s, c, beta))


@functools.partial(compiled, static_argnames=("num_draws", "restart", "num_bootstrap"))
def _signs(
    key: jax.Array, flip: jax.Array, *, num_draws: int, restart: int, num_bootstrap: int
) -> jax.Array:
    """Signs (draw, 1 + bootstrap): a column of ones, and Markov chains, one per chain of draws.

    Each column uses the uniforms of a chain, each draw those of a step.
    """
    streams = noise.streams(key, jnp.arange(num_bootstrap))
    like = jax.ShapeDtypeStruct((), jnp.float32)
    num_draws_made = 2 * _ROWS

    def next_signs(odd: jax.Array, first: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Whether the number of flips so far is odd."""
        uniforms = noise.pairs(streams, Want.UNIFORM, like, first // 2, _ROWS)
        index = jnp.arange(num_draws_made, dtype=jnp.int32)
        u = jax.vmap(uniforms.at)(index)
        at = jnp.where((first + index) % restart == 0, jnp.float32(0.5), flip)
        flips = (u < at[:, None]).astype(jnp.int32)
        parity = (odd[None, :] + jnp.cumsum(flips, axis=0)) % 2
        return parity[-1], parity.astype(jnp.int8)

    firsts = jnp.arange(0, num_draws, num_draws_made, dtype=jnp.int32)
    _, parity = lax.scan(next_signs, jnp.zeros(num_bootstrap, jnp.int32), firsts)
    signs = 1 - 2 * parity.reshape(-1, num_bootstrap)[:num_draws]
    return jnp.concatenate([jnp.ones((num_draws, 1), jnp.int8), signs], axis=1)


@functools.partial(compiled, static_argnames=("num_points",))
def _chosen_indices(
    x: jax.Array, s: jax.Array, c: jax.Array, beta: jax.Array, *, num_points: int
) -> jax.Array:
    d = x.shape[1]
    x, s = x.T, s.T

    def choose(objective: jax.Array, _: None) -> tuple[jax.Array, jax.Array]:
        best = jnp.argmin(objective).astype(jnp.int32)
        chosen_point, chosen_score = x[:, best][:, None], s[:, best][:, None]
        r = chosen_point - x
        sr = jnp.sum((s - chosen_score) * r, axis=0)
        row = _stein_kernel(
            jnp.sum(r * r, axis=0), jnp.sum(chosen_score * s, axis=0), sr, d, c, beta
        )
        return objective + row, best

    _, indices = lax.scan(choose, _diagonal(s.T, c, beta) / 2, None, length=num_points)
    return indices
