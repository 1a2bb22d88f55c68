"""A preconditioner of low rank is the matrix that it stands for."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jlangevin as jl


def low_rank(dtype=jnp.float32):
    """d = 5, two directions: one wider and one narrower."""
    vectors, _ = np.linalg.qr(np.random.default_rng(0).normal(size=(5, 2)))
    scale = np.array([0.5, 1.0, 2.0, 1.0, 0.25])
    made = jl.kernels.LowRank(*(jnp.asarray(x, dtype) for x in (scale, vectors, [4.0, 0.5])))
    root = scale[:, None] * (np.eye(5) + vectors @ np.diag([3.0, -0.5]) @ vectors.T)
    return made, root


def test_its_products_are_those_of_its_matrix(dtype):
    P, root = low_rank(dtype)
    v = np.arange(1.0, 6.0)
    vector = jnp.asarray(v, dtype)
    for found, expected in (
        (P.factor(vector), root @ v),
        (P.transposed(vector), root.T @ v),
        (P.apply(vector), root @ root.T @ v),
        (P.solve(vector), np.linalg.solve(root, v)),
        (P.inverse().apply(vector), np.linalg.solve(root @ root.T, v)),
        (P.unmultiplied(vector)[1], root @ v),
    ):
        np.testing.assert_allclose(found, expected, rtol=1e-5)
        assert found.dtype == dtype


@pytest.mark.parametrize("make", [
    lambda P: jl.ula(0.01, preconditioner=P),
    lambda P: jl.leimkuhler_matthews(0.01, preconditioner=P),
    lambda P: jl.underdamped(0.1, 1.0, mass=P),
])  # fmt: skip
def test_the_law_of_a_chain_is_that_under_the_matrix(make, x64):
    """P Pᵀ, whatever its root: the draws differ, their law does not."""
    P, root = low_rank(jnp.float64)
    energy = jl.energies.quadratic(jnp.diag(jnp.array([1.0, 2.0, 3.0, 4.0, 5.0])))
    start = jl.Gaussian(jnp.ones(5), jnp.eye(5))
    here, there = (
        jl.exact.law(make(given), energy, start, 7) for given in (P, jnp.asarray(root @ root.T))
    )
    np.testing.assert_allclose(here.mean, there.mean, atol=1e-12)
    np.testing.assert_allclose(here.cov, there.cov, atol=1e-12)


@pytest.mark.parametrize("make", [
    lambda P: jl.mala(0.3, preconditioner=P),
    lambda P: jl.barker(0.3, preconditioner=P),
    lambda P: jl.malt(0.5, 1.0, 2, mass=P),
])  # fmt: skip
def test_kernels_that_reject_leave_the_law_as_it_is(make):
    P, _ = low_rank()
    energy = jl.energies.quadratic(jnp.diag(jnp.array([4.0, 1.0, 0.5, 1.0, 9.0])))
    jl.verify.assert_invariant(
        make(P), energy, energy, key=jax.random.key(0), num_steps=3, num_chains=20_000
    )


def test_positions_may_be_pytrees():
    P, root = low_rank()
    v = {"a": jnp.arange(1.0, 4.0), "b": jnp.array([[4.0, 5.0]])}
    found = P.apply(v)
    flat = np.concatenate([np.ravel(found["a"]), np.ravel(found["b"])])
    np.testing.assert_allclose(flat, root @ root.T @ np.arange(1.0, 6.0), rtol=1e-5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"vectors": jnp.ones((5, 2))}, "preconditioner.vectors: expected orthonormal columns"),
        ({"vectors": jnp.eye(5)}, r"preconditioner.vectors: expected shape \(5, 2\), got \(5, 5\)"),
        ({"scale": jnp.zeros(5)}, "preconditioner.scale: expected scales other than 0"),
        ({"roots": jnp.array([1.0, jnp.inf])}, "preconditioner.roots"),
    ],
)
def test_bad_fields_are_refused(change, message):
    P, _ = low_rank()
    with pytest.raises(ValueError, match=message):
        jl.mala(0.1, preconditioner=dataclasses.replace(P, **change))


def test_one_that_does_not_fit_the_position_is_refused():
    P, _ = low_rank()
    with pytest.raises(
        ValueError, match="one of low rank for 5 elements does not fit a position of 3"
    ):
        jl.sample(
            jax.random.key(0), lambda x: jnp.sum(x**2), jl.mala(0.1, preconditioner=P),
            jnp.zeros((4, 3)), num_steps=1,
        )  # fmt: skip
