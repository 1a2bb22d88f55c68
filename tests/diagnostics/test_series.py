"""Series diagnostics against ArviZ, and those that use an energy against exact samplers."""

import dataclasses
import functools
import re
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jlangevin as jl
from jlangevin import diagnostics

pytestmark = pytest.mark.slow

# Series against ArviZ ---------------------------------------------------------------------------


def stats():
    return pytest.importorskip("arviz_stats.base").array_stats


def autoregressive(rng, shape, coefficient):
    x = rng.normal(size=shape)
    for t in range(1, shape[1]):
        x[:, t] += coefficient * x[:, t - 1]
    return x


def series():
    """Series by name, grouped by shape, as each shape is compiled for."""
    rng = np.random.default_rng(3)
    x = rng.normal(size=(4, 100))
    nan, infinite = x.copy(), x.copy()
    nan[1, 7], infinite[1, 7] = np.nan, np.inf
    named = {
        "random": x,
        "correlated": autoregressive(rng, (4, 100), 0.9),
        "very correlated": autoregressive(rng, (4, 100), 0.999),
        "antithetic": autoregressive(rng, (4, 100), -0.7),
        "apart": x + np.arange(4.0)[:, None],
        "scales": x * np.array([0.2, 1.0, 1.0, 5.0])[:, None],
        "heavy": rng.standard_cauchy((4, 100)),
        "ties": rng.integers(0, 4, (4, 100)).astype(float),
        "rejections": np.repeat(rng.normal(size=(4, 20)), 5, axis=1),
        "signs": np.tile([1.0, -1.0, -1.0, 1.0], (4, 25)),  # folded, they are all equal
        "constant": np.full((4, 100), 0.7),
        "a chain that stands": np.concatenate([x[:3], np.ones((1, 100))]),
        "nan": nan,
        "infinite": infinite,
        "far": 1e6 + x,
        "odd": autoregressive(rng, (3, 101), 0.5),
        "odd ties": rng.integers(0, 4, (3, 101)).astype(float),
        "one chain": autoregressive(rng, (1, 151), 0.5),
        **recorded_series(),
    }
    for draws in (1, 3, 4, 9):  # too few; halves of 2 and of 4
        for kind in range(3):
            named[f"short {draws}.{kind}"] = rng.normal(size=(2, draws))
        named[f"short ties {draws}"] = np.minimum(rng.normal(size=(2, draws)), 0)
        named[f"short constant {draws}"] = np.ones((2, draws))
    return named


def recorded_series():
    t, c = np.arange(100.0)[None], np.arange(4.0)[:, None]
    return {
        "slow": np.sin(0.1 * t + c) + 0.3 * np.cos(t**2 + c),
        "alternating": np.cos(np.pi * t) * (1 + np.sin(0.37 * t**2 + c) ** 2) + 0.1 * np.sin(t + c),
        "skewed": np.exp(np.sin(0.3 * t + c**2) + np.cos(t**2 * (1 + c))),
    }


SHAPES = sorted({x.shape for x in series().values()})


def of_shape(shape):
    return {name: x for name, x in series().items() if x.shape == shape}


def superchains(shape):
    return 3 if shape[0] == 3 else 2


@jax.jit
def every_number(x):
    """All that series are asked, in one program, as each takes long to compile."""
    nested = {
        f"nested {method}": diagnostics.nested_rhat(x, superchains(x.shape), method)
        for method in ("rank", "identity")
        if x.shape[0] > 1 and x.shape[1] > 3
    }
    return nested | {
        "bulk": diagnostics.ess(x),
        "tail": diagnostics.ess(x, "tail"),
        "mean": diagnostics.ess(x, "mean"),
        "rhat": diagnostics.rhat(x),
        "mcse": diagnostics.mcse(x),
        "mcse sd": diagnostics.mcse(x, "sd"),
        "mcse median": diagnostics.mcse(x, "median"),
        "mcse quantile": diagnostics.mcse(x, "quantile", prob=0.9),
        "autocorrelation": diagnostics.autocorrelation(x),
    }


@functools.cache
def found_for(shape):
    """By name of the number, with an axis of series last; to be called under x64."""
    return every_number(np.stack(list(of_shape(shape).values()), axis=-1))


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # NumPy's, of ArviZ's NaN
@pytest.mark.filterwarnings("ignore::jlangevin.AxesWarning")  # for more chains than draws
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_series_are_those_of_arviz(shape, x64):
    arviz, all_found = stats(), found_for(shape)
    for i, (name, x) in enumerate(of_shape(shape).items()):

        def equal(what, expected, name=name, i=i, **tolerance):
            tolerance = {"rtol": 1e-9, "atol": 0, **tolerance}
            found = all_found[what][..., i]
            np.testing.assert_allclose(found, expected, **tolerance, err_msg=f"{what} of {name}")

        equal("bulk", arviz.ess(x))
        equal("tail", arviz.ess(x, method="tail", prob=(0.05, 0.95)))
        equal("mean", arviz.ess(x, method="mean"))
        equal("rhat", arviz.rhat(x))
        # For a constant's deviation, ArviZ has a rounding error, and we have an exact zero.
        equal("mcse", arviz.mcse(x), atol=1e-16)
        equal("mcse median", arviz.mcse(x, method="median"))
        equal("mcse quantile", arviz.mcse(x, method="quantile", prob=0.9))
        if "constant" not in name and name != "a chain that stands":
            equal("autocorrelation", arviz.autocorr(x, axis=1), atol=1e-9)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.filterwarnings("ignore::jlangevin.AxesWarning")
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_errors_of_the_sd_are_those_of_arviz_before_1(shape, x64):
    """And those of arviz-stats from 1.3.2 on, as in `RECORDED`; versions in between differ."""
    arviz = pytest.importorskip("arviz")
    found = found_for(shape)["mcse sd"]
    for i, (name, x) in enumerate(of_shape(shape).items()):
        if name == "constant":
            continue
        expected = arviz.mcse(x, method="sd")
        np.testing.assert_allclose(found[i], expected, rtol=1e-9, atol=1e-15, err_msg=name)


