# Sourced by the scripts beside it.
CLUSTER=${CLUSTER:-wfe}
REGISTRY=wfe-kind-registry
KUBECONFIG_FILE=${XDG_STATE_HOME:-$HOME/.local/state}/wfe-controller/kind.kubeconfig
# The versions that hack/controlplane/modules pins.
KUBERNETES=v1.36.3
TEKTON=v1.12.0
