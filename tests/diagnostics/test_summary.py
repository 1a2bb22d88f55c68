"""The table of a run: its columns against NumPy and ArviZ, its verdict, its looks, its refusals.

Wrong columns and wrong verdicts, one slip each, show that the tests of the right ones can fail.
"""

import dataclasses
import functools
import re
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jlangevin as jl
from jlangevin import diagnostics
from jlangevin._core.compiling import compiled

module = sys.modules["jlangevin.diagnostics.summary"]
report = sys.modules["jlangevin.diagnostics.summary_report"]


def draws(shape=(4, 1_000, 3)):
    """Of the shape of a `found_run`, as each shape is compiled for."""
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


def tree(dtype):
    """Leaves of four shapes, flat in the order b, layer.weight, pair.0, pair.1."""
    rng = np.random.default_rng(1)
    weight, b = rng.normal(size=(4, 101, 2, 3)), rng.standard_cauchy(size=(4, 101))
    leaves = {"layer": {"weight": weight}, "b": b, "pair": (b**3, weight[..., :1, 0])}
    return jax.tree.map(lambda leaf: leaf.astype(dtype), leaves)


def flat(dtype):
    """The same, (chain, draw, element)."""
    leaves = [leaf.reshape(4, 101, -1) for leaf in jax.tree.leaves(tree(dtype))]
    return np.concatenate(leaves, axis=-1).astype(np.float64)


@functools.cache
def found_run(kernel="mala", step_size=1.0):
    energy = jl.energies.quadratic(jnp.eye(3))
    kernel = getattr(jl, kernel)(step_size)
    return jl.sample(jax.random.key(0), energy, kernel, energy, num_steps=1_000, num_chains=4)


# Columns ----------------------------------------------------------------------------------------


def array_stats():
    return pytest.importorskip("arviz_stats.base").array_stats


@functools.cache
def columns_of_arviz(dtype):
    """The columns of `flat`, (element, …)."""
    stats, older = array_stats(), pytest.importorskip("arviz")
    functions = {
        "mean": np.mean,
        "sd": lambda x: np.std(x, ddof=1),
        "quantiles": lambda x: np.quantile(x, [0.1, 0.9]),
        "mcse_mean": stats.mcse,
        "mcse_sd": lambda x: older.mcse(x, method="sd"),  # see diagnostics.mcse for versions
        "ess_bulk": stats.ess,
        "ess_tail": lambda x: stats.ess(x, method="tail", prob=(0.05, 0.95)),
        "rhat": stats.rhat,
        "nested_rhat": lambda x: stats.rhat_nested(x, [0, 0, 1, 1]),
    }
    return {name: of_each(function, dtype) for name, function in functions.items()}


def of_each(function, dtype):
    return np.array([function(x) for x in np.moveaxis(flat(dtype), -1, 0)])


@pytest.mark.slow
def test_columns_are_those_of_arviz(dtype):
    found = diagnostics.summary(tree(dtype), superchains=2, probs=(0.1, 0.9))
    rtol = 1e-3 if dtype == jnp.float32 else 1e-9
    for name, value in columns_of_arviz(dtype).items():
        column = getattr(found, name)
        assert column.dtype == dtype
        np.testing.assert_allclose(column, value, rtol=rtol, err_msg=name)
    assert (found.num_chains, found.num_draws, found.probs) == (4, 101, (0.1, 0.9))


@pytest.mark.slow
def test_elements_are_named_as_to_datatree_names_variables():
    found = diagnostics.summary(tree(np.float32), superchains=2, probs=(0.1, 0.9))
    weights = [f"layer.weight[{i}, {j}]" for i in range(2) for j in range(3)]
    assert found.names == ("b", *weights, "pair.0", "pair.1[0]")
    assert diagnostics.summary(draws()).names == ("x[0]", "x[1]", "x[2]")
    with pytest.raises(ValueError, match="draws: two leaves have the same name"):
        diagnostics.summary({"a.b": draws((4, 9)), "a": {"b": draws((4, 9))}})


def test_leaves_of_other_widths_are_widened(x64):
    half, double = draws().astype(jnp.bfloat16), draws().astype(np.float64)
    for x, dtype in (({"half": half, "double": double}, jnp.float64), (half, jnp.float32)):
        assert jax.eval_shape(diagnostics.summary, x).rhat.dtype == dtype


