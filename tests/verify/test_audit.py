"""The audit: what is right passes, and each fault is found by the check that is for it."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import stand_ins
from scipy import stats

import jlangevin as jl
from jlangevin.energies.base import GivenGradient

pytestmark = pytest.mark.slow

NUM_CHAINS = 4_000

# Any one-step rule, adjusted or not, by numbers: one program for them all.
RULE = {
    "drift": 1.0,  # of step ∇E
    "noise": 2.0,  # of step × heat
    "power": 1.0,  # heat is T to this power
    "lenient": 1.0,  # whether all are accepted
    "sign": 1.0,  # of that log
    "proposal": 1.0,  # the weight of the proposal's part in it
    "fresh": 1,  # whether each step has a key of its own
    "shared": 0,  # how many chains in a row have one key, less 1
    "mirrored": 0.0,  # whether every second chain has minus the noise of the one before
    "further": 0,  # steps too many
    "stays": 1.0,  # the weight of the start
}


@jax.jit
def run(key, energy, step, temperature, init, num_steps, rule):
    heat = temperature ** rule["power"]

    def propose(x, xi):
        noise = jnp.sqrt(rule["noise"] * step * heat)
        return x - rule["drift"] * step * jax.grad(energy)(x) + noise * xi

    def log_density(y, x):
        gap = y - x + rule["drift"] * step * jax.grad(energy)(x)
        return -jnp.sum(gap**2) / (2 * rule["noise"] * step * heat)

    def chain(index, x):
        pair = jnp.where(rule["mirrored"] > 0, index // 2, index)
        own = jax.random.fold_in(key, pair // (1 + rule["shared"]))
        sign = jnp.where((rule["mirrored"] > 0) & (index % 2 == 1), -1.0, 1.0).astype(x.dtype)

        def move(t, x):
            normal, uniform = jax.random.split(jax.random.fold_in(own, t * rule["fresh"]))
            y = propose(x, sign * jax.random.normal(normal, x.shape, x.dtype))
            ratio = (energy(x) - energy(y)) / temperature
            ratio += rule["proposal"] * (log_density(x, y) - log_density(y, x))
            u = jnp.log(jax.random.uniform(uniform, (), x.dtype))
            accepted = (rule["lenient"] > 0) | (u < rule["sign"] * ratio)
            return jnp.where(accepted, y, x)

        return jax.lax.fori_loop(0, num_steps + rule["further"], move, rule["stays"] * x)

    return jax.vmap(chain)(jnp.arange(init.shape[0]), init)


def sampler(per_heat=False, **changes):
    def draw(key, energy, step_size, temperature, init, num_steps):
        rule = {**RULE, **changes}
        kinds = {name: init.dtype if isinstance(v, float) else int for name, v in rule.items()}
        rule = {name: jnp.asarray(value, kinds[name]) for name, value in rule.items()}
        step_size = step_size / temperature if per_heat else step_size
        step, heat = (jnp.asarray(value, init.dtype) for value in (step_size, temperature))
        return run(key, energy, step, heat, init, num_steps, rule)

    return draw


def mala(**changes):
    return sampler(**{"lenient": 0.0, **changes})


def audit(draw, **options):
    return jl.verify.audit(draw, num_chains=NUM_CHAINS, **options)


@functools.cache
def audited(make=sampler, claim=None, **changes):
    """The audit of a sampler, or of a MALA, once for all tests that ask for it."""
    return audit(make(**changes), claim=claim)


def one_program(draw):
    """`draw` under `jax.jit`: its step size and its temperature are arrays of init's dtype."""
    jitted = jax.jit(draw)

    def call(key, energy, step_size, temperature, init, num_steps):
        step, heat = (jnp.asarray(value, init.dtype) for value in (step_size, temperature))
        return jitted(key, energy, step, heat, init, num_steps)

    return call


# What is right ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "convention"),
    [
        ({}, "ULA, step η"),
        ({"drift": 0.5, "noise": 1.0}, "ULA, step h = 2η"),
        ({"per_heat": True}, "ULA, step η/T (it multiplies the score -∇E/T)"),
    ],
)
def test_the_convention_is_recognised(changes, convention):
    report = audited(**changes)
    assert report.passed, report
    assert report.convention == convention


