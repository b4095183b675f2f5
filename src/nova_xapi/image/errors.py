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
"""What can be wrong with an image, its way here, or the place it goes to.

Each is a kind of the exception that Nova's manager decides by: what derives from ``ImageUnacceptable``,
``InvalidDiskFormat`` or ``FlavorDiskTooSmall`` ends the build, everything else lets the scheduler try another host.
"""

from __future__ import annotations

from nova import exception


class UnsupportedImage(exception.InvalidDiskFormat):
    """The image's disk or container format is none that this driver takes."""


class ImageRefused(exception.ImageUnacceptable):
    """The image's bytes are not what its record says. ``name`` is a stable name for the reason."""

    def __init__(self, image_id: str, name: str, reason: str) -> None:
        super().__init__(image_id=image_id, reason=f"{reason} ({name})")
        self.image_id = image_id
        self.name = name


class ImageTooLarge(exception.FlavorDiskSmallerThanImage):
    """The image's virtual disk does not fit into the flavor's root disk. Sizes in bytes."""

    def __init__(self, image_id: str, image_size: int, flavor_size: int) -> None:
        super().__init__(flavor_size=flavor_size, image_size=image_size)
        self.image_id = image_id
        self.image_size = image_size
        self.flavor_size = flavor_size


class ImageFetchFailed(exception.CouldNotFetchImage):
    """Glance did not deliver the image: the connection broke off, or fewer bytes came than announced."""

    def __init__(self, image_id: str, reason: str) -> None:
        super().__init__(f"Could not fetch image {image_id}: {reason}", image_id=image_id)
        self.image_id = image_id


class StorageFull(exception.ComputeResourcesUnavailable):
    """The SR has no room for the image."""

    def __init__(self, image_id: str, sr: str, reason: str) -> None:
        super().__init__(reason=f"SR {sr} has no room for image {image_id}: {reason}")
        self.image_id = image_id
        self.sr = sr


class ImportFailed(exception.CouldNotFetchImage):
    """The host did not take the image's data."""

    def __init__(self, image_id: str, sr: str, reason: str) -> None:
        super().__init__(f"Could not import image {image_id} into SR {sr}: {reason}", image_id=image_id)
        self.image_id = image_id
        self.sr = sr


class ImportLost(exception.CouldNotFetchImage):
    """Another service took this import over, because it had seen no sign of life from this one for the whole lease."""

    def __init__(self, image_id: str, sr: str) -> None:
        super().__init__(
            f"Import of image {image_id} into SR {sr} was taken over by another service", image_id=image_id
        )
        self.image_id = image_id
        self.sr = sr


#: says something about the image itself, whoever asks for it
VERDICTS = (ImageRefused, UnsupportedImage)
