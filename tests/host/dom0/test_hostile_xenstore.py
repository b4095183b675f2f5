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
"""Nothing that is sent to XenStore stops it, and random edits leave the tree that a simple model says.

``XAPI_HOSTILE_REQUESTS=20000`` makes the long form.
"""

import os
import random
import socket
import struct
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from xapikit.host.xenstore import XenStore, XenstoreError, tree
from xapikit.host.xenstore.log import FileLog
from xapikit.host.xenstore.node import Node, walk
from xapikit.host.xenstore.server import XenstoreServer

REQUESTS = int(os.environ.get("XAPI_HOSTILE_REQUESTS", "400"))
HEADER = struct.Struct("=IIII")
PATHS = ["/", "/local", "/local/domain/5", "/local/domain/5/data", "name", "data/x", "../../../etc", "/a//b", "", "/a/",
         "@releaseDomain", "/" + "x" * 4000, "/local/domain/5/data/" + "y/" * 900 + "z", "é", "/a b"]  # fmt: skip


@pytest.fixture
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[XenStore, Path]]:
    store = XenStore()
    with store.edit() as edit:
        guest = (("n", 0), ("r", 5))
        edit.graft("/local/domain/5", tree({"name": "five", "data": ""}, guest, {"data": (("n", 5),)}))
    path = tmp_path_factory.mktemp("xs") / "s"
    server = XenstoreServer()
    server.listen(path, store)
    server.start()
    yield store, path
    server.stop()


def connected(path: Path) -> socket.socket:
    line = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    line.settimeout(5)
    line.connect(str(path))
    return line


def ask(line: socket.socket, kind: int, payload: bytes, transaction: int = 0) -> tuple[int, bytes]:
    line.sendall(HEADER.pack(kind, 7, transaction, len(payload)) + payload)
    return answered(line)


def answered(line: socket.socket) -> tuple[int, bytes]:
    """The next reply; events are passed over. Raises ConnectionError at the end of the stream."""
    while True:
        kind, _, _, length = HEADER.unpack(exactly(line, HEADER.size))
        data = exactly(line, length)
        if kind != 15:
            return kind, data


def exactly(line: socket.socket, length: int) -> bytes:
    data = b""
    while len(data) < length:
        part = line.recv(length - len(data))
        if not part:
            raise ConnectionError
        data += part
    return data


def test_no_message_stops_the_store(served: tuple[XenStore, Path]) -> None:
    store, path = served
    chance = random.Random(5)
    counts: Counter[str] = Counter()
    line = connected(path)
    for _ in range(REQUESTS):
        kind = chance.choice([*range(24), 128, 2**32 - 1])
        words = [chance.choice(PATHS), chance.choice(["5", "-1", "T", "F", "n5", "x", "", str(2**70), "token"])]
        payload = "\0".join(words[: chance.randrange(1, 3)]).encode() + chance.choice([b"", b"\0", b"\xff\0", b"\0\0"])
        if chance.random() < 0.1:
            payload = chance.randbytes(chance.randrange(0, 5000))
        length = len(payload) if chance.random() < 0.9 else chance.choice([0, 5000, 2**32 - 1, 4096])
        header = HEADER.pack(kind, chance.getrandbits(32), chance.choice([0, 0, 1, 99]), length)
        try:
            line.sendall(header + payload[:length])
            if chance.random() < 0.05 or length > len(payload):
                raise ConnectionError  # gone in the middle
            counts[str(answered(line)[0])] += 1
        except (OSError, ConnectionError):
            counts["new connection"] += 1
            line.close()
            line = connected(path)
    line.close()
    with closing(connected(path)) as other:
        assert ask(other, 11, b"/alive\0yes") == (11, b"OK\0") and ask(other, 2, b"/alive\0") == (2, b"yes")
    print(counts)
    assert counts["16"] and counts["new connection"]
    assert all(name and "/" not in name for _, node in walk(store.root, "/") for name in node.children)


def test_a_restricted_peer_is_a_guest(served: tuple[XenStore, Path]) -> None:
    store, path = served
    with closing(connected(path)) as line:
        assert ask(line, 20, b"5\0") == (20, b"OK\0")
        assert ask(line, 2, b"name\0") == (2, b"five")
        assert ask(line, 11, b"data/mine\0x")[0] == 11 and store.value("/local/domain/5/data/mine") == "x"
        assert ask(line, 11, b"name\0x") == (16, b"EACCES\0") == ask(line, 20, b"6\0")
        assert ask(line, 8, b"5\0001\0002\0") == (16, b"EACCES\0")
        assert {ask(line, 6, b"\0")[1] for _ in range(12)} >= {b"ENOSPC\0"}
        assert {ask(line, 4, b"data\0%d\0" % number)[1] for number in range(140)} >= {b"OK\0", b"ENOSPC\0"}


def test_a_peer_that_does_not_read_is_dropped(served: tuple[XenStore, Path]) -> None:
    store, path = served
    busy = "/" + "b" * 3000
    with closing(connected(path)) as line:
        assert ask(line, 4, busy.encode() + b"\0t\0")[0] == 4
        for number in range(1000):
            with store.edit() as edit:
                edit.write(busy, str(number))
        with closing(connected(path)) as other:
            assert ask(other, 2, busy.encode() + b"\0") == (2, b"999")
        told = 0
        while part := line.recv(1 << 20):
            told += len(part)
        assert told < 1000 * len(busy)  # not all of it: the stream ends


def test_random_edits_leave_what_a_model_says_and_a_kept_tree_is_the_same(tmp_path: Path) -> None:
    chance = random.Random(11)
    log = FileLog(tmp_path / "log")
    store = XenStore(root=log.root, log=log)
    model: dict[str, bytes] = {}
    names = "abc"
    for number in range(REQUESTS):
        path = "".join("/" + chance.choice(names) for _ in range(chance.randrange(1, 5)))
        given = bytes([number % 256])
        try:
            if chance.random() < 0.7:
                with store.edit() as edit:
                    edit.write(path, given)
                for end in range(2, len(path) + 1, 2):
                    model.setdefault(path[:end], b"")
                model[path] = given
            else:
                with store.edit() as edit:
                    edit.rm(path)
                model = {key: value for key, value in model.items() if key != path and not key.startswith(f"{path}/")}
        except XenstoreError as error:
            assert error.name == "ENOENT" and path.rpartition("/")[0] not in model
        if number % 50 == 0:
            assert contents(store.root) == model
            if chance.random() < 0.5:  # killed
                again = FileLog(tmp_path / "log")
                assert contents(again.root) == model
                store = XenStore(root=again.root, log=again)
    assert contents(store.root) == contents(FileLog(tmp_path / "log").root) == model


def contents(root: Node) -> dict[str, bytes]:
    return {path: node.value for path, node in walk(root, "/") if path != "/"}
