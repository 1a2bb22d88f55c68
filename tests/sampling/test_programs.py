"""What a run compiles: few programs, and none for another number of steps."""

import inspect
import itertools
import subprocess
import sys
import textwrap

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jlangevin as jl
from jlangevin.sampling import blocks
from jlangevin.sampling.fixed import FixedSpec
from jlangevin.sampling.paired import PairedSpec

ENERGY = jl.energies.double_well(dim=2)
START = np.random.default_rng(0).normal(size=(30, 2)).astype(np.float32)
KERNELS = {"ula": jl.ula(0.01), "mala": jl.mala(0.05), "malt": jl.malt(0.1, 1.0, 3)}


def sample(kernel=KERNELS["ula"], num_steps=60, **options):
    return jl.sample(jax.random.key(3), ENERGY, kernel, START, num_steps=num_steps, **options)


def assert_same(one, other):
    jax.tree.map(np.testing.assert_array_equal, one, other)


# Any number of steps ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "reducers"), [("ula", None), ("mala", jl.reducers.moments()), ("malt", None)]
)
def test_any_number_of_steps_is_one_program(name, reducers):
    options = {"observe": None, "reducers": reducers}
    first = sample(KERNELS[name], 3, **options)
    jl.resume(first.state, ENERGY, KERNELS[name], num_steps=3, **options)
    with jl.verify.assert_no_recompilation():
        for num_steps, burn_in in itertools.product((1, 2, 7, 100, 101, 12_345), (0, 1, 10)):
            run = sample(KERNELS[name], num_steps, burn_in=burn_in, **options)
            jl.resume(
                run.state, ENERGY, KERNELS[name], num_steps=num_steps, burn_in=burn_in, **options
            )


def test_blocks_and_checkpoints_compile_no_more(tmp_path):
    # Importing Orbax changes what JAX 0.12 keys its programs on, so all are compiled again once.
    pytest.importorskip("orbax.checkpoint")
    whole = sample(num_steps=101, observe=None)
    sample(num_steps=10, observe=None, checkpoint=tmp_path / "one", every=3)
    with jl.verify.assert_no_recompilation():
        cut = sample(num_steps=101, burn_in=0, observe=None, block_steps=13, progress=True)
        saved = sample(num_steps=101, observe=None, checkpoint=tmp_path / "two", every=17)
    assert_same(cut, whole)
    assert_same(saved, whole)


def test_programs_depend_on_nothing_but_the_number_of_kept_draws():
    sample(num_steps=20)
    with jl.verify.assert_no_recompilation():
        for burn_in in (0, 1, 10, 77):
            sample(num_steps=20, burn_in=burn_in)


@pytest.mark.parametrize("thin", [1, 2, 3])
def test_a_prefix_is_a_prefix_to_the_last_bit(thin):
    """Whatever the number of steps, and wherever it is in a block of noise."""
    whole = sample(num_steps=20 * thin, thin=thin, burn_in=5, reducers=jl.reducers.moments())
    for num_draws in (1, 7):
        part = sample(num_steps=num_draws * thin, thin=thin, burn_in=5)
        assert_same(part.draws, whole.draws[:, :num_draws])
        alone = sample(num_steps=5 + num_draws * thin, observe=None)
        assert_same(alone.position, part.position)
    np.testing.assert_allclose(whole.summary.mean, whole.draws.mean(1), rtol=1e-5, atol=1e-6)


def test_a_run_may_end_where_its_stream_does():
    first = sample(num_steps=2, observe=None)
    last = jl.noise.MAX_STEPS - 3
    state = first.state._replace(step=jnp.int32(last))
    run = jl.resume(state, ENERGY, KERNELS["ula"], num_steps=3)
    assert int(run.state.step) == jl.noise.MAX_STEPS
    again = jl.resume(state, ENERGY, KERNELS["ula"], num_steps=1).state
    assert_same(run.position, jl.resume(again, ENERGY, KERNELS["ula"], num_steps=2).position)


# The two forms ----------------------------------------------------------------------------------

FORMS = [
    ("mala", {"num_steps": 1}),
    ("ula", {"num_steps": 60, "thin": 3, "burn_in": 7}),
    ("malt", {"num_steps": 61, "observe": None}),
    ("mala", {"num_steps": 30, "burn_in": 1, "reducers": jl.reducers.moments(), "observe": None}),
    ("ula", {"num_steps": 9_000, "thin": 4_500, "reducers": jl.reducers.moments()}),
]


@pytest.mark.parametrize(("name", "options"), FORMS)
@pytest.mark.parametrize("form", [FixedSpec, PairedSpec])
def test_a_number_of_steps_that_is_compiled_in_gives_the_same_run(monkeypatch, form, name, options):
    """This is how a run compiles as a part of another program, and on accelerators."""
    counted = sample(KERNELS[name], **options)
    by = blocks._program_arguments

    def fixed(plan, state, work, layout):
        return by(plan, state, work, layout) | {"how": form(plan, int(state.step) % 2)}

    monkeypatch.setattr(blocks, "_program_arguments", fixed)
    found = sample(KERNELS[name], **options)
    for part in ("draws", "position", "info", "summary"):
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-4, atol=2e-5),
            getattr(found, part),
            getattr(counted, part),
        )


