"""Runs the whole product without a cluster: an embedded Kubernetes API, simulators, samples and a live view."""
