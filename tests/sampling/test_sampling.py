"""The driver: layouts, streams, resuming, faults, transformations, compilations, refusals."""

import dataclasses
import warnings
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jlangevin as jl
from jlangevin.noise import Want

KEY = 0


def key():
    return jax.random.key(KEY)


def setting():
    energy = jl.energies.quadratic([[1.0, 0.6], [0.6, 2.0]], mean=[1.0, -2.0])
    return energy, jl.ula(0.1), jl.Gaussian(jnp.zeros(2), jnp.eye(2))


def run(num_steps=20, num_chains=10, **options):
    energy, kernel, start = setting()
    if "chains" not in options:
        options["num_chains"] = num_chains
    return jl.sample(key(), energy, kernel, start, num_steps=num_steps, **options)


def assert_bit_equal(a, b):
    chex.assert_trees_all_equal_dtypes(a, b)
    jax.tree.map(np.testing.assert_array_equal, a, b)


class NoiseRecorder(NamedTuple):
    """A kernel whose position is the noise it was given: shows noise through the driver."""

    init_noise = None
    step_noise = Want.NORMAL

    def init(self, energy, position, noise):
        return Recorded(position)

    def step(self, energy, state, noise):
        return Recorded(noise), jl.Info()


class Recorded(NamedTuple):
    position: Any


def as_float(step):
    return jnp.asarray(step, float)


def slower_and_slower(t):
    return 0.1 / (1 + as_float(t))


def flat(x):
    return 0.0 * jnp.sum(x)


def recorded(num_chains=10, num_steps=6, dim=2, **options):
    start = jl.Gaussian(jnp.zeros(dim), jnp.eye(dim))
    if "chains" not in options:
        options["num_chains"] = num_chains
    return jl.sample(key(), flat, NoiseRecorder(), start, num_steps=num_steps, **options).draws


# Layout ---------------------------------------------------------------------------------------


def test_draws_are_chain_by_draw_by_element(dtype):
    result = run(num_steps=20, thin=4)
    chex.assert_shape(result.draws, (10, 5, 2))
    chex.assert_shape(result.position, (10, 2))
    chex.assert_type([result.draws, result.position], dtype)
    assert_bit_equal(np.asarray(result.draws)[:, -1], result.position)


@pytest.mark.parametrize("thin", [1, 3, 7, 1500])
@pytest.mark.parametrize("burn_in", [0, 1, 1100])
def test_thinning_and_burn_in_are_a_selection_of_all_draws(thin, burn_in):
    """Blocks hold 1,024 steps here, so 1,500 takes several and 3 and 7 do not divide one."""
    num_steps = 3000 // thin * thin
    every = run(num_steps=burn_in + num_steps, num_chains=2).draws
    some = run(num_steps=num_steps, num_chains=2, burn_in=burn_in, thin=thin)
    assert_bit_equal(some.draws, every[:, burn_in + thin - 1 :: thin])
    assert int(some.state.step) == burn_in + num_steps


def test_observe_says_what_is_kept():
    result = run(observe=lambda state: {"square": jnp.sum(state.position**2)})
    chex.assert_shape(result.draws["square"], (10, 20))
    assert run(observe=None).draws is None
    assert_bit_equal(run(observe=None).position, run().position)


def test_no_steps_give_the_start():
    result = run(num_steps=0)
    chex.assert_shape(result.draws, (10, 0, 2))
    _, _, start = setting()
    assert_bit_equal(result.position, start.sample(key(), 10))


def test_positions_may_be_pytrees():
    position = {"a": np.ones((5, 3), "f"), "b": [np.zeros(5, "f"), np.zeros((5, 2, 2), "f")]}

    def energy(x):
        return 0.5 * sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(x))

    draws = jl.sample(key(), energy, jl.ula(0.1), position, num_steps=4).draws
    assert jax.tree.map(jnp.shape, draws) == {"a": (5, 4, 3), "b": [(5, 4), (5, 4, 2, 2)]}


