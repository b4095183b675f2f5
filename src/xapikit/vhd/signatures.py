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
"""What other disk image formats start with: to refuse an image that is not what it claims to be.

A tool that guesses formats would take such bytes for more than the disk they are said to be (a qcow2 header in a "raw"
image can name any file of the machine as its backing file). Only marks that no bootable disk starts with are here: a
LUKS volume or a tar archive may well be the content of a raw disk.
"""

_MARKS: tuple[tuple[int, bytes, str], ...] = (
    (0, b"QFI\xfb", "qcow"),
    (0, b"QED\0", "qed"),
    (0, b"KDMV", "vmdk"),
    (0, b"COWD", "vmdk"),
    (0, b"# Disk DescriptorFile", "vmdk"),
    (0, b"# Disk Descriptor File", "vmdk"),
    (0, b"conectix", "vhd"),
    (0, b"vhdxfile", "vhdx"),
    (64, b"\x7f\x10\xda\xbe", "vdi"),
    (0, b"WithoutFreeSpace", "parallels"),
    (0, b"WithouFreSpacExt", "parallels"),
    (0, b"Bochs Virtual HD Image", "bochs"),
    (0, b"\x1f\x8b\x08", "gzip"),
    (0, b"\xfd7zXZ\0", "xz"),
    (0, b"\x28\xb5\x2f\xfd", "zstd"),
    (4, b"1AY&SY", "bzip2"),
    (0, b"PK\x03\x04", "zip"),
)

#: how many bytes of the front `foreign_format` looks at
HEAD = 68


def foreign_format(head: bytes | bytearray | memoryview) -> str | None:
    """The name of the format that these first bytes belong to, None when they may be a plain disk."""
    data = bytes(head[:HEAD])
    return next((name for offset, mark, name in _MARKS if data.startswith(mark, offset)), None)
