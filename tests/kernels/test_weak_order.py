"""The order of the stationary bias in the step size, without a random number.

A chain's transition operator acts on polynomials in (x, u), u a velocity or a carried normal,
given by their values at Gauss-Hermite nodes; the mean over a step's noise is a Gauss-Hermite sum.
Its left eigenvector at the eigenvalue 1 is the stationary law, as weights on the nodes.
"""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jlangevin as jl

pytestmark = pytest.mark.slow

NUM_X, NUM_U, NUM_NOISE = 24, 10, 8


def wavy(x):
    return jnp.sum(0.5 * x**2 + 0.5 * jnp.cos(x) + 0.3 * jnp.sin(x))


def true_second_moment():
    x = np.linspace(-12, 12, 4001)  # the trapezoidal rule, exact but for rounding
    p = np.exp(-(0.5 * x**2 + 0.5 * np.cos(x) + 0.3 * np.sin(x)))
    return np.sum(p * x**2) / np.sum(p)


def hermite(count):
    """Nodes and weights of N(0, 1), and at any x the polynomials that are 1 at one node and 0 at
    the others."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(count)
    weights = weights / np.sum(weights)
    norms = np.sqrt(np.cumprod(np.maximum(np.arange(count), 1.0)))

    def orthonormal(x):
        return np.polynomial.hermite_e.hermevander(x, count - 1) / norms

    return nodes, weights, lambda x: (orthonormal(x) @ orthonormal(nodes).T) * weights


def tensor(values, times):
    """All combinations of `times` of the values: (combination, time)."""
    return np.array(list(itertools.product(values, repeat=times)))


def stationary_second_moment(kernel, second, energy=wavy):
    """E[x²] of a chain whose state is its position and perhaps one more number, `second`.

    What else a state carries is what `init` makes of the position.
    """
    x, x_weights, at_x = hermite(NUM_X)
    u, u_weights, at_u = hermite(NUM_U if second else 1)
    xi, xi_weights, _ = hermite(NUM_NOISE)
    num_noises = len(jax.tree.leaves(kernel.step_noise))

    @jax.jit
    def moved(kernel, x, u, noises):
        every_noise = jax.vmap(lambda x, u, noise: move(kernel, x, u, noise), (None, None, 0))
        return jax.vmap(every_noise, (0, 0, None))(x, u, noises)

    def move(kernel, x, u, noise):
        state = kernel.init(energy, x[None], kernel.init_noise and jnp.zeros(1))
        if second:
            state = state._replace(**{second: u[None]})
        noise = jax.tree.unflatten(jax.tree.structure(kernel.step_noise), list(noise[:, None]))
        moved, _ = kernel.step(energy, state, noise)
        return moved.position[0], getattr(moved, second)[0] if second else u

    grid_x, grid_u = np.repeat(x, len(u)), np.tile(u, len(x))
    x_to, u_to = moved(kernel, grid_x, grid_u, tensor(xi, num_noises))
    operator = np.einsum(
        "q,iqm,iqn->imn",
        np.prod(tensor(xi_weights, num_noises), axis=1),
        at_x(np.asarray(x_to)),
        at_u(np.asarray(u_to)),
    ).reshape(len(grid_x), -1)

    # pᵀ (K - I) = 0 and Σ p = 1, for p over the root of the nodes' weights, which is well-scaled.
    root = np.sqrt(np.outer(x_weights, u_weights)).ravel()
    scaled = root[:, None] * operator / root
    system = np.vstack([scaled.T - np.eye(len(root)), root])
    law = root * np.linalg.lstsq(system, np.append(np.zeros(len(root)), 1.0), rcond=None)[0]
    return law @ grid_x**2


def word(splitting):
    return lambda h: jl.underdamped(h, 1.0, splitting=splitting), "velocity"


CHAINS = {
    "ula": (jl.ula, None, 1),
    "leimkuhler_matthews": (jl.leimkuhler_matthews, "noise", 2),
    "BAOAB": (*word("BAOAB"), 2),
    "OBABO": (*word("OBABO"), 2),
    "ABOBA": (*word("ABOBA"), 2),
    "OABAO": (*word("OABAO"), 2),
    "ABO": (*word("ABO"), 1),
    "BUB": (*word("BUB"), 2),
    "quicsort": (lambda h: jl.quicsort(h, 1.5), "velocity", 3),
}


@pytest.mark.parametrize("name", CHAINS)
def test_the_bias_of_the_second_moment_is_of_the_stated_order(name, x64):
    kernel_at, second, order = CHAINS[name]
    biases = [
        abs(stationary_second_moment(kernel_at(h), second) - true_second_moment())
        for h in (0.1, 0.05)
    ]
    assert np.log2(biases[0] / biases[1]) == pytest.approx(order, abs=0.1)


def test_on_a_quadratic_the_operator_gives_the_exact_variance(x64):
    """The method itself, where `exact` knows the answer."""
    energy = jl.energies.quadratic(jnp.eye(1))
    for name in ("leimkuhler_matthews", "BAOAB"):
        kernel_at, second, _ = CHAINS[name]
        kernel = kernel_at(0.4)
        law = jl.exact.stationary(kernel, energy, jnp.zeros(1))
        found = stationary_second_moment(kernel, second, energy)
        np.testing.assert_allclose(found, law.cov[0, 0], rtol=1e-9)