# By arviz-stats 1.3.3 on Python 3.13, of the series of these names: mcse of mean, sd, median and
# quantile at 0.9; rhat_nested of two superchains, by ranks and "identity".
RECORDED = {
    "slow": [
        *(0.14002759899129089, 0.037491756883832994, 0.23762224264502052, 0.08724404406270375),
        *(1.0531662256577872, 1.0509099488018767),
    ],
    "alternating": [
        *(0.0476575445843733, 0.017260954703378528, 0.9616908266030513, 0.022165157658253776),
        *(1.0011449745669718, 1.0000023284428712),
    ],
    "skewed": [
        *(0.13272482667921207, 0.09526732009897979, 0.07233938338812479, 0.405492949194052),
        *(1.0008236779535309, 1.0006728144161323),
    ],
}


def test_errors_and_nested_rhat_are_those_of_arviz_stats_1_3(x64):
    found, names = found_for((4, 100)), list(of_shape((4, 100)))
    numbers = ("mcse", "mcse sd", "mcse median", "mcse quantile", "nested rank", "nested identity")
    for name, expected in RECORDED.items():
        values = [found[number][names.index(name)] for number in numbers]
        np.testing.assert_allclose(values, expected, rtol=1e-9, err_msg=name)


def test_quantiles_of_beta_laws_are_scipys(dtype):
    """By bisection or, where that rounds more, by an expansion."""
    scipy_stats = pytest.importorskip("scipy.stats")
    from jlangevin.diagnostics.mcse import _beta_quantile

    size = np.array([1.0, 30.0, 900.0, 2e4, 1e6, 5e7])[:, None]
    prob = np.array([0.05, 0.5, 0.99])[None]
    a, b = size * prob + 1, size * (1 - prob) + 1
    law = scipy_stats.beta(a, b)
    for sign, share in ((-1, 0.1586553), (1, 0.8413447)):
        quantile = jax.jit(jax.vmap(jax.vmap(functools.partial(_beta_quantile, sign))))
        found = np.asarray(quantile(jnp.asarray(a, dtype), jnp.asarray(b, dtype)), float)
        tolerance = 1e-3 if dtype == jnp.float32 else 1e-6
        rounding = 2 * float(jnp.finfo(dtype).eps)
        assert (abs(found - law.ppf(share)) < tolerance * law.std() + rounding).all()


def test_errors_of_estimates_are_their_spread():
    """On independent normal draws. The spread of 400 estimates is within 5 standard errors,
    each 1 / sqrt(800) of it, of what is expected, except with probability 1e-6."""
    x = np.random.default_rng(0).normal(size=(400, 4, 250))
    estimates = {
        ("mean", None): x.mean((1, 2)),
        ("sd", None): x.std((1, 2)),
        ("median", None): np.median(x, (1, 2)),
        ("quantile", 0.9): np.quantile(x, 0.9, axis=(1, 2)),
    }
    series = np.moveaxis(x.astype(np.float32), 0, 2)
    errors = jax.jit(
        lambda x: [jnp.mean(diagnostics.mcse(x, method, prob=prob)) for method, prob in estimates]
    )(series)
    for ((method, _), values), error in zip(estimates.items(), errors, strict=True):
        np.testing.assert_allclose(error, values.std(), rtol=5 / 800**0.5 + 0.03, err_msg=method)


def test_errors_of_the_sd_have_no_unit():
    x = np.random.default_rng(0).normal(size=(4, 100)).astype(np.float32)
    expected = diagnostics.mcse(x, "sd")
    for unit in (2.0**-60, 2.0**60):  # whose fourth powers float32 does not have
        unit = np.float32(unit)
        np.testing.assert_array_equal(diagnostics.mcse(unit * x, "sd"), unit * expected)


# Nested R-hat -----------------------------------------------------------------------------------


def nested_by_numpy(x, num_superchains):
    """Margossian et al. (2024), equations 6 to 8, of one series."""
    groups = x.reshape(num_superchains, -1, x.shape[1])
    within = 0.0
    for group in groups:
        means = group.mean(1)
        within += means.var(ddof=1) if len(group) > 1 else 0.0
        within += group.var(1, ddof=1).mean() if group.shape[1] > 1 else 0.0
    between = groups.mean((1, 2)).var(ddof=1)
    return np.sqrt(1 + between / (within / num_superchains))


