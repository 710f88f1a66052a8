"""The crash suite: two real replicas, real Tekton, death and delay at every write, and an observer that is neither."""
