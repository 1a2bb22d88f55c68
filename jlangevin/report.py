"""What is said of a run on the host: chains that diverged, are stuck, or met faults of the energy.

`program` counts in numbers that every process of a run can read. Here they become words.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jlangevin import program, trees
from jlangevin._warn import warn
from jlangevin.compiling import compiled
from jlangevin.errors import (
    DivergenceError,
    DivergenceWarning,
    EnergyWarning,
    PrecisionWarning,
    StuckWarning,
)
from jlangevin.kernels.base import LAST_FAULT, at_step, value_and_gradient
from jlangevin.program import Outcome, SamplerState, Trouble, Work
from jlangevin.trees import PyTree, Structure

__all__ = ["check_start", "failed", "tell", "warn_if_stuck"]

_ENOUGH_STEPS = 100  # after which chains that have not moved are stuck, and not merely unlucky
_WHERE = (
    "A `where` does not keep NaN out of the gradient of the branch that is not taken: give that "
    "branch an argument at which it is finite. Where p is 0 by intent, let E be +inf"
)


def failed(out: Outcome) -> bool:
    """Whether on_divergence="raise" is to raise."""
    return any(int(found.number) for found in (out.diverged, out.outside, out.faulty))


def tell(out: Outcome, work: Work, *, raising: bool) -> None:
    """Warn, or raise DivergenceError, of what is wrong with the chains of a run."""
    total = out.num_divergent.shape[0]
    for found, words, category in (
        (out.diverged, _diverged, DivergenceWarning),
        (out.outside, _outside, EnergyWarning),
        (out.faulty, _faulty, EnergyWarning),
        (out.rounded, _rounded, PrecisionWarning),
        (out.blurred, _blurred, PrecisionWarning),
    ):
        if not int(found.number):
            continue
        message = words(found, total, out, work)
        if raising and category is not PrecisionWarning:
            raise DivergenceError(message)
        warn(message, category)


def warn_if_stuck(state: SamplerState) -> None:
    """Say which chains of a kernel that accepts or rejects have hardly moved."""
    rates, steps = state.tally.acceptance, int(state.tally.num_steps)
    if rates is None or not rates.is_fully_addressable or steps < _ENOUGH_STEPS:
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


def check_start(bad: Trouble, state: SamplerState, stream_ids: Any) -> None:
    """Raise ValueError for chains that are not finite at their start."""
    if not trees.is_concrete(bad) or not int(bad.number):
        return
    place, number = int(bad.chain), int(bad.what)
    first = f"chain {place}"
    if trees.is_concrete(stream_ids) and int(stream_ids[place]) != place:
        first += f" of the run (stream {int(stream_ids[place])})"
    part = _parts(state.kernel.position)[number]
    remedy = "Start where energy and gradient are finite"
    if part.startswith("the position"):
        remedy = "Give finite positions"
    elif part == "the kernel's state":
        remedy = "Start inside of the kernel's domain, if it has one"
    raise ValueError(
        f"init: not finite at the start of {int(bad.number)} of {len(stream_ids)} chains; of the "
        f"first, {first}, {part} is not. {remedy}"
    )


def _parts(position: PyTree) -> list[str]:
    """What can be at fault, in words, in the order of `program.first_fault`."""
    paths = [jax.tree_util.keystr(path) for path, _ in jax.tree.leaves_with_path(position)]
    leaves = [path and f" in its leaf {path}" for path in paths]
    return [
        *(f"the position{leaf}" for leaf in leaves),
        "the energy",
        *(f"its gradient{leaf}" for leaf in leaves),
        "the kernel's state",
    ]


def _diverged(found: Trouble, total: int, out: Outcome, work: Work) -> str:
    return (
        f"{int(found.number)} of {total} chains turned non-finite and were frozen where they were "
        f"last finite; the first is chain {int(found.chain)} of the run, after {int(found.step)} "
        f"steps (run.info.first_bad_step has all of them){_cause(found, out.state, work)}. Their "
        "draws repeat that place from then on and are still in run.draws; run.info.num_divergent "
        "== 0 chooses the other chains. A smaller step size is the usual remedy; tamed_ula or mala "
        "where the energy is steep far out"
    )


def _outside(found: Trouble, total: int, out: Outcome, work: Work) -> str:
    return (
        f"the energy is not finite where {int(found.number)} of {total} chains ended, although "
        f"its gradient is; the first is chain {int(found.chain)} of the run. This kernel asks for "
        "the gradient alone, so nothing kept its chains where the energy is defined, and their "
        "draws are of another law; run.info.num_divergent == 0 chooses the other chains. Take a "
        "kernel that rejects (jlangevin.mala), or free coordinates (jlangevin.mirrored)"
    )


def _faulty(found: Trouble, total: int, out: Outcome, work: Work) -> str:
    rejections = out.state.tally.rejections
    faults = rejections.faults
    count = f"{int(np.sum(faults)):,} " if faults.is_fully_addressable else ""
    parts = _parts(out.state.kernel.position)
    parts = parts[parts.index("the energy") : -1]
    bits = int(found.what)
    what = ", ".join(part for k, part in enumerate(parts) if bits >> min(k, LAST_FAULT) & 1)
    return (
        f"{count}proposals of {int(found.number)} of {total} chains were rejected because the "
        "energy or its gradient is not a number there; for the first, chain "
        f"{int(found.chain)} of the run, it was {what}. Chains keep out of wherever that is, and "
        "their draws are of a law that is cut off there (run.info.rejections.faults has the "
        f"counts). {_WHERE}"
    )


def _rounded(found: Trouble, total: int, out: Outcome, work: Work) -> str:
    dtype = trees.float_dtype(out.state.kernel.position)
    return (
        f"proposals of {int(found.number)} of {total} chains were rejected because {dtype} rounds "
        f"them onto a wall of the domain, where the energy is not finite; the first is chain "
        f"{int(found.chain)} of the run (run.info.rejections.rounded has the counts). What mass "
        "the law has so near to the wall is lost. Enable x64, or put the wall that matters at 0, "
        "where floats are dense"
    )


def _blurred(found: Trouble, total: int, out: Outcome, work: Work) -> str:
    return (
        f"energies of {int(found.number)} of {total} chains are so large that rounding them is an "
        f"error of up to {float(out.blur):.2g} T in what is accepted by (eps |E| / T, which should "
        f"be below {program.COARSE}); the first is chain {int(found.chain)} of the run. Their law "
        "is another one. Subtract a constant from the energy, such as its value at a typical "
        "place, or enable x64"
    )


def _cause(found: Trouble, state: SamplerState, work: Work) -> str:
    """What was not finite where the first chain was frozen: a schedule, or the energy."""
    try:
        _, kernel, _, _ = work.parts()
        at_step(kernel, jnp.int32(found.step))
    except ValueError as error:
        return f"; {error}"
    place, position = int(found.chain), state.kernel.position
    if not all(leaf.is_fully_addressable for leaf in jax.tree.leaves(position)):
        return ""
    there = jax.tree.map(lambda leaf: jnp.asarray(np.asarray(leaf)[place]), position)
    fault = int(_fault_at(work.arrays[0], there, structure=work.structures[0]))
    if fault < 0:
        return ""
    return f"; {_parts(position)[fault]} is not finite there"


@partial(compiled, static_argnames=("structure",))
def _fault_at(arrays: list[Any], position: PyTree, *, structure: Structure) -> jax.Array:
    value, slope = value_and_gradient(trees.combine(arrays, structure), position)
    return program.first_fault(jax.tree.map(lambda x: x[..., None], (position, value, slope)))[0]
