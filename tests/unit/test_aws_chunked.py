"""The aws-chunked decoder against AWS's published examples, real clients' framing, and one refusal after another."""

import io

import pytest
from botocore.httpchecksum import AwsChunkedWrapper, Crc32Checksum

from manta.auth import sigv4
from manta.auth.aws_chunked import ChunkedBody, ChunkSigner
from manta.auth.body import Data, End, Event, Trailers
from manta.auth.payload import PayloadKind
from manta.core import errors
from manta.core.limits import CHUNK_HEADER_MAX_BYTES, CHUNK_MAX_BYTES, TRAILER_MAX_BYTES
from tests.support.auth import SECRET_KEY, chunked_wire, signed_chunks, verify_now
from tests.support.auth import sign_for as sign

S1 = pytest.mark.invariant("S1")
S3 = pytest.mark.invariant("S3")
EXAMPLE = sigv4.signer(SECRET_KEY, sigv4.Scope("20130524", "us-east-1", "s3"), "20130524T000000Z")
CRC32C = "x-amz-checksum-crc32c"


def run(decoder: ChunkedBody, wire: bytes) -> tuple[bytes, dict[str, str]]:
    events: list[Event] = [*decoder.feed(wire), *decoder.finish()]
    assert events[-1] == End()
    data = b"".join(event.data for event in events if isinstance(event, Data))
    return data, {name: value for event in events if isinstance(event, Trailers) for name, value in event.fields}


def unsigned(length: int, *trailers: str) -> ChunkedBody:
    return ChunkedBody(length, None, trailers)


@pytest.mark.parametrize("ending", ["\r\n", "\n\r\n"])
def test_published_example_of_signed_trailers(ending: str) -> None:
    """sigv4-streaming-trailers.html; the page shows LF CRLF after the field, its SDKs send CRLF."""
    wire = (
        b"10000;chunk-signature=b474d8862b1487a5145d686f57f013e54db672cee1c953b3010fb58501ef5aa2\r\n"
        + b"a" * 65536
        + b"\r\n400;chunk-signature=1c1344b170168f8e65b41376b44b20fe354e373826ccbbe2c1d40a8cae51e5c7\r\n"
        + b"a" * 1024
        + b"\r\n0;chunk-signature=2ca2aba2005185cf7159c6277faf83795951dd77a3a99e6e65d5c9f85863f992\r\n"
        + f"{CRC32C}:sOO8/Q=={ending}".encode()
        + b"x-amz-trailer-signature:d81f82fc3505edab99d459891051a732e8730629a2e4a59689829ca17fe2e435\r\n\r\n"
    )
    chain = ChunkSigner(EXAMPLE, "106e2a8a18243abcf37539882f36619c00e2dfc72633413f02d3b74544bfeb8e")
    assert run(ChunkedBody(66560, chain, (CRC32C,)), wire) == (b"a" * 66560, {CRC32C: "sOO8/Q=="})


def test_published_example_of_signed_chunks() -> None:
    """sigv4-streaming.html"""
    wire = (
        b"10000;chunk-signature=ad80c730a21e5b8d04586a2213dd63b9a0e99e0e2307b0ade35a65485a288648\r\n"
        + b"a" * 65536
        + b"\r\n400;chunk-signature=0055627c9e194cb4542bae2aa5492e3c1575bbb81b612b7d234b86a503ef5497\r\n"
        + b"a" * 1024
        + b"\r\n0;chunk-signature=b6c6ea8a5354eaf15b3cb7646744f4275b71ea724fed81ceb9323e279d449df9\r\n\r\n"
    )
    chain = ChunkSigner(EXAMPLE, "4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9")
    assert run(ChunkedBody(66560, chain, None), wire) == (b"a" * 66560, {})


@pytest.mark.parametrize("size", [0, 1, 3_000_000])
def test_botocores_own_unsigned_trailer(size: int) -> None:
    body = bytes(size)
    wire = AwsChunkedWrapper(io.BytesIO(body), Crc32Checksum, "x-amz-checksum-crc32").read()
    checksum = Crc32Checksum()
    checksum.update(body)
    expected = {"x-amz-checksum-crc32": checksum.b64digest()}
    assert run(unsigned(size, "x-amz-checksum-crc32"), wire) == (body, expected)


def test_framing_of_minio_clients() -> None:
    wire = b"5\r\nhello\r\n0\r\nx-amz-checksum-crc32:AAAAAA==\nx-amz-checksum-sha1:x\n\r\n\r\n"
    trailers = {"x-amz-checksum-crc32": "AAAAAA==", "x-amz-checksum-sha1": "x"}
    assert run(unsigned(5, *trailers), wire) == (b"hello", trailers)


def test_a_trailer_form_without_trailers() -> None:
    assert run(unsigned(5), b"5\r\nhello\r\n0\r\n\r\n") == (b"hello", {})


def test_every_streaming_form_from_request_to_end() -> None:
    for kind in (PayloadKind.SIGNED_CHUNKS, PayloadKind.SIGNED_CHUNKS_TRAILER, PayloadKind.UNSIGNED_CHUNKS_TRAILER):
        headers = {"x-amz-decoded-content-length": "11"}
        trailers = {} if kind is PayloadKind.SIGNED_CHUNKS else {CRC32C: "AAAAAA=="}
        if trailers:
            headers["x-amz-trailer"] = CRC32C
        identity = verify_now(sign("PUT", headers=headers, payload=kind))
        policy = identity.payload
        assert policy.kind.chunked
        assert policy.decoded_length == 11
        assert policy.hashes is (kind is not PayloadKind.UNSIGNED_CHUNKS_TRAILER)
        wire = chunked_wire([b"hello ", b"world"], policy.signer, policy.seed, trailers, kind)
        decoder = policy.decoder()
        assert isinstance(decoder, ChunkedBody)
        assert run(decoder, wire) == (b"hello world", trailers)
        assert policy.decode(wire) == b"hello world"


