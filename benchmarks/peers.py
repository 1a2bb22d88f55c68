"""Is a row of our table of conventions true? `python benchmarks/peers.py [NAME …]`.

For each peer, at the version named here: install it into a temporary environment on top of this
one, take one step of its sampler from many equal starts, and hold the affine map of that step,
z' = F z + c + w with w ~ N(0, Q), against that of the kernel that `docs/pages/conventions.md` says
it is. F is recovered from starts that differ by a unit and have the same noise, to the peer's
rounding; c and Q from as many draws as there are starts, so they are compared in standard errors.

Run by hand: it downloads what is not there. `--keep FOLDER` keeps the environments.
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib
import json
import os
import subprocess
import sys
import sysconfig
import tempfile
import venv
from collections.abc import Callable, Iterator
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import harness
import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from scipy import linalg

import jlangevin as jl

STARTS = 20_000
PRECISION = 2e-5  # of F, whose elements are about 1
LARGEST_Z = 5.0

A = np.array([[1.0, 0.6], [0.6, 2.0]])  # E(x) = ½ xᵀ A x
ENERGY = jl.energies.quadratic(jnp.asarray(A, jnp.float32))
Step = Callable[[int, np.ndarray], Any]  # seed, (starts, size) -> (starts, size)


@dataclasses.dataclass(frozen=True)
class Map:
    """z' = F z + c + w, w ~ N(0, Q); from `draws` draws, or exact if there are none."""

    matrix: np.ndarray
    offset: np.ndarray
    cov: np.ndarray
    draws: int = 0


@dataclasses.dataclass(frozen=True)
class Claim:
    """A row of the table: what the peer does, and the map that it is said to have."""

    theirs: str
    ours: str
    step: Step
    expected: Map
    starts: int = STARTS
    true: bool = True  # or the table says that it is not so


@dataclasses.dataclass(frozen=True)
class Peer:
    requirements: tuple[str, ...]
    claims: Callable[[], Iterator[Claim]]
    python: tuple[int, int] = (3, 11)  # the oldest that it has a release for

    @property
    def package(self) -> str:
        return self.requirements[0].partition("==")[0].partition("[")[0]


# Maps ---------------------------------------------------------------------------------------


def recovered(step: Step, size: int, starts: int) -> Map:
    zero = np.zeros((starts, size), np.float32)
    base = np.asarray(step(0, zero), np.float64)
    columns = []
    for i in range(size):
        shifted = zero.copy()
        shifted[:, i] = 1.0
        moved = np.asarray(step(0, shifted), np.float64) - base
        columns.append(np.median(moved, axis=0))  # the few that were rejected aside
    return Map(np.stack(columns, 1), base.mean(0), np.cov(base.T).reshape(size, size), starts)


def exact(kernel: Any, energy: Any = ENERGY, dim: int = 2) -> Map:
    """Of a kernel of ours, over positions, or positions and velocities if it has them."""
    first = None if kernel.init_noise is None else jnp.zeros(dim)
    state = kernel.init(energy, jnp.zeros(dim), first)
    moving = hasattr(state, "velocity")

    shapes = jl.noise.shapes(kernel.step_noise, jnp.zeros(dim))
    xi, unravel = ravel_pytree(jax.tree.map(lambda of: jnp.zeros(of.shape, of.dtype), shapes))

    def step(z: jax.Array, xi: jax.Array) -> jax.Array:
        state = kernel.init(energy, z[:dim], first)
        if moving:
            state = state._replace(velocity=z[dim:])
        state = kernel.step(energy, state, unravel(xi))[0]
        return jnp.concatenate([state.position, state.velocity]) if moving else state.position

    z = jnp.zeros(2 * dim if moving else dim)
    F, G = (np.asarray(jax.jacfwd(step, i)(z, xi), np.float64) for i in (0, 1))
    return Map(F, np.asarray(step(z, xi)), G.dot(G.T))


def sampled(kernel: Any) -> Map:
    """Of a kernel of ours that accepts or rejects: from its draws, as those of a peer."""

    def step(seed: int, z: np.ndarray) -> Any:
        key = jax.random.key(seed + 1)
        return jl.sample(key, ENERGY, kernel, jnp.asarray(z), num_steps=1, observe=None).position

    return recovered(step, 2, STARTS)


def verdict(claim: Claim) -> dict[str, Any]:
    want = claim.expected
    found = recovered(claim.step, len(want.offset), claim.starts)
    variances = np.diag(want.cov)
    share = 1 / found.draws + (1 / want.draws if want.draws else 0)
    floor = 1e-12 + 1e-5 * np.abs(want.cov).max()  # where a variance is 0, roundings are not
    spread = np.sqrt((np.outer(variances, variances) + want.cov**2) * share) + floor
    z = max(
        np.abs((found.cov - want.cov) / spread).max(),
        np.abs((found.offset - want.offset) / (np.sqrt(variances * share) + floor)).max(),
    )
    off = np.abs(found.matrix - want.matrix).max()
    return {
        "theirs": claim.theirs,
        "ours": claim.ours,
        "off": float(off),
        "z": float(z),
        "holds": bool(off < PRECISION and z < LARGEST_Z),
        "true": claim.true,
    }


