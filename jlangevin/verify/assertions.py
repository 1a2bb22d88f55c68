"""Assertions about runs rather than laws: streams are independent, and nothing recompiles."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import scipy

from jlangevin._core import trees
from jlangevin._core.checks import check_count, check_key, check_probability
from jlangevin._core.trees import PyTree, pytree_dataclass
from jlangevin.distribution import Gaussian
from jlangevin.energies.base import Energy
from jlangevin.kernels.around import Around
from jlangevin.kernels.base import Info, Kernel, Noise, Position, check_kernel
from jlangevin.noise import Streams, at_step
from jlangevin.sampling import sample
from jlangevin.verify._statistics import Floats, fisher_test

__all__ = ["assert_no_recompilation", "assert_streams_independent"]


# Streams --------------------------------------------------------------------------------------


def assert_streams_independent(
    kernel: Kernel,
    energy: Energy,
    position: PyTree,
    *,
    key: jax.Array,
    num_steps: int = 8,
    num_chains: int = 4096,
    false_alarm: float = 1e-6,
) -> None:
    """Raise AssertionError if chains that begin at one point depend on each other.

    From `position`, under two keys:

    1. Chain i run alone has the noise of chain i among the others, bit for bit, and the same
       positions up to rounding.
    2. No two chains have the same noise or, once they have moved, the same path.
    3. Whether chains i and j end above the median (the other key's) is independent if i and j
       differ in one bit: Fisher's exact test over the n/2 such pairs, for every bit and coordinate.
    4. The ends under both keys have the same law, which noise common to all chains would break:
       the two-sample Kolmogorov-Smirnov test, exact for equal sizes (Gnedenko, Korolyuk 1951).

    The last two share `false_alarm` (Bonferroni). With the defaults, in two dimensions, they find
    with probability 0.99 a correlation of 0.3 in the pairs, or a shift of 0.3 standard deviations
    common to all chains.

    Args:
        kernel, energy: what is run.
        position: where all chains begin.
        key: a typed key, which is split into two.
        num_steps: at least 5, so that equal noise is not a coincidence.
        num_chains: n, at least 4.
        false_alarm: the largest probability with which independent chains fail.

    Raises:
        AssertionError: chains depend on each other, or on how many there are.
        DivergenceError: a chain diverged.
        ValueError: the kernel asks for no noise; other arguments as in `sample`.

    Example:
        >>> import jax, jax.numpy as jnp, jlangevin as jl
        >>> jl.verify.assert_streams_independent(
        ...     jl.mala(0.1), jl.energies.double_well(), jnp.zeros(1), key=jax.random.key(0))
    """
    check_key("key", key)
    check_kernel(kernel)
    false_alarm = check_probability("false_alarm", false_alarm)
    num_steps = check_count("num_steps", num_steps, minimum=5)
    num_chains = check_count("num_chains", num_chains, minimum=4)
    if not jax.tree.leaves(kernel.step_noise):
        raise ValueError("kernel: it asks for no noise, so its chains have no streams")
    position = trees.as_position("position", position)
    d = trees.size(position)
    start = Gaussian(position, jnp.zeros((d, d), trees.float_dtype(position)))

    def paths(key: jax.Array, **chosen: Any) -> tuple[Floats, Floats]:
        """Positions and noise, each (chain, step, element)."""
        draws = sample(
            jax.random.clone(key),
            energy,
            _Recorder(kernel),
            start,
            num_steps=num_steps,
            observe=lambda state: (state.position, state.noise),
            on_divergence="raise",
            **chosen,
        ).draws
        return _flat_paths(draws[0]), _flat_paths(draws[1])

    key, other = jax.random.split(key)
    x, z = paths(key, num_chains=num_chains)
    y, w = paths(other, num_chains=num_chains)
    for i in (0, num_chains // 2, num_chains - 1):
        alone, alone_z = paths(key, chains=[i])
        if not np.array_equal(alone_z[0], z[i]):
            raise AssertionError(f"chain {i} has other noise alone than among {num_chains} chains")
        rounding = np.sqrt(jnp.finfo(trees.float_dtype(position)).eps) * np.abs(x[i]).max()
        if not np.allclose(alone[0], x[i], rtol=0, atol=rounding):
            raise AssertionError(f"chain {i} goes elsewhere alone than among {num_chains} chains")
    _check_distinct("noise", z, w)
    # Where proposals are rejected a path may hold a float or two, which coincide by chance.
    moved = (np.any(np.diff(path, axis=1) != 0, axis=2).sum(axis=1) * d >= 4 for path in (x, y))
    _check_distinct("path", *(path[rows] for path, rows in zip((x, y), moved, strict=True)))
    _check_ends(x[:, -1], y[:, -1], false_alarm)


class _Recorded(NamedTuple):
    position: Any
    inner: Any
    noise: Any


@pytree_dataclass
class _Recorder(Around):
    """A kernel whose state also has the noise of its last step."""

    def init(self, energy: Energy, position: Position, noise: Noise) -> _Recorded:
        zero = Streams(jnp.uint32(0), jnp.uint32(0))
        like = jax.eval_shape(lambda: _key_words(at_step(zero, self.step_noise, position)))
        return _Recorded(position, self.kernel.init(energy, position, noise), trees.zeros(like))

    def step(self, energy: Energy, state: _Recorded, noise: Noise) -> tuple[_Recorded, Info]:
        inner, info = self.kernel.step(energy, state.inner, noise)
        return _Recorded(inner.position, inner, _key_words(noise)), info


def _key_words(drawn: PyTree) -> PyTree:
    """Noise, with keys replaced by their words."""

    def leaf_words(leaf: jax.Array) -> jax.Array:
        is_key = jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
        return jax.random.key_data(leaf) if is_key else leaf

    return jax.tree.map(leaf_words, drawn)


def _flat_paths(draws: PyTree) -> Floats:
    """Leaves (chain, step, …) as one array (chain, step, element)."""
    leaves = [np.asarray(leaf, np.float64) for leaf in jax.tree.leaves(draws)]
    return np.concatenate([leaf.reshape(*leaf.shape[:2], -1) for leaf in leaves], axis=2)


def _check_distinct(what: str, first: Floats, second: Floats) -> None:
    """Raise if two rows are equal, under one key or both."""
    rows = np.concatenate([first, second])
    same, counts = np.unique(rows.reshape(len(rows), -1), axis=0, return_counts=True)
    if len(same) < len(rows):
        raise AssertionError(
            f"{what}: of {len(rows)} chains under two keys, {int(counts[counts > 1].sum())} have "
            "the same one as another chain"
        )


def _check_ends(x: Floats, y: Floats, false_alarm: float) -> None:
    """Raise unless the rows of `x` (n, d) are independent, and have the same law as `y`."""
    n, d = x.shape
    above, index = x > np.median(y, axis=0), np.arange(n)
    found = [(_two_sample_test(x[:, k], y[:, k]), f"element {k} under both keys") for k in range(d)]
    for bit in range((n - 1).bit_length()):
        left = index[(index & 1 << bit == 0) & (index + (1 << bit) < n)]
        p_values = fisher_test(above[left], above[left + (1 << bit)])
        found += [
            (float(p_values[k]), f"element {k} of chains that differ in bit {bit}")
            for k in range(d)
        ]
    p, worst = min(found)
    if p * len(found) < false_alarm:
        raise AssertionError(
            f"the ends of chains depend on each other: p = {min(1.0, p * len(found)):.2g}, below "
            f"{false_alarm:.0e}; the worst of {len(found)} tests is {worst}"
        )


def _two_sample_test(x: Floats, y: Floats) -> float:
    """The p-value that n and n draws have the same law: 2 C(2n, n - k) / C(2n, n) bounds
    P(max |#{x ≤ t} - #{y ≤ t}| ≥ k), and ties make it smaller."""
    n, at = len(x), np.concatenate([x, y])
    counts = (np.searchsorted(np.sort(s), at, side="right") for s in (x, y))
    k = np.abs(np.subtract(*counts)).max()
    log_ratio = (
        2 * scipy.special.gammaln(n + 1)
        - scipy.special.gammaln(n - k + 1)
        - scipy.special.gammaln(n + k + 1)
    )
    return min(1.0, 2 * float(np.exp(log_ratio)))


# Compilation ----------------------------------------------------------------------------------

_COMPILE_EVENT = "/jax/core/compile/backend_compile_duration"


@contextlib.contextmanager
def assert_no_recompilation() -> Iterator[None]:
    """A context in which nothing may be compiled.

    Run once with the shapes that matter, then again with other values in this context. JAX
    reports what it compiles (`jax.monitoring`); programs of other threads count too. Small
    operations outside `jit` are also programs: make the arguments of both runs in the same way.
    `chex.assert_max_traces` counts the traces of one function instead.

    Raises:
        AssertionError: on leaving, with the names of what was compiled.
        RuntimeError: this JAX does not report compilations.

    Example:
        >>> import jax, jax.numpy as jnp, jlangevin as jl
        >>> def run_chains(seed, step_size):
        ...     return jl.sample(jax.random.key(seed), jl.energies.double_well(),
        ...                      jl.ula(step_size), jnp.zeros((3, 1)), num_steps=5)
        >>> run = run_chains(0, 0.1)
        >>> with jl.verify.assert_no_recompilation():
        ...     run = run_chains(1, 0.2)
    """
    compiled: list[str] = []

    def listen(event: str, duration_secs: float, **details: str | int) -> None:
        if event == _COMPILE_EVENT:
            compiled.append(str(details.get("fun_name", "a program")))

    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        jax.jit(lambda: 0)()  # a new function, which must be compiled
        if not compiled:
            raise RuntimeError(f"jax {jax.__version__} does not report the event {_COMPILE_EVENT}")
        compiled.clear()
        yield
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)
    if compiled:
        raise AssertionError(f"{len(compiled)} program(s) compiled: {', '.join(compiled)}")