@pytest.mark.slow
def test_parts_do_not_change_the_results(monkeypatch):
    """Elements are worked on in parts that fit the memory; the last part is padded."""
    whole = diagnostics.summary(draws())
    monkeypatch.setattr(module, "_AT_ONCE", 2 * 4 * 1_000)
    again = compiled(module._columns.__wrapped__, static_argnames=("probs", "superchains"))
    monkeypatch.setattr(module, "_columns", again)
    parts = diagnostics.summary(draws())
    for a, b in zip(jax.tree.leaves(parts), jax.tree.leaves(whole), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_summary_under_jit():
    run = found_run()
    plain, jitted = diagnostics.summary(run), jax.jit(diagnostics.summary)(run)
    for a, b in zip(jax.tree.leaves(plain), jax.tree.leaves(jitted), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4)
    assert jitted.verdict == plain.verdict
    with pytest.raises(TypeError, match="summary: its values are not known under jit"):
        jax.jit(lambda x: len(diagnostics.summary(x).verdict))(run.draws)


def error_of_sd_by(x, size):
    squares = (x - np.mean(x)) ** 2
    return np.sqrt(np.var(squares) / size / np.mean(squares) / 4)


# A column, and what is made of one element's draws instead, by ArviZ, (chain, draw).
COLUMN_MUTANTS = {
    "mean of the chains' medians": ("mean", lambda a, x: np.mean(np.median(x, axis=1))),
    "sd with divisor n": ("sd", lambda a, x: np.std(x)),
    "sd within chains": ("sd", lambda a, x: np.sqrt(np.mean(np.var(x, axis=1, ddof=1)))),
    "quantiles of one chain": ("quantiles", lambda a, x: np.quantile(x[0], [0.1, 0.9])),
    "error of the mean as if draws were independent": (
        "mcse_mean",
        lambda a, x: np.std(x, ddof=1) / x.size**0.5,
    ),
    "error of the mean by the bulk's ESS": (
        "mcse_mean",
        lambda a, x: np.std(x, ddof=1) / np.sqrt(a.ess(x)),
    ),
    "error of the mean for that of the sd": ("mcse_sd", lambda a, x: a.mcse(x)),
    "error of the sd by the draws' ESS": (
        "mcse_sd",
        lambda a, x: error_of_sd_by(x, a.ess(x, method="mean")),
    ),
    "bulk ESS without ranks": ("ess_bulk", lambda a, x: a.ess(x, method="mean")),
    "bulk ESS of chains that are not split": ("ess_bulk", lambda a, x: a._ess(a._z_scale(x))),
    "tail ESS of one tail": ("ess_tail", lambda a, x: a.ess(x, method="quantile", prob=0.05)),
    "tail ESS of the other": ("ess_tail", lambda a, x: a.ess(x, method="quantile", prob=0.95)),
    "R-hat without ranks": ("rhat", lambda a, x: a.rhat(x, method="split")),
    "R-hat of chains that are not split": ("rhat", lambda a, x: a._rhat(a._z_scale(x))),
    "R-hat of places alone": ("rhat", lambda a, x: a.rhat(x, method="z_scale")),
    "R-hat of scales alone": ("rhat", lambda a, x: a.rhat(x, method="folded")),
    "R-hat for nested R-hat": ("nested_rhat", lambda a, x: a.rhat(x)),
    "superchains by turns": ("nested_rhat", lambda a, x: a.rhat_nested(x, [0, 1, 0, 1])),
}


def changed(monkeypatch, **columns):
    """`summary` with other columns, each a function of one element's draws."""
    right = module._columns

    def wrong(leaves, **options):
        others = {name: of_each(f, np.float64) for name, f in columns.items()}
        return right(leaves, **options) | jax.tree.map(jnp.asarray, others)

    monkeypatch.setattr(module, "_columns", wrong)


def test_the_mutants_machinery_unchanged_is_accepted(x64, monkeypatch):
    changed(monkeypatch, mean=np.mean)
    test_columns_are_those_of_arviz(jnp.dtype("float64"))


@pytest.mark.parametrize("name", COLUMN_MUTANTS)
def test_a_wrong_column_is_told_from_arviz(name, x64, monkeypatch):
    column, mutant = COLUMN_MUTANTS[name]
    changed(monkeypatch, **{column: functools.partial(mutant, array_stats())})
    with pytest.raises(AssertionError, match=f"\n{column}\n"):
        test_columns_are_those_of_arviz(jnp.dtype("float64"))


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
    found = diagnostics.summary(found_run("ula", 0.5))
    assert found.ok
    assert (found.acceptance_rate, found.num_faults) == (None, None)
    assert int(found.num_divergent) == 0


def test_the_worst_element_is_named():
    x = draws()
    x[0, :, 1] += 1.0
    x[1, :, 2] += 9.0
    verdict = diagnostics.summary({"w": x}).verdict
    assert re.match(
        r"Do not use these draws yet: R-hat of w\[2\] is \d\.\d{3}, and should be below 1\.01 "
        r"\(1 other is above it\); ESS is \d+ \(bulk of w\[2\]\), and should be at least 400\. "
        r"Run longer, or warm up again\.$",
        verdict,
    )


@pytest.mark.parametrize(("rhat", "ok"), [(1.0099, True), (1.0101, False), (np.nan, False)])
def test_the_threshold_of_rhat(rhat, ok):
    found = dataclasses.replace(diagnostics.summary(draws()), rhat=np.array([1.0, rhat, 1.0]))
    assert found.ok is ok
    assert ok or "x[1]" in found.verdict


@pytest.mark.parametrize("which", ["bulk", "tail"])
@pytest.mark.parametrize(("ess", "ok"), [(400.0, True), (399.9, False), (np.nan, False)])
def test_the_threshold_of_ess(which, ess, ok):
    ess = {f"ess_{which}": np.array([ess, 500.0, 500.0])}
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
    found = dataclasses.replace(diagnostics.summary(draws()), **{fault: np.int32(3)})
    assert not found.ok
    assert found.verdict == f"Do not use these draws yet: {words}"


@pytest.mark.filterwarnings("ignore::jlangevin.DivergenceWarning")
@pytest.mark.filterwarnings("ignore::jlangevin.StuckWarning")
def test_faults_of_a_run_are_counted():
    found = diagnostics.summary(found_run("ula", 9.0))
    assert int(found.num_divergent) == 4
    found = diagnostics.summary(found_run("mala", 1e4))
    assert int(found.num_stuck) == 4
    assert "4 of 4 chains did not move" in found.verdict
    still = draws()
    still[1] = 3.0
    assert int(diagnostics.summary(still).num_stuck) == 1
    still[1, :, 0] = draws()[1, :, 0]
    assert int(diagnostics.summary(still).num_stuck) == 0


def test_what_is_constant_is_said():
    x = draws()
    x[..., 1:] = 0.0
    assert diagnostics.summary(x).verdict == (
        "Do not use these draws yet: x[1] is the same in all draws (1 other is too). Leave out "
        "what is constant by design."
    )


@pytest.mark.slow
def test_nested_rhat_decides_for_many_short_chains():
    """4096 chains of 8 draws, correlated by 0.9: R-hat is far above 1 although they have mixed."""
    x = np.random.default_rng(0).normal(size=(4096, 8, 1))
    for t in range(1, 8):
        x[:, t] = 0.9 * x[:, t - 1] + np.sqrt(1 - 0.9**2) * x[:, t]
    with pytest.warns(jl.AxesWarning, match="draws: 4096 chains of 8 draws"):
        alone = jax.eval_shape(lambda x: diagnostics.summary(x), x)
    assert alone.nested_rhat is None
    # It is below the threshold except with probability 1e-12: a superchain's mean has less than
    # 1/1024 of the variance of a draw, so 3072 (R² - 1) is below a chi-square of 3 degrees, and the
    # threshold is at 61.
    found = diagnostics.summary(x, superchains=4)
    alone = dataclasses.replace(found, nested_rhat=None)
    assert float(alone.rhat[0]) > 1.2
    assert not alone.ok
    assert "or start groups of chains at the same places and give superchains" in alone.verdict
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
    assert [row.split()[0] for row in rows] == ["x[0]", "x[1]", "x[2]"]
    for i, row in enumerate(rows):
        assert float(row.split()[1]) == pytest.approx(float(found.mean[i]), rel=1e-3)
        assert float(row.split()[-1]) == pytest.approx(float(found.rhat[i]), abs=1e-3)
    assert len({len(line) for line in (header, *rows)}) == 1
    assert repr(found) == str(found)


@pytest.mark.slow
def test_the_worst_rows_are_kept_in_their_order():
    x = draws((4, 100, 60))
    x[0, :, 7] += 5.0
    x[0, :, 50] += 9.0
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
    x = np.float32(scale) * draws((4, 16, 3, 4))
    found = diagnostics.summary(
        {"a_module_of_many.layers.and_of_a_long_name": x},
        superchains=2,
        probs=(0.01, 0.05, 0.5, 0.95, 0.99),
    )
    if superchains is None:
        found = dataclasses.replace(found, nested_rhat=None)
    lines = str(found).splitlines()
    assert max(map(len, lines)) <= 100
    assert {"1%", "50%", "99%"} < set(lines[-13].split())
    assert all(line.split()[0].startswith("a_") for line in lines[-12:])
    assert all(f"{j}]" in line for j, line in zip(4 * [0, 1, 2, 3], lines[-12:], strict=False))
    assert found.quantiles.shape == (12, 5)


def test_numbers_that_do_not_exist_are_printed():
    """A constant has no R-hat, and chains that each stand somewhere else have an infinite one."""
    x = draws()
    x[..., 0] = 1.0
    x[..., 1] = np.arange(4.0)[:, None]
    text = str(diagnostics.summary(x))
    assert "R-hat of x[1] is inf" in text
    assert "nan" in text
