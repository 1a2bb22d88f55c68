"""Programs evaluate energies correctly, whatever XLA makes of reductions over many chains.

Where chains × dimension is above 32,768, XLA's own fusions for the CPU compute most of the energies
below wrongly (seen in jaxlib 0.10.2). A Metropolis step then accepts by a wrong energy. Each energy
is written once, for JAX and for NumPy; NumPy in float64 gives the right value.
"""

import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jlangevin as jl
from jlangevin._core import xla
from jlangevin._core.arithmetic import product
from jlangevin._core.compiling import compiled
from jlangevin.energies.traced import energy_values

NUM_CHAINS = 40_000


def orders(x):
    return np.arange(1, x.shape[-1] + 1, dtype=x.dtype)


def logarithms(x, xp=jnp):
    return -xp.sum(orders(x) * xp.log(x), axis=-1)


def exponentials(x, xp=jnp):
    return xp.sum(orders(x) * xp.exp(x), axis=-1)


def softplus(x, xp=jnp):
    return -xp.sum(orders(x) * xp.logaddexp(0 * x, x), axis=-1)


def gamma(x, xp=jnp):
    return logarithms(x, xp) + xp.sum(x**2, axis=-1)


def exponentials_and_squares(x, xp=jnp):
    return exponentials(x, xp) + xp.sum(x**2, axis=-1)


def squares_and_tilt(x, xp=jnp):
    return xp.sum(orders(x) * x**2, axis=-1) + xp.sum(x, axis=-1)


def tanh_and_squares(x, xp=jnp):
    return xp.sum(orders(x) * xp.tanh(x), axis=-1) - xp.sum(x**2, axis=-1)


def squares_times_tilt(x, xp=jnp):
    return xp.sum(x**2, axis=-1) * xp.sum(orders(x) * x, axis=-1)


def variance(x, xp=jnp):
    return xp.sum(orders(x) * x**2, axis=-1) - xp.sum(x, axis=-1) ** 2


def logarithm_of_a_sum(x, xp=jnp):
    return xp.log(exponentials(x, xp))


def root_of_a_sum(x, xp=jnp):
    return xp.sqrt(xp.sum(orders(x) * x, axis=-1))


def network(x, xp=jnp):
    weights = xp.stack([orders(x), orders(x)[::-1]]) / x.shape[-1]
    return xp.sum(xp.tanh(xp.sum(x[..., None, :] * weights, axis=-1)), axis=-1)


def squares_of_products(x, xp=jnp):
    """By a product of matrices, which XLA hands to the same library."""
    matrix = xp.stack([orders(x), orders(x)[::-1]]).T / x.shape[-1]
    return xp.sum((product if xp is jnp else np.dot)(x, matrix) ** 2, axis=-1)


SUMS = (
    logarithms,
    exponentials,
    softplus,
    gamma,
    exponentials_and_squares,
    squares_and_tilt,
    tanh_and_squares,
    squares_times_tilt,
    variance,
    logarithm_of_a_sum,
    root_of_a_sum,
    network,
    squares_of_products,
)
WRONG_IN_NINE = (gamma, exponentials_and_squares, squares_and_tilt)
FEW_COLUMNS = [(energy, (NUM_CHAINS, 3)) for energy in SUMS if energy not in WRONG_IN_NINE]
NINE_COLUMNS = [(energy, (5_000, 9)) for energy in WRONG_IN_NINE]


def in_numpy(energy, x):
    return energy(np.asarray(x, np.float64), np)


def starts(shape=(NUM_CHAINS, 3), dtype=np.float32):
    return np.random.default_rng(0).uniform(0.1, 1.0, shape).astype(dtype)


def final_energy(start, energy=logarithms):
    run = jl.sample(
        jax.random.key(0), energy, jl.mala(1e-4), start, num_steps=0, observe=None,
        on_divergence="ignore",
    )  # fmt: skip
    return run.state.kernel.energy


