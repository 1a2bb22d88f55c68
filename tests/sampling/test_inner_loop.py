"""The shape of the compiled inner loop, which its speed rests on (docs/pages/inner_loop.md).

No test times anything. These read the program that XLA makes for the CPU.
"""

import math
import re

import jax
import jax.numpy as jnp
import pytest

import jlangevin as jl
from jlangevin._core.trees import Parted
from jlangevin.sampling import blocks, program
from jlangevin.sampling.layout import Layout
from jlangevin.sampling.start import Given
from jlangevin.sampling.state import Plan, Setup

ENERGIES = {
    "linear": jl.energies.linear([0.8, 0.5]),
    "double well": jl.energies.double_well(dim=2),
    "rosenbrock": jl.energies.rosenbrock(),
    "quadratic": jl.energies.quadratic([[1.0, 0.5], [0.5, 2.0]]),
}

pytestmark = pytest.mark.skipif(
    jax.default_backend() != "cpu", reason="reads the program that XLA makes for the CPU"
)


def compiled(energy, num_chains, num_steps, observe=None, kernel=jl.ula(0.01)):  # noqa: B008
    """The optimised program of `num_steps` steps, as text."""
    work, layout = Setup.of(energy, kernel, None, observe), Layout()
    start = Parted.of(Given(jnp.zeros((num_chains, 2))))
    streams = jnp.arange(num_chains, dtype=jnp.uint32)
    state, _ = program.begin(jax.random.key(0), streams, start, work, layout=layout)
    how = blocks._program_arguments(Plan(num_steps, 0, 1), state, work, layout)
    return program.advance.lower(state, work, **how).compile().as_text()


@pytest.mark.parametrize("num_chains", [1, 10_000])
@pytest.mark.parametrize("name", ENERGIES)
def test_the_generator_is_written_out_and_evaluated_once_a_pair(name, num_chains):
    """Threefry has 20 rounds with an exclusive or each, and 2 more for the key. JAX's primitive
    would be a loop over five of groups of four; a second copy, which XLA makes when it fuses the
    generator into two consumers, would have as many again."""
    text = compiled(ENERGIES[name], num_chains, num_steps=2048 * 4)
    assert 20 <= text.count(" xor(") <= 24


@pytest.mark.parametrize("name", ENERGIES)
def test_generator_transform_and_steps_are_loops_of_their_own(name):
    """Blocks; within one, the transform that runs apart from the generator, and the steps."""
    text = compiled(ENERGIES[name], num_chains=10_000, num_steps=2048 * 4)
    assert text.count(" while(") == 3


def test_nothing_is_kept_that_was_not_asked_for():
    """With `observe=None` no array of the program grows with the number of steps."""
    few, many = (compiled(ENERGIES["linear"], 1_000, 2048 * n) for n in (4, 4096))
    assert shapes(few) == shapes(many)


BOX = jl.domains.box(-5.0, 5.0)
KERNELS = {
    "mala": jl.mala(0.01),
    "malt": jl.malt(0.1, 1.0, 3),
    "malt, BCSS2": jl.malt(0.1, 1.0, 3, integrator="BCSS2"),
    "quicsort": jl.quicsort(0.1, 1.0),
    "UBU": jl.underdamped(0.1, 1.0, splitting="UBU"),
    "tempered": jl.tempered(jl.mala(0.01), [1.0, 2.0, 4.0]),
    "microcanonical": jl.microcanonical(0.1, 1.0),
    "mirrored": jl.mirrored(jl.mala(0.01), BOX),
    "reflected": jl.reflected(0.01, BOX),
    "reflected_mala": jl.reflected_mala(0.01, BOX),
    "coupled": jl.coupled(jl.ula(0.01), 10),
    "barker": jl.barker(0.01),
}


@pytest.mark.parametrize("name", KERNELS)
def test_in_every_loop_the_chains_are_last(name):
    """Also in one inside of a step. Users see them first, which only the entry makes so. What
    counts is the last axis in memory: `vmap` puts the chains first where a step or an energy
    combines an array with one that all chains share, or with a number for each of them."""
    text = compiled(ENERGIES["rosenbrock"], 10_000, num_steps=8, kernel=KERNELS[name])
    loops = text[: text.index("\nENTRY ")]
    assert "f32[2,10000]" in loops
    if name == "coupled" and "ynn_fusion" in loops:
        pytest.skip("jaxlib 0.12 has the reflection's sums done by a library, elements last")
    wrong = r"f32\[(?:10000,2\]\{1,0|2,10000\]\{0,1)"
    assert not re.findall(rf" = [^=]*{wrong}[^=]* (?:fusion|while)\(", loops)


