"""aws, rclone, s3cmd and curl put, list, read and delete, and carry a tree of files both ways."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
import urllib3

from tests.support.compat import (
    Endpoint,
    client_environment,
    debian_command,
    plant_tree,
    refused,
    run,
    sums_in,
    sums_of,
)

pytestmark = [pytest.mark.timeout(300)]

AWS_CLI = "awscli==1.46.3"


@pytest.fixture(scope="session")
def aws() -> str:
    """aws-cli v1, in an environment of its own because it pins botocore."""
    return str(client_environment("aws", AWS_CLI) / "aws")


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    folder = tmp_path_factory.mktemp("tree")
    return folder, plant_tree(folder)


def test_aws_carries_a_tree(aws: str, secure: Endpoint, tree: tuple[Path, dict[str, str]], tmp_path: Path) -> None:
    folder, sums = tree
    s3, where = secure.client, "s3://aws-tree"

    def do(*words: str, stdin: bytes | None = None) -> bytes:
        return run([aws, "s3", *words], secure.environment, stdin)

    do("mb", where)
    do("cp", "--recursive", "--quiet", str(folder), f"{where}/tree/")
    assert sums_in(s3, "aws-tree", "tree/") == sums
    assert f"Total Objects: {len(sums)}" in do("ls", "--recursive", "--summarize", f"{where}/tree/").decode()
    do("sync", "--quiet", f"{where}/tree/", str(tmp_path / "back"))
    assert sums_of(tmp_path / "back") == sums
    assert do("sync", str(tmp_path / "back"), f"{where}/tree/") == b"", "nothing had changed"
    do("cp", "-", f"{where}/piped", stdin=b"from a pipe")
    do("mv", "--quiet", f"{where}/tree/d0/big.bin", f"{where}/moved +é")
    assert sums_in(s3, "aws-tree", "moved") == {" +é": sums["d0/big.bin"]}
    do("rm", "--recursive", "--quiet", f"{where}/tree")
    assert sorted(sums_in(s3, "aws-tree")) == ["moved +é", "piped"]
    do("rb", "--force", where)
    assert refused(s3.head_bucket, Bucket="aws-tree") == (404, "404")


def test_aws_calls_the_api(aws: str, plain: Endpoint, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"by api")
    plain.client.create_bucket(Bucket="aws-api")
    at = ["--bucket", "aws-api", "--key", "k"]

    def api(*words: str) -> Any:
        return json.loads(run([aws, "s3api", *words, "--output", "json"], plain.environment) or b"{}")

    put = api(
        "put-object", *at, "--body", str(tmp_path / "file"), "--checksum-algorithm", "SHA256", "--metadata", "a=b"
    )
    head = api("head-object", *at, "--checksum-mode", "ENABLED")
    assert (head["ETag"], head["ChecksumSHA256"], head["Metadata"]) == (put["ETag"], put["ChecksumSHA256"], {"a": "b"})
    assert [item["Key"] for item in api("list-objects", "--bucket", "aws-api")["Contents"]] == ["k"]
    url = run([aws, "s3", "presign", "s3://aws-api/k"], plain.environment).decode().strip()
    with urllib3.PoolManager() as pool:
        reply = pool.request("GET", url)
    if "X-Amz-Signature" in url:
        assert reply.data == b"by api"
    else:  # version 1's default where no region asks for more: refused, with what to do
        assert (reply.status, b"s3v4" in reply.data) == (400, True), reply.data
    api("delete-object", *at)
    assert "Contents" not in api("list-objects-v2", "--bucket", "aws-api")


def test_rclone(endpoint: Endpoint, s3: Any, bucket: str, tree: tuple[Path, dict[str, str]], tmp_path: Path) -> None:
    folder, sums = tree
    options = ["--s3-provider", "Other", "--s3-env-auth", "--s3-endpoint", endpoint.url, "--config", "/dev/null"]
    options += ["--s3-chunk-size", "5Mi", "--s3-upload-cutoff", "10Mi", "--retries", "1", "--low-level-retries", "1"]
    if endpoint.certificate is not None:
        options += ["--ca-cert", str(endpoint.certificate.chain)]
    rclone = debian_command("rclone")
    environment = {name: value for name, value in endpoint.environment.items() if name != "AWS_CA_BUNDLE"}

    def do(verb: str, *words: str, stdin: bytes | None = None) -> bytes:
        return run([rclone, verb, *options, *words], environment, stdin)

    where = f":s3:{bucket}"
    do("sync", str(folder), f"{where}/tree")
    assert sums_in(s3, bucket, "tree/") == sums
    do("check", "--download", str(folder), f"{where}/tree")
    do("sync", f"{where}/tree", str(tmp_path / "back"))
    assert sums_of(tmp_path / "back") == sums
    listed = do("lsf", "--recursive", "--files-only", f"{where}/tree").decode().splitlines()
    assert sorted(listed) == sorted(sums)
    do("rcat", f"{where}/piped", stdin=b"from a pipe")
    assert do("cat", f"{where}/piped") == b"from a pipe"
    do("moveto", f"{where}/tree/d0/big.bin", f"{where}/moved")
    assert sums_in(s3, bucket, "moved") == {"": sums["d0/big.bin"]}
    do("purge", f"{where}/tree")
    do("deletefile", f"{where}/moved")
    assert sorted(sums_in(s3, bucket)) == ["piped"]
    do("mkdir", f":s3:{bucket}-new")
    do("rmdir", f":s3:{bucket}-new")


def test_s3cmd(endpoint: Endpoint, s3: Any, bucket: str, tree: tuple[Path, dict[str, str]], tmp_path: Path) -> None:
    folder, sums = tree
    s3cmd = debian_command("s3cmd")
    host = f"127.0.0.1:{endpoint.port}"
    lines = {
        "access_key": endpoint.store.access_key,
        "secret_key": endpoint.store.secret_key,
        "host_base": host,
        "host_bucket": host,
        "use_https": str(endpoint.secure),
        "ca_certs_file": str(endpoint.certificate.chain) if endpoint.certificate else "",
        "multipart_chunk_size_mb": "5",
    }
    config = tmp_path / "s3cfg"
    config.write_text("[default]\n" + "".join(f"{name} = {value}\n" for name, value in lines.items() if value))

    def do(*words: str) -> bytes:
        return run([s3cmd, "--config", str(config), "--no-progress", *words], endpoint.environment)

    where = f"s3://{bucket}"
    do("sync", f"{folder}/", f"{where}/tree/")
    assert sums_in(s3, bucket, "tree/") == sums
    (tmp_path / "back").mkdir()
    do("sync", f"{where}/tree/", f"{tmp_path}/back/")
    assert sums_of(tmp_path / "back") == sums
    assert len(do("ls", "--recursive", where).splitlines()) == len(sums)
    do("cp", f"{where}/tree/d0/big.bin", f"{where}/copied")
    assert sums_in(s3, bucket, "copied") == {"": sums["d0/big.bin"]}
    do("del", "--recursive", "--force", f"{where}/tree/")
    assert sorted(sums_in(s3, bucket)) == ["copied"]


class Curl:
    """curl with its own signer."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._program = debian_command("curl")

    def __call__(self, method: str, target: str, *words: str, body: bytes | None = None, host: str = "") -> bytes:
        """The reply's body. curl 7 and 8.0 do not say what the body's hash is, so the header is given."""
        endpoint, store = self._endpoint, self._endpoint.store
        command = [self._program, "-sS", "--fail-with-body", "--path-as-is"]
        command += ["-I"] if method == "HEAD" else ["-X", method]
        command += ["--user", f"{store.access_key}:{store.secret_key}", "--aws-sigv4", "aws:amz:us-east-1:s3"]
        if endpoint.certificate is not None:
            command += ["--cacert", str(endpoint.certificate.chain)]
        if body is not None:
            command += ["--data-binary", "@-", "-H", "Content-Type: text/plain"]
        command += ["-H", f"x-amz-content-sha256: {hashlib.sha256(body or b'').hexdigest()}", *words]
        base = endpoint.url
        if host:
            base = base.replace("127.0.0.1", host)
            command += ["--resolve", f"{host}:{endpoint.port}:127.0.0.1"]
        return run([*command, base + target], endpoint.environment, body)