def test_a_run_starts_from_an_energys_exact_sampler():
    """ULA keeps no law exactly, so no step is taken: the start itself has the energy's law."""
    energy, kernel, _ = setting()
    result = jl.sample(key(), energy, kernel, energy, num_steps=0, num_chains=10_000)
    jl.verify.assert_law(result.position, jl.exact.target(energy, jnp.zeros(2)))


# Streams --------------------------------------------------------------------------------------


def test_the_noise_of_a_chain_does_not_depend_on_the_number_of_chains(dtype):
    alone = recorded(chains=[7])
    for others in (10, 10_000):
        assert_bit_equal(recorded(num_chains=others)[7:8], alone)


def test_a_chain_can_be_run_again_alone():
    crowd, alone = run(num_chains=1000), run(chains=[7])
    np.testing.assert_allclose(crowd.draws[7:8], alone.draws, rtol=1e-5, atol=1e-6)


def test_chains_are_told_by_number_not_by_place():
    assert_bit_equal(recorded(chains=[3, 2**32 - 1, 0])[2], recorded(num_chains=1)[0])


def test_noise_does_not_depend_on_how_a_run_is_cut():
    """13 steps, then 8: the second part begins within a pair of steps."""
    energy, kernel = flat, NoiseRecorder()
    start = np.zeros((3, 2), "f")
    first = jl.sample(key(), energy, kernel, start, num_steps=13)
    second = jl.resume(first.state, energy, kernel, num_steps=8)
    whole = jl.sample(key(), energy, kernel, start, num_steps=21)
    assert_bit_equal(np.concatenate([first.draws, second.draws], 1), np.asarray(whole.draws))


@pytest.mark.parametrize("cut", [1, 2, 17, 1030])
def test_resuming_equals_never_stopping(cut):
    energy, _, start = setting()
    kernel = jl.ula(slower_and_slower)
    whole = jl.sample(key(), energy, kernel, start, num_steps=2100, num_chains=3)
    first = jl.sample(key(), energy, kernel, start, num_steps=cut, num_chains=3)
    second = jl.resume(first.state, energy, kernel, num_steps=2100 - cut)
    assert_bit_equal(second.position, whole.position)
    assert_bit_equal(np.concatenate([first.draws, second.draws], 1), np.asarray(whole.draws))


def test_different_keys_chains_and_steps_have_different_noise():
    draws = np.asarray(recorded(num_chains=50, num_steps=50))
    other = jl.sample(jax.random.key(1), flat, NoiseRecorder(), jnp.zeros((50, 2)), num_steps=50)
    both = np.concatenate([draws.ravel(), np.asarray(other.draws).ravel()])
    # Normals of 24 bits coincide now and then by chance; whole rows never do.
    assert len(np.unique(both)) > 0.999 * both.size
    rows = np.concatenate([draws.reshape(-1, 2), np.asarray(other.draws).reshape(-1, 2)])
    assert len(np.unique(rows, axis=0)) == len(rows)


# Schedules ------------------------------------------------------------------------------------


def test_a_constant_schedule_is_the_constant():
    energy, kernel, start = setting()
    scheduled = jl.ula(lambda t: 0.1, temperature=lambda t: 1.0)
    a = jl.sample(key(), energy, kernel, start, num_steps=9, num_chains=4)
    b = jl.sample(key(), energy, scheduled, start, num_steps=9, num_chains=4)
    np.testing.assert_allclose(a.draws, b.draws, rtol=1e-5)


def test_samples_under_a_schedule_have_their_exact_law():
    energy, _, start = setting()
    kernel = jl.ula(lambda t: 0.5 / (1 + as_float(t)), temperature=lambda t: 1 + as_float(t))
    result = jl.sample(key(), energy, kernel, start, num_steps=7, num_chains=20_000)
    jl.verify.assert_law(result.position, jl.exact.law(kernel, energy, start, 7))


def test_an_anneal_may_end_at_temperature_zero():
    energy, _, start = setting()
    kernel = jl.ula(0.1, temperature=lambda t: jnp.maximum(0.0, 1 - as_float(t) / 4))
    result = jl.sample(key(), energy, kernel, start, num_steps=6, num_chains=20_000)
    jl.verify.assert_law(result.position, jl.exact.law(kernel, energy, start, 6))


