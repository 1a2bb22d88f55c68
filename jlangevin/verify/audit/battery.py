"""The battery: run a sampler on all problems, and report what is found."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Literal

import jax

from jlangevin._core.checks import check_count, check_key, check_probability, check_scalar
from jlangevin._core.trees import PyTree
from jlangevin.energies.base import Energy
from jlangevin.verify.audit.conclusion import convention, settle
from jlangevin.verify.audit.energy_findings import gradient
from jlangevin.verify.audit.law_findings import (
    finite_steps,
    gaussian_invariance,
    linear_energy,
    mixture_invariance,
    stationary,
    velocity,
)
from jlangevin.verify.audit.report import AuditReport
from jlangevin.verify.audit.rules import temperature_factors
from jlangevin.verify.audit.sampler import Draw, Rule
from jlangevin.verify.audit.stream_findings import (
    batch_size,
    continuous,
    far_starts,
    finite,
    frozen,
    independent_chains,
    seeds,
)
from jlangevin.verify.audit.symmetry_findings import (
    detailed_balance,
    step_size,
    temperature_scaling,
    units,
)
from jlangevin.verify.audit.trials import Settings, run_trials

__all__ = ["audit"]

# Five laws, a velocity, two invariances, two balances, temperature, units, chains (two pairings),
# seeds, batch size.
_TESTS = 16

# In the order of the report. Each is a function of the trials and of the conclusion.
_FINDINGS = (
    finite,
    continuous,
    frozen,
    far_starts,
    linear_energy,
    finite_steps,
    stationary,
    gaussian_invariance,
    mixture_invariance,
    detailed_balance,
    temperature_scaling,
    step_size,
    units,
    velocity,
    independent_chains,
    seeds,
    batch_size,
    gradient,
)


def audit(
    draw: Draw,
    *,
    key: jax.Array | None = None,
    claim: Literal["exact", "reversible"] | None = None,
    rules: Mapping[str, Rule] | None = None,
    energy: Energy | None = None,
    positions: PyTree | None = None,
    step_size: float = 0.4,
    temperature: float = 3.0,
    num_chains: int = 20_000,
    false_alarm: float = 1e-6,
) -> AuditReport:
    """Find out which convention a sampler follows, and what is wrong with it.

    Without a claim, a sampler passes if it follows a rule at the given temperature, or keeps every
    target. The bias of an unadjusted sampler is then reported, but is not a fault.

    Args:
        draw: the sampler, `draw(key, energy, step_size, temperature, init, num_steps)`. From a
            typed key and positions `init`, (n, d), of chains that target
            exp(-energy(x)/temperature), it returns the positions after `num_steps` steps, (n, d),
            or a pair of positions and velocities (of mass 1). The energy is a function of one
            position (d,), and a pytree. It may raise NotImplementedError for an energy, or a
            number of chains, that it does not support: the checks that need it are marked "n/a".
            n is `num_chains`, half of it, 2 and 1.
        key: for the starts and the draws; `jax.random.key(0)` if None.
        claim: "exact": the target is invariant at any step; "reversible": in detailed balance too.
            A sampler that breaks its claim has a fault.
        rules: further rules to compare the draws with, by name, such as
            `{"BAOAB": lambda h, T: jl.underdamped(h, 1.0, temperature=T)}`.
        energy: one of your own, whose gradient is compared with differences of its values by
            `energies.check`. The sampler is not run on it.
        positions: where, a pytree with the positions on the first axis; draws are best.
        step_size: a large one shows more. On the quadratic energy here λ_max is 1.83.
        temperature: one at which 1, √T, T, T², T/2 and 2T all differ, so that the audit can tell
            what is used in place of T: 1, 2, 4, ½ and ¼ are refused, and values near them.
        num_chains: n of each test, even and at least 1,000.
        false_alarm: the largest probability with which a correct sampler fails.

    Returns:
        An `AuditReport`.

    Raises:
        TypeError: a sampler or a rule that cannot be called, or an argument that is not a number
            where one is needed.
        ValueError: an argument out of range, an unknown claim, an energy without positions, or
            draws that do not have the shape of `init`.
        NoEnergyError: only the score of the `energy` is known.

    Example:
        >>> import jlangevin as jl
        >>> def right(h, T):
        ...     return jl.ula(h / 2, temperature=T)
        >>> jl.verify.audit(jl.verify.drawer(right), num_chains=2_000).convention
        'ULA, step h = 2η'
        >>> def wrong(eta, T):
        ...     return jl.ula(eta, temperature=T**2)
        >>> jl.verify.audit(jl.verify.drawer(wrong), num_chains=2_000).passed
        False
    """
    if not callable(draw):
        raise TypeError(
            "draw: expected a function draw(key, energy, step_size, temperature, init, num_steps), "
            f"got {type(draw).__name__}; jlangevin.verify.drawer makes one that runs a kernel"
        )
    key = jax.random.key(0) if key is None else key
    check_key("key", key)
    if claim not in (None, "exact", "reversible"):
        raise ValueError(f'claim: expected None, "exact" or "reversible", got {claim!r}')
    rules = {} if rules is None else rules
    if not isinstance(rules, Mapping) or not all(map(callable, rules.values())):
        raise TypeError(
            "rules: expected functions of step size and temperature that make a kernel, by name, "
            f"got {rules!r}"
        )
    for name, value in (("step_size", step_size), ("temperature", temperature)):
        check_scalar(name, value, positive=True)
    factors = sorted(factor for factor, _ in temperature_factors(float(temperature)))
    if min(b / a for a, b in itertools.pairwise(factors)) < 1.05:
        raise ValueError(
            f"temperature: at {temperature:g} two mistakes look alike, like T² and 2T at 2; use "
            "for instance 3"
        )
    num_chains = check_count("num_chains", num_chains, minimum=1_000)
    if num_chains % 2:
        raise ValueError(f"num_chains: expected an even number, to make pairs, got {num_chains}")
    false_alarm = check_probability("false_alarm", false_alarm)
    if (energy is None) != (positions is None):
        given, missing = ("energy", "positions") if positions is None else ("positions", "energy")
        raise ValueError(
            f"{missing}: {given} was given alone; the gradient of an energy is checked at positions"
        )
    settings = Settings(
        claim=claim,
        step_size=float(step_size),
        temperature=float(temperature),
        num_chains=num_chains,
        level=false_alarm / _TESTS,
    )
    trials = run_trials(draw, key, settings, energy, positions)
    conclusion = settle(trials, rules)
    return AuditReport(
        convention=convention(conclusion),
        findings=tuple(finding(trials, conclusion) for finding in _FINDINGS),
        step_size=settings.step_size,
        temperature=settings.temperature,
        num_chains=num_chains,
        false_alarm=false_alarm,
    )