def test_a_bias_is_told_and_is_a_fault_only_of_what_claims_to_be_exact():
    report = audited()
    assert report["invariance: Gaussian"].verdict == "info"
    assert "biased, as its rule is" in report["stationary"].says
    assert "invariance: Gaussian" in audited(claim="exact").failures


def test_an_adjusted_sampler_is_recognised():
    report = audit(mala(drift=0.5, noise=1.0), claim="reversible")
    assert report.passed, report
    assert report.convention == "exact, as far as seen; on a linear energy that of ULA, step h = 2η"
    assert report["detailed balance"].verdict == "pass"


KERNELS = {
    "leimkuhler_matthews": (lambda h, t: jl.leimkuhler_matthews(h, temperature=t), None),
    "malt": (lambda h, t: jl.malt(h, 1.0, 3, temperature=t), "reversible"),
}


@pytest.mark.parametrize("name", KERNELS)
def test_the_librarys_own_kernels_pass(name):
    kernel, claim = KERNELS[name]
    report = audit(jl.verify.drawer(kernel), claim=claim)
    assert report.passed, report
    assert "do not depend" in report["batch size"].says


def underdamped(step, temperature):
    return jl.underdamped(step, 1.0, temperature=temperature)


def hot(step, temperature):
    return jl.underdamped(step, 1.0, temperature=temperature**2)


def test_rules_can_be_given_and_velocities_are_looked_at():
    rules = {"BAOAB": underdamped}
    report = audit(jl.verify.drawer(underdamped), rules=rules, step_size=1.2)
    assert report.passed, report
    assert (report.convention, report["velocity"].verdict) == ("BAOAB", "pass")
    report = audit(jl.verify.drawer(hot), rules=rules, step_size=1.2)
    assert report["velocity"].verdict == "FAIL"
    assert "its variance is T², not T" in report["velocity"].says
    assert report.convention.startswith("BAOAB, its temperature T², not T")


# What is wrong ------------------------------------------------------------------------------

ULA_MUTANTS = {
    "√2 dropped": ({"noise": 1.0}, "linear energy", "T/2, not T"),
    "sign flipped": ({"drift": -1.0}, "linear energy", "sign of its drift is flipped"),
    "T for √T": ({"power": 2.0}, "linear energy", "T², not T"),
    "√T for T": ({"power": 0.5}, "linear energy", "√T, not T"),
    "gradient halved": ({"drift": 0.5}, "linear energy", "2T, not T"),
    "temperature ignored": ({"power": 0.0}, "temperature", ""),
    "no gradient": ({"drift": 0.0}, "linear energy", "not a Langevin step"),
    "noise half as large again": ({"noise": 3.0}, "linear energy", "for this drift"),
    "noise repeated": ({"fresh": 0}, "linear energy", ""),
    "one step too many": ({"further": 1}, "finite N", ""),
    "start ignored": ({"stays": 0.0}, "finite N", ""),
    "does not move": ({"drift": 0.0, "noise": 0.0}, "frozen", "0.0% of the chains"),
    "not finite": ({"noise": np.nan}, "finite", "not finite"),
    "noise shared by all": ({"shared": 10**6}, "independent chains", "share their noise"),
    "noise shared by two": ({"shared": 1}, "independent chains", "share their noise"),
    "antithetic pairs": ({"mirrored": 1.0}, "independent chains", "not independent"),
}


@pytest.mark.parametrize("name", ULA_MUTANTS)
def test_a_wrong_ula_is_found_and_named(name):
    changes, check, says = ULA_MUTANTS[name]
    report = audited(**changes)
    assert check in report.failures, report
    assert says in report[check].says


MALA_MUTANTS = {
    "no accept step": {"lenient": 1.0},
    "acceptance inverted": {"sign": -1.0},
    "proposal left out of the ratio": {"proposal": 0.0},
    "proposal taken the wrong way round": {"proposal": -1.0},
    "sign flipped, as the ratio does not know": {"drift": -1.0, "proposal": 0.0},
}


