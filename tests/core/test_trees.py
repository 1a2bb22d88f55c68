"""Frozen dataclasses as pytrees, and the split of a pytree into what is traced and what is not."""

import dataclasses
from functools import partial
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jlangevin as jl
from jlangevin._core import trees


@trees.pytree_dataclass
class Spring:
    """A node whose constructor checks, with a static field between two children."""

    stiffness: Any
    order: int = trees.static_field(default=2)
    rest: Any = 0.0

    def __post_init__(self):
        if not self.stiffness > 0:
            raise ValueError("stiffness")

    def __call__(self, x):
        return self.stiffness * jnp.sum((x - self.rest) ** self.order)


def double(x):
    return 2 * x


# pytree_dataclass ------------------------------------------------------------------------------


def test_children_are_leaves_and_static_fields_are_structure():
    leaves, treedef = jax.tree.flatten(Spring(1.0, 3, 0.5))
    assert leaves == [1.0, 0.5]
    assert treedef == jax.tree.structure(Spring(8.0, 3, 9.0))
    assert treedef != jax.tree.structure(Spring(1.0, 4, 0.5))


def test_flattening_and_back_gives_an_equal_node():
    node = Spring(1.0, 3, {"a": jnp.ones(2), "b": None})
    again = jax.tree.unflatten(jax.tree.structure(node), jax.tree.leaves(node))
    assert type(again) is Spring
    assert again.order == 3
    chex.assert_trees_all_equal(again, node)


def test_unflattening_does_not_call_the_constructor():
    """JAX unflattens around placeholders, on which a constructor's checks would fail."""
    with pytest.raises(ValueError, match="stiffness"):
        Spring(-1.0)
    assert jax.tree.map(lambda leaf: -leaf, Spring(1.0)).stiffness == -1.0
    assert jax.tree.map(lambda _: None, Spring(1.0)).stiffness is None


@trees.pytree_dataclass
class Even:
    """A node whose own constructor makes its field from another argument."""

    value: Any

    def __init__(self, half):
        if half is None:
            raise TypeError("half")
        trees.set_fields(self, value=2 * half)


def test_a_node_keeps_its_own_constructor_which_without_checks_is_left_out():
    node = Even(half=np.arange(3.0))
    np.testing.assert_array_equal(node.value, [0.0, 2.0, 4.0])
    with pytest.raises(TypeError, match="half"):
        Even(None)
    assert jax.tree.map(lambda _: None, node).value is None
    made = trees.without_checks(Even, value=3.0)
    assert type(made) is Even
    assert made.value == 3.0
    with pytest.raises(dataclasses.FrozenInstanceError):
        made.value = 2.0


def test_nodes_are_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Spring(1.0).stiffness = 2.0


def test_defaults_and_replace_work_as_for_any_dataclass():
    assert Spring(1.0) == Spring(1.0, 2, 0.0)
    assert dataclasses.replace(Spring(1.0), order=4).order == 4


def test_paths_name_the_fields():
    paths = jax.tree_util.tree_leaves_with_path({"spring": Spring(1.0)})
    assert [jax.tree_util.keystr(path) for path, _ in paths] == [
        "['spring'].stiffness",
        "['spring'].rest",
    ]


def test_static_fields_retrace_and_children_do_not():
    chex.clear_trace_counter()

    @jax.jit
    @chex.assert_max_traces(n=2)
    def value(spring, x):
        return spring(x)

    for stiffness, order in ((1.0, 2), (2.0, 2), (1.0, 4), (3.0, 4)):
        assert value(Spring(stiffness, order), jnp.full(2, 2.0)) == stiffness * 2 * 2**order


def test_nodes_pass_through_grad_and_vmap():
    gradient = jax.grad(lambda spring: spring(jnp.ones(3)))(Spring(2.0, rest=0.5))
    assert gradient.stiffness == 0.75
    assert gradient.rest == -6.0
    many = jax.tree.map(lambda leaf: leaf * jnp.arange(1.0, 4.0), Spring(1.0))
    values = jax.vmap(lambda spring: spring(jnp.ones(2)))(many)
    np.testing.assert_array_equal(values, [2.0, 4.0, 6.0])


