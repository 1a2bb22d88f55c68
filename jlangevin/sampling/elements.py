"""Arrays as single elements in registers, and as words in memory.

In registers each element of a chain's array is a vector of its own over a tile of chains. In memory
the leaves of several dtypes are one array of words: a row for each element, a column for each
chain. A kernel loads it at once and stores it at once, because its compiler takes long over each
access to memory: the time grows with the square of the kernel's length.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

__all__ = ["Elements", "Rows", "known", "narrow", "placed", "spread", "wide"]

Elements = np.ndarray[Any, np.dtype[np.object_]]
"""An array as an array of its elements: known elements are NumPy scalars, the others are traced."""


def placed(values: Sequence[Any], shape: tuple[int, ...]) -> Elements:
    """Elements in row-major order."""
    found = np.empty(len(values), object)
    for number, value in enumerate(values):  # NumPy would look into values assigned all at once
        found[number] = value
    return found.reshape(shape)


def known(array: Any) -> Elements:
    """The elements of a constant."""
    array = np.asarray(array)
    return placed([*array.reshape(-1)], array.shape)


def spread(x: Any, shape: tuple[int, ...]) -> Any:
    """An element broadcast to `shape`, that of an operation's other operands."""
    if isinstance(x, np.bool_):  # a card has no constants of this dtype
        x = lax.eq(np.int32(x), np.int32(1))
    return x if x.shape == shape else lax.broadcast(x, shape)


_WORDS = {4: jnp.int32, 8: jnp.int64}


def wide(leaf: Any) -> jax.Array:
    """An array in a dtype as wide as a word, which can hold all its values."""
    leaf = jnp.asarray(leaf)
    if leaf.dtype.itemsize in _WORDS:
        return leaf
    return leaf.astype(jnp.float32 if jnp.issubdtype(leaf.dtype, jnp.floating) else jnp.int32)


def narrow(x: Any, dtype: Any) -> Any:
    """A number from `wide`, back in its own dtype."""
    if dtype == jnp.bool_:
        return x != 0
    return x if x.dtype == dtype else x.astype(dtype)


class Rows(NamedTuple):
    """Leaves as words in memory (see above); one array for each size of words."""

    leaves: list[jax.ShapeDtypeStruct]  # their last axis counts chains
    words: list[jax.Array]
    tile: int  # chains that are loaded at once

    @classmethod
    def of(cls, leaves: Sequence[jax.Array], tile: int) -> Rows:
        shapes = [jax.ShapeDtypeStruct(leaf.shape, leaf.dtype) for leaf in leaves]
        made: dict[int, list[jax.Array]] = {}
        for leaf in map(wide, leaves):
            word = _WORDS[leaf.dtype.itemsize]
            flat = leaf.reshape(-1, leaf.shape[-1])
            made.setdefault(leaf.dtype.itemsize, []).append(lax.bitcast_convert_type(flat, word))
        return cls(shapes, [_filled(jnp.concatenate(rows), tile) for rows in made.values()], tile)

    def numbered(self) -> Iterator[tuple[jax.ShapeDtypeStruct, int, list[int]]]:
        """Each leaf, with the number of its array and the numbers of its rows there."""
        sizes: list[int] = []
        used: list[int] = []
        for leaf in self.leaves:
            size = wide(jnp.zeros((), leaf.dtype)).dtype.itemsize
            if size not in sizes:
                sizes.append(size)
                used.append(0)
            at = sizes.index(size)
            rows = math.prod(leaf.shape[:-1])
            yield leaf, at, [*range(used[at], used[at] + rows)]
            used[at] += rows

    def elements(self, blocks: Sequence[jax.Array]) -> list[Elements]:
        """The elements of each leaf, for a tile of chains. The leaf's last axis becomes 1."""
        found = []
        for leaf, at, rows in self.numbered():
            block, dtype = blocks[at], wide(jnp.zeros((), leaf.dtype)).dtype
            number = lax.broadcasted_iota(jnp.int32, block.shape, 0)
            # In registers the only way to get a row is a sum in which all other rows are 0.
            words = [
                jnp.sum(jnp.where(number == row, block, 0), axis=0, dtype=block.dtype)
                for row in rows
            ]
            values = [narrow(lax.bitcast_convert_type(w, dtype), leaf.dtype) for w in words]
            found.append(placed(values, (*leaf.shape[:-1], 1)))
        return found

    def blocks(self, arrays: Sequence[Elements]) -> list[jax.Array]:
        """The words of a tile of chains, from the elements of all leaves."""
        found = [jnp.zeros((len(x), self.tile), x.dtype) for x in self.words]
        for (_, at, rows), x in zip(self.numbered(), arrays, strict=True):
            number = lax.broadcasted_iota(jnp.int32, found[at].shape, 0)
            for row, element in zip(rows, x.flat, strict=True):
                word = lax.bitcast_convert_type(wide(element), found[at].dtype)
                found[at] = jnp.where(number == row, word[None, :], found[at])
        return found

    def unpacked(self, words: Sequence[jax.Array]) -> list[jax.Array]:
        """The leaves, from the words of all chains."""
        found = []
        for leaf, at, rows in self.numbered():
            dtype = wide(jnp.zeros((), leaf.dtype)).dtype
            part = words[at][rows[0] : rows[-1] + 1, : leaf.shape[-1]]
            values = lax.bitcast_convert_type(part, dtype).reshape(leaf.shape)
            found.append(narrow(values, leaf.dtype))
        return found


def _filled(words: jax.Array, tile: int) -> jax.Array:
    """Words with rows up to a power of two, and with the last chain repeated to fill its tile.

    One more column makes the length odd. The rows are then not aligned. If they were, compilers
    could give a thread several chains of a row, and other threads would repeat all its work.
    """
    rows, num_chains = words.shape
    columns = -(-num_chains // tile) * tile + 1
    words = jnp.pad(words, ((0, 0), (0, columns - num_chains)), mode="edge")
    return jnp.pad(words, ((0, (1 << (rows - 1).bit_length()) - rows), (0, 0)))
