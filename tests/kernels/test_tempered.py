"""Parallel tempering: its swaps by hand, the law of every replica, and what it is for.

A product of laws, one for each temperature, must stay as it is. Replicas start from exact draws of
it. After some steps `verify` compares all of them together with N(0, S), at its false-alarm rate of
1e-6. With 20,000 chains it finds, with probability 0.99, a shift of 0.06 standard deviations or a
variance off by 8%. Swaps are frequent, and kernels with one thing wrong are rejected.
"""

import dataclasses
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special, stats

import jlangevin as jl
from jlangevin._core.trees import pytree_dataclass
from jlangevin.diagnostics import swap_report
from jlangevin.kernels import LeimkuhlerMatthews, Tempered, Underdamped
from jlangevin.noise import Want

pytestmark = pytest.mark.slow

NUM_CHAINS, NUM_STEPS = 20_000, 6
LADDER = (1.0, 1.7, 3.0, 5.0)
SIGMAS = 4.9  # a normal deviate is beyond with probability 1e-6


class Place(NamedTuple):
    position: Any


@pytree_dataclass
class Fresh:
    """Draws from N(0, T) again in each step: the law of E = x²/2, whatever was swapped."""

    temperature: Any = 1.0

    init_noise = None
    step_noise = Want.NORMAL

    def init(self, energy, position, noise):
        return Place(position)

    def step(self, energy, state, noise):
        return Place(jnp.sqrt(self.temperature).astype(noise.dtype) * noise), jl.Info()

    def convert_state(self, energy, state, other):
        return state


def half_square(x):
    return jnp.sum(x**2) / 2


KERNELS = {
    "ula": lambda: jl.ula(0.3),
    "tamed": lambda: jl.tamed_ula(0.3),
    "leimkuhler_matthews": lambda: jl.leimkuhler_matthews(0.3),
    "underdamped": lambda: jl.underdamped(0.8, 0.7, mass=2.0),
    "mala": lambda: jl.mala(0.6),
    "barker": lambda: jl.barker(0.5),
    "malt": lambda: jl.malt(0.8, 1.0, 2),
    "adjusted_microcanonical": lambda: jl.adjusted_microcanonical(0.8, 2),
}

# A step by hand -----------------------------------------------------------------------------


