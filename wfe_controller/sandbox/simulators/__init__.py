"""Plays what a cluster has besides its API server: Tekton, the kubelet, the Deployment and Job controllers.

Each simulator is an ordinary client of the API (``kube.client``, ``kube.cache``): it works against the embedded
server and against a real kube-apiserver alike, which is how it is compared with the real ones (hack/recordings).
"""
