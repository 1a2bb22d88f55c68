"""Networks of each model library as energies, with a quadratic bowl that confines them."""

import os
import signal

import jax
import jax.numpy as jnp

import jlangevin as jl


def nnx():
    from flax import nnx

    class Net(nnx.Module):
        def __init__(self, rngs):
            self.inner, self.outer = nnx.Linear(2, 3, rngs=rngs), nnx.Linear(3, 1, rngs=rngs)

        def __call__(self, x):
            return self.outer(jnp.tanh(self.inner(x)))[0] + 0.5 * jnp.sum(x**2)

    return Net(nnx.Rngs(0))


def linen():
    from flax import linen

    class Net(linen.Module):
        @linen.compact
        def __call__(self, x):
            y = linen.Dense(1)(jnp.tanh(linen.Dense(3)(x)))
            return y[0] + 0.5 * jnp.sum(x**2)

    net = Net()
    return jax.tree_util.Partial(net.apply, net.init(jax.random.key(0), jnp.zeros(2)))


def equinox():
    import equinox

    class Net(equinox.Module):
        inner: equinox.nn.MLP

        def energy(self, x):
            return self.inner(x) + 0.5 * jnp.sum(x**2)

    return Net(equinox.nn.MLP(2, "scalar", 3, 1, key=jax.random.key(0))).energy


def haiku():
    import haiku

    def net(x):
        return haiku.nets.MLP([3, 1])(x)[0] + 0.5 * jnp.sum(x**2)

    net = haiku.without_apply_rng(haiku.transform(net))
    return jax.tree_util.Partial(net.apply, net.init(jax.random.key(0), jnp.zeros(2)))


LIBRARIES = {"NNX": nnx, "Linen": linen, "Equinox": equinox, "Haiku": haiku}


def sample(energy, **options):
    return jl.sample(
        jax.random.key(1), energy, jl.ula(0.05), jnp.zeros((40, 2)), num_steps=20, **options
    )


def run_until_killed(library, checkpoint):
    """It kills itself as soon as there is a checkpoint."""
    from jlangevin.sampling.checkpoint import Store

    save = Store.save

    def save_and_die(self, *args):
        save(self, *args)
        os.kill(os.getpid(), signal.SIGKILL)

    Store.save = save_and_die
    sample(LIBRARIES[library](), checkpoint=checkpoint, every=10)
