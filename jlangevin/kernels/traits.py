"""What a kernel says of itself, for wrappers, couplings and warm-up."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any, Literal, Self, TypeVar

from jlangevin._core.deprecation import deprecated, warn_deprecated
from jlangevin._core.trees import PyTree
from jlangevin.energies.base import Energy

__all__ = [
    "Convertible",
    "Kinetic",
    "Traits",
    "convert_state",
    "layers",
    "warn_of_adopt",
]

S = TypeVar("S")

Kinetic = Literal["thermal", "isokinetic"]


@dataclasses.dataclass(frozen=True)
class Traits:
    """What a kernel says of itself, for those that go by it: wrappers, couplings and warm-up.

    A kernel says it by its members, one of a user's own as those of the library. One that lacks
    them all has the defaults. A wrapper has its kernel inside as a member `kernel`.
    """

    by_value: bool = False  # `by_value = True`: it accepts, rejects or swaps by the energy's value
    counts_steps: bool = False  # `counts_steps = True`: it goes by a number of steps in its state
    estimates: bool = False  # a member `estimator`, where gradients come from instead of the energy
    walled: bool = False  # a member `domain`: walls, in the coordinates of the position it is given
    has_step_size: bool = False  # a member `step_size`, a number or a schedule
    has_friction: bool = False  # a member `friction`
    has_temperature: bool = False  # a member `temperature`, a number or a schedule
    by_level: bool = False  # a member `sigma`, the noise level that it asks the energy for
    converts: bool = False  # a method `convert_state`, see `Kernel`
    proposes: bool = False  # a method `proposal`, see `jlangevin.kernels.proposal`
    # `kinetic`: what velocity it has. "thermal" is of N(0, T/M), and the step size a time;
    # "isokinetic" is of a constant length, and the step size is one, too. None is no velocity, and
    # the step size η. Left unsaid, a member `inverse_mass` is thermal and `decoherence_length`
    # isokinetic.
    kinetic: Kinetic | None = None
    # `carries = ("velocity",)`: members of its state, beside the position, that the energy does not
    # determine. They stay as they are if the energy becomes another.
    carries: tuple[str, ...] = ()

    @classmethod
    def own(cls, kernel: object) -> Self:
        """Those of one layer, without regard to what is inside of it."""
        kinetic: Kinetic | None = getattr(kernel, "kinetic", None)
        if not hasattr(kernel, "kinetic"):
            if hasattr(kernel, "decoherence_length"):
                kinetic = "isokinetic"
            elif hasattr(kernel, "inverse_mass"):
                kinetic = "thermal"
        return cls(
            by_value=_says(kernel, "by_value"),
            counts_steps=_says(kernel, "counts_steps"),
            estimates=_says(kernel, "estimator"),
            walled=_says(kernel, "domain"),
            has_step_size=_says(kernel, "step_size"),
            has_friction=_says(kernel, "friction"),
            has_temperature=_says(kernel, "temperature"),
            by_level=_says(kernel, "sigma"),
            converts=_converter(kernel) is not None,
            proposes=_says(kernel, "proposal"),
            kinetic=kinetic,
            carries=tuple(getattr(kernel, "carries", ())),
        )

    @classmethod
    def of(cls, kernel: object) -> Self:
        """Those of a kernel: what is true inside of a wrapper is true of it, but that a wrapper
        passes on no step size, friction, temperature, level, conversion or proposal."""
        each = [cls.own(layer) for layer in layers(kernel)]
        return dataclasses.replace(
            each[0],
            by_value=any(own.by_value for own in each),
            counts_steps=any(own.counts_steps for own in each),
            estimates=any(own.estimates for own in each),
            walled=any(own.walled for own in each),
            kinetic=next((own.kinetic for own in each if own.kinetic is not None), None),
        )


def _says(kernel: object, member: str) -> bool:
    value = getattr(kernel, member, None)
    return value is not None and value is not False


class Convertible:
    """A kernel whose states mean the same at every temperature, as positions do and energies."""

    def convert_state(self, energy: Energy, state: PyTree, other: Self) -> PyTree:
        """See `Kernel`."""
        return state

    @deprecated("convert_state", since="0.1")
    def adopt(self, energy: Energy, state: PyTree, other: Self) -> PyTree:
        return self.convert_state(energy, state, other)


def convert_state(kernel: object, energy: Energy, state: S, other: object) -> S:
    """A state of `other`, the same kernel at another temperature, as one of `kernel`'s own."""
    converted: S = getattr(kernel, str(_converter(kernel)))(energy, state, other)
    return converted


def warn_of_adopt(kernel: object) -> None:
    """Say that `convert_state` is what the method `adopt` is called now, if `kernel` has that."""
    if _converter(kernel) == "adopt":
        warn_deprecated(f"{type(kernel).__name__}.adopt", "convert_state", since="0.1")


def _converter(kernel: object) -> str | None:
    """What the method is called that makes states its own: of two names that of the class which is
    nearer to `kernel`, as a subclass of a user's may have the old one."""
    for kind in type(kernel).__mro__:
        for name in ("convert_state", "adopt"):
            if name in vars(kind):
                return name
    return next((name for name in ("convert_state", "adopt") if hasattr(kernel, name)), None)


def layers(kernel: object) -> Iterator[Any]:
    """`kernel`, and the kernels that it is around, from the outermost to the innermost."""
    while kernel is not None:
        yield kernel
        kernel = getattr(kernel, "kernel", None)
