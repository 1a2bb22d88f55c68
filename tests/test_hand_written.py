"""The C program that throughput is compared with does the same work: its chains are ours."""

import hand_written
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jlangevin as jl


@pytest.mark.parametrize(
    ("name", "energy"),
    [
        ("linear", jl.energies.linear(jnp.array([0.8, 0.5]))),
        ("double well", jl.energies.double_well(dim=2)),
    ],
)
def test_its_chains_are_ours_up_to_rounding(name, energy):
    program = hand_written.ula(name, energy, 2, 1_100, 64, 1e-3)
    if program is None:
        pytest.skip("no C compiler")
    run = jl.sample(
        jax.random.key(0), energy, jl.ula(1e-3), jnp.zeros((1_100, 2)), num_steps=64, observe=None
    )
    np.testing.assert_allclose(program(), run.position, atol=2e-6)
    assert np.abs(run.position).max() > 0.5


def test_other_energies_are_not_in_c():
    assert hand_written.ula("Rosenbrock", None, 2, 8, 8, 1e-3) is None
