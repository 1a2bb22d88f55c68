"""The map over chains is `jax.vmap` in value and derivative, and leaves chains last."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from jlangevin._core.arithmetic import product, separately_rounded
from jlangevin._core.chains_last import over_chains

X = jnp.asarray(np.random.default_rng(0).normal(size=(3, 4)), jnp.float32)  # elements, chains
S = jnp.asarray(np.random.default_rng(1).uniform(1, 2, size=4), jnp.float32)  # a number each
A = jnp.asarray(np.random.default_rng(2).normal(size=(3, 3)), jnp.float32)
WEIGHTS = jnp.arange(1.0, 4.0)


@jax.custom_jvp
def cubes(x):
    return WEIGHTS * x**3


@cubes.defjvp
def _(primals, tangents):
    return cubes(*primals), 5 * tangents[0]  # by which one can tell that it was asked


@jax.custom_vjp
def halved(x):
    return x / 2


halved.defvjp(lambda x: (x / 2, None), lambda _, g: (3 * g,))

FUNCTIONS = {
    "numbers and arrays": lambda x, s: s * x + jnp.where(s > 1.5, x, WEIGHTS),
    "the same for all": lambda x, s: (WEIGHTS * x, jnp.cumsum(WEIGHTS), jnp.float32(1)),
    "sums": lambda x, s: jnp.sum(x * s) / jnp.max(x),
    "products": lambda x, s: product(A, x) + product(x, WEIGHTS),
    "slices": lambda x, s: jnp.concatenate([x[1:] * s, x[:1]]),
    "jit": lambda x, s: jax.jit(lambda x: jnp.tanh(x) * s)(x),
    "gradient": lambda x, s: jax.value_and_grad(lambda x: jnp.sum(jnp.sin(x) * WEIGHTS) * s)(x),
    "hidden zeros": lambda x, s: separately_rounded(s * x, jnp.uint32(0)),
    "scan": lambda x, s: lax.scan(lambda c, k: (c * s + k, c), x, jnp.arange(2.0)),
    "while": lambda x, s: lax.while_loop(lambda c: jnp.sum(c) < s, lambda c: jnp.abs(c) + 1, x),
    "cond": lambda x, s: lax.cond(s > 1.5, lambda x: x, lambda x: -x, x),
    "key": lambda x, s: jax.random.normal(jax.random.key(0), x.shape) + x,
    "bits": lambda x, s: lax.bitcast_convert_type(x, jnp.uint16).astype(jnp.float32) * s,
    "a rule of its own": lambda x, s: cubes(x) * s,
    "a rule of its own, in reverse": lambda x, s: halved(x) * s,
}
SMOOTH = ("numbers and arrays", "products", "slices", "gradient", "scan", "a rule of its own")


def by_jax(function):
    return jax.vmap(function, in_axes=-1, out_axes=-1)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_values_are_those_of_vmap(name):
    found, right = (jax.jit(f(FUNCTIONS[name]))(X, S) for f in (over_chains, by_jax))
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(right), strict=True):
        assert one.dtype == other.dtype
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", SMOOTH)
def test_derivatives_are_those_of_vmap_in_both_modes(name):
    assert_alike(name, lambda sums: jax.jvp(sums, (X, S), (X, S))[1])
    assert_alike(name, lambda sums: jax.jit(jax.grad(sums, (0, 1)))(X, S))


def test_a_derivative_in_reverse_is_that_of_vmap():
    assert_alike("a rule of its own, in reverse", lambda sums: jax.grad(sums, (0, 1))(X, S))


def assert_alike(name, derivative):
    """By both maps, of the sum of what the function returns."""

    def sums(mapped, x, s):
        return sum(jnp.sum(leaf) for leaf in jax.tree.leaves(mapped(FUNCTIONS[name])(x, s)))

    found, right = (derivative(functools.partial(sums, f)) for f in (over_chains, by_jax))
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(right), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["numbers and arrays", "the same for all", "jit", "sums"])
def test_the_chains_stay_last(name):
    """No transpose, where `vmap` has some before and after."""
    made = str(jax.make_jaxpr(over_chains(FUNCTIONS[name]))(X, S))
    assert " transpose[" not in made
    assert "transpose[" in str(jax.make_jaxpr(by_jax(FUNCTIONS["numbers and arrays"]))(X, S))


def test_it_maps_under_vmap_too():
    several = jnp.stack([X, 2 * X])
    f = FUNCTIONS["numbers and arrays"]
    found = jax.vmap(over_chains(f), (0, None))(several, S)
    np.testing.assert_allclose(found, jax.vmap(by_jax(f), (0, None))(several, S), rtol=1e-6)


def test_chains_may_have_keys_of_their_own_and_split_them():
    def two(key, x):
        one, other = jax.random.split(key)
        return x + jax.random.normal(one, x.shape) + jax.random.normal(other, x.shape)

    keys = jax.random.split(jax.random.key(0), 4)
    with jax.debug_key_reuse(True):
        found = jax.jit(over_chains(two))(keys, X)
    np.testing.assert_allclose(found, by_jax(two)(jax.random.clone(keys), X), rtol=1e-6)
