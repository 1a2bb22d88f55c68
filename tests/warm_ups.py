"""Warm-ups that must find the same on any number of devices and processes, and one process of
several, which test_processes.py starts by

    python warm_ups.py PORT NUM_PROCESSES PROCESS OUT

It writes what it found to OUT.
"""

import sys
import warnings

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

import jlangevin as jl

PRECISION = np.array([[1.0, 60.0], [60.0, 1e4]], np.float32)


def wells(x):
    """One of them higher by 200."""
    low, high = x - 50.0, x + 50.0
    energies = [0.5 * jnp.sum(y[:, None] * PRECISION * y[None]) for y in (low, high)]
    return jnp.minimum(energies[0], 200.0 + energies[1])


def walled(x):
    """-log p of Gamma(3) twice, where p is 0 for x <= 0."""
    inside = jnp.where(x > 0, x, 1.0)
    return jnp.sum(jnp.where(x > 0, inside - 2 * jnp.log(inside), jnp.inf))


def settings():
    """Chains that stay behind, under a kernel that warms up with another; draws drawn again."""
    both = jnp.concatenate([jnp.full((60, 2), 50.0), jnp.full((4, 2), -50.0)])
    box = jl.starts.uniform(-2, 2, like=jnp.zeros(2))
    return {
        "wells": (wells, jl.microcanonical(0.1, 1.0), both, {}),
        "walled": (walled, jl.malt(0.1, 1.0, 3), box, {"num_chains": 64}),
    }


def found(**options):
    """By setting: step size, preconditioner, and which chains were left out or drawn again."""
    results = {}
    for name, (energy, kernel, init, own) in settings().items():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", jl.WarmUpWarning)
            warm = jl.warm_up(jax.random.key(3), energy, kernel, init, **own, **options)
        shape = getattr(warm.kernel, "preconditioner", None) or warm.kernel.inverse_mass
        run = jl.resume(warm.state, energy, warm.kernel, num_steps=20, observe=None)
        results[name] = {
            "step_size": np.asarray(warm.kernel.step_size),
            "lower": np.asarray(shape.lower),
            "settled": np.asarray(warm.verdict.settled),
            "left_out": warm.verdict.left_out,
            "redrawn": warm.verdict.redrawn,
            "devices": np.asarray(len(run.position.sharding.device_set)),
        }
    return results


def assert_same(results, expected, devices):
    """Equal to rounding, which may also turn one or two acceptances in ten thousand into
    rejections; step size and scales are then off by less than a percent."""
    for name, each in expected.items():
        each = each | {"devices": devices}
        for what, value in each.items():
            exact = what not in ("step_size", "lower")
            tolerance = {} if exact else {"rtol": 0.02, "atol": 0.02 * np.abs(value).max()}
            compare = np.testing.assert_array_equal if exact else np.testing.assert_allclose
            compare(results[name][what], value, err_msg=f"{name} {what}", **tolerance)


def main(port, num_processes, process, out):
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    jax.distributed.initialize(
        f"localhost:{port}", int(num_processes), int(process), heartbeat_timeout_seconds=30
    )
    results = found(sharding=Mesh(np.array(jax.devices()), ("chains",)))
    np.savez(out, **{f"{a} {b}": value for a, each in results.items() for b, value in each.items()})


if __name__ == "__main__":
    main(*sys.argv[1:])
