"""The inner loop written by hand: `hand_written.c`, compiled here if there is a C compiler."""

from __future__ import annotations

import ctypes
import functools
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import jlangevin as jl

SOURCE = Path(__file__).with_name("hand_written.c")
# Not -ffast-math, with which loading the library changes how the whole process rounds.
FLAGS = ("-O3", "-march=native", "-fno-math-errno", "-fno-trapping-math", "-fopenmp")


@functools.cache
def library() -> ctypes.CDLL | None:
    """The compiled program, or None without a compiler."""
    compiler = shutil.which("cc")
    if compiler is None:
        return None
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # idle threads leave the cores to others
    path = Path(tempfile.mkdtemp()) / "hand_written.so"
    subprocess.run(
        [compiler, *FLAGS, "-shared", "-fPIC", str(SOURCE), "-o", str(path), "-lm"], check=True
    )
    return ctypes.CDLL(str(path))


def ula(
    name: str, energy: Any, dim: int, chains: int, steps: int, step_size: float
) -> Callable[[], np.ndarray] | None:
    """`steps` steps, an even number, from 0 under `jax.random.key(0)`; positions (chains, dim).

    None if there is no compiler, or no such energy in C.
    """
    if name not in ("linear", "double well") or library() is None:
        return None
    run = getattr(library(), name.replace(" ", "_"))
    streams = jl.noise.streams(jax.random.key(0), jnp.arange(chains))
    high, low = (np.asarray(word, np.uint32) for word in streams)
    theta = np.asarray(energy.theta if name == "linear" else np.zeros(dim), np.float32)

    def pointer(array: Any) -> ctypes.c_void_p:
        return ctypes.c_void_p(array.ctypes.data)

    def program() -> np.ndarray:
        x = np.zeros((dim, chains), np.float32)
        run(
            ctypes.c_int64(chains),
            ctypes.c_int64(dim),
            ctypes.c_int64(steps),
            ctypes.c_float(step_size),
            *(pointer(array) for array in (theta, high, low, x)),
        )
        return x.T

    return program
