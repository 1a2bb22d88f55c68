"""Laws on a grid agree with recorded laws, affine laws, formulas, and chains that run."""

import itertools
import json
import pathlib
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from exact_laws import arr, gaussian
from jax.tree_util import Partial

import jlangevin as jl
from jlangevin import exact
from jlangevin.exact.grid.crossings import crossings
from jlangevin.exact.grid.panels import Panels
from jlangevin.exact.grid.steps import StepFunction
from jlangevin.noise import Want

CASES = json.loads((pathlib.Path(__file__).parents[1] / "grid_laws.json").read_text())["cases"]

# The ends of the recorded laws' grids, where what lies beyond them counts: for the double well by
# the mass that has left, for MALA where it moves with probability 1e-4.
ENDS = {"ula": 4.2, "tamed_ula": 4.2, ("mala", 0.05): 3.5575, ("mala", 0.15): 2.3985}


def polynomial(coefficients, x):
    return jnp.polyval(coefficients, x[0])


def double_well():
    """(x² - 1)², with the programs that the recorded cases have."""
    return Partial(polynomial, arr([1.0, 0.0, -2.0, 0.0, 1.0]))


def quartic():
    return Partial(polynomial, arr([1.0, 0.0, 0.0, 0.0, 0.0]))


def from_case(case):
    energy = Partial(polynomial, arr(case["coefficients_low_to_high"][::-1]))
    kernel = getattr(jl, case["kernel"])(case["step_size"], temperature=case["temperature"])
    within = None
    if "double" in case["energy"]:
        name = case["kernel"]
        end = ENDS.get(name, ENDS.get((name, case["step_size"])))
        within = None if end is None else (-end, end)
    return kernel, energy, within


def case_id(case):
    if isinstance(case, dict):
        return f"{case['energy'].split()[0]}-{case['kernel']}-{case['step_size']}"
    return None


def moments(law):
    return [float(np.dot(law.measure, law.states**k)) for k in range(5)]


# With seven kernels to an energy, each kernel has each number of steps on one of the energies.
@pytest.mark.parametrize(
    ("case", "num_steps"), list(zip(CASES, itertools.cycle((1, 37, 5)))), ids=case_id
)
def test_laws_are_the_recorded_ones(case, num_steps, x64):
    kernel, energy, within = from_case(case)
    start = gaussian([case["start_mean"]], [[case["start_var"]]])
    law = exact.grid_law(kernel, energy, start, num_steps, within=within, tolerance=1e-9)
    # MALA's start was made to have mass 1 on the grid; other chains' mass was seen to leave.
    share = 1 if case["kernel"] == "mala" else 1 - law.left
    recorded = case["after"][str(num_steps)]
    np.testing.assert_allclose(
        share * np.array(moments(law)), recorded, rtol=0, atol=tolerance(case)
    )


# Every other case: of two neighbours with the same kernel each energy has the one or the other.
@pytest.mark.parametrize("case", CASES[::2], ids=case_id)
def test_laws_that_settle_are_the_recorded_ones(case, x64):
    kernel, energy, within = from_case(case)
    settled = exact.grid_stationary(kernel, energy, jnp.zeros(1), within=within, tolerance=1e-9)
    np.testing.assert_allclose(moments(settled), case["stationary"], rtol=0, atol=tolerance(case))
    assert abs(settled.left - (1 - case["leading"])) <= 2e-12


@pytest.mark.parametrize("case", CASES[::7], ids=lambda case: case["energy"].split()[0])
def test_targets_are_the_recorded_ones(case, x64):
    _, energy, _ = from_case(case)
    target = exact.grid_target(energy, jnp.zeros(1), case["temperature"])
    np.testing.assert_allclose(moments(target), case["target"], rtol=0, atol=1e-9)


def tolerance(case):
    """The recorded grids have 2,001 and 3,001 points. A first-order error, such as that of a grid's
    ends, is twice their difference on the finer one. Another 1e-8 is for the tolerance of 1e-9
    here, as fourth moments are larger than 1 and come from the tails."""
    return 2 * case["two_grids_differ_by"] + 1e-8


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES[::4], ids=case_id)
def test_in_float32_laws_are_as_good_as_they_say(case):
    kernel, energy, within = from_case(case)
    start = gaussian([case["start_mean"]], [[case["start_var"]]])
    law = exact.grid_law(kernel, energy, start, 5, within=within)
    share = 1 if case["kernel"] == "mala" else 1 - law.left
    assert law.error >= 1e-6
    assert law.mean.dtype == jnp.float32
    recorded = np.array(case["after"]["5"])
    gap = np.max(np.abs(share * np.array(moments(law)) - recorded))
    assert gap <= 10 * law.error + case["two_grids_differ_by"]


