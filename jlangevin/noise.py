"""Random numbers from counters: normals, uniforms and keys. Nothing else in the library draws.

The noise of chain `i` at step `t` is a function only of `(key, i, t)`. One block of
Threefry-2x32 (Salmon, Moraes, Dror, Shaw 2011) turns a 64-bit key and a 64-bit
counter into two 32-bit words:

    key      the words of `jax.random.fold_in(key, i)`: distinct chains have distinct keys,
             since Threefry under one key is a bijection of its counters
    counter  word 0: the step (for two words that serve two steps, the even one)
             word 1: purpose (2 bits) | slot (30 bits)

The slot numbers the elements of all noise that one step asks for. Since a block holds two
words, step 2p uses the first and step 2p + 1 the second. Nothing depends on how many
steps are made at a time. The bits are those of JAX's own primitive; it is written out in
`jnp` here because on the CPU XLA keeps the primitive's rounds as a loop, which cannot be
fused and was measured twelve times slower on a Xeon.

Limits: 2**31 - 1 steps (`MAX_STEPS`), 2**30 elements a step (`MAX_SLOTS`), 2**32 chains.
"""

from __future__ import annotations

import dataclasses
import enum
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import DTypeLike

from jlangevin._core import trees
from jlangevin._core.arithmetic import hidden_zero
from jlangevin._core.checks import check_key
from jlangevin._core.listing import listing
from jlangevin._core.trees import Numbers, PyTree

__all__ = [
    "MAX_SLOTS",
    "MAX_STEPS",
    "Many",
    "Pairs",
    "Purpose",
    "Streams",
    "Want",
    "at_step",
    "count",
    "pairs",
    "streams",
]

__dir__ = listing(__all__)

MAX_STEPS = 2**31 - 1
MAX_SLOTS = 2**30
MAX_CHAINS = 2**32

# XLA's vector loops run along the last axis. Below this many elements, the pairs of steps are a
# longer last axis than the chains. A measured optimum; results do not depend on it.
_SHORT = 64

_ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))


class Want(enum.Enum):
    """What noise a kernel or an exact sampler can ask for, as leaves of a pytree."""

    NORMAL = "normal"  # independent standard normals, a pytree like the position
    UNIFORM = "uniform"  # one uniform in the open interval (0, 1), a scalar
    KEY = "key"  # one typed JAX key of its own


@dataclasses.dataclass(frozen=True)
class Many:
    """`number` times the noise of one want, on a last axis before that of the chains.

    Like a `Want` it is a leaf. If nested, the axis of the outermost is the last.
    """

    want: Want | Many
    number: int


class Purpose(enum.IntEnum):
    """What noise is used for; different purposes never share a counter."""

    STEP = 0
    INIT = 1
    START = 2


class Streams(NamedTuple):
    """The words of the chains' keys."""

    high: jax.Array  # uint32, one entry per chain; a scalar for a single chain
    low: jax.Array  # uint32, likewise


def threefry2x32(
    key: tuple[jax.Array, jax.Array], counter: tuple[jax.Array, jax.Array]
) -> tuple[jax.Array, jax.Array]:
    """Twenty rounds of Threefry-2x32, elementwise on uint32 arrays that broadcast."""
    keys = (key[0], key[1], key[0] ^ key[1] ^ np.uint32(0x1BD11BDA))
    x0, x1 = counter[0] + keys[0], counter[1] + keys[1]
    x0, x1 = jnp.broadcast_arrays(x0, x1)
    for group in range(5):
        for rotation in _ROTATIONS[group % 2]:
            # `lax` functions, as operators take three times as long to trace.
            left = lax.shift_left(x1, np.uint32(rotation))
            right = lax.shift_right_logical(x1, np.uint32(32 - rotation))
            x0 = lax.add(x0, x1)
            x1 = lax.bitwise_xor(lax.bitwise_or(left, right), x0)
        x0 = x0 + keys[(group + 1) % 3]
        x1 = x1 + keys[(group + 2) % 3] + np.uint32(group + 1)
    return x0, x1


