"""Warnings and errors about a run: chains that diverged, are stuck, or met faults of the energy.

`health` counts these chains on the devices; here the counts become messages on the host.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from jlangevin._core import trees
from jlangevin._core.compiling import compiled
from jlangevin._core.each import filled
from jlangevin._core.trees import Parted, PyTree
from jlangevin._core.warn import warn
from jlangevin.energies.base import level, value_and_gradient
from jlangevin.errors import (
    DivergenceError,
    DivergenceWarning,
    EnergyWarning,
    PrecisionWarning,
    StuckWarning,
)
from jlangevin.kernels.base import LAST_FAULT, resolve_schedules
from jlangevin.kernels.traits import Traits, layers
from jlangevin.sampling.health import (
    COARSE,
    Affected,
    Health,
    Sign,
    any_signs,
    find_affected,
    first_fault,
    temperature_of,
)
from jlangevin.sampling.state import SamplerState, Setup
from jlangevin.sampling.wrong_sign import IS_IT_MINUS, falls_without_end, is_bottomless

__all__ = ["FAILURES", "check_start", "warn_if_stuck", "warn_or_raise"]

_ENOUGH_STEPS = 100  # after this many steps, chains that have not moved are stuck
_FEW = 0.1  # a rate of acceptance at which nobody runs a kernel by intent
_LOW = 10  # in units of d T; energies far below zero, as those of chains that run off
_WHERE = (
    "A `where` does not keep NaN out of the gradient of the branch that is not taken: pass that "
    "branch an argument at which it is finite. Where p is meant to be 0, let E be +inf"
)


FAILURES = Sign.DIVERGED | Sign.OUTSIDE | Sign.FAULTY  # on_divergence="raise" raises for these


def warn_or_raise(state: SamplerState, health: Health, setup: Setup, *, raising: bool) -> None:
    """Warn of what is wrong with the chains of a run; if `raising`, raise DivergenceError."""
    signs = any_signs(health)
    for sign, words, category in (
        (Sign.DIVERGED, _diverged, DivergenceWarning),
        (Sign.OUTSIDE, _outside, EnergyWarning),
        (Sign.FAULTY, _faulty, EnergyWarning),
        (Sign.ROUNDED, _rounded, PrecisionWarning),
        (Sign.BLURRED, _blurred, PrecisionWarning),
    ):
        if sign not in signs:
            continue
        message = words(_chains_with(sign, state, health), health, state, setup)
        if raising and sign in FAILURES:
            raise DivergenceError(message)
        warn(message, category)


def _chains_with(sign: Sign, state: SamplerState, health: Health) -> Affected:
    """The chains that show a sign."""
    nothing = jnp.zeros_like(health.signs)
    steps = state.tally.first_bad_step if sign is Sign.DIVERGED else nothing
    what = state.tally.rejections.faulty if sign is Sign.FAULTY else nothing
    found: Affected = jax.device_get(find_affected(health.signs, jnp.int32(sign), steps, what))
    return found


def warn_if_stuck(state: SamplerState, setup: Setup, before: int) -> None:
    """Warn of chains that have hardly moved, of a kernel that accepts or rejects, and of those that
    run off as if the energy had the wrong sign.

    `before`: the number of steps when this run went on. What could be told then has been said, and
    a chain that had moved by then is not stuck later.
    """
    rates = state.tally.acceptance
    if rates is None or not rates.is_fully_addressable:
        return
    steps = int(state.tally.num_steps)
    if not before < _ENOUGH_STEPS <= steps:
        return
    rates = np.asarray(rates)
    stuck = ~(rates * steps >= 1)
    runs_off = _runs_off(state, setup, rates)
    if not stuck.any():
        if runs_off:
            warn(f"{IS_IT_MINUS}. Acceptance is {np.mean(rates):.2g}", EnergyWarning)
        return
    (which,) = np.nonzero(stuck)
    shown = ", ".join(map(str, which[:5])) + ", …" * (len(which) > 5)
    message = (
        f"{len(which)} of {len(rates)} chains have hardly moved (in the run: {shown}): their "
        f"acceptance is at most {np.max(rates[stuck]):.1g} over {steps} steps"
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
    if runs_off:
        message += f". {IS_IT_MINUS}"
    warn(message, StuckWarning)


def _runs_off(state: SamplerState, setup: Setup, rates: NDArray[np.floating]) -> bool:
    """Whether chains go where the energy falls without end: they stick there, or are far down."""
    kernel = state.kernel
    slopes, value = (getattr(kernel, name, None) for name in ("gradient", "energy"))
    if slopes is None or value is None:
        return False
    temperature = temperature_of(filled(setup.kernel.whole, setup.rows.whole))
    temperature = 1.0 if temperature is None else temperature
    if callable(temperature):
        return False
    temperature = float(np.max(np.asarray(temperature)))
    size = trees.size(trees.one_chain(kernel.position))
    low = np.median(np.asarray(value, np.float64)) < -_LOW * size * temperature
    if not low and np.mean(rates) >= _FEW:
        return False
    return falls_without_end(setup.energies_at, kernel.position, slopes, temperature)


def check_start(
    fault: jax.Array, state: SamplerState, stream_ids: NDArray[np.integer] | jax.Array
) -> None:
    """Raise ValueError if chains are not finite at their start: see `first_fault`."""
    if not trees.is_concrete(fault):
        return
    if fault.is_fully_addressable and (np.asarray(fault) < 0).all():
        return
    # Faults are numbered from 0 and -1 means none, so any set bit in the number plus 1 is a fault.
    bad: Affected = jax.device_get(
        find_affected(fault + 1, jnp.int32(-1), jnp.zeros_like(fault), fault)
    )
    if not bad.number:
        return
    place, number = int(bad.chain), int(bad.what)
    first = f"chain {place}"
    if trees.is_concrete(stream_ids) and int(stream_ids[place]) != place:
        first += f" in the run (stream {int(stream_ids[place])})"
    part = _fault_names(state.kernel.position)[number]
    remedy = "Start where energy and gradient are finite; jlangevin.starts.draw draws such starts"
    if part.startswith("the position"):
        remedy = "Pass finite positions"
    elif part == "the kernel's state":
        remedy = "Start inside the kernel's domain, if it has one"
    raise ValueError(
        f"init: not finite at the start of {int(bad.number)} of {len(stream_ids)} chains; for the "
        f"first of them, {first}, {part} is not. {remedy}"
    )


def _fault_names(position: PyTree) -> list[str]:
    """The names of the parts that can be at fault, in the order of `first_fault`."""
    paths = [jax.tree_util.keystr(path) for path, _ in jax.tree.leaves_with_path(position)]
    leaves = [path and f" in its leaf {path}" for path in paths]
    return [
        *(f"the position{leaf}" for leaf in leaves),
        "the energy",
        *(f"its gradient{leaf}" for leaf in leaves),
        "the kernel's state",
    ]


def _diverged(found: Affected, health: Health, state: SamplerState, setup: Setup) -> str:
    return (
        f"{_count_of(found, health)} turned non-finite and were frozen where they were last "
        f"finite; the first is chain {int(found.chain)} of the run, after {int(found.step)} steps "
        f"(run.info.first_bad_step has all of them){_cause(found, state, setup)}. Their later "
        "draws repeat that place and are still in run.draws; run.info.num_divergent == 0 selects "
        "the other chains. A smaller step size is the usual remedy; where the energy is steep far "
        f"out, tamed_ula or mala{_sign_question(found, state, setup)}"
    )


def _outside(found: Affected, health: Health, state: SamplerState, setup: Setup) -> str:
    return (
        f"the energy is not finite where {_count_of(found, health)} ended, although its gradient "
        f"is; the first is chain {int(found.chain)} of the run. This kernel uses only the "
        "gradient, so nothing kept its chains where the energy is defined, and their draws are of "
        "another law; run.info.num_divergent == 0 selects the other chains. Use a kernel that "
        "rejects (jlangevin.mala), or free coordinates (jlangevin.mirrored)"
        f"{_sign_question(found, state, setup)}"
    )


def _faulty(found: Affected, health: Health, state: SamplerState, setup: Setup) -> str:
    faults = state.tally.rejections.faults
    count = f"{int(np.sum(faults)):,} " if faults.is_fully_addressable else ""
    parts = _fault_names(state.kernel.position)
    parts = parts[parts.index("the energy") : -1]
    bits = int(found.what)
    what = ", ".join(part for k, part in enumerate(parts) if bits >> min(k, LAST_FAULT) & 1)
    return (
        f"{count}proposals of {_count_of(found, health)} were rejected because the energy or its "
        f"gradient is not a number there; for the first, chain {int(found.chain)} of the run, it "
        f"was {what}. Chains cannot enter such places, so their draws are of a law that is cut "
        f"off there (run.info.rejections.faults has the counts). {_WHERE}"
    )


def _rounded(found: Affected, health: Health, state: SamplerState, setup: Setup) -> str:
    dtype = trees.float_dtype(state.kernel.position)
    return (
        f"proposals of {_count_of(found, health)} were rejected because {dtype} rounds them onto "
        "a wall of the domain, where the energy is not finite; the first is chain "
        f"{int(found.chain)} of the run (run.info.rejections.rounded has the counts). The mass "
        "that the law has so near to the wall is lost. Enable x64, or put the wall that matters "
        "at 0, where floats are dense"
    )


def _blurred(found: Affected, health: Health, state: SamplerState, setup: Setup) -> str:
    return (
        f"energies of {_count_of(found, health)} are so large that their rounding is an error of "
        f"up to {float(_maximum(health.blur)):.2g} T in the acceptance (eps |E| / T, which should "
        f"be below {COARSE}); the first is chain {int(found.chain)} of the run. Their law is "
        "another one. Subtract a constant from the energy, such as its value at a typical place, "
        "or enable x64"
    )


def _count_of(found: Affected, health: Health) -> str:
    return f"{int(found.number)} of {health.signs.size} chains"


def _cause(found: Affected, state: SamplerState, setup: Setup) -> str:
    """What was not finite where the first chain was frozen: a schedule, energy or gradient."""
    try:
        energy, kernel = setup.of_chain(int(found.chain))
        for layer in layers(resolve_schedules(kernel, jnp.int32(found.step))):
            if Traits.own(layer).by_level:
                level(energy, layer.sigma)  # raises where the energy lacks that level
    except ValueError as error:
        return f"; {error}"
    there = _place_of(found, state)
    fault = -1 if there is None else int(_at(Parted.of(energy), there)[0])
    if fault < 0:
        return ""
    return f"; {_fault_names(there)[fault]} is not finite there"


def _sign_question(found: Affected, state: SamplerState, setup: Setup) -> str:
    """Whether the sign of the energy is wrong, if that of the first chain is very low."""
    there = _place_of(found, state)
    energy = Parted.of(setup.of_chain(int(found.chain))[0])
    value = None if there is None else _at(energy, there)[1]
    return f". {IS_IT_MINUS}" if value is not None and is_bottomless(value) else ""


def _place_of(found: Affected, state: SamplerState) -> PyTree | None:
    """Where the first chain is; None if that is not known to this process."""
    place, position = int(found.chain), state.kernel.position
    if not all(leaf.is_fully_addressable for leaf in jax.tree.leaves(position)):
        return None
    return jax.tree.map(lambda leaf: jnp.asarray(np.asarray(leaf)[place]), position)


@compiled
def _maximum(x: jax.Array) -> jax.Array:
    return jnp.max(x)


@compiled
def _at(energy: Parted, position: PyTree) -> tuple[jax.Array, jax.Array | None]:
    """The number of the first fault there, and the energy if it is known."""
    value, slope = value_and_gradient(energy.whole, position)
    parts = jax.tree.map(lambda x: x[..., None], (position, value, slope))
    return first_fault(parts)[0], value