@pytest.mark.parametrize("name", MALA_MUTANTS)
def test_a_wrong_mala_is_found(name):
    report = audit(mala(**MALA_MUTANTS[name]), claim="exact")
    assert {"invariance: Gaussian", "invariance: mixture"} & {*report.failures}, report


def at_temperature(changed):
    """MALA that takes the temperature for another."""

    def draw(key, energy, step_size, temperature, init, num_steps):
        return mala()(key, energy, step_size, changed(temperature), init, num_steps)

    return draw


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        (np.square, "T², not T"),
        (np.sqrt, "√T, not T"),
        (np.ones_like, "the temperature is ignored"),
    ],
)
def test_a_temperature_taken_for_another_is_named(changed, says):
    report = audit(at_temperature(changed))
    assert says in report["stationary"].says, report
    assert {"temperature", "stationary", "invariance: mixture"} <= {*report.failures}


def rotating(key, energy, step_size, temperature, init, num_steps):
    """An exact step on a Gaussian that isn't reversible, and no more than that."""
    if not isinstance(energy, jl.energies.Quadratic):
        raise NotImplementedError
    lower = jnp.linalg.inv(jnp.linalg.cholesky(energy.precision)).T * np.sqrt(temperature)
    turn = jnp.array([[0.0, -0.8], [0.8, 0.0]], init.dtype)
    z = jnp.linalg.solve(lower, (init - energy.center[None, :]).T).T
    for t in range(num_steps):
        normal = jax.random.normal(jax.random.fold_in(key, t), init.shape, init.dtype)
        z = z @ turn.T + 0.6 * normal
    return energy.center[None, :] + z @ lower.T


def test_it_is_the_same_in_float64(x64):
    report = audit(sampler(drift=0.5, noise=1.0))
    assert report.passed, report
    assert report.convention == "ULA, step h = 2η"
    assert "T², not T" in audit(sampler(power=2.0))["linear energy"].says
    assert "invariance: Gaussian" in audit(mala(sign=-1.0), claim="exact").failures


def slow(key, energy, step_size, temperature, init, num_steps):
    return mala()(key, energy, step_size / 1_000, temperature, init, num_steps)


def test_what_is_slow_is_not_wrong():
    report = audit(slow, claim="exact")
    assert report.passed, report
    assert "not yet the target" in report["stationary"].says


def test_what_is_not_reversible_is_found_if_it_claims_to_be():
    assert audit(rotating, claim="reversible").failures == ("detailed balance",)
    report = audit(rotating, claim="exact")
    assert report.passed, report
    assert report["detailed balance"].verdict == "info"
    assert report["linear energy"].verdict == "n/a"
    assert report["invariance: mixture"].verdict == "n/a"


def test_keys_count():
    def deaf(key, *others):
        return sampler()(jax.random.key(0), *others)

    calls = itertools.count()

    def forgetful(key, *others):
        return sampler()(jax.random.key(next(calls)), *others)

    report = audit(deaf)
    assert report.failures == ("seeds",), report
    assert report["seeds"].says == "another key gave the same draws"
    assert audit(forgetful)["seeds"].says == "the same key gave other draws"


def still_on_mixtures(key, energy, *rest):
    known = isinstance(energy, jl.energies.Linear | jl.energies.Quadratic)
    return sampler()(key, energy, *rest) if known else rest[2]


def one_coordinate(key, energy, step_size, temperature, init, num_steps):
    moved = sampler()(key, energy, step_size, temperature, init, num_steps)
    return moved.at[:, -1].set(init[:, -1])


def jitter(key, energy, step_size, temperature, init, num_steps):
    return init + 1e-3 * jax.random.normal(key, init.shape, init.dtype)


@pytest.mark.parametrize(
    ("draw", "says"),
    [
        (still_on_mixtures, "0.0% of the chains moved along one coordinate"),
        (one_coordinate, "0.0% of the chains moved along one coordinate"),
        (jitter, "a correlation of 1.00: chains hardly move"),
    ],
)
def test_what_stands_still_is_found_though_it_keeps_its_targets(draw, says):
    report = audit(draw)
    assert "frozen" in report.failures, report
    assert says in report["frozen"].says
    if draw is jitter:
        assert report["invariance: Gaussian"].verdict == "pass"


