"""Underdamped dynamics: a step is the letters of its word, at one gradient, with known laws."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from masses import MASSES, mass_of, matrix_of

import jlangevin as jl
from jlangevin.kernels import Diagonal, LeimkuhlerMatthewsState, UnderdampedState
from jlangevin.noise import Want

SYMMETRIC = ("BAOAB", "OBABO", "ABOBA", "OABAO")
FLYING = ("UBU", "BUB")
WORDS = (*SYMMETRIC, "ABO", "BAO", "BOA", "BABO", "AOBABOA", "OBBAAO", "ABABO", *FLYING, "BUUB")


def setting():
    energy = jl.energies.quadratic([[1.0, 0.6], [0.6, 2.0]], mean=[1.0, -2.0])
    start = jl.Gaussian(jnp.array([3.0, 1.0]), jnp.array([[2.0, -0.5], [-0.5, 1.0]]))
    return energy, start


def flight(friction, t):
    """The move U of (x, v) in one dimension and units of T/m, by the moments of textbooks: its
    matrix, and the root of its covariance, the velocity's normal first."""
    a, kept = friction * t, np.exp(-friction * t)
    matrix = np.array([[1.0, (1 - kept) / friction], [0.0, kept]])
    of_v, both = 1 - kept**2, (1 - kept) ** 2 / friction
    of_x = (2 * a - 3 + 4 * kept - kept**2) / friction**2
    lower = np.linalg.cholesky([[of_v, both], [both, of_x]])
    return matrix, lower[::-1]


def noises_of(word):
    return word.count("O") + 2 * word.count("U")


def by_the_letter(word, gradient, x, v, noises, *, h, friction, mass, temperature):
    """NumPy, one letter after the other."""
    x, v, noises = np.float64(x), np.float64(v), iter(noises)
    inverse = np.linalg.inv(mass)
    root = np.linalg.inv(np.linalg.cholesky(mass)).T  # the kernel's, of M⁻¹: M = C Cᵀ, C⁻ᵀ
    for letter in word:
        dt = h / word.count(letter)
        if letter == "A":
            x = x + dt * v
        elif letter == "B":
            v = v - dt * inverse @ np.float64(gradient(jnp.asarray(x, float)))
        elif letter == "O":
            hot = np.sqrt((1 - np.exp(-2 * friction * dt)) * temperature)
            v = np.exp(-friction * dt) * v + hot * root @ np.float64(next(noises))
        else:
            matrix, lower = flight(friction, dt)
            fresh = [root @ np.float64(next(noises)) for _ in range(2)]
            x, v = matrix @ np.stack([x, v]) + np.sqrt(temperature) * lower @ np.stack(fresh)
    return x, v


