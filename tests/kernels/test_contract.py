"""What holds of every public kernel, whatever its dynamics. One run of each serves most of it."""

import functools
import inspect
import re
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from every_kernel import CASES, START, UNIT

import jlangevin as jl
from jlangevin._core.arithmetic import hidden_zero, separately_rounded
from jlangevin.kernels.base import check_step, has_schedule, resolve_schedules
from jlangevin.kernels.traits import Traits
from jlangevin.noise import Want


class Bowl:
    """½ (x₁² + 2x₂²)/σ², its terms rounded before they are added, so that programs round alike."""

    def __init__(self, sigma=1.0):
        self.sigma = sigma

    def __call__(self, x):
        width = jnp.asarray(self.sigma, x.dtype)
        terms = jnp.array([1, 2], x.dtype) * (x / width) ** 2 / 2
        return jnp.sum(separately_rounded(terms, hidden_zero(width)))

    def at(self, sigma):
        return Bowl(sigma)


def slope(key, x):
    """An estimator of the bowl's gradient that makes no error."""
    return jnp.array([1, 2], x.dtype) * x


BOWL = Bowl()
WIDE = jl.domains.box(-30.0, 30.0)  # walls that no chain reaches
NUM_CHAINS, NUM_STEPS = 8_000, 3
ALL = list(range(NUM_CHAINS))
ONE = 5  # a chain that is run again


def beginning(name):
    """p where it is kept, otherwise a law near one point, from where every move shows."""
    if CASES[name].law == "kept":
        return jl.Gaussian(jnp.zeros(2), jnp.diag(jnp.array([1.0, 0.5])))
    return jl.Gaussian(START, 1e-3 * jnp.eye(2))


def prepared(name, chains=ALL, *, key=0, share=1.0):
    """A function that makes the run, under a key and with a share of the example's step size."""
    make = CASES[name].make
    step_size = share * inspect.signature(make).parameters["h"].default
    kernel = make(step_size, domain=UNIT if name == "mirrored" else WIDE, estimator=slope)
    # Positions, not a law, as mean + L z may be rounded differently for few chains.
    start = beginning(name).sample(jax.random.key(2), NUM_CHAINS)[jnp.array(chains)]
    arguments = (jax.random.key(key), BOWL, kernel, start)
    return lambda: jl.sample(*arguments, num_steps=NUM_STEPS, observe=None, chains=chains)


@functools.cache
def crowd(name):
    """A run of all chains."""
    return prepared(name)()


def test_every_public_kernel_is_in_the_list():
    made = {
        name for name in jl.kernels.__all__ if inspect.isfunction(getattr(jl.kernels, name))
    } - {"gradient"}
    assert set(CASES) == made
    assert made <= set(jl.__all__)
    assert all(getattr(jl, name) is getattr(jl.kernels, name) for name in made)


@pytest.mark.parametrize("name", [name for name in CASES if name != "gradient_noise"])
def test_the_page_on_kernels_names_the_fields_of_the_state(name):
    page = (Path(__file__).parents[2] / "docs/pages/kernels.md").read_text()
    table = page.split("| fields of the state |")[1]
    rows = [line.split("|") for line in table.splitlines() if line.startswith("| `")]
    (holds,) = (holds for _, names, holds, _ in rows if f"`{name}`" in names)
    state = crowd(name).state.kernel
    fields = getattr(state, "_fields", None) or tuple(vars(state))
    assert set(fields) <= set(re.findall(r"`(\w+)`", holds))


@pytest.mark.parametrize("name", CASES)
def test_the_pages_tell_of_every_kernel(name):
    pages = (Path(__file__).parents[2] / "docs" / "pages").rglob("*.md")
    assert any(re.search(rf"`(jl\.)?{name}\b", page.read_text()) for page in pages)


@pytest.mark.parametrize("name", CASES)
def test_kernel_and_state_are_pytrees_that_come_back_as_they_were(name):
    kernel = CASES[name].make()
    state = crowd(name).state.kernel
    for tree in (kernel, state):
        leaves, structure = jax.tree.flatten(tree)
        again = jax.tree.unflatten(structure, leaves)
        assert type(again) is type(tree)
        assert jax.tree.structure(again) == structure
        assert all(a is b for a, b in zip(jax.tree.leaves(again), leaves, strict=True))
        paths = [jax.tree_util.keystr(path) for path, _ in jax.tree.leaves_with_path(tree)]
        assert len(set(paths)) == len(leaves)
    assert has_schedule(kernel) == (name in ("annealed", "predictor_corrector"))


@pytest.mark.parametrize("name", CASES)
def test_shapes_and_dtypes_come_out_as_they_went_in(name, dtype):
    kernel = resolve_schedules(CASES[name].make(), jnp.int32(0))
    state, info = check_step(kernel, BOWL, jax.ShapeDtypeStruct((2,), dtype))  # raises
    assert {leaf.dtype for leaf in jax.tree.leaves(state.position)} == {dtype}
    floating = [leaf.dtype for leaf in jax.tree.leaves(state) if leaf.dtype.kind == "f"]
    assert set(floating) == {dtype}
    assert (info.acceptance_rate is not None) == (CASES[name].law == "kept")


@pytest.mark.parametrize("name", CASES)
def test_a_chain_is_the_same_alone_and_among_many(name):
    """Up to rounding, which depends on the program: see docs/pages/streams.md. The noise is equal
    to the last bit, as tests/test_noise.py checks."""
    alone, among = prepared(name, [ONE])().state.kernel, crowd(name).state.kernel
    assert (among.position.shape, among.position.dtype) == ((NUM_CHAINS, 2), jnp.float32)
    assert np.isfinite(among.position).all()
    for one, all_of_them in zip(jax.tree.leaves(alone), jax.tree.leaves(among), strict=True):
        np.testing.assert_allclose(one[0], all_of_them[ONE], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", CASES)
def test_another_step_size_and_key_compile_nothing(name):
    before = crowd(name)
    again = prepared(name, key=1, share=0.9)
    with jl.verify.assert_no_recompilation():
        run = again()
    assert np.any(run.position != before.position)


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.law])
def test_the_law_after_some_steps_is_the_known_one(name):
    """At a false-alarm rate of 1e-6; with probability 0.99 a shift of 0.1 standard deviations is
    found, or a variance off by 12%."""
    case, start = CASES[name], beginning(name)
    kernel = case.make() if case.law == "affine" else jl.ula(0.1)
    law = start if case.law == "kept" else jl.exact.law(kernel, BOWL, start, NUM_STEPS)
    jl.verify.assert_law(crowd(name).position, law)


@pytest.mark.parametrize("name", CASES)
def test_what_a_kernel_says_of_itself_is_so(name):
    kernel, case = CASES[name].make(), CASES[name]
    traits = Traits.of(kernel)
    wants = [getattr(want, "want", want) for want in jax.tree.leaves(kernel.step_noise)]
    has_uniform = Want.UNIFORM in wants
    assert traits.by_value == (case.law == "kept" or name == "tempered")
    assert has_uniform >= traits.by_value
    assert not (case.law == "affine" and has_uniform)


@pytest.mark.parametrize("value", [0.0, -0.1, float("nan"), float("inf"), None, "0.1"])
@pytest.mark.parametrize("name", CASES)
def test_a_bad_step_size_is_refused_by_name(name, value):
    with pytest.raises((ValueError, TypeError), match=r"^step_size: expected"):
        CASES[name].make(value)
