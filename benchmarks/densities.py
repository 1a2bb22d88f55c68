"""Four densities of the plane, learned with persistent chains: how good are they?

    python benchmarks/densities.py [--plot densities.png] [--torch-threads 1] [--json FILE]

Two moons, two rings, eight Gaussians and a checkerboard; 4,000 points to learn from and 4,000 held
out of each. An MLP 2-128-128-1 beside a bowl |x|²/2 is learned by persistent contrastive divergence
with 20 steps an update: of `mala`, which has no bias; of `ula`; and of TorchEBM's sampler, which is
`ula` again, from the same parameters with the same settings, if it is installed. In columns:

    log p          the mean log-likelihood of points held out, with log Z by quadrature
    by weights     the same with log Z of `jl.log_normalizer`, and its standard error
    best, normal   of a perfect model, where the density is known; of a normal that fits
    KSD            squared and unbiased, of points held out under the learned energy; 0 for a
                   perfect model
    MMD            squared, between points held out and draws of the learned energy; in brackets
                   between those and the points learned from, which is 0 but for chance
"""

from __future__ import annotations

import functools
import time
import warnings
from collections.abc import Callable
from typing import Any

import harness
import jax
import jax.numpy as jnp
import learning
import numpy as np
from jax.tree_util import Partial

import jlangevin as jl

UNBIASED = "jlangevin, mala"
POINTS, BATCH, WIDTH = 4_000, 256, 128
STEPS, ETA, RATE = 20, 0.002, 3e-3
REDRAWN = 0.01  # of the chains in an update; TorchEBM moves as many a little instead
FINENESS = 4.0  # of the first layer, by its weights
SPAN = 4.0  # where densities are integrated, in standard deviations of the data
WIDE = jl.Gaussian(jnp.zeros(2), 4.0 * jnp.eye(2))


def moons(rng: Any, n: int) -> Any:
    from sklearn.datasets import make_moons

    return make_moons(n, noise=0.1, random_state=int(rng.integers(2**31)))[0]


def rings(rng: Any, n: int) -> Any:
    from sklearn.datasets import make_circles

    return make_circles(n, noise=0.06, factor=0.45, random_state=int(rng.integers(2**31)))[0]


def gaussians(rng: Any, n: int) -> Any:
    angle = 2 * np.pi * rng.integers(8, size=n) / 8
    return np.stack([np.cos(angle), np.sin(angle)], 1) + 0.12 * rng.standard_normal((n, 2))


def checkerboard(rng: Any, n: int) -> Any:
    """Eight of the sixteen squares of a board of side 4."""
    column, row = rng.integers(4, size=n), rng.integers(2, size=n)
    corner = np.stack([column, 2 * row + column % 2], 1)
    return corner + rng.uniform(size=(n, 2))


TASKS: dict[str, Callable[..., Any]] = {
    "two moons": moons,
    "rings": rings,
    "8 Gaussians": gaussians,
    "checkerboard": checkerboard,
}


def data_of(name: str, seed: int) -> tuple[Any, Any, float]:
    """Points to learn from and held out, with mean 0 and variance 1, and the unit of length."""
    rng = np.random.default_rng(seed)
    seen, others = TASKS[name](rng, POINTS), TASKS[name](rng, POINTS)
    unit = float(seen.std())
    center = seen.mean(0)
    return *(((x - center) / unit).astype(np.float32) for x in (seen, others)), unit


def best(name: str, unit: float) -> float | None:
    """Minus the entropy of the data's law in units of length of `data_of`, where it is known."""
    if name == "checkerboard":
        return float(2 * np.log(unit) - np.log(8))
    if name == "8 Gaussians":
        means = np.stack([np.cos(np.arange(8) * np.pi / 4), np.sin(np.arange(8) * np.pi / 4)], 1)
        mixture = jl.energies.gaussian_mixture(means.astype(np.float32), 0.12**2)
        points = mixture.sample(jax.random.key(0), 100_000)
        return Grid(mixture, 2.0).log_likelihood(points) + float(2 * np.log(unit))
    return None


