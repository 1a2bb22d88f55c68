"""The protocol of domains, and helpers they have in common."""

from __future__ import annotations

from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import KeyPath
from jax.typing import ArrayLike

from jlangevin._core import trees
from jlangevin._core.checks import check_made
from jlangevin._core.trees import PyTree

__all__ = ["Domain", "admit", "check_domain", "fitted", "single_array", "wraps"]


class Domain(Protocol):
    """A closed convex set; `jlangevin.domains` describes its methods."""

    def contains(self, x: PyTree) -> jax.Array: ...
    def project(self, x: PyTree) -> PyTree: ...
    def reflect(self, x: PyTree, y: PyTree) -> tuple[PyTree, PyTree]: ...
    def primal(self, u: PyTree) -> PyTree: ...
    def dual(self, x: PyTree, noise: PyTree = None) -> PyTree: ...
    def log_det(self, u: PyTree) -> jax.Array: ...
    def tangent(self, v: PyTree) -> PyTree: ...


def check_domain(domain: object) -> None:
    """Raise TypeError unless `domain` has the methods of a domain."""
    check_made("domain", domain)
    wanted = ("contains", "project", "reflect", "primal", "dual", "log_det", "tangent")
    missing = [name for name in wanted if not hasattr(domain, name)]
    if missing:
        raise TypeError(
            f"domain: {domain!r} is not a domain (it lacks {', '.join(missing)}); pass for "
            "instance jlangevin.domains.box(0.0, 1.0)"
        )


def wraps(domain: Domain) -> bool:
    """Whether the domain says, by a member `wraps`, that it has no walls: what leaves it on one
    side comes back on the other."""
    return bool(getattr(domain, "wraps", False))


def admit(domain: Domain, position: PyTree) -> PyTree:
    """`position` if it is inside, else NaN, which the driver refuses as the start of a chain; on a
    domain that wraps, where it is wrapped to."""
    if wraps(domain):
        return domain.project(position)
    inside = domain.contains(position)
    return jax.tree.map(lambda x: jnp.where(inside, x, jnp.nan), position)


def single_array(position: PyTree, ndim: int | None = None) -> jax.Array:
    if not isinstance(position, (jax.Array, np.ndarray)) or ndim not in (None, position.ndim):
        what = "a single array" if ndim is None else f"a single array of {ndim} dimension(s)"
        raise TypeError(
            f"position: this domain needs {what}, got {trees.shown(position)}; boxes accept any "
            "pytree"
        )
    if not jnp.issubdtype(position.dtype, jnp.floating):
        raise TypeError(f"position: expected a floating array, got dtype {position.dtype}")
    return jnp.asarray(position)


def fitted(name: str, bound: PyTree, tree: PyTree) -> PyTree:
    """`bound` broadcast to the shapes and dtypes of `tree`."""
    if trees.is_array(bound) and jnp.ndim(bound) == 0:
        return jax.tree.map(lambda x: jnp.full(jnp.shape(x), bound, x.dtype), tree)

    def fit(path: KeyPath[Any], bound: ArrayLike, x: jax.Array) -> jax.Array:
        if jnp.shape(bound) not in ((), jnp.shape(x)):
            where = name + jax.tree_util.keystr(path)
            raise ValueError(
                f"{where}: shape {jnp.shape(bound)} does not fit a position of shape "
                f"{jnp.shape(x)}; for many positions use jax.vmap"
            )
        return jnp.full(jnp.shape(x), bound, x.dtype)

    if str(jax.tree.structure(bound)) != str(jax.tree.structure(tree)):
        raise ValueError(
            f"{name}: {trees.shown(bound)} does not fit a position that is {trees.shown(tree)}; "
            "pass a number for all of it, or a pytree like it, with arrays for arrays"
        )
    return jax.tree_util.tree_map_with_path(fit, bound, tree)