@pytest.mark.parametrize("shape", [(12, 40), (12, 1), (12, 7)], ids=str)
def test_nested_rhat_is_that_of_the_paper(shape, x64):
    x = np.random.default_rng(0).gamma(2.0, size=(*shape, 2)) + np.arange(12.0)[:, None, None]
    for num_superchains in (2, 3, 4, 6, 12):
        if shape[1] == 1 and num_superchains == 12:
            continue  # nothing varies within superchains of one draw
        found = diagnostics.nested_rhat(x, num_superchains, "identity")
        expected = [nested_by_numpy(x[..., i], num_superchains) for i in range(2)]
        np.testing.assert_allclose(found, expected, rtol=1e-12)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("shape", [s for s in SHAPES if s[0] > 1 and s[1] > 3], ids=str)
def test_nested_rhat_is_that_of_arviz(shape, x64):
    arviz, found = stats(), found_for(shape)
    which = np.repeat(np.arange(superchains(shape)), shape[0] // superchains(shape))
    for method in ("rank", "identity"):
        for i, (name, x) in enumerate(of_shape(shape).items()):
            if "constant" not in name:  # for which ArviZ has a rounding error
                expected = arviz.rhat_nested(x, which, method=method)
                value = found[f"nested {method}"][i]
                np.testing.assert_allclose(value, expected, rtol=1e-9, err_msg=name)


def test_nested_rhat_sees_superchains_apart_and_not_short_chains():
    """2048 chains of 4 correlated draws: 1536 (R² - 1) of either kind is below a chi-square of 3
    degrees, and above 30.7 with a probability of 1e-6."""
    x = autoregressive(np.random.default_rng(0), (2048, 4), 0.9)
    x = (x / x.std(0)).astype(np.float32)
    apart, wide = x.copy(), x.copy()
    apart[:512] += 1.0
    wide[:512] *= 3.0  # a wrong scale, by the folded ranks
    bound = (1 + 32 / 1536) ** 0.5
    for method in ("rank", "identity"):
        assert 1 <= float(diagnostics.nested_rhat(x, 4, method)) < bound
        assert float(diagnostics.nested_rhat(apart, 4, method)) > 1.05
    assert float(diagnostics.nested_rhat(wide, 4)) > 1.05


def test_nested_rhat_refuses_by_name():
    x = jnp.ones((6, 8))
    with pytest.raises(ValueError, match="superchains: 6 chains, which is not a multiple of 4"):
        diagnostics.nested_rhat(x, 4)
    with pytest.raises(ValueError, match="superchains: expected at least 2, got 1"):
        diagnostics.nested_rhat(x, 1)
    with pytest.raises(ValueError, match="method: expected one of rank, identity, got 'split'"):
        diagnostics.nested_rhat(x, 2, "split")


def test_tails_are_those_of_arviz_where_a_quantile_is_a_draw(x64):
    rng = np.random.default_rng(0)
    for chains, draws in [(1, 21), (1, 41), (7, 23)]:
        x = np.round(rng.normal(size=(chains, draws)), 1)
        expected = stats().ess(x, method="tail", prob=(0.05, 0.95))
        np.testing.assert_allclose(diagnostics.ess(x, "tail"), expected, rtol=1e-9)


@pytest.mark.parametrize("constant", [0.0, 0.1, 1.0, 3.7])
def test_chains_that_do_not_move_have_no_autocorrelation(constant, dtype):
    """A chain that moves beside them has the autocorrelation that it has alone."""
    x = jnp.stack([jnp.full(100, constant), jnp.cos(jnp.arange(100.0))])
    still, moving = diagnostics.autocorrelation(x)
    assert np.isnan(still).all()
    np.testing.assert_array_equal(moving, diagnostics.autocorrelation(x[1:])[0])


def test_series_have_no_unit(x64):
    """Powers of two scale without rounding: 1e-18 is as good a unit as 1."""
    x = np.stack(list(of_shape((3, 101)).values()), axis=-1)
    one, other = every_number(x), every_number(2.0**-60 * x)
    for number in ("bulk", "mean", "rhat"):
        np.testing.assert_array_equal(other[number], one[number])
    np.testing.assert_array_equal(other["mcse"], 2.0**-60 * np.asarray(one["mcse"]))


@pytest.mark.parametrize("function", [diagnostics.ess, diagnostics.rhat, diagnostics.mcse])
def test_more_chains_than_draws_give_a_warning(function):
    x = np.random.default_rng(0).normal(size=(40, 8))
    with pytest.warns(
        jl.AxesWarning, match=r"x: shape \(40, 8\) is taken for 40 chains of 8"
    ) as said:
        function(x)
    assert said[0].filename == __file__
    function(x.T)


def test_trailing_axes_are_series_of_their_own(dtype):
    arviz, x = stats(), np.random.default_rng(0).normal(size=(3, 40, 2, 5))
    # The two draws in the middle are equally far from the median but for rounding, which in single
    # precision may rank one before the other.
    rtol = 5e-3 if dtype == jnp.float32 else 1e-9
    for name in ("ess", "rhat", "mcse"):
        found = jax.jit(getattr(diagnostics, name))(jnp.asarray(x, dtype))
        assert found.shape == (2, 5)
        assert found.dtype == dtype
        expected = getattr(arviz, name)(x, chain_axis=0, draw_axis=1)
        np.testing.assert_allclose(found, expected, rtol=rtol)
    rho = diagnostics.autocorrelation(jnp.asarray(x, dtype))
    assert rho.dtype == dtype
    np.testing.assert_allclose(rho, arviz.autocorr(x, axis=1), atol=1e-6)


def test_single_precision_is_near_double():
    x = series()["correlated"]
    arviz, single = stats(), jnp.asarray(x, jnp.float32)
    for method in ("bulk", "mean"):
        expected = arviz.ess(x, method=method)
        np.testing.assert_allclose(diagnostics.ess(single, method), expected, rtol=1e-3)
    np.testing.assert_allclose(diagnostics.rhat(single), arviz.rhat(x), rtol=1e-5)
    np.testing.assert_allclose(diagnostics.mcse(single), arviz.mcse(x), rtol=1e-3)


def test_autocorrelation_has_the_integrated_time_of_the_law(x64):
    # τ = (1 + r) / (1 - r) = 19; the standard error of Σρ over a window of 2M·ν, M its pairs of
    # lags (Sokal 1997): sd(τ)/τ ≈ sqrt(2 (2M + 1) / n) with M ≈ 6 τ, 0.04 here; four chains' mean
    # is within 6 of them but for 1e-8.
    x = autoregressive(np.random.default_rng(1), (4, 200_000), 0.9)
    rho = jnp.mean(diagnostics.autocorrelation(x), axis=0)
    tau, ended = diagnostics.integrated_time(rho)
    assert bool(ended)
    np.testing.assert_allclose(tau, 19.0, rtol=6 * 0.04 / 2)


def test_integers_and_half_precision_are_taken():
    x = np.random.default_rng(0).integers(0, 9, (2, 50))
    np.testing.assert_allclose(diagnostics.ess(x), diagnostics.ess(x.astype(np.float32)))
    assert diagnostics.mcse(jnp.asarray(x, jnp.bfloat16)).dtype == jnp.float32


def test_an_integrated_time_is_of_numbers_whose_lags_come_first():
    tau, ended = diagnostics.integrated_time([1.0, 0.5, -0.5, 0.25])
    assert (float(tau), bool(ended)) == (2.0, True)  # 1 + 2 * 0.5, no more
    still = jnp.full((4, 3), jnp.nan)
    assert jnp.isnan(diagnostics.integrated_time(still)[0]).all()
    for rho in (jnp.ones(1), jnp.ones(())):
        with pytest.raises(ValueError, match="rho: expected autocorrelations at two lags or more"):
            diagnostics.integrated_time(rho)
    with pytest.raises(TypeError, match="rho: expected an array of numbers, got NoneType"):
        diagnostics.integrated_time(None)
    chains = diagnostics.autocorrelation(series()["random"])
    with pytest.raises(ValueError, match=r"rho: .* with 1 at lag 0; .*moveaxis\(rho, 1, 0\)"):
        diagnostics.integrated_time(chains)


def test_only_what_is_above_imports_diagnostics():
    root = Path(jl.__file__).parent
    above = {"diagnostics", "normalizer", "plot", "__init__.py", "__main__.py"}
    for file in root.rglob("*.py"):
        if file.relative_to(root).parts[0] not in above:
            imports = re.findall(r"^ *(?:from|import) jlangevin.*$", file.read_text(), re.M)
            assert not [line for line in imports if "diagnostics" in line], file


@pytest.mark.parametrize(
    "function", [diagnostics.ess, diagnostics.rhat, diagnostics.mcse, diagnostics.autocorrelation]
)
def test_series_need_chains_and_draws(function):
    with pytest.raises(ValueError, match=r"x: expected axes \(chain, draw, …\).*x\[None\]"):
        function(jnp.ones(10))
    with pytest.raises(ValueError, match="x: expected axes"):
        function(jnp.ones((2, 0)))
    with pytest.raises(TypeError, match="x: expected"):
        function("draws")


def test_an_unknown_method_is_refused():
    with pytest.raises(ValueError, match="method: expected one of bulk, tail, mean"):
        diagnostics.ess(jnp.ones((2, 10)), "median")


# Mode occupancy ---------------------------------------------------------------------------------


def mixture(dtype=float, weights=(0.2, 0.5, 0.3)):
    return jl.energies.gaussian_mixture(
        jnp.array([[-3.0, 0.0], [3.0, 0.0], [0.0, 1.0]], dtype),
        jnp.stack([jnp.eye(2, dtype=dtype), 0.5 * jnp.eye(2, dtype=dtype)] * 2)[:3],
        jnp.array(weights, dtype),
    )


def test_occupancies_are_the_weights_of_the_mixture():
    # Each fraction is a mean of n numbers in [0, 1]: off by more than t with a probability of at
    # most 2 exp(-2 n t²) (Hoeffding 1963), 1e-6 at this t for all three.
    law, n = mixture(), 20_000
    t = np.sqrt(np.log(3 * 2 / 1e-6) / (2 * n))
    x = law.sample(jax.random.key(0), n)
    found = diagnostics.mode_occupancy(x.reshape(4, -1, 2), law)
    assert found.fractions.dtype == jnp.float32
    np.testing.assert_allclose(found.fractions, law.weights, atol=t)
    np.testing.assert_allclose(jnp.sum(found.fractions), 1, rtol=1e-5)
    # The middle component overlaps the others: of the mass 0.3 some lies in their regions.
    hard = diagnostics.mode_occupancy(x, law, hard=True).fractions
    np.testing.assert_allclose(jnp.sum(hard), 1, rtol=1e-5)


def test_responsibilities_are_those_of_scipy(x64):
    from scipy import stats as scipy_stats

    law = mixture(jnp.float64)
    x = np.random.default_rng(0).normal(size=(50, 2)) * 3
    densities = np.stack(
        [
            w * scipy_stats.multivariate_normal(m, v).pdf(x)
            for w, m, v in zip([0.2, 0.5, 0.3], law.means, [1.0, 0.5, 1.0], strict=True)
        ],
        axis=1,
    )
    soft = (densities / densities.sum(1, keepdims=True)).mean(0)
    hard = np.bincount(densities.argmax(1), minlength=3) / 50
    fractions = diagnostics.mode_occupancy(x, law).fractions
    assert fractions.dtype == jnp.float64
    np.testing.assert_allclose(fractions, soft, rtol=1e-12)
    found = diagnostics.mode_occupancy(x, law, hard=True).fractions
    np.testing.assert_allclose(found, hard, rtol=1e-12)


def test_chains_stuck_in_a_mode_are_seen_one_by_one():
    law = mixture()
    stuck = jnp.broadcast_to(law.means[:2, None], (2, 10, 2))
    each = jax.jit(jax.vmap(lambda x: diagnostics.mode_occupancy(x, law).fractions))(stuck)
    assert float(each[0, 0]) > 0.95
    assert float(each[1, 1]) > 0.95


def test_an_occupancy_has_the_error_of_its_draws():
    law = mixture()
    x = law.sample(jax.random.key(0), 4_000)
    alone = diagnostics.mode_occupancy(x, law, hard=True)
    f, n = np.asarray(alone.fractions, np.float64), len(x)
    np.testing.assert_allclose(alone.errors, np.sqrt(f * (1 - f) / (n - 1)), rtol=1e-3)
    # Each draw twice in a row: as many draws, the error of half as many.
    twice = jnp.repeat(x.reshape(4, -1, 2)[:, :500], 2, axis=1)
    chains = diagnostics.mode_occupancy(twice, law, hard=True)
    np.testing.assert_allclose(chains.errors, alone.errors * np.sqrt(2), rtol=0.25)


def test_wrong_weights_are_seen_by_the_p_value():
    # The z-scores of right draws are below 5.5 with a probability of 1 - 2e-7; at n = 20,000 a
    # weight of 0.2 that is 0.25 in the draws is 17 errors off.
    right, wrong = mixture(), mixture(weights=(0.25, 0.45, 0.3))
    x = right.sample(jax.random.key(0), 20_000)
    assert float(diagnostics.mode_occupancy(x, right).p_value) > 1e-6
    assert float(diagnostics.mode_occupancy(x, wrong).p_value) < 1e-6


def test_the_only_mode_has_all_draws():
    only = jl.energies.gaussian_mixture(jnp.zeros((1, 2)), jnp.eye(2)[None], [1.0])
    found = diagnostics.mode_occupancy(jnp.ones((4, 9, 2)), only)
    assert found.z_scores.tolist() == [0]
    assert float(found.p_value) == 1


def test_chains_that_never_change_modes_count_as_one_draw_each():
    law = mixture()
    stuck = jnp.broadcast_to(law.means[0], (9, 50, 2))
    found = diagnostics.mode_occupancy(stuck, law, hard=True)
    w = np.asarray(law.weights)
    np.testing.assert_allclose(found.errors, np.sqrt(w * (1 - w) / 9), rtol=1e-5)
    assert "p = " in str(found)


def test_an_occupancy_of_many_modes_fits_a_screen():
    means = 10 * np.stack(np.meshgrid(np.arange(5.0), np.arange(5.0)), -1).reshape(25, 2)
    law = jl.energies.gaussian_mixture(means, np.full(25, 0.1)[:, None, None] * np.eye(2))
    printed = str(diagnostics.mode_occupancy(law.sample(jax.random.key(0), 500), law))
    assert "the 20 of 25 modes with the largest |z|" in printed
    assert len(printed.splitlines()) <= 24


def test_mode_occupancy_refuses_by_name():
    with pytest.raises(TypeError, match="mixture: expected a GaussianMixture"):
        diagnostics.mode_occupancy(jnp.ones((3, 2)), jl.energies.ring())
    with pytest.raises(ValueError, match=r"x: expected draws in 2 dimension\(s\)"):
        diagnostics.mode_occupancy(jnp.ones((3, 1)), mixture())
    with pytest.raises(ValueError, match="x: expected finite"):
        diagnostics.mode_occupancy(jnp.full((3, 2), jnp.nan), mixture())


# Identities -------------------------------------------------------------------------------------

ENERGIES = {
    "quadratic": lambda: jl.energies.quadratic([[1.0, 0.6], [0.6, 2.0]], mean=[1.0, -2.0]),
    "mixture": mixture,
    "rosenbrock": lambda: jl.energies.rosenbrock(a=0.5, b=1.0, mu=0.5),
    "shell": lambda: jl.energies.ring(radius=2.0, width=0.4, dim=3),
    "narrow funnel": lambda: jl.energies.funnel(dim=3, scale=0.3),
}
# |z| is above it with a probability of 1e-6 for two normal z-scores; the excess kurtosis and
# skewness of these averages of 20,000 add less to the threshold than was rounded up.
BOUND = 6.0


@pytest.mark.parametrize("name", ENERGIES)
def test_identities_hold_for_exact_draws(name):
    check_identities(ENERGIES[name](), jnp.float32)


def test_identities_hold_in_double_precision(x64):
    check_identities(mixture(), jnp.float64)


def check_identities(energy, dtype):
    x = energy.sample(jax.random.key(11), 20_000)
    for draws in (x, x.reshape(4, 5000, -1)):
        found = diagnostics.identities(draws, energy)
        for identity in found[:2]:
            assert abs(float(identity.z_score)) < BOUND, identity
            assert abs(float(identity.ratio) - 1) < 0.25
            assert identity.z_score.dtype == dtype
        np.testing.assert_allclose(found.virial.expected, x.shape[1], rtol=1e-6)


@pytest.mark.parametrize("name", ENERGIES)
def test_a_wrong_temperature_is_caught(name):
    # Draws of p ∝ exp(-E) stand for T = 1, not 1.2: both ratios are off by a sixth.
    energy = ENERGIES[name]()
    x = energy.sample(jax.random.key(12), 20_000)
    center = energy.mean if name != "rosenbrock" else None
    found = diagnostics.identities(x, energy, 1.2, center=center)
    assert float(found.virial.z_score) < -BOUND
    np.testing.assert_allclose(found.virial.expected, 1.2 * x.shape[1], rtol=1e-6)
    assert float(found.gradient.z_score) < -BOUND


def test_identities_at_a_temperature():
    energy = ENERGIES["quadratic"]()
    x = energy.sample(jax.random.key(13), 20_000)
    x = energy.mean[None] + jnp.sqrt(jnp.asarray(2.5, x.dtype)) * (x - energy.mean[None])
    for identity in diagnostics.identities(x, energy, 2.5)[:2]:
        assert abs(float(identity.z_score)) < BOUND


def test_identities_of_draws_far_out_do_not_pass_by_an_overflow():
    """In float32 the squares of squares of 1e10 are infinite, and so is the standard error."""
    x = jnp.asarray(1e10 * np.random.default_rng(0).normal(size=(100, 2)), jnp.float32)
    for identity in diagnostics.identities(x, jl.energies.quadratic(jnp.eye(2)))[:2]:
        assert identity.z_score > 5


def test_identities_see_the_bias_of_a_large_step():
    # At ηλ = 0.4 ULA's stationary variance is too large by a factor of 1 / (1 - 0.2), and so are
    # both ratios.
    energy = jl.energies.quadratic(jnp.eye(2))
    run = jl.sample(
        jax.random.key(0), energy, jl.ula(0.4), energy, num_steps=5000, num_chains=4, burn_in=100
    )
    found = diagnostics.identities(run.draws, energy)
    for identity in found[:2]:
        np.testing.assert_allclose(identity.ratio, 1.25, rtol=0.15)
        assert float(identity.z_score) > BOUND


def test_standard_errors_are_those_of_the_chains():
    # In correlated chains the plain error would be too small, and |z| of a correct sampler large.
    energy = jl.energies.quadratic(jnp.eye(1))
    run = jl.sample(jax.random.key(5), energy, jl.mala(0.05), energy, num_steps=8000, num_chains=4)
    chains = diagnostics.identities(run.draws, energy)
    pooled = diagnostics.identities(run.draws.reshape(-1, 1), energy)
    for each, plain in zip(chains[:2], pooled[:2], strict=True):
        assert abs(float(each.z_score)) < BOUND
        assert 3 * abs(float(each.z_score)) < abs(float(plain.z_score))


def test_derivatives_are_the_hessians_trace(x64):
    energy = jl.energies.rosenbrock(num_blocks=2)
    x = np.random.default_rng(0).normal(size=(40, energy.dim))
    gradient = jax.vmap(jax.grad(energy))(x)
    laplacian = jnp.trace(jax.vmap(jax.hessian(energy))(x), axis1=1, axis2=2)
    found = diagnostics.identities(x, energy, 1.3, center=jnp.ones(energy.dim))
    np.testing.assert_allclose(found.gradient.expected, 1.3 * laplacian.mean(), rtol=1e-10)
    np.testing.assert_allclose(found.gradient.estimate, (gradient**2).sum(1).mean(), rtol=1e-10)
    np.testing.assert_allclose(
        found.virial.estimate, ((x - 1) * gradient).sum(1).mean(), rtol=1e-10
    )


def test_identities_of_a_score_are_those_of_its_energy():
    energy = jl.energies.rosenbrock(num_blocks=2)
    x = energy.sample(jax.random.key(0), 10)
    score = jl.scores.score(jax.tree_util.Partial(lambda e, x: -jax.grad(e)(x), energy))
    pairs = zip(diagnostics.identities(x, score), diagnostics.identities(x, energy), strict=True)
    for found, expected in pairs:
        np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_identities_are_printed_as_a_table():
    energy = jl.energies.quadratic(jnp.eye(2))
    lines = str(diagnostics.identities(energy.sample(jax.random.key(0), 1000), energy)).splitlines()
    assert [line.split()[0] for line in lines] == ["identity", "E[(x", "E[|∇E|²]"]
    assert lines[1].split()[-4:-2] == [lines[1].split()[-4], "2"]
    assert float(lines[1].split()[-2]) == pytest.approx(1, abs=0.2)  # six standard errors


def springs(x):
    """Masses on a ring, joined by springs; E does not depend on where the ring is."""
    return 0.5 * jnp.sum((x - jnp.roll(x, 1)) ** 2)


@pytest.mark.parametrize("units", [1.0, 2.0**20])
def test_directions_without_a_law_are_not_counted(units, dtype):
    """Exact draws of a ring of springs whose centre is anywhere; one coordinate may have another
    unit."""
    d, n = 6, 2000
    scale = jnp.array([units] + [1.0] * (d - 1))
    hessian = np.asarray(jax.hessian(springs)(jnp.zeros(d)), np.float64)
    values, vectors = np.linalg.eigh(hessian)
    root = vectors[:, 1:] / np.sqrt(values[1:])
    rng = np.random.default_rng(0)
    x = rng.normal(size=(n, d - 1)) @ root.T + 30 * rng.normal(size=(n, 1))
    energy = jax.tree_util.Partial(lambda scale, x: springs(x / scale), scale)
    for draws in (jnp.asarray(x, dtype) * scale[None], jnp.asarray(x[:4], dtype) * scale[None]):
        found = diagnostics.identities(draws, energy, position_shape=(d,))
        assert (int(found.num_dimensions), int(found.num_flat)) == (d - 1, 1)
        assert found.virial.expected == d - 1
    assert "E does not change along 1 of 6 directions, which have no law: d = 5" in str(found)
    # |z| < 5 but for 1e-6; were 6 expected, z would be -sqrt(2000 / 10) = -14.
    found = diagnostics.identities(jnp.asarray(x, dtype) * scale[None], energy)
    assert abs(float(found.virial.z_score)) < 5


def test_directions_with_a_wide_law_are_counted(dtype):
    """A scale of 1e3 along the mean, and few draws, each with a gradient of its own."""

    def energy(x):
        mean = jnp.mean(x)
        return 0.5 * (mean / 1e3) ** 2 + 0.5 * jnp.sum((x - mean) ** 2)

    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.normal(size=(8, 6)) + 1e3 * rng.normal(size=(8, 1)), dtype)
    found = diagnostics.identities(x, energy)
    assert (int(found.num_dimensions), int(found.num_flat)) == (6, 0)


