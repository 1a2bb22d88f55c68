"""The result of `summary`, in words and as a table."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from jlangevin._core.checks import check_known
from jlangevin._core.trees import pytree_dataclass, static_field

__all__ = ["Summary"]

_MAX_RHAT = 1.01
_MIN_ESS = 400
_FEW_DRAWS = 20  # of a chain; with fewer, too few lags are summed for an ESS
_ROWS, _WIDTH = 40, 100  # of the printed table
_NAME_WIDTH = 16  # characters of a name for which other columns make room


@pytree_dataclass
class Summary:
    """The result of `summary`: k elements of a draw, and the run as a whole. Printed, a table."""

    mean: jax.Array  # (k,)
    sd: jax.Array  # (k,), with divisor n - 1
    quantiles: jax.Array  # (k, len(probs))
    mcse_mean: jax.Array  # (k,), Monte Carlo standard error of the mean
    mcse_sd: jax.Array  # (k,), and of the sd
    ess_bulk: jax.Array  # (k,)
    ess_tail: jax.Array  # (k,)
    rhat: jax.Array  # (k,)
    nested_rhat: jax.Array | None  # (k,), None without superchains
    num_stuck: jax.Array  # chains that have not moved
    num_divergent: jax.Array | None  # chains; None if not known
    num_faults: jax.Array | None  # proposals at which the energy is NaN; None if not known
    acceptance_rate: jax.Array | None  # the mean over chains; None if not known
    names: tuple[str, ...] = static_field()  # "x[0]", "layer.weight[1, 2]", …
    probs: tuple[float, ...] = static_field()  # of the quantiles
    num_chains: int = static_field()
    num_draws: int = static_field()  # of each chain

    @property
    def ok(self) -> bool:
        """Whether the draws can be used, see `summary`."""
        return not self._objections()[0]

    @property
    def verdict(self) -> str:
        """Whether the draws can be used, and why, in one to three sentences."""
        objections, remedies = self._objections()
        if objections:
            advice = ", and ".join(dict.fromkeys(remedies))
            return f"Do not use these draws yet: {'; '.join(objections)}. {_capitalized(advice)}."
        label, rhat = self._deciding_rhat()
        worst, (ess, where) = int(np.argmax(rhat)), self._smallest_ess()
        said = (
            f"These draws can be used: {label} is at most {rhat[worst]:.4f} "
            f"({self.names[worst]}), and ESS at least {math.floor(ess):,} ({where})."
        )
        if self.num_divergent is None:
            said += " Whether chains diverged is not known from draws alone."
        return said

    def table(self, max_rows: int = _ROWS) -> str:
        """Verdict, facts and a row for each element, no wider than 100 columns.

        If there are more than `max_rows` elements, those with the largest R-hat or the smallest
        ESS are kept. If there are more than three quantiles, the outermost and one in the middle
        are shown.
        """
        kept = np.sort(np.argsort(-self._excess(), kind="stable")[:max_rows])
        longest = max(len(name) for name in ["element", *(self.names[i] for i in kept)])
        for digits, gap in ((4, 2), (3, 2), (3, 1)):  # until names have room
            header, cells = self._cells(kept, digits)
            widths = [gap + max(map(len, column)) for column in zip(header, *cells, strict=True)]
            room = _WIDTH - sum(widths)
            if room >= min(longest, _NAME_WIDTH):
                break
        names = [_shortened(self.names[i], room) for i in kept]
        first = max(map(len, [*names, "element"]))
        lines = [
            *textwrap.wrap(self.verdict, _WIDTH),
            *textwrap.wrap(self._run_facts(), _WIDTH),
            "",
        ]
        for name, row in zip(["element", *names], [header, *cells], strict=True):
            padded = (cell.rjust(width) for cell, width in zip(row, widths, strict=True))
            lines.append(name.ljust(first) + "".join(padded))
        if left := len(self.names) - len(kept):
            lines.append(
                f"{left:,} of {len(self.names):,} elements are left out, none worse than these"
            )
        return "\n".join(lines)

    def __str__(self) -> str:
        return self.table()

    __repr__ = __str__

    def _deciding_rhat(self) -> tuple[str, np.ndarray[Any, Any]]:
        """The R-hat that decides, and its name."""
        check_known("a verdict is in words", summary=self.rhat)
        nested = self.nested_rhat is not None
        return ("nested R-hat" if nested else "R-hat"), np.asarray(
            self.nested_rhat if nested else self.rhat, np.float64
        )

    def _smallest_ess(self) -> tuple[float, str]:
        """The smallest ESS, and where it is, in words."""
        both = np.stack([np.asarray(self.ess_bulk), np.asarray(self.ess_tail)]).astype(float)
        both = np.nan_to_num(both, nan=0.0)
        if self.num_draws < _FEW_DRAWS and self.num_chains < both.min():
            return self.num_chains, "one for each chain, as draws are too few to tell more"
        kind, element = np.unravel_index(np.argmin(both), both.shape)
        return float(both[kind, element]), f"{('bulk', 'tail')[kind]} of {self.names[element]}"

    def _excess(self) -> np.ndarray[Any, Any]:
        """How far each element is off, relative to what is allowed."""
        _, rhat = self._deciding_rhat()
        ess = np.minimum(np.asarray(self.ess_bulk), np.asarray(self.ess_tail)).astype(float)
        off = np.maximum((rhat - 1) / (_MAX_RHAT - 1), _MIN_ESS / ess)
        return np.where(np.isnan(off), np.inf, off)

    def _objections(self) -> tuple[list[str], list[str]]:
        """Objections to the draws, and what to do."""
        objections, remedies = [], []
        label, rhat = self._deciding_rhat()
        if constant := np.flatnonzero(np.isnan(rhat)).tolist():
            others = _and_others(len(constant), "too")
            objections.append(f"{self.names[constant[0]]} is the same in all draws{others}")
            remedies.append("leave out what is constant by design")
        ess, where = self._smallest_ess()
        if num_above := int(np.sum(rhat >= _MAX_RHAT)):
            worst = int(np.nanargmax(rhat))
            objections.append(
                f"{label} of {self.names[worst]} is {_rhat_text(rhat[worst])}, and should be "
                f"below {_MAX_RHAT}{_and_others(num_above, 'above it')}"
            )
        if ess < _MIN_ESS:
            objections.append(
                f"ESS is {math.floor(ess):,} ({where}), and should be at least {_MIN_ESS}"
            )
        if self.nested_rhat is None and num_above and _MIN_ESS <= ess < 100 * self.num_chains:
            # With correlated draws and a smaller ESS, R-hat is above 1.01 even after mixing.
            remedies.append(
                "run longer, or start groups of chains at the same places and give superchains, as "
                "these chains are too short for R-hat"
            )
        elif num_above or ess < _MIN_ESS:
            remedies.append("run longer, or warm up again")
        for count, what, remedy in (
            (self.num_divergent, "diverged", "use a smaller step size"),
            (self.num_stuck, "did not move", "use a smaller step size"),
        ):
            if count is not None and int(count):
                objections.append(f"{int(count):,} of {self.num_chains:,} chains {what}")
                remedies.append(remedy)
        if self.num_faults is not None and int(self.num_faults):
            objections.append(
                f"at {int(self.num_faults):,} proposals the energy or its gradient is NaN"
            )
            remedies.append("fix the energy")
        return objections, remedies

    def _run_facts(self) -> str:
        """How long the run was, and what went wrong in it."""
        facts = [f"{self.num_chains:,} chains of {self.num_draws:,} draws"]
        for count, what in (
            (self.num_divergent, "diverged"),
            (self.num_stuck, "stuck"),
            (self.num_faults, "proposals at fault"),
        ):
            if count is not None:
                facts.append(f"{int(count):,} {what}")
        if self.acceptance_rate is not None:
            facts.append(f"mean acceptance rate {float(self.acceptance_rate):.2f}")
        return "; ".join(facts)

    def _cells(self, rows: np.ndarray[Any, Any], digits: int) -> tuple[list[str], list[list[str]]]:
        """Header and cells of the table, without the names."""

        def number(digits: int) -> Callable[[float], str]:
            return lambda value: _short_exponent(f"{value:.{digits}g}")

        quantiles = np.asarray(self.quantiles)
        columns = [
            ("mean", self.mean, number(digits)),
            ("sd", self.sd, number(3)),
            *(
                (f"{100 * self.probs[i]:g}%", quantiles[:, i], number(digits))
                for i in self._shown_quantiles()
            ),
            ("± mean", self.mcse_mean, number(2)),
            ("± sd", self.mcse_sd, number(2)),
            ("ESS bulk", self.ess_bulk, _count_text),
            ("tail", self.ess_tail, _count_text),
            ("R-hat", self.rhat, _rhat_text),
        ]
        if self.nested_rhat is not None:
            columns.append(("nested", self.nested_rhat, _rhat_text))
        values = [[text(float(np.asarray(x)[i])) for i in rows] for _, x, text in columns]
        return [title for title, _, _ in columns], [list(row) for row in zip(*values, strict=True)]

    def _shown_quantiles(self) -> list[int]:
        """The quantiles that are shown: all, or the outermost and one in the middle."""
        count = len(self.probs)
        return list(range(count)) if count <= 3 else [0, count // 2, count - 1]


def _capitalized(words: str) -> str:
    return words[:1].upper() + words[1:]


def _and_others(count: int, what: str) -> str:
    """A note that the others of `count` elements are so too."""
    if count == 1:
        return ""
    return f" ({count - 1:,} {'other is' if count == 2 else 'others are'} {what})"


def _short_exponent(number: str) -> str:
    """1.2e-05 as 1.2e-5."""
    head, mark, exponent = number.partition("e")
    return f"{head}e{int(exponent)}" if mark else number


def _count_text(value: float) -> str:
    return f"{math.floor(value)}" if value < 1e6 else _short_exponent(f"{value:.2g}")


def _rhat_text(value: float) -> str:
    return f"{value:.3f}" if value < 10 else _short_exponent(f"{value:.3g}")


def _shortened(name: str, room: int) -> str:
    """`name` in at most `room` characters: its beginning and its end, which has the indices."""
    if len(name) <= room:
        return name
    end = (room - 1) // 2
    return f"{name[: room - 1 - end]}…{name[len(name) - end :]}"
