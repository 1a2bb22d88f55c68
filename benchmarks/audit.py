"""Audit this library's samplers and those of others: `python benchmarks/audit.py`.

An adapter turns a sampler into `draw(key, energy, step_size, temperature, init, num_steps)`. A
sampler without a temperature is given E/T. Peers that are not installed are named as such.
`pip install ".[bench]"` installs most of them, `pip install --no-deps sgmcmcjax` SGMCMCJax.
"""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Callable
from typing import Any

import harness
import jax
import jax.numpy as jnp
import numpy as np
from scipy import linalg

import jlangevin as jl
from jlangevin._core.trees import pytree_dataclass, static_field
from jlangevin.kernels import ULAState
from jlangevin.noise import Want


@dataclasses.dataclass(frozen=True)
class Case:
    """A sampler, the module that it needs, and the options of its audit."""

    needs: str
    make: Callable[[], jl.verify.Draw]
    options: dict[str, Any] = dataclasses.field(default_factory=dict)


def chains(make: Callable[[Any, Any, Any], tuple[Any, Any, Any]]) -> jl.verify.Draw:
    """Turn a sampler of one chain, `make(energy, step_size, temperature) -> (init, step, read)`,
    into one of many. It calls `init(key, position)`, `step(key, state, t)` and `read(state)`, with
    a key for each chain and step."""

    @jax.jit
    def draw(key: Any, energy: Any, step: Any, heat: Any, init: Any, num_steps: Any) -> Any:
        begin, move, read = make(energy, step, heat)

        def one(index: Any, position: Any) -> Any:
            key_init, key_steps = jax.random.split(jax.random.fold_in(key, index))

            def body(t: Any, state: Any) -> Any:
                return move(jax.random.fold_in(key_steps, t), state, t)

            return read(jax.lax.fori_loop(0, num_steps, body, begin(key_init, position)))

        return jax.vmap(one)(jnp.arange(init.shape[0]), init)

    return draw


# BlackJAX -------------------------------------------------------------------------------------


def blackjax_sgld() -> jl.verify.Draw:
    import blackjax

    def make(energy: Any, step: Any, heat: Any) -> Any:
        sgld = blackjax.sgld(lambda x, batch: -jax.grad(energy)(x))
        return (
            lambda key, x: sgld.init(x),
            lambda key, x, t: sgld.step(key, x, None, step, heat),
            lambda x: x,
        )

    return chains(make)


def blackjax_sghmc() -> jl.verify.Draw:
    import blackjax

    def make(energy: Any, step: Any, heat: Any) -> Any:
        sghmc = blackjax.sghmc(lambda x, batch: -jax.grad(energy)(x), _LEAPS, alpha=_FRICTION)
        return (
            lambda key, x: x,
            lambda key, x, t: sghmc.step(key, x, None, step, heat),
            lambda x: x,
        )

    return chains(make)


def blackjax_adjusted(name: str) -> Callable[[], jl.verify.Draw]:
    """These sample log p = -E/T, as they have no temperature."""

    def load() -> jl.verify.Draw:
        import blackjax

        def make(energy: Any, step: Any, heat: Any) -> Any:
            def log_density(x: Any) -> Any:
                return -energy(x) / heat

            if name == "ghmc":
                # The scale is a scalar, as positions have several sizes.
                sampler = blackjax.ghmc(log_density, step, jnp.ones(()), 0.5, 0.1)
                init: Any = lambda key, x: sampler.init(x, key)  # noqa: E731
            else:
                sampler = getattr(blackjax, name)(log_density, step)
                init = lambda key, x: sampler.init(x)  # noqa: E731
            return init, lambda key, s, t: sampler.step(key, s)[0], lambda s: s.position

        return chains(make)

    return load


_LEAPS, _FRICTION = 5, 1.0


