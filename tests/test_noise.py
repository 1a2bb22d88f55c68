"""Noise: its bits, its floats, and its independence of everything but (key, chain, step).

Every statistical test fails a correct generator with a probability below 1e-6.
"""

import math
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.extend.random import threefry2x32_p
from scipy import stats

from jlangevin import noise
from jlangevin.noise import Many, Purpose, Want

pytestmark = pytest.mark.slow

RATE = 1e-6
ULP32, ULP64 = 2.0**-24, 2.0**-53  # half the spacing of floats below 1: one rounding
BITS = {2: np.uint16, 4: np.uint32, 8: np.uint64}


def streams(seed, chains):
    return noise.streams(jax.random.key(seed), jnp.asarray(chains, jnp.uint32))


def position(shapes, dtype):
    """Leaves of the given shapes: a single one, or a dict of them."""
    return jax.tree.map(
        lambda shape: jax.ShapeDtypeStruct(shape, dtype), shapes, is_leaf=lambda s: type(s) is tuple
    )


def bits(tree):
    """The leaves' bit patterns: equal floats may differ in them, equal patterns in nothing."""
    arrays = [np.asarray(leaf) for leaf in jax.tree.leaves(tree)]
    return [array.view(BITS[array.itemsize]) for array in arrays]


def assert_same_bits(tree, other):
    for one, two in zip(bits(tree), bits(other), strict=True):
        np.testing.assert_array_equal(one, two)


WANTS = (Want.NORMAL, Want.UNIFORM)


def made(of, wants, like, first_pair, num_pairs, purpose=Purpose.STEP, compiled=True):
    """The noise of `pairs`, its 2 num_pairs steps on a leading axis."""

    def make(of, first_pair):
        pairs = noise.pairs(of, wants, like, first_pair, num_pairs, purpose)
        return jax.vmap(pairs.at)(jnp.arange(2 * num_pairs))

    return (jax.jit(make) if compiled else make)(of, jnp.uint32(first_pair))


# Bits ---------------------------------------------------------------------------------------


def test_threefry_has_the_published_test_vectors():
    """The known answers distributed with Random123 (Salmon et al. 2011)."""
    ones = 0xFFFFFFFF
    vectors = [
        ((0, 0), (0, 0), (0x6B200159, 0x99BA4EFE)),
        ((ones, ones), (ones, ones), (0x1CB996FC, 0xBB002BE7)),
        ((0x13198A2E, 0x03707344), (0x243F6A88, 0x85A308D3), (0xC4923A9C, 0x483DF7A0)),
    ]
    for key, counter, expected in vectors:
        found = noise.threefry2x32(tuple(map(jnp.uint32, key)), tuple(map(jnp.uint32, counter)))
        assert tuple(map(int, found)) == expected


def test_threefry_has_the_bits_of_jax_own_primitive():
    words = np.random.default_rng(0).integers(0, 2**32, (4, 10_000), dtype=np.uint32)
    words[:, :16] = np.array(np.meshgrid(*[[0, 2**32 - 1]] * 4), np.uint32).reshape(4, 16)
    k0, k1, c0, c1 = map(jnp.asarray, words)
    assert_same_bits(
        jax.jit(noise.threefry2x32)((k0, k1), (c0, c1)), threefry2x32_p.bind(k0, k1, c0, c1)
    )


@pytest.mark.parametrize("seed", [0, 1, 2**31])
def test_a_stream_is_the_key_folded_with_its_chain(seed):
    chains = [0, 1, 7, 2**31 - 1, 2**31, 2**32 - 1]
    found = streams(seed, chains)
    for i, chain in enumerate(chains):
        folded = jax.random.fold_in(jax.random.key(seed), jnp.uint32(chain))
        np.testing.assert_array_equal(
            jax.random.key_data(folded), jnp.stack([found.high[i], found.low[i]])
        )


def test_the_streams_are_the_keys_that_jax_splits_off():
    """So a chain can be run again by code that has never heard of this library."""
    found = jnp.stack(streams(7, np.arange(1_000)), axis=1)
    for number in (1_000, 2_000):
        words = jax.random.key_data(jax.random.split(jax.random.key(7), number))
        np.testing.assert_array_equal(words[:1_000], found)


def test_chains_have_distinct_streams():
    """By construction: Threefry under one key is a bijection of its counters."""
    found = streams(0, np.arange(2**17))
    words = np.asarray(found.high, np.uint64) << np.uint64(32) | np.asarray(found.low, np.uint64)
    assert len(np.unique(words)) == 2**17


