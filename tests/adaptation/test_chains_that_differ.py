"""Warm-up of chains with energies, temperatures or step sizes of their own."""

import dataclasses
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial

import jlangevin as jl
from jlangevin.adaptation.ensemble import Ensemble

NUM_CHAINS = 64
CURVATURES = jnp.geomspace(1.0, 1e4, NUM_CHAINS)
CENTRES = jnp.linspace(-5.0, 5.0, NUM_CHAINS)
START = jnp.zeros((NUM_CHAINS, 2))
TARGET = 0.574

pytestmark = pytest.mark.slow


def bowl(curvature, centre, x):
    return 0.5 * curvature * jnp.sum((x - centre) ** 2)


def bowls(rows=slice(None)):
    return Partial(bowl, jl.each(CURVATURES[rows]), jl.each(CENTRES[rows]))


def warmed(rows=slice(None), *, kernel=None, **options):
    kernel = jl.mala(0.1) if kernel is None else kernel
    options = {"per_chain": True, "num_steps": 2_000, **options}
    return jl.warm_up(jax.random.key(0), bowls(rows), kernel, START[rows], **options)


def rates(kernel, state, energy=None):
    """Acceptance of each chain over 2,000 steps, known to about 0.015."""
    fresh = state._replace(tally=jax.tree.map(jnp.zeros_like, state.tally))
    fresh = fresh._replace(tally=fresh.tally._replace(first_bad_step=state.tally.first_bad_step))
    run = jl.resume(fresh, energy or bowls(), kernel, num_steps=2_000, observe=None)
    return np.asarray(run.info.acceptance_rate)


@pytest.fixture(scope="module")
def found():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", jl.WarmUpWarning)  # tests say whether it has settled
        return warmed()


def test_each_chain_reaches_the_target_at_its_own_step(found):
    """Step sizes fit curvatures of 1 to 1e4: by scaling, η λ is the same for all."""
    assert found.verdict.settled
    assert found.verdict.num_steps == 2_000
    assert np.abs(rates(found.kernel, found.state) - TARGET).max() < 0.1
    own = np.asarray(found.kernel.step_size.rows * CURVATURES)
    np.testing.assert_allclose(own, np.median(own), rtol=0.3)
    np.testing.assert_array_equal(found.verdict.step_size, found.kernel.step_size.rows)
    assert "of each chain from" in str(found)


@pytest.mark.filterwarnings("ignore::jlangevin.StuckWarning")
def test_one_step_for_all_cannot_and_says_so(found):
    with pytest.warns(jl.WarmUpWarning, match="chains hardly move .* pass per_chain=True"):
        pooled = warmed(per_chain=False, num_steps=1_000)
    assert jnp.shape(pooled.kernel.step_size) == ()
    assert np.abs(rates(pooled.kernel, pooled.state) - TARGET).max() > 0.4


@pytest.mark.filterwarnings("ignore::jlangevin.StuckWarning")
def test_steps_that_are_pooled_at_the_end_are_noticed(monkeypatch):
    """A slip: all chains keep the mean of their logarithms."""

    def keep(self):
        mean = np.mean(np.log(self.own_steps) + self.log_steps / len(self.looks))
        self.share(np.exp(mean))

    monkeypatch.setattr(Ensemble, "keep", keep)
    with pytest.warns(jl.WarmUpWarning, match=r"of 64 chains .* miss the target acceptance"):
        slipped = warmed()
    assert np.abs(rates(slipped.kernel, slipped.state) - TARGET).max() > 0.4


def test_what_a_chain_finds_depends_on_it_alone(found):
    few = np.array([7, 50])
    with pytest.warns(jl.WarmUpWarning, match="too few to tell"):
        alone = warmed(few, chains=few)
    np.testing.assert_allclose(
        alone.kernel.step_size.rows, found.kernel.step_size.rows[few], rtol=1e-4
    )
    np.testing.assert_allclose(
        alone.state.kernel.position, found.state.kernel.position[few], rtol=1e-4
    )


def test_what_was_found_runs_by_number_from_its_state_and_in_chunks(found, tmp_path):
    def run(rows=slice(None), chains=None, **options):
        kernel = dataclasses.replace(
            found.kernel, step_size=jl.each(found.kernel.step_size.rows[rows])
        )
        places = found.state.kernel.position[rows]
        options = {"num_steps": 8, **options}
        return jl.sample(jax.random.key(1), bowls(rows), kernel, places, chains=chains, **options)

    whole = run()
    few = np.array([40, 3])
    np.testing.assert_allclose(run(few, few).draws, whole.draws[few], rtol=1e-5, atol=1e-6)
    chunked = jl.sample_in_chunks(
        jax.random.key(1), bowls(), found.kernel, found.state.kernel.position,
        chunk_size=32, num_steps=8, keep=lambda run: run.position,
    )  # fmt: skip
    np.testing.assert_allclose(chunked.kept, whole.position, rtol=1e-5, atol=1e-6)
    pytest.importorskip("orbax.checkpoint")
    kept = run(checkpoint=tmp_path / "run")
    np.testing.assert_array_equal(kept.draws, whole.draws)


