"""The time of one update of contrastive divergence, side by side.

    python benchmarks/learning.py [--repeats 20] [--json FILE]

256 chains of 20 ULA steps on an MLP 2-128-128-1, Adam, batches of 256 from two moons. The same
update five times: by `learn.fit`; in a loop of one's own with the loss under `jax.jit`; with the
chains run by `sample` outside of it; as a bare `lax.scan`, which draws noise by `jax.random` and
checks nothing; and by TorchEBM's own sampler and loss, if it is installed.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from typing import Any

import harness
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.tree_util import Partial

import jlangevin as jl

CHAINS, STEPS, WIDTH, ETA, RATE = 256, 20, 128, 0.01, 1e-3
UPDATES = 100  # in one repeat
LOSS = functools.partial(
    jl.learn.contrastive_divergence, kernel=jl.ula(ETA), num_steps=STEPS, regularization=0.0
)

Program = Callable[[], Any]


def moons() -> Any:
    from sklearn.datasets import make_moons

    return make_moons(CHAINS, noise=0.1, random_state=0)[0].astype(np.float32)


def parameters() -> Any:
    sizes = [2, WIDTH, WIDTH, 1]
    keys = jax.random.split(jax.random.key(0), 3)
    return [
        (jax.random.normal(k, (m, n)) / np.sqrt(m), jnp.zeros(n))
        for k, m, n in zip(keys, sizes[:-1], sizes[1:], strict=True)
    ]


def energy(parameters: Any, x: jax.Array) -> jax.Array:
    for w, b in parameters[:-1]:
        x = jax.nn.silu(x @ w + b)
    w, b = parameters[-1]
    return (x @ w + b)[0]


def loop(update: Callable[..., Any]) -> Program:
    """`UPDATES` updates (key, parameters, state) -> (parameters, state), dispatched one by one."""
    optimizer = optax.adam(RATE)
    at = parameters()
    held = {"at": at, "state": optimizer.init(at), "number": 0}

    def program() -> Any:
        for _ in range(UPDATES):
            key = jax.random.fold_in(jax.random.key(1), held["number"])
            held["at"], held["state"] = update(key, held["at"], held["state"])
            held["number"] += 1
        return held["at"]

    return program


def stepped(loss: Callable[..., Any]) -> Any:
    """An update with a loss (parameters, …) -> scalar, under `jax.jit`."""
    optimizer = optax.adam(RATE)

    @jax.jit
    def update(at: Any, state: Any, *given: Any) -> Any:
        changes, state = optimizer.update(jax.grad(loss)(at, *given), state)
        return optax.apply_updates(at, changes), state

    return update


def by_fit(data: Any) -> Program:
    optimizer = optax.adam(RATE)
    model = Partial(energy, parameters())

    def program() -> Any:
        fit = jl.learn.fit(
            jax.random.key(1), model, data, LOSS, optimizer, num_updates=UPDATES, every=UPDATES
        )
        return fit.energy.args

    return program


def by_loss(data: Any) -> Program:
    step = stepped(lambda at, key: LOSS(key, Partial(energy, at), data)[0])
    return loop(lambda key, at, state: step(at, state, key))


def by_sample_outside(data: Any) -> Program:
    def contrast(at: Any, negatives: Any) -> jax.Array:
        of = jax.vmap(Partial(energy, at))
        return jnp.mean(of(data)) - jnp.mean(of(negatives))

    step = stepped(contrast)

    def update(key: Any, at: Any, state: Any) -> Any:
        run = jl.sample(key, Partial(energy, at), jl.ula(ETA), data, num_steps=STEPS, observe=None)
        return step(at, state, run.position)

    return loop(update)


def by_scan(data: Any) -> Program:
    def contrast(at: Any, key: jax.Array) -> jax.Array:
        slope = jax.vmap(jax.grad(Partial(energy, jax.lax.stop_gradient(at))))

        def move(x: jax.Array, key: jax.Array) -> tuple[jax.Array, None]:
            return x - ETA * slope(x) + np.sqrt(2 * ETA) * jax.random.normal(key, x.shape), None

        negatives, _ = jax.lax.scan(move, jnp.asarray(data), jax.random.split(key, STEPS))
        of = jax.vmap(Partial(energy, at))
        return jnp.mean(of(data)) - jnp.mean(of(jax.lax.stop_gradient(negatives)))

    step = stepped(contrast)
    return loop(lambda key, at, state: step(at, state, key))


def by_torchebm(data: Any) -> Program | None:
    """TorchEBM's loss and sampler on the same network; None if it is not installed."""
    try:
        import torch
        from torchebm.core import BaseModel
        from torchebm.losses import ContrastiveDivergence
        from torchebm.samplers import LangevinDynamics
    except ImportError:
        return None

    class Net(BaseModel):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.net = torch.nn.Sequential(
                torch.nn.Linear(2, WIDTH),
                torch.nn.SiLU(),
                torch.nn.Linear(WIDTH, WIDTH),
                torch.nn.SiLU(),
                torch.nn.Linear(WIDTH, 1),
            )

        def forward(self, x: Any) -> Any:
            return self.net(x).squeeze(-1)

    model = Net()
    loss = ContrastiveDivergence(
        model=model, sampler=LangevinDynamics(model=model, step_size=ETA), k_steps=STEPS
    )
    optimizer = torch.optim.Adam(model.parameters(), lr=RATE)
    batch = torch.from_numpy(data)

    def program() -> Any:
        for _ in range(UPDATES):
            optimizer.zero_grad()
            loss(batch)[0].backward()
            optimizer.step()

    return program


def main() -> None:
    args = harness.parser(__doc__ or "", repeats=20).parse_args()
    # It tells of the option that `fit` sets and a jit of one's own does not; MLPs are not affected.
    warnings.simplefilter("ignore", jl.MiscompiledWarning)
    harness.print_environment()
    data = moons()
    made = {
        "learn.fit": by_fit(data),
        "loss in a jit of one's own": by_loss(data),
        "sample outside of it": by_sample_outside(data),
        "bare scan": by_scan(data),
        "TorchEBM": by_torchebm(data),
    }
    programs = {name: program for name, program in made.items() if program is not None}
    timings = harness.interleave(programs, args.repeats)
    bare = timings["bare scan"].median
    rows = [
        [
            name,
            f"{1e3 * each.median / UPDATES:.2f}",
            f"{each.median / bare:.2f}",
            f"{each.compile:.1f}",
        ]
        for name, each in timings.items()
    ]
    harness.print_table(["update", "ms", "÷ bare scan", "compile s"], rows)
    harness.write_json(
        args.json, {name: 1e3 * each.median / UPDATES for name, each in timings.items()}
    )


if __name__ == "__main__":
    main()
