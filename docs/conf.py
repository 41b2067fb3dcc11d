"""Settings of Sphinx, for ``make docs``: the folder above is the source, so that links work here and there.

Nothing is fetched while building, and no page loads anything from another host.
"""

from __future__ import annotations

import gnomon

project = "Gnomon"
version = release = gnomon.__version__
project_copyright = "the Gnomon project"
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]

root_doc = "docs/index"
include_patterns = [
    *("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md"),
    *("docs/**", "examples/README.md"),
]
exclude_patterns = ["build", "dist", "node_modules", ".*", "**/__pycache__"]
templates_path = ["_templates"]

myst_heading_anchors = 4
myst_links_external_new_tab = False

autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
autodoc_typehints = "signature"
python_maximum_signature_line_length = 88
add_module_names = False
napoleon_numpy_docstring = False
# One line of a docstring may name several attributes, which the style for attributes cannot say.
napoleon_custom_sections = [("Attributes", "params_style")]

html_theme = "furo"
html_title = f"Gnomon {version}"
html_additional_pages = {"index": "redirect.html"}
html_copy_source = False
html_show_sourcelink = False
html_show_sphinx = False