@jax.jit
def log_probs(law, x):
    return jax.vmap(law.log_prob)(x)


@pytest.mark.parametrize(
    ("step_size", "num_steps"), [(0.02, 1), (0.02, 7), (0.3, 0), (0.3, 20_000)]
)
def test_affine_laws_are_those_of_gaussians(step_size, num_steps, x64):
    kernel, energy = jl.ula(step_size, temperature=1.3), jl.energies.quadratic(2.0 * jnp.eye(1))
    start = gaussian([1.0], [[0.3]])
    law, wanted = (f(kernel, energy, start, num_steps) for f in (exact.grid_law, exact.law))
    assert abs(float(law.mean[0] - wanted.mean[0])) <= 1e-9
    assert abs(float(law.cov[0, 0] - wanted.cov[0, 0])) <= 1e-9
    x = np.linspace(-2, 2, 9)[:, None] + np.asarray(wanted.mean)
    np.testing.assert_allclose(log_probs(law, x), log_probs(wanted, x), rtol=0, atol=1e-7)


def test_stationary_affine_laws_are_those_of_gaussians(x64):
    energy = jl.energies.quadratic(2.0 * jnp.eye(1), jnp.ones(1))
    for kernel in (jl.ula(0.3), jl.gradient_noise(jl.ula(0.3), 2.0 * jnp.eye(1))):
        law = exact.grid_stationary(kernel, energy, jnp.zeros(1))
        wanted = exact.stationary(kernel, energy, jnp.zeros(1))
        assert abs(float(law.mean[0] - wanted.mean[0])) <= 1e-9
        assert abs(float(law.cov[0, 0] - wanted.cov[0, 0])) <= 1e-9


def test_a_linear_energy_is_followed_as_far_as_it_goes(x64):
    law = exact.grid_law(jl.ula(0.05), jl.energies.linear([1.0]), gaussian([0.0], [[1.0]]), 20)
    assert abs(float(law.mean[0]) + 1) <= 1e-9
    assert abs(float(law.cov[0, 0]) - 3) <= 1e-8


WALLS = jl.domains.box(0.0, 1.5)


@pytest.mark.parametrize("make", [jl.barker, jl.reflected_mala])
def test_what_accepts_or_rejects_keeps_the_target(make, x64):
    """The law exp(-E) on the interval, by its formula; a wall is where the energy is infinite."""
    energy = jl.energies.linear([1.0])
    if make is jl.reflected_mala:
        kernel = make(0.05, WALLS)
    else:
        kernel, energy = make(0.05), jl.domains.confine(energy, WALLS)
    law = exact.grid_stationary(kernel, energy, jnp.full(1, 0.5))
    x = np.linspace(0, 1.5, 31)
    cdf = np.expm1(-x) / np.expm1(-1.5)
    np.testing.assert_allclose(law.cdf(x), cdf, rtol=0, atol=1e-6)
    mean = 1 - 1.5 / np.expm1(1.5)
    assert abs(float(law.mean[0]) - mean) <= 1e-8
    low, high = law.support
    assert abs(low) <= 1e-12
    assert abs(high - 1.5) <= 1e-12


def projected_by_hand(eta, n=1000):
    """A fine grid of cells, and both walls, from the formula x' = clip(x - η + sqrt(2η) ξ)."""
    from scipy.stats import norm

    edges = np.linspace(0, 1.5, n + 1)
    x = np.concatenate([[0.0], (edges[1:] + edges[:-1]) / 2, [1.5]])
    below = norm.cdf((edges - (x - eta)[:, None]) / np.sqrt(2 * eta))
    matrix = np.concatenate([below[:, :1], np.diff(below, axis=1), 1 - below[:, -1:]], axis=1)
    measure = np.full(n + 2, 1 / (n + 2))
    for _ in range(120):
        measure = np.dot(measure, matrix)
    return x, measure


