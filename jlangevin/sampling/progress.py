"""A progress bar by tqdm: on stderr, or in the cell of a notebook."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from types import TracebackType
from typing import Any

import numpy as np

from jlangevin.sampling.health import Health, Sign
from jlangevin.sampling.state import Tally

__all__ = ["Progress"]


class Progress:
    """A progress bar over the steps of a run, if `wanted`; True shows it only on a terminal, or in
    a notebook."""

    def __init__(self, wanted: bool | str, total: int, done: int, *, unit: str = "step") -> None:
        self._bar: Any = None
        if wanted:
            try:
                from tqdm.auto import tqdm
            except ImportError as error:
                raise ImportError(
                    "progress needs tqdm, the extra progress: pip install tqdm"
                ) from error
            shown = wanted == "always" or _in_notebook()
            hidden = False if shown else None  # None: hidden unless on a terminal
            self._bar = tqdm(total=total, initial=done, unit=unit, unit_scale=True, disable=hidden)

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.close()

    def update(self, steps: int, tally: Tally, health: Health) -> None:
        """Show `steps` more of a run, and how its chains are."""
        if not self._shows:
            return
        shown: dict[str, object] = {}
        if health.signs.is_fully_addressable:
            shown["divergent"] = int(np.sum(np.asarray(health.signs) & Sign.DIVERGED > 0))
        if tally.acceptance is not None and tally.acceptance.is_fully_addressable:
            shown["acceptance"] = f"{float(np.mean(tally.acceptance)):.2f}"
        self.advance(steps, shown)

    def advance(self, steps: int, shown: Mapping[str, object]) -> None:
        """Show `steps` more, and what is `shown` beside the bar."""
        if self._shows:
            self._bar.set_postfix(shown, refresh=False)
            self._bar.update(steps)

    @property
    def _shows(self) -> bool:
        return self._bar is not None and not self._bar.disable


def _in_notebook() -> bool:
    """Whether this is a kernel of Jupyter, whose output is no terminal and is seen all the same."""
    ipython = sys.modules.get("IPython")
    shell = None if ipython is None else ipython.get_ipython()
    return shell is not None and "IPKernelApp" in shell.config
