"""The API reference, made from the package: a page for each public module, none kept by hand.

A hook of MkDocs. The public modules are `jlangevin`, those in its `__all__`, and theirs in turn.
A name is documented on the page of the deepest of them that exports it, and the others link there;
so does code in running text that is nothing but a name.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import logging
import re
from collections.abc import Iterator
from types import ModuleType
from typing import Any, NamedTuple

from mkdocs.structure.files import File
from mkdocs.utils import get_relative_url

SECTION = "Reference"  # of the navigation: the pages are added to it
CODE = re.compile(r"<(h\d|a|pre|title)\b.*?</\1>|<code>(?:jl\.|jlangevin\.)?([\w.]+)</code>", re.S)
ALSO_ARGUMENTS = {"position"}  # as often the name of an argument, and not linked

log = logging.getLogger("mkdocs.plugins.reference")


class Name(NamedTuple):
    """A public name: the page that documents it, and where its code is."""

    page: str
    name: str
    path: str

    @property
    def link(self) -> str:
        return f"api/{self.page}.html#{self.page}.{self.name}"


def public_modules() -> list[ModuleType]:
    """Those of which every name in `__all__` is public, the deepest first."""

    def below(module: ModuleType) -> Iterator[ModuleType]:
        for name in module.__all__:
            if isinstance(getattr(module, name), ModuleType):
                yield from below(getattr(module, name))
        yield module

    return list(below(importlib.import_module("jlangevin")))


@functools.cache
def public_names() -> dict[str, dict[str, Name]]:
    """For each page each name, and where it is documented; modules have pages of their own."""
    pages: dict[str, dict[str, Name]] = {}
    homes: dict[str, Name] = {}
    for module in public_modules():
        page = module.__name__
        pages[page] = {}
        for name in module.__all__:
            value = getattr(module, name)
            if isinstance(value, ModuleType):
                continue
            path = f"{page}.{name}"
            if inspect.isclass(value) or inspect.isfunction(value):
                path = f"{value.__module__}.{value.__qualname__}"
            pages[page][name] = homes.setdefault(path, Name(page, name, path))
    return pages


@functools.cache
def _targets(page: str) -> dict[str, Name]:
    """What code in the text of a page can mean: `exact.law`, `ula`, and on its own page `law`."""
    targets: dict[str, Name] = {}
    for module, names in public_names().items():
        prefix = f"{module}.".removeprefix("jlangevin.")
        targets |= {prefix + name: found for name, found in names.items()}
    targets |= public_names().get(page, {})
    return {name: found for name, found in targets.items() if name not in ALSO_ARGUMENTS}


def _text(module: ModuleType) -> str:
    """Functions first, then classes, then the rest; below them links to what is elsewhere."""

    def rank(name: str) -> int:
        value = getattr(module, name)
        return 0 if inspect.isfunction(value) else 1 if inspect.isclass(value) else 2

    page, names = module.__name__, public_names()[module.__name__]
    text = [f"# {page}", inspect.getdoc(module) or ""]
    for name in sorted(names, key=rank):
        if names[name].page != page:
            continue
        text.append(f'<a id="{page}.{name}"></a>')
        if names[name].name == name:
            text.append(f"::: {names[name].path}\n    options:\n      heading: {name}")
        else:
            text.append(f"## {name}\n\nAnother name of `{page}.{names[name].name}`.")
    others = [f"`{found.page}.{name}`" for name, found in names.items() if found.page != page]
    if others:
        text.append("## Also exported\n\n" + ", ".join(others))
    return "\n\n".join(text) + "\n"


def on_config(config: Any) -> Any:
    section = next(entry[SECTION] for entry in config.nav if SECTION in entry)
    section.extend({page: f"api/{page}.md"} for page in sorted(public_names()))
    return config


def on_files(files: Any, config: Any) -> Any:
    for module in public_modules():
        files.append(File.generated(config, f"api/{module.__name__}.md", content=_text(module)))
    return files


def on_page_content(html: str, page: Any, config: Any, files: Any) -> str:
    """Refuse, where a build is strict, a page that lacks a name."""
    for name, found in public_names().get(_module(page), {}).items():
        if found.page == _module(page) and f'id="{found.path}"' not in html:
            log.warning("%s: no documentation of %s", page.file.src_uri, name)
    return html


def on_post_page(html: str, page: Any, config: Any) -> str:
    targets = _targets(_module(page))

    def linked(match: re.Match[str]) -> str:
        found = targets.get(match[2])
        if found is None:
            return match[0]
        return f'<a href="{get_relative_url(found.link, page.url)}">{match[0]}</a>'

    return CODE.sub(linked, html)


def _module(page: Any) -> str:
    return page.file.src_uri.removeprefix("api/").removesuffix(".md")