# On accelerators ------------------------------------------------------------------------------


def largest_array(text):
    """The greatest number of elements of any array in a program, before XLA optimises it."""
    found = re.findall(r"tensor<((?:\d+x)+)(?:f32|ui32|complex<f32>)>", text)
    return max(math.prod(map(int, shape.strip("x").split("x"))) for shape in found)


@pytest.mark.parametrize("thin", [1, 3, 4])
@pytest.mark.parametrize("kernel", [jl.ula(0.01), *KERNELS.values()], ids=["ula", *KERNELS])
def test_on_a_card_no_block_of_noise_is_an_array(monkeypatch, kernel, thin):
    """It would go through the card's memory. The program is the one that JAX would give CUDA."""
    monkeypatch.setattr(blocks, "has_accelerators", lambda: True)

    def position(key, x):
        options = {"num_steps": 240, "thin": thin, "observe": None, "on_divergence": "ignore"}
        return jl.sample(key, jl.energies.double_well(dim=2), kernel, x, **options).position

    traced = jax.jit(position).trace(jax.random.key(0), jnp.zeros((1_000, 2)))
    state = largest_array(traced.lower(lowering_platforms=("cuda",)).as_text())
    numbers = jl.noise.count(kernel.step_noise, jnp.zeros(2))
    assert state <= 2 * max(numbers, 2) * 1_000
    assert largest_array(traced.lower(lowering_platforms=("cpu",)).as_text()) > 2 * state


def test_a_program_for_both_runs_on_the_cpu(monkeypatch):
    def position(x):
        energy, options = jl.energies.double_well(dim=2), {"num_steps": 5, "observe": None}
        return jl.sample(jax.random.key(0), energy, jl.mala(0.1), x, **options).position

    x = jnp.linspace(-1.0, 1.0, 128).reshape(64, 2)
    alone = position(x)
    monkeypatch.setattr(blocks, "has_accelerators", lambda: True)
    assert jnp.allclose(jax.jit(position)(x), alone, atol=1e-5)
    assert jnp.isfinite(jax.grad(lambda x: position(x).sum())(x)).all()


@pytest.mark.parametrize("name", ["barker", "mirrored", "microcanonical"])
def test_what_is_dear_in_a_sum_over_elements_is_not_computed_in_it(name):
    """Such a sum is no vector loop. Barker's proposals and the slopes of a mirror have logarithms
    in theirs, and what a microcanonical velocity turns by is made of sums."""
    text = compiled(ENERGIES["double well"], 10_000, num_steps=8, kernel=KERNELS[name])
    dear = r" (?:exponential|log|log-plus-one|logistic|tanh|erf)\("
    computations = text.split("\n}\n")
    assert any(re.search(dear, each) for each in computations)
    assert not any(re.search(dear, each) for each in computations if " reduce(" in each)


@pytest.mark.parametrize(
    ("preconditioner", "rows"),
    [
        (jnp.array([[2.0, 0.5], [0.5, 1.0]]), {2}),
        (jl.kernels.LowRank(jnp.ones(2), jnp.array([[0.6], [0.8]]), jnp.array([2.0])), {1}),
    ],
    ids=["dense", "low rank"],
)
def test_a_preconditioner_is_a_few_products_for_all_chains(preconditioner, rows):
    """Of d rows by all chains, or as many as its rank; the way back from these is written out."""
    kernel = jl.mala(0.01, preconditioner=preconditioner)
    text = compiled(ENERGIES["double well"], 10_000, num_steps=8, kernel=kernel)
    products = re.findall(r" = f32\[([\d,]+)\]\S* dot\(", text)
    assert 1 <= len(products) <= 5
    assert {tuple(map(int, shape.split(","))) for shape in products} == {(n, 10_000) for n in rows}
    assert "batch_dims" not in text


def shapes(text):
    """The shapes of all arrays in the program."""
    return set(re.findall(r"\b(?:f32|u32|s32|c64)\[[\d,]*\]", text))
