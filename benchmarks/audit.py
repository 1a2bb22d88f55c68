"""Audit this library's samplers and those of others: `python benchmarks/audit.py`.

Peers are run through `adapters.py`, or as the rules of `stand_ins.py`. Those that are not installed
are named as such. `pip install ".[bench]"` installs most of them, `pip install ase==3.29.0` ASE,
`pip install torchebm==0.8.9 torch` TorchEBM, `pip install --no-deps sgmcmcjax` SGMCMCJax.
"""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Callable
from typing import Any

import adapters
import harness
import jax
import jax.numpy as jnp
import numpy as np
from adapters import LEAPS
from scipy import linalg
from stand_ins import (
    FRICTION,
    AtRest,
    EulerTrajectory,
    Expanded,
    FixLangevin,
    Kinetic,
    Overdamped,
    Smoothed,
    backward_euler,
    batch_corrector,
    between_kicks,
    brownian,
    clipped,
    explicit_euler,
    half_square,
    heun,
    lattice,
)

import jlangevin as jl


@dataclasses.dataclass(frozen=True)
class Case:
    """A sampler, the module that it needs, and the options of its audit."""

    needs: str
    make: Callable[[], jl.verify.Draw]
    options: dict[str, Any] = dataclasses.field(default_factory=dict)


def thermox_drift(num_draws: int) -> dict[str, Any]:
    """One transition of dx = -A x dt + dW from 0 over a time of 1, where A is not normal.

    Its exact covariance is ∫_0^1 e^{-As} e^{-Aᵀs} ds (Van Loan 1978).
    """
    import thermox

    drift, zero = np.array([[1.0, 1.5], [0.0, 2.0]]), np.zeros((2, 2))
    block = linalg.expm(np.block([[drift, np.eye(2)], [zero, -drift.T]]))
    true = block[2:, 2:].T @ block[:2, 2:]

    @jax.jit
    @jax.vmap
    def one(key: Any) -> Any:
        times = jnp.array([0.0, 1.0])
        return thermox.sample(
            key, times, jnp.zeros(2), jnp.asarray(drift), jnp.zeros(2), jnp.eye(2)
        )[-1]

    draws = one(jax.random.split(jax.random.key(0), num_draws))
    report = jl.verify.compare(draws, jl.Gaussian(jnp.zeros(2), jnp.asarray(true)))
    print(
        f"\nthermox: one transition of dx = -A x dt + dW, A = {drift.tolist()}, over a time of 1,"
    )
    print(f"from x = 0. Exact covariance {np.round(true, 3).tolist()}\n")
    print(report)
    return {"exact": true.tolist(), "report": report.to_dict()}


# The table ------------------------------------------------------------------------------------


def cases() -> dict[str, Case]:
    drawer = jl.verify.drawer
    splitting = {"BAOAB": lambda h, t: jl.underdamped(h, FRICTION, temperature=t)}
    reversible: dict[str, Any] = {"claim": "reversible"}
    leapfrog = {"ULA, η = h²/2 on E/T": half_square}
    return {
        "jlangevin ula": Case("jlangevin", lambda: drawer(lambda h, t: jl.ula(h, temperature=t))),
        "jlangevin leimkuhler_matthews": Case(
            "jlangevin", lambda: drawer(lambda h, t: jl.leimkuhler_matthews(h, temperature=t))
        ),
        "jlangevin underdamped": Case(
            "jlangevin",
            lambda: drawer(splitting["BAOAB"]),
            {"rules": splitting, "step_size": 1.0},
        ),
        "jlangevin mala": Case(
            "jlangevin", lambda: drawer(lambda h, t: jl.mala(h, temperature=t)), reversible
        ),
        "jlangevin barker": Case(
            "jlangevin", lambda: drawer(lambda h, t: jl.barker(h, temperature=t)), reversible
        ),
        "jlangevin malt": Case(
            "jlangevin", lambda: drawer(lambda h, t: jl.malt(h, 1.0, 3, temperature=t)), reversible
        ),
        "blackjax sgld": Case("blackjax", adapters.blackjax_sgld),
        "blackjax sghmc": Case(
            "blackjax",
            adapters.blackjax_sghmc,
            {
                "rules": {
                    "SGHMC": lambda h, t: EulerTrajectory(h, t, t, LEAPS),
                    "SGHMC, fresh momenta from N(0, I), not N(0, T I)": lambda h, t: (
                        EulerTrajectory(h, t, jnp.ones(()), LEAPS)
                    ),
                }
            },
        ),
        "blackjax mala": Case("blackjax", adapters.blackjax_adjusted("mala"), reversible),
        "blackjax barker": Case(
            "blackjax", adapters.blackjax_adjusted("barker"), {**reversible, "step_size": 1.0}
        ),
        "blackjax ghmc": Case("blackjax", adapters.blackjax_adjusted("ghmc"), {"claim": "exact"}),
        "blackjax sgnht": Case("blackjax", adapters.blackjax_sgnht, {"step_size": 0.1}),
        "blackjax adjusted_mclmc": Case(
            "blackjax", adapters.blackjax_adjusted("adjusted_mclmc"), {"claim": "exact"}
        ),
        "sgmcmcjax diffusions.sgld": Case("sgmcmcjax.diffusions", adapters.sgmcmcjax_sgld),
        "sgmcmcjax diffusions.baoab": Case(
            "sgmcmcjax.diffusions",
            adapters.sgmcmcjax_baoab,
            {
                "rules": {"BAOAB from rest": lambda h, t: AtRest(splitting["BAOAB"](h, t))},
                "step_size": 1.0,
            },
        ),
        "sgmcmcjax samplers": Case("sgmcmcjax.samplers", adapters.not_importable),
        "numpyro BarkerMH": Case(
            "numpyro", adapters.numpyro_barker, {**reversible, "step_size": 1.0}
        ),
        "numpyro HMC, one step": Case(
            "numpyro",
            adapters.numpyro_hmc(1, trajectory_length=None),
            {**reversible, "rules": leapfrog, "step_size": 0.8},
        ),
        "numpyro HMC, default trajectory": Case("numpyro", adapters.numpyro_hmc(10), reversible),
        "optax noisy_sgd under vmap": Case("optax", adapters.optax_noisy_sgd),
        "thermox, symmetric drift": Case("thermox", adapters.thermox_ou, reversible),
        "torchebm LangevinDynamics": Case("torchebm", adapters.torchebm_langevin),
        "ase Langevin, fixcm=False": Case(
            "ase",
            adapters.ase_dynamics("Langevin", friction=FRICTION, fixcm=False),
            {"rules": {"ASE's Langevin": ase_rule}, "step_size": 1.0},
        ),
        "ase Langevin": Case(
            "ase",
            adapters.ase_dynamics("Langevin", friction=FRICTION),
            {"rules": {"ASE's Langevin": ase_rule}, "step_size": 1.0},
        ),
        "ase Andersen": Case(
            "ase", adapters.ase_dynamics("Andersen", andersen_prob=0.3, fixcm=False)
        ),
        **stand_in_cases(),
    }


