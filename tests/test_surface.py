"""The public surface: its names and signatures, their documentation, and what they import.

A change of the surface changes `public_surface.txt` in the same commit. Regenerate it by

    python tests/test_surface.py
"""

import ast
import enum
import importlib
import inspect
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

PACKAGE = Path(importlib.import_module("jlangevin").__file__).parent
SNAPSHOT = Path(__file__).parent / "public_surface.txt"

# What may lack an example, or a list of arguments: noise, which only the driver asks for, and
# functions whose first lines say all.
NO_EXAMPLE = {
    "jlangevin.energies.base.gradient",
    "jlangevin.kernels.base.position",
    "jlangevin.noise.at_step",
    "jlangevin.noise.count",
    "jlangevin.noise.pairs",
    "jlangevin.noise.streams",
}
NO_ARGS = {
    "jlangevin.energies.base.gradient",
    "jlangevin.kernels.base.position",
    "jlangevin.noise.at_step",
    "jlangevin.noise.count",
    "jlangevin.noise.pairs",
    "jlangevin.noise.streams",
}


def public_modules():
    """`jlangevin`, the modules in its `__all__`, and theirs in turn."""

    def below(module):
        yield module
        for name in module.__all__:
            if isinstance(getattr(module, name), ModuleType):
                yield from below(getattr(module, name))

    return below(importlib.import_module("jlangevin"))


def public_objects():
    """(dotted name, object) of all public names that are not modules."""
    for module in public_modules():
        for name in module.__all__:
            value = getattr(module, name)
            if not isinstance(value, ModuleType):
                yield f"{module.__name__}.{name}", value


def described(value):
    """How a name can be used: its signature, or the members of a class."""
    if inspect.isfunction(value):
        return _signature(value)
    if not inspect.isclass(value):
        return ""
    if issubclass(value, enum.Enum):
        return " ".join(["", *(member.name for member in value)])
    if issubclass(value, Exception):
        return f" ({value.__bases__[0].__name__})"
    if fields := getattr(value, "_fields", None) or getattr(value, "__dataclass_fields__", None):
        return f"({', '.join(fields)})"
    return _signature(value) if "__init__" in vars(value) else ""


def _signature(value):
    """Names, kinds and defaults; type checkers hold the annotations."""
    parameters = inspect.signature(value).parameters.values()
    bare = [p.replace(annotation=p.empty) for p in parameters if p.name != "self"]
    text = str(inspect.Signature(bare))
    return re.sub(r"<function (\w+) at 0x\w+>", r"\1", text)


def surface():
    return "\n".join(sorted(name + described(value) for name, value in public_objects())) + "\n"


def functions():
    found = {
        f"{f.__module__}.{f.__qualname__}": f for _, f in public_objects() if inspect.isfunction(f)
    }
    return [pytest.param(f, id=name) for name, f in sorted(found.items())]


def path(value):
    return f"{value.__module__}.{value.__qualname__}"


def test_names_and_signatures_are_those_recorded():
    assert surface() == SNAPSHOT.read_text(), "if this is intended: python tests/test_surface.py"


@pytest.mark.parametrize("module", list(public_modules()), ids=lambda module: module.__name__)
def test_a_public_module_says_what_it_is_for_and_exports_nothing_twice(module):
    assert module.__doc__
    assert len(set(module.__all__)) == len(module.__all__)


@pytest.mark.parametrize("module", list(public_modules()), ids=lambda module: module.__name__)
def test_the_completion_of_names_shows_only_what_is_public(module):
    assert dir(module) == sorted(module.__all__)
    assert all(hasattr(module, name) for name in dir(module))


def test_every_module_says_what_it_exports():
    """Private and internal modules too, except those that are run."""
    for file in PACKAGE.rglob("*.py"):
        if file.name != "__main__.py":
            assert "\n__all__ = " in file.read_text(), file


def test_every_public_class_is_documented():
    for name, value in public_objects():
        if inspect.isclass(value):
            assert value.__doc__, name
            assert not value.__doc__.startswith(f"{value.__name__}("), (
                f"{name}: a generated docstring"
            )


@pytest.mark.parametrize("function", functions())
def test_every_public_function_is_documented(function):
    doc, name = inspect.getdoc(function) or "", path(function)
    assert doc, "no docstring"
    assert re.search(r"^Example:\n(.*\n)* *>>> ", doc, re.M) or name in NO_EXAMPLE
    takes = inspect.signature(function).parameters
    assert not takes or re.search(r"^Args:\n", doc, re.M) or name in NO_ARGS


def test_every_example_has_a_heading():
    """Without one it is no code on the site, and brackets in it are links."""
    for file in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                text = ast.get_docstring(node) or ""
                before = text.partition(">>>")[0]
                assert ">>>" not in text or "Example:" in before, f"{file}: {node.name}"


def test_only_what_lacks_something_is_excused():
    docs = {path(f): inspect.getdoc(f) or "" for _, f in public_objects() if inspect.isfunction(f)}
    assert not {name for name in NO_EXAMPLE if "\nExample:\n" in docs[name]}
    assert not {name for name in NO_ARGS if "\nArgs:\n" in docs[name]}


def test_optional_and_slow_packages_are_not_imported_with_the_library():
    """scipy.stats alone takes as long as JAX; the others belong to extras."""
    code = "import sys, jlangevin; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    extras = {"matplotlib", "tqdm", "orbax.checkpoint", "arviz_stats"}
    assert not loaded & (extras | {"scipy.stats", "scipy.fft", "scipy.optimize"})


if __name__ == "__main__":
    SNAPSHOT.write_text(surface())
