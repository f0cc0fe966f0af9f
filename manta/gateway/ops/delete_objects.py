"""DeleteObjects: up to a thousand keys in one request, each answered by itself."""

from xml.etree.ElementTree import Element

from manta.core.errors import MalformedXML, MantaError, NotImplementedHere
from manta.core.limits import DELETE_BATCH_MAX, XML_MAX_BYTES
from manta.core.names import check_bucket, check_key
from manta.gateway.access import Action, authorize
from manta.gateway.context import Context
from manta.gateway.http import xml
from manta.gateway.http.known_headers import CHECKSUM_HEADERS
from manta.gateway.http.request import Request
from manta.gateway.http.responses import Response, xml_response
from manta.gateway.router import Level, Route
from manta.gateway.whole_body import read_verified


async def delete_objects(context: Context, request: Request) -> Response:
    """Any integrity header, or none, is accepted; what is given is verified."""
    bucket = await context.catalog.get_bucket(check_bucket(request.bucket))
    authorize(request, Action.WRITE, bucket)
    root = xml.parse(await read_verified(request, XML_MAX_BYTES), "Delete")
    keys = [_key(element) for element in root.findall("Object")]
    if not 1 <= len(keys) <= DELETE_BATCH_MAX:
        raise MalformedXML(f"A Delete names 1 to {DELETE_BATCH_MAX} objects.")
    valid, errors = _sort_out(keys)
    if valid:
        await context.catalog.delete_objects(bucket.name, valid, bucket_id=bucket.id)
    quiet = (root.findtext("Quiet") or "").strip().lower() == "true"
    deleted = "" if quiet else "".join(f"<Deleted><Key>{xml.escape(key)}</Key></Deleted>" for key in valid)
    return xml_response(xml.document("DeleteResult", deleted + "".join(errors)))


def _key(element: Element) -> str:
    key = element.findtext("Key")
    if key is None:
        raise MalformedXML("An Object of the Delete has no Key.")
    version = element.findtext("VersionId")
    if version not in (None, "", "null"):
        raise NotImplementedHere("This store has no versioning, so VersionId cannot be honoured.")
    if any(element.find(name) is not None for name in ("ETag", "LastModifiedTime", "Size")):
        raise NotImplementedHere("Conditions on single objects of a Delete are not implemented here.")
    return key


def _sort_out(keys: list[str]) -> tuple[list[str], list[str]]:
    """The keys that may name objects, each once, and an Error element for each other."""
    valid: dict[str, None] = {}
    errors = []
    for key in keys:
        try:
            valid[check_key(key)] = None
        except MantaError as error:
            errors.append(
                f"<Error><Key>{xml.escape(key)}</Key><Code>{error.code}</Code>"
                f"<Message>{xml.escape(error.message)}</Message></Error>"
            )
    return list(valid), errors


ROUTES = (Route("DeleteObjects", delete_objects, "POST", Level.BUCKET, "delete", headers=CHECKSUM_HEADERS),)
