"""Runs that survive being killed: states and draws on disk, by Orbax.

A directory holds the checkpoints of one run, numbered by their steps. Each has the state, the draws
made since the previous checkpoint, and a JSON record that identifies the run and has checksums of
all arrays. Orbax writes a checkpoint under another name and renames it once it is complete, so a
run killed while writing leaves earlier ones untouched; checksums reveal later damage. Only arrays
and JSON are read: loading executes nothing.
"""

from __future__ import annotations

import errno
import itertools
import re
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils

from jlangevin._core.trees import Parted, PyTree, shown
from jlangevin._core.warn import warn
from jlangevin.errors import CheckpointError, CheckpointWarning
from jlangevin.sampling import fingerprint
from jlangevin.sampling.state import Plan, SamplerState, Setup

__all__ = ["Store", "digests", "short_reprs"]

_FORMAT = 3

State = TypeVar("State", bound=Any)


class Store:
    """The checkpoints of one run in one directory."""

    def __init__(
        self,
        path: Path,
        identity: dict[str, str],
        looks: dict[str, str],
        *,
        total: int,
        observed: Any = None,
        cumulative: bool = False,
        along: int = 1,
    ) -> None:
        """`identity` tells the run from others, and `looks` are parts of it for a person to read.

        `total` steps are to be done. Draws have the structure `observed`, None if there are none.
        If `cumulative`, each checkpoint has all draws so far, not only those since the one before.
        Pieces of draws are put together along the axis `along`.
        """
        try:
            import orbax.checkpoint as ocp
        except ImportError as error:
            raise ImportError(
                "checkpoints need Orbax, the extra checkpoint: pip install orbax-checkpoint"
            ) from error
        self._ocp = ocp
        self._observed, self._cumulative, self._along = observed, cumulative, along
        self._path = path
        _check_writable(self._path)
        self._manager = ocp.CheckpointManager(
            self._path,
            options=ocp.CheckpointManagerOptions(
                max_to_keep=None if self._in_pieces else 2,
                create=True,
                enable_async_checkpointing=False,
            ),
        )
        self._identity = {
            "format": str(_FORMAT),
            "jlangevin": version("jlangevin"),
            "jax": version("jax"),
            **identity,
        }
        self._readable_identity = looks
        self._total = total
        self._saved = 0  # how many pieces of draws are on disk
        self._after: int | None = None  # the step of the last checkpoint, or of the start

    @classmethod
    def of_run(cls, path: Path, start: SamplerState, setup: Setup, plan: Plan) -> Store:
        """The checkpoints of a run of the driver."""
        observe, observed = setup.observe.whole, None
        if observe is not None:
            observed = jax.tree.structure(jax.eval_shape(jax.vmap(observe), start.kernel))
        return cls(
            path,
            _identity(start, setup, plan),
            _readable_identity(start, setup),
            total=plan.burn_in + plan.num_steps,
            observed=observed,
        )

    @property
    def _in_pieces(self) -> bool:
        """Whether the draws are spread over all checkpoints."""
        return self._observed is not None and not self._cumulative

    def save(self, state: Any, kept: list[PyTree]) -> None:
        """Add a checkpoint: the state, which has a `step`, and the draws that it is to hold."""
        fresh = kept[self._saved :] if self._in_pieces else kept
        self._saved = len(kept)
        draws = jax.tree.map(lambda *parts: jnp.concatenate(parts, axis=self._along), *fresh)
        items = {"state": _by_number(state), "draws": _by_number(draws)}
        record = {
            "identity": self._identity,
            "after": self._after,
            "looks": self._readable_identity,
            "shapes": {name: _shape_records(item) for name, item in items.items()},
            "checksums": {name: _checksums_by_number(item) for name, item in items.items()},
        }
        args = self._ocp.args
        self._manager.save(
            int(state.step),
            args=args.Composite(
                record=args.JsonSave(record),
                **{name: args.StandardSave(_without_empty(item)) for name, item in items.items()},
            ),
            force=True,
        )
        self._after = int(state.step)

    def restore(self, start: State) -> tuple[State, list[PyTree]]:
        """The state to continue from, and the draws before it; `start` and no draws if none exist.

        Raises:
            CheckpointError: the checkpoints are of another run or of another program, or have more
                steps than are asked for.
            OSError, MemoryError: a checkpoint cannot be read now, but may be intact.
        """
        steps = sorted(self._manager.all_steps())
        state, kept = start, list[PyTree]()
        if not self._in_pieces:
            for step in reversed(steps):
                found = self._load(step, start)
                if found is not None:
                    state = found[0]
                    kept = [] if self._observed is None else [found[1]]
                    break
                self._set_aside(step)
        else:
            for place, step in enumerate(steps):
                found = self._load(step, start, after=int(state.step))
                if found is None:  # later draws would leave a gap
                    self._set_aside(step)
                    if later := steps[place + 1 :]:
                        warn(
                            f"checkpoint: those after it in {self._path}, {later}, are set aside "
                            "too, because there would be a gap before their draws",
                            CheckpointWarning,
                        )
                    for lost in later:
                        self._set_aside(lost)
                    break
                state = found[0]
                kept.append(found[1])
        done = int(state.step) - int(start.step)
        if done > self._total:
            raise CheckpointError(
                f"checkpoint: {self._path} holds {done} steps of this run, but only {self._total} "
                "are asked for; ask for at least as many, or use another directory"
            )
        if steps and not done:
            warn(
                f"checkpoint: none in {self._path} is intact; the run starts over",
                CheckpointWarning,
            )
        self._saved, self._after = len(kept), int(state.step)
        return state, kept

    def _load(
        self, step: int, start: State, after: int | None = None
    ) -> tuple[State, PyTree] | None:
        """The state and draws of one checkpoint; None, with a warning, if it is damaged.

        With `after`, also if its draws do not follow those of the checkpoint of that step.
        """
        args = self._ocp.args
        if not (self._path / str(step) / "record").is_dir():
            raise CheckpointError(
                f"checkpoint: {self._path / str(step)} was not written by jlangevin: it has no "
                "record. Give every run a directory of its own"
            )
        try:
            found = self._manager.restore(step, args=args.Composite(record=args.JsonRestore()))
            record = found["record"]
            identity, shapes, checksums = (
                record[name] for name in ("identity", "shapes", "checksums")
            )
        except Exception as error:
            _raise_unless_damage(error)
            self._warn_damaged(step, f"its record cannot be read: {_first_line(error)}")
            return None
        self._compare(step, identity, record.get("looks", {}))
        if after is not None and record.get("after", after) != after:
            self._warn_damaged(step, f"the one before it, {record['after']}, is missing")
            return None
        sharding = jax.tree.leaves(start)[0].sharding  # of the chains, where there are any
        wanted = {"state": _templates(start), "draws": _from_shapes(shapes["draws"], sharding)}
        try:
            stored = self._manager.restore(
                step,
                args=args.Composite(
                    **{
                        name: args.StandardRestore(_without_empty(item))
                        for name, item in wanted.items()
                    }
                ),
            )
        except Exception as error:
            _raise_unless_damage(error)
            self._warn_damaged(step, f"its arrays cannot be read: {_first_line(error)}")
            return None
        items = {name: _refill(stored[name], wanted[name]) for name in wanted}
        for name, item in items.items():
            wrong = [
                key
                for key, sum_ in _checksums_by_number(item).items()
                if checksums[name][key] != sum_
            ]
            if wrong:
                self._warn_damaged(step, f"checksums of {name} {', '.join(wrong)} do not match")
                return None
        structure = jax.tree.structure(start)
        state = jax.tree.unflatten(structure, _values(items["state"]))
        draws = None
        if self._observed is not None:
            draws = jax.tree.unflatten(self._observed, _values(items["draws"]))
        return state, draws

    def _compare(self, step: int, identity: dict[str, str], readable: dict[str, str]) -> None:
        """Raise CheckpointError if a checkpoint belongs to another run."""
        differ = [name for name, value in self._identity.items() if identity.get(name) != value]
        if not differ:
            return

        def difference(name: str) -> str:
            there = readable.get(name) or identity.get(name, "unknown")
            here = self._readable_identity.get(name) or self._identity[name]
            if there == here:  # they differ in a long array or in a function's code
                there, here = (
                    f"{there} ({identity.get(name)})",
                    f"with other contents ({self._identity[name]})",
                )
            return f"its {name} is {there}, here it is {here}"

        raise CheckpointError(
            f"checkpoint: {self._path / str(step)} belongs to another run: "
            f"{'; '.join(map(difference, differ))}. Give every run a directory of its own"
        )

    def _set_aside(self, step: int) -> None:
        """Rename a checkpoint, so that it is not read again but nothing of it is lost."""
        source = self._path / str(step)
        if jax.process_index() == 0:
            numbers = (f"{step}.set-aside-{k}" for k in itertools.count(1))
            source.rename(next(p for n in numbers if not (p := self._path / n).exists()))
        if jax.process_count() > 1:
            multihost_utils.sync_global_devices(f"jlangevin sets aside {source}")
        self._manager.reload()

    def _warn_damaged(self, step: int, reason: str) -> None:
        warn(
            f"checkpoint: {self._path / str(step)} is damaged and set aside: {reason}",
            CheckpointWarning,
        )


