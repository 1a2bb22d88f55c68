"""How long trajectories should be: what one shows of all lengths, which is best, what is found."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from warm_up_programs import traced_and_compiled

import jlangevin as jl
from jlangevin._core.arithmetic import product
from jlangevin.adaptation import phases
from jlangevin.adaptation.length import Seen, Trial, best, directions
from jlangevin.adaptation.metric import DenseMetric, DiagonalMetric, LowRankMetric

KERNELS = {
    "malt": jl.malt(0.4, 0.7, 6),
    "dense": jl.malt(0.4, 0.7, 6, mass=jnp.array([[2.0, 0.5], [0.5, 1.0]])),
    "microcanonical": jl.adjusted_microcanonical(0.7, 6, decoherence_length=1.0),
    "leapfrog": jl.adjusted_microcanonical(0.7, 6, integrator="leapfrog"),
}


# One trajectory ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", KERNELS)
def test_a_trajectory_tells_what_each_shorter_one_would_have_done(name):
    """Compared with the kernel itself at other lengths, on the same noise."""
    kernel, energy = KERNELS[name], jl.energies.double_well(dim=2)
    rng = np.random.default_rng(0)
    normals = jnp.asarray(rng.standard_normal((2, kernel.step_noise[0].number)), float)
    axes, centre = jnp.asarray(rng.standard_normal((3, 2)), float), jnp.array([0.3, -0.2])
    lengths, accepted, rejected = (1, 3, 6), jnp.asarray(0.0), jnp.asarray(1.0)

    def f(position):
        u = product(axes, position - centre)
        return jnp.concatenate([u, u**2 - 1])

    @jax.jit
    def all_steps(normals):
        """In one program: in the trial, and by the kernel at each length."""
        state = kernel.init(energy, jnp.array([0.9, -1.2]), None)
        trial = Trial(np.int32(6), centre, axes)
        nothing = trial.nothing(kernel, normals.dtype)
        trials = [
            trial.step(kernel, energy, state, (normals, uniform), nothing)
            for uniform in (accepted, rejected)
        ]
        shorter = []
        for length in lengths:
            short = dataclasses.replace(kernel, trajectory_length=length)
            noise = normals[:, : short.step_noise[0].number], accepted
            there, info = short.step(energy, state, noise)
            shorter.append((there.position, info.acceptance_rate, f(there.position)))
        return f(state.position), state.position, trials, shorter

    before, start, trials, shorter = jax.tree.map(np.asarray, all_steps(normals))
    ends = [end.position for end, _, _ in trials]
    np.testing.assert_allclose(ends[0], shorter[-1][0], rtol=1e-5)
    np.testing.assert_allclose(ends[1], start, rtol=1e-5)
    for _, info, seen in trials:
        assert float(info.acceptance_rate) == float(seen.rates[-1])
        assert float(seen.steps) == 1
        np.testing.assert_allclose(seen.values, before, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(seen.squares, before**2, rtol=1e-5, atol=1e-6)
        for length, (_, rate, after) in zip(lengths, shorter, strict=True):
            np.testing.assert_allclose(seen.rates[length - 1], rate, rtol=1e-4)
            jump = rate * (after - before) ** 2
            np.testing.assert_allclose(seen.jumps[length - 1], jump, rtol=1e-3, atol=1e-5)


def test_a_trajectory_that_is_cut_off_is_one_of_that_length():
    kernel, energy = KERNELS["malt"], jl.energies.double_well(dim=2)
    normals = jnp.asarray(np.random.default_rng(1).standard_normal((2, 6)), float)
    state = kernel.init(energy, jnp.array([0.9, -1.2]), None)
    trial = Trial(np.int32(6), jnp.zeros(2), jnp.eye(2)).cut(2)
    noise = normals, jnp.asarray(0.0)
    end, _, seen = trial.step(kernel, energy, state, noise, trial.nothing(kernel, normals.dtype))
    short = dataclasses.replace(kernel, trajectory_length=2)
    expected, _ = short.step(energy, state, (normals[:, :2], jnp.asarray(0.0)))
    np.testing.assert_allclose(end.position, expected.position, rtol=1e-5)
    assert np.all(np.asarray(seen.rates[:2]) > 0)
    assert not np.any(seen.rates[2:])
    assert not np.any(seen.jumps[2:])


def test_what_is_not_finite_on_the_way_counts_as_rejected():
    """A wall, into which every trajectory runs: nothing of what lies behind it is seen."""

    def energy(x):
        return jnp.sum(jnp.where(x < 1, 0.5 * x**2, jnp.inf))

    kernel = jl.malt(0.5, 0.0, 6)
    state = kernel.init(energy, jnp.array([0.9, 0.0]), None)
    normals = jnp.full((2, 6), 1.0)
    trial = Trial(np.int32(6), jnp.zeros(2), jnp.eye(2))
    noise = normals, jnp.asarray(0.5)
    end, _, seen = trial.step(kernel, energy, state, noise, trial.nothing(kernel, normals.dtype))
    assert all(np.all(np.isfinite(leaf)) for leaf in seen)
    np.testing.assert_array_equal(seen.rates, 0)
    np.testing.assert_array_equal(end.position, state.position)


# Which is best ----------------------------------------------------------------------------------


def damped(times, friction):
    """E[x_0 x_t] of x'' = -x - γ x' + noise with velocities afresh at 0, for γ < 2."""
    omega = np.sqrt(1 - friction**2 / 4)
    turning = np.cos(omega * times) + friction / (2 * omega) * np.sin(omega * times)
    return np.exp(-friction * times / 2) * turning


