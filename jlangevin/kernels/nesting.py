"""Which kernel may be inside of which: the one place that decides.

What a kernel has it says by its members, one of a user's own as those of the library:

    kernel            another inside of it; what that has counts too
    temperature       T, a number or a schedule
    adopt             see `Kernel`
    domain            walls of its own, in the coordinates of the position it is given
    estimator         where its gradients come from, instead of the energy
    by_value          True if it accepts, rejects or swaps by the energy's value
    counts_steps      True if what it does depends on a number of steps in its state
    gaussian_proposal True if a step is one normal proposal, perhaps with a uniform that accepts it
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from jlangevin.kernels.base import Schedule, check_kernel, has_schedule, layers

__all__ = ["check_inside"]

# A fact is a function from a kernel to that which it is true of: the kernel or one inside, or None.
Fact = Callable[[Any], Any]


def _has(member: str) -> Fact:
    def fact(kernel: Any) -> Any:
        return next((layer for layer in layers(kernel) if _is_there(layer, member)), None)

    return fact


def _lacks(member: str) -> Fact:
    return lambda kernel: None if _is_there(kernel, member) else kernel


def _is_there(kernel: Any, member: str) -> bool:
    value = getattr(kernel, member, None)
    return value is not None and value is not False


def _hot_by_the_clock(kernel: Any) -> Any:
    return kernel if isinstance(kernel.temperature, Schedule) else None


def _by_the_clock(kernel: Any) -> Any:
    return kernel if has_schedule(kernel) else None


# Of each wrapper what it cannot be around, in the order in which it is looked for. {} is the name
# of the kernel that it is true of. All else works, and is tested for its law.
_REFUSED: dict[str, list[tuple[Fact, type[Exception], str]]] = {
    "mirrored": [
        (
            _has("domain"),
            TypeError,
            "kernel: {} has walls of its own, which in the dual coordinates would stand elsewhere; "
            "take it by itself, or mirror a kernel without walls such as jlangevin.mala",
        ),
        (
            _has("estimator"),
            TypeError,
            "kernel: the estimator of {} gives the gradient in x, not in u; take a kernel that "
            "asks the energy for it, such as jlangevin.ula",
        ),
        (
            _lacks("temperature"),
            TypeError,
            "kernel: {} has no temperature, by which the change of volume is to be multiplied; "
            "mirror a kernel that has, such as jlangevin.mala, and put others around it",
        ),
        (
            _hot_by_the_clock,
            ValueError,
            "temperature: expected a number; the energy of u depends on it, and must not change "
            "from step to step",
        ),
    ],
    "tempered": [
        *(
            (
                _lacks(member),
                TypeError,
                "kernel: {} cannot be tempered, as its states mean nothing at another temperature "
                "or are weighed by no energy; take for instance jlangevin.mala or jlangevin.ula",
            )
            for member in ("temperature", "adopt")
        ),
        (
            _hot_by_the_clock,
            ValueError,
            "kernel: its temperature is scheduled; give a number, which is T_1",
        ),
    ],
    "gradient_noise": [
        (
            _has("by_value"),
            TypeError,
            "kernel: {} accepts or rejects by the energy's value, which goes with no noisy "
            "gradient; take an unadjusted kernel such as jlangevin.ula",
        ),
        (
            _has("estimator"),
            TypeError,
            "kernel: {} takes its gradients from an estimator, to which nothing would be added; "
            "add the noise to the estimator, or take jlangevin.ula",
        ),
    ],
    "coupled": [
        (
            _has("counts_steps"),
            TypeError,
            "kernel: what {} does depends on the number of steps done, in which the two chains "
            "differ, so they could not meet; couple the kernel inside of it",
        ),
        (
            _by_the_clock,
            ValueError,
            "kernel: one with a schedule has no stationary law for its chains to meet in; give "
            "numbers",
        ),
    ],
    "reflected": [
        (
            _lacks("gaussian_proposal"),
            TypeError,
            "kernel: {} cannot be reflected, which is for jlangevin.ula and jlangevin.mala; "
            'how="common" couples others',
        ),
    ],
}


def check_inside(wrapper: str, kernel: Any) -> None:
    """Raise unless `kernel` is a kernel, and one that `wrapper` may be around."""
    check_kernel(kernel)
    for fact, error, why in _REFUSED[wrapper]:
        found = fact(kernel)
        if found is not None:
            raise error(why.format(type(found).__name__))
