"""The table of a run: its columns against NumPy and ArviZ, its verdict, its looks, its refusals.

Wrong columns and wrong verdicts, one slip each, show that the tests of the right ones can fail.
"""

import dataclasses
import re
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jlangevin as jl
from jlangevin import diagnostics
from jlangevin.diagnostics.ess import _bulk_ess, effective_size, mean_ess, quantile_ess
from jlangevin.diagnostics.mcse import _mean_error, sd_error_of_squares, unit_and_squares
from jlangevin.diagnostics.rhat import _ranked_rhat, plain_rhat, rank_scores
from jlangevin.diagnostics.series import normal_scores, quantile, split_chains, standard_deviation

module = sys.modules["jlangevin.diagnostics.summary"]
report = sys.modules["jlangevin.diagnostics.summary_report"]


def draws(shape=(4, 400, 2), dtype=jnp.float32):
    return jnp.asarray(np.random.default_rng(0).normal(size=shape), dtype)


def tree(dtype):
    """Leaves of three shapes, flat in the order b, layer.weight."""
    rng = np.random.default_rng(1)
    return {
        "layer": {"weight": jnp.asarray(rng.normal(size=(4, 101, 2, 3)), dtype)},
        "b": jnp.asarray(rng.standard_cauchy(size=(4, 101)), dtype),
    }


def found_run(kernel=None, **options):
    energy = jl.energies.quadratic(jnp.eye(2))
    kernel = jl.mala(1.0) if kernel is None else kernel
    options = {"num_steps": 1000, "num_chains": 4, **options}
    return jl.sample(jax.random.key(0), energy, kernel, energy, **options)


# Columns ----------------------------------------------------------------------------------------


def test_columns_are_the_single_diagnostics(dtype):
    x = tree(dtype)
    found = diagnostics.summary(x, superchains=2)
    flat = jnp.concatenate([x["b"][..., None], x["layer"]["weight"].reshape(4, 101, 6)], axis=-1)
    rtol = 1e-3 if dtype == jnp.float32 else 1e-12
    expected = {
        "mean": jnp.mean(flat, axis=(0, 1)),
        "sd": jnp.std(flat, axis=(0, 1), ddof=1),
        "quantiles": jnp.quantile(flat, jnp.array([0.05, 0.5, 0.95]), axis=(0, 1)).T,
        "mcse_mean": diagnostics.mcse(flat),
        "mcse_sd": diagnostics.mcse(flat, "sd"),
        "ess_bulk": diagnostics.ess(flat),
        "ess_tail": diagnostics.ess(flat, "tail"),
        "rhat": diagnostics.rhat(flat),
        "nested_rhat": diagnostics.nested_rhat(flat, 2),
    }
    for name, value in expected.items():
        column = getattr(found, name)
        assert column.dtype == dtype
        np.testing.assert_allclose(column, value, rtol=rtol, atol=rtol, err_msg=name)
    assert (found.num_chains, found.num_draws, found.probs) == (4, 101, (0.05, 0.5, 0.95))


def test_columns_are_those_of_arviz(x64):
    stats, older = pytest.importorskip("arviz_stats.base").array_stats, pytest.importorskip("arviz")
    x = np.asarray(tree(jnp.float64)["layer"]["weight"]).reshape(4, 101, 6)
    found = diagnostics.summary(x, superchains=2, probs=(0.1, 0.9))
    for i in range(6):
        one = x[..., i]
        expected = {
            "mean": np.mean(one),
            "sd": np.std(one, ddof=1),
            "quantiles": np.quantile(one, [0.1, 0.9]),
            "mcse_mean": stats.mcse(one),
            "mcse_sd": older.mcse(one, method="sd"),  # see diagnostics.mcse for versions
            "ess_bulk": stats.ess(one),
            "ess_tail": stats.ess(one, method="tail", prob=(0.05, 0.95)),
            "rhat": stats.rhat(one),
            "nested_rhat": stats.rhat_nested(one, [0, 0, 1, 1]),
        }
        for name, value in expected.items():
            np.testing.assert_allclose(getattr(found, name)[i], value, rtol=1e-9, err_msg=name)


