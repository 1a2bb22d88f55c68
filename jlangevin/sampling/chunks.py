"""More chains than fit into memory at once, run in chunks, one after the other."""

from __future__ import annotations

import contextlib
import math
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding

from jlangevin._core import xla
from jlangevin._core.checks import check_count, check_key, check_known
from jlangevin._core.each import check_rows, rows_of
from jlangevin._core.trees import Numbers, Parted, PyTree
from jlangevin._core.warn import warn
from jlangevin.distribution import Drawable
from jlangevin.energies.base import Energy
from jlangevin.errors import InterruptedWarning, MiscompiledWarning
from jlangevin.kernels.base import Kernel
from jlangevin.reducers.merge import check_can_merge
from jlangevin.reducers.pytree import (
    check_groups,
    check_reducers,
    groups_of,
    is_reducer,
)
from jlangevin.sampling.arguments import OnDivergence, as_block_options
from jlangevin.sampling.chunk_results import Chunked, Left, check_alike, left_by, put_together
from jlangevin.sampling.driver import sample
from jlangevin.sampling.progress import Progress
from jlangevin.sampling.run import Run
from jlangevin.sampling.start import as_start, as_streams

if TYPE_CHECKING:
    from jlangevin.sampling.checkpoint import Store

T = TypeVar("T")

__all__ = ["sample_in_chunks"]


def sample_in_chunks(
    key: jax.Array,
    energy: Energy,
    kernel: Kernel,
    init: Drawable | PyTree,
    *,
    chunk_size: int,
    num_steps: int,
    num_chains: int | None = None,
    chains: Numbers | None = None,
    burn_in: int = 0,
    thin: int = 1,
    observe: Callable[[PyTree], PyTree] | None = None,
    reducers: PyTree = None,
    keep: Callable[[Run], PyTree] | None = None,
    visit: Callable[[Run], None] | None = None,
    sharding: Mesh | NamedSharding | None = None,
    on_divergence: OnDivergence = "report",
    progress: bool | Literal["always"] = False,
    checkpoint: str | PathLike[str] | None = None,
    every: int | None = None,
) -> Chunked:
    """`sample` for chains that do not fit into memory at once: `chunk_size` of them at a time.

    Each chain is the one that `sample` would run under the same key. Only what a chunk's reducers
    gathered and what `keep` returned stays, so memory does not grow with the number of chains if
    all reducers are pooled and nothing is kept. Pooled results are merged in float64, see
    `reducers.merge`. Chunks of the same size share their programs; the last may be smaller.

    Args:
        key, energy, kernel, init, num_steps, num_chains, chains, burn_in, thin, reducers, sharding,
            on_divergence: as in `sample`. Positions in `init` may lie on the host, as NumPy arrays.
            What is marked with `each`, and groups of `pooled(…, by=…)`, have a row for every chain;
            each chunk gets its own.
        chunk_size: how many chains to run at a time.
        observe: as in `sample`, but nothing by default: the draws of a chunk are gone after it,
            unless `keep` takes them or `visit` saves them.
        keep: a pure function of a chunk's `Run`. It returns what is to be kept on the host, such as
            `run.position`, `run.draws` or `run.state`: arrays with a leading chain axis, which are
            put together, or numbers that are the same in every chunk.
        visit: a function that is called with each chunk's `Run` once it is done, for instance to
            write its draws to disk. Chunks that a checkpoint has are not visited again.
        progress: a bar that counts chains.
        checkpoint: a directory. The run continues from its checkpoints there; they hold what the
            finished chunks kept and gathered. Needs the extra `checkpoint`.
        every: how many chunks lie between checkpoints; by default a tenth of them.

    Returns:
        A `Chunked`. After Ctrl-C it has the chunks done so far.

    Raises:
        TypeError, ValueError, MemoryError, DivergenceError, ImportError, CheckpointError, OSError:
            as `sample`; TypeError also if a pooled reducer cannot be merged, and under jit, vmap or
            grad; ValueError also if nothing would be left of a chunk, or if what is kept has no
            leading chain axis.

    Example:
        >>> import jax, jax.numpy as jnp, jlangevin as jl
        >>> energy = jl.energies.quadratic(jnp.eye(2))
        >>> found = jl.sample_in_chunks(
        ...     jax.random.key(0), energy, jl.ula(0.1), energy, chunk_size=1000, num_chains=2500,
        ...     num_steps=100, reducers=jl.reducers.pooled(jl.reducers.moments()),
        ...     keep=lambda run: run.position)
        >>> found.kept.shape, int(found.summary.num_chains)
        ((2500, 2), 2500)
    """
    check_key("key", key)
    if not xla.outermost():
        raise TypeError("sample_in_chunks: it runs on the host; call it outside of jit and vmap")
    check_known("chunks are run one by one", energy=energy, kernel=kernel, init=init, chains=chains)
    check_reducers(reducers)
    check_can_merge(reducers)
    for name, function in {"keep": keep, "visit": visit}.items():
        if function is not None and not callable(function):
            raise TypeError(f"{name}: expected a function of a chunk's Run, got {function!r}")
    _check_something_stays(observe, reducers, keep, visit)
    options = as_block_options(on_divergence, progress, None, checkpoint, every)
    streams = None if chains is None else np.asarray(as_streams(chains))
    total, start = as_start(init, num_chains, streams)
    positions = None if start.positions is None else jax.tree.map(np.asarray, start.positions)
    check_rows(total, energy=energy, kernel=kernel)
    check_groups(reducers, total)
    chunk_size = check_count("chunk_size", chunk_size, minimum=1)
    parts = [slice(a, min(a + chunk_size, total)) for a in range(0, total, chunk_size)]

    def run_one(part: slice, on_divergence: OnDivergence = on_divergence) -> Run:
        return sample(
            key,
            rows_of(energy, part),
            rows_of(kernel, part),
            init if positions is None else jax.tree.map(lambda x: x[part], positions),
            chains=np.arange(part.start, part.stop) if streams is None else streams[part],
            num_steps=num_steps,
            burn_in=burn_in,
            thin=thin,
            observe=observe,
            reducers=groups_of(reducers, part),
            sharding=sharding,
            on_divergence=on_divergence,
        )

    left, store = list[Left](), None
    if options.checkpoint is not None:
        store = _store(
            options.checkpoint,
            {"key": key, "energy": energy, "kernel": kernel, "init": init, "chains": streams}
            | {"reducers": reducers, "observe": observe, "keep": keep},
            {"num_chains": total, "chunk_size": chunk_size, "num_steps": num_steps}
            | {"burn_in": burn_in, "thin": thin},
            len(parts),
            _shapes_of(lambda: left_by(run_one(parts[0], "report"), reducers, keep)),
        )
        _, left = store.restore(_Done(jnp.int32(0)))
    done = sum(len(piece.num_chains) for piece in left)
    often = options.every or math.ceil(len(parts) / 10)
    warned = _Warned(len(parts))
    interrupted = False
    already = parts[done - 1].stop if done else 0
    with warned, Progress(options.progress, total, already, unit="chain") as bar:
        for part in parts[done:]:
            try:
                with warned.of(part):
                    run = run_one(part)
                if visit is not None:
                    visit(run)
                left.append(left_by(run, reducers, keep))
                check_alike(left[0], left[-1])
            except KeyboardInterrupt:
                if not left:
                    raise
                interrupted = True
                break
            done += 1
            bar.advance(part.stop - part.start, left[-1].shown())
            if store is not None and (done % often == 0 or done == len(parts)):
                store.save(_Done(jnp.int32(done)), left)
    result = put_together(left, reducers, interrupted)
    if interrupted:
        warn(
            f"interrupted after {result.num_chains} of {total} chains, which are in the result "
            "returned; a checkpoint, or chains=… for the others, continues from there",
            InterruptedWarning,
        )
    return result


