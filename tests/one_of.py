"""One of several kernels, or functions, by a number that is data: one program serves them all.

For mutants, which differ from the right kernel in code and would each be compiled anew.
"""

from typing import Any

import jax
import jax.numpy as jnp

from jlangevin._core.trees import pytree_dataclass


@pytree_dataclass
class OneOf:
    """The kernel of this number; all ask for the same noise and have states alike."""

    kernels: tuple[Any, ...]
    number: Any

    @property
    def init_noise(self):
        return self.kernels[0].init_noise

    @property
    def step_noise(self):
        return self.kernels[0].step_noise

    def init(self, energy, position, noise):
        return self._chosen([lambda *a, k=k: k.init(energy, *a) for k in self.kernels])(
            position, noise
        )

    def step(self, energy, state, noise):
        return self._chosen([lambda *a, k=k: k.step(energy, *a) for k in self.kernels])(
            state, noise
        )

    def _chosen(self, branches):
        return lambda *args: jax.lax.switch(jnp.asarray(self.number, jnp.int32), branches, *args)


def one_of(kernels):
    """Each kernel of a dict as the `OneOf` with its number, by its name."""
    together = tuple(kernels.values())
    return {name: OneOf(together, number) for number, name in enumerate(kernels)}
