"""Strict JAX for every test, and a fixture that runs one under both precisions."""

import os
import resource
import shutil
import tempfile

# Before NumPy is loaded: with a test process for each core, more threads of OpenBLAS would only
# spin while they wait for each other.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import jax
import pytest

jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_debug_key_reuse", True)

# Test processes share what they compile, as many tests need the same programs. The folder is new
# in every run, unless whoever runs the tests several times in a row names one.
_CACHE = "JLANGEVIN_TESTS_CACHE"
_made_cache = None
if _CACHE not in os.environ:
    os.environ[_CACHE] = _made_cache = tempfile.mkdtemp(prefix="jlangevin-tests-")
jax.config.update("jax_compilation_cache_dir", os.environ[_CACHE])
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)

pytest.register_assert_rewrite("exact_laws")  # whose asserts say what failed, as a test's do


def pytest_addoption(parser):
    parser.addoption("--tf32", action="store_true", help="products as on a card: see tests/tf32.py")


def pytest_configure(config):
    if config.getoption("--tf32"):
        import tf32

        tf32.install()


def pytest_unconfigure():
    if _made_cache is not None:
        shutil.rmtree(_made_cache, ignore_errors=True)


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
