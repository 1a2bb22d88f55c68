"""Verification must reject each slip in a kernel, against the right kernel's law.

The slips stand in `benchmarks/mutants.py`. Most are the kernel written out with one thing changed;
unchanged it is accepted. Those of a family are one program. There are 20,000 chains, as in
`test_mutants`.
"""

import jax
import jax.numpy as jnp
import mutants
import pytest
from one_of import OneKernel, numbered

import jlangevin as jl

pytestmark = pytest.mark.slow

NUM_CHAINS = 20_000
FAMILIES = {
    "underdamped": mutants.UNDERDAMPED,
    "UBU": mutants.UBU,
    "quicsort": mutants.QUICSORT,
    "leimkuhler_matthews": mutants.LEIMKUHLER_MATTHEWS,
    "tamed_ula": mutants.TAMED,
}
UNCHANGED = {
    "underdamped": mutants.changed(),
    "UBU": mutants.flying(),
    "quicsort": mutants.shifted(),
    "leimkuhler_matthews": mutants.halves(mutants.mean),
    "tamed_ula": mutants.tamed(lambda g: mutants.ETA * jnp.linalg.norm(g)),
}


def written_out(family):
    """The kernel written out, unchanged and with each of its changes."""
    rules = FAMILIES[family].mutants.items()
    changed = {name: rule for name, rule in rules if isinstance(rule, mutants.Rule)}
    return numbered(OneKernel, {"unchanged": UNCHANGED[family]} | changed)


def rejected(kernel, family, num_steps=mutants.NUM_STEPS):
    energy, start = family.energy(), mutants.start()
    run = jl.sample(
        jax.random.key(0),
        energy,
        kernel,
        start,
        num_steps=num_steps,
        num_chains=NUM_CHAINS,
        observe=None,
    )
    law = jl.exact.law(family.right, energy, start, num_steps)
    return not jl.verify.compare(run.position, law).passed


@pytest.mark.parametrize("family", FAMILIES)
def test_the_right_kernel_is_accepted(family):
    assert not rejected(FAMILIES[family].right, FAMILIES[family])
    assert not rejected(written_out(family)["unchanged"], FAMILIES[family])


@pytest.mark.parametrize(
    ("family", "name"), [(f, name) for f, family in FAMILIES.items() for name in family.mutants]
)
def test_a_wrong_kernel_is_rejected(family, name):
    kernel = written_out(family).get(name, FAMILIES[family].mutants[name])
    assert rejected(kernel, FAMILIES[family], mutants.steps_to_see(name))
