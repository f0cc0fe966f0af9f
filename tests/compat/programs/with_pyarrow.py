"""A program of pyarrow's users. argv: a bucket to make. Environment: AWS_ENDPOINT_URL, keys, perhaps AWS_CA_BUNDLE."""

import os
import sys
from urllib.parse import urlsplit

import pyarrow
import pyarrow.compute as compute
import pyarrow.dataset as dataset
import pyarrow.parquet as parquet
from pyarrow import fs

bucket = sys.argv[1]
url = urlsplit(os.environ["AWS_ENDPOINT_URL"])
trust = {"tls_ca_file_path": os.environ["AWS_CA_BUNDLE"]} if url.scheme == "https" else {}
store = fs.S3FileSystem(
    access_key=os.environ["AWS_ACCESS_KEY_ID"],
    secret_key=os.environ["AWS_SECRET_ACCESS_KEY"],
    endpoint_override=url.netloc,
    scheme=url.scheme,
    region="us-east-1",
    allow_bucket_creation=True,
    allow_bucket_deletion=True,
    **trust,
)
store.create_dir(f"{bucket}/folder")
data = os.urandom(23_000_001)
with store.open_output_stream(f"{bucket}/folder/stream +é", metadata={"Content-Type": "x/y"}) as sink:
    for start in range(0, len(data), 1_000_000):
        sink.write(data[start : start + 1_000_000])
with store.open_input_file(f"{bucket}/folder/stream +é") as source:
    assert source.size() == len(data)
    source.seek(11_000_000)
    assert source.read(1000) == data[11_000_000:11_001_000]
    source.seek(0)
    assert source.read() == data
with store.open_input_stream(f"{bucket}/folder/stream +é") as stream:
    assert stream.metadata()["Content-Type"] == b"x/y"
with store.open_output_stream(f"{bucket}/empty"):
    pass
store.copy_file(f"{bucket}/folder/stream +é", f"{bucket}/copied")
store.move(f"{bucket}/copied", f"{bucket}/moved")
found = {info.path: info.size for info in store.get_file_info(fs.FileSelector(bucket, recursive=True)) if info.is_file}
assert found == {f"{bucket}/empty": 0, f"{bucket}/folder/stream +é": len(data), f"{bucket}/moved": len(data)}, found
assert store.get_file_info(f"{bucket}/none").type is fs.FileType.NotFound

table = pyarrow.table({"n": range(100_000), "part": [n % 4 for n in range(100_000)]})
parquet.write_to_dataset(table, f"{bucket}/table", partition_cols=["part"], filesystem=store)
read = dataset.dataset(f"{bucket}/table", filesystem=store, format="parquet", partitioning="hive")
assert compute.sum(read.to_table(filter=dataset.field("part") == 3)["n"]).as_py() == sum(range(3, 100_000, 4))

store.delete_file(f"{bucket}/moved")
store.delete_dir_contents(bucket)
assert store.get_file_info(fs.FileSelector(bucket, recursive=True)) == []
store.delete_dir(bucket)
print("pyarrow", pyarrow.__version__)