def as_stream_numbers(chains: Numbers) -> np.ndarray[Any, Any] | jax.Array:
    """Stream numbers as an array of uint32, or an error unless they are integers in [0, 2**32).

    The range of traced numbers is not checked.
    """
    known = trees.is_concrete(chains)
    numbers: Any = np.asarray(chains) if known else chains
    if not jnp.issubdtype(numbers.dtype, jnp.integer):
        raise TypeError(
            f"chains: expected integers, got dtype {numbers.dtype}; they are numbers of streams"
        )
    if known and numbers.size:
        outside = numbers[(numbers < 0) | (numbers >= MAX_CHAINS)]
        if outside.size:
            raise ValueError(f"chains: stream numbers lie in [0, 2**32), got {outside.flat[0]}")
    return numbers.astype(np.uint32)


def streams(key: jax.Array, chains: Numbers) -> Streams:
    """The streams of `chains` (integers, any shape): the words of `fold_in(key, chain)`."""
    check_key("key", key)
    words = jax.random.key_data(key)
    # fold_in hashes the counter (0, chain) under the key.
    chains = jnp.asarray(as_stream_numbers(chains))
    zero = jnp.zeros_like(chains)
    return Streams(*threefry2x32((words[0] + zero, words[1] + zero), (zero, chains)))


@trees.pytree_dataclass
class Pairs:
    """The noise of steps 2p and 2p + 1, packed in pairs.

    A pair of real numbers is stored as a complex number: its real part belongs to the even step,
    its imaginary part to the odd one. Two real arrays would be two loops in XLA's CPU backend, each
    with the whole generator in it; a complex array is a single loop, twice as fast. No complex
    arithmetic is ever done on it.
    """

    # A pytree like the wants. Normals and uniforms are complex, with axes (element axes …, chain
    # axes …) and the axis of pairs before or after these; keys are words, with axes (pair, 2, chain
    # axes …, 2). An axis of `Many` comes before the chain axes.
    packed: PyTree
    dtypes: tuple[np.dtype, ...] = trees.static_field()  # of the leaves that `at` returns
    pairs_last: bool = trees.static_field()

    def at(self, index: jax.Array | int) -> PyTree:
        """The noise of step `index`, counted from the even step of the first pair."""
        # Unsigned, so that halving is a shift and no index is checked for being negative.
        index = jnp.asarray(index).astype(jnp.uint32)
        pair, odd = index >> np.uint32(1), index & np.uint32(1)
        axis = -1 if self.pairs_last else 0

        def choose(packed: jax.Array, dtype: DTypeLike) -> jax.Array:
            if not jnp.issubdtype(packed.dtype, jnp.complexfloating):
                return jax.random.wrap_key_data(packed[pair, odd], impl="threefry2x32")
            both = lax.dynamic_index_in_dim(packed, pair, axis, keepdims=False)
            return jnp.where(odd == 0, both.real, both.imag).astype(dtype)

        leaves, structure = jax.tree.flatten(self.packed)
        chosen = [choose(*leaf) for leaf in zip(leaves, self.dtypes, strict=True)]
        return jax.tree.unflatten(structure, chosen)


def count(wants: PyTree, like: PyTree) -> int:
    """About how many numbers `wants` are for one chain: each counts like a normal per element."""
    numbers = [math.prod(_unpack_want(want)[1]) for want in jax.tree.leaves(wants)]
    return trees.size(like) * sum(numbers)


def kind_of_want(want: object) -> Want:
    """The kind of noise that a leaf of wants asks for."""
    return _unpack_want(want)[0]


def _unpack_want(want: object) -> tuple[Want, tuple[int, ...]]:
    """The `Want` inside a leaf of wants, and the axes of the `Many` around it."""
    if isinstance(want, Many):
        inner, axes = _unpack_want(want.want)
        return inner, (*axes, want.number)
    if not isinstance(want, Want):
        raise TypeError(
            "kernel: its init_noise and step_noise must be None or made of jlangevin.noise.Want, "
            f"such as Want.NORMAL; got {want!r}"
        )
    return want, ()


