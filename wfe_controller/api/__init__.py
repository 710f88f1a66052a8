"""The types of the group kubernaut.ai: names, targets, phases, conditions, models, and the CRDs made from them."""