# Parted ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tree", "num_arrays"),
    [
        pytest.param(double, 0, id="a bare function"),
        pytest.param(jnp.sin, 0, id="a jitted function"),
        pytest.param(partial(double, 3), 0, id="a functools.partial"),
        pytest.param(jax.tree_util.Partial(double, jnp.ones(2)), 1, id="a Partial"),
        pytest.param(Spring(1.0, 3, np.zeros(2)), 2, id="a node"),
        pytest.param(1.5, 1, id="a number"),
        pytest.param([2, 3.0, 4j, np.float32(5)], 4, id="numbers of every kind"),
        pytest.param([True, 2], 1, id="a switch, which is not a number"),
        pytest.param({"f": double, "x": [jnp.ones(2), None], "n": "name"}, 1, id="a mixture"),
        pytest.param(None, 0, id="nothing"),
        pytest.param((), 0, id="an empty tuple"),
    ],
)
def test_the_arrays_are_taken_out_and_put_back(tree, num_arrays):
    parted = trees.Parted.of(tree)
    assert len(parted.arrays) == num_arrays
    again = parted.whole
    assert jax.tree.structure(again) == jax.tree.structure(tree)
    for found, leaf in zip(jax.tree.leaves(again), jax.tree.leaves(tree), strict=True):
        if isinstance(leaf, np.ndarray):  # whose memory is the caller's
            np.testing.assert_array_equal(found, leaf, strict=True)
            assert not np.shares_memory(found, leaf)
        else:
            assert found is leaf


def test_other_arrays_can_be_put_in_their_place():
    parted = trees.Parted.of({"f": double, "a": 1.0, "b": jnp.ones(2)})
    doubled = jax.tree.map(lambda array: 2 * array, parted).whole
    assert doubled["f"] is double
    assert doubled["a"] == 2.0
    np.testing.assert_array_equal(doubled["b"], [2.0, 2.0])


def test_structures_are_equal_where_only_arrays_differ():
    def structure(tree):
        return trees.Parted.of(tree).structure

    one = structure(jax.tree_util.Partial(double, 1.0))
    assert one == structure(jax.tree_util.Partial(double, 2.0))
    assert hash(one) == hash(structure(jax.tree_util.Partial(double, jnp.ones(3))))
    assert one != structure(jax.tree_util.Partial(jnp.sin, 1.0))
    assert structure(double) != structure(jnp.sin)
    assert structure(Spring(1.0, 2)) != structure(Spring(1.0, 3))


def test_a_changed_parameter_does_not_retrace():
    """Under jit, which keys on the rest."""
    chex.clear_trace_counter()

    @jax.jit
    @chex.assert_max_traces(n=1)
    def value(parted, x):
        return parted.whole(x)

    for stiffness in (1.0, 2.0):
        assert value(trees.Parted.of(Spring(stiffness)), jnp.ones(3)) == 3 * stiffness


# The small ones --------------------------------------------------------------------------------


def test_is_concrete_tells_tracers_from_values():
    assert trees.is_concrete({"a": jnp.ones(2), "b": 1.0, "c": None})
    seen = []
    jax.jit(lambda x: seen.append(trees.is_concrete(1.0, [x])))(1.0)
    assert seen == [False]


def test_ravel_and_unraveler_are_inverse():
    tree = {"b": jnp.arange(6.0).reshape(2, 3), "a": jnp.array(-1.0)}
    vector = trees.ravel(tree)
    np.testing.assert_array_equal(vector, [-1, 0, 1, 2, 3, 4, 5])
    chex.assert_trees_all_equal(trees.unraveler(tree)(vector), tree)
    shapes = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), tree)
    chex.assert_trees_all_equal(trees.unraveler(shapes)(vector), tree)


def test_size_counts_all_elements():
    assert trees.size({"a": jnp.zeros((2, 3)), "b": 1.0, "c": np.zeros((0, 4)), "d": None}) == 7


def test_float_dtype_is_the_common_one():
    assert trees.float_dtype([jnp.zeros(2), jnp.zeros(())]) == jnp.float32
    with jax.numpy_dtype_promotion("standard"):
        assert trees.float_dtype([jnp.zeros(2, jnp.float16), jnp.zeros(2)]) == jnp.float32