# Axes ---------------------------------------------------------------------------------------


def lattice(x):
    """Takes only (a, b), and is not a sum over rows."""
    _, width = x.shape
    return 0.5 * jnp.sum(x**2) + jnp.sum((x - jnp.roll(x, 1, axis=1)) ** 2) / width


def anything(x):
    return 0.5 * jnp.sum(x**2)


def questions(**options):
    """Each gives numbers from draws and an energy."""
    return {
        "ksd": lambda x, e: diagnostics.ksd(x, e, **options),
        "ksd_test": lambda x, e: (
            diagnostics.ksd_test(jax.random.key(0), x, e, num_bootstrap=9, **options).statistic
        ),
        "stein_thinning": lambda x, e: diagnostics.stein_thinning(x, e, 3, **options),
        "identities": lambda x, e: diagnostics.identities(x, e, **options).virial.estimate,
        "energy_trace": lambda x, e: np.stack(
            [line.get_ydata() for line in jl.plot.energy_trace(x, e, **options).lines[:8]]
        ),
    }


QUESTIONS = sorted(questions())


@pytest.mark.parametrize("name", QUESTIONS)
def test_positions_may_have_any_shape(name):
    """As vectors they give the same; the energy tells chains from rows."""
    x = jax.random.normal(jax.random.key(0), (8, 4, 3, 5))
    question = questions()[name]
    flat = question(x.reshape(8, 4, 15), lambda v: lattice(v.reshape(3, 5)))
    np.testing.assert_allclose(question(x, lattice), flat, rtol=1e-5)
    one = question(x[0], lattice)
    np.testing.assert_allclose(
        one, question(x[0].reshape(4, 15), lambda v: lattice(v.reshape(3, 5))), rtol=1e-5
    )


