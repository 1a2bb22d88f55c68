"""The verdict on a warm-up."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

__all__ = ["Verdict"]

Array = np.ndarray[Any, Any]


@dataclasses.dataclass(frozen=True)
class Verdict:
    """The verdict of `warm_up`; printed, it is a few lines.

    Attributes:
        problems: what is wrong and what to do, a sentence or two each; empty if chains settled.
        num_steps: steps taken.
        num_chains: chains.
        kernel: the name of the kernel's class.
        step_size: as in the kernel found: a number, or an array (chain,) if each has its own.
        acceptance, target: the mean rate over the last pieces, at the step size found, and the
            target.
        preconditioner: "dense", "low rank", "diagonal" or "as given".
        condition: the condition number of the preconditioner found; NaN if it was given.
        trajectory: what was found, in words; empty if it was not asked for.
        rhat: the largest split R-hat over the last window, of positions in the coordinates that the
            preconditioner makes round, and of the energy. If the chains' laws differ, it compares
            only the two halves of each chain.
        left_out: the chains (places in the run) that stayed behind at far higher energies and
            started again from where others were; their `energies`, and the `median` of the others'.
        redrawn: chains whose first start was not finite and was drawn again.
    """

    problems: tuple[str, ...]
    num_steps: int
    num_chains: int
    kernel: str
    step_size: Any
    acceptance: float
    target: float
    preconditioner: str
    condition: float
    trajectory: str
    rhat: float
    left_out: Array
    energies: Array
    median: float
    redrawn: Array

    @property
    def settled(self) -> bool:
        """Whether chains have settled, so that the kernel and state found can be used."""
        return not self.problems

    @property
    def stayed_behind(self) -> str:
        """A sentence about chains that were left out."""
        if not len(self.left_out):
            return ""
        low, high = np.min(self.energies), np.max(self.energies)
        which = ", ".join(map(str, self.left_out[:5])) + ", …" * (len(self.left_out) > 5)
        return (
            f"{len(self.left_out):,} of {self.num_chains:,} chains ({which}) stayed at energies of "
            f"{low:.5g} to {high:.5g}, where the median of the others is {self.median:.5g}, and "
            "were started again from where others are. If that is a mode that matters, start more "
            "chains there"
        )

    def __str__(self) -> str:
        steps = np.asarray(self.step_size)
        size = f"{np.median(steps):.4g}"
        if steps.ndim:
            size += f" in the median, of each chain from {np.min(steps):.4g} to {np.max(steps):.4g}"
        state = "settled" if self.settled else "NOT settled"
        shape = self.preconditioner
        if np.isfinite(self.condition):
            shape += f", condition number {self.condition:.3g}"
        lines = [
            f"warm-up of {self.kernel}: {state} after {self.num_steps:,} steps of "
            f"{self.num_chains:,} chains",
            f"  step size       {size}",
            f"  acceptance      {self.acceptance:.3f}, asked {self.target:.3f}",
            f"  preconditioner  {shape}",
            f"  R-hat           {self.rhat:.3f} at most, over the last window",
        ]
        if self.trajectory:
            lines.insert(4, f"  trajectory      {self.trajectory}")
        if len(self.redrawn):
            lines.append(
                f"  starts          {len(self.redrawn)} of {self.num_chains:,} drawn again, as the "
                "energy was not finite there"
            )
        if len(self.left_out):
            lines.append(f"  left out        {self.stayed_behind}")
        lines += [f"  problem         {problem}" for problem in self.problems]
        return "\n".join(lines)
