"""Kernels between walls: their laws by quadrature, boundary mass included, and the laws they keep.

On an interval the law after N steps is that of a chain with a known kernel: a Gaussian whose part
outside is put on the wall (`projected`) or folded back (`reflected`). Gauss-Legendre quadrature
computes the law to 1e-8, without any code of the library, and agrees with formulas where they
exist. Samples are compared with it by the mass of each wall (binomial) and the distribution
function (Dvoretzky, Kiefer and Wolfowitz), each at 1e-7; 100,000 chains find, with probability
0.99, a mass off by 0.012 and a distribution function off by 0.014.

Exact kernels start from the law itself and must keep it, at 1e-6, as in `test_metropolis`.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial
from scipy import special, stats

import jlangevin as jl
from jlangevin._core.trees import pytree_dataclass, static_field
from jlangevin.noise import Want

pytestmark = pytest.mark.slow

domains = jl.domains
NUM_CHAINS = 100_000
TEMPERATURE = 2.0

# Laws by quadrature -------------------------------------------------------------------------


class Chain(NamedTuple):
    """The chain of `projected` or `reflected` on [low, high] as a matrix over points.

    For `projected` the first and last points are the walls, as atoms; the rest, and all points of
    `reflected`, are quadrature nodes. A half-line is cut off far out.
    """

    points: Any
    matrix: Any  # column j: the masses at the points after a step from point j
    mean: Any  # of a free step from each point
    deviation: float
    low: float
    high: float
    folded: bool

    def stationary(self):
        equations = self.matrix - np.eye(len(self.points))
        equations[0] = 1
        return np.linalg.solve(equations, np.eye(len(self.points))[0])

    def law(self, start, num_steps):
        """Masses after `num_steps` from one point, and the distribution function."""
        at = np.argmin(np.abs(self.points - start))
        before = np.linalg.matrix_power(self.matrix, num_steps - 1)[:, at]

        def cdf(y):
            if not self.folded:
                free = special.ndtr((y[:, None] - self.mean) / self.deviation)
                return np.where(y >= self.high, 1, free @ before)
            return (
                sum(
                    special.ndtr((upper - self.mean) / self.deviation)
                    - special.ndtr((lower - self.mean) / self.deviation)
                    for lower, upper in images(self.low, y[:, None], self.low, self.high)
                )
                @ before
            )

        return self.matrix @ before, cdf, float(self.points[at])


def images(a, b, low, high):
    """The intervals that folding takes to [a, b]."""
    width = high - low
    for k in range(-4, 5):
        yield a + 2 * k * width, b + 2 * k * width
        yield 2 * low - b + 2 * k * width, 2 * low - a + 2 * k * width


def chain_of(folded, slope, eta, low, high, temperature=1.0):
    deviation = (2 * eta * temperature) ** 0.5
    panels = np.linspace(low, high, int(np.ceil((high - low) / deviation)) + 1)
    x, w = special.roots_legendre(10)
    half = (panels[1:] - panels[:-1])[:, None] / 2
    nodes, weights = (panels[:-1, None] + half * (1 + x)).ravel(), (half * w).ravel()
    points = nodes if folded else np.concatenate([[low], nodes, [high]])
    mean = points - eta * slope(points)
    there = nodes[:, None]
    if folded:
        density = sum(
            stats.norm.pdf(y, mean, deviation) for y, _ in images(there, there, low, high)
        )
        matrix = weights[:, None] * density
    else:
        matrix = np.concatenate([
            special.ndtr((low - mean) / deviation)[None],
            weights[:, None] * stats.norm.pdf(there, mean, deviation),
            special.ndtr((mean - high) / deviation)[None],
        ])  # fmt: skip
    return Chain(points, matrix, mean, deviation, low, high, folded)


def linear(x):
    return np.ones_like(x)


def bowl(x):
    return x


@pytest.mark.parametrize("eta", [0.16, 0.04])
def test_the_quadrature_has_spitzers_atom_and_mean(eta):
    """`projected` on a half-line and a linear energy is Lindley's recursion, the queue: its
    stationary law is that of the maximum of a walk S_k ~ N(-ηk, 2ηk). Spitzer (1956) gives its
    P(0) = exp(-Σ P(S_k > 0)/k) and E = Σ E[max(S_k, 0)]/k."""
    k = np.arange(1, 20_000)
    deviation, mean = (2 * eta * k) ** 0.5, -eta * k
    above = special.ndtr(mean / deviation)
    chain = chain_of(False, linear, eta, 0.0, 25.0)
    masses = chain.stationary()
    np.testing.assert_allclose(masses[0], np.exp(-np.sum(above / k)), rtol=1e-8)
    excess = deviation * stats.norm.pdf(mean / deviation) + mean * above
    np.testing.assert_allclose(masses @ chain.points, np.sum(excess / k), rtol=1e-7)


@pytest.mark.parametrize("eta", [0.16, 0.04])
def test_the_quadrature_has_the_reflected_mean(eta):
    """x'² = (x - η + sqrt(2η) ξ)² in stationarity: E x = 1 + η/2 (T = θ = 1)."""
    chain = chain_of(True, linear, eta, 0.0, 25.0)
    np.testing.assert_allclose(chain.stationary() @ chain.points, 1 + eta / 2, rtol=1e-7)


