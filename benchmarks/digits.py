"""Handwritten digits from noise: an energy learned by denoising, sampled by annealed Langevin.

    python benchmarks/digits.py --plot digits.png       # 10 minutes or less on two cores

The data are scikit-learn's 1,797 images of 8×8 pixels; 300 of them are held out. What comes out is
judged by a classifier trained on the same images: how sure it is, how many there are of each digit;
by the distances to the nearest image that was learned, beside those of the images held out; and the
energy tells images from what are none (AUROC).
"""

from __future__ import annotations

import argparse
import functools
import time
import warnings
from collections.abc import Callable
from typing import Any

import harness
import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

import jlangevin as jl

HELD_OUT = 300
SIGMAS = np.geomspace(6.0, 0.1, 40).astype(np.float32)
STEPS_EACH, STEP_SIZE = 20, 1e-3  # a tenth of σ² at each level
SPREAD = 0.75  # the standard deviation of a pixel


class Denoiser(nnx.Module):
    """D(x, σ), an estimate of the image under the noise, by a network that sees x in its own scale
    and is scaled to what is left to learn (Karras et al. 2022)."""

    def __init__(self, width: int, depth: int, rngs: nnx.Rngs) -> None:
        self.first = nnx.Linear(64 + 1, width, rngs=rngs)
        self.middle = nnx.List([nnx.Linear(width, width, rngs=rngs) for _ in range(depth)])
        self.last = nnx.Linear(width, 64, rngs=rngs)

    def __call__(self, x: jax.Array, sigma: jax.Array) -> jax.Array:
        scale = jnp.sqrt(sigma**2 + SPREAD**2)
        h = jnp.concatenate([x / scale, jnp.log(sigma)[None]])
        h = nnx.silu(self.first(h))
        for layer in self.middle:
            h = h + nnx.silu(layer(h))
        image = (SPREAD / scale) ** 2 * x + (sigma * SPREAD / scale) * self.last(h)
        return jnp.clip(image, -1, 1)  # as a mean of images is, so that no chain can run off


def score(denoiser: Denoiser, x: jax.Array, sigma: jax.Array) -> jax.Array:
    """(D(x, σ) - x) / σ² (Tweedie's formula)."""
    return (denoiser(x, sigma) - x) / sigma**2


def images() -> tuple[Any, Any, Any, Any]:
    """Images in [-1, 1] and their labels, to learn from and held out."""
    from sklearn.datasets import load_digits

    x, labels = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(x))
    x, labels = (x[order] / 8 - 1).astype(np.float32), labels[order]
    return x[HELD_OUT:], labels[HELD_OUT:], x[:HELD_OUT], labels[:HELD_OUT]


def learned(x: Any, num_updates: int, width: int, depth: int, progress: Any) -> jl.learn.Fit:
    import optax

    rate = optax.cosine_decay_schedule(1e-3, num_updates)
    network = jax.tree_util.Partial(score, Denoiser(width, depth, nnx.Rngs(0)))
    return jl.learn.fit(
        jax.random.key(0),
        jl.scores.level_score(network, 1.0),
        x,
        functools.partial(jl.learn.multiscale_score_matching, sigmas=SIGMAS),
        optax.chain(optax.clip_by_global_norm(1.0), optax.adam(rate)),
        num_updates=num_updates,
        batch_size=128,
        progress=progress,
    )


def drawn(energy: Any, number: int, seed: int = 1) -> Any:
    """Images by annealed Langevin, and a last step that takes off the noise that is left."""
    wide = jl.Gaussian(jnp.zeros(64), float(SIGMAS[0]) ** 2 * jnp.eye(64))
    kernel = jl.annealed(SIGMAS, STEPS_EACH, STEP_SIZE)
    run = jl.sample(
        jax.random.key(seed),
        energy,
        kernel,
        wide,
        num_steps=len(SIGMAS) * STEPS_EACH,
        num_chains=number,
        observe=None,
    )
    last = energy.at(SIGMAS[-1])
    clean = jax.jit(jax.vmap(lambda x: x - SIGMAS[-1] ** 2 * last.gradient(x)))(run.position)
    return np.clip(np.asarray(clean), -1, 1)


