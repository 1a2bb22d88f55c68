"""Programs use what functions and objects hold now, and live no longer than they do.

Each model below has the energy 0.5 Σ w x², and is changed in place from w = (1, 4) to (4, 16). Its
chains have to be those of `Partial(bowl, w)`, where w is a leaf.
"""

import dataclasses
import functools
import gc
import subprocess
import sys
import textwrap
import warnings
import weakref
from typing import Any

import jax
import jax.numpy as jnp
import networks as module
import numpy as np
import pytest

import jlangevin as jl
from jlangevin._core import compiling, trees
from jlangevin.energies import traced
from jlangevin.noise import Want

Partial = jax.tree_util.Partial
W = np.array([1.0, 4.0])
START = np.array([[1.0, -2.0], [0.5, 0.3]], np.float32)


def bowl(w, x):
    return 0.5 * jnp.sum(w * x**2)


def sample(energy, kernel=None, init=START, num_steps=6, **options):
    kernel = jl.ula(0.1) if kernel is None else kernel
    return jl.sample(jax.random.key(0), energy, kernel, init, num_steps=num_steps, **options)


def assert_samples(energy, w):
    found = sample(energy, observe=None).position
    right = sample(Partial(bowl, jnp.asarray(w, jnp.float32)), observe=None).position
    np.testing.assert_allclose(found, right, rtol=1e-5)


# In place -------------------------------------------------------------------------------------

SETTINGS = {"w": W}
ARRAY = W.copy()


def reads_a_dictionary(x):
    return bowl(SETTINGS["w"], x)


def reads_an_array(x):
    return bowl(ARRAY, x)


def reads_a_module(x):
    return bowl(module.w, x)


def reads_an_attribute_of_itself(x):
    return bowl(reads_an_attribute_of_itself.w, x)


def has_a_default(x, settings={}):  # noqa: B006
    return bowl(settings["w"], x)


class Model:
    def __init__(self, w=W):
        self.w = w

    def energy(self, x):
        return bowl(self.w, x)

    __call__ = energy


class OfTheClass:
    w = W

    def __call__(self, x):
        return bowl(self.w, x)


class Slotted(Model):
    __slots__ = ()


@dataclasses.dataclass
class ComparesByValue:
    w: Any

    __call__ = Model.energy


@jax.tree_util.register_pytree_node_class
class Node(Model):
    def tree_flatten(self):
        return (self.w,), None

    @classmethod
    def tree_unflatten(cls, _, children):
        return cls(*children)


@jax.tree_util.register_pytree_node_class
class HidesItsParameters(Model):
    """They are in its structure, where JAX takes them as they are."""

    def tree_flatten(self):
        return (), self

    @classmethod
    def tree_unflatten(cls, aux, _):
        return aux


def of_model(model, pick=lambda model: model):
    return lambda: pick(model), lambda w: setattr(model, "w", w)


def in_place(array):
    return lambda w: np.copyto(array, w)


def changeable():
    """For each kind of model, a function that gets it each time, and one that changes it."""
    closed, array, mine, ours = {"w": W}, W.copy(), W.copy(), W.copy()
    kept = lambda x: bowl(array, x)  # noqa: E731
    defaults = has_a_default.__defaults__[0]
    defaults["w"] = SETTINGS["w"] = module.w = reads_an_attribute_of_itself.w = W
    np.copyto(ARRAY, W)
    hidden = HidesItsParameters()
    partial = functools.partial(lambda settings, x: bowl(settings["w"], x), closed)

    def put(settings):
        return lambda w: settings.update(w=w)

    return {
        "a dictionary read as a global": (lambda: reads_a_dictionary, put(SETTINGS)),
        "an array read as a global": (lambda: reads_an_array, in_place(ARRAY)),
        "a module": (lambda: reads_a_module, lambda w: setattr(module, "w", w)),
        "an attribute of a function": (
            lambda: reads_an_attribute_of_itself,
            lambda w: setattr(reads_an_attribute_of_itself, "w", w),
        ),
        "a default": (lambda: has_a_default, put(defaults)),
        "functools.partial": (lambda: partial, put(closed)),
        "a closure over an array": (lambda: kept, in_place(array)),
        "another closure over an array": (lambda: lambda x: bowl(mine, x), in_place(mine)),
        "Partial of an array": (lambda: Partial(bowl, ours), in_place(ours)),
        "an energy of ours from an array": (
            lambda: jl.energies.quadratic(np.diag(ours), np.zeros(2)),
            in_place(ours),
        ),
        "a bound method": of_model(Model(), lambda model: model.energy),
        "a callable object": of_model(Model()),
        "a callable object that compares by value": of_model(ComparesByValue(W)),
        "an attribute of a class": (OfTheClass, lambda w: setattr(OfTheClass, "w", w)),
        "a bound method of a pytree": of_model(Node(W), lambda model: model.energy),
        "a pytree that hides its parameters": of_model(hidden),
        "Partial of a bound method": of_model(Model(), lambda model: Partial(model.energy)),
        "a function of a model": of_model(Model(), lambda model: lambda x: model(x)),
    }


