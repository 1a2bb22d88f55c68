"""What `docs/pages/conventions.md` says that peers do: each a step of the peer, and the map that it
should have. A peer is imported where it is used, in its own environment."""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from one_step import STARTS, A, Claim, Map, Step, exact, sampled
from scipy import linalg
from stand_ins import Expanded

import jlangevin as jl


@dataclasses.dataclass(frozen=True)
class Peer:
    requirements: tuple[str, ...]
    claims: Callable[[], Iterator[Claim]]
    python: tuple[int, int] = (3, 11)  # the oldest that it has a release for

    @property
    def package(self) -> str:
        return self.requirements[0].partition("==")[0].partition("[")[0]


def each(step: Callable[[jax.Array, jax.Array], jax.Array]) -> Step:
    """A step of one chain, (key, position) -> position, for all of them."""
    mapped = jax.jit(jax.vmap(step))

    def of_all(seed: int, z: np.ndarray) -> Any:
        return mapped(jax.random.split(jax.random.key(seed), len(z)), jnp.asarray(z))

    return of_all


def log_density(x: jax.Array) -> jax.Array:
    return -0.5 * jnp.dot(x, jnp.dot(jnp.asarray(A, x.dtype), x, precision="highest"))


def blackjax() -> Iterator[Claim]:
    import blackjax

    eta, heat = 0.3, 2.0
    sgld = blackjax.sgld(lambda x, _: jax.grad(log_density)(x))
    yield Claim(
        f"sgld, step_size {eta}, temperature {heat}",
        "ula(step_size, temperature=temperature)",
        each(lambda key, x: sgld.step(key, x, None, eta, heat)),
        exact(jl.ula(eta, temperature=heat)),
    )

    def moved(algorithm: Any, key: jax.Array, x: jax.Array) -> jax.Array:
        return algorithm.step(key, algorithm.init(x))[0].position

    h, length = 0.1, 3
    for name, algorithm, ours, kernel in (
        (
            "mala, step_size 0.005",
            blackjax.mala(log_density, 0.005),
            "mala(step_size)",
            jl.mala(0.005),
        ),
        (
            f"hmc, step_size {h}, {length} leapfrogs, inverse mass 1 and 4",
            blackjax.hmc(log_density, h, jnp.array([1.0, 4.0]), length),
            "malt(h, 0.0, L, mass=1 / m)",
            jl.malt(h, 0.0, length, mass=jnp.array([1.0, 0.25])),
        ),
        *(
            (
                f"hmc, step_size 0.5, {length} steps of {theirs}",
                blackjax.hmc(
                    log_density,
                    0.5,
                    jnp.ones(2),
                    length,
                    integrator=getattr(blackjax.mcmc.integrators, theirs),
                ),
                f'malt(h, 0.0, L, integrator="{ours}")',
                jl.malt(0.5, 0.0, length, integrator=ours),
            )
            for theirs, ours in (("mclachlan", "minimal_norm"), ("yoshida", "BCSS3"))
        ),
    ):
        yield Claim(
            name,
            ours,
            each(partial(moved, algorithm)),
            sampled(kernel),
        )


def numpyro() -> Iterator[Claim]:
    from numpyro.infer import HMC

    h, length = 0.1, 3
    for time, ours in ((None, h), (0.6, 0.2)):
        kernel = HMC(
            potential_fn=lambda x: -log_density(x),
            step_size=h,
            num_steps=length,
            trajectory_length=time,
            adapt_step_size=False,
            adapt_mass_matrix=False,
        )

        def step(key: jax.Array, x: jax.Array, kernel: Any = kernel) -> jax.Array:
            return kernel.sample(kernel.init(key, 0, x, (), {}), (), {}).z

        yield Claim(
            f"HMC, step_size {h}, num_steps {length}, trajectory_length {time}",
            f"malt({ours}, 0.0, {length})",
            each(step),
            sampled(jl.malt(ours, 0.0, length)),
        )


