"""What tells two objects apart across processes, and what must not.

Every pair below is built by code that stands on one line or in one function, so that nothing but
what is named differs.
"""

import functools
import importlib
import os
import subprocess
import sys
import textwrap

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jlangevin as jl
from jlangevin._core import trees
from jlangevin.sampling import fingerprint

Partial = jax.tree_util.Partial


def of(thing):
    parted = trees.Parted.of(thing)
    return fingerprint.of_structure(parted.structure), fingerprint.of_arrays(parted.arrays)


# Two of everything ----------------------------------------------------------------------------


def scaled(p, x, flag=True):
    return (p if flag else -p) * jnp.sum(x)


def closing(over):
    return lambda x: (over, x)


def keyword(default):
    def function(x, *, scale=default):
        return scale * jnp.sum(x)

    return function


class Model:
    def __init__(self, scale):
        self.scale = scale

    def energy(self, x):
        return self.scale * jnp.sum(x)

    __call__ = energy


class Slotted:
    __slots__ = ("scale",)
    __init__ = Model.__init__


def model(sign):
    class Same:
        def __call__(self, x):
            return x if sign else -x

    return Same()


def squares(power):
    @jax.tree_util.register_pytree_node_class
    class Node:
        def __init__(self, p):
            self.p = p

        def tree_flatten(self):
            return (self.p,), None

        @classmethod
        def tree_unflatten(cls, aux, children):
            return cls(*children)

        def __call__(self, x):
            return self.p * jnp.sum(x**power)

    return Node(1.0)


def sharding(*axes):
    mesh = jax.sharding.Mesh(np.array(jax.devices()[:1]), ("chains",))
    return jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec(*axes))


def with_rule(scale):
    square = jax.custom_jvp(lambda x: x**2)
    square.defjvp(lambda x, dx: (x[0] ** 2, scale * x[0] * dx[0]))
    return square


P = jnp.ones(2)
PAIRS = {
    "Partial of lambdas": (Partial(lambda p, x: p @ x, P), Partial(lambda p, x: -p @ x, P)),
    "a static argument of Partial": (Partial(scaled, P, flag=True), Partial(scaled, P, flag=False)),
    "a parameter": (Partial(scaled, P), Partial(scaled, 2 * P)),
    "functools.partial": (functools.partial(scaled, 2.0), functools.partial(scaled, 3.0)),
    "a bound method": (Model(1.0).energy, Model(2.0).energy),
    "an instance": (Model(1.0), Model(2.0)),
    "an instance with slots": (Slotted(1.0), Slotted(2.0)),
    "an instance of another class": (model(True), model(False)),
    "the code of a pytree": (squares(2), squares(4)),
    "a default": (keyword(1.0), keyword(2.0)),
    "a closure, in float64": (closing(1.0), closing(1.0 + 1e-12)),
    "a closure over a large integer": (closing(2**70), closing(2**71)),
    "a closure over Partial": (
        closing(Partial(lambda x: x, 1.0)),
        closing(Partial(lambda x: 2 * x, 1.0)),
    ),
    "a closure over strings": (closing(np.array(["a"])), closing(np.array(["b"]))),
    "a closure over a module": (closing(np), closing(jnp)),
    "jitted functions": (jax.jit(lambda x: jnp.sum(x)), jax.jit(lambda x: 2 * jnp.sum(x))),
    "a reducer's function": (
        jl.reducers.expectation(lambda state: state.position[0]),
        jl.reducers.expectation(lambda state: state.position[0] ** 2),
    ),
    "a sharding": (closing(sharding("chains")), closing(sharding())),
    "the rule of a derivative": (with_rule(2.0), with_rule(3.0)),
    "a key": (Partial(scaled, jax.random.key(0)), Partial(scaled, jax.random.key(1))),
    "complex numbers": (Partial(scaled, jnp.array([1j])), Partial(scaled, jnp.array([2j]))),
}


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=pytest.mark.slow) if "float64" in name else name for name in PAIRS],
)
def test_what_differs_is_told_apart(name):
    one, other = PAIRS[name]
    assert of(one) == of(one)
    assert of(one) != of(other)