# Counters -----------------------------------------------------------------------------------


def test_no_counter_serves_twice(dtype, monkeypatch):
    """Over purposes, steps and slots of a request of every kind, each block is for one thing."""
    chain = streams(0, 0)
    used = []

    def spy(key, counter):
        words = [np.asarray(word, np.uint64).reshape(-1) for word in counter]
        used.append(words[0] << np.uint64(32) | words[1])
        return threefry(key, counter)

    threefry = noise.threefry2x32
    monkeypatch.setattr(noise, "threefry2x32", spy)
    wants = (Want.NORMAL, {"u": Want.UNIFORM, "k": Want.KEY}, Want.NORMAL, Want.UNIFORM)
    like = position({"a": (2, 3), "b": ()}, dtype)
    for purpose in Purpose:
        before = len(used)
        for first in (0, 3):
            noise.pairs(chain, wants, like, first, 3, purpose)
        own = np.concatenate(used[before:])
        assert set((own >> np.uint64(30)) & np.uint64(3)) == {int(purpose)}
    counters = np.concatenate(used)
    per_normal = 2 if dtype == jnp.float64 else 1
    assert counters.size == len(Purpose) * 6 * (2 * 7 * per_normal + 2 * 1 + 2)
    assert np.unique(counters).size == counters.size


@pytest.mark.parametrize("purpose", Purpose)
def test_noise_follows_the_documented_layout(dtype, purpose):
    """Remade from `fold_in` and JAX's primitive, by the counters that the module documents.

    A change of this gives other noise to every chain that was ever run. These many words have all
    kinds of bit patterns: read as floats, thousands are NaN or subnormal.
    """
    wide = dtype == jnp.float64
    of, first, num_pairs = streams(0, np.arange(5000)), 3, 2
    wants = (Want.NORMAL, Want.UNIFORM, Want.KEY)
    z, u, k = made(of, wants, position((4,), dtype), first, num_pairs, purpose)

    def block(word0, slot):
        counter = jnp.array([word0, (purpose << 30) | slot], jnp.uint32)[:, None]
        word0, word1 = jnp.broadcast_to(counter, (2, *of.high.shape))
        return [np.asarray(w) for w in threefry2x32_p.bind(of.high, of.low, word0, word1)]

    for even in (2 * first, 2 * first + 2):
        row = even - 2 * first
        for slot in range(4):
            radius, angle = block(even, slot)
            if wide:
                radius, angle = block(even, slot), block(even + 1, slot)
                radius, angle = (
                    w[0].astype(np.uint64) << np.uint64(32) | w[1].astype(np.uint64)
                    for w in (radius, angle)
                )
            exact = exact_box_muller(radius, angle, 64 if wide else 32, np.longdouble)
            ulp = ULP64 if wide else ULP32
            assert_normals_accurate(z[row : row + 2, slot], exact, ulp, roundings=6)
        for half, word in enumerate(block(even, 4)):
            cell = (word >> 9).astype(np.float64)
            np.testing.assert_array_equal(u[row + half], (cell + 0.5) * 2.0**-23)
            words = np.stack(block(even + half, 5), axis=-1)
            np.testing.assert_array_equal(jax.random.key_data(k[row + half]), words)


def test_the_last_step_and_the_last_slot_have_counters_of_their_own():
    chain = streams(0, 0)
    last = noise.MAX_STEPS - 1
    normals = {
        float(noise.at_step(chain, Want.NORMAL, position((), jnp.float32), jnp.uint32(t)))
        for t in (0, 1, 2, last - 1, last)
    }
    assert len(normals) == 5


def test_a_step_that_asks_for_more_than_all_slots_is_refused():
    def ask(size):
        like = position((size,), jnp.float32)
        return jax.eval_shape(lambda s: noise.at_step(s, Want.NORMAL, like), streams(0, 0))

    assert ask(noise.MAX_SLOTS).shape == (noise.MAX_SLOTS,)
    with pytest.raises(ValueError, match="slots"):
        ask(noise.MAX_SLOTS + 1)


# The Box-Muller transform -------------------------------------------------------------------


def edge_words():
    """Words at which a branch, a rounding, an exponent or a quadrant changes."""
    centres = [0, 0xB504F333, *(2**k for k in range(32)), *(k * 2**29 for k in range(8))]
    near = {(c + d) % 2**32 for c in centres for d in (-129, -128, -127, -2, -1, 0, 1, 2, 64, 128)}
    return np.array(sorted(near), np.uint32)


