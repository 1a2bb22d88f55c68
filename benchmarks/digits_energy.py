"""Handwritten digits by an energy that is learned with persistent chains, and sampled from noise.

    python benchmarks/digits_energy.py --plot digits_energy.png  # 10 minutes on two cores

The same images, and the same judges, as in `digits.py`. What is learned is one energy, not a score
at each of many levels, so that plain chains at one step size draw from it. It is that of the images
with a little noise, without which their density would be on a set too thin for any chain; the last
step takes that noise off again.
"""

from __future__ import annotations

import time
from typing import Any

import digits
import harness
import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

import jlangevin as jl

NOISE = 0.2  # that images are given, in units of half the way from paper to ink
KERNEL = jl.ula(0.01)  # a quarter of the noise's variance
STEPS = 30  # of a chain in one update
CHAINS, MOVED, REDRAWN = 512, 128, 0.03  # in the buffer, in one update, started again
START = jl.Gaussian(jnp.zeros(64), (1 + NOISE**2) * jnp.eye(64))


class Energy(nnx.Module):
    """E(x) = |x - f(x)|²/2, low where the network f gives back what it is given.

    It grows far out if f does not, which keeps chains in. Learned without chains, as the error of
    an autoencoder, it would be low elsewhere too.
    """

    def __init__(self, width: int, depth: int, rngs: nnx.Rngs) -> None:
        self.first = nnx.Linear(64, width, rngs=rngs)
        self.middle = nnx.List([nnx.Linear(width, width, rngs=rngs) for _ in range(depth - 1)])
        self.last = nnx.Linear(width, 64, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        h = nnx.silu(self.first(x))
        for layer in self.middle:
            h = h + nnx.silu(layer(h))
        return 0.5 * jnp.sum((x - self.last(h)) ** 2)


def loss(key: jax.Array, energy: Any, batch: Any, buffer: Any) -> Any:
    """Persistent contrastive divergence, on images with noise that is new in each update."""
    for_noise, for_chains = jax.random.split(key)
    return jl.learn.persistent_contrastive_divergence(
        for_chains,
        energy,
        batch + NOISE * jax.random.normal(for_noise, batch.shape, batch.dtype),
        buffer,
        kernel=KERNEL,
        num_steps=STEPS,
        num_negatives=MOVED,
        redraw_rate=REDRAWN,
    )


def learned(x: Any, num_updates: int, width: int, depth: int, seed: int) -> jl.learn.Fit:
    import optax

    rate = optax.warmup_cosine_decay_schedule(0.0, 1e-3, num_updates // 15, num_updates)
    network, buffer, chains = jax.random.split(jax.random.key(seed), 3)
    return jl.learn.fit(
        chains,
        Energy(width, depth, nnx.Rngs(network)),
        x,
        loss,
        optax.chain(optax.clip_by_global_norm(1.0), optax.adam(rate, b1=0.5)),
        num_updates=num_updates,
        batch_size=256,
        buffer=jl.learn.replay_buffer(buffer, START, CHAINS),
        progress=True,
    )


def drawn(energy: Any, number: int, num_steps: int, seed: int) -> Any:
    """Images by new chains that begin at noise, without the noise that the energy is of: by
    Tweedie's formula x - σ² ∇E(x) is the mean of what was there before it."""
    run = jl.sample(
        jax.random.key(seed + 1),
        energy,
        KERNEL,
        START,
        num_steps=num_steps,
        num_chains=number,
        observe=None,
    )
    clean = jax.jit(jax.vmap(lambda x: x - NOISE**2 * jax.grad(energy)(x)))(run.position)
    return np.clip(np.asarray(clean), -1, 1)


def main() -> None:
    options = harness.parser(__doc__ or "", repeats=1)
    options.add_argument("--updates", type=int, default=3_000)
    options.add_argument("--width", type=int, default=512)
    options.add_argument("--depth", type=int, default=2)
    options.add_argument("--samples", type=int, default=1_000)
    options.add_argument("--steps", type=int, default=1_000)
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--plot", metavar="FILE")
    args = options.parse_args()
    harness.print_environment()
    x, labels, others, _ = digits.images()
    begun = time.perf_counter()
    fit = learned(x, args.updates, args.width, args.depth, args.seed)
    after = time.perf_counter()
    print(fit)
    made = drawn(fit.energy, args.samples, args.steps, args.seed)
    done = time.perf_counter()
    found = {
        "seconds to learn": after - begun,
        "seconds to sample": done - after,
        **digits.judged(made, x, labels, others),
        "AUROC": digits.outliers(fit.energy, others),
    }
    digits.report(found, made, args)


if __name__ == "__main__":
    main()
