#!/usr/bin/env bash
# A kind cluster with Tekton, a registry and the controller of this working tree. Idempotent.
set -euo pipefail
cd "$(dirname "$0")/../.."
# shellcheck source=hack/kind/names.sh
source hack/kind/names.sh
for tool in docker kind kubectl; do
  command -v "$tool" >/dev/null || { echo "error: $tool is needed; without Docker: python -m hack.cluster up" >&2; exit 1; }
done
mkdir -p "$(dirname "$KUBECONFIG_FILE")"
export KUBECONFIG=$KUBECONFIG_FILE

existing=$(kind get clusters)
grep -qx "$CLUSTER" <<<"$existing" || kind create cluster --name "$CLUSTER" --image "$NODE_IMAGE"
if docker inspect "$REGISTRY" >/dev/null 2>&1; then
  docker start "$REGISTRY" >/dev/null
else
  docker run --detach --name "$REGISTRY" --network kind registry:2 >/dev/null
fi
docker build --file Containerfile --tag wfe-controller:dev .
docker pull --quiet busybox:1
kind load docker-image --name "$CLUSTER" wfe-controller:dev busybox:1

kubectl apply --server-side --filename "https://infra.tekton.dev/tekton-releases/pipeline/previous/$TEKTON/release.yaml"
kubectl --namespace tekton-pipelines wait deployment --all --for=condition=Available --timeout=5m
kubectl --namespace tekton-pipelines-resolvers wait deployment --all --for=condition=Available --timeout=5m
kubectl apply --server-side --kustomize manifests/overlays/dev
kubectl --namespace kubernaut-system rollout status deployment/workflowexecution-controller --timeout=3m
echo "ready; for the tests: eval \"\$(hack/kind/env.sh)\" && make e2e"