def test_a_schedule_counts_from_the_start_of_the_run_burn_in_included():
    seen = jl.sample(
        key(),
        flat,
        Clock(jl.Schedule(as_float)),
        jnp.zeros((1, 1)),
        num_steps=3,
        burn_in=2,
    )
    assert seen.draws.ravel().tolist() == [2.0, 3.0, 4.0]


class Clock(NamedTuple):
    time: Any
    init_noise = None
    step_noise = None

    def init(self, energy, position, noise):
        return Recorded(position)

    def step(self, energy, state, noise):
        rate = jnp.asarray(self.time, state.position.dtype)
        return Recorded(jnp.full_like(state.position, rate)), jl.Info(acceptance_rate=rate)


# Rounding -------------------------------------------------------------------------------------


def test_a_small_drift_on_a_large_position_is_not_rounded_the_same_way_at_every_step():
    """At x = 800, float32 resolves 6e-5. A drift of 0.0080343 a step taken by itself would be
    rounded to 132 of those, 2e-5 too far: 0.11 after 5,000 steps, 50 standard errors here."""
    theta = jnp.array([0.80342804])
    kernel, energy = jl.ula(0.01, temperature=1e-4), jl.energies.linear(theta)
    start = jl.Gaussian(jnp.array([800.0]), jnp.array([[1e-4]]))
    result = jl.sample(
        key(), energy, kernel, start, num_steps=5_000, num_chains=2_000, observe=None
    )
    jl.verify.assert_law(result.position, jl.exact.law(kernel, energy, start, 5_000))


# Info and faults ------------------------------------------------------------------------------


def test_the_acceptance_rate_is_a_mean_over_the_steps_after_burn_in():
    result = jl.sample(
        key(),
        flat,
        Clock(jl.Schedule(as_float)),
        jnp.zeros((3, 1)),
        num_steps=4,
        burn_in=10,
        observe=None,
    )
    assert result.info.acceptance_rate.tolist() == [11.5, 11.5, 11.5]


@pytest.mark.parametrize("half", [jnp.bfloat16, jnp.float16])
def test_in_half_precision_the_mean_acceptance_is_kept_in_single(half):
    """In bfloat16 a mean would stop moving after a few hundred steps."""
    run = jl.sample(
        key(),
        lambda x: jnp.sum(x * x) / 2,
        jl.mala(jnp.asarray(0.5, half)),
        jnp.zeros((4, 1), half),
        num_steps=20,
        observe=None,
    )
    assert run.position.dtype == half
    assert run.info.acceptance_rate.dtype == jnp.float32
    assert (run.info.acceptance_rate > 0.5).all()


def test_a_kernel_that_reports_nothing_has_nothing_in_info():
    assert run().info.acceptance_rate is None
    assert run().info.num_divergent.tolist() == [0] * 10


def test_a_divergent_chain_is_counted_and_touches_no_other():
    """The double well explodes from far away under a large step."""
    energy, kernel = jl.energies.double_well(), jl.ula(0.05)
    starts = np.full((8, 1), 0.5, "f")
    starts[3] = 50.0
    with pytest.warns(
        jl.DivergenceWarning, match=r"1 of 8 chains .* chain 3 of the run, after 3 steps"
    ):
        mixed = jl.sample(key(), energy, kernel, starts, num_steps=200)
    clean = jl.sample(key(), energy, kernel, np.full((8, 1), 0.5, "f"), num_steps=200)
    assert mixed.info.num_divergent.tolist() == [0, 0, 0, 1, 0, 0, 0, 0]
    assert mixed.info.first_bad_step.tolist() == [-1, -1, -1, 3, -1, -1, -1, -1]
    others = np.arange(8) != 3
    assert_bit_equal(np.asarray(mixed.draws)[others], np.asarray(clean.draws)[others])


# Transformations ------------------------------------------------------------------------------


def final(k, theta, eta):
    start = jl.Gaussian(jnp.zeros(2), jnp.eye(2))
    energy, kernel = jl.energies.Linear(theta), jl.ula(eta)
    return jl.sample(k, energy, kernel, start, num_steps=5, num_chains=3, observe=None).position


