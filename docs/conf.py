"""Sphinx settings: `make docs` builds with warnings as errors, `make docs-check` looks at it."""

import ast
import re
import sys
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

import api_types  # noqa: E402, F401, I001 (before sgfd)
import sgfd  # noqa: E402

project = "sgfd"
author = "The sgfd developers"
copyright = f"2026, {author}"
version = release = sgfd.__version__

extensions = [
    "api_types",
    "mathml",
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.intersphinx",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
    "sphinx_gallery.gen_gallery",
]
exclude_patterns = ["_build"]
highlight_language = "none"
smartquotes = False  # they make an en dash of the dashes of an option
suppress_warnings = ["config.cache"]  # sphinx-gallery's settings hold a function

# Markdown that reads on GitHub as it does here.
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3

# A name of ours that is referred to must be there. Types of others are links where the network
# is open; private aliases in signatures are no links at all.
nitpicky = True
nitpick_ignore_regex = [("py:.*", r"(?!sgfd\b).*"), ("py:.*", r"sgfd\.(\w+\.)*_.*")]

autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented_params"
autodoc_typehints_format = "short"
napoleon_custom_sections = [("Warns", "returns_style")]
napoleon_use_ivar = True
python_maximum_signature_line_length = 80
python_use_unqualified_type_names = True
add_module_names = False
toc_object_entries_show_parents = "hide"

html_math_renderer = "mathml"
html_theme = "furo"
html_title = f"sgfd {version}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_favicon = "_static/icon.svg"
html_copy_source = False
pygments_style = "tango"
pygments_dark_style = "github-dark"
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True

LIBRARIES = {
    "python": "https://docs.python.org/3/",
    "numpy": "https://numpy.org/doc/stable/",
    "scipy": "https://docs.scipy.org/doc/scipy/",
    "torch": "https://docs.pytorch.org/docs/stable/",
    "lightning": "https://lightning.ai/docs/pytorch/stable/",
    "pandas": "https://pandas.pydata.org/docs/",
}


def reachable(url: str) -> bool:
    """Whether a library's inventory can be read: one that cannot is no reason not to build."""
    try:
        with urllib.request.urlopen(url + "objects.inv", timeout=5):
            return True
    except OSError as error:
        print(f"No links to {url} ({error}).")
        return False


with ThreadPoolExecutor() as pool:
    found = pool.map(reachable, LIBRARIES.values())
intersphinx_mapping = {
    name: (url, None) for (name, url), there in zip(LIBRARIES.items(), found, strict=True) if there
}

RUNS = str(HERE / "_build" / "runs")  # what examples write
# Shown, not run: these need data, or hours.
SHOWN = ("train", "reproduce")


def prepare_example(_: object, script: dict) -> list[str]:
    """The arguments an example is run with, which put what it writes into the build.

    Examples describe themselves on the command line by their docstring, which sphinx-gallery hides.
    """
    path = Path(script["src_file"])
    script["example_globals"]["__doc__"] = ast.get_docstring(ast.parse(path.read_text()))
    return ["--out", f"{RUNS}/{path.stem}"]


class Order:
    """The quick start first, what is only shown last."""

    def __init__(self, folder: str) -> None:
        self.folder = folder

    def __call__(self, filename: str) -> tuple[bool, bool, str]:
        """What an example is sorted by."""
        name = Path(filename).stem
        return name != "quickstart", name in SHOWN, name


sphinx_gallery_conf = {
    "examples_dirs": "../examples",
    "gallery_dirs": "gallery",
    "filename_pattern": rf"/(?!{'|'.join(SHOWN)})\w+\.py",
    "reset_argv": prepare_example,
    "abort_on_example_error": True,
    "download_all_examples": False,
    "write_computation_times": False,
    "show_signature": False,
    "within_subsection_order": Order,
}


def link_examples(_: object, __: str, source: list[str]) -> None:
    """Pages link to scripts, as GitHub shows them; here a script has a page."""
    source[0] = re.sub(r"\]\(\.\./examples/(\w+)\.py\)", r"](/gallery/\1.rst)", source[0])
    source[0] = source[0].replace("](../examples/README.rst)", "](/gallery/index.rst)")


def title_example(_: object, docname: str, source: list[str]) -> None:
    """The scripts' docstrings are plain text: gives their pages a title and literal commands."""
    name = docname.removeprefix("gallery/")
    if name == docname or name == "index":
        return
    start, label, rest = re.split(r"(\.\. _sphx_glr_\S+:\n\n)", source[0], maxsplit=1)
    words, code, rest = re.split(r"(\.\. GENERATED FROM PYTHON SOURCE LINES)", rest, maxsplit=1)
    words = re.sub(r"^(?! {4}).*", lambda line: line[0].replace("*", r"\*"), words, flags=re.M)
    words = re.sub(r"\n\n(?= {4}python )", "\n\n.. code-block:: text\n\n", words)
    rest = re.sub(r"^ .*\d%\|.*\|.*\n", "", rest, flags=re.M)  # progress bars
    title = name.replace("_", " ").capitalize()
    source[0] = f"{start}{label}{title}\n{'=' * len(title)}\n\n{words}{code}{rest}"
    source[0] = source[0].replace(RUNS, "runs")


def setup(app: object) -> None:
    """Called by Sphinx."""
    app.connect("source-read", link_examples)
    app.connect("source-read", title_example)
