"""Limits for a task as a whole, by cgroups: found where this process may make groups, pooled, one set per zone."""

from jobs.sandbox.cgroups.discovery import Survey, survey
from jobs.sandbox.cgroups.lease import ZoneLease
from jobs.sandbox.cgroups.pool import ControlGroups
from jobs.sandbox.cgroups.room import settle
from jobs.sandbox.cgroups.tree import GroupLimits

__all__ = ["ControlGroups", "GroupLimits", "Survey", "ZoneLease", "settle", "survey"]
