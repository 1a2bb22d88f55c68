"""The path from one energy to another, and runs along it in both directions."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jax.typing import ArrayLike

from jlangevin._core import trees
from jlangevin._core.arithmetic import product
from jlangevin._core.checks import check_count, check_made
from jlangevin._core.trees import Number, Numbers, PyTree, pytree_dataclass
from jlangevin.distribution import Drawable, Gaussian, check_drawable
from jlangevin.energies.base import Energy, check_callable
from jlangevin.energies.quadratic import Quadratic
from jlangevin.errors import NoClosedFormError, NotNormalizableError
from jlangevin.kernels.base import Kernel, Schedule, WithTemperature, has_schedule
from jlangevin.kernels.metropolis import total
from jlangevin.normalizer.switching import as_levels, switched
from jlangevin.sampling import Run, sample

__all__ = ["Base", "Path", "Raveled", "Scaled", "as_base", "path", "spaced_levels"]


@pytree_dataclass
class Scaled:
    """`factor` times an energy."""

    energy: Energy
    factor: ArrayLike

    def __call__(self, x: PyTree) -> jax.Array:
        value = self.energy(x)
        return jnp.asarray(self.factor, value.dtype) * value


@pytree_dataclass
class Raveled:
    """An energy of vectors, at positions that are pytrees."""

    energy: Energy

    def __call__(self, x: PyTree) -> jax.Array:
        value: jax.Array = self.energy(trees.ravel(x))
        return value


@pytree_dataclass
class Independent:
    """½ Σ ((x - m)/s)². A product of matrices would cost as much as all else of a cheap step."""

    mean: PyTree
    sd: PyTree

    def __call__(self, x: PyTree) -> jax.Array:
        trees.assert_like("position", x, self.mean, "like the mean of the base")
        return total(lambda x, m, s: 0.5 * ((x - m) / s) ** 2, x, self.mean, self.sd)


@pytree_dataclass
class Base:
    """A law that can be drawn from, and whose normaliser is known."""

    law: Drawable
    energy: Energy  # exp(-E) is its density up to the normaliser
    log_z: Number


def as_base(base: Any) -> Base:
    """`base` as a law with a density, or an error that says what would do."""
    check_made("base", base)
    if isinstance(base, Gaussian):
        base.check_single("base")
        lower = jnp.linalg.cholesky(base.cov)
        if trees.is_concrete(lower) and not bool(jnp.all(jnp.isfinite(lower))):
            raise ValueError(
                "base: a Gaussian with a singular covariance has no density; give one with a "
                "positive variance in every direction"
            )
        d = len(lower)
        log_z = 0.5 * d * float(np.log(2 * np.pi)) + jnp.sum(jnp.log(jnp.diagonal(lower)))
        return Base(base, _energy_of(base, lower), log_z)
    check_drawable("base", base)
    try:
        log_z = base.log_z
    except (AttributeError, NoClosedFormError, NotNormalizableError):
        raise TypeError(
            f"base: the normaliser of {type(base).__name__} is not known; give a "
            "jlangevin.Gaussian, or an energy with log_z and an exact sampler"
        ) from None
    return Base(base, base, log_z)


def _energy_of(law: Gaussian, lower: jax.Array) -> Energy:
    """-log density of a Gaussian with the covariance L Lᵀ, less that at the mean."""
    known = trees.is_concrete(lower)
    if known and not np.any(np.tril(np.asarray(lower), -1)):
        return Independent(law.mean, trees.unraveler(law.mean)(jnp.diagonal(lower)))
    inverse = jax.scipy.linalg.solve_triangular(
        lower, jnp.eye(len(lower), dtype=lower.dtype), lower=True
    )
    return Raveled(Quadratic(product(inverse.T, inverse), trees.ravel(law.mean)))


def spaced_levels(num_steps: int) -> jax.Array:
    """(t/n)² for t = 0 … n: closer together where a wide base is left."""
    return jnp.asarray((np.arange(num_steps + 1) / num_steps) ** 2, float)


@pytree_dataclass
class Backwards:
    """A schedule of a path's steps for the way back, on which step t moves at the level that step
    n - 2 - t of the way there moves at. The last of the way back moves where no weight follows."""

    function: Callable[[jax.Array], ArrayLike]
    num_steps: jax.Array

    def __call__(self, step: jax.Array) -> ArrayLike:
        return self.function(jnp.maximum(self.num_steps - 2 - step, 0))


@pytree_dataclass
class Path:
    """See `path`."""

    energy: Energy
    to: Energy
    kernel: WithTemperature
    levels: jax.Array

    @property
    def num_steps(self) -> int:
        """n, of a run from one end to the other."""
        return len(self.levels) - 1

    def forward(
        self,
        key: jax.Array,
        init: Drawable | PyTree,
        *,
        num_chains: int | None = None,
        chains: Numbers | None = None,
        sharding: Mesh | NamedSharding | None = None,
        progress: bool | Literal["always"] = False,
    ) -> Run:
        """Chains that begin with draws of exp(-E/T) and go to E'; arguments as in `sample`.

        `run.state.kernel.log_weight` is (chain,), of E[w] = Z'/Z.
        """
        kernel = switched(self.kernel, self.to, self.levels)
        return self._run(key, self.energy, kernel, init, num_chains, chains, sharding, progress)

    def reverse(
        self,
        key: jax.Array,
        init: Drawable | PyTree,
        *,
        num_chains: int | None = None,
        chains: Numbers | None = None,
        sharding: Mesh | NamedSharding | None = None,
        progress: bool | Literal["always"] = False,
    ) -> Run:
        """Chains that begin with draws of exp(-E'/T) and go back to E; E[w] = Z/Z'.

        It is the way there in reverse: weighed and moved at the same levels in the opposite order,
        with schedules turned around.
        """
        kernel = switched(self._turned(), self.energy, self.levels, backwards=True)
        return self._run(key, self.to, kernel, init, num_chains, chains, sharding, progress)

    def _turned(self) -> WithTemperature:
        """The kernel with its schedules turned around."""
        if not has_schedule(self.kernel):
            return self.kernel

        def turn(leaf: PyTree) -> PyTree:
            if not isinstance(leaf, Schedule):
                return leaf
            function = Backwards(leaf.function, jnp.int32(self.num_steps))
            return dataclasses.replace(leaf, function=function)

        return jax.tree.map(turn, self.kernel, is_leaf=lambda leaf: isinstance(leaf, Schedule))

    def _run(
        self,
        key: jax.Array,
        energy: Energy,
        kernel: Kernel,
        init: Drawable | PyTree,
        num_chains: int | None,
        chains: Numbers | None,
        sharding: Mesh | NamedSharding | None,
        progress: bool | Literal["always"],
    ) -> Run:
        return sample(
            key,
            energy,
            kernel,
            init,
            num_steps=self.num_steps,
            num_chains=num_chains,
            chains=chains,
            observe=None,
            sharding=sharding,
            progress=progress,
            # A chain that meets E' = +inf has weight 0; faults are looked for in the weights.
            on_divergence="ignore",
        )


def path(
    energy: Energy,
    to: Energy,
    kernel: WithTemperature,
    *,
    num_steps: int | None = None,
    levels: Numbers | None = None,
) -> Path:
    """The path E_β = (1 - β) E + β E' from an energy E to another one, E'.

    Its methods `forward(key, init)` and `reverse(key, init)` run chains along it, through `sample`,
    so that chain 7 of a key is the same alone: `forward(key, init, chains=[7])`. Each returns a
    `Run`, whose `state.kernel.log_weight` says what the chains have been weighed by, see
    `switched`. The two are each other's reverse in the sense of Crooks (1999): with a the log
    weight of the way there, and the negative one of the way back, the densities of both obey
    p_back(a) / p_there(a) = e^a Z/Z', by which `bennett` combines them.

    Args:
        energy: E, where the way there begins.
        to: E'.
        kernel: as in `switched`.
        num_steps: n, for the levels (t/n)².
        levels: instead 0 = β_0 < … < β_n = 1.

    Raises:
        TypeError: energies that are none; a kernel as `switched` refuses it.
        ValueError: both or neither of `num_steps` and `levels`; levels as `switched` refuses them.

    Example:
        >>> import jax, jax.numpy as jnp, jlangevin as jl
        >>> wide, narrow = jl.energies.quadratic(jnp.eye(1)), jl.energies.quadratic(4 * jnp.eye(1))
        >>> way = jl.normalizer.path(wide, narrow, jl.mala(0.2), num_steps=20)
        >>> there, back = jax.random.split(jax.random.key(0))
        >>> forward = way.forward(there, wide, num_chains=1_000).state.kernel.log_weight
        >>> reverse = way.reverse(back, narrow, num_chains=1_000).state.kernel.log_weight
        >>> round(jl.normalizer.bennett(forward, reverse).value, 1)  # log sqrt(1/4)
        -0.7
    """
    check_callable(energy)
    check_callable(to, "to")
    if (num_steps is None) == (levels is None):
        raise ValueError("num_steps, levels: pass one of the two")
    if levels is None:
        levels = spaced_levels(check_count("num_steps", num_steps, minimum=1))
    ladder = as_levels(levels)
    switched(kernel, to, ladder)  # raises where it would later
    return Path(energy, to, kernel, ladder)
