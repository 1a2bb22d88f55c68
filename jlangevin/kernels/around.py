"""The base of kernels that are around another."""

from __future__ import annotations

from typing import Any

from jlangevin._core.trees import PyTree, pytree_dataclass
from jlangevin.energies.base import Energy
from jlangevin.kernels.base import Info, Noise, Position
from jlangevin.kernels.traits import Traits

__all__ = ["Around"]


@pytree_dataclass
class Around:
    """`kernel` as it is; a subclass says what is otherwise, and adds fields of its own.

    Noise, `init` and `step` are the kernel's. So are its traits, as `Traits.of` looks inside;
    not its hyper-parameters, nor what is another thing at another temperature.
    """

    kernel: Any  # a kernel with the traits that the subclass has asked for

    @property
    def init_noise(self) -> PyTree:
        return self.kernel.init_noise

    @property
    def step_noise(self) -> PyTree:
        return self.kernel.step_noise

    @property
    def carries(self) -> tuple[str, ...]:
        return Traits.own(self.kernel).carries

    def init(self, energy: Energy, position: Position, noise: Noise) -> PyTree:
        return self.kernel.init(energy, position, noise)

    def step(self, energy: Energy, state: PyTree, noise: Noise) -> tuple[PyTree, Info]:
        stepped: tuple[PyTree, Info] = self.kernel.step(energy, state, noise)
        return stepped
