"""An embedded Kubernetes API server, in memory; trusted only as far as tests/contract pins it."""
