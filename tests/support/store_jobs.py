"""Jobs on a running store: what they are made of, their end, and what came out of them."""

from manta.sdk import Job, Store

Phase = dict[str, object]


def map_phase(command: str, **properties: object) -> Phase:
    return {"type": "map", "exec": command, **properties}


def reduce_phase(command: str, **properties: object) -> Phase:
    return {"type": "reduce", "exec": command, **properties}


def fill_bucket(store: Store, name: str, objects: dict[str, bytes]) -> None:
    """A new one."""
    store.make_bucket(name)
    for key, data in objects.items():
        store.write(f"s3://{name}/{key}", data)


def await_done(job: Job) -> Job:
    """Once it is, whether or not inputs failed."""
    status = job.wait(timeout_s=100)
    assert status.state == "done", status
    return job


def outputs_of(store: Store, job: Job) -> list[bytes]:
    return [store.read(f"s3://{line['bucket']}/{line['key']}") for line in job.outputs()]