# A step -------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", MASSES)
@pytest.mark.parametrize("word", WORDS)
def test_steps_are_the_letters_of_the_word(word, form, x64):
    energy = jl.energies.double_well(dim=2)
    kernel = jl.underdamped(0.3, 1.3, mass=mass_of(form), temperature=0.7, splitting=word)
    x, xi = jnp.array([0.5, -1.2]), jnp.array([0.3, 1.5])
    state = kernel.init(energy, x, xi)
    v = np.sqrt(0.7) * np.linalg.inv(np.linalg.cholesky(matrix_of(form))).T @ np.asarray(xi)
    np.testing.assert_allclose(state.velocity, v, rtol=1e-5)
    constants = {"h": 0.3, "friction": 1.3, "mass": matrix_of(form), "temperature": 0.7}
    for k in (1.0, -2.0):
        noises = tuple(k * jnp.array([2.0 + i, -1.0]) for i in range(noises_of(word)))
        state, _ = kernel.step(energy, state, noises)
        x, v = by_the_letter(word, jax.grad(energy), x, v, noises, **constants)
    np.testing.assert_allclose(state.position, x, rtol=1e-11, atol=1e-11)
    np.testing.assert_allclose(state.velocity, v, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("word", WORDS)
def test_one_gradient_a_step_where_the_bs_are_between_the_same_two_as(word):
    calls = []

    def energy(x):
        calls.append(x)
        return jnp.sum(x**2)

    kernel = jl.underdamped(0.1, 1.0, splitting=word)
    state = kernel.init(energy, jnp.ones(2), jnp.ones(2))
    calls.clear()
    noise = (jnp.ones(2),) * noises_of(word)
    jax.make_jaxpr(lambda s, z: kernel.step(energy, s, z))(state, noise)
    assert len(calls) == (2 if word in ("ABABO", "AOBABOA") else 1)


@pytest.mark.parametrize("word", WORDS)
def test_one_normal_an_o_two_a_u_and_a_force_only_where_the_next_step_begins_with_it(word):
    kernel = jl.underdamped(0.1, 1.0, splitting=word)
    assert kernel.step_noise == (Want.NORMAL,) * noises_of(word)
    state = kernel.init(jnp.sum, jnp.ones(2), jnp.ones(2))
    assert (state.acceleration is not None) == (word in ("BAOAB", "OBABO", "BABO", "BUB", "BUUB"))


def test_little_friction_is_not_lost(dtype):
    """1 - e^{-2γh} at γh = 1e-9, where e^{-γh} is 1 in float32."""
    kernel = jl.underdamped(1e-3, 1e-6, temperature=2.0)
    state = UnderdampedState(jnp.zeros(1), jnp.zeros(1), jnp.zeros(1))
    moved, _ = kernel.step(jl.energies.linear([0.0]), state, (jnp.ones(1),))
    np.testing.assert_allclose(moved.velocity, np.sqrt(2 * 1e-9 * 2.0), rtol=1e-6)
    hot = UnderdampedState(jnp.zeros(1), jnp.full(1, 1e-2), jnp.zeros(1))
    gained = kernel.step(jl.energies.linear([0.0]), hot, (jnp.zeros(1),))[0].velocity - 1e-2
    assert abs(float(gained[0]) + 1e-11) <= float(jnp.finfo(dtype).eps) * 1e-2


def test_little_friction_is_not_lost_in_a_flight(dtype):
    """From rest ξ_1 = 0 and ξ_2 = 1 lead to h sqrt(γhT/6), and a velocity leads to hv."""
    kernel, h, gamma = jl.underdamped(1e-3, 1e-6, temperature=2.0, splitting="BUB"), 1e-3, 1e-6
    none, one = jnp.zeros(1), jnp.ones(1)
    moved, _ = kernel.step(
        jl.energies.linear([0.0]), UnderdampedState(none, none, none), (none, one)
    )
    np.testing.assert_allclose(moved.position, h * np.sqrt(gamma * h * 2.0 / 6), rtol=1e-6)
    moved, _ = kernel.step(
        jl.energies.linear([0.0]), UnderdampedState(none, one, none), (none, none)
    )
    np.testing.assert_allclose(moved.position, h, rtol=1e-6)


def test_schedules_are_followed():
    """v decays by e^{-γ_t h_t} a step and is heated to that step's T."""

    def growing(t):
        return 1 + jnp.asarray(t, float)

    kernel = jl.underdamped(lambda t: 0.1 * growing(t), growing, temperature=growing)
    start = jl.Gaussian(jnp.zeros(1), jnp.zeros((1, 1)))
    law = jl.exact.law(kernel, jl.energies.linear([0.0]), start, 2, full=True)
    variance = 1.0  # T at step 0, from init
    for h, gamma, temperature in ((0.1, 1.0, 1.0), (0.2, 2.0, 2.0)):
        kept = np.exp(-2 * gamma * h)
        variance = kept * variance + (1 - kept) * temperature
    np.testing.assert_allclose(law.cov[1, 1], variance, rtol=1e-5)


@pytest.mark.parametrize("word", ["BAOAB", "UBU"])
def test_at_temperature_zero_it_comes_to_rest(word):
    kernel = jl.underdamped(0.5, 2.0, temperature=lambda t: jnp.float32(0.0), splitting=word)
    energy, _ = setting()
    run = jl.sample(
        jax.random.key(0), energy, kernel, jnp.ones((3, 2)), num_steps=200, observe=None
    )
    np.testing.assert_allclose(run.position, np.tile([1.0, -2.0], (3, 1)), rtol=1e-5)


# Laws ---------------------------------------------------------------------------------------

VARIANCES = {  # of x over T/λ and of v over T/m, κ = h²λ/(4m)
    "BAOAB": lambda k: (1, 1 - k),
    "OBABO": lambda k: (1 / (1 - k), 1),
    "ABOBA": lambda k: (1, 1 / (1 - k)),
    "OABAO": lambda k: (1 - k, 1),
}


@pytest.mark.parametrize("friction", [0.3, 5.0])
@pytest.mark.parametrize("fraction", [0.05, 0.5, 0.95])
@pytest.mark.parametrize("word", SYMMETRIC)
def test_stationary_variances_are_those_of_the_table(word, fraction, friction, x64):
    mass, temperature, eigenvalues = 1.4, 0.7, np.array([0.5, 4.0])
    h = fraction * 2 * np.sqrt(mass / eigenvalues[-1])
    kernel = jl.underdamped(h, friction, mass=mass, temperature=temperature, splitting=word)
    energy = jl.energies.quadratic(jnp.diag(jnp.asarray(eigenvalues)))
    law = jl.exact.stationary(kernel, energy, jnp.zeros(2), full=True)
    of_x, of_v = VARIANCES[word](h**2 * eigenvalues / (4 * mass))
    expected = np.concatenate([of_x * temperature / eigenvalues, of_v * np.full(2, 0.5)])
    np.testing.assert_allclose(law.cov[:4, :4], np.diag(expected), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("word", SYMMETRIC)
def test_beyond_the_stability_limit_is_refused(word, x64):
    energy = jl.energies.quadratic(4.0 * jnp.eye(2))
    inside, outside = (jl.underdamped(h, 1.0, mass=1.0, splitting=word) for h in (0.99, 1.01))
    jl.exact.stationary(inside, energy, jnp.zeros(2), full=True)
    with pytest.raises(jl.UnstableStepError):
        jl.exact.stationary(outside, energy, jnp.zeros(2), full=True)


@pytest.mark.parametrize("word", FLYING)
def test_words_with_flights_settle_where_their_moments_say(word, x64):
    """Moments of textbooks, composed by hand: S = F S Fᵀ + Q."""
    h, friction, mass, temperature, precision = 0.9, 0.8, 1.4, 0.7, 2.0
    kernel = jl.underdamped(h, friction, mass=mass, temperature=temperature, splitting=word)
    energy = jl.energies.quadratic(precision * jnp.eye(1))
    law = jl.exact.stationary(kernel, energy, jnp.zeros(1), full=True)
    F, Q = np.eye(2), np.zeros((2, 2))
    for letter in word:
        dt = h / word.count(letter)
        move, root = np.array([[1.0, 0.0], [-dt * precision / mass, 1.0]]), np.zeros((2, 2))
        if letter == "U":
            move, root = flight(friction, dt)
        F, Q = move @ F, move @ Q @ move.T + temperature / mass * root @ root.T
    S = np.linalg.solve(np.eye(4) - np.kron(F, F), Q.ravel()).reshape(2, 2)
    np.testing.assert_allclose(law.cov[:2, :2], S, rtol=1e-12)
    kappa = h**2 * precision / (4 * mass)
    near = {"UBU": (1 - 2 * kappa / 3, 1 + kappa / 3), "BUB": (1 + kappa / 3, 1 - 2 * kappa / 3)}
    relative = np.diag(S) * [precision / temperature, mass / temperature]
    np.testing.assert_allclose(relative, near[word], atol=0.1 * kappa + kappa**2)


@pytest.mark.parametrize("word", FLYING)
@pytest.mark.parametrize("friction", [0.1, 3.0])
def test_words_with_flights_are_stable_up_to_their_limit(word, friction, x64):
    """κ tanh(y)/y < 1 with y = γh/2."""
    h = 0.9
    precision = 4 / h**2 * (friction * h / 2) / np.tanh(friction * h / 2)
    kernel = jl.underdamped(h, friction, splitting=word)
    inside, outside = (jl.energies.quadratic(f * precision * jnp.eye(1)) for f in (0.999, 1.001))
    jl.exact.stationary(kernel, inside, jnp.zeros(1))
    with pytest.raises(jl.UnstableStepError):
        jl.exact.stationary(kernel, outside, jnp.zeros(1))


@pytest.mark.parametrize("form", MASSES)
def test_no_mass_changes_where_positions_settle_under_baoab(form, x64):
    energy, start = setting()
    kernel = jl.underdamped(0.4, 1.3, mass=mass_of(form), temperature=0.7)
    law = jl.exact.stationary(kernel, energy, start.mean)
    np.testing.assert_allclose(law.cov, 0.7 * np.linalg.inv(energy.precision), rtol=1e-12)


@pytest.mark.parametrize("form", MASSES)
def test_velocities_start_and_under_obabo_settle_at_the_inverse_mass(form, x64):
    energy, start = setting()
    kernel = jl.underdamped(0.4, 1.3, mass=mass_of(form), temperature=0.7, splitting="OBABO")
    expected = 0.7 * np.linalg.inv(matrix_of(form))
    first = jl.exact.law(kernel, energy, start, 0, full=True)
    np.testing.assert_allclose(first.cov[2:4, 2:4], expected, rtol=1e-12)
    np.testing.assert_allclose(first.cov[:2, 2:4], np.zeros((2, 2)), atol=1e-15)
    last = jl.exact.stationary(kernel, energy, start.mean, full=True)
    np.testing.assert_allclose(last.cov[2:4, 2:4], expected, rtol=1e-12, atol=1e-14)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("word", "form"),
    [("BAOAB", "number"), ("OBABO", "dense"), ("UBU", "diagonal")],
)
def test_samples_have_the_exact_law(word, form):
    """With one normal, two, and those of flights; `test_steps_are_the_letters_of_the_word` compares
    steps in every word and form."""
    energy, start = setting()
    kernel = jl.underdamped(0.8, 1.3, mass=mass_of(form), temperature=0.7, splitting=word)
    run = jl.sample(
        jax.random.key(0), energy, kernel, start, num_steps=6, num_chains=20_000, observe=None
    )
    law = jl.exact.law(kernel, energy, start, 6, full=True)
    phase = jl.Gaussian(law.mean[:2], law.cov[:4, :4])
    jl.verify.assert_law((run.position, run.state.kernel.velocity), phase)


def test_baoab_at_high_friction_is_leimkuhler_matthews(x64):
    """η = h²/(2m), the last normal carried over, from the second step on: at the first, the
    velocity has not yet had its half of the force."""
    energy, h, mass, temperature = jl.energies.double_well(dim=2), 0.4, 1.4, 0.7
    rough = jl.underdamped(h, 1e6, mass=mass, temperature=temperature)
    limit = jl.leimkuhler_matthews(h**2 / (2 * mass), temperature=temperature)
    xi = jax.random.normal(jax.random.key(0), (10, 2))
    inertial, _ = rough.step(energy, rough.init(energy, jnp.ones(2), jnp.ones(2)), (xi[0],))
    overdamped = LeimkuhlerMatthewsState(inertial.position, xi[0])
    for noise in xi[1:]:
        inertial, _ = rough.step(energy, inertial, (noise,))
        overdamped, _ = limit.step(energy, overdamped, noise)
        np.testing.assert_allclose(inertial.position, overdamped.position, rtol=1e-12)


# Positions and masses -----------------------------------------------------------------------


@pytest.mark.slow
def test_masses_of_pytree_positions():
    def energy(x):
        return jnp.sum(x["a"] ** 2) + jnp.sum(x["b"] ** 2)

    starts = {"a": jnp.ones((3, 2)), "b": jnp.ones((3, 2, 2))}
    by_leaf = {"a": jnp.array([1.0, 2.0]), "b": jnp.full((2, 2), 3.0)}
    in_order = jnp.diag(jnp.array([1.0, 2.0, 3.0, 3.0, 3.0, 3.0]))
    a, b = (
        jl.sample(
            jax.random.key(0), energy, jl.underdamped(0.1, 1.0, mass=mass), starts, num_steps=3
        )
        for mass in (by_leaf, in_order)
    )
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, atol=1e-6), a.draws, b.draws)