def optax() -> Iterator[Claim]:
    import optax

    lr, eta = 0.1, 3.0

    def step(seed: int, z: np.ndarray) -> Any:
        x = jnp.asarray(z)
        rule = optax.noisy_sgd(lr, eta, gamma=0.0, key=seed)
        updates, _ = rule.update(-jax.vmap(jax.grad(log_density))(x), rule.init(x), x)
        return optax.apply_updates(x, updates)

    yield Claim(
        f"noisy_sgd, lr {lr}, eta {eta}, gamma 0",
        "ula(lr, temperature=lr * eta / 2)",
        step,
        exact(jl.ula(lr, temperature=lr * eta / 2)),
    )


def flowmc() -> Iterator[Claim]:
    from flowMC.resource.kernel.MALA import MALA

    epsilon = jnp.array([0.1, 0.2])
    kernel = MALA(epsilon)

    def density(x: jax.Array, _: Any) -> jax.Array:
        return log_density(x)

    yield Claim(
        "MALA, step_size 0.1 and 0.2",
        "mala(from_proposal_scale(1.0), preconditioner=ε²)",
        each(lambda key, x: kernel.kernel(key, x, density(x, {}), density, {})[0]),
        sampled(
            jl.mala(jl.conventions.from_proposal_scale(1.0), preconditioner=epsilon**2),
        ),
    )


def pints() -> Iterator[Claim]:
    import pints

    epsilon = np.array([0.1, 0.2])

    def step(seed: int, z: np.ndarray) -> Any:
        np.random.seed(seed)  # noqa: NPY002, the generator that PINTS draws from
        moved = []
        for x in z.astype(np.float64):
            chain = pints.MALAMCMC(x)
            chain.set_epsilon(epsilon)
            for _ in range(2):  # the start, and the first proposal
                at = chain.ask()
                reply = chain.tell((-0.5 * at.dot(A).dot(at), -A.dot(at)))
            moved.append(reply[0])
        return np.array(moved)

    scale = jnp.asarray(epsilon**2)
    yield Claim(
        "MALAMCMC, epsilon 0.1 and 0.2",
        "mala(from_proposal_scale(1.0), preconditioner=ε²)",
        step,
        sampled(jl.mala(jl.conventions.from_proposal_scale(1.0), preconditioner=scale)),
        starts=5_000,
    )


def thermox() -> Iterator[Claim]:
    import thermox

    time = 0.7
    for name, drift, diffusion in (
        ("symmetric A, D = I", A, np.eye(2)),
        ("A = [[1, 1.5], [0, 2]], D = I", np.array([[1.0, 1.5], [0.0, 2.0]]), np.eye(2)),
        ("symmetric A, D = diag(1, 4)", A, np.diag([1.0, 4.0])),
    ):
        block = np.block([[-drift, diffusion], [np.zeros((2, 2)), drift.T]])  # Van Loan 1978
        F = linalg.expm(-drift * time)
        Q = linalg.expm(block * time)[:2, 2:].dot(F.T)
        matrices = [jnp.asarray(m, jnp.float32) for m in (drift, np.zeros(2), diffusion)]

        def step(key: jax.Array, x: jax.Array, given: Any = matrices) -> jax.Array:
            return thermox.sample(key, jnp.array([0.0, time]), x, *given)[-1]

        yield Claim(
            f"sample, {name}",
            "the exact process",
            each(step),
            Map(F, np.zeros(2), Q),
            true=name == "symmetric A, D = I",
        )


