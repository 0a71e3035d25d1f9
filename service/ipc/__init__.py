"""What the supervisor, the HTTP workers and the engines say to each other."""
