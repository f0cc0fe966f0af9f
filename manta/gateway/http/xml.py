"""S3's XML: replies built by joining strings, requests read with a bound and without any DOCTYPE."""

import time
from xml.etree import ElementTree as Tree
from xml.parsers import expat

from manta.core.errors import MalformedXML, MantaError
from manta.core.limits import XML_DEPTH_MAX, XML_ELEMENTS_MAX

NAMESPACE = "http://s3.amazonaws.com/doc/2006-03-01/"
HEADER = '<?xml version="1.0" encoding="UTF-8"?>\n'
_ENCODINGS = frozenset({"utf-8", "utf-16", "iso-8859-1", "us-ascii"})
"""Those that expat reads by itself; for any other it would look among all of Python's codecs."""

_ESCAPES = {
    code: f"&#{code};" for code in (*range(0x20), 0x7F)
}  # Not all are legal in XML 1.0, even so: S3 sends them this way too, which is why encoding-type=url exists.
_ESCAPES |= {ord("&"): "&amp;", ord("<"): "&lt;", ord(">"): "&gt;", ord('"'): "&quot;"}
_PLAIN = frozenset('&<>"\x7f') | frozenset(map(chr, range(0x20)))


def escape(text: str) -> str:
    """Character data; a text without anything special is returned as it is."""
    return text if _PLAIN.isdisjoint(text) else text.translate(_ESCAPES)


def timestamp(epoch_ms: int) -> str:
    """ISO 8601 with milliseconds, as S3's bodies carry it."""
    return f"{second(epoch_ms // 1000)}.{epoch_ms % 1000:03d}Z"


def second(epoch_s: int) -> str:
    """The part of a timestamp before its fraction."""
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(epoch_s))


def document(root: str, content: str) -> str:
    return f'{HEADER}<{root} xmlns="{NAMESPACE}">{content}</{root}>'


def error_document(error: MantaError, resource: str, request_id: str) -> str:
    """https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html"""
    details = "".join(f"<{name}>{escape(value)}</{name}>" for name, value in error.details.items())
    return (
        f"{HEADER}<Error><Code>{error.code}</Code><Message>{escape(error.message)}</Message>{details}"
        f"<Resource>{escape(resource)}</Resource><RequestId>{request_id}</RequestId></Error>"
    )


def parse(body: bytes, root: str) -> Tree.Element:
    """The document, its namespaces taken off; MalformedXML unless it is well formed, shallow and named `root`."""
    builder = Tree.TreeBuilder()
    parser = expat.ParserCreate(namespace_separator="}")
    depth = elements = 0

    def declaration(_version: str, encoding: str | None, _standalone: int) -> None:
        if encoding is not None and encoding.lower() not in _ENCODINGS:
            raise MalformedXML(f"The XML of the request is in {encoding[:40]!r}; UTF-8 is needed.")

    def start(name: str, attributes: dict[str, str]) -> None:
        nonlocal depth, elements
        depth += 1
        elements += 1
        if elements > XML_ELEMENTS_MAX:
            raise MalformedXML(f"The XML of the request has more than {XML_ELEMENTS_MAX} elements.")
        if depth > XML_DEPTH_MAX:
            raise MalformedXML("The XML of the request is nested too deeply.")
        builder.start(name.rpartition("}")[2], {key.rpartition("}")[2]: value for key, value in attributes.items()})

    def end(name: str) -> None:
        nonlocal depth
        depth -= 1
        builder.end(name.rpartition("}")[2])

    def refuse_doctype(*_: object) -> None:
        raise MalformedXML("The XML of the request has a DOCTYPE; none is accepted.")

    parser.XmlDeclHandler = declaration
    parser.StartElementHandler = start
    parser.EndElementHandler = end
    parser.CharacterDataHandler = builder.data
    parser.StartDoctypeDeclHandler = refuse_doctype
    parser.EntityDeclHandler = refuse_doctype
    try:
        parser.Parse(body, True)
    except (expat.ExpatError, ValueError, LookupError):
        raise MalformedXML from None
    element = builder.close()
    if element.tag != root:
        raise MalformedXML(f"The XML of the request is a <{element.tag[:40]}>; <{root}> is needed.")
    return element
