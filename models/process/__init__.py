"""What every command of Striate does as a process: Ctrl-C, quiet imports, staying off the network."""