@pytest.mark.parametrize("observe", [jl.position, None])
@pytest.mark.parametrize("within", [jax.jit, lambda f: lambda: jax.lax.cond(True, f, f)])
def test_a_known_state_goes_on_inside_of_a_program(within, observe):
    """Nothing that the run is given is traced, and yet it is a part of another program."""
    kernel = KERNELS["ula"]
    state = sample(num_steps=7).state

    def go():
        return jl.resume(state, ENERGY, kernel, num_steps=9, observe=observe).position

    np.testing.assert_allclose(within(go)(), go(), rtol=1e-5, atol=1e-6)


COUNT = jl.reducers.custom(
    init=lambda state: jnp.int32(0),
    update=lambda sums, state, n: sums + 1,
    finish=lambda s, n: s,
)


@pytest.mark.parametrize("thin", [1, 7, 1_000])
def test_reducers_see_each_draw_once(thin):
    """Wherever blocks of noise end, and burn-in does."""
    for num_draws, burn_in in itertools.product((1, 10), (0, 1, 9_000)):
        run = sample(num_steps=thin * num_draws, thin=thin, burn_in=burn_in, reducers=COUNT)
        np.testing.assert_array_equal(run.summary, num_draws)
        assert_same(run.draws[:, -1], run.position)


def test_energies_can_be_looked_at_without_jit():
    with jax.disable_jit():
        drawn = jl.distribution.sample(jl.Gaussian(jnp.zeros(2), jnp.eye(2)), jax.random.key(0), 3)
    assert drawn.shape == (3, 2)


# Few programs -----------------------------------------------------------------------------------

CHILD = """
    import jax, jax.numpy as jnp, numpy as np
    import jlangevin as jl

    compiled = []

    def listen(event, duration, **details):
        if event == "/jax/core/compile/backend_compile_duration":
            compiled.append(details.get("fun_name"))

    key, energy = jax.random.key(0), jl.energies.double_well(dim=2)
    start = {start}
    kernel = {kernel}
    jax.block_until_ready((key, kernel))
    jax.monitoring.register_event_duration_secs_listener(listen)
    run = jl.sample(key, energy, kernel, start, num_steps=200, num_chains=5, {options})
    jax.block_until_ready(run)
    print(" ".join(compiled))
"""


@pytest.mark.parametrize(
    ("kernel", "start", "options"),
    [
        ("jl.ula(0.01)", "np.zeros((5, 2), np.float32)", ""),
        (
            "jl.mala(0.05)",
            "jl.Gaussian(jnp.zeros(2), jnp.eye(2))",
            "reducers=jl.reducers.moments()",
        ),
        ("jl.tempered(jl.malt(0.1, 1.0, 4), [1.0, 2.0])", "np.zeros((5, 2), np.float32)", ""),
    ],
)
def test_a_first_run_compiles_three_programs_at_most(kernel, start, options):
    """The third computes the reducers' results. No operation is compiled by itself."""
    code = textwrap.dedent(CHILD).format(kernel=kernel, start=start, options=options)
    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=300
    )
    programs = ["jit(begin)", "jit(advance)"] + ["jit(summarise)"] * bool(options)
    assert found.stdout.split() == programs


@pytest.mark.parametrize("outer", [lambda kernel: kernel, lambda kernel: jl.coupled(kernel, 3)])
def test_one_step_is_compiled_however_many_there_are(outer):
    """One leapfrog of a trajectory, and the step of one replica."""

    def gradients(kernel):
        calls = []

        def energy(x):
            calls.append(1)
            return jnp.sum(x**4)

        state = jax.eval_shape(lambda x: kernel.init(energy, x, None), jnp.ones(2))
        calls.clear()
        shapes = jl.noise.shapes(kernel.step_noise, jnp.ones(2))
        jax.eval_shape(lambda s, z: kernel.step(energy, s, z), state, shapes)
        return len(calls)

    assert gradients(jl.malt(0.1, 1.0, 2)) == gradients(jl.malt(0.1, 1.0, 9)) == 1
    ladders = [jl.tempered(jl.mala(0.1), list(range(1, n + 1))) for n in (2, 6)]
    assert gradients(ladders[0]) == gradients(ladders[1])


# Frames -----------------------------------------------------------------------------------------


def test_a_step_is_near_to_its_call():
    """So that an error inside of a kernel or an energy is read in one screen."""
    frames = []

    class Kernel:
        init_noise, step_noise = None, jl.noise.Want.NORMAL

        def init(self, energy, position, noise):
            return jl.kernels.ULA.init(jl.ula(0.01), energy, position, noise)

        def step(self, energy, state, noise):
            names = [frame.frame.f_globals["__name__"] for frame in inspect.stack()]
            frames.append(sum(name.startswith("jlangevin") for name in names))
            return jl.ula(0.01).step(energy, state, noise)

    jax.tree_util.register_pytree_node(Kernel, lambda _: ((), None), lambda *_: Kernel())
    sample(Kernel())
    assert frames[-1] <= 8