def of_gaussian(step_size, friction=0.0, longest=60, width=1.0, keep=(True, True)):
    """What trajectories of a normal law show in the mean, of u, u² or both."""
    rho = damped(step_size * np.arange(1, longest + 1) / width, friction * width)
    jumps = np.column_stack([2 * (1 - rho), 4 * (1 - rho**2)])
    rates = np.full(longest, np.exp(-step_size))
    seen = Seen(1.0, rates, rates[:, None] * jumps, np.zeros(2), np.array([1.0, 2.0]))
    part = np.nonzero(keep)[0]
    return seen._replace(
        jumps=seen.jumps[:, part], values=seen.values[part], squares=seen.squares[part]
    )


STEP_SIZES = 0.05 * np.exp([-0.4, -0.2, 0.0, 0.2, 0.4])


@pytest.mark.parametrize("width", [0.4, 1.0, 1.5])
def test_without_friction_a_normal_law_asks_for_a_quarter_of_its_period(width):
    seen = [of_gaussian(h, width=width) for h in STEP_SIZES]
    found = best(STEP_SIZES, seen, target=np.exp(-0.05))
    assert abs(found.step_size - 0.05) < 1e-3
    assert abs(found.length * found.step_size - width * np.pi / 2) < 0.08


def test_it_takes_both_the_means_and_the_squares():
    """By the means alone half a period would be best, but then the squares are as at the start."""
    quarter, half = np.pi / 2, np.pi
    times = {}
    for keep in ((True, True), (True, False), (False, True)):
        seen = [of_gaussian(h, longest=80, keep=keep) for h in STEP_SIZES]
        found = best(STEP_SIZES, seen, target=np.exp(-0.05))
        times[keep] = found.length * found.step_size
    assert abs(times[True, True] - quarter) < 0.08
    assert times[True, False] > 0.8 * half
    assert times[False, True] < 0.9 * quarter


def test_lengths_are_compared_at_the_rate_that_is_asked_for():
    """On a law whose long trajectories are rejected unless their step is small."""

    def seen(h):
        every = of_gaussian(h)
        rates = np.exp(-h * np.arange(1, 61))
        scale = rates / every.rates
        return every._replace(rates=rates, jumps=every.jumps * scale[:, None])

    steps = np.geomspace(0.005, 0.2, 40)
    found = best(steps, [seen(h) for h in steps], target=0.7)
    np.testing.assert_allclose(found.length * found.step_size, -np.log(0.7), rtol=0.05)


def test_what_does_not_vary_has_no_say():
    seen = [of_gaussian(h) for h in STEP_SIZES]
    still = [
        each._replace(
            jumps=np.column_stack([each.jumps, np.zeros(60)]),
            values=np.append(each.values, -1.0),
            squares=np.append(each.squares, 1.0),
        )
        for each in seen
    ]
    assert best(STEP_SIZES, still, 0.95) == best(STEP_SIZES, seen, 0.95)


