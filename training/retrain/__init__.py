"""The batch job that trains again on feedback and promotes what is better."""
