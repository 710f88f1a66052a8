"""The built-in kinds: which there are, their schemas, and what each does beyond the common rules."""

from __future__ import annotations

from wfe_controller.sandbox.apiserver.builtin.table import resources

__all__ = ["resources"]
