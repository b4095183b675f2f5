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
"""XenStore keeps the rules of its public description, survives a kill, and serves programs that other people wrote."""

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from xapikit.host.xenstore import XenStore, XenstoreError, tree
from xapikit.host.xenstore.log import FileLog
from xapikit.host.xenstore.server import XenstoreServer

SECONDS = 20
HOME = "/local/domain/5"
GUEST = (("n", 0), ("r", 5))


@pytest.fixture
def store() -> XenStore:
    return filled(XenStore())


def filled(store: XenStore) -> XenStore:
    own = (("n", 5),)
    with store.edit() as edit:
        edit.graft(HOME, tree({"name": "five", "memory/target": 5, "data": "", "attr/os": "x"}, GUEST, {"data": own}))
        edit.graft("/local/domain/6", tree({"name": "six"}, (("n", 0), ("r", 6))))
    return store


@pytest.fixture
def socket_file(store: XenStore, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    path = tmp_path_factory.mktemp("xs") / "s"
    server = XenstoreServer()
    server.listen(path, store)
    server.start()
    yield path
    server.stop()


def refusal(store: XenStore, domid: int, method: str, *arguments: object) -> str:
    with pytest.raises(XenstoreError) as caught, store.edit(domid) as edit:
        getattr(edit, method)(*arguments)
    return caught.value.name


def test_a_guest_reads_its_own_and_writes_where_it_may(store: XenStore) -> None:
    with store.edit(5) as edit:
        assert edit.read(f"{HOME}/name") == b"five"
        edit.write(f"{HOME}/data/new/deep", "1")
    assert store.value(f"{HOME}/data/new/deep") == "1"
    assert refusal(store, 5, "write", f"{HOME}/name", "other") == "EACCES"
    assert refusal(store, 5, "read", "/local/domain/6/name") == "EACCES"
    assert refusal(store, 5, "rm", HOME) == "EACCES"
    assert refusal(store, 5, "set_perms", f"{HOME}/data/new", (("n", 6),)) == "EPERM"
    with store.edit(5) as edit:
        edit.set_perms(f"{HOME}/data/new", (("n", 5), ("r", 6)))
    with store.edit(6) as edit:
        assert edit.directory(f"{HOME}/data/new") == ["deep"]


def test_paths_values_and_numbers_of_nodes_have_limits(store: XenStore) -> None:
    for path in ("relative", "/a//b", "/a/", "/a b", "/ä", "/" + "x" * 3072, "", "/a.b"):
        assert refusal(store, 0, "write", path, "") == "EINVAL", path
    assert refusal(store, 0, "write", "/a", "x" * 4097) == "ENOSPC"
    assert refusal(store, 5, "write", f"{HOME}/data/a", "x" * 2049) == "ENOSPC"
    with pytest.raises(XenstoreError) as caught, store.edit(5) as edit:
        for number in range(2000):
            edit.write(f"{HOME}/data/{number}", "")
    assert caught.value.name == "ENOSPC"
    assert store.find(f"{HOME}/data/0") is None  # all or nothing


def test_missing_nodes_are_told_apart_from_their_missing_parents(store: XenStore) -> None:
    assert refusal(store, 0, "read", f"{HOME}/none") == "ENOENT"
    assert refusal(store, 0, "rm", f"{HOME}/none/deep") == "ENOENT"
    with store.edit() as edit:
        edit.rm(f"{HOME}/none")
    assert refusal(store, 0, "rm", "/") == "EINVAL"


def test_a_transaction_fails_only_when_what_it_read_was_changed(store: XenStore) -> None:
    first, second = store.begin(0), store.begin(0)
    first.write("/a", first.read(f"{HOME}/name"))
    second.write("/b", second.read(f"{HOME}/memory/target"))
    store.commit(second)
    store.commit(first)
    assert (store.value("/a"), store.value("/b")) == ("five", "5")
    void = store.begin(0)
    void.write("/c", void.read("/a"))
    with store.edit() as edit:
        edit.write("/a", "changed")
    with pytest.raises(XenstoreError, match="EAGAIN"):
        store.commit(void)
    assert store.find("/c") is None


def test_watches_are_told_of_what_changes_at_and_below_their_path(store: XenStore) -> None:
    seen: list[tuple[str, str]] = []
    for path in (HOME, f"{HOME}/attr/os", f"{HOME}/attr/none"):
        store.watch(path, lambda changed, path=path: seen.append((path, changed)))  # type: ignore[misc]
    with store.edit() as edit:
        edit.write(f"{HOME}/name", "new")
    assert seen == [(HOME, f"{HOME}/name")]
    seen.clear()
    with store.edit() as edit:
        edit.rm(f"{HOME}/attr")
    assert seen == [(HOME, f"{HOME}/attr"), (f"{HOME}/attr/os", f"{HOME}/attr/os")]


def test_a_kept_tree_is_there_again_up_to_the_last_whole_edit(tmp_path: Path) -> None:
    file = tmp_path / "log"
    first = FileLog(file)
    store = filled(XenStore(root=first.root, log=first))
    with store.edit(5) as edit:
        edit.write(f"{HOME}/data/own", b"\x00\xff")
        edit.set_perms(f"{HOME}/data/own", (("n", 5), ("b", 6)))
    with store.edit() as edit:
        edit.rm("/local/domain/6")
    before = store.root
    with file.open("ab") as stream:
        stream.write(b'[0,[["rm","/loc')  # killed while it wrote this
    again = FileLog(file)
    now = XenStore(root=again.root, log=again)
    assert now.find("/local/domain/6") is None
    with now.edit(6) as edit:
        assert edit.read(f"{HOME}/data/own") == b"\x00\xff"
    with now.edit() as edit:
        assert edit.perms(f"{HOME}/data/own") == (("n", 5), ("b", 6))
        assert edit.perms(f"{HOME}/data") == (("n", 5),)
    assert before.children.keys() == again.root.children.keys()


def test_what_the_disk_does_not_take_did_not_happen(tmp_path: Path) -> None:
    log = FileLog(tmp_path / "log")
    store = filled(XenStore(root=log.root, log=log))
    store.close()
    with pytest.raises((XenstoreError, ValueError)), store.edit() as edit:
        edit.write("/a", "b")
    assert store.find("/a") is None


def test_the_tools_of_xen_work(store: XenStore, socket_file: Path) -> None:
    if shutil.which("xenstore-ls") is None:
        pytest.skip("xenstore-utils is not installed")

    def run(tool: str, *arguments: str) -> tuple[int, str]:
        done = subprocess.run(
            [f"xenstore-{tool}", *arguments], env={"XENSTORED_PATH": str(socket_file), "PATH": "/usr/sbin:/usr/bin"},
            stdout=subprocess.PIPE, text=True, timeout=SECONDS, check=False,
        )  # fmt: skip
        return done.returncode, done.stdout

    assert run("read", f"{HOME}/name") == (0, "five\n")
    assert run("read", "/none")[0] == 1
    assert run("write", "/q/w", "e", "/q/2", "x")[0] == 0 and store.value("/q/2") == "x"
    assert run("list", HOME) == (0, "name\nmemory\ndata\nattr\n")
    assert run("exists", "/q/none")[0] == 1
    assert run("rm", "-t", "/q/w")[0] == 0 and store.find("/q/w") is None
    assert '/memory/target = "5"' in run("ls", "-f", HOME)[1]
    with store.edit() as edit:
        for number in range(1000):
            edit.write(f"/many/node-{number:05}", "")
    assert len(run("list", "/many")[1].split()) == 1000  # more than one message holds
    waiting = subprocess.Popen(
        ["xenstore-watch", "-n", "2", "/q"], env={"XENSTORED_PATH": str(socket_file), "PATH": "/usr/sbin:/usr/bin"},
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert waiting.stdout is not None
    assert waiting.stdout.readline() == "/q\n"
    with store.edit() as edit:
        edit.write("/q/later", "")
    assert waiting.communicate(timeout=SECONDS)[0] == "/q/later\n"
