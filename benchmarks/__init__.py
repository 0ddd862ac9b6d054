"""Benchmarks: what the bridge does in a second, side by side with what else could do it."""

from __future__ import annotations
