"""Samplers of peers as `draw(key, energy, step_size, temperature, init, num_steps)`.

A sampler without a temperature is given E/T. A peer is imported where it is used.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from stand_ins import FRICTION

import jlangevin as jl

LEAPS = 5


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
        sghmc = blackjax.sghmc(lambda x, batch: -jax.grad(energy)(x), LEAPS, alpha=FRICTION)
        return (
            lambda key, x: x,
            lambda key, x, t: sghmc.step(key, x, None, step, heat),
            lambda x: x,
        )

    return chains(make)


def blackjax_sgnht() -> jl.verify.Draw:
    """Its steps are twenty of theirs, so that the thermostat settles."""
    import blackjax

    def make(energy: Any, step: Any, heat: Any) -> Any:
        sgnht = blackjax.sgnht(lambda x, batch: -jax.grad(energy)(x) / heat)

        def move(key: Any, state: Any, t: Any) -> Any:
            def body(i: Any, state: Any) -> Any:
                return sgnht.step(jax.random.fold_in(key, i), state, None, step)

            return jax.lax.fori_loop(0, 20, body, state)

        return (
            lambda key, x: sgnht.init(x, key)._replace(xi=jnp.asarray(0.01)),
            move,
            lambda state: state.position,
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
                leaps = {"num_integration_steps": LEAPS} if name == "adjusted_mclmc" else {}
                sampler = getattr(blackjax, name)(log_density, step, **leaps)
                init = lambda key, x: sampler.init(x)  # noqa: E731
            return init, lambda key, s, t: sampler.step(key, s)[0], lambda s: s.position

        return chains(make)

    return load


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
        init, (before, after), read = diffusions.baoab(step, FRICTION, tau=heat)
        force = jax.grad(lambda x: -energy(x))

        def move(key: Any, state: Any, t: Any) -> Any:
            state = before(t, key, force(read(state)), state)
            return after(t, jax.random.clone(key), force(read(state)), state)

        def both(state: Any) -> Any:
            position, velocity = state[0][0]
            return position, velocity

        return lambda key, x: init(x), move, both

    return chains(make)


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


def numpyro_hmc(leaps: int, **trajectory: Any) -> Callable[[], jl.verify.Draw]:
    """With its default `trajectory_length`, 2π, unless one is given."""

    def load() -> jl.verify.Draw:
        from numpyro.infer.hmc import hmc

        def make(energy: Any, step: Any, heat: Any) -> Any:
            init, move = hmc(lambda x: energy(x) / heat, algo="HMC")

            def begin(key: Any, x: Any) -> Any:
                return init(
                    x,
                    0,
                    step_size=step,
                    num_steps=leaps,
                    adapt_step_size=False,
                    adapt_mass_matrix=False,
                    rng_key=key,
                    **trajectory,
                )

            return begin, lambda key, s, t: move(s._replace(rng_key=key)), lambda s: s.z

        return chains(make)

    return load


# Optax ----------------------------------------------------------------------------------------


def optax_noisy_sgd() -> jl.verify.Draw:
    """The step as the learning rate, T by eta, under vmap."""
    import optax

    @jax.jit
    def draw(key: Any, energy: Any, step: Any, heat: Any, init: Any, num_steps: Any) -> Any:
        rule = optax.noisy_sgd(step, 2 * heat / step, gamma=0.0, key=key)

        def one(position: Any) -> Any:
            def body(_: Any, pair: Any) -> Any:
                x, state = pair
                change, state = rule.update(jax.grad(energy)(x), state, x)
                return optax.apply_updates(x, change), state

            return jax.lax.fori_loop(0, num_steps, body, (position, rule.init(position)))[0]

        return jax.vmap(one)(init)

    return draw


# ASE ------------------------------------------------------------------------------------------


def ase_dynamics(name: str, **options: Any) -> Callable[[], jl.verify.Draw]:
    """Chains as atoms of mass 1: coordinates that the chain has not are 0."""

    def load() -> jl.verify.Draw:
        from ase import Atoms, units
        from ase.calculators.calculator import Calculator, all_changes

        dynamics = getattr(importlib.import_module(f"ase.md.{name.lower()}"), name)

        class Given(Calculator):  # type: ignore[misc]
            implemented_properties = ("energy", "forces")

            def __init__(self, energy: Any, dim: int) -> None:
                super().__init__()
                self.slopes = jax.jit(jax.vmap(jax.grad(energy)))
                self.dim = dim

            def calculate(self, atoms: Any, properties: Any, changes: Any = all_changes) -> None:
                super().calculate(atoms, properties, changes)
                x = atoms.get_positions()
                forces = np.zeros(x.shape)
                forces[:, : self.dim] = -np.asarray(
                    self.slopes(jnp.asarray(x[:, : self.dim], jnp.float32))
                )
                self.results = {"energy": 0.0, "forces": forces}

        def draw(key: Any, energy: Any, step: Any, heat: Any, init: Any, num_steps: int) -> Any:
            n, dim = init.shape
            if n == 1 and options.get("fixcm", True):
                raise NotImplementedError  # it divides by the number of atoms less 1
            seed = int(jax.random.randint(key, (), 0, 2**31 - 1))
            generator = np.random.default_rng(seed)
            x = np.zeros((n, 3))
            x[:, :dim] = init
            atoms = Atoms(numbers=np.ones(n), positions=x, masses=np.ones(n))
            atoms.calc = Given(energy, dim)
            atoms.set_velocities(heat**0.5 * generator.standard_normal((n, 3)))
            kelvin = heat / units.kB
            dynamics(atoms, step, temperature_K=kelvin, rng=generator, **options).run(num_steps)
            read = atoms.get_positions(), atoms.get_velocities()
            return tuple(jnp.asarray(part[:, :dim], jnp.float32) for part in read)

        return draw

    return load


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


# TorchEBM -------------------------------------------------------------------------------------


def torchebm_langevin() -> jl.verify.Draw:
    """Its noise_scale² is the temperature."""
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
