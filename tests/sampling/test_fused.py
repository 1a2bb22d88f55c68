"""A fused kernel: the same chains, and a program that JAX can give a card.

Without a card it is interpreted, and lowered for one but not compiled. Equality to the last bit is
tested where the compiler leaves the operations as they are (`fused_steps`), and otherwise that to
rounding.
"""

import contextlib
import functools
import json
import os
import platform
import subprocess
import sys
from pathlib import Path

import fused_steps
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from fused_steps import CHAINS, ENERGIES, FORMS, KERNELS, START, begun, fused

import jlangevin as jl
from jlangevin import energies
from jlangevin.sampling import blocks, program
from jlangevin.sampling.layout import Layout
from jlangevin.sampling.state import Plan, StepRange

# JAX 0.12 says so wherever Triton is lowered for; see docs/pages/accelerators.md.
pytestmark = pytest.mark.filterwarnings("ignore:The Pallas Triton backend:DeprecationWarning")


def assert_same(one, other):
    jax.tree.map(np.testing.assert_array_equal, one, other)


FEW = [("double_well", "ula"), ("rosenbrock", "underdamped"), ("gaussian_mixture", "mala")]
# Each energy and each kernel; the other pairs by hand, `python tests/fused_steps.py "ring ula" …`.
MORE = [
    ("linear", "leimkuhler_matthews"),
    ("quadratic", "malt"),
    ("funnel", "tamed_ula"),
    ("ring", "mala"),
]
PAIRS = [*FEW, *(pytest.param(*pair, marks=pytest.mark.slow) for pair in MORE)]


# To the last bit ------------------------------------------------------------------------------

OTHERS = ["values of each chain"]
DENSE = ["a dense preconditioner", "a dense mass"]  # XLA leaves their products to another library
SLOW_ONES = [
    *(name for name in FORMS if name not in OTHERS + DENSE),
    "careful diverging",
    "careful rejecting",
    "careful ring malt",
    "float64 double_well mala",
    "float64 ring underdamped",
]


@functools.cache
def differences(slow):
    """How many numbers differ in each case, from one process for all."""
    names = [" ".join(pair) for pair in (MORE if slow else FEW)]
    environment = os.environ | {"XLA_FLAGS": fused_steps.AS_WRITTEN}
    script = Path(fused_steps.__file__)
    found = subprocess.run(
        [sys.executable, script, *names, *(SLOW_ONES if slow else OTHERS)],
        env=environment, capture_output=True, text=True, check=True, timeout=1_200,
    )  # fmt: skip
    return json.loads(found.stdout)


x86 = pytest.mark.skipif(
    platform.machine() != "x86_64", reason="only there can XLA be told to contract nothing"
)


@x86
@pytest.mark.parametrize(("energy", "kernel"), PAIRS)
def test_steps_are_those_of_the_other_programs_to_the_last_bit(energy, kernel):
    assert differences((energy, kernel) in MORE)[f"{energy} {kernel}"] == 0


@x86
@pytest.mark.parametrize(
    "name", OTHERS + [pytest.param(name, marks=pytest.mark.slow) for name in SLOW_ONES]
)
def test_so_are_those_of_other_energies_and_kernels_in_float64_and_careful(name):
    """Careful steps freeze chains where they were last finite."""
    assert differences(name in SLOW_ONES)[name] == 0


@pytest.mark.slow
@pytest.mark.parametrize("name", DENSE)
def test_with_dense_products_they_are_apart_by_rounding(name):
    energy, kernel = FORMS[name]
    options = {"num_steps": 5, "observe": None}
    runs = [
        jl.sample(jax.random.key(3), energy, kernel, START, fused=by, **options)
        for by in (None, "interpret")
    ]
    assert_alike(*runs)


# Runs -----------------------------------------------------------------------------------------

RUNS = {
    "burn-in": {"num_steps": 9, "burn_in": 4},
    "thinned": {"num_steps": 12, "thin": 3},
    "streams by number": {"num_steps": 5, "chains": np.arange(7, 7 + CHAINS) ** 2},
    "in blocks": {"num_steps": 21, "block_steps": 4},
    "no steps": {"num_steps": 0},
}


def sample(kernel, **options):
    key, energy = jax.random.key(3), ENERGIES["double_well"]
    return jl.sample(key, energy, KERNELS[kernel], START, **options, observe=None)


def assert_alike(found, wanted):
    def close(a, b):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)

    jax.tree.map(close, (found.position, found.info), (wanted.position, wanted.info))
    assert_same(found.info.rejections, wanted.info.rejections)
    assert_same(found.info.first_bad_step, wanted.info.first_bad_step)
    assert_same(found.state.tally[:2], wanted.state.tally[:2])
    assert_same((found.state.streams, found.state.step), (wanted.state.streams, wanted.state.step))
    assert found.draws is None


@pytest.mark.parametrize("name", RUNS)
def test_a_run_gives_what_it_gives_otherwise(name):
    assert_alike(sample("mala", fused="interpret", **RUNS[name]), sample("mala", **RUNS[name]))


@pytest.mark.slow
def test_a_run_can_be_resumed_by_it_from_an_odd_step_and_go_on_without():
    def run(fused):
        state = sample("mala", num_steps=5).state
        for num_steps, by in ((4, fused), (3, None)):
            options = {"num_steps": num_steps, "observe": None, "fused": by}
            run = jl.resume(state, ENERGIES["double_well"], KERNELS["mala"], **options)
            state = run.state
        return run

    assert_alike(run("interpret"), run(None))