def ase_rule(h: Any, temperature: Any) -> Expanded:
    return Expanded(h, FRICTION, temperature)


def stand_in_cases() -> dict[str, Case]:
    """Rules of peers that are not in the extra, as they were run there."""

    def overdamped(rule: Any) -> Case:
        return Case("jlangevin", lambda: jl.verify.drawer(lambda h, t: Overdamped(rule, h, t)))

    def kinetic(rule: Any, step_size: float) -> Case:
        return Case(
            "jlangevin",
            lambda: jl.verify.drawer(lambda h, t: Kinetic(rule, h, t)),
            {"step_size": step_size},
        )

    mala = jl.verify.drawer(lambda h, t: jl.mala(h, temperature=t))
    draws = jax.random.normal(jax.random.key(1), (100, 2))
    return {
        "TorchEBM heun, stand-in": overdamped(heun),
        "TorchEBM backward_euler, stand-in": overdamped(backward_euler),
        "deepinv ULA, stand-in": overdamped(clipped),
        "posteriors sglrw, stand-in": overdamped(lattice),
        "posteriors sghmc, stand-in": kinetic(explicit_euler, 0.4),
        "torchmd, stand-in": kinetic(between_kicks, 0.5),
        "LAMMPS, stand-in": Case(
            "jlangevin",
            lambda: jl.verify.drawer(lambda h, t: FixLangevin(h, t)),
            {"step_size": 0.5},
        ),
        "OpenMM Brownian, stand-in": kinetic(brownian, 0.4),
        "diffusers corrector, stand-in": Case("jlangevin", lambda: batch_corrector),
        "CUQIpy smoothed, stand-in": Case(
            "jlangevin",
            lambda: mala,
            {"energy": Smoothed(0.1), "positions": draws, "claim": "reversible"},
        ),
    }


def main() -> None:
    parser = harness.parser(__doc__.splitlines()[0], repeats=1)
    parser.add_argument("--chains", type=int, default=20_000)
    parser.add_argument("--only", default="", help="samplers whose name contains this")
    args = parser.parse_args()
    harness.print_environment()
    rows, results = [], {}
    for name, case in cases().items():
        if args.only not in name:
            continue
        print(f"\n{name}\n{'=' * len(name)}")
        try:
            importlib.import_module(case.needs)
            draw = case.make()
        except ImportError as error:
            print(f"not audited: {error}")
            rows.append([name, "not audited", str(error).split(" (")[0]])
            continue
        report = jl.verify.audit(draw, num_chains=args.chains, **case.options)
        print(report)
        results[name] = report.to_dict()
        rows.append([name, "pass" if report.passed else "FAIL", report.convention])
        if report.failures:
            rows[-1][2] += f"; {', '.join(report.failures)}"
    if not args.only or args.only in "thermox, non-normal drift":
        try:
            results["thermox, non-normal drift"] = thermox_drift(5 * args.chains)
        except ImportError as error:
            print(f"\nthermox: not audited: {error}")
    print()
    for name, verdict, says in rows:
        print(f"{name:<35}{verdict:<13}{says}")
    harness.write_json(args.json, results)


if __name__ == "__main__":
    main()
