"""Networks of each model library are energies: sampled as they are, and resumed after a kill."""

import signal
import subprocess
import sys
from pathlib import Path

import jax
import networks
import numpy as np
import pytest

from jlangevin._core import trees
from jlangevin.sampling import fingerprint

pytestmark = pytest.mark.slow

# A module of its own, as a model's name contains the module's.
CHILD = "import networks, sys; networks.run_until_killed(*sys.argv[1:])"


@pytest.fixture(params=networks.LIBRARIES)
def library(request):
    return request.param


def test_a_run_of_a_network_that_was_killed_is_gone_on_with(library, tmp_path):
    """Another process resumes it, with the same bits; called again, it only reads the result."""
    child = subprocess.run(
        [sys.executable, "-c", CHILD, library, tmp_path], cwd=Path(__file__).parent, check=False
    )
    assert child.returncode == -signal.SIGKILL
    energy = networks.LIBRARIES[library]()
    whole = networks.sample(energy)
    for _ in range(2):
        run = networks.sample(energy, checkpoint=tmp_path, every=10)
        np.testing.assert_array_equal(run.draws, whole.draws)


def test_a_network_is_described_alike_before_and_after_use(library):
    def described(energy):
        parted = trees.Parted.of(energy)
        structure = parted.structure
        return fingerprint.of_structure(structure), structure.key, len(parted.arrays)

    energy = networks.LIBRARIES[library]()
    before = described(energy)
    networks.sample(energy)
    assert described(energy) == before
    assert before[2] == 4  # the parameters are leaves


def test_a_network_that_is_trained_is_another_energy_and_compiles_nothing(library):
    energy = networks.LIBRARIES[library]()
    before = networks.sample(energy)
    keys = trees.Parted.of(energy).structure.key
    if library == "NNX":  # which is changed in place
        energy.inner.kernel[...] = 10 * energy.inner.kernel[...]
    else:
        energy = jax.tree.map(lambda leaf: 10 * leaf if trees.is_array(leaf) else leaf, energy)
    assert trees.Parted.of(energy).structure.key == keys
    after = networks.sample(energy)
    assert not np.array_equal(before.draws, after.draws)


def test_a_model_under_a_jit_of_its_own_library_is_the_same_energy():
    """Equinox's; `jax.jit` itself refuses models, see `test_bad_inputs.py`."""
    filter_jit = pytest.importorskip("equinox").filter_jit
    energy = networks.LIBRARIES["Equinox"]()
    run, whole = networks.sample(filter_jit(energy)), networks.sample(energy)
    np.testing.assert_array_equal(run.draws, whole.draws)