@pytree_dataclass
class EulerTrajectory:
    """SGHMC as BlackJAX writes it: a fresh velocity, then Euler's steps. Affine, so it has a law.

    x ← x + h v,   v ← (1 - αh) v - h ∇E(x before) + sqrt(2αhT) ξ
    """

    step_size: Any
    temperature: Any
    fresh: Any  # the variance of the fresh velocity
    leaps: int = static_field()

    init_noise = None

    @property
    def step_noise(self) -> Any:
        return (Want.NORMAL,) * (self.leaps + 1)

    def init(self, energy: Any, position: Any, noise: None) -> ULAState:
        return ULAState(position)

    def step(self, energy: Any, state: ULAState, noise: Any) -> tuple[ULAState, jl.Info]:
        (x,), h = state, self.step_size
        v = jnp.sqrt(self.fresh).astype(x.dtype) * noise[0]
        for xi in noise[1:]:
            heat = jnp.sqrt(2 * _FRICTION * h * self.temperature)
            x, v = x + h * v, (1 - _FRICTION * h) * v - h * jax.grad(energy)(x) + heat * xi
        return ULAState(x), jl.Info()


# SGMCMCJax ------------------------------------------------------------------------------------


def sgmcmcjax_sgld() -> jl.verify.Draw:
    from sgmcmcjax import diffusions

    def make(energy: Any, step: Any, heat: Any) -> Any:
        init, update, read = diffusions.sgld(step)
        score = jax.grad(lambda x: -energy(x) / heat)
        return (
            lambda key, x: init(x),
            lambda key, state, t: update(t, key, score(read(state)), state),
            read,
        )

    return chains(make)


def sgmcmcjax_baoab() -> jl.verify.Draw:
    from sgmcmcjax import diffusions

    def make(energy: Any, step: Any, heat: Any) -> Any:
        init, (before, after), read = diffusions.baoab(step, _FRICTION, tau=heat)
        force = jax.grad(lambda x: -energy(x))

        def move(key: Any, state: Any, t: Any) -> Any:
            state = before(t, key, force(read(state)), state)
            return after(t, jax.random.clone(key), force(read(state)), state)

        def both(state: Any) -> Any:
            position, velocity = state[0][0]
            return position, velocity

        return lambda key, x: init(x), move, both

    return chains(make)


@pytree_dataclass
class AtRest:
    """BAOAB with a first velocity of zero."""

    kernel: Any

    init_noise = None

    @property
    def step_noise(self) -> Any:
        return self.kernel.step_noise

    def init(self, energy: Any, position: Any, noise: None) -> Any:
        return self.kernel.init(energy, position, jnp.zeros_like(position))

    def step(self, energy: Any, state: Any, noise: Any) -> Any:
        return self.kernel.step(energy, state, noise)


# NumPyro --------------------------------------------------------------------------------------


def numpyro_barker() -> jl.verify.Draw:
    from numpyro.infer import BarkerMH

    def make(energy: Any, step: Any, heat: Any) -> Any:
        kernel = BarkerMH(
            potential_fn=lambda x: energy(x) / heat,
            step_size=step,
            adapt_step_size=False,
            adapt_mass_matrix=False,
        )
        return (
            lambda key, x: kernel.init(key, 0, x, (), {}),
            lambda key, state, t: kernel.sample(state._replace(rng_key=key), (), {}),
            lambda state: state.z,
        )

    return chains(make)


def numpyro_hmc() -> jl.verify.Draw:
    from numpyro.infer.hmc import hmc

    def make(energy: Any, step: Any, heat: Any) -> Any:
        init, move = hmc(lambda x: energy(x) / heat, algo="HMC")

        def begin(key: Any, x: Any) -> Any:
            return init(
                x,
                0,
                step_size=step,
                num_steps=1,
                trajectory_length=None,
                adapt_step_size=False,
                adapt_mass_matrix=False,
                rng_key=key,
            )

        return begin, lambda key, s, t: move(s._replace(rng_key=key)), lambda s: s.z

    return chains(make)


# thermox --------------------------------------------------------------------------------------


def thermox_ou() -> jl.verify.Draw:
    """dx = -A (x - μ) dt + sqrt(2T) dW, exact, for a quadratic energy alone."""
    import thermox

    def draw(key: Any, energy: Any, step: Any, heat: Any, init: Any, num_steps: int) -> Any:
        if not isinstance(energy, jl.energies.Quadratic):
            raise NotImplementedError
        times, noise = step * jnp.arange(num_steps + 1), 2 * heat * jnp.eye(init.shape[1])

        @jax.jit
        @jax.vmap
        def one(key: Any, x: Any) -> Any:
            return thermox.sample(key, times, x, energy.precision, energy.center, noise)[-1]

        return one(jax.random.split(key, init.shape[0]), init)

    return draw


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


