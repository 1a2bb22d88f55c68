"""Counters to bits to normals and uniforms. Nothing else in the library draws.

The noise of chain `i` at step `t` is a function of `(key, i, t)` alone. One block of
Threefry-2x32 (Salmon, Moraes, Dror, Shaw 2011) turns a 64-bit key and a 64-bit
counter into two 32-bit words:

    key      the words of `jax.random.fold_in(key, i)`: distinct chains have distinct keys,
             since Threefry under one key is a bijection of its counters
    counter  word 0: the step (for two words that serve two steps, the even one)
             word 1: purpose (2 bits) | slot (30 bits)

The slot numbers the elements of everything that one step asks for. As a block holds two
words, step 2p takes the first and step 2p + 1 the second; nothing depends on how many
steps are made at a time. Bits are those of JAX's own primitive; it is written out in
`jnp` here because XLA keeps the primitive's rounds as a loop on the CPU, which is
twelve times slower.

Limits: 2**31 - 1 steps (`MAX_STEPS`), 2**30 elements a step (`MAX_SLOTS`), 2**32 chains.
"""

from __future__ import annotations

import enum
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jlangevin import trees
from jlangevin.trees import PyTree

__all__ = ["MAX_SLOTS", "MAX_STEPS", "Purpose", "Streams", "Want", "at_step", "pairs", "streams"]

MAX_STEPS = 2**31 - 1
MAX_SLOTS = 2**30

_ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))


class Want(enum.Enum):
    """What a kernel or an exact sampler can ask for, as leaves of a pytree of wants."""

    NORMAL = "normal"  # independent standard normals, a pytree like the position
    UNIFORM = "uniform"  # one uniform in the open interval (0, 1), a scalar
    KEY = "key"  # one typed JAX key of its own


class Purpose(enum.IntEnum):
    """What noise is for; noise for different purposes never shares a counter."""

    STEP = 0
    INIT = 1
    START = 2


class Streams(NamedTuple):
    """The words of the chains' keys."""

    high: jax.Array  # uint32, one entry a chain; a scalar for a single chain
    low: jax.Array  # uint32, likewise


def threefry2x32(
    key: tuple[jax.Array, jax.Array], counter: tuple[jax.Array, jax.Array]
) -> tuple[jax.Array, jax.Array]:
    """Twenty rounds of Threefry-2x32, elementwise on uint32 arrays that broadcast."""
    keys = (key[0], key[1], key[0] ^ key[1] ^ np.uint32(0x1BD11BDA))
    x0, x1 = counter[0] + keys[0], counter[1] + keys[1]
    for group in range(5):
        for rotation in _ROTATIONS[group % 2]:
            x0 = x0 + x1
            x1 = (x1 << np.uint32(rotation)) | (x1 >> np.uint32(32 - rotation))
            x1 = x1 ^ x0
        x0 = x0 + keys[(group + 1) % 3]
        x1 = x1 + keys[(group + 2) % 3] + np.uint32(group + 1)
    return x0, x1


def streams(key: jax.Array, chains: jax.Array) -> Streams:
    """The streams of `chains` (integers, any shape): the words of `fold_in(key, chain)`."""
    words = jax.random.key_data(key)
    # fold_in hashes the counter (0, chain) under the key.
    chains = chains.astype(jnp.uint32)
    zero = jnp.zeros_like(chains)
    return Streams(*threefry2x32((words[0] + zero, words[1] + zero), (zero, chains)))


