"""Strict JAX for every test, and a fixture that runs one under both precisions."""

import os
import resource

# Before NumPy is loaded: a test process for each core leaves none for more threads of OpenBLAS,
# which would wait for each other by spinning.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import jax
import pytest

jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_debug_key_reuse", True)

pytest.register_assert_rewrite("exact_laws")  # whose asserts say what failed, as a test's do


LONG_MODULES = (
    "test_adaptation",
    "test_annealed",
    "test_assertions",
    "test_audit",
    "test_bias",
    "test_coupled",
    "test_devices",
    "test_diagnostics",
    "test_domains",
    "test_energies",
    "test_interop",
    "test_invariance",
    "test_kernel_mutants",
    "test_laws",
    "test_long_runs",
    "test_main",
    "test_malt",
    "test_meetings",
    "test_metropolis",
    "test_mirrored",
    "test_mutants",
    "test_networks",
    "test_noise",
    "test_noise_quality",
    "test_posteriors",
    "test_predictor_corrector",
    "test_processes",
    "test_questions",
    "test_recorded",
    "test_refusals",
    "test_scores",
    "test_sgld",
    "test_stein",
    "test_tamed_ula",
    "test_tempered",
    "test_walls",
    "test_weak_order",
)


def pytest_addoption(parser):
    parser.addoption("--tf32", action="store_true", help="products as on a card: see tests/tf32.py")


def pytest_configure(config):
    if config.getoption("--tf32"):
        import tf32

        tf32.install()


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """The fast subset, -m "not slow", leaves out what runs under x64, the long modules but for the
    recorded laws, the replications of `verify`, examples of docstrings, and the pages but for the
    README."""
    for item in items:
        under_x64 = "x64" in getattr(item, "fixturenames", ()) or "float64" in item.name
        long = item.path.stem in LONG_MODULES and "recorded" not in item.name
        replicated = "detectable" in item.name or "p_value" in item.name
        page = "code_of_a_page" in item.name and "README" not in item.name
        if under_x64 or long or replicated or page or isinstance(item, pytest.DoctestItem):
            item.add_marker(pytest.mark.slow)


@pytest.fixture(scope="module", autouse=True)
def forget_compiled_programs():
    """Where they take gigabytes; until then a module may have use for those of another."""
    yield
    if resource.getrusage(resource.RUSAGE_SELF).ru_maxrss > 3_000_000:  # kB
        jax.clear_caches()


@pytest.fixture(params=["float32", "float64"])
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
