"""Which model may go live: the gate, its rules, and roll-outs that are watched."""