def parameters() -> Any:
    """With a first layer that bends within the plane's finer features."""
    (weights, bias), *rest = learning.parameters(WIDTH)
    bends = jax.random.normal(jax.random.key(1), bias.shape)
    return [(FINENESS * weights, FINENESS * bends), *rest]


def energy(parameters: Any, x: jax.Array) -> jax.Array:
    return learning.energy(parameters, x) + 0.5 * jnp.sum(x**2)


def by_jlangevin(data: Any, begun: Any, num_updates: int, seed: int, *, kernel: Any) -> Any:
    import optax

    start = jl.Gaussian(jnp.zeros(2), jnp.eye(2))
    fit = jl.learn.fit(
        jax.random.key(seed),
        Partial(energy, begun),
        data,
        functools.partial(
            jl.learn.persistent_contrastive_divergence,
            kernel=kernel,
            num_steps=STEPS,
            redraw_rate=REDRAWN,
        ),
        optax.adam(optax.cosine_decay_schedule(RATE, num_updates)),
        num_updates=num_updates,
        batch_size=BATCH,
        buffer=jl.learn.replay_buffer(jax.random.key(seed + 1), start, BATCH),
    )
    return fit.energy.args[0]


def by_torchebm(data: Any, begun: Any, num_updates: int, seed: int) -> Any:
    import torch
    from torchebm.losses import PersistentContrastiveDivergence
    from torchebm.samplers import LangevinDynamics

    torch.manual_seed(seed)
    model = learning.torch_network(begun, bowl=1.0)
    loss = PersistentContrastiveDivergence(
        model=model,
        sampler=LangevinDynamics(model=model, step_size=ETA),
        k_steps=STEPS,
        buffer_size=BATCH,
        new_sample_ratio=REDRAWN,
        energy_reg_weight=0.0,
    )
    optimizer = torch.optim.Adam(model.parameters(), lr=RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, num_updates)
    points = torch.from_numpy(data)
    for _ in range(num_updates):
        optimizer.zero_grad()
        loss(points[torch.randint(len(points), (BATCH,))])[0].backward()
        optimizer.step()
        schedule.step()
    layers = [layer for layer in model.net if hasattr(layer, "weight")]
    return [
        tuple(jnp.asarray(each.detach().numpy()) for each in (layer.weight.T, layer.bias))
        for layer in layers
    ]


class Grid:
    """exp(-E) in the cells of a grid, which in the plane gives log Z, and draws."""

    def __init__(self, of: Any, span: float = SPAN) -> None:
        axis = np.linspace(-span, span, 801, dtype=np.float32)
        self.cell = float(axis[1] - axis[0])
        self.points = np.stack(np.meshgrid(axis, axis), -1).reshape(-1, 2)
        energies = _energies(of, self.points)
        weights = np.exp(energies.min() - energies)
        self.log_z = float(np.log(weights.sum() * self.cell**2) - energies.min())
        self.mass = weights / weights.sum()
        self.of = of

    def log_likelihood(self, points: Any) -> float:
        return -float(_energies(self.of, points).mean()) - self.log_z

    def draws(self, rng: Any, n: int) -> Any:
        """Exact but for what E changes within a cell, a hundredth of the data's spread."""
        cells = rng.choice(len(self.points), n, p=self.mass)
        within = self.cell * rng.uniform(-0.5, 0.5, (n, 2))
        return (self.points[cells] + within).astype(np.float32)


def _energies(of: Any, points: Any) -> Any:
    found = jax.jit(lambda of, x: jax.lax.map(of, x, batch_size=10_000))(of, jnp.asarray(points))
    return np.asarray(found, np.float64)


def mmd(x: Any, y: Any) -> float:
    """The squared maximum mean discrepancy, unbiased, with the kernel 1/sqrt(1 + |x - y|²)."""

    def kernels(x: Any, y: Any) -> Any:
        square = (x**2).sum(1)[:, None] + (y**2).sum(1)[None] - 2 * np.dot(x, y.T)
        return 1 / np.sqrt(1 + np.maximum(square, 0))

    x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
    n, m = len(x), len(y)
    within = (kernels(x, x).sum() - n) / n / (n - 1) + (kernels(y, y).sum() - m) / m / (m - 1)
    return float(within - 2 * kernels(x, y).mean())


