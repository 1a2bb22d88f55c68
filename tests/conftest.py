"""Strict JAX for every test, and a fixture that runs one under both precisions."""

import os
import resource

# Before NumPy is loaded: with a test process for each core, more threads of OpenBLAS would only
# spin while they wait for each other.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import jax
import pytest

jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_debug_key_reuse", True)

pytest.register_assert_rewrite("exact_laws")  # whose asserts say what failed, as a test's do


def pytest_addoption(parser):
    parser.addoption("--tf32", action="store_true", help="products as on a card: see tests/tf32.py")


def pytest_configure(config):
    if config.getoption("--tf32"):
        import tf32

        tf32.install()


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """Mark as slow what asks for x64, and the examples of docstrings: neither a fixture nor a
    docstring can carry a mark."""
    for item in items:
        under_x64 = "x64" in getattr(item, "fixturenames", ())
        if under_x64 or isinstance(item, pytest.DoctestItem):
            item.add_marker(pytest.mark.slow)


@pytest.fixture(scope="module", autouse=True)
def forget_compiled_programs():
    """Where they take gigabytes; until then a module may reuse those of another."""
    yield
    if resource.getrusage(resource.RUSAGE_SELF).ru_maxrss > 3_000_000:  # kB
        jax.clear_caches()


@pytest.fixture(params=["float32", pytest.param("float64", marks=pytest.mark.slow)])
def dtype(request):
    """The default floating dtype: float32 as JAX ships, or float64 with x64 enabled."""
    before = jax.config.jax_enable_x64
    jax.config.update("jax_enable_x64", request.param == "float64")
    yield jax.numpy.dtype(request.param)
    jax.config.update("jax_enable_x64", before)


@pytest.fixture
def x64():
    """x64 enabled."""
    before = jax.config.jax_enable_x64
    jax.config.update("jax_enable_x64", True)
    yield
    jax.config.update("jax_enable_x64", before)
