"""The networks, one paper a file, with the layers that they share and the table that describes them."""