def test_a_matrix_position_takes_its_diagonal_explicitly():
    kernel = jl.underdamped(0.1, 1.0, mass=Diagonal(jnp.full((2, 3), 2.0)))
    state = kernel.init(lambda x: jnp.sum(x**2), jnp.zeros((2, 3)), jnp.ones((2, 3)))
    np.testing.assert_allclose(state.velocity, np.full((2, 3), 0.5))  # of mass 2²


@pytest.mark.parametrize("mass", [jnp.ones(3), jnp.eye(3)])
def test_a_mass_that_does_not_fit_the_position_is_refused(mass):
    energy, start = setting()
    kernel = jl.underdamped(0.1, 1.0, mass=mass)
    with pytest.raises(ValueError, match="mass: "):
        jl.sample(jax.random.key(0), energy, kernel, start, num_steps=1, num_chains=2)


@pytest.mark.parametrize(
    ("mass", "error", "message"),
    [
        (0.0, ValueError, "mass: expected values above zero"),
        (-jnp.ones(2), ValueError, "mass: expected values above zero"),
        (jnp.array([[1.0, -2.0], [-2.0, 1.0]]), ValueError, "mass: not positive definite"),
        (jnp.array([[1.0, 0.5], [0.0, 1.0]]), ValueError, "mass: not symmetric"),
        (None, TypeError, "mass: expected a number, a diagonal or a matrix"),
    ],
)
def test_a_bad_mass_is_refused(mass, error, message):
    with pytest.raises(error, match=message):
        jl.underdamped(0.1, 1.0, mass=mass)


@pytest.mark.parametrize("name", ["step_size", "friction", "temperature"])
@pytest.mark.parametrize("value", [0.0, -0.1, float("nan"), float("inf")])
def test_hyperparameters_are_finite_and_positive(name, value):
    with pytest.raises(ValueError, match=f"{name}: expected"):
        jl.underdamped(**{"step_size": 0.1, "friction": 1.0, name: value})


@pytest.mark.parametrize(
    "word", ["", "BAOAC", "baoab", "BAB", "OAO", "BOB", "B A O", "UU", "BUA", "UBO"]
)
def test_a_word_that_is_not_a_splitting_is_refused(word):
    with pytest.raises(ValueError, match="splitting: expected a word of the letters A, B and O"):
        jl.underdamped(0.1, 1.0, splitting=word)


def test_a_splitting_that_is_not_a_word_is_refused():
    with pytest.raises(TypeError, match="splitting: expected a word"):
        jl.underdamped(0.1, 1.0, splitting=["B", "A", "O"])
