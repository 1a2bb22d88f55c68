"""What is retired still works, and says at the caller's line what to use instead."""

import types
import warnings

import pytest

import jlangevin as jl
from jlangevin._core.deprecation import deprecated, renamed


@deprecated("new", since="0.2")
def old(x, *, y=1):
    """What it did."""
    return x + y


def test_a_deprecated_function_works_and_warns_where_it_is_called():
    with pytest.warns(
        DeprecationWarning, match="old is deprecated since .* 0.2; use new"
    ) as caught:
        assert old(1, y=2) == 3
    assert len(caught) == 1
    assert caught[0].filename == __file__
    assert old.__name__ == "old"
    assert old.__doc__ == "What it did."


def test_a_renamed_name_is_the_new_one_and_warns_where_it_is_looked_up():
    module = types.ModuleType("somewhere")
    module.__getattr__ = renamed("somewhere", {"Old": "builtins.int"}, since="0.3")
    with pytest.warns(DeprecationWarning, match=r"somewhere.Old .*0.3; use builtins.int") as caught:
        assert module.Old is int
    assert caught[0].filename == __file__


def test_other_names_are_missing_as_ever():
    module = types.ModuleType("somewhere")
    module.__getattr__ = renamed("somewhere", {}, since="0.3")
    with (
        warnings.catch_warnings(),
        pytest.raises(AttributeError, match=r"'somewhere' has no .*'x'"),
    ):
        module.x  # noqa: B018


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("exact.step_size_for", "adaptation.step_size_for"),
        ("kernels.kinetic_temperature", "diagnostics.kinetic_temperature"),
        ("kernels.configurational_temperature", "diagnostics.configurational_temperature"),
        ("kernels.ConfigurationalTemperature", "diagnostics.ConfigurationalTemperature"),
    ],
)
def test_what_has_moved_is_found_where_it_was(old, new):
    def found(path):
        module, name = path.split(".")
        return getattr(getattr(jl, module), name)

    with pytest.warns(DeprecationWarning, match=f"jlangevin.{old} .*; use jlangevin.{new}"):
        assert found(old) is found(new)