def test_projection_has_atoms_at_the_walls(x64):
    law = exact.grid_stationary(
        jl.projected(0.05, WALLS), jl.energies.linear([1.0]), jnp.full(1, 0.5)
    )
    x, measure = projected_by_hand(0.05)
    np.testing.assert_array_equal(law.atoms, [0.0, 1.5])
    np.testing.assert_allclose(law.masses, measure[[0, -1]], rtol=0, atol=1e-6)
    assert abs(float(law.mean[0]) - np.dot(measure, x)) <= 1e-6
    assert float(law.cdf(0.0)) == pytest.approx(float(law.masses[0]), abs=1e-12)
    assert float(law.quantile(0.1)) == pytest.approx(0.0, abs=1e-9)
    assert float(law.quantile(1.0)) == 1.5


# What runs ------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mala", "reflected", "projected"])
def test_chains_from_a_point_have_the_law(name):
    """Where a chain still is there the law has an atom. With 50,000 chains at a false-alarm rate of
    1e-6 the band of Dvoretzky, Kiefer and Wolfowitz has a half width of 0.012. Other kernels are
    held against their laws in `tests/verify/test_grid_laws.py`."""
    walls = name in ("reflected", "projected")
    kernel = getattr(jl, name)(0.05, WALLS) if walls else getattr(jl, name)(0.05)
    energy = double_well()
    start = gaussian([0.5], [[0.0]])
    law = exact.grid_law(kernel, energy, start, 5, within=None if walls else (-4.0, 4.0))
    run = jl.sample(
        jax.random.key(0), energy, kernel, start, num_steps=5, num_chains=50_000, observe=None
    )
    assert_in_band(np.asarray(run.position, np.float64)[:, 0], law)
    assert_in_band(np.asarray(law.sample(jax.random.key(1), 50_000), np.float64)[:, 0], law)


def assert_in_band(x, law):
    x = np.sort(x)
    above, below = np.arange(1, len(x) + 1) / len(x), np.arange(len(x)) / len(x)
    radius = jl.verify.dkw_radius(len(x), 1e-6) + law.cdf_error
    just_below = law.cdf(np.nextafter(x, -np.inf))
    last = np.append(x[1:] != x[:-1], True)
    first = np.append(True, x[1:] != x[:-1])
    assert np.max(np.abs(above - law.cdf(x))[last]) <= radius
    assert np.max(np.abs(below - just_below)[first]) <= radius


def test_chains_start_from_a_law(x64):
    energy = double_well()
    law = exact.grid_target(energy, jnp.zeros(1))
    run = jl.sample(jax.random.key(0), energy, jl.mala(0.1), law, num_steps=3, num_chains=20_000)
    assert_in_band(np.asarray(run.position)[:, 0], law)
    after = exact.grid_law(jl.mala(0.1), energy, law, 3)
    assert abs(float(after.cov[0, 0] - law.cov[0, 0])) <= 1e-8
    one_by_one = law
    for _ in range(2):
        one_by_one = exact.grid_law(jl.ula(0.05), energy, one_by_one, 2)
    at_once = exact.grid_law(jl.ula(0.05), energy, law, 4)
    assert abs(float(one_by_one.cov[0, 0] - at_once.cov[0, 0])) <= 1e-8


# What it knows --------------------------------------------------------------------------------


def test_a_law_knows_its_parts(x64):
    law = exact.grid_target(jl.energies.quadratic(jnp.eye(1)), jnp.zeros(1))
    p = np.array([0.01, 0.3, 0.5, 0.99])
    np.testing.assert_allclose(law.cdf(law.quantile(p)), p, rtol=0, atol=1e-9)
    assert float(law.expectation(lambda x: jnp.cos(x[0]))) == pytest.approx(np.exp(-0.5), abs=1e-9)
    assert law.expectation(lambda x: jnp.stack([x[0], x[0] ** 4])).shape == (2,)
    assert float(law.density(7.9)) < 1e-12
    assert float(law.log_prob(jnp.full(1, 50.0))) == -np.inf
    again = jax.tree.map(lambda leaf: leaf, law)
    np.testing.assert_array_equal(again.values, law.values)


def test_panels_hold_polynomials():
    panels = Panels(np.array([-1.0, 0.2, 0.5, 2.0, 2.0]), 6)
    values = panels.nodes**5 - 2 * panels.nodes
    x = np.linspace(-1, 2, 31)
    np.testing.assert_allclose(panels.at(values, x), x**5 - 2 * x, atol=1e-12)
    whole = x**6 / 6 - x**2 - (1 / 6 - 1)
    np.testing.assert_allclose(panels.integral(values, x), whole, atol=1e-12)
    assert panels.at(values, 2.5) == 0
    assert panels.split(np.array([True, False, False, False])).num == 5


