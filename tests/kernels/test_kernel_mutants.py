"""Slips in a kernel, each of which verification must reject against the right kernel's law.

As in `test_mutants`: correlated dimensions, a large step, T ≠ 1, a mass ≠ 1, few steps, 20,000
chains. Most are the kernel written out with one thing changed; unchanged it is accepted.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jlangevin as jl
from jlangevin.noise import Want

NUM_STEPS, NUM_CHAINS = 6, 20_000


def bowl():
    return jl.energies.quadratic([[1.0, 0.6], [0.6, 2.0]], mean=[1.0, -2.0])


def slope():
    return jl.energies.linear([3.0, 4.0])


class State(NamedTuple):
    position: Any
    second: Any  # velocity or carried noise; zeros where there is none


class Rule(NamedTuple):
    """A kernel by its rule (∇E, x, second, ξ) -> (x, second), and the scale of the first second."""

    rule: Any
    scale: float = 1.0

    init_noise = Want.NORMAL
    step_noise = Want.NORMAL

    def init(self, energy, position, noise):
        return State(position, self.scale * noise)

    def step(self, energy, state, noise):
        return State(*self.rule(jax.grad(energy), *state, noise)), jl.Info()


def rejected(mutant, right, energy, num_steps=NUM_STEPS):
    start = jl.Gaussian(jnp.array([3.0, 1.0]), jnp.array([[2.0, -0.5], [-0.5, 1.0]]))
    run = jl.sample(
        jax.random.key(0),
        energy,
        mutant,
        start,
        num_steps=num_steps,
        num_chains=NUM_CHAINS,
        observe=None,
    )
    law = jl.exact.law(right, energy, start, num_steps)
    return not jl.verify.compare(run.position, law).passed


def steps_to_see(name):
    """What is wrong with the first state alone is soon forgotten."""
    return 1 if "first" in name else NUM_STEPS


# Underdamped --------------------------------------------------------------------------------

H, FRICTION, MASS, T = 1.2, 0.8, 2.0, 2.0
KEPT = np.exp(-FRICTION * H)
HOT = np.sqrt(1 - KEPT**2)


def baoab(
    g,
    x,
    v,
    xi,
    *,
    a=(0.5, 0.5),
    b=(0.5, 0.5),
    kept=KEPT,
    hot=HOT,
    t=T,
    masses=(MASS, MASS),
    stale=False,
):
    force = g(x)
    v = v - b[0] * H * force / masses[0]
    x = x + a[0] * H * v
    v = kept * v + hot * np.sqrt(t / masses[1]) * xi
    x = x + a[1] * H * v
    v = v - b[1] * H * (force if stale else g(x)) / masses[0]
    return x, v


def changed(**changes):
    return Rule(lambda *args: baoab(*args, **changes), float(np.sqrt(T / MASS)))


RIGHT = jl.underdamped(H, FRICTION, mass=MASS, temperature=T)
UNDERDAMPED = {
    "OBABO for BAOAB": jl.underdamped(H, FRICTION, mass=MASS, temperature=T, splitting="OBABO"),
    "OABAO for BAOAB": jl.underdamped(H, FRICTION, mass=MASS, temperature=T, splitting="OABAO"),
    "second half of A missing": changed(a=(0.5, 0.0)),
    "second half of B missing": changed(b=(0.5, 0.0)),
    "halves taken whole": changed(a=(1.0, 1.0), b=(1.0, 1.0)),
    "e^{-γh} and its complement swapped": changed(kept=HOT, hot=KEPT),
    "1 - e^{-γh} for 1 - e^{-2γh}": changed(hot=np.sqrt(1 - KEPT)),
    "T for sqrt(T)": changed(t=T**2),
    "mass forgotten by B": changed(masses=(1.0, MASS)),
    "mass forgotten by O": changed(masses=(MASS, 1.0)),
    "stale force": changed(stale=True),
    "first velocity without T/m": Rule(baoab, 2.0),
    "friction of a half step": jl.underdamped(H, FRICTION / 2, mass=MASS, temperature=T),
}


def test_the_right_underdamped_kernel_is_accepted(dtype):
    assert not rejected(RIGHT, RIGHT, bowl())
    assert not rejected(changed(), RIGHT, bowl())


@pytest.mark.parametrize("name", UNDERDAMPED)
def test_a_wrong_underdamped_kernel_is_rejected(name, dtype):
    assert rejected(UNDERDAMPED[name], RIGHT, bowl(), steps_to_see(name))


# Leimkuhler-Matthews ------------------------------------------------------------------------

ETA = 0.4
SIGMA = np.sqrt(2 * ETA * T)

HALVES = jl.leimkuhler_matthews(ETA, temperature=T)
LEIMKUHLER_MATTHEWS = {
    "all noise fresh": jl.ula(ETA, temperature=T),
    "half of the noise forgotten": Rule(lambda g, x, z, xi: (x - ETA * g(x) + SIGMA * xi / 2, xi)),
    "noise not carried on": Rule(lambda g, x, z, xi: (x - ETA * g(x) + SIGMA * (z + xi) / 2, z)),
    "sum for mean": Rule(lambda g, x, z, xi: (x - ETA * g(x) + SIGMA * (z + xi), xi)),
    "variance of one normal": Rule(
        lambda g, x, z, xi: (x - ETA * g(x) + SIGMA * (z + xi) / 2**0.5, xi)
    ),
    "T for sqrt(T)": jl.leimkuhler_matthews(ETA, temperature=T**2),
    "first noise missing": Rule(
        lambda g, x, z, xi: (x - ETA * g(x) + SIGMA * (z + xi) / 2, xi), scale=0.0
    ),
}


def test_the_right_leimkuhler_matthews_is_accepted(dtype):
    written_out = Rule(lambda g, x, z, xi: (x - ETA * g(x) + SIGMA * (z + xi) / 2, xi))
    assert not rejected(HALVES, HALVES, bowl())
    assert not rejected(written_out, HALVES, bowl())


@pytest.mark.parametrize("name", LEIMKUHLER_MATTHEWS)
def test_a_wrong_leimkuhler_matthews_is_rejected(name, dtype):
    assert rejected(LEIMKUHLER_MATTHEWS[name], HALVES, bowl(), steps_to_see(name))


# Tamed --------------------------------------------------------------------------------------


def tamed(size):
    return Rule(lambda g, x, z, xi: (x - ETA * g(x) / (1 + size(g(x))) + SIGMA * xi, z))


TAMED = jl.tamed_ula(ETA, temperature=T)
TAMED_MUTANTS = {
    "not tamed": jl.ula(ETA, temperature=T),
    "η forgotten": tamed(jnp.linalg.norm),
    "norm squared": tamed(lambda g: ETA * jnp.sum(g**2)),
    "by coordinates": jl.tamed_ula(ETA, temperature=T, coordinatewise=True),
    "T for sqrt(T)": jl.tamed_ula(ETA, temperature=T**2),
}


def test_the_right_tamed_ula_is_accepted(dtype):
    assert not rejected(TAMED, TAMED, slope())
    assert not rejected(tamed(lambda g: ETA * jnp.linalg.norm(g)), TAMED, slope())


@pytest.mark.parametrize("name", TAMED_MUTANTS)
def test_a_wrong_tamed_ula_is_rejected(name, dtype):
    assert rejected(TAMED_MUTANTS[name], TAMED, slope())
