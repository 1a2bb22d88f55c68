"""Square roots with a derivative everywhere, reductions written out, differences without loss."""

from decimal import Decimal, localcontext

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jlangevin._core.arithmetic import WRITTEN_OUT, decayed, fold, log1p_to_one, root, tanh_shares


def test_a_root_has_the_derivative_0_at_0_and_nan_at_nan():
    values, slopes = jax.jit(jax.vmap(jax.value_and_grad(root)))(jnp.array([4.0, 0.0, jnp.nan]))
    np.testing.assert_array_equal(values, [2.0, 0.0, np.nan])
    np.testing.assert_array_equal(slopes, [0.25, 0.0, np.nan])


@pytest.mark.parametrize("length", [1, WRITTEN_OUT, WRITTEN_OUT + 1])
def test_a_reduction_is_the_same_written_out(length):
    terms = jnp.arange(3.0 * length).reshape(length, 3)
    np.testing.assert_array_equal(fold(jnp.add, jnp.sum, terms), np.sum(terms, axis=0))
    np.testing.assert_array_equal(fold(jnp.maximum, jnp.max, terms), np.max(terms, axis=0))


def test_differences_of_nearly_equal_numbers_lose_nothing(dtype):
    """(y - tanh y)/y² and (a - 1 + e^{-a})/a² against 80 digits."""
    values = np.concatenate([[1e-20], np.geomspace(1e-9, 50, 200), [0.0]]).astype(dtype)
    both = jax.jit(lambda x: (*tanh_shares(x), *decayed(x)))
    found = np.array([np.asarray(x, np.float64) for x in both(values)])
    wanted = []
    with localcontext(prec=80):
        for y in map(Decimal, values[:-1].astype(np.float64)):
            double, single = (2 * y).exp(), (-y).exp()
            tangent = (double - 1) / (double + 1)
            exact = tangent / y, (y - tangent) / y**2, (1 - single) / y, (y - 1 + single) / y**2
            wanted.append([float(x) for x in exact])
    rounding = 8 * float(jnp.finfo(dtype).eps)
    np.testing.assert_allclose(found[:, :-1], np.transpose(wanted), rtol=rounding)
    np.testing.assert_array_equal(found[:, -1], [1.0, 0.0, 1.0, 0.5])


def test_a_logarithm_near_1_loses_nothing(dtype):
    """Nor does its derivative, in a compiled program, where 1 + x - 1 must not become x."""
    x = np.concatenate([[0.0], np.geomspace(1e-30, 1, 4001)]).astype(dtype)
    values, slopes = jax.jit(jax.vmap(jax.value_and_grad(log1p_to_one)))(x)
    rounding = jnp.finfo(dtype).eps
    with localcontext() as context:
        context.prec = 80
        right = [float((1 + Decimal(float(value))).ln()) for value in x]
    np.testing.assert_allclose(values, right, rtol=3 * rounding)
    np.testing.assert_allclose(slopes, 1 / (1 + np.asarray(x, np.float64)), rtol=rounding)
