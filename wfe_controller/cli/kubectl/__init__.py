"""``kubectl wfe``: the operator's tools. What is shown and what is said are pure functions over objects."""