def pairs(
    of: Streams,
    wants: PyTree,
    like: PyTree,
    first_pair: jax.Array | int,
    num_pairs: int,
    purpose: Purpose = Purpose.STEP,
) -> tuple[PyTree, PyTree]:
    """The noise of steps 2p (the first result) and 2p + 1 (the second), `num_pairs` of each.

    `wants` is a pytree of `Want`; in the results each leaf is replaced by what it asks for,
    with axes (pair, element axes of the position's leaf …, chain axes of `of` …).
    `like` gives the position of one chain: its structure, leaf shapes and dtypes.
    """
    leaves, treedef = jax.tree.flatten(wants)
    steps = (jnp.arange(num_pairs, dtype=jnp.uint32) + jnp.asarray(first_pair, jnp.uint32)) * 2
    evens, odds = [], []
    slot = 0
    for want in leaves:
        if want is Want.NORMAL:
            made = []
            for leaf in jax.tree.leaves(like):
                made.append(_normals(of, steps, slot, leaf.shape, leaf.dtype, purpose))
                slot += int(np.prod(leaf.shape))
            structure = jax.tree.structure(like)
            even, odd = (jax.tree.unflatten(structure, half) for half in zip(*made, strict=True))
        elif want is Want.UNIFORM:
            words = _blocks(of, steps, slot, 1, purpose)
            dtype = trees.float_dtype(like)
            even, odd = (_uniform(word, dtype)[:, 0] for word in words)
            slot += 1
        elif want is Want.KEY:
            # A key takes both words, so each step has a block of its own.
            even, odd = (
                jax.random.wrap_key_data(
                    jnp.stack([w[:, 0] for w in _blocks(of, steps + s, slot, 1, purpose)], -1),
                    impl="threefry2x32",
                )
                for s in (np.uint32(0), np.uint32(1))
            )
            slot += 1
        else:
            raise TypeError(f"wants: a leaf must be a jlangevin.noise.Want, got {want!r}")
        evens.append(even)
        odds.append(odd)
    if slot > MAX_SLOTS:
        raise ValueError(
            f"one step asks for {slot} random numbers; a stream has {MAX_SLOTS} slots a step. "
            "Split the position into several chains or kernels."
        )
    return jax.tree.unflatten(treedef, evens), jax.tree.unflatten(treedef, odds)


