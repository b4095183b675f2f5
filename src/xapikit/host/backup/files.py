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
"""Archives of what a host's dom0 holds: its whole tree, its logs, and reports of its state for support."""

from __future__ import annotations

import hashlib
import io
import os
import stat
import tarfile
import time
import zipfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, TypeAlias
from xml.sax.saxutils import quoteattr

from xapikit.host.backup import xmldb
from xapikit.host.pool import Pool

Form: TypeAlias = Literal["tar", "tar.gz", "tar.bz2", "zip"]
DATABASE: Final = "var/lib/xcp/state.db"
LOGS: Final = "var/log"
_PASSING: Final = ("dev/", "images/", "run/", "tmp/")
"""Directories whose content is nothing to keep."""
_TAR_MODES: Final[dict[str, Literal["w|", "w|gz", "w|bz2"]]] = {"tar": "w|", "tar.gz": "w|gz", "tar.bz2": "w|bz2"}


@dataclass(frozen=True)
class Entry:
    """One file of an archive: a file that lies somewhere, or a text made for it."""

    name: str
    source: Path | bytes

    def read(self) -> bytes:
        """Its content; empty for a file that vanished meanwhile."""
        if isinstance(self.source, bytes):
            return self.source
        try:
            descriptor = os.open(self.source, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
            with os.fdopen(descriptor, "rb") as file:
                return file.read()
        except OSError:
            return b""


def files(root: Path, below: str = "") -> Iterator[Entry]:
    """Plain files of a directory tree, by names relative to its root; links are not followed."""
    for directory, names, found in os.walk(root / below):
        names.sort()
        for name in sorted(found):
            path = Path(directory, name)
            if stat.S_ISREG(path.lstat().st_mode):
                yield Entry(str(path.relative_to(root)), path)


def database(pool: Pool, *, secrets: bool) -> bytes:
    """The database as XML; without ``secrets`` what is in the table of secrets is left out."""
    text = "".join(xmldb.write(pool.store))
    if not secrets:
        head, _, rest = text.partition('<table name="secret">')
        text = f'{head}<table name="secret">{rest[rest.index("</table>") :]}' if rest else text
    return text.encode("utf-8", "replace")


def whole(pool: Pool, host_uuid: str) -> Iterator[Entry]:
    """What a backup of a host holds."""
    for entry in files(pool.programs.root(host_uuid)):
        if not entry.name.startswith(_PASSING):
            yield entry
    yield Entry(DATABASE, database(pool, secrets=True))


def logs(pool: Pool, host_uuid: str) -> Iterator[Entry]:
    yield from files(pool.programs.root(host_uuid), LOGS)


# writing -------------------------------------------------------------------------------------------------------------


class _Stream(io.RawIOBase):
    """What an archive writer writes into: everything goes on at once."""

    def __init__(self, write: Callable[[bytes], None]) -> None:
        self._write = write
        self._length = 0

    def writable(self) -> bool:
        return True

    def write(self, data: object) -> int:
        piece = bytes(data)  # type: ignore[call-overload]
        self._write(piece)
        self._length += len(piece)
        return len(piece)

    def tell(self) -> int:
        return self._length


def write(entries: Iterable[Entry], form: Form, out: Callable[[bytes], None]) -> None:
    """Write an archive as it comes. Raises what ``out`` raises."""
    if form == "zip":
        with zipfile.ZipFile(_Stream(out), "w", zipfile.ZIP_DEFLATED) as packed:
            for entry in entries:
                packed.writestr(entry.name, entry.read())
        return
    with tarfile.open(fileobj=_Stream(out), mode=_TAR_MODES[form], format=tarfile.GNU_FORMAT) as tar:
        for entry in entries:
            content = entry.read()
            info = tarfile.TarInfo(entry.name)
            info.size, info.mtime, info.mode = len(content), int(time.time()), 0o600
            tar.addfile(info, io.BytesIO(content))


def check(path: Path) -> None:
    """Raises ValueError for what is no backup of a host: no tar.gz, names that lead out of it, no database in it."""
    try:
        with tarfile.open(path, "r:gz") as tar:
            names = set()
            for info in tar:
                parts = Path(info.name).parts
                if info.name.startswith("/") or ".." in parts or not (info.isfile() or info.isdir()):
                    raise ValueError(f"{info.name}: a backup has plain files with plain names")
                names.add(info.name)
            if DATABASE not in names:
                raise ValueError(f"no {DATABASE} in it")
    except (tarfile.TarError, OSError, EOFError) as error:
        raise ValueError(str(error)) from error


# reports -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Capability:
    """Something that a report can have. Sizes in bytes, times in seconds, as whoever asks is told beforehand."""

    key: str
    pii: Literal["no", "maybe", "if_customized", "yes"]
    most: int
    collect: Callable[[Pool, str], Iterator[Entry]]


def _configuration(pool: Pool, host_uuid: str) -> Iterator[Entry]:
    yield from files(pool.programs.root(host_uuid), "etc")


def _databases(pool: Pool, host_uuid: str) -> Iterator[Entry]:
    yield Entry(DATABASE, database(pool, secrets=False))


def _domains(pool: Pool, host_uuid: str) -> Iterator[Entry]:
    host = pool.store.by_uuid("host", host_uuid)
    lines = [
        f"{row['domid']:>6} {row['uuid']} {row['power_state']:<9} {row['memory_target'] >> 20:>8} MiB"
        for row in pool.store.all("VM").values()
        if row["resident_on"] == host
    ]
    yield Entry("list_domains.out", ("\n".join(sorted(lines)) + "\n").encode())


def _disks(pool: Pool, host_uuid: str) -> Iterator[Entry]:
    lines = []
    for ref, sr in pool.store.all("SR").items():
        lines.append(f"SR {sr['uuid']} {sr['type']} {sr['physical_utilisation']}/{sr['physical_size']} bytes")
        repository = pool.storage.repository(ref)
        if repository is not None and repository.directory.is_dir():
            for path in sorted(repository.directory.iterdir()):
                status = path.lstat()
                lines.append(f"    {status.st_blocks * 512:>14} {status.st_size:>14} {path.name}")
    yield Entry("ls_of_srs.out", ("\n".join(lines) + "\n").encode("utf-8", "replace"))


CAPABILITIES: Final = (
    Capability("disk-info", "maybe", 1 << 20, _disks),
    Capability("system-logs", "maybe", 1 << 26, logs),
    Capability("xenserver-config", "maybe", 1 << 20, _configuration),
    Capability("xenserver-databases", "yes", 1 << 28, _databases),
    Capability("xenserver-domains", "no", 1 << 20, _domains),
)
"""What a report of this host can have; its log of audits is one of its logs."""


def described() -> str:
    """The capabilities as XML, as ``host.get_system_status_capabilities`` answers them."""
    entries = "".join(
        f'<capability content-type="text/plain" default-checked="yes" key={quoteattr(item.key)} pii="{item.pii}"'
        f' min-size="-1" max-size="{item.most}" min-time="-1" max-time="60"/>'
        for item in CAPABILITIES
    )
    return f'<?xml version="1.0" ?><system-status-capabilities>{entries}</system-status-capabilities>'


def report(pool: Pool, host_uuid: str, wanted: Iterable[str]) -> Iterator[Entry]:
    """Files of a report, below a directory named by the moment, after an inventory of them."""
    keys = [key for key in wanted if key]
    top = time.strftime("bug-report-%Y%m%d%H%M%S", time.gmtime())
    collected = [
        entry for item in CAPABILITIES if not keys or item.key in keys for entry in item.collect(pool, host_uuid)
    ]
    listed = []
    for entry in collected:
        content = entry.read()
        digest = hashlib.md5(content, usedforsecurity=False).hexdigest()
        listed.append(
            f'<inventory_entry filename={quoteattr(f"{top}/{entry.name}")} type="file" md5sum="{digest}"'
            f' size="{len(content)}"/>'
        )
        yield Entry(f"{top}/{entry.name}", content)
    text = f'<?xml version="1.0" ?><system-status-inventory>{"".join(listed)}</system-status-inventory>'
    yield Entry(f"{top}/inventory.xml", text.encode())
