"""Operations are those of `lax`, under every transformation, but that `vmap` leaves chains last."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from jlangevin._core.vector_loops import aligned, apart, choose, pick, put, repeat

FORCES = jnp.asarray(
    np.random.default_rng(0).normal(size=(3, 4, 5)), jnp.float32
)  # the last: moves
STARTS = jnp.asarray(np.random.default_rng(1).normal(size=(3, 4)), jnp.float32)


def ours(x, forces):
    return repeat(5, lambda k, carry: moved(carry, pick(forces, 4 - k)), (x, jnp.int32(0)))


def of_lax(x, forces):
    def move(k, carry):
        return moved(carry, lax.dynamic_index_in_dim(forces, 4 - k, -1, keepdims=False))

    return lax.fori_loop(0, 5, move, (x, jnp.int32(0)))


def moved(carry, force):
    x, count = carry
    return jnp.sin(x) + force * x, count + (jnp.sum(x) > 0).astype(jnp.int32)


def last(function):
    return jax.vmap(function, in_axes=-1, out_axes=-1)


TRANSFORMED = {
    "itself": lambda f: f(STARTS, FORCES),
    "jit": lambda f: jax.jit(f)(STARTS, FORCES),
    "vmap": lambda f: jax.vmap(f)(STARTS, FORCES),
    "vmap, chains last": lambda f: last(f)(STARTS, jnp.moveaxis(FORCES, 1, -1)),
    "vmap of one": lambda f: jax.vmap(f, in_axes=(0, None))(STARTS, FORCES[0]),
    "two": lambda f: last(last(f))(STARTS[None], jnp.moveaxis(FORCES, -1, 0)),
    "jvp": lambda f: jax.jvp(lambda x: f(x, FORCES)[0], (STARTS,), (jnp.ones_like(STARTS),)),
    "grad": lambda f: jax.grad(lambda x, forces: jnp.sum(f(x, forces)[0]), (0, 1))(STARTS, FORCES),
    "grad of vmap": lambda f: jax.grad(lambda x: jnp.sum(jax.vmap(f)(x, FORCES)[0]))(STARTS),
    "vmap of grad": lambda f: jax.vmap(jax.grad(lambda x, z: jnp.sum(f(x, z)[0])))(STARTS, FORCES),
    "grad of jit": lambda f: jax.grad(lambda x: jnp.sum(jax.jit(f)(x, FORCES)[0]))(STARTS),
}


@pytest.mark.parametrize("how", TRANSFORMED)
def test_a_loop_is_that_of_lax(how):
    found, right = (jax.tree.leaves(TRANSFORMED[how](f)) for f in (ours, of_lax))
    for one, other in zip(found, right, strict=True):
        assert one.dtype == other.dtype
        np.testing.assert_allclose(one, other, rtol=2e-5, atol=1e-6)


def test_an_index_of_each_chain_s_own_is_possible():
    x, k = FORCES[0], jnp.array([4, 0, 2, 1])
    np.testing.assert_array_equal(jax.vmap(pick)(x, k), x[jnp.arange(4), k])


def test_what_a_loop_prints_is_printed(capfd):
    def body(k, x):
        jax.debug.print("{}", k)
        return x + 1

    jax.block_until_ready(jax.jit(lambda x: repeat(2, body, x))(1.0))
    jax.effects_barrier()
    assert capfd.readouterr().out.split() == ["0", "1"]


def test_under_vmap_the_arrays_of_a_loop_have_the_chains_last():
    """Where `lax` has them first, and a transpose before the loop and after it."""
    chains = jnp.moveaxis(FORCES, 1, -1)

    def transposes(function):
        return str(jax.make_jaxpr(last(function))(STARTS, chains)).count(" transpose[")

    assert transposes(of_lax) > 0
    assert transposes(ours) == 0


def realigned(x, forces):
    x, forces = aligned((x, forces))
    return jnp.sin(x) + forces[..., 0] * x, jnp.int32(0)


@pytest.mark.parametrize("how", TRANSFORMED)
def test_what_is_aligned_is_the_same(how):
    def plain(x, forces):
        return jnp.sin(x) + forces[..., 0] * x, jnp.int32(0)

    found, right = (jax.tree.leaves(TRANSFORMED[how](f)) for f in (realigned, plain))
    for one, other in zip(found, right, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-6)


def test_under_vmap_what_is_aligned_has_the_chains_last():
    mapped = jax.make_jaxpr(jax.vmap(aligned, in_axes=1))(jnp.zeros((2, 7, 3))).jaxpr
    (found,) = (eqn for eqn in mapped.eqns if str(eqn.primitive) == "aligned")
    assert found.outvars[0].aval.shape == (2, 3, 7)


@pytest.mark.parametrize("mapped", [(0, 0, 0), (None, 1, 1), (0, None, 1), (0, 1, None)])
def test_a_choice_is_that_of_where(mapped):
    chosen = jnp.array([True, False, True])
    operands = [
        x if axis is None else jnp.stack([x, 2 * x, 3 * x], axis) if x.ndim else chosen
        for x, axis in zip((chosen[0], FORCES[0], FORCES[1]), mapped, strict=True)
    ]
    found, right = (jax.vmap(f, mapped)(*operands) for f in (choose, jnp.where))
    np.testing.assert_array_equal(found, right)
    slope = jax.grad(lambda new: jnp.sum(choose(chosen[0], new, FORCES[1])))(FORCES[0])
    np.testing.assert_array_equal(slope, jnp.ones_like(slope))


def test_what_is_put_somewhere_is_found_there():
    def both(x, value):
        return put(x, value, 2), pick(put(x, value, 2), 2)

    found = last(both)(jnp.moveaxis(FORCES, 1, -1), STARTS)
    np.testing.assert_array_equal(found[0], jnp.moveaxis(FORCES.at[..., 2].set(STARTS), 1, -1))
    np.testing.assert_array_equal(found[1], STARTS)
    slope = jax.grad(lambda value: jnp.sum(both(FORCES, value)[0]))(STARTS)
    np.testing.assert_array_equal(slope, jnp.ones_like(slope))


def softened(x, y, scale):
    return jnp.logaddexp(x, y) * scale


APART = {
    "itself": lambda f: f(STARTS, 2 * STARTS, jnp.float32(0.5)),
    "jit": lambda f: jax.jit(f)(STARTS, 2 * STARTS, jnp.float32(0.5)),
    "vmap": lambda f: jax.vmap(f, (1, 0, None))(STARTS.T, 2 * STARTS, jnp.float32(0.5)),
    "scales": lambda f: jax.vmap(f, (None, None, 0))(STARTS, STARTS, jnp.arange(3.0)),
    "grad": lambda f: jax.grad(lambda x: jnp.sum(last(f)(x, x, jnp.arange(4.0))))(STARTS),
    "nothing": lambda f: jax.jit(f)(STARTS[:0], STARTS[:0], jnp.float32(0.5)),
}


@pytest.mark.parametrize("how", APART)
def test_what_is_apart_is_the_same(how):
    found, right = (APART[how](f) for f in (functools.partial(apart, softened), softened))
    np.testing.assert_allclose(found, right, rtol=1e-6)


@pytest.mark.skipif(jax.default_backend() != "cpu", reason="elsewhere nothing is apart")
def test_what_is_apart_is_not_inside_of_a_sum():
    def terms(x):
        return jnp.exp(jnp.sin(x))

    def exponentials_in_sums(terms):
        made = jax.jit(lambda x: jnp.sum(terms(x), 0)).lower(jnp.ones((5, 7000))).compile()
        computations = made.as_text().split("\n}\n")
        return sum(" exponential(" in each and " reduce(" in each for each in computations)

    assert exponentials_in_sums(terms) == 1
    assert exponentials_in_sums(functools.partial(apart, terms)) == 0
