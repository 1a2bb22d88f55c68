"""Chains that differ: every chain sees its own row of what is marked by `each`."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial

import jlangevin as jl

NUM_CHAINS = 6
LABELS = jnp.array([0, 1, 2, 0, 1, 2])
MEANS = jnp.array([[-4.0, 0.0], [0.0, 4.0], [4.0, -4.0]])
ETAS = jnp.linspace(0.02, 0.12, NUM_CHAINS)
HEATS = jnp.linspace(0.5, 3.0, NUM_CHAINS)
START = jnp.ones((NUM_CHAINS, 2))


def conditional(means, label, x):
    return 0.5 * jnp.sum((x - means[label]) ** 2)


def energy(labels=LABELS):
    return Partial(conditional, MEANS, jl.each(labels))


KERNELS = {
    "ula": lambda eta, T: jl.ula(eta, temperature=T),
    "mala": lambda eta, T: jl.mala(eta, temperature=T),
    "underdamped": lambda eta, T: jl.underdamped(eta, 1.0, temperature=T),
    "malt": lambda eta, T: jl.malt(eta, 1.0, 2, temperature=T),
    "coupled": lambda eta, T: jl.coupled(jl.mala(eta, temperature=T), 2),
}


def sample(name, chains=None, labels=LABELS, etas=ETAS, heats=HEATS, **options):
    rows = slice(None) if chains is None else jnp.array(chains)
    kernel = KERNELS[name](jl.each(etas[rows]), jl.each(heats[rows]))
    options = {"num_steps": 9, "reducers": jl.reducers.moments(), **options}
    return jl.sample(
        jax.random.key(3), energy(labels[rows]), kernel, START[rows], chains=chains, **options
    )


@pytest.mark.slow
@pytest.mark.parametrize("name", KERNELS)
def test_a_chain_is_the_one_that_its_own_values_make(name):
    together = sample(name)
    for i in range(NUM_CHAINS):
        kernel = KERNELS[name](ETAS[i], HEATS[i])
        alone = jl.sample(
            jax.random.key(3),
            Partial(conditional, MEANS, LABELS[i]),
            kernel,
            START[i : i + 1],
            chains=[i],
            num_steps=9,
            reducers=jl.reducers.moments(),
        )
        for a, b in zip(
            jax.tree.leaves((together.draws, together.summary)),
            jax.tree.leaves((alone.draws, alone.summary)),
            strict=True,
        ):
            np.testing.assert_allclose(a[i], b[0], rtol=2e-5, atol=2e-5)


def test_a_chain_can_be_repeated_alone_with_its_own_row():
    np.testing.assert_allclose(
        sample("mala").draws[jnp.array([4, 1])], sample("mala", [4, 1]).draws, rtol=1e-5
    )


def test_other_values_compile_nothing():
    sample("mala", observe=None)
    labels, etas = LABELS[::-1], ETAS / 2
    with jl.verify.assert_no_recompilation():
        sample("mala", labels=labels, etas=etas, observe=None, num_steps=11)


@pytest.mark.slow
def test_a_run_goes_on_and_is_cut_into_blocks(tmp_path):
    whole = sample("mala", num_steps=12)
    half = sample("mala", num_steps=6)
    kernel = KERNELS["mala"](jl.each(ETAS), jl.each(HEATS))
    rest = jl.resume(half.state, energy(), kernel, num_steps=6, reducers=jl.reducers.moments())
    np.testing.assert_array_equal(whole.draws[:, 6:], rest.draws)
    np.testing.assert_array_equal(whole.draws, sample("mala", num_steps=12, block_steps=4).draws)


def test_a_checkpoint_is_of_the_marked_values(tmp_path):
    pytest.importorskip("orbax.checkpoint")
    kept = sample("ula", checkpoint=tmp_path / "run", num_steps=8)
    np.testing.assert_array_equal(kept.draws, sample("ula", num_steps=8).draws)
    with pytest.raises(jl.CheckpointError):
        sample("ula", checkpoint=tmp_path / "run", num_steps=8, labels=LABELS[::-1])


@pytest.mark.slow
def test_all_values_can_be_differentiated():
    def loss(etas, shift):
        kernel = jl.ula(jl.each(etas))
        tilted = Partial(lambda s, x: 0.5 * jnp.sum((x - s) ** 2), jl.each(shift))
        run = jl.sample(
            jax.random.key(0),
            tilted,
            kernel,
            START,
            num_steps=3,
            observe=None,
            on_divergence="ignore",
        )
        return jnp.sum(run.position**2)

    shift = jnp.arange(NUM_CHAINS * 2.0).reshape(NUM_CHAINS, 2) / 10
    slopes = jax.grad(loss, argnums=(0, 1))(ETAS, shift)
    h = 1e-2
    up = loss(ETAS.at[2].add(h * 0.1), shift) - loss(ETAS.at[2].add(-h * 0.1), shift)
    np.testing.assert_allclose(slopes[0][2], up / (0.2 * h), rtol=2e-2)
    up = loss(ETAS, shift.at[3, 1].add(h)) - loss(ETAS, shift.at[3, 1].add(-h))
    np.testing.assert_allclose(slopes[1][3, 1], up / (2 * h), rtol=2e-2)


@pytest.mark.slow
def test_schedules_and_masses_differ_from_chain_to_chain():
    def decay(eta, step):
        return eta / (1 + step.astype(eta.dtype))

    def run(eta, mass, rows, **options):
        kernel = jl.underdamped(Partial(decay, eta), 1.0, mass=mass)
        return jl.sample(jax.random.key(3), energy(LABELS[rows]), kernel, START[rows], **options)

    together = run(jl.each(ETAS), jl.each(HEATS), slice(None), num_steps=4)
    alone = run(ETAS[5], HEATS[5], slice(5, 6), num_steps=4, chains=[5])
    np.testing.assert_allclose(together.draws[5], alone.draws[0], rtol=2e-5)
    with pytest.raises(ValueError, match="step_size: its schedule at step 0: expected values of z"):
        run(jl.each(-ETAS), 1.0, slice(None), num_steps=4)
    with pytest.raises(ValueError, match="each has 5 rows, but the run has 6 chains"):
        run(jl.each(ETAS[:5]), 1.0, slice(None), num_steps=4)


@pytest.mark.slow
def test_a_schedule_that_is_nan_for_one_chain_stops_that_chain():
    def falls(eta, step):
        return eta - 0.1 * step.astype(eta.dtype)

    kernel = jl.mala(Partial(falls, jl.each(jnp.full(NUM_CHAINS, 9.0).at[2].set(0.15))))
    with pytest.warns(jl.DivergenceWarning, match="the first is chain 2 of the run, after 2 steps"):
        run = jl.sample(jax.random.key(0), energy(), kernel, START, num_steps=4, observe=None)
    assert run.info.first_bad_step.tolist() == [-1, -1, 2, -1, -1, -1]


def test_a_whole_energy_can_differ_from_chain_to_chain():
    energies = jax.vmap(jl.energies.quadratic, (None, 0))(jnp.eye(2), MEANS[LABELS])
    kernel = jl.ula(jl.each(ETAS))
    whole = jl.sample(jax.random.key(0), jl.each(energies), kernel, START, num_steps=3)
    parted = jl.sample(jax.random.key(0), energy(), kernel, START, num_steps=3)
    np.testing.assert_allclose(whole.draws, parted.draws, rtol=1e-5, atol=1e-6)


def test_energies_of_draws_are_those_of_their_own_chains():
    pytest.importorskip("arviz_base")
    tree = sample("mala").to_datatree(energy=energy())
    x = tree.posterior["x"].to_numpy()
    expected = 0.5 * ((x - np.asarray(MEANS[LABELS])[:, None]) ** 2).sum(-1)
    np.testing.assert_allclose(tree.sample_stats["energy"], expected, rtol=1e-5)


def test_diverged_chains_are_frozen_one_by_one():
    etas = ETAS.at[2].set(50.0)
    with pytest.warns(jl.DivergenceWarning, match="1 of 6 chains"):
        run = sample("ula", etas=etas, num_steps=90, observe=None)
    assert run.info.num_divergent.tolist() == [0, 0, 1, 0, 0, 0]
    assert np.isfinite(run.position).all()


# Exact laws ---------------------------------------------------------------------------------


def test_there_is_an_exact_law_for_each_chain():
    start = jl.Gaussian(jnp.zeros(2), jnp.eye(2))
    kernel = KERNELS["ula"](jl.each(ETAS), jl.each(HEATS))
    laws = jl.exact.law(kernel, energy(), start, num_steps=7)
    assert laws.cov.shape == (NUM_CHAINS, 2, 2)
    for i in range(NUM_CHAINS):
        one = jl.exact.law(
            KERNELS["ula"](ETAS[i], HEATS[i]),
            Partial(conditional, MEANS, LABELS[i]),
            start,
            num_steps=7,
        )
        np.testing.assert_allclose(laws.mean[i], one.mean, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(laws.cov[i], one.cov, rtol=1e-5, atol=1e-6)
    targets = jl.exact.target(energy(), jnp.zeros(2))
    np.testing.assert_allclose(targets.mean, MEANS[LABELS], atol=1e-5)


def test_a_chain_without_a_law_is_named():
    kernel = jl.ula(jl.each(ETAS.at[4].set(3.0)))
    with pytest.raises(jl.UnstableStepError) as found:
        jl.exact.stationary(kernel, energy(), jnp.zeros(2))
    assert any("for the values of chain 4" in note for note in found.value.__notes__)


NUM_DRAWS = 20_000


@pytest.fixture(scope="module")
def sweep():
    """Many chains, each with its own step and mean, and the law of each."""
    etas = jnp.linspace(0.05, 0.5, NUM_DRAWS)
    labels = jnp.arange(NUM_DRAWS) % 3
    start = jl.Gaussian(jnp.zeros(2), jnp.eye(2))
    kernel = jl.ula(jl.each(etas))
    run = jl.sample(
        jax.random.key(1),
        energy(labels),
        kernel,
        start,
        num_steps=5,
        num_chains=NUM_DRAWS,
        observe=None,
    )
    return run.position, jl.exact.law(kernel, energy(labels), start, num_steps=5), labels


@pytest.mark.slow
def test_draws_of_chains_that_differ_are_held_against_their_own_laws(sweep):
    x, laws, _ = sweep
    assert jl.verify.compare(x, laws).passed


def test_a_row_too_far_is_found(sweep):
    x, laws, _ = sweep
    shifted = jax.tree.map(lambda leaf: jnp.roll(leaf, 1, axis=0), laws)
    assert not jl.verify.compare(x, shifted).passed
    with pytest.raises(ValueError, match=r"law: 1 of 20000 laws are not finite.* draw 4$"):
        jl.verify.compare(x, jax.tree.map(lambda leaf: leaf.at[4].set(jnp.nan), laws))
    with pytest.raises(ValueError, match="there are 20000 laws, and so as many draws"):
        jl.verify.compare(x[:-1], laws)


def test_moments_can_be_pooled_by_label():
    by = np.array([0, 1, 2, 0, 1, 2])
    run = sample("ula", reducers=jl.reducers.pooled(jl.reducers.moments(), by=by), num_steps=20)
    for group in range(3):
        mine = np.asarray(run.draws, np.float64)[by == group].reshape(-1, 2)
        mean, variance = (part[group] for part in run.summary.value)
        np.testing.assert_allclose(mean, mine.mean(0), rtol=1e-4)
        np.testing.assert_allclose(variance, mine.var(0, ddof=1), rtol=1e-4)
    assert run.summary.num_chains.tolist() == [2, 2, 2]
    with pytest.raises(ValueError, match=r"pooled\(by=…\) has the groups of 5 chains"):
        sample("ula", reducers=jl.reducers.pooled(jl.reducers.moments(), by=by[:5]))
    with pytest.raises(TypeError, match="by: expected integers"):
        jl.reducers.pooled(jl.reducers.moments(), by=[0.5])
    with pytest.raises(ValueError, match="by: expected groups 0, 1"):
        jl.reducers.pooled(jl.reducers.moments(), by=[-1, 2])


# Refusals -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: jl.each(3.0), ValueError, "each: expected a leading chain axis, got a scalar"),
        (lambda: jl.each([]), ValueError, "each: no values were given"),
        (lambda: jl.each("abc"), TypeError, "each: expected an array"),
        (lambda: jl.each(jl.each(ETAS)), TypeError, "each: it cannot stand inside another"),
        (
            lambda: jl.each({"a": jnp.ones(3), "b": jnp.ones(4)}),
            ValueError,
            r"differ in the number of rows.*\['a'\] has 3.*\['b'\] has 4",
        ),
        (lambda: jl.ula(jl.each(-ETAS)), ValueError, "step_size"),
        (lambda: jl.ula(jl.each(jnp.ones((3, 2)))), ValueError, "step_size"),
        (
            lambda: sample("ula", etas=ETAS[:5]),
            ValueError,
            r"kernel\.step_size: each has 5 rows, but the run has 6 chains",
        ),
        (
            lambda: jl.sample(
                jax.random.key(0),
                lambda x: jnp.sum(x * jl.each(ETAS)),
                jl.ula(0.1),
                START,
                num_steps=1,
            ),
            TypeError,
            "each.* is used as an array, but only a chain of a run has its value",
        ),
        (
            lambda: jl.domains.ball(jnp.zeros(2), jl.each(ETAS)),
            TypeError,
            "radius: expected a real number, which cannot differ from chain to chain",
        ),
        (
            lambda: jl.tempered(jl.mala(0.1, temperature=jl.each(HEATS)), [1.0, 2.0]),
            TypeError,
            "temperature.* cannot differ from chain to chain",
        ),
        (
            lambda: jl.exact.target(
                Partial(
                    lambda a, b, x: a * jnp.sum((x - b) ** 2), jl.each(ETAS), jl.each(HEATS[:5])
                ),
                jnp.zeros(2),
            ),
            ValueError,
            "energy.*: each has 5 rows, but another has 6",
        ),
        (
            lambda: sample("ula", labels=LABELS[:5]),
            ValueError,
            r"energy.*: each has 5 rows, but the run has 6 chains",
        ),
        (
            lambda: jl.diagnostics.ksd(START, energy()),
            ValueError,
            "energy: it has values that differ from chain to chain .*evaluated without a chain",
        ),
        (
            lambda: jl.exact.affine_map(jl.ula(jl.each(ETAS)), jl.energies.ring(), jnp.zeros(2)),
            ValueError,
            "kernel: it has values that differ from chain to chain",
        ),
    ],
)
def test_what_has_no_meaning_is_refused(make, error, message):
    with pytest.raises(error, match=message):
        make()
