"""What the real Tekton writes in a list of situations, recorded, so that the simulated one can be compared with it.

``situations`` is the list, ``stage`` plays one of them against any API server, ``normal`` takes out what differs from
run to run, ``python -m hack.recordings`` writes tests/recordings from the real one.
"""