def test_panels_end_where_kinks_cross(x64):
    """On (x² - 1)², another curve on which all is just accepted crosses y = x where E' or E'' is 0:
    there ¼ η (E'(y)² - E'(x)²) turns."""
    steps = StepFunction(jl.mala(0.05), double_well(), jnp.zeros(1))
    found = crossings(steps, -2.5, 2.5)
    for wanted in (-1.0, -np.sqrt(1 / 3), 0.0, np.sqrt(1 / 3), 1.0):
        assert np.min(np.abs(found - wanted)) <= 1e-4


def test_nothing_compiles_for_other_parameters():
    def go(step_size, height):
        energy = Partial(polynomial, height * arr([1.0, 0.0, -2.0, 0.0, 1.0]))
        start = gaussian([0.5], [[0.25]])
        return exact.grid_law(jl.mala(step_size), energy, start, 3)

    go(0.1, 1.0)
    with jl.verify.assert_no_recompilation():
        go(0.12, 1.1)


# Refusals -------------------------------------------------------------------------------------


class Own(NamedTuple):
    """ULA as a user may write it, with a fault of choice."""

    step_size: Any
    wrong: str = ""

    init_noise = None

    @property
    def step_noise(self):
        return (Want.NORMAL, Want.UNIFORM) if "uniform" in self.wrong else Want.NORMAL

    def init(self, energy, position, noise):
        return jl.kernels.ULAState(position) if self.wrong != "state" else Counted(position, 0.0)

    def step(self, energy, state, noise):
        info = jl.Info()
        if "uniform" in self.wrong:
            noise, uniform = noise
            info = jl.Info(acceptance_rate=jnp.asarray(0.5, uniform.dtype))
        x = state.position
        y = x - self.step_size * jax.grad(energy)(x) + jnp.sqrt(2 * self.step_size) * noise
        if self.wrong == "cubic":
            y = x + 0.1 * noise**3
        if self.wrong == "uniform at another rate":
            y = jnp.where(uniform < 0.2, y, x)
        if self.wrong == "uniform":
            y = jnp.where(uniform < 0.5, y, x)
        if self.wrong == "state":
            return Counted(y, state.count + 1.0), info
        return jl.kernels.ULAState(y), info


class Counted(NamedTuple):
    position: Any
    count: Any


def test_a_kernel_of_ones_own_has_a_law():
    energy, start = double_well(), gaussian([0.5], [[0.25]])
    ours, theirs = (
        exact.grid_law(k, energy, start, 4, within=(-4, 4)) for k in (Own(0.05), jl.ula(0.05))
    )
    assert float(ours.cov[0, 0]) == pytest.approx(float(theirs.cov[0, 0]), abs=1e-5)
    half = exact.grid_law(Own(0.05, "uniform"), energy, start, 1, within=(-4, 4))
    one = exact.grid_law(Own(0.05), energy, start, 1, within=(-4, 4))
    assert float(half.mean[0]) == pytest.approx((0.5 + float(one.mean[0])) / 2, abs=1e-5)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ("cubic", "not affine in its normals"),
        ("uniform at another rate", "does not move where its uniform is below"),
        ("state", "more than its position"),
    ],
)
def test_a_kernel_that_a_grid_cannot_hold_is_refused(wrong, words):
    with pytest.raises(jl.NoGridLawError, match=words):
        exact.grid_law(Own(0.05, wrong), double_well(), gaussian([0.5], [[0.25]]), 2)


def test_a_chain_that_leaves_is_refused_with_its_rate(x64):
    for kernel, energy in (
        (jl.ula(0.5), double_well()),
        (jl.ula(0.01), jl.energies.linear([1.0])),
        (jl.mala(0.1), jl.energies.linear([1.0])),
    ):
        with pytest.raises(
            jl.NoStationaryLawError, match=r"a share of [\d.e-]+ leaves in every step"
        ):
            exact.grid_stationary(kernel, energy, jnp.zeros(1))
    with pytest.raises(jl.UnstableStepError, match="of the chains leave"):
        exact.grid_law(jl.ula(0.5), double_well(), gaussian([0.0], [[1.0]]), 10)
    kept = exact.grid_law(jl.ula(0.5), double_well(), gaussian([0.0], [[1.0]]), 10, within=(-2, 2))
    assert 0.9 < kept.left < 1