@pytest.mark.parametrize(
    ("name", "shape"),
    [(name, (8, 4, 4)) for name in QUESTIONS]
    + [("identities", (8, 4, 4, 4)), ("ksd", (8, 4, 4, 4)), ("ksd", (4, 64))]
    + [("identities", (4, 64))],
)
def test_no_axis_is_guessed(name, shape):
    """For an energy that takes any shape."""
    x = jax.random.normal(jax.random.key(0), shape)
    with pytest.raises(ValueError, match=r"may be . draws of .*say which by position_shape="):
        questions()[name](x, anything)
    chains = questions(position_shape=shape[2:])[name](x, anything)
    draws = questions(position_shape=shape[1:])[name](x, anything)
    assert np.shape(chains) != np.shape(draws) or not np.allclose(chains, draws)
    with pytest.raises(ValueError, match=r"x|draws: expected shape \(draw, 7\)"):
        questions(position_shape=(7,))[name](x, anything)


@pytest.mark.parametrize("name", QUESTIONS)
def test_a_run_says_which_axes_are_a_position(name):
    start = jax.random.normal(jax.random.key(0), (8, 3, 3))
    run = jl.sample(jax.random.key(1), anything, jl.ula(0.1), start, num_steps=4)
    found = questions()[name](run, anything)
    np.testing.assert_array_equal(
        found, questions(position_shape=(3, 3))[name](run.draws, anything)
    )
    sums = dataclasses.replace(run, draws=run.draws.sum(axis=(2, 3)))
    with pytest.raises(ValueError, match=r"draws of this run, of shape \(\) each, are not"):
        questions()[name](sums, anything)