def words_to_try(num_random):
    """Two arrays of words: every pair of edge words, and random ones."""
    edges = np.stack(np.meshgrid(edge_words(), edge_words())).reshape(2, -1)
    rng = np.random.default_rng(0)
    return np.concatenate([edges, rng.integers(0, 2**32, (2, num_random), dtype=np.uint32)], axis=1)


def exact_box_muller(radius_cell, angle_cell, digits, real):
    """Radius, cos and sin at the centres of cells: u = (radius_cell + 1/2) / 2**digits, and an
    angle. The top two bits of `angle_cell` count quarter turns. The other bits are a signed
    fraction of a quarter turn, so an angle about zero, and are taken at the centre of their
    cell."""
    u = (radius_cell.astype(real) + real(0.5)) / real(2) ** digits
    top = radius_cell.dtype.type(2 ** (digits - 1))
    # Next to u = 1, where u is rounded, its complement is exact.
    complement = ((~radius_cell).astype(real) + real(0.5)) / real(2) ** digits
    log_u = np.where(radius_cell < top, np.log(u), np.log1p(-np.minimum(complement, real(0.5))))
    signed = np.int32 if digits == 32 else np.int64
    rest = (angle_cell << angle_cell.dtype.type(2)).view(signed).astype(real) + real(2)
    t = rest / real(2) ** digits * (2 * np.arctan(real(1)))
    quarter = (angle_cell >> angle_cell.dtype.type(digits - 2)).astype(int)
    sin, cos = np.sin(t), np.cos(t)
    return (
        np.sqrt(-2 * log_u),
        np.choose(quarter, [cos, -sin, -cos, sin]),
        np.choose(quarter, [sin, cos, -sin, -cos]),
    )


def assert_normals_accurate(found, exact, ulp, roundings):
    radius, cos, sin = exact
    x, y = (np.asarray(z).astype(radius.dtype) for z in found)
    assert np.isfinite(x).all()
    assert np.isfinite(y).all()
    for error in (np.hypot(x, y) / radius - 1, x / radius - cos, y / radius - sin):
        assert float(np.max(np.abs(error))) < roundings * ulp


@pytest.mark.parametrize("compiled", [False, True], ids=["op by op", "compiled"])
def test_float32_normals_are_accurate_to_a_few_roundings(compiled):
    radius, angle = words_to_try(1_000_000)
    transform = jax.jit(noise._box_muller) if compiled else noise._box_muller
    found = transform(jnp.asarray(radius), jnp.asarray(angle))
    exact = exact_box_muller(radius, angle, 32, np.float64)
    assert_normals_accurate(found, exact, ULP32, roundings=4.5)
    # Also relative to each normal, however close to zero it is.
    for z, trigonometric in zip(found, exact[1:], strict=True):
        relative = np.asarray(z, np.float64) / (exact[0] * trigonometric) - 1
        assert np.max(np.abs(relative)) < 6.5 * ULP32
    assert 6.76 < np.max(np.abs(found[0])) < 6.77


@pytest.mark.parametrize("compiled", [False, True], ids=["op by op", "compiled"])
def test_float64_normals_are_accurate_to_a_few_roundings(x64, compiled):
    """Against long double, which on some machines is no more than float64."""
    high_r, high_a = words_to_try(200_000)
    low_r, low_a = np.random.default_rng(1).permutation(words_to_try(200_000), axis=1)
    transform = jax.jit(noise._box_muller) if compiled else noise._box_muller
    cells = [
        high.astype(np.uint64) << np.uint64(32) | low.astype(np.uint64)
        for high, low in ((high_r, low_r), (high_a, low_a))
    ]
    found = transform(*map(jnp.asarray, cells))
    exact = exact_box_muller(*cells, 64, np.longdouble)
    assert_normals_accurate(found, exact, ULP64, roundings=6)


def test_float64_normals_reach_no_further_than_nine_and_a_half(x64):
    zero, ones = jnp.uint64(0), jnp.uint64(2**64 - 1)
    largest, smallest = noise._box_muller(zero, zero), noise._box_muller(ones, zero)
    assert 9.49 < float(largest[0]) < 9.5
    assert 0 < float(smallest[0]) < 2.4e-10


