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
"""Which request goes where: by method and longest registered prefix of the undecoded path (wire reference 1.1).

Calls go to :mod:`~xapikit.host.server.rpc`, transfers and consoles to the handlers of the registry, after their
caller was authenticated; the handler's task ends as the handler ends.
"""

from __future__ import annotations

import base64
import binascii
import logging
from collections.abc import Callable, Mapping
from typing import TypeAlias

from xapikit.host.context import Context, TaskHandle
from xapikit.host.errors import ApiError
from xapikit.host.faults import Faults
from xapikit.host.members import Standing
from xapikit.host.pool import Pool
from xapikit.host.registry import handlers, is_public
from xapikit.host.server.audit import is_audited
from xapikit.host.server.http import (
    ConnectionClosed,
    HttpConnection,
    HttpError,
    HttpRequest,
    forbidden,
    internal_error,
    not_found,
    not_supported,
    unauthorised,
)
from xapikit.host.server.rpc import Rpc
from xapikit.model import MODEL, NULL_REF

LOG = logging.getLogger(__name__)

EMBEDDED = "/_embedded"
Control: TypeAlias = Callable[[HttpRequest, HttpConnection], bool]

_OPTIONS_HEADERS = (
    ("connection", "keep-alive"),
    ("cache-control", "no-cache, no-store"),
    ("Access-Control-Allow-Origin", "*"),
    ("Access-Control-Allow-Headers", "X-Requested-With"),
    ("Access-Control-Allow-Methods", "PUT"),
)
_WELCOME = (
    "<html><head><title>Embedded XAPI host</title></head><body><h1>Embedded XAPI host</h1>"
    "<p>This server speaks XenAPI: XML-RPC on <code>/</code>, JSON-RPC on <code>/jsonrpc</code>.</p></body></html>"
)
# handlers whose realm is not the name of their action
_REALMS = {"get_blob": "Blob handler", "put_blob": "Blob handler"}


class Router:
    """Serves every request that is addressed to a pool."""

    def __init__(self, pool: Pool, rpc: Rpc, faults: Faults, control: Control) -> None:
        self._pool = pool
        self._rpc = rpc
        self._faults = faults
        self._control = control
        self._routes = _routes()

    def serve(self, request: HttpRequest, connection: HttpConnection, host: str) -> bool:
        """Answer one request addressed to ``host`` (a reference); True when the connection may be kept."""
        path = request.path
        if path == EMBEDDED or path.startswith(EMBEDDED + "/"):
            return self._control(request, connection)
        if request.method == "OPTIONS":
            connection.reply("200 OK", _OPTIONS_HEADERS, version=request.version)
            return request.keep_alive
        routes = self._routes.get(request.method)
        if routes is None:
            raise not_supported(request.method)
        action = next((action for prefix, action in routes if path.startswith(prefix)), None)
        if action == "post_root":
            return self._rpc.xml(request, connection, host)
        if action == "post_jsonrpc":
            return self._rpc.json(request, connection, host)
        if action == "get_root":
            return self._web_site(request, connection)
        if action is None:
            raise forbidden()
        return self._handle(action, request, connection, host)

    @staticmethod
    def _web_site(request: HttpRequest, connection: HttpConnection) -> bool:
        if not request.https:
            raise forbidden()
        if request.path not in ("/", "/index.html"):
            raise not_found()
        headers = [("connection", "keep-alive" if request.keep_alive else "close"), ("content-type", "text/html")]
        connection.reply("200 OK", headers, _WELCOME.encode(), version=request.version)
        return request.keep_alive

    def _handle(self, action: str, request: HttpRequest, connection: HttpConnection, host: str) -> bool:
        function = handlers().get(action)
        if host != self._pool.coordinator:
            standing = self._pool.standing(host)
            if standing in (Standing.EMERGENCY, Standing.BOOTING):
                raise internal_error(_NO_POOL[standing])
        verdict = self._faults.transfer_received(action, host, request.query)
        verdict.delay()
        if verdict.cut_before:
            connection.cut()
            return False
        if verdict.cut_during is not None:
            connection.cut_after(verdict.cut_during)
        session, temporary = self._authenticate(action, request, host)
        try:
            if session != NULL_REF and action not in MODEL.http_no_rbac:
                try:
                    self._pool.sessions.require(session, f"http/{action}", _ROLES[action])
                except ApiError as denied:
                    self._pool.audit.transfer(session, action, denied)
                    raise forbidden() from None
            task = self._task(action, request, session, host)
            if function is None:
                self._fail(task, ApiError("NOT_IMPLEMENTED", action))
                raise not_found(f"{action} is not served by this host")
            context = Context(
                self._pool,
                session,
                task,
                host,
                f"http/{action}",
                client_address=request.client_address,
                https=request.https,
            )
            if verdict.error is not None:
                error = ApiError(*verdict.error)
                self._fail(task, error)
                raise internal_error(str(error))
            try:
                self._run(lambda: function(request, connection, context), task, connection)
            finally:
                if is_audited(_ROLES[action]):
                    self._pool.audit.transfer(session, action, task.failure, task.ref)
        finally:
            if temporary:
                self._pool.sessions.logout(session)
        if verdict.cut_after:
            connection.cut()
            return False
        return connection.keep and request.keep_alive

    def _run(self, handle: Callable[[], None], task: TaskHandle, connection: HttpConnection) -> None:
        try:
            handle()
        except HttpError as error:
            if not error.task_goes_on:
                self._fail(task, error.cause or ApiError("INTERNAL_ERROR", error.status))
            if not connection.replied:
                raise
        except ApiError as error:
            self._fail(task, error)
            if not connection.replied:
                raise internal_error(f"{error.code}: [ {'; '.join(error.params)} ]") from None
            connection.keep = False
        except ConnectionClosed as error:
            self._fail(task, ApiError("INTERNAL_ERROR", f"connection closed: {error}"))
            raise
        except Exception as error:
            LOG.exception("a handler failed")
            self._fail(task, ApiError("INTERNAL_ERROR", f"{type(error).__name__}: {error}"))
            if not connection.replied:
                raise internal_error(type(error).__name__) from error
            connection.keep = False
        else:
            if task.ref != NULL_REF:
                self._pool.tasks.succeed(task, task.result)

    def _fail(self, task: TaskHandle, error: ApiError) -> None:
        task.failure = error
        if task.ref != NULL_REF:
            self._pool.tasks.fail(task, error)

    def _task(self, action: str, request: HttpRequest, session: str, host: str) -> TaskHandle:
        """The task a transfer runs under: the client's, or one of the server's own where the action has any."""
        given = request.argument("task_id")
        if given is not None:
            try:
                return self._pool.tasks.adopt(given)
            except ApiError:
                raise internal_error(f'Db_exn.DBCache_NotFound("missing row", "task", "{given}")') from None
        label = _TASK_LABELS.get(action)
        if label is not None:
            return self._pool.tasks.start(label, host=host, session=session)
        return TaskHandle(self._pool.store)

    def _authenticate(self, action: str, request: HttpRequest, host: str) -> tuple[str, bool]:
        """The session of a request, and whether it was made for this request alone. Raises HttpError 401."""
        session = request.argument("session_id")
        if session is not None:
            try:
                self._pool.sessions.check(session)
            except ApiError:
                raise _unauthorised(action) from None
            return session, False
        credentials = basic_credentials(request)
        if credentials is not None:
            try:
                user, password = credentials
                return self._pool.sessions.login(user, password, request.headers.get("user-agent", ""), host), True
            except ApiError:
                raise _unauthorised(action) from None
        if is_public(action):
            return NULL_REF, False
        raise _unauthorised(action)


