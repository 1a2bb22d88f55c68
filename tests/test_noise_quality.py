"""The generator passes the script that tests 10⁸ normals against their law, and wrong ones fail.
The script stands in `benchmarks/`; here its tests see fewer draws."""

import functools
import json
import math
import sys

import jax
import jax.numpy as jnp
import noise_quality as quality
import numpy as np
import pytest
from scipy import special, stats

from jlangevin import noise
from jlangevin.noise import Purpose, Want

pytestmark = pytest.mark.slow

FEW = quality.layouts(20_000)


def study(make=quality.draw, *, draws=100_000, dtype="float32"):
    return quality.study(FEW, draws // 100_000, 0, dtype, make)


def rejected(make, draws):
    """What rejects a wrong generator."""
    with np.errstate(invalid="ignore"):
        return quality.rejected(study(make, draws=draws)[1])


# The generator ------------------------------------------------------------------------------


def test_the_generator_passes(dtype):
    draws, checks = study(dtype=dtype)
    assert draws == 100_000
    assert quality.rejected(checks) == []
    assert [c.group for c in checks] == sorted((c.group for c in checks), key=GROUPS.index)
    assert {c.group for c in checks} == set(GROUPS)
    assert len({c.name for c in checks}) == len(checks)


GROUPS = ["moments", "distribution", "tails", "extremes", "correlations"]


def test_both_orders_of_axes_occur():
    def pairs_last(layout):
        of = noise.streams(jax.random.key(0), jnp.arange(layout.chains, dtype=jnp.uint32))
        made = jax.eval_shape(
            lambda of: noise.pairs(of, Want.NORMAL, layout.like("float32"), 0, 1), of
        )
        return made.pairs_last

    for layouts in (FEW, quality.layouts()):
        assert [pairs_last(layout) for layout in layouts] == [False, True, True, False, False]


@pytest.mark.parametrize("layout", FEW, ids=lambda layout: layout.name)
def test_chunks_are_the_noise_of_one_step_after_the_other(layout):
    """The noise that a run of these chains would take; the second chunk goes on after the first."""
    key, like = jax.random.key(3), layout.like("float32")
    at_step = jax.jit(functools.partial(noise.at_step, wants=Want.NORMAL, like=like))
    for index in (0, 1):
        z = quality.draw(layout, key, index, "float32")
        assert z.shape == (layout.steps, layout.elements, layout.chains)
        assert z.size == 20_000
        chain = index * layout.chains if layout.other_chains else 0
        first = 0 if layout.other_chains else index * layout.steps
        of = noise.streams(key, jnp.array([chain], jnp.uint32))
        for step in (0, 7):
            own = at_step(of, step=first + step)
            own = np.concatenate([np.asarray(leaf).reshape(-1) for leaf in own])
            np.testing.assert_array_equal(z[step, :, 0], own.astype(np.float64))


def test_a_flipped_key_differs_in_one_bit():
    key = jax.random.key(5)
    words = [
        np.asarray(jax.random.key_data(k))
        for k in (key, *(quality.flipped(key, b) for b in (3, 40)))
    ]
    assert (words[0] ^ words[1]).tolist() == [8, 0]
    assert (words[0] ^ words[2]).tolist() == [0, 256]


@pytest.mark.parametrize("sigmas", [4.0, 4.5, 5.0])
def test_32_bits_have_the_tail_of_the_normal(sigmas):
    """Counted over all words of radius and angle: within the bound that the script states, and
    within a thousandth of the tail."""
    cells = np.arange(math.ceil(2.0**32 * math.exp(-(sigmas**2) / 2)) + 1)
    radius = np.sqrt(-2 * np.log((cells + 0.5) / 2.0**32))
    half_arc = np.arccos(np.minimum(sigmas / radius, 1)) * 2.0**32 / (2 * np.pi)
    angles = 2 * np.floor(half_arc + 0.5)  # cells on either side of the axis, by their centres
    found, exact = np.sum(angles) / 2.0**64, special.ndtr(-sigmas)
    assert abs(found - exact) < min(2.0**-31, 1e-3 * exact)


# The tests of the script --------------------------------------------------------------------


def test_the_tally_counts_and_sums():
    z = np.random.default_rng(0).standard_normal((4, 5, 50))
    tally = quality.Tally(6.0)
    for part in z:
        tally.add(part)
    tally.add(np.array([np.nan, -np.inf, 7.0]))
    assert (tally.size, tally.not_finite, tally.beyond, tally.largest) == (1001, 2, 1, 7.0)
    flat = np.append(z, 7.0)
    np.testing.assert_allclose(tally.powers, [np.sum(flat**k) for k in range(1, 9)])
    counted = [
        [np.sum(-flat > s) for s in quality.SIGMAS],
        [np.sum(flat > s) for s in quality.SIGMAS],
    ]
    np.testing.assert_array_equal(tally.tails, counted)
    edges = stats.norm.ppf(np.arange(1, quality.GRID) / quality.GRID)
    cells = np.searchsorted(edges, flat, side="right")
    np.testing.assert_array_equal(tally.grid, np.bincount(cells, minlength=quality.GRID))


def test_the_gap_is_that_of_kolmogorov_and_smirnov():
    x = 1.01 * np.random.default_rng(0).standard_normal(10_000)
    tally = quality.Tally(10.0)
    tally.add(x)
    found, reference = quality.check_distribution(tally)[0], stats.kstest(x, "norm")
    assert 0 <= reference.statistic - found.statistic <= 1 / quality.GRID
    assert abs(found.p - reference.pvalue) < 0.01


def test_p_values_are_level(monkeypatch):
    """Of 300 correct samples, 20% ± 10% have a p-value below 0.2, test by test."""
    monkeypatch.setattr(quality, "GRID", 20_000)  # enough for so few draws
    rng = np.random.default_rng(0)
    below, samples = {}, 300
    for _ in range(samples):
        tally, products = quality.Tally(10.0), quality.Products()
        z = rng.standard_normal((20, 10, 100))
        tally.add(z)
        products.add_neighbours("", z)
        moments, correlations = quality.check_moments(tally), quality.check_correlations(products)
        for check in (*moments[:4], *quality.check_distribution(tally), *correlations):
            below[check.name] = below.get(check.name, 0) + (check.p < 0.2)
    assert len(below) == 14
    for name, count in below.items():
        assert abs(count / samples - 0.2) < 0.1, name


# Wrong generators ---------------------------------------------------------------------------


def changed(change):
    """The generator with its normals changed."""

    def make(layout, key, index, dtype, purpose):
        return change(quality.draw(layout, key, index, dtype, purpose))

    return make


def independent(law):
    """NumPy's numbers in place of ours."""
    rng = np.random.default_rng(0)
    return changed(lambda z: law(rng, z.shape))


def truncated(z):
    """What is beyond 4.5 sigma is put at the median."""
    return np.where(np.abs(z) > 4.5, 0, z)


def one_value(value):
    def change(z):
        z = z.copy()
        z.reshape(-1)[z.size // 2] = value
        return z

    return changed(change)


def odd_steps(of_even):
    """The second of a pair made from the first and itself."""

    def change(z):
        z = z.copy()
        z[1::2] = of_even(z[::2], z[1::2])
        return z

    return changed(change)


def mixed(axis, weight=0.03):
    """Each has a little of its neighbour's noise."""

    def change(z):
        return (z + weight * np.roll(z, 1, axis)) / math.sqrt(1 + weight**2)

    return changed(change)


def evenly_spread(z):
    """Each chunk has the quantiles of equal cells, in random order."""
    rng = np.random.default_rng(0)
    return rng.permutation(stats.norm.ppf((np.arange(z.size) + 0.5) / z.size)).reshape(z.shape)


def without_purpose(layout, key, index, dtype, purpose):
    return quality.draw(layout, key, index, dtype, Purpose.STEP)


def without_last_bit_of_the_key(layout, key, index, dtype, purpose):
    words = jax.random.key_data(key) & np.array([0xFFFFFFFE, 0xFFFFFFFF], np.uint32)
    key = jax.random.wrap_key_data(words, impl="threefry2x32")
    return quality.draw(layout, key, index, dtype, purpose)


MUTANTS = {
    "twelve uniforms": (
        independent(lambda rng, shape: rng.random((12, *shape)).sum(0) - 6),
        600_000,
        "mean of x^4",
    ),
    "mean 0.01": (changed(lambda z: z + 0.01), 600_000, "mean of x^1"),
    "scale 1.01": (changed(lambda z: 1.01 * z), 600_000, "mean of x^2"),
    "scale 1.003": (changed(lambda z: 1.003 * z), 3_000_000, "mean of x^2"),
    "skew": (changed(lambda z: (z + 0.01 * (z**2 - 1)) / 1.0001), 600_000, "mean of x^3"),
    "fifty degrees of freedom": (
        independent(lambda rng, shape: rng.standard_t(50, shape) * math.sqrt(48 / 50)),
        600_000,
        "mean of x^6",
    ),
    "truncated": (changed(truncated), 3_000_000, "largest |x|"),
    "a thick right tail": (changed(lambda z: np.where(z > 2.9, z + 0.3, z)), 600_000, "x > 4"),
    "a thick left tail": (changed(lambda z: np.where(z < -2.9, z - 0.3, z)), 600_000, "x < -4"),
    "a dent": (
        changed(lambda z: np.where((z > 0.3) & (z < 0.31), 0.3, z)),
        100_000,
        "χ² of 1,000 bins",
    ),
    "a gap": (
        changed(lambda z: np.where((z > 0) & (z < 0.02), 0.02, z)),
        600_000,
        "Kolmogorov-Smirnov, gap",
    ),
    "steps of 1/256": (changed(lambda z: np.round(z * 256) / 256), 600_000, "χ² of 1,000 bins"),
    "evenly spread": (changed(evenly_spread), 100_000, "χ² of 1,000 bins"),
    "a NaN": (one_value(np.nan), 100_000, "NaN, infinite or beyond 6.764"),
    "an infinity": (one_value(-np.inf), 100_000, "NaN, infinite or beyond 6.764"),
    "one too far": (one_value(6.77), 100_000, "NaN, infinite or beyond 6.764"),
    "pairs correlated": (
        odd_steps(lambda a, b: 0.05 * a + math.sqrt(1 - 0.05**2) * b),
        600_000,
        "two steps of a pair, one number",
    ),
    "pairs of like size": (
        odd_steps(lambda a, b: np.where(np.abs(a) > 2, np.copysign(a, b), b)),
        600_000,
        "two steps of a pair, many elements, squares",
    ),
    "steps mixed": (mixed(0), 600_000, "steps of two pairs, few chains, many steps"),
    "elements mixed": (mixed(1), 600_000, "elements, many elements"),
    "chains mixed": (mixed(2), 600_000, "chains, many chains, few steps"),
    "one noise for all purposes": (without_purpose, 100_000, "purposes step and init"),
    "a bit of the key unused": (without_last_bit_of_the_key, 100_000, "keys that differ in a bit"),
}


@pytest.mark.parametrize("mutant", MUTANTS)
def test_a_wrong_generator_is_rejected(mutant):
    make, draws, by = MUTANTS[mutant]
    assert by in [check.name for check in rejected(make, draws)]


# The command --------------------------------------------------------------------------------


@pytest.fixture
def command(monkeypatch):
    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["noise_quality.py", *arguments])
        before = jax.config.jax_enable_x64
        try:
            quality.main()
        finally:
            jax.config.update("jax_enable_x64", before)

    return run


@pytest.mark.parametrize("precision", [[], ["--x64"]], ids=["float32", "float64"])
def test_the_command_prints_and_writes_its_table(precision, command, capsys, tmp_path):
    figures = tmp_path / "figures.json"
    command("--draws", "1000", "--json", str(figures), *precision)
    out = capsys.readouterr().out
    assert "100,000 normals in " + ("float64" if precision else "float32") in out
    assert "60 tests at 1.7e-08 each, 1e-06 together" in out
    assert "Verdict: none rejects" in out
    checks = json.loads(figures.read_text())["results"]["checks"]
    assert len(checks) == 60
    assert all(check["name"] in out for check in checks)


def test_the_command_fails_where_a_test_rejects(command, monkeypatch):
    wider = functools.partial(quality.study, make=changed(lambda z: 1.1 * z))
    monkeypatch.setattr(quality, "study", wider)
    with pytest.raises(SystemExit, match=r"Rejected: mean of x\^2"):
        command("--draws", "1000")
