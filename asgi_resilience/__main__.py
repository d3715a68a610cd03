"""`python -m asgi_resilience` is the same program as `asgi-resilience`."""

from asgi_resilience.command import main

if __name__ == "__main__":
    main()
