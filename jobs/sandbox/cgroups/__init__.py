"""Limits for a task as a whole, by cgroups: found where this process may make groups, pooled, one set per zone."""

from jobs.sandbox.cgroups.discovery import Survey, survey
from jobs.sandbox.cgroups.pool import ControlGroups, ZoneLease
from jobs.sandbox.cgroups.tree import GroupLimits

__all__ = ["ControlGroups", "GroupLimits", "Survey", "ZoneLease", "survey"]
