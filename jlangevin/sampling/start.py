"""Where the chains start: positions that are drawn from a law, or given."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from numpy.typing import NDArray

from jlangevin import noise
from jlangevin._core import trees
from jlangevin._core.checks import check_count, check_made, check_tree
from jlangevin._core.trees import Numbers, PyTree, pytree_dataclass
from jlangevin.distribution import Drawable, check_drawable, starts
from jlangevin.sampling.run import Run
from jlangevin.sampling.state import SamplerState

P = TypeVar("P")

__all__ = ["Drawn", "Given", "as_start", "as_streams"]


@pytree_dataclass
class Drawn:
    """A law from which each chain draws its position, by its own stream."""

    law: Drawable
    chained = False  # whether its leaves have a chain axis

    @property
    def positions(self) -> None:
        """None, as they are not drawn yet."""
        return None

    def template(self) -> PyTree:
        """The shapes and dtypes of one position or of many."""
        return self.law.template()

    def of(self, streams: noise.Streams) -> PyTree:
        """The positions, chains last."""
        return starts(self.law, streams)

    def note_on_errors(self) -> contextlib.AbstractContextManager[None]:
        return _noting(lambda: "")


@pytree_dataclass
class Given:
    """The chains' positions, chains first."""

    positions: PyTree
    chained = True

    def template(self) -> PyTree:
        return self.positions

    def of(self, streams: noise.Streams) -> PyTree:
        return trees.chains_last(self.positions)

    def note_on_errors(self) -> contextlib.AbstractContextManager[None]:
        """Errors inside say how `init` was read, as a single position may have been meant."""
        return _noting(self._how_read)

    def _how_read(self) -> str:
        leaves = jax.tree.leaves(self.positions)
        single = isinstance(self.positions, jax.Array)
        instead = "x[None]" if single else "jax.tree.map(lambda leaf: leaf[None], x)"
        return (
            f"init is {trees.shown(self.positions)}; its first axis counts chains, so there are "
            f"{len(leaves[0])}, each at a position {trees.shown(trees.one_chain(self.positions))}; "
            f"for one chain at x pass {instead}"
        )


def as_start(
    init: Drawable | PyTree, num_chains: int | None, chains: NDArray[np.integer] | jax.Array | None
) -> tuple[int, Drawn | Given]:
    """The number of chains, and where they start."""
    count = None
    check_made("init", init)
    is_law = isinstance(init, Drawable)
    if is_law:
        check_drawable("init", init)
    else:
        init = _check_positions(init)
        counts = {leaf.shape[0] for leaf in jax.tree.leaves(init)}
        if len(counts) != 1:
            lengths = ", ".join(
                f"{n} has {x.shape[0]}" for n, x in trees.named_leaves("init", init)
            )
            raise ValueError(
                f"init: leaves differ in the number of chains, their first axis: {lengths}"
            )
        (count,) = counts
        if count == 0:
            raise ValueError("init: no positions were given (a chain axis of length 0)")
    if chains is not None:
        if num_chains is not None:
            raise ValueError("num_chains and chains: pass only one of them")
        name, wanted = "chains", chains.shape[0]
        init = _nan_unless_streams(chains, init)
    else:
        if num_chains is None and count is None:
            raise ValueError("num_chains: pass a number of chains, as a law for init does not say")
        wanted = check_count("num_chains", count if num_chains is None else num_chains, minimum=1)
        if wanted > noise.MAX_CHAINS:
            raise ValueError(f"num_chains: a key has {noise.MAX_CHAINS} streams, got {wanted}")
        name = "num_chains"
    if count not in (None, wanted):
        raise ValueError(
            f"{name}: {wanted} chains were asked for, but init has {count} positions; "
            "for many chains from one point x, start from Gaussian(x, zeros)"
        )
    return wanted, Drawn(init) if is_law else Given(init)


def _check_positions(init: PyTree) -> PyTree:
    """`init`, if it is not a law, as floating arrays with a leading chain axis."""
    if isinstance(init, Run):
        raise TypeError(
            "init: got a Run; pass run.position to start new chains there, or continue with "
            "resume(run.state, …)"
        )
    ours = type(init).__module__.startswith("jlangevin.")
    if isinstance(init, SamplerState) or (ours and hasattr(init, "position")):
        raise TypeError(
            f"init: got a {type(init).__name__}, a state; pass the positions in it, run.position"
        )
    check_tree("init", init)
    init = trees.as_position("init", init)
    leaves = trees.named_leaves("init", init)
    if not leaves:
        raise ValueError("init: no positions were given (a pytree without leaves)")
    for name, leaf in leaves:
        if isinstance(leaf, jax.ShapeDtypeStruct):
            raise TypeError(f"{name}: expected positions, got only shapes, {trees.shown(leaf)}")
        if not jnp.issubdtype(leaf.dtype, jnp.floating):
            raise TypeError(f"{name}: expected floating positions, got dtype {leaf.dtype}")
        if leaf.ndim == 0:
            raise ValueError(
                f"{name}: expected a leading chain axis, but init is {trees.shown(init)}; for "
                "one chain at x pass jax.tree.map(lambda leaf: jnp.asarray(leaf)[None], x), and "
                "instead of positions in tuples an array, jnp.array(x)"
            )
    return init


def as_streams(chains: Numbers) -> NDArray[np.integer] | jax.Array:
    """The numbers of the streams that are asked for; they are checked unless they are traced."""
    values: Any = np.asarray(chains) if trees.is_concrete(chains) else chains
    integers = jnp.issubdtype(values.dtype, jnp.integer)
    if values.ndim != 1 or values.size == 0 or not integers:
        raise ValueError(f"chains: expected a non-empty list of integers, got {chains!r}")
    if not trees.is_concrete(values):  # see `_nan_unless_streams`
        return jnp.asarray(values)
    numbers = noise.as_stream_numbers(values)
    found, counts = np.unique(numbers, return_counts=True)
    if found.size != numbers.size:
        raise ValueError(
            f"chains: stream {found[counts > 1][0]} is named twice, which would give the same "
            "chain twice; name each once"
        )
    return numbers


def _nan_unless_streams(chains: NDArray[np.integer] | jax.Array, init: P) -> P:
    """`init`, but NaN if traced `chains` are not distinct or not numbers of streams."""
    if trees.is_concrete(chains):
        return init
    ids = jnp.sort(jnp.asarray(chains))
    fine = (ids[0] >= 0) & jnp.all(ids[1:] != ids[:-1])
    if jnp.iinfo(ids.dtype).max >= 2**32:
        fine &= ids[-1] < 2**32

    def keep(leaf: ArrayLike) -> ArrayLike:
        if not jnp.issubdtype(jnp.result_type(leaf), jnp.floating):
            return leaf
        return jnp.where(fine, leaf, jnp.nan)

    return jax.tree.map(keep, init)


@contextlib.contextmanager
def _noting(note: Callable[[], str]) -> Iterator[None]:
    """Add `note()` to errors inside, and a hint if a function kept a value of an earlier call."""
    try:
        yield
    except Exception as error:
        if words := note():
            error.add_note(f"jlangevin: {words}")
        if isinstance(error, jax.errors.UnexpectedTracerError):
            error.add_note(
                "jlangevin: the energy or the kernel has kept a value of an earlier call; let it "
                "depend only on its arguments"
            )
        raise