SETTINGS = {"scale": 1.0}
ENERGY = jl.energies.quadratic(np.eye(2))


def helper(x, scale=1.0):
    return scale * x


def reader(x):
    return ENERGY(x) * SETTINGS["scale"] + helper(x)


def test_what_a_function_reads_as_a_global_counts(monkeypatch):
    before = of(reader)
    assert of(reader) == before
    changes = {
        "SETTINGS": {"scale": 2.0},
        "ENERGY": jl.energies.quadratic(2 * np.eye(2)),
        "helper": lambda x, scale=1.0: scale + x,
    }
    for name, value in changes.items():
        with monkeypatch.context() as patch:
            patch.setitem(globals(), name, value)
            assert of(reader) != before
    monkeypatch.setattr(helper, "__defaults__", (2.0,))
    assert of(reader) != before


def test_an_attribute_is_not_a_global(monkeypatch):
    def function(x):
        return x.P

    before = of(function)
    monkeypatch.setitem(globals(), "P", jnp.zeros(3))
    assert of(function) == before


def test_functions_that_refer_to_each_other_have_an_end():
    def down(x, n=2):
        return x if n == 0 else down(x, n - 1)

    assert of(down) == of(down)


def test_jaxs_own_objects_are_what_they_say_and_do_not_change_by_being_used():
    where = sharding("chains")
    energy = closing((where.mesh, where, jax.nn.relu))
    before = of(energy)
    jax.jit(jax.nn.relu)(jax.device_put(jnp.ones(4), where))
    hash(where), where.mesh.shape, where.mesh.abstract_mesh, where.memory_kind
    assert of(energy) == before


def test_what_an_object_keeps_of_itself_does_not_count():
    class Lazy:
        scale = 2.0

        @functools.cached_property
        def double(self):
            return 2 * self.scale

        def __call__(self, x):
            return self.double * jnp.sum(x)

    energy = Lazy()
    before = of(energy)
    energy(jnp.ones(2))
    assert of(energy) == before


@pytest.mark.parametrize("installed", [True, False])
def test_a_package_is_known_by_its_name_wherever_it_is_installed(installed, tmp_path, monkeypatch):
    """An installer leaves its notes beside a package; code without them is the caller's."""
    name = f"a_package_{installed}"
    inner = tmp_path / name / "inner"
    inner.mkdir(parents=True)
    (tmp_path / name / "__init__.py").touch()
    (inner / "__init__.py").write_text("HEIGHT = 1.0\ndef energy(x):\n    return HEIGHT * x\n")
    if installed:
        (tmp_path / f"{name}-1.0.dist-info").mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    module = importlib.import_module(f"{name}.inner")
    before = of(module.energy)
    module.HEIGHT = 2.0
    assert (of(module.energy) == before) == installed


def test_other_processes_and_hash_seeds_agree():
    code = textwrap.dedent("""
        import jax, jax.numpy as jnp, numpy as np
        import jlangevin as jl
        from jlangevin._core import trees
        from jlangevin.sampling import fingerprint

        TABLE = {"b": jnp.ones(2), "a": {1, 2, 3}}

        class Energy:
            names = frozenset({"one", "two", "three"})
            def __call__(self, x):
                return jnp.sum(x) if "a" in {"a", "b", "c"} else TABLE["b"]

        things = [Energy(), Energy, jl.reducers.expectation(lambda s: np.sum(s.position)),
                  jax.tree_util.Partial(lambda p, x: p, 1.0), lambda x: (object(), jnp.pi)]
        for thing in things:
            print(fingerprint.of_structure(trees.Parted.of(thing).structure))
    """)

    def printed(seed):
        found = subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        )
        return found.stdout

    first = printed("1")
    assert len(set(first.split())) == 5
    assert printed("2") == first
