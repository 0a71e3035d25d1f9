"""The process that starts and ends all others, and follows what is published."""