def test_common_dtype_is_that_of_the_widest_array_and_numbers_follow(x64):
    """Under strict promotion, as all tests are."""
    single, double = jnp.zeros(2, jnp.float32), np.zeros(2)
    for given, expected in (
        ((single, 1.0, [0.5, 2], None, np.arange(3)), jnp.float32),
        ((jnp.asarray(1.0), single), jnp.float32),  # of weak type: a number
        ((single, {"a": [double, 1.0]}), jnp.float64),
        ((np.float32(1), jnp.bfloat16(1)), jnp.float32),
        ((1.0, [2, 3], jnp.arange(3)), jnp.float64),
        ((), jnp.float64),
    ):
        assert trees.common_dtype(*given) == expected, given


def test_numbers_and_numpys_arrays_have_the_dtype_that_jax_gives_them():
    assert trees.common_dtype(1.0) == trees.common_dtype(np.zeros(2)) == jnp.float32


def test_a_position_may_have_to_be_floating():
    assert trees.as_position("x", [1, 2], floating=True).dtype == jnp.float32  # a list of numbers
    for wrong in (jnp.arange(2), {"a": jnp.zeros(2), "b": 1}, jnp.zeros(2, complex)):
        trees.as_position("x", wrong)
        found = r"^x(\['b'\])?: expected floating arrays, got dtype (int|compl)"
        with pytest.raises(TypeError, match=found):
            trees.as_position("x", wrong, floating=True)


def test_assert_like_compares_structure_and_shapes():
    like = {"a": jnp.zeros(2), "b": jnp.zeros(())}
    trees.assert_like("x", {"a": jnp.ones(2), "b": jnp.ones(())}, like, "like that")
    for other in ({"a": jnp.ones(2)}, {"a": jnp.ones(3), "b": jnp.ones(())}, jnp.ones(3)):
        with pytest.raises(ValueError, match=r"^x: expected .*, like that, got "):
            trees.assert_like("x", other, like, "like that")
    half = {"a": jnp.ones(2, jnp.float16), "b": jnp.ones(())}
    trees.assert_like("x", half, like, "like that")
    with pytest.raises(ValueError, match=r"got \{'a': float16\[2\], 'b': float32\[\]\}"):
        trees.assert_like("x", half, like, "like that", dtypes=True)


@pytest.mark.parametrize(
    ("tree", "words"),
    [
        (jnp.zeros((2, 3)), "float32[2, 3]"),
        (
            {"w": jnp.zeros(3), "b": [np.float32(0), None]},
            "{'b': [float32[], None], 'w': float32[3]}",
        ),
        ((jax.random.key(0), 0.5, "word"), "(key<fry>[], 0.5, 'word')"),
    ],
)
def test_shown_has_shapes_in_place_of_numbers(tree, words):
    assert trees.shown(tree) == words


# Memory of the caller's -----------------------------------------------------------------------


def aligned(values):
    """Where JAX takes an array on the CPU without a copy."""
    values = np.asarray(values, np.float32)
    raw = np.empty(values.nbytes + 64, np.uint8)
    start = -raw.ctypes.data % 64
    array = raw[start : start + values.nbytes].view(np.float32).reshape(values.shape)
    array[...] = values
    return array


@trees.pytree_dataclass
class Unchecked:
    values: Any