def test_projection_is_wrong_by_the_root_of_the_step_and_reflection_by_the_step():
    """The mean's error, on an exponential law and on N(0, 1) between -1 and 2: as η falls to a
    quarter, that of projection halves and that of reflection falls to a quarter."""
    for slope, low, high, truth in (
        (linear, 0.0, 18.0, 1.0),
        (bowl, -1.0, 2.0, stats.truncnorm(-1, 2).mean()),
    ):
        errors = {}
        for folded in (False, True):
            chains = [chain_of(folded, slope, eta, low, high) for eta in (0.02, 0.005)]
            errors[folded] = [abs(c.stationary() @ c.points - truth) for c in chains]
        np.testing.assert_allclose(errors[False][0] / errors[False][1], 2, rtol=0.1)
        np.testing.assert_allclose(errors[True][0] / errors[True][1], 4, rtol=0.1)
        assert errors[True][1] < errors[False][1] / 20


# Samples against them -----------------------------------------------------------------------


def curved(curvature, slope, x):
    return jnp.sum(0.5 * curvature * x**2 + slope * x)


LINEAR, BOWL = ((linear, Partial(curved, 0.0, 1.0)), (bowl, Partial(curved, 1.0, 0.0)))
SETTINGS = {
    "half-line": (*LINEAR, 0.3, 0.0, 60.0, (0.0, np.inf)),
    "interval": (*BOWL, 0.1, -1.0, 2.0, (-1.0, 2.0)),
    "long moves": (*BOWL, 0.4, -0.25, 0.375, (-0.25, 0.375)),
}
NUM_STEPS = 12
LEVEL = 1e-7


def disagreement(setting, folded, make):
    """What the law rejects in the samples: masses of the walls, distribution function."""
    slope, energy, eta, low, high, bounds = SETTINGS[setting]
    chain = chain_of(folded, slope, eta, low, high, TEMPERATURE)
    masses, cdf, start = chain.law(0.1, NUM_STEPS)
    kernel = make(eta, domains.box(*bounds), temperature=TEMPERATURE)
    init = jnp.full((NUM_CHAINS, 1), start)
    run = jl.sample(
        jax.random.key(0), energy, kernel, init, num_steps=NUM_STEPS, observe=None,
        on_divergence="ignore",
    )  # fmt: skip
    x = np.sort(np.asarray(run.position, np.float64)[:, 0])
    found = []
    for name, wall, mass in (("low", low, masses[0]), ("high", high, masses[-1])):
        count = np.sum(x == np.asarray(wall, run.position.dtype))
        mass = 0 if folded else mass
        if stats.binomtest(int(count), NUM_CHAINS, float(np.clip(mass, 0, 1))).pvalue < LEVEL:
            found.append(name)
    # Between the atoms: the share of the samples up to y, y included.
    y = np.unique(x[(x > low) & (x < high)])[::7]
    gap = np.abs(np.searchsorted(x, y, "right") / NUM_CHAINS - cdf(y)).max()
    if gap > np.sqrt(np.log(2 / LEVEL) / (2 * NUM_CHAINS)) + 8 / NUM_CHAINS or x[0] < low:
        found.append("distribution")
    return found