def at_step(
    of: Streams,
    wants: PyTree,
    like: PyTree,
    step: jax.Array | int = 0,
    purpose: Purpose = Purpose.STEP,
) -> PyTree:
    """The noise of one step: what `pairs` gives for it, without the pair axis."""
    step = jnp.asarray(step, jnp.uint32)
    even, odd = pairs(of, wants, like, step // 2, 1, purpose)
    return select(even, odd, 0, step % 2 == 0)


def select(evens: PyTree, odds: PyTree, pair: jax.Array | int, even: jax.Array) -> PyTree:
    """The noise of one step out of the two halves that `pairs` returns.

    Choosing between two loaded values costs next to nothing, whereas interleaving the halves
    into one array makes XLA's CPU backend evaluate the generator once more for each element.
    """
    return jax.tree.map(lambda e, o: jnp.where(even, e[pair], o[pair]), evens, odds)


def _blocks(
    of: Streams, steps: jax.Array, slot: int, size: int, purpose: Purpose
) -> tuple[jax.Array, jax.Array]:
    """Two words for each (step, slot + element, chain), `size` elements."""
    shape = (*steps.shape, size, *of.high.shape)
    base = np.uint32((int(purpose) << 30) + slot)
    word0 = lax.broadcast_in_dim(steps, shape, (0,))
    word1 = lax.broadcasted_iota(jnp.uint32, shape, 1) + base
    chain_axes = tuple(range(2, len(shape)))
    key = tuple(lax.broadcast_in_dim(word, shape, chain_axes) for word in of)
    return threefry2x32((key[0], key[1]), (word0, word1))


def _normals(
    of: Streams,
    steps: jax.Array,
    slot: int,
    leaf_shape: tuple[int, ...],
    dtype: Any,
    purpose: Purpose,
) -> tuple[jax.Array, jax.Array]:
    """Standard normals for steps 2p and 2p + 1, by the Box-Muller transform (1958)."""
    size = int(np.prod(leaf_shape))
    first = _blocks(of, steps, slot, size, purpose)
    if dtype == jnp.float64:
        second = _blocks(of, steps + np.uint32(1), slot, size, purpose)
        even, odd = _box_muller_64(first, second)
    else:
        even, odd = (z.astype(dtype) for z in _box_muller_32(*first))
    shape = (*steps.shape, *leaf_shape, *of.high.shape)
    return even.reshape(shape), odd.reshape(shape)


def _uniform(word: jax.Array, dtype: Any) -> jax.Array:
    """The centres of 2**23 equal cells of (0, 1): never 0, never 1, in float32 and float64."""
    wide = jnp.float64 if dtype == jnp.float64 else jnp.float32
    cell = (word >> np.uint32(9)).astype(jnp.int32).astype(wide)
    return (cell * wide(2.0**-23) + wide(2.0**-24)).astype(dtype)


def _float(x: float) -> np.float32:
    return np.float32(x)


def _log1p_polynomial(z: jax.Array) -> jax.Array:
    """log(1 + z) - z for z in [sqrt(1/2) - 1, sqrt(2) - 1], float32 (Cephes `logf`)."""
    p = jnp.full_like(z, _float(7.0376836292e-2))
    for c in (
        -1.1514610310e-1,
        1.1676998740e-1,
        -1.2420140846e-1,
        1.4249322787e-1,
        -1.6668057665e-1,
        2.0000714765e-1,
        -2.4999993993e-1,
        3.3333331174e-1,
    ):
        p = p * z + _float(c)
    return z * z * (z * p - _float(0.5))


def _box_muller_32(radius_word: jax.Array, angle_word: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Two independent normals from two words, each to a few units in the last place.

    u = (word + 1/2) / 2**32 lies in (0, 1) and r = sqrt(-2 log u); the largest r is 6.76.
    Near u = 1, where float32 is coarse, log u comes from the complement 1 - u, which is exact.
    The angle is a quarter turn (two bits) plus a rest in [-pi/4, pi/4).
    """
    u = radius_word.astype(jnp.float32) + _float(0.5)  # times 2**32
    bits = lax.bitcast_convert_type(u, jnp.int32)
    exponent = (bits - np.int32(0x3F3504F3)) >> np.int32(23)  # so that the mantissa is around 1
    mantissa = lax.bitcast_convert_type(bits - (exponent << np.int32(23)), jnp.float32)
    complement = (~radius_word).astype(jnp.float32) + _float(0.5)
    near_one = exponent == 32
    z = jnp.where(near_one, complement * _float(-(2.0**-32)), mantissa - _float(1.0))
    log2_scale = (exponent - np.int32(32)).astype(jnp.float32)
    log_u = log2_scale * _float(np.log(2.0)) + (z + _log1p_polynomial(z))
    radius = jnp.sqrt(_float(-2.0) * log_u)

    rest = lax.bitcast_convert_type(angle_word << np.uint32(2), jnp.int32).astype(jnp.float32)
    t = (rest + _float(2.0)) * _float(np.pi / 2 * 2.0**-32)
    t2 = t * t
    sin = t + t * t2 * (
        _float(-1.6666654611e-1) + t2 * (_float(8.3321608736e-3) + t2 * _float(-1.9515295891e-4))
    )
    cos = (
        _float(1.0)
        - _float(0.5) * t2
        + t2
        * t2
        * (
            _float(4.166664568298827e-2)
            + t2 * (_float(-1.388731625493765e-3) + t2 * _float(2.443315711809948e-5))
        )
    )
    return _turn(radius, angle_word >> np.uint32(30), sin, cos)


def _box_muller_64(
    radius_words: tuple[jax.Array, jax.Array], angle_words: tuple[jax.Array, jax.Array]
) -> tuple[jax.Array, jax.Array]:
    """As `_box_muller_32`, from 64 bits for the radius (at most 9.49) and 64 for the angle."""

    def fraction(high: jax.Array, low: jax.Array) -> jax.Array:
        return (high.astype(jnp.float64) * 2.0**32 + low.astype(jnp.float64) + 0.5) * 2.0**-64

    high, low = radius_words
    u, complement = fraction(high, low), fraction(~high, ~low)
    log_u = jnp.where(high >= np.uint32(1 << 31), jnp.log1p(-complement), jnp.log(u))
    radius = jnp.sqrt(-2.0 * log_u)

    high, low = angle_words
    rest = lax.bitcast_convert_type(high << np.uint32(2), jnp.int32).astype(jnp.float64)
    t = (rest + 4.0 * (low.astype(jnp.float64) + 0.5) * 2.0**-32) * (np.pi / 2 * 2.0**-32)
    return _turn(radius, high >> np.uint32(30), jnp.sin(t), jnp.cos(t))


def _turn(
    radius: jax.Array, quarters: jax.Array, sin: jax.Array, cos: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """radius * (cos, sin) of the angle `quarters` * pi/2 + (the angle of `cos`, `sin`)."""
    swap = (quarters & np.uint32(1)) != 0
    x, y = jnp.where(swap, sin, cos), jnp.where(swap, cos, sin)
    # cos is negative in quarters 1 and 2, sin in 2 and 3.
    negative_x = ((quarters + np.uint32(1)) & np.uint32(2)) != 0
    negative_y = (quarters & np.uint32(2)) != 0
    return radius * jnp.where(negative_x, -x, x), radius * jnp.where(negative_y, -y, y)
