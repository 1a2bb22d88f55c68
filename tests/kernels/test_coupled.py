"""Coupled chains are each a chain of the kernel, meet as often as any two can, and stay
together."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import integrate, stats

import jlangevin as jl
from jlangevin.kernels import CoupledState
from jlangevin.kernels.coupled import reflect

pytestmark = pytest.mark.slow

P = [[0.5, 0.2], [0.2, 0.9]]
ETA, TEMPERATURE = 0.4, 2.0
NUM_CHAINS = 20_000
ALARM = 1e-6

KERNELS = {
    "ula": lambda: jl.ula(ETA, temperature=TEMPERATURE),
    "ula, diagonal": lambda: jl.ula(
        ETA, temperature=TEMPERATURE, preconditioner=jnp.array([0.5, 1.5])
    ),
    "ula, dense": lambda: jl.ula(ETA, temperature=TEMPERATURE, preconditioner=jnp.array(P)),
    "mala": lambda: jl.mala(ETA, temperature=TEMPERATURE),
    "mala, dense": lambda: jl.mala(ETA, temperature=TEMPERATURE, preconditioner=jnp.array(P)),
}


def bowl():
    return jl.energies.quadratic([[1.0, 0.6], [0.6, 2.0]], mean=[1.0, -2.0])


def start():
    return jl.Gaussian(jnp.array([3.0, 1.0]), jnp.array([[2.0, -0.5], [-0.5, 1.0]]))


def run(kernel, energy, law, num_steps, num_chains=NUM_CHAINS, **options):
    return jl.sample(
        jax.random.key(0),
        energy,
        kernel,
        law,
        num_steps=num_steps,
        num_chains=num_chains,
        **options,
    )


def one_step(kernel, energy, x, y, num_chains=NUM_CHAINS):
    """From x and y, after the lag, with the noise of many chains."""
    here, there = (kernel.kernel.init(energy, position, None) for position in (x, y))
    state = CoupledState(here, there, kernel.lag, jnp.int32(-1))

    @jax.jit
    def noise(key):
        return jl.noise.at_step(jl.noise.streams(key, jnp.arange(num_chains)), kernel.step_noise, x)

    made = noise(jax.random.key(0))
    return jax.jit(jax.vmap(lambda z: kernel.step(energy, state, z)[0], in_axes=-1))(made)


def assert_frequency(met, probability):
    """Right with a false alarm of 1e-6; 20,000 trials find, 99 times in 100, an error of 0.026."""
    test = stats.binomtest(int(np.sum(met)), len(met), probability)
    assert test.pvalue > ALARM, (np.mean(met), probability)


# Noise ------------------------------------------------------------------------------------------


reflected = jax.vmap(reflect, in_axes=(0, None, 0))


@pytest.mark.parametrize("size", [0.0, 1.0])
@pytest.mark.parametrize("dim", [1, 5])
def test_reflected_normals_are_normal_and_meet_as_often_as_can_be(size, dim, x64):
    key_xi, key_u = jax.random.split(jax.random.key(0))
    xi = jax.random.normal(key_xi, (NUM_CHAINS, dim))
    uniform = jax.random.uniform(key_u, (NUM_CHAINS,))
    direction = np.arange(1, dim + 1) / np.linalg.norm(np.arange(1, dim + 1))
    z = jnp.asarray(size * direction)
    other, same = reflected(xi, z, uniform)
    jl.verify.assert_law(other, jl.Gaussian(jnp.zeros(dim), jnp.eye(dim)))
    assert_frequency(same, 2 * stats.norm.cdf(-size / 2))
    xi, z, same = np.asarray(xi), np.asarray(z), np.asarray(same)
    expected = np.where(same[:, None], xi + z, xi - 2 * np.outer(xi @ direction, direction))
    np.testing.assert_allclose(other, expected, atol=1e-12)


def test_a_gap_is_taken_over_all_leaves_of_a_position():
    key_xi, key_u = jax.random.split(jax.random.key(0))
    flat = jax.random.normal(key_xi, (NUM_CHAINS, 3))
    uniform = jax.random.uniform(key_u, (NUM_CHAINS,))
    z = jnp.array([0.5, -1.0, 0.25])
    split = reflected({"a": flat[:, 0], "b": flat[:, 1:]}, {"a": z[0], "b": z[1:]}, uniform)
    whole = reflected(flat, z, uniform)
    joined = jnp.concatenate([split[0]["a"][:, None], split[0]["b"]], axis=1)
    np.testing.assert_array_equal(split[1], whole[1])
    np.testing.assert_allclose(joined, whole[0], atol=1e-5)


@pytest.mark.parametrize("size", [1e-30, 1e30])
def test_gaps_whose_square_is_not_a_float_are_harmless(size):
    xi = jnp.array([0.5, -1.0], jnp.float32)
    other, same = reflect(xi, jnp.full(2, size, jnp.float32), jnp.float32(0.5))
    assert bool(same) == (size < 1)
    assert jnp.all(jnp.isfinite(other))


# One step ---------------------------------------------------------------------------------------


def whitened_gap(kernel, energy, x, y):
    """L⁻¹(m - m')/σ by NumPy."""
    p = kernel.preconditioner
    root = np.eye(2) if p is None else np.stack([p.factor(e) for e in jnp.eye(2)], axis=1)
    shrunk = np.eye(2) - ETA * root @ root.T @ np.asarray(energy.precision)
    return np.linalg.solve(root, shrunk @ (x - y)) / np.sqrt(2 * ETA * TEMPERATURE)


X, Y = np.array([1.5, -1.0]), np.array([0.2, -1.6])


@pytest.mark.parametrize("name", ["ula", "ula, diagonal", "ula, dense"])
def test_ula_meets_in_one_step_as_often_as_any_coupling_can(name):
    """1 - TV of the proposals, which is 2Φ(-|z|/2); and the lagging chain's step has its law."""
    energy, kernel = bowl(), KERNELS[name]()
    pair = jl.coupled(kernel, 1)
    after = one_step(pair, energy, jnp.array(X), jnp.array(Y))
    size = np.linalg.norm(whitened_gap(kernel, energy, X, Y))
    assert 0.1 < 2 * stats.norm.cdf(-size / 2) < 0.9
    met = np.asarray(after.meeting_time) == 2
    assert_frequency(met, 2 * stats.norm.cdf(-size / 2))
    np.testing.assert_array_equal(
        met, np.all(np.equal(after.leading.position, after.lagging.position), 1)
    )
    for chain, x in ((after.leading, X), (after.lagging, Y)):
        point = jl.Gaussian(jnp.array(x), jnp.zeros((2, 2)))
        jl.verify.assert_law(chain.position, jl.exact.law(kernel, energy, point, 1))


def test_mala_meets_where_one_proposal_is_accepted_by_both():
    """∫ min(q, q') min(a, a'), by quadrature, on a quadratic in one dimension."""
    precision, eta, x, y = 1.5, 0.6, 2.5, -1.5
    energy, kernel = jl.energies.quadratic([[precision]]), jl.mala(eta, temperature=TEMPERATURE)
    pair = jl.coupled(kernel, 1)
    after = one_step(pair, energy, jnp.array([x]), jnp.array([y]), 4 * NUM_CHAINS)

    def density(w):
        sd = np.sqrt(2 * eta * TEMPERATURE)
        q = [stats.norm.pdf(w, (1 - eta * precision) * v, sd) for v in (x, y)]
        log_ratio = [-eta / (4 * TEMPERATURE) * precision**2 * (w * w - v * v) for v in (x, y)]
        return min(q) * np.exp(min(0.0, *log_ratio))

    probability, _ = integrate.quad(density, -15, 15, limit=200)
    assert 0.2 < probability < 0.85
    assert_frequency(after.meeting_time == 2, probability)


def never_one(xi, gap, uniform):
    return reflect(xi, gap, jnp.ones_like(uniform) * 2)[0], jnp.zeros((), bool)


def always_one(xi, gap, uniform):
    return xi + gap, jnp.ones((), bool)


def regardless_of_the_density(xi, gap, uniform):
    likely = 2 * jax.scipy.stats.norm.cdf(-jnp.linalg.norm(gap) / 2)
    same = uniform < likely
    return reflect(xi, gap, jnp.where(same, jnp.finfo(xi.dtype).tiny, 2))[0], same


def shifted_else_common(xi, gap, uniform):
    other, same = reflect(xi, gap, uniform)
    return jnp.where(same, other, xi), same


def wrong_way(xi, gap, uniform):
    return reflect(xi, -gap, uniform)


def half_the_gap(xi, gap, uniform):
    return reflect(xi, gap / 2, uniform)


MUTANTS = {
    "never one proposal": (never_one, "meets"),
    "always one proposal": (always_one, "law"),
    "one proposal regardless of its density": (regardless_of_the_density, "law"),
    "no reflection of the rest": (shifted_else_common, "law"),
    "gap of the wrong sign": (wrong_way, "law"),
    "gap not in units of the noise": (half_the_gap, "law"),
}


@pytest.mark.parametrize("name", MUTANTS)
def test_a_wrong_coupling_is_rejected(name, monkeypatch):
    mutant, seen_by = MUTANTS[name]
    monkeypatch.setitem(jl.kernels.Coupled.step.__globals__, "reflect", mutant)
    energy, kernel = bowl(), KERNELS["ula"]()
    after = one_step(jl.coupled(kernel, 1), energy, jnp.array(X), jnp.array(Y))
    if seen_by == "meets":
        size = np.linalg.norm(whitened_gap(kernel, energy, X, Y))
        with pytest.raises(AssertionError):
            assert_frequency(after.meeting_time == 2, 2 * stats.norm.cdf(-size / 2))
    else:
        point = jl.Gaussian(jnp.array(Y), jnp.zeros((2, 2)))
        law = jl.exact.law(kernel, energy, point, 1)
        assert not jl.verify.compare(after.lagging.position, law).passed


# Many steps -------------------------------------------------------------------------------------


def test_the_leading_chain_is_the_kernels_own():
    """To the last bit under the driver too; `test_nesting` compares the steps of every kernel."""
    energy, kernel = jl.energies.double_well(dim=2), jl.mala(0.02, temperature=TEMPERATURE)
    alone = run(kernel, energy, start(), 40, 50)
    pair = run(jl.coupled(kernel, 5), energy, start(), 40, 50)
    chex.assert_trees_all_equal(pair.draws, alone.draws)
    chex.assert_trees_all_equal(pair.info, alone.info)


@pytest.mark.parametrize(("name", "how"), [("ula, dense", "reflection"), ("ula", "common")])
def test_the_lagging_chain_has_the_exact_law_of_fewer_steps(name, how):
    """At N = 9 and L = 3 most pairs have met under "reflection", but not all."""
    kernel = KERNELS[name]()
    after = run(jl.coupled(kernel, 3, how=how), bowl(), start(), 9, observe=None).state.kernel
    for chain, steps in ((after.leading, 9), (after.lagging, 6)):
        jl.verify.assert_law(chain.position, jl.exact.law(kernel, bowl(), start(), steps))
    met = np.mean(after.meeting_time >= 0)
    assert 0.1 < met < 0.99 if how == "reflection" else met == 0


def test_both_chains_of_mala_keep_the_target():
    energy = bowl()
    law = jl.Gaussian(energy.center, TEMPERATURE * np.linalg.inv(energy.precision))
    after = run(jl.coupled(KERNELS["mala, dense"](), 3), bowl(), law, 9, observe=None).state.kernel
    for chain in (after.leading, after.lagging):
        jl.verify.assert_law(chain.position, law)
    assert 0.1 < np.mean(after.meeting_time >= 0) < 0.99


@functools.cache
def watched(name, lag=4, num_steps=30):
    """All states of 100 pairs."""
    pair = jl.coupled(KERNELS[name](), lag)
    return run(pair, bowl(), start(), num_steps, 100, observe=lambda state: state).draws


@pytest.mark.parametrize("name", ["ula", "mala, dense"])
def test_chains_that_met_stay_together_to_the_last_bit(name):
    lag, num_steps, seen = 4, 30, watched(name)
    tau = np.asarray(seen.meeting_time[:, -1])
    assert np.sum(tau > 0) > 50
    assert np.all((tau > lag) | (tau == -1))
    together = jax.tree.map(lambda x, y: np.asarray(x == y), seen.leading, seen.lagging)
    together = np.stack(
        [np.reshape(leaf, (100, num_steps, -1)).all(-1) for leaf in jax.tree.leaves(together)]
    ).all(0)
    after = np.arange(1, num_steps + 1)
    expected = (tau[:, None] > 0) & (after >= tau[:, None])
    # Before that they may also be the same, where the first proposals were rejected.
    np.testing.assert_array_equal(together[:, lag:], expected[:, lag:])
    np.testing.assert_array_equal(seen.steps, np.broadcast_to(after, (100, num_steps)))


def test_before_the_lag_is_over_the_second_chain_waits():
    seen, first = watched("ula"), start().sample(jax.random.key(0), 100)
    for step in range(4):
        np.testing.assert_array_equal(seen.lagging.position[:, step], first)
    assert np.all(seen.lagging.position[:, 4] != first)


def test_common_noise_contracts_by_the_drift_exactly(x64):
    """On ½λx² the difference falls by 1 - ηλ at every step."""
    precision, eta, lag = 2.0, 0.1, 3
    energy, law = jl.energies.quadratic([[precision]]), jl.Gaussian(jnp.full(1, 4.0), jnp.eye(1))
    pair = jl.coupled(jl.ula(eta), lag, how="common")

    def difference(state):
        return state.leading.position - state.lagging.position

    seen = np.asarray(run(pair, energy, law, lag + 20, 50, observe=difference).draws[..., 0])
    powers = (1 - eta * precision) ** np.arange(21)
    expected = seen[:, lag - 1, None] * powers
    np.testing.assert_allclose(seen[:, lag - 1 :], expected, atol=1e-14)


def test_other_kernels_stay_together_under_common_noise():
    """That the first chain is the kernel's own, `test_nesting` checks for every kernel."""
    pair = jl.coupled(jl.underdamped(0.3, 1.0), 2, how="common")
    after = run(pair, bowl(), start(), 30, 100, observe=None).state.kernel
    apart = np.abs(np.asarray(after.leading.position) - np.asarray(after.lagging.position))
    assert 0 < apart.max() < 4


@pytest.mark.filterwarnings("ignore::jlangevin.StuckWarning")  # some start too far out to move
def test_no_result_depends_on_where_a_run_is_cut():
    energy, pair = jl.energies.double_well(dim=2), jl.coupled(jl.mala(0.1), 5)
    whole = run(pair, energy, start(), 120, 40, observe=None)
    first = run(pair, energy, start(), 50, 40, observe=None)
    second = jl.resume(first.state, energy, pair, num_steps=70, observe=None)
    chex.assert_trees_all_equal(whole.state.kernel, second.state.kernel)
    blocks = run(pair, energy, start(), 120, 40, observe=None, block_steps=30)
    chex.assert_trees_all_equal(whole.state.kernel, blocks.state.kernel)


@pytest.mark.filterwarnings("ignore::jlangevin.DivergenceWarning")
def test_a_pair_is_counted_where_one_chain_fails():
    """The second chain fails too, when it reaches the place where the first one failed."""
    ended = run(jl.coupled(jl.ula(3.0), 2), lambda x: jnp.sum(x**4), start(), 60, 10)
    assert np.all(ended.info.num_divergent == 1)
    with pytest.raises(ValueError, match="num_divergent"):
        jl.diagnostics.meeting_times(ended.state.kernel)


def test_another_lag_compiles_nothing():
    energy = bowl()
    chex.clear_trace_counter()

    @jax.jit
    @chex.assert_max_traces(1)
    def step(pair, state, noise):
        return pair.step(energy, state, noise)

    for lag in (2, 3):
        pair = jl.coupled(jl.ula(0.1), lag)
        step(pair, pair.init(energy, jnp.zeros(2), None), (jnp.ones(2), jnp.float32(0.5)))


def test_what_cannot_be_coupled_is_refused():
    with pytest.raises(TypeError, match="is not a kernel"):
        jl.coupled("ula", 1)
    with pytest.raises(TypeError, match=r'LeimkuhlerMatthews cannot be reflected.*how="common"'):
        jl.coupled(jl.leimkuhler_matthews(0.1), 1)
    with pytest.raises(TypeError, match="Tempered does depends on the number of steps done"):
        jl.coupled(jl.tempered(jl.ula(0.1), [1.0, 2.0]), 3, how="common")
    with pytest.raises(ValueError, match="schedule has no stationary law"):
        jl.coupled(jl.ula(lambda t: 0.1 / (1 + t)), 1)
    with pytest.raises(ValueError, match='how: expected "reflection" or "common"'):
        jl.coupled(jl.ula(0.1), 1, how="maximal")
    with pytest.raises(ValueError, match="lag: expected at least 1"):
        jl.coupled(jl.ula(0.1), 0)
    with pytest.raises(TypeError, match="lag: expected an integer"):
        jl.coupled(jl.ula(0.1), 1.5)