def _check_writable(path: Path) -> None:
    """Raise OSError now, not after the first block of steps, if the folder is not writable."""
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            pass
    except OSError as error:
        reason = f"checkpoint: cannot write in {path}: {error.strerror}"
        raise OSError(error.errno, reason) from error


def _raise_unless_damage(error: Exception) -> None:
    """Raise errors that do not mean damage: no memory, no permission, a failing disk."""
    missing = isinstance(error, OSError) and error.errno in (None, errno.ENOENT)
    if isinstance(error, OSError | MemoryError) and not missing:
        raise error


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {next(iter(str(error).splitlines()), '')}"


# Arrays by name, as Orbax stores them ---------------------------------------------------------


_Named = dict[str, Any]


def _by_number(tree: PyTree) -> _Named:
    return {f"{i:08}": leaf for i, leaf in enumerate(jax.tree.leaves(tree))}


def _values(named: _Named) -> list[Any]:
    return [named[name] for name in sorted(named)]


def _without_empty(named: _Named) -> _Named:
    """Without empty arrays, which Orbax refuses; but with at least one array, as Orbax needs."""
    full = {name: leaf for name, leaf in named.items() if leaf.size}
    return full or {"none": np.zeros(1, np.float32)}


def _refill(stored: _Named, wanted: _Named) -> _Named:
    return {
        name: stored[name] if leaf.size else jnp.zeros(leaf.shape, leaf.dtype)
        for name, leaf in wanted.items()
    }