def jax_md() -> Iterator[Claim]:
    from jax_md import simulate

    h, friction, heat = 0.5, 0.8, 1.5

    def energy(x: jax.Array, **_: Any) -> jax.Array:
        return -jnp.sum(jax.vmap(log_density)(x))

    def shift(x: jax.Array, dx: jax.Array, **_: Any) -> jax.Array:
        return x + dx

    init, apply = simulate.nvt_langevin(energy, shift, h, heat, friction, center_velocity=False)

    def langevin(seed: int, z: np.ndarray) -> Any:
        x, v = jnp.asarray(z[:, :2]), jnp.asarray(z[:, 2:])
        state = apply(init(jax.random.key(seed), x, mass=1.0).set(momentum=v))
        return jnp.concatenate([state.position, state.momentum], 1)

    yield Claim(
        f"nvt_langevin, dt {h}, kT {heat}, gamma {friction}",
        "underdamped(dt, gamma, temperature=kT)",
        langevin,
        exact(jl.underdamped(h, friction, temperature=heat)),
    )
    begin, move = simulate.brownian(energy, shift, 0.1, heat, friction)

    def brownian(seed: int, z: np.ndarray) -> Any:
        return move(begin(jax.random.key(seed), jnp.asarray(z), mass=2.0)).position

    yield Claim(
        f"brownian, dt 0.1, kT {heat}, gamma {friction}, mass 2",
        "ula(h / (m * γ), temperature=kT)",
        brownian,
        exact(jl.ula(0.1 / (2 * friction), temperature=heat)),
    )


def openmm() -> Iterator[Claim]:
    import openmm

    h, friction, mass, kelvin = 0.5, 0.8, 2.0, 180.0
    heat = 0.0083144626 * kelvin
    number = STARTS // 2  # particles, two of whose coordinates are used

    def context(integrator: Any, seed: int) -> Any:
        system = openmm.System()
        force = openmm.CustomExternalForce("0.5*(x^2 + 1.2*x*y + 2*y^2 + z^2)")
        for i in range(number):
            system.addParticle(mass)
            force.addParticle(i, [])
        system.addForce(force)
        integrator.setRandomNumberSeed(seed + 1)
        return openmm.Context(system, integrator, openmm.Platform.getPlatformByName("Reference"))

    def run(make: Callable[[], Any], moving: bool) -> Step:
        def step(seed: int, z: np.ndarray) -> Any:
            made = make()
            simulation = context(made, seed)
            x, v = np.zeros((2, len(z), 3))
            x[:, :2] = z[:, :2]
            if moving:
                v[:, :2] = z[:, 2:]
            simulation.setPositions(x)
            simulation.setVelocities(v)
            made.step(1)
            state = simulation.getState(getPositions=True, getVelocities=True)
            after = [state.getPositions(asNumpy=True), state.getVelocities(asNumpy=True)]
            read = [np.asarray(part._value)[:, :2] for part in after]
            return np.concatenate(read if moving else read[:1], 1)

        return step

    middle = exact(jl.underdamped(h, friction, splitting="BAOA", mass=mass, temperature=heat))
    for integrator in (openmm.LangevinMiddleIntegrator, openmm.LangevinIntegrator):
        yield Claim(
            f"{integrator.__name__}, h {h}, γ {friction}, m {mass}, {kelvin} K",
            'underdamped(h, γ, splitting="BAOA", mass=m, temperature=kT)',
            run(partial(integrator, kelvin, friction, h), moving=True),
            middle,
            starts=number,
        )
    yield Claim(
        f"BrownianIntegrator, h 0.1, γ {friction}, m {mass}, {kelvin} K",
        "ula(h / (m * γ), temperature=kT)",
        run(partial(openmm.BrownianIntegrator, kelvin, friction, 0.1), moving=False),
        exact(jl.ula(0.1 / (mass * friction), temperature=heat)),
        starts=number,
    )