def left_to_itself_xla_is_wrong():
    found = jax.jit(jax.vmap(logarithms))(starts())
    return not np.allclose(found, in_numpy(logarithms, starts()), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(
    ("energy", "shape"), FEW_COLUMNS + NINE_COLUMNS, ids=lambda v: getattr(v, "__name__", str(v))
)
def test_the_energies_of_many_chains_are_those_of_numpy(energy, shape):
    start = starts(shape)
    found = final_energy(jnp.asarray(start), energy)
    np.testing.assert_allclose(found, in_numpy(energy, start), rtol=1e-5, atol=1e-5)


def assert_carried(energy, dtype):
    """After three steps; those of no steps are tested above."""
    run = jl.sample(
        jax.random.key(0), energy, jl.mala(1e-4), starts(dtype=dtype), num_steps=3, observe=None
    )
    carried = np.asarray(run.state.kernel.energy, np.float64)
    np.testing.assert_allclose(carried, in_numpy(energy, run.position), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("energy", [logarithms, exponentials, softplus])
def test_the_energies_that_chains_carry_are_those_of_their_positions(energy):
    assert_carried(energy, np.float32)


def assert_right_at_many_points(energy, dtype):
    x = starts(dtype=dtype)
    found = energy_values(energy, jnp.asarray(x))
    np.testing.assert_allclose(found, in_numpy(energy, x), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("energy", [logarithms, exponentials, softplus])
def test_the_energies_of_many_points_are_right(energy):
    assert_right_at_many_points(energy, np.float32)


def test_in_double_precision_they_are_too(x64):
    assert_carried(softplus, np.float64)
    assert_right_at_many_points(logarithms, np.float64)


def test_a_compiled_function_is_one_under_transformations_too():
    double = compiled(lambda x: 2 * x)
    assert double(1.0) == jax.jit(double)(1.0) == jax.vmap(double)(jnp.ones(1))[0] == 2.0
    assert jax.grad(double)(1.0) == 2.0


def test_static_arguments_are_static():
    power = compiled(lambda x, *, n: x**n, static_argnames=("n",))
    assert power(3.0, n=2) == 9.0


def test_the_energies_are_right_under_vmap():
    start = starts()

    def carried(key):
        run = jl.sample(
            key, logarithms, jl.mala(1e-4), jnp.asarray(start), num_steps=0, observe=None,
            on_divergence="ignore",
        )  # fmt: skip
        return run.state.kernel.energy

    found = jax.vmap(carried)(jax.random.split(jax.random.key(0), 1))[0]
    np.testing.assert_allclose(found, in_numpy(logarithms, start), rtol=1e-5, atol=1e-5)


FUSIONS = "xla_cpu_experimental_ynn_fusion_type"
PROGRAMS = [(jax.jit(final_energy), 1), (jax.grad(lambda x: final_energy(x).sum()), NUM_CHAINS)]


@pytest.mark.parametrize(("program", "num_chains"), PROGRAMS, ids=["jit", "grad"])
def test_of_a_program_of_the_callers_own_it_is_said_that_it_may_be_wrong(program, num_chains):
    """Whatever its size: the number of chains from which XLA is wrong depends on the energy."""
    if not left_to_itself_xla_is_wrong():
        pytest.skip("this jaxlib computes these energies rightly")
    with pytest.warns(jl.MiscompiledWarning, match=r"chains × dimension .*compiler_options"):
        program(jnp.full((num_chains, 3), 0.5))


def test_where_xla_is_right_nobody_is_warned(monkeypatch):
    monkeypatch.setattr(xla, "miscompiles", lambda: False)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        jax.jit(lambda start: final_energy(start))(jnp.full((1, 3), 0.5))


@pytest.mark.skipif(jax.default_backend() != "cpu", reason="an option for the CPU")
@pytest.mark.parametrize("wide", [True, False])
def test_vectors_are_wide_where_the_processor_gains_by_it(wide, monkeypatch):
    monkeypatch.setattr(xla, "has_wide_vectors", lambda: wide)
    found = xla.options.__wrapped__(quickly=False, large=False)
    assert found.get("xla_cpu_prefer_vector_width") == (512 if wide else None)
    # What is compiled quickly, for a single use, gains nothing.
    found = xla.options.__wrapped__(quickly=True, large=False)
    assert "xla_cpu_prefer_vector_width" not in found


@pytest.mark.skipif(jax.default_backend() != "cpu", reason="an option for the CPU")
def test_an_option_that_a_release_does_not_have_is_left_out(monkeypatch):
    monkeypatch.setattr(xla, "_jaxlib", lambda: "another")
    monkeypatch.setattr(xla, "_ON_ALL_CORES", {"xla_no_such_option": True})
    assert (
        xla.options.__wrapped__(quickly=True, large=True) == xla._QUICKLY | xla._WITHOUT_REDUCTIONS
    )


@pytest.mark.skipif(jax.default_backend() != "cpu", reason="reads programs for the CPU")
def test_loops_over_many_numbers_run_on_all_cores():
    """Some releases make a single call of a loop, which runs on one core."""
    assert xla.loops_on_one_core() == xla.probe_loop()

    @compiled
    def loop(x):
        return jax.lax.fori_loop(0, 9, lambda _, x: x + jnp.sin(x), x)

    many, few = (loop.lower(jnp.ones(n)).compile().as_text() for n in (2**20, 1000))
    assert "xla_cpu_small_call" not in many
    assert ("xla_cpu_small_call" in few) == xla.loops_on_one_core()


@pytest.mark.skipif(jax.default_backend() != "cpu", reason="reads a program for the CPU")
def test_products_are_compiled_as_xla_would_and_reductions_are_not():
    """Networks are up to 1.5 times slower without what XLA has for products."""

    def fusions(function, *args, **options):
        text = jax.jit(function, compiler_options=options).lower(*args).compile().as_text()
        return text.count('"__ynn_fusion"')

    x, w, ours = jnp.ones((1000, 64)), jnp.ones((64, 64)), xla.options(False, False)
    assert fusions(jnp.dot, x, w, **ours) == fusions(jnp.dot, x, w)
    assert fusions(jnp.sum, x, **ours) == 0
    if left_to_itself_xla_is_wrong():
        assert fusions(jnp.sum, x) > 0


def test_what_is_known_of_this_release_is_what_is_seen():
    """An unknown release is tested, at the cost of a program."""
    assert xla.miscompiles() == xla.probe() == left_to_itself_xla_is_wrong()


def test_the_advice_of_the_warning_is_right():
    options = {}
    if left_to_itself_xla_is_wrong():
        options = {"xla_cpu_experimental_ynn_fusion_type": "LIBRARY_FUSION_TYPE_INDIVIDUAL_DOT"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", jl.MiscompiledWarning)
        program = jax.jit(lambda start: final_energy(start, gamma), compiler_options=options)
        found = program(starts())
    np.testing.assert_allclose(found, in_numpy(gamma, starts()), rtol=1e-5, atol=1e-5)
