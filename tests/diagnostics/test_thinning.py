"""A few chosen draws have the law of all, bias and weights of modes included.

Of 4,000 exact draws of N(0, I), 100 are chosen. Their mean square over that of all has mean 0.99
and standard deviation 0.008 (60 keys each in d = 1, 2, 10); the weight of a mode has an error of
0.004. The limits are five standard deviations away.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jlangevin as jl
from jlangevin.diagnostics.thinning import halve

thin = jl.diagnostics.kernel_thinning


def normals(dim, num_draws=4_000, seed=0, dtype=None):
    return jax.random.normal(jax.random.key(seed), (num_draws, dim), dtype)


def two_modes(num_draws=4_000, seed=0):
    """20% at -5, 80% at 5."""
    key = jax.random.key(seed)
    sign = jnp.where(jax.random.uniform(key, (num_draws, 1)) < 0.8, 1.0, -1.0)
    return 5 * sign + jax.random.normal(jax.random.fold_in(key, 1), (num_draws, 1))


def evenly(key, x, num_points):
    return jnp.arange(num_points) * (len(x) // num_points)


def by_stein(energy, key, x, num_points):
    return jl.diagnostics.stein_thinning(x, energy, num_points)


def squares(chosen, x):
    return float(jnp.mean(x[chosen] ** 2) / jnp.mean(x**2))


def weight(chosen, x):
    return float(jnp.mean(x[chosen] > 0) - jnp.mean(x > 0))


@pytest.mark.parametrize("dim", [1, 2, 10])
@pytest.mark.parametrize("scale", [1.0, 1.3, 1e-3])
def test_the_mean_square_is_that_of_the_draws(dim, scale, dtype):
    """Draws that are too wide stay so, whatever their unit."""
    x = scale * normals(dim, dtype=dtype)
    assert abs(squares(thin(jax.random.key(1), x, 100), x) - 1) < 0.05


def test_modes_keep_their_weights(dtype):
    x = two_modes()
    assert abs(weight(thin(jax.random.key(1), x, 100), x)) < 0.025


def test_other_choices_fail_these_tests():
    """Evenly spaced draws fail by chance: over 20 seeds the worst is beyond the limits. Stein
    thinning always fails: it draws points together, and puts nearly all into one mode."""
    draws = [normals(1, seed=seed) for seed in range(20)]
    assert max(abs(squares(evenly(None, x, 100), x) - 1) for x in draws) > 0.15
    bowl = jl.energies.quadratic(jnp.eye(10))
    x = normals(10)
    assert squares(by_stein(bowl, None, x, 40), x) < 0.7
    modes = jl.energies.gaussian_mixture([[-5.0], [5.0]], jnp.ones((2, 1, 1)), [0.2, 0.8])
    x = two_modes()
    assert abs(weight(by_stein(modes, None, x, 40), x)) > 0.15


def test_averages_are_nearer_than_those_of_independent_draws():
    """The root mean square error of 50 means of cos(w·x), w ~ N(0, I/4), by 100 points."""
    x = normals(3)
    frequencies = 0.5 * normals(3, 50, seed=7)

    def error(chosen):
        features = jnp.cos(jnp.tensordot(x, frequencies, (1, 1), precision="highest"))
        return float(jnp.sqrt(jnp.mean((features[chosen].mean(0) - features.mean(0)) ** 2)))

    assert error(thin(jax.random.key(1), x, 100)) < error(evenly(None, x, 100)) / 4


def halved(points, flips, scale):
    """Algorithm 1a of Dwivedi and Mackey, as the paper has it."""

    def k(a, b):
        return np.exp(-0.5 * np.sum((a - b) ** 2, axis=-1) / scale**2)

    first, second, variance = [], [], 0.0
    for i, flip in enumerate(flips):
        x, y = points[2 * i], points[2 * i + 1]
        square = k(x, x) + k(y, y) - 2 * k(x, y)
        bound = max(np.sqrt(square * variance * 2 * np.log(4 * len(flips))), square)
        variance += max(square * (1 + (square - 2 * bound) * variance / bound**2), 0)
        seen = points[: 2 * i]
        alpha = np.sum(k(seen, x) - k(seen, y))
        alpha -= 2 * sum(k(z, x) - k(z, y) for z in first)
        if flip < min(1, max(0, 0.5 * (1 - alpha / bound))):
            x, y = y, x
        first.append(x)
        second.append(y)
    return np.array(first), np.array(second)


def test_halves_are_those_of_the_paper(x64):
    points, flips = (
        np.asarray(normals(2, 60)),
        np.asarray(jax.random.uniform(jax.random.key(3), 30)),
    )
    sides = np.asarray(halve(jnp.asarray(points), jnp.asarray(flips), jnp.float64(1.2)))
    for side, half in zip((-1, 1), halved(points, flips, 1.2), strict=True):
        np.testing.assert_array_equal(points[sides == side], half)


def test_indices_go_into_the_draws_of_all_chains():
    x = normals(2).reshape(4, 1_000, 2)
    one, other = (thin(jax.random.key(1), each, 40) for each in (x, x.reshape(-1, 2)))
    np.testing.assert_array_equal(one, other)
    assert one.shape == (40,)
    numbers = normals(1)
    np.testing.assert_array_equal(
        *(thin(jax.random.key(1), each, 40) for each in (numbers, numbers[:, 0]))
    )


def test_all_may_be_chosen_and_of_many_an_even_part_is_looked_at():
    x = normals(2, 30)
    assert thin(jax.random.key(0), x, 30).shape == (30,)
    many = normals(1, 100_000)
    assert abs(squares(thin(jax.random.key(1), many, 100), many) - 1) < 0.08


def test_another_key_and_other_draws_compile_nothing():
    keys, draws = jax.random.split(jax.random.key(0)), (normals(2, 500), normals(2, 500, seed=1))
    thin(keys[0], draws[0], 20)
    with jl.verify.assert_no_recompilation():
        thin(keys[1], draws[1], 20)
