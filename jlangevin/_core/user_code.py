"""Calls of functions that users wrote: what they return, and notes on errors they raise."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

import jax

from jlangevin._core import trees
from jlangevin._core.trees import PyTree

__all__ = ["check_returned", "note_on_errors", "shapes_of"]

# Raised by a function that was written for numbers and is given tracers.
_WANTS_VALUES = (
    jax.errors.ConcretizationTypeError,
    jax.errors.TracerArrayConversionError,
    jax.errors.TracerIntegerConversionError,
)


@contextlib.contextmanager
def note_on_errors(by: str) -> Iterator[None]:
    """Add a note to errors raised inside, which says that the code of a user raised them."""
    try:
        yield
    except Exception as error:
        error.add_note(f"jlangevin: raised {by}")
        if isinstance(error, _WANTS_VALUES):
            error.add_note(
                "jlangevin: it is traced, so values are not known; use jax.numpy (jnp) instead of "
                "numpy, jnp.where for if, and leave out float() and int()"
            )
        if isinstance(error, TypeError) and "unhashable" in str(error):
            error.add_note(
                "jlangevin: arrays have no hash, nor has what holds them; instead of "
                "jax.jit(model) pass the model itself, which is compiled here"
            )
        raise


def shapes_of(
    name: str, given: str, function: Callable[..., PyTree], *args: PyTree, by: str | None = None
) -> PyTree:
    """The shapes of what a user's `function`, passed as the argument `name`, returns for `args`.

    In messages `given` describes `args`, and `by` the function (`name` if None).

    Raises:
        TypeError: it returns something other than numbers and arrays. Its own errors get a note
            with its name and what it was given.
    """
    shown = trees.shown(args if len(args) > 1 else args[0])

    def called(*args: PyTree) -> PyTree:
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
                f"{name}: expected numbers, arrays or a pytree of them as its result, given "
                f"{given}; got {type(leaf).__name__}{hint}"
            )
