"""What a run gives back."""

from __future__ import annotations

from typing import Any

import jax

from jlangevin._core import trees
from jlangevin._core.trees import pytree_dataclass, static_field
from jlangevin.kernels.base import Info
from jlangevin.sampling.state import SamplerState

__all__ = ["Run"]


@pytree_dataclass
class Run:
    """What `sample` and `resume` return.

    Attributes:
        draws: what `observe` saw, leaves of shape (chain, draw, …) as ArviZ wants them; None
            if `observe` was None. A chain that diverged repeats where it was last finite.
        info: per chain, over all steps after burn-in, see `Info`.
        summary: the results of the reducers, in the structure they were given in; None without.
        state: where to go on from.
        thin: steps from one draw to the next.
    """

    draws: Any
    info: Info
    summary: Any
    state: SamplerState
    thin: int = static_field(default=1)

    def __repr__(self) -> str:
        """What there is, without the numbers."""

        def known(leaf: Any) -> bool:
            # Arrays that other processes hold a part of are not asked: all would have to.
            return (
                isinstance(leaf, jax.Array)
                and trees.is_concrete(leaf)
                and leaf.is_fully_addressable
            )

        parts = {"draws": self.draws, "position": self.position, "summary": self.summary}
        lines = [f"{name}: {trees.shown(tree)}" for name, tree in parts.items()]
        if known(self.state.step):
            lines.append(f"steps: {int(self.state.step):,}")
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
    def position(self) -> Any:
        """Where the chains are now, leaves of shape (chain, …)."""
        return self.state.kernel.position

    def to_datatree(self, *, energy: Any = None, coords: Any = None, dims: Any = None) -> Any:
        """The draws as an `xarray.DataTree`, which ArviZ takes from version 1.

        Its groups are "posterior" and "sample_stats". A leaf of the draws is a variable named by
        its path, joined by dots as in "layer.weight"; draws that are one array are "x". Of the
        draws are known, with dimensions (chain, draw):

            diverging   the chain has diverged, and the draw repeats where it was last finite, or is
                        not finite itself; or the energy is not finite at the draw (where its chain
                        ended, if no energy is given); or the chain kept out of a place because the
                        energy or its gradient is NaN there
            energy      E(x), if an energy is given; it has no kinetic part, so BFMI is not for it

        and with dimension (chain,), where the kernel rejects:

            acceptance_rate     the mean over all steps after burn-in
            rejections_walls, rejections_faults, rejections_rounded
                                proposals that could not be weighed, see `kernels.Rejections`

        Args:
            energy: evaluated at every draw, which then has to be a position.
            coords: values along dimensions by their names, as in ArviZ.
            dims: names of the dimensions after (chain, draw), by variables, as in ArviZ.

        Raises:
            TypeError: `coords` or `dims` that is no dict.
            ValueError: the run kept no draws, or two leaves have one name; `coords` or `dims` that
                do not fit them.
            ImportError: ArviZ is not installed, see the extra `arviz`.
        """
        from jlangevin.sampling import interop

        return interop.to_datatree(self, energy, coords, dims)

    def to_inference_data(self, *, energy: Any = None, coords: Any = None, dims: Any = None) -> Any:
        """The draws as an `arviz.InferenceData`, for ArviZ before version 1.

        Arguments, groups and variables are those of `to_datatree`.

        Raises:
            ValueError: as `to_datatree`.
            ImportError: ArviZ is not installed, or one that has no `InferenceData`.
        """
        from jlangevin.sampling import interop

        return interop.to_inference_data(self, energy, coords, dims)
