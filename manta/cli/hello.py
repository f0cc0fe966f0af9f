"""`manta hello`: a sample goes in, a job runs over it, the answer comes out; proof that everything works."""

import secrets
from collections import Counter

from manta.cli import output
from manta.cli.exit_codes import FAILED
from manta.core.errors import MantaError
from manta.sdk import Store, connect

_VERSES = {
    "moon.txt": "the moon came up\nthe sea lay still\n",
    "manta.txt": "the manta came up from the deep\nto look at the moon\n",
    "sea.txt": "still the sea\nstill the deep\n",
}
_MAP = "tr -cs 'a-z' '\\n' | grep ."
_REDUCE = "sort | uniq -c | sort -k1,1nr -k2 | head -3"


def hello() -> None:
    """Upload a sample, run a job on it where it lies, print the answer, and clean up."""
    console = output.console()
    bucket = f"hello-{secrets.token_hex(4)}"
    with connect() as store:
        console.print(f"store      {store.session.url}")
        store.make_bucket(bucket)
        try:
            answer = _count_words(store, bucket)
        finally:
            store.remove_many(bucket, list(_VERSES))
            store.remove_bucket(bucket)
    expected = Counter(" ".join(_VERSES.values()).split()).most_common(1)[0]
    output.lines(answer.rstrip("\n"))
    if answer.split()[:2] != [str(expected[1]), expected[0]]:
        raise HelloFailedError(f"The job answered {answer!r}; {expected[0]} stands {expected[1]} times in the sample.")
    console.print("[green]everything works[/]")


def _count_words(store: Store, bucket: str) -> str:
    for name, verse in _VERSES.items():
        store.write(f"s3://{bucket}/{name}", verse.encode())
    output.console().print(f"uploaded   {len(_VERSES)} objects to s3://{bucket}")
    result = store.objects(f"s3://{bucket}/*.txt").sh(_MAP, reduce=_REDUCE, name="hello")
    answer = result.text()
    status = result.job.status()
    output.console().print(
        f"job        {status.id}: {output.size_text(status.input_bytes_in_place)} read in place, "
        f"{output.size_text(status.input_bytes_moved)} moved"
    )
    result.job.delete()
    return answer


class HelloFailedError(MantaError):
    """The store answered, but wrongly."""

    code = "HelloFailed"
    status = FAILED
