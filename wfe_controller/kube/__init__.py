"""The reusable asyncio controller runtime. It knows Kubernetes and nothing of workflows."""