# Peers --------------------------------------------------------------------------------------


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


def diffrax() -> Iterator[Claim]:
    import diffrax

    h, friction, inverse_mass = 0.5, 0.8, 0.5
    field = friction, inverse_mass, lambda x, _: -jax.grad(log_density)(x)
    levy = diffrax.SpaceTimeTimeLevyArea

    def step(key: jax.Array, z: jax.Array) -> jax.Array:
        like = jax.ShapeDtypeStruct((2,), z.dtype)
        motion = diffrax.UnsafeBrownianPath(like, key=key, levy_area=levy)
        terms = diffrax.MultiTerm(
            diffrax.UnderdampedLangevinDriftTerm(*field),
            diffrax.UnderdampedLangevinDiffusionTerm(*field[:2], motion),
        )
        start = z[:2], z[2:]
        adjoint = diffrax.ForwardMode()
        found = diffrax.diffeqsolve(terms, diffrax.QUICSORT(), 0.0, h, h, start, adjoint=adjoint)
        return jnp.concatenate([found.ys[0][-1], found.ys[1][-1]])

    yield Claim(
        f"QUICSORT, dt {h}, gamma {friction}, u {inverse_mass}",
        "quicsort(dt, gamma, mass=1 / u)",
        each(step),
        exact(jl.quicsort(h, friction, mass=1 / inverse_mass)),
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


PEERS = {
    "blackjax": Peer(("blackjax==1.7.1",), blackjax),
    "numpyro": Peer(("numpyro==0.22.0",), numpyro),
    "optax": Peer(("optax==0.2.8",), optax),
    "flowmc": Peer(("flowMC==0.6.5",), flowmc, python=(3, 12)),
    "pints": Peer(("pints==0.6.1",), pints),
    "thermox": Peer(("thermox==0.0.6",), thermox),
    "jax-md": Peer(("jax-md==0.2.29",), jax_md),
    "diffrax": Peer(("diffrax==0.7.2",), diffrax),
    "openmm": Peer(("openmm==8.6.1",), openmm),
    "posteriors": Peer(("posteriors==0.1.3", "torch==2.13.0"), posteriors),
}


# Environments -------------------------------------------------------------------------------


def environment(peer: Peer, folder: Path) -> Path:
    """The Python of an environment with the peer, which sees all that this one has."""
    python = folder / "bin" / "python"
    if not python.exists():
        venv.create(folder, with_pip=True)
        site = Path(sysconfig.get_path("purelib", vars={"base": str(folder)}))
        here = sysconfig.get_path("purelib")
        repository = Path(__file__).parent.parent
        (site / "base.pth").write_text(f"{here}\n{repository}\n")
        subprocess.run([python, "-m", "pip", "install", "-q", *peer.requirements], check=True)
    return python


def check_here(name: str) -> None:
    """In the peer's environment: a line of JSON for each claim."""
    sys.path.remove(str(Path(__file__).parent))  # whose `posteriors` is not the peer
    peer = PEERS[name]
    for claim in peer.claims():
        print(json.dumps({"version": version(peer.package), **verdict(claim)}), flush=True)


def check(name: str, folder: Path) -> list[dict[str, Any]]:
    python = environment(PEERS[name], folder / name)
    path = os.pathsep.join([str(Path(__file__).parent.parent), os.environ.get("PYTHONPATH", "")])
    run = subprocess.run(
        [python, __file__, "--here", name],
        env={**os.environ, "PYTHONPATH": path},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return [json.loads(line) for line in run.stdout.splitlines() if line.startswith("{")]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(PEERS)}")
    parser.add_argument("--keep", metavar="FOLDER", help="keep the environments in FOLDER")
    parser.add_argument("--here", metavar="NAME", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.here:
        check_here(args.here)
        return
    unknown = set(args.names) - set(PEERS)
    if unknown:
        parser.error(f"no such peer: {', '.join(sorted(unknown))}; there are {', '.join(PEERS)}")
    harness.print_environment()
    rows, wrong = [], False
    with tempfile.TemporaryDirectory() as temporary:
        for name in args.names or PEERS:
            if sys.version_info < PEERS[name].python:
                print(f"{name} needs Python {'.'.join(map(str, PEERS[name].python))}")
                continue
            for found in check(name, Path(args.keep or temporary)):
                wrong |= found["holds"] != found["true"]
                rows.append(
                    [
                        f"{name} {found['version']} {found['theirs']}",
                        found["ours"],
                        f"{found['off']:.0e}",
                        f"{found['z']:.1f}",
                        "yes" if found["holds"] else "no",
                        "" if found["holds"] == found["true"] else "WRONG TABLE",
                    ]
                )
    harness.print_table(["there", "here", "F off by", "largest z", "equal", ""], rows)
    sys.exit(int(wrong))


if __name__ == "__main__":
    main()
