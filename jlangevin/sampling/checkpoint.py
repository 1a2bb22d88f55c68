"""Runs that survive being killed: states and draws on disk, by Orbax.

A directory holds one run, as numbered checkpoints. Each has the state after so many steps, the
draws made since the checkpoint before it, and a JSON record: to which run it belongs, and checksums
of all arrays. Orbax writes a checkpoint under another name and renames it when it is whole, so a
run killed while writing leaves the ones before untouched; checksums find what went wrong later.
Arrays and JSON are all that is read: loading executes nothing.
"""

from __future__ import annotations

import errno
import itertools
import re
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils

from jlangevin._core.trees import PyTree, shown
from jlangevin._core.warn import warn
from jlangevin.errors import CheckpointError, CheckpointWarning
from jlangevin.sampling import fingerprint
from jlangevin.sampling.state import Plan, SamplerState, Work

__all__ = ["Store"]

_FORMAT = 3


class Store:
    """The checkpoints of one run in one directory."""

    def __init__(self, path: Path, start: SamplerState, work: Work, plan: Plan) -> None:
        try:
            import orbax.checkpoint as ocp
        except ImportError as error:
            raise ImportError(
                "checkpoints need Orbax, the extra checkpoint: pip install orbax-checkpoint"
            ) from error
        self._ocp = ocp
        self._observed = None
        observe = work.observe.whole
        if observe is not None:
            seen = jax.eval_shape(jax.vmap(observe), start.kernel)
            self._observed = jax.tree.structure(seen)
        self._path = path
        _check_writable(self._path)
        self._manager = ocp.CheckpointManager(
            self._path,
            options=ocp.CheckpointManagerOptions(
                max_to_keep=None if self._observed else 2,
                create=True,
                enable_async_checkpointing=False,
            ),
        )
        self._identity = _identity(start, work, plan)
        self._looks = _looks(start, work)
        self._total = plan.burn_in + plan.num_steps
        self._saved = 0  # draws' pieces that are on disk

    def save(self, state: SamplerState, kept: list[PyTree]) -> None:
        """Add a checkpoint: the state, and the draws that no earlier one holds."""
        fresh = kept[self._saved :]
        self._saved = len(kept)
        draws = jax.tree.map(lambda *parts: jnp.concatenate(parts, axis=1), *fresh)
        items = {"state": _named(state), "draws": _named(draws)}
        record = {
            "identity": self._identity,
            "looks": self._looks,
            "shapes": {name: _shapes(item) for name, item in items.items()},
            "checksums": {name: _checksums(item) for name, item in items.items()},
        }
        args = self._ocp.args
        self._manager.save(
            int(state.step),
            args=args.Composite(
                record=args.JsonSave(record),
                **{name: args.StandardSave(_full(item)) for name, item in items.items()},
            ),
            force=True,
        )

    def restore(self, start: SamplerState) -> tuple[SamplerState, list[PyTree]]:
        """The state to go on from and the draws before it: `start` and none if there is nothing.

        Raises:
            CheckpointError: checkpoints of another run or of something else, or more steps than are
                asked for.
            OSError, MemoryError: what is there cannot be read now, and may be whole.
        """
        steps = sorted(self._manager.all_steps())
        state, kept = start, list[PyTree]()
        if self._observed is None:
            for step in reversed(steps):
                found = self._load(step, start)
                if found is not None:
                    state = found[0]
                    break
                self._set_aside(step)
        else:
            for place, step in enumerate(steps):
                found = self._load(step, start)
                if found is None:  # later draws do not join to what is left
                    self._set_aside(step)
                    if later := steps[place + 1 :]:
                        warn(
                            f"checkpoint: those after it in {self._path}, {later}, are set aside "
                            "too, as their draws no longer join to what is left",
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
                f"checkpoint: {self._path} holds {done} steps of this run, and only {self._total} "
                "are asked for; ask for as many or more, or give another directory"
            )
        if steps and not done:
            warn(
                f"checkpoint: none in {self._path} is whole; the run begins anew",
                CheckpointWarning,
            )
        self._saved = len(kept)
        return state, kept

    def _load(self, step: int, start: SamplerState) -> tuple[SamplerState, PyTree] | None:
        """The state and draws of one checkpoint; None, with a warning, if it is damaged."""
        args = self._ocp.args
        if not (self._path / str(step) / "record").is_dir():
            raise CheckpointError(
                f"checkpoint: {self._path / str(step)} is none of jlangevin's: it has no record. "
                "Give every run a directory of its own"
            )
        try:
            found = self._manager.restore(step, args=args.Composite(record=args.JsonRestore()))
            record = found["record"]
            identity, shapes, checksums = (
                record[name] for name in ("identity", "shapes", "checksums")
            )
        except Exception as error:
            _raise_unless_damage(error)
            self._warn(step, f"its record cannot be read: {_first_line(error)}")
            return None
        self._compare(step, identity, record.get("looks", {}))
        sharding = start.streams.high.sharding
        wanted = {"state": _like(start), "draws": _from_shapes(shapes["draws"], sharding)}
        try:
            stored = self._manager.restore(
                step,
                args=args.Composite(
                    **{name: args.StandardRestore(_full(item)) for name, item in wanted.items()}
                ),
            )
        except Exception as error:
            _raise_unless_damage(error)
            self._warn(step, f"its arrays cannot be read: {_first_line(error)}")
            return None
        items = {name: _refill(stored[name], wanted[name]) for name in wanted}
        for name, item in items.items():
            wrong = [key for key, sum_ in _checksums(item).items() if checksums[name][key] != sum_]
            if wrong:
                self._warn(step, f"checksums of {name} {', '.join(wrong)} do not match")
                return None
        structure = jax.tree.structure(start)
        state = jax.tree.unflatten(structure, _values(items["state"]))
        draws = None
        if self._observed is not None:
            draws = jax.tree.unflatten(self._observed, _values(items["draws"]))
        return state, draws

    def _compare(self, step: int, identity: dict[str, str], looks: dict[str, str]) -> None:
        """Raise CheckpointError if a checkpoint belongs to another run."""
        differ = [name for name, value in self._identity.items() if identity.get(name) != value]
        if not differ:
            return

        def difference(name: str) -> str:
            there = looks.get(name) or identity.get(name, "unknown")
            here = self._looks.get(name) or self._identity[name]
            if there == here:  # a long array, or a function's code
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
        """Rename a checkpoint: it is not looked at again, and nothing of it is lost."""
        source = self._path / str(step)
        if jax.process_index() == 0:
            numbers = (f"{step}.set-aside-{k}" for k in itertools.count(1))
            source.rename(next(p for n in numbers if not (p := self._path / n).exists()))
        if jax.process_count() > 1:
            multihost_utils.sync_global_devices(f"jlangevin sets aside {source}")
        self._manager.reload()

    def _warn(self, step: int, reason: str) -> None:
        warn(
            f"checkpoint: {self._path / str(step)} is damaged and set aside: {reason}",
            CheckpointWarning,
        )


