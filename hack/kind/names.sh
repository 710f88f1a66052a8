# shellcheck shell=bash
# shellcheck disable=SC2034  # read by the scripts beside it, which source this
CLUSTER=${CLUSTER:-wfe}
REGISTRY=wfe-kind-registry
KUBECONFIG_FILE=${XDG_STATE_HOME:-$HOME/.local/state}/wfe-controller/kind.kubeconfig
# The versions that hack/controlplane/modules pins. kind has no node image for every one of them: NODE_IMAGE takes another.
KUBERNETES=v1.36.3
TEKTON=v1.12.0
NODE_IMAGE=${NODE_IMAGE:-kindest/node:$KUBERNETES}
