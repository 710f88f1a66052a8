"""Tekton Pipelines 1.12, as far as its status goes: what it writes, when, and in which words.

``pipelineruns`` and ``taskruns`` are its two controllers; everything they decide is in pure modules beside them.
Compared with recordings of the real one (hack/recordings, tests/recordings).
Not played: matrix, custom tasks, pipelines in pipelines, remote tasks, CEL, workspaces that need volumes, step actions.
"""