def by_hand(draws, uniforms, ladder):
    """Swaps, labels, mean rates and round trips, in plain Python. Replica k began at T_k."""
    number = len(ladder)
    at = list(range(number))
    history = {k: [] for k in range(number)}  # the ends that each replica has been at, in turn
    history[0].append("cold")
    rates = [[] for _ in range(number - 1)]
    cold = []
    for step, (x, u) in enumerate(zip(draws, uniforms, strict=True)):
        x = [float(np.sqrt(t) * value) for t, value in zip(ladder, x, strict=True)]
        for i in range(step % 2, number - 1, 2):
            gap = 1 / ladder[i] - 1 / ladder[i + 1]
            rate = min(1.0, np.exp(gap * (x[i] ** 2 - x[i + 1] ** 2) / 2))
            rates[i].append(rate)
            if u[i // 2] < rate:
                x[i], x[i + 1] = x[i + 1], x[i]
                at[i], at[i + 1] = at[i + 1], at[i]
        cold.append(x[0])
        for end, name in ((at[0], "cold"), (at[-1], "hot")):
            if not history[end] or history[end][-1] != name:
                history[end].append(name)
    trips = sum(
        max(visits[visits.index("cold") :].count("cold") - 1, 0)
        for visits in history.values()
        if "cold" in visits
    )
    return cold, at, [np.mean(r) for r in rates], trips


def walked(kernel, num_steps, seed, dtype):
    """Positions of the cold replica, the last state, and the noise that made them."""
    number = len(kernel.temperatures)
    rng = np.random.default_rng(seed)
    draws = rng.normal(size=(num_steps, number))
    uniforms = rng.uniform(size=(num_steps, number // 2))

    def step(state, noise):
        xi, u = noise
        state, _ = kernel.step(half_square, state, (xi[None], u))
        return state, state.position[0]

    start = kernel.init(half_square, jnp.zeros(1, dtype), None)
    noise = (jnp.asarray(draws, dtype), jnp.asarray(uniforms, dtype))
    return jax.lax.scan(step, start, noise), draws, uniforms


@pytest.mark.parametrize("number", [2, 3, 4, 5])
def test_swaps_labels_rates_and_round_trips_are_those_of_a_replay(number, x64):
    ladder = tuple(1.3**k for k in range(number))
    kernel = jl.tempered(Fresh(), ladder)
    (state, cold), *noise = walked(kernel, 400, number, jnp.float64)
    expected, at, rates, trips = by_hand(*noise, ladder)
    np.testing.assert_allclose(cold, expected, rtol=1e-12)
    np.testing.assert_array_equal(state.replica, at)
    np.testing.assert_allclose(state.acceptance, rates, rtol=1e-12)
    assert int(state.round_trips) == trips
    assert trips > 10


def test_with_the_same_pairs_again_and_again_nothing_travels(x64):
    """The mutant that the replay is there for: laws do not show a wrong alternation."""

    class Still(Tempered):
        def step(self, energy, state, noise):
            moved, info = super().step(energy, state._replace(steps=state.steps * 0), noise)
            return moved._replace(steps=state.steps + 1), info

    ladder = (1.0, 1.3, 1.69)
    (state, _), *noise = walked(Still(Fresh(), jnp.array(ladder), None), 400, 3, jnp.float64)
    assert int(state.round_trips) == 0 != by_hand(*noise, ladder)[3]


def test_a_swap_is_in_detailed_balance_and_a_function_of_its_uniform(x64):
    """p_1(x) p_2(y) a(x, y) is symmetric on a grid; a uniform below a swaps, one above does not."""
    energy, (cold, hot) = jl.energies.double_well(), (1.0, 2.5)
    kernel = jl.tempered(jl.mala(1e-12), (cold, hot))
    grid = jnp.linspace(-1.7, 1.7, 18)

    def step(x, y, u):
        start = kernel.init(energy, jnp.zeros(1), None)
        pair = jnp.stack([x, y])[None]
        value, slope = jax.vmap(jax.value_and_grad(energy), -1, -1)(pair)
        state = start._replace(states=start.states._replace(
            position=pair, energy=value, gradient=slope))  # fmt: skip
        inner = (jnp.zeros((1, 2)), jnp.zeros(2))
        return kernel.step(energy, state, (inner, u[None]))[0]

    def flow(x, y):
        rate = step(x, y, jnp.array(0.5)).acceptance[0]
        low, high = (step(x, y, rate + d) for d in (-1e-3, 1e-3))
        weight = jnp.exp(-energy(x[None]) / cold - energy(y[None]) / hot)
        return weight * rate, low.states.position[0], high.states.position[0], rate

    flows, low, high, rates = jax.jit(jax.vmap(jax.vmap(flow, (None, 0)), (0, None)))(grid, grid)
    np.testing.assert_allclose(flows, flows.T, rtol=1e-10)
    x, y = (np.asarray(a) for a in np.meshgrid(grid, grid, indexing="ij"))
    np.testing.assert_allclose(low, np.stack([y, x], -1), atol=1e-5)
    unsure = np.asarray(rates) < 1
    assert unsure.mean() > 0.3
    np.testing.assert_allclose(np.asarray(high)[unsure], np.stack([x, y], -1)[unsure], atol=1e-5)


@pytest.mark.parametrize("name", KERNELS)
def test_each_replica_takes_the_inner_kernels_step_at_its_temperature_and_step_size(name):
    energy = jl.energies.double_well(dim=2)

    def tree_energy(x):
        return energy(jnp.concatenate([x["a"], x["b"]]))

    kernel, sizes = KERNELS[name](), (0.1, 0.2, 0.3)
    ladder = (1.0, 2.0, 3.5)
    tempered = jl.tempered(kernel, ladder, step_sizes=sizes)
    x = {"a": jnp.array([0.3]), "b": jnp.array([-0.8])}
    streams = jl.noise.streams(jax.random.key(0), jnp.array(0))

    @jax.jit
    def both():
        """The states after a step without swaps, and what the inner kernel alone makes of it."""
        first = jl.noise.at_step(streams, tempered.init_noise, x, 0, jl.noise.Purpose.INIT)
        inner, uniforms = jl.noise.at_step(streams, tempered.step_noise, x)
        state = tempered.init(tree_energy, x, first)
        moved, _ = tempered.step(tree_energy, state, (inner, jnp.full_like(uniforms, 2)))
        alone = []
        for k in range(3):
            one = dataclasses.replace(kernel, temperature=ladder[k], step_size=sizes[k])
            begin, go = jax.tree.map(lambda leaf, k=k: leaf[..., k], (first, inner))
            alone.append(one.step(tree_energy, one.init(tree_energy, x, begin), go)[0])
        return moved, jax.tree.map(lambda *leaves: jnp.stack(leaves, -1), *alone)

    moved, alone = both()
    chex.assert_trees_all_close(moved.states, alone, rtol=2e-5, atol=1e-6)
    chex.assert_trees_all_equal(
        moved.position, jax.tree.map(lambda leaf: leaf[..., 0], moved.states.position)
    )


# The law of every replica -------------------------------------------------------------------

A = np.array([[1.0, 0.4], [0.4, 0.8]])
H, MASS, ETA = 1.0, 2.0, 0.8


def bowl():
    return jl.energies.quadratic(A)


def gone_on(energy, kernel, states, num_steps=NUM_STEPS):
    """A run from given states, leaves (chain, …, K)."""
    x = states.position
    begun = jl.sample(
        jax.random.key(1), energy, kernel, x[..., 0], num_steps=0, observe=None
    ).state  # fmt: skip
    chex.assert_trees_all_equal_shapes_and_dtypes(begun.kernel.states, states)
    begun = begun._replace(kernel=begun.kernel._replace(states=states, position=x[..., 0]))
    return jl.resume(begun, energy, kernel, num_steps=num_steps, observe=None)


def normals(cov, seed):
    """(chain, d, K), of covariance `cov` (d, d) times T."""
    rng = np.random.default_rng(seed)
    z = rng.normal(size=(NUM_CHAINS, len(LADDER), len(cov))) @ np.linalg.cholesky(cov).T
    return np.moveaxis(z * np.sqrt(LADDER)[:, None], 1, 2)


def report(leaf, cov):
    """The draws of all replicas together against N(0, cov x diag T)."""
    law = jl.Gaussian(jnp.zeros(len(cov) * len(LADDER)), jnp.array(np.kron(cov, np.diag(LADDER))))
    return jl.verify.compare(jnp.asarray(leaf).reshape(NUM_CHAINS, -1), law)


def metropolis_states(energy):
    x = jnp.asarray(normals(np.linalg.inv(A), 0), float)
    return looked_up(energy, x)


def looked_up(energy, x):
    """The states of kernels that accept or reject, at positions (chain, d, K)."""
    over = jax.jit(jax.vmap(jax.vmap(jax.value_and_grad(energy), -1, -1)))
    return jl.kernels.MetropolisState(x, *over(x))


def of_metropolis(kernel, energy=None):
    energy = bowl()
    return gone_on(energy, kernel, metropolis_states(energy))


def of_underdamped(kernel):
    x = jnp.asarray(normals(np.linalg.inv(A), 0), float)
    v = jnp.asarray(normals(settled_velocity(), 1), float)
    force = -jnp.einsum("ij,njk->nik", jnp.asarray(A, float), x) / MASS
    return gone_on(bowl(), kernel, jl.kernels.UnderdampedState(x, v, force))


def settled_velocity():
    """Of BAOAB on a quadratic energy: T/m (1 - h²A/(4m))."""
    return (np.eye(2) - H**2 * A / (4 * MASS)) / MASS


def of_leimkuhler_matthews(kernel):
    """ξ given x is N(sqrt(η/(2T)) Lᵀ A x, I - η Lᵀ A L/2), P = L Lᵀ."""
    lower = np.linalg.cholesky(P)
    x = normals(np.linalg.inv(A), 0)
    rest = normals(np.eye(2) - ETA / 2 * lower.T @ A @ lower, 1) / np.sqrt(LADDER)
    shift = np.sqrt(ETA / (2 * np.array(LADDER))) * np.einsum("ij,njk->nik", lower.T @ A, x)
    states = jl.kernels.LeimkuhlerMatthewsState(
        jnp.asarray(x, float), jnp.asarray(rest + shift, float)
    )
    return gone_on(bowl(), kernel, states)


P = np.array([[0.5, 0.2], [0.2, 0.9]])


def baoab():
    return jl.underdamped(H, 0.7, mass=MASS)


def travelled(run):
    """Enough swaps that a wrong one shows."""
    return bool(swap_report(run.state.kernel).acceptance.mean() > 0.4)


@pytest.mark.parametrize("name", ["mala", "malt"])
def test_kernels_that_accept_or_reject_keep_the_law_of_every_replica(name):
    """The others have a state of the same kind, and their steps are compared above."""
    run = of_metropolis(jl.tempered(KERNELS[name](), LADDER, step_sizes=(0.6, 0.7, 0.8, 0.9)))
    found = report(run.state.kernel.states.position, np.linalg.inv(A))
    assert found.passed, str(found)
    assert travelled(run)
    state = run.state.kernel
    np.testing.assert_array_equal(run.position, state.states.position[..., 0])
    expected = looked_up(bowl(), state.states.position)
    chex.assert_trees_all_close(expected, state.states, rtol=1e-3, atol=1e-5)
    assert run.info.acceptance_rate.shape == (NUM_CHAINS,)


def test_baoab_keeps_the_settled_law_of_positions_and_velocities():
    run = of_underdamped(jl.tempered(baoab(), LADDER))
    found = report(run.state.kernel.states.position, np.linalg.inv(A))
    assert found.passed, str(found)
    found = report(run.state.kernel.states.velocity, settled_velocity())
    assert found.passed, str(found)
    assert travelled(run)


def test_leimkuhler_and_matthews_keep_the_settled_law():
    kernel = jl.leimkuhler_matthews(ETA, preconditioner=jnp.array(P))
    run = of_leimkuhler_matthews(jl.tempered(kernel, LADDER))
    found = report(run.state.kernel.states.position, np.linalg.inv(A))
    assert found.passed, str(found)
    assert travelled(run)


MEANS, DEVIATIONS, WEIGHTS = np.array([-2.0, 2.0]), np.array([0.6, 0.9]), np.array([0.3, 0.7])
GRID = np.linspace(-30, 30, 60_001)


def modes():
    covs = (DEVIATIONS**2)[:, None, None]
    return jl.energies.gaussian_mixture(MEANS[:, None], covs, WEIGHTS)


def distributions():
    """On the grid the distribution function of p^(1/T), for each T."""
    density = stats.norm.pdf(GRID[:, None], MEANS, DEVIATIONS) @ WEIGHTS
    for t in LADDER:
        steps = np.concatenate(
            [[0.0], np.cumsum((density[1:] ** (1 / t) + density[:-1] ** (1 / t)) / 2)]
        )
        yield steps / steps[-1]


def test_two_modes_keep_the_law_at_every_temperature():
    """Drawn by inversion, and taken to normals by the same distribution functions."""
    energy = modes()
    u = np.random.default_rng(0).uniform(size=(len(LADDER), NUM_CHAINS))
    x = [np.interp(v, cdf, GRID) for v, cdf in zip(u, distributions(), strict=True)]
    x = jnp.asarray(np.stack(x, -1)[:, None], float)
    run = gone_on(energy, jl.tempered(jl.mala(0.4), LADDER), looked_up(energy, x))
    after = np.asarray(run.state.kernel.states.position, np.float64)[:, 0].T
    u = [np.interp(v, GRID, cdf) for v, cdf in zip(after, distributions(), strict=True)]
    z = special.ndtri(np.clip(np.stack(u, -1), 1e-12, 1 - 1e-12))
    jl.verify.assert_law(z, jl.Gaussian(jnp.zeros(4), jnp.eye(4)))
    assert travelled(run)


# Wrong kernels ------------------------------------------------------------------------------


SLIPS = ["none", "flipped", "not inverted", "always", "stale", "stale gradient"]


@pytree_dataclass
class Slipped(Tempered):
    """With the slip of this number, so that one program serves all."""

    slip: Any

    def _rate(self, energy, states):
        t = self.temperatures
        fall = states.energy[:-1] - states.energy[1:]
        flipped = super()._rate(energy, states._replace(energy=-states.energy))
        not_inverted = jnp.exp(jnp.minimum((t[1:] - t[:-1]) * fall, 0))
        rates = (super()._rate(energy, states), flipped, not_inverted, jnp.ones_like(fall))
        return jnp.stack(rates)[jnp.where(self.slip < 4, self.slip, 0)]

    def step(self, energy, state, noise):
        """Energies and gradients, or gradients alone, may stay where positions leave."""
        moved, info = super().step(energy, state, noise)
        without, _ = super().step(energy, state, (noise[0], jnp.full_like(noise[1], 2)))
        now, before = moved.states, without.states
        states = now._replace(
            energy=jnp.where(self.slip == 4, before.energy, now.energy),
            gradient=jnp.where(self.slip >= 4, before.gradient, now.gradient),
        )
        return moved._replace(states=states), info


@pytest.mark.parametrize("slip", SLIPS)
def test_a_wrong_swap_is_rejected_and_the_right_one_is_not(slip):
    number = jnp.int32(SLIPS.index(slip))
    run = of_metropolis(Slipped(jl.mala(0.6), jnp.array(LADDER), None, number))
    found = report(run.state.kernel.states.position, np.linalg.inv(A))
    assert found.passed == (slip == "none")


@pytree_dataclass
class Unscaled(Underdamped):
    def convert_state(self, energy, state, other):
        return state


@pytree_dataclass
class ScaledByT(Underdamped):
    def convert_state(self, energy, state, other):
        ratio = self.temperature / other.temperature
        return state._replace(velocity=state.velocity * ratio)


@pytree_dataclass
class Unshifted(LeimkuhlerMatthews):
    def convert_state(self, energy, state, other):
        return state


def fields(kernel):
    return {field.name: getattr(kernel, field.name) for field in dataclasses.fields(kernel)}


@pytest.mark.parametrize("mutant", [Unscaled, ScaledByT])
def test_velocities_that_are_not_rescaled_rightly_are_rejected(mutant):
    run = of_underdamped(jl.tempered(mutant(**fields(baoab())), LADDER))
    assert not report(run.state.kernel.states.velocity, settled_velocity()).passed


def test_a_carried_noise_that_is_not_shifted_is_rejected():
    kernel = Unshifted(**fields(jl.leimkuhler_matthews(ETA, preconditioner=jnp.array(P))))
    run = of_leimkuhler_matthews(jl.tempered(kernel, LADDER))
    assert not report(run.state.kernel.states.position, np.linalg.inv(A)).passed


# What is counted ----------------------------------------------------------------------------


def test_acceptance_and_round_trips_are_those_of_independent_energies():
    """On x²/2 in one dimension the swap of T < T' is accepted with the mean probability
    (4/π) arctan sqrt(T/T'), and with fresh draws there is a round trip in 2 + 2 Σ r/(1 - r) steps
    (Syed et al. 2022), counted from when all have been under way for a while."""
    kernel = jl.tempered(Fresh(), LADDER)
    first = jl.sample(
        jax.random.key(0), half_square, kernel, jnp.zeros((500, 1)), num_steps=500, observe=None
    )
    second = jl.resume(first.state, half_square, kernel, num_steps=1_000, observe=None)
    before, after = (swap_report(run.state.kernel) for run in (first, second))
    expected = 4 / np.pi * np.arctan(np.sqrt(np.array(LADDER[:-1]) / np.array(LADDER[1:])))
    rates = np.asarray(after.acceptance, np.float64)
    error = rates.std(0) / np.sqrt(len(rates))
    assert np.all(np.abs(rates.mean(0) - expected) < SIGMAS * error)
    np.testing.assert_allclose(after.barrier, np.sum(1 - rates.mean(0)), rtol=1e-5)
    trips = np.asarray(after.round_trips - before.round_trips, np.float64)
    odds = np.sum((1 - expected) / expected)
    assert abs(trips.mean() - 1_000 / (2 + 2 * odds)) < SIGMAS * trips.std() / np.sqrt(len(trips))


def test_temperatures_that_equalise():
    ladder = np.geomspace(1, 100, 5)
    np.testing.assert_allclose(jl.diagnostics.equalized(ladder, np.full(4, 0.3)), ladder, rtol=1e-5)
    uneven = np.array([1.0, 1.2, 2.0, 30.0, 100.0])

    def rates(t):
        return 4 / np.pi * np.arctan(np.sqrt(t[:-1] / t[1:]))

    for _ in range(4):
        uneven = jl.diagnostics.equalized(uneven, rates(uneven))
    np.testing.assert_allclose(uneven, ladder, rtol=0.02)
    chains = np.stack([rates(ladder) - 0.1, rates(ladder) + 0.1])
    more = jl.diagnostics.equalized(ladder, chains, 9)
    np.testing.assert_allclose(more, np.geomspace(1, 100, 9), rtol=1e-4)


# What it is for -----------------------------------------------------------------------------


def test_modes_that_one_temperature_does_not_cross_get_their_weights():
    """All chains begin in the mode of weight 0.2, twelve deviations from the other."""
    energy = jl.energies.gaussian_mixture([[-6.0], [6.0]], jnp.ones((2, 1, 1)), [0.2, 0.8])
    start = jnp.full((2_000, 1), -6.0)
    call = {"num_steps": 600, "observe": None}
    stuck = jl.sample(jax.random.key(0), energy, jl.mala(1.0), start, **call)
    assert jl.diagnostics.mode_occupancy(stuck.position, energy).fractions[1] < 1e-6
    kernel = jl.tempered(jl.mala(1.0), (1.0, 2.2, 5.0, 11.0, 25.0))
    run = jl.sample(jax.random.key(0), energy, kernel, start, **call)
    found = jl.diagnostics.mode_occupancy(run.position, energy)
    deviation = np.sqrt(0.2 * 0.8 / len(start))
    assert abs(float(found.fractions[1]) - 0.8) < SIGMAS * deviation
    assert swap_report(run.state.kernel).round_trips.min() > 0


# The driver ---------------------------------------------------------------------------------


def test_a_run_cut_in_two_is_the_whole_run():
    """Except for last bits: the energies that swaps look at may be rounded in two ways."""
    energy, kernel = (
        jl.energies.double_well(dim=2),
        jl.tempered(jl.leimkuhler_matthews(0.02), LADDER),
    )
    start, key = jnp.ones((50, 2)), jax.random.key(0)
    whole = jl.sample(key, energy, kernel, start, num_steps=30, observe=None)
    part = jl.sample(key, energy, kernel, start, num_steps=13, observe=None)
    rest = jl.resume(part.state, energy, kernel, num_steps=17, observe=None)
    chex.assert_trees_all_close(whole.state.kernel, rest.state.kernel, rtol=1e-4, atol=1e-5)
    for member in ("replica", "leg", "steps", "round_trips"):
        np.testing.assert_array_equal(*(getattr(r.state.kernel, member) for r in (whole, rest)))
    assert swap_report(whole.state.kernel).acceptance.mean() > 0.5


def test_other_temperatures_and_step_sizes_compile_nothing():
    traced = []

    def energy(x):
        traced.append(1)
        return half_square(x)

    def run(ladder, sizes):
        kernel = jl.tempered(jl.mala(0.1), ladder, step_sizes=sizes)
        jl.sample(jax.random.key(0), energy, kernel, jnp.ones((5, 2)), num_steps=4)
        return len(traced)

    assert run((1.0, 2.0), (0.1, 0.2)) == run((1.0, 3.0), (0.1, 0.3))


def test_step_sizes_may_be_scheduled():
    kernel = jl.tempered(jl.ula(lambda t: 0.1 / (1 + t.astype(float))), LADDER)
    run = jl.sample(jax.random.key(0), half_square, kernel, jnp.ones((5, 2)), num_steps=4)
    assert bool(jnp.isfinite(run.draws).all())


def test_a_value_that_is_not_a_number_is_not_swapped():
    """Two infinite energies have no difference."""
    kernel = jl.tempered(Fresh(), (1.0, 2.0))

    @jax.jit
    def step(noise):
        state = kernel.init(half_square, jnp.zeros(1), None)
        return kernel.step(lambda x: jnp.sum(x) + jnp.inf, state, noise)[0]

    moved = step((jnp.ones((1, 2)), jnp.zeros(1)))
    np.testing.assert_array_equal(moved.replica, [0, 1])
    np.testing.assert_array_equal(moved.acceptance, 0)


# Refusals -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "make",
    [
        lambda: jl.sgld(0.1, lambda key, x: x),
        lambda: jl.sghmc(0.1, 1.0, lambda key, x: x),
        lambda: jl.annealed([2.0, 1.0], 5, 0.1),
        lambda: jl.predictor_corrector([2.0, 1.0], 0.1),
        lambda: jl.gradient_noise(jl.ula(0.1), jnp.eye(1)),
        lambda: jl.tempered(jl.ula(0.1), LADDER),
    ],
)
def test_kernels_that_cannot_be_tempered_are_named(make):
    kernel = make()
    with pytest.raises(TypeError, match=f"kernel: {type(kernel).__name__} cannot be tempered"):
        jl.tempered(kernel, LADDER)


@pytest.mark.parametrize(
    ("ladder", "message"),
    [
        ([1.0], "at least two"),
        ([1.0, 3.0, 2.0], "expected them to rise"),
        ([1.0, 1.0], "expected them to rise"),
        ([0.0, 1.0], "above zero"),
        ([1.0, float("inf")], "finite"),
        ([[1.0, 2.0]], "1 dimension"),
        ([2.0, 3.0], "the first is 2.0 and the kernel's 1.0"),
    ],
)
def test_temperatures_that_do_not_form_a_ladder_are_refused(ladder, message):
    with pytest.raises(ValueError, match=f"temperatures: .*{message}"):
        jl.tempered(jl.mala(0.1), ladder)


def test_other_arguments_that_are_refused():
    with pytest.raises(ValueError, match="step_sizes: expected 4, one a temperature, got 2"):
        jl.tempered(jl.mala(0.1), LADDER, step_sizes=[0.1, 0.2])
    with pytest.raises(ValueError, match="step_sizes: expected values above zero"):
        jl.tempered(jl.mala(0.1), [1.0, 2.0], step_sizes=[0.1, 0.0])
    with pytest.raises(TypeError, match="step_sizes: Fresh has no step size"):
        jl.tempered(Fresh(), [1.0, 2.0], step_sizes=[0.1, 0.2])
    with pytest.raises(ValueError, match="kernel: its temperature is scheduled"):
        jl.tempered(jl.mala(0.1, temperature=lambda t: 1.0), LADDER)


def test_what_has_no_energy_is_refused_by_name():
    score = jl.scores.score(lambda x: -x)
    with pytest.raises(jl.NoEnergyError, match="only its score is known"):
        jl.sample(
            jax.random.key(0),
            score,
            jl.tempered(jl.ula(0.1), LADDER),
            jnp.ones((3, 2)),
            num_steps=2,
        )


def test_what_does_not_go_with_swaps_is_refused():
    kernel = jl.tempered(jl.ula(0.1), LADDER)
    with pytest.raises(TypeError, match="accepts or rejects by the energy's value"):
        jl.gradient_noise(kernel, jnp.eye(2))
    with pytest.raises(jl.NotAffineError):
        jl.exact.law(kernel, half_square, jl.Gaussian(jnp.zeros(2), jnp.eye(2)), 3)


def test_reports_of_other_states_and_of_too_few_steps_are_refused():
    run = jl.sample(jax.random.key(0), half_square, jl.ula(0.1), jnp.ones((3, 2)), num_steps=2)
    with pytest.raises(TypeError, match=r"state: expected run\.state.kernel of a tempered kernel"):
        swap_report(run.state.kernel)
    kernel = jl.tempered(jl.ula(0.1), LADDER)
    run = jl.sample(jax.random.key(0), half_square, kernel, jnp.ones((3, 2)), num_steps=1)
    with pytest.raises(ValueError, match="state: in fewer than two steps"):
        swap_report(run.state.kernel)


@pytest.mark.parametrize("rates", [[0.5], [0.5, 1.0], [0.5, -0.1], [0.5, float("nan")], 0.5])
def test_rates_that_say_nothing_are_refused(rates):
    with pytest.raises(ValueError, match="acceptance: expected"):
        jl.diagnostics.equalized([1.0, 2.0, 3.0], rates)


def test_kernels_inside_walls_can_be_tempered():
    """Uniform on [0, 1] at every temperature: every swap is accepted, and all stay inside."""
    kernel = jl.tempered(jl.reflected(0.01, jl.domains.box(0.0, 1.0)), [1.0, 2.0])
    run = jl.sample(
        jax.random.key(0), lambda x: 0.0 * jnp.sum(x), kernel, jnp.full((5, 1), 0.5), num_steps=20
    )
    assert jnp.all((run.draws >= 0) & (run.draws <= 1))
    assert jnp.allclose(swap_report(run.state.kernel).acceptance, 1.0)