@pytest.mark.parametrize("name", ["float16", "bfloat16"])
def test_half_precision_positions_get_finite_normals_of_their_dtype(name):
    of = streams(0, np.arange(1000))
    half, single = (made(of, Want.NORMAL, position((5,), n), 0, 4) for n in (name, "float32"))
    assert half.dtype == name
    assert jnp.all(jnp.isfinite(half))
    assert_same_bits(half, single.astype(name))


# Uniforms and keys --------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["float16", "bfloat16", "float32", "float64"])
def test_a_uniform_is_never_zero_nor_one(name, x64):
    words = jnp.array([0, 1, 2**9 - 1, 2**9, 2**31, 2**32 - 2**9, 2**32 - 1], jnp.uint32)
    u = noise._uniform_from_word(words, jnp.dtype(name)).astype(name)
    assert jnp.all(u > 0)
    assert jnp.all(u < 1)


def test_uniforms_have_their_law(dtype):
    """Dvoretzky-Kiefer-Wolfowitz over 200,000 draws: a gap of 0.006 fails."""
    u = made(streams(0, np.arange(50_000)), Want.UNIFORM, position((3,), dtype), 0, 2)
    assert u.shape == (4, 50_000)
    assert u.dtype == dtype
    assert dkw_p_value(u, stats.uniform.cdf) > RATE
    standardised = math.sqrt(12) * (np.asarray(u, np.float64) - 0.5)
    assert_uncorrelated(standardised[::2], standardised[1::2])


def test_keys_are_typed_and_each_chain_and_step_has_its_own():
    key = made(streams(0, np.arange(100)), {"key": Want.KEY}, position((3,), "float32"), 5, 4)[
        "key"
    ]
    assert jnp.issubdtype(key.dtype, jax.dtypes.prng_key)
    assert str(jax.random.key_impl(key)) == "threefry2x32"
    assert key.shape == (8, 100)
    data = np.asarray(jax.random.key_data(key)).reshape(-1, 2)
    assert len(np.unique(data, axis=0)) == 800


def test_the_key_of_a_step_is_that_of_its_pair_and_can_be_used():
    """Under JAX's own check for keys used twice."""
    like = position((3,), jnp.float32)
    block = made(streams(0, np.arange(9)), Want.KEY, like, 3, 1)
    for step in (6, 7):
        own = noise.at_step(streams(0, 4), Want.KEY, like, step)
        in_block = jax.random.key_data(block)[step % 2, 4]
        np.testing.assert_array_equal(jax.random.key_data(own), in_block)
        assert jnp.isfinite(jax.random.normal(own))


@pytest.mark.parametrize("wrong", ["normal", 1, Want, (Want.NORMAL, 0.5)])
def test_what_is_not_a_want_is_refused(wrong):
    with pytest.raises(TypeError, match=r"made of jlangevin\.noise\.Want"):
        noise.at_step(streams(0, 0), wrong, position((2,), jnp.float32))


def test_results_are_pytrees_like_the_wants_and_the_position():
    like = position({"a": (2, 3), "b": ()}, jnp.float32)
    wants = [Want.NORMAL, {"u": Want.UNIFORM}, None]
    shapes = jax.tree.map(jnp.shape, noise.at_step(streams(0, np.arange(5)), wants, like))
    assert shapes == [{"a": (2, 3, 5), "b": (5,)}, {"u": (5,)}, None]


def test_many_of_a_want_are_one_on_a_last_axis(dtype):
    """The normals are those of a position with that axis, keys and uniforms each of their own."""
    of, like = streams(0, range(5)), {"a": position((2,), dtype), "b": position((), dtype)}
    wants = (Many(Want.NORMAL, 3), Many(Want.UNIFORM, 4), Many(Want.KEY, 2))
    normals, uniforms, keys = noise.at_step(of, wants, like, 7)
    wide = {"a": position((2, 3), dtype), "b": position((3,), dtype)}
    assert_same_bits(normals, noise.at_step(of, Want.NORMAL, wide, 7))
    singles = noise.at_step(of, (Many(Want.NORMAL, 3), (Want.UNIFORM,) * 4), like, 7)[1]
    assert_same_bits(uniforms, jnp.stack(singles))
    assert keys.shape == (2, 5)
    assert len(np.unique(jax.random.key_data(keys).reshape(10, 2), axis=0)) == 10
    assert noise.count(wants, like) == 3 * 9


# One chain, one stream ----------------------------------------------------------------------

SHAPES = [(), (3,), {"a": (2, 3), "b": (1,)}]


