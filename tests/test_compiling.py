"""Programs that evaluate energies do so rightly, whatever XLA makes of reductions over many chains.

With more than 32,768 chains, XLA's own fusions for the CPU have been seen to compute the energy
below wrongly (jaxlib 0.10.2), in which case a Metropolis step accepts by a wrong energy.
"""

import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jlangevin as jl
from jlangevin.compiling import compiled, energy_values

NUM_CHAINS = 40_000
ORDERS = np.array([1.0, 2.0, 3.0], np.float32)


def logarithms(x):
    return -jnp.sum(ORDERS.astype(x.dtype) * jnp.log(x))


def exponentials(x):
    return jnp.sum(ORDERS.astype(x.dtype) * jnp.exp(x))


def softplus(x):
    return -jnp.sum(ORDERS.astype(x.dtype) * jax.nn.softplus(x))


def in_numpy(energy, x):
    x, orders = np.asarray(x, np.float64), np.asarray(ORDERS, np.float64)
    return {
        logarithms: lambda: -np.log(x) @ orders,
        exponentials: lambda: np.exp(x) @ orders,
        softplus: lambda: -np.log1p(np.exp(x)) @ orders,
    }[energy]()


@pytest.mark.parametrize("num_steps", [0, 3])
@pytest.mark.parametrize("energy", [logarithms, exponentials, softplus])
def test_the_energies_that_chains_carry_are_those_of_their_positions(energy, num_steps, dtype):
    start = np.random.default_rng(0).uniform(0.1, 1.0, (NUM_CHAINS, 3)).astype(dtype)
    kernel = jl.mala(1e-4)
    run = jl.sample(
        jax.random.key(0), energy, kernel, jnp.asarray(start), num_steps=num_steps, observe=None
    )
    carried = np.asarray(run.state.kernel.energy, np.float64)
    np.testing.assert_allclose(carried, in_numpy(energy, run.position), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("energy", [logarithms, exponentials, softplus])
def test_the_energies_of_many_points_are_right(energy, dtype):
    x = np.random.default_rng(0).uniform(0.1, 1.0, (NUM_CHAINS, 3)).astype(dtype)
    found = energy_values(energy, jnp.asarray(x))
    np.testing.assert_allclose(found, in_numpy(energy, x), rtol=1e-5, atol=1e-5)


def test_a_compiled_function_is_one_under_transformations_too():
    double = compiled(lambda x: 2 * x)
    assert double(1.0) == jax.jit(double)(1.0) == jax.vmap(double)(jnp.ones(1))[0] == 2.0
    assert jax.grad(double)(1.0) == 2.0


def test_static_arguments_are_static():
    power = compiled(lambda x, *, n: x**n, static_argnames=("n",))
    assert power(3.0, n=2) == 9.0


def test_the_energies_are_right_under_vmap():
    start = np.random.default_rng(0).uniform(0.1, 1.0, (NUM_CHAINS, 3)).astype(np.float32)

    def carried(key):
        run = jl.sample(
            key, logarithms, jl.mala(1e-4), jnp.asarray(start), num_steps=0, observe=None,
            on_divergence="ignore",
        )  # fmt: skip
        return run.state.kernel.energy

    found = jax.vmap(carried)(jax.random.split(jax.random.key(0), 1))[0]
    np.testing.assert_allclose(found, in_numpy(logarithms, start), rtol=1e-5, atol=1e-5)


def final_energy(start):
    run = jl.sample(
        jax.random.key(0), logarithms, jl.mala(1e-4), start, num_steps=0, observe=None,
        on_divergence="ignore",
    )  # fmt: skip
    return run.state.kernel.energy


def left_to_itself_xla_is_wrong():
    start = np.random.default_rng(0).uniform(0.1, 1.0, (NUM_CHAINS, 3)).astype(np.float32)
    found = jax.jit(jax.vmap(logarithms))(start)
    return not np.allclose(found, in_numpy(logarithms, start), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(
    "program",
    [jax.jit(final_energy), jax.grad(lambda start: final_energy(start).sum())],
    ids=["jit", "grad"],
)
def test_a_program_of_the_callers_own_that_may_be_wrong_is_warned_of(program):
    if not left_to_itself_xla_is_wrong():
        pytest.skip("this jaxlib computes these energies rightly")
    with pytest.warns(jl.MiscompiledWarning, match="compiler_options"):
        program(jnp.full((NUM_CHAINS, 3), 0.5))


def test_of_few_chains_nobody_is_warned():
    jax.jit(final_energy)(jnp.full((100, 3), 0.5))


def test_the_advice_of_the_warning_is_right():
    start = np.random.default_rng(0).uniform(0.1, 1.0, (NUM_CHAINS, 3)).astype(np.float32)
    options = {}
    if left_to_itself_xla_is_wrong():
        options = {"xla_cpu_experimental_ynn_fusion_type": ""}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", jl.MiscompiledWarning)
        found = jax.jit(final_energy, compiler_options=options)(start)
    np.testing.assert_allclose(found, in_numpy(logarithms, start), rtol=1e-5, atol=1e-5)
