"""What all kernels that accept or reject have in common: the law they keep, and the test itself.

A chain that starts from p must have the law p after any number of steps. Each target can be drawn
from exactly, and a known map takes it to normals. `verify` compares the result with N(0, I), or a
Gaussian p as it is, at its false-alarm rate of 1e-6. With 50,000 chains it finds, with probability
0.99, a shift of 0.04 standard deviations, a variance off by 5%, or a distribution function off by
0.02. Steps are so large that many are rejected. The same check rejects kernels with a wrong accept
step, with p-values below 1e-10.
"""

from dataclasses import replace
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import mutants
import numpy as np
import pytest
from jax.tree_util import Partial
from scipy import special, stats

import jlangevin as jl
from jlangevin.kernels import MetropolisState, Schedule
from jlangevin.kernels.base import WALL
from jlangevin.kernels.metropolis import accept_or_keep

pytestmark = pytest.mark.slow

NUM_CHAINS = 50_000
NUM_STEPS = 10
TEMPERATURE = mutants.TEMPERATURE

# By a step size that means the same for all: that of Langevin dynamics for small steps.
KERNELS = {
    "mala": lambda eta, temperature=1.0: jl.mala(eta, temperature=temperature),
    "barker": lambda eta, temperature=1.0: jl.barker(eta, temperature=temperature),
    "malt": lambda eta, temperature=1.0: jl.malt(
        (4 * eta) ** 0.5, 0.5, 3, temperature=temperature, mass=2.0
    ),
    "adjusted_microcanonical": lambda eta, temperature=1.0: jl.adjusted_microcanonical(
        (4 * eta * temperature) ** 0.5,
        3,
        decoherence_length=2.0,
        temperature=temperature,
        integrator="leapfrog",
    ),
}

# Targets ------------------------------------------------------------------------------------

WEIGHTS = np.array([0.3, 0.7])
MEANS = np.array([[-1.5, 0.5], [1.0, -0.5]])
COVS = np.array([[[0.5, 0.3], [0.3, 0.6]], [[1.0, -0.4], [-0.4, 0.5]]])
FUNNEL_SCALE = 1.0
ROSENBROCK = {"a": 0.5, "b": 2.0, "mu": 1.0}


def mixture_to_normals(x):
    """Rosenblatt's transform: x_1 by its distribution function, then x_2 by its own given x_1."""
    deviation = np.sqrt(COVS[:, 0, 0])
    slope = COVS[:, 0, 1] / COVS[:, 0, 0]
    rest = np.sqrt(COVS[:, 1, 1] - slope * COVS[:, 0, 1])
    offset = x[:, :1] - MEANS[:, 0]
    first = special.ndtr(offset / deviation) @ WEIGHTS
    of = WEIGHTS * stats.norm.pdf(offset / deviation) / deviation
    of /= of.sum(axis=1, keepdims=True)
    second = np.sum(of * special.ndtr((x[:, 1:] - MEANS[:, 1] - slope * offset) / rest), axis=1)
    return special.ndtri(np.stack([first, second], axis=1))


def funnel_to_normals(x):
    v = x[:, :1]
    return np.concatenate([v / FUNNEL_SCALE, x[:, 1:] * np.exp(-v / 2)], axis=1)


def rosenbrock_to_normals(x):
    a, b, mu = (ROSENBROCK[name] for name in ("a", "b", "mu"))
    first, second = x[:, 0], x[:, 1]
    return np.stack([(first - mu) * (2 * a) ** 0.5, (second - first**2) * (2 * b) ** 0.5], axis=1)


class Target(NamedTuple):
    make: Any  # () -> energy, of the default dtype
    to_normals: Any  # (n, d) -> (n, d)
    eta: float  # at which between 20% and 80% are accepted


TARGETS = {
    "mixture": Target(
        lambda: jl.energies.gaussian_mixture(MEANS, COVS, WEIGHTS), mixture_to_normals, 0.4
    ),
    "funnel": Target(lambda: jl.energies.funnel(dim=3, scale=FUNNEL_SCALE), funnel_to_normals, 0.4),
    "rosenbrock": Target(lambda: jl.energies.rosenbrock(**ROSENBROCK), rosenbrock_to_normals, 0.1),
}


# The law is kept ----------------------------------------------------------------------------


