"""The Python client: objects through boto3, jobs through signed JSON calls. Imports no server code."""

from manta.sdk.jobs import Job
from manta.sdk.objects import ObjectInfo, Objects
from manta.sdk.session import Session, find_session
from manta.sdk.store import Store, connect

__all__ = ["Job", "ObjectInfo", "Objects", "Session", "Store", "connect", "find_session"]
