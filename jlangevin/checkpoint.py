"""Runs that survive being killed: states and draws on disk, by Orbax.

A directory holds one run, as numbered checkpoints. Each has the state after so many steps, the
draws made since the checkpoint before it, and a JSON record: to which run it belongs, and checksums
of all arrays. Orbax writes a checkpoint under another name and renames it when it is whole, so a
run killed while writing leaves the ones before untouched; checksums find what went wrong later.
Arrays and JSON are all that is read: loading executes nothing.
"""

from __future__ import annotations

import hashlib
import os
import re
import warnings
from importlib.metadata import version
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jlangevin.compiling import compiled
from jlangevin.errors import CheckpointError, CheckpointWarning
from jlangevin.program import Plan, SamplerState, Work
from jlangevin.trees import PyTree, Structure, is_array

__all__ = ["Store"]

_FORMAT = 1


class Store:
    """The checkpoints of one run in one directory."""

    def __init__(self, path: Any, start: SamplerState, work: Work, plan: Plan) -> None:
        try:
            import orbax.checkpoint as ocp
        except ImportError as error:
            raise ImportError(
                "checkpoints need Orbax: pip install 'jlangevin[checkpoint]'"
            ) from error
        self._ocp = ocp
        self._observed = None
        if plan.observe is not None:
            seen = jax.eval_shape(jax.vmap(plan.observe), start.kernel)
            self._observed = jax.tree.structure(seen)
        self._path = Path(os.fspath(path)).absolute()
        self._manager = ocp.CheckpointManager(
            self._path,
            options=ocp.CheckpointManagerOptions(
                max_to_keep=None if self._observed else 2,
                create=True,
                enable_async_checkpointing=False,
            ),
        )
        self._identity = _identity(start, work, plan)
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
            CheckpointError: checkpoints of another run, or damaged ones and none before them.
        """
        steps = sorted(self._manager.all_steps())
        state, kept = start, list[PyTree]()
        if self._observed is None:
            for step in reversed(steps):
                found = self._load(step, start)
                if found is not None:
                    state = found[0]
                    break
                self._manager.delete(step)
        else:
            for place, step in enumerate(steps):
                found = self._load(step, start)
                if found is None:  # later draws do not join to what is left
                    for lost in steps[place:]:
                        self._manager.delete(lost)
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
            warnings.warn(
                f"checkpoint: none in {self._path} is whole; the run begins anew",
                CheckpointWarning,
                stacklevel=6,
            )
        self._saved = len(kept)
        return state, kept

    def _load(self, step: int, start: SamplerState) -> tuple[SamplerState, PyTree] | None:
        """The state and draws of one checkpoint; None, with a warning, if it is damaged."""
        args = self._ocp.args
        try:
            found = self._manager.restore(step, args=args.Composite(record=args.JsonRestore()))
            record = found["record"]
            identity, shapes, checksums = (
                record[name] for name in ("identity", "shapes", "checksums")
            )
        except Exception as error:
            self._warn(step, f"its record cannot be read: {_first_line(error)}")
            return None
        self._compare(step, identity)
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

    def _compare(self, step: int, identity: dict[str, str]) -> None:
        """Raise CheckpointError if a checkpoint belongs to another run."""
        differ = [name for name, value in self._identity.items() if identity.get(name) != value]
        if not differ:
            return
        name = differ[0]
        raise CheckpointError(
            f"checkpoint: {self._path / str(step)} belongs to another run: its {', '.join(differ)} "
            f"differ ({name}: {identity.get(name)!r} there, {self._identity[name]!r} here). Give "
            "every run a directory of its own"
        )

    def _warn(self, step: int, reason: str) -> None:
        warnings.warn(
            f"checkpoint: {self._path / str(step)} is damaged and is left out: {reason}",
            CheckpointWarning,
            stacklevel=7,
        )


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {next(iter(str(error).splitlines()), '')}"


# Arrays by name, as Orbax stores them ---------------------------------------------------------


_Named = dict[str, Any]


def _named(tree: PyTree) -> _Named:
    return {f"{i:04}": leaf for i, leaf in enumerate(jax.tree.leaves(tree))}


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


# Identity and checksums -----------------------------------------------------------------------


@compiled
def _fingerprint(leaves: list[jax.Array]) -> list[jax.Array]:
    """A 32-bit checksum of each array, the same however it is spread over devices."""

    def one(leaf: jax.Array) -> jax.Array:
        kinds = {1: jnp.uint8, 2: jnp.uint16, 4: jnp.uint32, 8: jnp.uint32}
        if leaf.dtype == jnp.bool_:
            leaf = leaf.astype(jnp.uint8)
        words = lax.bitcast_convert_type(leaf, kinds[leaf.dtype.itemsize]).astype(jnp.uint32)
        place = jnp.uint32(0)
        for axis, size in enumerate(words.shape):
            along = lax.broadcasted_iota(jnp.uint32, words.shape, axis)
            place = place * jnp.uint32(size) + along
        # Sums modulo 2**32 of words stirred with their places (the finaliser of MurmurHash3).
        x = words + place * jnp.uint32(0x9E3779B9)
        for factor in (0x85EBCA6B, 0xC2B2AE35):
            x = (x ^ (x >> jnp.uint32(16))) * jnp.uint32(factor)
        return jnp.sum(x ^ (x >> jnp.uint32(16)), dtype=jnp.uint32)

    return [one(leaf) for leaf in leaves]


def _checksums(named: _Named) -> dict[str, int]:
    sums = _fingerprint([jnp.asarray(leaf) for leaf in _values(named)])
    return {name: int(value) for name, value in zip(sorted(named), sums, strict=True)}


def _identity(start: SamplerState, work: Work, plan: Plan) -> dict[str, str]:
    """What makes a run this run: equal for the same call in another process, and only for it."""
    names = ("energy", "kernel", "reducers")
    of = {
        name: f"{_describe(structure)} {_digest(arrays)}"
        for name, arrays, structure in zip(names, work.arrays, work.structures, strict=True)
    }
    return {
        "format": str(_FORMAT),
        "jlangevin": version("jlangevin"),
        "jax": version("jax"),
        "key and chains": _digest(start.streams),
        "start": _digest(start.kernel),
        **of,
        "burn_in": str(plan.burn_in),
        "thin": str(plan.thin),
        "observe": _describe_function(plan.observe),
    }


def _digest(tree: PyTree) -> str:
    named = {name: jnp.asarray(leaf) for name, leaf in _named(tree).items()}
    text = repr((_shapes(named), _checksums(named)))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _describe(structure: Structure) -> str:
    static = [_describe_function(leaf) for leaf in structure.rest if callable(leaf)]
    # Addresses differ from process to process.
    tree = re.sub(r" at 0x[0-9a-f]+", "", str(structure.treedef))
    digest = hashlib.sha256(tree.encode()).hexdigest()[:16]
    names = re.findall(r"CustomNode\((?:namedtuple\[)?(\w+)", tree)
    return " ".join([*(names[:1] or [""]), *static, digest]).strip()


def _describe_function(function: Any) -> str:
    """A name, and a digest of the code if there is any: an edited function is another one."""
    if function is None:
        return "None"
    name = f"{getattr(function, '__module__', '')}.{getattr(function, '__qualname__', '')}"
    code = getattr(function, "__code__", None)
    if code is None:
        return name
    cells = [cell.cell_contents for cell in function.__closure__ or ()]
    parts = _code(code) + [_value(v) for v in (*cells, *(function.__defaults__ or ()))]
    parts += _read(function)
    return f"{name} {hashlib.sha256(repr(parts).encode()).hexdigest()[:16]}"


def _code(code: CodeType) -> list[str]:
    """The instructions, and the constants and names that they refer to by number."""
    parts = [code.co_code.hex(), repr(code.co_names)]
    for constant in code.co_consts:
        parts += _code(constant) if isinstance(constant, CodeType) else [repr(constant)]
    return parts


def _read(function: Any) -> list[str]:
    """The globals that a function reads, and those that functions of its module read for it."""
    parts: list[str] = []
    waiting, seen = [function], set()
    while waiting:
        code, known = waiting[-1].__code__, waiting.pop().__globals__
        if code in seen:
            continue
        seen.add(code)
        for name in sorted(_names(code) & set(known)):
            value = known[name]
            if is_array(value) or isinstance(value, bool | str):
                parts.append(f"{name} {_value(value)}")
            elif isinstance(value, FunctionType) and value.__module__ == function.__module__:
                parts += _code(value.__code__)
                waiting.append(value)
    return parts


def _names(code: CodeType) -> set[str]:
    inner = [_names(constant) for constant in code.co_consts if isinstance(constant, CodeType)]
    return set(code.co_names).union(*inner)


def _value(value: Any) -> str:
    """What a closure holds: arrays by their contents, functions by their code."""
    leaves, structure = jax.tree.flatten(value)
    shown = [
        _digest([leaf]) if is_array(leaf) else _describe_function(leaf) if callable(leaf) else leaf
        for leaf in leaves
    ]
    return re.sub(r" at 0x[0-9a-f]+", "", f"{structure} {shown!r}")