@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize("make", [jl.projected, jl.reflected])
def test_samples_have_the_law_of_the_chain_with_its_boundary_mass(make, setting):
    assert disagreement(setting, make is jl.reflected, make) == []


class Mutant(NamedTuple):
    """x' = rule(low, high, y) for a free step y, the rule being that of this number."""

    step_size: Any
    domain: Any
    temperature: Any
    rule: Any

    init_noise = None
    step_noise = Want.NORMAL

    def init(self, energy, position, noise):
        return jl.kernels.ULAState(position)

    def step(self, energy, state, noise):
        free = jl.ula(self.step_size, temperature=self.temperature)
        y = free.step(energy, state, noise)[0].position
        rules = [rule for _, _, rule in MUTANTS.values()]
        x = jax.lax.switch(self.rule, rules, self.domain.lower, self.domain.upper, y)
        return jl.kernels.ULAState(x), jl.Info()


def once(low, high, y):
    return jnp.where(y < low, 2 * low - y, jnp.where(y > high, 2 * high - y, y))


MUTANTS = {
    "not projected": (False, "interval", lambda low, high, y: 1 * y),
    "projected at one wall": (False, "interval", lambda low, high, y: jnp.maximum(y, low)),
    "projected a little inside": (
        False, "half-line", lambda low, high, y: jnp.maximum(y, low + 1e-3),
    ),
    "reflected for projected": (False, "half-line", once),
    "projected for reflected": (True, "half-line", lambda low, high, y: jnp.clip(y, low, high)),
    "reflected once on long moves": (True, "long moves", once),
    "reflected once, then projected": (
        True, "long moves", lambda low, high, y: jnp.clip(once(low, high, y), low, high),
    ),
    "wrapped for reflected": (
        True, "interval", lambda low, high, y: low + jnp.mod(y - low, high - low),
    ),
}  # fmt: skip


@pytest.mark.parametrize("mutant", MUTANTS)
def test_a_wrong_wall_is_rejected(mutant):
    folded, setting, _ = MUTANTS[mutant]
    number = jnp.int32(list(MUTANTS).index(mutant))

    def make(eta, domain, temperature):
        return Mutant(eta, domain, temperature, number)

    assert disagreement(setting, folded, make) != []


# Laws that are kept -------------------------------------------------------------------------

SLOPE = 3.0  # of energies at temperature 2, so that exp(-1.5 x_1) is a density


def energy_along_the_first(x):
    return SLOPE * x[0]


def tilted(weight, low, high):
    """The distribution function of the density exp(-1.5 x) weight(x), and its inverse."""
    grid = np.linspace(low, high, 20_001)
    density = np.exp(-SLOPE / TEMPERATURE * grid) * weight(grid)
    cdf = np.concatenate([[0], np.cumsum((density[1:] + density[:-1]) / 2)])
    cdf /= cdf[-1]
    return (lambda x: np.interp(x, grid, cdf)), (lambda u: np.interp(u, cdf, grid))


def box_target():
    to_u, draw = tilted(np.ones_like, 0.0, 1.0)

    def normals(x):
        return np.stack([to_u(x[:, 0]), (x[:, 1] + 1) / 3], axis=1)

    return domains.box([0.0, -1.0], [1.0, 2.0]), energy_along_the_first, (
        lambda u: np.stack([draw(u[:, 0]), 3 * u[:, 1] - 1], axis=1)
    ), normals  # fmt: skip


