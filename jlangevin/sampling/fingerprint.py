"""Digests that tell whether two objects in different processes are equal.

They are made of descriptions by `contents`, and of checksums of arrays.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from numpy.typing import NDArray

from jlangevin._core.compiling import compiled
from jlangevin._core.contents import Description, digest
from jlangevin._core.trees import ARRAY, PyTree, Structure

__all__ = ["checksums", "of_arrays", "of_structure"]


def of_structure(structure: Structure) -> str:
    """A digest of what is left of a pytree without its arrays."""
    return digest(_PortableDescription().of_structure(structure))


def of_arrays(tree: PyTree) -> str:
    """A digest of the arrays of a pytree, by their values as JAX arrays."""
    leaves = [jnp.asarray(leaf) for leaf in jax.tree.leaves(tree)]
    shapes = [(leaf.shape, str(leaf.dtype)) for leaf in leaves]
    return digest(repr((shapes, checksums(leaves))))


# Arrays ---------------------------------------------------------------------------------------


def checksums(arrays: Iterable[jax.Array]) -> list[int]:
    """A 32-bit checksum of each array, the same however it is spread over devices."""
    return [int(value) for value in _checksums_on_device([_real(array) for array in arrays])]


def _real(array: jax.Array) -> jax.Array:
    if jnp.issubdtype(array.dtype, jax.dtypes.prng_key):
        return jax.random.key_data(array)
    if jnp.issubdtype(array.dtype, jnp.complexfloating):
        return jnp.stack([array.real, array.imag])
    return array


@compiled
def _checksums_on_device(leaves: list[jax.Array]) -> list[jax.Array]:
    def one(leaf: jax.Array) -> jax.Array:
        kinds = {1: jnp.uint8, 2: jnp.uint16, 4: jnp.uint32, 8: jnp.uint32}
        if leaf.dtype == jnp.bool_:
            leaf = leaf.astype(jnp.uint8)
        words = lax.bitcast_convert_type(leaf, kinds[leaf.dtype.itemsize]).astype(jnp.uint32)
        place = jnp.uint32(0)
        for axis, size in enumerate(words.shape):
            along = lax.broadcasted_iota(jnp.uint32, words.shape, axis)
            place = place * jnp.uint32(size) + along
        # A sum modulo 2**32 of words hashed with their places (MurmurHash3's finaliser).
        x = words + place * jnp.uint32(0x9E3779B9)
        for factor in (0x85EBCA6B, 0xC2B2AE35):
            x = (x ^ (x >> jnp.uint32(16))) * jnp.uint32(factor)
        return jnp.sum(x ^ (x >> jnp.uint32(16)), dtype=jnp.uint32)

    return [one(leaf) for leaf in leaves]


# Everything else ------------------------------------------------------------------------------


class _PortableDescription(Description):
    def of_structure(self, structure: Structure) -> str:
        rest = ["array" if leaf is ARRAY else self.of(leaf) for leaf in structure.rest]
        return f"{self.treedef(structure.treedef)} {rest}"

    def _array(self, array: jax.Array | NDArray[Any]) -> str:
        if isinstance(array, jax.Array):
            return f"array {array.shape} {array.dtype} {checksums([array])}"
        plain = array.dtype.kind in "biufcmMSUV"
        words = np.ascontiguousarray(array).tobytes() if plain else repr(array.tolist()).encode()
        return f"array {array.shape} {array.dtype} {hashlib.sha256(words).hexdigest()[:16]}"