# TorchEBM -------------------------------------------------------------------------------------


def torchebm_langevin() -> jl.verify.Draw:
    """Written from the source of 0.8.9, where noise_scale² is the temperature; not yet run."""
    import torch
    from torchebm.core import BaseModel
    from torchebm.samplers import LangevinDynamics

    class Model(BaseModel):  # type: ignore[misc]
        def __init__(self, energy: Any) -> None:
            super().__init__()
            self.slopes = jax.jit(jax.vmap(jax.grad(energy)))

        def forward(self, x: Any) -> Any:
            raise RuntimeError("Langevin dynamics is expected to ask for the gradient alone")

        def gradient(self, x: Any, model_kwargs: Any = None) -> Any:
            return torch.from_numpy(np.array(self.slopes(jnp.asarray(x.numpy()))))

    def draw(key: Any, energy: Any, step: Any, heat: Any, init: Any, num_steps: int) -> Any:
        seed = int(jax.random.randint(key, (), 0, 2**31 - 1))
        sampler = LangevinDynamics(Model(energy), float(step), float(heat) ** 0.5)
        moved = sampler.sample(
            x=torch.from_numpy(np.array(init)),
            n_steps=num_steps,
            generator=torch.Generator().manual_seed(seed),
        )
        return jnp.asarray(moved.numpy())

    return draw


def not_importable() -> jl.verify.Draw:
    raise ImportError("the module can be imported, but there is no adapter for it yet")


# The table ------------------------------------------------------------------------------------


def half_square(h: Any, temperature: Any) -> jl.kernels.ULA:
    """ULA that proposes as a leapfrog on E/T does, or with noise of scale h."""
    return jl.ula(h**2 / (2 * temperature), temperature=temperature)


def cases() -> dict[str, Case]:
    drawer = jl.verify.drawer
    splitting = {"BAOAB": lambda h, t: jl.underdamped(h, _FRICTION, temperature=t)}
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
        "blackjax sgld": Case("blackjax", blackjax_sgld),
        "blackjax sghmc": Case(
            "blackjax",
            blackjax_sghmc,
            {
                "rules": {
                    "SGHMC": lambda h, t: EulerTrajectory(h, t, t, _LEAPS),
                    "SGHMC, fresh momenta from N(0, I), not N(0, T I)": lambda h, t: (
                        EulerTrajectory(h, t, jnp.ones(()), _LEAPS)
                    ),
                }
            },
        ),
        "blackjax mala": Case("blackjax", blackjax_adjusted("mala"), reversible),
        "blackjax barker": Case(
            "blackjax", blackjax_adjusted("barker"), {**reversible, "step_size": 1.0}
        ),
        "blackjax ghmc": Case("blackjax", blackjax_adjusted("ghmc"), {"claim": "exact"}),
        "sgmcmcjax diffusions.sgld": Case("sgmcmcjax.diffusions", sgmcmcjax_sgld),
        "sgmcmcjax diffusions.baoab": Case(
            "sgmcmcjax.diffusions",
            sgmcmcjax_baoab,
            {
                "rules": {"BAOAB from rest": lambda h, t: AtRest(splitting["BAOAB"](h, t))},
                "step_size": 1.0,
            },
        ),
        "sgmcmcjax samplers": Case("sgmcmcjax.samplers", not_importable),
        "numpyro BarkerMH": Case("numpyro", numpyro_barker, {**reversible, "step_size": 1.0}),
        "numpyro HMC, one step": Case(
            "numpyro", numpyro_hmc, {**reversible, "rules": leapfrog, "step_size": 0.8}
        ),
        "thermox, symmetric drift": Case("thermox", thermox_ou, reversible),
        "torchebm LangevinDynamics": Case("torchebm", torchebm_langevin),
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
        print(f"{name:<31}{verdict:<13}{says}")
    harness.write_json(args.json, results)


if __name__ == "__main__":
    main()
