"""What an exact law is refused for, and what it must not be refused for."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from exact_laws import (
    arr,
    assert_same_law,
    brute_force,
    cooling,
    decaying,
    eps,
    error,
    form,
    gaussian,
    quadratic_form,
    spd,
    standard,
)
from jax.tree_util import Partial

import jlangevin as jl
from jlangevin import adaptation, exact
from jlangevin._core.arithmetic import product
from jlangevin.noise import Want

pytestmark = pytest.mark.slow


def has_nan(law):
    return bool(jnp.any(jnp.isnan(law.cov))) and any(
        bool(jnp.any(jnp.isnan(leaf))) for leaf in jax.tree.leaves(law.mean)
    )


class Uniform(NamedTuple):
    """ULA that also asks for a uniform, as a Metropolis step does."""

    step_size: Any

    init_noise = None
    step_noise = (Want.NORMAL, Want.UNIFORM)

    def init(self, energy, position, noise):
        return jl.ula(self.step_size).init(energy, position, noise)

    def step(self, energy, state, noise):
        return jl.ula(self.step_size).step(energy, state, noise[0])


# Refusals -----------------------------------------------------------------------------------


def wave(middle, weight, x):
    return middle * 0.5 * jnp.sum(x**2) + weight * jnp.sum(jnp.cos(x))


def wavy(middle, weight):
    return Partial(wave, arr(middle), arr(weight))


def fourth(middle, weight, x):
    return middle * 0.5 * jnp.sum(x**2) + weight * jnp.sum(x**4)


def quartic(middle, weight):
    return Partial(fourth, arr(middle), arr(weight))


NOT_QUADRATIC = {
    "double well": jl.energies.double_well(dim=2),
    "rosenbrock": jl.energies.rosenbrock(),
    "funnel": jl.energies.funnel(),
    "ring": jl.energies.ring(),
    "cos": wavy(0.0, 1.0),
    "barely a cos": wavy(1.0, 3e-3),
    "barely quartic": quartic(1.0, 1e-7),
    "tiny and quartic": quartic(0.0, 1e-9),
    "tiny and cos": wavy(0.0, 1e-9),
    "absolute value": lambda x: jnp.sum(jnp.abs(x)),
    "Huber": lambda x: jnp.sum(jnp.where(jnp.abs(x) < 5, x**2, 10 * jnp.abs(x) - 25)),
    "in one coordinate": lambda x: x[0] ** 2 + x[1] ** 2 + x[1] ** 3,
    "in a product": lambda x: x[0] ** 2 + x[1] ** 2 + 1e-3 * x[0] ** 2 * x[1],
    "beside a stiff coordinate": lambda x: 0.5e6 * x[0] ** 2 + jnp.cos(x[1]),
}


@pytest.mark.parametrize("step_size", [0.1, 1e-12])
@pytest.mark.parametrize("name", NOT_QUADRATIC)
def test_energy_that_is_not_quadratic_is_refused_at_any_step_size(name, step_size):
    """However small the step or the part that is not quadratic, in float32, where it is hardest."""
    with pytest.raises(jl.NotAffineError, match="energy: its gradient is not affine"):
        exact.law(jl.ula(step_size), NOT_QUADRATIC[name], standard(2), 10)


def test_every_question_is_refused_on_an_energy_that_is_not_quadratic():
    energy, zeros = NOT_QUADRATIC["barely a cos"], jnp.zeros(2)
    questions = [
        lambda: exact.affine_map(jl.ula(0.1), energy, zeros),
        lambda: exact.trajectory(jl.ula(0.1), energy, standard(2), 10),
        lambda: exact.law(jl.ula(decaying), energy, standard(2), 10),
        lambda: exact.stationary(jl.ula(0.1), energy, zeros),
        lambda: exact.target(energy, zeros),
        lambda: adaptation.step_size_for(energy, zeros, bias=0.1),
    ]
    for question in questions:
        with pytest.raises(jl.NotAffineError):
            question()


@pytest.mark.parametrize("weight", [1e-6, 1e-9])
def test_double_precision_sees_smaller_departures(weight, x64):
    with pytest.raises(jl.NotAffineError):
        exact.law(jl.ula(1e-6), wavy(1.0, weight), standard(2), 10)


def cos_in(unit, x):
    return jnp.sum(jnp.cos(x / unit))


def quartic_in(unit, x):
    return jnp.sum((x / unit) ** 4)


def quadratic_in(unit, x):
    return 0.5 * jnp.sum((x / unit) ** 2)


@pytest.mark.parametrize("unit", [1e-12, 1e-9, 1e9, 1e11])
def test_energy_that_is_not_quadratic_is_refused_in_any_unit(unit):
    """Also where all that is beyond its middle overflows."""
    for function in (cos_in, quartic_in):
        energy = Partial(function, arr(unit))
        with pytest.raises(jl.NotAffineError, match="energy: its gradient is not affine"):
            exact.law(jl.ula(0.1 * unit**2), energy, standard(2), 10)


@pytest.mark.parametrize("unit", [1e-15, 1e15])
def test_quadratic_energy_is_not_refused_in_any_unit(unit):
    """Also where the largest probes overflow."""
    energy = Partial(quadratic_in, arr(unit))
    assert exact.affine_map(jl.ula(0.1 * unit**2), energy, jnp.zeros(2)).matrix.shape == (2, 2)


@pytest.mark.parametrize("center", [0.0, 100.0, 1e5])
def test_quadratic_energy_is_not_refused_for_its_rounding(center, dtype):
    """Ill-conditioned, far from the origin, and written in a roundabout way."""
    d = 30
    rotation = np.linalg.qr(np.random.default_rng(0).normal(size=(d, d)))[0]
    energy = Partial(roundabout, arr(rotation), arr(np.logspace(-2, 2, d)), arr(center))
    exact.law(jl.ula(1e-5), energy, standard(d), 10)


def roundabout(rotation, scales, center, x):
    return -jnp.sum(jax.scipy.stats.norm.logpdf(product(rotation, x - center), 0.0, scales))


@pytest.mark.parametrize("scale", [1.0, 1e3, 1e5])
def test_least_squares_is_not_refused_for_the_scale_of_a_feature(scale, dtype):
    """An intercept beside a centred feature: its gradient is small, its rounding is not."""
    feature = scale * jnp.linspace(-1.0, 1.0, 200)
    energy = Partial(least_squares, feature)
    assert exact.affine_map(jl.ula(1e-12), energy, jnp.zeros(2)).matrix.shape == (2, 2)


def least_squares(feature, x):
    return 0.5 * jnp.sum((x[0] + feature * x[1] - 1) ** 2)


def test_affine_kernel_on_a_linear_energy_is_not_refused():
    """Taming a constant gradient leaves it constant."""
    law = exact.law(jl.tamed_ula(0.1), jl.energies.linear(arr([3.0, 4.0])), standard(2), 10)
    drift = 10 * 0.1 / (1 + 0.1 * 5) * np.array([3.0, 4.0])
    assert error(law, -drift, 3 * np.eye(2)) <= 100 * eps()


@pytest.mark.parametrize(
    ("step_size", "center"), [(0.1, 1.0), (1e-2, 1.0), (1e-3, 1.0), (3e-4, 100.0), (1e-4, 100.0)]
)
def test_kernel_that_is_not_affine_is_refused(step_size, center, dtype):
    """In the last cases taming weakens the drift by 4 and 1.4 percent: not to be overlooked."""
    energy = jl.energies.quadratic(jnp.eye(2), jnp.full(2, center))
    with pytest.raises(jl.NotAffineError, match="kernel: its step is not affine"):
        exact.law(jl.tamed_ula(step_size), energy, standard(2), 10)


@pytest.mark.parametrize("ask", ["law", "trajectory", "stationary", "affine_map"])
def test_kernel_that_wants_a_uniform_is_refused(ask):
    energy = jl.energies.quadratic(jnp.eye(2))
    rest = (standard(2), 5) if ask in ("law", "trajectory") else (jnp.zeros(2),)
    with pytest.raises(jl.NotAffineError, match=r"Want\.UNIFORM"):
        getattr(exact, ask)(Uniform(0.1), energy, *rest)


@pytest.mark.parametrize("A", [np.zeros((2, 2)), np.diag([1.0, 0.0]), np.ones((2, 2))])
def test_stationary_law_of_a_linear_or_flat_direction_is_refused(A):
    for kernel in (jl.ula(0.1), jl.underdamped(0.1, 1.0)):
        with pytest.raises(jl.NoStationaryLawError, match="linear or flat"):
            exact.stationary(kernel, quadratic_form(A, np.ones(2)), jnp.zeros(2))


def test_stationary_law_of_a_schedule_is_refused():
    energy = jl.energies.quadratic(jnp.eye(2))
    for kernel in (jl.ula(decaying), jl.ula(0.1, temperature=cooling)):
        with pytest.raises(jl.NoStationaryLawError, match="changes with time"):
            exact.stationary(kernel, energy, jnp.zeros(2))


def stability_limits():
    """(kernel at a multiple of its limit, energy) with λ = 4 the largest eigenvalue."""
    P = np.diag([2.0, 1.0])
    return {
        "ula": lambda c: jl.ula(c * 0.5),
        "preconditioned ula": lambda c: jl.ula(c * 0.5, preconditioner=arr(np.diagonal(P))),
        "leimkuhler_matthews": lambda c: jl.leimkuhler_matthews(c * 0.5),
        "BAOAB": lambda c: jl.underdamped(c * 1.0, 1.0),
    }


@pytest.mark.parametrize("name", stability_limits())
def test_stability_limit_is_met_within_a_thousandth(name, dtype):
    """η < 2/λ for first-order kernels, h < 2 sqrt(m/λ) for splittings."""
    kernel_at = stability_limits()[name]
    energy, zeros = jl.energies.quadratic(jnp.diag(arr([1.0, 4.0]))), jnp.zeros(2)
    assert np.isfinite(exact.law(kernel_at(0.999), energy, standard(2), 100).cov).all()
    assert np.isfinite(exact.stationary(kernel_at(0.999), energy, zeros).cov).all()
    with pytest.raises(jl.UnstableStepError, match="stability limit"):
        exact.law(kernel_at(1.001), energy, standard(2), 100)
    with pytest.raises(jl.UnstableStepError, match="stability limit"):
        exact.stationary(kernel_at(1.001), energy, zeros)


def test_energy_without_a_minimum_is_unstable_at_any_step():
    with pytest.raises(jl.UnstableStepError, match="no minimum"):
        exact.law(jl.ula(0.01), quadratic_form(np.diag([1.0, -1.0]), np.zeros(2)), standard(2), 5)


def test_law_of_an_unstable_chain_is_given_on_request():
    A, b, eta = np.diag([1.0, 4.0]), np.ones(2), 0.7
    start = gaussian([1.0, 2.0], spd(2))
    law = exact.law(jl.ula(eta), quadratic_form(A, b), start, 20, allow_unstable=True)
    means, covs = brute_force(A, b, start.mean, start.cov, [(eta, 1.0)] * 20)
    assert error(law, means[-1], covs[-1]) <= 1e3 * eps()
    path = exact.trajectory(jl.ula(eta), quadratic_form(A, b), start, 20)
    assert_same_law(jax.tree.map(lambda leaf: leaf[-1], path), law, 1e3 * eps())


@pytest.mark.parametrize("side", [-1.0, 1.0])
def test_energy_that_departs_on_one_side_only_is_refused(side):
    def one_sided(x):
        return 0.5 * jnp.sum(x**2) + 50 * jnp.sum(jax.nn.relu(side * x[0] - 0.5) ** 2)

    for dim in (1, 3):
        with pytest.raises(jl.NotAffineError):
            exact.law(jl.ula(0.005), one_sided, standard(dim), 10)


def test_schedule_that_turns_negative_is_refused_with_its_step():
    kernel = jl.ula(lambda t: 0.1 - 0.02 * jnp.asarray(t, float))
    with pytest.raises(jl.NotAffineError, match="at step 6 of its schedules"):
        exact.law(kernel, jl.energies.quadratic(jnp.eye(2)), standard(2), 20)


# Arguments that make no sense ---------------------------------------------------------------


@pytest.mark.parametrize("start", [np.zeros(2), jnp.zeros(2), (0.0, 1.0), None])
@pytest.mark.parametrize("law", [exact.law, exact.trajectory])
def test_start_that_is_not_a_gaussian_is_refused(law, start):
    with pytest.raises(TypeError, match=r"start: expected a jlangevin\.Gaussian,"):
        law(jl.ula(0.1), jl.energies.linear([1.0, 2.0]), start, 5)


@pytest.mark.parametrize("law", [exact.law, exact.trajectory])
def test_number_of_steps_is_a_count(law):
    energy = jl.energies.linear([1.0, 2.0])
    with pytest.raises(ValueError, match="num_steps: expected at least 0, got -1"):
        law(jl.ula(0.1), energy, standard(2), -1)
    for wrong in (1.0, "3", None, True):
        with pytest.raises(TypeError, match="num_steps: expected an integer"):
            law(jl.ula(0.1), energy, standard(2), wrong)
    assert law(jl.ula(0.1), energy, standard(2), np.int64(3)).mean.shape[-1] == 2


def test_a_trajectory_is_not_one_law():
    path = exact.trajectory(jl.ula(0.1), jl.energies.quadratic(jnp.eye(2)), standard(2), 3)
    with pytest.raises(ValueError, match="expected one law, got a trajectory of 4"):
        path.sample(jax.random.key(0), 5)
    with pytest.raises(ValueError, match=r"there are 4 laws.* Of a trajectory of laws"):
        jl.verify.compare(np.zeros((10, 2)), path)


@pytest.mark.parametrize(
    "ask",
    [
        lambda energy, x: exact.affine_map(jl.ula(0.1), energy, x),
        lambda energy, x: exact.stationary(jl.ula(0.1), energy, x),
        lambda energy, x: exact.target(energy, x),
        lambda energy, x: adaptation.step_size_for(energy, x, bias=0.1),
    ],
    ids=["affine_map", "stationary", "target", "step_size_for"],
)
def test_whole_numbers_are_not_a_position(ask):
    with pytest.raises(TypeError, match=r"^position: expected floating arrays, got dtype int32"):
        ask(jl.energies.quadratic(jnp.eye(2)), jnp.array([0, 0]))


def test_the_step_of_an_affine_map_is_a_count():
    energy = jl.energies.quadratic(jnp.eye(2))
    with pytest.raises(TypeError, match=r"^step: expected an integer, got 1\.7"):
        exact.affine_map(jl.ula(0.1), energy, jnp.zeros(2), step=1.7)
    with pytest.raises(ValueError, match=r"^step: expected at least 0, got -1"):
        exact.affine_map(jl.ula(0.1), energy, jnp.zeros(2), step=-1)


def test_swapped_arguments_are_refused_by_name():
    with pytest.raises(TypeError, match=r"kernel: .* is not a kernel"):
        exact.law(jl.energies.linear([1.0, 2.0]), jl.ula(0.1), standard(2), 3)
    with pytest.raises(ValueError, match="energy: expected a scalar"):
        exact.law(jl.ula(0.1), lambda x: x**2, standard(2), 3)


# Where nothing can be raised ----------------------------------------------------------------

REFUSED = {
    "not quadratic": lambda x: exact.law(jl.ula(0.1), well(x), standard(2), 10),
    "its trajectory": lambda x: jax.tree.map(
        lambda v: v[1:], exact.trajectory(jl.ula(0.1), well(x), standard(2), 3)
    ),
    "on a schedule": lambda x: exact.law(jl.ula(decaying), well(x), standard(2), 10),
    "its stationary law": lambda x: exact.stationary(jl.ula(0.1), well(x), jnp.zeros(2)),
    "its target": lambda x: exact.target(well(x), jnp.zeros(2)),
    "not affine": lambda x: exact.law(jl.tamed_ula(0.1 * x), bowl(x), standard(2), 10),
    "unstable": lambda x: exact.law(jl.ula(2.1 * x), bowl(x), standard(2), 10),
    "unstable, stationary": lambda x: exact.stationary(jl.ula(2.1 * x), bowl(x), jnp.zeros(2)),
    "linear, stationary": lambda x: exact.stationary(jl.ula(0.1), slope(x), jnp.zeros(2)),
    "linear, its target": lambda x: exact.target(slope(x), jnp.zeros(2)),
}


def well(x):
    return jl.energies.double_well(height=x, dim=2)


def bowl(x):
    return jl.energies.quadratic(x * jnp.eye(2), jnp.ones(2))


def slope(x):
    return jl.energies.linear(x * jnp.ones(2))


@pytest.mark.parametrize("name", REFUSED)
def test_where_nothing_can_be_raised_a_refusal_is_nan(name, x64):
    """Never a wrong number; and outside of jit the same question raises."""
    with pytest.raises(ValueError, match=r"^(energy|kernel|step_size): "):
        REFUSED[name](arr(1.0))
    assert has_nan(jax.jit(REFUSED[name])(arr(1.0)))


def test_step_size_for_is_nan_under_jit_where_nothing_is_confined(x64):
    """Rather than a negative step."""

    def step_size(A):
        return adaptation.step_size_for(Partial(form, A, jnp.zeros(2)), jnp.zeros(2), bias=0.1)

    for A in (jnp.zeros((2, 2)), -jnp.eye(2)):
        assert not jnp.isfinite(jax.jit(step_size)(A))
    assert jnp.isnan(
        jax.jit(lambda x: adaptation.step_size_for(well(x), jnp.zeros(2), bias=0.1))(1.0)
    )


def test_stable_law_may_lie_beside_an_unstable_one(x64):
    """Mapped over step sizes, only what is refused is NaN."""
    energy, start = jl.energies.quadratic(jnp.eye(2)), standard(2)
    laws = jax.vmap(lambda eta: exact.law(jl.ula(eta), energy, start, 10))(arr([0.1, 2.1]))
    assert np.isfinite(laws.cov[0]).all()
    assert np.isnan(laws.cov[1]).all()


def test_refusals_are_named_under_grad_too():
    energy = jl.energies.quadratic(jnp.eye(2))
    with pytest.raises(jl.UnstableStepError):
        jax.grad(lambda eta: exact.law(jl.ula(eta), energy, standard(2), 10).cov[0, 0])(3.0)
