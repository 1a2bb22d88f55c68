"""The package's source as pages of the site, one a module, and links to them from the reference.

A hook of MkDocs. Each entry of the reference links to the line on which its name is bound.
"""

from __future__ import annotations

import ast
import functools
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File
from mkdocs.utils import get_relative_url

ROOT = Path(__file__).parent.parent
HEADING = re.compile(r'(<h\d id="(jlangevin[\w.]*)" class="doc doc-heading">)(.*?)(</h\d>)', re.S)
PAGE = """---
search:
  exclude: true
hide: [toc]
---
# {path}

~~~~~~ {{.python linenums="1"}}
{text}
~~~~~~
"""


def modules() -> Iterator[Path]:
    """The files of the package, relative to the repository."""
    for file in sorted((ROOT / "jlangevin").rglob("*.py")):
        yield file.relative_to(ROOT)


@functools.cache
def places() -> dict[str, tuple[str, int]]:
    """For each module, class, function, method and variable its file and line."""
    found: dict[str, tuple[str, int]] = {}
    for path in modules():
        parts = path.with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        found[name] = (path.as_posix(), 1)
        for bound, line in _bound(ast.parse((ROOT / path).read_text())):
            found.setdefault(f"{name}.{bound}", (path.as_posix(), line))
    return found


def _bound(node: ast.AST, prefix: str = "") -> Iterator[tuple[str, int]]:
    for child in ast.iter_child_nodes(node):
        match child:
            case ast.FunctionDef(name=name) | ast.ClassDef(name=name):
                yield prefix + name, child.lineno
                if isinstance(child, ast.ClassDef):
                    yield from _bound(child, f"{prefix}{name}.")
            case ast.AnnAssign(target=ast.Name(id=name)):
                yield prefix + name, child.lineno
            case ast.Assign(targets=targets):
                for target in targets:
                    if isinstance(target, ast.Name):
                        yield prefix + target.id, child.lineno
            case ast.ImportFrom(names=names):
                for alias in names:
                    yield prefix + (alias.asname or alias.name), child.lineno


def place(name: str) -> tuple[str, int]:
    """Of a name, or of the class or module that it is in."""
    while name not in places():
        name, _, _ = name.rpartition(".")
        if not name:
            raise KeyError(name)
    return places()[name]


def on_files(files: Any, config: Any) -> Any:
    for path in modules():
        text = PAGE.format(path=path.as_posix(), text=(ROOT / path).read_text().rstrip())
        files.append(
            File.generated(config, f"source/{path.with_suffix('').as_posix()}.md", content=text)
        )
    return files


def on_page_content(html: str, page: Any, config: Any, files: Any) -> str:
    if not page.file.src_uri.startswith("api/"):
        return html

    def linked(match: re.Match[str]) -> str:
        path, line = place(match[2])
        target = f"source/{path.removesuffix('.py')}.html#__codelineno-0-{line}"
        url = get_relative_url(target, page.url)
        return f'{match[1]}{match[3]} <a class="source" href="{url}">source</a>{match[4]}'

    return HEADING.sub(linked, html)