@pytest.fixture
def kinds():
    yield changeable()
    OfTheClass.w = W


@pytest.mark.parametrize("kind", changeable())
def test_a_model_that_is_changed_in_place_is_sampled_as_it_is(kind, kinds):
    get, change = kinds[kind]
    assert_samples(get(), W)
    change(4 * W)
    assert_samples(get(), 4 * W)


def test_a_model_that_is_not_changed_is_compiled_once():
    traces = []

    class Counted(Model):
        def energy(self, x):
            traces.append(None)  # which is not a change either
            return bowl(self.w, x)

    model = Counted()
    sample(model.energy)
    first = len(traces)
    sample(model.energy)
    assert len(traces) == first


def test_a_method_of_a_pytree_is_compiled_once_for_all_parameters():
    traces = []

    @jax.tree_util.register_pytree_node_class
    class Counted(Node):
        def energy(self, x):
            traces.append(None)
            return bowl(self.w, x)

    def traced(scale):
        sample(Counted(scale * jnp.ones(2)).energy)
        return len(traces)

    assert traced(1.0) == traced(2.0) == traced(3.0)


def test_what_observe_a_schedule_and_a_reducer_hold_is_seen():
    class Holder:
        scale = 1.0

        def see(self, state):
            return self.scale * state.position

        def schedule(self, step):
            return 0.01 * self.scale

    def go(holder):
        return sample(
            jl.energies.double_well(dim=2),
            jl.ula(holder.schedule),
            jnp.ones((3, 2)),
            num_steps=2,
            observe=holder.see,
            reducers=jl.reducers.expectation(holder.see),
        )

    holder, other = Holder(), Holder()
    before = go(holder)
    holder.scale = other.scale = 2.0
    after, expected = go(holder), go(other)
    assert not np.array_equal(after.draws, before.draws)
    for one, two in zip(jax.tree.leaves(after), jax.tree.leaves(expected), strict=True):
        np.testing.assert_array_equal(one, two)


def test_an_attribute_of_a_kernel_that_is_not_a_pytree_is_seen():
    class Own:
        step_size = 0.1
        init_noise = None
        step_noise = Want.NORMAL

        def init(self, energy, position, noise):
            return jl.kernels.ULAState(position)

        def step(self, energy, state, noise):
            return jl.kernels.ULAState(state.position + self.step_size * noise), jl.Info()

    def moved(kernel):
        return sample(jl.energies.linear([0.0, 0.0]), kernel, jnp.zeros((3, 2)), 1).position

    kernel = Own()
    before = moved(kernel)
    kernel.step_size = 0.2
    np.testing.assert_allclose(moved(kernel), 2 * before, rtol=1e-6)


def test_exact_laws_and_values_use_what_is_held_now():
    model = Model()
    for scale in (1.0, 2.0):
        model.w = scale * W
        law = jl.exact.stationary(jl.leimkuhler_matthews(0.01), model.energy, jnp.zeros(2))
        np.testing.assert_allclose(jnp.diag(law.cov), 1 / model.w, rtol=1e-4)
        values = traced.energy_values(model.energy, jnp.ones((3, 2)))
        np.testing.assert_allclose(values, 0.5 * np.sum(model.w), rtol=1e-6)


def test_the_same_contents_again_are_the_same_program():
    model = Model()
    one = trees.Parted.of(model.energy).structure
    assert trees.Parted.of(model.energy).structure == one
    model.w = 2 * W
    assert trees.Parted.of(model.energy).structure != one


def shape_structure(size):
    return trees.Parted.of(jax.ShapeDtypeStruct((size,), jnp.float32)).structure


def test_shapes_are_known_by_what_they_say():
    """For instance those of a state, which are made again for every exact law."""
    one, other = (shape_structure(n) for n in (2, 3))
    assert one == shape_structure(2)
    assert one != other


# What JAX does not see ------------------------------------------------------------------------


def value(energy):
    return sample(energy, jl.mala(0.1), jnp.ones((2, 2)), 0, observe=None).state.kernel.energy[0]


def test_a_change_under_a_jit_of_the_callers_is_refused():
    settings = {"scale": 1.0}

    @jax.jit
    def inner(x):
        return settings["scale"] * jnp.sum(x)

    def energy(x):
        return 2.0 * inner(x)

    assert value(energy) == 4.0
    settings["scale"] = 3.0
    for each in (energy, inner):
        with pytest.raises(ValueError, match=r"inner: a function under jax\.jit, .* has changed"):
            value(each)


