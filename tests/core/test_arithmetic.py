"""Square roots with a derivative everywhere, and reductions written out."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jlangevin._core.arithmetic import WRITTEN_OUT, fold, root


def test_a_root_has_the_derivative_0_at_0_and_nan_at_nan():
    values, slopes = jax.jit(jax.vmap(jax.value_and_grad(root)))(jnp.array([4.0, 0.0, jnp.nan]))
    np.testing.assert_array_equal(values, [2.0, 0.0, np.nan])
    np.testing.assert_array_equal(slopes, [0.25, 0.0, np.nan])


@pytest.mark.parametrize("length", [1, WRITTEN_OUT, WRITTEN_OUT + 1])
def test_a_reduction_is_the_same_written_out(length):
    terms = jnp.arange(3.0 * length).reshape(length, 3)
    np.testing.assert_array_equal(fold(jnp.add, jnp.sum, terms), np.sum(terms, axis=0))
    np.testing.assert_array_equal(fold(jnp.maximum, jnp.max, terms), np.max(terms, axis=0))
