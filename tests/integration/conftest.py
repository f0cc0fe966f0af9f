"""Fixtures of the integration tests: a catalog on every engine, and a clock that stands."""

from tests.support.catalog import catalog_url, clock, shared_catalog_url

__all__ = ["catalog_url", "clock", "shared_catalog_url"]
