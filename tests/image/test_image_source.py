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
"""Image data comes through Nova's own client of Glance, and what goes wrong there is told by name."""

import os

import pytest
from nova import exception
from nova.context import RequestContext

from glance_server import GlanceServer
from nova_xapi.image.description import describe
from nova_xapi.image.errors import ImageFetchFailed, ImageRefused
from nova_xapi.image.source import GlanceSource
from nova_xapi.image.stages import Verified

SOURCE = GlanceSource()


def test_record_and_data_arrive(glance: GlanceServer, context: RequestContext) -> None:
    data = os.urandom(3_000_000)
    offered = glance.add(data, "raw")
    image = describe(SOURCE.record(context, offered.id))
    assert [claim.algorithm for claim in image.claims] == ["sha512", "md5"]
    body = SOURCE.open(context, offered.id)
    assert b"".join(Verified(body, image, hashing=not body.verifies_itself)) == data


def test_the_hash_is_computed_once_by_the_client_or_by_us(glance: GlanceServer, context: RequestContext) -> None:
    assert SOURCE.open(context, glance.add(b"data", "raw").id).verifies_itself
    assert not SOURCE.open(context, glance.add(b"data", "raw", hashed=False).id).verifies_itself


def test_a_lying_hash_is_a_refused_image(glance: GlanceServer, context: RequestContext) -> None:
    offered = glance.add(b"data", "raw", os_hash_value="0" * 128)
    with pytest.raises(ImageRefused, match="Corrupt image download"):
        list(SOURCE.open(context, offered.id))
    assert issubclass(ImageRefused, exception.ImageUnacceptable), "Nova must not try another host"


def test_a_cut_stream_is_a_failed_fetch(glance: GlanceServer, context: RequestContext) -> None:
    offered = glance.add(os.urandom(3_000_000), "raw")
    offered.cut_after = 1_500_000
    with pytest.raises(ImageFetchFailed, match="broke off"):
        list(SOURCE.open(context, offered.id))
    assert issubclass(ImageFetchFailed, exception.CouldNotFetchImage)


def test_missing_images_and_missing_data_are_told_apart(glance: GlanceServer, context: RequestContext) -> None:
    with pytest.raises(exception.ImageNotFound):
        SOURCE.record(context, "2c4c3cd5-96b9-4f09-a74e-9f51dc8b4df5")
    offered = glance.add(b"data", "raw")
    offered.data_status = 204
    with pytest.raises(ImageRefused, match="no-data"):
        SOURCE.open(context, offered.id)
    offered.data_status = 404
    with pytest.raises(exception.ImageNotFound):
        SOURCE.open(context, offered.id)


def test_a_body_can_be_given_up(glance: GlanceServer, context: RequestContext) -> None:
    offered = glance.add(os.urandom(50_000_000), "raw")
    body = SOURCE.open(context, offered.id)
    next(iter(body))
    body.close()
    assert list(body) == []
