"""One of several kernels or energies by a number that is data, so that one program serves them all.

For mutants and other cases that differ in their code, each of which would otherwise be compiled.
"""

from typing import Any

import jax
import jax.numpy as jnp

from jlangevin._core.trees import pytree_dataclass


def chosen(number, functions, *args):
    """The result of the function of this number; those of all are alike."""
    return jax.lax.switch(jnp.asarray(number, jnp.int32), functions, *args)


@pytree_dataclass
class OneEnergy:
    energies: tuple[Any, ...]
    number: Any

    def __call__(self, x):
        functions = [lambda x, e=energy: e(x) for energy in self.energies]
        return chosen(self.number, functions, x)


@pytree_dataclass
class OneKernel:
    """All kernels ask for the same noise and have states alike."""

    kernels: tuple[Any, ...]
    number: Any

    @property
    def init_noise(self):
        return self.kernels[0].init_noise

    @property
    def step_noise(self):
        return self.kernels[0].step_noise

    def init(self, energy, position, noise):
        functions = [lambda *args, k=kernel: k.init(energy, *args) for kernel in self.kernels]
        return chosen(self.number, functions, position, noise)

    def step(self, energy, state, noise):
        functions = [lambda *args, k=kernel: k.step(energy, *args) for kernel in self.kernels]
        return chosen(self.number, functions, state, noise)


def numbered(kind, cases):
    """Each of a dict of kernels or energies, as a `kind` with its number."""
    together = tuple(cases.values())
    return {name: kind(together, number) for number, name in enumerate(cases)}