def ball_target():
    """In three dimensions: x_1, then the share of the disc at x_1 within |x|."""
    to_u, draw = tilted(lambda x: 1 - x**2, -1.0, 1.0)

    def points(u):
        first = draw(u[:, 0])
        size = np.sqrt(u[:, 1] * (1 - first**2))
        return np.stack([first, size * np.cos(2 * np.pi * u[:, 2]),
                         size * np.sin(2 * np.pi * u[:, 2])], axis=1)  # fmt: skip

    def uniforms(x):
        share = (x[:, 1] ** 2 + x[:, 2] ** 2) / (1 - x[:, 0] ** 2)
        angle = np.arctan2(x[:, 2], x[:, 1]) / (2 * np.pi) % 1
        return np.stack([to_u(x[:, 0]), share, angle], axis=1)

    return domains.ball(0.0, 1.0), energy_along_the_first, points, uniforms


def half_space_target():
    """N(0, T) in the plane, below x_1 + 2 x_2 = 1."""
    normal = np.array([1.0, 2.0]) / 5**0.5
    turn, scale = np.stack([normal, [-normal[1], normal[0]]]), TEMPERATURE**0.5
    below = special.ndtr(1 / 5**0.5 / scale)

    def points(u):
        return scale * special.ndtri(u * np.array([below, 1.0])) @ turn

    def uniforms(x):
        return special.ndtr(x @ turn.T / scale) / np.array([below, 1.0])

    domain = domains.half_space([1.0, 2.0], 1.0)
    return domain, lambda x: 0.5 * jnp.sum(x**2), points, uniforms


def simplex_target():
    """In three entries: x_1, then x_2 of what is left."""
    to_u, draw = tilted(lambda x: 1 - x, 0.0, 1.0)

    def points(u):
        first = draw(u[:, 0])
        second = (1 - first) * u[:, 1]
        return np.stack([first, second, 1 - first - second], axis=1)

    def uniforms(x):
        return np.stack([to_u(x[:, 0]), x[:, 1] / np.maximum(x[:, 1] + x[:, 2], 1e-30)], axis=1)

    def energy(x):
        """With a slope across the simplex that varies along it, and must not matter."""
        return energy_along_the_first(x) + 20.0 * (jnp.sum(x) - 1) * x[0] ** 2

    return domains.simplex(), energy, points, uniforms


TARGETS = {
    "box": box_target,
    "ball": ball_target,
    "half-space": half_space_target,
    "simplex": simplex_target,
}
ETA = 0.1  # moves of 0.6, which is about the size of the domains


def dual_scale(name):
    """The simplex's u is of order 1 where its x is of order 1/3."""
    return 10.0 if name == "simplex" else 1.0


def mirrored(inner):
    def make(eta, domain, name):
        return jl.mirrored(inner(dual_scale(name) * eta, temperature=TEMPERATURE), domain)

    return make


def malt(eta, temperature):
    return jl.malt((2 * eta) ** 0.5, 0.5, 2, temperature=temperature)


def reflected_mala(eta, domain, name):
    return jl.reflected_mala(eta, domain, temperature=TEMPERATURE)


@functools.cache
def target(name):
    """A domain, an energy, what takes its law to uniforms, and draws of the law."""
    domain, energy, points, uniforms = TARGETS[name]()
    rng = np.random.default_rng(0)
    dim = 3 if name == "ball" else 2
    x = jnp.asarray(points(rng.uniform(1e-4, 1 - 1e-4, (50_000, dim))), jnp.float32)
    return domain, energy, uniforms, jax.jit(jax.vmap(domain.project))(x)


def kept(name, make, confine=False, num_steps=8):
    """The report on chains that start from the law, and their run."""
    domain, energy, uniforms, x = target(name)
    energy = domains.confine(energy, domain) if confine else energy
    kernel = make(ETA, domain, name)
    run = jl.sample(
        jax.random.key(0), energy, kernel, x, num_steps=num_steps, observe=None
    )  # fmt: skip
    moved = np.mean(np.any(np.asarray(run.position) != np.asarray(x), axis=1))
    u = np.clip(uniforms(np.asarray(run.position, np.float64)), 1e-9, 1 - 1e-9)
    inside = bool(jax.jit(jax.vmap(domain.contains))(run.position).all())
    law = jl.Gaussian(jnp.zeros(u.shape[1]), jnp.eye(u.shape[1]))
    return jl.verify.compare(special.ndtri(u), law), run, moved, inside