def sampled(energy, kernel, start):
    return jl.sample(
        jax.random.key(0), energy, kernel, start,
        num_steps=NUM_STEPS, num_chains=NUM_CHAINS, observe=None,
    )  # fmt: skip


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("name", KERNELS)
def test_a_law_that_is_not_gaussian_is_kept(name, target):
    make, to_normals, eta = TARGETS[target]
    energy = make()
    run = sampled(energy, KERNELS[name](eta), energy)
    u = to_normals(np.asarray(run.position, np.float64))
    jl.verify.assert_law(u, jl.Gaussian(jnp.zeros(u.shape[1]), jnp.eye(u.shape[1])))
    assert 0.2 < run.info.acceptance_rate.mean() < 0.8


def run_on_gaussian(make_kernel):
    """A run from N(μ, T A⁻¹), the law at temperature T, and that law."""
    energy = mutants.bowl()
    law = jl.exact.target(energy, jnp.zeros(2), TEMPERATURE)
    return sampled(energy, make_kernel(0.6, TEMPERATURE), law), law


@pytest.mark.parametrize("name", KERNELS)
def test_a_gaussian_law_at_a_temperature_is_kept(name, dtype):
    run, law = run_on_gaussian(KERNELS[name])
    jl.verify.assert_law(run.position, law)
    assert 0.2 < run.info.acceptance_rate.mean() < 0.8


# Wrong kernels ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", KERNELS)
def test_the_right_rule_is_accepted_in_the_mutants_frame(name):
    run, law = run_on_gaussian(lambda *args: mutants.accepting(KERNELS[name](*args), None))
    jl.verify.assert_law(run.position, law)


@pytest.mark.parametrize("mutant", mutants.RULES)
@pytest.mark.parametrize("name", KERNELS)
def test_a_wrong_rule_is_rejected(name, mutant):
    run, law = run_on_gaussian(lambda *args: mutants.accepting(KERNELS[name](*args), mutant))
    with pytest.raises(AssertionError, match="REJECTED"):
        jl.verify.assert_law(run.position, law)


# Proposals that cannot be accepted ----------------------------------------------------------
def beyond_one(there, x):
    """An energy on R^2 that is `there` where x_1 > 1."""
    return jnp.where(x[0] > 1, there, jnp.sum(x**2))


def root(x):
    """An energy whose gradient is NaN where x_1 > 1."""
    return jnp.sqrt(jnp.maximum(1 - x[0], 0)) + jnp.sum(x**2)


NOT_FINITE = {
    "energy NaN": lambda: Partial(beyond_one, jnp.array(jnp.nan)),
    "energy infinite": lambda: Partial(beyond_one, jnp.array(jnp.inf)),
    "energy minus infinite": lambda: Partial(beyond_one, jnp.array(-jnp.inf)),
    "gradient NaN": lambda: root,
}


@pytest.mark.filterwarnings("ignore::jlangevin.EnergyWarning")
@pytest.mark.parametrize("problem", NOT_FINITE)
@pytest.mark.parametrize("name", KERNELS)
def test_a_proposal_that_is_not_finite_is_rejected(name, problem):
    energy, kernel = NOT_FINITE[problem](), KERNELS[name](0.5)
    run = jl.sample(jax.random.key(0), energy, kernel, jnp.zeros((500, 2)), num_steps=20)
    assert run.draws[:, :, 0].max() <= 1
    assert 0 < run.info.acceptance_rate.mean() < 1
    assert run.info.num_divergent.sum() == 0
    rejections = run.info.rejections
    counted, other = rejections.faults, rejections.walls
    if problem == "energy infinite":
        counted, other = other, counted
    assert counted.sum() > 0
    assert other.sum() == 0
    assert all(bool(jnp.isfinite(leaf).all()) for leaf in jax.tree.leaves(run.state.kernel))


@pytest.mark.parametrize("name", KERNELS)
def test_a_proposal_from_out_of_range_is_rejected_with_rate_zero(name, dtype):
    """A step of 1e30 overflows the energy of wherever it leads."""
    energy, kernel, x = jl.energies.double_well(dim=2), KERNELS[name](1e30), jnp.array([0.5, 2.0])
    run = jl.sample(jax.random.key(0), energy, kernel, jnp.stack([x] * 100), num_steps=1)
    np.testing.assert_array_equal(run.position, jnp.stack([x] * 100))
    np.testing.assert_array_equal(run.info.acceptance_rate, 0)
    assert run.info.acceptance_rate.dtype == dtype


# The accept step ----------------------------------------------------------------------------


