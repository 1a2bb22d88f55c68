"""The chains of a warm-up as the host sees them, piece by piece."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import warnings
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.experimental import multihost_utils

from jlangevin._core.each import Each
from jlangevin._core.trees import PyTree
from jlangevin.adaptation.kernel import with_step_size
from jlangevin.adaptation.length import Seen
from jlangevin.adaptation.moving import Moving
from jlangevin.energies.base import Energy
from jlangevin.errors import EnergyWarning, PrecisionWarning, StuckWarning
from jlangevin.kernels.base import known
from jlangevin.sampling import SamplerState, resume

__all__ = ["PIECE", "Ensemble", "Look", "host", "quiet"]

PIECE = 20  # steps between two looks
_MOST = 4_096  # chains whose positions are looked at; if there are more, evenly spaced ones

Array = np.ndarray[Any, np.dtype[np.float64]]


class Look(NamedTuple):
    """What is seen after a piece: positions of some chains, energies and rates of all."""

    positions: Array  # (seen, d), raveled, of every `every`-th chain
    gradients: Array | None  # (seen, d), where the kernel's state has them
    energies: Array  # (chain,), zeros where the kernel's state has none
    rates: Array  # (chain,), means over the piece
    every: int

    @property
    def energies_seen(self) -> Array:
        return self.energies[:: self.every]

    def without(self, chains: np.ndarray[Any, Any]) -> Look:
        """The same look, without these chains."""
        if not chains.any():
            return self
        seen = ~chains[:: self.every]
        gradients = None if self.gradients is None else self.gradients[seen]
        rates = self.rates[:: self.every][seen]
        return Look(self.positions[seen], gradients, self.energies_seen[seen], rates, 1)


@dataclasses.dataclass
class Ensemble:
    """The state that the next piece begins from, the kernel it is run by, and what was seen."""

    energy: Energy
    moving: Moving
    state: SamplerState
    looks: list[Look]  # the latest ones
    step_sizes: list[float]  # after every piece so far, medians over the chains
    acceptance: list[float]  # likewise, means
    log_steps: Any = 0.0  # of each chain, summed over the latest looks

    @property
    def num_pieces(self) -> int:
        return len(self.step_sizes)

    @classmethod
    def begun(cls, energy: Energy, moving: Moving, state: SamplerState) -> Ensemble:
        chains = cls(energy, moving, state, [], [], [])
        chains._take(state)
        return chains

    def run(self, pieces: int, *, last: bool = False) -> list[Look]:
        """Run a window of this many pieces, which end the warm-up if it is the `last`. Earlier
        looks are dropped, as the positions of many looks take much memory."""
        self.looks, self.log_steps = [], 0.0
        for piece in range(pieces):
            self.look(last=last and piece == pieces - 1)
        return self.looks

    def look(self, *, last: bool = False) -> None:
        """Run one more piece."""
        with quiet(precision=last):
            run = resume(self.state, self.energy, self.moving, num_steps=PIECE, observe=None)
        self._take(run.state)

    def _take(self, state: SamplerState) -> None:
        """Look at a state, and continue from it with all counts at zero."""
        self.looks.append(_look(state))
        self.state = state
        self.log_steps = self.log_steps + host(state.kernel.log_step).astype(np.float64)
        self.step_sizes.append(self.step_size)
        self.acceptance.append(float(np.mean(self.looks[-1].rates)))
        tally = state.tally
        fresh = jax.tree.map(
            lambda x: _put(x, np.zeros(x.shape, x.dtype)),
            (tally.num_steps, tally.acceptance, tally.rejections),
        )
        self.state = state._replace(
            tally=tally._replace(num_steps=fresh[0], acceptance=fresh[1], rejections=fresh[2])
        )

    @property
    def step_size(self) -> float:
        """The median over the chains."""
        steps = self.own_steps
        usual = float(np.median(steps))
        log_step = np.log(steps / usual) + host(self.state.kernel.log_step)
        return usual * math.exp(float(np.median(log_step)))

    @property
    def own_steps(self) -> np.ndarray[Any, Any]:
        """The kernel's step size, or one for each chain, from which they move."""
        size = self.moving.kernel.step_size
        return host(size.rows if isinstance(size, Each) else size)

    def set(self, **changes: Any) -> None:
        """Continue with another target, gain or kernel."""
        self.moving = dataclasses.replace(self.moving, **changes)

    def share(self, step_size: Any) -> None:
        """Continue with one step size for all chains, or with these, one for each."""
        kernel = self.state.kernel
        same = _put(kernel.log_step, np.zeros(kernel.log_step.shape, kernel.log_step.dtype))
        self.state = self.state._replace(kernel=kernel._replace(log_step=same, pace=same))
        self.set(kernel=with_step_size(self.moving.kernel, step_size))

    def keep(self) -> None:
        """Continue with the step size that each chain had on average over the latest looks."""
        self.share(self.own_steps * np.exp(self.log_steps / len(self.looks)))

    def tried(self) -> Seen:
        """What trials have seen since the last call, summed over all chains."""
        kernel = self.state.kernel
        seen = jax.tree.map(lambda x: np.sum(host(x), axis=0, dtype=np.float64), kernel.seen)
        none = jax.tree.map(lambda x: _put(x, np.zeros(x.shape, x.dtype)), kernel.seen)
        self.state = self.state._replace(kernel=kernel._replace(seen=none))
        return seen

    def found(self) -> Any:
        """The kernel as it is now."""
        kernel, trial = self.moving.kernel, self.moving.trial
        if trial is None:
            return kernel
        return dataclasses.replace(kernel, trajectory_length=int(trial.length))

    def given_back(self) -> SamplerState:
        """The state in the form that the kernel itself has, for `resume`."""
        chain, tally = self.state.kernel.chain, self.state.tally
        if known(chain, "energy_change") is not None:  # of a kernel without acceptance rates
            tally = tally._replace(acceptance=None)
        return self.state._replace(kernel=chain, tally=tally)

    def restart(self, chains: np.ndarray[Any, Any]) -> None:
        """Put `chains` (bool) where others are, at different ones if there are enough."""
        (to,), (others,) = np.nonzero(chains), np.nonzero(~chains)
        source = others[(np.arange(len(to)) * len(others)) // len(to) % len(others)]

        def moved(leaf: Any) -> Any:
            rows = host(leaf).copy()
            rows[to] = rows[source]
            return _put(leaf, rows)

        self.state = self.state._replace(kernel=jax.tree.map(moved, self.state.kernel))


def _look(state: SamplerState) -> Look:
    chain = state.kernel.chain
    every = -(-state.kernel.log_step.shape[0] // _MOST)

    def rows(tree: PyTree) -> Array:
        leaves = [host(leaf)[::every] for leaf in jax.tree.leaves(tree)]
        flat = [leaf.reshape(len(leaf), -1) for leaf in leaves]
        return np.concatenate(flat, axis=1, dtype=np.float64)

    gradient, energy = known(chain, "gradient"), known(chain, "energy")
    rates = host(state.tally.acceptance).astype(np.float64)
    return Look(
        rows(chain.position),
        None if gradient is None else rows(gradient),
        np.zeros(len(rates)) if energy is None else host(energy).astype(np.float64),
        rates,
        every,
    )


def host(leaf: Any) -> np.ndarray[Any, Any]:
    """An array of all chains, in every process."""
    if isinstance(leaf, jax.Array) and not leaf.is_fully_addressable:
        leaf = multihost_utils.process_allgather(leaf, tiled=True)
    return np.asarray(leaf)


def _put(like: Any, value: np.ndarray[Any, Any]) -> Any:
    """`value` on the devices of the array `like`, which it replaces. An uncommitted array stays
    uncommitted, as JAX would compile the program again for a committed one."""
    if not isinstance(like, jax.Array) or not like.committed:
        return value
    return jax.make_array_from_callback(like.shape, like.sharding, lambda part: value[part])


@contextlib.contextmanager
def quiet(*, precision: bool = False) -> Iterator[None]:
    """Ignore warnings of chains that do not move yet, or propose to go where the energy overflows:
    warm-up is for these, and the run that follows warns again if necessary. Warnings of `precision`
    at the end of a warm-up still count."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", StuckWarning)
        warnings.simplefilter("ignore", EnergyWarning)
        if not precision:
            warnings.simplefilter("ignore", PrecisionWarning)
        yield