def posteriors() -> Iterator[Claim]:
    import torch

    sgmcmc = importlib.import_module("posteriors.sgmcmc")
    matrix = torch.tensor(A, dtype=torch.float32)

    def log_posterior(x: Any, _: Any) -> Any:
        return -0.5 * torch.einsum("ni,ij,nj->", x, matrix, x), torch.empty(0)

    eta, heat = 0.3, 2.0

    def sgld(seed: int, z: np.ndarray) -> Any:
        torch.manual_seed(seed)
        rule = sgmcmc.sgld.build(log_posterior, lr=eta, temperature=heat)
        state, _ = rule.update(rule.init(torch.tensor(z)), None)
        return state.params.detach().numpy()

    yield Claim(
        f"sgld, lr {eta}, temperature {heat}",
        "ula(lr, temperature=temperature)",
        sgld,
        exact(jl.ula(eta, temperature=heat)),
    )
    h, alpha, sigma = 0.5, 0.6, 1.5

    def baoa(seed: int, z: np.ndarray) -> Any:
        torch.manual_seed(seed)
        rule = sgmcmc.baoa.build(log_posterior, lr=h, alpha=alpha, sigma=sigma)
        given = torch.tensor(z)
        state, _ = rule.update(sgmcmc.baoa.init(given[:, :2], given[:, 2:] * sigma**2), None)
        return torch.cat([state.params, state.momenta / sigma**2], 1).detach().numpy()

    yield Claim(
        f"baoa, lr {h}, alpha {alpha}, sigma {sigma}",
        'underdamped(lr, alpha / sigma**2, mass=sigma**2, splitting="BAOA")',
        baoa,
        exact(jl.underdamped(h, alpha / sigma**2, mass=sigma**2, splitting="BAOA")),
    )


def ase() -> Iterator[Claim]:
    from ase import Atoms, units
    from ase.calculators.calculator import Calculator, all_changes
    from ase.md.langevin import Langevin

    h, friction, mass, heat = 0.5, 0.8, 2.0, 1.5
    forces = np.zeros((3, 3))
    forces[:2, :2] = -A

    class Bowl(Calculator):  # type: ignore[misc]
        implemented_properties = ("energy", "forces")

        def calculate(self, atoms: Any, properties: Any, changes: Any = all_changes) -> None:
            super().calculate(atoms, properties, changes)
            x = atoms.get_positions()
            self.results = {"energy": -0.5 * np.sum(x * x.dot(forces)), "forces": x.dot(forces)}

    def step(seed: int, z: np.ndarray) -> Any:
        x, v = np.zeros((2, len(z), 3))
        x[:, :2], v[:, :2] = z[:, :2], z[:, 2:]
        atoms = Atoms(numbers=np.ones(len(z)), positions=x, masses=np.full(len(z), mass))
        atoms.calc = Bowl()
        atoms.set_velocities(v)
        Langevin(
            atoms,
            h,
            temperature_K=heat / units.kB,
            friction=friction,
            fixcm=False,
            rng=np.random.default_rng(seed),
        ).run(1)
        return np.concatenate([atoms.get_positions()[:, :2], atoms.get_velocities()[:, :2]], 1)

    name = f"Langevin, fixcm False, dt {h}, kT {heat} eV, friction {friction}, mass {mass}"
    expanded = exact(Expanded(h, friction, heat, mass))
    yield Claim(name, "Vanden-Eijnden and Ciccotti (2006), equation 23", step, expanded)
    ours = exact(jl.underdamped(h, friction, temperature=heat, mass=mass))
    yield Claim(name, "underdamped(dt, friction, temperature=kT, mass=m)", step, ours, true=False)


