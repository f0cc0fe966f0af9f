"""GetObjectTagging: no object here has tags, and a client that copies them along needs to hear that."""

from manta.core.errors import NoSuchVersion
from manta.core.names import check_bucket, check_key
from manta.gateway.access import Action, authorize, visible
from manta.gateway.context import Context
from manta.gateway.http import xml
from manta.gateway.http.request import Request
from manta.gateway.http.responses import Response, xml_response
from manta.gateway.router import Level, Route


async def get_object_tagging(context: Context, request: Request) -> Response:
    """Version 2 of the aws command asks for it before every copy in parts, and gives the copy up without an answer."""
    located = await context.catalog.locate(check_bucket(request.bucket), check_key(request.key))
    authorize(request, Action.GET, located.bucket, request.key)
    if request.query.get("versionId", "null") != "null":
        raise NoSuchVersion
    visible(request.principal, located, request.key)
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
