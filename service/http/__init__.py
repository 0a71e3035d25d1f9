"""What every protocol needs of HTTP: bodies, images in requests, API keys, clients that disconnect."""