# How fast a chain forgets ---------------------------------------------------------------------


# The cases that `test_laws_that_settle_are_the_recorded_ones` leaves out.
@pytest.mark.parametrize("case", CASES[1::2], ids=case_id)
def test_times_are_the_recorded_ones(case, x64):
    kernel, energy, _ = from_case(case)
    time = exact.grid_autocorrelation_time(kernel, energy, jnp.zeros(1))
    assert time == pytest.approx(case["autocorrelation_time_of_x"], rel=5e-6)
    if case["kernel"] == "mala":
        with pytest.raises(jl.NoGridLawError, match="no spectral gap on this energy"):
            exact.grid_relaxation_time(kernel, energy, jnp.zeros(1))
    else:
        relaxation = exact.grid_relaxation_time(kernel, energy, jnp.zeros(1))
        assert np.exp(-1 / relaxation) == pytest.approx(case["second_eigenvalue"], rel=1e-6)


def test_times_of_an_affine_chain_are_those_of_its_formula(x64):
    """With r = 1 - ηλ the eigenvalues are r^k, and that of x² has the time (1 + r²)/(1 - r²)."""
    energy, x, r = jl.energies.quadratic(jnp.eye(1)), jnp.zeros(1), 0.7
    relaxation = exact.grid_relaxation_time(jl.ula(0.3), energy, x)
    assert relaxation == pytest.approx(-1 / np.log(r), abs=1e-9)
    time = exact.grid_autocorrelation_time(jl.ula(0.3), energy, x)
    assert time == pytest.approx((1 + r) / (1 - r), abs=1e-9)
    square = exact.grid_autocorrelation_time(jl.ula(0.3), energy, x, lambda x: x[0] ** 2)
    assert square == pytest.approx((1 + r * r) / (1 - r * r), abs=1e-8)


def test_mala_has_a_gap_on_a_quadratic_energy_and_none_on_a_steeper_one(x64):
    x = jnp.zeros(1)
    assert exact.grid_relaxation_time(jl.mala(0.3), jl.energies.quadratic(jnp.eye(1)), x) > 0
    with pytest.raises(jl.NoGridLawError, match=r"rejects a share of .* of its proposals"):
        exact.grid_relaxation_time(jl.mala(0.1), quartic(), x)
    with pytest.raises(jl.NoGridLawError, match="depends on how far out one looks"):
        exact.grid_autocorrelation_time(jl.mala(0.3), quartic(), x, tolerance=1e-4)


# How far laws are apart -----------------------------------------------------------------------


def well(mean, deviation=1.0):
    return jl.energies.quadratic(arr([[deviation**-2]]), arr([mean]))


def on_grid(mean, deviation):
    """N(mean, deviation²) on a grid, from an energy."""
    return exact.grid_target(well(mean, deviation), jnp.full(1, mean), within=(-12.0, 12.0))


def distances_by_hand(m, s, n, t):
    """Total variation, from where the densities cross; W1, as F - G changes sign at most once, at
    the x with (x - m)/s = (x - n)/t; and KL; by NumPy and SciPy."""
    from scipy.stats import norm

    p, q = norm(m, s), norm(n, t)
    a, b = 1 / s**2 - 1 / t**2, m / s**2 - n / t**2
    c = m**2 / s**2 - n**2 / t**2 + 2 * np.log(s / t)
    at = np.roots([a, -2 * b, c]) if a else np.array([(m + n) / 2])
    ends = np.concatenate([[-np.inf], np.sort(at), [np.inf]])
    tv = 0.5 * np.sum(np.abs(np.diff(p.cdf(ends)) - np.diff(q.cdf(ends))))
    # W1 is E|m - n + (s - t) Z|, the mean of a folded normal.
    u, v = m - n, abs(s - t)
    w1 = abs(u) if not v else 2 * v * norm.pdf(u / v) + u * (2 * norm.cdf(u / v) - 1)
    return tv, w1, np.log(t / s) + (s**2 + (m - n) ** 2) / (2 * t**2) - 0.5


