"""ULA and what goes into it: hyper-parameters, preconditioners, gradient noise."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jlangevin as jl
from jlangevin._core.arithmetic import product
from jlangevin.kernels import Dense, Diagonal, ULAState

P = [[0.5, 0.2], [0.2, 0.9]]


def setting():
    energy = jl.energies.quadratic([[1.0, 0.6], [0.6, 2.0]], mean=[1.0, -2.0])
    start = jl.Gaussian(jnp.array([3.0, 1.0]), jnp.array([[2.0, -0.5], [-0.5, 1.0]]))
    return energy, start


def assert_samples_have_their_law(kernel, num_steps=6):
    energy, start = setting()
    run = jl.sample(
        jax.random.key(0),
        energy,
        kernel,
        start,
        num_steps=num_steps,
        num_chains=20_000,
        observe=None,
    )
    jl.verify.assert_law(run.position, jl.exact.law(kernel, energy, start, num_steps))


def test_a_step_is_the_update_rule(dtype):
    x, xi = jnp.array([0.5, -1.0]), jnp.array([2.0, 3.0])
    energy = jl.energies.double_well(dim=2)
    kernel = jl.ula(0.1, temperature=3.0)
    moved, _ = kernel.step(energy, ULAState(x), xi)
    expected = x - 0.1 * jax.grad(energy)(x) + jnp.sqrt(2 * 0.1 * 3.0) * xi
    np.testing.assert_allclose(moved.position, expected, rtol=1e-6)
    assert moved.position.dtype == dtype


def test_a_dense_preconditioner_is_the_update_rule(dtype):
    x, xi = jnp.array([0.5, -1.0]), jnp.array([2.0, 3.0])
    energy, p = jl.energies.double_well(dim=2), jnp.array(P)
    moved, _ = jl.ula(0.1, preconditioner=p).step(energy, ULAState(x), xi)
    lower = jnp.linalg.cholesky(p)
    expected = x - 0.1 * product(p, jax.grad(energy)(x)) + jnp.sqrt(0.2) * product(lower, xi)
    np.testing.assert_allclose(moved.position, expected, rtol=1e-5)


@pytest.mark.parametrize("temperature", [0.5, 2.0])
@pytest.mark.parametrize("preconditioner", [None, [0.5, 1.5], P])
def test_samples_have_the_exact_law(preconditioner, temperature):
    shape = None if preconditioner is None else jnp.array(preconditioner)
    assert_samples_have_their_law(jl.ula(0.3, temperature=temperature, preconditioner=shape))


def test_samples_under_gradient_noise_have_the_exact_law():
    cov = jnp.array([[2.0, -1.0], [-1.0, 1.0]])
    assert_samples_have_their_law(jl.gradient_noise(jl.ula(0.3), cov))


def test_gradient_noise_is_of_the_given_covariance_and_changes_the_law():
    energy, start = setting()
    cov = jnp.array([[2.0, -1.0], [-1.0, 1.0]])
    plain = jl.exact.law(jl.ula(0.3), energy, start, 1)
    noisy = jl.exact.law(jl.gradient_noise(jl.ula(0.3), cov), energy, start, 1)
    np.testing.assert_allclose(noisy.cov - plain.cov, 0.3**2 * cov, rtol=1e-5)


def test_a_diagonal_preconditioner_is_the_dense_one_of_its_matrix(dtype):
    energy, start = setting()
    diagonal = jnp.array([0.5, 1.5])
    a = jl.exact.law(jl.ula(0.3, preconditioner=diagonal), energy, start, 5)
    b = jl.exact.law(jl.ula(0.3, preconditioner=jnp.diag(diagonal)), energy, start, 5)
    np.testing.assert_allclose(a.cov, b.cov, rtol=1e-5)
    np.testing.assert_allclose(a.mean, b.mean, rtol=1e-5)


def test_preconditioners_of_pytree_positions():
    def energy(x):
        return jnp.sum(x["a"] ** 2) + jnp.sum(x["b"] ** 2)

    starts = {"a": jnp.ones((3, 2)), "b": jnp.ones((3, 2, 2))}
    by_leaf = {"a": jnp.array([1.0, 2.0]), "b": jnp.full((2, 2), 3.0)}
    in_order = jnp.diag(jnp.array([1.0, 2.0, 3.0, 3.0, 3.0, 3.0]))
    a, b = (
        jl.sample(jax.random.key(0), energy, jl.ula(0.1, preconditioner=p), starts, num_steps=3)
        for p in (by_leaf, in_order)
    )
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, atol=1e-6), a.draws, b.draws)


def test_a_matrix_position_takes_its_diagonal_explicitly():
    kernel = jl.ula(0.1, preconditioner=Diagonal(jnp.full((2, 3), 2.0)))
    run = jl.sample(
        jax.random.key(0), lambda x: jnp.sum(x**2), kernel, jnp.zeros((4, 2, 3)), num_steps=2
    )
    assert run.draws.shape == (4, 2, 2, 3)


@pytest.mark.parametrize("name", ["step_size", "temperature"])
@pytest.mark.parametrize("value", [0.0, -0.1, float("nan"), float("inf")])
def test_hyperparameters_are_finite_and_positive(name, value):
    arguments = {"step_size": 0.1, "temperature": 1.0, name: value}
    with pytest.raises(ValueError, match=f"{name}: expected"):
        jl.ula(arguments["step_size"], temperature=arguments["temperature"])


def test_a_vector_of_step_sizes_is_refused_with_the_way_out():
    with pytest.raises(ValueError, match=r"step_size: expected a scalar.*use jax\.vmap"):
        jl.ula(jnp.array([0.1, 0.2]))


@pytest.mark.parametrize(
    ("p", "message"),
    [
        (jnp.array([[1.0, 0.5], [0.0, 1.0]]), "preconditioner: not symmetric"),
        (jnp.array([[1.0, -2.0], [-2.0, 1.0]]), "preconditioner: not positive definite"),
        (jnp.array([[1.0, 2.0, 0.0], [2.0, 1.0, 0.5]]), "preconditioner: expected values above"),
        (jnp.array([1.0, 0.0]), "preconditioner: expected values above zero"),
        (jnp.array([1.0, jnp.nan]), "preconditioner: expected finite values"),
    ],
)
def test_a_bad_preconditioner_is_refused(p, message):
    with pytest.raises(ValueError, match=message):
        jl.ula(0.1, preconditioner=p)


@pytest.mark.parametrize("r", [-0.4, -0.3, 0.0, 0.5, 0.9])
@pytest.mark.parametrize("order", [1, -1])
def test_a_definite_preconditioner_is_so_in_any_units(r, order):
    """All correlations r of four coordinates: definite if r > -1/3. Of variances from 1e-16 to 1e16
    the smaller eigenvalues are lost in rounding of the largest."""
    units = jnp.logspace(-8.0, 8.0, 4)[::order]
    p = units[:, None] * jnp.where(jnp.eye(4) == 1, 1.0, r) * units[None]
    if r > -1 / 3:
        jl.ula(0.1, preconditioner=p)
    else:
        with pytest.raises(ValueError, match="preconditioner: not positive definite"):
            jl.ula(0.1, preconditioner=p)


@pytest.mark.parametrize("p", [jnp.ones(3), jnp.eye(3)])
def test_a_preconditioner_that_does_not_fit_the_position_is_refused(p):
    energy, start = setting()
    kernel = jl.ula(0.1, preconditioner=p)
    with pytest.raises(ValueError, match="preconditioner: "):
        jl.sample(jax.random.key(0), energy, kernel, start, num_steps=1, num_chains=2)


def test_a_gradient_covariance_may_be_singular_but_not_indefinite():
    jl.gradient_noise(jl.ula(0.1), jnp.zeros((2, 2)))
    with pytest.raises(ValueError, match="cov: not positive semi-definite"):
        jl.gradient_noise(jl.ula(0.1), -jnp.eye(2))


def test_dense_and_diagonal_agree_with_their_matrices():
    v, p = jnp.array([1.0, 2.0]), jnp.array(P)
    dense = Dense(jnp.linalg.cholesky(p))
    np.testing.assert_allclose(dense.apply(v), product(p, v), rtol=1e-6)
    np.testing.assert_allclose(Diagonal(jnp.array([2.0, 3.0])).apply(v), [4.0, 18.0])


def half_square(x):
    return 0.5 * jnp.sum(x**2)


@pytest.mark.slow
@pytest.mark.parametrize("shape", [(3, 5), (4, 4), (2, 3, 2)])
def test_an_array_like_the_position_is_its_diagonal(shape):
    """Positive definite as a matrix or not."""
    d = int(np.prod(shape))
    widths = jnp.arange(1.0, d + 1).reshape(shape)
    near_identity = 0.1 + jnp.broadcast_to(jnp.eye(*shape[-2:]), shape)
    x = jax.random.normal(jax.random.key(0), (3, *shape))

    def moved(p, x):
        kernel = jl.mala(0.1, preconditioner=p)
        return jl.sample(
            jax.random.key(1), half_square, kernel, x, num_steps=3, observe=None
        ).position

    for p in (widths, near_identity, jnp.ones(shape)):
        flat = moved(p.ravel(), x.reshape(3, d))
        np.testing.assert_allclose(moved(p, x).reshape(3, d), flat, rtol=1e-5, atol=1e-6)


def test_a_square_array_is_a_matrix_where_it_fits_and_refused_by_name_where_it_does_not():
    spd = jnp.array([[1.0, 0.5], [0.5, 1.0]])
    bowl = jl.energies.quadratic(jnp.eye(2))
    run = functools.partial(jl.sample, jax.random.key(0), bowl, num_steps=2)
    moved = run(jl.ula(0.1, preconditioner=spd), jnp.ones((4, 2))).position
    root = jl.kernels.Dense(jnp.linalg.cholesky(spd))
    np.testing.assert_array_equal(
        moved, run(jl.ula(0.1, preconditioner=root), jnp.ones((4, 2))).position
    )
    with pytest.raises(ValueError, match=r"preconditioner: as a matrix, .*\(2, 2\) has to be"):
        run(jl.ula(0.1, preconditioner=jnp.ones((2, 2))), jnp.ones((4, 2)))
    # Under jit it is not known what it is.
    with pytest.raises(ValueError, match=r"does not fit .* give jlangevin\.kernels\.Diagonal"):
        jax.jit(lambda p: run(jl.ula(0.1, preconditioner=p), jnp.ones((4, 2))))(jnp.ones((3, 3)))


def test_a_root_that_is_not_finite_is_refused():
    with pytest.raises(ValueError, match=r"preconditioner.scale: expected finite"):
        jl.ula(0.1, preconditioner=jl.kernels.Diagonal(jnp.array([jnp.nan])))


def test_a_factor_given_as_a_mass_is_called_a_mass():
    kernel = jl.underdamped(0.1, 1.0, mass=jl.kernels.Diagonal(jnp.ones(3)))
    with pytest.raises(ValueError, match=r"mass: expected .* like the position"):
        jl.sample(jax.random.key(0), jnp.sum, kernel, jnp.zeros((4, 1)), num_steps=1)