def test_elements_are_named_as_to_datatree_names_variables():
    found = diagnostics.summary(tree(jnp.float32))
    weights = [f"layer.weight[{i}, {j}]" for i in range(2) for j in range(3)]
    assert found.names == ("b", *weights)
    assert diagnostics.summary(draws((4, 9))).names == ("x",)
    pairs = {"p": (draws((4, 9)), draws((4, 9, 1)))}
    assert diagnostics.summary(pairs).names == ("p.0", "p.1[0]")
    with pytest.raises(ValueError, match="draws: two leaves have the same name"):
        diagnostics.summary({"a.b": draws((4, 9)), "a": {"b": draws((4, 9))}})


def test_leaves_of_other_widths_are_widened(x64):
    x = {"half": draws(dtype=jnp.bfloat16), "double": draws(dtype=jnp.float64)}
    found = diagnostics.summary(x)
    assert found.rhat.dtype == jnp.float64
    assert diagnostics.summary(x["half"]).rhat.dtype == jnp.float32


def test_parts_do_not_change_the_results(monkeypatch):
    """Elements are worked on in parts that fit the memory; the last part is padded."""
    x = draws((4, 40, 7))
    whole = diagnostics.summary(x)
    monkeypatch.setattr(module, "_AT_ONCE", 3 * 4 * 40)
    # Another structure, so that it is compiled again.
    parts = diagnostics.summary({"x": x})
    for a, b in zip(jax.tree.leaves(parts), jax.tree.leaves(whole), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


def test_summary_under_jit():
    run = found_run()
    plain, jitted = diagnostics.summary(run), jax.jit(diagnostics.summary)(run)
    for a, b in zip(jax.tree.leaves(plain), jax.tree.leaves(jitted), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4)
    assert jitted.verdict == plain.verdict
    with pytest.raises(TypeError, match="summary: its values are not known under jit"):
        jax.jit(lambda x: len(diagnostics.summary(x).verdict))(run.draws)


def of_one_chain(x):
    return jnp.stack([quantile(x[:1], prob) for prob in (0.1, 0.9)])


def error_of_sd(x, size):
    return sd_error_of_squares(*unit_and_squares(x), size)


def nested_by_turns(x):
    return diagnostics.nested_rhat(x[jnp.array([0, 2, 1, 3])], 2)


COLUMN_MUTANTS = {
    "mean of the chains' medians": ("mean", lambda x: jnp.mean(jnp.median(x, axis=1))),
    "sd with divisor n": ("sd", jnp.std),
    "sd within chains": ("sd", lambda x: jnp.sqrt(jnp.mean(jnp.var(x, axis=1, ddof=1)))),
    "quantiles of one chain": ("quantiles", of_one_chain),
    "error of the mean as if draws were independent": (
        "mcse_mean",
        lambda x: standard_deviation(x) / x.size**0.5,
    ),
    "error of the mean by the bulk's ESS": (
        "mcse_mean",
        lambda x: standard_deviation(x) / jnp.sqrt(_bulk_ess(x)),
    ),
    "error of the mean for that of the sd": ("mcse_sd", _mean_error),
    "error of the sd by the draws' ESS": (
        "mcse_sd",
        lambda x: error_of_sd(x, mean_ess(x)),
    ),
    "bulk ESS without ranks": ("ess_bulk", mean_ess),
    "bulk ESS of chains that are not split": (
        "ess_bulk",
        lambda x: effective_size(normal_scores(x), x),
    ),
    "tail ESS of one tail": ("ess_tail", lambda x: quantile_ess(x, 0.05)),
    "tail ESS of the other": ("ess_tail", lambda x: quantile_ess(x, 0.95)),
    "R-hat without ranks": ("rhat", lambda x: plain_rhat(split_chains(x))),
    "R-hat of chains that are not split": (
        "rhat",
        lambda x: plain_rhat(normal_scores(x)),
    ),
    "R-hat of places alone": (
        "rhat",
        lambda x: plain_rhat(normal_scores(split_chains(x))),
    ),
    "R-hat of scales alone": ("rhat", lambda x: plain_rhat(rank_scores(x)[1])),
    "R-hat for nested R-hat": ("nested_rhat", _ranked_rhat),
    "superchains by turns": ("nested_rhat", nested_by_turns),
}


def changed(monkeypatch, **columns):
    """`summary` with other columns, each a function of one element's draws, (chain, draw)."""
    right = module._columns

    def wrong(leaves, **options):
        flat = [leaf.reshape(*leaf.shape[:2], -1) for leaf in leaves]
        elements = jnp.moveaxis(jnp.concatenate(flat, axis=2), 2, 0)
        others = {name: jax.jit(jax.vmap(f))(elements) for name, f in columns.items()}
        return right(leaves, **options) | others

    monkeypatch.setattr(module, "_columns", wrong)


def test_the_mutants_machinery_unchanged_is_accepted(x64, monkeypatch):
    changed(monkeypatch, mean=jnp.mean)
    test_columns_are_those_of_arviz(None)


@pytest.mark.parametrize("name", COLUMN_MUTANTS)
def test_a_wrong_column_is_told_from_arviz(name, x64, monkeypatch):
    column, mutant = COLUMN_MUTANTS[name]
    changed(monkeypatch, **{column: mutant})
    with pytest.raises(AssertionError, match=f"\n{column}\n"):
        test_columns_are_those_of_arviz(None)


# Facts and verdict ------------------------------------------------------------------------------


def test_a_good_run_can_be_used():
    run = found_run()
    found = diagnostics.summary(run)
    assert found.ok
    assert found.verdict.startswith("These draws can be used: R-hat is at most 1.0")
    assert "not known" not in found.verdict
    assert (int(found.num_divergent), int(found.num_stuck), int(found.num_faults)) == (0, 0, 0)
    np.testing.assert_allclose(found.acceptance_rate, run.info.acceptance_rate.mean(), rtol=1e-6)
    alone = diagnostics.summary(run.draws)
    assert alone.ok
    assert alone.verdict.endswith("Whether chains diverged is not known from draws alone.")
    assert (alone.num_divergent, alone.num_faults, alone.acceptance_rate) == (None, None, None)


def test_a_kernel_that_accepts_everything_has_no_acceptance_rate():
    found = diagnostics.summary(found_run(jl.ula(0.5)))
    assert found.ok
    assert (found.acceptance_rate, found.num_faults) == (None, None)
    assert int(found.num_divergent) == 0


def test_the_worst_element_is_named():
    x = draws((4, 400, 3)).at[0, :, 1].add(1.0).at[1, :, 2].add(9.0)
    verdict = diagnostics.summary({"w": x}).verdict
    assert re.match(
        r"Do not use these draws yet: R-hat of w\[2\] is \d\.\d{3}, and should be below 1\.01 "
        r"\(1 other is above it\); ESS is \d+ \(bulk of w\[2\]\), and should be at least 400\. "
        r"Run longer, or warm up again\.$",
        verdict,
    )


@pytest.mark.parametrize(("rhat", "ok"), [(1.0099, True), (1.0101, False), (np.nan, False)])
def test_the_threshold_of_rhat(rhat, ok):
    found = dataclasses.replace(diagnostics.summary(draws()), rhat=jnp.array([1.0, rhat]))
    assert found.ok is ok
    assert ok or "x[1]" in found.verdict


@pytest.mark.parametrize("which", ["bulk", "tail"])
@pytest.mark.parametrize(("ess", "ok"), [(400.0, True), (399.9, False), (np.nan, False)])
def test_the_threshold_of_ess(which, ess, ok):
    ess = {f"ess_{which}": jnp.array([ess, 500.0])}
    found = dataclasses.replace(diagnostics.summary(draws()), **ess)
    assert found.ok is ok
    assert f"({which} of x[0])" in found.verdict


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("num_divergent", "3 of 4 chains diverged. Use a smaller step size."),
        ("num_stuck", "3 of 4 chains did not move. Use a smaller step size."),
        ("num_faults", "at 3 proposals the energy or its gradient is NaN. Fix the energy."),
    ],
)
def test_faults_of_a_run_are_objections(fault, words):
    found = dataclasses.replace(diagnostics.summary(draws()), **{fault: jnp.int32(3)})
    assert not found.ok
    assert found.verdict == f"Do not use these draws yet: {words}"