@pytest.mark.parametrize("q", [(0.0, 1.0), (1.0, 1.0), (0.3, 1.4), (-0.2, 0.7), (1e-3, 1.001)])
def test_distances_of_gaussians_are_their_closed_forms(q, x64):
    laws = on_grid(0.0, 1.0), on_grid(*q)
    wanted = distances_by_hand(0.0, 1.0, *q)
    distances = exact.total_variation, exact.wasserstein1, exact.kl
    found = [distance(*laws) for distance in distances]
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-9)
    mixed = [distance(laws[0], gaussian([q[0]], [[q[1] ** 2]])) for distance in distances]
    np.testing.assert_allclose(mixed, wanted, rtol=0, atol=1e-9)


def test_distances_count_atoms(x64):
    """Of points, and of a law with atoms at walls, which a step keeps."""
    kernel, energy = jl.projected(0.05, WALLS), jl.energies.linear([1.0])
    here, there = (
        exact.grid_law(jl.ula(0.1), energy, gaussian([m], [[0.0]]), 0) for m in (0.5, 0.75)
    )
    assert exact.total_variation(here, there) == pytest.approx(1, abs=1e-12)
    assert exact.wasserstein1(here, there) == pytest.approx(0.25, abs=1e-12)
    assert exact.kl(here, there) == np.inf
    assert exact.kl(here, here) == 0
    settled = exact.grid_stationary(kernel, energy, jnp.full(1, 0.5))
    again = exact.grid_law(kernel, energy, settled, 1)
    assert exact.total_variation(settled, again) <= 1e-8
    assert exact.kl(settled, again) <= 1e-8


def test_what_kl_cannot_tell_is_refused(x64):
    p, q = (exact.grid_target(well(at), jnp.full(1, at)) for at in (0.0, 20.0))
    assert exact.total_variation(p, q) == pytest.approx(1, abs=1e-9)
    with pytest.raises(jl.NoGridLawError, match=r"p: a share of 1 of it is where q"):
        exact.kl(p, q)
    with pytest.raises(ValueError, match="q: expected a Gaussian with a variance"):
        exact.wasserstein1(p, gaussian([0.0], [[0.0]]))
    with pytest.raises(jl.NoGridLawError, match=r"q: a grid is for positions of one element"):
        exact.total_variation(p, gaussian([0.0, 0.0], np.eye(2)))


# How long until it is there -------------------------------------------------------------------


def time_by_hand(drift, eta, x0, parts, n=300):
    """h = 1 + K h of x' = drift(x) + sqrt(2 eta) ξ, on the intervals that are not in the set, with
    Gauss-Legendre nodes over each: by NumPy, from the formula."""
    from scipy.stats import norm

    t, w = np.polynomial.legendre.leggauss(n)
    x = np.concatenate([(a + b) / 2 + (b - a) / 2 * t for a, b in parts])
    w = np.concatenate([(b - a) / 2 * w for a, b in parts])
    deviation = np.sqrt(2 * eta)
    kernel = norm.pdf((x - drift(x)[:, None]) / deviation) / deviation * w
    h = np.linalg.solve(np.eye(len(x)) - kernel, np.ones(len(x)))
    row = norm.pdf((x - drift(np.asarray(x0))) / deviation) / deviation * w
    return 1 + np.dot(row, h)


@pytest.mark.parametrize(
    ("eta", "start", "into", "parts"),
    [
        (0.3, 0.0, (1.0, np.inf), [(-9, 1)]),
        (0.1, 0.0, (-np.inf, -2.5), [(-2.5, 9)]),
        (0.3, 2.0, (-0.2, 0.3), [(-9, -0.2), (0.3, 9)]),
        (0.3, 0.0, (4.0, np.inf), [(-9, 4)]),
    ],
)
def test_times_until_an_affine_chain_is_there_are_those_of_its_formula(
    eta, start, into, parts, x64
):
    energy, point = jl.energies.quadratic(jnp.eye(1)), gaussian([start], [[0.0]])
    found = exact.grid_hitting_time(jl.ula(eta), energy, point, into)
    wanted = time_by_hand(lambda x: (1 - eta) * x, eta, start, parts)
    assert found == pytest.approx(wanted, rel=1e-9)