@pytest.mark.parametrize("metric", ["diagonal", "dense", "low rank"])
def test_along_principal_directions_coordinates_have_variance_one(metric):
    rng = np.random.default_rng(0)
    root = np.array([[30.0, 0, 0], [2.0, 1.0, 0], [0, 0.1, 0.2]])
    rows = 5 + rng.standard_normal((10_000, 3)) @ root.T
    vectors = np.linalg.qr(rng.standard_normal((3, 2)))[0]
    made = {
        "diagonal": DiagonalMetric(np.array([2.0, 1.0, 0.5])),
        "dense": DenseMetric.of(np.array([[3.0, 1.0, 0], [0, 1.0, 0.3], [0, 0, 0.2]])),
        "low rank": LowRankMetric(np.array([2.0, 1.0, 0.5]), vectors, np.array([3.0, 0.2])),
    }[metric]
    centre, axes, widest = directions(rows, made)
    u = (rows - centre) @ axes.T
    np.testing.assert_allclose(u.T @ u / len(u), np.eye(3), atol=1e-9)
    round_ = made.to_round(rows)
    variances = np.linalg.eigvalsh(np.cov(round_.T, bias=True))
    np.testing.assert_allclose(widest**2, variances[-1], rtol=1e-9)
    # The first is the widest: its coordinate is that of the leading eigenvector.
    projected = (round_ - round_.mean(0)) @ np.linalg.eigh(np.cov(round_.T))[1][:, -1]
    np.testing.assert_allclose(abs(np.corrcoef(projected, u[:, 0])[0, 1]), 1, rtol=1e-9)


# What is found ------------------------------------------------------------------------------------


def key():
    return jax.random.key(0)


WIDE = 20.0  # the width of one direction; that of the others is 1


def long_and_thin():
    """No preconditioner: the best time is that of the widest direction."""
    precision = jnp.diag(jnp.array([1.0, 1.0, 1.0, WIDE**-2]))
    energy = jl.energies.quadratic(precision)
    return jl.warm_up(
        key(), energy, jl.malt(0.5, 0.05, 32), energy,
        num_chains=400, num_steps=1_000, precondition=None, longest_trajectory=80,
    ).kernel  # fmt: skip


def share_of_the_best(kernel, target=0.7):
    """Effective draws of the widest direction per move, at the length found over the best length,
    by the exact autocorrelation. Acceptance is taken as independent of a trajectory's end."""
    friction, h = float(kernel.friction), float(kernel.step_size)
    rho = damped(h * np.arange(1, 200) / WIDE, friction * WIDE)
    draws = [target * (1 - r) / (2 - target * (1 - r)) for r in (rho, rho**2)]
    draws = np.min(draws, axis=0) / np.arange(1, 200)
    return draws[kernel.trajectory_length - 1] / draws.max()


@pytest.mark.slow
@pytest.mark.filterwarnings(
    "ignore:warm-up has not settled"
)  # in so few steps, from the law itself
def test_trajectories_become_as_long_as_the_widest_direction_asks_for():
    """In each case 8,000 trajectories give jumps with errors of 2%, and effective draws with errors
    of 4% where ρ is near 0. To confuse two lengths that differ by 25%, their difference would have
    to be wrong by 4.4 errors; to miss the bound here, by five times that."""
    kernel = long_and_thin()
    assert share_of_the_best(kernel) > 0.7
    assert 0.4 < float(kernel.friction) * WIDE < 1.2
    quarter = WIDE * np.pi / 2
    assert 0.6 * quarter < kernel.trajectory_length * float(kernel.step_size) < 2 * quarter


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:warm-up has not settled")
def test_without_the_widest_direction_they_would_be_far_too_short(monkeypatch):
    def without(rows, metric):
        centre, axes, widest = directions(rows, metric)
        return centre, np.concatenate([0 * axes[:1], axes[1:]]), widest

    monkeypatch.setattr(phases, "directions", without)
    assert share_of_the_best(long_and_thin()) < 0.7


@pytest.mark.slow
@pytest.mark.parametrize("kernel", ["malt", "microcanonical"])
def test_where_all_widths_are_alike_a_quarter_to_half_a_period_is_found(kernel):
    """In each case there are 4,000 trajectories, so effective draws have errors of about 5%. By the
    exact formula, shorter times give at least 31% less than the best. Longer ones give 56% less
    with friction 1/2; with friction 1 they give 25% less than the best of that friction, and 41%
    less than the best of 1/2."""
    energy = jl.energies.quadratic(jnp.eye(100))
    made = {
        "malt": jl.malt(0.1, 1.0, 2),
        "microcanonical": jl.adjusted_microcanonical(0.1, 2, integrator="leapfrog"),
    }[kernel]
    found = jl.warm_up(
        key(), energy, made, energy,
        num_chains=200, precondition="diagonal", longest_trajectory=16,
    ).kernel  # fmt: skip
    unit = 1.0 if kernel == "malt" else 10.0  # sqrt(d) goes as fast as a velocity of N(0, I)
    time = found.trajectory_length * float(found.step_size) / unit
    assert 0.75 * np.pi / 2 < time < np.pi


def badly_scaled():
    scales = jnp.array([0.01, 1.0, 10.0])
    correlation = jnp.array([[1.0, 0.8, 0.0], [0.8, 1.0, 0.3], [0.0, 0.3, 1.0]])
    cov = scales[:, None] * correlation * scales[None, :]
    return jl.energies.quadratic(jnp.linalg.inv(cov)), cov