def test_an_array_that_jax_takes_for_what_it_was_is_refused():
    w = W.copy()

    def energy(x):
        return bowl(w, x)

    mine = jax.jit(energy)
    mine(jnp.ones(2))
    w *= 2
    taken = float(jnp.sum(jnp.asarray(w)))
    if taken == 10.0:
        assert value(energy) == 5.0
        pytest.skip("this jaxlib takes arrays as they are")
    with pytest.raises(ValueError, match=r"a NumPy array, float64\[2\], .* was changed in place"):
        value(energy)
    del mine
    jax.clear_caches()
    assert value(energy) == 5.0


# Lives ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("wrap", [lambda f: f, Partial, lambda f: functools.partial(f)])
def test_an_energy_and_what_it_closes_over_are_let_go(wrap):
    """Without the garbage collector, and with blocks within a draw."""

    def go(observe=jl.position):
        big = jnp.ones((100, 2))

        def energy(x):
            return jnp.sum(jnp.tanh(big @ x)) + jnp.sum(x**2)

        sample(wrap(energy), init=jnp.ones((2, 2)), num_steps=9000, thin=9000, observe=observe)
        return weakref.ref(energy), weakref.ref(big)

    gc.collect()
    gc.disable()
    try:
        refs = go()
    finally:
        gc.enable()
    assert [ref() for ref in refs] == [None, None]


def test_what_observe_holds_is_let_go():
    def go():
        big = jnp.ones(2)

        def see(state):
            return big * state.position

        energy = jl.energies.double_well(dim=2)
        sample(energy, init=jnp.ones((2, 2)), num_steps=2, observe=see)
        return weakref.ref(see), weakref.ref(big)

    assert [ref() for ref in go()] == [None, None]


@pytest.mark.filterwarnings("ignore::jlangevin.MiscompiledWarning")
@pytest.mark.parametrize(
    "transformed",
    [lambda f: jax.vmap(f)(jnp.ones(2)), lambda f: jax.grad(lambda h: f(h).sum())(0.1)],
)
def test_an_energy_is_let_go_under_a_transformation_too(transformed):
    def go():
        big = jnp.ones(2)

        def energy(x):
            return jnp.sum(big * x**2)

        def draws(step_size):
            return jl.sample(
                jax.random.key(0), energy, jl.ula(step_size), jnp.ones((2, 2)), num_steps=3
            ).draws

        transformed(draws)
        return weakref.ref(energy)

    ref = go()
    gc.collect()
    assert ref() is None


OUTLIVES = """
    import sys, types

    # Python empties modules in the reverse order of their import, those that something still holds.
    early = sys.modules["early"] = types.ModuleType("early")
    import jax, jax.numpy as jnp, jlangevin as jl

    class Energy:
        def __call__(self, x):
            return 0.5 * jnp.sum(x**2)

    early.energy = Energy()
    jl.sample(jax.random.key(0), early.energy, jl.ula(0.1), jnp.ones((2, 1)), num_steps=2)
    sys.held = early, jl._core.contents
"""


def test_an_object_that_outlives_the_library_ends_in_silence():
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(OUTLIVES)],
        capture_output=True, text=True, check=True, timeout=300,
    )  # fmt: skip
    assert done.stderr == ""


def test_the_programs_of_what_a_model_held_before_are_let_go():
    class Other(Model):
        pass

    model, refs = Other(), []
    for scale in (1.0, 2.0):
        model.w = jnp.full(2, scale)
        refs.append(weakref.ref(model.w))
        sample(model.energy, init=jnp.ones((2, 2)), num_steps=2)
    assert [ref() is None for ref in refs] == [True, False]


def test_code_that_is_compiled_again_and_again_is_told_of_once():
    def energy(scale):
        return lambda x: scale * jnp.sum(x**2)

    def go(scale):
        traced.energy_values(energy(scale), jnp.ones((2, 2)))

    for i in range(9):
        go(float(i))
    with pytest.warns(jl.RecompilationWarning, match=r"<lambda> .*10 times.*Partial") as said:
        go(9.0)
    assert [each.filename for each in said] == [__file__]
    go(10.0)


def test_changing_leaves_cause_no_warning():
    def energy(scale, x):
        return scale * jnp.sum(x**2)

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for i in range(11):
            traced.energy_values(Partial(energy, float(i)), jnp.ones((2, 2)))


def test_the_number_of_results_kept_is_limited():
    calls = []
    double = compiling.cached_while_alive(lambda x: calls.append(x) or 2 * x, most=2)
    assert [double(x) for x in (1, 2, 1, 3, 1, 2)] == [2, 4, 2, 6, 2, 4]
    assert calls == [1, 2, 3, 2]
