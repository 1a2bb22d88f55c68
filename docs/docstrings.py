"""What griffe is to see in our docstrings: `Example:` is a section, and so is a field's comment."""

from __future__ import annotations

import re
from typing import Any

import griffe


class Docstrings(griffe.Extension):
    """`Example:` as `Examples:`, and the comment behind a field as its docstring."""

    def on_instance(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        if obj.docstring:
            value = obj.docstring.value
            obj.docstring.value = re.sub(r"^Example:$", "Examples:", value, flags=re.M)

    def on_attribute_instance(self, *, attr: griffe.Attribute, **kwargs: Any) -> None:
        if attr.docstring is None and attr.lineno and attr.parent and attr.parent.is_class:
            _, _, comment = attr.lines_collection[attr.filepath][attr.lineno - 1].partition("  # ")
            if comment:
                attr.docstring = griffe.Docstring(comment, parent=attr)
