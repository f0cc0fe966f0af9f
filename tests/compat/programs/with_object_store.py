"""A program of Polars' and Delta Lake's users, both on Rust's object_store. argv: a bucket that exists."""

import os
import sys
import threading

import deltalake
import polars
import pyarrow

bucket = sys.argv[1]
options = {
    "aws_endpoint_url": os.environ["AWS_ENDPOINT_URL"],
    "aws_access_key_id": os.environ["AWS_ACCESS_KEY_ID"],
    "aws_secret_access_key": os.environ["AWS_SECRET_ACCESS_KEY"],
    "aws_region": "us-east-1",
    "aws_allow_http": "true",
}
rows = 2_000_000
frame = polars.DataFrame({"n": range(rows), "text": [f"row {n}" for n in range(1000)] * (rows // 1000)})
frame.write_parquet(f"s3://{bucket}/frame.parquet", storage_options=options, row_group_size=100_000)
lazy = polars.scan_parquet(f"s3://{bucket}/frame.parquet", storage_options=options)
assert lazy.filter(polars.col("text") == "row 7").select(polars.len()).collect().item() == rows // 1000
lazy.filter(polars.col("n") < 1000).sink_parquet(f"s3://{bucket}/small/part=1/some.parquet", storage_options=options)
many = polars.scan_parquet(f"s3://{bucket}/small/**/*.parquet", storage_options=options, hive_partitioning=True)
assert many.select(polars.col("n").sum()).collect().item() == sum(range(1000))
frame.head(10).write_csv(f"s3://{bucket}/few.csv", storage_options=options)
assert polars.read_csv(f"s3://{bucket}/few.csv", storage_options=options).height == 10

where = f"s3://{bucket}/delta"
delta_options = {name.upper(): value for name, value in options.items()} | {"conditional_put": "etag"}
deltalake.write_deltalake(where, pyarrow.table({"n": [0]}), storage_options=delta_options)
failures: list[BaseException] = []


def append(worker: int) -> None:
    """Commits race by `If-None-Match: *`; whoever loses tries the next version."""
    try:
        for number in range(5):
            deltalake.write_deltalake(
                where, pyarrow.table({"n": [worker * 100 + number]}), mode="append", storage_options=delta_options
            )
    except BaseException as failure:
        failures.append(failure)


workers = [threading.Thread(target=append, args=(number,)) for number in range(1, 5)]
for worker in workers:
    worker.start()
for worker in workers:
    worker.join()
assert not failures, failures
table = deltalake.DeltaTable(where, storage_options=delta_options)
assert table.version() == 20
written = sorted(table.to_pyarrow_table()["n"].to_pylist())
assert written == sorted([0, *(worker * 100 + number for worker in range(1, 5) for number in range(5))])
table.optimize.compact()
table.vacuum(retention_hours=0, enforce_retention_duration=False, dry_run=False)
assert deltalake.DeltaTable(where, storage_options=delta_options).to_pyarrow_table().num_rows == 21
print("polars", polars.__version__, "deltalake", deltalake.__version__, flush=True)
os._exit(
    0
)  # the libraries' own threads now and then abort an ordinary end: "terminate called without an active exception"
