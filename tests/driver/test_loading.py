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
"""Nova finds ``nova.virt.xenapi`` in both kinds of install, and nothing else changes."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

PROBE = """
import sys
assert "nova" not in sys.modules and "nova_xapi.driver" not in sys.modules, "the alias imported too much"
sys.modules["eventlet"] = sys.modules["neutron"] = None  # importing one of them fails from now on
import importlib
from oslo_service import backend
backend.init_backend(backend.BackendType.THREADING)  # as nova-compute does
from nova.virt import driver
module = importlib.import_module("nova.virt.xenapi")
assert issubclass(module.XenAPIDriver, driver.ComputeDriver)
import nova.virt.fake
print(module.__spec__.origin, nova.virt.fake.__file__)
"""


@pytest.mark.parametrize("kind", ["wheel", "editable"])
def test_nova_loads_the_driver_in_a(kind: str, tmp_path: Path) -> None:
    """Made in an environment of its own that sees this one's Nova, so that nothing of the working tree helps."""
    beside = Path(sys.executable).with_name("uv")
    uv = beside if beside.exists() else shutil.which("uv")
    if uv is None:
        pytest.skip("needs the program uv")

    def run(*argv: str | Path) -> str:
        done = subprocess.run(argv, timeout=170, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    run(sys.executable, "-m", "venv", "--without-pip", "env")
    python = tmp_path / "env/bin/python"
    editable = ["-e"] if kind == "editable" else []
    run(uv, "pip", "install", "--quiet", "--no-deps", "--python", python, *editable, ROOT)
    site = next((tmp_path / "env/lib").glob("python*/site-packages"))
    # Nova and its dependencies come from here, behind what was just installed
    here = next(Path(sys.prefix).glob("lib/python*/site-packages"))
    (site / "zz-nova.pth").write_text(
        f"import sys; sys.path.append({str(here)!r})  # not addsitedir: the .pth files there must not help\n"
    )
    answer = run(python, "-c", PROBE)
    assert answer.startswith("alias of nova_xapi.driver")


def test_the_alias_answers_for_one_name_only() -> None:
    from nova_xapi.alias import AliasFinder

    finder = AliasFinder()
    assert finder.find_spec("nova.virt.xenapi") is not None
    for other in ("nova", "nova.virt", "nova.virt.xenapi.driver", "nova.virt.libvirt", "xenapi"):
        assert finder.find_spec(other) is None


def test_an_interpreter_starts_silently_with_the_hook() -> None:
    line = (ROOT / "packaging/nova-xapi-alias.pth").read_text()
    # importable or not: a line of a .pth must never print or fail
    for path in (str(ROOT / "src"), "/nonexistent"):
        code = f"import sys; sys.path.insert(0, {path!r}); exec({line!r}); assert 'nova' not in sys.modules"
        done = subprocess.run([sys.executable, "-I", "-S", "-c", code], capture_output=True, timeout=30, check=False)
        assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
