"""Several workers make one call at a time on PostgreSQL, too."""

from __future__ import annotations

from stores import on_postgres
from test_ordering import *  # noqa: F403

__all__ = ["on_postgres"]
