#!/usr/bin/env bash
# Prints what tests/e2e need to run on the kind cluster.
set -euo pipefail
# shellcheck source=hack/kind/names.sh
source "$(dirname "$0")/names.sh"
address=$(docker inspect --format '{{.NetworkSettings.Networks.kind.IPAddress}}' "$REGISTRY")
echo "export KUBECONFIG='$KUBECONFIG_FILE' E2E_KUBECONFIG='$KUBECONFIG_FILE' E2E_REGISTRY='$address:5000'"
