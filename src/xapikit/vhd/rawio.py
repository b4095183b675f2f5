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
"""Whole reads and writes at a position of a file: the kernel may do less than asked, callers never see that."""

import os
from contextlib import suppress

from .errors import Reason, VhdRejected

# positions come from files that may be hostile; the kernel's offsets are signed
_FURTHEST = 1 << 62

Buffer = bytes | bytearray | memoryview


def read_into(fd: int, buffer: memoryview, position: int) -> int:
    """Fill `buffer` from `position`; answers how much there was before the end of the file."""
    done = 0
    while done < len(buffer):
        count = os.preadv(fd, [buffer[done:]], position + done)
        if count == 0:
            break
        done += count
    return done


def read_exactly(fd: int, length: int, position: int, what: str) -> bytes:
    """Read `length` bytes; a shorter file raises VhdRejected(TRUNCATED) naming `what`."""
    if position > _FURTHEST:
        raise VhdRejected(Reason.TRUNCATED, f"{what} at {position}: no file is that long")
    data = os.pread(fd, length, position)
    if len(data) == length:
        return data
    whole = bytearray(length)
    got = read_into(fd, memoryview(whole), position)
    if got < length:
        raise VhdRejected(Reason.TRUNCATED, f"{what} at {position}: {got} of {length} bytes are there")
    return bytes(whole)


def write_all(fd: int, data: Buffer, position: int) -> None:
    """Write all of `data`; OSError (a full file system, for one) passes through."""
    count = os.pwrite(fd, data, position)
    if count == len(data):
        return
    rest = memoryview(data)
    while count < len(data):
        count += os.pwrite(fd, rest[count:], position + count)


def start_writeback(fd: int, start: int, length: int) -> None:
    """Have the kernel begin to write this range to the disk, without waiting for it.

    "Not needed any more" is how an advice says that: dirty pages are sent off and stay, clean ones may go. A file
    system that does not take advice is left alone.
    """
    with suppress(OSError):
        os.posix_fadvise(fd, start, length, os.POSIX_FADV_DONTNEED)


def write_two(fd: int, first: Buffer, second: Buffer, position: int) -> None:
    """Write `first` and right behind it `second`, in one system call when the kernel takes it whole."""
    count = os.pwritev(fd, [first, second], position)
    if count == len(first) + len(second):
        return
    if count < len(first):
        write_all(fd, memoryview(first)[count:], position + count)
        count = len(first)
    write_all(fd, memoryview(second)[count - len(first) :], position + count)