def test_sample_passes_through_jit():
    theta = jnp.array([1.0, -1.0])
    expected = final(key(), theta, 0.1)
    assert_bit_equal(jax.jit(final)(key(), theta, 0.1), expected)


def test_vmap_over_keys_parameters_and_step_sizes_equals_a_loop():
    keys = jax.random.split(key(), 3)
    thetas = np.array([[1.0, -1.0], [0.0, 2.0], [3.0, 3.0]], "f")
    etas = np.array([0.1, 0.2, 0.3], "f")
    mapped = np.asarray(jax.vmap(final)(keys, thetas, etas))
    for i in range(3):
        np.testing.assert_allclose(mapped[i], final(keys[i], thetas[i], etas[i]), rtol=1e-5)


@pytest.mark.parametrize("mode", [jax.jacfwd, jax.jacrev])
def test_trajectories_are_differentiable(mode, x64):
    """On a linear energy dx_N/dθ is -Nη, whatever the noise."""
    slope = mode(lambda theta: final(key(), theta, 0.1))(jnp.array([1.0, -1.0]))
    expected = jnp.broadcast_to(-5 * 0.1 * jnp.eye(2), (3, 2, 2))
    np.testing.assert_allclose(slope, expected, rtol=1e-12)


# Compilation ----------------------------------------------------------------------------------


def test_only_new_shapes_compile():
    """Keys, parameters, step sizes, temperatures, positions: one trace for all of their values."""
    traces = []

    def counted(params, x):
        traces.append(None)
        return params[0] * jnp.sum(x**4) + params[1]

    def go(seed, scale, eta, temperature, offset):
        energy = jax.tree_util.Partial(counted, (scale, offset))
        kernel = jl.ula(eta, temperature=temperature, preconditioner=jnp.array([1.0, scale]))
        first = jl.sample(
            jax.random.key(seed), energy, kernel, offset * jnp.ones((4, 2)), num_steps=6
        )
        return jl.resume(first.state, energy, kernel, num_steps=6)

    go(0, 1.0, 0.001, 1.0, 0.5)
    after_one = len(traces)
    for i in range(1, 4):
        go(i, 1.0 + i, 0.001 * i, 0.5 * i, 0.1 * i)
    assert len(traces) == after_one


def test_a_step_is_traced_once_a_shape():
    class Counted(NamedTuple):
        eta: Any
        init_noise = None
        step_noise = Want.NORMAL

        def init(self, energy, position, noise):
            return Recorded(position)

        def step(self, energy, state, noise):
            return traced(self.eta, state, noise)

    @jax.jit
    @chex.assert_max_traces(n=1)
    def traced(eta, state, noise):
        return Recorded(state.position + eta * noise), jl.Info()

    chex.clear_trace_counter()
    for i in range(1, 4):
        starts = jnp.full((4, 2), float(i))
        jl.sample(jax.random.key(i), flat, Counted(0.1 * i), starts, num_steps=6)


# Refusals -------------------------------------------------------------------------------------


