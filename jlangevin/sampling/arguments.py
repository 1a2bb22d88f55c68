"""The arguments of `sample` and `resume`, checked."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal, NamedTuple

from jlangevin import noise
from jlangevin._core.checks import check_count, check_flag
from jlangevin.sampling.state import Plan

__all__ = [
    "AsFused",
    "BlockOptions",
    "OnDivergence",
    "as_block_options",
    "as_folder",
    "as_plan",
    "check_observe",
    "check_progress",
]

OnDivergence = Literal["report", "raise", "ignore"]
AsFused = bool | Literal["interpret"] | None


class BlockOptions(NamedTuple):
    """What the host does between blocks of steps, and what it does about chains that diverge."""

    on_divergence: str
    progress: bool | str = False
    block_steps: int | None = None
    checkpoint: Path | None = None
    every: int | None = None

    @property
    def ignores(self) -> bool:
        return self.on_divergence == "ignore"

    @property
    def raises(self) -> bool:
        return self.on_divergence == "raise"

    @property
    def any(self) -> bool:
        """Whether the run is to be cut into blocks."""
        return bool(self.progress or self.block_steps or self.checkpoint is not None)


def as_plan(num_steps: int, burn_in: int, thin: int, remat: bool, fused: AsFused = None) -> Plan:
    num_steps = check_count("num_steps", num_steps, minimum=0)
    burn_in = check_count("burn_in", burn_in, minimum=0)
    thin = check_count("thin", thin, minimum=1)
    if num_steps % thin:
        below = num_steps - num_steps % thin
        raise ValueError(
            f"num_steps: must be a multiple of thin, but {num_steps} is not a multiple of {thin}; "
            f"use {below} or {below + thin}"
        )
    if num_steps + burn_in > noise.MAX_STEPS:
        raise ValueError(
            f"num_steps: {num_steps} after a burn_in of {burn_in} exceeds the {noise.MAX_STEPS} "
            "steps of a stream; run more chains instead"
        )
    if fused is not None and fused != "interpret":
        fused = check_flag("fused", fused, also=', None or "interpret"')
    return Plan(num_steps, burn_in, thin, check_flag("remat", remat), fused)


def check_observe(observe: object) -> None:
    """Raise TypeError unless `observe` can be called, or is None."""
    if observe is not None and not callable(observe):
        raise TypeError(f"observe: expected a function of the kernel state or None, got {observe}")


def as_block_options(
    on_divergence: str,
    progress: bool | str,
    block_steps: int | None,
    checkpoint: str | os.PathLike[str] | None,
    every: int | None,
) -> BlockOptions:
    if on_divergence not in ("report", "raise", "ignore"):
        raise ValueError(
            f'on_divergence: expected "report", "raise" or "ignore", got {on_divergence!r}'
        )
    progress = check_progress(progress)
    if block_steps is not None:
        block_steps = check_count("block_steps", block_steps, minimum=1)
    folder = None if checkpoint is None else as_folder(checkpoint)
    if every is not None:
        every = check_count("every", every, minimum=1)
        if folder is None:
            raise ValueError("every: needs checkpoint=…, a folder to save checkpoints in")
    return BlockOptions(on_divergence, progress, block_steps, folder, every)


def check_progress(progress: object) -> bool | str:
    """`progress`, if it is a bool or "always"."""
    if isinstance(progress, str) and progress == "always":
        return progress
    return check_flag("progress", progress, also=', or "always"')


def as_folder(checkpoint: object) -> Path:
    """`checkpoint` as a path; ~ is the home folder."""
    if not isinstance(checkpoint, str | bytes | os.PathLike):
        raise TypeError(f"checkpoint: expected the path of a folder, got {checkpoint!r}")
    path = os.fsdecode(checkpoint)
    if not path:
        raise ValueError('checkpoint: expected a folder, got ""; the current folder is "."')
    folder = Path(os.path.expanduser(path)).absolute()
    if folder.exists() and not folder.is_dir():
        raise FileExistsError(
            f"checkpoint: expected a folder, but {folder} is a file; pass another path"
        )
    return folder