def _check_writable(path: Path) -> None:
    """Raise OSError now, not after the first block of steps, if nothing can be written there."""
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            pass
    except OSError as error:
        reason = f"checkpoint: cannot write in {path}: {error.strerror}"
        raise OSError(error.errno, reason) from error


def _raise_unless_damage(error: Exception) -> None:
    """Raise what says nothing of a checkpoint: no memory, no permission, a disk that fails."""
    missing = isinstance(error, OSError) and error.errno in (None, errno.ENOENT)
    if isinstance(error, OSError | MemoryError) and not missing:
        raise error


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {next(iter(str(error).splitlines()), '')}"


# Arrays by name, as Orbax stores them ---------------------------------------------------------


_Named = dict[str, Any]


def _named(tree: PyTree) -> _Named:
    return {f"{i:08}": leaf for i, leaf in enumerate(jax.tree.leaves(tree))}


def _values(named: _Named) -> list[Any]:
    return [named[name] for name in sorted(named)]


def _full(named: _Named) -> _Named:
    """Without arrays that have no elements, which Orbax refuses; it wants at least one array."""
    full = {name: leaf for name, leaf in named.items() if leaf.size}
    return full or {"none": np.zeros(1, np.float32)}


def _refill(stored: _Named, wanted: _Named) -> _Named:
    return {
        name: stored[name] if leaf.size else jnp.zeros(leaf.shape, leaf.dtype)
        for name, leaf in wanted.items()
    }


def _shapes(named: _Named) -> dict[str, Any]:
    return {name: [list(leaf.shape), str(leaf.dtype)] for name, leaf in named.items()}


def _from_shapes(shapes: dict[str, Any], sharding: Any) -> _Named:
    return {
        name: jax.ShapeDtypeStruct(tuple(shape), jnp.dtype(dtype), sharding=sharding)
        for name, (shape, dtype) in shapes.items()
    }


def _like(tree: PyTree) -> _Named:
    return {
        name: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=leaf.sharding)
        for name, leaf in _named(tree).items()
    }


# Identity -------------------------------------------------------------------------------------


def _checksums(named: _Named) -> dict[str, int]:
    sums = fingerprint.checksums(jnp.asarray(leaf) for leaf in _values(named))
    return dict(zip(sorted(named), sums, strict=True))


def _identity(start: SamplerState, work: Work, plan: Plan) -> dict[str, str]:
    """What makes a run this run: equal for the same call in another process, and only for it."""
    of = {
        name: f"{fingerprint.of_structure(part.structure)} {fingerprint.of_arrays(part.arrays)}"
        for name, part in work._asdict().items()
    }
    return {
        "format": str(_FORMAT),
        "jlangevin": version("jlangevin"),
        "jax": version("jax"),
        "key and chains": fingerprint.of_arrays(start.streams),
        "start": fingerprint.of_arrays(start.kernel),
        **of,
        "burn_in": str(plan.burn_in),
        "thin": str(plan.thin),
    }


def _looks(start: SamplerState, work: Work) -> dict[str, str]:
    """The parts of `_identity` that a person would know them by."""

    def look(thing: Any) -> str:
        words = re.sub(r" at 0x[0-9a-f]+", "", " ".join(repr(thing).split()))
        return f"{words[:79]}…" if len(words) > 80 else words

    return {
        "key and chains": f"{start.streams.high.shape[0]} chains",
        "start": shown(start.kernel),
        **{name: look(part.whole) for name, part in work._asdict().items()},
    }
