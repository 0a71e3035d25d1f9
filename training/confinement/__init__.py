"""Work on files that somebody else made, in a process that can do no harm."""
