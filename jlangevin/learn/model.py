"""An energy in two parts: the parameters that are learned, by name, and all the rest."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jlangevin._core import trees
from jlangevin._core.trees import Parted
from jlangevin.energies.base import Energy, check_callable

__all__ = ["Parameters", "Places", "parameters_of", "with_parameters"]

Parameters = dict[str, jax.Array]
Places = tuple[tuple[int, str], ...]
"""Which arrays of a `Parted` are learned: their number among its arrays, and their name."""


class Split(NamedTuple):
    energy: Parted
    places: Places
    parameters: Parameters


def parameters_of(energy: Energy, train: Callable[[str], bool] | None) -> Split:
    """`energy` in parts: floating arrays for whose names `train` is true are its parameters.

    Python's numbers, integers and keys stay as they are. This holds for every pytree, so for the
    models of Flax NNX and Equinox too.
    """
    check_callable(energy)
    if train is not None and not callable(train):
        raise TypeError(
            f"train: expected a function of a parameter's name to a bool, or None, got {train!r}"
        )
    parted = Parted.of(energy)
    leaves, _ = jax.tree_util.tree_flatten_with_path(parted.whole)
    names = [
        jax.tree_util.keystr(path, simple=True, separator=".") or "x"
        for path, leaf in leaves
        if trees.is_array(leaf)
    ]
    floating = {
        number: name
        for number, (name, leaf) in enumerate(zip(names, parted.arrays, strict=True))
        if isinstance(leaf, jax.Array | np.ndarray) and jnp.issubdtype(leaf.dtype, jnp.floating)
    }
    places = tuple((n, name) for n, name in floating.items() if train is None or train(name))
    if not places:
        has = f", out of {', '.join(floating.values())}" if floating else ""
        hint = (
            "train chooses none" + has
            if floating
            else "it has none: a function of the parameters too is made one of the position by "
            "jax.tree_util.Partial(f, parameters)"
        )
        raise ValueError(f"energy: expected floating arrays to learn as its leaves; {hint}")
    if len({name for _, name in places}) < len(places):
        raise ValueError(f"energy: two of its parameters have the same name, among {names}")
    return Split(parted, places, {name: jnp.asarray(parted.arrays[n]) for n, name in places})


def with_parameters(energy: Parted, places: Places, parameters: Parameters) -> Energy:
    """The energy, put together again."""
    arrays = list(energy.arrays)
    for number, name in places:
        arrays[number] = parameters[name]
    return Parted(arrays, energy.structure).whole
