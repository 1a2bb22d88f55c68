"""Runs in ArviZ: its numbers for them are ours, and what is said of each draw is right."""

import importlib
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jlangevin as jl

pytestmark = pytest.mark.slow


def arviz():
    """ArviZ before 1, which announces ArviZ 1 where it is imported."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = pytest.importorskip("arviz", reason="needs ArviZ")
    if not found.__version__.startswith("0."):
        pytest.skip("needs ArviZ before 1")
    return found


def convert(run, way, **options):
    if way == "to_datatree":
        pytest.importorskip("arviz_base", reason="needs ArviZ 1")
    else:
        arviz()
    return getattr(run, way)(**options)


def bowl_run(kernel, **options):
    energy = jl.energies.quadratic(jnp.array([[1.0, 0.6], [0.6, 2.0]]))
    options = {"num_steps": 40, "num_chains": 4, **options}
    return energy, jl.sample(jax.random.key(0), energy, kernel, energy, **options)


WAYS = pytest.mark.parametrize("way", ["to_datatree", "to_inference_data"])


@WAYS
def test_draws_and_what_is_known_of_them(way, dtype):
    energy, run = bowl_run(jl.mala(0.5))
    data = convert(run, way, energy=energy)
    posterior, stats = data["posterior"], data["sample_stats"]
    assert posterior["x"].dims == ("chain", "draw", "x_dim_0")
    assert posterior["x"].dtype == dtype
    np.testing.assert_array_equal(posterior["x"], run.draws)
    np.testing.assert_array_equal(posterior["draw"], np.arange(40))
    assert stats["acceptance_rate"].dims == ("chain",)
    np.testing.assert_array_equal(stats["acceptance_rate"], run.info.acceptance_rate)
    assert stats["energy"].dims == stats["diverging"].dims == ("chain", "draw")
    expected = jax.vmap(jax.vmap(energy))(run.draws)
    np.testing.assert_allclose(stats["energy"], expected, rtol=1e-5)
    assert not stats["diverging"].any()


def test_effective_numbers_are_those_of_arviz(x64):
    _, run = bowl_run(jl.ula(0.3), num_steps=200)
    tree = convert(run, "to_datatree")
    stats = pytest.importorskip("arviz_stats", reason="needs ArviZ 1")
    found = stats.ess(tree)["x"]
    np.testing.assert_allclose(found, jl.diagnostics.ess(run.draws), rtol=1e-8)
    np.testing.assert_allclose(stats.rhat(tree)["x"], jl.diagnostics.rhat(run.draws), rtol=1e-8)
    old = arviz()
    found = old.ess(convert(run, "to_inference_data"))["x"]
    np.testing.assert_allclose(found, jl.diagnostics.ess(run.draws), rtol=0.02)


@WAYS
def test_leaves_are_named_by_their_paths_and_dimensions_as_wished(way):
    start = {"w": {"left": jnp.zeros((3, 2)), "right": jnp.zeros(3)}, "b": (jnp.ones((3, 2, 1)),)}
    energy = lambda x: sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(x))  # noqa: E731
    run = jl.sample(jax.random.key(0), energy, jl.ula(0.1), start, num_steps=5)
    data = convert(run, way, energy=energy, coords={"side": ["a", "b"]}, dims={"w.left": ["side"]})
    posterior = data["posterior"]
    assert set(posterior.data_vars) == {"w.left", "w.right", "b.0"}
    assert posterior["w.left"].dims == ("chain", "draw", "side")
    assert list(posterior["side"].values) == ["a", "b"]
    assert posterior["w.right"].dims == ("chain", "draw")
    assert data["sample_stats"]["energy"].shape == (3, 5)
    assert "acceptance_rate" not in data["sample_stats"]


@WAYS
@pytest.mark.parametrize(("burn_in", "thin"), [(0, 1), (6, 4)])
@pytest.mark.filterwarnings("ignore::jlangevin.DivergenceWarning")
@pytest.mark.filterwarnings("ignore::jlangevin.EnergyWarning")
def test_draws_that_repeat_are_marked(way, burn_in, thin):
    """One chain of two grows until it is not finite; its draws are copies from then on."""
    start, energy = jnp.array([[0.0], [1e15]]), lambda x: jnp.sum(x**2)
    options = {"burn_in": burn_in, "thin": thin}
    run = jl.sample(jax.random.key(0), energy, jl.ula(50.0), start, num_steps=16, **options)
    whole = jl.sample(jax.random.key(0), energy, jl.ula(50.0), start, num_steps=22, thin=1)
    failed = int(run.info.first_bad_step[1])
    assert 0 < failed < 16
    steps = burn_in + thin * np.arange(1, 16 // thin + 1)
    diverging = convert(run, way)["sample_stats"]["diverging"].values
    np.testing.assert_array_equal(diverging[1], steps > failed)
    copies = np.asarray(run.draws[1]) == np.asarray(whole.draws[1, failed - 1])
    np.testing.assert_array_equal(diverging[1], copies.all(-1) & (steps != failed))
    first = int(run.info.first_bad_step[0])
    outside = first < 0 and bool(run.info.num_divergent[0])  # its energy has overflowed at the end
    np.testing.assert_array_equal(diverging[0], (steps > first) & (first >= 0) | outside)


@WAYS
def test_a_resumed_run_knows_its_own_draws(way):
    energy, kernel, start = lambda x: jnp.sum(x**2), jl.ula(50.0), jnp.full((1, 1), 1e10)
    first = jl.sample(jax.random.key(0), energy, kernel, start, num_steps=4)
    with pytest.warns(jl.DivergenceWarning):
        run = jl.resume(first.state, energy, kernel, num_steps=20, thin=2)
    failed = int(run.info.first_bad_step[0])
    assert 4 < failed < 24
    diverging = convert(run, way)["sample_stats"]["diverging"].values[0]
    np.testing.assert_array_equal(diverging, 4 + 2 * np.arange(1, 11) > failed)


@WAYS
def test_draws_that_are_not_finite_are_marked_where_nobody_looked(way):
    energy, start = lambda x: jnp.sum(x**2), jnp.full((1, 1), 1e15)
    run = jl.sample(
        jax.random.key(0), energy, jl.ula(50.0), start, num_steps=30, on_divergence="ignore"
    )
    diverging = convert(run, way)["sample_stats"]["diverging"].values
    np.testing.assert_array_equal(diverging, ~np.isfinite(run.draws[..., 0]))
    assert diverging.any()
    assert not diverging.all()


@WAYS
def test_what_has_no_answer_is_refused(way):
    _, run = bowl_run(jl.ula(0.1), observe=None)
    with pytest.raises(ValueError, match="the run kept no draws; pass observe="):
        convert(run, way)
    _, run = bowl_run(jl.ula(0.1), observe=lambda s: {"a": {"b": s.position}, "a.b": s.position})
    with pytest.raises(ValueError, match="two leaves have the same name"):
        convert(run, way)
    _, run = bowl_run(jl.ula(0.1))
    with pytest.raises(ValueError, match="energy: expected a scalar"):
        convert(run, way, energy=lambda x: x)


@pytest.mark.parametrize(
    ("way", "missing", "hint"),
    [
        ("to_datatree", "arviz_base", "the extra arviz: pip install arviz-base"),
        ("to_inference_data", "arviz", "arviz<1"),
    ],
)
def test_a_missing_arviz_is_named(way, missing, hint, monkeypatch):
    monkeypatch.setitem(importlib.sys.modules, missing, None)
    _, run = bowl_run(jl.ula(0.1))
    with pytest.raises(ImportError, match=hint):
        getattr(run, way)()


def test_an_arviz_of_the_other_kind_is_named(monkeypatch):
    """ArviZ 1 hands out xarray's DataTree, which takes no groups, under the old name."""

    class One:
        __version__ = "1.3.0"
        InferenceData = pytest.importorskip("xarray", reason="needs xarray").DataTree

    monkeypatch.setitem(importlib.sys.modules, "arviz", One)
    _, run = bowl_run(jl.ula(0.1))
    with pytest.raises(ImportError, match=r"to_datatree; installed is ArviZ 1\.3\.0"):
        run.to_inference_data()
