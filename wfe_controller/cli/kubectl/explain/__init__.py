"""What is it doing, what is it waiting for, who holds the target, why did it fail, and what now: one answer."""
