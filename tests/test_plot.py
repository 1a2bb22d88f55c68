"""Pictures by their content: what is drawn is what was given, and what the exact law says."""

import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image
from scipy import stats

import jlangevin as jl
from jlangevin import diagnostics, plot

FALSE_ALARM = 1e-6  # of every statistical check below


def draws(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(jnp.zeros(()).dtype)


def bowl(d=2):
    return jl.energies.quadratic(jnp.eye(d))


def mixture():
    covs = jnp.stack([jnp.eye(2)] * 2)
    return jl.energies.gaussian_mixture([[-3.0, 0.0], [3.0, 0.0]], covs, [0.75, 0.25])


def line(ax, label):
    (found,) = (each for each in ax.lines if each.get_label() == label)
    return found


def band(ax, number=0):
    """Where a `fill_between` lies: its abscissae, lower and upper bounds."""
    (path,) = ax.collections[number].get_paths()
    n = (len(path.vertices) - 3) // 2
    low, high = path.vertices[1 : n + 1], path.vertices[n + 2 : 2 * n + 2][::-1]
    return low[:, 0], low[:, 1], high[:, 1]


def legend(ax):
    return [text.get_text() for text in ax.get_legend().get_texts()]


SPAN = ((-3.0, 3.0), (-2.0, 2.0))


def trajectory_of_laws(num_steps=10):
    start = jl.Gaussian(jnp.array([3.0, -2.0]), 0.1 * jnp.eye(2))
    energy = jl.energies.quadratic(jnp.diag(jnp.array([1.0, 4.0])))
    return jl.exact.trajectory(jl.ula(0.1), energy, start, num_steps)


WELL = jl.energies.double_well()


def settled(kernel):
    return jl.exact.grid_stationary(kernel, WELL, jnp.zeros(1))


PICTURES = {
    "autocorrelation": lambda ax: plot.autocorrelation(draws(2, 50, 2), ax=ax),
    "cloud": lambda ax: plot.cloud(
        draws(9, 2), jl.Gaussian(jnp.zeros(2), jnp.eye(2)), label="draws", ax=ax
    ),
    "contours": lambda ax: plot.contours(bowl(), SPAN, ax=ax),
    "ecdf": lambda ax: plot.ecdf(draws(50), stats.norm, ax=ax),
    "energy_trace": lambda ax: plot.energy_trace(draws(3, 9, 2), bowl(), ax=ax),
    "histogram": lambda ax: plot.histogram(draws(50, 1), settled(jl.ula(0.05)), ax=ax),
    "ksd": lambda ax: plot.ksd(draws(9, 2, 2), bowl(), ax=ax),
    "mean": lambda ax: plot.mean(draws(9, 10, 2), trajectory_of_laws(), ax=ax),
    "moment_against_steps": lambda ax: plot.moment_against_steps(
        [1, 2], [0.0, 1.0], [1, 2], [0.0, 1.0], label="mean", ax=ax
    ),
    "occupancy": lambda ax: plot.occupancy(draws(9, 5, 2), mixture(), ax=ax),
    "qq": lambda ax: plot.qq(draws(50), stats.norm, ax=ax),
    "score_field": lambda ax: plot.score_field(bowl(), SPAN, ax=ax),
    "stationary_variance": lambda ax: plot.stationary_variance({"ULA": jl.ula}, [0.5, 1.0], ax=ax),
    "trajectory": lambda ax: plot.trajectory(draws(2, 9, 2), bowl(), ax=ax),
    "variance": lambda ax: plot.variance(draws(9, 10, 2), trajectory_of_laws(), ax=ax),
}
OTHERS = {
    "COLORS",
    "animate",
    "bias_and_relaxation",
    "density",
    "figure",
}  # have tests of their own


# All of them --------------------------------------------------------------------------------------


def test_every_picture_is_tested():
    assert PICTURES.keys() | OTHERS == set(plot.__all__)


@pytest.mark.parametrize("name", PICTURES)
def test_a_picture_is_drawn_on_the_axes_given_or_on_its_own(name):
    _, (other, given) = plot.figure(2)
    assert PICTURES[name](given) is given
    assert not other.has_data()
    own = PICTURES[name](None)
    assert own.figure is not given.figure
    assert own.has_data()
    own.figure.canvas.draw()  # and nothing about it makes Matplotlib warn


@pytest.mark.parametrize("name", sorted(PICTURES.keys() - {"moment_against_steps"}))
def test_both_axes_are_labelled(name):
    ax = PICTURES[name](None)
    assert ax.get_xlabel()
    assert ax.get_ylabel()


def test_matplotlib_is_imported_with_the_first_picture_and_pyplot_never():
    code = (
        "import sys, jlangevin as jl; assert 'matplotlib' not in sys.modules; jl.plot.figure(1); "
        "assert 'matplotlib' in sys.modules; assert 'matplotlib.pyplot' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_without_matplotlib_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match="the extra plot: pip install matplotlib"):
        plot.ecdf(draws(5), stats.norm)


def test_colours_differ_in_lightness_or_hue_for_the_colour_blind():
    """As deuteranopes see them (Viénot, Brettel and Mollon 1999)."""
    srgb = np.array([[int(c[i : i + 2], 16) / 255 for i in (1, 3, 5)] for c in plot.COLORS])
    linear = np.where(srgb > 0.04045, ((srgb + 0.055) / 1.055) ** 2.4, srgb / 12.92)
    seen = (
        linear
        @ np.array([[0.29275, 0.70725, 0.0], [0.29275, 0.70725, 0.0], [-0.02234, 0.02234, 1.0]]).T
    )
    apart = np.linalg.norm(seen[:, None] - seen[None], axis=-1)[np.triu_indices(6, 1)]
    assert apart.min() > 0.05


# The plane ----------------------------------------------------------------------------------------


def test_contours_are_at_their_energies():
    energy = jl.energies.quadratic(jnp.diag(jnp.array([1.0, 4.0])), mean=jnp.array([0.5, 0.0]))
    ax = plot.contours(energy, SPAN, temperature=2.0, levels=[0.25, 0.5])
    (lines,) = (c for c in ax.collections if hasattr(c, "levels"))
    for level, path in zip(lines.levels, lines.get_paths(), strict=True):
        x, y = path.vertices.T
        height = ((x - 0.5) ** 2 + 4 * y**2) / 2 / 2.0
        np.testing.assert_allclose(height, level, atol=0.01)
    assert ax.get_title() == r"contours: $(E - \min E)/T$"
    assert (ax.get_xlim(), ax.get_ylim()) == SPAN
    assert ax.get_aspect() == 1


def test_a_flat_energy_has_no_contours():
    ax = plot.contours(lambda x: 0 * x[0], SPAN)
    assert not ax.collections


def test_a_trajectory_is_the_draws_and_marks_both_ends():
    x = draws(2, 30, 2)
    ax = plot.trajectory(x, bowl())
    for i, path in enumerate(x):
        shown, first, last = ax.lines[3 * i : 3 * i + 3]
        np.testing.assert_array_equal(shown.get_xydata(), path)
        np.testing.assert_array_equal(first.get_xydata(), path[:1])
        np.testing.assert_array_equal(last.get_xydata(), path[-1:])
        assert ax.viewLim.contains(*path.min(0))
        assert ax.viewLim.contains(*path.max(0))
    assert legend(ax) == ["chain 0", "chain 1"]
    assert len(plot.trajectory(x[0], bowl()).lines) == 3


@pytest.mark.parametrize("given", ["energy", "score"])
def test_arrows_are_the_score(given):
    energy = jl.scores.score(lambda x: -x) if given == "score" else bowl()
    ax = plot.score_field(energy, SPAN, temperature=2.0, num=6)
    (arrows,) = ax.collections
    x, y = arrows.XY.T
    np.testing.assert_allclose(arrows.U, -x / 2, rtol=1e-5)
    np.testing.assert_allclose(arrows.V, -y / 2, rtol=1e-5)
    assert len(x) == 36
    # None is longer than a cell, so that they do not overlap.
    assert np.hypot(arrows.U, arrows.V).max() / arrows.scale <= 4 / 6
    (key,) = (each for each in ax.artists if hasattr(each, "label"))
    assert key.label == r"$|s| = |\nabla E|/T = 2$"


@pytest.mark.parametrize("kind", ["histogram", "kde"])
def test_densities_are_in_one_scale_and_integrate_to_one(kind):
    x = bowl().sample(jax.random.key(0), 3000)
    left, right = plot.density(x, bowl(), ((-4, 4), (-5, 5)), kind=kind, bins=20)
    measured, exact = (panel.images[0] for panel in (left, right))
    for image in (measured, exact):
        assert image.get_array().mean() * 80 == pytest.approx(1, rel=1e-3)
    assert measured.get_clim() == exact.get_clim()
    assert exact.get_array().max() == pytest.approx(1 / (2 * np.pi), rel=0.01)
    if kind == "histogram":
        h, *_ = np.histogram2d(*np.asarray(x).T, bins=20, range=((-4, 4), (-5, 5)), density=True)
        np.testing.assert_allclose(measured.get_array(), h.T)
    else:
        assert measured.get_array().max() == pytest.approx(1 / (2 * np.pi), rel=0.25)
    # Half of p is within |x|² < 2 log 2, and so on.
    for panel in (left, right):
        (lines,) = (c for c in panel.collections if hasattr(c, "levels"))
        for mass, path in zip((0.99, 0.9, 0.5), lines.get_paths(), strict=True):
            radius = np.hypot(*path.vertices.T)
            np.testing.assert_allclose(radius, np.sqrt(-2 * np.log1p(-mass)), atol=0.06)


def test_draws_outside_the_picture_are_told():
    x = np.concatenate([draws(50, 2), [[90.0, 0.0]]])
    left, _ = plot.density(x, bowl(), ((-9, 9), (-9, 9)))
    assert left.get_title() == "51 draws, histogram, 1 outside"


def test_a_cloud_is_on_ellipses_of_known_mass():
    law = jl.Gaussian(jnp.array([1.0, 2.0]), jnp.array([[2.0, 0.5], [0.5, 1.0]]))
    x = draws(30, 2)
    ax = plot.cloud(x, law, label="draws", most=20)
    np.testing.assert_array_equal(ax.collections[0].get_offsets(), x[:20])
    for mass, ellipse in zip((0.5, 0.9, 0.99), ax.lines, strict=True):
        u = np.linalg.solve(
            np.linalg.cholesky(law.cov), (ellipse.get_xydata() - np.asarray(law.mean)).T
        )
        np.testing.assert_allclose(stats.chi2(2).cdf(np.sum(u * u, axis=0)), mass, rtol=1e-4)
    assert legend(ax) == ["draws"]


# Moments ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("moment", ["mean", "variance"])
def test_moments_are_on_the_exact_curve(moment):
    x, law = draws(9, 5, 2), trajectory_of_laws()
    ax = getattr(plot, moment)(x, law, steps=[2, 4, 6, 8, 10], level=0.9)
    exact = np.asarray(law.mean if moment == "mean" else np.diagonal(law.cov, axis1=1, axis2=2))
    found = x.mean(axis=0) if moment == "mean" else x.var(axis=0, ddof=1)
    for i in range(2):
        curve = line(ax, f"$x_{{{i + 1}}}$, exact")
        np.testing.assert_array_equal(curve.get_xdata(), np.arange(11))
        np.testing.assert_allclose(curve.get_ydata(), exact[:, i], rtol=1e-6)
        points = ax.containers[i].lines[0]
        np.testing.assert_array_equal(points.get_xdata(), [2, 4, 6, 8, 10])
        np.testing.assert_allclose(points.get_ydata(), found[:, i], rtol=1e-5, atol=1e-7)
    assert ax.get_xlabel() == "steps $N$"
    assert ax.get_ylabel() == f"{moment} of $x_i$"
    assert ax.get_title() == f"points: measured; band: 90% of {moment}s of 9 chains"
    only = getattr(plot, moment)(x, law, coordinates=[1])
    assert legend(only) == ["$x_{2}$, exact"]


@pytest.mark.parametrize("moment", ["mean", "variance"])
@pytest.mark.parametrize("scale", [1.0, 1.3])
def test_the_band_holds_what_it_promises(moment, scale):
    """Of 4,000 replications of 9 chains, the number within the band is binomial. It is not for the
    mutant, whose draws have a variance 1.69 times too large."""
    law = trajectory_of_laws(1)
    _, low, high = band(getattr(plot, moment)(draws(9, 1, 2), law, level=0.9, coordinates=0))
    mean, sd = float(law.mean[1, 0]), float(law.cov[1, 0, 0]) ** 0.5
    x = mean + scale * sd * np.random.default_rng(0).normal(size=(4000, 9))
    found = x.mean(axis=1) if moment == "mean" else x.var(axis=1, ddof=1)
    within = int(np.sum((found > low[1]) & (found < high[1])))
    p = stats.binomtest(within, 4000, 0.9).pvalue
    assert (p > FALSE_ALARM) == (scale == 1.0)


# The bias of a step size --------------------------------------------------------------------------


def test_stationary_variances_are_on_their_closed_forms():
    kernels = {
        "ULA": lambda eta: jl.ula(eta, temperature=3.0),
        "OBABO": lambda h: jl.underdamped(h, 1.0, temperature=3.0, splitting="OBABO"),
        "MALA": lambda eta: jl.mala(eta, temperature=3.0),
    }
    measured = {"ULA": [1.7, 2.0], "MALA": [1.5, 1.6]}
    ax = plot.stationary_variance(
        kernels, [0.1, 0.8], precision=2.0, temperature=3.0, measured=measured, num_draws=50
    )
    step = line(ax, "ULA").get_xdata()
    np.testing.assert_allclose(step[[0, -1]], [0.1, 0.8], rtol=1e-6)
    np.testing.assert_allclose(line(ax, "ULA").get_ydata(), 1 / (1 - step), rtol=1e-4)
    np.testing.assert_allclose(line(ax, "OBABO").get_ydata(), 1 / (1 - step**2 / 2), rtol=1e-4)
    assert line(ax, "target, $T/\\lambda$").get_ydata() == [1, 1]
    assert legend(ax) == ["target, $T/\\lambda$", "ULA", "OBABO", "MALA"]
    for name, container in zip(("ULA", "MALA"), ax.containers, strict=True):
        points, _, (bars,) = container.lines
        values = np.array(measured[name]) / 1.5
        np.testing.assert_allclose(points.get_ydata(), values, rtol=1e-6)
        ends = np.array([segment[:, 1] for segment in bars.get_segments()])
        chi2 = stats.chi2(49).ppf([0.995, 0.005])
        np.testing.assert_allclose(ends, 49 * values[:, None] / chi2, rtol=1e-6)


def test_the_curve_of_an_unstable_kernel_ends():
    ax = plot.stationary_variance({"ULA": jl.ula}, [1.0, 3.0])
    step, value = line(ax, "ULA").get_data()
    np.testing.assert_array_equal(np.isfinite(value), step < 2)


# Exact laws on a grid -----------------------------------------------------------------------------


def test_a_histogram_has_the_scale_of_the_exact_density_and_tells_what_is_outside():
    law, target = settled(jl.ula(0.05)), jl.exact.grid_target(WELL, jnp.zeros(1))
    samples = np.append(np.asarray(law.sample(jax.random.key(0), 999))[:, 0], 99.0)
    ax = plot.histogram(samples, law, target, bins=40)
    for label, each in (("exact law", law), ("target", target)):
        x, y = line(ax, label).get_data()
        np.testing.assert_allclose(y, each.density(x), rtol=1e-12)
        np.testing.assert_allclose(each.cdf(x[[0, -1]]), [0, 1], atol=1e-5)
    assert sum(bar.get_height() * bar.get_width() for bar in ax.patches) == pytest.approx(0.999)
    assert legend(ax)[0] == "1,000 draws, 1 outside"
    assert ax.get_title() == "law to target: total variation 0.082"


def test_bias_and_relaxation_are_the_exact_ones():
    energy, eta = jl.energies.quadratic(2.0 * jnp.eye(1)), np.array([0.2, 0.5, 1.5])
    kernels = {"ULA": lambda eta: jl.ula(eta, temperature=3.0)}
    left, right = plot.bias_and_relaxation(
        kernels,
        eta,
        energy,
        jnp.zeros(1),
        measured={"ULA": [1.5, 3.0, 9.0]},
        times={"ULA": [4.0, 1.0, 1.0]},
        num_draws=50,
    )
    r = 1 - 2 * eta[:2]
    np.testing.assert_allclose(line(left, "ULA").get_ydata()[:2], 1 / (1 - eta[:2]), rtol=1e-4)
    np.testing.assert_allclose(line(right, "ULA").get_ydata()[:2], (1 + r) / (1 - r), rtol=1e-3)
    assert np.isnan(line(left, "ULA").get_ydata()[2])  # unstable
    (container,) = left.containers
    points, _, (bars,) = container.lines
    np.testing.assert_allclose(points.get_ydata(), [1, 2, 6], rtol=1e-5)
    ends = np.array([segment[:, 1] for segment in bars.get_segments()[:2]])
    # One squared deviation of a Gaussian has the standard deviation √2 S.
    half = 3 * np.sqrt(2 / 50) / (1 - eta[:2])
    np.testing.assert_allclose(ends[:, 1] - ends[:, 0], 2 * half, rtol=1e-3)
    assert left.get_ylabel() == "stationary variance / target's"
    assert right.get_ylabel() == "steps for one draw"


def test_kernels_without_any_law_are_refused_with_the_reason():
    with pytest.raises(jl.NoStationaryLawError, match="leaves in every step"):
        plot.bias_and_relaxation({"ULA": jl.ula}, [2.5], bowl(1), jnp.zeros(1))
    for options, words in (
        ({"times": {"ula": [1.0]}}, "times: .* not among the kernels"),
        ({"measured": {"ULA": 1.0}}, "measured.*expected shape"),
    ):
        with pytest.raises(ValueError, match=words):
            plot.bias_and_relaxation({"ULA": jl.ula}, [0.1], bowl(1), jnp.zeros(1), **options)


# Series -------------------------------------------------------------------------------------------


def test_energies_are_those_of_the_draws():
    x = draws(3, 7, 2)
    ax = plot.energy_trace(x, bowl(), temperature=2.0, steps=range(0, 14, 2), expected=0.5)
    exact = np.sum(x**2, axis=-1) / 4
    for chain, shown in zip(exact, ax.lines, strict=False):
        np.testing.assert_array_equal(shown.get_xdata(), np.arange(0, 14, 2))
        np.testing.assert_allclose(shown.get_ydata(), chain, rtol=1e-5)
    np.testing.assert_allclose(line(ax, "mean of 3").get_ydata(), exact.mean(axis=0), rtol=1e-5)
    assert line(ax, "expected under $p$").get_ydata() == [0.5, 0.5]
    assert ax.get_ylabel() == "energy $E(x_N)/T$"
    assert legend(plot.energy_trace(x[0], bowl())) == ["a chain"]


def test_autocorrelations_are_means_over_chains():
    x = draws(3, 40, 2)
    known = 0.5 ** np.arange(11.0)
    ax = plot.autocorrelation(x, max_lag=10, exact=np.stack([known, 0 * known], axis=1))
    expected = np.asarray(diagnostics.autocorrelation(x)).mean(axis=0)[:11]
    for i in range(2):
        shown = line(ax, f"$x_{{{i + 1}}}$, measured")
        np.testing.assert_array_equal(shown.get_xdata(), np.arange(11))
        np.testing.assert_allclose(shown.get_ydata(), expected[:, i])
    np.testing.assert_allclose(line(ax, "$x_{1}$, exact").get_ydata(), known, rtol=1e-6)
    assert not line(ax, "$x_{2}$, exact").get_ydata().any()


def test_occupancies_are_fractions_beside_weights():
    x = np.zeros((4, 3, 2), np.float32)
    x[..., 0] = np.array([[-3, -3, 3], [-3, 3, 3], [-3, 3, 3], [-3, 3, 3]])
    ax = plot.occupancy(x, mixture(), steps=[0, 10, 20])
    np.testing.assert_allclose(line(ax, "mode 0").get_ydata(), [1, 0.25, 0], atol=1e-6)
    np.testing.assert_allclose(line(ax, "mode 1").get_ydata(), [0, 0.75, 1], atol=1e-6)
    np.testing.assert_array_equal(line(ax, "mode 1").get_xdata(), [0, 10, 20])
    dashed = [each.get_ydata()[0] for each in ax.lines if each.get_linestyle() == "--"]
    assert dashed == [0.75, 0.25]


def test_occupancies_of_many_modes_are_colours():
    means = np.stack(np.meshgrid(np.arange(5.0), np.arange(5.0)), -1).reshape(25, 2) * 10
    law = jl.energies.gaussian_mixture(means, 0.1 * np.stack([np.eye(2)] * 25))
    x = np.stack([means, means[::-1], np.broadcast_to(means[3], means.shape)], axis=1)
    ax = plot.occupancy(x.astype(np.float32), law, steps=[1, 2, 3])
    (mesh,) = ax.collections
    ratio = np.asarray(mesh.get_array()).reshape(25, 3)
    np.testing.assert_allclose(ratio[:, :2], 0, atol=1e-5)
    np.testing.assert_allclose(ratio[3, 2], np.log2(25), atol=1e-5)
    assert ratio[4, 2] == -2


def test_discrepancies_are_roots_and_their_level_is_that_of_exact_draws():
    x, exact = draws(30, 4, 2), draws(70, 2, seed=1)
    ax = plot.ksd(x, bowl(), steps=[1, 10, 100, 1000], exact=exact)
    expected = [float(diagnostics.ksd(x[:, k], bowl())) ** 0.5 for k in range(4)]
    np.testing.assert_allclose(line(ax, "30 chains").get_ydata(), expected, rtol=1e-5)
    # k_p(x, x) = |x|² + d
    level = np.mean(np.sum(exact**2, axis=1) + 2) / 30
    np.testing.assert_allclose(line(ax, "30 draws of $p$").get_ydata(), level**0.5, rtol=1e-3)
    assert (ax.get_xscale(), ax.get_yscale()) == ("log", "log")


# Against a law ------------------------------------------------------------------------------------


def test_an_ecdf_is_on_the_law_and_its_band():
    law = jl.Gaussian(jnp.array([0.0, 2.0]), jnp.diag(jnp.array([1.0, 9.0])))
    x = draws(100, 2)
    ax = plot.ecdf(x, law, coordinate=1, false_alarm=0.05)
    values, heights = line(ax, "100 draws").get_data()
    np.testing.assert_allclose(values[1:], np.sort(x[:, 1]))
    np.testing.assert_allclose(heights, np.arange(101) / 100)
    at, exact = line(ax, "law").get_data()
    np.testing.assert_allclose(exact, stats.norm(2, 3).cdf(at), atol=1e-6)
    _, low, high = band(ax)
    radius = np.sqrt(np.log(2 / 0.05) / 200)
    np.testing.assert_allclose(low, np.maximum(exact - radius, 0))
    np.testing.assert_allclose(high, np.minimum(exact + radius, 1))
    assert ax.get_xlabel() == "$x_2$"


def test_a_qq_plot_is_of_ordered_draws_within_the_same_band():
    x = draws(200)
    ax = plot.qq(x, stats.norm(0.5, 1), false_alarm=0.05)  # a law that they do not have
    at, values = line(ax, "200 draws").get_data()
    np.testing.assert_array_equal(values, np.sort(x))
    np.testing.assert_allclose(at, stats.norm(0.5, 1).ppf((np.arange(200) + 0.5) / 200))
    ecdf, radius = np.arange(201) / 200, jl.verify.dkw_radius(200, 0.05)
    exact = stats.norm(0.5, 1).cdf(np.sort(x))
    outside = (ecdf[1:] - exact > radius) | (exact - ecdf[:-1] > radius)
    assert outside.any()
    _, low, high = band(ax)
    np.testing.assert_array_equal((values < low) | (values > high), outside)
    assert ax.get_title() == f"{outside.sum()} of 200 draws outside the band"


def test_right_draws_leave_the_band_as_rarely_as_stated():
    """Massart's bound is nearly an equality: of 2,000 replications 200 or fewer are expected."""
    x = np.sort(np.random.default_rng(0).uniform(size=(2000, 400)), axis=1)
    k, radius = np.arange(1, 401), jl.verify.dkw_radius(400, 0.1)
    left = int(np.sum(np.any((k / 400 - x > radius) | (x - (k - 1) / 400 > radius), axis=1)))
    assert stats.binomtest(left, 2000, 0.1, "greater").pvalue > FALSE_ALARM
    # A radius a tenth smaller does not keep the promise.
    left = int(
        np.sum(np.any((k / 400 - x > 0.9 * radius) | (x - (k - 1) / 400 > 0.9 * radius), axis=1))
    )
    assert stats.binomtest(left, 2000, 0.1, "greater").pvalue < FALSE_ALARM


# In motion ----------------------------------------------------------------------------------------


def test_a_film_has_a_frame_for_each_draw(tmp_path):
    x = draws(4, 3, 2)
    film = plot.animate(x, bowl(), steps=[10, 20, 1000], seconds=0.3, trail=1)
    film.save(tmp_path / "film.gif", writer="pillow", dpi=40)
    with Image.open(tmp_path / "film.gif") as saved:
        assert (saved.format, saved.n_frames) == ("GIF", 3)
        assert saved.info["duration"] == pytest.approx(100)
    ax = film._fig.axes[0]
    np.testing.assert_array_equal(ax.lines[-1].get_xydata(), x[:, -1])
    np.testing.assert_array_equal(ax.lines[0].get_xydata(), x[0, 1:])
    assert ax.get_title() == "after 1,000 steps"


# Bad input ----------------------------------------------------------------------------------------

LAWS = trajectory_of_laws()
NORMAL = jl.Gaussian(jnp.zeros(2), jnp.eye(2))
KERNELS = {"ULA": jl.ula}


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: plot.trajectory(draws(9, 3), bowl()), "draws: a picture of the plane needs d = 2"),
        (lambda: plot.trajectory(draws(9), bowl()), "draws: expected shape .*draws.*None"),
        (lambda: plot.trajectory(draws(7, 9, 2), bowl()), "draws: a picture shows at most 6 paths"),
        (lambda: plot.trajectory(np.full((3, 2), np.nan), bowl()), "draws: expected finite"),
        (lambda: plot.animate(draws(9, 3), bowl()), "draws: a picture of the plane"),
        (lambda: plot.figure(0), "num_panels: expected at least 1"),
        (lambda: plot.contours(bowl(), (0, 1)), "span: expected"),
        (lambda: plot.contours(bowl(), ((1, 0), (0, 1))), "span: expected from < to"),
        (lambda: plot.contours(bowl(), SPAN, temperature=0.0), "temperature"),
        (
            lambda: plot.contours(bowl(), SPAN, levels=[2.0, 1.0]),
            "levels: expected heights, each above the one before; got",
        ),
        (lambda: plot.contours(lambda x: jnp.log(x[0]), SPAN), "energy: expected finite"),
        (lambda: plot.score_field(bowl(), SPAN, num=0), "num: expected at least 1"),
        (lambda: plot.density(draws(9, 3), bowl(), SPAN), "draws: a picture of the plane"),
        (lambda: plot.density(draws(9, 2), bowl(), SPAN, kind="box"), "kind: expected"),
        (lambda: plot.density(draws(9, 2) + 99, bowl(), SPAN), "span: none of the 9 draws"),
        (lambda: plot.density(np.ones((9, 2)), bowl(), SPAN, kind="kde"), "draws: a kernel"),
        (lambda: plot.cloud(draws(9, 3), NORMAL, label=""), "samples: a picture of the plane"),
        (lambda: plot.mean(draws(9, 11, 2), LAWS), "law: the trajectory ends after 10 steps"),
        (lambda: plot.mean(draws(9, 2), LAWS), "draws: expected shape"),
        (lambda: plot.mean(draws(9, 3, 2), NORMAL), "law: expected a trajectory"),
        (lambda: plot.mean(draws(9, 3, 1), LAWS), "law: expected a trajectory of laws in 1"),
        (lambda: plot.mean(draws(9, 3, 2), LAWS, level=1.0), "level: expected a probability"),
        (lambda: plot.mean(draws(9, 3, 2), LAWS, steps=[1, 2]), "steps: expected a number for"),
        (lambda: plot.mean(draws(9, 3, 2), LAWS, steps=[1, 3, 2]), "steps: expected numbers"),
        (lambda: plot.mean(draws(9, 3, 2), LAWS, coordinates=[2]), "coordinates: expected"),
        (lambda: plot.variance(draws(1, 3, 2), LAWS), "at least 2 chain"),
        (lambda: plot.stationary_variance({}, [0.1]), "kernels: a picture shows"),
        (lambda: plot.stationary_variance(KERNELS, [0.2, 0.1]), "step_sizes: expected"),
        (lambda: plot.stationary_variance(KERNELS, [0.0, 0.1]), "step_sizes: expected"),
        (
            lambda: plot.stationary_variance(KERNELS, [0.1], measured={"ula": [1.0]}),
            "measured: .* not among the kernels",
        ),
        (
            lambda: plot.stationary_variance(KERNELS, [0.1], measured={"ULA": [1.0, 2.0]}),
            "measured.*expected shape",
        ),
        (lambda: plot.autocorrelation(draws(2, 9, 7)), "coordinates: a picture shows 1 to 6"),
        (lambda: plot.autocorrelation(draws(2, 9, 1), max_lag=9), "max_lag: 9 draws"),
        (lambda: plot.autocorrelation(np.ones((2, 9, 1))), "does not move"),
        (lambda: plot.autocorrelation(draws(2, 9, 1), max_lag=3, exact=[1.0]), "exact: expected"),
        (lambda: plot.occupancy(draws(2, 9, 1), mixture()), "x: expected draws in 2"),
        (lambda: plot.ksd(draws(9, 2), bowl()), "draws: expected shape"),
        (lambda: plot.ksd(draws(9, 2, 2), bowl(), steps=[0, 1]), "steps: the axis is logarithmic"),
        (lambda: plot.ecdf(draws(2, 9, 1), NORMAL), "samples: .*draws of one chain are dependent"),
        (lambda: plot.ecdf(draws(9, 2), NORMAL, coordinate=2), "coordinate: samples have 2"),
        (lambda: plot.ecdf(draws(9, 1), NORMAL), "law: expected a mean of shape"),
        (lambda: plot.ecdf(draws(9, 2), NORMAL, false_alarm=0), "false_alarm: expected"),
        (lambda: plot.histogram(draws(9, 2), settled(jl.ula(0.05))), "samples: expected shape"),
        (lambda: plot.qq(draws(9, 2), LAWS), "law: expected one law"),
        (lambda: plot.qq(draws(9, 2), jl.Gaussian([0.0, 0.0], np.zeros((2, 2)))), "no variance"),
    ],
)
def test_bad_input_is_refused_by_name(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"measured": [0.0]}, r"measured: expected shape \(2,\), as steps, got \(1,\)"),
        ({"band": 1.0}, r"band: expected shape \(2,\), as steps, got \(\)"),
        ({"exact": [0.0]}, r"exact: expected shape \(3,\), as exact_steps, got \(1,\)"),
    ],
)
def test_moments_of_another_number_than_steps_are_refused(changes, message):
    given = {"steps": [1, 2], "measured": [0, 1], "exact_steps": [0, 1, 2], "exact": [0, 1, 2]}
    with pytest.raises(ValueError, match=message):
        plot.moment_against_steps(**(given | changes), label="mean")


def test_a_level_is_a_number():
    with pytest.raises(TypeError, match="level: expected a probability"):
        plot.mean(draws(9, 3, 2), LAWS, level=None)


@pytest.mark.parametrize(
    "call",
    [
        lambda: plot.mean(draws(9, 3, 2), stats.norm),
        lambda: plot.qq(draws(9), 1.0),
        lambda: plot.histogram(draws(9), stats.norm),
        lambda: plot.occupancy(draws(2, 9, 2), bowl()),
    ],
)
def test_what_is_not_a_law_is_refused(call):
    with pytest.raises(TypeError, match=r"law: expected|mixture: expected"):
        call()
