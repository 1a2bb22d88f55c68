"""QUICSORT: a step by its formulas, its law against the diffusion's own, and where it is stable."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg
from masses import MASSES, mass_of, matrix_of

import jlangevin as jl
from jlangevin.kernels import QUICSORTState

FRICTION, TEMPERATURE = 1.3, 0.7
C, D = (3 - 3**0.5) / 6, (3 + 3**0.5) / 6


def by_hand(gradient, x, v, normals, *, h, mass):
    """NumPy, as the paper writes it."""

    def a(t):
        return (1 - np.exp(-FRICTION * t)) / FRICTION

    def b(t):
        return (np.exp(-FRICTION * t) + FRICTION * t - 1) / (FRICTION**2 * h)

    def pull(x):
        return np.linalg.inv(mass) @ np.float64(gradient(jnp.asarray(x, float)))

    root = np.linalg.inv(np.linalg.cholesky(mass)).T  # the kernel's, of M⁻¹
    x, v = np.float64(x), np.float64(v)
    W, H, K = (
        np.sqrt(2 * FRICTION * TEMPERATURE * h / n) * root @ np.float64(xi)
        for n, xi in zip((1, 12, 720), normals, strict=True)
    )
    u, w = v + H + 6 * K, W - 12 * K
    first = pull(x + a(C * h) * u + b(C * h) * w)
    second = pull(x + a(D * h) * u + b(D * h) * w - a(h / 3) * h * first)
    moved = x + a(h) * u + b(h) * w - h / 2 * (a(D * h) * first + a(C * h) * second)
    kept = [np.exp(-FRICTION * t * h) for t in (1, D, C)]
    after = kept[0] * u - h / 2 * (kept[1] * first + kept[2] * second) + a(h) / h * w
    return moved, after - (H - 6 * K)


@pytest.mark.parametrize("form", MASSES)
def test_a_step_is_as_the_paper_writes_it(form, x64):
    energy, h = jl.energies.double_well(dim=2), 0.3
    kernel = jl.quicsort(h, FRICTION, mass=mass_of(form), temperature=TEMPERATURE)
    x = jnp.array([0.5, -1.2])
    state = kernel.init(energy, x, jnp.array([0.3, 1.5]))
    v = state.velocity
    for k in (1.0, -2.0):
        normals = tuple(k * jnp.array(xi) for xi in ([2.0, -1.0], [0.5, 1.5], [-1.0, 2.5]))
        state, _ = kernel.step(energy, state, normals)
        x, v = by_hand(jax.grad(energy), x, v, normals, h=h, mass=matrix_of(form))
    np.testing.assert_allclose(state.position, x, rtol=1e-11, atol=1e-11)
    np.testing.assert_allclose(state.velocity, v, rtol=1e-11, atol=1e-11)


def test_a_step_costs_two_gradients():
    calls = []

    def energy(x):
        calls.append(x)
        return jnp.sum(x**2)

    kernel = jl.quicsort(0.1, 1.0)
    state = kernel.init(energy, jnp.ones(2), jnp.ones(2))
    jax.make_jaxpr(lambda s, z: kernel.step(energy, s, z))(state, (jnp.ones(2),) * 3)
    assert len(calls) == 2


def test_little_friction_is_not_lost(dtype):
    """At γh = 1e-9 all coefficients are those without friction, to 1e-9, and the noise is W of the
    velocity; of position it is h (W/2 + H)."""
    h, gamma = 1e-3, 1e-6
    kernel = jl.quicsort(h, gamma, temperature=2.0)
    flat, zero, one = jl.energies.linear([0.0]), jnp.zeros(1), jnp.ones(1)
    heat = np.sqrt(2 * gamma * h * 2.0)
    moves = [
        ((zero, one), (zero, zero, zero), h, 1.0),
        ((zero, zero), (one, zero, zero), h * heat / 2, heat),
        ((zero, zero), (zero, one, zero), h * heat / 12**0.5, 0.0),
        ((zero, zero), (zero, zero, one), 0.0, 0.0),
    ]
    for state, normals, x, v in moves:
        moved, _ = kernel.step(flat, QUICSORTState(*state), normals)
        np.testing.assert_allclose(moved.position, x, rtol=1e-6, atol=1e-6 * h * heat)
        np.testing.assert_allclose(moved.velocity, v, rtol=1e-6, atol=1e-6 * heat)


def test_at_temperature_zero_it_comes_to_rest():
    kernel = jl.quicsort(0.5, 2.0, temperature=lambda t: jnp.float32(0.0))
    energy = jl.energies.quadratic([[1.0, 0.6], [0.6, 2.0]], mean=[1.0, -2.0])
    run = jl.sample(jax.random.key(0), energy, kernel, jnp.ones((3, 2)), num_steps=200)
    np.testing.assert_allclose(run.position, np.tile([1.0, -2.0], (3, 1)), rtol=1e-5)


# Laws ---------------------------------------------------------------------------------------


def diffusion(precision, mass, time):
    """The diffusion's own law of (x, v) in one dimension: its matrix, and its covariance if it
    starts at a point with a thermal velocity."""
    matrix = np.array([[0.0, 1.0], [-precision / mass, -FRICTION]])
    F = scipy.linalg.expm(matrix * time)
    settled = TEMPERATURE * np.diag([1 / precision, 1 / mass])
    start = np.diag([0.0, TEMPERATURE / mass])
    return F, settled + F @ (start - settled) @ F.T


def test_its_law_is_of_third_order_to_the_diffusions(x64):
    precision, mass, time = 2.0, 1.4, 2.0
    energy = jl.energies.quadratic(precision * jnp.eye(1))
    F, S = diffusion(precision, mass, time)
    start = jl.Gaussian(jnp.array([1.5]), jnp.zeros((1, 1)))
    off = []
    for steps in (16, 32):
        kernel = jl.quicsort(time / steps, FRICTION, mass=mass, temperature=TEMPERATURE)
        law = jl.exact.law(kernel, energy, start, steps, full=True)
        mean = np.concatenate([law.mean.position, law.mean.velocity])
        off.append([np.max(np.abs(mean - F @ [1.5, 0.0])), np.max(np.abs(law.cov - S))])
    np.testing.assert_allclose(np.log2(np.divide(*off)), [3.0, 3.0], atol=0.2)


@pytest.mark.parametrize("friction", [1e-3, 0.1])
def test_with_little_friction_variances_are_small_by_what_the_docstring_says(friction, x64):
    h = 0.3
    law = jl.exact.stationary(
        jl.quicsort(h, friction), jl.energies.quadratic(jnp.eye(1)), jnp.zeros(1)
    )
    loss = (2 * 3**0.5 - 3) / 36 * h**3 / friction
    np.testing.assert_allclose(1 / law.cov[0, 0] - 1, loss, rtol=0.05)


@pytest.mark.parametrize("friction", [1e-4, 0.5, 5.0])
def test_it_is_stable_up_to_its_limit(friction, x64):
    """h²λ/m < 6.2 whatever the friction; just beyond it is not where there is little."""
    kernel = jl.quicsort(1.0, friction)
    jl.exact.stationary(kernel, jl.energies.quadratic(6.2 * jnp.eye(1)), jnp.zeros(1))
    if friction < 1e-3:
        beyond = jl.energies.quadratic(6.3 * jnp.eye(1))
        with pytest.raises(jl.UnstableStepError):
            jl.exact.stationary(kernel, beyond, jnp.zeros(1))


@pytest.mark.slow
def test_samples_have_the_exact_law():
    """With a mass in other forms, `test_a_step_is_as_the_paper_writes_it` compares steps."""
    energy = jl.energies.quadratic([[1.0, 0.6], [0.6, 2.0]], mean=[1.0, -2.0])
    start = jl.Gaussian(jnp.array([3.0, 1.0]), jnp.array([[2.0, -0.5], [-0.5, 1.0]]))
    kernel = jl.quicsort(0.8, FRICTION, mass=mass_of("dense"), temperature=TEMPERATURE)
    run = jl.sample(
        jax.random.key(0), energy, kernel, start, num_steps=6, num_chains=20_000, observe=None
    )
    law = jl.exact.law(kernel, energy, start, 6, full=True)
    whole = jl.Gaussian(jnp.concatenate(list(law.mean)), law.cov)
    jl.verify.assert_law(jnp.concatenate([run.position, run.state.kernel.velocity], 1), whole)


@pytest.mark.parametrize("name", ["step_size", "friction", "temperature"])
@pytest.mark.parametrize("value", [0.0, -0.1, float("nan")])
def test_hyperparameters_are_finite_and_positive(name, value):
    with pytest.raises(ValueError, match=f"{name}: expected"):
        jl.quicsort(**{"step_size": 0.1, "friction": 1.0, name: value})


def test_a_mass_that_does_not_fit_the_position_is_refused():
    energy, kernel = jl.energies.quadratic(jnp.eye(2)), jl.quicsort(0.1, 1.0, mass=jnp.ones(3))
    with pytest.raises(ValueError, match="mass: "):
        jl.sample(jax.random.key(0), energy, kernel, jnp.ones((2, 2)), num_steps=1)
