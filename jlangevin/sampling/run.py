"""The result of a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import jax

from jlangevin._core import trees
from jlangevin._core.trees import PyTree, pytree_dataclass, static_field
from jlangevin.energies.base import Energy
from jlangevin.kernels.base import Info, Position
from jlangevin.sampling.state import SamplerState

if TYPE_CHECKING:
    import arviz
    import xarray

__all__ = ["Run"]


@pytree_dataclass
class Run:
    """What `sample` and `resume` return.

    Attributes:
        draws: what `observe` returned, leaves of shape (chain, draw, …) as ArviZ wants them; None
            if `observe` was None. A chain that diverged repeats where it was last finite.
        info: statistics of each chain over all steps after burn-in, see `Info`.
        summary: the results of the reducers, in the structure they were given in; None without.
        state: the state from which `resume` continues.
        thin: steps from one draw to the next.
        interrupted: whether Ctrl-C ended it before its last step; a loop over runs asks this.
    """

    draws: PyTree
    info: Info
    summary: PyTree
    state: SamplerState
    thin: int = static_field(default=1)
    interrupted: bool = static_field(default=False)

    def __repr__(self) -> str:
        """The contents, with shapes and dtypes instead of arrays."""

        def known(leaf: object) -> bool:
            # Reading an array that other processes share would need all of them to take part.
            return (
                isinstance(leaf, jax.Array)
                and trees.is_concrete(leaf)
                and leaf.is_fully_addressable
            )

        parts = {"draws": self.draws, "position": self.position, "summary": self.summary}
        lines = [f"{name}: {trees.shown(tree)}" for name, tree in parts.items()]
        if known(self.state.step):
            early = ", interrupted" * self.interrupted
            lines.append(f"steps: {int(self.state.step):,}{early}")
        if known(self.info.num_divergent):
            lines.append(f"divergent chains: {int(self.info.num_divergent.sum()):,}")
        if self.info.rejections is not None and known(self.info.rejections.faults):
            faults = int(self.info.rejections.faults.sum())
            if faults:
                lines.append(f"proposals at which the energy is at fault: {faults:,}")
        if known(self.info.acceptance_rate):
            lines.append(
                f"acceptance rate: {float(self.info.acceptance_rate.mean()):.3g} on average"
            )
        return "\n  ".join(["Run", *lines])

    @property
    def position(self) -> Position:
        """The chains' present positions, leaves of shape (chain, …)."""
        return self.state.kernel.position

    def to_datatree(
        self,
        *,
        energy: Energy | None = None,
        coords: Mapping[str, Sequence[object]] | None = None,
        dims: Mapping[str, Sequence[str]] | None = None,
    ) -> xarray.DataTree:
        """The draws as an `xarray.DataTree`, for ArviZ from version 1 on.

        Its groups are "posterior" and "sample_stats". A leaf of the draws is a variable named by
        its path, joined by dots as in "layer.weight"; draws that are one array are "x". The
        statistics with dimensions (chain, draw) are:

            diverging   the chain has diverged, and the draw repeats where it was last finite, or is
                        not finite itself; or the energy is not finite at the draw (where its chain
                        ended, if no energy is given); or the chain was kept out of a place because
                        the energy or its gradient is NaN there
            energy      E(x), if an energy is given; it has no kinetic part, so it is not for BFMI

        and with dimension (chain,), if the kernel rejects:

            acceptance_rate     the mean over all steps after burn-in
            rejections_walls, rejections_faults, rejections_rounded
                                proposals without a finite energy, see `kernels.Rejections`

        Args:
            energy: evaluated at every draw, which then has to be a position.
            coords: the coordinates of each dimension, by its name, as in ArviZ.
            dims: for each variable, the names of its dimensions after (chain, draw), as in ArviZ.

        Raises:
            TypeError: `coords` or `dims` is not a dict.
            ValueError: the run kept no draws, two leaves have the same name, or `coords` or `dims`
                does not fit the draws.
            ImportError: ArviZ is not installed, see the extra `arviz`.
        """
        from jlangevin.sampling import interop

        return interop.to_datatree(self, energy, coords, dims)

    def to_inference_data(
        self,
        *,
        energy: Energy | None = None,
        coords: Mapping[str, Sequence[object]] | None = None,
        dims: Mapping[str, Sequence[str]] | None = None,
    ) -> arviz.InferenceData:
        """The draws as an `arviz.InferenceData`, for ArviZ before version 1.

        Arguments, groups and variables are those of `to_datatree`.

        Raises:
            ValueError: as `to_datatree`.
            ImportError: ArviZ is not installed, or is version 1 or later.
        """
        from jlangevin.sampling import interop

        return interop.to_inference_data(self, energy, coords, dims)