def _shape_records(named: _Named) -> dict[str, Any]:
    return {name: [list(leaf.shape), str(leaf.dtype)] for name, leaf in named.items()}


def _from_shapes(shapes: dict[str, Any], sharding: Any) -> _Named:
    return {
        name: jax.ShapeDtypeStruct(tuple(shape), _dtype(dtype), sharding=sharding)
        for name, (shape, dtype) in shapes.items()
    }


def _dtype(name: str) -> Any:
    """A dtype by its name; of a key, too, which `jnp.dtype` does not know."""
    if not name.startswith("key<"):
        return jnp.dtype(name)
    keys = (
        jax.eval_shape(lambda impl=impl: jax.random.key(0, impl=impl)).dtype
        for impl in ("threefry2x32", "rbg", "unsafe_rbg")
    )
    return next(dtype for dtype in keys if str(dtype) == name)


def _templates(tree: PyTree) -> _Named:
    return {
        name: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=leaf.sharding)
        for name, leaf in _by_number(tree).items()
    }


# Identity -------------------------------------------------------------------------------------


def _checksums_by_number(named: _Named) -> dict[str, int]:
    sums = fingerprint.checksums(jnp.asarray(leaf) for leaf in _values(named))
    return dict(zip(sorted(named), sums, strict=True))


def _identity(start: SamplerState, setup: Setup, plan: Plan) -> dict[str, str]:
    """What identifies a run: equal for the same call in another process, and only for that."""
    return {
        "key and chains": fingerprint.of_arrays(start.streams),
        "start": fingerprint.of_arrays(start.kernel),
        **digests(setup._asdict()),
        "burn_in": str(plan.burn_in),
        "thin": str(plan.thin),
    }


def _readable_identity(start: SamplerState, setup: Setup) -> dict[str, str]:
    """The parts of `_identity` in a form that a person can recognise."""
    return {
        "key and chains": f"{start.streams.high.shape[0]} chains",
        "start": shown(start.kernel),
        **short_reprs(setup._asdict()),
    }


def digests(parts: dict[str, Parted]) -> dict[str, str]:
    """What tells each part from others."""
    return {
        name: f"{fingerprint.of_structure(part.structure)} {fingerprint.of_arrays(part.arrays)}"
        for name, part in parts.items()
    }


def short_reprs(parts: dict[str, Parted]) -> dict[str, str]:
    """Each part in a form that a person can recognise."""

    def one(thing: Any) -> str:
        words = re.sub(r" at 0x[0-9a-f]+", "", " ".join(repr(thing).split()))
        return f"{words[:79]}…" if len(words) > 80 else words

    return {name: one(part.whole) for name, part in parts.items()}