def judged(of: Any, seen: Any, others: Any, seed: int) -> dict[str, Any]:
    """The columns of a row."""
    grid = Grid(of)
    drawn = grid.draws(np.random.default_rng(seed), POINTS)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", jl.NormalizerWarning)  # the table says so
        found = jl.log_normalizer(
            jax.random.key(seed), of, jl.mala(0.01), WIDE, num_steps=1_000, draws=drawn[:1_000]
        )
    log_p = grid.log_likelihood(others)
    return {
        "log p": log_p,
        "by weights": log_p + grid.log_z - float(found.value),
        "error": float(found.std_error),
        "ok": bool(found.ok),
        "KSD": float(jl.diagnostics.ksd(others, of, statistic="U")),
        "MMD": mmd(drawn, others),
        "MMD of the data": mmd(seen, others),
    }


def picture(learned: dict[str, Any], data: dict[str, Any], path: str) -> None:
    """Above the data, below what was learned from them, in the same colours."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(2, len(data), figsize=(3.4 * len(data), 5.4), layout="constrained")
    for column, (name, points) in zip(axes.T, data.items(), strict=True):
        span = ((-2.2, 2.2), (-2.2, 2.2))
        jl.plot.density(points, learned[name], span, ax=tuple(column))
        for ax in column:
            ax.set(xlabel="", ylabel="", xticks=[], yticks=[], aspect="equal")
        column[0].set_title(f"{name}: data")
        column[1].set_title("learned")
    figure.savefig(path, dpi=90)


def main() -> None:
    options = harness.parser(__doc__ or "", repeats=1)
    options.add_argument("--updates", type=int, default=2_000)
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--torch-threads", type=int)
    options.add_argument("--plot", metavar="FILE")
    args = options.parse_args()
    warnings.simplefilter("ignore", jl.MiscompiledWarning)
    harness.print_environment()
    learners: dict[str, Callable[..., Any]] = {
        UNBIASED: functools.partial(by_jlangevin, kernel=jl.mala(5 * ETA)),
        "jlangevin, ula": functools.partial(by_jlangevin, kernel=jl.ula(ETA)),
    }
    if learning.torchebm_installed():
        import torch

        if args.torch_threads:
            torch.set_num_threads(args.torch_threads)
        learners["TorchEBM"] = by_torchebm
    rows: list[list[str]] = []
    figures: dict[str, Any] = {}
    pictured: dict[str, Any] = {}
    data: dict[str, Any] = {}
    for task in TASKS:
        seen, others, unit = data_of(task, args.seed)
        data[task] = seen
        normal = jl.Gaussian(others.mean(0), np.cov(others.T).astype(np.float32))
        known = best(task, unit)
        as_normal = float(jnp.mean(jax.vmap(normal.log_prob)(others)))
        for name, learn in learners.items():
            begun = time.perf_counter()
            learned = learn(seen, parameters(), args.updates, args.seed)
            seconds = time.perf_counter() - begun
            of = Partial(energy, learned)
            if name == UNBIASED:
                pictured[task] = of
            found = judged(of, seen, others, args.seed)
            figures[f"{task}, {name}"] = {"seconds": seconds, **found}
            rows.append(
                [
                    task,
                    name,
                    f"{seconds:.0f}",
                    f"{found['log p']:.3f}",
                    f"{found['by weights']:.3f} ± {found['error']:.3f}"
                    + ", not ok" * (not found["ok"]),
                    "-" if known is None else f"{known:.3f}",
                    f"{as_normal:.3f}",
                    f"{found['KSD']:.4f}",
                    f"{found['MMD']:.5f} ({found['MMD of the data']:.5f})",
                ]
            )
            print(" ".join(rows[-1]), flush=True)
    harness.print_table(
        ["data", "by", "s", "log p", "by weights", "best", "normal", "KSD", "MMD"], rows
    )
    if args.plot:
        picture(pictured, data, args.plot)
    harness.write_json(args.json, figures)


if __name__ == "__main__":
    main()
