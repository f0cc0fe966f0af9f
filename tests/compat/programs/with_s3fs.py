"""A program of s3fs's users. argv: a bucket to make, a folder tree, an empty folder. Environment: as for aws."""

import os
import sys
from pathlib import Path

import s3fs

bucket, tree, back = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
store = s3fs.S3FileSystem(
    endpoint_url=os.environ["AWS_ENDPOINT_URL"],
    client_kwargs={"verify": os.environ.get("AWS_CA_BUNDLE") or None},
    default_block_size=5 * 2**20,
    use_listings_cache=False,
)
store.mkdir(bucket)
store.put(f"{tree}/", f"{bucket}/tree/", recursive=True)
store.get(f"{bucket}/tree/", f"{back}/", recursive=True)
local = {path.relative_to(tree).as_posix(): path.stat().st_size for path in tree.rglob("*") if path.is_file()}
remote = {path.removeprefix(f"{bucket}/tree/"): info["size"] for path, info in store.find(bucket, detail=True).items()}
assert remote == local
assert store.du(f"{bucket}/tree") == sum(local.values())
assert len(store.glob(f"{bucket}/tree/d1/*.txt")) == sum(
    name.startswith("d1/") and name.count("/") == 1 for name in local
)

data = os.urandom(12_345_678)
with store.open(f"{bucket}/written +é", "wb") as sink:
    sink.write(data[:7_000_000])
    sink.write(data[7_000_000:])
with store.open(f"{bucket}/written +é", "rb") as source:
    source.seek(6_000_000)
    assert source.read(100) == data[6_000_000:6_000_100]
with store.open(f"{bucket}/written +é", "ab") as sink:
    sink.write(b"more")
assert store.cat(f"{bucket}/written +é") == data + b"more"
store.cp(f"{bucket}/written +é", f"{bucket}/copied")
store.mv(f"{bucket}/copied", f"{bucket}/moved")
assert store.info(f"{bucket}/moved")["size"] == len(data) + 4
assert store.cat_file(f"{bucket}/moved", start=-4) == b"more"
assert not store.exists(f"{bucket}/copied")
store.pipe(f"{bucket}/once", b"first", mode="create")
try:
    store.pipe(f"{bucket}/once", b"second", mode="create")
except FileExistsError:
    pass
else:
    raise AssertionError("a second creation went through")
store.rm(bucket, recursive=True)
assert not store.exists(bucket)
print("s3fs", s3fs.__version__)