def pairs(
    of: Streams,
    wants: PyTree,
    like: PyTree,
    first_pair: jax.Array | int,
    num_pairs: int,
    purpose: Purpose = Purpose.STEP,
) -> Pairs:
    """The noise of steps 2p and 2p + 1, for `num_pairs` consecutive p.

    `wants` is a pytree of `Want` and `Many`. `Pairs.at` returns the same pytree with each leaf
    replaced by its noise, with axes (element axes of the position's leaf …, chain axes of `of` …).
    `like` is the position of one chain: its structure, leaf shapes and dtypes.
    """
    steps = (jnp.arange(num_pairs, dtype=jnp.uint32) + jnp.asarray(first_pair, jnp.uint32)) * 2
    pairs_last = trees.size(like) * of.high.size < _SHORT
    dtypes: list[np.dtype] = []
    slot = 0

    def shaped(made: jax.Array, shape: tuple[int, ...]) -> jax.Array:
        shape = (*shape, *of.high.shape)
        return made.reshape((*shape, num_pairs) if pairs_last else (num_pairs, *shape))

    def make(want: Want | Many) -> PyTree:
        nonlocal slot
        want, many = _unpack_want(want)
        if want is Want.NORMAL:
            made = []
            for leaf in jax.tree.leaves(like):
                shape = (*leaf.shape, *many)
                size = int(np.prod(shape))
                flat = _normals(of, steps, slot, size, leaf.dtype, purpose, pairs_last)
                made.append(shaped(flat, shape))
                dtypes.append(leaf.dtype)
                slot += size
            return jax.tree.unflatten(jax.tree.structure(like), made)
        dtypes.append(trees.float_dtype(like))
        first, size = slot, math.prod(many)
        slot += size
        if want is Want.UNIFORM:
            words = _threefry_words(of, steps, first, size, purpose, pairs_last)
            even, odd = (_uniform_from_word(word, dtypes[-1]) for word in words)
            return shaped(lax.complex(even, odd), many)
        # A key needs both words, so each step has a block of its own.
        both = jnp.stack([steps, steps + np.uint32(1)], 1).reshape(-1)
        stacked = jnp.stack(_threefry_words(of, both, first, size, purpose), -1)
        # They stay words until a step uses them: in an array of keys that a loop indexes, JAX's
        # check for reused keys sees one key that is used in every iteration.
        return stacked.reshape(num_pairs, 2, *many, *of.high.shape, 2)

    packed = jax.tree.map(make, wants)
    if slot > MAX_SLOTS:
        raise ValueError(
            f"one step asks for {slot} random numbers, but a stream has {MAX_SLOTS} slots per "
            "step; split the position into several chains or kernels"
        )
    return Pairs(packed, tuple(dtypes), pairs_last)


def shapes(wants: PyTree, like: PyTree) -> PyTree:
    """The shapes and dtypes of the noise of one step of one chain."""

    def shape(want: Want | Many) -> PyTree:
        want, many = _unpack_want(want)
        if want is Want.NORMAL:
            return jax.tree.map(
                lambda x: jax.ShapeDtypeStruct((*x.shape, *many), x.dtype), trees.struct(like)
            )
        key = jax.eval_shape(lambda: jax.random.key(0, impl="threefry2x32")).dtype
        dtype = key if want is Want.KEY else trees.float_dtype(like)
        return jax.ShapeDtypeStruct(many, dtype)

    return jax.tree.map(shape, wants)


