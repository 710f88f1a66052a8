"""wfe-controller: runs one remediation of one target resource at a time, safely."""

__version__ = "0.1.0"