MANY = np.linspace(0.1, 1.0, 64)
KEEPING = {
    "Gaussian's mean": (MANY, lambda x: jl.Gaussian(x, np.eye(64))),
    "Gaussian's covariance": (np.eye(16), lambda x: jl.Gaussian(np.zeros(16), x)),
    "a mean in a dictionary": (MANY, lambda x: jl.Gaussian({"m": x}, np.eye(64))),
    "data": (MANY, lambda x: jl.estimators.minibatch(lambda p, y: p * y, x, 4)),
    "a step size": (0.1, jl.ula),
    "a temperature": (0.1, lambda x: jl.ula(0.1, temperature=x)),
    "a preconditioner": (MANY, lambda x: jl.ula(0.1, preconditioner=x)),
    "a matrix": (np.eye(16), lambda x: jl.ula(0.1, preconditioner=x)),
    "a mass": (MANY, lambda x: jl.underdamped(0.1, 1.0, mass=x)),
    "levels": (MANY[::-1], lambda x: jl.annealed(x, 2, 0.1)),
    "a ladder": (MANY, lambda x: jl.tempered(jl.mala(0.1, temperature=x[0]), x)),
    "linear": (MANY, jl.energies.linear),
    "a precision": (np.eye(16), jl.energies.quadratic),
    "a center": (MANY, lambda x: jl.energies.quadratic(np.eye(64), x)),
    "a height": (1.0, jl.energies.double_well),
    "means of a mixture": (
        MANY[:, None],
        lambda x: jl.energies.gaussian_mixture(x, np.ones((64, 1, 1)), np.full(64, 1 / 64)),
    ),
    "a box": (MANY, lambda x: jl.domains.box(x, 2.0)),
    "a ball": (MANY, lambda x: jl.domains.ball(x, 1.0)),
    "a half-space": (MANY, lambda x: jl.domains.half_space(x, 1.0)),
    "edges": (MANY, jl.reducers.histogram),
    "a field of a class": (MANY, Unchecked),
    "parameters": (MANY, lambda x: trees.Parted.of(jax.tree_util.Partial(double, x)).arrays),
    "positions": (MANY[:, None], lambda x: trees.as_position("init", x)),
}


@pytest.mark.parametrize("name", KEEPING)
def test_memory_of_the_callers_is_not_shared(name):
    values, make = KEEPING[name]
    array = aligned(values)
    made = make(array)
    before = [np.array(leaf) for leaf in jax.tree.leaves(made) if trees.is_array(leaf)]
    array[...] = 99.0
    after = [leaf for leaf in jax.tree.leaves(made) if trees.is_array(leaf)]
    for one, other in zip(before, after, strict=True):
        np.testing.assert_array_equal(one, other)


def test_an_array_that_jax_has_seen_is_taken_as_it_is_now():
    """JAX finds its copy of a float64 array by identity, as long as a program keeps it."""
    array = np.array([1.0, 4.0])
    keeping = jax.jit(lambda x: array * x)
    keeping(jnp.ones(2))
    array *= 4
    for made in (
        jl.energies.linear(array).theta,
        jl.energies.linear(list(array)).theta,
        jl.Gaussian(array, np.eye(2)).mean,
        trees.as_position("x", [array])[0],
        jnp.asarray(trees.Parted.of(jax.tree_util.Partial(double, array)).arrays[0]),
    ):
        np.testing.assert_array_equal(made, [4.0, 16.0])


MASKED = np.ma.masked_array(np.ones((4, 2)), mask=[[False, True]] * 4)


@pytest.mark.parametrize(
    "make",
    [
        lambda x: jl.sample(jax.random.key(0), double, jl.ula(0.1), x, num_steps=1),
        lambda x: jl.sample(jax.random.key(0), double, jl.ula(0.1), [*x], num_steps=1),
        lambda x: jl.Gaussian(x[0], np.eye(2)),
        lambda x: jl.energies.linear(x[0]),
        lambda x: jl.diagnostics.ess(x),
        lambda x: trees.Parted.of(jax.tree_util.Partial(double, x)),
        Unchecked,
    ],
)
def test_masked_arrays_are_refused(make):
    with pytest.raises(TypeError, match=r": got a masked array, .*x\.compressed\(\)"):
        make(MASKED)


@pytest.mark.parametrize(
    ("thing", "name"),
    [
        (jl.Gaussian(jnp.zeros(2), jnp.eye(2)), "mean"),
        (jl.ula(0.1), "step_size"),
        (jl.energies.linear([1.0]), "theta"),
    ],
)
def test_what_was_checked_cannot_be_changed(thing, name):
    with pytest.raises(dataclasses.FrozenInstanceError, match=f"{name}: a .* make another one"):
        setattr(thing, name, jnp.ones(2))
    with pytest.raises(dataclasses.FrozenInstanceError, match=name):
        delattr(thing, name)