def basic_credentials(request: HttpRequest) -> tuple[str, str] | None:
    """User and password of ``Authorization: Basic``; None when absent or malformed."""
    scheme, _, encoded = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        user, colon, password = base64.b64decode(encoded.strip(), validate=True).decode("utf-8").partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return None
    return (user, password) if colon else None


def _unauthorised(action: str) -> HttpError:
    return unauthorised(_REALMS.get(action, action))


_NO_POOL = {Standing.EMERGENCY: "HOST_IN_EMERGENCY_MODE: [ ]", Standing.BOOTING: "HOST_STILL_BOOTING: [ ]"}
_ROLES = {spec.action: spec.role for spec in MODEL.http_handlers}
# what shows up as a task even when its client made none; the labels are those of a host
_TASK_LABELS = {
    "put_import_raw_vdi": "Importing raw VDI",
    "get_export_raw_vdi": "Exporting raw VDI",
    "put_import": "VM.import",
    "put_import_metadata": "VM.metadata_import",
    "get_export": "VM.export",
    "get_export_metadata": "VM.export_metadata",
    "get_vncsnapshot": "Taking snapshot of VM console",
    "get_pool_xml_db_sync": "Dumping database as XML",
    "put_pool_xml_db_sync": "Reading database as XML",
    "get_host_backup": "Downloading host backup",
    "put_host_restore": "Uploading host backup",
    "get_host_logs_download": "Downloading host logs",
    "get_system_status": "Retrieving system status",
    "get_audit_log": "audit_log_get request",
    "put_pool_patch_upload": "Uploading update",
}


def _routes() -> Mapping[str, list[tuple[str, str]]]:
    """Per HTTP method: prefixes and actions, longest prefix first."""
    routes: dict[str, list[tuple[str, str]]] = {}
    for spec in MODEL.http_handlers:
        # an observed host has no JSON on /json, and /RPC2 is what / is
        action = "post_root" if spec.action in ("post_json", "post_RPC2") else spec.action
        routes.setdefault(spec.method, []).append((spec.path, action))
    return {method: sorted(found, key=lambda route: -len(route[0])) for method, found in routes.items()}
