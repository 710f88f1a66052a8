"""Tools for development and tests; never part of the installed package."""