@pytest.mark.filterwarnings("ignore::jlangevin.DivergenceWarning")
@pytest.mark.filterwarnings("ignore::jlangevin.StuckWarning")
def test_faults_of_a_run_are_counted():
    found = diagnostics.summary(found_run(jl.ula(9.0), num_steps=200))
    assert int(found.num_divergent) == 4
    found = diagnostics.summary(found_run(jl.mala(1e4), num_steps=200))
    assert int(found.num_stuck) == 4
    assert "4 of 4 chains did not move" in found.verdict
    still = draws().at[1].set(3.0)
    assert int(diagnostics.summary(still).num_stuck) == 1
    assert int(diagnostics.summary(still.at[1, :, 0].set(draws()[1, :, 0])).num_stuck) == 0


def test_what_is_constant_is_said():
    verdict = diagnostics.summary(draws((4, 400, 3)).at[..., 1:].set(0.0)).verdict
    assert verdict == (
        "Do not use these draws yet: x[1] is the same in all draws (1 other is too). Leave out "
        "what is constant by design."
    )


def test_nested_rhat_decides_for_many_short_chains():
    """4096 chains of 8 draws, correlated by 0.9: R-hat is far above 1 although they have mixed."""
    x = np.random.default_rng(0).normal(size=(4096, 8, 1))
    for t in range(1, 8):
        x[:, t] = 0.9 * x[:, t - 1] + np.sqrt(1 - 0.9**2) * x[:, t]
    with pytest.warns(jl.AxesWarning, match="draws: 4096 chains of 8 draws"):
        alone = diagnostics.summary(x)
    assert float(alone.rhat[0]) > 1.2
    assert not alone.ok
    assert "or start groups of chains at the same places and give superchains" in alone.verdict
    # It is below the threshold except with probability 1e-12: a superchain's mean has less than
    # 1/1024 of the variance of a draw, so 3072 (R² - 1) is below a chi-square of 3 degrees, and the
    # threshold is at 61.
    found = diagnostics.summary(x, superchains=4)
    assert found.ok
    assert found.verdict.startswith("These draws can be used: nested R-hat is at most 1.00")
    assert "ESS at least 4,096 (one for each chain, as draws are too few to tell more)" in (
        found.verdict
    )
    x[:1024] += 1.0
    apart = diagnostics.summary(x, superchains=4)
    assert not apart.ok
    assert "nested R-hat of x[0] is 1." in apart.verdict


