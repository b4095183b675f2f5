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
"""An image service with one image, as a process of its own: the small Glance that the tests use, serving a file.

As a program (``python -m bench.glance FILE FORMAT``) it prints one JSON line (url, image) and serves until its standard
input ends.
"""

import json
import mmap
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.measure import Missing

_TESTS = Path(__file__).parents[1] / "tests"
_CHUNK = 1 << 20


@dataclass(frozen=True)
class ServedImage:
    url: str
    image_id: str


@contextmanager
def served_image(path: Path, disk_format: str = "raw") -> Iterator[ServedImage]:
    """Serve `path`, with its hashes, for as long as the context lasts."""
    command = [sys.executable, "-m", "bench.glance", str(path), disk_format]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdin and server.stdout
        try:
            line = server.stdout.readline()
            if not line:
                raise Missing("the image service did not start")
            ready = json.loads(line)
            yield ServedImage(ready["url"], ready["image"])
        finally:
            server.stdin.close()
            server.wait(30)


def main(path: str, disk_format: str) -> None:
    sys.path.append(str(_TESTS))
    from glance_server import GlanceServer

    with Path(path).open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        view = memoryview(data)
        pieces = [view[at : at + _CHUNK] for at in range(0, len(view), _CHUNK)]
        with GlanceServer() as server:
            image = server.add(lambda: pieces, disk_format)
            print(json.dumps({"url": server.url, "image": image.id}), flush=True)
            sys.stdin.read()
        # the map cannot be closed while pieces of it are around
        for piece in pieces:
            piece.release()
        view.release()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
