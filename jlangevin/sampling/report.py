"""What is said of a run on the host: chains that diverged, are stuck, or met faults of the energy.

`trouble` counts in numbers that every process of a run can read. Here they become words.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jlangevin._core import trees
from jlangevin._core.compiling import compiled
from jlangevin._core.trees import Parted, PyTree
from jlangevin._core.warn import warn
from jlangevin.energies.base import value_and_gradient
from jlangevin.errors import (
    DivergenceError,
    DivergenceWarning,
    EnergyWarning,
    PrecisionWarning,
    StuckWarning,
)
from jlangevin.kernels.base import LAST_FAULT, at_step
from jlangevin.sampling.state import SamplerState, Work
from jlangevin.sampling.trouble import COARSE, End, Sign, Trouble, first_fault, seen, trouble

__all__ = ["FAILURES", "check_start", "tell", "warn_if_stuck"]

_ENOUGH_STEPS = 100  # after which chains that have not moved are stuck, and not merely unlucky
_WHERE = (
    "A `where` does not keep NaN out of the gradient of the branch that is not taken: give that "
    "branch an argument at which it is finite. Where p is 0 by intent, let E be +inf"
)


FAILURES = Sign.DIVERGED | Sign.OUTSIDE | Sign.FAULTY  # for which on_divergence="raise" raises


def tell(state: SamplerState, end: End, work: Work, *, raising: bool) -> None:
    """Warn, or raise DivergenceError, of what is wrong with the chains of a run."""
    signs = seen(end)
    for sign, words, category in (
        (Sign.DIVERGED, _diverged, DivergenceWarning),
        (Sign.OUTSIDE, _outside, EnergyWarning),
        (Sign.FAULTY, _faulty, EnergyWarning),
        (Sign.ROUNDED, _rounded, PrecisionWarning),
        (Sign.BLURRED, _blurred, PrecisionWarning),
    ):
        if sign not in signs:
            continue
        message = words(_found(sign, state, end), end, state, work)
        if raising and sign in FAILURES:
            raise DivergenceError(message)
        warn(message, category)


def _found(sign: Sign, state: SamplerState, end: End) -> Trouble:
    """The chains that show a sign."""
    nothing = jnp.zeros_like(end.signs)
    steps = state.tally.first_bad_step if sign is Sign.DIVERGED else nothing
    what = state.tally.rejections.faulty if sign is Sign.FAULTY else nothing
    found: Trouble = jax.device_get(trouble(end.signs, jnp.int32(sign), steps, what))
    return found


def warn_if_stuck(state: SamplerState, before: int) -> None:
    """Say which chains of a kernel that accepts or rejects have hardly moved.

    Of a run that went on after so many steps `before` all that could be told then has been said: a
    chain that had moved is not stuck later.
    """
    rates, steps = state.tally.acceptance, int(state.tally.num_steps)
    if rates is None or not rates.is_fully_addressable or not before < _ENOUGH_STEPS <= steps:
        return
    rates = np.asarray(rates)
    stuck = ~(rates * steps >= 1)
    if not stuck.any():
        return
    (which,) = np.nonzero(stuck)
    shown = ", ".join(map(str, which[:5])) + ", …" * (len(which) > 5)
    message = (
        f"{len(which)} of {len(rates)} chains have hardly moved (of the run: {shown}): their "
        f"acceptance is at most {np.max(rates[stuck]):.1g}, over {steps} steps"
    )
    values = getattr(state.kernel, "energy", None)
    if values is not None and not stuck.all():
        values = np.asarray(values, np.float64)
        message += (
            f". Their energies are {np.min(values[stuck]):.4g} to {np.max(values[stuck]):.4g}; the "
            f"median of the others is {np.median(values[~stuck]):.4g}"
        )
    message += ". A smaller step size is the usual remedy, and warm_up finds one"
    if not stuck.all():
        message += ". Leave these chains out (run.info.acceptance_rate), or start them elsewhere"
    warn(message, StuckWarning)


def check_start(fault: jax.Array, state: SamplerState, stream_ids: Any) -> None:
    """Raise ValueError if chains are not finite at their start: see `first_fault`."""
    if not trees.is_concrete(fault):
        return
    if fault.is_fully_addressable and (np.asarray(fault) < 0).all():
        return
    # Faults are numbered from 0, so that what is marked in any bit is one.
    bad: Trouble = jax.device_get(trouble(fault + 1, jnp.int32(-1), jnp.zeros_like(fault), fault))
    if not bad.number:
        return
    place, number = int(bad.chain), int(bad.what)
    first = f"chain {place}"
    if trees.is_concrete(stream_ids) and int(stream_ids[place]) != place:
        first += f" of the run (stream {int(stream_ids[place])})"
    part = _parts(state.kernel.position)[number]
    remedy = "Start where energy and gradient are finite; jlangevin.starts.draw draws such starts"
    if part.startswith("the position"):
        remedy = "Give finite positions"
    elif part == "the kernel's state":
        remedy = "Start inside of the kernel's domain, if it has one"
    raise ValueError(
        f"init: not finite at the start of {int(bad.number)} of {len(stream_ids)} chains; of the "
        f"first, {first}, {part} is not. {remedy}"
    )


def _parts(position: PyTree) -> list[str]:
    """What can be at fault, in words, in the order of `first_fault`."""
    paths = [jax.tree_util.keystr(path) for path, _ in jax.tree.leaves_with_path(position)]
    leaves = [path and f" in its leaf {path}" for path in paths]
    return [
        *(f"the position{leaf}" for leaf in leaves),
        "the energy",
        *(f"its gradient{leaf}" for leaf in leaves),
        "the kernel's state",
    ]


def _diverged(found: Trouble, end: End, state: SamplerState, work: Work) -> str:
    return (
        f"{_share(found, end)} turned non-finite and were frozen where they were last finite; the "
        f"first is chain {int(found.chain)} of the run, after {int(found.step)} steps "
        f"(run.info.first_bad_step has all of them){_cause(found, state, work)}. Their draws "
        "repeat that place from then on and are still in run.draws; run.info.num_divergent == 0 "
        "chooses the other chains. A smaller step size is the usual remedy; tamed_ula or mala "
        "where the energy is steep far out"
    )


def _outside(found: Trouble, end: End, state: SamplerState, work: Work) -> str:
    return (
        f"the energy is not finite where {_share(found, end)} ended, although its gradient is; the "
        f"first is chain {int(found.chain)} of the run. This kernel asks for the gradient alone, "
        "so nothing kept its chains where the energy is defined, and their draws are of another "
        "law; run.info.num_divergent == 0 chooses the other chains. Take a kernel that rejects "
        "(jlangevin.mala), or free coordinates (jlangevin.mirrored)"
    )


def _faulty(found: Trouble, end: End, state: SamplerState, work: Work) -> str:
    faults = state.tally.rejections.faults
    count = f"{int(np.sum(faults)):,} " if faults.is_fully_addressable else ""
    parts = _parts(state.kernel.position)
    parts = parts[parts.index("the energy") : -1]
    bits = int(found.what)
    what = ", ".join(part for k, part in enumerate(parts) if bits >> min(k, LAST_FAULT) & 1)
    return (
        f"{count}proposals of {_share(found, end)} were rejected because the energy or its "
        f"gradient is not a number there; for the first, chain {int(found.chain)} of the run, it "
        f"was {what}. Chains keep out of wherever that is, and their draws are of a law that is "
        f"cut off there (run.info.rejections.faults has the counts). {_WHERE}"
    )


def _rounded(found: Trouble, end: End, state: SamplerState, work: Work) -> str:
    dtype = trees.float_dtype(state.kernel.position)
    return (
        f"proposals of {_share(found, end)} were rejected because {dtype} rounds them onto a wall "
        "of the domain, where the energy is not finite; the first is chain "
        f"{int(found.chain)} of the run (run.info.rejections.rounded has the counts). What mass "
        "the law has so near to the wall is lost. Enable x64, or put the wall that matters at 0, "
        "where floats are dense"
    )


def _blurred(found: Trouble, end: End, state: SamplerState, work: Work) -> str:
    return (
        f"energies of {_share(found, end)} are so large that rounding them is an error of up to "
        f"{float(_most(end.blur)):.2g} T in what is accepted by (eps |E| / T, which should be "
        f"below {COARSE}); the first is chain {int(found.chain)} of the run. Their law is another "
        "one. Subtract a constant from the energy, such as its value at a typical place, or enable "
        "x64"
    )


def _share(found: Trouble, end: End) -> str:
    return f"{int(found.number)} of {end.signs.size} chains"


def _cause(found: Trouble, state: SamplerState, work: Work) -> str:
    """What was not finite where the first chain was frozen: a schedule, or the energy."""
    try:
        at_step(work.kernel.whole, jnp.int32(found.step))
    except ValueError as error:
        return f"; {error}"
    place, position = int(found.chain), state.kernel.position
    if not all(leaf.is_fully_addressable for leaf in jax.tree.leaves(position)):
        return ""
    there = jax.tree.map(lambda leaf: jnp.asarray(np.asarray(leaf)[place]), position)
    fault = int(_fault_at(work.energy, there))
    if fault < 0:
        return ""
    return f"; {_parts(position)[fault]} is not finite there"


@compiled
def _most(x: jax.Array) -> jax.Array:
    return jnp.max(x)


@compiled
def _fault_at(energy: Parted, position: PyTree) -> jax.Array:
    value, slope = value_and_gradient(energy.whole, position)
    return first_fault(jax.tree.map(lambda x: x[..., None], (position, value, slope)))[0]