@one_program
def refreshed(key, energy, step, temperature, init, num_steps):
    """Hamilton's flow in small steps, and at times a new velocity, which settles on no slope."""
    root = jnp.sqrt(temperature)
    v = root * jax.random.normal(jax.random.fold_in(key, 10**6), init.shape, init.dtype)
    slopes = jax.vmap(jax.grad(energy))

    def move(t, state):
        x, v = state
        normal, uniform = jax.random.split(jax.random.fold_in(key, t))
        fresh = jax.random.uniform(uniform, (len(x), 1), x.dtype) < 0.2
        v = jnp.where(fresh, root * jax.random.normal(normal, x.shape, x.dtype), v)

        def leapfrog(_, state):
            x, v = state
            v = v - step / 64 * slopes(x)
            x = x + step / 32 * v
            return x, v - step / 64 * slopes(x)

        return jax.lax.fori_loop(0, 32, leapfrog, (x, v))

    return jax.lax.fori_loop(0, num_steps, move, (init, v))


def test_velocities_of_what_follows_no_rule_are_looked_at_where_they_settle():
    report = audit(refreshed)
    assert report.passed, report
    assert report["velocity"].verdict == "pass"


@one_program
def antithetic(key, energy, step, heat, init, num_steps):
    """ULA whose noise has the mean over the chains taken out, and is made larger for it."""
    if (n := len(init)) == 1:
        raise NotImplementedError
    noise = jnp.sqrt(2 * step * heat) * jnp.asarray(np.sqrt(n / (n - 1)), init.dtype)

    def move(t, x):
        xi = jax.random.normal(jax.random.fold_in(key, t), x.shape, x.dtype)
        xi = xi - jnp.mean(xi, axis=0, keepdims=True)
        return x - step * jax.vmap(jax.grad(energy))(x) + noise * xi

    return jax.lax.fori_loop(0, num_steps, move, init)


def test_two_chains_that_depend_on_each_other_are_found_though_each_has_its_law():
    report = audit(antithetic)
    assert report.failures == ("independent chains",), report
    assert report["independent chains"].says == "chains are not independent if there are two"
    assert report["batch size"].verdict == "pass"


def test_what_stands_still_far_away_is_told():
    """Densities in place of their logarithms, both 0 there."""

    @one_program
    def metropolis(key, energy, step, temperature, init, num_steps):
        def density(x):
            return jnp.exp(-jax.vmap(energy)(x) / temperature)

        def move(t, x):
            normal, uniform = jax.random.split(jax.random.fold_in(key, t))
            y = x + jax.random.normal(normal, x.shape, x.dtype)
            accepted = jax.random.uniform(uniform, len(x), x.dtype) * density(x) < density(y)
            return jnp.where(accepted[:, None], y, x)

        return jax.lax.fori_loop(0, num_steps, move, init)

    report = audit(metropolis, claim="reversible")
    assert report.passed, report
    assert report["far starts"].verdict == "info"
    assert "100,000 standard deviations away 0% move" in report["far starts"].says
    assert report["step size"].says == "half of it gives the same draws: it is ignored"
    assert report["step size"].verdict == "info"
    assert audit(mala())["far starts"].verdict == "pass"


def test_a_step_size_that_is_ignored_is_found():
    def own_step(key, energy, step_size, *rest):
        return sampler()(key, energy, 0.4, *rest)

    assert audit(own_step).failures == ("step size", "units")


def with_noise(changed):
    """ULA with other noise."""

    @one_program
    def draw(key, energy, step, heat, init, num_steps):
        def move(t, x):
            xi = jax.random.normal(jax.random.fold_in(key, t), x.shape, x.dtype)
            x = x - step * jax.vmap(jax.grad(energy))(x) + jnp.sqrt(2 * step * heat) * changed(xi)
            return jnp.clip(x, -1, 2) if changed is not three else x

        return jax.lax.fori_loop(0, num_steps, move, init)

    return draw


