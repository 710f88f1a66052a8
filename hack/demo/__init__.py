"""``make demo-real``: the controller's main job on a real API server and Tekton, told by a live table."""