def mean_of_the_elements(found):
    label, each = DECIDING_RHAT(found)
    return label, np.full(each.shape, np.mean(each))


def first_of_the_elements(found):
    label, each = DECIDING_RHAT(found)
    return label, np.full(each.shape, each[0])


def largest_ess(found):
    return float(np.max(found.ess_bulk)), "bulk of x[0]"


def bulk_alone(found):
    return float(np.min(found.ess_bulk)), f"bulk of {found.names[int(np.argmin(found.ess_bulk))]}"


def without_faults(found):
    nothing = {"num_divergent": None, "num_stuck": 0, "num_faults": None}
    return OBJECTIONS(dataclasses.replace(found, **nothing))


DECIDING_RHAT, OBJECTIONS = module.Summary._deciding_rhat, module.Summary._objections

VERDICT_MUTANTS = {
    "mean R-hat": (
        (module.Summary, "_deciding_rhat", mean_of_the_elements),
        lambda: test_the_threshold_of_rhat(1.0101, False),
    ),
    "R-hat of the first element": (
        (module.Summary, "_deciding_rhat", first_of_the_elements),
        lambda: test_the_threshold_of_rhat(1.0101, False),
    ),
    "R-hat where nested R-hat decides": (
        (module.Summary, "_deciding_rhat", lambda found: ("R-hat", np.asarray(found.rhat))),
        test_nested_rhat_decides_for_many_short_chains,
    ),
    "largest ESS": (
        (module.Summary, "_smallest_ess", largest_ess),
        lambda: test_the_threshold_of_ess("bulk", 399.9, False),
    ),
    "bulk ESS alone": (
        (module.Summary, "_smallest_ess", bulk_alone),
        lambda: test_the_threshold_of_ess("tail", 399.9, False),
    ),
    "R-hat up to 1.1": (
        (report, "_MAX_RHAT", 1.1),
        lambda: test_the_threshold_of_rhat(1.0101, False),
    ),
    "R-hat up to 1.001": (
        (report, "_MAX_RHAT", 1.001),
        lambda: test_the_threshold_of_rhat(1.0099, True),
    ),
    "ESS of 100": (
        (report, "_MIN_ESS", 100),
        lambda: test_the_threshold_of_ess("bulk", 399.9, False),
    ),
    "faults forgotten": (
        (module.Summary, "_objections", without_faults),
        lambda: test_faults_of_a_run_are_objections("num_stuck", "3 of 4 chains did not move."),
    ),
}


