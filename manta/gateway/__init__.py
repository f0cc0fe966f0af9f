"""The S3 and jobs API over HTTP: requests in, catalog transactions and blob streams out."""