def diffrax() -> Iterator[Claim]:
    import diffrax

    def one(solver: Any, terms: tuple[Any, Any], h: float, y: Any) -> Any:
        given = {"t0": 0.0, "t1": h, "dt0": h, "adjoint": diffrax.ForwardMode()}
        return diffrax.diffeqsolve(diffrax.MultiTerm(*terms), solver, y0=y, **given).ys

    h, heat = 0.3, 2.0

    def euler(key: jax.Array, x: jax.Array) -> jax.Array:
        path = diffrax.UnsafeBrownianPath((2,), key)
        noise = np.sqrt(2 * heat) * jnp.eye(2)
        terms = (
            diffrax.ODETerm(lambda t, x, args: jax.grad(log_density)(x)),
            diffrax.ControlTerm(lambda t, x, args: noise, path),
        )
        return one(diffrax.Euler(), terms, h, x)[0]

    yield Claim(
        f"Euler on dx = -∇E dt + sqrt(2T) dW, dt {h}, T {heat}",
        "ula(dt, temperature=T)",
        each(euler),
        exact(jl.ula(h, temperature=heat)),
    )
    dt, gamma, u = 0.5, 0.8, 0.5
    another = "underdamped(dt, gamma, mass=1 / u)", jl.underdamped(dt, gamma, mass=1 / u), False
    same = "quicsort(dt, gamma, mass=1 / u)", jl.quicsort(dt, gamma, mass=1 / u), True
    for name, (ours, kernel, true) in {
        "ALIGN": another,
        "ShOULD": another,
        "QUICSORT": same,
    }.items():
        solver = getattr(diffrax, name)()

        def step(key: jax.Array, z: jax.Array, solver: Any = solver) -> jax.Array:
            levy = diffrax.SpaceTimeTimeLevyArea
            path = diffrax.UnsafeBrownianPath((2,), key, levy_area=levy)
            terms = (
                diffrax.UnderdampedLangevinDriftTerm(
                    gamma, u, lambda x, _: -jax.grad(log_density)(x)
                ),
                diffrax.UnderdampedLangevinDiffusionTerm(gamma, u, path),
            )
            x, v = one(solver, terms, dt, (z[:2], z[2:]))
            return jnp.concatenate([x[0], v[0]])

        yield Claim(
            f"{name} on UnderdampedLangevinDriftTerm, dt {dt}, gamma {gamma}, u {u}",
            ours,
            each(step),
            exact(kernel),
            true=true,
        )


def torchebm() -> Iterator[Claim]:
    import torch
    from torchebm.core import BaseModel
    from torchebm.samplers import LangevinDynamics

    matrix = torch.tensor(A, dtype=torch.float32)

    class Quadratic(BaseModel):  # type: ignore[misc]
        def forward(self, x: Any) -> Any:
            return 0.5 * torch.einsum("ni,ij,nj->n", x, matrix, x)

    eta, noise = 0.3, 1.4

    def langevin(seed: int, z: np.ndarray) -> Any:
        sampler = LangevinDynamics(Quadratic(), step_size=eta, noise_scale=noise)
        generator = torch.Generator().manual_seed(seed)
        return sampler.sample(x=torch.tensor(z), n_steps=1, generator=generator).detach().numpy()

    yield Claim(
        f"LangevinDynamics, step_size {eta}, noise_scale {noise}",
        "ula(step_size, temperature=noise_scale**2)",
        langevin,
        exact(jl.ula(eta, temperature=noise**2)),
    )


PEERS = {
    "blackjax": Peer(("blackjax==1.7.1",), blackjax),
    "numpyro": Peer(("numpyro==0.22.0",), numpyro),
    "optax": Peer(("optax==0.2.8",), optax),
    "flowmc": Peer(("flowMC==0.6.5",), flowmc, python=(3, 12)),
    "pints": Peer(("pints==0.6.1",), pints),
    "thermox": Peer(("thermox==0.0.6",), thermox),
    "jax-md": Peer(("jax-md==0.2.29",), jax_md),
    "openmm": Peer(("openmm==8.6.1",), openmm),
    "ase": Peer(("ase==3.29.0",), ase),
    "diffrax": Peer(("diffrax==0.7.2",), diffrax),
    "torchebm": Peer(("torchebm==0.8.9", "torch==2.13.0"), torchebm),
    "posteriors": Peer(("posteriors==0.1.3", "torch==2.13.0"), posteriors),
}
