"""The benchmarks' stand-ins for peers have the variances that were measured of the peers."""

import jax.numpy as jnp
import numpy as np
import pytest
import stand_ins

import jlangevin as jl


def variances(kernel):
    """On E(x) = x²/2, of x and, where there is one, v."""
    energy = jl.energies.quadratic(np.eye(1))
    found = jl.exact.stationary(kernel, energy, jnp.zeros(1), full=True)
    return np.diag(np.asarray(found.cov))[:2]


def kinetic(rule, h, friction):
    return stand_ins.Kinetic(rule, h, 1.0, friction)


MEASURED = {
    "TorchEBM heun": (stand_ins.Overdamped(stand_ins.heun, 0.5, 1.0), [1.64]),
    "TorchEBM backward": (stand_ins.Overdamped(stand_ins.backward_euler, 0.5, 1.0), [1.80]),
    "torchmd": (kinetic(stand_ins.between_kicks, 1.0, 0.01), [1.336, 1.005]),
    "posteriors sghmc": (kinetic(stand_ins.explicit_euler, 0.01, 1.0), [1 / 0.99]),
    "OpenMM Brownian": (kinetic(stand_ins.brownian, 0.1, 1.0), [1 / 0.95, 2 / 0.095]),
    "LAMMPS": (stand_ins.FixLangevin(0.5, 1.0, 0.8), [1 / (1 - 0.25 / 3.2), 1]),
    "ASE": (stand_ins.Expanded(1.0, 1e-3, 1.0), [10 / 9, 0.833]),
}


@pytest.mark.parametrize("name", MEASURED)
def test_a_stand_in_has_the_measured_variances(name):
    kernel, expected = MEASURED[name]
    np.testing.assert_allclose(variances(kernel)[: len(expected)], expected, rtol=2e-3)
