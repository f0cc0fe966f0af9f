"""Errors as replies: S3's XML, or JSON under `/_manta/`."""

from manta.core.errors import InvalidRange, MantaError, ServiceUnavailable, SlowDown, UpgradeRequired
from manta.gateway.http.responses import XML, Response, json_response
from manta.gateway.http.xml import error_document


def error_reply(error: MantaError, resource: str, request_id: str, *, json: bool) -> Response:
    """The reply for an error; HEAD requests get its status and headers only (the sender leaves the body out)."""
    headers: dict[str, str] = {}
    if isinstance(error, UpgradeRequired):
        headers |= {"Upgrade": "websocket", "Sec-WebSocket-Version": "13"}
    if isinstance(error, ServiceUnavailable | SlowDown):
        headers["Retry-After"] = "1"
    if isinstance(error, InvalidRange) and "ActualObjectSize" in error.details:
        headers["Content-Range"] = f"bytes */{error.details['ActualObjectSize']}"
    if "Region" in error.details:
        headers["x-amz-bucket-region"] = error.details["Region"]
    if json:
        body = {"error": {"code": error.code, "message": error.message, "request_id": request_id, **error.details}}
        return json_response(body, error.status, headers)
    text = error_document(error, resource, request_id)
    return Response(error.status, headers, text.encode("utf-8", "replace"), XML)
