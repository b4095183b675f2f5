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
"""``vhd-util`` has the options and the output that storage managers and plug-ins read."""

import errno
from pathlib import Path

import pytest

from xapikit.vhd import open_chain
from xapikit.vhd.command import main

MIB = 1 << 20


class Tool:
    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys

    def __call__(self, *words: str | Path) -> str:
        status, output, errors = self.all(*words)
        assert status == 0, errors
        return output

    def all(self, *words: str | Path) -> tuple[int, str, str]:
        status = main([str(word) for word in words])
        captured = self._capsys.readouterr()
        return status, captured.out, captured.err


@pytest.fixture
def tool(capsys: pytest.CaptureFixture[str]) -> Tool:
    return Tool(capsys)


def test_a_chain_is_made_looked_at_and_coalesced(tool: Tool, tmp_path: Path) -> None:
    base, leaf, other = (tmp_path / f"{name}.vhd" for name in ("base", "leaf", "other"))
    tool("create", "-n", base, "-s", "8")
    assert tool("query", "-n", base, "-v", "-p", "-f", "-d") == f"8\n{base} has no parent\nhidden: 0\nchain depth: 1\n"
    tool("set", "-n", base, "-f", "hidden", "-v", "1")
    tool("snapshot", "-n", leaf, "-p", base)
    assert tool("query", "-n", leaf, "-p", "-d") == f"{base}\nchain depth: 2\n"
    assert tool("query", "-n", base, "-f") == "hidden: 1\n"
    with open_chain(leaf, writable=True) as disk:
        disk.pwrite(MIB, b"written")
    assert int(tool("query", "-n", leaf, "-s")) > 0
    base_file = base.read_bytes()
    other.write_bytes(base_file)
    tool("modify", "-n", leaf, "-p", other)
    assert tool("query", "-n", leaf, "-p") == f"{other}\n"
    tool("coalesce", "-n", leaf)
    with open_chain(other) as disk:
        assert disk.pread(MIB, 7) == b"written"
    tool("resize", "-n", other, "-s", "16", "-j", tmp_path / "journal")
    assert tool("query", "-n", other, "-v") == "16\n"
    assert tool("check", "-n", leaf, "-p") == f"{leaf} is valid\n" and tool("repair", "-n", leaf) == ""


def test_a_scan_lists_one_file_per_line(tool: Tool, tmp_path: Path) -> None:
    base, leaf = tmp_path / "base.vhd", tmp_path / "leaf.vhd"
    tool("create", "-n", base, "-s", "8")
    tool("snapshot", "-n", leaf, "-p", base)
    lines = tool("scan", "-f", "-m", tmp_path / "*.vhd").splitlines()
    assert lines == [
        f"vhd={base} capacity={8 * MIB} size={base.stat().st_size} hidden=0 parent=none",
        f"vhd={leaf} capacity={8 * MIB} size={leaf.stat().st_size} hidden=0 parent={base}",
    ]
    assert len(tool("scan", "-f", "-a", "-m", leaf).splitlines()) == 2
    (tmp_path / "broken.vhd").write_bytes(b"x" * 4096)
    assert tool.all("scan", "-m", tmp_path / "*.vhd")[0] == errno.EINVAL
    assert f"vhd={tmp_path / 'broken.vhd'} scan-error={errno.EINVAL}" in tool("scan", "-c", "-m", tmp_path / "*.vhd")


@pytest.mark.parametrize(
    ("words", "status"),
    [
        ((), errno.EINVAL),
        (("nonsense",), errno.EINVAL),
        (("create", "-n", "a"), errno.EINVAL),
        (("create", "-n", "a", "-s", "-5"), errno.EINVAL),
        (("create", "-n", "a", "-s", "8", "-r"), errno.EINVAL),
        (("query", "-n", "none", "-v"), errno.ENOENT),
        (("set", "-n", "none", "-f", "other", "-v", "1"), errno.EINVAL),
        (("coalesce", "-n", "none"), errno.ENOENT),
        (("query", "-z"), errno.EINVAL),
        (("check", "-n", "a", "more"), errno.EINVAL),
    ],
)
def test_what_cannot_be_done_is_told_by_status_and_a_line(
    tool: Tool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], status: int
) -> None:
    monkeypatch.chdir(tmp_path)
    found, output, errors = tool.all(*words)
    assert (found, output, errors.count("\n")) == (status, "", 1)
    assert not list(tmp_path.iterdir())
