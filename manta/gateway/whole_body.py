"""Small bodies (XML, JSON) as clients send them: read whole, and what their integrity headers say is verified."""

from manta.core import checksums
from manta.core.errors import BadDigest
from manta.gateway.datapath.ingest import read_claims
from manta.gateway.http.request import Request


async def read_verified(request: Request, max_bytes: int) -> bytes:
    """Any integrity header, or none, is accepted. BadDigest when the body is not what it says."""
    body = await request.body.read(max_bytes)
    claims = read_claims(request.headers)
    md5 = checksums.new_md5()
    md5.update(body)
    if claims.md5 is not None and claims.md5 != md5.digest():
        raise BadDigest
    claimed = claims.checksum
    if claims.trailer:
        text = request.body.trailers.get(claims.algorithm.header)
        claimed = checksums.decode(text, claims.algorithm.digest_size) if text is not None else None
        if claimed is None:
            raise BadDigest("The announced checksum trailer did not come.")
    if claimed is not None:
        digest = checksums.new(claims.algorithm)
        digest.update(body)
        if digest.digest() != claimed:
            raise BadDigest
    return body