@pytest.mark.slow
def test_chains_that_diverge_are_counted_and_frozen_as_otherwise():
    """Ten times as steep as ULA can take; chains that start at 0 do not move."""
    energy, start = (lambda x: jnp.sum(x**8)), np.full((CHAINS, 1), 3.0, np.float32)
    runs = []
    for by in (None, "interpret"):
        with pytest.warns(jl.DivergenceWarning, match="130 of 130 chains turned non-finite"):
            runs.append(
                jl.sample(
                    jax.random.key(0), energy, jl.ula(0.1), start,
                    num_steps=9, observe=None, fused=by,
                )
            )  # fmt: skip
    wanted, found = runs
    assert (np.asarray(wanted.info.first_bad_step) > 0).all()
    assert_same(found.info.first_bad_step, wanted.info.first_bad_step)
    np.testing.assert_allclose(found.position, wanted.position, rtol=1e-3)


@pytest.mark.slow
def test_any_number_of_steps_is_one_of_two_programs():
    for num_steps in (4, 5):
        sample("ula", num_steps=num_steps, fused="interpret")
    with jl.verify.assert_no_recompilation():
        for num_steps, burn_in in ((2, 0), (100, 0), (7, 4)):
            sample("ula", num_steps=num_steps, burn_in=burn_in, fused="interpret")


# For a card -----------------------------------------------------------------------------------


def like_a_card():
    """JAX 0.12 asks what card a kernel is for; earlier versions take one where there is none."""
    if jax.version.__version_info__ < (0, 11):
        return contextlib.nullcontext()
    device = jax.sharding.AbstractDevice("NVIDIA H100 80GB HBM3", None, "gpu")
    return jax.sharding.use_abstract_mesh(jax.sharding.AbstractMesh((), (), abstract_device=device))


def lowered(energy, kernel, start=START):
    """The program of a run that JAX gives XLA for CUDA, as text."""
    state, setup = begun(energy, kernel, start)
    options = {"how": fused(9, interpreted=False), "layout": Layout()}

    def advance(state, setup):
        return program.advance(state, setup, StepRange(*map(np.int32, (0, 9, 9, 9))), **options)

    with like_a_card():
        return jax.jit(advance).trace(state, setup).lower(lowering_platforms=("cuda",)).as_text()


@pytest.mark.parametrize(("energy", "kernel"), PAIRS)
def test_all_steps_are_one_kernel_of_tritons(energy, kernel):
    """Beside it there is no loop, in which the host or the card's memory would have a part."""
    text = lowered(ENERGIES[energy], KERNELS[kernel])
    assert text.count("@__gpu$xla.gpu.triton(") == 1
    assert "stablehlo.while" not in text
    assert "stablehlo.shift_left" not in text  # of the generator


@pytest.mark.parametrize(
    "name",
    [*OTHERS, *(pytest.param(n, marks=pytest.mark.slow) for n in FORMS if n not in OTHERS)],
)
def test_other_energies_and_kernels_lower_too(name):
    assert "@__gpu$xla.gpu.triton(" in lowered(*FORMS[name])


def test_ten_dimensions_lower():
    energy, start = energies.double_well(dim=10), np.zeros((CHAINS, 10), np.float32)
    assert "@__gpu$xla.gpu.triton(" in lowered(energy, KERNELS["mala"], start)


# Where it cannot be, or is not asked for --------------------------------------------------------

REFUSED = {
    "sort": (lambda x: jnp.sum(jnp.sort(x) ** 2 * jnp.arange(2.0)), "the operation sort"),
    "fft": (lambda x: jnp.sum(jnp.abs(jnp.fft.fft(x))), "the operation fft"),
    "index": (lambda x: x[(x[0] > 0).astype(int)] ** 2, "an index that depends on the chain"),
    "while": (
        lambda x: jnp.sum(x**2) + jax.lax.stop_gradient(
            jax.lax.while_loop(lambda y: y < x[0], lambda y: y + 1.0, 0.0)
        ),
        "a loop whose length depends on the chain",
    ),
    "large": (lambda x: jnp.sum((x[:, None] - jnp.ones((1, 5_000))) ** 2), "more than 8,000"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_an_energy_without_a_form_in_registers_is_refused_by_what_it_has(name):
    energy, why = REFUSED[name]
    options = {"num_steps": 4, "observe": None}
    with pytest.raises(ValueError, match=f"^fused: .* has {why}"):
        jl.sample(jax.random.key(0), energy, jl.ula(0.01), START, fused="interpret", **options)
    assert jl.sample(jax.random.key(0), energy, jl.ula(0.01), START, **options).draws is None


@pytest.mark.parametrize("energy", ["double_well", "sort"])
def test_left_to_itself_a_run_on_a_card_would_be_fused_where_it_can_be(monkeypatch, energy):
    """Behind a switch, which is off."""
    given = (ENERGIES | {"sort": REFUSED["sort"][0]})[energy]
    state, setup = begun(given, KERNELS["ula"])
    plan = Plan(4, 0, 1, fused=None)
    assert blocks._is_fused(state, setup, plan, Layout()) is False
    monkeypatch.setattr(blocks, "CHOSEN_BY_ITSELF", True)
    assert blocks._is_fused(state, setup, plan, Layout()) is False  # on the CPU
    monkeypatch.setattr(blocks, "is_accelerator", lambda device: True)
    monkeypatch.setattr(blocks, "refusal", lambda *given: None)
    assert blocks._is_fused(state, setup, plan, Layout()) is (energy == "double_well")


def test_other_runs_import_nothing_for_it():
    code = (
        "import sys, jax, jax.numpy as jnp, jlangevin as jl\n"
        "energy, kernel = jl.energies.double_well(), jl.ula(0.01)\n"
        "jl.sample(jax.random.key(0), energy, kernel, jnp.zeros((3, 1)), num_steps=3)\n"
        "assert 'jax.experimental.pallas' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=300)
