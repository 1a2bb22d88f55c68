"""What all kernels that accept or reject have in common: the law they keep, and the test itself.

A chain that starts from p must have the law p after any number of steps. Each target can be drawn
from exactly, and a known map takes it to normals. `verify` compares the result with N(0, I), or a
Gaussian p as it is, at its false-alarm rate of 1e-6. With 50,000 chains it finds, with probability
0.99, a shift of 0.04 standard deviations, a variance off by 5%, or a distribution function off by
0.02. Steps are so large that many are rejected. The same check rejects kernels with a wrong accept
step, with p-values below 1e-10.
"""

import functools
from dataclasses import replace
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import mutants
import numpy as np
import pytest
from jax.tree_util import Partial
from one_of import OneEnergy, numbered
from scipy import special, stats
from walks import made_up, walk

import jlangevin as jl
from jlangevin._core.trees import pytree_dataclass
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
    make: Any  # () -> energy
    to_normals: Any  # (n, 2) -> (n, 2)
    eta: float  # at which between 20% and 80% are accepted


TARGETS = {
    "mixture": Target(
        lambda: jl.energies.gaussian_mixture(MEANS, COVS, WEIGHTS), mixture_to_normals, 0.4
    ),
    "funnel": Target(lambda: jl.energies.funnel(dim=2, scale=FUNNEL_SCALE), funnel_to_normals, 0.6),
    "rosenbrock": Target(lambda: jl.energies.rosenbrock(**ROSENBROCK), rosenbrock_to_normals, 0.1),
}


@functools.cache
def energies():
    """The targets and a bowl, by name."""
    made = {name: target.make() for name, target in TARGETS.items()}
    return numbered(OneEnergy, made | {"bowl": mutants.bowl()})


# The law is kept ----------------------------------------------------------------------------


def sampled(name, kernel, law):
    """A run from draws of the law, on the energy of this name."""
    return jl.sample(
        jax.random.key(0), energies()[name], kernel, law.sample(jax.random.key(1), NUM_CHAINS),
        num_steps=NUM_STEPS, observe=None,
    )  # fmt: skip


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("name", KERNELS)
def test_a_law_that_is_not_gaussian_is_kept(name, target):
    make, to_normals, eta = TARGETS[target]
    run = sampled(target, KERNELS[name](eta), make())
    u = to_normals(np.asarray(run.position, np.float64))
    jl.verify.assert_law(u, jl.Gaussian(jnp.zeros(2), jnp.eye(2)))
    assert 0.2 < run.info.acceptance_rate.mean() < 0.8


def run_on_gaussian(make_kernel):
    """A run from N(μ, T A⁻¹), the law at temperature T, and that law."""
    bowl = mutants.bowl()
    law = jl.Gaussian(bowl.center, TEMPERATURE * np.linalg.inv(bowl.precision))
    return sampled("bowl", make_kernel(0.6, TEMPERATURE), law), law


@pytest.mark.parametrize("name", KERNELS)
def test_a_gaussian_law_at_a_temperature_is_kept(name):
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
NOT_FINITE = {  # where x_1 > 1: the energy there, or None, and then the gradient is NaN
    "energy NaN": np.nan,
    "energy infinite": np.inf,
    "energy minus infinite": -np.inf,
    "gradient NaN": None,
}


@pytree_dataclass
class Spoilt:
    """Σ x² + x⁴/100 on R², and where x_1 > 1 what is `there`."""

    there: Any
    by_gradient: Any

    def __call__(self, x):
        root = jnp.where(self.by_gradient, jnp.sqrt(jnp.maximum(1 - x[0], 0)), 0)
        return jnp.where(
            (x[0] > 1) & ~self.by_gradient, self.there, root + jnp.sum(x**2 + x**4 / 100)
        )


def run_on_spoilt(name, problem, eta=0.5, start=(0.0, 0.0)):
    there = NOT_FINITE[problem]
    energy = Spoilt(jnp.array(0.0 if there is None else there), jnp.array(there is None))
    starts = jnp.tile(jnp.array(start), (500, 1))
    return jl.sample(jax.random.key(0), energy, KERNELS[name](eta), starts, num_steps=20)


@pytest.mark.filterwarnings("ignore::jlangevin.EnergyWarning")
@pytest.mark.parametrize("problem", NOT_FINITE)
@pytest.mark.parametrize("name", KERNELS)
def test_a_proposal_that_is_not_finite_is_rejected(name, problem):
    run = run_on_spoilt(name, problem)
    assert run.draws[:, :, 0].max() <= 1
    assert 0 < run.info.acceptance_rate.mean() < 1
    assert run.info.num_divergent.sum() == 0
    rejections = run.info.rejections
    counted, other = rejections.faults, rejections.walls
    if problem == "energy infinite":
        counted, other = other, counted
    assert counted.sum() > 0
    assert other.sum() == 0
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(run.state.kernel))


@pytest.mark.parametrize("name", KERNELS)
def test_a_proposal_from_out_of_range_is_rejected_with_rate_zero(name):
    """A step of 1e30 overflows the energy of wherever it leads."""
    run = run_on_spoilt(name, "energy infinite", 1e30, (0.5, 2.0))
    np.testing.assert_array_equal(run.position, np.tile(np.float32([0.5, 2.0]), (500, 1)))
    np.testing.assert_array_equal(run.info.acceptance_rate, 0)


# The accept step ----------------------------------------------------------------------------


