"""GetObjectTagging: no object here has tags, and a client that copies them along needs to hear that."""

from manta.gateway.context import Context
from manta.gateway.http import xml
from manta.gateway.http.request import Request
from manta.gateway.http.responses import Response, xml_response
from manta.gateway.ops.reads import find_version
from manta.gateway.router import Level, Route


async def get_object_tagging(context: Context, request: Request) -> Response:
    """Version 2 of the aws command asks for it before every copy in parts, and gives the copy up without an answer."""
    await find_version(context, request)
    return xml_response(xml.document("Tagging", "<TagSet></TagSet>"))


ROUTES = (
    Route(
        "GetObjectTagging",
        get_object_tagging,
        "GET",
        Level.OBJECT,
        "tagging",
        query=frozenset({"versionId"}),
    ),
)