def test_steps_of_each_are_the_first_that_are_tried(found):
    """Right ones at once, so that fewer steps are enough than from one far too large."""
    again = warmed(kernel=jl.mala(found.kernel.step_size), per_chain=False, num_steps=800)
    assert again.verdict.settled
    first = np.asarray(found.kernel.step_size.rows)
    np.testing.assert_allclose(again.kernel.step_size.rows, first, rtol=0.3)
    np.testing.assert_allclose(again.step_sizes[0], np.median(first), rtol=0.8)


def test_small_posteriors_share_a_step_that_suits_them():
    """Means differ by many standard deviations: chains are not compared, and none is moved."""
    energy = Partial(bowl, jnp.float32(1.0), jl.each(20 * CENTRES))
    found = jl.warm_up(jax.random.key(0), energy, jl.mala(1e-3), START, num_steps=2_000)
    assert found.verdict.settled
    assert found.verdict.preconditioner == "as given"
    assert len(found.verdict.left_out) == 0
    assert np.abs(found.state.kernel.position - 20 * CENTRES[:, None]).max() < 6
    assert abs(float(rates(found.kernel, found.state, energy).mean()) - TARGET) < 0.05


def test_temperatures_of_each_share_a_preconditioner():
    """Of P ∝ Cov, T drops out: the Hessian's inverse, up to a factor that the step size takes."""
    energy = jl.energies.quadratic(jnp.diag(jnp.array([1.0, 100.0])))
    kernel = jl.mala(0.1, temperature=jl.each(jnp.geomspace(0.1, 10.0, NUM_CHAINS)))
    found = jl.warm_up(jax.random.key(0), energy, kernel, START)
    assert found.verdict.settled
    lower = np.asarray(found.kernel.preconditioner.lower, np.float64)
    shape = np.diag([1.0, 10.0]) @ lower
    assert np.linalg.cond(shape) < 1.3
    assert np.abs(rates(found.kernel, found.state, energy) - TARGET).max() < 0.1


@pytest.mark.parametrize(
    "kernel", [jl.malt(0.1, 1.0, 3), jl.microcanonical(0.1, 1.0)], ids=["malt", "microcanonical"]
)
def test_other_kernels_keep_steps_of_their_own(kernel):
    """These steps are times or lengths: from 1 to 1/100, as standard deviations are."""
    found = warmed(kernel=kernel)
    assert found.verdict.settled
    own = np.asarray(found.kernel.step_size.rows * CURVATURES**0.5)
    np.testing.assert_allclose(own, np.median(own), rtol=0.4)


def test_draws_of_a_law_are_those_of_each_energy():
    """Walls at different places; what is drawn again is drawn for the chain's own energy."""
    walls = jnp.linspace(-1.0, 1.0, NUM_CHAINS)

    def walled(wall, x):
        above = jnp.sum(x) - wall
        return jnp.where(above > 0, above - jnp.log(above), jnp.inf)

    energy, law = Partial(walled, jl.each(walls)), jl.starts.uniform(-2, 2, like=jnp.zeros(1))
    drawn = jl.starts.draw(jax.random.key(0), energy, law, NUM_CHAINS)
    assert jnp.all(drawn.positions[:, 0] > walls)
    assert 10 < drawn.redrawn.sum() < 54
    alone = jl.starts.draw(
        jax.random.key(0), Partial(walled, jl.each(walls[60:])), law, chains=[60, 61, 62, 63]
    )
    np.testing.assert_array_equal(alone.positions, drawn.positions[60:])


def test_a_log_density_of_each_is_still_recognised():
    energy = Partial(lambda a, x: -a * jnp.sum(x**2), jl.each(CURVATURES[::-1] / 1e4 + 1))
    with pytest.warns(jl.WarmUpWarning, match="is E minus the log density"):
        jl.warm_up(
            jax.random.key(0), energy, jl.mala(0.1), START + 1.0 + CENTRES[:, None], num_steps=400
        )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"precondition": "dense"}, 'precondition: "dense" would be learnt from all chains'),
        (
            {"kernel": jl.malt(0.1, 1.0, 2), "longest_trajectory": 4},
            "longest_trajectory: .* but their laws differ",
        ),
        ({"num_steps": 399}, "num_steps: expected at least 400"),
        ({"per_chain": "yes"}, "per_chain: expected"),
        (
            {"kernel": jl.mala(jl.each(jnp.ones(3)))},
            "each has 3 rows, but the run has 64 chains",
        ),
    ],
)
def test_what_cannot_be_found_for_chains_that_differ_is_refused(options, message):
    with pytest.raises((ValueError, TypeError), match=message):
        warmed(**options)