def _shapes_of(function: Callable[[], T]) -> T:
    with warnings.catch_warnings():
        # It is for programs without our options, which would run.
        warnings.simplefilter("ignore", MiscompiledWarning)
        return jax.eval_shape(function)


def _store(
    path: Path, of: dict[str, PyTree], numbers: dict[str, int], total: int, like: PyTree
) -> Store:
    """The checkpoints of a run in chunks; `like` has the structure of what a chunk leaves."""
    from jlangevin.sampling.checkpoint import Store, digests, short_reprs

    parts = {name: Parted.of(value) for name, value in of.items()}
    counts = {name: str(value) for name, value in numbers.items()}
    return Store(
        path,
        digests(parts) | counts,
        short_reprs(parts) | counts,
        total=total,
        observed=jax.tree.structure(like),
        along=0,
    )


class _Warned:
    """The warnings of all chunks, given at the end, once for each category."""

    def __init__(self, num_chunks: int) -> None:
        self._num_chunks = num_chunks
        self._first: dict[type[Warning], str] = {}
        self._count: Counter[type[Warning]] = Counter()

    @contextlib.contextmanager
    def of(self, part: slice) -> Iterator[None]:
        where = f"in the chunk of chains {part.start} to {part.stop - 1}"
        if part.start:
            where += f", which are 0 to {part.stop - part.start - 1} in it"
        with warnings.catch_warnings(record=True) as found:
            warnings.simplefilter("always")
            try:
                yield
            except Exception as error:
                error.add_note(f"jlangevin: {where}")
                raise
            finally:
                self._note(where, found)

    def _note(self, where: str, found: list[warnings.WarningMessage]) -> None:
        for category in {warning.category: warning for warning in found}:
            first = next(str(w.message) for w in found if w.category is category)
            self._first.setdefault(category, f"{where}: {first}")
            self._count[category] += 1

    def __enter__(self) -> _Warned:
        return self

    def __exit__(self, *error: object) -> None:
        for category, message in self._first.items():
            count = self._count[category]
            more = f" ({count} of {self._num_chunks} chunks warn so)" * (count > 1)
            warn(f"{message}{more}", category)


class _Done(NamedTuple):
    step: jax.Array  # int32, the number of chunks that a checkpoint has


def _check_something_stays(
    observe: Callable[[PyTree], PyTree] | None,
    reducers: PyTree,
    keep: Callable[[Run], PyTree] | None,
    visit: Callable[[Run], None] | None,
) -> None:
    """Raise ValueError if nothing, or no draw, would be left of a chunk."""
    if keep is None and visit is None:
        if not jax.tree.leaves(reducers, is_leaf=is_reducer):
            raise ValueError(
                "reducers, keep, visit: none were given, so nothing would be left of a chunk; pass "
                "for instance keep=lambda run: run.position"
            )
        if observe is not None:
            raise ValueError(
                "observe: the draws of a chunk are gone after it; pass keep=lambda run: run.draws, "
                "or visit=… to write them to disk"
            )
