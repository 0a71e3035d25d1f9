"""What an operator sees: metrics, traces, drift, and the record of each request."""
