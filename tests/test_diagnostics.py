"""Series diagnostics against ArviZ, and what an energy says of draws against exact samplers."""

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
    }
    for draws in (1, 3, 4, 5, 6, 7, 9):
        for kind in range(3):
            named[f"short {draws}.{kind}"] = rng.normal(size=(2, draws))
        named[f"short ties {draws}"] = np.minimum(rng.normal(size=(2, draws)), 0)
        named[f"short constant {draws}"] = np.ones((2, draws))
    return named


SHAPES = sorted({x.shape for x in series().values()})


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # NumPy's, of ArviZ's NaN
@pytest.mark.filterwarnings("ignore::jlangevin.AxesWarning")  # for more chains than draws
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_series_are_those_of_arviz(shape, x64):
    arviz, named = stats(), {k: x for k, x in series().items() if x.shape == shape}
    together = np.stack(list(named.values()), axis=-1)
    ess = {method: diagnostics.ess(together, method) for method in ("bulk", "tail", "mean")}
    rhat, mcse = diagnostics.rhat(together), diagnostics.mcse(together)
    rho = diagnostics.autocorrelation(together)
    for i, (name, x) in enumerate(named.items()):

        def equal(found, expected, what, name=name, **tolerance):
            tolerance = {"rtol": 1e-9, "atol": 0, **tolerance}
            np.testing.assert_allclose(found, expected, **tolerance, err_msg=f"{what} of {name}")

        for method, found in ess.items():
            extra = {"prob": (0.05, 0.95)} if method == "tail" else {}
            equal(found[i], arviz.ess(x, method=method, **extra), f"ess {method}")
        equal(rhat[i], arviz.rhat(x), "rhat")
        # Of a constant's deviation, ArviZ has what rounding left, and we an exact zero.
        equal(mcse[i], arviz.mcse(x), "mcse", atol=1e-16)
        if "constant" not in name and name != "a chain that stands":
            equal(rho[..., i], arviz.autocorr(x, axis=1), "autocorrelation", atol=1e-9)


def test_tails_are_those_of_arviz_where_a_quantile_is_a_draw(x64):
    rng = np.random.default_rng(0)
    for chains, draws in [(1, 21), (1, 41), (7, 23)]:
        x = np.round(rng.normal(size=(chains, draws)), 1)
        expected = stats().ess(x, method="tail", prob=(0.05, 0.95))
        np.testing.assert_allclose(diagnostics.ess(x, "tail"), expected, rtol=1e-9)


@pytest.mark.parametrize("constant", [0.0, 0.1, 1.0, 3.7])
def test_chains_that_do_not_move_have_no_autocorrelation(constant, dtype):
    """Of one that moves beside them it is what it is by itself."""
    x = jnp.stack([jnp.full(100, constant), jnp.cos(jnp.arange(100.0))])
    still, moving = diagnostics.autocorrelation(x)
    assert np.isnan(still).all()
    np.testing.assert_array_equal(moving, diagnostics.autocorrelation(x[1:])[0])


def test_series_have_no_unit(x64):
    """Powers of two scale without rounding: 1e-18 is as good a unit as 1."""
    x = jnp.asarray(np.random.default_rng(0).normal(size=(3, 40)))
    for function in (diagnostics.ess, diagnostics.rhat, lambda x: diagnostics.ess(x, "mean")):
        np.testing.assert_array_equal(function(2.0**-60 * x), function(x))
    np.testing.assert_array_equal(diagnostics.mcse(2.0**-60 * x), 2.0**-60 * diagnostics.mcse(x))


@pytest.mark.parametrize("function", [diagnostics.ess, diagnostics.rhat, diagnostics.mcse])
def test_more_chains_than_draws_are_worth_a_word(function):
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
    with pytest.raises(ValueError, match=r"rho: the first .* are not 1; .*moveaxis\(rho, 1, 0\)"):
        diagnostics.integrated_time(chains)


def test_only_what_is_above_imports_diagnostics():
    root, above = Path(jl.__file__).parent, {"diagnostics", "plot", "__init__.py", "__main__.py"}
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


def mixture(dtype=float):
    return jl.energies.gaussian_mixture(
        jnp.array([[-3.0, 0.0], [3.0, 0.0], [0.0, 1.0]], dtype),
        jnp.stack([jnp.eye(2, dtype=dtype), 0.5 * jnp.eye(2, dtype=dtype)] * 2)[:3],
        jnp.array([0.2, 0.5, 0.3], dtype),
    )


def test_occupancies_are_the_weights_of_the_mixture(dtype):
    # Each fraction is a mean of n numbers in [0, 1]: off by more than t with a probability of at
    # most 2 exp(-2 n t²) (Hoeffding 1963), 1e-6 at this t for all three.
    law, n = mixture(dtype), 20_000
    t = np.sqrt(np.log(3 * 2 / 1e-6) / (2 * n))
    x = law.sample(jax.random.key(0), n)
    found = diagnostics.mode_occupancy(x.reshape(4, -1, 2), law)
    assert found.fractions.dtype == dtype
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
    np.testing.assert_allclose(diagnostics.mode_occupancy(x, law).fractions, soft, rtol=1e-12)
    found = diagnostics.mode_occupancy(x, law, hard=True).fractions
    np.testing.assert_allclose(found, hard, rtol=1e-12)