def test_a_walk_gets_down_in_the_time_of_its_formula_and_up_maybe_never(x64):
    kernel, energy, start = jl.ula(0.1), jl.energies.linear([1.0]), gaussian([2.0], [[0.0]])
    found = exact.grid_hitting_time(kernel, energy, start, (-np.inf, 0.0))
    assert found == pytest.approx(
        time_by_hand(lambda x: x - 0.1, 0.1, 2.0, [(0, 50)], 600), rel=1e-9
    )
    with pytest.raises(jl.NoGridLawError, match=r"a share of 0\.\d+ of the chains leaves"):
        exact.grid_hitting_time(kernel, energy, start, (3.0, np.inf))


@pytest.mark.parametrize("make", [jl.ula, jl.mala])
def test_times_average_over_a_law_and_are_0_inside(make, x64):
    kernel, energy = make(0.6), jl.energies.quadratic(jnp.eye(1))
    law = exact.grid_target(energy, jnp.zeros(1))
    found = exact.grid_hitting_time(kernel, energy, law, (1.0, np.inf))
    below = law.given(-np.inf, 1.0)
    at = np.linspace(-6, 1, 57)[:-1]
    assert float(below.cdf(1.0)) == pytest.approx(1, abs=1e-12)
    np.testing.assert_allclose(below.cdf(at), law.cdf(at) / law.cdf(1.0), atol=1e-12)
    outside = exact.grid_hitting_time(kernel, energy, below, (1.0, np.inf))
    assert found == pytest.approx(outside * float(law.cdf(1.0)), rel=1e-8)
    inside = exact.grid_hitting_time(kernel, energy, law.given(1.0, np.inf), (1.0, np.inf))
    assert inside == 0
    # One step back: E T = 1 + E T from the law after a step, of chains that start outside.
    after = exact.grid_law(kernel, energy, below, 1)
    again = exact.grid_hitting_time(kernel, energy, after, (1.0, np.inf))
    assert outside == pytest.approx(1 + again, rel=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("make", [jl.ula, jl.mala])
def test_chains_cross_in_the_exact_time(make):
    """From the left well to the right one. Of 4,000 chains the mean differs by no more than 5.2
    standard errors, but once in 5 million times; that is about 8%."""
    kernel, energy = make(0.06), double_well()
    start = gaussian([-1.0], [[0.0]])
    options = {"within": (-3.0, 3.0), "tolerance": 1e-3}
    exactly = exact.grid_hitting_time(kernel, energy, start, (0.5, np.inf), **options)
    run = jl.sample(jax.random.key(0), energy, kernel, start, num_steps=1_600, num_chains=4_000)
    there = np.asarray(run.draws)[..., 0] >= 0.5
    assert there.any(axis=1).all()
    times = 1 + np.argmax(there, axis=1)
    assert abs(times.mean() - exactly) <= 5.2 * times.std() / np.sqrt(4_000)


def test_times_that_cannot_be_told_are_refused(x64):
    energy, here = jl.energies.quadratic(jnp.eye(1)), gaussian([0.0], [[0.0]])
    with pytest.raises(jl.NoGridLawError, match="tolerance: 1e-08 is not reached"):
        exact.grid_hitting_time(jl.ula(0.3), energy, here, (9.0, np.inf))
    with pytest.raises(jl.NoGridLawError, match=r"depends on how far|or infinite"):
        exact.grid_hitting_time(jl.mala(0.3), quartic(), here, (1.5, np.inf), tolerance=1e-4)
    for into, words in (((1.0, 0.0), "into: expected low < high"), ((-np.inf, np.inf), "all of")):
        with pytest.raises(ValueError, match=words):
            exact.grid_hitting_time(jl.ula(0.3), energy, here, into)
    with pytest.raises(TypeError, match="into: expected two numbers"):
        exact.grid_hitting_time(jl.ula(0.3), energy, here, 1.0)
    with pytest.raises(ValueError, match="low, high: the law has a share of 0 between 20 and 30"):
        exact.grid_target(energy, jnp.zeros(1)).given(20.0, 30.0)


def test_a_chain_that_forgets_at_once_has_a_gap(x64):
    """`ula` with ηλ = 1 draws anew from N(0, 2η) in every step."""
    bowl = jl.energies.quadratic(np.eye(1))
    assert exact.grid_relaxation_time(jl.ula(1.0), bowl, jnp.zeros(1)) < 0.1
    value, (kernel, _) = exact.grid_value_and_grad(jl.ula(1.0), bowl, jnp.zeros(1), square)
    np.testing.assert_allclose([value, kernel.step_size], 2, rtol=1e-6)


def square(x):
    return x[0] ** 2
