"""Laws that can be drawn from exactly: a draw is a function of noise, as a kernel's step is."""

from __future__ import annotations

from functools import partial
from typing import ClassVar, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from jax import lax
from jax.flatten_util import ravel_pytree

from jlangevin import noise
from jlangevin._core import trees
from jlangevin._core.arithmetic import product
from jlangevin._core.checks import (
    as_array,
    check_count,
    check_finite,
    check_key,
    check_made,
    check_no_half,
    check_spd,
)
from jlangevin._core.compiling import compiled
from jlangevin._core.trees import Numbers, Parted, PyTree, pytree_dataclass
from jlangevin.errors import NoClosedFormError, NotNormalizableError
from jlangevin.noise import Purpose, Want

__all__ = ["Drawable", "Gaussian", "check_drawable", "check_gaussian", "starts"]


@runtime_checkable
class Drawable(Protocol):
    """Anything that turns noise into an exact draw: `Gaussian`, and many of `energies`."""

    draw_noise: ClassVar[PyTree]

    def template(self) -> PyTree:
        """Shapes and dtypes of one position, as `jax.ShapeDtypeStruct` leaves."""
        ...

    def from_noise(self, noise: PyTree) -> PyTree:
        """One exact draw from noise as declared by `draw_noise`."""
        ...


def check_gaussian(name: str, value: object, hint: str = "") -> None:
    """Raise TypeError unless `value` is a `Gaussian`."""
    check_made(name, value)
    if not isinstance(value, Gaussian):
        raise TypeError(
            f"{name}: expected a jlangevin.Gaussian, got {type(value).__name__}"
            + (f"; {hint}" if hint else "")
        )


def check_drawable(name: str, value: object) -> None:
    """Raise unless `value` is a law that can be drawn from, and a single one."""
    check_made(name, value)
    if not isinstance(value, Drawable):
        raise TypeError(
            f"{name}: expected one that can be drawn from, a jlangevin.Gaussian or an energy "
            f"with an exact sampler, got {type(value).__name__}"
        )
    if isinstance(value, Gaussian):
        value.check_single(name)
    try:
        value.template()
    except (NoClosedFormError, NotNormalizableError) as error:
        why = isinstance(error, NotNormalizableError) * ", as exp(-E) has no finite integral"
        raise type(error)(
            f"{name}: {type(value).__name__} has no exact sampler{why}; give a law that can be "
            "drawn from, such as jlangevin.Gaussian, or run chains from positions"
        ) from None


def starts(law: Drawable, of: noise.Streams, attempt: jax.Array | int = 0) -> PyTree:
    """One exact draw for each stream, chains on the last axis; another one for each attempt."""
    made = noise.at_step(of, law.draw_noise, law.template(), attempt, Purpose.START)
    if of.high.ndim == 0:
        return law.from_noise(made)
    return jax.vmap(law.from_noise, in_axes=-1, out_axes=-1)(made)


def sample(law: Drawable, key: jax.Array, num_draws: int) -> PyTree:
    """`num_draws` independent exact draws, on a leading axis.

    Draw i depends on (key, i) alone; it is also where chain i of `jlangevin.sample` begins
    under the same key.
    """
    check_key("key", key)
    num_draws = check_count("num_draws", num_draws, minimum=1)
    if num_draws > noise.MAX_CHAINS:
        raise ValueError(
            f"num_draws: a key has {noise.MAX_CHAINS} streams, got {num_draws}; draw the others "
            "under another key"
        )
    return _sample(Parted.of(law), key, num_draws=num_draws)


@partial(compiled, static_argnames=("num_draws",))
def _sample(law: Parted, key: jax.Array, *, num_draws: int) -> PyTree:
    return trees.chains_first(starts(law.whole, noise.streams(key, jnp.arange(num_draws))))