def test_chains_stuck_in_a_mode_are_seen_one_by_one():
    law = mixture()
    stuck = jnp.broadcast_to(law.means[:2, None], (2, 10, 2))
    each = jax.jit(jax.vmap(lambda x: diagnostics.mode_occupancy(x, law).fractions))(stuck)
    assert float(each[0, 0]) > 0.95
    assert float(each[1, 1]) > 0.95


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
def test_identities_hold_for_exact_draws(name, dtype):
    energy = ENERGIES[name]()
    x = energy.sample(jax.random.key(11), 20_000).astype(dtype)
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


def test_identities_at_a_temperature(dtype):
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
    # ULA's stationary variance at ηλ = 0.4 is 1 / (1 - 0.2) too large, and both ratios with it.
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
    """Masses on a ring, joined by springs: where all of it is, E does not say."""
    return 0.5 * jnp.sum((x - jnp.roll(x, 1)) ** 2)


@pytest.mark.parametrize("units", [1.0, 2.0**20])
def test_directions_without_a_law_are_not_counted(units, dtype):
    """Exact draws of a ring of springs, whose centre is anywhere; two of the coordinates far off
    each other in unit."""
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
    """A scale of 1e3 along the mean, and few draws, of which each has a gradient of its own."""

    def energy(x):
        mean = jnp.mean(x)
        return 0.5 * (mean / 1e3) ** 2 + 0.5 * jnp.sum((x - mean) ** 2)

    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.normal(size=(8, 6)) + 1e3 * rng.normal(size=(8, 1)), dtype)
    found = diagnostics.identities(x, energy)
    assert (int(found.num_dimensions), int(found.num_flat)) == (6, 0)


# Axes ---------------------------------------------------------------------------------------


def lattice(x):
    """Takes (a, b) alone, and is no sum over rows."""
    _, width = x.shape
    return 0.5 * jnp.sum(x**2) + jnp.sum((x - jnp.roll(x, 1, axis=1)) ** 2) / width


def anything(x):
    return 0.5 * jnp.sum(x**2)


def questions(**options):
    """Each gives numbers, of draws and an energy."""
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
    """As vectors they give the same; chains are told from rows by the energy."""
    x = jax.random.normal(jax.random.key(0), (8, 4, 3, 5))
    question = questions()[name]
    flat = question(x.reshape(8, 4, 15), lambda v: lattice(v.reshape(3, 5)))
    np.testing.assert_allclose(question(x, lattice), flat, rtol=1e-5)
    one = question(x[0], lattice)
    np.testing.assert_allclose(
        one, question(x[0].reshape(4, 15), lambda v: lattice(v.reshape(3, 5))), rtol=1e-5
    )


@pytest.mark.parametrize("shape", [(8, 4, 4), (8, 4, 4, 4), (4, 64)])
@pytest.mark.parametrize("name", QUESTIONS)
def test_no_axis_is_guessed(name, shape):
    """Of an energy that takes everything."""
    x = jax.random.normal(jax.random.key(0), shape)
    with pytest.raises(ValueError, match=r"may be . draws of .*say which by position_shape="):
        questions()[name](x, anything)
    chains = questions(position_shape=shape[2:])[name](x, anything)
    draws = questions(position_shape=shape[1:])[name](x, anything)
    assert np.shape(chains) != np.shape(draws) or not np.allclose(chains, draws)
    with pytest.raises(ValueError, match=r"x|draws: expected shape \(draw, 7\)"):
        questions(position_shape=(7,))[name](x, anything)


@pytest.mark.parametrize("name", QUESTIONS)
def test_scalar_positions_are_told_from_an_energy_that_forgot_to_sum(name):
    x = jax.random.normal(jax.random.key(0), (8, 6))
    found = questions(position_shape=())[name](x, lambda x: 0.5 * x**2)
    expected = questions()[name](x[..., None], lambda x: 0.5 * x[0] ** 2)
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    with pytest.raises(ValueError, match="energy: expected a scalar for one position"):
        questions()[name](x, lambda x: 0.5 * x**2)


def test_what_is_no_array_of_draws_is_refused_with_what_to_give():
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
        with pytest.raises(TypeError, match=r"(x|draws): got a Run; pass run\.draws"):
            question(run)
        with pytest.raises(TypeError, match=r"(x|draws): got None, .*observe=None"):
            question(None)
        with pytest.raises(
            TypeError, match=r"(x|draws): expected one array, got \{'b': float32\[3, 8"
        ):
            question(tree)


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


def test_identities_under_jit(dtype):
    energy = ENERGIES["mixture"]()
    x = energy.sample(jax.random.key(0), 100).astype(dtype)
    plain = diagnostics.identities(x, energy)
    jitted = jax.jit(diagnostics.identities)(x, energy, jnp.asarray(1.0, dtype))
    for a, b in zip(jax.tree.leaves(plain), jax.tree.leaves(jitted), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3)
