"""Files that other processes read and write at the same time: durable writes, locks, checked types."""
