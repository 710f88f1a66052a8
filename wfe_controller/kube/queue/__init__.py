"""Keyed work queue: which key is reconciled next, and when again. Knows keys and time, nothing of objects."""
