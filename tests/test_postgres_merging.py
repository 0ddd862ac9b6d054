"""Orders that turn out to be one are merged on PostgreSQL, too."""

from __future__ import annotations

from stores import on_postgres
from test_intake_merging import *  # noqa: F403

__all__ = ["on_postgres"]
