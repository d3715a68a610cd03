"""Make any ASGI app hard to knock over and easy to see into."""