def test_data_is_a_view_of_what_was_fed() -> None:
    wire = b"5\r\nhello\r\n0\r\n\r\n"
    (event,) = unsigned(5).feed(wire)
    assert isinstance(event, Data)
    assert isinstance(event.data, memoryview)
    assert event.data.obj is wire


OK = b"5\r\nhello\r\n0\r\n"
REFUSED = {
    "longer than declared": (b"6\r\nhello!\r\n0\r\n\r\n", errors.BadRequest),
    "shorter than declared": (b"4\r\nhell\r\n0\r\n\r\n", errors.IncompleteBody),
    "cut in data": (b"5\r\nhel", errors.IncompleteBody),
    "cut after data": (b"5\r\nhello", errors.IncompleteBody),
    "cut before the last chunk": (b"5\r\nhello\r\n", errors.IncompleteBody),
    "cut before the trailers": (OK, errors.IncompleteBody),
    "cut in the trailers": (OK + b"x-amz-checksum-crc32:AAAAAA==\r\n", errors.IncompleteBody),
    "nothing": (b"", errors.IncompleteBody),
    "declared trailer missing": (OK + b"\r\n", errors.MalformedTrailer),
    "trailer twice": (OK + b"x-amz-checksum-crc32:A\r\n" * 2 + b"\r\n", errors.MalformedTrailer),
    "undeclared trailer": (OK + b"x-amz-acl:public-read\r\n\r\n", errors.MalformedTrailer),
    "a signature where none is": (OK + b"x-amz-trailer-signature:00\r\n\r\n", errors.MalformedTrailer),
    "no trailer at all": (OK + b"garbage\r\n\r\n", errors.MalformedTrailer),
    "bytes beyond the end": (OK + b"x-amz-checksum-crc32:A\r\n\r\n0", errors.BadRequest),
    "data without its end": (b"5\r\nhelloXX0\r\n\r\n", errors.BadRequest),
    "size that is no number": (b"z\r\n", errors.BadRequest),
    "negative size": (b"-5\r\nhello\r\n", errors.BadRequest),
    "size with a plus": (b"+5\r\nhello\r\n", errors.BadRequest),
    "size with 0x": (b"0x5\r\nhello\r\n", errors.BadRequest),
    "no size": (b"\r\n", errors.BadRequest),
    "huge size": (b"f" * 16 + b"\r\n", errors.BadRequest),
    "extension of an unsigned chunk": (b"5;a=b\r\nhello\r\n", errors.BadRequest),
    "bare LF": (b"5\nhello\n0\n\n" + bytes(CHUNK_HEADER_MAX_BYTES), errors.BadRequest),
    "endless header": (b"0" * (CHUNK_HEADER_MAX_BYTES + 2), errors.BadRequest),
    "endless trailer": (OK + b"x" * (TRAILER_MAX_BYTES + 2), errors.BadRequest),
}


@S1
@S3
@pytest.mark.parametrize("name", REFUSED)
def test_refused(name: str) -> None:
    wire, error = REFUSED[name]
    decoder = unsigned(5, "x-amz-checksum-crc32")
    with pytest.raises(error):
        run(decoder, wire)
    with pytest.raises(errors.MantaError):
        decoder.finish()
    with pytest.raises(errors.MantaError):
        decoder.feed(b"0\r\n\r\n")


@S3
def test_many_small_trailers_are_bounded_together() -> None:
    decoder = unsigned(0, *[f"x-{number}" for number in range(1000)])
    with pytest.raises(errors.BadRequest):
        decoder.feed(b"0\r\n" + b"".join(b"x-%d:0123456789\r\n" % number for number in range(1000)))


@S3
def test_signed_chunks_have_a_largest_size() -> None:
    decoder = ChunkedBody(2 * CHUNK_MAX_BYTES, ChunkSigner(EXAMPLE, "0" * 64), None)
    with pytest.raises(errors.EntityTooLarge):
        decoder.feed(b"%x;chunk-signature=%s\r\n" % (CHUNK_MAX_BYTES + 1, b"0" * 64))


@S1
def test_signed_form_takes_no_unsigned_chunk_and_no_unsigned_trailer() -> None:
    with pytest.raises(errors.BadRequest):
        ChunkedBody(5, ChunkSigner(EXAMPLE, "0" * 64), None).feed(b"5\r\nhello\r\n0\r\n\r\n")
    kind = PayloadKind.SIGNED_CHUNKS_TRAILER
    wire = chunked_wire([b"hello"], EXAMPLE, "0" * 64, {CRC32C: "AAAAAA=="}, kind)
    cut = wire[: wire.index(b"x-amz-trailer-signature")] + b"\r\n"
    decoder = ChunkedBody(5, ChunkSigner(EXAMPLE, "0" * 64), (CRC32C,))
    with pytest.raises(errors.SignatureDoesNotMatch):
        decoder.feed(cut)


@S1
def test_chunks_cannot_be_reordered_dropped_or_taken_from_another_upload() -> None:
    first, second, last = signed_chunks([b"hello ", b"world "], EXAMPLE, "1" * 64)
    for wire, seed in (
        (second + first + last, "1" * 64),
        (first + last, "1" * 64),
        (first + first + last, "1" * 64),
        (first + second + last, "2" * 64),
    ):
        decoder = ChunkedBody(12, ChunkSigner(EXAMPLE, seed), None)
        with pytest.raises(errors.MantaError):
            run(decoder, wire + b"\r\n")
    assert run(ChunkedBody(12, ChunkSigner(EXAMPLE, "1" * 64), None), first + second + last + b"\r\n")
