"""Types as readers know them: short, and linked to where they are imported from.

To be imported before sgfd: the stand-ins below must be what its signatures are made of.
"""

import inspect
import re
from importlib import import_module
from typing import Generic, TypeVar

import numpy.typing as npt
from sphinx.domains.python import PyObject


class ArrayLike:
    """Stands for numpy.typing's, which would be spelled out in five lines."""


class NDArray(Generic[TypeVar("Scalar")]):
    """Likewise."""


for stand_in in (ArrayLike, NDArray):
    stand_in.__module__ = "numpy.typing"
    setattr(npt, stand_in.__name__, stand_in)

for field in PyObject.doc_field_types:
    if field.name == "variable":
        field.label = "Attributes"  # not "Variables"


def public_names() -> dict[str, str]:
    """Where each of our classes and functions is defined, to where users import it from."""
    import sgfd

    modules = ["sgfd", *(f"sgfd.{name}" for name in sgfd._SUBPACKAGES)]
    return {
        f"{value.__module__}.{value.__qualname__}": f"{module}.{key}"
        for module in modules
        for key, value in vars(import_module(module)).items()
        if (inspect.isclass(value) or inspect.isfunction(value))
        and value.__module__.startswith("sgfd.")
    }


def find_public(app, env, node, content):
    """A type hint names the private module where the type is defined; the page has the public."""
    target = public_names().get(node.get("reftarget", ""))
    if target is None:
        return None
    domain = env.get_domain("py")
    return domain.resolve_xref(
        env, node["refdoc"], app.builder, node["reftype"], target, node, content
    )


def shorten(*event: object) -> None:
    """Types of attributes by their last name, as those of arguments are."""
    lines = event[-1]
    for i, line in enumerate(lines):
        if line.startswith(":vartype"):
            lines[i] = re.sub(r"(?<![\w.~])((?:\w+\.)+\w+)", r"~\1", line)


def setup(app) -> dict[str, bool]:
    """Called by Sphinx."""
    app.setup_extension("sphinx.ext.autodoc")
    app.connect("autodoc-process-docstring", shorten, priority=600)  # after napoleon
    app.connect("missing-reference", find_public)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