@pytest.mark.parametrize("work", [-1e4, -2.0, -1e-3, 0.0, 3.0, 1e4, np.inf, -np.inf, np.nan])
def test_what_is_accepted_and_with_what_probability(work, dtype):
    current = MetropolisState({"a": jnp.zeros(2)}, jnp.array(1.0), {"a": jnp.ones(2)})
    proposed = MetropolisState({"a": jnp.ones(2)}, jnp.array(3.0), {"a": jnp.zeros(2)})
    """Work that is not finite is a rejection, +inf too: nothing is gained without bounds."""
    expected = np.exp(min(0.0, (work - 2.0) / TEMPERATURE)) if np.isfinite(work) else 0
    for uniform in (1e-6, 0.3, 1 - 1e-6):
        for cause in (0, WALL):
            after, info = accept_or_keep(
                current,
                proposed,
                jnp.array(work),
                TEMPERATURE,
                jnp.array(uniform),
                jnp.int32(cause),
            )
            rate = expected if cause == 0 else 0
            np.testing.assert_allclose(info.acceptance_rate, rate, rtol=1e-6)
            assert info.rejections == (cause if np.isfinite(work) else WALL)
            chex.assert_trees_all_equal(after, proposed if uniform < rate else current)


@pytest.mark.parametrize("name", KERNELS)
def test_the_state_carries_value_and_gradient_of_its_position(name):
    energy, kernel = jl.energies.rosenbrock(), KERNELS[name](0.1)
    run = jl.sample(jax.random.key(0), energy, kernel, energy, num_steps=20, num_chains=100)
    state = run.state.kernel
    value, gradient = jax.vmap(jax.value_and_grad(energy))(state.position)
    np.testing.assert_allclose(state.energy, value, rtol=1e-4)
    np.testing.assert_allclose(state.gradient, gradient, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize(
    ("name", "gradients"),
    [("mala", 1), ("barker", 1), ("malt", 3), ("adjusted_microcanonical", 3)],
)
def test_a_step_costs_one_gradient_a_move(name, gradients):
    calls = []

    def energy(x):
        jax.debug.callback(lambda: calls.append(1))
        return jnp.sum(x**4)

    kernel, x = KERNELS[name](0.1), jnp.ones(2)
    state = kernel.init(energy, x, None)
    jax.effects_barrier()
    assert len(calls) == 1
    calls.clear()
    shapes = jl.noise.shapes(kernel.step_noise, x)
    kernel.step(energy, state, jax.tree.map(lambda z: jnp.full(z.shape, 0.5, z.dtype), shapes))
    jax.effects_barrier()
    assert len(calls) == gradients


@pytest.mark.parametrize("name", KERNELS)
def test_a_pytree_position_moves_as_its_raveled_vector(name):
    flat = jl.energies.rosenbrock(block_length=3)

    def energy(x):
        return flat(jnp.concatenate([x["a"][None], x["b"].reshape(-1)]))

    start = {"a": jnp.ones(50), "b": jnp.ones((50, 2, 1))}
    kernel = KERNELS[name](0.02)
    tree = jl.sample(jax.random.key(0), energy, kernel, start, num_steps=5)
    vector = jl.sample(jax.random.key(0), flat, kernel, jnp.ones((50, 3)), num_steps=5)
    np.testing.assert_allclose(tree.draws["a"], vector.draws[..., 0], rtol=1e-4)
    np.testing.assert_allclose(tree.draws["b"][..., 0], vector.draws[..., 1:], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(
        tree.info.acceptance_rate, vector.info.acceptance_rate, rtol=1e-3, atol=1e-5
    )


LOWER = np.array([[0.15, 0.0], [0.25, 0.6]])
PRECONDITIONED = {  # by P; a mass is an inverse P
    "mala": lambda p: jl.mala(0.1, preconditioner=p),
    "barker": lambda p: jl.barker(0.1, preconditioner=p),
    "malt": lambda p: jl.malt(
        0.4, 0.5, 3, mass=1.0 if p is None else jnp.linalg.inv(p) if p.ndim == 2 else 1 / p
    ),
    "adjusted_microcanonical": lambda p: jl.adjusted_microcanonical(
        0.9, 3, decoherence_length=1.0, preconditioner=p
    ),
}


@pytest.mark.parametrize("lower", [LOWER, np.diag(np.diagonal(LOWER))], ids=["dense", "diagonal"])
@pytest.mark.parametrize("name", KERNELS)
def test_a_preconditioner_is_a_change_of_coordinates(name, lower, x64):
    """x = L y, up to the rotation of the noise that a mass's own root makes."""
    well = jl.energies.rosenbrock()
    diagonal = np.count_nonzero(lower) == 2
    p = jnp.asarray(np.diagonal(lower) ** 2) if diagonal else jnp.asarray(lower @ lower.T)
    root = jnp.asarray(lower)
    if name == "malt" and not diagonal:
        root = PRECONDITIONED[name](p).inverse_mass.lower
        np.testing.assert_allclose(root @ root.T, p, rtol=1e-12)

    def straight(y):
        return well(root @ y)

    start = jnp.full((20, 2), 1.3)
    run = jl.sample(jax.random.key(0), well, PRECONDITIONED[name](p), start, num_steps=8)
    plain = jl.sample(
        jax.random.key(0),
        straight,
        PRECONDITIONED[name](None),
        jnp.linalg.solve(root, start.T).T,
        num_steps=8,
    )
    np.testing.assert_allclose(run.draws, plain.draws @ root.T, rtol=1e-9, atol=1e-11)
    np.testing.assert_allclose(run.info.acceptance_rate, plain.info.acceptance_rate, rtol=1e-9)
    assert 0.1 < run.info.acceptance_rate.mean() < 0.99


@pytest.mark.parametrize("name", KERNELS)
def test_schedules_run_down_to_a_temperature_of_zero(name):
    energy = jl.energies.double_well(dim=2)
    kernel = replace(
        KERNELS[name](0.1),
        step_size=Schedule(lambda t: 0.1 * jnp.exp2(-t.astype(float) / 5)),
        temperature=Schedule(lambda t: jnp.maximum(1 - t.astype(float) / 5, 0)),
    )
    run = jl.sample(jax.random.key(0), energy, kernel, jnp.ones((50, 2)), num_steps=10)
    assert run.info.num_divergent.sum() == 0
    assert bool(jnp.all((run.info.acceptance_rate > 0) & (run.info.acceptance_rate < 1)))


# Refusals -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", KERNELS)
def test_no_affine_law_is_claimed(name):
    energy, kernel = jl.energies.quadratic(jnp.eye(2)), KERNELS[name](0.1)
    start = jl.Gaussian(jnp.zeros(2), jnp.eye(2))
    for question in (
        lambda: jl.exact.law(kernel, energy, start, 3),
        lambda: jl.exact.trajectory(kernel, energy, start, 3),
        lambda: jl.exact.stationary(kernel, energy, jnp.zeros(2)),
        lambda: jl.exact.affine_map(kernel, energy, jnp.zeros(2)),
    ):
        with pytest.raises(jl.NotAffineError, match=r"asks for Want\.UNIFORM"):
            question()


@pytest.mark.parametrize("name", KERNELS)
def test_noise_on_the_gradient_alone_is_refused(name):
    with pytest.raises(TypeError, match=r"kernel: .* accepts or rejects by the energy's value"):
        jl.gradient_noise(KERNELS[name](0.1), jnp.eye(2))
    with pytest.raises(TypeError, match=r"kernel: .* accepts or rejects by the energy's value"):
        jl.gradient_noise(jl.coupled(KERNELS[name](0.1), 1, how="common"), jnp.eye(2))


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda value: jl.mala(value), "step_size"),
        (lambda value: jl.mala(0.1, temperature=value), "temperature"),
        (lambda value: jl.mala(0.1, preconditioner=jnp.array([1.0, value])), "preconditioner"),
        (lambda value: jl.barker(value), "step_size"),
        (lambda value: jl.barker(0.1, temperature=value), "temperature"),
        (lambda value: jl.malt(value, 1.0, 3), "step_size"),
        (lambda value: jl.malt(0.1, 1.0, 3, temperature=value), "temperature"),
        (lambda value: jl.malt(0.1, 1.0, 3, mass=value), "mass"),
        (lambda value: jl.adjusted_microcanonical(value, 3), "step_size"),
        (
            lambda value: jl.adjusted_microcanonical(0.1, 3, decoherence_length=value),
            "decoherence_length",
        ),
        (lambda value: jl.adjusted_microcanonical(0.1, 3, temperature=value), "temperature"),
    ],
)
@pytest.mark.parametrize("value", [0.0, -0.1, float("nan"), float("inf")])
def test_hyperparameters_are_finite_and_positive(make, name, value):
    with pytest.raises(ValueError, match=f"{name}: expected"):
        make(value)
