"""The time of one update of contrastive divergence, side by side.

    python benchmarks/learning.py [--width 128] [--torch-threads 1] [--repeats 20] [--json FILE]

256 chains of 20 ULA steps on an MLP 2-W-W-1, Adam, batches of 256 from two moons. The same update
five times: by `learn.fit`; in a loop of one's own with the loss under `jax.jit`; with the chains
run by `sample` outside of it; as a bare `lax.scan`, which draws noise by `jax.random` and checks
nothing; and by TorchEBM's own sampler and loss, if it is installed: pip install torch torchebm, for
instance into a folder of their own on PYTHONPATH. `--torch-threads` is for machines with other work
on them, where threads of PyTorch that wait for each other may make it many times slower.
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

CHAINS, STEPS, ETA, RATE = 256, 20, 0.01, 1e-3
UPDATES = 100  # in one repeat
LOSS = functools.partial(
    jl.learn.contrastive_divergence, kernel=jl.ula(ETA), num_steps=STEPS, regularization=0.0
)

Program = Callable[[], Any]


def moons() -> Any:
    from sklearn.datasets import make_moons

    return make_moons(CHAINS, noise=0.1, random_state=0)[0].astype(np.float32)


def parameters(width: int) -> Any:
    sizes = [2, width, width, 1]
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


def loop(update: Callable[..., Any], at: Any) -> Program:
    """`UPDATES` updates (key, parameters, state) -> (parameters, state), dispatched one by one."""
    optimizer = optax.adam(RATE)
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


def by_fit(data: Any, begun: Any) -> Program:
    optimizer = optax.adam(RATE)
    model = Partial(energy, begun)

    def program() -> Any:
        fit = jl.learn.fit(
            jax.random.key(1), model, data, LOSS, optimizer, num_updates=UPDATES, every=UPDATES
        )
        return fit.energy.args

    return program


def by_loss(data: Any, begun: Any) -> Program:
    step = stepped(lambda at, key: LOSS(key, Partial(energy, at), data)[0])
    return loop(lambda key, at, state: step(at, state, key), begun)


def by_sample_outside(data: Any, begun: Any) -> Program:
    def contrast(at: Any, negatives: Any) -> jax.Array:
        of = jax.vmap(Partial(energy, at))
        return jnp.mean(of(data)) - jnp.mean(of(negatives))

    step = stepped(contrast)

    def update(key: Any, at: Any, state: Any) -> Any:
        run = jl.sample(key, Partial(energy, at), jl.ula(ETA), data, num_steps=STEPS, observe=None)
        return step(at, state, run.position)

    return loop(update, begun)


def by_scan(data: Any, begun: Any) -> Program:
    def contrast(at: Any, key: jax.Array) -> jax.Array:
        slope = jax.vmap(jax.grad(Partial(energy, jax.lax.stop_gradient(at))))

        def move(x: jax.Array, key: jax.Array) -> tuple[jax.Array, None]:
            return x - ETA * slope(x) + np.sqrt(2 * ETA) * jax.random.normal(key, x.shape), None

        negatives, _ = jax.lax.scan(move, jnp.asarray(data), jax.random.split(key, STEPS))
        of = jax.vmap(Partial(energy, at))
        return jnp.mean(of(data)) - jnp.mean(of(jax.lax.stop_gradient(negatives)))

    step = stepped(contrast)
    return loop(lambda key, at, state: step(at, state, key), begun)


def torchebm_installed() -> bool:
    """Whether it is; says so if it is not."""
    try:
        import torchebm.losses  # noqa: F401
    except ImportError as error:
        print(f"TorchEBM is not installed ({error}), so its rows are left out.")
        return False
    return True


def torch_network(begun: Any, bowl: float = 0.0) -> Any:
    """The same network with the same parameters, and bowl |x|²/2, as a model of TorchEBM."""
    import torch
    from torchebm.core import BaseModel

    def linear(weights: Any, bias: Any) -> Any:
        layer = torch.nn.Linear(*weights.shape)
        with torch.no_grad():
            layer.weight.copy_(torch.from_numpy(np.array(weights.T)))
            layer.bias.copy_(torch.from_numpy(np.array(bias)))
        return layer

    class Net(BaseModel):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            first, second, last = (linear(*each) for each in begun)
            self.net = torch.nn.Sequential(first, torch.nn.SiLU(), second, torch.nn.SiLU(), last)

        def forward(self, x: Any) -> Any:
            return self.net(x).squeeze(-1) + 0.5 * bowl * (x**2).sum(-1)

    return Net()


def by_torchebm(data: Any, begun: Any) -> Program:
    import torch
    from torchebm.losses import ContrastiveDivergence
    from torchebm.samplers import LangevinDynamics

    model = torch_network(begun)
    sampler = LangevinDynamics(model=model, step_size=ETA)
    loss = ContrastiveDivergence(model=model, sampler=sampler, k_steps=STEPS, energy_reg_weight=0.0)
    optimizer = torch.optim.Adam(model.parameters(), lr=RATE)
    batch = torch.from_numpy(data)

    def program() -> Any:
        for _ in range(UPDATES):
            optimizer.zero_grad()
            loss(batch)[0].backward()
            optimizer.step()

    return program


def main() -> None:
    options = harness.parser(__doc__ or "", repeats=20)
    options.add_argument("--width", type=int, nargs="+", default=[128])
    options.add_argument("--torch-threads", type=int)
    args = options.parse_args()
    # It tells of the option that `fit` sets and a jit of one's own does not; MLPs are not affected.
    warnings.simplefilter("ignore", jl.MiscompiledWarning)
    harness.print_environment()
    makers: dict[str, Callable[..., Program]] = {
        "learn.fit": by_fit,
        "loss in a jit of one's own": by_loss,
        "sample outside of it": by_sample_outside,
        "bare scan": by_scan,
    }
    if torchebm_installed():
        import torch

        if args.torch_threads:
            torch.set_num_threads(args.torch_threads)
        makers["TorchEBM"] = by_torchebm
        print(f"PyTorch has {torch.get_num_threads()} thread(s).")
    data, rows, figures = moons(), [], {}
    for width in args.width:
        made = {name: make(data, parameters(width)) for name, make in makers.items()}
        timings = harness.interleave(made, args.repeats)
        bare = timings["bare scan"].median
        for name, each in timings.items():
            ms = 1e3 * each.median / UPDATES
            figures[f"{name}, width {width}"] = ms
            compiling = "-" if name == "TorchEBM" else f"{each.compile:.1f}"
            rows.append([name, f"{width}", f"{ms:.2f}", f"{each.median / bare:.2f}", compiling])
    harness.print_table(["update", "width", "ms", "÷ bare scan", "compile s"], rows)
    harness.write_json(args.json, figures)


if __name__ == "__main__":
    main()
