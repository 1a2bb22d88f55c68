"""Draws and laws as arrays in float64 on the host."""

from __future__ import annotations

import math
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np

from jlangevin._core import trees
from jlangevin._core.checks import as_host, check_known, check_no_run
from jlangevin._core.trees import PyTree
from jlangevin.distribution import Gaussian, check_gaussian, unchecked_gaussian
from jlangevin.exact.grid.law import GridLaw
from jlangevin.exact.grid.plane.law import PlaneLaw
from jlangevin.exact.grid.product import ProductLaw
from jlangevin.verify._statistics import Floats

__all__ = ["as_matrix", "checked_arrays", "coordinate_names", "standardised"]


def as_matrix(samples: PyTree) -> Floats:
    """Leaves of shape (n, …) as one array (n, d) in float64 on the host."""
    leaves = [np.asarray(as_host("samples", x), np.float64) for x in jax.tree.leaves(samples)]
    return np.concatenate(
        [leaf.reshape(len(leaf), math.prod(leaf.shape[1:])) for leaf in leaves], axis=1
    )


def checked_arrays(samples: PyTree, law: Any) -> tuple[Floats, Floats, Floats]:
    """Draws (n, d), mean (d,) and covariance (d, d) in float64 on the host."""
    if not isinstance(law, GridLaw | PlaneLaw | ProductLaw):
        check_gaussian("law", law, "exact.law gives the law of a chain after a number of steps")
        law.check_single("law")
    check_no_run("samples", samples, "one position per chain, for instance run.position")
    check_known("the tests are made on the host", samples=samples, law=law)
    samples = trees.as_position("samples", samples) if isinstance(samples, list) else samples
    try:
        chex.assert_trees_all_equal_structs(samples, law.mean)
    except AssertionError:
        raise ValueError(
            f"samples: expected a pytree like law.mean, {trees.shown(law.mean)}, with a leading "
            f"axis of draws; got {trees.shown(samples)}"
        ) from None
    means, leaves = jax.tree.leaves(law.mean), jax.tree.leaves(samples)
    n = np.shape(leaves[0])[0] if np.ndim(leaves[0]) else 0
    for leaf, like in zip(leaves, means, strict=True):
        if np.shape(leaf) != (n, *like.shape):
            hint = ""
            if np.ndim(leaf) == like.ndim + 2:
                hint = (
                    "; draws of one chain depend on each other: take one per chain, "
                    "for instance draws[:, -1]"
                )
            raise ValueError(
                f"samples: expected shape (n, {', '.join(map(str, like.shape))}) to match "
                f"law.mean, got {np.shape(leaf)}{hint}"
            )
    mean = np.asarray(trees.ravel(law.mean), np.float64)
    return as_matrix(samples), mean, np.asarray(law.cov, np.float64)


def standardised(samples: PyTree, laws: Gaussian) -> tuple[PyTree, Gaussian]:
    """Each draw by its own law, in units in which that is N(0, I); and N(0, I)."""
    first = jax.tree.map(lambda leaf: leaf[0], laws)
    x, _, _ = checked_arrays(samples, first)
    if len(x) != len(laws.cov):
        raise ValueError(
            f"samples: there are {len(laws.cov)} laws, and so as many draws are expected, one of "
            f"each; got {len(x)}. Of a trajectory of laws take one, "
            "jax.tree.map(lambda leaf: leaf[k], law)"
        )
    covs, means = np.asarray(laws.cov, np.float64), as_matrix(laws.mean)
    bad = ~np.array(
        [np.isfinite(a).all() and np.isfinite(b).all() for a, b in zip(means, covs, strict=True)]
    )
    if bad.any():
        raise ValueError(
            f"law: {bad.sum()} of {len(bad)} laws are not finite, the first is that of draw "
            f"{np.argmax(bad)}"
        )
    try:
        lower = np.linalg.cholesky(covs)
    except np.linalg.LinAlgError:
        raise ValueError("law: one of the covariances is singular") from None
    z = np.linalg.solve(lower, (x - means)[:, :, None])[:, :, 0]
    d = z.shape[1]
    mean = jax.tree.map(lambda leaf: np.zeros(leaf.shape), first.mean)
    starts = np.cumsum([0] + [leaf.size for leaf in jax.tree.leaves(mean)])
    parts = [
        z[:, a:b].reshape(-1, *leaf.shape)
        for a, b, leaf in zip(starts, starts[1:], jax.tree.leaves(mean), strict=False)
    ]
    like = jax.tree.structure(mean)
    return jax.tree.unflatten(like, parts), unchecked_gaussian(mean, jnp.asarray(np.eye(d)))


def coordinate_names(mean: PyTree) -> tuple[str, ...]:
    """Names of the coordinates, in the order of the law's covariance."""
    names: list[str] = []
    for path, leaf in jax.tree_util.tree_leaves_with_path(mean):
        name = jax.tree_util.keystr(path, simple=True, separator=".")
        for place in np.ndindex(leaf.shape):
            inside = ",".join(map(str, place))
            names.append((f"{name}[{inside}]" if inside else name) if name else inside)
    return tuple(names)