def three(xi):
    """Variance 1 on three values."""
    return jnp.where(jnp.abs(xi) < 0.9674, 0, jnp.sign(xi)) * np.sqrt(3).astype(xi.dtype)


@pytest.mark.parametrize("changed", [three, lambda xi: xi])
def test_a_grid_and_bounds_are_not_taken_for_noise_that_is_shared(changed):
    report = audit(with_noise(changed))
    assert "continuous" in report.failures, report
    assert "they lie on a grid, or at bounds" in report["continuous"].says
    assert report["independent chains"].verdict == report["seeds"].verdict == "pass"


class Quartic(GivenGradient):
    """Σ x⁴, its gradient of its own."""

    def __init__(self, factor):
        self.factor = factor

    def __call__(self, x):
        return jnp.sum(x**4)

    def gradient(self, x):
        return jnp.asarray(4 * self.factor, x.dtype) * x**3


def test_the_gradient_of_an_energy_that_is_given_is_checked():
    x = jax.random.normal(jax.random.key(1), (9, 4))
    report = audit(sampler(), energy=Quartic(1.01), positions=x)
    assert report.failures == ("gradient",), report
    assert report["gradient"].says.startswith("the gradient is wrong: ")
    report = audit(sampler(), energy=Quartic(1.0), positions=x)
    assert report["gradient"].verdict == "pass"
    assert report["gradient"].says.startswith("the gradient is that of the energy: 9 positions")
    report = audit(sampler(), energy=lambda x: jnp.sum(x**2) + 1e9, positions=x)
    assert (report.passed, report["gradient"].verdict) == (True, "info")
    assert audited()["gradient"].says == "no energy was given"


def test_a_bound_with_a_unit_is_found_in_other_units():
    @one_program
    def clipped(key, energy, step, heat, init, num_steps):
        def slope(x):
            g = jax.grad(energy)(x)
            return g * jnp.minimum(1, 25 / jnp.linalg.norm(g))

        def move(t, x):
            xi = jax.random.normal(jax.random.fold_in(key, t), x.shape, x.dtype)
            return x - step * jax.vmap(slope)(x) + jnp.sqrt(2 * step * heat) * xi

        return jax.lax.fori_loop(0, num_steps, move, init)

    assert audit(clipped).failures == ("units",)


def test_kinetic_steps_have_the_unit_of_x():
    report = audit(jl.verify.drawer(underdamped), rules={"BAOAB": underdamped}, step_size=1.2)
    assert report["units"].says == "E(x/c) at the step ch is the same chain"
    assert report["units"].verdict == "pass"


def test_a_friction_that_is_explicit_is_no_unit():
    """At 16 times the step its rule is unstable, and nothing can be compared."""

    def explicit(h, temperature):
        return stand_ins.Kinetic(stand_ins.between_kicks, h, temperature)

    report = audit(jl.verify.drawer(explicit), rules={"explicit": explicit}, step_size=0.5)
    assert (report.convention, report["units"].verdict) == ("explicit", "pass")


def test_a_law_that_depends_on_the_batch_is_found_among_few():
    @one_program
    def centered(key, energy, step, heat, init, num_steps):
        """ULA with noise whose mean over the chains is subtracted."""

        def move(t, x):
            xi = jax.random.normal(jax.random.fold_in(key, t), x.shape, x.dtype)
            xi = xi - jnp.mean(xi, axis=0, keepdims=True)
            slopes = jax.vmap(jax.grad(energy))(x)
            return x - step * slopes + jnp.sqrt(2 * step * heat) * xi

        return jax.lax.fori_loop(0, num_steps, move, init)

    report = audit(centered)
    assert report.failures == ("independent chains", "batch size"), report
    assert "one chain alone has another law than many" in report["batch size"].says


def test_a_batch_that_matters_is_told_and_is_no_fault():
    def batched(key, energy, step_size, temperature, init, num_steps):
        key = jax.random.fold_in(key, len(init))
        return sampler()(key, energy, step_size, temperature, init, num_steps)

    report = audit(batched)
    assert report.passed, report
    assert "change with the number of chains, their law does not" in report["batch size"].says