@pytest.fixture
def curl(endpoint: Endpoint) -> Curl:
    return Curl(endpoint)


def test_curl(curl: Curl, s3: Any, bucket: str) -> None:
    body = b"by curl\n" * 1000
    for key in ("k", "a%20b/%C3%A9%2B", "..", "a//b"):
        curl("PUT", f"/{bucket}/{key}", body=body)
        assert curl("GET", f"/{bucket}/{key}") == body
    assert curl("GET", f"/{bucket}/k", "-H", "Range: bytes=3-6") == b"curl"
    assert b"200 OK" in curl("HEAD", f"/{bucket}/k")
    assert b"<Key>a b/\xc3\xa9+</Key>" in curl("GET", f"/{bucket}?list-type=2&prefix=a")
    assert b"<Key>k</Key>" in curl("GET", "/?list-type=2", host=f"{bucket}.s3.localhost")
    for key in ("k", "a%20b/%C3%A9%2B", "..", "a//b"):
        curl("DELETE", f"/{bucket}/{key}")
    assert s3.list_objects_v2(Bucket=bucket)["KeyCount"] == 0


def test_metadata_in_utf8_comes_back_as_it_was_sent(curl: Curl, bucket: str) -> None:
    curl("PUT", f"/{bucket}/k", "-H", "x-amz-meta-name: ķēniņš", body=b"v")
    assert "x-amz-meta-name: ķēniņš".encode() in curl("HEAD", f"/{bucket}/k")
