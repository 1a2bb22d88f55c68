"""Choose a few draws that represent all draws, with the law that these have."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
from jax import lax

from jlangevin._core import trees
from jlangevin._core.checks import (
    as_draws_array,
    check_count,
    check_finite,
    check_key,
    check_scalar,
)
from jlangevin._core.compiling import compiled
from jlangevin._core.trees import Numbers

__all__ = ["halve", "kernel_thinning"]

_MOST = 10_000  # draws that are looked at, unless num_points² is more
_FOR_SCALE = 500  # draws whose distances give the kernel's scale
_BATCH = 64


def kernel_thinning(
    key: jax.Array, x: Numbers, num_points: int = 100, *, scale: Numbers | None = None
) -> jax.Array:
    """Choose a few of the draws whose averages are near those of all draws.

    The choice keeps the law of the draws, whatever it is, including a bias. To correct biased draws
    towards a known p, but lose their spread, see `stein_thinning`.

    With k(x, y) = exp(-|x - y|²/(2 s²)), the error of an average is at most k's maximum mean
    discrepancy, MMD(chosen, all), times the norm of the function. The draws are halved repeatedly:
    of each two successive draws one goes to each half, by a coin flip whose odds counter the
    imbalance so far. Then the best part is refined: each point in turn is replaced by the draw
    with the least MMD. From n draws, √n chosen in this way are about as good as all n; √n
    independent draws have the error n^(-1/4).

    Costs O(n² d) for n draws, memory O(n d). If there are more than max(10,000, num_points²) draws,
    evenly spaced ones are used.

    Args:
        key: a typed key, of the coin flips.
        x: draws, (draw,) of numbers, (draw, d), or (chain, draw, d).
        num_points: how many to choose, at most as many as there are draws.
        scale: s > 0, the distance over which functions vary. By default the median distance
            between draws.

    Returns:
        Indices, (num_points,), into the draws of all chains one after the other,
        `x.reshape(-1, d)`. A draw may be chosen twice.

    Raises:
        TypeError: `x` is not an array of real numbers; `key` is not one typed key.
        ValueError: draws that are not finite, or fewer than `num_points`; a scale that is not
            positive, or no scale if half of all draws are equal.

    References: Dwivedi and Mackey (2021), https://arxiv.org/abs/2105.05842; the odds of the flips
        are those of its algorithm 1a, the refinement that of 1b.

    Example:
        >>> import jax, jax.numpy as jnp, jlangevin as jl
        >>> x = jax.random.normal(jax.random.key(0), (4000, 2))
        >>> few = x[jl.diagnostics.kernel_thinning(jax.random.key(1), x, 40)]
        >>> bool(jnp.all(jnp.abs(few.mean(axis=0) - x.mean(axis=0)) < 0.05))  # alone: 0.16
        True
    """
    check_key("key", key)
    num_points = check_count("num_points", num_points, minimum=1)
    points = _as_points(x, num_points)
    if len(points) == 1:
        return jnp.zeros(1, jnp.int32)
    if scale is None:
        scale = _median_distance(points)
        if trees.is_concrete(scale) and not float(scale) > 0:
            raise ValueError(
                "scale: half of the draws are equal, so their median distance is 0; pass one"
            )
    else:
        scale = check_scalar("scale", scale, positive=True)
    used = _evenly(len(points), min(len(points), max(_MOST, num_points**2)))
    halvings = (len(used) // num_points).bit_length() - 1
    chosen = _thin(
        key,
        points[used],
        jnp.asarray(scale, points.dtype),
        num_points=num_points,
        halvings=halvings,
    )
    return used[chosen]


def _as_points(x: Numbers, num_points: int) -> jax.Array:
    """(n, d)."""
    draws = as_draws_array("x", x)
    if draws.ndim > 3:
        raise ValueError(
            f"x: expected draws of shape (draw,), (draw, d) or (chain, draw, d), got "
            f"{draws.shape}; make positions vectors, with x.reshape(num_chains, num_draws, -1)"
        )
    if draws.ndim == 1:
        draws = draws[:, None]
    points = trees.at_least_float32(draws).reshape(-1, draws.shape[-1])
    if len(points) < num_points:
        raise ValueError(
            f"num_points: cannot choose {num_points} of {len(points)} draws; give at most "
            f"{len(points)}"
        )
    return check_finite("x", points)


def _evenly(count: int, number: int) -> jax.Array:
    """`number` of `count` indices, evenly spaced."""
    return jnp.arange(number) * count // number


@compiled
def _median_distance(points: jax.Array) -> jax.Array:
    some = points[_evenly(len(points), min(len(points), _FOR_SCALE))]
    distances = jnp.sqrt(jnp.sum((some[:, None, :] - some[None, :, :]) ** 2, axis=-1))
    return jnp.median(distances[jnp.triu_indices(len(some), 1)])


def _kernel(points: jax.Array, y: jax.Array, scale: jax.Array) -> jax.Array:
    """k(x, y) for each x of points (n, d), (n,)."""
    return jnp.exp(-0.5 * jnp.sum((points - y[None]) ** 2, axis=1) / scale**2)


@functools.partial(compiled, static_argnames=("num_points", "halvings"))
def _thin(
    key: jax.Array, points: jax.Array, scale: jax.Array, *, num_points: int, halvings: int
) -> jax.Array:
    n = len(points)
    spaced = _evenly(n, num_points)
    parts = _evenly(n, num_points << halvings)[None]
    # Each halving has as many flips, so that they are one operation, which compiles faster.
    uniform = functools.partial(jax.random.uniform, shape=(parts.size // 2,), dtype=points.dtype)
    for flips in jax.vmap(uniform)(jax.random.split(key, halvings)):
        sides = jax.vmap(lambda part, flip: halve(points[part], flip, scale))(
            parts, flips.reshape(len(parts), -1)
        )
        sorted_ = jnp.take_along_axis(parts, jnp.argsort(sides, axis=1, stable=True), axis=1)
        parts = sorted_.reshape(-1, sorted_.shape[1] // 2)
    means = lax.map(lambda y: jnp.mean(_kernel(points, y, scale)), points, batch_size=_BATCH)

    def discrepancy(part: jax.Array) -> jax.Array:
        """MMD², without the terms that do not depend on the part."""
        own = jax.vmap(lambda y: _kernel(points[part], y, scale))(points[part])
        return jnp.mean(own) - 2 * jnp.mean(means[part])

    parts = jnp.concatenate([parts, spaced[None]])
    best = parts[jnp.argmin(lax.map(discrepancy, parts))]
    return _refined(best, points, means, scale)


def halve(points: jax.Array, flips: jax.Array, scale: jax.Array) -> jax.Array:
    """The half of each of 2m points: -1 for the first, +1 for the second."""
    m = len(flips)
    log_term = 2 * jnp.log(jnp.asarray(4.0 * m, points.dtype))

    def pair(i: jax.Array, carry: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        sides, variance = carry
        x, y = points[2 * i], points[2 * i + 1]
        square = 2 - 2 * _kernel(x[None], y, scale)[0]  # |k(x, ·) - k(y, ·)|²
        bound = jnp.maximum(jnp.sqrt(square * variance * log_term), square)
        safe = jnp.where(bound > 0, bound, 1)
        grown = square * (1 + (square - 2 * bound) * variance / safe**2)
        imbalance = jnp.sum(sides * (_kernel(points, x, scale) - _kernel(points, y, scale)))
        # x in the first half lowers the imbalance as much as y there would raise it.
        swapped = flips[i] < 0.5 * (1 - imbalance / safe)
        side = jnp.where(swapped, 1, -1).astype(points.dtype)
        sides = sides.at[2 * i].set(side).at[2 * i + 1].set(-side)
        return sides, variance + jnp.maximum(grown, 0)

    start = jnp.zeros(2 * m, points.dtype), jnp.zeros((), points.dtype)
    sides, _ = lax.fori_loop(0, m, pair, start)
    return sides


def _refined(chosen: jax.Array, points: jax.Array, means: jax.Array, scale: jax.Array) -> jax.Array:
    """Replace each of the chosen in turn by the draw that makes the discrepancy least."""
    number = len(chosen)

    def replace(i: jax.Array, carry: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        chosen, sums = carry
        sums = sums - _kernel(points, points[chosen[i]], scale)
        new = jnp.argmin(sums / number - means).astype(chosen.dtype)
        return chosen.at[i].set(new), sums + _kernel(points, points[new], scale)

    sums = lax.map(lambda y: jnp.sum(_kernel(points[chosen], y, scale)), points, batch_size=_BATCH)
    return lax.fori_loop(0, number, replace, (chosen, sums))[0]
