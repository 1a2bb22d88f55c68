"""Exact laws against recorded ones, computed by brute force in extended precision."""

import json
import pathlib

import jax.numpy as jnp
import numpy as np
import pytest
from exact_laws import arr, error, gaussian, quadratic_form

import jlangevin as jl
from jlangevin import exact

CASES = json.loads((pathlib.Path(__file__).parents[1] / "laws.json").read_text())["cases"]


def case_id(case):
    d = len(case["energy"]["b"])
    kind = "linear" if not np.any(case["energy"]["A"]) else "quadratic"
    extra = [k for k in case["kernel_args"] if k in ("preconditioner", "gradient_noise_cov")]
    parts = [case["kernel"], *extra, kind, f"d{d}", f"T{case['temperature']:g}"]
    return "-".join([*parts, f"N{case['num_steps']}"])


def recorded(*kernels):
    cases = [case for case in CASES if case["kernel"] in kernels]
    return pytest.mark.parametrize("case", cases, ids=case_id)


def from_case(case):
    """The energy, start and recorded law of a case."""
    energy = quadratic_form(case["energy"]["A"], case["energy"]["b"])
    return energy, gaussian(**case["init"]), (case["law"]["mean"], case["law"]["cov"])


def recorded_tolerance(dtype):
    return 1e-12 if dtype == jnp.float64 else 1e-5


@recorded("ula")
def test_law_of_ula_is_the_recorded_one(case, dtype):
    energy, start, recorded_law = from_case(case)
    args = {name: arr(value) for name, value in case["kernel_args"].items()}
    noise_cov = args.pop("gradient_noise_cov", None)
    kernel = jl.ula(**args, temperature=case["temperature"])
    if noise_cov is not None:
        kernel = jl.gradient_noise(kernel, noise_cov)
    law = exact.law(kernel, energy, start, case["num_steps"])
    assert law.cov.dtype == law.mean.dtype == dtype
    assert error(law, *recorded_law) <= recorded_tolerance(dtype)


@recorded("leimkuhler_matthews")
def test_law_of_leimkuhler_matthews_is_the_recorded_one(case, dtype):
    energy, start, recorded_law = from_case(case)
    kernel = jl.leimkuhler_matthews(**case["kernel_args"], temperature=case["temperature"])
    law = exact.law(kernel, energy, start, case["num_steps"])
    assert error(law, *recorded_law) <= recorded_tolerance(dtype)


@recorded("BAOAB", "OBABO", "ABOBA", "OABAO")
def test_law_of_a_splitting_is_the_recorded_one_of_position_and_velocity(case, dtype):
    energy, start, recorded_law = from_case(case)
    temperature, word, num_steps = case["temperature"], case["kernel"], case["num_steps"]
    kernel = jl.underdamped(**case["kernel_args"], temperature=temperature, splitting=word)
    law = exact.law(kernel, energy, start, num_steps, full=True)
    d = len(start.mean)
    phase = jl.Gaussian(law.mean[:2], law.cov[: 2 * d, : 2 * d])
    assert phase.cov.dtype == dtype
    assert error(phase, *recorded_law) <= recorded_tolerance(dtype)
    marginal = exact.law(kernel, energy, start, num_steps)
    np.testing.assert_array_equal(marginal.mean, law.mean.position)
    np.testing.assert_array_equal(marginal.cov, law.cov[:d, :d])


@pytest.mark.slow
@recorded("annealed")
def test_laws_compose_through_the_levels_of_an_anneal(case, dtype):
    args = case["kernel_args"]
    law = gaussian(**case["init"])
    for sigma in args["sigmas"]:
        cov = arr(args["data_cov"]) + sigma**2 * jnp.eye(len(args["data_mean"]))
        energy = jl.energies.quadratic(jnp.linalg.inv(cov), arr(args["data_mean"]))
        step_size = args["base_step_size"] * sigma**2 / args["sigmas"][-1] ** 2
        kernel = jl.ula(step_size, temperature=case["temperature"])
        law = exact.law(kernel, energy, law, case["num_steps"])
    assert error(law, case["law"]["mean"], case["law"]["cov"]) <= recorded_tolerance(dtype)
