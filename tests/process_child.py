"""One process of a run over several: started by test_processes.py.

    python process_child.py PORT NUM_PROCESSES PROCESS OUT [CHECKPOINT [DIES_AFTER]]

It writes its own chains' draws and the pooled moments to OUT. With DIES_AFTER, it kills itself as
soon as there are that many checkpoints.
"""

import os
import signal
import sys
import threading
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

import jlangevin as jl

NUM_CHAINS, NUM_STEPS, THIN = 64, 20_000, 500


def sample(**options):
    start = jl.Gaussian(jnp.zeros(2), 0.1 * jnp.eye(2))
    return jl.sample(
        jax.random.key(7),
        jl.energies.double_well(dim=2),
        jl.ula(0.01),
        start,
        num_steps=NUM_STEPS,
        num_chains=NUM_CHAINS,
        thin=THIN,
        reducers=jl.reducers.pooled(jl.reducers.moments()),
        **options,
    )


def die_when(path, checkpoints):
    while not path.exists() or sum(p.name.isdigit() for p in path.iterdir()) < checkpoints:
        time.sleep(0.01)
    os.kill(os.getpid(), signal.SIGKILL)


def main(port, num_processes, process, out, checkpoint=None, dies_after=None):
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    jax.distributed.initialize(
        f"localhost:{port}",
        int(num_processes),
        int(process),
        heartbeat_timeout_seconds=10,
    )
    if dies_after is not None:
        threading.Thread(
            target=die_when, args=(Path(checkpoint), int(dies_after)), daemon=True
        ).start()
    options = {} if checkpoint is None else {"checkpoint": checkpoint, "every": 1_000}
    run = sample(sharding=Mesh(np.array(jax.devices()), ("chains",)), **options)
    shards = sorted(run.draws.addressable_shards, key=lambda shard: shard.index[0].start or 0)
    np.savez(
        out,
        draws=np.concatenate([shard.data for shard in shards]),
        mean=run.summary.value.mean,
        variance=run.summary.value.variance,
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