@pytest.mark.slow
def test_the_run_after_it_has_the_exact_law(x64):
    """With 5,000 chains, a mean that is off by 0.11 standard deviations, or a variance by 16%, is
    found with a probability of 0.99."""
    energy, cov = badly_scaled()
    found = jl.warm_up(
        key(), energy, jl.malt(1e-3, 1.0, 4), energy, num_chains=5_000, longest_trajectory=6
    )
    run = jl.resume(found.state, energy, found.kernel, num_steps=40, observe=None)
    assert abs(float(run.info.acceptance_rate.mean()) - 0.7) < 0.05
    jl.verify.assert_law(run.position, jl.Gaussian(jnp.zeros(3), cov))


@pytest.mark.slow
def test_what_is_found_is_said():
    energy = jl.energies.quadratic(jnp.eye(3))
    found = jl.warm_up(
        key(), energy, jl.malt(0.5, 1.0, 4), energy,
        num_chains=64, longest_trajectory=3,
    )  # fmt: skip
    length, friction = found.kernel.trajectory_length, float(found.kernel.friction)
    moves = "1 move" if length == 1 else f"{length} moves"
    assert found.verdict.trajectory == f"{moves} of at most 3, friction {friction:.4g}"
    assert f"  trajectory      {moves} of at most 3, friction" in str(found)


@pytest.mark.slow
def test_what_was_given_is_kept_unless_it_is_to_be_found():
    energy = jl.energies.quadratic(jnp.eye(3))
    found = jl.warm_up(key(), energy, jl.malt(0.5, 0.3, 5), energy, num_chains=64)
    assert found.kernel.trajectory_length == 5
    assert found.kernel.friction == jl.malt(0.5, 0.3, 5).friction
    assert found.verdict.trajectory == ""
    assert "trajectory" not in str(found)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"kernel": jl.mala(0.1)}, TypeError, "longest_trajectory: MALA makes no trajectories"),
        (
            {"kernel": jl.microcanonical(0.1, 1.0)},
            TypeError,
            "longest_trajectory: Microcanonical makes no trajectories",
        ),
        ({"longest_trajectory": 0}, ValueError, "longest_trajectory: expected at least 1"),
        ({"longest_trajectory": 2.5}, TypeError, "longest_trajectory: expected an integer"),
        ({"num_steps": 599}, ValueError, "num_steps: expected at least 600"),
    ],
)
def test_what_has_no_length_to_be_found_is_refused(options, error, message):
    call = {"kernel": jl.malt(0.1, 1.0, 4), "longest_trajectory": 4}
    with pytest.raises(error, match=message):
        jl.warm_up(key(), jnp.sum, init=jnp.zeros((4, 2)), **(call | options))


# Units ------------------------------------------------------------------------------------------


def correlated(factor, units, x):
    y = x / units
    return factor * (0.5 * jnp.sum(y**2) + 0.9 * y[0] * y[1] + 0.1 * jnp.sum(y**4))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:warm-up has not settled")  # in so few steps
@pytest.mark.parametrize("form", ["diagonal", None])
def test_the_same_problem_in_other_units_has_the_same_trajectories(form):
    """Powers of two, by which numbers are scaled without rounding."""

    def warmed(units, factor):
        energy = jax.tree_util.Partial(correlated, jnp.float32(factor), jnp.asarray(units))
        starts = jax.random.normal(jax.random.key(1), (10, 3)) * units[None]
        kernel = jl.malt(0.01, 1.0, 3, temperature=factor, mass=jnp.asarray(factor / units**2))
        return jl.warm_up(
            key(), energy, kernel, starts, num_steps=600, precondition=form, longest_trajectory=5
        )

    here = warmed(np.ones(3, np.float32), 1.0)
    units = np.array([2.0**-40, 1.0, 2.0**40], np.float32)
    there = warmed(units, 2.0**30)
    np.testing.assert_array_equal(
        there.state.kernel.position / units[None], here.state.kernel.position
    )
    for name in ("trajectory_length", "friction", "step_size"):
        assert getattr(there.kernel, name) == getattr(here.kernel, name)
    assert there.verdict.trajectory == here.verdict.trajectory


# Programs ---------------------------------------------------------------------------------------


@pytest.mark.slow
def test_lengths_are_tried_without_another_program():
    """Four: for the starts, the first state, the steps that adapt, and the steps that count."""
    traced, programs = traced_and_compiled(longest_trajectory=6)
    assert programs == ["jit(_drawn)", "jit(begin)", "jit(advance)", "jit(advance)"]
    assert traced <= 6