@pytest.mark.parametrize("work", [-1e4, -2.0, -1e-3, 0.0, 3.0, 1e4, np.inf, -np.inf, np.nan])
def test_what_is_accepted_and_with_what_probability(work, dtype):
    current = MetropolisState({"a": jnp.zeros(2)}, jnp.array(1.0), {"a": jnp.ones(2)})
    proposed = MetropolisState({"a": jnp.ones(2)}, jnp.array(3.0), {"a": jnp.zeros(2)})
    # Work that is not finite is a rejection, +inf too: nothing is gained without bounds.
    expected = np.exp(min(0.0, (work - 2.0) / TEMPERATURE)) if np.isfinite(work) else 0
    for uniform in (1e-6, 0.3, 1 - 1e-6):
        for cause in (0, WALL):
            after, info = jax.jit(accept_or_keep)(
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
    state = run_on_spoilt(name, "energy infinite").state.kernel
    x = np.asarray(state.position, np.float64)
    np.testing.assert_allclose(state.energy, np.sum(x**2 + x**4 / 100, axis=1), rtol=1e-4)
    np.testing.assert_allclose(state.gradient, 2 * x + x**3 / 25, rtol=1e-4, atol=1e-3)


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
    jax.jit(lambda z: kernel.step(energy, state, z))(made_up(kernel.step_noise, x))
    jax.effects_barrier()
    assert len(calls) == gradients


LOWER = np.array([[0.15, 0.0, 0.0], [0.25, 0.6, 0.0], [0.05, -0.1, 0.4]])
DIAGONAL = np.diag(np.diagonal(LOWER))
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


def well(x):
    return jl.energies.rosenbrock(block_length=3)(x)


def transformed(root, y):
    return well(jnp.dot(root, y, precision="highest"))


def walked(name, root, start):
    """Without a preconditioner, in coordinates y of x = L y; and the noise."""
    kernel = PRECONDITIONED[name](None)
    noise = made_up(kernel.step_noise, start[0], *start.shape[:1], 8)
    return *walk(kernel, Partial(transformed, root), start, noise), noise


@pytest.mark.parametrize("name", KERNELS)
def test_a_pytree_position_moves_as_its_raveled_vector(name, x64):
    def energy(x):
        return well(jnp.concatenate([x["a"][None], x["b"].reshape(-1)]))

    def split(x):
        return {"a": x[..., 0], "b": x[..., 1:, None]}

    def split_noise(z):  # (chain, step), or with the elements, and malt's with the moves
        return z if z.ndim < 3 else {"a": z[:, :, 0], "b": z[:, :, 1:, None]}

    start = jnp.full((20, 3), 1.3)
    vector, expected, noise = walked(name, jnp.eye(3), start)
    kernel, noise = PRECONDITIONED[name](None), jax.tree.map(split_noise, noise)
    tree, told = walk(kernel, energy, split(start), noise)
    np.testing.assert_allclose(tree.position["a"], vector.position[..., 0], rtol=1e-9)
    np.testing.assert_allclose(tree.position["b"][..., 0], vector.position[..., 1:], rtol=1e-9)
    np.testing.assert_allclose(told.acceptance_rate, expected.acceptance_rate, rtol=1e-9)


@pytest.mark.parametrize(
    ("name", "lower"),
    [(name, LOWER) for name in KERNELS] + [(name, DIAGONAL) for name in ("mala", "malt")],
    ids=lambda given: given if isinstance(given, str) else ("dense", "diagonal")[given is DIAGONAL],
)
def test_a_preconditioner_is_a_change_of_coordinates(name, lower, x64):
    """x = L y, up to the rotation of the noise that a mass's own root makes."""
    diagonal = lower is DIAGONAL
    p = jnp.asarray(np.diagonal(lower) ** 2) if diagonal else jnp.asarray(lower @ lower.T)
    kernel, root = PRECONDITIONED[name](p), jnp.asarray(lower)
    if name == "malt" and not diagonal:
        root = kernel.inverse_mass.lower
        np.testing.assert_allclose(np.dot(root, np.transpose(root)), p, rtol=1e-12)
    start = jnp.full((20, 3), 1.3)
    inner = jnp.asarray(np.linalg.solve(root, start.T).T)
    expected, told, noise = walked(name, root, inner)
    states, info = walk(kernel, well, start, noise)
    np.testing.assert_allclose(
        states.position, np.dot(expected.position, np.transpose(root)), rtol=1e-9, atol=1e-11
    )
    np.testing.assert_allclose(info.acceptance_rate, told.acceptance_rate, rtol=1e-9)
    assert 0.1 < info.acceptance_rate.mean() < 0.99


@pytest.mark.parametrize("name", KERNELS)
def test_schedules_run_down_to_a_temperature_of_zero(name):
    kernel = replace(
        KERNELS[name](0.1),
        step_size=Schedule(lambda t: 0.1 * jnp.exp2(-t.astype(float) / 5)),
        temperature=Schedule(lambda t: jnp.maximum(1 - t.astype(float) / 5, 0)),
    )
    start = jnp.ones((50, 2))
    noise = made_up(kernel.step_noise, start[0], 50, 10)
    states, info = walk(kernel, jl.energies.double_well(dim=2), start, noise)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(states))
    assert np.all((info.acceptance_rate >= 0) & (info.acceptance_rate <= 1))
    rate = np.mean(info.acceptance_rate, axis=1)
    assert np.all((rate > 0) & (rate < 1))


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
