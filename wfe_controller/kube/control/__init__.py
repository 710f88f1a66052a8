"""What runs the rest: events become keys, keys become reconciles, and every task has somebody who notices its end."""
