#!/usr/bin/env bash
# Takes the kind cluster, its registry and its kubeconfig away; does nothing when they are not there.
set -euo pipefail
# shellcheck source=hack/kind/names.sh
source "$(dirname "$0")/names.sh"
kind delete cluster --name "$CLUSTER" --kubeconfig "$KUBECONFIG_FILE"
if docker inspect "$REGISTRY" >/dev/null 2>&1; then
  docker rm --force --volumes "$REGISTRY" >/dev/null
fi
rm -f "$KUBECONFIG_FILE"
