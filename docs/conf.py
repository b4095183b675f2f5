# Licensed under the Apache License, Version 2.0 (the "License"); you may
# not use this file except in compliance with the License. You may obtain
# a copy of the License at
#
#      http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS, WITHOUT
# WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied. See the
# License for the specific language governing permissions and limitations
# under the License.
"""Sphinx configuration."""

from pathlib import Path
from typing import Any

project = "nova-xapi"
copyright = "the nova-xapi authors"  # noqa: A001 - the name that Sphinx wants
extensions = ["sphinx.ext.autodoc", "oslo_config.sphinxext"]
html_theme = "alabaster"
html_theme_options = {"description": "OpenStack Compute on XCP-ng and XenServer", "page_width": "1080px"}
exclude_patterns = ["_build"]
autodoc_typehints = "description"


def write_coverage(app: Any) -> None:
    """The page of what the embedded host implements is made from the code that is documented."""
    from xapikit.host.coverage import render

    page = Path(app.srcdir) / "coverage.rst"
    text = render("rst") + "\n"
    if not page.exists() or page.read_text(encoding="utf-8") != text:  # else everything would be built again
        page.write_text(text, encoding="utf-8")


def setup(app: Any) -> None:
    app.connect("builder-inited", write_coverage)
