"""Chains that something is wrong with, in numbers that every process of a run can read."""

from __future__ import annotations

import contextlib
import enum
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jlangevin._core.compiling import compiled
from jlangevin._core.trees import PyTree
from jlangevin.errors import NoEnergyError
from jlangevin.kernels.base import layers
from jlangevin.sampling.state import Tally

__all__ = ["COARSE", "End", "Sign", "Trouble", "finite", "first_fault", "look", "seen", "trouble"]

COARSE = 0.1  # of T: where energies are rounded by more, they are not what is accepted by


class Sign(enum.IntFlag):
    """What is looked for where a run or block ends."""

    DIVERGED = 1  # the chain is not finite
    OUTSIDE = 2  # the energy is not finite, although the chain is
    FAULTY = 4  # proposals were rejected at which the energy is at fault
    ROUNDED = 8  # proposals were rejected which were rounded onto a wall
    BLURRED = 16  # the energy is too large for its dtype to weigh T against


class Trouble(NamedTuple):
    """How many chains something is wrong with, and about the first of them."""

    number: jax.Array
    chain: jax.Array  # of the first: its place in the run
    step: jax.Array  # how many steps that chain had done
    what: jax.Array  # what is wrong with it, by a number


def seen(end: End) -> Sign:
    """What is seen of any chain, on the host of every process."""
    if end.signs.is_fully_addressable:
        return Sign(int(np.bitwise_or.reduce(np.asarray(end.signs))))
    return Sign(int(np.sum(np.asarray(_bits(end.signs)))))


@compiled
def _bits(signs: jax.Array) -> jax.Array:
    """The bits that any chain has. By maxima, as devices of many processes know no other way."""
    bits = jnp.array([int(sign) for sign in Sign], jnp.int32)
    return jnp.max(signs[:, None] & bits[None], axis=0)


@compiled
def trouble(marks: jax.Array, mark: jax.Array, steps: jax.Array, what: jax.Array) -> Trouble:
    """How many chains have a mark, and the first of those that got it at the earliest step.

    `mark` is a bit, or several, of which one will do; all others are (chain,).
    """
    bad = marks & mark > 0
    never = jnp.iinfo(jnp.int32).max
    earliest = jnp.min(jnp.where(bad, steps, never))
    place = jnp.arange(bad.shape[0], dtype=jnp.uint32)
    first = bad & (steps == earliest)
    chain = jnp.min(jnp.where(first, place, jnp.uint32(2**32 - 1)))
    found = jnp.max(jnp.where(place == chain, what, 0))
    return Trouble(jnp.sum(bad.astype(jnp.int32)), chain, earliest, found)


def finite(tree: PyTree) -> jax.Array:
    """For each chain (the last axis) whether all floating entries are finite."""
    checks = [
        jnp.all(jnp.isfinite(leaf), axis=tuple(range(leaf.ndim - 1)))
        for leaf in jax.tree.leaves(tree)
        if jnp.issubdtype(leaf.dtype, jnp.floating)
    ]
    return jnp.all(jnp.stack(checks), axis=0) if checks else jnp.array(True)


def first_fault(values: tuple[PyTree, Any, PyTree], state: Any = None) -> jax.Array:
    """For each chain the first of these that is not finite, by its number, or -1.

    The leaves of position, energy and gradient, in this order, and whatever else `state` has.
    """
    position, value, slope = values
    parts = [*jax.tree.leaves(position), value, *jax.tree.leaves(slope), state]
    fault = jnp.full(parts[0].shape[-1], -1, jnp.int32)
    for number, part in reversed([*enumerate(parts)]):
        fault = jnp.where(finite(part), fault, number)
    return fault


class End(NamedTuple):
    """What is seen where a run or block ends, (chain,)."""

    num_divergent: jax.Array  # int32, 1 for a chain that diverged or is outside
    signs: jax.Array  # int32, made of `Sign`
    blur: Any  # eps |E| / T where the kernel weighs energies, else None


def look(kernel: Any, energy: Any, state: Any, tally: Tally, weighs: bool) -> End:
    """How chains in `state` ended. The energy is evaluated unless the kernel has done so."""
    diverged = ~finite(state) | (tally.first_bad_step >= 0)
    found = {Sign.DIVERGED: diverged}
    blur = None
    with contextlib.suppress(NoEnergyError):
        values = getattr(state, "energy", None)
        if values is None:
            values = jax.vmap(energy, in_axes=-1, out_axes=-1)(state.position)
        found[Sign.OUTSIDE] = ~diverged & ~jnp.isfinite(values)
        blur = _blur(kernel, values, ~diverged) if weighs else None
    if tally.rejections is not None:
        found[Sign.FAULTY] = tally.rejections.faulty > 0
        found[Sign.ROUNDED] = tally.rejections.rounded > 0
    if blur is not None:
        found[Sign.BLURRED] = blur > COARSE
    signs = jnp.zeros(diverged.shape, jnp.int32)
    for sign, chains in found.items():
        signs |= jnp.where(chains, jnp.int32(sign), 0)
    lost = diverged | found.get(Sign.OUTSIDE, False)
    return End(lost.astype(jnp.int32), signs, blur)


def _blur(kernel: Any, values: jax.Array, finite: jax.Array) -> jax.Array | None:
    """eps |E| / T, or 0 where that says nothing; None if there is no T."""
    temperatures = (layer.temperature for layer in layers(kernel) if hasattr(layer, "temperature"))
    temperature = next(temperatures, None)
    if temperature is None:
        return None
    temperature = jnp.asarray(temperature, values.dtype)
    grain = jnp.finfo(values.dtype).eps * jnp.abs(values)
    judged = finite & jnp.isfinite(values) & (temperature > 0)
    return jnp.where(judged, grain / temperature, 0)
