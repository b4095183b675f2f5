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
"""The house keeps its import rules (docs/architecture): who may know whom."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

SRC = Path(__file__).parents[1] / "src"

# package -> what of ours it may import besides itself; the longest prefix that matches a module decides
MAY_IMPORT = {
    "xapikit.model": set[str](),
    "xapikit.vhd": set[str](),
    "xapikit.wire": {"xapikit.model"},
    "xapikit.client": {"xapikit.model", "xapikit.wire", "xapikit.vhd"},
    "xapikit.host": {"xapikit.model", "xapikit.wire", "xapikit.vhd"},
    "nova_xapi": {"xapikit.model", "xapikit.wire", "xapikit.vhd", "xapikit.client"},
}
# command lines that need both sides may import both
BOTH_SIDES = {"xapikit.host.cli"}

FORBIDDEN_EVERYWHERE = {"eventlet", "greenlet", "pickle"}
# loading neutron changes the threading of the whole process (contract 4.1); only what runs inside Neutron may
NEUTRON_ALLOWED = ("nova_xapi.neutron",)
# pure descriptions: no sockets, files, processes, threads
SPEC_FORBIDDEN = {"socket", "subprocess", "pathlib", "os", "threading", "http", "requests", "time"}


def modules() -> Iterator[tuple[str, Path]]:
    for path in sorted(SRC.rglob("*.py")):
        yield ".".join(path.relative_to(SRC).with_suffix("").parts).removesuffix(".__init__"), path


def imports_of(name: str, path: Path) -> Iterator[str]:
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                base = ".".join(
                    [*package.split(".")[: len(package.split(".")) - node.level + 1], *filter(None, [base])]
                )
            yield base
            yield from (f"{base}.{alias.name}" for alias in node.names)


def within(module: str, package: str) -> bool:
    return module == package or module.startswith(package + ".")


MODULES = list(modules())


@pytest.mark.parametrize(("name", "path"), MODULES, ids=[name for name, _ in MODULES])
def test_import_rules(name: str, path: Path) -> None:
    home = next((p for p in sorted(MAY_IMPORT, key=len, reverse=True) if within(name, p)), None)
    for imported in imports_of(name, path):
        top = imported.partition(".")[0]
        assert top not in FORBIDDEN_EVERYWHERE, f"{name} imports {imported}"
        if top in ("neutron", "neutron_lib"):
            assert any(within(name, allowed) for allowed in NEUTRON_ALLOWED), f"{name} imports {imported}"
        if within(name, "nova_xapi.spec"):
            assert top not in SPEC_FORBIDDEN, f"{name} is a pure description and imports {imported}"
        if top in ("nova", "oslo_config"):
            assert within(name, "nova_xapi"), f"{name} imports {imported}"
        if top in ("xapikit", "nova_xapi") and home and name not in BOTH_SIDES:
            allowed = MAY_IMPORT[home] | {home, "xapikit"}
            fine = imported == "xapikit" or any(within(imported, one) for one in allowed - {"xapikit"})
            assert fine, f"{name} imports {imported}: {home} may import {sorted(allowed)}"


def test_nothing_lies_under_nova_virt() -> None:
    assert not list(SRC.glob("nova/**/*")), "files under a nova path break an editable Nova"


def test_modules_read_in_one_sitting() -> None:
    long = {name: n for name, path in MODULES if (n := len(path.read_text().splitlines())) > 450}
    # declarations are tables, not prose
    long = {name: n for name, n in long.items() if not within(name, "xapikit.model")}
    assert not long, f"cut these by subject: {long}"
