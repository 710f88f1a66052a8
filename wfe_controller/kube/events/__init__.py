"""Kubernetes Events: what ``kubectl describe`` shows, without storms and without ever holding up a reconcile."""