@pytest.mark.parametrize("name", VERDICT_MUTANTS)
def test_a_wrong_verdict_is_noticed(name, monkeypatch):
    mutant, seen_by = VERDICT_MUTANTS[name]
    monkeypatch.setattr(*mutant)
    with pytest.raises(AssertionError):
        seen_by()


# Looks ------------------------------------------------------------------------------------------


def test_a_table_is_verdict_facts_and_rows():
    found = diagnostics.summary(found_run())
    said, facts, empty, header, *rows = str(found).splitlines()
    assert said == found.verdict
    assert facts.startswith("4 chains of 1,000 draws; 0 diverged; 0 stuck; 0 proposals at fault; ")
    assert empty == ""
    assert re.split(r"\s\s+", header) == [
        *("element", "mean", "sd", "5%", "50%", "95%", "± mean", "± sd", "ESS bulk", "tail"),
        "R-hat",
    ]
    assert [row.split()[0] for row in rows] == ["x[0]", "x[1]"]
    for i, row in enumerate(rows):
        assert float(row.split()[1]) == pytest.approx(float(found.mean[i]), rel=1e-3)
        assert float(row.split()[-1]) == pytest.approx(float(found.rhat[i]), abs=1e-3)
    assert len({len(line) for line in (header, *rows)}) == 1
    assert repr(found) == str(found)


def test_the_worst_rows_are_kept_in_their_order():
    x = draws((4, 100, 60)).at[0, :, 7].add(5.0).at[0, :, 50].add(9.0)
    found = diagnostics.summary(x)
    lines = str(found).splitlines()
    assert sum(line.startswith("x[") for line in lines) == 40
    assert lines[-1] == "20 of 60 elements are left out, none worse than these"
    two = found.table(2).splitlines()
    assert [line.split()[0] for line in two[-3:-1]] == ["x[7]", "x[50]"]
    assert len(found.table(99).splitlines()) == len(lines) + 19


@pytest.mark.parametrize("scale", [1.0, 1e-12, -1e12])
@pytest.mark.parametrize("superchains", [None, 2])
def test_a_table_is_no_wider_than_100_columns(scale, superchains):
    x = {"a_module_of_many.layers.and_of_a_long_name": scale * draws((4, 16, 3, 4))}
    found = diagnostics.summary(x, superchains=superchains, probs=(0.01, 0.05, 0.5, 0.95, 0.99))
    lines = str(found).splitlines()
    assert max(map(len, lines)) <= 100
    assert {"1%", "50%", "99%"} < set(lines[-13].split())
    assert all(line.split()[0].startswith("a_") for line in lines[-12:])
    assert all(f"{j}]" in line for j, line in zip(4 * [0, 1, 2, 3], lines[-12:], strict=False))
    assert found.quantiles.shape == (12, 5)


def test_numbers_that_do_not_exist_are_printed():
    """A constant has no R-hat, and chains that each stand somewhere else have an infinite one."""
    x = draws((4, 16, 2)).at[..., 0].set(1.0).at[..., 1].set(jnp.arange(4.0)[:, None])
    text = str(diagnostics.summary(x))
    assert "R-hat of x[1] is inf" in text
    assert "nan" in text