@pytest.mark.parametrize("name", QUESTIONS)
def test_scalar_positions_are_told_from_an_energy_that_forgot_to_sum(name):
    x = jax.random.normal(jax.random.key(0), (8, 6))
    found = questions(position_shape=())[name](x, lambda x: 0.5 * x**2)
    expected = questions()[name](x[..., None], lambda x: 0.5 * x[0] ** 2)
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    with pytest.raises(ValueError, match="energy: expected a scalar for one position"):
        questions()[name](x, lambda x: 0.5 * x**2)


def test_anything_but_an_array_of_draws_is_refused_with_what_to_give():
    start, energy = jnp.zeros((3, 1)), jl.energies.double_well()
    run = jl.sample(jax.random.key(0), energy, jl.ula(0.1), start, num_steps=8)
    tree = {"w": run.draws, "b": run.draws[..., 0]}
    for question in (
        diagnostics.ess,
        diagnostics.mcse,
        diagnostics.autocorrelation,
        lambda x: diagnostics.identities(x, energy),
        jl.plot.autocorrelation,
        lambda x: jl.plot.ksd(x, energy),
    ):
        with pytest.raises(TypeError, match=r"(x|draws): got None; .*observe=None"):
            question(None)
        with pytest.raises(
            TypeError, match=r"(x|draws): expected one array, got \{'b': float32\[3, 8"
        ):
            question(tree)
    # Those that know no position take no run.
    for question in (diagnostics.ess, diagnostics.mcse, diagnostics.autocorrelation):
        with pytest.raises(TypeError, match=r"x: got a Run; pass run\.draws"):
            question(run)


