"""The built-in kinds: which there are, their schemas, and what each does beyond the common rules."""
