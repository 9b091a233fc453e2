"""Packages of the extra ``export``, imported where they are used."""

from importlib import import_module
from types import ModuleType


def needed(module: str, by: str, otherwise: str = "") -> ModuleType:
    """The module, or an ImportError that names the extra."""
    try:
        return import_module(module)
    except ImportError as error:
        raise ImportError(
            f"{by} needs {module.partition('.')[0]}, which cannot be imported ({error}): pip "
            f'install "sgfd[export]".{otherwise}'
        ) from error
