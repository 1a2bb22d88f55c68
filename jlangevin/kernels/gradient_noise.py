"""Additive Gaussian noise on the gradient of any kernel."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from jlangevin._core import trees
from jlangevin._core.arithmetic import product
from jlangevin._core.checks import as_array, check_spd
from jlangevin._core.trees import Numbers, PyTree, pytree_dataclass
from jlangevin.distribution import factor
from jlangevin.energies.base import Energy, WrappedEnergy, gradient
from jlangevin.kernels.around import Around
from jlangevin.kernels.base import Info, Kernel, Noise, Position
from jlangevin.kernels.nesting import check_inside
from jlangevin.noise import Want

__all__ = ["GradientNoise", "gradient_noise"]


@pytree_dataclass
class Tilted(WrappedEnergy):
    """E(x) + e·x: its gradient is that of E with an error e."""

    error: Position

    def __call__(self, position: PyTree) -> jax.Array:
        value: jax.Array = self.energy(position)
        return value + product(trees.ravel(self.error), trees.ravel(position))

    def gradient(self, position: PyTree) -> PyTree:
        return jax.tree.map(jnp.add, gradient(self.energy, position), self.error)


@pytree_dataclass
class GradientNoise(Around):
    """See `gradient_noise`."""

    scale: jax.Array

    @property
    def step_noise(self) -> PyTree:
        return self.kernel.step_noise, Want.NORMAL

    def step(self, energy: Energy, state: PyTree, noise: Noise) -> tuple[PyTree, Info]:
        inner, zeta = noise
        zeta = trees.ravel(zeta)
        if self.scale.shape != (zeta.size, zeta.size):
            raise ValueError(
                f"cov: of shape {self.scale.shape}, does not fit a position of {zeta.size} elements"
            )
        error = trees.unraveler(state.position)(product(self.scale.astype(zeta.dtype), zeta))
        return super().step(Tilted(energy, error), state, inner)


def gradient_noise(kernel: Kernel, cov: Numbers) -> GradientNoise:
    """`kernel` with every gradient g of a step replaced by g + C^{1/2} ζ, ζ ~ N(0, I).

    A model of minibatch gradients (Welling and Teh 2011) whose law is exact: with `ula`, each
    step's noise covariance gains η² C. The error is drawn once a step.

    Args:
        kernel: the kernel to wrap, which accepts every step.
        cov: C, the gradient error's covariance, (d, d) over the raveled position, symmetric
            positive semi-definite.

    Raises:
        TypeError: no kernel; one that accepts or rejects by the energy, which an error of the
            gradient alone leaves undefined; or one that takes its gradients from an estimator.
        ValueError: C is not a symmetric positive semi-definite matrix.

    Example:
        >>> import jax.numpy as jnp, jlangevin as jl
        >>> energy = jl.energies.quadratic(jnp.eye(1))
        >>> kernel = jl.gradient_noise(jl.ula(step_size=0.5), jnp.eye(1))
        >>> round(float(jl.exact.stationary(kernel, energy, jnp.zeros(1)).cov[0, 0]), 4)
        1.6667
    """
    check_inside("gradient_noise", kernel)
    matrix = check_spd("cov", as_array("cov", cov, ndim=2), semidefinite=True)
    return GradientNoise(kernel, factor(matrix))
