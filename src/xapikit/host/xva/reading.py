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
"""Reading archives: the document first, then the disks; plain, gzip and zstd are told apart by their first bytes."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Final

from xapikit.host.errors import ApiError
from xapikit.host.storage.transfer.source import BodyEnded
from xapikit.host.storage.transfer.tar import BLOCK, name_and_size, padding
from xapikit.host.xva import document
from xapikit.host.xva.compression import Rewound, Source, exactly, unpacked
from xapikit.host.xva.document import Document

_INVALID: Final = 'Failure("Invalid XVA file")'


def invalid() -> ApiError:
    """The error of archives that are not put together as a host does it."""
    return ApiError("IMPORT_ERROR", _INVALID)


@contextlib.contextmanager
def import_errors() -> Iterator[None]:
    """What ends in the middle is told so, in the words of a host. Also what a broken connection becomes."""
    try:
        yield
    except BodyEnded:
        raise ApiError("IMPORT_ERROR_PREMATURE_EOF") from None
    except (ConnectionError, TimeoutError) as error:
        raise ApiError("IMPORT_ERROR", f"the client went away: {error}") from error


@contextlib.contextmanager
def opened(source: Source) -> Iterator[tuple[Document, Source]]:
    """The document of an archive, and the bytes behind it. Raises BodyEnded and what reading a document raises."""
    first = bytearray(BLOCK)
    first = first[: source.readinto(memoryview(first))]
    if _begins_plainly(bytes(first)):
        yield _read(Rewound(bytes(first), source)), source
        return
    with unpacked(source, bytes(first)) as plain:
        yield _read(plain), plain


def _begins_plainly(first: bytes) -> bool:
    try:
        found = name_and_size(first) if len(first) == BLOCK else None
    except ValueError:  # compressed, or nothing that anybody can read: the decompressor will tell
        return False
    return found is not None and found[0] == document.FILE


def _read(source: Source) -> Document:
    name, size = next_file(source)
    if name != document.FILE:
        raise ApiError("IMPORT_ERROR_UNEXPECTED_FILE", document.FILE, name)
    if size > document.LARGEST:
        raise ApiError("IMPORT_ERROR", f"{document.FILE} of {size} bytes, at most {document.LARGEST} are read")
    return document.read(content(source, size))


def next_file(source: Source) -> tuple[str, int]:
    """Name and size of the next file. Raises BodyEnded at the end of the archive too, IMPORT_ERROR."""
    try:
        found = name_and_size(exactly(source, BLOCK))
    except ValueError:
        raise invalid() from None
    if found is None:
        raise BodyEnded
    return found


def content(source: Source, size: int) -> bytes:
    """The content of a file, with what fills its last block skipped. Raises BodyEnded."""
    data = exactly(source, size)
    exactly(source, len(padding(size)))
    return data
