"""Talking to the API server: transport, client-side limiter, verbs with the write gate, patches."""
