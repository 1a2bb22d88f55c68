"""Which kernel may be inside of which: the one place that decides.

It goes by what a kernel says of itself, one of a user's own as those of the library: `Traits`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from jlangevin.kernels.base import (
    Kernel,
    Schedule,
    WithTemperature,
    check_kernel,
    has_schedule,
)
from jlangevin.kernels.traits import Traits, layers

__all__ = ["check_inside"]

# A fact is a function from a kernel to that which it is true of: the kernel or one inside, or None.
Fact = Callable[[Any], object]


def _has(trait: str) -> Fact:
    def fact(kernel: Kernel) -> object:
        return next((each for each in layers(kernel) if getattr(Traits.own(each), trait)), None)

    return fact


def _lacks(trait: str) -> Fact:
    return lambda kernel: None if getattr(Traits.own(kernel), trait) else kernel


def _hot_by_the_clock(kernel: WithTemperature) -> object:
    return kernel if isinstance(kernel.temperature, Schedule) else None


def _by_the_clock(kernel: Kernel) -> object:
    return kernel if has_schedule(kernel) else None


def _accepts_everything(kernel: Kernel) -> object:
    """The innermost kernel, as swaps and the like correct nothing that it does."""
    (*_, innermost) = layers(kernel)
    return None if Traits.own(innermost).by_value else innermost


# Of each wrapper what it cannot be around, in the order in which it is looked for. {} is the name
# of the kernel that it is true of. All else works, and is tested for its law.
_REFUSED: dict[str, list[tuple[Fact, type[Exception], str]]] = {
    "mirrored": [
        (
            _has("walled"),
            TypeError,
            "kernel: {} has walls of its own, which in the dual coordinates would stand elsewhere; "
            "take it by itself, or mirror a kernel without walls such as jlangevin.mala",
        ),
        (
            _has("estimates"),
            TypeError,
            "kernel: the estimator of {} gives the gradient in x, not in u; take a kernel that "
            "asks the energy for it, such as jlangevin.ula",
        ),
        (
            _lacks("has_temperature"),
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
                _lacks(trait),
                TypeError,
                "kernel: {} cannot be tempered, as its states mean nothing at another temperature "
                "or are weighed by no energy; take for instance jlangevin.mala or jlangevin.ula",
            )
            for trait in ("has_temperature", "converts")
        ),
        (
            _hot_by_the_clock,
            ValueError,
            "kernel: its temperature is scheduled; give a number, which is T_1",
        ),
    ],
    "switched": [
        (
            _has("counts_steps"),
            TypeError,
            "kernel: {} has a state of its own from step to step, which begins anew at every level "
            "of the path; give the kernel inside of it",
        ),
        (
            _has("walled"),
            TypeError,
            "kernel: {} has walls, outside of which draws of a base may be; take a kernel without "
            "walls, such as jlangevin.mala, and an energy that is +inf outside",
        ),
        (
            _accepts_everything,
            TypeError,
            "kernel: {} accepts every proposal, so that its steps change the law of a level, and "
            "weights would be biased by that; take one that accepts or rejects, such as "
            "jlangevin.mala or jlangevin.malt",
        ),
        (
            _lacks("has_temperature"),
            TypeError,
            "kernel: {} has no temperature, by which the energies are to be divided; take one that "
            "has, such as jlangevin.mala",
        ),
        (
            _hot_by_the_clock,
            ValueError,
            "temperature: expected a number; the normaliser is that of one temperature",
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
            _has("estimates"),
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
            _lacks("proposes"),
            TypeError,
            "kernel: {} cannot be reflected, which is for jlangevin.ula and jlangevin.mala; "
            'how="common" couples others',
        ),
    ],
}


def check_inside(wrapper: str, kernel: object) -> None:
    """Raise unless `kernel` is a kernel, and one that `wrapper` may be around."""
    check_kernel(kernel)
    for fact, error, why in _REFUSED[wrapper]:
        found = fact(kernel)
        if found is not None:
            raise error(why.format(type(found).__name__))
