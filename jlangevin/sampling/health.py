"""The health of chains: whether they diverged or met faults of the energy.

Everything is in numbers that each process of a run can read.
"""

from __future__ import annotations

import contextlib
import enum
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jlangevin._core.compiling import compiled
from jlangevin._core.trees import MaybeArray, PyTree
from jlangevin.errors import NoEnergyError
from jlangevin.kernels.base import Hyper
from jlangevin.kernels.traits import Traits, layers
from jlangevin.sampling.state import Tally

__all__ = [
    "COARSE",
    "Affected",
    "Health",
    "Sign",
    "any_signs",
    "chains_finite",
    "examine",
    "find_affected",
    "first_fault",
    "temperature_of",
]

COARSE = 0.1  # in units of T; energies with a larger rounding error are too coarse to accept by


class Sign(enum.IntFlag):
    """What can be wrong with a chain, checked at the end of a run or block."""

    DIVERGED = 1  # the chain is not finite
    OUTSIDE = 2  # the energy is not finite, although the chain is
    FAULTY = 4  # proposals were rejected because the energy or its gradient is NaN there
    ROUNDED = 8  # proposals were rejected because they were rounded onto a wall
    BLURRED = 16  # the energy is so large that its rounding error is not small against T


class Affected(NamedTuple):
    """How many chains have a fault, and the first of them."""

    number: jax.Array
    chain: jax.Array  # the place of the first in the run
    step: jax.Array  # how many steps that chain had done
    what: jax.Array  # the number of its fault


def any_signs(health: Health) -> Sign:
    """All signs that any chain shows, on the host of every process."""
    if health.signs.is_fully_addressable:
        return Sign(int(np.bitwise_or.reduce(np.asarray(health.signs))))
    return Sign(int(np.sum(np.asarray(_bits(health.signs)))))


@compiled
def _bits(signs: jax.Array) -> jax.Array:
    """The bits that any chain has, by maxima, which devices of several processes can compute."""
    bits = jnp.array([int(sign) for sign in Sign], jnp.int32)
    return jnp.max(signs[:, None] & bits[None], axis=0)


@compiled
def find_affected(marks: jax.Array, mark: jax.Array, steps: jax.Array, what: jax.Array) -> Affected:
    """How many chains have a mark, and the first of those that got it at the earliest step.

    `mark` is one or more bits, any of which counts; the other arguments have shape (chain,).
    """
    bad = marks & mark > 0
    never = jnp.iinfo(jnp.int32).max
    earliest = jnp.min(jnp.where(bad, steps, never))
    place = jnp.arange(bad.shape[0], dtype=jnp.uint32)
    first = bad & (steps == earliest)
    chain = jnp.min(jnp.where(first, place, jnp.uint32(2**32 - 1)))
    found = jnp.max(jnp.where(place == chain, what, 0))
    return Affected(jnp.sum(bad.astype(jnp.int32)), chain, earliest, found)


def chains_finite(tree: PyTree) -> jax.Array:
    """Whether all floating entries of each chain (the last axis) are finite."""
    checks = [
        jnp.all(jnp.isfinite(leaf), axis=tuple(range(leaf.ndim - 1)))
        for leaf in jax.tree.leaves(tree)
        if jnp.issubdtype(leaf.dtype, jnp.floating)
    ]
    return jnp.all(jnp.stack(checks), axis=0) if checks else jnp.array(True)


def first_fault(values: tuple[PyTree, jax.Array | None, PyTree], state: PyTree = None) -> jax.Array:
    """The number of the first part of each chain that is not finite, or -1.

    The parts are the leaves of the position, the energy, the leaves of its gradient, and `state`.
    """
    position, value, slope = values
    parts = [*jax.tree.leaves(position), value, *jax.tree.leaves(slope), state]
    fault = jnp.full(parts[0].shape[-1], -1, jnp.int32)
    for number, part in reversed([*enumerate(parts)]):
        fault = jnp.where(chains_finite(part), fault, number)
    return fault


class Health(NamedTuple):
    """The health of each chain at the end of a run or block; arrays of shape (chain,)."""

    num_divergent: jax.Array  # int32, 1 for a chain that is DIVERGED or OUTSIDE
    signs: jax.Array  # int32, made of `Sign`
    blur: MaybeArray  # eps |E| / T where the kernel weighs energies, else None


def examine(
    temperature: MaybeArray,
    energies: Callable[[PyTree], jax.Array],
    state: PyTree,
    tally: Tally,
    weighs_energies: bool,
) -> Health:
    """The health of the chains in `state`, at temperatures (chain,) or None.

    Their energies are evaluated if the state has none.
    """
    diverged = ~chains_finite(state) | (tally.first_bad_step >= 0)
    found = {Sign.DIVERGED: diverged}
    blur = None
    with contextlib.suppress(NoEnergyError):
        values = getattr(state, "energy", None)
        if values is None:
            values = energies(state.position)
        found[Sign.OUTSIDE] = ~diverged & ~jnp.isfinite(values)
        blur = _blur(temperature, values, ~diverged) if weighs_energies else None
    if tally.rejections is not None:
        found[Sign.FAULTY] = tally.rejections.faulty > 0
        found[Sign.ROUNDED] = tally.rejections.rounded > 0
    if blur is not None:
        found[Sign.BLURRED] = blur > COARSE
    signs = jnp.zeros(diverged.shape, jnp.int32)
    for sign, chains in found.items():
        signs |= jnp.where(chains, jnp.int32(sign), 0)
    lost = diverged | found.get(Sign.OUTSIDE, False)
    return Health(lost.astype(jnp.int32), signs, blur)


def temperature_of(kernel: object) -> Hyper:
    """That of the outermost layer that has one, or None."""
    having = (layer.temperature for layer in layers(kernel) if Traits.own(layer).has_temperature)
    return next(having, None)


def _blur(temperature: MaybeArray, values: jax.Array, finite: jax.Array) -> jax.Array | None:
    """eps |E| / T, or 0 where that is not defined; None for a kernel without T."""
    if temperature is None:
        return None
    temperature = jnp.asarray(temperature, values.dtype)
    grain = jnp.finfo(values.dtype).eps * jnp.abs(values)
    judged = finite & jnp.isfinite(values) & (temperature > 0)
    return jnp.where(judged, grain / temperature, 0)
