"""What a warm-up and the run after it compile, counted in a process of its own."""

import subprocess
import sys
import textwrap

CHILD = """
    import jax, jax.numpy as jnp, numpy as np, jlangevin as jl

    jl.warm_up  # imports what it needs
    compiled, traced = [], 0

    def listen(event, seconds, **details):
        if event == "/jax/core/compile/backend_compile_duration":
            compiled.append(details.get("fun_name"))

    def energy(x):
        global traced
        traced += 1
        return 0.5 * jnp.sum(x**2) + jnp.sum(x**4)

    key, law = jax.random.key(0), jl.starts.uniform(-2, 2, like=np.zeros(3, np.float32))
    jax.block_until_ready((key, law))
    jax.monitoring.register_event_duration_secs_listener(listen)
    kernel = jl.malt(0.1, 1.0, 4)
    found = jl.warm_up(key, energy, kernel, law, num_chains=64, **OPTIONS)
    run = jl.resume(found.state, energy, found.kernel, num_steps=100)
    jax.block_until_ready(run)
    print(traced, *compiled)
"""


def traced_and_compiled(**options):
    """How often the energy was traced, and the names of the programs, for malt with these options
    of `warm_up`."""
    code = textwrap.dedent(CHILD).replace("OPTIONS", repr(options))
    found = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True, text=True, check=True, timeout=300,
    )  # fmt: skip
    traced, *compiled = found.stdout.split()
    return int(traced), compiled
