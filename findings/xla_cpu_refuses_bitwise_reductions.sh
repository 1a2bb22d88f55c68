#!/usr/bin/env bash
# Integers that are spread over devices cannot be reduced by "or", "and" or "xor" on the CPU.
# Guess: a reduction that works on one device works on several, and in several processes.
# Real: XLA's collectives on the CPU, both those between the devices of a process and Gloo's between
# processes, refuse these when the program runs. They do sums and maxima, and "or" and "and" of booleans.
# Maxima, a bit at a time, give the bits that any device has.
# Versions: jax and jaxlib 0.10.2, NumPy 2.4.6, Python 3.11.
# Seen: UNIMPLEMENTED: Unsupported reduction computation, for reduce_or, reduce_and and reduce_xor of
# int32 over two devices of a process and over two processes; one device gives 7, 1 and 6. any, all, sum
# and max are the same in all.
# Matters to: flags as the bits of an integer.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3.11}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q jax==0.10.2 jaxlib==0.10.2 numpy==2.4.6
cat > "$folder/reductions.py" <<'PY'
import sys

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

port, devices, processes, process = map(int, sys.argv[1:])
if processes > 1:
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    jax.distributed.initialize(f"localhost:{port}", processes, process)
assert len(jax.devices()) == devices
sharding = NamedSharding(Mesh(np.array(jax.devices()), ("x",)), PartitionSpec("x"))


def spread(*values):
    values = np.array(values)
    return jax.make_array_from_callback(values.shape, sharding, lambda part: values[part])


bits, flags = spread(np.int32(5), np.int32(3)), spread(False, True)
expected = {
    "any": (jnp.any, flags, True),
    "all": (jnp.all, flags, False),
    "sum": (jnp.sum, bits, 8),
    "max": (jnp.max, bits, 5),
    "reduce_or": (lambda x: jax.lax.reduce_or(x, (0,)), bits, 7),
    "reduce_and": (lambda x: jax.lax.reduce_and(x, (0,)), bits, 1),
    "reduce_xor": (lambda x: jax.lax.reduce_xor(x, (0,)), bits, 6),
}
for name, (function, x, right) in expected.items():
    try:
        found = int(jax.jit(function)(x))
    except jax.errors.JaxRuntimeError as error:
        found = str(error).partition(":")[0]
        assert "Unsupported reduction computation" in str(error)
    if process == 0:
        print(f"devices: {devices}, processes: {processes}, {name} of {x.dtype}: {found}")
    refused = devices > 1 and name.startswith("reduce")
    assert found == ("UNIMPLEMENTED" if refused else right), (name, found)
PY
export JAX_PLATFORMS=cpu
python="$folder/venv/bin/python"
XLA_FLAGS="" "$python" "$folder/reductions.py" 0 1 1 0
XLA_FLAGS=--xla_force_host_platform_device_count=2 "$python" "$folder/reductions.py" 0 2 1 0
port=$("$python" -c 'import socket; s = socket.socket(); s.bind(("localhost", 0)); print(s.getsockname()[1])')
XLA_FLAGS="" "$python" "$folder/reductions.py" "$port" 2 2 1 &
XLA_FLAGS="" "$python" "$folder/reductions.py" "$port" 2 2 0
wait $!
