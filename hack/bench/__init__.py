"""What the controller costs and how fast it is: drives WorkflowExecutions, plays Tekton, counts, prints figures.

``python -m hack.bench --help``. Nothing here asserts anything: figures are judged by people, in docs/performance.md.
"""
