"""The affine map of one step, z' = F z + c + w with w ~ N(0, Q).

It is recovered from a peer's draws, or is that of a kernel of ours; `verdict` says if both are one.

F is recovered from starts that differ by a unit and have the same noise, to the peer's rounding; c
and Q from as many draws as there are starts, so they are compared in standard errors.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

import jlangevin as jl

STARTS = 20_000
PRECISION = 2e-5  # of F, whose elements are about 1
LARGEST_Z = 5.0

A = np.array([[1.0, 0.6], [0.6, 2.0]])  # E(x) = ½ xᵀ A x
ENERGY = jl.energies.quadratic(jnp.asarray(A, jnp.float32))
Step = Callable[[int, np.ndarray], Any]  # seed, (starts, size) -> (starts, size)


@dataclasses.dataclass(frozen=True)
class Map:
    """z' = F z + c + w, w ~ N(0, Q); from `draws` draws, or exact if there are none."""

    matrix: np.ndarray
    offset: np.ndarray
    cov: np.ndarray
    draws: int = 0


@dataclasses.dataclass(frozen=True)
class Claim:
    """A row of the table: what the peer does, and the map that it is said to have."""

    theirs: str
    ours: str
    step: Step
    expected: Map
    starts: int = STARTS
    true: bool = True  # or the table says that it is not so


# Maps ---------------------------------------------------------------------------------------


def recovered(step: Step, size: int, starts: int) -> Map:
    zero = np.zeros((starts, size), np.float32)
    base = np.asarray(step(0, zero), np.float64)
    columns = []
    for i in range(size):
        shifted = zero.copy()
        shifted[:, i] = 1.0
        moved = np.asarray(step(0, shifted), np.float64) - base
        columns.append(np.median(moved, axis=0))  # the few that were rejected aside
    return Map(np.stack(columns, 1), base.mean(0), np.cov(base.T).reshape(size, size), starts)


def exact(kernel: Any, energy: Any = ENERGY, dim: int = 2) -> Map:
    """Of a kernel of ours, over positions, or positions and velocities if it has them."""
    first = None if kernel.init_noise is None else jnp.zeros(dim)
    state = kernel.init(energy, jnp.zeros(dim), first)
    moving = hasattr(state, "velocity")

    shapes = jl.noise.shapes(kernel.step_noise, jnp.zeros(dim))
    xi, unravel = ravel_pytree(jax.tree.map(lambda of: jnp.zeros(of.shape, of.dtype), shapes))

    def step(z: jax.Array, xi: jax.Array) -> jax.Array:
        state = kernel.init(energy, z[:dim], first)
        if moving:
            state = state._replace(velocity=z[dim:])
        state = kernel.step(energy, state, unravel(xi))[0]
        return jnp.concatenate([state.position, state.velocity]) if moving else state.position

    z = jnp.zeros(2 * dim if moving else dim)
    F, G = (np.asarray(jax.jacfwd(step, i)(z, xi), np.float64) for i in (0, 1))
    return Map(F, np.asarray(step(z, xi)), G.dot(G.T))


def sampled(kernel: Any) -> Map:
    """Of a kernel of ours that accepts or rejects: from its draws, as those of a peer."""

    def step(seed: int, z: np.ndarray) -> Any:
        key = jax.random.key(seed + 1)
        return jl.sample(key, ENERGY, kernel, jnp.asarray(z), num_steps=1, observe=None).position

    return recovered(step, 2, STARTS)


def verdict(claim: Claim) -> dict[str, Any]:
    want = claim.expected
    found = recovered(claim.step, len(want.offset), claim.starts)
    variances = np.diag(want.cov)
    share = 1 / found.draws + (1 / want.draws if want.draws else 0)
    floor = 1e-12 + 1e-5 * np.abs(want.cov).max()  # where a variance is 0, roundings are not
    spread = np.sqrt((np.outer(variances, variances) + want.cov**2) * share) + floor
    z = max(
        np.abs((found.cov - want.cov) / spread).max(),
        np.abs((found.offset - want.offset) / (np.sqrt(variances * share) + floor)).max(),
    )
    off = np.abs(found.matrix - want.matrix).max()
    return {
        "theirs": claim.theirs,
        "ours": claim.ours,
        "off": float(off),
        "z": float(z),
        "holds": bool(off < PRECISION and z < LARGEST_Z),
        "true": claim.true,
    }