def test_velocities_alone_can_be_wrong():
    def draw(key, energy, step_size, temperature, init, num_steps):
        position = sampler()(key, energy, step_size, temperature, init, num_steps)
        return position, temperature * jax.random.normal(key, init.shape, init.dtype)

    with jax.debug_key_reuse(False):
        report = audit(draw)
    assert report["velocity"].verdict == "FAIL"
    assert "T², not T" in report["velocity"].says


# Rates --------------------------------------------------------------------------------------


def test_false_alarms_are_no_more_often_than_said():
    """12 audits at a level of 0.1: nine false alarms have odds below 1e-6, and are what a rate of
    0.9 or more would give."""
    failures = 0
    for seed in range(12):
        draw = sampler() if seed % 2 else mala()
        report = jl.verify.audit(draw, key=jax.random.key(seed), num_chains=1_000, false_alarm=0.1)
        failures += not report.passed
    assert stats.binom.sf(failures - 1, 12, 0.1) > 1e-6, failures


# The report, and bad input ------------------------------------------------------------------


def test_the_report_is_text_and_plain_data():
    report = audited(noise=1.0)
    assert "WRONG: linear energy" in str(report)
    assert report.to_dict()["passed"] is False
    with pytest.raises(KeyError, match="nothing: not among"):
        report["nothing"]


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        (
            {"draw": None},
            TypeError,
            r"draw: expected a function draw.*, got NoneType; jlangevin\.verify\.drawer",
        ),
        ({"rules": {"x": 3}}, TypeError, "rules: expected functions of step size and temperature"),
        ({"rules": [jl.ula]}, TypeError, "rules: expected functions .* by name"),
        ({"energy": jnp.sum}, ValueError, "positions: energy was given alone"),
        ({"positions": jnp.ones((3, 2))}, ValueError, "energy: positions was given alone"),
        (
            {"energy": jl.scores.score(lambda x: -x), "positions": jnp.ones((3, 2))},
            jl.NoEnergyError,
            "only its score is known",
        ),
        ({"claim": "right"}, ValueError, 'claim: expected None, "exact" or "reversible"'),
        ({"key": 0}, TypeError, "key: expected a typed key"),
        ({"temperature": 1.0}, ValueError, "temperature: at 1 two mistakes"),
        ({"temperature": 4.0}, ValueError, "temperature: at 4 two mistakes"),
        ({"temperature": 2.0}, ValueError, "temperature: at 2 two mistakes"),
        ({"step_size": 0.0}, ValueError, "step_size: expected values above zero"),
        ({"step_size": jnp.ones(2)}, ValueError, r"step_size: expected a scalar, got shape \(2,\)"),
        ({"step_size": None}, TypeError, "step_size: expected a real number"),
        ({"num_chains": 10}, ValueError, "num_chains: expected at least 1000"),
        ({"num_chains": 1_001}, ValueError, "num_chains: expected an even number"),
        ({"false_alarm": 0.0}, ValueError, "false_alarm: expected a probability"),
        ({"false_alarm": None}, TypeError, "false_alarm: expected a probability"),
    ],
)
def test_bad_input_is_refused(options, error, message):
    with pytest.raises(error, match=message):
        jl.verify.audit(**({"draw": sampler()} | options))


@pytest.mark.parametrize("kernel", [None, jl.ula(0.1)])
def test_a_drawer_is_of_a_function_that_makes_kernels(kernel):
    with pytest.raises(TypeError, match="make_kernel: expected a function of step size and"):
        jl.verify.drawer(kernel)


@pytest.mark.parametrize(
    ("out", "message"),
    [
        (lambda x: x[:-1], "draw: expected positions of init's shape"),
        (lambda x: (x, x[:, :1]), "draw: expected velocities of init's shape"),
        (lambda x: (x, x, x), "draw: expected positions, or positions and velocities"),
    ],
)
def test_draws_of_another_shape_are_refused(out, message):
    def draw(key, energy, step_size, temperature, init, num_steps):
        return out(init)

    with pytest.raises(ValueError, match=message):
        audit(draw)
