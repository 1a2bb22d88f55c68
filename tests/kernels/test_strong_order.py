"""How far a scheme's path is from that of half the step, for the same Brownian motion.

A pair is one kernel made of two: a step of h, and two of h/2 whose normals make those of the whole
step. On a quadratic energy the law of the pair, and so of the difference, is exact.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jlangevin as jl
from jlangevin._core.trees import pytree_dataclass
from jlangevin.noise import Want

pytestmark = pytest.mark.slow

FRICTION, MASS, TEMPERATURE, TIME = 1.3, 1.4, 0.7, 2.0


# What the normals of a time t stand for, in units of the noise: as a root, and how two are one.


def velocity(t):
    """The integral of e^{-γ(t - s)} dW, which a move O adds to the velocity."""
    kept = np.exp(-FRICTION * t)
    return np.array([[np.sqrt((1 - kept**2) / (2 * FRICTION))]]), np.array([[kept, 1.0]])


def flight(t):
    """The same, and its integral, which a move U adds to the position."""
    a, kept = FRICTION * t, np.exp(-FRICTION * t)
    of_v, both = (1 - kept**2) / (2 * FRICTION), (1 - kept) ** 2 / (2 * FRICTION**2)
    of_x = (2 * a - 3 + 4 * kept - kept**2) / (2 * FRICTION**3)
    root = np.linalg.cholesky([[of_v, both], [both, of_x]])
    lead = (1 - kept) / FRICTION  # how far the first velocity leads in the second half
    return root, np.array([[kept, 0.0, 1.0, 0.0], [lead, 1.0, 0.0, 1.0]])


def levy(t):
    """W, and the integrals of W ds and of s W ds, by the independent W, H and K."""
    root = np.array([[1.0, 0, 0], [t / 2, t, 0], [t**2 / 3, t**2 / 2, -(t**2)]])
    join = [[1.0, 0, 0, 1, 0, 0], [t, 1, 0, 0, 1, 0], [1.5 * t**2, 0, 1, 0, t, 1]]
    return root * np.sqrt([t, t / 12, t / 720]), np.array(join)


def joined(noise, t):
    """The normals of 2t, as a matrix times those of t and t."""
    (half, join), (whole, _) = noise(t), noise(2 * t)
    n = len(half)
    both = np.zeros((2 * n, 2 * n))
    both[:n, :n] = both[n:, n:] = half
    return np.linalg.solve(whole, join.dot(both))


SCHEMES = {  # the noise, how often a step has it, and the strong order
    "BAOAB": (velocity, 1, 1),
    "OBABO": (velocity, 2, 1),
    "BUB": (flight, 1, 2),
    "UBU": (flight, 2, 2),
    "quicsort": (levy, 1, 3),
}


class Two(NamedTuple):
    position: Any
    whole: Any
    half: Any


@pytree_dataclass
class Pair:
    """A kernel of step h beside itself of step h/2."""

    whole: Any
    half: Any
    matrix: Any  # (n, 2n), of the normals of a part
    init_noise = Want.NORMAL

    @property
    def step_noise(self):
        return self.half.step_noise, self.half.step_noise

    def init(self, energy, position, noise):
        states = (kernel.init(energy, position, noise) for kernel in (self.whole, self.half))
        return Two(position, *states)

    def step(self, energy, state, noise):
        n = len(self.matrix)
        fine = [*noise[0], *noise[1]]
        parts = [fine[i : i + 2 * n] for i in range(0, len(fine), 2 * n)]
        coarse = tuple(
            sum(jnp.asarray(c, xi.dtype) * xi for c, xi in zip(row, part, strict=True))
            for part in parts
            for row in self.matrix
        )
        whole, _ = self.whole.step(energy, state.whole, coarse)
        half = state.half
        for normals in noise:
            half, _ = self.half.step(energy, half, normals)
        return Two(whole.position - half.position, whole, half), jl.Info()


def scheme(name, h):
    rest = {"mass": MASS, "temperature": TEMPERATURE}
    if name == "quicsort":
        return jl.quicsort(h, FRICTION, **rest)
    return jl.underdamped(h, FRICTION, splitting=name, **rest)


def pair(name, h):
    noise, times, _ = SCHEMES[name]
    return Pair(scheme(name, h), scheme(name, h / 2), joined(noise, h / 2 / times))


@pytest.mark.parametrize("noise", [velocity, flight, levy])
def test_the_normals_of_two_halves_make_normals(noise):
    matrix = joined(noise, 0.3)
    np.testing.assert_allclose(matrix.dot(matrix.T), np.eye(len(matrix)), atol=1e-9)


@pytest.mark.parametrize("name", SCHEMES)
def test_on_a_quadratic_energy_the_exact_distance_is_of_the_stated_order(name, x64):
    energy = jl.energies.quadratic([[1.0, 0.3], [0.3, 2.0]])
    start = jl.Gaussian(jnp.array([1.0, -0.5]), jnp.zeros((2, 2)))
    off = []
    for steps in (16, 32):
        law = jl.exact.law(pair(name, TIME / steps), energy, start, steps)
        off.append(float(jnp.sqrt(jnp.trace(law.cov) + jnp.sum(law.mean**2))))
    assert np.log2(off[0] / off[1]) == pytest.approx(SCHEMES[name][2], abs=0.1)


@pytest.mark.parametrize("name", ["UBU", "quicsort"])
def test_on_a_convex_energy_the_sampled_distance_is_of_the_stated_order(name, x64):
    """The order is found to 0.03; beyond 0.3 the scheme is another."""

    def energy(x):
        return jnp.sum(0.25 * x**2 + jnp.log(jnp.cosh(1.5 * x)))

    off = []
    for steps in (16, 32):
        run = jl.sample(
            jax.random.key(steps),
            energy,
            pair(name, TIME / steps),
            jnp.ones((4_000, 2)),
            num_steps=steps,
            observe=None,
        )
        off.append(float(jnp.sqrt(jnp.mean(run.position**2))))
    assert np.log2(off[0] / off[1]) == pytest.approx(SCHEMES[name][2], abs=0.3)
