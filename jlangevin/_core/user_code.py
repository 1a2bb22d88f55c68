"""Functions that users wrote: what they return, and notes on the errors that they raise."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import jax

from jlangevin._core import trees
from jlangevin._core.trees import PyTree

__all__ = ["check_returned", "note_on_errors", "shapes_of"]

# What a function raises that is written for numbers and gets tracers.
_WANTS_VALUES = (
    jax.errors.ConcretizationTypeError,
    jax.errors.TracerArrayConversionError,
    jax.errors.TracerIntegerConversionError,
)


@contextlib.contextmanager
def note_on_errors(by: str) -> Iterator[None]:
    """Errors raised inside, by code that is not ours, are told apart by a note."""
    try:
        yield
    except Exception as error:
        error.add_note(f"jlangevin: raised {by}")
        if isinstance(error, _WANTS_VALUES):
            error.add_note(
                "jlangevin: it is traced, so no value is known there; take jax.numpy (jnp) where "
                "it has numpy, jnp.where for if, and leave out float() and int()"
            )
        raise


def shapes_of(
    name: str, given: str, function: Callable[..., Any], *args: Any, by: str | None = None
) -> PyTree:
    """What a user's `function`, given as the argument `name`, returns, as shapes.

    `given` says in words what `args` are, and `by` what the function is, `name` if None.

    Raises:
        TypeError: it returns what is not made of numbers and arrays. Errors of its own have a note
            that names it and says what it was given.
    """
    shown = trees.shown(args if len(args) > 1 else args[0])

    def called(*args: Any) -> PyTree:
        with note_on_errors(f"by {by or name}, given {given} {shown}"):
            found = function(*args)
        check_returned(name, given, found)
        return found

    return jax.eval_shape(called, *args)


def check_returned(name: str, given: str, found: PyTree) -> None:
    """Raise TypeError unless what a user's function returned is made of numbers and arrays."""
    for leaf in jax.tree.leaves(found):
        if not isinstance(leaf, bool) and not trees.is_array(leaf):
            hint = ", which has to be called" if callable(leaf) else ""
            raise TypeError(
                f"{name}: expected numbers, arrays or a pytree of them from it, given {given}; "
                f"got {type(leaf).__name__}{hint}"
            )
