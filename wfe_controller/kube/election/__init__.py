"""Who acts: one holder of one Lease, and the gate that every write of this process passes."""