@pytest.mark.parametrize(
    ("name", "kernel"),
    [("ball", jl.mala), ("box", jl.barker), ("half-space", malt)],
    ids=lambda value: value if isinstance(value, str) else value.__name__,
)
def test_an_exact_kernel_on_a_confined_energy_keeps_the_law(name, kernel):
    """What is proposed outside has the energy +∞ and is rejected; nothing more is needed."""

    def make(eta, domain, name):
        return kernel(eta, temperature=TEMPERATURE)

    report, run, moved, inside = kept(name, make, confine=True, num_steps=12)
    assert report.passed, str(report)
    assert inside
    assert moved > 0.8
    assert 0.1 < run.info.acceptance_rate.mean() < 0.9


def test_a_chain_of_another_kernel_diverges_where_it_leaves_a_confined_energy():
    """It is finite where it left, and frozen there: the gradient outside is NaN."""
    energy = domains.confine(lambda x: 0.5 * jnp.sum(x**2), domains.box(-1.0, 1.0))
    start = jnp.zeros((50, 1))
    with pytest.warns(jl.DivergenceWarning):
        run = jl.sample(jax.random.key(0), energy, jl.ula(0.02), start, num_steps=30)
    outside = np.abs(run.draws[..., 0]) > 1
    np.testing.assert_array_equal(run.info.num_divergent, outside[:, :-1].any(1))
    assert 0 < run.info.num_divergent.sum() < 50
    with pytest.raises(ValueError, match="init: not finite at the start of 1 of 50 chains"):
        jl.sample(jax.random.key(0), energy, jl.ula(0.02), start.at[7].set(1.5), num_steps=30)


@pytest.mark.parametrize("inner", [jl.barker, malt], ids=["barker", "malt"])
def test_other_exact_kernels_are_mirrored_too(inner):
    report, *_, inside = kept("simplex", mirrored(inner))
    assert report.passed, str(report)
    assert inside


@pytest.mark.parametrize("name", ["box", "ball", "simplex"])
def test_reflected_moves_keep_the_uniform_law_at_any_step(name):
    """Without an energy, and with moves as long as the domain is wide."""
    domain = TARGETS[name]()[0]
    rng = np.random.default_rng(0)
    if name == "simplex":
        x = rng.dirichlet(np.ones(3), 50_000)
    elif name == "ball":
        x = rng.normal(size=(50_000, 3))
        x *= (rng.uniform(size=(50_000, 1)) ** (1 / 3)) / np.linalg.norm(x, axis=1, keepdims=True)
    else:
        x = rng.uniform([0, -1], [1, 2], (50_000, 2))
    x = jax.jit(jax.vmap(domain.project))(jnp.asarray(x, jnp.float32))
    run = jl.sample(
        jax.random.key(0), lambda x: 0 * jnp.sum(x), jl.reflected(1.0, domain), x,
        num_steps=3, observe=None,
    )  # fmt: skip
    y = np.asarray(run.position, np.float64)
    u = {
        "box": lambda: (y - [0, -1]) / [1, 3],
        "ball": lambda: np.stack([np.linalg.norm(y, axis=1) ** 3,
                                  (y[:, 0] / np.linalg.norm(y, axis=1) + 1) / 2], axis=1),
        "simplex": lambda: np.stack([1 - (1 - y[:, 0]) ** 2, y[:, 1] / (y[:, 1] + y[:, 2])],
                                    axis=1),
    }[name]()  # fmt: skip
    u = special.ndtri(np.clip(u, 1e-9, 1 - 1e-9))
    jl.verify.assert_law(u, jl.Gaussian(jnp.zeros(2), jnp.eye(2)))
    assert float(jnp.mean(jnp.linalg.norm(run.position - x, axis=1))) > 0.3


# Wrong kernels ------------------------------------------------------------------------------


def without_turning(domain, x, y):
    return domain.reflect(x, y)[0], y - x


def clipped(domain, x, y):
    return domain.project(y), y - x


def flat(domain, u):
    return 0 * jnp.sum(u)