def test_identities_refuse_by_name():
    energy = jl.energies.quadratic(jnp.eye(2))
    x = jnp.ones((10, 2))
    with pytest.raises(ValueError, match=r"x: expected shape \(draw, d\) or \(chain, draw, d\)"):
        diagnostics.identities(x[:, 0], energy)
    with pytest.raises(ValueError, match=r"x: expected at least 4 draw\(s\)"):
        diagnostics.identities(x[:3], energy)
    with pytest.raises(ValueError, match="x: expected at least 4 draws a chain"):
        diagnostics.identities(x[:9].reshape(3, 3, 2), energy)
    with pytest.raises(ValueError, match="x: expected finite"):
        diagnostics.identities(x.at[0].set(jnp.inf), energy)
    with pytest.raises(ValueError, match="temperature: expected values above zero"):
        diagnostics.identities(x, energy, -1.0)
    with pytest.raises(ValueError, match=r"center: expected shape \(2,\)"):
        diagnostics.identities(x, energy, center=jnp.ones(3))
    with pytest.raises(ValueError, match="energy: its derivatives are not finite"):
        diagnostics.identities(x, lambda x: jnp.sum(jnp.log(x - 1)))


def test_identities_under_jit():
    energy = ENERGIES["mixture"]()
    x = energy.sample(jax.random.key(0), 100)
    plain = diagnostics.identities(x, energy)
    jitted = jax.jit(diagnostics.identities)(x, energy, jnp.float32(1.0))
    for a, b in zip(jax.tree.leaves(plain), jax.tree.leaves(jitted), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3)