@pytree_dataclass
class Gaussian(Drawable):
    """The normal law N(mean, cov).

    Args:
        mean: the mean, a vector of shape (d,) or any pytree of floating arrays, d elements in all.
        cov: the covariance, (d, d), symmetric positive semi-definite, over the elements of
            `mean` in the order of `jax.flatten_util.ravel_pytree`. A zero matrix is a point.
            Mean and covariance are made one dtype, the widest of the arrays given; Python's
            numbers follow them.

    Raises:
        TypeError: no numbers, or those of half precision, in which no matrix can be factorised.
        ValueError: the shapes disagree, or `cov` is not symmetric or has a negative eigenvalue.

    A `Gaussian` is a pytree, so it passes through `jit`, `grad` and `vmap`; one made by
    `exact.trajectory` has a leading step axis in both leaves.

    Example:
        >>> import jax, jax.numpy as jnp, jlangevin as jl
        >>> law = jl.Gaussian(jnp.zeros(2), jnp.eye(2))
        >>> law.sample(jax.random.key(0), 5).shape
        (5, 2)
    """

    mean: PyTree
    cov: jax.Array

    draw_noise = Want.NORMAL

    # Whether arrays are equal has many answers: a law is equal to itself alone.
    __eq__ = object.__eq__
    __hash__ = object.__hash__

    def __init__(self, mean: PyTree, cov: Numbers) -> None:
        dtype = trees.common_dtype(mean, cov)
        check_no_half("mean, cov", dtype)
        mean = trees.as_position("mean", mean)
        mean = jax.tree.map(lambda leaf: as_array("mean", leaf).astype(dtype), mean)
        cov = as_array("cov", cov)
        d = trees.size(mean)
        if cov.shape != (d, d):
            raise ValueError(
                f"cov: expected shape ({d}, {d}) for a mean of {d} elements, got {cov.shape}"
            )
        mean = check_finite("mean", mean)
        cov = check_spd("cov", cov, semidefinite=True).astype(dtype)
        trees.set_fields(self, mean=mean, cov=cov)

    def check_single(self, name: str) -> None:
        """Raise ValueError if these are many laws, of a trajectory or of chains that differ."""
        if self.cov.ndim != 2:
            raise ValueError(
                f"{name}: expected one law, got a trajectory of {self.cov.shape[0]}, or as many "
                "chains that differ; take jax.tree.map(lambda leaf: leaf[k], law) for that after k "
                "steps, or of chain k, or jax.vmap over all of them"
            )

    def template(self) -> PyTree:
        """Shapes and dtypes of one draw.

        Example:
            >>> import jax.numpy as jnp, jlangevin as jl
            >>> jl.Gaussian(jnp.zeros(2), jnp.eye(2)).template()
            ShapeDtypeStruct(shape=(2,), dtype=float32)
        """
        self.check_single("law")
        return trees.struct(self.mean)

    def from_noise(self, noise: PyTree) -> PyTree:
        """mean + L noise, with L Lᵀ = cov. Its derivative by a singular `cov` is taken as 0."""
        mean, unravel = ravel_pytree(self.mean)
        return unravel(mean + product(factor(self.cov), trees.ravel(noise)))

    def sample(self, key: jax.Array, num_draws: int) -> PyTree:
        """`num_draws` independent draws, on a leading axis; draw i depends on (key, i) alone."""
        return sample(self, key, num_draws)

    def log_prob(self, x: PyTree) -> jax.Array:
        """log density at one position `x` (vmap it over many); NaN where `cov` is singular."""
        self.check_single("law")
        trees.assert_like("x", x, self.mean, "like the mean")
        deviation = trees.ravel(jax.tree.map(lambda a, b: a - b, x, self.mean))
        lower = jnp.linalg.cholesky(self.cov)
        whitened = jax.scipy.linalg.solve_triangular(lower, deviation, lower=True)
        log_det = jnp.sum(jnp.log(jnp.diagonal(lower)))
        d = deviation.shape[0]
        return -0.5 * product(whitened, whitened) - log_det - 0.5 * d * jnp.log(2 * jnp.pi)


def factor(cov: jax.Array) -> jax.Array:
    """A matrix L with L Lᵀ = `cov`: Cholesky's, or where `cov` is singular one by eigenvectors.

    Where `cov` is singular L has no derivative, and 0 is taken for it.
    """
    fixed = lax.stop_gradient(cov)
    regular = jnp.all(jnp.isfinite(jnp.linalg.cholesky(fixed)))
    # Cholesky's derivative would be NaN, and stay so though times 0, where it does not exist.
    lower = jnp.linalg.cholesky(jnp.where(regular, cov, jnp.eye(len(cov), dtype=cov.dtype)))

    def singular() -> jax.Array:
        values, vectors = jnp.linalg.eigh(fixed)
        return vectors * jnp.sqrt(jnp.maximum(values, 0))[None, :]

    return lax.cond(regular, lambda: lower, singular)


def unchecked_gaussian(mean: PyTree, cov: jax.Array) -> Gaussian:
    """A `Gaussian` of computed parts, without the checks of its constructor."""
    return trees.without_checks(Gaussian, mean=mean, cov=cov)