@pytest.mark.parametrize("shapes", SHAPES, ids=str)
def test_a_step_made_alone_has_the_bits_it_has_among_thousands_of_chains(shapes, dtype):
    like = position(shapes, dtype)
    many = made(streams(3, np.arange(10_000)), WANTS, like, 0, 4)
    alone = jax.jit(lambda of, step: noise.at_step(of, WANTS, like, step))
    for chain in (0, 1, 7, 9, 4096, 9999):
        for step in range(8):
            expected = jax.tree.map(lambda leaf, at=(step, ..., chain): leaf[at], many)
            assert_same_bits(alone(streams(3, chain), step), expected)
            in_a_vector = alone(streams(3, [chain]), step)
            assert_same_bits(jax.tree.map(lambda leaf: leaf[..., 0], in_a_vector), expected)


@pytest.mark.parametrize("shapes", SHAPES, ids=str)
def test_neither_blocks_nor_other_chains_change_a_bit(shapes, dtype):
    like = position(shapes, dtype)
    many = made(streams(3, np.arange(10_000)), WANTS, like, 2, 6)
    for num_chains, first, num in ((1, 7, 1), (1, 5, 3), (10, 3, 4)):
        few = made(streams(3, np.arange(num_chains)), WANTS, like, first, num)
        same = np.s_[2 * (first - 2) : 2 * (first - 2 + num), ..., :num_chains]
        assert_same_bits(few, jax.tree.map(lambda leaf, same=same: leaf[same], many))


def test_chains_have_the_same_bits_in_any_order():
    like = position((3,), jnp.float32)
    there = made(streams(0, [5, 2**32 - 1, 0]), WANTS, like, 0, 2)
    back = made(streams(0, [0, 2**32 - 1, 5]), WANTS, like, 0, 2)
    assert_same_bits(there, jax.tree.map(lambda leaf: leaf[..., ::-1], back))


def test_without_compilation_a_step_alone_has_the_bits_it_has_among_others():
    like = position((3,), jnp.float32)
    many = made(streams(3, np.arange(10)), WANTS, like, 0, 2, compiled=False)
    for chain in (0, 9):
        for step in range(4):
            alone = noise.at_step(streams(3, chain), WANTS, like, step)
            expected = jax.tree.map(lambda leaf, at=(step, ..., chain): leaf[at], many)
            assert_same_bits(alone, expected)


def test_compilation_changes_normals_by_a_few_roundings_at_most(dtype):
    """It may fuse a multiplication and an addition into one rounding."""
    of, like = streams(3, np.arange(10)), position((3,), dtype)
    one, other = (made(of, WANTS, like, 0, 2, compiled=c) for c in (False, True))
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        np.testing.assert_allclose(a, b, rtol=10 * float(jnp.finfo(dtype).eps))


def test_purposes_steps_slots_chains_and_keys_have_noise_of_their_own():
    def kind(seed=0, chain=0, step=0, purpose=Purpose.STEP):
        like = position((4,), jnp.float32)
        return np.asarray(noise.at_step(streams(seed, chain), Want.NORMAL, like, step, purpose))

    kinds = [
        kind(),
        kind(seed=1),
        kind(chain=1),
        kind(step=1),
        kind(step=2),
        kind(purpose=Purpose.INIT),
        kind(purpose=Purpose.START),
    ]
    assert len(np.unique(np.concatenate(kinds))) == 4 * len(kinds)


# Statistics ---------------------------------------------------------------------------------

# In standard errors. A normal deviate goes beyond with probability 8e-11; that leaves a factor of
# 10,000 for the number of members of a test and for means that are not quite normal themselves.
# The eighth moment is the worst: with a skewness of 0.11 and an excess kurtosis of 0.05, the
# Edgeworth exponent 0.11 · 6.5³/6 + 0.05 · 6.5⁴/24 = 8.8 makes it 5e-7.
LIMIT = 6.5


def dkw_p_value(values, cdf):
    """A bound on the probability of a gap this large between empirical and true distribution."""
    values = np.sort(np.asarray(values, np.float64).reshape(-1))
    n = values.size
    expected = cdf(values)
    gap = max(np.max(np.arange(1, n + 1) / n - expected), np.max(expected - np.arange(n) / n))
    return 2 * math.exp(-2 * n * gap**2)


def assert_uncorrelated(a, b):
    """For arrays of independent standardised variables: a and b are, and so are a² and b²."""
    n = a.size
    squares = [(x**2 - 1) / np.sqrt(np.mean((x**2 - 1) ** 2)) for x in (a, b)]
    assert abs(np.mean(a * b)) * math.sqrt(n) < LIMIT
    assert abs(np.mean(squares[0] * squares[1])) * math.sqrt(n) < LIMIT


