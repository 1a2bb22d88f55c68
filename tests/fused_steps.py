"""Steps of a fused kernel beside those of the usual program: `python fused_steps.py CASE …`.

XLA contracts a product and a sum into one rounding where it sees both, and a division of an array
by a number becomes a product with its reciprocal. It sees others in another program. Only a process
that was started without such instructions and changes, by `XLA_FLAGS`, shows whether the operations
and their order are the same. It prints how many numbers differ in each case, in JSON.
"""

import functools
import json
import sys

import jax
import jax.numpy as jnp
import numpy as np
from jax.interpreters import mlir

import jlangevin as jl
from jlangevin import energies
from jlangevin._core import vector_loops
from jlangevin._core.trees import Parted
from jlangevin.sampling import program
from jlangevin.sampling.counted import CountedSpec
from jlangevin.sampling.fused import FusedSpec
from jlangevin.sampling.layout import Layout
from jlangevin.sampling.start import Given
from jlangevin.sampling.state import Plan, Setup, StepRange

AS_WRITTEN = "--xla_cpu_max_isa=AVX --xla_disable_hlo_passes=algsimp"
CHAINS = 130  # more than a tile, and not a multiple of it
START = 0.5 * np.random.default_rng(0).normal(size=(CHAINS, 2)).astype(np.float32)
ENERGIES = {
    "linear": energies.linear([0.8, 0.5]),
    "double_well": energies.double_well(dim=2),
    "quadratic": energies.quadratic([[1.0, 0.5], [0.5, 2.0]], [0.3, -0.2]),
    "rosenbrock": energies.rosenbrock(),
    "funnel": energies.funnel(),
    "ring": energies.ring(),
    "gaussian_mixture": energies.gaussian_mixture(
        [[-1.0, 0.0], [1.0, 0.5]], [np.eye(2), [[0.5, 0.2], [0.2, 0.4]]], [0.3, 0.7]
    ),
}
KERNELS = {
    "ula": jl.ula(0.01),
    "leimkuhler_matthews": jl.leimkuhler_matthews(0.01),
    "underdamped": jl.underdamped(0.1, 1.0),
    "tamed_ula": jl.tamed_ula(0.01),
    "mala": jl.mala(0.05),
    "malt": jl.malt(0.1, 1.0, 2),
}


def clustered(centers, x):
    """Reads elements at indices from data, in a loop of known length."""

    def add(k, total):
        return total + jnp.sum((x[order[k]] - centers[k]) ** 2)

    order = jnp.array([1, 0, 1])
    near = jax.lax.fori_loop(0, 3, add, jnp.zeros((), x.dtype))
    return near + jnp.max(jnp.abs(x)) + jax.nn.logsumexp(x) + jnp.clip(x[0], -0.1, 0.1)


DENSE = jnp.array([[2.0, 0.5], [0.5, 1.0]])
FORMS = {
    "schedules": (
        ENERGIES["double_well"],
        jl.underdamped(0.1, 1.0, temperature=lambda step: 1 / (1 + step.astype(float))),
    ),
    "values of each chain": (
        jax.tree_util.Partial(
            lambda center, which, x: jnp.where(which, 1.0, 2.0) * jnp.sum((x - center) ** 2),
            jl.each(jnp.asarray(START)),
            jl.each(jnp.arange(CHAINS) % 2 == 0),
        ),
        jl.mala(jl.each(jnp.linspace(0.01, 0.1, CHAINS))),
    ),
    "a dense preconditioner": (ENERGIES["quadratic"], jl.mala(0.05, preconditioner=DENSE)),
    "a dense mass": (ENERGIES["ring"], jl.malt(0.1, 1.0, 2, mass=DENSE, integrator="BCSS2")),
    "UBU": (ENERGIES["ring"], jl.underdamped(0.1, 1.0, splitting="UBU")),
    "coordinatewise": (ENERGIES["funnel"], jl.tamed_ula(0.1, coordinatewise=True)),
    "only a gradient": (jl.scores.score(lambda x: -(x**3)), jl.ula(0.01)),
    "loops and indices": (jax.tree_util.Partial(clustered, jnp.arange(3.0)), jl.mala(0.05)),
}


def faulty(x):
    """NaN beyond a half."""
    return jnp.where(x[0] > 0.5, jnp.nan, 1.0) * jnp.sum(x**2)


FORMS |= {"diverging": (faulty, KERNELS["ula"]), "rejecting": (faulty, KERNELS["malt"])}


def begun(energy, kernel, start=START):
    setup = Setup.of(energy, kernel)
    streams = jnp.arange(len(start), dtype=jnp.uint32)
    given = Parted.of(Given(jnp.asarray(start)))
    state, _ = program.begin(jax.random.key(3), streams, given, setup, layout=Layout())
    return state, setup


@functools.partial(jax.jit, static_argnames=("how", "careful"))
def advance(state, setup, steps, how, careful):
    """One program for any steps; within it no compiler options are set."""
    return program.advance(state, setup, steps, how=how, layout=Layout(), careful=careful)


def advanced(state, setup, num_steps, how, careful=False):
    """What comes out of some steps, of which the first is not counted."""
    first = int(state.step)
    ends = np.int32(first + num_steps)
    steps = StepRange(np.int32(first + 1), ends, np.int32(num_steps - 1), np.int32(num_steps - 1))
    return advance(state, setup, steps, how, careful)


def fused(num_steps, parity=0, interpreted=True):
    return FusedSpec.of(Plan(num_steps, 0, 1, fused=interpreted and "interpret"), parity)


def differences(energy, kernel, start=START, careful=False):
    """How many numbers differ after four steps, the first of which is odd; where chains froze."""
    state, setup = begun(energy, kernel, start)
    usual = CountedSpec(1, 0)
    state = advanced(state, setup, 1, usual, careful).state
    wanted = advanced(state, setup, 4, usual, careful)
    found = advanced(state, setup, 4, fused(4, parity=1), careful)
    pairs = zip(jax.tree.leaves(found), jax.tree.leaves(wanted), strict=True)
    number = sum(int(np.sum(~((a == b) | ((a != a) & (b != b))))) for a, b in pairs)
    return number, np.asarray(wanted.state.tally.first_bad_step)


def case(name):
    """The number of differences in a case, such as "ring mala" or "careful diverging"."""
    careful, start = name.startswith("careful "), START
    name = name.removeprefix("careful ")
    if name.startswith("float64 "):
        jax.config.update("jax_enable_x64", True)
        name, start = name.removeprefix("float64 "), START.astype(np.float64)
    if name in FORMS:
        energy, kernel = FORMS[name]
    else:
        energy, kernel = ENERGIES[name.split()[0]], KERNELS[name.split()[1]]
    number, bad = differences(energy, kernel, start, careful)
    if name == "diverging" and careful:
        assert 0 < np.sum(bad > 0) < CHAINS
    return number


def without_layouts():
    """Say no layouts to XLA: the pass that is left out is the one that takes these marks away."""
    vector_loops._in_rows = vector_loops._same
    mlir.register_lowering(
        vector_loops._aligned, mlir.lower_fun(vector_loops._same), platform="cpu"
    )


if __name__ == "__main__":
    without_layouts()
    jax.config.update("jax_numpy_rank_promotion", "raise")
    jax.config.update("jax_numpy_dtype_promotion", "strict")
    print(json.dumps({name: case(name) for name in sys.argv[1:]}))