SLIPS = {  # by domain and kernel: the member that is wrong, and what it does
    ("box", "mirrored"): {
        "no Jacobian": ("log_det", flat),
        "Jacobian without the temperature": (
            "log_det", lambda domain, u: domain.log_det(u) / TEMPERATURE,
        ),
    },
    ("half-space", "mirrored"): {"no Jacobian": ("log_det", flat)},
    ("simplex", "mirrored"): {
        "no Jacobian": ("log_det", lambda domain, u: -jnp.sum(u) ** 2 / 6),
    },
    ("ball", "mirrored"): {
        "radial part of the Jacobian alone": (
            "log_det", lambda domain, u: 2 * jnp.log(1 / jnp.cosh(jnp.sqrt(jnp.sum(u * u)))),
        ),
    },
    ("box", "reflected_mala"): {"move not turned": ("reflect", without_turning)},
    ("ball", "reflected_mala"): {"move not turned": ("reflect", without_turning)},
    ("half-space", "reflected_mala"): {},
    ("simplex", "reflected_mala"): {
        "slopes across the simplex": ("tangent", lambda domain, v: 1 * v),
        "projected for reflected": ("reflect", clipped),
    },
}  # fmt: skip


@pytree_dataclass
class Twisted:
    """A domain that is right under the number 0, and has one of the slips under another: one
    program serves them all."""

    right: Any
    number: Any
    slips: Any = static_field()

    def contains(self, x):
        return self.right.contains(x)

    def project(self, x):
        return self.right.project(x)

    def dual(self, x, noise=None):
        return self.right.dual(x, noise)

    def primal(self, u):
        return self.right.primal(u)

    def reflect(self, x, y):
        return self._perhaps_wrong("reflect", x, y)

    def tangent(self, v):
        return self._perhaps_wrong("tangent", v)

    def log_det(self, u):
        return self._perhaps_wrong("log_det", u)

    def _perhaps_wrong(self, name, *args):
        right = getattr(self.right, name)
        slips = [
            (lambda *args, f=function: f(self.right, *args)) if member == name else right
            for member, function in self.slips
        ]
        return jax.lax.switch(self.number, [right, *slips], *args) if slips else right(*args)


KEEPING = {"mirrored": mirrored(jl.mala), "reflected_mala": reflected_mala}


def kept_by(name, kind, slip=None):
    slips = SLIPS[name, kind]
    number = jnp.int32(0 if slip is None else 1 + list(slips).index(slip))

    def make(eta, domain, name):
        return KEEPING[kind](eta, Twisted(domain, number, tuple(slips.values())), name)

    return kept(name, make)


@pytest.mark.parametrize(("name", "kind"), SLIPS)
def test_reflected_and_mirrored_mala_keep_the_law(name, kind):
    report, run, moved, inside = kept_by(name, kind)
    assert report.passed, str(report)
    assert inside
    assert moved > 0.8
    assert 0.2 < run.info.acceptance_rate.mean() < 1


@pytest.mark.parametrize(
    ("name", "kind", "slip"), [(*of, slip) for of, slips in SLIPS.items() for slip in slips]
)
def test_a_wrong_domain_is_rejected(name, kind, slip):
    report, *_ = kept_by(name, kind, slip)
    assert not report.passed


# Starts, streams, shapes --------------------------------------------------------------------

KERNELS = {
    "projected": lambda domain: jl.projected(0.1, domain),
    "reflected": lambda domain: jl.reflected(0.1, domain),
    "reflected_mala": lambda domain: jl.reflected_mala(0.1, domain),
    "mirrored": lambda domain: jl.mirrored(jl.ula(0.1), domain),
}


@pytest.mark.parametrize("name", KERNELS)
def test_a_start_outside_is_refused(name):
    kernel = KERNELS[name](domains.ball(0.0, 1.0))
    start = jnp.array([[0.5, 0.5], [0.8, 0.8], [0.0, 0.0]])
    with pytest.raises(
        ValueError,
        match=r"start of 1 of 3 chains; for the first of them, chain 1, the kernel's state.*domain",
    ):
        jl.sample(jax.random.key(0), jl.energies.linear([1.0, 1.0]), kernel, start, num_steps=3)