_generated = {}


@pytest.fixture
def normals(dtype):
    """(step, element, chain) in float64: two million of float32, one million of float64."""
    if dtype not in _generated:
        num_pairs = 50 if dtype == jnp.float32 else 25
        z = made(streams(0, np.arange(1000)), Want.NORMAL, position((20,), dtype), 0, num_pairs)
        assert z.dtype == dtype
        _generated[dtype] = np.asarray(z, np.float64)
    return _generated[dtype]


def test_normals_have_the_moments_of_a_normal(normals):
    def moment(k):
        return math.prod(range(1, k, 2)) if k % 2 == 0 else 0

    for k in range(1, 9):
        error = math.sqrt((moment(2 * k) - moment(k) ** 2) / normals.size)
        assert abs(np.mean(normals**k) - moment(k)) < LIMIT * error, f"moment {k}"


def test_normals_have_the_distribution_function_of_a_normal(normals):
    """Of a million, a gap of 0.0027 fails."""
    assert dkw_p_value(normals, stats.norm.cdf) > RATE


@pytest.mark.parametrize("sigmas", [3, 4, 5])
def test_normals_have_the_tails_of_a_normal(normals, sigmas):
    for sign in (-1, 1):
        count = int(np.sum(sign * normals > sigmas))
        p_value = stats.binomtest(count, normals.size, stats.norm.sf(sigmas)).pvalue
        assert p_value > RATE / 10  # six tests a dtype


@pytest.mark.parametrize(
    ("one", "other"),
    [
        pytest.param((slice(None, None, 2),), (slice(1, None, 2),), id="the two words of a block"),
        pytest.param((slice(1, -1, 2),), (slice(2, None, 2),), id="consecutive blocks"),
        pytest.param((slice(None, -2),), (slice(2, None),), id="every second step"),
        pytest.param((..., slice(-1), slice(None)), (..., slice(1, None), slice(None)), id="slots"),
        pytest.param((..., slice(10), slice(None)), (..., slice(10, 20), slice(None)), id="slots "),
        pytest.param((..., slice(-1)), (..., slice(1, None)), id="neighbouring chains"),
        pytest.param((..., slice(-256)), (..., slice(256, None)), id="chains 256 apart"),
    ],
)
def test_normals_are_uncorrelated_with_those_of(normals, one, other):
    assert_uncorrelated(normals[one], normals[other])


def test_no_two_elements_of_a_position_are_correlated(normals):
    """All 190 pairs of the 20 elements: any of them is beyond the limit with probability 2e-8."""
    rows = np.moveaxis(normals, 1, 0).reshape(20, -1)
    for x in (rows, (rows**2 - 1) / math.sqrt(2)):
        correlations = np.einsum("ik,jk->ij", x, x) / math.sqrt(rows.shape[1])
        np.fill_diagonal(correlations, 0)
        assert np.max(np.abs(correlations)) < LIMIT


def test_purposes_keys_and_uniforms_are_uncorrelated():
    like = position((20,), jnp.float32)

    def standardised(seed, purpose):
        z, u = made(streams(seed, np.arange(5000)), WANTS, like, 0, 1, purpose)
        u = math.sqrt(12) * (np.asarray(u, np.float64) - 0.5)
        return np.asarray(z[0], np.float64), np.broadcast_to(u[0], z[0].shape)

    step, uniform = standardised(0, Purpose.STEP)
    for other in ((1, Purpose.STEP), (0, Purpose.INIT), (0, Purpose.START)):
        assert_uncorrelated(step, standardised(*other)[0])
    for element in range(20):
        assert_uncorrelated(step[element], uniform[element])


@pytest.mark.skipif(jax.default_backend() != "cpu", reason="elsewhere there is no such loop")
def test_generator_and_transform_stay_apart_at_a_step_that_is_known():
    """XLA removes a loop that it knows to run once, and then computes both where either is used."""

    def twice(key):
        of = noise.streams(key, jnp.arange(8))
        z = noise.at_step(of, Want.NORMAL, jax.ShapeDtypeStruct((1,), jnp.float32), 0)
        return z, z * z

    compiled = jax.jit(twice).lower(jax.random.key(0)).compile().as_text()
    assert re.search(r"\bwhile\(", compiled)
