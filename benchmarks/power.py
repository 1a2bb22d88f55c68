"""How many draws it takes to catch a slip: `python benchmarks/power.py`.

Every battery tests every mutant of `mutants.py` at 100, 200, 400, … independent draws. The table
shows the first number at which the mutant is caught under every seed. The rows "right" are kernels
without a slip. Batteries that know the chain's own law must never catch them; those that know only
the target also catch the bias of a step size.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar

import harness
import jax
import jax.numpy as jnp
import mutants
import numpy as np
from mutants import TEMPERATURE, Family

import jlangevin as jl
from jlangevin._core.trees import pytree_dataclass
from jlangevin.noise import Want

FALSE_ALARM = 1e-6
SETTLED = 40  # steps, after which the start is forgotten
KEPT = 10  # steps of a kernel that should keep the law it starts from
FEW = 3_200  # chains at first; the largest number is run only where these are too few
KSD_DRAWS, KSD_BOOTSTRAP = 1_600, 199  # the least p-value is 0.005
Z_SCORE = 5.03  # of either identity: 1e-6 for both

Draws = Callable[[int, int], Any]  # (seed, number of draws) -> draws
Caught = Callable[[int, int], bool]  # (seed, number of draws) -> whether it is caught


@pytree_dataclass
class Unnamed:
    """A Gaussian that `invariance` does not recognise as one, so that it counts crossings."""

    law: jl.Gaussian
    draw_noise: ClassVar[Want] = Want.NORMAL

    def template(self) -> Any:
        return self.law.template()

    def from_noise(self, noise: Any) -> Any:
        return self.law.from_noise(noise)


def prefixes(make: Callable[[int, int], Any], largest: int) -> Draws:
    """The first n chains of a run that is large enough, as chain i is the same in every run."""
    kept: dict[int, Any] = {}

    def draws(seed: int, n: int) -> Any:
        if len(kept.get(seed, ())) < n:
            kept[seed] = np.asarray(make(seed, FEW if n <= FEW else largest))
        return kept[seed][:n]

    return draws


def ends(kernel: Any, energy: Any, init: Any, num_steps: int, largest: int) -> Draws:
    def make(seed: int, n: int) -> Any:
        key = jax.random.key(seed)
        options: dict[str, Any] = {"observe": None, "on_divergence": "ignore"}
        return jl.sample(
            key, energy, kernel, init, num_steps=num_steps, num_chains=n, **options
        ).position

    return prefixes(make, largest)


def against(law: jl.Gaussian, draws: Draws) -> Caught:
    return lambda seed, n: (
        not jl.verify.compare(draws(seed, n), law, false_alarm=FALSE_ALARM).passed
    )


def against_target(draws: Draws) -> dict[str, Caught]:
    """The batteries that know the energy alone."""
    energy = mutants.bowl()

    def ksd(seed: int, n: int) -> bool:
        x = draws(seed, n)
        if n > KSD_DRAWS or not np.isfinite(x).all():
            return n <= KSD_DRAWS
        test = jl.diagnostics.ksd_test(
            jax.random.key(seed),
            x,
            energy,
            temperature=TEMPERATURE,
            num_bootstrap=KSD_BOOTSTRAP,
        )
        return float(test.p_value) <= 1 / (1 + KSD_BOOTSTRAP)

    def identities(seed: int, n: int) -> bool:
        x = draws(seed, n)
        if not np.isfinite(x).all():
            return True
        found = jl.diagnostics.identities(x, energy, TEMPERATURE, center=energy.center)
        return any(not abs(float(identity.z_score)) <= Z_SCORE for identity in found[:2])

    return {"KSD": ksd, "identities": identities}


def unadjusted(family: Family, name: str, kernel: Any, largest: int) -> dict[str, Caught]:
    energy, start = family.energy(), mutants.start()
    steps = mutants.steps_to_see(name)
    law = jl.exact.law(family.right, energy, start, steps)
    caught = {"few steps": against(law, ends(kernel, energy, start, steps, largest))}
    if family.energy is mutants.bowl:
        draws = ends(kernel, energy, start, SETTLED, largest)
        law = jl.exact.stationary(family.right, energy, jnp.zeros(2))
        caught |= {"settled": against(law, draws)} | against_target(draws)
    return caught


def adjusted(kernel: Any, largest: int) -> dict[str, Caught]:
    energy = mutants.bowl()
    law = jl.exact.target(energy, jnp.zeros(2), TEMPERATURE)
    draws = ends(kernel, energy, law, KEPT, largest)

    def crossings(seed: int, n: int) -> bool:
        return not jl.verify.invariance(
            kernel,
            energy,
            Unnamed(law),
            key=jax.random.key(seed),
            num_steps=KEPT,
            num_chains=n,
            false_alarm=FALSE_ALARM,
        ).passed

    return {"kept": against(law, draws), "crossings": crossings} | against_target(draws)


def subjects(largest: int) -> dict[str, dict[str, dict[str, Caught]]]:
    """Batteries by family and mutant."""
    families = {
        "ula": mutants.ULA,
        "leimkuhler_matthews": mutants.LEIMKUHLER_MATTHEWS,
        "underdamped": mutants.UNDERDAMPED,
        "UBU": mutants.UBU,
        "quicsort": mutants.QUICSORT,
        "tamed_ula": mutants.TAMED,
    }
    found = {
        title: {
            name: unadjusted(family, name, kernel, largest)
            for name, kernel in {"right": family.right, **family.mutants}.items()
        }
        for title, family in families.items()
    }
    law = jl.exact.law(mutants.ULA.right, mutants.bowl(), mutants.start(), mutants.NUM_STEPS)
    for name, noise_at in mutants.DRIVERS.items():
        draws = prefixes(partial(mutants.drive, noise_at), largest)
        found["ula"][name] = {"few steps": against(law, draws)}
    mala = jl.mala(0.6, temperature=TEMPERATURE)
    found["mala"] = {"right": adjusted(mala, largest)} | {
        name: adjusted(mutants.accepting(mala, name), largest) for name in mutants.RULES
    }
    return found


BATTERIES = ("few steps", "settled", "kept", "crossings", "KSD", "identities")


def smallest(caught: Caught, seeds: int, sizes: list[int]) -> int | None:
    for n in sizes:
        if all(caught(seed, n) for seed in range(seeds)):
            return n
    return None


def shown(found: dict[str, int | None], battery: str) -> str:
    """A number, a dash for never, nothing where the battery does not apply."""
    if battery not in found:
        return ""
    number = found[battery]
    return "—" if number is None else f"{number:,}"


def main() -> None:
    parser = harness.parser(__doc__.splitlines()[0], repeats=1)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--doublings", type=int, default=10)
    parser.add_argument("--family", help="only this one")
    args = parser.parse_args()
    harness.print_environment()
    sizes = [100 * 2**k for k in range(args.doublings + 1)]
    rows, results = [], []
    for family, kernels in subjects(max(sizes[-1], FEW)).items():
        if args.family not in (None, family):
            continue
        for name, batteries in kernels.items():
            found = {b: smallest(caught, args.seeds, sizes) for b, caught in batteries.items()}
            results.append({"family": family, "kernel": name, "draws": found})
            rows.append([f"{family}: {name}", *(shown(found, battery) for battery in BATTERIES)])
            print(*rows[-1], sep="  ", flush=True)
    print(
        f"\nThe smallest number of draws, 100 to {sizes[-1]:,}, that is caught under each of "
        f"{args.seeds} seeds\n"
    )
    harness.print_table(["kernel", *BATTERIES], rows)
    harness.write_json(args.json, results)


if __name__ == "__main__":
    main()