def attempt(**changes):
    energy, kernel, start = setting()
    arguments = {"energy": energy, "kernel": kernel, "init": start, "num_steps": 3}
    if "init" not in changes and "chains" not in changes:
        arguments["num_chains"] = 4
    arguments.update(changes)
    k = arguments.pop("key") if "key" in arguments else key()
    return jl.sample(k, **arguments)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"key": 0}, TypeError, "key: expected a typed key"),
        ({"energy": 3.0}, TypeError, "energy: expected a callable"),
        ({"energy": lambda x: x}, ValueError, r"energy: expected a scalar.*\(2,\)"),
        ({"energy": lambda x: jnp.sum(x)[None]}, ValueError, r"energy: expected a scalar.*\(1,\)"),
        ({"energy": lambda x: (jnp.sum(x), 1)}, ValueError, "energy: expected a scalar.*tuple"),
        ({"energy": lambda x: jnp.sum(x > 0)}, TypeError, "energy: expected a real floating"),
        ({"energy": lambda x: jnp.nan * jnp.sum(x)}, ValueError, "not finite at the start of 4"),
        ({"energy": lambda x: jnp.log(-jnp.sum(x**2))}, ValueError, "not finite at the start"),
        ({"kernel": jl.ula}, TypeError, r"kernel: got the function ula .* ula\(step_size\)"),
        ({"kernel": None}, TypeError, "kernel: None is not a kernel"),
        ({"init": jnp.zeros((3, 5))}, ValueError, r"position of shape \(2,\), got \(5,\)"),
        ({"init": jnp.zeros(2)}, ValueError, r"position of shape \(2,\), got \(\)"),
        ({"init": [[0.0, 0.0], [1.0]]}, ValueError, "init: these lists do not form"),
        ({"init": jnp.float32(0)}, ValueError, "init: expected a leading chain axis"),
        ({"init": jnp.zeros((3, 2), int)}, TypeError, "init: expected floating positions"),
        ({"init": jnp.zeros((0, 2))}, ValueError, "init: no positions"),
        ({"init": ()}, ValueError, "init: no positions"),
        ({"init": jl.Gaussian}, TypeError, r"init: got the class Gaussian .* Gaussian\(mean, cov"),
        ({"init": (jnp.zeros((2, 2)), jnp.zeros((3, 2)))}, ValueError, "init: leaves differ"),
        (
            {"init": jnp.zeros((3, 2)), "num_chains": 4},
            ValueError,
            "num_chains: 4 chains were asked for, but init has 3",
        ),
        ({"init": jl.energies.double_well(), "num_chains": 1}, ValueError, "no exact sampler"),
        ({"init": jl.energies.linear([1.0]), "num_chains": 1}, ValueError, "no finite integral"),
        ({"num_chains": None}, ValueError, "num_chains: pass a number of chains"),
        ({"num_chains": 0}, ValueError, "num_chains: expected at least 1, got 0"),
        ({"num_chains": -1}, ValueError, "num_chains: expected at least 1, got -1"),
        ({"num_chains": 2.5}, TypeError, "num_chains: expected an integer, got 2.5"),
        ({"num_chains": True}, TypeError, "num_chains: expected an integer, got True"),
        ({"num_steps": -1}, ValueError, "num_steps: expected at least 0, got -1"),
        ({"num_steps": 1.0}, TypeError, "num_steps: expected an integer, got 1.0"),
        ({"num_steps": 2**31}, ValueError, "num_steps: .* exceeds the 2147483647 steps"),
        (
            {"num_steps": 10, "thin": 3},
            ValueError,
            "must be a multiple of thin, but 10 is not a multiple of 3",
        ),
        ({"thin": 0}, ValueError, "thin: expected at least 1"),
        ({"burn_in": -1}, ValueError, "burn_in: expected at least 0"),
        ({"observe": 3}, TypeError, "observe: expected a function"),
        ({"chains": [1, 1]}, ValueError, "chains: stream 1 is named twice"),
        ({"chains": [-1]}, ValueError, "chains: stream numbers lie in"),
        ({"chains": [0.5]}, ValueError, "chains: expected a non-empty list of integers"),
        ({"chains": []}, ValueError, "chains: expected a non-empty list"),
        ({"chains": [1], "num_chains": 1}, ValueError, "num_chains and chains"),
    ],
)
def test_bad_input_is_refused_by_name(changes, error, message):
    with pytest.raises(error, match=message):
        attempt(**changes)


def test_a_legacy_key_is_refused_with_the_way_out():
    with pytest.raises(TypeError, match="this is a legacy uint32 key; wrap it"):
        attempt(key=jnp.zeros(2, jnp.uint32))


def test_a_key_of_another_kind_is_refused():
    with pytest.raises(TypeError, match="expected a threefry2x32 key, got rbg"):
        attempt(key=jax.random.key(0, impl="rbg"))
    with pytest.raises(ValueError, match=r"key: expected one key, got an array .*\(3,\)"):
        attempt(key=jax.random.split(key(), 3))