def at_step(
    of: Streams,
    wants: PyTree,
    like: PyTree,
    step: jax.Array | int = 0,
    purpose: Purpose = Purpose.STEP,
) -> PyTree:
    """The noise of one step, the same as from `pairs`."""
    known = trees.is_concrete(step)
    step = jnp.asarray(step, jnp.uint32)
    if known and of.high.size:
        # A step that XLA knows would undo the loop of `_normals`. Generator and transform are then
        # one expression, for which XLA of jaxlib 0.12 can take minutes.
        step = step + hidden_zero(of.high.reshape(-1)[0].astype(jnp.float32))
    return pairs(of, wants, like, step // 2, 1, purpose).at(step % 2)


def _threefry_words(
    of: Streams,
    steps: jax.Array,
    slot: int,
    size: int,
    purpose: Purpose,
    steps_last: bool = False,
) -> tuple[jax.Array, jax.Array]:
    """Two words for each (step, slot + element, chain), or (slot + element, chain, step)."""
    shape = (size, *of.high.shape)
    shape = (*shape, *steps.shape) if steps_last else (*steps.shape, *shape)
    step_axis, element_axis = (len(shape) - 1, 0) if steps_last else (0, 1)
    chain_axes = tuple(range(element_axis + 1, element_axis + 1 + of.high.ndim))
    base = np.uint32((int(purpose) << 30) + slot)
    word0 = lax.broadcast_in_dim(steps, shape, (step_axis,))
    word1 = lax.broadcasted_iota(jnp.uint32, shape, element_axis) + base
    key = tuple(lax.broadcast_in_dim(word, shape, chain_axes) for word in of)
    return threefry2x32((key[0], key[1]), (word0, word1))


def _normals(
    of: Streams,
    steps: jax.Array,
    slot: int,
    size: int,
    dtype: DTypeLike,
    purpose: Purpose,
    steps_last: bool,
) -> jax.Array:
    """Standard normals for steps 2p and 2p + 1, by the Box-Muller transform (1958), packed.

    In float64 a pair uses the blocks of both steps, so that radius and angle have 64 bits each.
    """
    radius, angle = _threefry_words(of, steps, slot, size, purpose, steps_last)
    if dtype == jnp.float64:
        second = _threefry_words(of, steps + np.uint32(1), slot, size, purpose, steps_last)
        radius, angle = _join_words(radius, angle), _join_words(*second)
    float_type = jnp.float64 if dtype == jnp.float64 else jnp.float32
    words = lax.complex(*(lax.bitcast_convert_type(word, float_type) for word in (radius, angle)))

    def transform(words: jax.Array, _: jax.Array) -> jax.Array:
        bits = (lax.bitcast_convert_type(half, radius.dtype) for half in (words.real, words.imag))
        return lax.complex(*_box_muller(*bits))

    def transform_in_loop(words: jax.Array, once: jax.Array) -> jax.Array:
        """The same in a loop that runs once, which XLA cannot know and so does not remove.

        Generator and transform fused into one vector loop take a third longer than two loops:
        together they need more registers than there are. XLA removes any other barrier on the CPU.
        """

        def is_first(carry: tuple[jax.Array, jax.Array]) -> jax.Array:
            return carry[0] < once

        def body(carry: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
            return carry[0] + 1, transform(carry[1], once)

        return lax.while_loop(is_first, body, (jnp.zeros_like(once), words))[1]

    once = 1 + (steps[0] >> np.uint32(31))  # steps are below 2**31
    return lax.platform_dependent(words, once, cpu=transform_in_loop, default=transform)


def _join_words(high: jax.Array, low: jax.Array) -> jax.Array:
    """Two words as one of 64 bits."""
    return (high.astype(jnp.uint64) << np.uint64(32)) | low.astype(jnp.uint64)


def _uniform_from_word(word: jax.Array, dtype: DTypeLike) -> jax.Array:
    """Centres of equal cells of (0, 1), 2**23 or as many as `dtype` resolves; never 0 or 1."""
    bits = min(23, jnp.finfo(dtype).nmant)
    float_type = jnp.float64 if dtype == jnp.float64 else jnp.float32
    cell = (word >> np.uint32(32 - bits)).astype(jnp.int32).astype(float_type)
    return (cell + float_type(0.5)) * float_type(2.0**-bits)


# For bits that depend only on the counter, compilers must not be able to round in two ways. They
# contract a product and a sum into one rounding; in a sum of two products they contract either
# product, differently in a vector loop and for a scalar. So no sum below has two products. They
# also merge constant factors, so the only constant factors are powers of two, which are exact.


def _horner(x: jax.Array, *coefficients: float) -> jax.Array:
    """The polynomial with the given coefficients, highest power first."""
    value = jnp.full_like(x, coefficients[0])
    for coefficient in coefficients[1:]:
        value = value * x + x.dtype.type(coefficient)
    return value


def _log_unit(scaled: jax.Array, complement: jax.Array, width: int) -> jax.Array:
    """log u for u = `scaled` / 2**`width` in (0, 1), accurate to a few roundings everywhere.

    The mantissa m of u is taken around 1, and log1p evaluated at z = m - 1. Near u = 1, where
    floats are coarse, z is the negative `complement` 1 - u, which is known exactly.
    """
    dtype, digits = scaled.dtype, jnp.finfo(scaled.dtype).nmant
    integer = jnp.int64 if dtype == jnp.float64 else jnp.int32
    root_half = np.asarray(np.sqrt(0.5), dtype).view(integer)
    bits = lax.bitcast_convert_type(scaled, integer)
    exponent = (bits - root_half) >> integer(digits)
    mantissa = lax.bitcast_convert_type(bits - (exponent << integer(digits)), dtype)
    z = jnp.where(exponent == width, -complement, mantissa - dtype.type(1.0))
    log1p = _log1p_64 if dtype == jnp.float64 else _log1p_32
    return (exponent - integer(width)).astype(dtype) * dtype.type(np.log(2.0)) + log1p(z)


def _log1p_32(z: jax.Array) -> jax.Array:
    """log(1 + z) for z in [sqrt(1/2) - 1, sqrt(2) - 1], by Cephes' polynomial."""
    p = _horner(
        z,
        7.0376836292e-2,
        -1.1514610310e-1,
        1.1676998740e-1,
        -1.2420140846e-1,
        1.4249322787e-1,
        -1.6668057665e-1,
        2.0000714765e-1,
        -2.4999993993e-1,
        3.3333331174e-1,
        -0.5,
    )
    return z + z * z * p


def _log1p_64(z: jax.Array) -> jax.Array:
    """log(1 + z) on the same interval: 2 artanh(s) by its series, s = z / (2 + z)."""
    s = z / (2.0 + z)
    square = s * s  # at most 0.0295; its 11th power is below a rounding
    series = square * _horner(square, *(2 / odd for odd in range(23, 1, -2)))
    return z - s * (z - series)


def _box_muller(radius_word: jax.Array, angle_word: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Two independent normals from two words of 32 or 64 bits, accurate to a few roundings.

    u = (word + 1/2) / 2**bits lies in (0, 1), and r = sqrt(-2 log u) is at most 6.76 from 32 bits
    and 9.49 from 64. The angle is a number of quarter turns (two bits) plus a rest in
    [-pi/4, pi/4).
    """
    long = radius_word.dtype == jnp.uint64
    width, word, integer = (64, np.uint64, jnp.int64) if long else (32, np.uint32, jnp.int32)
    real = np.float64 if long else np.float32
    unit = real(2.0**-width)

    scaled = radius_word.astype(real) + real(0.5)
    complement = ((~radius_word).astype(real) + real(0.5)) * unit
    radius = jnp.sqrt(real(-2.0) * _log_unit(scaled, complement, width))

    rest = lax.bitcast_convert_type(angle_word << word(2), integer).astype(real)
    sin, cos = _sin_cos((rest + real(2.0)) * unit, terms=(9, 10) if long else (5, 6))
    return _rotate(radius, angle_word >> word(width - 2), sin, cos)


def _sin_cos(quarter: jax.Array, terms: tuple[int, int]) -> tuple[jax.Array, jax.Array]:
    """Sine and cosine of the angle `quarter` · pi/2, |quarter| ≤ 1/2, by their series."""

    def series(first: int, number: int) -> list[float]:
        powers = range(first + 2 * (number - 1), -1, -2)
        return [(-1) ** (n // 2) * (np.pi / 2) ** n / math.factorial(n) for n in powers]

    square = quarter * quarter
    sin = quarter * _horner(square, *series(1, terms[0]))
    return sin, _horner(square, *series(0, terms[1]))


def _rotate(
    radius: jax.Array, quarters: jax.Array, sin: jax.Array, cos: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """radius · (cos, sin), rotated by `quarters` · pi/2."""
    one, two = quarters.dtype.type(1), quarters.dtype.type(2)
    swap = (quarters & one) != 0
    x, y = jnp.where(swap, sin, cos), jnp.where(swap, cos, sin)
    # cos is negative in quarters 1 and 2, sin in 2 and 3.
    negative_x, negative_y = ((quarters + one) & two) != 0, (quarters & two) != 0
    return radius * jnp.where(negative_x, -x, x), radius * jnp.where(negative_y, -y, y)
