"""The preconditioner from positions and gradients: on quadratic energies the inverse of H."""

import jax
import numpy as np
import pytest

import jlangevin as jl
from jlangevin.adaptation.metric import DenseMetric, DiagonalMetric, LowRankMetric


def rotated(eigenvalues, seed=0):
    """A Hessian with these eigenvalues."""
    d = len(eigenvalues)
    turn, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(d, d)))
    return (turn * eigenvalues) @ turn.T


def rows(n, d, seed=1):
    return np.random.default_rng(seed).normal(size=(n, d))


def conditions(metric, x, hessian, updates):
    """Condition numbers of the Hessian in the metric's coordinates, after each update."""
    found = []
    for _ in range(updates):
        metric, _ = metric.updated(x, x @ hessian)
        root = metric.slopes(np.eye(len(hessian)))  # the rows of Lᵀ's columns: L
        found.append(np.linalg.cond(root.T @ hessian @ root))
    return metric, found


def test_gradients_tell_the_hessian_wherever_the_chains_are():
    """Positions are equally wide in all directions; the law's widths differ by a factor of
    1,000."""
    hessian = rotated(np.geomspace(1.0, 1e6, 10))
    _, found = conditions(DenseMetric(np.eye(10)), rows(200, 10), hessian, 2)
    assert found[0] < 1.05 < 1e6 < np.linalg.cond(hessian) * 1.01


def test_without_gradients_it_is_the_covariance():
    cov = rotated(np.geomspace(0.01, 1.0, 4))
    x = rows(100_000, 4) @ np.linalg.cholesky(cov).T
    metric, _ = DenseMetric(np.eye(4)).updated(x, None)
    np.testing.assert_allclose(metric.lower @ metric.lower.T, cov, atol=0.02)
    diagonal, _ = DiagonalMetric(np.ones(4)).updated(x, None)
    np.testing.assert_allclose(diagonal.scale**2, np.diagonal(cov), rtol=0.03)


def test_of_a_law_it_is_the_inverse_hessian_whatever_the_temperature():
    """C = T H⁻¹ and G = T H."""
    hessian = rotated(np.array([0.5, 2.0, 30.0]))
    for temperature in (0.01, 1.0, 100.0):
        x = rows(500, 3) @ np.linalg.cholesky(temperature * np.linalg.inv(hessian)).T
        metric, _ = DenseMetric(np.eye(3)).updated(x, x @ hessian)
        np.testing.assert_allclose(metric.lower @ metric.lower.T @ hessian, np.eye(3), atol=1e-3)


def test_scales_beyond_the_digits_of_a_matrix_are_found_as_chains_follow():
    """A condition number of 10¹⁴. In each round, chains spread as far as their metric lets them."""
    hessian = rotated(np.geomspace(1e-7, 1e7, 6))
    metric = DenseMetric(np.eye(6))
    for seed in range(8):
        x = rows(300, 6, seed) @ metric.lower.T
        metric, changed = metric.updated(x, x @ hessian)
    root = metric.lower
    assert np.linalg.cond(root.T @ hessian @ root) < 1.5
    assert changed < 1.05


@pytest.mark.parametrize("n", [5, 20])
def test_what_few_rows_cannot_tell_stays_as_it_is(n):
    """Fewer rows than coordinates, of a law that is round already."""
    x = rows(n, 40)
    metric, changed = DenseMetric(np.eye(40)).updated(x, x)
    np.testing.assert_allclose(metric.lower, np.eye(40), atol=1e-6)
    assert changed < 1 + 1e-6


def test_a_diagonal_has_the_scales_of_a_diagonal_hessian():
    widths = np.geomspace(1e-6, 1e6, 5)
    x = rows(200, 5)  # not at all as wide as the law
    metric = DiagonalMetric(np.ones(5))
    for _ in range(6):
        metric, changed = metric.updated(x, x / widths**2)
    np.testing.assert_allclose(metric.scale, widths, rtol=0.05)
    assert changed < 1.05


def test_few_directions_beside_a_diagonal_are_found():
    """d = 200 with scales, and two directions along which it is 30 times wider or narrower."""
    d = 200
    widths = np.geomspace(0.1, 10.0, d)
    turn, _ = np.linalg.qr(rows(d, 2, seed=3))
    root = np.eye(d) + turn @ np.diag([30.0 - 1, 1 / 30 - 1]) @ turn.T
    cov = widths[:, None] * (root @ root) * widths
    hessian = np.linalg.inv(cov)
    x = rows(400, d) @ (widths[:, None] * root).T
    metric = LowRankMetric(np.ones(d), np.eye(d, 16), np.ones(16))
    _, found = conditions(metric, x, hessian, 1)
    assert found[0] < 1_000 < 1e6 < np.linalg.cond(hessian)
    metric, _ = metric.updated(x, x @ hessian)
    np.testing.assert_allclose(np.abs(np.log(metric.roots[:2])), np.log(30), rtol=0.1)
    np.testing.assert_allclose(metric.to_round(x) @ np.eye(d), x @ _inverse(metric).T, atol=1e-8)


def _inverse(metric):
    root = metric.slopes(np.eye(len(metric.scale)))
    return np.linalg.inv(root)


@pytest.mark.parametrize(
    "make",
    [
        lambda s: DenseMetric(np.diag(s)),
        DiagonalMetric,
        lambda s: LowRankMetric(s, np.eye(len(s), 2), np.ones(2)),
    ],
)
def test_powers_of_two_change_no_bit(make):
    units = 2.0 ** np.array([-40, 0, 7, 33])
    x, g = rows(50, 4, seed=5), rows(50, 4, seed=6)
    here, _ = make(np.ones(4)).updated(x, g)
    there, _ = make(units).updated(x * units, g / units)
    np.testing.assert_array_equal(there.slopes(np.eye(4) / units[:, None]), here.slopes(np.eye(4)))


def test_the_condition_number_is_that_of_the_matrix():
    scale = np.array([1.0, 10.0])
    for metric in (
        DenseMetric(np.diag(scale)),
        DiagonalMetric(scale),
        LowRankMetric(scale, np.eye(2, 1), np.ones(1)),
    ):
        assert metric.condition == pytest.approx(100.0)


def test_of_low_rank_the_condition_number_is_found_without_the_matrix():
    d = 200
    scale = np.geomspace(0.1, 10.0, d)
    vectors, _ = np.linalg.qr(rows(d, 3))
    metric = LowRankMetric(scale, vectors, np.array([50.0, 1.0, 0.01]))
    exact = np.linalg.cond(metric.slopes(np.eye(d))) ** 2
    assert metric.condition == pytest.approx(exact, rel=0.05)


@pytest.mark.parametrize("n", [2, 500])
def test_what_is_found_of_low_rank_is_a_preconditioner_that_kernels_take(n):
    """However few the rows are, its columns are orthonormal."""
    x = rows(n, 40)
    metric = LowRankMetric(np.ones(40), np.eye(40, 16), np.ones(16))
    for _ in range(2):
        metric, _ = metric.updated(x, x)
    like = jax.ShapeDtypeStruct((40,), np.float32)
    jl.mala(0.1, preconditioner=metric.preconditioner(like, "preconditioner"))