def test_only_the_chains_that_start_badly_are_named():
    starts = jnp.ones((5, 1)).at[2].set(-1.0)
    with pytest.raises(
        ValueError, match=r"start of 1 of 5 chains; for the first of them, chain 2, the energy is"
    ):
        jl.sample(key(), lambda x: jnp.sum(jnp.log(x)), jl.ula(0.1), starts, num_steps=1)


def test_a_chain_that_starts_badly_is_told_by_its_place_and_its_stream():
    starts = jnp.array([[1.0], [-1.0]])
    with pytest.raises(
        ValueError, match=r"first of them, chain 1 in the run \(stream 90\), the energy"
    ):
        jl.sample(
            key(), lambda x: jnp.sum(jnp.log(x)), jl.ula(0.1), starts, chains=[70, 90], num_steps=1
        )


@pytest.mark.parametrize(
    ("energy", "kernel", "start", "what"),
    [
        (jl.energies.linear([1.0]), jl.ula(0.1), jnp.inf, "the position is not. Pass finite"),
        (lambda x: jnp.sum(jnp.log(x)), jl.ula(0.1), -1.0, "the energy is not. Start where"),
        (lambda x: jnp.sum(jnp.sqrt(x)), jl.ula(0.1), 0.0, "its gradient is not. Start where"),
        (
            jl.energies.linear([1.0]),
            jl.reflected(0.1, jl.domains.box(0.0, 1.0)),
            2.0,
            "the kernel's state is not. Start inside the kernel's domain",
        ),
    ],
)
def test_what_is_not_finite_at_the_start_is_said(energy, kernel, start, what):
    with pytest.raises(ValueError, match=f"chain 0, {what}"):
        jl.sample(key(), energy, kernel, jnp.full((2, 1), start), num_steps=1)


def test_an_acceptance_rate_that_is_not_a_single_number_is_refused():
    class Reports(NoiseRecorder):
        def step(self, energy, state, noise):
            return super().step(energy, state, noise)[0], jl.Info(jnp.ones(2))

    with pytest.raises(ValueError, match=r"acceptance_rate .* one number, or None; got .*2"):
        jl.sample(key(), flat, Reports(), jnp.zeros((3, 2)), num_steps=1)


def test_a_step_that_changes_the_state_is_refused():
    class Widens(NoiseRecorder):
        def step(self, energy, state, noise):
            return Recorded(jnp.concatenate([noise, noise])), jl.Info()

    with pytest.raises(
        ValueError, match=r"kernel: expected .*, like the state from init, from step"
    ):
        attempt(kernel=Widens())


def test_a_step_that_forgets_what_to_report_is_refused():
    class Forgets(NoiseRecorder):
        def step(self, energy, state, noise):
            return Recorded(noise)

    start = jl.Gaussian(jnp.zeros(2), jnp.eye(2))
    for question in (
        lambda: attempt(kernel=Forgets()),
        lambda: jl.exact.law(Forgets(), jl.energies.quadratic(jnp.eye(2)), start, 3),
    ):
        with pytest.raises(TypeError, match=r"kernel: its step is to return a pair, .* Recorded"):
            question()


def test_a_state_without_a_position_is_refused():
    class Bare(NoiseRecorder):
        def init(self, energy, position, noise):
            return position

    class Elsewhere(NoiseRecorder):
        def init(self, energy, position, noise):
            return Recorded(jnp.concatenate([position, position]))

    start = jl.Gaussian(jnp.zeros(2), jnp.eye(2))
    for kernel, error, message in (
        (Bare(), TypeError, r"kernel: its state needs a member `position`.* returned float32\[2\]"),
        (
            Elsewhere(),
            ValueError,
            r"kernel: expected float32\[2\], like the position that init was",
        ),
    ):
        with pytest.raises(error, match=message):
            attempt(kernel=kernel)
        with pytest.raises(error, match=message):
            jl.exact.law(kernel, jl.energies.quadratic(jnp.eye(2)), start, 3)


def test_noise_that_is_no_want_is_refused():
    class Worded(NoiseRecorder):
        step_noise = "normal"

    with pytest.raises(TypeError, match=r"made of jlangevin.noise.Want, .* got 'normal'"):
        attempt(kernel=Worded())


