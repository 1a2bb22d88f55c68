"""The bound on the distance to stationarity, against distances that are known."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

import jlangevin as jl
from jlangevin.diagnostics import meeting_times, total_variation_bound

pytestmark = pytest.mark.slow

NUM_PAIRS = 4_000


def ceiling(bound):
    """What the bound is below, with a false alarm of 1e-6: the estimate, 5 standard errors, and
    -log(1e-6)/n for what no pair shows."""
    return bound.value + 5 * bound.mcse + 14 / NUM_PAIRS


def taus(kernel, energy, start, lag, num_steps):
    run = jl.sample(
        jax.random.key(0),
        energy,
        jl.coupled(kernel, lag),
        start,
        num_steps=num_steps,
        num_chains=NUM_PAIRS,
        observe=None,
    )
    return meeting_times(run.state.kernel)


def gaussians_apart(mean, var, settled_mean, settled_var):
    """TV between normals in one dimension, by quadrature."""
    x = np.linspace(-40, 40, 80_001)
    p = stats.norm.pdf(x, mean, var**0.5)
    q = stats.norm.pdf(x, settled_mean, settled_var**0.5)
    return np.sum(np.abs(p - q)) * (x[1] - x[0]) / 2


def ula_setting():
    energy, kernel = jl.energies.quadratic([[1.5]], mean=[1.0]), jl.ula(0.1, temperature=2.0)
    return energy, kernel, jl.Gaussian(jnp.array([8.0]), 0.01 * jnp.eye(1))


def ula_distances(times):
    energy, kernel, start = ula_setting()
    settled = jl.exact.stationary(kernel, energy, jnp.zeros(1))
    laws = [jl.exact.law(kernel, energy, start, int(t)) for t in times]
    return np.array(
        [
            gaussians_apart(
                *(float(v) for law in (p, settled) for v in (law.mean[0], law.cov[0, 0]))
            )
            for p in laws
        ]
    )


@pytest.mark.parametrize("lag", [1, 40])
def test_the_bound_holds_for_ula_and_says_something(lag):
    energy, kernel, start = ula_setting()
    times = np.arange(0, 60, 4)
    exact = ula_distances(times)
    tau = taus(kernel, energy, start, lag, 300)
    bound = total_variation_bound(tau, lag, times)
    assert np.all(ceiling(bound) >= exact)
    assert exact[0] > 0.95
    if lag == 40:  # a bound that is worth something: within 3 of the distance, and it falls
        assert np.all(bound.value < 1.01)
        assert np.all(bound.value[exact > 0.01] < 3 * exact[exact > 0.01] + 0.1)
        assert bound.value[-1] < 0.02
    # Subtracting another lag does not give a bound.
    wrong = np.maximum(np.ceil((np.asarray(tau)[:, None] - 2 * lag - times - 5) / lag), 0).mean(0)
    assert lag == 1 or np.any(wrong + 0.05 < exact)


def mala_distances(energy, kernel, start, num_steps):
    """TV to p after 0 … num_steps steps, by a transition matrix over a grid."""
    x = np.linspace(-4.5, 4.5, 601)
    width = x[1] - x[0]
    eta, t = float(kernel.step_size), float(kernel.temperature)
    e, g = (
        np.float64(jax.vmap(f)(jnp.asarray(x)[:, None])).reshape(-1)
        for f in (energy, jax.grad(energy))
    )
    q = stats.norm.pdf(x[None], (x - eta * g)[:, None], np.sqrt(2 * eta * t))
    target = np.exp(-(e - e.min()) / t)
    target /= target.sum() * width
    with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
        ratio = (target[None] * q.T) / (target[:, None] * q)
    flow = q * np.minimum(1, np.nan_to_num(ratio, nan=0.0)) * width
    rejected = 1 - flow.sum(1)
    law = stats.norm.pdf(x, float(start.mean[0]), float(start.cov[0, 0]) ** 0.5)
    apart = []
    for _ in range(num_steps + 1):
        apart.append(np.abs(law - target).sum() * width / 2)
        law = law @ flow + law * rejected
    return np.array(apart)


def test_the_bound_holds_for_mala_on_two_wells():
    energy, kernel = jl.energies.double_well(1.5), jl.mala(0.15)
    start, lag = jl.Gaussian(jnp.array([1.0]), 0.05 * jnp.eye(1)), 60
    exact = mala_distances(energy, kernel, start, 120)
    assert exact[0] > 0.5
    assert exact[-1] < 0.05  # the grid's law comes to rest at p
    times = np.arange(0, 121, 5)
    bound = total_variation_bound(taus(kernel, energy, start, lag, 1_500), lag, times)
    assert np.all(ceiling(bound) >= exact[times])
    assert bound.value[-1] < 0.3


def test_a_chain_that_starts_in_its_law_has_a_bound_all_the_same():
    """The bound cannot fall below 0, and says nothing wrong."""
    energy, kernel, _ = ula_setting()
    settled = jl.exact.stationary(kernel, energy, jnp.zeros(1))
    tau = taus(kernel, energy, settled, 10, 300)
    assert np.all(total_variation_bound(tau, 10, 0).value >= 0)


# The formula ------------------------------------------------------------------------------------


def test_the_bound_is_the_papers_mean(dtype):
    lag, tau = 7, np.array([8, 14, 15, 22, 90, 100])
    times = np.arange(12).reshape(3, 4) * 9
    bound = total_variation_bound(tau, lag, times)
    terms = np.maximum(np.ceil((tau[:, None, None] - lag - times) / lag), 0)
    np.testing.assert_allclose(bound.value, terms.mean(0), rtol=1e-6)
    np.testing.assert_allclose(bound.mcse, terms.std(0, ddof=1) / 6**0.5, rtol=1e-5, atol=1e-7)
    assert bound.value.dtype == dtype
    assert total_variation_bound(tau, lag, 5).value.shape == ()


def test_pairs_that_have_not_met_are_never_left_out():
    energy, kernel, start = ula_setting()
    run = jl.sample(
        jax.random.key(0), energy, jl.coupled(kernel, 5), start, num_steps=8, num_chains=50
    )
    late = int(np.sum(np.asarray(run.state.kernel.meeting_time) < 0))
    assert 0 < late < 50
    with pytest.raises(ValueError, match=rf"{late} of 50 pairs have not met after 8 steps.*resume"):
        meeting_times(run.state.kernel)
    with pytest.raises(ValueError, match="pairs that have not met have -1"):
        total_variation_bound(run.state.kernel.meeting_time, 5, [0])
    traced = jax.jit(lambda s: total_variation_bound(meeting_times(s), 5, jnp.arange(2)))
    assert np.all(np.isnan(traced(run.state.kernel).value))
    more = jl.resume(run.state, energy, jl.coupled(kernel, 5), num_steps=200)
    assert np.all(meeting_times(more.state.kernel) > 5)


def test_a_lag_forgotten_by_the_kernel_is_noticed():
    """Without it both chains are the same, and meet at once."""
    energy, kernel, start = ula_setting()
    pair = jl.kernels.Coupled(kernel, jnp.int32(0), "reflection")
    run = jl.sample(jax.random.key(0), energy, pair, start, num_steps=8, num_chains=50)
    with pytest.raises(ValueError, match="expected times above the lag 5, got 1"):
        total_variation_bound(meeting_times(run.state.kernel), 5, [0])


def test_bad_arguments_are_refused():
    state = jl.ula(0.1).init(None, jnp.zeros(2), None)
    with pytest.raises(TypeError, match=r"run of jlangevin\.coupled, got PositionState"):
        meeting_times(state)
    tau = jnp.array([8, 9])
    with pytest.raises(TypeError, match="meeting_times: expected whole numbers"):
        total_variation_bound([8.0, 9.0], 5, [0])
    with pytest.raises(TypeError, match="times: expected whole numbers"):
        total_variation_bound(tau, 5, [0.5])
    with pytest.raises(ValueError, match="two pairs or more"):
        total_variation_bound(tau[:1], 5, [0])
    with pytest.raises(ValueError, match="0 or more, got -1"):
        total_variation_bound(tau, 5, [-1])
    with pytest.raises(ValueError, match="lag: expected at least 1"):
        total_variation_bound(tau, 0, [0])
