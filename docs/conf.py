"""Settings of the documentation site. `make docs` builds it; every warning is an error.

What .gitignore lists here is written at each build by the scripts in `generate/`, from the package,
the notebooks and `data/results`, so that nothing on them is typed by hand.
"""

from __future__ import annotations

import importlib
import re
import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

from docutils.utils import get_source_line  # noqa: E402
from generate import (  # noqa: E402
    accessible,
    api,
    architecture,
    claims,
    cli,
    coverage,
    data_sets,
    gallery,
    live_page,
    notebooks,
    offline,
)
from sphinx.util import inspect as sphinx_inspect  # noqa: E402

import airlens  # noqa: E402

project = "airlens"
author = "airlens contributors"
version = release = airlens.__version__
html_title = "airlens"

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
    "sphinx_design",
    "generate.mathml",
]
root_doc = "index"
exclude_patterns = ["_build", "generate", "gallery_run", "parts"]

# Text
myst_enable_extensions = ["attrs_inline", "colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3
nb_execution_mode = "off"  # the committed outputs are shown
nb_ipywidgets_js = {}  # explorers are shown as pictures: their scripts would come from elsewhere
suppress_warnings = ["mystnb.unknown_mime_type"]  # of outputs that are there in another form too

# API
autodoc_default_options = {"members": True, "member-order": "bysource"}
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True  # a constant's name, as the code has it
napoleon_numpy_docstring = False
napoleon_use_ivar = True
napoleon_use_rtype = False
python_maximum_signature_line_length = 88
nitpicky = True
# Types of other packages: their documentation is not fetched.
nitpick_ignore_regex = [("py:(class|exc|obj)", ".*")]

# Look
html_theme = "furo"
html_static_path = ["_static"]
html_css_files = ["airlens.css"]
html_show_sourcelink = False
html_show_copyright = False  # LICENSE says whose it is; the line would be empty
html_copy_source = False
html_theme_options = {
    "light_css_variables": {"color-brand-primary": "#0072b2", "color-brand-content": "#0072b2"},
    "dark_css_variables": {"color-brand-primary": "#56b4e9", "color-brand-content": "#56b4e9"},
}
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True


def known_name(app, env, node, contnode):
    """A docstring may name internals, which have no page; a name that is nowhere is an error.

    `airlens.detectors.retrieval.retrieval_scores` leads to the entry of `airlens.retrieval_scores`.
    """
    target = node.get("reftarget", "")
    if node.get("refdomain") != "py":
        return None
    short = target.rsplit(".", 1)[-1]
    if target != f"airlens.{short}" and short in airlens.__all__ and target.count(".") != 1:
        node["reftarget"] = f"airlens.{short}"
        found = env.domains["py"].resolve_xref(
            env, node["refdoc"], app.builder, "obj", node["reftarget"], node, contnode
        )
        if found is not None:
            return found
    # "…/agreement.py:docstring of airlens.….agreement": names of that module are known.
    described = str(get_source_line(node)[0]).rpartition("docstring of ")[2].split(".")
    scopes = ["", "airlens", *(".".join(described[:n]) for n in range(2, len(described)))]
    return contnode if any(_exists(f"{scope}.{target}".lstrip(".")) for scope in scopes) else None


def _exists(dotted: str) -> bool:
    """Whether a dotted name leads to a module, or to something in one."""
    parts = dotted.split(".")
    for cut in range(len(parts), 0, -1):
        try:
            found = importlib.import_module(".".join(parts[:cut]))
        except ImportError:
            continue
        try:
            for name in parts[cut:]:
                found = getattr(found, name)
        except AttributeError:
            return False
        return True
    return False


def skip_tuple_fields(app, what, name, obj, skip, options):
    """The fields of a named tuple say nothing of their own; its docstring describes them."""
    return True if str(getattr(obj, "__doc__", "")).startswith("Alias for field number") else None


def readable_signature(app, what, name, obj, options, signature, returned):
    """Signatures as a reader would write them.

    A default made anew for each object is `...`, and a function its name, which Sphinx can read;
    a widget takes what its `__init__` takes, not what traitlets says of every widget.
    """
    if what == "class" and str(signature).startswith("(*args"):
        own = sphinx_inspect.signature(obj.__init__, bound_method=True)
        signature = sphinx_inspect.stringify_signature(
            own, show_return_annotation=False, unqualified_typehints=True
        )
    if not signature:
        return None
    named = re.sub(r"<function ([\w.]+)>", r"\1", signature.replace("<factory>", "..."))
    return named, returned


def setup(app):
    """Write the generated pages, and look at what was built."""
    parts = (api, architecture, claims, cli, coverage, data_sets, gallery, live_page, notebooks)
    for part in parts:
        part.write(HERE)
    app.connect("missing-reference", known_name)
    app.connect("autodoc-skip-member", skip_tuple_fields)
    app.connect("autodoc-process-signature", readable_signature)
    app.connect("build-finished", offline.check)
    app.connect("build-finished", accessible.mend)