def test_errors_of_a_kernel_and_of_an_energy_say_what_these_were_given():
    class Silent(NoiseRecorder):
        step_noise = None

        def step(self, energy, state, noise):
            return Recorded(state.position + 2 * noise), jl.Info()

    with pytest.raises(TypeError, match="unsupported operand") as caught:
        attempt(kernel=Silent())
    note = "jlangevin: raised by the kernel's step, given state and noise "
    assert f"{note}(Recorded(position=float32[2]), None)" in caught.value.__notes__
    with pytest.raises(TypeError) as caught:
        attempt(energy=lambda x: jnp.dot(jnp.ones(3), x))
    note = "jlangevin: raised by the energy, given one position float32[2]"
    assert note in caught.value.__notes__


def test_chains_that_never_move_are_reported():
    """MALA with a step a million times too large; and once more with too few steps to tell."""
    energy, start = jl.energies.double_well(dim=2), np.ones((4, 2), "f")
    with pytest.warns(jl.StuckWarning, match="4 of 4 chains have hardly moved .* over 100 steps"):
        jl.sample(key(), energy, jl.mala(1e4), start, num_steps=100)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        jl.sample(key(), energy, jl.mala(1e4), start, num_steps=99)
        jl.sample(key(), energy, jl.mala(0.01), start, num_steps=100)


def test_a_run_is_shown_by_its_shapes():
    run = jl.sample(key(), jl.energies.double_well(), jl.mala(0.1), jnp.zeros((5, 1)), num_steps=7)
    shown = repr(run)
    assert "draws: float32[5, 7, 1]" in shown
    assert "steps: 7" in shown
    assert "divergent chains: 0" in shown
    assert "acceptance rate: " in shown
    traced = jax.eval_shape(lambda run: run, run)
    assert "draws: float32[5, 7, 1]" in repr(traced)


def test_an_object_that_can_be_neither_traced_nor_hashed_is_known_by_what_it_holds():
    @dataclasses.dataclass  # with ==, hence without a hash
    class Mutable:
        scale: float

        def __call__(self, x):
            return self.scale * jnp.sum(x)

    def value(energy):
        return attempt(energy=energy, kernel=jl.mala(0.1), num_steps=0).state.kernel.energy[0]

    energy = Mutable(1.0)
    once = value(energy)
    energy.scale = 2.0
    assert value(energy) == 2 * once


def test_lists_of_numbers_are_positions():
    energy, kernel, _ = setting()
    result = jl.sample(key(), energy, kernel, [[0.0, 1.0], [2.0, 3.0]], num_steps=1)
    assert result.draws.shape == (2, 1, 2)


def test_resume_wants_a_state():
    energy, kernel, _ = setting()
    with pytest.raises(TypeError, match=r"state: .*pass run\.state"):
        jl.resume(run(), energy, kernel, num_steps=1)


@pytest.mark.parametrize(
    ("first", "then"), [(jl.ula(0.1), jl.mala(0.1)), (jl.mala(0.1), jl.ula(0.1))]
)
def test_a_kernel_that_did_not_make_the_state_is_refused_on_resuming(first, then):
    energy = jl.energies.double_well(dim=2)
    state = jl.sample(key(), energy, first, jnp.zeros((3, 2)), num_steps=1).state
    with pytest.raises(ValueError, match=r"state: .* pass the kernel that made the state"):
        jl.resume(state, energy, then, num_steps=1)


def test_an_energy_that_is_not_a_scalar_is_refused_on_resuming():
    state = jl.sample(key(), flat, jl.ula(0.1), jnp.zeros((3, 2)), num_steps=1).state
    with pytest.raises(ValueError, match=r"energy: expected a scalar.*\(2,\)"):
        jl.resume(state, lambda x: x, jl.ula(0.1), num_steps=1)


def test_a_streams_end_is_refused_on_resuming():
    energy, kernel, _ = setting()
    state = run().state._replace(step=jnp.int32(jl.noise.MAX_STEPS - 5))
    with pytest.raises(ValueError, match="2147483642 are used up"):
        jl.resume(state, energy, kernel, num_steps=6)