def nearest(points: Any, to: Any) -> Any:
    square = (points**2).sum(1)[:, None] + (to**2).sum(1)[None] - 2 * np.dot(points, to.T)
    return np.sqrt(np.maximum(square, 0).min(1))


def judged(made: Any, x: Any, labels: Any, others: Any) -> dict[str, Any]:
    """What a classifier that knows the real images says, and distances to them."""
    from sklearn.neural_network import MLPClassifier

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        classifier = MLPClassifier((128,), max_iter=300, random_state=0).fit(x, labels)
    sure = classifier.predict_proba(made)
    best = sure.argmax(1)
    return {
        "share above 0.9": float(np.mean(sure.max(1) > 0.9)),
        "share above 0.9 of held-out images": float(
            np.mean(classifier.predict_proba(others).max(1) > 0.9)
        ),
        "share of each digit": [float(np.mean(best == digit)) for digit in range(10)],
        "median distance to the nearest image learned from": float(np.median(nearest(made, x))),
        "the same for held-out images": float(np.median(nearest(others, x))),
        "share nearer than the nearest 1% of those": float(
            np.mean(nearest(made, x) < np.quantile(nearest(others, x), 0.01))
        ),
    }


def displacement(energy: Any) -> Callable[[Any], Any]:
    """|σ s(x, σ)|² at a middling level: how far the network would move an image."""
    sigma = 0.5
    at = energy.at(jnp.float32(sigma))
    return lambda x: jnp.sum((sigma * at.gradient(x)) ** 2)


def outliers(of_image: Callable[[Any], Any], others: Any) -> dict[str, float]:
    """How well a number of each image tells images held out from what are none (AUROC)."""
    from sklearn.metrics import roc_auc_score

    rng = np.random.default_rng(1)
    grids = others.reshape(-1, 8, 8)
    padded = np.pad(grids, ((0, 0), (1, 1), (1, 1)), mode="edge")
    shifted = [padded[:, i : i + 8, j : j + 8] for i in range(3) for j in range(3)]
    blurred = np.mean(shifted, axis=0)
    kinds = {
        "noise": rng.uniform(-1, 1, others.shape),
        "pixels shuffled": rng.permuted(others, axis=1),
        "blurred": blurred.reshape(others.shape),
        "inverted": -others,
    }
    strength = jax.jit(jax.vmap(of_image))
    inside = np.asarray(strength(others))
    truth = np.repeat([0, 1], len(others))
    return {
        name: float(roc_auc_score(truth, np.concatenate([inside, strength(x.astype(np.float32))])))
        for name, x in kinds.items()
    }


def picture(made: Any, path: str) -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    rows, columns = 8, 16
    grid = made[: rows * columns].reshape(rows, columns, 8, 8)
    grid = np.pad(grid, ((0, 0), (0, 0), (1, 0), (1, 0)), constant_values=0.0)
    plt.imsave(
        path,
        np.kron(-grid.swapaxes(1, 2).reshape(rows * 9, columns * 9), np.ones((5, 5))),
        cmap="gray",
    )


def report(found: dict[str, Any], made: Any, args: argparse.Namespace) -> None:
    for name, value in found.items():
        print(f"{name}: {np.round(value, 3) if not isinstance(value, dict) else value}")
    if args.plot:
        picture(made, args.plot)
    harness.write_json(args.json, found)


def main() -> None:
    options = harness.parser(__doc__ or "", repeats=1)
    options.add_argument("--updates", type=int, default=5_000)
    options.add_argument("--width", type=int, default=256)
    options.add_argument("--depth", type=int, default=3)
    options.add_argument("--samples", type=int, default=1_000)
    options.add_argument("--plot", metavar="FILE")
    args = options.parse_args()
    harness.print_environment()
    x, labels, others, _ = images()
    begun = time.perf_counter()
    fit = learned(x, args.updates, args.width, args.depth, True)
    after = time.perf_counter()
    print(fit)
    made = drawn(fit.energy, args.samples)
    done = time.perf_counter()
    found = {
        "seconds to learn": after - begun,
        "seconds to sample": done - after,
        **judged(made, x, labels, others),
        "AUROC": outliers(displacement(fit.energy), others),
    }
    report(found, made, args)


if __name__ == "__main__":
    main()