@pytest.mark.parametrize("name", KERNELS)
def test_a_run_in_two_is_the_run_in_one(name):
    kernel, energy = KERNELS[name](domains.box(-0.5, 1.0)), jl.energies.quadratic(jnp.eye(2))
    start, options = jnp.zeros((500, 2)), {"observe": None}
    whole = jl.sample(jax.random.key(0), energy, kernel, start, num_steps=30, **options)
    first = jl.sample(jax.random.key(0), energy, kernel, start, num_steps=13, **options)
    second = jl.resume(first.state, energy, kernel, num_steps=17, **options)
    np.testing.assert_array_equal(whole.position, second.position)
    assert whole.position.min() >= -0.5
    assert whole.position.max() <= 1.0


@pytest.mark.parametrize("name", ["reflected", "mirrored"])
def test_a_pytree_in_a_box_moves_as_its_vector(name):
    kernel = KERNELS[name](domains.box(0.0, 1.0))
    start = {"a": jnp.full((20,), 0.5), "b": jnp.full((20, 2), 0.5)}
    tree = jl.sample(
        jax.random.key(0), lambda x: x["a"] + jnp.sum(x["b"] ** 2), kernel, start, num_steps=5
    )
    vector = jl.sample(
        jax.random.key(0), lambda x: x[0] + jnp.sum(x[1:] ** 2), kernel, jnp.full((20, 3), 0.5),
        num_steps=5,
    )  # fmt: skip
    np.testing.assert_allclose(tree.draws["a"], vector.draws[..., 0], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(tree.draws["b"], vector.draws[..., 1:], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", KERNELS)
def test_other_domains_are_other_values_of_one_structure(name):
    """So that they compile nothing, as `test_contract` checks of step sizes."""
    one, other = (
        jax.tree.flatten(KERNELS[name](domains.ball(jnp.array([0.1, radius - 1.0]), radius)))
        for radius in (1.0, 2.0)
    )
    assert one[1] == other[1]
    for a, b in zip(one[0], other[0], strict=True):
        assert jax.typeof(a) == jax.typeof(b)


def test_no_kernel_between_walls_claims_an_affine_law():
    energy, start = jl.energies.quadratic(jnp.eye(2)), jl.Gaussian(jnp.zeros(2), jnp.eye(2))
    for name, low in (("projected", -1.0), ("projected", 1.0), ("reflected", -1.0)):
        with pytest.raises(jl.NotAffineError):
            jl.exact.law(KERNELS[name](domains.box(low, 2.0)), energy, start, 3)


@pytest.mark.parametrize("make", [jl.projected, jl.reflected, jl.reflected_mala])
@pytest.mark.parametrize("value", [0.0, -1.0, float("nan")])
def test_hyperparameters_are_finite_and_positive(make, value):
    with pytest.raises(ValueError, match="step_size: expected"):
        make(value, domains.box(0.0, 1.0))
    with pytest.raises(ValueError, match="temperature: expected"):
        make(0.1, domains.box(0.0, 1.0), temperature=value)


def test_a_confined_energy_is_checked_as_any_other():
    positive = domains.box(0.0, jnp.inf)
    start = jnp.array([[1.0], [-1.0]])
    with pytest.raises(ValueError, match="for the first of them, chain 1, the energy is not"):
        jl.sample(
            jax.random.key(0), domains.confine(jnp.sum, positive), jl.ula(0.1), start, num_steps=1
        )
    with pytest.raises(ValueError, match="energy: expected a scalar for one position"):
        jl.sample(
            jax.random.key(0),
            domains.confine(lambda x: 0.5 * jnp.sum(x**2, keepdims=True), positive),
            jl.mala(0.1),
            start,
            num_steps=1,
        )
    law = jl.energies.gaussian_mixture([[0.0], [3.0]], jnp.ones((2, 1, 1)))
    everywhere = domains.confine(law, domains.box(-jnp.inf, jnp.inf))
    chains = {"key": jax.random.key(0), "num_steps": 3, "num_chains": 4_000}
    report = jl.verify.invariance(jl.mala(0.5), everywhere, law, **chains)
    assert report.statistics == ("coordinate 0", "energy")
    assert report.passed
