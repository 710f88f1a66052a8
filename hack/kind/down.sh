#!/usr/bin/env bash
set -euo pipefail
source "$(dirname "$0")/names.sh"
kind delete cluster --name "$CLUSTER" --kubeconfig "$KUBECONFIG_FILE"
docker rm --force --volumes "$REGISTRY" >/dev/null
rm -f "$KUBECONFIG_FILE"
