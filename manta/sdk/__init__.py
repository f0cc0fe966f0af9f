"""The Python client: objects through boto3, jobs through signed JSON calls. Imports no server code."""

from manta.sdk.failures import JobFailedError
from manta.sdk.jobs import Job
from manta.sdk.objects import ObjectInfo, Objects
from manta.sdk.session import Session, find_session
from manta.sdk.store import Store, connect
from manta.sdk.values import Values

__all__ = ["Job", "JobFailedError", "ObjectInfo", "Objects", "Session", "Store", "Values", "connect", "find_session"]
